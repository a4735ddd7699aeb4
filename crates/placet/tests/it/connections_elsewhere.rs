//! Connections whose secrets are kept elsewhere: read where the operator lets them be read, again when they change, and
//! never guessed.

use crate::{
    record::tamper,
    stage::{PLACET, story},
};
use placet_testkit::{Answer, Client, Reply, Server, Story, Upstream, fresh, is_about_a_file, until};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// It comes with every request, whatever else does.
const ANY: (&str, &str) = ("user-agent", concat!("placet/", env!("CARGO_PKG_VERSION")));

/// A server that may read secrets from everywhere that there is.
struct World {
    story: Story,
    /// Where secrets are files.
    directory: PathBuf,
    /// Where the command looks.
    behind: PathBuf,
    /// The key-value store.
    store: Upstream,
    token: PathBuf,
}

fn world() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(|| {
        let mut server = Server::start(PLACET);
        let path = |name: &str| server.home().join(name);
        let (directory, behind, token) = (path("secrets"), path("behind"), path("vault-token"));
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all(&behind).unwrap();
        fs::write(&token, "canary-store-token\n").unwrap();
        let command = path("ask");
        fs::write(&command, format!("#!/bin/sh\nexec cat '{}'/\"$1\"\n", behind.display())).unwrap();
        fs::set_permissions(&command, fs::Permissions::from_mode(0o700)).unwrap();
        let store = Upstream::with_header("x-vault-request", "true");
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let flags = [
            "--secrets-from-dir".to_owned(),
            text(&directory),
            "--secrets-command".to_owned(),
            text(&command),
            "--kv-url".to_owned(),
            store.base().to_owned(),
            "--kv-mount".to_owned(),
            "kv".to_owned(),
            "--kv-token-file".to_owned(),
            text(&token),
        ];
        server.flags(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        server.environment("PLACET_SECRET_SHOP", "canary-from-environment");
        server.restart();
        World { story: Story::on(server), directory, behind, store, token }
    });
    &WORLD
}

/// A service that takes a bearer token, an upstream that notes which, and an agent.
struct Account {
    name: String,
    upstream: Upstream,
    token: String,
}

impl Account {
    fn new(story: &Story) -> Self {
        Self::with(story, "{type: bearer}")
    }

    fn with(story: &Story, auth: &str) -> Self {
        let name = fresh("elsewhere");
        let upstream = Upstream::with_header(ANY.0, ANY.1);
        let yaml = format!(
            "service: {name}\nbase_url: {}\nauth: {auth}\nactions:\n  {name}.get: \
             {{method: GET, path: '/things/{{id}}', resource: '{name}://things/{{id}}', effect: read}}\n",
            upstream.base()
        );
        story.service(&name, &yaml).expect(201);
        let agent = story
            .agent(&fresh("agent-"))
            .with("allowed_tools", json!(["*", "**"]))
            .with("resource_access", json!(["**"]))
            .register();
        story.rules(&agent.handle, &format!("  - {{name: all, allow: ['{name}.*']}}\n")).expect(201);
        let token = agent.token(&story.client(), &format!("{name}.*"));
        Self { name, upstream, token }
    }

    fn connect(&self, client: &Client, secret: &Value) -> Answer {
        let auth = json!({"type": "bearer", "secret": secret});
        let body = json!({"name": self.name, "service": self.name, "auth": auth});
        client.post("/v1/connections").json(&body).send()
    }

    fn get(&self, story: &Story) -> Answer {
        let body =
            json!({"service": self.name, "action": format!("{}.get", self.name), "params": {"id": "1"}});
        story.client().post("/v1/actions").bearer(&self.token).json(&body).send()
    }

    fn shown(&self) -> Vec<String> {
        self.upstream
            .seen()
            .iter()
            .map(|seen| seen.header("authorization").unwrap_or("-").to_owned())
            .collect()
    }

    fn state(&self, story: &Story) -> Value {
        story.admin().get(&format!("/v1/connections/{}", self.name)).send().expect(200).body
    }
}

