//! The action door: what is carried out, what the upstream and the agent see of each other, what is refused before
//! anything is sent.

use crate::stage::story;
use placet_testkit::{Reply, SECRET, Seen, Story, Upstream, fresh, until};
use serde_json::{Value, json};
use std::net::ToSocketAddrs as _;

const ALL: &str = "  - {name: all, allow: [orders.*, notes.*, refunds.*]}\n";

/// The secret in the encodings that an upstream could give it back in.
fn encodings() -> Vec<String> {
    let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = "Y2FuYXJ5LXVwc3RyZWFtLXNlY3JldC01ZDFjN2UwYjlh".to_owned();
    vec![SECRET.to_owned(), percent, hex, base64, format!("Bearer {SECRET}")]
}

fn read(customer: &str) -> Value {
    json!({"customer_id": customer, "order_id": "1"})
}

#[test]
fn an_allowed_action_is_carried_out_with_the_secret_and_nothing_of_the_agents() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let note = json!({"customer_id": customer, "text": "hello"});
    let answer = story
        .acting(&token, "notes.write", &note)
        .header("cookie", "agent-cookie=1")
        .header("x-forwarded-for", "10.1.2.3")
        .header("x-agent", "agent-header")
        .header("proxy-authorization", "Basic agent-proxy")
        .send()
        .expect(200);
    assert_eq!(answer.at("/status"), "executed");
    assert!(answer.text("/id").starts_with("act_"));
    let path = format!("/customers/{customer}/notes");
    assert_eq!(answer.at("/result/status"), 200);
    assert_eq!(answer.at("/result/body"), &json!({"ok": true, "method": "POST", "path": path}));
    assert_eq!(answer.at("/result").as_object().unwrap().len(), 3);
    let seen = story.shop.seen_at(&path);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].json(), json!({"text": "hello"}));
    assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    let all = format!("{:?}{:?}", seen[0].headers, seen[0].body);
    for mine in [token.as_str(), "agent-cookie", "10.1.2.3", "agent-header", "agent-proxy"] {
        assert!(!all.contains(mine), "{mine}");
    }
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("set-cookie").is_none());
}

#[test]
fn what_an_upstream_answers_is_passed_on_whatever_its_status() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let path = format!("/customers/{customer}/");
    for status in [201, 204, 400, 401, 403, 404, 409, 429, 500, 503] {
        story.shop.reply(&path, Reply::status(status));
        let answer = story.act(&token, "orders.read", &read(&customer)).expect(200);
        assert_eq!((answer.at("/status"), answer.at("/result/status")), (&json!("executed"), &json!(status)));
    }
    story.shop.reply(&path, Reply::bytes(200, "text/plain", "just text"));
    let answer = story.act(&token, "orders.read", &read(&customer)).expect(200);
    assert_eq!(answer.at("/result/body"), "just text");
    assert_eq!(answer.at("/result/headers/content-type"), "text/plain");
    story.shop.reply(&path, Reply::bytes(200, "application/octet-stream", [0xff, 0x00, 0xfe]));
    let answer = story.act(&token, "orders.read", &read(&customer)).expect(200);
    assert_eq!(answer.at("/result/body"), &json!({"base64": "/wD+"}));
    story
        .shop
        .reply(&path, Reply::bytes(200, "application/json", "{\"n\": 10000000000000000000.5, \"n\": 2}"));
    let answer = story.act(&token, "orders.read", &read(&customer)).expect(200);
    assert!(answer.at("/result/body").is_string() || answer.at("/result/body").is_object());
    story.shop.reply(&path, Reply::bytes(200, "application/json", "{\"exact\": 0.1000000000000000000001}"));
    let answer = story.act(&token, "orders.read", &read(&customer)).expect(200);
    assert_eq!(answer.at("/result/body").to_string(), "{\"exact\":0.1000000000000000000001}");
}

