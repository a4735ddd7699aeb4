//! The egress door: what programs ask of the outside through a proxy is an action, or it does not leave.

mod authority;
mod hostile;
mod run;
mod world;

use placet_testkit::{Reply, SECRET, fresh, until};
use serde_json::{Value, json};
use world::{ALL, World, world};

/// The entries of an agent's, without what issuing its token wrote.
fn entries(world: &World, agent: &str) -> Vec<Value> {
    let entries = world.story.record().into_iter();
    entries.filter(|entry| entry["agent"] == agent && entry["door"] == "egress").collect()
}

#[test]
fn what_is_asked_in_a_tunnel_is_an_action_with_the_connections_credential() {
    let world = world();
    let (agent, token) = world.story.ready(ALL);
    let customer = fresh("c");
    let path = format!("/safe/{customer}/1");
    let echo = json!({"you_sent": format!("Bearer {SECRET}"), "ok": true});
    world.story.shop.reply(
        &path,
        Reply::json(200, &echo)
            .header("alt-svc", "h3=\":443\"")
            .header("set-cookie", "a=b")
            .header("etag", "\"7\""),
    );
    let answer = world.tunnel(&token).ask(&format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer the-agents-own\r\ncookie: a=b\r\nx-agent: 1\r\nproxy-authorization: Basic eDp5\r\nconnection: close\r\n\r\n",
        world.safe
    ));
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(!answer.text.contains(SECRET) && answer.text.contains("\"ok\":true"), "{}", answer.text);
    assert!(answer.has("placet-decision: allow") && answer.has("etag: \"7\""), "{}", answer.text);
    assert!(!answer.has("alt-svc") && !answer.has("set-cookie"), "{}", answer.text);
    let seen = world.story.shop.seen_at(&path);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    for name in ["cookie", "x-agent", "proxy-authorization", "alt-used"] {
        assert_eq!(seen[0].header(name), None, "{name}");
    }
    let outcome = until("the outcome", || {
        entries(world, &agent.id).into_iter().find(|entry| entry["type"] == "action.outcome")
    });
    assert_eq!((&outcome["action"], &outcome["status"]), (&json!("orders.peek"), &json!(200)));
}

#[test]
fn whole_urls_are_actions_of_services_that_are_http() {
    let world = world();
    let (_, token) = world.story.ready("  - {name: reads, allow: [orders.read]}\n");
    let base = world.story.shop.base();
    let path = format!("/customers/{}/orders", fresh("c"));
    let host = base.strip_prefix("http://").unwrap();
    let ask = |method: &str, path: &str| {
        world.ask(&format!(
            "{method} {base}{path} HTTP/1.1\r\nhost: {host}\r\n{}connection: close\r\n\r\n",
            world::credential("x", &token)
        ))
    };
    let answer = ask("GET", &format!("{path}/1"));
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(world.story.shop.count(&path), 1);
    // The same rules decide, in the same words.
    let denied = ask("DELETE", &format!("{path}/1"));
    assert!(denied.status == 403 && denied.has("\"no_rule\""), "{}", denied.text);
    assert!(denied.has("placet-decision: deny"));
    // A host that does not take the connection's credential is not the proxy, which knows who asks.
    let refusing = format!("{path}/refused");
    world.story.shop.reply(&refusing, Reply::status(401));
    let refused = ask("GET", &refusing);
    assert!(refused.status == 401 && refused.has("placet-decision: allow"), "{}", refused.text);
    assert!(!refused.has("proxy-authenticate"), "{}", refused.text);
    let unknown = ask("GET", "/nothing/of/the/kind");
    assert!(unknown.status == 403 && unknown.has("\"not_granted\""), "{}", unknown.text);
    assert_eq!(world.story.shop.count(&path), 2);
}

#[test]
fn a_body_is_read_and_judged_like_any_other() {
    let world = world();
    let (_, token) =
        world.story.ready("  - {name: notes, allow: [notes.put], when: [\"params.text == 'yes'\"]}\n");
    let path = format!("/safe/{}/notes", fresh("c"));
    let post = |body: &str| {
        world.tunnel(&token).ask(&format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            world.safe,
            body.len()
        ))
    };
    let refused = post("{\"text\": \"no\"}");
    assert!(refused.status == 403 && refused.has("\"condition_failed\""), "{}", refused.text);
    let done = post("{\"text\": \"yes\"}");
    assert_eq!(done.status, 200, "{}", done.text);
    let seen = world.story.shop.seen_at(&path);
    assert_eq!(seen.iter().map(|seen| &*seen.body).collect::<Vec<_>>(), [br#"{"text":"yes"}"#]);
}

#[test]
fn of_several_connections_the_user_name_says_which() {
    let world = world();
    let agent = world.story.agent(&fresh("agent-")).register();
    world.story.rules(&agent.handle, ALL).expect(201);
    let second = fresh("safe-second-");
    world.story.connection(&second, "safe", &json!({"agents": [agent.handle]})).expect(201);
    let token = agent.token(&world.story.client(), "orders.*");
    let ask = |user: &str| {
        let path = format!("/safe/{}/1", fresh("c"));
        world
            .tunnel_as(user, &token)
            .ask(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", world.safe))
    };
    let unclear = ask("anything");
    assert!(unclear.status == 400 && unclear.has("several connections"), "{}", unclear.text);
    for user in ["safe-main", second.as_str()] {
        let answer = ask(user);
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let connections: std::collections::BTreeSet<String> = entries(world, &agent.id)
        .into_iter()
        .filter(|entry| entry["type"] == "action.intent")
        .map(|entry| entry["connection"].to_string())
        .collect();
    assert_eq!(connections.len(), 2);
}

#[test]
fn a_tunnel_ends_with_the_grant_that_it_was_opened_with() {
    let world = world();
    let (_, token) = world.story.ready(ALL);
    let customer = fresh("c");
    let mut tunnel = world.tunnel(&token);
    tunnel.send(&format!("GET /safe/{customer}/1 HTTP/1.1\r\nhost: {}\r\n\r\n", world.safe));
    tunnel.until("/1\"}");
    let mut idle = world.tunnel(&token);
    let mut passed = world.passed(&token);
    world.story.server.admin().post("/oauth/revoke").form(&[("token", &token)]).send().expect(200);
    // No answer: they end.
    tunnel.ends();
    idle.ends();
    passed.ends();
    let again = world.connect("x", &token, &world.safe);
    assert_eq!(again.status, 407, "{}", again.text);
    assert_eq!(world.story.shop.seen_at(&format!("/safe/{customer}/")).len(), 1);
}

#[test]
fn hosts_that_the_operator_names_are_passed_on_unread_and_recorded() {
    let world = world();
    let (agent, token) = world.story.ready(ALL);
    let path = format!("/passed/{}", fresh("p"));
    // Its own certificate, and its own credential.
    let answer = world.passed(&token).ask(&format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer the-agents-own\r\nconnection: close\r\n\r\n",
        world.pass
    ));
    assert_eq!(answer.status, 401, "the upstream wants its secret: {}", answer.text);
    let seen = world.story.shop.seen_at(&path);
    assert_eq!(seen[0].header("authorization"), Some("Bearer the-agents-own"));
    let entry = entries(world, &agent.id).into_iter().find(|entry| entry["type"] == "egress.passed");
    assert!(entry.is_some(), "before a byte was passed on");
}
