//! Held actions: what an approval is bound to, who may decide it, and that it is used once.

use crate::{
    process::typed,
    stage::{PLACET, story},
};
use placet_testkit::{Agent, Answer, Story, fresh, password, together};
use serde_json::{Value, json};
use std::{
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Everything is held, and `lee` may say yes.
const HELD: &str = "  - name: held\n    allow: [notes.*, refunds.*, orders.*]\n    approve: {by: [\"role:support-lead\"], within: 30m}\n";

fn note(customer: &str, text: &str) -> Value {
    json!({"customer_id": customer, "text": text})
}

fn hold(story: &Story, token: &str, action: &str, params: &Value) -> String {
    let held = story.act(token, action, params).expect(202);
    assert_eq!(held.at("/status"), "held");
    held.text("/approval/id")
}

fn decide(story: &Story, session: &str, approval: &str, verdict: &str) -> Answer {
    let body = json!({"verdict": verdict});
    story.client().post(&format!("/v1/approvals/{approval}")).bearer(session).json(&body).send()
}

fn resend(story: &Story, token: &str, action: &str, params: &Value, approval: &str) -> Answer {
    story.acting(token, action, params).header("placet-approval", approval).send()
}

fn shown(story: &Story, approval: &str) -> Value {
    story.admin().get(&format!("/v1/approvals/{approval}")).send().expect(200).body
}

/// Somebody with the role `support-lead` and no other, and somebody with none; made once.
fn others(story: &Story) -> &'static (String, String) {
    static OTHERS: OnceLock<(String, String)> = OnceLock::new();
    OTHERS.get_or_init(|| (story.user("leah", &["support-lead"]).1, story.user("noa", &["clerk"]).1))
}

#[test]
fn a_held_action_runs_once_after_a_person_said_yes() {
    let story = story();
    let (agent, token) = story.ready(HELD);
    let customer = fresh("c");
    let params = note(&customer, "hello");
    let held = story.act(&token, "notes.write", &params).expect(202);
    assert!(held.text("/id").starts_with("act_"));
    let id = held.text("/approval/id");
    assert_eq!(held.text("/approval/url"), format!("{}/v1/approvals/{id}", story.server.base()));
    assert_eq!(held.at("/approval/rule"), "held");
    assert!(held.at("/approval/expires").is_string());
    // The same request while pending is the same question, with the approval and without.
    assert_eq!(story.act(&token, "notes.write", &params).expect(202).text("/approval/id"), id);
    assert_eq!(resend(story, &token, "notes.write", &params, &id).expect(202).text("/approval/id"), id);
    let lists = story.approver().get("/v1/approvals?state=pending&limit=1000").send().expect(200);
    let found =
        lists.at("/approvals").as_array().unwrap().iter().filter(|one| one["id"] == id.as_str()).count();
    assert_eq!(found, 1);
    let seen = shown(story, &id);
    assert_eq!(seen["shown"]["params"], params);
    assert_eq!(seen["shown"]["agent"]["handle"], agent.handle.as_str());
    assert_eq!(seen["shown"]["request"], format!("POST {}/customers/{customer}/notes", story.shop.base()));
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
    assert_eq!(decide(story, &story.lee, &id, "approve").expect(200).at("/state"), "approved");
    // The same answer of the same person is the same answer.
    assert_eq!(decide(story, &story.lee, &id, "approve").expect(200).at("/state"), "approved");
    decide(story, &story.lee, &id, "deny").refused(409, "conflict");
    resend(story, &token, "notes.write", &params, &id).expect(200);
    resend(story, &token, "notes.write", &params, &id).refused(403, "approval_used");
    assert_eq!(shown(story, &id)["state"], "used");
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}

#[test]
fn threat_12_of_32_that_come_back_at_once_one_is_carried_out() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let params = note(&customer, "once");
    // Also the question is put once, however many ask.
    let asked = together(16, |_| hold(story, &token, "notes.write", &params));
    assert!(asked.iter().all(|id| *id == asked[0]), "{asked:?}");
    decide(story, &story.lee, &asked[0], "approve").expect(200);
    let answers = together(32, |_| resend(story, &token, "notes.write", &params, &asked[0]));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.clone().refused(403, "approval_used");
    }
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}

