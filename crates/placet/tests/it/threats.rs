//! What a credential gateway for agents has to survive (`docs/threats.md`), tried at the doors of a running server, row by
//! row. Rows whose attack is one on a part alone are tried where that part is: their tests have names of the same form.
//!
//! Invariant: each test fails when what stands against its attack is taken out.

use crate::{
    proxy_streaming::{CHUNKED, stage},
    stage::story,
};
use placet_testkit::{Answer, RawUpstream, Reply, SECRET, Story, Upstream, fresh, password};
use serde_json::{Value, json};
use std::thread;

const ALL: &str = "  - {name: all, allow: [orders.*, notes.*, refunds.*]}\n";

/// A service of one action, `NAME.get`, at `base`.
fn service(name: &str, base: &str) -> String {
    format!(
        "service: {name}\nbase_url: {base}\nauth: {{type: bearer}}\nactions:\n  {name}.get: {{method: GET, path: '/things/{{id}}', \
         resource: '{name}://things/{{id}}', effect: read}}\n"
    )
}

fn at_proxy(story: &Story, token: &str, method: &str, path: &str) -> placet_testkit::Request {
    story.client().request(method, &format!("/proxy/{path}")).bearer(token)
}

/// A tool called at the MCP door.
fn at_mcp(story: &Story, token: &str, tool: &str, arguments: &Value) -> placet_testkit::Request {
    let params = json!({"name": tool.replace('.', "__"), "arguments": arguments});
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let request = story.client().post("/mcp").bearer(token).header("mcp-protocol-version", "2025-11-25");
    request.header("accept", "application/json, text/event-stream").json(&message)
}

#[test]
fn threat_01_nothing_that_an_agent_authenticates_with_reaches_an_upstream() {
    let story = story();
    let (agent, token) = story.ready(ALL);
    let customer = fresh("passed-");
    let own = [
        ("cookie", format!("session={token}")),
        ("proxy-authorization", format!("Bearer {token}")),
        ("x-api-key", token.clone()),
        ("x-forwarded-authorization", format!("Bearer {token}")),
        ("forwarded", format!("for=1.2.3.4;by={token}")),
        ("x-agent", agent.secret.clone()),
    ];
    let with = |request: placet_testkit::Request| {
        own.iter().fold(request, |request, (name, value)| request.header(name, value))
    };
    let params = json!({"customer_id": customer, "text": "plain"});
    with(story.acting(&token, "notes.write", &params)).send().expect(200);
    with(at_mcp(story, &token, "notes.write", &params)).send().expect(200);
    let path = format!("shop-main/customers/{customer}/notes");
    let note = json!({"text": "plain"});
    with(at_proxy(story, &token, "POST", &path)).json(&note).send().expect(200);
    let beside = story
        .client()
        .post(&format!("/proxy/{path}"))
        .header("placet-authorization", format!("Bearer {token}"));
    with(beside).header("authorization", format!("Basic {token}")).json(&note).send().expect(200);
    let seen = story.shop.seen_at(&format!("/customers/{customer}"));
    assert_eq!(seen.len(), 4);
    for seen in seen {
        assert_eq!(seen.headers.get_all("authorization").iter().count(), 1);
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
        let all = format!("{seen:?}");
        assert!(!all.contains(&token) && !all.contains(&agent.secret), "{all}");
    }
}

