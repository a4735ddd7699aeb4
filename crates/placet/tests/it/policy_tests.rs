//! Tests of policies decide what the server decides.

use crate::{
    process::{run, stderr},
    stage::{PLACET, story},
};
use placet_testkit::{Reply, Story, fresh};
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

fn rules() -> &'static str {
    r#"  - name: small refunds
    allow: [refunds.create]
    on: ["order://customer:{{user.id}}/*"]
    when:
      - params.amount <= 500
      - params.currency == "USD"
    limits: [{count: 2, per: total, by: user}, {sum: params.amount, max: 450, per: day, by: user}]
    approve: {when: params.amount > 100, by: ["role:support-lead"]}
  - name: refunds in euros
    allow: [refunds.create]
    when: params.currency == "EUR"
    limits: [{count: 2, per: total}, {sum: params.amount, max: 50, per: total}, {rate: 9/day, burst: 2}]
  - {name: orders, allow: ["orders.*"]}
  - {name: never the first, deny: [orders.delete], when: 'params.order_id == "1"'}
  - {name: clerks delete, guard: [orders.delete], when: '"clerk" in user.roles'}
  - {name: short notes, guard: [notes.*], when: size(params.text) < 5}
"#
}

/// Every question that is asked, with its user's name where it has one.
fn questions(user: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for currency in [json!("USD"), json!("EUR"), json!("CHF"), Value::Null] {
        for amount in
            ["1", "30", "30.000001", "100.5", "450.01", "500", "500.01", "0", "-1", "1e3", "\"5\"", "null"]
        {
            let mut params = json!({"customer_id": user, "order_id": "7"});
            let amount: Value = serde_json::from_str(amount).unwrap();
            for (name, value) in [("amount", &amount), ("currency", &currency)] {
                if !value.is_null() {
                    params[name] = value.clone();
                }
            }
            found.push(json!({"action": "refunds.create", "params": params}));
        }
    }
    for order in ["1", "2"] {
        let params = json!({"customer_id": user, "order_id": order});
        found.push(json!({"action": "orders.delete", "params": params}));
        found.push(json!({"action": "orders.read", "params": params}));
    }
    for text in ["hi", "hello", "", "…………"] {
        found.push(json!({"action": "notes.write", "params": {"customer_id": user, "text": text}}));
    }
    let params = json!({"amount": 20, "currency": "USD"});
    for resource in ["order://customer:42/7", "order://customer:42/7/8", "file://a/b"] {
        found.push(json!({"action": "refunds.create", "resource": resource, "params": params}));
    }
    found.push(json!({"action": "refunds.undo", "resource": "order://customer:1/7"}));
    found.push(json!({"action": "mail.send", "resource": "mail://a/b"}));
    found.push(json!({"action": "orders.read", "params": {"customer_id": "a/../b", "order_id": "7"}}));
    found
}

/// Writes the policy, the service and a test for each question, and answers the file of tests.
fn write(home: &Path, shop: &str, handle: &str, given: &Value, questions: &[Value]) -> String {
    let policy = format!("policy: {handle}\napplies_to: {{agents: [\"{handle}\"]}}\nrules:\n{}", rules());
    fs::write(home.join("policy.yaml"), policy).unwrap();
    fs::write(home.join("shop.yaml"), Story::service_at(shop)).unwrap();
    let tests: Vec<Value> = questions
        .iter()
        .enumerate()
        .map(|(index, when)| json!({"name": format!("q{index}"), "when": when, "then": "allow"}))
        .collect();
    let file =
        json!({"policies": ["policy.yaml"], "services": ["shop.yaml"], "given": given, "tests": tests});
    fs::write(home.join("all.test.yaml"), file.to_string()).unwrap();
    "all.test.yaml".to_owned()
}

fn asked(question: &Value, agent: &str, user: Option<&str>) -> Value {
    let mut body = question.clone();
    body["agent"] = json!(agent);
    body["dry_run"] = json!(true);
    body["explain"] = json!(true);
    if let Some(user) = user {
        body["user"] = json!({"id": user});
    }
    body
}

