//! Questions besides a single decision: several at once, lists, and what an agent may do.

use crate::parties::stage;
use placet_testkit::{Agent, Answer, Story, fresh, until};
use serde_json::{Value, json};

fn story() -> &'static Story {
    stage().story
}

/// A registered resource server: its id, secret and audience.
fn registered() -> (String, String, String) {
    let audience = format!("https://{}.example/v1", fresh("q-"));
    let body = json!({"name": fresh("q-"), "audience": audience});
    let made = stage().admin().post("/v1/resource-servers").json(&body).send().expect(201);
    (made.text("/client_id"), made.text("/client_secret"), audience)
}

fn note(customer: &str) -> Value {
    json!({"action": "notes.write", "params": {"customer_id": customer, "text": "x"}})
}

/// An answer without what differs each time.
fn bare(mut answer: Value) -> Value {
    answer.as_object_mut().unwrap().remove("id");
    answer
}

#[test]
fn a_batch_is_answered_as_each_alone() {
    let (agent, token) = story().ready(
        "  - {name: notes, allow: [notes.write], on: [\"order://customer:1\"]}\n  - {name: some, allow: [refunds.create], when: params.amount <= 5, approve: {when: params.amount > 2}}\n",
    );
    let client = story().client().with(&token);
    let refund = |amount: i64| json!({"action": "refunds.create", "params": {"customer_id": "1", "order_id": "2", "amount": amount}});
    let questions = [
        note("1"),
        note("2"),
        refund(1),
        refund(3),
        refund(7),
        json!({"action": "no.such", "resource": "a://b"}),
    ];
    let all = client.post("/v1/decisions").json(&json!({"decisions": questions})).send().expect(200);
    let answers = all.at("/decisions").as_array().unwrap();
    let said: Vec<&str> = answers.iter().map(|one| one["decision"].as_str().unwrap()).collect();
    assert_eq!(said, ["allow", "deny", "allow", "hold", "deny", "deny"]);
    for (question, answer) in questions.iter().zip(answers) {
        let alone = client.post("/v1/decisions").json(question).send().expect(200);
        assert_eq!(bare(alone.body), bare(answer.clone()), "{question}");
    }
    // What can't be answered is an error in its place.
    let mixed = json!({"decisions": [note("1"), {"action": "a b"}, {}, {"action": "x", "agent": "y"}, {"decisions": []}]});
    let mixed = client.post("/v1/decisions").json(&mixed).send().expect(200);
    assert_eq!(mixed.at("/decisions/0/decision"), "allow");
    for (index, status) in [(1, 400), (2, 400), (3, 403), (4, 400)] {
        assert_eq!(mixed.at(&format!("/decisions/{index}/decision")), "deny");
        assert_eq!(mixed.at(&format!("/decisions/{index}/error/status")), status);
    }
    for wrong in [
        json!({"decisions": []}),
        json!({"decisions": vec![note("1"); 101]}),
        json!({"decisions": [note("1")], "action": "x"}),
        json!({"decisions": [note("1")], "dry_run": true}),
        json!({"decisions": [{"action": "x", "unknown": 1}]}),
    ] {
        client.post("/v1/decisions").json(&wrong).send().refused(400, "request_invalid");
    }
    let keyed =
        client.post("/v1/decisions").header("idempotency-key", "k").json(&json!({"decisions": [note("1")]}));
    keyed.send().refused(400, "request_invalid");
    let id = agent.id;
    let asked = || {
        story()
            .record()
            .iter()
            .filter(|one| one["type"] == "decision.advice" && one["agent"] == json!(id))
            .count()
    };
    until("twelve questions in the record", || (asked() >= 12).then_some(()));
}

#[test]
fn many_questions_cost_as_many() {
    let (_, token) = story().ready("  - {name: notes, allow: [notes.write]}\n");
    let client = story().client().with(&token);
    let many = json!({"decisions": vec![note("1"); 100]});
    client.post("/v1/decisions").json(&many).send().expect(200);
    client.post("/v1/decisions").json(&many).send().refused(429, "too_many_requests");
    client.get("/v1/catalog").send().refused(429, "too_many_requests");
    let list = json!({"action": "notes.write", "resources": vec!["order://customer:1"; 1000]});
    client.post("/v1/decisions/filter").json(&list).send().refused(429, "too_many_requests");
}