#[test]
fn threat_13_an_approval_is_for_one_request_of_one_grant_of_one_agent() {
    let story = story();
    let client = story.client();
    let (agent, token) = story.ready(HELD);
    let customer = fresh("c");
    let params = json!({"customer_id": customer, "order_id": "1", "amount": 5, "currency": "USD"});
    let id = hold(story, &token, "refunds.create", &params);
    decide(story, &story.lee, &id, "approve").expect(200);
    let pending = || {
        let listed = client.get("/v1/approvals?limit=1000").bearer(&token).send().expect(200);
        listed.at("/approvals").as_array().unwrap().len()
    };
    let before = pending();
    let with = |member: &str, value: Value| {
        let mut other = params.clone();
        other[member] = value;
        other
    };
    let mut without = params.clone();
    without.as_object_mut().unwrap().remove("currency");
    let changed = [
        with("amount", json!(6)),
        with("amount", json!("5")),
        with("amount", json!(5.0)),
        with("currency", json!("EUR")),
        with("currency", json!("usd")),
        with("order_id", json!("2")),
        with("customer_id", json!(fresh("c"))),
        with("reason", json!("")),
        without,
    ];
    for other in changed {
        resend(story, &token, "refunds.create", &other, &id).refused(403, "approval_mismatch");
    }
    // Another action with the same parameters, another grant of the same agent, another agent.
    let note = json!({"customer_id": customer, "text": "x"});
    resend(story, &token, "notes.write", &note, &id).refused(403, "approval_mismatch");
    let second = agent.token(&client, "refunds.create");
    resend(story, &second, "refunds.create", &params, &id).refused(403, "approval_mismatch");
    let (_, strangers) = story.ready(HELD);
    resend(story, &strangers, "refunds.create", &params, &id).refused(403, "approval_mismatch");
    resend(story, &token, "refunds.create", &params, "apr_01m80k14jr9v4adankd5nw7ywr")
        .refused(403, "approval_mismatch");
    assert_eq!(pending(), before, "a mismatch made another approval");
    // None of that used it up. The order in which members are written makes no difference.
    let body = format!(
        "{{\"params\": {{\"currency\": \"USD\", \"amount\": 5, \"order_id\": \"1\", \"customer_id\": \"{customer}\"}}, \
         \"action\": \"refunds.create\", \"connection\": \"shop-main\"}}"
    );
    let same = client.post("/v1/actions").bearer(&token).header("placet-approval", &id);
    same.body("application/json", body).send().expect(200);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}

#[test]
fn threat_14_who_answers_is_shown_every_argument_and_nothing_in_disguise() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    // The amount has no declared type, so that whatever it holds is an argument.
    let hidden = "5\u{202e}000.1\u{1b}[2K\u{200b}";
    let params = json!({"customer_id": customer, "order_id": "1", "currency": "USD", "reason": "late\u{2028}paid",
        "amount": {"value": hidden, "split": [{"to": "mallory"}, 7]}});
    let id = hold(story, &token, "refunds.create", &params);
    assert_eq!(shown(story, &id)["shown"]["params"], params);
    // At a terminal: every argument, and no character that isn't seen or moves others.
    let seen = at_a_terminal(story, &["approvals", "show", &id]);
    for argument in
        [customer.as_str(), "USD", "5\\u{202e}000.1", "late\\u{2028}paid", "mallory", "refunds.create"]
    {
        assert!(seen.contains(argument), "`{argument}` is not shown: {seen}");
    }
    let disguises = ['\u{202e}', '\u{200b}', '\u{2028}', '\u{1b}'];
    assert!(!seen.contains(disguises), "{seen:?}");
    let listed = at_a_terminal(story, &["approvals", "list", "--state", "pending"]);
    assert!(listed.contains(&id) && !listed.contains(disguises), "{listed:?}");
    // What can't be shown in full nobody is asked about.
    let long = note(&customer, &"x".repeat(70_000));
    story.act(&token, "notes.write", &long).refused(403, "forbidden");
    let own = story.client().get("/v1/approvals?limit=1000").bearer(&token).send().expect(200);
    assert_eq!(own.at("/approvals").as_array().unwrap().len(), 1, "somebody was asked about a part");
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
}

