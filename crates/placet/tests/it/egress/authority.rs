//! Who certifies hosts at the door, and that it can be changed while agents run.

use super::world::{ALL, Tunnel, world};
use placet_testkit::fresh;
use serde_json::json;

#[test]
fn a_rotation_is_not_noticed_by_who_trusts_both_authorities() {
    // Of its own: others look at the authorities meanwhile.
    let world = super::world::World::new();
    let (_, token) = world.story.ready(ALL);
    let before = world.trusted();
    assert_eq!(before.matches("BEGIN CERTIFICATE").count(), 2);
    let open = |trusted: &str| Tunnel::over(world.opened("x", &token, &world.safe), "localhost", trusted);
    let ask = |tunnel: Tunnel| {
        let path = format!("/safe/{}/1", fresh("c"));
        tunnel
            .ask(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", world.safe))
            .status
    };
    let first = open(&before).unwrap();
    let certificate = first.certificate();
    assert_eq!(ask(first), 200);
    // It is kept as long as its authority certifies.
    assert_eq!(open(&before).unwrap().certificate(), certificate);
    let printed = world.story.server.cli().arg("ca").output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), before);
    world.story.client().post("/v1/egress/authority/rotate").send().refused(401, "token_invalid");
    let (_, agents) = world.story.ready(ALL);
    world
        .story
        .client()
        .post("/v1/egress/authority/rotate")
        .bearer(&agents)
        .send()
        .refused(401, "token_invalid");
    let rotated = world.story.server.cli().args(["ca", "rotate"]).output().unwrap();
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    let after = world.trusted();
    assert_ne!(after, before);
    let second = open(&before).unwrap();
    assert_ne!(second.certificate(), certificate);
    assert_eq!(ask(second), 200);
    // Who knows only what there was before the last two is behind.
    world.story.server.cli().args(["ca", "rotate"]).output().unwrap();
    assert!(open(&before).is_err());
    assert_eq!(ask(open(&world.trusted()).unwrap()), 200);
    let keys: Vec<_> = world
        .story
        .record()
        .into_iter()
        .filter(|it| it["key"].as_str().is_some_and(|key| key.starts_with("egress/")))
        .collect();
    assert_eq!(keys.len(), 2 + 3 + 3);
    assert_eq!(keys[0]["type"], json!("key.created"));
    let mut world = world;
    let known = world.trusted();
    world.story.server.stop();
    world.story.server.restart();
    assert_eq!(world.trusted(), known, "they are the same after a start");
}

#[test]
fn the_door_is_closed_unless_it_is_opened() {
    let story = crate::stage::story();
    story.client().get("/v1/egress").send().refused(501, "not_supported");
    let answer = story.server.cli().arg("ca").output().unwrap();
    assert_eq!(answer.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&answer.stderr).contains("--egress-listen"));
    assert!(world().trusted().contains("BEGIN CERTIFICATE"));
}