#[test]
fn an_upstream_that_gives_its_secret_back_can_not_give_it_to_the_agent() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let path = format!("/customers/{customer}/");
    let mut replies = Vec::new();
    for form in encodings() {
        replies.push(Reply::json(200, &json!({"a": {form.clone(): [form.clone(), format!("x{form}y")]}})));
        replies.push(Reply::bytes(500, "text/html", format!("<p>bad token {form}</p>")));
        replies.push(Reply::bytes(
            200,
            "application/octet-stream",
            [b"\xff", form.as_bytes(), b"\xfe"].concat(),
        ));
        replies.push(Reply::status(302).header("location", format!("{}/next?key={form}", story.shop.base())));
        replies.push(Reply::json(401, &json!({"error": form.clone()})).header("x-debug", &form));
        replies.push(Reply::status(200).header("set-cookie", format!("session={form}")));
        replies.push(Reply::bytes(200, "application/json", format!("{{broken {form}")));
    }
    // JSON's own escapes hide it from a search for bytes.
    let escaped: String = SECRET.bytes().map(|byte| format!("\\u{:04x}", u32::from(byte))).collect();
    replies.push(Reply::bytes(200, "application/json", format!("{{\"k\": \"{escaped}\"}}")));
    for reply in replies {
        story.shop.reply(&path, reply.clone());
        let answer = story.act(&token, "orders.read", &read(&customer)).expect(200);
        let text = format!("{}{:?}", String::from_utf8_lossy(&answer.bytes), answer.headers);
        for form in encodings() {
            assert!(!text.contains(&form), "{form} of {reply:?} came back: {text}");
        }
        assert!(!answer.body.to_string().contains(SECRET));
        // Bytes go as base64: at whichever of the three alignments, it has one of these.
        if let Some(bytes) = answer.at("/result/body").get("base64").and_then(Value::as_str) {
            for part in ["dXBzdHJlYW0tc2Vjcm", "Vwc3RyZWFtLXNlY3Jld", "1cHN0cmVhbS1zZWNyZX"] {
                assert!(!bytes.contains(part), "{reply:?}: {text}");
            }
        }
    }
    let followed = story.shop.seen_at("/next");
    assert!(followed.is_empty(), "a redirect was followed");
}

#[test]
fn a_redirect_is_an_answer_and_not_followed() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let (customer, elsewhere) = (fresh("c"), Upstream::start("other"));
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/caught", elsewhere.base());
        story
            .shop
            .reply(&format!("/customers/{customer}/"), Reply::status(status).header("location", &location));
        let answer =
            story.act(&token, "notes.write", &json!({"customer_id": customer, "text": "x"})).expect(200);
        assert_eq!(answer.at("/result/status"), status);
    }
    assert!(elsewhere.seen().is_empty());
}

#[test]
fn an_upstream_that_fails_is_told_with_whether_it_may_have_happened() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    story.shop.reply(&format!("/customers/{customer}/"), Reply::hang_up());
    let answer = story.act(&token, "notes.write", &json!({"customer_id": customer, "text": "x"}));
    let answer = answer.refused(502, "upstream_unreachable");
    assert_eq!(answer.at("/happened"), "unknown");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let path = format!("/v1/actions/{}", answer.text("/id"));
    let client = story.client().with(&token);
    let state = until("the outcome", || {
        let shown = client.get(&path).send().expect(200).text("/status");
        (shown != "pending").then_some(shown)
    });
    assert_eq!(state, "unknown");
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1, "it was sent again");
    assert!(!answer.body.to_string().contains(SECRET));
}

#[test]
fn an_upstream_that_is_too_large_or_compressed_is_told_as_unreadable() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let reply = Reply::bytes(200, "application/json", "x").header("content-encoding", "gzip");
    story.shop.reply(&format!("/customers/{customer}/"), reply);
    let answer = story.act(&token, "orders.read", &read(&customer)).refused(502, "upstream_unreadable");
    assert_eq!(answer.at("/happened"), "yes");
}