/// What a command of Lee's shows at a terminal, without colours.
fn at_a_terminal(story: &Story, arguments: &[&str]) -> String {
    let placet = story.server.command();
    let mut script = Command::new("script");
    for (name, value) in placet.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    // Nothing else decides how it is shown: a terminal is what standard output is.
    let line = format!("exec {} {}", placet.get_program().to_str().unwrap(), arguments.join(" "));
    script.env("PLACET_URL", story.server.base()).env("PLACET_TOKEN", &story.lee).env("NO_COLOR", "1");
    let output = script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn threat_15_only_those_whom_the_rule_names_decide_and_nobody_elses_token() {
    let story = story();
    let (leah, noa) = others(story);
    let (_, token) = story.ready(HELD);
    let (_, other_agent) = story.ready(HELD);
    let params = note(&fresh("c"), "who");
    let id = hold(story, &token, "notes.write", &params);
    for (who, session, status) in [
        ("the administrator token", story.server.admin_token(), 403),
        ("the agent itself", token.as_str(), 403),
        ("another agent", other_agent.as_str(), 403),
        ("a user without the role", noa.as_str(), 404),
        ("garbage", "plt_session_x", 401),
    ] {
        for verdict in ["approve", "deny"] {
            let answer = decide(story, session, &id, verdict);
            assert_eq!(answer.status, status, "{who} {verdict}: {:#}", answer.body);
        }
    }
    let nobody =
        story.client().post(&format!("/v1/approvals/{id}")).json(&json!({"verdict": "approve"})).send();
    nobody.refused(401, "token_invalid");
    // An administrator sees it, but the rule does not name that role.
    let administrators = decide(story, &story.ada, &id, "approve");
    assert!(matches!(administrators.status, 403 | 404), "{:#}", administrators.body);
    story.client().get(&format!("/v1/approvals/{id}")).bearer(noa).send().refused(404, "not_found");
    story.client().get(&format!("/v1/approvals/{id}")).bearer(&other_agent).send().refused(404, "not_found");
    // The agent sees whether there is an answer, and nothing of who may give it.
    let own = story.client().get(&format!("/v1/approvals/{id}")).bearer(&token).send().expect(200);
    let mut members: Vec<&String> = own.body.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["expires", "id", "missing", "state"]);
    assert_eq!(own.at("/state"), "pending");
    for body in
        [json!({}), json!({"verdict": "yes"}), json!({"verdict": "approve", "for": "ever"}), json!([])]
    {
        let answer = story.approver().post(&format!("/v1/approvals/{id}")).json(&body).send();
        assert_eq!(answer.status, 400, "{body}: {:#}", answer.body);
    }
    decide(story, leah, &id, "approve").expect(200);
    resend(story, &token, "notes.write", &params, &id).expect(200);
}

#[test]
fn a_no_is_a_no() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let params = note(&customer, "no");
    let id = hold(story, &token, "notes.write", &params);
    assert_eq!(decide(story, &story.lee, &id, "deny").expect(200).at("/state"), "denied");
    resend(story, &token, "notes.write", &params, &id).refused(403, "approval_denied");
    decide(story, &story.lee, &id, "approve").refused(409, "conflict");
    resend(story, &token, "notes.write", &params, &id).refused(403, "approval_denied");
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
}

#[test]
fn nobody_answers_in_time() {
    let story = story();
    let rules = HELD.replace("30m", "1s");
    let (_, token) = story.ready(&rules);
    let customer = fresh("c");
    let params = note(&customer, "late");
    let id = hold(story, &token, "notes.write", &params);
    placet_testkit::until("its end", || (shown(story, &id)["state"] == "expired").then_some(()));
    decide(story, &story.lee, &id, "approve").refused(409, "conflict");
    resend(story, &token, "notes.write", &params, &id).refused(403, "approval_expired");
    // A new question is another one.
    assert_ne!(hold(story, &token, "notes.write", &params), id);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
}

#[test]
fn a_yes_that_is_not_used_in_time_is_none() {
    let story = story();
    let (_, token) = story.ready(&HELD.replace("30m", "1s"));
    let params = note(&fresh("c"), "slow");
    let id = hold(story, &token, "notes.write", &params);
    decide(story, &story.lee, &id, "approve").expect(200);
    placet_testkit::until("its end", || (shown(story, &id)["state"] == "expired").then_some(()));
    resend(story, &token, "notes.write", &params, &id).refused(403, "approval_expired");
}