#[test]
fn a_file_is_read_when_it_is_needed_and_again_when_it_has_changed() {
    let world = world();
    let (story, account) = (&world.story, Account::new(&world.story));
    account.upstream.answer("/", |seen| Reply::json(200, &json!({"told": seen.header("authorization")})));
    let path = world.directory.join(&account.name);
    let secret = json!({"from": "file", "path": account.name});
    let refused = account.connect(&story.admin(), &secret).refused(400, "request_invalid");
    assert!(refused.text("/detail").contains("can't be read"), "{:#}", refused.body);
    fs::write(&path, "canary-file-1\n").unwrap();
    account.connect(&story.admin(), &secret).expect(201);
    for _ in 0..2 {
        assert_eq!(account.get(story).expect(200).at("/result/body/told"), "Bearer [scrubbed]");
    }
    assert_eq!(account.shown(), ["Bearer canary-file-1"; 2]);
    fs::write(&path, "canary-file-2\n").unwrap();
    until("the file to be read again", || {
        assert_eq!(account.get(story).expect(200).at("/result/body/told"), "Bearer [scrubbed]");
        (account.shown().last().unwrap() == "Bearer canary-file-2").then_some(())
    });
    // What is gone is not used any more, and whoever configures is told.
    fs::remove_file(&path).unwrap();
    let refused = until("the file to be missed", || {
        let answer = account.get(story);
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.refused(503, "unavailable");
    assert!(refused.text("/detail").contains("nothing was sent"), "{:#}", refused.body);
    assert!(!String::from_utf8_lossy(&refused.bytes).contains(&account.name), "{:#}", refused.body);
    let state = account.state(story);
    assert_eq!((&state["state"], &state["secret"]), (&json!("active"), &secret));
    assert!(state["unreadable"].as_str().unwrap().contains("not found"), "{state:#}");
    fs::write(&path, "canary-file-3").unwrap();
    until("the file to be there again", || (account.get(story).status == 200).then_some(()));
    assert_eq!(account.shown().last().unwrap(), "Bearer canary-file-3");
    assert_eq!(account.state(story)["unreadable"], Value::Null);
    for told in [json!(story.record()).to_string(), story.server.log(), state.to_string()] {
        assert!(!told.contains("canary-file"), "{told}");
    }
}

#[test]
fn an_upstream_that_does_not_know_the_secret_has_it_read_again() {
    let world = world();
    let (story, account) = (&world.story, Account::new(&world.story));
    let path = world.behind.join(&account.name);
    fs::write(&path, "canary-command-1").unwrap();
    account.upstream.answer("/", |seen| {
        Reply::status(if seen.header("authorization") == Some("Bearer canary-command-2") { 200 } else { 401 })
    });
    account.connect(&story.admin(), &json!({"from": "command", "name": account.name})).expect(201);
    // Without a 401 what a command said is used for a minute.
    assert_eq!(account.get(story).expect(200).at("/result/status"), 401);
    fs::write(&path, "canary-command-2").unwrap();
    until("the new secret", || (account.get(story).expect(200).at("/result/status") == 200).then_some(()));
    let shown = account.shown();
    assert_eq!(shown.last().unwrap(), "Bearer canary-command-2");
    // No request went out twice.
    fs::write(&path, "canary-command-3").unwrap();
    for _ in 0..3 {
        account.get(story).expect(200);
    }
    assert_eq!(account.shown().len(), shown.len() + 3);
    assert!(account.shown().iter().skip(shown.len()).all(|token| token == "Bearer canary-command-2"));
}

#[test]
fn variables_that_are_meant_for_it_are_read_and_no_others() {
    let world = world();
    let (story, account) = (&world.story, Account::new(&world.story));
    for (name, detail) in [
        ("PLACET_VAULT_KEY", "PLACET_SECRET_"),
        ("PATH", "PLACET_SECRET_"),
        ("PLACET_SECRET_OTHER", "without `PLACET_SECRET_OTHER`"),
    ] {
        let refused = account
            .connect(&story.admin(), &json!({"from": "env", "name": name}))
            .refused(400, "request_invalid");
        assert!(refused.text("/detail").contains(detail), "{:#}", refused.body);
    }
    account.connect(&story.admin(), &json!({"from": "env", "name": "PLACET_SECRET_SHOP"})).expect(201);
    account.get(story).expect(200);
    assert_eq!(account.shown(), ["Bearer canary-from-environment"]);
    // A stored secret takes the place of the reference.
    let path = format!("/v1/connections/{}", account.name);
    let auth = json!({"auth": {"type": "bearer", "secret": "canary-stored-secret"}});
    assert_eq!(story.admin().patch(&path).json(&auth).send().expect(200).body.get("secret"), None);
    account.get(story).expect(200);
    assert_eq!(account.shown()[1], "Bearer canary-stored-secret");
}

#[test]
fn a_key_value_store_is_read_as_its_interface_says() {
    let world = world();
    let (story, account) = (&world.story, Account::new(&world.story));
    let path = format!("/v1/kv/data/placet/{}", account.name);
    let version = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&version);
    world.store.answer(&path, move |seen| {
        assert!(seen.body.is_empty() && seen.query.is_empty());
        if seen.method != "GET" || seen.header("x-vault-token") != Some("canary-store-token") {
            return Reply::json(403, &json!({"errors": ["permission denied"]}));
        }
        let metadata = json!({"version": 1, "deletion_time": "", "destroyed": false});
        match now.load(Ordering::SeqCst) {
            0 => Reply::json(404, &json!({"errors": []})),
            1 => Reply::json(
                200,
                &json!({"data": {"data": {"token": "canary-kv", "count": 1}, "metadata": metadata}}),
            ),
            2 => Reply::json(404, &json!({"data": {"data": null, "metadata": metadata}})),
            _ => Reply::json(200, &json!({"keys": ["canary-v1"]})),
        }
    });
    let secret =
        |key: &str| json!({"from": "vault_kv", "path": format!("placet/{}", account.name), "key": key});
    let refused = |secret: &Value, why: &str| {
        let refused = account.connect(&story.admin(), secret).refused(400, "request_invalid");
        assert!(refused.text("/detail").contains(why), "{:#}", refused.body);
        assert!(!refused.text("/detail").contains("canary"), "{:#}", refused.body);
    };
    refused(&secret("token"), "nothing there");
    version.store(1, Ordering::SeqCst);
    refused(&secret("other"), "no `other`");
    refused(&secret("count"), "no text");
    // All of it would go to the upstream in the place of a token.
    let whole = json!({"from": "vault_kv", "path": format!("placet/{}", account.name)});
    refused(&whole, "several parts");
    assert!(account.shown().is_empty());
    refused(&json!({"from": "vault_kv", "path": "../sys/raw", "key": "x"}), "plain segments");
    account.connect(&story.admin(), &secret("token")).expect(201);
    account.get(story).expect(200);
    assert_eq!(account.shown(), ["Bearer canary-kv"]);
    version.store(2, Ordering::SeqCst);
    assert!(account.state(story)["unreadable"].as_str().unwrap().contains("deleted"));
    version.store(3, Ordering::SeqCst);
    assert!(account.state(story)["unreadable"].as_str().unwrap().contains("version 2"));
    fs::write(&world.token, "another-token").unwrap();
    assert!(account.state(story)["unreadable"].as_str().unwrap().contains("does not let"));
    fs::write(&world.token, "canary-store-token\n").unwrap();
    assert!(!story.server.log().contains("canary-kv") && !story.server.log().contains("canary-store"));
}

#[test]
fn a_role_gets_a_token_and_another_when_that_one_is_ended() {
    let mut server = Server::start(PLACET);
    let file = server.home().join("secret-id");
    fs::write(&file, "canary-secret-id\n").unwrap();
    let store = Upstream::with_header("x-vault-request", "true");
    let logins = Arc::new(AtomicUsize::new(0));
    let (count, good) = (Arc::clone(&logins), Arc::new(AtomicUsize::new(1)));
    let now = Arc::clone(&good);
    store.answer("/v1/auth/approle/login", move |seen| {
        let sent = json!({"role_id": "placet-role", "secret_id": "canary-secret-id"});
        if seen.method != "POST" || seen.json() != sent || seen.header("x-vault-token").is_some() {
            return Reply::status(400);
        }
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let auth = json!({"client_token": format!("canary-token-{number}"), "lease_duration": 3600, "renewable": true});
        Reply::json(200, &json!({"auth": auth}))
    });
    store.answer("/v1/secret/data/shop", move |seen| {
        let expected = format!("canary-token-{}", now.load(Ordering::SeqCst));
        if seen.header("x-vault-token") != Some(&expected) || seen.header("x-vault-namespace") != Some("team")
        {
            return Reply::json(403, &json!({"errors": ["permission denied"]}));
        }
        Reply::json(200, &json!({"data": {"data": {"token": "canary-kv"}}}))
    });
    server.flags(&[
        "--kv-url",
        store.base(),
        "--kv-namespace",
        "team",
        "--kv-role-id",
        "placet-role",
        "--kv-secret-id-file",
        file.to_str().unwrap(),
    ]);
    server.restart();
    let story = Story::on(server);
    let account = Account::new(&story);
    account.connect(&story.admin(), &json!({"from": "vault_kv", "path": "shop", "key": "token"})).expect(201);
    account.get(&story).expect(200);
    assert_eq!((account.shown(), logins.load(Ordering::SeqCst)), (vec!["Bearer canary-kv".to_owned()], 1));
    // It was ended there.
    good.store(2, Ordering::SeqCst);
    assert_eq!(account.state(&story)["unreadable"], Value::Null);
    assert_eq!(logins.load(Ordering::SeqCst), 2);
    good.store(9, Ordering::SeqCst);
    assert!(account.state(&story)["unreadable"].as_str().unwrap().contains("does not let"));
    assert!(!story.server.log().contains("canary"));
}

#[test]
fn only_who_configures_says_what_is_read_and_only_where_the_operator_lets_it() {
    let world = world();
    let (story, account) = (&world.story, Account::new(&world.story));
    fs::write(world.directory.join("somebodys"), "canary-of-somebody").unwrap();
    fs::write(world.directory.parent().unwrap().join("outside"), "canary-outside").unwrap();
    symlink("../outside", world.directory.join(format!("{}-link", account.name))).unwrap();
    let file = |path: &str| json!({"from": "file", "path": path});
    let own = story.approver();
    account.connect(&own, &file("somebodys")).refused(403, "not_permitted");
    for (secret, detail) in [
        (file("../outside"), "plain segments"),
        (file("/etc/passwd"), "plain segments"),
        (file(&format!("{}-link", account.name)), "leads out"),
        (json!({"from": "command", "name": "--version"}), "letters"),
        (json!({"from": "command", "name": "not-there"}), "failed"),
        (json!({"from": "http", "url": "https://x.example"}), "`env` or `command`"),
        (json!({"from": "file", "path": "somebodys", "more": 1}), "`env` or `command`"),
    ] {
        let refused = account.connect(&story.admin(), &secret).refused(400, "request_invalid");
        assert!(refused.text("/detail").contains(detail), "{secret}: {:#}", refused.body);
        assert!(!String::from_utf8_lossy(&refused.bytes).contains("canary"));
    }
    // A server that was started with nothing reads nothing.
    let account = Account::new(crate::stage::story());
    for (secret, flag) in [
        (file("somebodys"), "--secrets-from-dir"),
        (json!({"from": "command", "name": "x"}), "--secrets-command"),
        (json!({"from": "vault_kv", "path": "x"}), "--kv-url"),
    ] {
        let refused = account.connect(&self::story().admin(), &secret).refused(400, "request_invalid");
        assert!(refused.text("/detail").contains(flag), "{:#}", refused.body);
    }
}

#[test]
fn a_credential_of_several_parts_is_one_object_there_and_survives_a_restart() {
    let mut server = Server::start(PLACET);
    let directory = server.home().join("secrets");
    fs::create_dir_all(&directory).unwrap();
    server.flags(&["--secrets-from-dir", directory.to_str().unwrap()]);
    server.restart();
    let mut story = Story::on(server);
    let account = Account::with(&story, "{type: aws_sigv4, region: eu-central-1, service: s3}");
    let keys = json!({"Version": 1, "AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "canary-secret-key"});
    fs::write(directory.join("aws.json"), keys.to_string()).unwrap();
    let done = story
        .server
        .cli()
        .args(["connection", "add", &account.name, "--service", &account.name, "--auth", "aws-sigv4"])
        .args(["--secret-from", "file:aws.json"])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    account.get(&story).expect(200);
    story.server.restart();
    account.get(&story).expect(200);
    let shown = account.shown();
    assert!(
        shown.iter().all(|header| header.contains("Credential=AKIDEXAMPLE/")) && shown.len() == 2,
        "{shown:?}"
    );
}

#[test]
fn nobody_who_can_only_write_to_the_database_has_another_place_read() {
    if is_about_a_file(
        "connections_elsewhere::nobody_who_can_only_write_to_the_database_has_another_place_read",
    ) {
        return;
    }
    let mut server = Server::start(PLACET);
    let directory = server.home().join("secrets");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("mine"), "canary-of-mine").unwrap();
    fs::write(directory.join("else"), "canary-of-somebody-else").unwrap();
    server.flags(&["--secrets-from-dir", directory.to_str().unwrap()]);
    server.restart();
    let mut story = Story::on(server);
    let account = Account::new(&story);
    account.connect(&story.admin(), &json!({"from": "file", "path": "mine"})).expect(201);
    account.get(&story).expect(200);
    assert_eq!(story.server.stop(), Some(0));
    let other =
        "update connections set document = replace(document, '\"path\":\"mine\"', '\"path\":\"else\"')";
    tamper(&story.server.data(), other);
    story.server.restart();
    let state = account.state(&story);
    assert_eq!(state["secret"]["path"], "else");
    assert!(state["unreadable"].as_str().unwrap().contains("sealed"), "{state:#}");
    account.get(&story).refused(503, "unavailable");
    assert_eq!(account.shown(), ["Bearer canary-of-mine"]);
}

/// What a token is asked for with may be kept elsewhere, and is read each time; the tokens are kept here.
#[test]
fn a_clients_secret_is_read_whenever_a_token_is_asked_for() {
    let (world, file) = (world(), fresh("client-"));
    let server = Upstream::with_header(ANY.0, ANY.1);
    let next = AtomicUsize::new(0);
    server.answer("/token", move |_| {
        // The first is due at once.
        let (number, lives) = match next.fetch_add(1, Ordering::SeqCst) {
            0 => (1, 1),
            _ => (2, 3600),
        };
        let body = json!({"access_token": format!("t{number}"), "token_type": "Bearer", "expires_in": lives});
        Reply::json(200, &body)
    });
    let account = Account::with(
        &world.story,
        &format!("{{type: oauth2, token_url: {}/token, client_auth: client_secret_post}}", server.base()),
    );
    let connect = |client: &Client, secret: &Value| {
        let auth = json!({"type": "oauth2", "client_id": "me", "client_secret": secret});
        let body = json!({"name": account.name, "service": account.name, "auth": auth});
        client.post("/v1/connections").json(&body).send()
    };
    let place = json!({"from": "file", "path": file});
    let refused = connect(&world.story.admin(), &place).refused(400, "request_invalid");
    assert!(refused.text("/detail").contains("client_secret"), "{:#}", refused.body);
    fs::write(world.directory.join(&file), "canary-first-secret\n").unwrap();
    for wrong in [json!({"from": "file", "path": "../x"}), json!({"from": "nowhere"}), json!(5)] {
        connect(&world.story.admin(), &wrong).refused(400, "request_invalid");
    }
    let lee = world.story.client().with(&world.story.lee);
    connect(&lee, &place).refused(403, "not_permitted");
    assert!(server.seen_at("/token").is_empty(), "nothing was asked with a secret that is not there");
    connect(&world.story.admin(), &place).expect(201);
    fs::write(world.directory.join(&file), "canary-other-secret\n").unwrap();
    until("the next token", || {
        account.get(&world.story);
        account.shown().iter().any(|shown| shown == "Bearer t2").then_some(())
    });
    let asked: Vec<String> =
        server.seen_at("/token").iter().map(|seen| String::from_utf8(seen.body.to_vec()).unwrap()).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].contains("client_secret=canary-first-secret"), "{asked:?}");
    assert!(asked[1].contains("client_secret=canary-other-secret"), "{asked:?}");
    let told = format!("{:?}{}", world.story.record(), world.story.server.log());
    assert!(!told.contains("canary-first-secret") && !told.contains("canary-other-secret"));
}
