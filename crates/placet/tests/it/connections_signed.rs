//! Connections that sign their requests, or show a certificate: upstreams that check it for themselves, byte by byte.

use crate::{
    mtls::world::{Authority, dns},
    process::typed,
    stage::story,
};
use aws_lc_rs::{digest, hmac};
use placet_server::clock::Clock;
use placet_testkit::{Reply, Seen, Story, Upstream, fresh};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener},
    sync::Arc,
    thread,
};

const KEY: &str = "canary-signing-key-90fe";
/// It comes with every request, whatever else does.
const ANY: (&str, &str) = ("user-agent", concat!("placet/", env!("CARGO_PKG_VERSION")));

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// A service with a read and a write, and an agent with a token that may do both.
struct Account {
    name: String,
    token: String,
}

impl Account {
    fn new(story: &Story, base: &str, auth: &str) -> Self {
        let name = fresh("signed");
        let yaml = format!(
            "service: {name}\nbase_url: {base}\nauth: {auth}\nactions:\n  \
             {name}.get: {{method: GET, path: '/things/{{id}}', resource: '{name}://things/{{id}}', effect: read, \
             params: {{type: object, properties: {{id: {{type: string}}, q: {{type: string}}}}}}}}\n  \
             {name}.put: {{method: POST, path: '/things/{{id}}', resource: '{name}://things/{{id}}', effect: write, \
             params: {{type: object, properties: {{id: {{type: string}}, text: {{type: string}}}}}}}}\n"
        );
        story.service(&name, &yaml).expect(201);
        let agent = story
            .agent(&fresh("agent-"))
            .with("allowed_tools", json!(["*", "**"]))
            .with("resource_access", json!(["**"]))
            .register();
        story.rules(&agent.handle, &format!("  - {{name: all, allow: ['{name}.*']}}\n")).expect(201);
        let token = agent.token(&story.client(), &format!("{name}.*"));
        Self { name, token }
    }

    fn act(&self, story: &Story, action: &str, params: &Value) -> placet_testkit::Request {
        self.through(story, None, action, params)
    }

    fn through(
        &self,
        story: &Story,
        connection: Option<&str>,
        action: &str,
        params: &Value,
    ) -> placet_testkit::Request {
        let action = format!("{}.{action}", self.name);
        let mut body = json!({"service": self.name, "action": action, "params": params});
        if let Some(connection) = connection {
            body["connection"] = connection.into();
        }
        story.client().post("/v1/actions").bearer(&self.token).json(&body)
    }
}

/// Whether a request is signed as its service says, by whom holds the key: from what arrived and nothing else.
fn is_signed(seen: &Seen) -> bool {
    let header = |name: &str| seen.header(name).unwrap_or_default().to_owned();
    let text = format!(
        "{}\n{}\n{}\n{}\n{}",
        header("x-time"),
        seen.method,
        seen.path,
        seen.query,
        sha256(&seen.body)
    );
    let now = Clock::System.now().as_seconds();
    let is_recent = header("x-time").parse::<i64>().is_ok_and(|at| (now - 300..=now + 300).contains(&at));
    is_recent
        && header("x-key") == "k-1"
        && header("x-sig") == format!("v1={}", hex(&mac(KEY.as_bytes(), text.as_bytes())))
}

const SCHEME: &str = "{type: hmac, sign: \"{timestamp}\\n{method}\\n{path}\\n{query}\\n{body_sha256}\", headers: \
                      {X-Key: '{key_id}', X-Time: '{timestamp}', X-Sig: 'v1={signature}'}}";