#[test]
fn threat_17_only_so_many_wait_for_one_agent() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    // Equal requests are one question, however often they come.
    let same = together(16, |_| hold(story, &token, "notes.write", &note(&customer, "again")));
    assert!(same.iter().all(|id| *id == same[0]), "{same:?}");
    let answers = together(30, |n| story.act(&token, "notes.write", &note(&customer, &format!("{n}"))));
    assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 19);
    for answer in answers.iter().filter(|answer| answer.status != 202) {
        answer.clone().refused(429, "too_many_pending");
    }
    // Others are not hindered, and an answer makes room.
    let (_, other) = story.ready(HELD);
    hold(story, &other, "notes.write", &note(&customer, "x"));
    let held = answers.iter().find(|answer| answer.status == 202).unwrap().text("/approval/id");
    decide(story, &story.lee, &held, "deny").expect(200);
    hold(story, &token, "notes.write", &note(&customer, "one more"));
    story.act(&token, "notes.write", &note(&customer, "too many")).refused(429, "too_many_pending");
}

#[test]
fn release_is_judged_anew() {
    let story = story();
    let (agent, token) = story.ready(HELD);
    let customer = fresh("c");
    let params = note(&customer, "then");
    let id = hold(story, &token, "notes.write", &params);
    decide(story, &story.lee, &id, "approve").expect(200);
    story.rules(&agent.handle, "  - {name: none, deny: [notes.*]}\n").expect(200);
    resend(story, &token, "notes.write", &params, &id).refused(403, "forbidden");
    assert_eq!(shown(story, &id)["state"], "approved", "a denial used it up");
    // The rule is back, but it is another version of the policy: what was approved was the other.
    story.rules(&agent.handle, HELD).expect(200);
    resend(story, &token, "notes.write", &params, &id).refused(403, "approval_mismatch");
    let revoke = story.admin().post("/oauth/revoke").form(&[("token", &token)]).send();
    revoke.expect(200);
    let ended = resend(story, &token, "notes.write", &params, &id);
    assert_eq!(ended.status, 401);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
}

#[test]
fn a_hold_reserves_nothing_and_a_limit_counts_what_runs() {
    let story = story();
    let rules = "  - name: held\n    allow: [notes.write]\n    limits: [{count: 1, per: day}]\n    approve: {by: [\"role:support-lead\"], within: 30m}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    let (first, second) = (note(&customer, "1"), note(&customer, "2"));
    let ids = [hold(story, &token, "notes.write", &first), hold(story, &token, "notes.write", &second)];
    for id in &ids {
        decide(story, &story.lee, id, "approve").expect(200);
    }
    resend(story, &token, "notes.write", &first, &ids[0]).expect(200);
    resend(story, &token, "notes.write", &second, &ids[1]).refused(403, "limit_exceeded");
    assert_eq!(shown(story, &ids[1])["state"], "approved", "a refused release used it up");
    // Nobody is asked about what can't run.
    story.act(&token, "notes.write", &note(&customer, "3")).refused(403, "limit_exceeded");
}

#[test]
fn without_by_the_grants_user_decides_else_an_approver() {
    let story = story();
    let (leah, noa) = others(story);
    let client = story.client();
    let rules = "  - {name: held, allow: [notes.write], approve: {within: 30m}}\n";
    let (agent, token) = story.ready(rules);
    let params = note(&fresh("c"), "nobody's");
    let id = hold(story, &token, "notes.write", &params);
    for session in [leah, noa] {
        assert!(matches!(decide(story, session, &id, "approve").status, 403 | 404));
    }
    decide(story, &story.lee, &id, "approve").expect(200);
    resend(story, &token, "notes.write", &params, &id).expect(200);
    // For a task of noa's it is noa who decides; neither an approver's nor an administrator's role is enough.
    let task = json!({"task_id": fresh("t"), "description": "for noa", "agent": agent.handle, "scope": ["notes.*"],
        "resources": ["order://**"]});
    let task = client.post("/v1/tasks").bearer(noa).json(&task).send().expect(201).text("/id");
    let claimed = agent.ask().with("task_id", &task).with("scope", "notes.*").send(&client).expect(200);
    let token = claimed.text("/access_token");
    let id = hold(story, &token, "notes.write", &params);
    for session in [leah, &story.lee, &story.ada] {
        let answer = decide(story, session, &id, "approve");
        assert!(matches!(answer.status, 403 | 404), "{:#}", answer.body);
    }
    decide(story, noa, &id, "approve").expect(200);
    resend(story, &token, "notes.write", &params, &id).expect(200);
}

