//! Accounts at upstreams after they were made: what a parked one needs, who mends it, other secrets, removal.

use crate::stage::story;
use placet_testkit::{Agent, Answer, Client, SECRET, Story, Upstream, fresh};
use serde_json::{Value, json};

const OTHER: &str = "canary-another-secret-88bb";

/// A service of its own with one action, `{name}.get`, at `base`; its version.
fn service(story: &Story, name: &str, base: &str) -> String {
    let yaml = format!(
        "service: {name}\nbase_url: {base}\nauth: {{type: bearer}}\nactions:\n  {name}.get:\n    \
         {{method: GET, path: '/things/{{id}}', resource: '{name}://things/{{id}}', effect: read}}\n"
    );
    let applied = story.service(name, &yaml);
    assert!([200, 201].contains(&applied.status), "{:#}", applied.body);
    format!("{name}@{}", applied.at("/version"))
}

fn agent(story: &Story, name: &str, rules: &str) -> (Agent, String) {
    let agent = story.agent(&fresh("agent-"));
    let agent =
        agent.with("allowed_tools", json!(["*", "**"])).with("resource_access", json!(["**"])).register();
    story.rules(&agent.handle, rules).expect(201);
    let token = agent.token(&story.client(), &format!("{name}.*"));
    (agent, token)
}

fn all(name: &str) -> String {
    format!("  - {{name: all, allow: [{name}.get]}}\n")
}

fn get(story: &Story, name: &str, token: &str) -> placet_testkit::Request {
    let body = json!({"service": name, "action": format!("{name}.get"), "params": {"id": "1"}});
    story.client().post("/v1/actions").bearer(token).json(&body)
}

fn show(client: &Client, name: &str) -> Answer {
    client.get(&format!("/v1/connections/{name}")).send()
}

fn change(client: &Client, name: &str, change: &Value) -> Answer {
    client.patch(&format!("/v1/connections/{name}")).json(change).send()
}

