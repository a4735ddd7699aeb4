//! The protocol itself: which revision is spoken, what headers have to agree with, and everything that is refused.

use super::{ALL, NEW, OLD, ask, call, tools};
use crate::{
    dpop::{Key, bound, nonce, with},
    stage::story,
};
use placet_testkit::{Answer, Request, Story, fresh, together, until};
use serde_json::{Value, json};

fn post(story: &Story, token: &str) -> Request {
    story.client().post("/mcp").bearer(token)
}

fn code(answer: &Answer) -> i64 {
    answer.at("/error/code").as_i64().unwrap()
}

#[test]
fn the_older_revision_begins_with_a_handshake_of_which_nothing_is_kept() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let hello = |version: &str| {
        let params = json!({"protocolVersion": version, "capabilities": {"elicitation": {}}, "clientInfo": {"name": "t", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": params});
        post(story, &token).json(&body).send().expect(200)
    };
    for (asked, given) in [(OLD, OLD), ("2025-06-18", "2025-06-18"), ("2024-11-05", OLD), (NEW, OLD)] {
        let answer = hello(asked);
        assert_eq!((answer.at("/id"), answer.at("/result/protocolVersion")), (&json!("a"), &json!(given)));
        let capabilities = json!({"tools": {"listChanged": false}, "prompts": {"listChanged": false},
            "resources": {"listChanged": false, "subscribe": false}, "completions": {}, "logging": {}});
        assert_eq!(answer.at("/result/capabilities"), &capabilities);
        assert_eq!(answer.at("/result/serverInfo/name"), "placet");
        assert!(answer.text("/result/instructions").contains("approval_required"));
        assert!(answer.header("mcp-session-id").is_none());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    for noted in ["notifications/initialized", "notifications/cancelled", "notifications/roots/list_changed"]
    {
        let body = json!({"jsonrpc": "2.0", "method": noted, "params": {"requestId": 1}});
        let answer = post(story, &token).header("mcp-protocol-version", OLD).json(&body).send().expect(202);
        assert!(answer.bytes.is_empty());
    }
    let answered = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    post(story, &token).header("mcp-protocol-version", OLD).json(&answered).send().expect(202);
    post(story, &token).header("mcp-protocol-version", NEW).json(&answered).send().expect(400);
    assert_eq!(ask(story, &token, OLD, "ping", &json!({})).expect(200).at("/result"), &json!({}));
    let level = json!({"level": "debug"});
    assert_eq!(ask(story, &token, OLD, "logging/setLevel", &level).expect(200).at("/result"), &json!({}));
    // Nobody here has prompts or resources.
    for (method, member) in [
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ] {
        assert_eq!(ask(story, &token, OLD, method, &json!({})).expect(200).at("/result")[member], json!([]));
    }
    // A session that nobody gave is ignored, and so is what would be told as progress.
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {"progressToken": 7}}});
    let answer = post(story, &token).header("mcp-session-id", "made-up").json(&body).send().expect(200);
    assert!(!answer.at("/result/tools").as_array().unwrap().is_empty());
}

#[test]
fn the_newer_revision_needs_no_handshake() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let found = ask(story, &token, NEW, "server/discover", &json!({})).expect(200);
    assert_eq!(found.at("/result/supportedVersions"), &json!([NEW, OLD, "2025-06-18"]));
    assert_eq!(found.at("/result/resultType"), "complete");
    assert_eq!((found.at("/result/ttlMs"), found.at("/result/cacheScope")), (&json!(0), &json!("private")));
    let server = &found.at("/result/_meta")["io.modelcontextprotocol/serverInfo"];
    assert_eq!(server["name"], "placet");
    let completion = ask(story, &token, NEW, "completion/complete", &json!({})).expect(200);
    assert_eq!(completion.at("/result/completion/values"), &json!([]));
    // Methods of the other revision, and of none.
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "tools/delete",
        "subscriptions/listen",
    ] {
        let answer = ask(story, &token, NEW, method, &json!({})).expect(404);
        assert_eq!((code(&answer), answer.at("/id")), (-32601, &json!(7)), "{method}");
    }
    for method in ["server/discover", "resources/subscribe", "tools/delete"] {
        assert_eq!(code(&ask(story, &token, OLD, method, &json!({})).expect(200)), -32601, "{method}");
    }
}