/// Without what is another one's in each: the ids of grants.
fn without_ids(trace: &Value) -> Value {
    let mut trace = trace.clone();
    for authority in trace["authorities"].as_array_mut().into_iter().flatten() {
        authority.as_object_mut().unwrap().remove("grant");
    }
    trace
}

#[test]
fn a_test_decides_what_the_server_decides() {
    // Nobody else's policy for every agent is in force there.
    let story = Story::new(PLACET);
    let home = tempfile::tempdir().unwrap();
    let name = fresh("ann-");
    let (user, _) = story.user(&name, &["clerk"]);
    let (agent, token) = story.ready(rules());
    // Two of the euros' two are gone, and 20 of their 50.
    for _ in 0..2 {
        let params = json!({"customer_id": "1", "order_id": "1", "amount": 10, "currency": "EUR"});
        story.act(&token, "refunds.create", &params).expect(200);
    }
    let spent = |limit: &str, used: u32| json!({"rule": "refunds in euros", "limit": limit, "used": used});
    let base = json!({
        "agent": {"handle": agent.handle, "allowed_tools": ["orders.*", "notes.*", "refunds.*"], "resource_access": ["order://**"]},
        "ledger": [spent("count", 2), spent("sum", 20), spent("rate", 2)],
    });
    let mut with_user = base.clone();
    with_user["user"] = json!({"id": user, "name": name, "roles": ["clerk"]});
    let mut seen = [0; 3];
    for (given, on_behalf) in [(base, None), (with_user, Some(user.as_str()))] {
        let questions = questions(&user);
        let file = write(home.path(), story.shop.base(), &agent.handle, &given, &questions);
        let output = run(home.path(), &["policy", "test", &file]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        for (index, (question, test)) in questions.iter().zip(report["tests"].as_array().unwrap()).enumerate()
        {
            let asked = asked(question, &agent.handle, on_behalf);
            let server = story.admin().post("/v1/decisions").json(&asked).send().expect(200).body;
            let local = &test["actual"];
            // When a bucket has room again depends on when it was filled.
            let timeless = |reasons: &Value| {
                let mut reasons = reasons.clone();
                for reason in reasons.as_array_mut().unwrap() {
                    if let Some(remedy) = reason.get_mut("remedy").and_then(Value::as_object_mut) {
                        remedy.retain(|name, _| !name.ends_with("retry_at"));
                    }
                }
                reasons
            };
            assert_eq!(server["decision"], local["decision"], "{question:#}\n{server:#}");
            assert_eq!(timeless(&server["reasons"]), timeless(&local["reasons"]), "{question:#}");
            let none = json!([]);
            if server["decision"] != "deny" {
                assert_eq!(server.get("rules").unwrap_or(&none), &local["rules"], "{question:#}");
            }
            seen[["allow", "hold", "deny"].iter().position(|word| server["decision"] == *word).unwrap()] += 1;
            if index % 9 == 0 {
                let name = format!("q{index}");
                let output = run(home.path(), &["policy", "explain", &file, "--case", &name]);
                let told: Value = serde_json::from_slice(&output.stdout).unwrap();
                let trace = server
                    .get("trace")
                    .cloned()
                    .unwrap_or_else(|| json!({"authorities": [], "level": false, "links": []}));
                assert_eq!(without_ids(&trace), without_ids(&told["trace"]), "{question:#}");
            }
        }
    }
    assert!(seen.iter().all(|count| *count >= 1), "{seen:?}");
}

#[test]
fn only_who_may_know_everything_is_told_why() {
    let story = story();
    let (agent, token) =
        story.ready("  - {name: secret, allow: [orders.read], when: agent.labels.tier == \"gold\"}\n");
    let mut question =
        json!({"action": "orders.read", "params": {"customer_id": "1", "order_id": "1"}, "explain": true});
    let ask = |token: &str, question: &Value| {
        story.client().post("/v1/decisions").bearer(token).json(question).send()
    };
    ask(&token, &question).refused(403, "not_permitted");
    question["dry_run"] = json!(true);
    ask(&token, &question).refused(403, "not_permitted");
    question["agent"] = json!(agent.handle);
    let answer = story.admin().post("/v1/decisions").json(&question).send().expect(200);
    let rule = answer.at("/trace/links/0/policies/0/rules/0");
    assert_eq!(
        (&rule["said"], &rule["when"][0]["outcome"]),
        (&json!("not_held"), &json!("unknown")),
        "{rule:#}"
    );
    question.as_object_mut().unwrap().remove("explain");
    let answer = story.admin().post("/v1/decisions").json(&question).send().expect(200);
    assert_eq!(answer.body.get("trace"), None);
}

#[test]
fn results_are_the_same_bytes_and_tell_what_failed() {
    let home = tempfile::tempdir().unwrap();
    let (question, given) = (json!({"action": "orders.read", "resource": "order://a/b"}), Map::new().into());
    let file = write(home.path(), "http://127.0.0.1:9", "bot", &given, &[question.clone(), question]);
    let arguments = ["policy", "test", ".", "--coverage", "--junit", "out.xml"];
    let first = run(home.path(), &arguments);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let xml = fs::read_to_string(home.path().join("out.xml")).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"0\"") && xml.contains("name=\"q0\""), "{xml}");
    let second = run(home.path(), &arguments);
    assert_eq!(
        (first.stdout, xml),
        (second.stdout, fs::read_to_string(home.path().join("out.xml")).unwrap())
    );
    let low = run(home.path(), &["policy", "test", ".", "--min-coverage", "60"]);
    assert_eq!(low.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&low.stdout).unwrap();
    assert_eq!((&report["failed"], &report["coverage"]["least"]), (&json!(0), &json!(60)));

    let path = home.path().join(&file);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"allow\"", "\"deny\"", 1)).unwrap();
    let failed = run(home.path(), &arguments);
    assert_eq!(failed.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&failed.stdout).unwrap();
    let difference = json!([{"of": "decision", "expected": "deny", "actual": "allow"}]);
    assert_eq!(
        (&report["tests"][0]["result"], &report["tests"][0]["differences"]),
        (&json!("failed"), &difference)
    );
    let xml = fs::read_to_string(home.path().join("out.xml")).unwrap();
    assert!(xml.contains("failures=\"1\"") && xml.contains("expected deny, was allow"), "{xml}");

    fs::write(&path, text.replacen("\"then\"", "\"thn\"", 1)).unwrap();
    let wrong = run(home.path(), &["policy", "test", &file]);
    assert_eq!(wrong.status.code(), Some(1));
    let said = String::from_utf8(wrong.stdout).unwrap();
    assert!(said.contains("unknown key `thn`") && said.contains("did you mean `then`?"), "{said}");
    assert_eq!(run(home.path(), &["policy", "test", "none.test.yaml"]).status.code(), Some(2));
}