#[test]
fn threat_02_each_person_acts_with_their_own_account_and_no_other_also_at_once() {
    let story = story();
    let name = fresh("own-");
    let upstream = Upstream::with_header("user-agent", &format!("placet/{}", env!("CARGO_PKG_VERSION")));
    story.service(&name, &service(&name, upstream.base())).expect(201);
    let agent = story
        .agent(&fresh("agent-"))
        .with("allowed_tools", json!([format!("{name}.*")]))
        .with("resource_access", json!(["**"]))
        .register();
    story.rules(&agent.handle, &format!("  - {{name: all, allow: [{name}.get]}}\n")).expect(201);
    let people: Vec<(String, String)> = (0..3)
        .map(|_| {
            let person = fresh("person-");
            let (_, session) = story.user(&person, &[]);
            assert!(!password(&person).is_empty());
            let auth = json!({"type": "bearer", "secret": format!("canary-of-{person}")});
            story.connection(&person, &name, &json!({"user": person, "auth": auth})).expect(201);
            let body = json!({"agent": agent.handle, "scope": [format!("{name}.*")]});
            let grant = story.client().with(&session).post("/v1/grants").json(&body).send().expect(201);
            let given = agent.ask().with("grant_id", &grant.text("/grant_id")).send(&story.client());
            (person, given.expect(200).text("/access_token"))
        })
        .collect();
    let asking = |(person, token): (String, String)| {
        let name = name.clone();
        move || {
            for number in 0..20 {
                let body = json!({"service": name, "action": format!("{name}.get"),
                    "params": {"id": format!("{person}-{number}")}});
                story.client().post("/v1/actions").bearer(&token).json(&body).send().expect(200);
            }
        }
    };
    thread::scope(|scope| {
        for person in people.clone() {
            scope.spawn(asking(person));
        }
    });
    let seen = upstream.seen_at("/things/");
    assert_eq!(seen.len(), 60);
    for seen in seen {
        let (person, _) =
            people.iter().find(|(person, _)| seen.path.starts_with(&format!("/things/{person}-"))).unwrap();
        assert_eq!(seen.header("authorization"), Some(format!("Bearer canary-of-{person}").as_str()));
    }
    // Somebody else's by its name is what doesn't exist.
    let told = |connection: &str| {
        let body = json!({"service": name, "action": format!("{name}.get"), "params": {"id": "1"}, "connection": connection});
        story.client().post("/v1/actions").bearer(&people[0].1).json(&body).send().refused(403, "not_granted")
    };
    assert_eq!(told(&people[1].0).at("/title"), told("nobodys").at("/title"));
    assert_eq!(upstream.seen_at("/things/").len(), 60);
}

#[test]
fn threat_03_no_request_gets_the_credential_that_is_no_action() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let name = fresh("mapped-");
    let upstream = RawUpstream::start();
    story.service(&name, &service(&name, &upstream.base())).expect(201);
    story.connection(&name, &name, &json!({})).expect(201);
    let agent = story
        .agent(&fresh("agent-"))
        .with("allowed_tools", json!(["**"]))
        .with("resource_access", json!(["**"]))
        .register();
    story.rules(&agent.handle, "  - {name: all, allow: ['**']}\n").expect(201);
    let all = agent.token(&story.client(), &format!("{name}.*"));
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/things"),
        ("GET", "/things/"),
        ("GET", "/things/1/2"),
        ("GET", "//things/1"),
        ("GET", "/Things/1"),
        ("GET", "/v2/things/1"),
        ("HEAD", "/other/1"),
        ("POST", "/things/1"),
        ("DELETE", "/things/1"),
        ("PUT", "/things/1"),
        ("OPTIONS", "/things/1"),
        ("TRACE", "/things/1"),
        ("PROPFIND", "/things/1"),
    ] {
        let answer = at_proxy(story, &all, method, &format!("{name}{path}")).send();
        assert!((400..500).contains(&answer.status), "{method} {path}: {}", answer.status);
    }
    // Another connection's service, and an action of none.
    at_proxy(story, &token, "GET", &format!("{name}/things/1")).send().refused(403, "not_granted");
    at_proxy(story, &all, "GET", "shop-main/things/1").send().refused(403, "not_granted");
    let body =
        json!({"service": name, "action": "orders.read", "params": {"customer_id": "1", "order_id": "1"}});
    assert!(story.client().post("/v1/actions").bearer(&all).json(&body).send().status >= 400);
    assert!(upstream.is_quiet(), "something was sent that no rule was asked about");
}

/// The secret in the forms that upstreams repeat it in.
fn forms() -> Vec<String> {
    use base64::{Engine as _, engine::general_purpose};
    let each = |form: fn(u8) -> String| SECRET.bytes().map(form).collect::<String>();
    let pair = format!("{SECRET}:x");
    let mut forms = vec![
        SECRET.to_owned(),
        each(|byte| format!("{byte:02x}")),
        each(|byte| format!("{byte:02X}")),
        each(|byte| format!("%{byte:02X}")),
        each(|byte| format!("\\u{byte:04x}")),
        each(|byte| format!("&#{byte};")),
        SECRET.replace('-', "%2d"),
    ];
    for before in ["", "u:", "us:", "use:"] {
        let text = format!("{before}{pair}");
        forms.push(general_purpose::STANDARD.encode(&text));
        forms.push(general_purpose::URL_SAFE_NO_PAD.encode(&text));
    }
    forms
}

/// Whether text says the secret in any form, or enough of it to guess the rest.
fn says_secret(text: &str) -> Option<String> {
    // Of base64 the outermost characters depend on what stands beside.
    let core = |form: &String| form.get(6..form.len() - 6).map(str::to_owned);
    forms().iter().filter_map(core).find(|core| text.contains(core.as_str()))
}