/// threats.md: header and body say different things to whoever routes and whoever acts.
#[test]
fn headers_that_do_not_say_what_the_body_says_are_refused() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let arguments = json!({"customer_id": customer, "order_id": "1"});
    let meta = json!({"io.modelcontextprotocol/protocolVersion": NEW, "io.modelcontextprotocol/clientCapabilities": {}});
    let body = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call",
        "params": {"name": "orders__read", "arguments": arguments, "_meta": meta}});
    let send = |headers: &[(&str, &str)], body: &Value| {
        let request =
            headers.iter().fold(post(story, &token), |request, (name, value)| request.header(name, value));
        request.json(body).send()
    };
    let (version, method, name) =
        (("mcp-protocol-version", NEW), ("mcp-method", "tools/call"), ("mcp-name", "orders__read"));
    let wrong: [&[(&str, &str)]; 11] = [
        &[],
        &[method, name],
        &[version, name],
        &[version, method],
        &[("mcp-protocol-version", OLD), method, name],
        &[version, ("mcp-method", "tools/list"), name],
        &[version, ("mcp-method", "Tools/Call"), name],
        &[version, method, ("mcp-name", "orders__list")],
        &[version, method, ("mcp-name", "=?base64?b3JkZXJzX19saXN0?=")],
        &[version, method, name, ("mcp-name", "orders__list")],
        &[version, version, method, name],
    ];
    for headers in wrong {
        let answer = send(headers, &body).expect(400);
        assert_eq!(code(&answer), -32020, "{headers:?}");
    }
    // In the older revision they need not be there, but may not lie.
    let old = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "orders__read", "arguments": arguments}});
    for headers in
        [&[("mcp-protocol-version", OLD), ("mcp-name", "orders__list")][..], &[("mcp-method", "tools/list")]]
    {
        assert_eq!(code(&send(headers, &old).expect(400)), -32020, "{headers:?}");
    }
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
    for headers in [[version, method, name], [version, method, ("mcp-name", "=?base64?b3JkZXJzX19yZWFk?=")]] {
        assert_eq!(send(&headers, &body).expect(200).at("/result/isError"), false);
    }
    assert_eq!(send(&[], &old).expect(200).at("/result/isError"), false);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 3);
    // Versions that nobody speaks, and what every request of the newer has.
    for version in ["2025-03-26", "2099-01-01", "x"] {
        let mut other = body.clone();
        other["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = version.into();
        for body in [&other, &old] {
            let answer = send(&[("mcp-protocol-version", version), method, name], body).expect(400);
            assert_eq!(code(&answer), -32022);
            assert_eq!(
                answer.at("/error/data"),
                &json!({"supported": [NEW, OLD, "2025-06-18"], "requested": version})
            );
        }
    }
    for member in ["io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"] {
        let mut other = body.clone();
        other["params"]["_meta"].as_object_mut().unwrap().remove(member);
        let answer = send(&[version, method, name], &other).expect(400);
        assert_eq!((code(&answer), answer.at("/id")), (-32602, &json!(3)), "{member}");
    }
}

#[test]
fn what_is_no_message_is_refused_in_the_form_of_the_protocol() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let one = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"orders__read","arguments":{{"customer_id":"{customer}","order_id":"1"}}}}}}"#
    );
    let batch = format!("[{one},{one}]");
    let twice = one.replace("\"order_id\":\"1\"", "\"order_id\":\"1\",\"order_id\":\"2\"");
    let quiet = one.replace("\"id\":1,", "");
    for (body, expected) in [
        (batch.as_str(), -32600),
        (twice.as_str(), -32700),
        (quiet.as_str(), -32600),
        ("", -32700),
        ("{", -32700),
        ("7", -32600),
        ("{}", -32600),
    ] {
        let answer = post(story, &token).body("application/json", body).send().expect(400);
        assert_eq!(code(&answer), expected, "{body}");
        assert!(answer.body.get("id").is_none(), "{body}");
    }
    for params in [
        json!({}),
        json!({"name": 7}),
        json!({"name": "orders__read", "arguments": []}),
        json!({"name": "orders__read", "arguments": null}),
        json!({"name": "orders__read", "arguments": {"placet.connection": 7}}),
        json!({"name": "orders__read", "_meta": {"placet/approval": "x"}}),
        json!({"name": "orders__read", "_meta": {"placet/approval": 7}}),
    ] {
        let answer = ask(story, &token, OLD, "tools/call", &params).expect(200);
        assert_eq!(code(&answer), -32602, "{params}");
    }
    let answer = ask(story, &token, OLD, "tools/list", &json!({"_meta": 7})).expect(400);
    assert_eq!(code(&answer), -32602);
    assert_eq!(code(&ask(story, &token, OLD, "initialize", &json!({})).expect(200)), -32602);
    // Not JSON by its own account, too large, and of no method.
    let form = post(story, &token).body("text/plain", one.as_str()).send().expect(415);
    assert_eq!(form.at("/error/data/code"), "media_type_unsupported");
    let large = format!("{one}{}", " ".repeat(1024 * 1024));
    let large = post(story, &token).body("application/json", large).send().expect(413);
    assert_eq!(large.at("/error/data/code"), "body_too_large");
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        story.client().request(method, "/mcp").bearer(&token).send().refused(405, "method_not_allowed");
    }
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
}

