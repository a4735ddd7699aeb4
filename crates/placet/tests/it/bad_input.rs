//! Bad input: always a 4xx with a problem document or an OAuth error, never a 5xx, and the server lives on.

use crate::stage::story;
use placet_testkit::{Answer, Story, fresh};
use serde_json::json;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

/// A refusal that says what is wrong, in the form of its endpoint.
fn is_refusal(answer: &Answer, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {} {:#}", answer.status, answer.body);
    if answer.body.get("error").is_some() {
        assert!(answer.body["error_description"].is_string(), "{what}: {:#}", answer.body);
        return;
    }
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}: {:#}", answer.body);
    assert_eq!(answer.at("/status"), answer.status, "{what}");
    for member in ["type", "title", "code"] {
        assert!(answer.body[member].is_string(), "{what}: {:#}", answer.body);
    }
}

fn lives(story: &Story) {
    assert_eq!(story.client().get("/healthz").send().status, 200);
}

/// Every endpoint that takes JSON, with a token that it takes.
fn endpoints(story: &Story) -> Vec<(String, String)> {
    let (_, token) = story.ready("  - {name: all, allow: [notes.*]}\n");
    let ada = &story.ada;
    [
        ("/v1/actions", &token),
        ("/v1/decisions", &token),
        ("/v1/agents", ada),
        ("/v1/users", ada),
        ("/v1/sessions", ada),
        ("/v1/connections", ada),
        ("/v1/tasks", ada),
        ("/v1/approvals/apr_01m80k14jr9v4adankd5nw7ywr", &story.lee),
        ("/v1/agents/agt_01m80k14jr9v4adankd5nw7ywr/activate", ada),
        ("/oauth/token", ada),
        ("/oauth/introspect", ada),
        ("/oauth/revoke", ada),
    ]
    .map(|(path, token)| (path.to_owned(), token.clone()))
    .to_vec()
}

#[test]
fn json_that_is_none_is_refused_everywhere() {
    let story = story();
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let many = format!("{{{}}}", (0..20000).map(|n| format!("\"m{n}\":1")).collect::<Vec<_>>().join(","));
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", b"".to_vec()),
        ("blank", b"   ".to_vec()),
        ("half an object", b"{\"action\": ".to_vec()),
        ("a comma too many", b"{\"action\": \"x\",}".to_vec()),
        ("something behind", b"{} {}".to_vec()),
        ("a duplicate key", b"{\"action\": \"a\", \"action\": \"b\"}".to_vec()),
        ("a duplicate key, escaped", b"{\"name\": \"a\", \"n\\u0061me\": \"b\"}".to_vec()),
        (
            "a duplicate key inside",
            b"{\"action\": \"notes.write\", \"params\": {\"a\": 1, \"a\": 2}}".to_vec(),
        ),
        ("not UTF-8", b"{\"action\": \"\xff\xfe\"}".to_vec()),
        ("half a surrogate", b"{\"action\": \"\\ud800\"}".to_vec()),
        ("a control character", b"{\"action\": \"a\x01\"}".to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("single quotes", b"{'action': 'x'}".to_vec()),
        ("NaN", b"{\"params\": {\"a\": NaN}}".to_vec()),
        ("a list", b"[]".to_vec()),
        ("a text", b"\"x\"".to_vec()),
        ("null", b"null".to_vec()),
        ("deep lists", deep(100_000).into_bytes()),
        ("a thousand lists", deep(1000).into_bytes()),
        ("deep objects", deep_objects.into_bytes()),
        ("an unknown member", b"{\"nothing_such\": 1}".to_vec()),
        ("many members", many.into_bytes()),
        ("a long number", format!("{{\"params\": {{\"a\": {}}}}}", "9".repeat(100_000)).into_bytes()),
        (
            "a member of the wrong type",
            b"{\"action\": {}, \"name\": 1, \"agent\": [], \"token\": {}, \"verdict\": 7}".to_vec(),
        ),
    ];
    for (path, token) in endpoints(story) {
        for (what, body) in &bodies {
            let answer =
                story.client().post(&path).bearer(&token).body("application/json", body.clone()).send();
            // RFC 7009 §2.2: revoking what is no token is fine.
            if path == "/oauth/revoke" && answer.status == 200 {
                continue;
            }
            is_refusal(&answer, &format!("{path}: {what}"));
        }
    }
    lives(story);
}

#[test]
fn forms_that_are_none_are_refused() {
    let story = story();
    let agent = story.agent(&fresh("agent-")).register();
    let send = |body: &[u8]| {
        let request = story.client().post("/oauth/token").basic(&agent.id, &agent.secret);
        request.body("application/x-www-form-urlencoded", body).send()
    };
    for body in [
        &b""[..],
        b"grant_type",
        b"grant_type=",
        b"grant_type=password",
        b"grant_type=client_credentials&grant_type=client_credentials",
        b"grant_type=client_credentials&scope=%ff",
        b"grant_type=client_credentials&scope=\xff\xfe",
        b"%%%=%%",
        b"grant_type=client_credentials&scope=a%00b",
        b"grant_type=client_credentials&task_id=tsk_x",
        b"grant_type=client_credentials&task_id=a%20b",
        b"grant_type=client_credentials&scope=[1]",
        b"grant_type=client_credentials&parent_token=x",
    ] {
        is_refusal(&send(body), &String::from_utf8_lossy(body));
    }
    let long = format!("grant_type=client_credentials&scope=orders.read&task_id={}", "t".repeat(129));
    is_refusal(&send(long.as_bytes()), "a long label");
    let many =
        format!("grant_type=client_credentials&scope={}", "orders.read:order%3A%2F%2Fa/b+".repeat(20_000));
    let answer = send(many.as_bytes());
    assert!(answer.status < 500, "{}", answer.status);
    lives(story);
}

#[test]
fn bodies_are_bounded() {
    let story = story();
    const MAX: usize = 1024 * 1024;
    let padded = |length: usize| {
        let mut body = b"{\"action\": \"none\"}".to_vec();
        body.resize(length, b' ');
        body
    };
    for (path, token) in endpoints(story) {
        let send = |length: usize| {
            story.client().post(&path).bearer(&token).body("application/json", padded(length)).send()
        };
        let answer = send(MAX + 1);
        assert_eq!(answer.status, 413, "{path}: {:#}", answer.body);
        is_refusal(&answer, &path);
        assert_ne!(send(MAX).status, 413, "{path}");
    }
    for path in ["/v1/policies/big", "/v1/services/big"] {
        let big = vec![b' '; MAX + 1];
        story.admin().put(path).body("application/yaml", big).send().refused(413, "body_too_large");
    }
    // Without a length that could be believed: in chunks.
    let address = story.server.base().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    let head = format!(
        "PUT /v1/policies/big HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/yaml\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        story.ada
    );
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [format!("{:x}\r\n", 64 * 1024).as_bytes(), &vec![b' '; 64 * 1024], b"\r\n"].concat();
    for _ in 0..40 {
        // The server may have answered and closed already.
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    lives(story);
}

#[test]
fn documents_that_are_none_are_refused() {
    let story = story();
    let name = fresh("p");
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    let rule = |when: &str| {
        format!("policy: {name}\nrules:\n  - name: r\n    allow: [orders.read]\n    when: ['{when}']\n")
    };
    let documents: Vec<Vec<u8>> = [
        String::new(),
        "\n\n".into(),
        "null".into(),
        "[]".into(),
        "just text".into(),
        "a: b: c".into(),
        "policy: [".into(),
        "\t".into(),
        format!("policy: {name}\npolicy: {name}\nrules: []\n"),
        format!("policy: {name}\nrules: []\n"),
        format!("policy: {name}\nrules: {{}}\n"),
        format!("policy: {name}\n"),
        format!("policy: {name}\n---\npolicy: {name}\n"),
        format!("policy: {name}\nnothing_such: 1\nrules:\n  - {{name: r, allow: [orders.read]}}\n"),
        format!("policy: {name}\nrules:\n  - {{name: r, allow: ['orders..read']}}\n"),
        format!("policy: {name}\nrules:\n  - {{name: r, allow: [!!python/object:os.system x]}}\n"),
        format!("policy: {name}\nrules:\n  - {{name: r, allow: [orders.read], on: ['order://a/../b']}}\n"),
        bomb.into(),
        format!("{}x", "[".repeat(50_000)),
        format!("{}x", "- ".repeat(50_000)),
        format!("a: {}\n", "&a ".repeat(10_000)),
        rule("1 +"),
        rule("("),
        rule("params.order_id.matches(\"(\")"),
        rule("params.order_id.matches(\"(a+)+$\") && nothing.such()"),
        rule(&format!("{}1{}", "(".repeat(900), ")".repeat(900))),
        rule(&format!("{}true", "!".repeat(1900))),
        rule(&"1+".repeat(2000)),
        rule("[1].map(x, [1].map(y, [1].map(z, nothing)))"),
        rule("1"),
        rule("\\\"\\\\x"),
    ]
    .into_iter()
    .map(String::into_bytes)
    .chain([
        b"policy: \xff\xfe\n".to_vec(),
        b"policy: a\x00b\n".to_vec(),
        vec![0xff; 1000],
        vec![b'{'; 1024 * 1024],
    ])
    .collect();
    for document in documents {
        for path in [format!("/v1/policies/{name}"), format!("/v1/services/{name}")] {
            for kind in ["application/yaml", "application/json"] {
                let answer = story.admin().put(&path).body(kind, document.clone()).send();
                let shown = String::from_utf8_lossy(&document).chars().take(80).collect::<String>();
                is_refusal(&answer, &format!("{path} {kind} {shown}"));
                if answer.status == 422 {
                    assert!(!answer.at("/diagnostics").as_array().unwrap().is_empty(), "{shown}");
                }
            }
        }
    }
    story.admin().get(&format!("/v1/policies/{name}")).send().refused(404, "not_found");
    lives(story);
}

#[test]
fn services_that_make_no_sense_are_refused() {
    let story = story();
    let name = fresh("s");
    let good = Story::service_at(story.shop.base()).replace("service: shop", &format!("service: {name}"));
    let good = good
        .replace("orders.", &format!("{name}."))
        .replace("notes.", &format!("{name}n."))
        .replace("refunds.", &format!("{name}r."));
    for (from, to) in [
        ("base_url: http", "base_url: ftp"),
        ("base_url: http://", "base_url: http://user:pass@"),
        ("base_url: http://127", "base_url: http://exa mple127"),
        ("base_url: http://", "base_url: "),
        ("auth: {type: bearer}", "auth: {type: magic}"),
        ("auth: {type: bearer}", "auth: {type: bearer, secret: in-the-file}"),
        ("auth: {type: bearer}", "auth: {type: header, name: host}"),
        ("auth: {type: bearer}", "auth: {type: header, name: \"a b\"}"),
        ("method: GET", "method: GRAB"),
        ("effect: read", "effect: harmless"),
        ("no_effect: [404, 422]", "no_effect: [999]"),
        ("path: /customers/{customer_id}/notes", "path: /customers/../{customer_id}"),
        ("path: /customers/{customer_id}/notes", "path: /customers/{customer_id"),
        ("path: /customers/{customer_id}/notes", "path: customers"),
        ("path: /customers/{customer_id}/notes", "path: /customers/{customer_id}?a=b"),
        ("type: object", "type: objekt"),
        ("additionalProperties: false", "$ref: http://127.0.0.1/schema"),
        ("effect: read", "effect: read\n    nothing_such: 1"),
    ] {
        assert!(good.contains(from), "{from}");
        let answer = story.service(&name, &good.replacen(from, to, 1));
        assert_eq!(answer.status, 422, "{from} -> {to}: {:#}", answer.body);
        is_refusal(&answer, to);
    }
    story.service(&name, &good).expect(201);
    lives(story);
}

#[test]
fn paths_methods_and_queries_that_are_none_are_refused() {
    let story = story();
    let admin = story.admin();
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/agents/x",
        "/v1/grants/x",
        "/v1/tasks/%00",
        "/v1/record/x",
        "/v1/record/-1",
        "/v1/record/99999999999999999999",
        "/v1/approvals/%ff",
        "/v1/agents/%ff",
        "/v1/policies/%2e%2e",
        "/v1/actions/act_00000000000000000000000000",
        "/v1/record/18446744073709551615/proof",
        "/v1/policies/a%2fb",
    ] {
        is_refusal(&admin.get(path).send(), path);
    }
    for (method, path) in [
        ("DELETE", "/v1/record"),
        ("PUT", "/v1/actions"),
        ("POST", "/healthz"),
        ("TRACE", "/v1/users"),
        ("QUERY", "/v1/users"),
    ] {
        let answer = admin.request(method, path).send();
        assert_eq!(answer.status, 405, "{method} {path}");
        is_refusal(&answer, path);
    }
    for query in [
        "limit=x",
        "limit=-1",
        "after=x",
        "nothing=1",
        "limit=1&limit=2",
        "after=%ff",
        "after=99999999999999999999999",
    ] {
        is_refusal(&admin.get(&format!("/v1/record?{query}")).send(), query);
    }
    for (query, most) in [("limit=0", 1), ("limit=99999999", 1000)] {
        let answer = admin.get(&format!("/v1/record?{query}")).send().expect(200);
        assert!(answer.at("/entries").as_array().unwrap().len() <= most);
    }
    lives(story);
}

#[test]
fn content_types_and_headers_that_are_none_are_refused() {
    let story = story();
    let (_, token) = story.ready("  - {name: all, allow: [notes.*]}\n");
    let body =
        || json!({"action": "notes.write", "params": {"customer_id": fresh("c"), "text": "x"}}).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "json",
        "",
        "application/yaml",
        "*/*",
    ] {
        let answer = story.client().post("/v1/actions").bearer(&token).body(kind, body()).send();
        answer.refused(415, "media_type_unsupported");
    }
    let bare = story.client().post("/v1/actions").header("authorization", format!("bearer {token}"));
    let fine = bare.body("application/json; charset=utf-8", body()).send();
    assert!(matches!(fine.status, 200 | 401), "{:#}", fine.body);
    for authorization in [
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Basic x",
        "Bearer \u{e9}",
        "Digest x",
        "plt_admin_x",
        "Bearer plt_admin_x",
    ] {
        let answer = story.client().get("/v1/users").header("authorization", authorization).send();
        is_refusal(&answer, authorization);
    }
    let twice = story.client().get("/v1/users").header("authorization", format!("Bearer {}", story.ada));
    let twice = twice.header("authorization", format!("Bearer {}", story.server.admin_token())).send();
    is_refusal(&twice, "two authorizations");
    let huge = story.client().get("/v1/users").header("x-huge", vec![b'a'; 600_000]).try_send();
    assert!(huge.is_err() || (400..500).contains(&huge.unwrap().status));
    let huge = story.client().get("/v1/users").bearer(&"a".repeat(200_000)).try_send();
    assert!(huge.is_err() || (400..500).contains(&huge.unwrap().status));
    lives(story);
}

#[test]
fn what_is_not_http_is_no_harm() {
    let story = story();
    let address = story.server.base().trim_start_matches("http://").to_owned();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/actions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/actions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /v1/actions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
        b"\0\0\0\0",
    ] {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4"),
            "{answer}"
        );
    }
    lives(story);
}

#[test]
fn no_log_line_is_of_a_bug() {
    let story = story();
    let (_, token) = story.ready("  - {name: all, allow: [notes.*]}\n");
    for body in ["{", "[]", "{\"action\": \"\"}", "{\"action\": \"a.b\", \"service\": \"\\u0000\"}"] {
        let answer = story.client().post("/v1/actions").bearer(&token).body("application/json", body).send();
        is_refusal(&answer, body);
    }
    let log = story.server.log();
    assert!(!log.contains("panicked"), "{log}");
}
