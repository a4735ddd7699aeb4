//! Who certifies hosts at the door, and that it can be changed while agents run.

use super::world::{ALL, Tunnel, world};
use placet_testkit::{fresh, until};
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
        .refused(403, "not_permitted");
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
    // What seals their keys can change, too: nothing is left under the key that is given up.
    let rotated = world.story.server.cli().args(["keys", "rotate", "--vault"]).output().unwrap();
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    until("the old vault key's end", || {
        let keys = world.story.server.admin().get("/v1/keys").send().expect(200);
        let states = keys.at("/vault").as_array().unwrap().iter().map(|key| key["state"].clone());
        (!states.clone().any(|state| state == "retiring") && states.count() == 2).then_some(())
    });
    let mut world = world;
    let known = world.trusted();
    world.story.server.stop();
    world.story.server.restart();
    assert_eq!(world.trusted(), known, "they are the same after a start");
    let (_, token) = world.story.ready(ALL);
    let stream = world.opened("x", &token, &world.safe);
    assert!(Tunnel::over(stream, "localhost", &known).is_ok(), "and can be used");
}

#[test]
fn the_door_is_closed_unless_it_is_opened() {
    let story = crate::stage::story();
    assert_eq!(story.client().get("/v1/egress").send().expect(200).at("/url"), &json!(null));
    story.server.admin().post("/v1/egress/authority/rotate").send().refused(501, "not_supported");
    let answer = story.server.cli().arg("ca").output().unwrap();
    assert_eq!(answer.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&answer.stderr).contains("--egress-listen"));
    assert!(world().trusted().contains("BEGIN CERTIFICATE"));
}