#[test]
fn a_resource_servers_batch_is_charged_one_by_one() {
    let (id, secret, audience) = registered();
    let agent = story().agent(&fresh("bot-")).register();
    story()
        .rules(&agent.handle, "  - {name: two, allow: [notes.write], limits: [{count: 2, per: day}]}\n")
        .expect(201);
    let token = agent.ask().with("scope", "notes.*").with("resource", &audience);
    let token = token.send(&story().client()).expect(200).text("/access_token");
    let mut question = note("1");
    question["resource"] = json!("order://customer:1");
    question["token"] = json!(token);
    let ask = || {
        let request = story().client().post("/v1/decisions").basic(&id, &secret);
        request.json(&json!({"decisions": vec![question.clone(); 3]})).send().expect(200)
    };
    let answer = ask();
    let said = |answer: &Answer| {
        answer
            .at("/decisions")
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["decision"] == "allow")
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&answer), [true, true, false]);
    let path = format!("/v1/decisions/{}/outcome", answer.text("/decisions/1/id"));
    story().client().post(&path).basic(&id, &secret).json(&json!({"happened": "no"})).send().expect(200);
    assert_eq!(said(&ask()), [true, false, false]);
}

/// Numbers that look random, the same in each run.
fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    }
}

const ON: [&str; 6] =
    ["doc://**", "doc://a/*", "doc://*/1", "doc://b/2", "doc://{{agent.handle}}/1", "doc://{{user.id}}/1"];
const WHEN: [&str; 5] = [
    "params.n <= 5",
    "agent.labels.team == \"x\"",
    "context.ok == true",
    "resource.authority == \"a\"",
    "params.gone",
];

/// Rules that nobody thought about.
fn rules(next: &mut impl FnMut(usize) -> usize) -> String {
    let count = 1 + next(4);
    let rule = |n: usize| {
        let kind = ["allow", "allow", "allow", "deny", "guard"][next(5)];
        let mut rule = format!("  - {{name: r{n}, {kind}: [docs.read]");
        if next(3) > 0 {
            rule += &format!(", on: [\"{}\", \"{}\"]", ON[next(ON.len())], ON[next(ON.len())]);
        }
        if next(2) > 0 {
            rule += &format!(", when: '{}'", WHEN[next(WHEN.len())]);
        }
        if kind != "deny" && next(4) == 0 {
            rule += ", limits: [{count: 3, per: day}, {sum: params.n, max: 4, per: day, by: resource}]";
        }
        if kind != "deny" && next(4) == 0 {
            rule += ", approve: {when: params.n > 2}";
        }
        rule + "}\n"
    };
    (0..count).map(rule).collect()
}

fn reader(team: &str) -> Agent {
    let agent = story().agent(&fresh("reader-"));
    let agent = agent.with("allowed_tools", json!(["docs.*"])).with("resource_access", json!(["doc://**"]));
    agent.with("labels", json!({"team": team})).register()
}