#[test]
fn a_parked_connection_says_what_it_needs_and_its_owner_confirms_that() {
    let (story, name) = (story(), fresh("moving"));
    service(story, &name, story.shop.base());
    let id = story.connection(&name, &name, &json!({})).expect(201).text("/id");
    let (_, token) = agent(story, &name, &all(&name));
    let active = show(&story.admin(), &name).expect(200);
    assert_eq!((active.at("/state"), active.at("/auth")), (&json!("active"), &json!({"type": "bearer"})));
    assert_eq!(active.at("/attention"), &Value::Null);
    change(&story.admin(), &name, &json!({"confirm": format!("{name}@1")})).refused(409, "conflict");
    let there = Upstream::start(SECRET);
    let version = service(story, &name, there.base());
    let parked = show(&story.admin(), &id).expect(200);
    assert_eq!(
        parked.at("/attention"),
        &json!({"reason": "service_changed", "confirm": version, "base_url": there.base(), "auth": {"type": "bearer"}})
    );
    assert!(get(story, &name, &token).send().status >= 400);
    // What was looked at is what is agreed to, and nothing later.
    let elsewhere = Upstream::start(SECRET);
    let later = service(story, &name, elsewhere.base());
    change(&story.admin(), &name, &json!({"confirm": version})).refused(409, "conflict");
    change(&story.approver(), &name, &json!({"confirm": later})).refused(404, "not_found");
    let mended = change(&story.admin(), &name, &json!({"confirm": later})).expect(200);
    assert_eq!((mended.at("/state"), mended.at("/attention")), (&json!("active"), &Value::Null));
    get(story, &name, &token).send().expect(200);
    assert_eq!((there.seen().len(), elsewhere.count("/things/1")), (0, 1));
    let entries: Vec<Value> =
        story.record().into_iter().filter(|entry| entry["connection"] == id.as_str()).collect();
    let told: Vec<(&str, &str)> = entries
        .iter()
        .filter(|entry| entry["type"].as_str().unwrap().starts_with("connection."))
        .map(|entry| (entry["type"].as_str().unwrap(), entry["outcome"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(
        told,
        [
            ("connection.added", ""),
            ("connection.changed", "needs_attention"),
            ("connection.changed", "active")
        ]
    );
}

#[test]
fn another_secret_is_sent_from_then_on_and_ends_what_was_approved_on_the_old_one() {
    let (story, name) = (story(), fresh("renewed"));
    let upstream = Upstream::start(OTHER);
    service(story, &name, upstream.base());
    story.connection(&name, &name, &json!({})).expect(201);
    let rules = format!("  - {{name: asked, allow: [{name}.get], approve: {{by: ['role:approver']}}}}\n");
    let (_, token) = agent(story, &name, &rules);
    let approved = |story: &Story| {
        let held = get(story, &name, &token).send().expect(202).text("/approval/id");
        let said = json!({"verdict": "approve"});
        story.approver().post(&format!("/v1/approvals/{held}")).json(&said).send().expect(200);
        held
    };
    let before = approved(story);
    for (sent, detail) in [
        (json!({"auth": {"type": "basic", "secret": OTHER}}), "auth.type"),
        (json!({"auth": {"type": "bearer", "secret": "two\nlines"}}), "auth.secret"),
        (json!({}), "one of"),
        (json!({"confirm": "x@1", "agents": []}), "one of"),
    ] {
        let refused = change(&story.admin(), &name, &sent).refused(400, "request_invalid");
        assert!(refused.text("/detail").contains(detail), "{:#}", refused.body);
    }
    let changed =
        change(&story.admin(), &name, &json!({"auth": {"type": "bearer", "secret": OTHER}})).expect(200);
    assert_eq!((changed.at("/state"), changed.at("/warnings")), (&json!("active"), &json!([])));
    assert!(!String::from_utf8_lossy(&changed.bytes).contains("canary"));
    get(story, &name, &token).header("placet-approval", &before).send().refused(403, "approval_mismatch");
    assert!(upstream.seen().is_empty());
    let after = approved(story);
    get(story, &name, &token).header("placet-approval", &after).send().expect(200);
    assert_eq!((upstream.count("/things/1"), upstream.unauthorized()), (1, 0));
}

#[test]
fn the_secret_of_a_person_goes_elsewhere_only_where_that_person_says_so() {
    let (story, name) = (story(), fresh("own"));
    service(story, &name, story.shop.base());
    story.connection(&name, &name, &json!({"user": "lee"})).expect(201);
    let elsewhere = Upstream::start(SECRET);
    let version = service(story, &name, elsewhere.base());
    let confirm = json!({"confirm": version});
    change(&story.admin(), &name, &confirm).refused(403, "not_permitted");
    change(&story.server.admin(), &name, &confirm).refused(403, "not_permitted");
    let (_, somebody) = story.user(&fresh("user-"), &[]);
    let somebody = story.client().with(&somebody);
    show(&somebody, &name).refused(404, "not_found");
    change(&somebody, &name, &confirm).refused(404, "not_found");
    somebody.delete(&format!("/v1/connections/{name}")).send().refused(404, "not_found");
    change(&story.approver(), &name, &json!({"agents": []})).refused(400, "request_invalid");
    assert_eq!(change(&story.approver(), &name, &confirm).expect(200).at("/state"), "active");
}

#[test]
fn a_removed_connection_reaches_nothing_and_frees_its_name() {
    let (story, name) = (story(), fresh("gone"));
    service(story, &name, story.shop.base());
    story.connection(&name, &name, &json!({})).expect(201);
    let (_, token) = agent(story, &name, &all(&name));
    get(story, &name, &token).send().expect(200);
    let path = format!("/v1/connections/{name}");
    story.client().with(&token).delete(&path).send().refused(403, "not_permitted");
    story.admin().delete(&path).send().expect(204);
    story.admin().delete(&path).send().refused(404, "not_found");
    get(story, &name, &token).send().refused(403, "not_granted");
    story.connection(&name, &name, &json!({})).expect(201);
    get(story, &name, &token).send().expect(200);
}

#[test]
fn the_agents_that_may_use_a_connection_are_changed() {
    let (story, name) = (story(), fresh("for"));
    service(story, &name, story.shop.base());
    story.connection(&name, &name, &json!({})).expect(201);
    let (one, token) = agent(story, &name, &all(&name));
    let (other, _) = agent(story, &name, &all(&name));
    change(&story.admin(), &name, &json!({"agents": [other.handle]})).expect(200);
    get(story, &name, &token).send().refused(403, "not_granted");
    change(&story.admin(), &name, &json!({"agents": [other.id, one.handle]})).expect(200);
    get(story, &name, &token).send().expect(200);
    let refused = change(&story.admin(), &name, &json!({"agents": ["nobody-here"]}));
    assert!(refused.refused(400, "request_invalid").text("/detail").contains("nobody-here"));
    assert_eq!(change(&story.admin(), &name, &json!({"agents": []})).expect(200).at("/agents"), &json!([]));
}

/// Lists come in pages of at most so many, to the end, and a person's own is theirs alone.
#[test]
fn connections_are_listed_in_pages_and_each_sees_what_they_may() {
    let (story, name) = (story(), fresh("listed"));
    service(story, &name, story.shop.base());
    let (_, lee) = story.user(&fresh("lee-"), &[]);
    let lee = story.client().with(&lee);
    let mut made = Vec::new();
    for number in 0..5 {
        let body = json!({"name": format!("{name}-{number}"), "service": name, "auth": {"type": "bearer", "secret": SECRET}});
        let client = if number % 2 == 0 { &lee } else { &story.admin() };
        made.push(client.post("/v1/connections").json(&body).send().expect(201).text("/id"));
    }
    let own: Vec<String> = made.iter().step_by(2).cloned().collect();
    let pages = |client: &Client, limit: usize| {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page = client.get(&format!("/v1/connections?limit={limit}{after}")).send().expect(200);
            let found = page.at("/connections").as_array().unwrap();
            assert!(found.len() <= limit, "{:#}", page.body);
            all.extend(found.iter().map(|one| one["id"].as_str().unwrap().to_owned()));
            match page.at("/next").as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return all,
            }
        }
    };
    for limit in [1, 2, 3, 100] {
        assert_eq!(pages(&lee, limit), own, "{limit}");
    }
    // Others make some meanwhile: of all those that are here are there, once.
    let all = pages(&story.admin(), 3);
    let of_these: Vec<String> = all.into_iter().filter(|id| made.contains(id)).collect();
    assert_eq!(of_these, made);
    assert_eq!(
        lee.get("/v1/connections?limit=0").send().expect(200).at("/connections").as_array().unwrap().len(),
        1
    );
    assert_eq!(
        lee.get("/v1/connections?limit=99999")
            .send()
            .expect(200)
            .at("/connections")
            .as_array()
            .unwrap()
            .len(),
        3
    );
    for wrong in ["limit=-1", "limit=x", "limit=1&limit=2", "after=x", "first=1"] {
        lee.get(&format!("/v1/connections?{wrong}")).send().refused(400, "request_invalid");
    }
}
