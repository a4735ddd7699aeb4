//! The proxy door in HTTP/2: the same actions and decisions, many at once on one connection, trailers in either version.

use crate::{
    proxy_streaming::{CHUNKED, stage},
    stage::story,
};
use placet_testkit::{Http2, Reply, SECRET, Story, fresh, until};
use serde_json::json;

const ALL: &str = "  - {name: all, allow: [orders.*, notes.*, refunds.*]}\n";

#[test]
fn many_actions_on_one_connection_are_each_decided_and_recorded() {
    let story = story();
    let (agent, token) =
        story.ready("  - {name: some, allow: [notes.write], when: [\"params.text != 'no'\"]}\n");
    let customer = fresh("h2-");
    let path = format!("/proxy/shop-main/customers/{customer}/notes");
    story.shop.reply(&path.replace("/proxy/shop-main", ""), Reply::bytes(201, "text/plain", "noted"));
    let wire = Http2::connect(story.client().base());
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("cookie", "agent-cookie=1"),
        ("te", "trailers"),
    ];
    let texts = ["a", "no", "b", "no", "c"];
    let asked = texts.map(|text| {
        let (sending, answer) = wire.ask("POST", &path, &headers);
        sending.data(json!({"text": text}).to_string());
        (text, answer)
    });
    for (text, mut answer) in asked {
        let denied = text == "no";
        assert_eq!(answer.head().status().as_u16(), if denied { 403 } else { 201 }, "{text}");
        let decision = answer.header("placet-decision");
        assert_eq!(decision.as_deref(), Some(if denied { "deny" } else { "allow" }));
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
        let (body, _) = answer.rest().unwrap();
        assert!(denied || body == "noted", "{body}");
    }
    let seen = story.shop.seen_at(&path.replace("/proxy/shop-main", ""));
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter().all(|seen| seen.header("authorization") == Some(format!("Bearer {SECRET}").as_str()))
    );
    assert!(seen.iter().all(|seen| seen.header("cookie").is_none() && seen.header("te").is_none()));
    until("three intents and a counted denial", || {
        let entries = story.record();
        let of = |kind: &str| {
            let mine = entries.iter().filter(|entry| entry["agent"] == agent.id.as_str());
            mine.filter(|entry| entry["type"] == kind).count()
        };
        (of("action.intent") == 3 && of("decision.deny") >= 1).then_some(())
    });
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_in_http2_too() {
    // Of its own: what its upstream sees is counted whole.
    let story = &Story::new(crate::stage::PLACET);
    let (_, token) = story.ready(ALL);
    let wire = Http2::connect(story.client().base());
    let bearer = format!("Bearer {token}");
    let before = story.shop.seen().len();
    let customer = fresh("h2-");
    for (path, more) in [
        ("/customers/1/orders/../orders/1", ("accept", "*/*")),
        ("/customers/1/orders/%2e%2e", ("accept", "*/*")),
        ("/customers/1/orders/1", ("host", "somewhere.else")),
        ("/customers/1/orders/1", ("x-http-method-override", "DELETE")),
    ] {
        let path = format!("/proxy/shop-main{}", path.replace("/1/", &format!("/{customer}/")));
        let mut answer = wire.get(&path, &[("authorization", &bearer), more]);
        assert_eq!(answer.head().status().as_u16(), 400, "{path} {more:?}");
        assert!(answer.rest().unwrap().0.contains("params_invalid"), "{path}");
    }
    // A length that isn't the body's ends the request, and nothing of it has left.
    let headers =
        [("authorization", bearer.as_str()), ("content-type", "application/json"), ("content-length", "200")];
    let (sending, answer) =
        wire.ask("POST", &format!("/proxy/shop-main/customers/{customer}/notes"), &headers);
    sending.data(r#"{"text": "short"}"#);
    drop(sending);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| answer.rest()));
    assert!(!matches!(ended, Ok(Ok((body, _))) if body.contains("\"ok\"")));
    assert_eq!(story.shop.seen_at(&format!("/customers/{customer}")).len(), 0, "{before}");
}

#[test]
fn events_uploads_and_trailers_pass_between_the_versions() {
    let stage = stage();
    let wire = Http2::connect(stage.story.client().base());
    let bearer = format!("Bearer {}", stage.token);
    // Events: HTTP/2 here, HTTP/1.1 there.
    let path = |rest: &str| format!("/proxy/{}{rest}", stage.name);
    let mut answer =
        wire.get(&path("/get/1"), &[("authorization", &bearer), ("accept", "text/event-stream")]);
    let mut upstream = stage.upstream.accept();
    upstream.send(format!("{CHUNKED}content-type: text/event-stream\r\ntrailer: etag\r\n\r\n"));
    for number in 0..3 {
        let event = format!("data: {number}\n\n");
        upstream.send_chunk(&event);
        answer.until(&event);
    }
    let (head, tail) = SECRET.split_at(9);
    upstream.send_chunk(format!("data: {head}"));
    upstream.send_chunk(format!("{tail}\n\n"));
    answer.until("data: [scrubbed]\n\n");
    upstream.send(format!("0\r\netag: \"{SECRET}\"\r\nset-cookie: a=b\r\n\r\n"));
    let (all, trailers) = answer.rest().unwrap();
    assert!(!all.contains(SECRET));
    assert_eq!(trailers.get("etag").unwrap(), "\"[scrubbed]\"");
    assert_eq!(trailers.len(), 1);
    // An upload, whose trailers go no further.
    let (sending, mut answer) = wire.ask("PUT", &path("/put/7"), &[("authorization", &bearer)]);
    sending.data("first piece");
    upstream.until("first piece");
    sending.data("second piece");
    upstream.until("second piece");
    sending.trailers("x-trailer", "smuggled");
    let seen = upstream.until("0\r\n\r\n");
    assert!(!seen.contains("smuggled") && seen.contains("transfer-encoding: chunked"), "{seen}");
    upstream.send("HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(answer.head().status().as_u16(), 201);
    // One that stops in the middle is no whole one.
    let (sending, answer) = wire.ask("PUT", &path("/put/8"), &[("authorization", &bearer)]);
    sending.data("half of it");
    upstream.until("half of it");
    sending.break_off();
    let seen = upstream.rest();
    assert!(!seen.rsplit("half of it").next().unwrap().contains("0\r\n\r\n"), "{seen}");
    drop(answer);
}

#[test]
fn a_client_that_does_not_know_is_served_in_the_older_version_on_the_same_listener() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let upgrade = story
        .client()
        .get(&format!("/proxy/shop-main/customers/{}/orders", fresh("h2c-")))
        .bearer(&token)
        .header("connection", "Upgrade, HTTP2-Settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQAAP__")
        .send();
    assert_eq!((upgrade.status, upgrade.header("upgrade")), (200, None));
}
