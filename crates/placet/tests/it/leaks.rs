//! No secret stands anywhere but where it belongs: each kind of secret is a canary, the doors are tried with what works, what
//! fails and what is malformed, with everything logged, and then all that the server wrote or said is searched for them in
//! every encoding that the gateway knows.

use crate::stage::PLACET;
use placet_core::secret::Secret;
use placet_gateway::Scrubber;
use placet_testkit::{Answer, Reply, SECRET, Story, Upstream, fresh, password};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

/// A secret, and how it is found.
struct Canary {
    name: &'static str,
    forms: Scrubber,
}

#[derive(Default)]
struct Search {
    canaries: Vec<Canary>,
    looked_at: usize,
    /// All of what is wrong, told at the end.
    wrong: Vec<String>,
}

impl Search {
    fn knows(&mut self, name: &'static str, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref();
        assert!(secret.len() >= 8, "{name} is too short to be searched for");
        self.canaries.push(Canary { name, forms: Scrubber::new(&Secret::new(secret)) });
    }

    /// A token of three parts: its signature alone makes it one.
    fn knows_token(&mut self, name: &'static str, token: &str) {
        self.knows(name, token.rsplit('.').next().unwrap());
    }

    /// Which of them stand here.
    fn found(&self, bytes: &[u8]) -> Vec<&'static str> {
        let found = self.canaries.iter().filter(|canary| canary.forms.scrub_bytes(bytes).is_some());
        found.map(|canary| canary.name).collect()
    }

    fn none_in(&mut self, place: &str, bytes: &[u8]) {
        self.looked_at += bytes.len();
        let found = self.found(bytes);
        if !found.is_empty() {
            self.wrong.push(format!("{found:?} in {place}: {}", self.around(bytes)));
        }
    }

    fn none_in_answer(&mut self, place: &str, answer: &Answer) {
        self.none_in(place, &answer.bytes);
        self.none_in(place, format!("{:?}", answer.headers).as_bytes());
    }

    /// The lines that they stand in.
    fn around(&self, bytes: &[u8]) -> String {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !self.found(line).is_empty());
        let lines =
            lines.take(3).map(|line| String::from_utf8_lossy(&line[..line.len().min(2000)]).into_owned());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Every file below a directory, but for these, each of which holds one of them.
    fn none_below(&mut self, directory: &Path, belongs: &[(&str, &str)]) {
        for path in files(directory) {
            let bytes = fs::read(&path).unwrap();
            match belongs.iter().find(|(file, _)| path.ends_with(file)) {
                Some((_, name)) if self.found(&bytes) == [*name] => {}
                Some((_, name)) => self.wrong.push(format!("{name} is not alone in {}", path.display())),
                None => self.none_in(&path.display().to_string(), &bytes),
            }
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

fn both(output: &Output) -> Vec<u8> {
    [output.stdout.as_slice(), &output.stderr].concat()
}

const CLIENT_SECRET: &str = "canary-oauth-client-secret-1f0c";
const FIRST: &str = "canary-upstream-refresh-token-77aa";
const NEXT: &str = "canary-upstream-refresh-token-88bb";
const ACCESS: &str = "canary-upstream-access-token-99cc";
/// Sent where secrets are sent, by somebody who has it wrong.
const TYPED: &str = "canary-that-somebody-typed-3b9d";
const RULES: &str = "  - {name: all, allow: [orders.*, notes.*]}\n";

/// A connection whose tokens come from an authorization server, used once.
fn connected_by_oauth(story: &Story) -> Answer {
    let basic = Upstream::with_header("user-agent", &format!("placet/{}", env!("CARGO_PKG_VERSION")));
    basic.reply(
        "/token",
        Reply::json(200, &json!({"access_token": ACCESS, "token_type": "Bearer", "expires_in": 3600, "refresh_token": NEXT})),
    );
    // It says everything that it was told.
    basic.answer("/things", |seen| {
        let told = seen.header("authorization").unwrap_or_default().to_owned();
        Reply::json(403, &json!({"message": told})).header("x-request-id", told)
    });
    let yaml = format!(
        "service: account\nbase_url: {0}\nauth: {{type: oauth2, token_url: {0}/token, scope: [read]}}\nactions:\n  \
         account.get: {{method: GET, path: '/things/{{id}}', resource: 'account://things/{{id}}', effect: read}}\n",
        basic.base()
    );
    story.service("account", &yaml).expect(201);
    let auth = json!({"type": "oauth2", "client_id": "placet", "client_secret": CLIENT_SECRET, "refresh_token": FIRST});
    story.connection("account", "account", &json!({"auth": auth})).expect(201);
    let agent = story.agent(&fresh("agent-")).with("allowed_tools", json!(["*", "**"]));
    let agent = agent.with("resource_access", json!(["**"])).register();
    story.rules(&agent.handle, "  - {name: all, allow: [account.get]}\n").expect(201);
    let token = agent.token(&story.client(), "account.*");
    let body = json!({"service": "account", "action": "account.get", "params": {"id": "1"}});
    let answer = story.client().post("/v1/actions").bearer(&token).json(&body).send();
    let shown: Vec<_> = basic
        .seen_at("/things")
        .iter()
        .map(|seen| seen.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(shown, [format!("Bearer {ACCESS}")], "{:#}", answer.body);
    answer
}

/// What comes to the doors from somebody who has it wrong: each with a secret in it.
fn malformed(story: &Story) -> Vec<(&'static str, Answer)> {
    let (client, admin) = (story.client(), story.admin());
    let quoted = format!("\"{TYPED}\"");
    let connection = |auth: &Value| {
        let body = json!({"name": "x", "service": "shop", "auth": auth});
        admin.post("/v1/connections").json(&body).send()
    };
    let token = |members: &[(&str, &str)]| client.post("/oauth/token").form(members).send();
    vec![
        (
            "a cut document",
            admin
                .post("/v1/connections")
                .body("application/json", format!("{{\"auth\":{{\"secret\":{quoted}"))
                .send(),
        ),
        ("an unknown type", connection(&json!({"type": "magic", "secret": TYPED}))),
        ("a secret as the type", connection(&json!({"type": TYPED}))),
        ("a text for an object", connection(&json!(TYPED))),
        ("an unknown member", connection(&json!({"type": "bearer", "secret": [TYPED]}))),
        (
            "a password that is wrong",
            client.post("/v1/sessions").json(&json!({"name": "ada", "password": TYPED})).send(),
        ),
        (
            "a password in a list",
            client.post("/v1/sessions").json(&json!({"name": "ada", "password": [TYPED]})).send(),
        ),
        (
            "a password as a name",
            client.post("/v1/sessions").json(&json!({"name": TYPED, "password": "x"})).send(),
        ),
        (
            "a code that is none",
            client
                .post("/v1/sessions")
                .json(&json!({"name": "ada", "password": password("ada"), "totp": [TYPED]}))
                .send(),
        ),
        (
            "a user who is there already",
            admin
                .post("/v1/users")
                .json(&json!({"name": "ada", "password": TYPED, "roles": ["approver"]}))
                .send(),
        ),
        (
            "a client secret",
            token(&[("grant_type", "client_credentials"), ("client_id", "agt_x"), ("client_secret", TYPED)]),
        ),
        (
            "an assertion",
            token(&[
                ("grant_type", "client_credentials"),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ("client_assertion", TYPED),
            ]),
        ),
        ("a refresh token", token(&[("grant_type", "refresh_token"), ("refresh_token", TYPED)])),
        ("a code", token(&[("grant_type", "authorization_code"), ("code", TYPED), ("code_verifier", TYPED)])),
        (
            "a grant type",
            client
                .post("/oauth/token")
                .body("application/json", format!("{{\"client_secret\":{quoted},"))
                .send(),
        ),
        ("a bearer token", client.get("/v1/grants").bearer(TYPED).send()),
        (
            "a bearer token at the action door",
            client.post("/v1/actions").bearer(TYPED).json(&json!({})).send(),
        ),
        ("a bearer token at the proxy door", client.get("/proxy/shop-main/x").bearer(TYPED).send()),
        ("a bearer token at the MCP door", client.post("/mcp").bearer(TYPED).json(&json!({})).send()),
        (
            "a basic password",
            client.post("/oauth/introspect").basic("agt_x", TYPED).form(&[("token", TYPED)]).send(),
        ),
        (
            "a proof",
            client
                .get("/v1/grants")
                .header("dpop", TYPED)
                .header("authorization", format!("DPoP {TYPED}"))
                .send(),
        ),
        ("a cookie", client.get("/v1/grants").header("cookie", format!("session={TYPED}")).send()),
        ("a token in the query", client.get(&format!("/v1/grants?access_token={TYPED}")).send()),
        ("a token to verify", admin.post("/v1/tokens/verify").json(&json!({"token": TYPED})).send()),
        (
            "a provider",
            admin
                .post("/v1/identity-providers")
                .json(&json!({"name": "x", "issuer": "nowhere", "client_secret": TYPED}))
                .send(),
        ),
        (
            "an activation",
            client.post("/v1/agents/agt_x/activate").json(&json!({"registration_token": TYPED})).send(),
        ),
    ]
}

#[test]
fn no_secret_stands_anywhere_but_where_it_belongs() {
    let mut story = Story::new(PLACET);
    story.server.flags(&["--log", "trace"]);
    story.server.restart();
    let mut search = Search::default();
    let key = fs::read_to_string(story.server.data().join("vault.key")).unwrap();
    search.knows("the vault key", key.trim());
    search.knows("the administrator token", story.server.admin_token());
    search.knows("a connection's secret", SECRET);
    search.knows("an OAuth client secret", CLIENT_SECRET);
    search.knows("an upstream's refresh token", FIRST);
    search.knows("an upstream's next refresh token", NEXT);
    search.knows("an upstream's access token", ACCESS);
    search.knows("what somebody typed", TYPED);
    search.knows("a password", password("ada"));
    search.knows("another password", password("lee"));
    let (agent, token) = story.ready(RULES);
    search.knows("a client secret", &agent.secret);
    search.knows_token("an access token", &token);
    search.knows("a session", story.sign_in("ada"));
    search.knows("an old session", &story.ada);

    // What works, what fails, and what says everything that it was told.
    let note = |text: &str| json!({"customer_id": "42", "text": text});
    story.act(&token, "notes.write", &note("x")).expect(200);
    let encoded =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("user:{SECRET}"));
    for (prefix, reply) in [
        (
            "/customers/1/",
            Reply::json(200, &json!({"echo": SECRET, SECRET: [encoded]})).header("x-request-id", SECRET),
        ),
        ("/customers/2/", Reply::bytes(500, "text/plain", format!("failed with Bearer {SECRET}"))),
        ("/customers/3/", Reply::hang_up()),
        ("/customers/4/", Reply::status(302).header("location", format!("http://127.0.0.1/?token={SECRET}"))),
        ("/customers/5/", Reply::bytes(200, "application/json", format!("{{\"cut\": \"{SECRET}"))),
    ] {
        story.shop.reply(prefix, reply);
    }
    for customer in 1..=5 {
        let params = json!({"customer_id": customer.to_string(), "order_id": "1"});
        search.none_in_answer("the action door", &story.act(&token, "orders.read", &params));
        let path = format!("/proxy/shop-main/customers/{customer}/orders/1");
        search.none_in_answer("the proxy door", &story.client().get(&path).bearer(&token).send());
    }
    search.none_in_answer("the account's answer", &connected_by_oauth(&story));
    for (what, answer) in malformed(&story) {
        // Of these, whoever checks tokens says that one is none.
        if !(400..500).contains(&answer.status) && what != "a token to verify" {
            search.wrong.push(format!("{what}: {} {:#}", answer.status, answer.body));
        }
        search.none_in_answer(what, &answer);
    }
    story.record();

    // What it answers to administrators, what its commands print.
    for path in [
        "/metrics",
        "/v1/keys",
        "/v1/connections",
        "/v1/connections/account",
        "/v1/agents",
        "/v1/users",
        "/v1/grants",
        "/v1/record?limit=1000",
        "/v1/services/shop",
        "/readyz",
    ] {
        let answer = story.admin().get(path).send();
        if answer.status != 200 {
            search.wrong.push(format!("{path}: {} {:#}", answer.status, answer.body));
        }
        search.none_in_answer(path, &answer);
    }
    let backup = story.server.home().join("backup");
    let is_file = story.server.database().is_none();
    let backup_to = backup.to_str().unwrap().to_owned();
    let commands: &[&[&str]] = &[
        &["doctor", "--json"],
        &["record", "tail", "--json", "--limit", "1000"],
        &["record", "verify", "--json"],
        &["keys", "list", "--json"],
        &["connection", "list", "--json"],
    ];
    for command in commands {
        let output = story.server.cli().args(*command).output().unwrap();
        if output.stdout.is_empty() {
            search.wrong.push(format!("{command:?}: {output:?}"));
        }
        search.none_in(&command.join(" "), &both(&output));
    }
    if is_file {
        let output = story.server.cli().args(["backup", &backup_to]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        search.none_in("backup", &both(&output));
        search.none_below(&backup, &[("admin.token", "the administrator token")]);
    } else {
        fs::create_dir(&backup).unwrap();
        story.server.database().unwrap().dump(&backup.join("dump"));
        search.none_below(&backup, &[]);
    }

    // What lies on the disk, while it runs and when it has ended; and what it logged.
    let belongs = [("admin.token", "the administrator token"), ("vault.key", "the vault key")];
    let log = story.server.log();
    for (name, word) in [
        ("the log of Placet", "\"target\":\"placet"),
        ("the log of what it uses", "\"target\":\"hyper"),
        ("every line", "\"TRACE\""),
    ] {
        if !log.contains(word) {
            search.wrong.push(format!("{name} is not there"));
        }
    }
    search.none_in("the log", log.as_bytes());
    search.none_below(&story.server.data(), &belongs);
    assert_eq!(story.server.stop(), Some(0));
    search.none_below(&story.server.data(), &belongs);
    search.none_in("the log", story.server.log().as_bytes());
    assert!(search.wrong.is_empty(), "{}", search.wrong.join("\n"));
    // It would have been found.
    assert!(search.looked_at > 100_000, "{} bytes", search.looked_at);
    let planted = format!("x{}x", base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE, SECRET));
    assert_eq!(search.found(planted.as_bytes()), ["a connection's secret"]);
}