#[test]
fn an_upstream_that_checks_signatures_takes_what_was_sent() {
    let story = story();
    let upstream = Upstream::with_header(ANY.0, ANY.1);
    upstream.answer("/", |seen| {
        if is_signed(seen) { Reply::json(200, &json!({"told": KEY})) } else { Reply::status(401) }
    });
    let account = Account::new(story, upstream.base(), SCHEME);
    let auth = json!({"type": "hmac", "secret": {"key_id": "k-1", "secret": KEY}});
    let made = story.connection(&account.name, &account.name, &json!({"auth": auth})).expect(201);
    assert_eq!(made.at("/warnings"), &json!([]));
    for (action, params) in [
        ("get", json!({"id": "a b(ü)", "q": "x&y=1"})),
        ("get", json!({"id": "1"})),
        ("put", json!({"id": "1", "text": "ä\n\"quoted\""})),
    ] {
        let answer = account.act(story, action, &params).send().expect(200);
        assert_eq!(answer.at("/result/status"), 200, "{action} {params}: {:#}", answer.body);
        assert_eq!(answer.at("/result/body/told"), "[scrubbed]");
    }
    let passed =
        story.client().get(&format!("/proxy/{}/things/7?q=z", account.name)).bearer(&account.token).send();
    assert!(!String::from_utf8_lossy(&passed.expect(200).bytes).contains("canary"));
    assert_eq!(upstream.seen().len(), 4);
    // Nothing of an agent's stands in for what is signed.
    assert!(upstream.seen().iter().all(|seen| !format!("{seen:?}").contains("canary")));
    let path = format!("/v1/connections/{}", account.name);
    let shown = story.admin().get(&path).send().expect(200);
    for told in [shown.body.to_string(), json!(story.record()).to_string(), story.server.log()] {
        assert!(!told.contains("canary-signing"), "{told}");
    }
    // Another key is another signature.
    let auth = json!({"type": "hmac", "secret": {"key_id": "k-1", "secret": "another-key-altogether"}});
    story.admin().patch(&path).json(&json!({"auth": auth})).send().expect(200);
    assert_eq!(account.act(story, "get", &json!({"id": "1"})).send().expect(200).at("/result/status"), 401);
}

#[test]
fn what_is_no_key_is_no_connection() {
    let story = story();
    let account = Account::new(story, "https://signed.example", SCHEME);
    for (secret, detail) in [
        (json!("just-a-text-of-canary"), "key_id"),
        (json!({"key_id": "k-1", "secret": "canary"}), "bytes"),
        (json!({"key_id": "k 1", "secret": "canary-long-enough"}), "id"),
        (json!({"key_id": "k-1"}), "key_id"),
        (json!(["canary"]), "a text, or an object"),
        (Value::Null, "missing"),
    ] {
        let auth = json!({"type": "hmac", "secret": secret});
        let refused = story
            .connection(&account.name, &account.name, &json!({"auth": auth}))
            .refused(400, "request_invalid");
        assert!(refused.text("/detail").contains(detail), "{secret}: {:#}", refused.body);
        assert!(!String::from_utf8_lossy(&refused.bytes).contains("canary"));
    }
}

/// Signature Version 4 as the other side checks it.
fn is_signed_by_version_4(seen: &Seen, region: &str, service: &str) -> bool {
    let header =
        |name: &str| seen.header(name).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let authorization = header("authorization");
    let Some(rest) = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") else {
        return false;
    };
    let [scope, names, signature] = rest.split(", ").collect::<Vec<_>>()[..] else { return false };
    let (names, signature) =
        (names.strip_prefix("SignedHeaders=").unwrap(), signature.strip_prefix("Signature=").unwrap());
    let date = header("x-amz-date");
    let Some(day) = date.get(..8) else { return false };
    let expected = format!("{day}/{region}/{service}/aws4_request");
    let all = ["host", "x-amz-date"].iter().all(|name| names.split(';').any(|it| it == *name));
    let typed = seen.body.is_empty() || names.split(';').any(|name| name == "content-type");
    let body = sha256(&seen.body);
    if scope != expected || !all || !typed || (service == "s3" && header("x-amz-content-sha256") != body) {
        return false;
    }
    let lines: String = names.split(';').map(|name| format!("{name}:{}\n", header(name))).collect();
    let mut query: Vec<&str> = seen.query.split('&').filter(|member| !member.is_empty()).collect();
    query.sort_unstable();
    // S3 encodes what a path means, which is how it comes here; others encode what came.
    let path = if service == "s3" { seen.path.clone() } else { seen.path.replace('%', "%25") };
    let canonical = format!("{}\n{path}\n{}\n{lines}\n{names}\n{body}", seen.method, query.join("&"));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{expected}\n{}", sha256(canonical.as_bytes()));
    let key = [day, region, service, "aws4_request"]
        .iter()
        .fold(format!("AWS4{KEY}").into_bytes(), |key, word| mac(&key, word.as_bytes()));
    signature == hex(&mac(&key, text.as_bytes()))
}

