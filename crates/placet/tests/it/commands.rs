//! The commands against a running server.

use crate::process::{Server, placet, stderr, stdout, typed};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

fn given(home: &Path, arguments: &[&str], input: &str) -> Output {
    typed(placet(home).args(["--data", "data"]).args(arguments), input)
}

fn answer(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn people_sign_in_and_the_administrator_token_decides_no_approval() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &home.path().join("data"));
    let run = |arguments: &[&str], input: &str| given(home.path(), arguments, input);
    let made = answer(&run(&["user", "add", "ada", "--role", "administrator"], "a long password\n"));
    assert_eq!(made["name"], "ada");
    assert_eq!(run(&["approvals", "list"], "").status.code(), Some(2));
    assert_eq!(run(&["login", "--name", "ada"], "a wrong password\n").status.code(), Some(1));
    let signed_in = run(&["login", "--name", "ada"], "a long password\n");
    assert!(answer(&signed_in)["id"].is_string() && !stdout(&signed_in).contains("plt_session"));
    assert_eq!(answer(&run(&["approvals", "list"], ""))["approvals"], serde_json::json!([]));
    assert_eq!(run(&["logout"], "").status.code(), Some(0));
    assert_eq!(run(&["approvals", "list"], "").status.code(), Some(2));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn the_record_is_verified_proved_and_compared_with_what_was_kept() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &home.path().join("data"));
    let run = |arguments: &[&str], input: &str| given(home.path(), arguments, input);
    // A session is recorded before it is answered, and is in the log within a second.
    answer(&run(&["user", "add", "ada", "--role", "administrator"], "a long password\n"));
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(home.path(), &home.path().join("data"));
    let first = answer(&run(&["record", "verify"], ""));
    assert_eq!(
        (&first["result"], &first["compared_with"], &first["tail"]),
        (&"verified".into(), &0.into(), &0.into())
    );
    answer(&run(&["login", "--name", "ada"], "a long password\n"));
    let second = answer(&run(&["record", "verify"], ""));
    assert_eq!((&second["result"], &second["compared_with"]), (&"verified".into(), &1.into()));
    assert_eq!(run(&["record", "prove", "0", "-o", "proof.json"], "").status.code(), Some(0));
    let check = |file: &str| run(&["record", "verify-proof", file, "--key", "data/record.pub"], "");
    assert_eq!(answer(&check("proof.json"))["result"], "verified");
    let proof = fs::read_to_string(home.path().join("proof.json")).unwrap();
    fs::write(home.path().join("other.json"), proof.replacen("\"index\": 0", "\"index\": 1", 1)).unwrap();
    assert_eq!(check("other.json").status.code(), Some(1));
    fs::write(home.path().join("broken.json"), "{}").unwrap();
    assert_eq!(check("broken.json").status.code(), Some(2));
    // A checkpoint that this record's key did not sign.
    fs::write(home.path().join("strange.txt"), "x\n1\nAAAA\n\n\u{2014} x AAAA\n").unwrap();
    assert_eq!(run(&["record", "verify", "--checkpoint", "strange.txt"], "").status.code(), Some(1));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn grants_and_resource_servers_are_made_and_narrowed() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &home.path().join("data"));
    let run = |arguments: &[&str], input: &str| given(home.path(), arguments, input);
    let agent = answer(&run(&["agent", "create", "bot", "--tool", "orders.*", "--activate"], ""));
    let (client_id, secret) =
        (agent["client_id"].as_str().unwrap(), agent["client_secret"].as_str().unwrap());
    let api = answer(&run(&["resource-server", "create", "orders-api", "--audience", "urn:orders"], ""));
    assert!(api["client_secret"].as_str().unwrap().starts_with("prs_"));
    let grant = ["grant", "create", "--agent", "bot", "--scope", "orders.*", "--audience", "orders-api"];
    let grant = answer(&run(&[&grant[..], &["--limit", r#"{"count": 2, "per": "day"}"#]].concat(), ""));
    assert_eq!(grant["audience"], serde_json::json!(["urn:orders"]));
    assert_eq!(grant["origin"], "person");
    let id = grant["grant_id"].as_str().unwrap();
    let token = ["token", "--client-id", client_id, "--grant", id, "--audience", "urn:orders"];
    let token = answer(&run(&token, secret))["access_token"].as_str().unwrap().to_owned();
    let verify = |scope: &str| run(&["token", "verify", "--scope", scope], &token);
    assert_eq!(answer(&verify("orders.list"))["is_valid"], true);
    let narrowed = answer(&run(&["grant", "narrow", id, "--scope", "orders.read", "--reason", "enough"], ""));
    assert_eq!(narrowed["scope"], serde_json::json!(["orders.read"]));
    assert_eq!(answer(&verify("orders.read"))["is_valid"], true);
    assert_eq!(verify("orders.list").status.code(), Some(1));
    assert_eq!(run(&["grant", "narrow", id, "--scope", "orders.*"], "").status.code(), Some(1));
    assert_eq!(run(&["grant", "narrow", id], "").status.code(), Some(2));
    let renewed = answer(&run(&["resource-server", "renew", "orders-api"], ""));
    assert_ne!(renewed["client_secret"], api["client_secret"]);
    assert_eq!(answer(&run(&["resource-server", "show", "urn:orders"], ""))["id"], api["id"]);
    assert_eq!(run(&["resource-server", "end", "orders-api"], "").status.code(), Some(0));
    let listed = answer(&run(&["resource-server", "list"], ""));
    assert_eq!(listed["resource_servers"], serde_json::json!([]));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn what_is_in_the_way_is_named() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &home.path().join("data"));
    let run = |arguments: &[&str], token: Option<&str>| {
        let mut command = placet(home.path());
        command.args(["--data", "data"]).args(arguments).stdin(Stdio::null());
        token.into_iter().for_each(|token| _ = command.env("PLACET_TOKEN", token));
        command.output().unwrap()
    };
    // An action is an agent's: whose token is at hand otherwise is not sent.
    let act = run(&["act", "orders.read"], None);
    assert_eq!(act.status.code(), Some(2));
    assert!(
        stderr(&act).contains("PLACET_TOKEN") && stderr(&act).contains("placet token"),
        "{}",
        stderr(&act)
    );
    // A variable that is still there from something else is what a refusal is about, and nothing else is.
    let made = answer(&given(
        home.path(),
        &["agent", "create", "reader", "--tool", "orders.*", "--default-scope", "orders.*", "--activate"],
        "",
    ));
    let token = given(
        home.path(),
        &["token", "--client-id", made["client_id"].as_str().unwrap()],
        made["client_secret"].as_str().unwrap(),
    );
    let token = answer(&token)["access_token"].as_str().unwrap().to_owned();
    for token in [&*token, "junk"] {
        let refused = run(&["connection", "list"], Some(token));
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains("the token of PLACET_TOKEN was sent"), "{}", stderr(&refused));
    }
    assert_eq!(run(&["connection", "list"], None).status.code(), Some(0));
    let absent = run(&["agent", "show", "nobody"], None);
    assert!(stderr(&absent).contains("not_found") && !stderr(&absent).contains("PLACET_TOKEN"));
    // Another address of the same server, and another protocol.
    let read =
        |name: &str| fs::read_to_string(home.path().join("data").join(name)).unwrap().trim().to_owned();
    let page = run(&["--url", &read("pages-address"), "act", "orders.read"], Some(&token));
    assert!(stderr(&page).contains("people's pages") && stdout(&page).is_empty(), "{}", stderr(&page));
    assert!(!stderr(&page).contains('<'));
    let address = read("address");
    let tls = address.replace("http://", "https://");
    let spoken = run(&["--url", &tls, "agent", "list"], Some(&token));
    assert_eq!(spoken.status.code(), Some(2));
    let told = stderr(&spoken);
    assert!(told.contains("can't be reached: ") && told.matches(": ").count() > 2, "{told}");
    assert_eq!(server.stop(), Some(0));
    let gone = run(&["--url", &address, "agent", "list"], Some(&token));
    assert!(stderr(&gone).contains("refused"), "{}", stderr(&gone));
}