#[test]
fn several_rules_need_an_answer_each() {
    let story = story();
    let (leah, _) = others(story);
    let parent: (Agent, String) = story.ready(HELD);
    let child = story.agent(&fresh("agent-")).register();
    let rules = "  - name: also\n    allow: [notes.*]\n    approve: {by: [\"role:approver\"], within: 30m}\n";
    story.rules(&child.handle, rules).expect(201);
    let asked = child.ask().with("parent_token", &parent.1).with("scope", "notes.*").send(&story.client());
    let token = asked.expect(200).text("/access_token");
    let params = note(&fresh("c"), "two");
    let id = hold(story, &token, "notes.write", &params);
    // leah is a lead, but no approver.
    assert_eq!(decide(story, leah, &id, "approve").expect(200).at("/state"), "pending");
    resend(story, &token, "notes.write", &params, &id).expect(202);
    assert_eq!(decide(story, &story.lee, &id, "approve").expect(200).at("/state"), "approved");
    resend(story, &token, "notes.write", &params, &id).expect(200);
}

#[test]
fn when_something_is_unknown_a_person_is_asked() {
    let story = story();
    let rules = "  - {name: some, allow: [refunds.create], approve: {when: params.amount > 100, by: [\"role:support-lead\"], within: 30m}}\n";
    let (_, token) = story.ready(rules);
    let refund = |amount: Value| json!({"customer_id": fresh("c"), "order_id": "1", "amount": amount});
    story.act(&token, "refunds.create", &refund(json!(100))).expect(200);
    story.act(&token, "refunds.create", &refund(json!(100.000001))).expect(202);
    story.act(&token, "refunds.create", &refund(json!("many"))).expect(202);
}

#[test]
fn a_new_version_of_the_service_ends_what_waits_for_the_one_before() {
    let story = Story::new(PLACET);
    let (_, token) = story.ready(HELD);
    let (waiting, approved) = (note("c", "waiting"), note("c", "approved"));
    let ids = [hold(&story, &token, "notes.write", &waiting), hold(&story, &token, "notes.write", &approved)];
    decide(&story, &story.lee, &ids[1], "approve").expect(200);
    let changed =
        Story::service_at(story.shop.base()).replace("service: shop", "service: shop\ndescription: new");
    story.service("shop", &changed).expect(200);
    assert_eq!(shown(&story, &ids[0])["state"], "expired");
    decide(&story, &story.lee, &ids[0], "approve").refused(409, "conflict");
    for (id, params) in ids.iter().zip([&waiting, &approved]) {
        let answer = resend(&story, &token, "notes.write", params, id);
        assert_eq!(answer.status, 403, "{:#}", answer.body);
    }
    assert_eq!(story.shop.count("/"), 0);
}

#[test]
fn the_command_line_decides_with_a_persons_session_only() {
    let story = Story::new(PLACET);
    let (_, token) = story.ready(HELD);
    let params = note("c", "by hand");
    let id = hold(&story, &token, "notes.write", &params);
    let run = |arguments: &[&str], token: Option<&str>| {
        let mut command = match token {
            Some(token) => {
                let mut command = story.server.command();
                command.env("PLACET_URL", story.server.base()).env("PLACET_TOKEN", token);
                command
            }
            None => story.server.cli(),
        };
        command.args(arguments).output().unwrap()
    };
    // Neither the administrator token of the directory nor one in the environment, nor the agent's.
    for with in [None, Some(story.server.admin_token()), Some(token.as_str())] {
        let output = run(&["approvals", "approve", &id], with);
        assert_ne!(output.status.code(), Some(0), "{with:?}: {output:?}");
    }
    assert_eq!(shown(&story, &id)["state"], "pending");
    let output = typed(story.server.cli().args(["login", "--name", "lee"]), &password("lee"));
    assert!(output.status.success(), "{output:?}");
    let output = run(&["approvals", "approve", &id], None);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(shown(&story, &id)["state"], "approved");
    resend(&story, &token, "notes.write", &params, &id).expect(200);
}