#[test]
fn the_example_of_the_page_passes() {
    let home = tempfile::tempdir().unwrap();
    let page = include_str!("../../../../docs/policy-tests.md");
    let blocks = page.split("```yaml\n# ").skip(1).filter_map(|rest| rest.split_once("```"));
    for (block, _) in blocks {
        let (name, text) = block.split_once('\n').unwrap();
        fs::write(home.path().join(name), text).unwrap();
    }
    let commands = page.lines().filter_map(|line| line.strip_prefix("$ placet policy test support-desk"));
    let output = run(home.path(), &["policy", "test", "support-desk.test.yaml", "--coverage"]);
    assert_eq!((commands.count(), output.status.code()), (1, Some(0)), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["passed"], &report["failed"]), (&json!(5), &json!(0)));
}

#[test]
fn the_ten_examples_are_as_the_page_shows_them_and_their_tests_pass() {
    let home = tempfile::tempdir().unwrap();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let page = include_str!("../../../../docs/policy-examples.md");
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), 10);
    for section in sections {
        let block = section.split("```yaml\n").nth(1).and_then(|rest| rest.split_once("```")).unwrap().0;
        let link = |below: &str| {
            let (_, rest) = section.split_once(&format!("(../examples/{below}/")).unwrap();
            format!("{root}/examples/{below}/{}", rest.split_once(')').unwrap().0)
        };
        let (service, tests) = (link("services"), link("policies"));
        let policy = tests.replace(".test.yaml", ".yaml");
        assert_eq!(fs::read_to_string(&policy).unwrap().trim_end(), block.trim_end(), "{policy}");
        let checked = run(home.path(), &["--json", "policy", "check", &policy, "--service", &service]);
        assert!(checked.status.success(), "{}", stderr(&checked));
        let told: Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!(told["diagnostics"], json!([]), "{policy}");
    }
    let folder = format!("{root}/examples/policies");
    let output = run(home.path(), &["policy", "test", &folder, "--coverage", "--min-coverage", "90"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn versions_are_compared_on_what_was_recorded() {
    let story = Story::new(PLACET);
    let rules = "  - {name: small, allow: [refunds.create], when: params.amount <= 50, limits: [{count: 2, per: total}]}\n";
    let (agent, token) = story.ready(rules);
    let refund = |amount: i64| {
        story.act(&token, "refunds.create", &json!({"customer_id": "1", "order_id": "1", "amount": amount}))
    };
    refund(40).expect(200);
    refund(60).refused(403, "condition_failed");
    refund(50).expect(200);
    refund(10).refused(403, "limit_exceeded");
    story.act(&token, "orders.read", &json!({"customer_id": "1", "order_id": "1"})).refused(403, "no_rule");
    story.record();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("new.yaml");
    let head = format!("policy: {0}\napplies_to: {{agents: [\"{0}\"]}}\nrules:\n", agent.handle);
    let run = |arguments: &[&str]| {
        let output = story.server.cli().args(arguments).current_dir(home.path()).output().unwrap();
        (
            output.status.code(),
            serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default(),
            stderr(&output),
        )
    };
    let replay = || run(&["policy", "test", "--replay", "new.yaml"]);
    let diff = || run(&["policy", "diff", &agent.handle, "new.yaml", "--record"]);

    let told = |change: &Value| {
        format!("{} {} {}", change["asked"]["params"]["amount"], change["decided"], change["now"]["decision"])
    };
    fs::write(&file, format!("{head}{rules}")).unwrap();
    let (code, report, said) = replay();
    assert_eq!((code, &report["replayed"]), (Some(0), &json!(5)), "{report:#} {said}");
    assert_eq!((&report["left_out"], &report["incomplete"]), (&json!({}), &json!([])));
    let (code, report, said) = diff();
    assert_eq!(
        (code, &report["changes"], &report["compared"]["record"]),
        (Some(0), &json!([]), &json!(5)),
        "{said}"
    );
    for (limit, changes) in [
        ("count: 1", vec![r#"50 "allow" "deny""#.to_owned()]),
        ("count: 3", vec![r#"10 "deny" "allow""#.to_owned()]),
    ] {
        fs::write(&file, format!("{head}{}", rules.replace("count: 2", limit))).unwrap();
        let (code, report, said) = replay();
        let found: Vec<_> = report["changes"].as_array().unwrap().iter().map(told).collect();
        assert_eq!((code, found), (Some(1), changes), "{said}");
        let (_, report, _) = diff();
        let recorded =
            report["changes"].as_array().unwrap().iter().filter(|change| change["from"] == "record");
        assert!(
            recorded.clone().any(|change| change["before"]["decision"] != change["after"]["decision"]),
            "{report:#}"
        );
    }

    fs::write(&file, format!("{head}{}", rules.replace("<= 50", "> 45"))).unwrap();
    let (code, report, _) = replay();
    let changes = report["changes"].as_array().unwrap();
    let told: Vec<_> = changes.iter().map(told).collect();
    assert_eq!(
        (code, told),
        (Some(1), vec![r#"40 "allow" "deny""#.to_owned(), r#"60 "deny" "allow""#.to_owned()])
    );
    let (code, report, _) = diff();
    let changes = report["changes"].as_array().unwrap();
    let of = |from: &str| changes.iter().filter(|change| change["from"] == from).count();
    // The third is denied by both, for another reason.
    assert_eq!((code, of("record")), (Some(1), 3), "{report:#}");
    assert!(of("generated") > 0, "{report:#}");
    assert_eq!(run(&["policy", "diff", "nobody", "new.yaml"]).0, Some(1));
}

/// What would be decided otherwise if an agent's policy had these rules, as amount and decision, and the report.
fn replayed(story: &Story, handle: &str, rules: &str, more: &[&str]) -> (Vec<String>, Value) {
    let home = tempfile::tempdir().unwrap();
    let policy = format!("policy: {handle}\napplies_to: {{agents: [\"{handle}\"]}}\nrules:\n{rules}");
    fs::write(home.path().join("new.yaml"), policy).unwrap();
    let arguments = [&["policy", "test", "--replay", "new.yaml"], more].concat();
    let output = story.server.cli().args(arguments).current_dir(home.path()).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let changes = report["changes"].as_array().unwrap_or_else(|| panic!("{}", stderr(&output)));
    let told = changes
        .iter()
        .map(|it| format!("{} {}", it["asked"]["params"]["amount"], it["now"]["decision"]))
        .collect();
    (told, report)
}

#[test]
fn what_children_did_and_servers_were_charged_is_charged_again_to_the_same() {
    let story = Story::new(PLACET);
    let client = story.client();
    let rules = "  - {name: pay, allow: [refunds.create], limits: [{count: 5, per: total, by: task}]}\n";
    let audience = "https://till.example/v1";
    let made =
        story.admin().post("/v1/resource-servers").json(&json!({"name": "till", "audience": audience}));
    let made = made.send().expect(201);
    let (server, secret) = (made.text("/client_id"), made.text("/client_secret"));
    let registered = |handle: &str, rules: &str| {
        let agent = story.agent(handle).register();
        story.rules(handle, rules).expect(201);
        agent
    };
    let (parent, till) = (
        registered("parent", rules),
        registered(
            "till",
            "  - {name: open, allow: [refunds.create], when: 'context.till == \"open\"', limits: [{count: 1, per: total}]}\n",
        ),
    );
    let token = parent.token(&client, "refunds.*");
    let child = registered("child", "  - {name: any, allow: [refunds.create]}\n");
    let asked = child.ask().with("parent_token", &token).with("scope", "refunds.create");
    let below = asked.send(&client).expect(200).text("/access_token");
    let [shown, open] = [&parent, &till].map(|agent| {
        let asked = agent.ask().with("scope", "refunds.*").with("resource", audience);
        asked.send(&client).expect(200).text("/access_token")
    });
    let params = |amount: i64| json!({"customer_id": "1", "order_id": "7", "amount": amount});
    let decide = |token: &str, amount: i64, till: &str| {
        let body = json!({
            "token": token, "action": "refunds.create", "resource": "order://customer:1/7",
            "params": params(amount), "context": {"till": till},
        });
        client.post("/v1/decisions").basic(&server, &secret).json(&body).send().expect(200)
    };
    for amount in [1, 2] {
        story.act(&below, "refunds.create", &params(amount)).expect(200);
    }
    story.act(&token, "refunds.create", &params(3)).expect(200);
    let taken_back = decide(&shown, 4, "open").text("/id");
    let path = format!("/v1/decisions/{taken_back}/outcome");
    let outcome = client.post(&path).basic(&server, &secret).json(&json!({"happened": "no"}));
    outcome.send().expect(200);
    assert_eq!(decide(&shown, 6, "open").at("/decision"), "allow");
    story.act(&below, "refunds.create", &params(7)).expect(200);
    story.act(&below, "refunds.create", &params(8)).refused(403, "limit_exceeded");
    assert_eq!(decide(&shown, 9, "open").at("/decision"), "deny");
    for (amount, state, decision) in [(10, "open", "allow"), (11, "shut", "deny"), (12, "open", "deny")] {
        assert_eq!(decide(&open, amount, state).at("/decision"), decision);
    }
    story.record();
    let none: [&str; 0] = [];
    let (changes, report) = replayed(&story, "parent", rules, &[]);
    assert_eq!(
        (changes.as_slice(), &report["replayed"], &report["left_out"]),
        (none.map(str::to_owned).as_slice(), &json!(11), &json!({})),
        "{report:#}"
    );
    let with = |limit: &str| replayed(&story, "parent", &rules.replace("count: 5", limit), &[]).0;
    assert_eq!(with("count: 4"), ["7 \"deny\""]);
    assert_eq!(with("count: 2"), ["3 \"deny\"", "4 \"deny\"", "6 \"deny\"", "7 \"deny\""]);
    assert_eq!(with("count: 6"), ["8 \"allow\"", "9 \"allow\""]);
}

#[test]
fn the_record_charges_again_what_was_done_and_gives_back_what_was_not() {
    let story = Story::new(PLACET);
    let rules = "  - name: pay
    allow: [refunds.create]
    limits:
      - {sum: params.amount, max: 100, per: total}
      - {count: 4, per: total, by: params.customer_id}
      - {count: 6, per: total, by: grant}
      - {rate: 20/day, burst: 12}
      - {concurrent: 1}
";
    let (agent, token) = story.ready(rules);
    let (_, others) = story.ready("  - {name: pay, allow: [refunds.create]}\n");
    let refund = |token: &str, customer: &str, amount: i64| {
        story.act(
            token,
            "refunds.create",
            &json!({"customer_id": customer, "order_id": "1", "amount": amount}),
        )
    };
    // Upstream says that nothing has happened, so these cost nothing but their place in the rate.
    story.shop.reply("/customers/none/orders/1/refunds", Reply::json(422, &json!({})));
    for _ in 0..3 {
        assert_eq!(refund(&token, "none", 90).expect(200).at("/result/status"), 422);
    }
    refund(&token, "a", 60).expect(200);
    refund(&token, "a", 50).refused(403, "limit_exceeded");
    refund(&token, "a", 40).expect(200);
    refund(&token, "b", 1).refused(403, "limit_exceeded");
    // Another's are nothing to it.
    refund(&others, "a", 90).expect(200);
    let middle = story.record().last().unwrap()["index"].as_u64().unwrap();
    refund(&token, "c", 1).refused(403, "limit_exceeded");
    let record = story.record();
    let newest = record.last().unwrap()["index"].as_u64().unwrap();
    let replay = |rules: &str, more: &[&str]| replayed(&story, &agent.handle, rules, more);
    let none: [&str; 0] = [];
    let (changes, report) = replay(rules, &[]);
    assert_eq!(changes, none, "{report:#}");
    assert_eq!((&report["replayed"], &report["incomplete"]), (&json!(9), &json!([])), "{report:#}");
    for (right, edited, expected) in [
        // What the first of the day takes leaves less for the next.
        ("max: 100", "max: 95", vec!["40 \"deny\"", "1 \"allow\"", "1 \"allow\""]),
        ("max: 100", "max: 110", vec!["50 \"allow\"", "1 \"allow\"", "1 \"allow\""]),
        ("count: 4", "count: 1", vec!["40 \"deny\"", "1 \"allow\"", "1 \"allow\""]),
        ("count: 6", "count: 1", vec!["40 \"deny\""]),
        ("burst: 12", "burst: 4", vec!["40 \"deny\""]),
        ("concurrent: 1", "concurrent: 2", vec![]),
    ] {
        assert!(rules.contains(right));
        let (changes, report) = replay(&rules.replace(right, edited), &[]);
        assert_eq!(changes, expected, "{edited} {report:#}");
    }
    // Of the last ones alone it can't be told what was used before.
    let last = (newest - middle).to_string();
    let (changes, report) = replay(rules, &["--last", &last]);
    assert_eq!((changes.len(), report["replayed"].as_u64()), (0, Some(1)), "{report:#}");
    let left: Vec<&String> = report["left_out"].as_object().unwrap().keys().collect();
    assert!(left.len() == 1 && left[0].contains("limit_exceeded"), "{report:#}");
    let short: Vec<&Value> = report["incomplete"].as_array().unwrap().iter().map(|it| &it["limit"]).collect();
    assert!(short.contains(&&json!("sum: params.amount, max: 100, per: total")), "{report:#}");
}