#[test]
fn only_an_agents_live_token_acts() {
    let story = story();
    let (agent, token) = story.ready(ALL);
    let customer = fresh("c");
    let mut broken = token.clone();
    broken.truncate(token.len() - 4);
    let parts: Vec<&str> = token.split('.').collect();
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{}.", parts[1]);
    for wrong in [
        "x",
        "a.b.c",
        broken.as_str(),
        unsigned.as_str(),
        agent.secret.as_str(),
        story.ada.as_str(),
        story.lee.as_str(),
        story.server.admin_token(),
    ] {
        let answer = story.act(wrong, "orders.read", &read(&customer));
        assert!(matches!(answer.status, 401 | 403), "{wrong}: {:#}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("www-authenticate").is_some(), answer.status == 401);
    }
    let body = json!({"service": "shop", "action": "orders.read", "params": read(&customer)});
    let answer = story.client().post("/v1/actions").json(&body).send().refused(401, "token_invalid");
    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
}

#[test]
fn what_is_not_installed_is_told_like_what_is_not_granted() {
    let story = story();
    let (agent, _) = story.ready(ALL);
    let token = agent.token(&story.client(), "orders.read");
    let customer = fresh("c");
    let ask = |service: &str, action: &str| {
        let body =
            json!({"service": service, "action": action, "params": {"customer_id": customer, "text": 1}});
        let mut answer =
            story.client().post("/v1/actions").bearer(&token).json(&body).send().refused(403, "not_granted");
        // What it sent comes back; everything else has to be the same.
        assert_eq!(answer.body["action"], action);
        assert_eq!(answer.body["reasons"][0]["remedy"], json!({"scope": action}));
        for member in ["id", "action", "reasons"] {
            answer.body.as_object_mut().unwrap().remove(member);
        }
        answer.body
    };
    // `notes.write` is installed and its parameters are wrong, too: not even that is told.
    let absent = [
        ask("shop", "no.such"),
        ask("nothing", "orders.read"),
        ask("nothing", "no.such"),
        ask("shop", "notes.write"),
    ];
    assert!(absent.iter().all(|body| body == &absent[0]), "{absent:#?}");
    // Each was recorded, with the agent that tried.
    let denied = until("four denials", || {
        let mut all = story.record();
        all.retain(|entry| entry["type"] == "decision.deny" && entry["agent"] == agent.id.as_str());
        (all.len() >= 4).then_some(all)
    });
    assert!(denied.iter().all(|entry| entry["codes"] == json!(["not_granted"])), "{denied:#?}");
}

#[test]
fn parameters_that_are_not_the_actions_are_refused_before_anything_is_counted() {
    let story = story();
    let (_, token) = story.ready("  - {name: once, allow: [orders.*], limits: [{count: 1, per: day}]}\n");
    let customer = fresh("c");
    let with = |order: Value| json!({"customer_id": customer, "order_id": order});
    let mut table: Vec<Value> = [
        "", ".", "..", "a/b", "/", "../x", "a\\b", "\\", "%2e%2e", "%2E", "%2e", "a%2fb", "%2F", "%5c",
        "%00", "\u{0}", "a\nb", "\r\n", "%0a", "\u{7f}", "..%2f..",
    ]
    .iter()
    .map(|text| with(json!(text)))
    .collect();
    table.extend([json!(null), json!(1), json!(true), json!(["1"]), json!({"x": 1})].map(with));
    table.push(json!({"customer_id": customer}));
    table.push(json!({}));
    table.push(json!({"customer_id": customer, "order_id": "1", "extra": 1}));
    table.push(json!({"customer_id": customer, "order_id": "1", "service": "shop"}));
    for params in table {
        let answer = story.act(&token, "orders.read", &params);
        assert_eq!((answer.status, answer.at("/code")), (400, &json!("params_invalid")), "{params}");
    }
    for params in [json!([]), json!("x"), json!(null), json!(1)] {
        let answer = story.act(&token, "orders.read", &params);
        assert_eq!(answer.status, 400, "{params}: {:#}", answer.body);
    }
    assert_eq!(story.shop.count(&format!("/customers/{customer}")), 0);
    story.act(&token, "orders.read", &with(json!("1"))).expect(200);
    story.act(&token, "orders.read", &with(json!("1"))).refused(403, "limit_exceeded");
}

#[test]
fn odd_characters_reach_upstream_as_one_segment() {
    let story = story();
    let (_, token) = story.ready(ALL);
    for (order, path) in [
        ("a b", "a%20b"),
        ("ä", "%C3%A4"),
        ("a?b=c", "a%3Fb%3Dc"),
        ("a#b", "a%23b"),
        ("a;b", "a%3Bb"),
        ("...", "..."),
        ("a+b", "a%2Bb"),
        ("a&b", "a%26b"),
        ("a:b@c", "a%3Ab%40c"),
    ] {
        let customer = fresh("c");
        let answer = story.act(&token, "orders.read", &json!({"customer_id": customer, "order_id": order}));
        assert_eq!(answer.status, 200, "{order}: {:#}", answer.body);
        let seen: Vec<Seen> = story.shop.seen_at(&format!("/customers/{customer}/"));
        assert_eq!(seen[0].path, format!("/customers/{customer}/orders/{path}"));
        assert_eq!(seen[0].query, "");
    }
    let customer = fresh("c");
    let params = json!({"customer_id": customer, "q": "a&page=9#x", "page": 2});
    story.act(&token, "orders.list", &params).expect(200);
    let seen = story.shop.seen_at(&format!("/customers/{customer}/"));
    let mut query: Vec<&str> = seen[0].query.split('&').collect();
    query.sort_unstable();
    assert_eq!(query, ["page=2", "q=a%26page%3D9%23x"]);
}

#[test]
fn an_action_is_shown_to_its_agent_and_to_administrators_only() {
    let story = story();
    let ((_, token), (_, other)) = (story.ready(ALL), story.ready(ALL));
    let id = story.act(&token, "orders.read", &read(&fresh("c"))).expect(200).text("/id");
    let path = format!("/v1/actions/{id}");
    let shown = until("the outcome", || {
        let shown = story.client().with(&token).get(&path).send().expect(200);
        (shown.at("/status") != "pending").then_some(shown)
    });
    assert_eq!((shown.at("/status"), shown.at("/upstream_status")), (&json!("done"), &json!(200)));
    story.admin().get(&path).send().expect(200);
    story.server.admin().get(&path).send().expect(200);
    story.client().with(&other).get(&path).send().refused(404, "not_found");
    story.approver().get(&path).send().refused(404, "not_found");
    story.client().get(&path).send().refused(401, "token_invalid");
}

/// A service of its own with one action, `{name}.get`, at `base`.
fn service(story: &Story, name: &str, base: &str) -> placet_testkit::Answer {
    let yaml = format!(
        "service: {name}\nbase_url: {base}\nauth: {{type: bearer}}\nactions:\n  {name}.get:\n    method: GET\n    \
         path: /things/{{id}}\n    resource: {name}://things/{{id}}\n    effect: read\n    params:\n      \
         type: object\n      properties: {{id: {{type: string}}}}\n      required: [id]\n"
    );
    story.service(name, &yaml)
}

fn agent_of(story: &Story, name: &str) -> (placet_testkit::Agent, String) {
    let agent = story.agent(&fresh("agent-"));
    let agent =
        agent.with("allowed_tools", json!(["*", "**"])).with("resource_access", json!(["**"])).register();
    story.rules(&agent.handle, &format!("  - {{name: all, allow: [{name}.get]}}\n")).expect(201);
    let token = agent.token(&story.client(), &format!("{name}.*"));
    (agent, token)
}

fn get(story: &Story, name: &str, token: &str, connection: Option<&str>) -> placet_testkit::Answer {
    let mut body = json!({"service": name, "action": format!("{name}.get"), "params": {"id": "1"}});
    if let Some(connection) = connection {
        body["connection"] = connection.into();
    }
    story.client().post("/v1/actions").bearer(token).json(&body).send()
}

#[test]
fn addresses_that_an_upstream_may_not_have_are_not_dialled() {
    let story = story();
    let loopback = Upstream::start(SECRET);
    let port = loopback.base().rsplit_once(':').unwrap().1;
    let mut hosts = vec!["169.254.169.254".to_owned(), "[fd00:ec2::254]".to_owned()];
    // Names of this machine that are not `localhost`, where it has any.
    let own = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let own =
        own.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace().skip(1));
    let own = own.filter(|name| {
        *name != "localhost"
            && (*name, 80).to_socket_addrs().is_ok_and(|mut all| {
                all.all(|a| match a.ip() {
                    std::net::IpAddr::V4(v4) => v4.is_loopback() || v4.is_private(),
                    std::net::IpAddr::V6(v6) => v6.is_loopback(),
                })
            })
    });
    hosts.extend(own.take(3).map(|name| format!("{name}:{port}")));
    for host in hosts {
        let name = fresh("ssrf");
        let applied = service(story, &name, &format!("http://{host}"));
        if applied.status == 422 {
            continue;
        }
        story.connection(&name, &name, &json!({})).expect(201);
        let (_, token) = agent_of(story, &name);
        let answer = get(story, &name, &token, None).refused(502, "upstream_unreachable");
        assert_eq!(answer.at("/happened"), "no", "{host}");
        let told = answer.text("/detail");
        assert!(told.contains("address"), "{host}: {told}");
    }
    assert!(loopback.seen().is_empty());
}