#[test]
fn threat_04_reflection_in_every_form_and_cut_anywhere_comes_back_without_the_secret() {
    let stage = stage();
    // In a stream, cut at every byte.
    for form in forms() {
        let mut agent = stage.ask("GET /get/1", "te: trailers\r\nconnection: close\r\n", "");
        let mut upstream = stage.upstream.accept();
        upstream.send(format!("{CHUNKED}trailer: etag\r\nlocation: https://x/?k={form}\r\netag: {form}\r\nset-cookie: a={form}\r\nwww-authenticate: Bearer realm={form}\r\nx-ratelimit-{SECRET}: 1\r\nlink: <{form}>\r\n\r\n"));
        for cut in 1..form.len() {
            let (head, tail) = form.split_at(cut);
            upstream.send_chunk(format!("[{head}"));
            upstream.send_chunk(format!("{tail}]\n"));
        }
        upstream.send(format!("0\r\netag: {form}\r\n\r\n"));
        let all = agent.rest();
        assert!(all.ends_with("\r\n\r\n") && all.matches("]\n").count() == form.len() - 1, "{all}");
        assert_eq!(says_secret(&all), None, "{form}");
        assert!(!all.contains("set-cookie") && !all.contains("www-authenticate"), "{all}");
    }
}

#[test]
fn threat_04_reflection_in_errors_and_whole_answers_comes_back_without_the_secret() {
    let story = story();
    let (_, token) = story.ready(ALL);
    for status in [200, 302, 400, 401, 404, 500, 503] {
        for form in forms() {
            let customer = fresh("echo-");
            let path = format!("/customers/{customer}");
            let body = json!({"error": form, "nested": [{form.clone(): form}], "text": format!("it was \"{form}\"")});
            let reply = Reply::json(status, &body).header("location", &form).header("x-request-id", &form);
            story.shop.reply(&path, reply);
            let params = json!({"customer_id": customer, "order_id": "1"});
            let answers: [Answer; 3] = [
                story.act(&token, "orders.read", &params),
                at_mcp(story, &token, "orders.read", &params).send(),
                at_proxy(story, &token, "GET", &format!("shop-main{path}/orders/1")).send(),
            ];
            for answer in answers {
                let all = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.bytes));
                assert!(all.contains("[scrubbed]"), "{status} {form}: {all}");
                assert_eq!(says_secret(&all), None, "{status}: {all}");
            }
        }
    }
}

#[test]
fn threat_05_a_redirect_is_answered_and_nobody_goes_there() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let elsewhere = RawUpstream::start();
    for status in [301, 302, 303, 307, 308] {
        let customer = fresh("moved-");
        let path = format!("/customers/{customer}");
        let there = format!("{}/?k={SECRET}", elsewhere.base());
        story.shop.reply(&path, Reply::status(status).header("location", &there));
        let at = format!("shop-main{path}/orders/1");
        let answer = at_proxy(story, &token, "GET", &at).send().expect(status);
        assert_eq!(answer.header("location"), Some(format!("{}/?k=[scrubbed]", elsewhere.base()).as_str()));
        let params = json!({"customer_id": customer, "order_id": "1"});
        let answer = story.act(&token, "orders.read", &params).expect(200);
        assert_eq!(answer.at("/result/status"), &json!(status));
    }
    assert!(elsewhere.is_quiet(), "somebody followed");
}

#[test]
fn threat_06_no_service_has_a_route_to_a_metadata_service_however_it_is_written() {
    let story = story();
    for base in [
        "http://169.254.169.254",
        "http://169.254.169.254.",
        "http://2852039166",
        "http://0xa9fea9fe",
        "http://0251.0376.0251.0376",
        "http://169.16689662",
        "http://[::ffff:169.254.169.254]",
        "http://[fd00:ec2::254]",
        "http://100.100.100.200",
        "http://user@169.254.169.254",
    ] {
        let name = fresh("inside-");
        let refused = story.service(&name, &service(&name, base));
        assert!(
            refused.status == 422 || refused.status == 400,
            "{base}: {} {:#}",
            refused.status,
            refused.body
        );
    }
}