#[test]
fn a_filter_says_what_each_decision_would() {
    let (id, secret, audience) = registered();
    let agents = [reader("x"), reader("y")];
    let admin = stage().admin();
    let mut next = numbers(7);
    let (mut allowed_in_all, mut exact) = (0, 0);
    for round in 0..24 {
        let agent = &agents[round % 2];
        let text = rules(&mut next);
        let applied = story().rules(&agent.handle, &text);
        assert!(matches!(applied.status, 200 | 201), "{text}: {:#}", applied.body);
        let params = json!({"n": 1 + next(6)});
        let context = json!({"ok": next(2) == 0});
        let resources: Vec<String> = ["a", "b", "c", agent.handle.as_str()]
            .iter()
            .flat_map(|place| (1..3).map(move |n| format!("doc://{place}/{n}")))
            .collect();
        let questions: Vec<Value> = resources
            .iter()
            .map(|one| {
                json!({"action": "docs.read", "resource": one, "params": params, "context": context,
                    "agent": agent.handle, "dry_run": true})
            })
            .collect();
        let singles = admin.post("/v1/decisions").json(&json!({"decisions": questions})).send().expect(200);
        let of = |verdict: &str| -> Vec<&str> {
            let answers = singles.at("/decisions").as_array().unwrap();
            let said = resources.iter().zip(answers).filter(|(_, one)| one["decision"] == verdict);
            said.map(|(resource, _)| resource.as_str()).collect()
        };
        let mut filter =
            json!({"action": "docs.read", "resources": resources, "params": params, "context": context});
        filter["agent"] = json!(agent.handle);
        let found = admin.post("/v1/decisions/filter").json(&filter).send().expect(200);
        assert_eq!(found.at("/allowed"), &json!(of("allow")), "{text}");
        assert_eq!(found.at("/held"), &json!(of("hold")), "{text}");
        // A resource server that was shown a token is told the same.
        let token = agent.ask().with("scope", "docs.*").with("resource", &audience);
        let token = token.send(&story().client()).expect(200).text("/access_token");
        let members = filter.as_object_mut().unwrap();
        members.remove("agent");
        members.insert("token".into(), json!(token));
        let ask = |body: &Value| {
            let request = story().client().post("/v1/decisions/filter").basic(&id, &secret);
            request.json(body).send().expect(200)
        };
        let shown = ask(&filter);
        assert_eq!(
            (shown.at("/allowed"), shown.at("/held")),
            (found.at("/allowed"), found.at("/held")),
            "{text}"
        );
        // And where within a pattern, if that can be said.
        let members = filter.as_object_mut().unwrap();
        members.remove("resources");
        members.insert("pattern".into(), json!(["doc://**", "doc://a/*", "*"][next(3)]));
        let within = ask(&filter);
        if within.at("/unknown") == false {
            exact += 1;
            let patterns = within.at("/allowed").as_array().unwrap();
            let reaches = |one: &str| {
                patterns.iter().any(|pattern| {
                    let pattern = pattern.as_str().unwrap();
                    pattern == one
                        || pattern == "*"
                        || pattern == "doc://**"
                        || pattern
                            .strip_suffix("/*")
                            .is_some_and(|front| one.starts_with(&format!("{front}/")))
                        || pattern
                            .strip_prefix("doc://*/")
                            .is_some_and(|last| one.ends_with(&format!("/{last}")))
                })
            };
            let asked = filter["pattern"] == "doc://a/*";
            for one in of("allow") {
                assert!(
                    reaches(one) || asked && !one.starts_with("doc://a/"),
                    "{one} is not in {patterns:?}\n{text}"
                );
            }
            for one in resources.iter().filter(|one| reaches(one)) {
                assert!(of("allow").contains(&one.as_str()), "{one} is in {patterns:?}\n{text}");
            }
        }
        allowed_in_all += of("allow").len();
    }
    assert!(allowed_in_all > 10 && exact > 3, "{allowed_in_all} {exact}");
    let id = agents[0].id.clone();
    let asked = || {
        story()
            .record()
            .iter()
            .any(|one| one["type"] == "decision.advice" && one["agent"] == json!(id) && one["by"].is_string())
    };
    until("a filter in the record", || asked().then_some(()));
}

#[test]
fn a_filter_charges_nothing_and_is_for_oneself() {
    let (agent, token) =
        story().ready("  - {name: one, allow: [notes.write], limits: [{count: 1, per: day}]}\n");
    let client = story().client().with(&token);
    let filter = json!({"action": "notes.write", "resources": ["order://customer:1", "order://customer:2"],
        "params": {"customer_id": "1", "text": "x"}});
    for _ in 0..3 {
        let found = client.post("/v1/decisions/filter").json(&filter).send().expect(200);
        // The parameters say what it would be on.
        assert_eq!(found.at("/allowed"), &json!(["order://customer:1"]));
    }
    story().act(&token, "notes.write", &filter["params"]).expect(200);
    let found = client.post("/v1/decisions/filter").json(&filter).send().expect(200);
    assert_eq!(found.at("/allowed"), &json!([]));
    let within = json!({"action": "notes.write", "pattern": "order://**"});
    assert_eq!(client.post("/v1/decisions/filter").json(&within).send().expect(200).at("/unknown"), true);
    for (member, value) in [
        ("agent", json!(agent.handle)),
        ("task", json!("x")),
        ("user", json!({"id": "x"})),
        ("token", json!(token)),
    ] {
        let mut body = filter.clone();
        body[member] = value;
        client.post("/v1/decisions/filter").json(&body).send().refused(403, "not_permitted");
    }
    for wrong in [
        json!({"action": "x"}),
        json!({"action": "x", "resources": [], "pattern": "*"}),
        json!({"action": "x", "resources": ["nonsense"]}),
        json!({"action": "x", "pattern": "a//b"}),
        json!({"action": "x y", "resources": []}),
        json!({"action": "x", "resources": vec!["a://b"; 1001]}),
    ] {
        client.post("/v1/decisions/filter").json(&wrong).send().refused(400, "request_invalid");
    }
}

