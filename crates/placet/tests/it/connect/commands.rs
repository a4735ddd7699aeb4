//! The same by the command line.

use super::*;
use crate::process::{Server, placet, stderr, stdout, typed};
use std::{path::Path, process::Output};

fn run(home: &Path, arguments: &[&str], input: &str) -> Output {
    typed(placet(home).args(["--data", "data"]).args(arguments), input)
}

#[track_caller]
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let told = format!("{}{}", stdout(output), stderr(output));
    assert!(!told.contains(SECRET), "{told}");
    told
}

#[test]
fn an_installation_says_what_it_is_at_a_provider_and_a_person_connects() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &home.path().join("data"));
    let run = |arguments: &[&str], input: &str| run(home.path(), arguments, input);
    std::fs::write(home.path().join("secret"), format!("{SECRET}\n")).unwrap();
    let add = ["service", "add", "gmail", "--client-id", CLIENT, "--client-secret-file", "secret"];
    let told = done(&run(&add, ""));
    assert!(told.contains("/connect/callback/gmail"), "{told}");
    for (arguments, words) in [
        (&["service", "add", "gmail", "slack", "--client-id", "x"][..], "one service at a time"),
        (&["service", "add", "stripe", "--client-id", "x", "--public"], "no authorization server"),
        (
            &[
                "service",
                "add",
                "github",
                "--client-id",
                "x",
                "--public",
                "--base-url",
                "https://git.example/api/v3",
            ],
            "api.github.com",
        ),
    ] {
        let output = run(arguments, "");
        assert!(output.status.code() == Some(2) && stderr(&output).contains(words), "{}", stderr(&output));
    }
    // By standard input, and as it is shown.
    done(&run(&["service", "client", "gmail", "--client-id", "another"], SECRET));
    let shown = done(&run(&["service", "client", "gmail"], ""));
    assert!(shown.contains("another") && shown.contains("has_secret"), "{shown}");
    done(&run(&["user", "add", "lee", "--role", "administrator"], "a long password\n"));
    done(&run(&["login", "--name", "lee"], "a long password\n"));
    let link = done(&run(&["connection", "connect", "gmail", "--name", "gmail-work"], ""));
    assert!(link.contains("/connect/gmail?name=gmail-work"), "{link}");
    let link = done(&run(&["connection", "connect", "gmail", "--organization"], ""));
    assert!(link.contains("/connect/gmail?organization=yes"), "{link}");
    let none = run(&["connection", "connect", "gmail", "--device"], "");
    assert!(
        none.status.code() == Some(1) && stderr(&none).contains("no place for devices"),
        "{}",
        stderr(&none)
    );
    done(&run(&["service", "client", "gmail", "--remove"], ""));
    assert_eq!(run(&["connection", "connect", "gmail"], "").status.code(), Some(1));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_code_is_shown_and_waited_for() {
    let site = Upstream::with_header("user-agent", &format!("placet/{}", env!("CARGO_PKG_VERSION")));
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &home.path().join("data"));
    let run = |arguments: &[&str], input: &str| run(home.path(), arguments, input);
    let base = site.base();
    site.reply(
        "/device",
        Reply::json(
            200,
            &json!({"device_code": "d", "user_code": "WDJB-MJHT", "interval": 1,
            "verification_uri": "https://upstream.example/device"}),
        ),
    );
    site.reply("/token", token("t1", 3600, None));
    let yaml = format!(
        "service: site\nbase_url: {base}\nauth: {{type: oauth2, token_url: {base}/token, device_authorization_url: {base}/device}}\nactions:\n  \
         site.get: {{method: GET, path: '/things/{{id}}', resource: 'site://things/{{id}}', effect: read}}\n"
    );
    std::fs::write(home.path().join("site.yaml"), yaml).unwrap();
    done(&run(&["service", "apply", "site.yaml"], ""));
    done(&run(&["service", "client", "site", "--client-id", CLIENT, "--public"], ""));
    done(&run(&["user", "add", "lee", "--role", "administrator"], "a long password\n"));
    done(&run(&["login", "--name", "lee"], "a long password\n"));
    let told = done(&run(&["connection", "connect", "site", "--device"], ""));
    assert!(told.contains("WDJB-MJHT") && told.contains("https://upstream.example/device"), "{told}");
    assert!(told.contains("site-lee") && !told.contains("plt_connect_"), "{told}");
    let again = done(&run(&["connection", "reconnect", "site-lee", "--device"], ""));
    assert!(again.contains("site-lee"), "{again}");
    assert_eq!(site.seen_at("/token").len(), 2);
    assert_eq!(server.stop(), Some(0));
}