#[test]
fn an_upstream_that_checks_signature_version_4_takes_what_was_sent() {
    let story = story();
    for service in ["s3", "execute-api"] {
        let upstream = Upstream::with_header(ANY.0, ANY.1);
        upstream.answer("/", move |seen| {
            let told = json!({"told": [KEY, "canary-session"], "token": seen.header("x-amz-security-token")});
            if is_signed_by_version_4(seen, "eu-central-1", service) {
                Reply::json(200, &told)
            } else {
                Reply::status(403)
            }
        });
        let auth = format!("{{type: aws_sigv4, region: eu-central-1, service: {service}}}");
        let account = Account::new(story, upstream.base(), &auth);
        let secret = json!({"access_key_id": "AKIDEXAMPLE", "secret_access_key": KEY, "session_token": "canary-session"});
        let auth = json!({"type": "aws_sigv4", "secret": secret});
        story.connection(&account.name, &account.name, &json!({"auth": auth})).expect(201);
        for (action, params) in [
            ("get", json!({"id": "a b(c)ü", "q": "x&y=1 +"})),
            ("get", json!({"id": "1"})),
            ("put", json!({"id": "1", "text": "t"})),
        ] {
            let answer = account.act(story, action, &params).send().expect(200);
            assert_eq!(
                answer.at("/result/status"),
                200,
                "{service} {action} {params}: {:?}",
                upstream.seen().last()
            );
            let clean = json!({"told": ["[scrubbed]", "[scrubbed]"], "token": "[scrubbed]"});
            assert_eq!(answer.at("/result/body"), &clean);
        }
        assert!(upstream.seen().iter().all(|seen| !format!("{seen:?}").contains(KEY)));
    }
}

#[test]
fn the_command_line_gives_each_kind_its_parts() {
    let story = story();
    let add = |service: &str, more: &[&str], input: &str| {
        let mut command = story.server.cli();
        command.args(["connection", "add", &fresh("cli-"), "--service", service]).args(more);
        let done = typed(&mut command, input);
        (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    let file = |text: &str| {
        let path = story.server.home().join(fresh("file-"));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let hmac = Account::new(story, "https://signed.example", SCHEME);
    let aws =
        Account::new(story, "https://signed.example", "{type: aws_sigv4, region: eu-central-1, service: s3}");
    let mtls = Account::new(story, "https://signed.example", "{type: mtls, beside: {type: bearer}}");
    let one = Authority::new().client(vec![dns("one.client.example")]);
    let (certificate, key, other) =
        (file(&one.certificate), file(&one.key), file(&Authority::new().client(Vec::new()).key));
    let token = file("canary-session\n");
    let with_key = ["--auth", "mtls", "--certificate", &certificate, "--key", &key, "--beside"];
    for (service, more, input, expected) in [
        (&hmac, &["--auth", "hmac", "--key-id", "k-1"][..], KEY, None),
        (&hmac, &["--auth", "hmac"], KEY, Some("key_id")),
        (
            &aws,
            &["--auth", "aws-sigv4", "--key-id", "AKIDEXAMPLE", "--session-token-file", &token],
            KEY,
            None,
        ),
        (
            &aws,
            &["--auth", "aws-sigv4"],
            "{\"AccessKeyId\": \"AKIDEXAMPLE\", \"SecretAccessKey\": \"canary-secret-key\"}",
            None,
        ),
        (&aws, &["--auth", "aws-sigv4"], KEY, Some("access_key_id")),
        (&mtls, &with_key, KEY, None),
        (&mtls, &with_key[..6], "", Some("missing")),
        (
            &mtls,
            &["--auth", "mtls", "--certificate", &certificate, "--key", &other, "--beside"],
            KEY,
            Some("not that of the certificate"),
        ),
        (&mtls, &["--auth", "mtls", "--certificate", &certificate], KEY, Some("--key")),
    ] {
        let (done, told) = add(&service.name, more, input);
        assert_eq!(done, expected.is_none(), "{more:?}: {told}");
        assert!(expected.is_none_or(|why| told.contains(why)), "{more:?}: {told}");
        assert!(!told.contains("canary") && !told.contains("PRIVATE"), "{told}");
    }
}

/// An upstream that takes nobody whom `clients` has not certified, and answers who it was: each request on a connection
/// of its own.
fn certified_only(servers: &Authority, clients: &Authority) -> String {
    let own = servers.for_servers(vec![dns("localhost")]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, config) = (stream.unwrap(), Arc::clone(&config));
            thread::spawn(move || {
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
                while !seen.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut piece) {
                        Ok(read @ 1..) => seen.extend_from_slice(&piece[..read]),
                        // What it says last would be lost if anything were left unread.
                        _ => {
                            _ = stream.sock.shutdown(Shutdown::Write);
                            _ = std::io::copy(&mut stream.sock, &mut std::io::sink());
                            return;
                        }
                    }
                }
                let shown = stream.conn.peer_certificates().unwrap()[0].to_vec();
                let who = ["one", "two"].into_iter().find(|name| {
                    let name = format!("{name}.client.example");
                    shown.windows(name.len()).any(|part| part == name.as_bytes())
                });
                let seen = String::from_utf8(seen).unwrap().to_ascii_lowercase();
                let said = seen.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("-");
                let body = json!({"who": who, "said": said}).to_string();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                _ = stream.write_all((head + &body).as_bytes());
                stream.conn.send_close_notify();
                _ = stream.flush();
            });
        }
    });
    format!("https://localhost:{port}")
}