#[test]
fn threat_07_a_browser_that_is_led_here_sends_nothing_and_reads_nothing() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let page = |request: placet_testkit::Request| {
        request.header("origin", "http://evil.example").header("host", "evil.example:8080").send()
    };
    let customer = fresh("page-");
    let body = json!({"service": "shop", "action": "orders.read", "params": {"customer_id": customer, "order_id": "1"}});
    // What a page can send by itself is a request without the token; cookies mean nothing.
    let cookie = format!("session={token}; token={token}");
    for answer in [
        page(story.client().post("/v1/actions").header("cookie", &cookie).json(&body)),
        page(
            story
                .client()
                .get(&format!("/proxy/shop-main/customers/{customer}/orders/1"))
                .header("cookie", &cookie),
        ),
        page(
            story
                .client()
                .post("/mcp")
                .header("cookie", &cookie)
                .json(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})),
        ),
        page(story.client().get("/v1/grants").header("cookie", &cookie)),
        page(story.client().get("/healthz")),
        page(story.client().get("/nothing/here")),
    ] {
        assert!(answer.header("set-cookie").is_none());
        assert_eq!(answer.header("content-security-policy"), Some("sandbox; default-src 'none'"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("access-control-allow-credentials").is_none());
    }
    assert!(story.shop.seen_at(&format!("/customers/{customer}")).is_empty());
}

#[test]
fn threat_08_no_value_leaves_its_segment() {
    // Of its own: what its upstream sees is counted whole.
    let story = &Story::new(crate::stage::PLACET);
    let (_, token) = story.ready(ALL);
    let before = story.shop.seen().len();
    for value in [
        "",
        ".",
        "..",
        "../admin",
        "a/../b",
        "a/b",
        "%2e%2e",
        "%2E%2e%2Fadmin",
        "..%2fadmin",
        "a\\b",
        "..\\admin",
        "a%5cb",
        "a%2Fb",
        "a\nb",
        "a\r\nx: y",
        "a\0b",
        "a%00b",
        "a%0d%0ax",
        "/",
    ] {
        for params in
            [json!({"customer_id": value, "order_id": "1"}), json!({"customer_id": "1", "order_id": value})]
        {
            story.act(&token, "orders.read", &params).refused(400, "params_invalid");
        }
    }
    assert_eq!(story.shop.seen().len(), before);
    // What only looks like more is one segment, at both doors the same.
    for (value, sent) in
        [("a?b", "a%3Fb"), ("a#b", "a%23b"), ("a;b=c", "a%3Bb%3Dc"), ("...", "..."), ("a b", "a%20b")]
    {
        let customer = fresh("one-");
        let params = json!({"customer_id": customer, "order_id": value});
        story.act(&token, "orders.read", &params).expect(200);
        at_proxy(story, &token, "GET", &format!("shop-main/customers/{customer}/orders/{sent}"))
            .send()
            .expect(200);
        let paths: Vec<String> =
            story.shop.seen_at(&format!("/customers/{customer}")).into_iter().map(|seen| seen.path).collect();
        assert_eq!(paths, vec![format!("/customers/{customer}/orders/{sent}"); 2]);
    }
}

#[test]
fn threat_10_what_two_parsers_read_differently_is_read_by_none() {
    let story = story();
    let (_, token) =
        story.ready("  - {name: small, allow: [refunds.create], when: [params.amount <= 100]}\n");
    let customer = fresh("twice-");
    let inside = format!("\"customer_id\": \"{customer}\", \"order_id\": \"1\"");
    let padding = " ".repeat(20_000);
    let at_action = |body: &[u8], kind: &str| {
        story.client().post("/v1/actions").bearer(&token).body(kind, body.to_vec()).send()
    };
    let path = format!("shop-main/customers/{customer}/orders/1/refunds");
    let through =
        |body: &[u8], kind: &str| at_proxy(story, &token, "POST", &path).body(kind, body.to_vec()).send();
    // Not judged by what one of two readers would see: not read at all.
    let unread = |answer: &Answer, what: &str| {
        assert!(matches!(answer.status, 400 | 415), "{what}: {} {:#}", answer.status, answer.body);
    };
    let utf16: Vec<u8> = "{\"amount\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (members, kind) in [
        (&b"{\"amount\": 1, \"amount\": 900}"[..], "application/json"),
        (b"{\"amount\": 900, \"amount\": 1}", "application/json"),
        (b"{\"amount\": 1, \"\\u0061mount\": 900}", "application/json"),
        (b"{\"amount\": 1}{\"amount\": 900}", "application/json"),
        (b"[{\"amount\": 1}, {\"amount\": 900}]", "application/json"),
        (b"{\"amount\": 1", "application/json"),
        (b"{\"amount\": 1, }", "application/json"),
        (b"{\"amount\": 1, \"x\": 2}", "application/json"),
        (b"{\"amount\": 1, \"reason\": \"1\xff\"}", "application/json"),
        (&utf16, "application/json; charset=utf-16le"),
        (b"amount=1&amount=900", "application/x-www-form-urlencoded"),
        (b"{\"amount\": 1}", "text/plain"),
    ] {
        unread(&through(members, kind), &String::from_utf8_lossy(members));
        // Byte for byte: what is no text may not become one here.
        let whole = match members.iter().position(|byte| *byte == b'{') {
            Some(at) => [&members[..=at], inside.as_bytes(), &b", "[..], &members[at + 1..]].concat(),
            None => members.to_vec(),
        };
        let before = "{\"service\": \"shop\", \"action\": \"refunds.create\", \"params\": ";
        let params = [before.as_bytes(), &whole[..], &b"}"[..]].concat();
        unread(&at_action(&params, kind), &String::from_utf8_lossy(&params));
    }
    // What says that it isn't what it seems, or hides a member behind what nobody reads.
    let gzip = at_proxy(story, &token, "POST", &path).header("content-encoding", "gzip");
    gzip.body("application/json", "{\"amount\": 1}").send().refused(400, "params_invalid");
    let padded = format!("{{\"amount\": 900,{padding}\"amount\": 1}}");
    unread(&through(padded.as_bytes(), "application/json"), "a member behind what nobody reads");
    let late = format!("{{\"reason\": \"{}\", \"amount\": 900}}", "x".repeat(100_000));
    through(late.as_bytes(), "application/json").refused(403, "condition_failed");
    // A batch is refused as a whole.
    let batch = json!([{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}]);
    let told = story.client().post("/mcp").bearer(&token).json(&batch).send();
    assert!(told.status == 400 || told.body.get("error").is_some(), "{:#}", told.body);
    assert!(story.shop.seen_at(&format!("/customers/{customer}")).is_empty());
}

