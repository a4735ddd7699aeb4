//! Certificates and authorities that change while the server runs.

use super::{
    ask,
    world::{Authority, World, uri},
};
use placet_testkit::{Client, until};
use rcgen::SanType;
use serde_json::json;
use std::{fs, process::Command};

const ID: &str = "spiffe://example.com/agent";

fn write(world: &World, name: &str, text: &str) {
    // As what renews certificates does: the file is there whole or not at all.
    let (draft, path) = (world.story.server.home().join("draft"), world.story.server.home().join(name));
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

#[test]
fn a_new_certificate_is_presented_without_a_restart_and_a_bad_one_is_not() {
    let world = World::new();
    let answers = |authority: &Authority| {
        let client = Client::over_tls(&world.url, None, &authority.pem);
        client.get("/healthz").try_send().is_ok_and(|answer| answer.status == 200)
    };
    assert!(answers(&world.servers));
    let others = Authority::new();
    let next = others.for_servers(vec![SanType::IpAddress("127.0.0.1".parse().unwrap())]);
    assert!(!answers(&others));
    // A certificate without its key, and none at all: what was there stays.
    let told = || world.story.server.log().matches("counted before counts still").count();
    write(&world, "server.crt", &next.certificate);
    until("the first refusal", || (told() == 1).then_some(()));
    write(&world, "server.crt", "no certificate");
    until("the second refusal", || (told() == 2).then_some(()));
    assert!(answers(&world.servers) && !answers(&others));
    // Both, whichever comes first.
    write(&world, "server.key", &next.key);
    write(&world, "server.crt", &next.certificate);
    until("the new certificate", || answers(&others).then_some(()));
    assert!(!answers(&world.servers));
    // To be told to read again is no reason to end.
    let before = world.story.server.log().matches("now counts from here on").count();
    let id = world.story.server.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    until("another reading", || {
        (world.story.server.log().matches("now counts from here on").count() >= before + 2).then_some(())
    });
    assert!(answers(&others));
}

#[test]
fn another_authority_certifies_clients_without_a_restart() {
    let world = World::new();
    let agent =
        world.agent(json!({"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_uri": ID}));
    let (old, new) = (world.trusted.client(vec![uri(ID)]), world.stranger.client(vec![uri(ID)]));
    // On connections that stay open, too: who certifies counts where a client says who it is.
    let (old, new) = (world.showing(&old), world.showing(&new));
    ask(&old, &agent).expect(200);
    ask(&new, &agent).refused(401, "invalid_client");
    write(&world, "clients.crt", "");
    until("the refusal", || world.story.server.log().contains("counted before counts still").then_some(()));
    ask(&old, &agent).expect(200);
    write(&world, "clients.crt", &world.stranger.pem);
    until("the new authority", || (ask(&new, &agent).status == 200).then_some(()));
    ask(&old, &agent).refused(401, "invalid_client");
    // While one is replaced by another, both are in the file.
    write(&world, "clients.crt", &format!("{}{}", world.trusted.pem, world.stranger.pem));
    until("both", || (ask(&old, &agent).status == 200).then_some(()));
    ask(&new, &agent).expect(200);
}