#[test]
fn each_connection_shows_its_own_certificate() {
    let story = story();
    let (servers, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let base = certified_only(&servers, &clients);
    let ca = servers.pem.replace('\n', "\\n");
    let auth = format!("{{type: mtls, ca: \"{ca}\", beside: {{type: bearer}}}}");
    let account = Account::new(story, &base, &auth);
    let connect = |name: &str, certified: &crate::mtls::world::Certified| {
        let secret = json!({"certificate": certified.certificate, "key": certified.key, "secret": KEY});
        story.connection(name, &account.name, &json!({"auth": {"type": "mtls", "secret": secret}}))
    };
    let names = ["one", "two"].map(|name| (name, fresh(name)));
    for (name, connection) in &names {
        connect(connection, &clients.client(vec![dns(&format!("{name}.client.example"))])).expect(201);
    }
    for _ in 0..2 {
        for (name, connection) in &names {
            let answer =
                account.through(story, Some(connection), "get", &json!({"id": "1"})).send().expect(200);
            let told = json!({"who": name, "said": "bearer [scrubbed]"});
            assert_eq!(answer.at("/result/body"), &told);
        }
    }
    // Somebody whom the upstream doesn't know gets nothing done, and it is said why.
    let stranger = fresh("stranger");
    connect(&stranger, &strangers.client(vec![dns("one.client.example")])).expect(201);
    let refused = account.through(story, Some(&stranger), "get", &json!({"id": "1"})).send();
    assert!(refused.status >= 500, "{:#}", refused.body);
    assert!(refused.text("/detail").contains("certificate"), "{:#}", refused.body);
    let broken = fresh("broken");
    let yaml = format!(
        "service: {broken}\nbase_url: {base}\nauth: {{type: mtls, ca: \"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\"}}\n\
         actions:\n  {broken}.get: {{method: GET, path: /, resource: '{broken}://x', effect: read}}\n"
    );
    story.service(&broken, &yaml).refused(422, "document_invalid");
    // Only the service's own authority is believed.
    let another =
        format!("{{type: mtls, ca: \"{}\", beside: {{type: bearer}}}}", strangers.pem.replace('\n', "\\n"));
    let elsewhere = Account::new(story, &base, &another);
    let one = clients.client(vec![dns("one.client.example")]);
    let secret = json!({"certificate": one.certificate, "key": one.key, "secret": KEY});
    let auth = json!({"type": "mtls", "secret": secret});
    story.connection(&elsewhere.name, &elsewhere.name, &json!({"auth": auth})).expect(201);
    let refused =
        elsewhere.act(story, "get", &json!({"id": "1"})).send().refused(502, "upstream_unreachable");
    assert!(refused.text("/detail").contains("certificate"), "{:#}", refused.body);
}