#[test]
fn who_has_no_token_for_placet_is_told_where_to_get_one_and_nothing_else() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let issuer = story.server.base();
    let url = format!("resource_metadata=\"{issuer}/.well-known/oauth-protected-resource/mcp\"");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    for request in [
        story.client().post("/mcp").json(&body),
        story.client().post("/mcp").body("application/json", "{"),
        post(story, "nonsense").json(&body),
        post(story, &story.lee).json(&body),
        post(story, &format!("{token}x")).json(&body),
    ] {
        let refused = request.send().expect(401);
        let challenge = refused.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer ") && challenge.contains(&url), "{challenge}");
        assert_eq!(refused.at("/error/data/code"), "token_invalid");
    }
    // A token for somebody else's server is none for Placet.
    let (agent, _) = story.ready(ALL);
    let audience = format!("https://{}.example/mcp", fresh("rs-"));
    story
        .admin()
        .post("/v1/resource-servers")
        .json(&json!({"name": fresh("rs-"), "audience": audience}))
        .send()
        .expect(201);
    let ask = agent.ask().with("scope", "orders.read");
    let other = ask.with("resource", &audience).send(&story.client()).expect(200).text("/access_token");
    post(story, &other).json(&body).send().expect(401);
    // And one that was asked for by the door's own URL is.
    let ask = agent.ask().with("scope", "orders.read");
    let own = ask
        .with("resource", &format!("{issuer}/mcp"))
        .send(&story.client())
        .expect(200)
        .text("/access_token");
    assert_eq!(tools(story, &own, NEW).len(), 1);
    let metadata = story.client().get("/.well-known/oauth-protected-resource/mcp").send().expect(200);
    assert_eq!(metadata.at("/resource"), &json!(format!("{issuer}/mcp")));
    // In the query it is none.
    story.client().post(&format!("/mcp?access_token={token}")).json(&body).send().expect(400);
}

/// threats.md: DNS rebinding of a gateway on the machine of whoever browses.
#[test]
fn what_a_page_of_another_origin_sends_is_not_read() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let from = |origin: &str| post(story, &token).header("origin", origin).json(&body).send();
    for origin in ["https://evil.example", "null", "", "http://127.0.0.1", "http://localhost:1"] {
        let refused = from(origin).expect(403);
        assert_eq!(refused.at("/error/data/code"), "not_permitted", "{origin}");
        assert!(refused.header("www-authenticate").is_none());
        assert!(refused.header("access-control-allow-origin").is_none());
    }
    let both =
        post(story, &token).header("origin", story.server.base()).header("origin", "https://evil.example");
    both.json(&body).send().expect(403);
    from(story.server.base()).expect(200);
}

#[test]
fn a_token_that_is_bound_to_a_key_needs_its_proof() {
    let story = story();
    let client = story.client();
    let agent = story.agent(&fresh("agent-")).register();
    story.rules(&agent.handle, ALL).expect(201);
    let key = Key::ed25519();
    let number = nonce(&client, &agent);
    let token = bound(&client, &agent, &key, &number, "orders.*").text("/access_token");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    post(story, &token).json(&body).send().expect(401);
    let url = format!("{}/mcp", client.base());
    let proof = key.proof("POST", &url, Some(&token), Some(&number));
    with(client.post("/mcp"), &token, &proof).json(&body).send().expect(200);
    // Once, and for this door.
    with(client.post("/mcp"), &token, &proof).json(&body).send().expect(401);
    let elsewhere = key.proof("POST", &format!("{}/v1/actions", client.base()), Some(&token), Some(&number));
    let refused = with(client.post("/mcp"), &token, &elsewhere).json(&body).send().expect(401);
    assert_eq!(refused.at("/error/data/code"), "proof_invalid");
    let params = json!({"name": "orders__list", "arguments": {"customer_id": fresh("c")}});
    let acting = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let proof = key.proof("POST", &url, Some(&token), Some(&number));
    let done = with(client.post("/mcp"), &token, &proof).json(&acting).send().expect(200);
    assert_eq!(done.at("/result/isError"), false);
}

/// An agent's listings are questions like any other: paced, so that nobody probes for free.
#[test]
fn listings_are_paced() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let question = json!({"action": "notes.write", "params": {"customer_id": "1", "text": "x"}});
    let many = json!({"decisions": vec![question; 100]});
    // A slot comes back each tenth of a second, and a batch takes ten seconds of them: of listings that are asked for at
    // once behind one that took what there was, some are one too many.
    let listed = until("a listing that is one too many", || {
        _ = story.client().post("/v1/decisions").bearer(&token).json(&many).send();
        let all = together(8, |_| ask(story, &token, NEW, "tools/list", &json!({})));
        all.into_iter().find(|answer| answer.status == 429)
    });
    let refused = listed.expect(429);
    assert_eq!(refused.at("/error/data/code"), "too_many_requests");
    assert!(refused.header("retry-after").is_some());
    // Calls are not.
    let arguments = json!({"customer_id": fresh("c")});
    assert_eq!(call(story, &token, NEW, "orders.list", &arguments)["isError"], false);
}