#[test]
fn threat_11_a_tool_is_called_only_by_the_name_that_the_message_has_and_only_where_it_is_listed() {
    let story = story();
    let (_, token) = story.ready("  - {name: read, allow: [orders.read]}\n");
    let customer = fresh("named-");
    let new = "2026-07-28";
    let meta = json!({"io.modelcontextprotocol/protocolVersion": new, "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"}});
    let send = |method: &str, name: &str, tool: &str| {
        let arguments = json!({"customer_id": customer, "order_id": "1"});
        let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        let request = story.client().post("/mcp").bearer(&token).header("mcp-protocol-version", new);
        let request = request.header("accept", "application/json, text/event-stream");
        request.header("mcp-method", method).header("mcp-name", name).json(&body).send()
    };
    for (method, name, tool) in [
        ("tools/call", "orders__read", "orders__delete"),
        ("tools/call", "orders__delete", "orders__read"),
        ("tools/list", "orders__read", "orders__read"),
    ] {
        assert_eq!(send(method, name, tool).at("/error/code"), &json!(-32020), "{method} {name} {tool}");
    }
    assert!(story.shop.seen_at(&format!("/customers/{customer}")).is_empty());
    // What is not listed can't be called, and what is can.
    let answer = send("tools/call", "orders__delete", "orders__delete");
    assert!(
        answer.body.get("error").is_some() || answer.at("/result/isError") == &json!(true),
        "{:#}",
        answer.body
    );
    assert!(story.shop.seen_at(&format!("/customers/{customer}")).is_empty());
    let read = send("tools/call", "orders__read", "orders__read");
    assert_ne!(read.at("/result").get("isError"), Some(&json!(true)), "{:#}", read.body);
    assert_eq!(story.shop.count(&format!("/customers/{customer}")), 1);
}

#[test]
fn threat_25_no_answer_leads_an_agent_around_the_gateway() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("around-");
    let path = format!("/customers/{customer}");
    let reply = Reply::json(200, &json!({}))
        .header("alt-svc", "h3=\":443\"; ma=86400")
        .header("alt-used", "elsewhere.example")
        .header("refresh", "0; url=https://elsewhere.example")
        .header("strict-transport-security", "max-age=1")
        .header("upgrade", "h2c");
    story.shop.reply(&path, reply);
    let params = json!({"customer_id": customer, "order_id": "1"});
    let through = at_proxy(story, &token, "GET", &format!("shop-main{path}/orders/1")).send().expect(200);
    let told = story.act(&token, "orders.read", &params).expect(200);
    for name in ["alt-svc", "alt-used", "refresh", "strict-transport-security", "upgrade"] {
        assert!(through.header(name).is_none() && told.header(name).is_none(), "{name}");
        assert!(told.at("/result/headers").get(name).is_none(), "{name}");
    }
}