#[test]
fn a_catalog_says_what_an_agent_may_do_and_nothing_else() {
    let story = story();
    let agent = story.agent(&fresh("cat-")).with("labels", json!({"team": "x"})).register();
    let rules = "  - {name: list, allow: [orders.list]}
  - name: small refunds
    allow: [refunds.create]
    when: [params.amount <= 500, 'params.currency == \"USD\"', context.secret_fact == 8675309]
    limits: [{count: 5, per: day}]
  - name: refunds that are asked about
    allow: [refunds.create]
    when: [params.amount <= 900]
    limits: [{sum: params.amount, max: 2000, per: day}, {count: 7, per: week, by: user}]
    approve: {when: params.amount > 100}
  - {name: hidden, allow: [orders.delete], when: agent.labels.team == \"secret-team\"}
  - {name: ask, allow: [notes.write], approve: {}}
  - {name: read, allow: [orders.read], limits: [{count: 3, per: day}]}
";
    story.rules(&agent.handle, rules).expect(201);
    let token = agent.token(&story.client(), "orders.* notes.* refunds.*");
    let client = story.client().with(&token);
    let shown = client.get("/v1/catalog").send().expect(200);
    let of = |shown: &Answer, name: &str| {
        shown.at("/actions").as_array().unwrap().iter().find(|one| one["action"] == name).cloned()
    };
    let decision = |name: &str| of(&shown, name).map(|one| one["decision"].as_str().unwrap().to_owned());
    assert_eq!(decision("orders.list").as_deref(), Some("allowed"));
    assert_eq!(decision("orders.read").as_deref(), Some("allowed"));
    assert_eq!(decision("notes.write").as_deref(), Some("with_approval"));
    assert_eq!(decision("refunds.create").as_deref(), Some("conditional"));
    assert_eq!(decision("orders.delete"), None);
    for untold in ["secret", "8675309", "small refunds", &agent.handle, "team"] {
        assert!(!shown.body.to_string().contains(untold), "{untold} in {:#}", shown.body);
    }
    let refund = of(&shown, "refunds.create").unwrap();
    // The context is never an agent's own: only the second rule can hold.
    assert_eq!(
        refund["conditions"],
        json!([{"one_of": [{"bounds": {"params.amount": {"max": 900, "above": 0}},
        "more": true, "approval": "sometimes"}]}])
    );
    assert_eq!((&refund["effect"], &refund["service"]), (&json!("money"), &json!("shop")));
    assert_eq!(refund["params"]["required"], json!(["customer_id", "order_id", "amount"]));
    assert_eq!(refund["connections"][0]["name"], "shop-main");
    // Its own limit, as it stands.
    let limit = |shown: &Answer| of(shown, "orders.read").unwrap()["limits"][0]["remaining"].clone();
    assert_eq!(limit(&shown), 3);
    let again = client.get("/v1/catalog").header("if-none-match", shown.header("etag").unwrap()).send();
    assert_eq!((again.status, again.bytes.len()), (304, 0));
    story.act(&token, "orders.read", &json!({"customer_id": "1", "order_id": "1"})).expect(200);
    let after =
        client.get("/v1/catalog").header("if-none-match", shown.header("etag").unwrap()).send().expect(200);
    assert_eq!(limit(&after), 2);
    // A token for less: what the agent could have besides is there, with what it needs.
    let less = agent.token(&story.client(), "orders.*");
    let less = story.client().with(&less).get("/v1/catalog").send().expect(200);
    let lacking = of(&less, "notes.write").unwrap();
    assert_eq!(
        (&lacking["decision"], &lacking["needs"]),
        (&json!("not_granted"), &json!({"scope": "notes.write"}))
    );
    assert_eq!(of(&less, "orders.delete"), None);
    // In pages.
    let first = client.get("/v1/catalog?limit=1").send().expect(200);
    let next = first.text("/next");
    assert_eq!((first.at("/actions").as_array().unwrap().len(), next.as_str()), (1, "notes.write"));
    let rest = client.get(&format!("/v1/catalog?after={next}")).send().expect(200);
    assert_eq!(
        rest.at("/actions").as_array().unwrap().len(),
        shown.at("/actions").as_array().unwrap().len() - 1
    );
    assert!(rest.at("/next").is_null());
    // Administrators ask about an agent, and nobody else does.
    let theirs = stage().admin().get(&format!("/v1/catalog?agent={}", agent.handle)).send().expect(200);
    assert_eq!(of(&theirs, "refunds.create").unwrap()["decision"], "conditional");
    stage().admin().get("/v1/catalog").send().refused(400, "request_invalid");
    client.get(&format!("/v1/catalog?agent={}", agent.handle)).send().refused(403, "not_permitted");
    story.client().with(&stage().pat.token).get("/v1/catalog?agent=x").send().refused(403, "not_permitted");
    client.get("/v1/catalog?nonsense=1").send().refused(400, "request_invalid");
    // As a command.
    let listed = story.server.cli().args(["catalog", "--agent", &agent.handle, "--json"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["actions"], *theirs.at("/actions"));
}

#[test]
fn what_a_catalog_calls_allowed_is_allowed() {
    let story = story();
    let mut next = numbers(3);
    let kinds = [
        "when: params.customer_id == \"1\"",
        "when: agent.labels.team == \"x\"",
        "approve: {}",
        "limits: [{count: 9, per: day}]",
        "on: [\"order://customer:1/**\"]",
    ];
    for _ in 0..6 {
        let mut text = String::new();
        for (n, action) in ["orders.list", "orders.read", "refunds.create", "notes.write"].iter().enumerate()
        {
            text += &format!("  - {{name: r{n}, allow: [{action}], {}}}\n", kinds[next(kinds.len())]);
        }
        let (_, token) = story.ready(&text);
        let shown = story.client().with(&token).get("/v1/catalog").send().expect(200);
        for customer in ["1", "2"] {
            for (action, params) in [
                ("orders.list", json!({"customer_id": customer})),
                ("orders.read", json!({"customer_id": customer, "order_id": "1"})),
                ("refunds.create", json!({"customer_id": customer, "order_id": "1", "amount": 3})),
                ("notes.write", json!({"customer_id": customer, "text": "x"})),
            ] {
                let question = json!({"action": action, "params": params});
                let said =
                    story.client().with(&token).post("/v1/decisions").json(&question).send().expect(200);
                let entry =
                    shown.at("/actions").as_array().unwrap().iter().find(|one| one["action"] == action);
                match entry.map(|one| one["decision"].as_str().unwrap()) {
                    Some("allowed") => assert_eq!(said.at("/decision"), "allow", "{text}"),
                    Some("with_approval") => assert_eq!(said.at("/decision"), "hold", "{text}"),
                    Some(_) => {}
                    None => assert_eq!(said.at("/decision"), "deny", "{text}"),
                }
            }
        }
    }
}

#[test]
fn what_is_not_granted_is_told_alike_whether_it_is_installed_or_not() {
    let story = story();
    let agent = story.agent(&fresh("agent-")).with("allowed_tools", json!(["orders.*"])).register();
    story.rules(&agent.handle, "  - {name: r, allow: ['**']}\n").expect(201);
    let token = agent.token(&story.client(), "orders.*");
    let told = |action: &str, params: Value| {
        let asked = json!({"action": action, "params": params});
        let answer = story.client().post("/v1/decisions").bearer(&token).json(&asked).send().expect(200);
        let mut body = answer.body.clone();
        body.as_object_mut().unwrap().remove("id");
        body.to_string().replace(action, "ACTION")
    };
    let nothing = told("payroll.pay", json!({}));
    assert!(nothing.contains("not_granted"), "{nothing}");
    for params in [
        json!({}),
        json!({"amunt": 5}),
        json!({"customer_id": "1", "order_id": "1", "amount": 5, "currency": "USD"}),
    ] {
        assert_eq!(told("refunds.create", params), nothing);
    }
}