#[test]
fn a_grant_reaches_its_own_connections_and_no_others() {
    let story = story();
    let name = fresh("reach");
    service(story, &name, story.shop.base()).expect(201);
    let (agent, token) = agent_of(story, &name);
    let refused = |connection| {
        let mut answer = get(story, &name, &token, connection).refused(403, "not_granted");
        assert!(answer.body.as_object_mut().unwrap().remove("id").is_some());
        answer.body
    };
    let absent = refused(None);
    assert_eq!(refused(Some("nothing")), absent);
    // Somebody's own one, and one for another agent: both as good as absent.
    let (other, _) = agent_of(story, &name);
    let lees = fresh("lees-");
    story.connection(&lees, &name, &json!({"user": "lee"})).expect(201);
    let others = fresh("others-");
    story.connection(&others, &name, &json!({"agents": [other.handle]})).expect(201);
    for connection in [None, Some(lees.as_str()), Some(others.as_str())] {
        assert_eq!(refused(connection), absent);
    }
    // A task of lee's reaches what is lee's.
    let task = json!({"task_id": fresh("t"), "description": "for lee", "agent": agent.handle, "scope": [format!("{name}.*")],
        "resources": ["**"]});
    let made = story.approver().post("/v1/tasks").json(&task).send();
    let made = made.expect(201);
    let claimed = agent
        .ask()
        .with("task_id", &made.text("/id"))
        .with("scope", &format!("{name}.*"))
        .send(&story.client());
    let for_lee = claimed.expect(200).text("/access_token");
    get(story, &name, &for_lee, None).expect(200);
    // One that names this agent, then a second of the organization: now a choice is needed.
    let named = fresh("named-");
    story.connection(&named, &name, &json!({"agents": [agent.id]})).expect(201);
    get(story, &name, &token, None).expect(200);
    let open = fresh("open-");
    story.connection(&open, &name, &json!({})).expect(201);
    let several = get(story, &name, &token, None).refused(400, "params_invalid");
    assert!(!several.body.to_string().contains(&lees), "{:#}", several.body);
    get(story, &name, &token, Some(&open)).expect(200);
    get(story, &name, &token, Some(&named)).expect(200);
}

#[test]
fn a_service_that_moves_parks_its_connections() {
    let story = story();
    let name = fresh("moving");
    service(story, &name, story.shop.base()).expect(201);
    story.connection(&name, &name, &json!({})).expect(201);
    let (_, token) = agent_of(story, &name);
    get(story, &name, &token, None).expect(200);
    let thief = Upstream::start(SECRET);
    service(story, &name, thief.base()).expect(200);
    let answer = get(story, &name, &token, None);
    assert!((400..600).contains(&answer.status), "{:#}", answer.body);
    assert!(answer.text("/detail").contains("attention"), "{:#}", answer.body);
    assert!(thief.seen().is_empty(), "the secret went to another host");
    // Moving back does not wake it: its owner has not confirmed.
    service(story, &name, story.shop.base()).expect(200);
    let answer = get(story, &name, &token, None);
    assert_ne!(answer.status, 200);
    let listed = story.admin().get("/v1/connections?limit=1000").send().expect(200);
    let found = listed
        .at("/connections")
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == name.as_str())
        .unwrap();
    assert_eq!(found["state"], "needs_attention");
}

#[test]
fn a_header_secret_is_injected_and_taken_out() {
    let story = story();
    let secret = "canary-header-secret-77aa";
    let upstream = Upstream::with_header("x-api-key", secret);
    upstream.answer("/", |seen| Reply::json(200, &json!({"echo": seen.header("x-api-key")})));
    let name = fresh("keyed");
    let yaml = format!(
        "service: {name}\nbase_url: {}\nauth: {{type: header, name: X-Api-Key}}\nactions:\n  {name}.get:\n    \
         {{method: GET, path: '/things/{{id}}', resource: '{name}://things/{{id}}', effect: read}}\n",
        upstream.base()
    );
    story.service(&name, &yaml).expect(201);
    story
        .connection(&name, &name, &json!({"auth": {"type": "bearer", "secret": secret}}))
        .refused(400, "request_invalid");
    let auth = json!({"auth": {"type": "header", "name": "x-api-key", "secret": secret}});
    let made = story.connection(&name, &name, &auth).expect(201);
    assert!(!made.body.to_string().contains(secret));
    let (_, token) = agent_of(story, &name);
    let answer = get(story, &name, &token, None).expect(200);
    assert_eq!(upstream.unauthorized(), 0);
    assert!(!answer.body.to_string().contains(secret), "{:#}", answer.body);
}

#[test]
fn nobody_listening_is_told_as_not_sent() {
    let story = story();
    // A port that was free a moment ago.
    let base = {
        let gone = Upstream::start("x");
        gone.base().to_owned()
    };
    let name = fresh("gone");
    let base = if std::net::TcpStream::connect(base.trim_start_matches("http://")).is_err() {
        base
    } else {
        "http://127.0.0.1:1".to_owned()
    };
    service(story, &name, &base).expect(201);
    story.connection(&name, &name, &json!({})).expect(201);
    let (_, token) = agent_of(story, &name);
    let answer = get(story, &name, &token, None).refused(502, "upstream_unreachable");
    assert_eq!(answer.at("/happened"), "no");
}

/// As long as an upstream may take, which is the longest that any test here takes.
#[test]
fn an_upstream_that_does_not_answer_is_told_as_unknown() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let never = placet_testkit::Gate::shut();
    story.shop.reply(&format!("/customers/{customer}/"), Reply::status(200).after(&never));
    let note = json!({"customer_id": customer, "text": "x"});
    let answer = story.act(&token, "notes.write", &note).refused(504, "upstream_timeout");
    assert_eq!(answer.at("/happened"), "unknown");
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}
