//! Proxies that ask first: the endpoint as nginx, Traefik and Caddy ask it, and a real nginx with the configuration of
//! `docs/forward-auth.md`.

mod nginx;

use crate::{
    dpop::{Key, nonce},
    stage::story,
};
use placet_testkit::{Agent, Answer, Request, Story, fresh, until};
use serde_json::{Value, json};

/// A service whose bodies nobody describes, beside the shop.
const FILES: &str = "
service: files
base_url: https://files.example/v1
auth: {type: bearer}
actions:
  notes.attach: {method: PUT, path: '/orders/{id}/file', resource: 'order://{id}', effect: write, stream: true}
  notes.touch: {method: POST, path: '/orders/{id}/touch', resource: 'order://{id}', effect: write}
";

/// A resource server, for which a proxy asks.
pub(crate) struct Front {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) audience: String,
}

pub(crate) fn front(story: &Story) -> Front {
    let (name, audience) = (fresh("front-"), format!("https://{}.example", fresh("front-")));
    let body = json!({"name": name, "audience": audience});
    let made = story.admin().post("/v1/resource-servers").json(&body).send().expect(201);
    Front { id: made.text("/client_id"), secret: made.text("/client_secret"), audience }
}

impl Front {
    pub(crate) fn credentials(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(format!("{}:{}", self.id, self.secret))
    }

    /// An agent with these rules, and its token for what is behind the proxy.
    pub(crate) fn agent(&self, story: &Story, rules: &str) -> (Agent, String) {
        let agent = story.agent(&fresh("bot-")).register();
        story.rules(&agent.handle, rules).expect(201);
        let asked = agent.ask().with("scope", "orders.* notes.* refunds.*").with("resource", &self.audience);
        let token = asked.send(&story.client()).expect(200).text("/access_token");
        (agent, token)
    }

    /// A question as nginx asks it, about a request with this token.
    fn about(&self, story: &Story, service: &str, method: &str, target: &str, token: &str) -> Request {
        story
            .client()
            .get(&format!("/v1/forward-auth/{service}"))
            .bearer(token)
            .header("placet-resource-server", format!("Basic {}", self.credentials()))
            .header("x-original-method", method)
            .header("x-original-uri", target)
    }
}

const ALL: &str = "  - {name: all, allow: [orders.*, notes.*, refunds.*]}\n";

/// The problem that stands in the header, which has to be the one of the body where there is one.
fn told(answer: &Answer) -> Value {
    let header: Value = serde_json::from_str(answer.header("placet-problem").unwrap()).unwrap();
    assert!(answer.bytes.is_empty() || header == answer.body, "{:#}", answer.body);
    assert_eq!(answer.header("placet-code"), header["code"].as_str());
    assert_eq!(header["status"], json!(answer.status));
    header
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &told(answer)["code"]), (status, &json!(code)), "{answer:?}");
    assert_eq!(answer.header("placet-decision"), Some("deny"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[test]
fn an_allowed_request_goes_on_with_who_does_what_and_is_recorded() {
    let story = story();
    let front = front(story);
    let (agent, token) = front.agent(story, ALL);
    let customer = fresh("c");
    let target = format!("/customers/{customer}/orders/7");
    let answer = front.about(story, "shop", "GET", &target, &token).send().expect(200);
    assert_eq!(answer.header("placet-decision"), Some("allow"));
    assert_eq!(answer.header("placet-action-name"), Some("orders.read"));
    assert_eq!(answer.header("placet-agent"), Some(agent.id.as_str()));
    assert_eq!(answer.header("placet-user"), None, "it acts for nobody");
    assert!(answer.bytes.is_empty());
    let decision = answer.header("placet-decision-id").unwrap().to_owned();
    assert_eq!(decision.strip_prefix("dec_"), answer.header("placet-action").unwrap().strip_prefix("act_"));
    let entries = story.record();
    let entry = entries.iter().find(|entry| entry["action_id"] == *answer.header("placet-action").unwrap());
    let entry = entry.unwrap();
    assert_eq!((&entry["type"], &entry["door"]), (&json!("action.intent"), &json!("forward-auth")));
    assert_eq!(entry["by"], json!(front.id));
    assert_eq!(entry["resource"], json!(format!("order://customer:{customer}/7")));
    // What is behind the proxy may give back what it did not do.
    let path = format!("/v1/decisions/{decision}/outcome");
    let given_back =
        story.client().post(&path).basic(&front.id, &front.secret).json(&json!({"happened": "no"}));
    assert_eq!(given_back.send().expect(200).at("/charged"), &json!(false));
}

#[test]
fn traefik_and_caddy_say_it_in_other_headers_and_nobody_mixes_the_two() {
    let story = story();
    let front = front(story);
    let (_, token) = front.agent(story, "  - {name: reads, allow: [orders.read]}\n");
    let target = "/customers/1/orders/7";
    let ask = |headers: &[(&str, &str)]| {
        let credentials = format!("Basic {}", front.credentials());
        let request = story.client().get("/v1/forward-auth/shop").bearer(&token);
        let request = request.header("placet-resource-server", credentials);
        headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    ask(&[
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "orders.example"),
        ("x-forwarded-uri", target),
        ("x-forwarded-for", "203.0.113.9"),
    ])
    .expect(200);
    let denied = ask(&[("x-forwarded-method", "DELETE"), ("x-forwarded-uri", target)]);
    refused(&denied, 403, "no_rule");
    assert_eq!(denied.at("/code"), &json!("no_rule"), "they hand the body on");
    for mixed in [
        &[("x-original-method", "DELETE"), ("x-original-uri", target), ("x-forwarded-uri", target)][..],
        &[("x-original-method", "GET"), ("x-original-uri", target), ("x-forwarded-method", "GET")],
        &[("x-original-method", "GET"), ("x-forwarded-uri", target)],
        &[("x-original-uri", target)],
        &[("x-original-method", "GET"), ("x-original-uri", target), ("x-original-uri", target)],
        &[],
    ] {
        refused(&ask(mixed), 403, "request_invalid");
    }
}

#[test]
fn only_the_resource_server_itself_asks() {
    let story = story();
    let (front, other) = (front(story), self::front(story));
    let (_, token) = front.agent(story, ALL);
    let ask = |credentials: Option<String>| {
        let request = story.client().get("/v1/forward-auth/shop").bearer(&token);
        let request =
            request.header("x-original-method", "GET").header("x-original-uri", "/customers/1/orders/7");
        match credentials {
            Some(credentials) => request.header("placet-resource-server", credentials).send(),
            None => request.send(),
        }
    };
    for wrong in [
        None,
        Some("Basic".to_owned()),
        Some(format!("Bearer {token}")),
        Some("Basic AAAA".to_owned()),
        Some(format!("Basic {}x", front.credentials())),
    ] {
        let answer = ask(wrong);
        assert_eq!((answer.status, answer.at("/code")), (401, &json!("token_invalid")));
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Basic realm=\"placet\""),
            "nothing is wrong with the token"
        );
        // Behind nginx nothing else is seen of it.
        let header: Value = serde_json::from_str(answer.header("placet-problem").unwrap()).unwrap();
        assert_eq!(header, answer.body);
    }
    ask(Some(format!("Basic {}", front.credentials()))).expect(200);
    let foreign = ask(Some(format!("Basic {}", other.credentials())));
    refused(&foreign, 401, "token_invalid");
    let end = format!("/v1/resource-servers/{}", front.id);
    story.admin().delete(&end).send().expect(204);
    ask(Some(format!("Basic {}", front.credentials()))).refused(401, "token_invalid");
}

#[test]
fn a_token_that_is_no_good_is_challenged() {
    let story = story();
    let front = front(story);
    let target = "/customers/1/orders/7";
    let plain = |headers: &[(&str, &str)]| {
        let credentials = format!("Basic {}", front.credentials());
        let request =
            story.client().get("/v1/forward-auth/shop").header("placet-resource-server", credentials);
        let request = request.header("x-original-method", "GET").header("x-original-uri", target);
        headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    let nothing = plain(&[]);
    refused(&nothing, 401, "token_invalid");
    assert_eq!(nothing.header("www-authenticate"), Some("Bearer realm=\"placet\""));
    let broken = plain(&[("authorization", "Bearer a.b.c")]);
    refused(&broken, 401, "token_invalid");
    assert!(broken.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    let (agent, token) = front.agent(story, ALL);
    let own = agent.token(&story.client(), "orders.*");
    refused(&front.about(story, "shop", "GET", target, &own).send(), 401, "token_invalid");
    // A client library with credentials of its own.
    let bearer = format!("Bearer {token}");
    let beside = [("authorization", "Basic AAAA"), ("placet-authorization", bearer.as_str())];
    plain(&beside).expect(200);
    let suspend = format!("/v1/agents/{}/suspend", agent.id);
    story.admin().post(&suspend).send();
    let ended = until("the suspension", || {
        let answer = front.about(story, "shop", "GET", target, &token).send();
        (answer.status != 200).then_some(answer)
    });
    refused(&ended, 401, "agent_inactive");
    // What the grant lacks is told as a scope.
    let narrow = story.agent(&fresh("bot-")).register();
    story.rules(&narrow.handle, ALL).expect(201);
    let asked = narrow.ask().with("scope", "orders.read").with("resource", &front.audience);
    let narrow = asked.send(&story.client()).expect(200).text("/access_token");
    front.about(story, "shop", "GET", target, &narrow).send().expect(200);
    let lacking = front.about(story, "shop", "DELETE", target, &narrow).send();
    refused(&lacking, 403, "not_granted");
    let absent = front.about(story, "shop", "DELETE", "/nothing/here", &narrow).send();
    refused(&absent, 403, "not_granted");
    assert_eq!(told(&lacking)["detail"], told(&absent)["detail"], "told alike");
}

#[test]
fn what_could_be_read_in_two_ways_is_refused_and_recorded() {
    let story = story();
    let front = front(story);
    let (agent, token) = front.agent(story, ALL);
    for target in [
        "/customers/1/orders/../orders/7",
        "/customers/1/orders/%2e%2e/7",
        "/customers/1/orders/%2E%2E/7",
        "/customers//1/orders/7",
        "//customers/1/orders/7",
        "/customers/1/orders/7;v=2",
        "/customers/1/orders/7%3Bv",
        "/customers/1/orders/a%2Fb",
        "/customers/1/orders/a%5Cb",
        "/customers/1/orders/a\\b",
        "/customers/1/orders/%252e%252e",
        "/customers/1/orders/%37",
        "/customers/1/orders/a%c3%a9",
        "/customers/1/orders?page=1&page=2",
        "/customers/1/orders?admin=1",
        "http://shop/customers/1/orders/7",
    ] {
        let answer = front.about(story, "shop", "GET", target, &token).send();
        refused(&answer, 403, "params_invalid");
    }
    for (name, value) in [
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/customers/1/orders/8"),
        ("x-rewrite-url", "/customers/1/orders/8"),
    ] {
        let answer =
            front.about(story, "shop", "GET", "/customers/1/orders/7", &token).header(name, value).send();
        refused(&answer, 403, "params_invalid");
    }
    refused(&front.about(story, "shop", "GET", "/Customers/1/orders/7", &token).send(), 403, "not_granted");
    refused(&front.about(story, "shop", "get", "/customers/1/orders/7", &token).send(), 403, "not_granted");
    refused(&front.about(story, "nothing", "GET", "/customers/1/orders/7", &token).send(), 403, "not_found");
    let denials = || {
        let entries = story.record();
        let of_agent = |entry: &&Value| entry["agent"] == json!(agent.id) && entry["door"] == "forward-auth";
        entries.iter().filter(of_agent).map(|entry| entry["type"].clone()).collect::<Vec<_>>()
    };
    let denials = denials();
    assert!(denials.len() >= 5 && denials.iter().all(|kind| kind == "decision.deny"), "{denials:?}");
}

#[test]
fn a_body_that_is_not_seen_is_not_guessed() {
    // Of its own: others have rules about parameters for whatever is called `notes`, and a stream has none.
    let story = &Story::new(crate::stage::PLACET);
    story.service("files", FILES);
    let front = front(story);
    let (_, token) = front.agent(story, ALL);
    let refund = front.about(story, "shop", "POST", "/customers/1/orders/7/refunds", &token).send();
    refused(&refund, 403, "params_invalid");
    assert!(told(&refund)["detail"].as_str().unwrap().contains("body"));
    refused(&front.about(story, "files", "POST", "/v1/orders/7/touch", &token).send(), 403, "params_invalid");
    front.about(story, "files", "PUT", "/v1/orders/7/file", &token).send().expect(200);
    for header in ["x-original-content-length", "x-original-transfer-encoding"] {
        let with = |service, method, target| {
            front.about(story, service, method, target, &token).header(header, "12").send()
        };
        refused(&with("shop", "DELETE", "/customers/1/orders/7"), 403, "params_invalid");
        with("files", "PUT", "/v1/orders/7/file").expect(200);
    }
    // What a person would have to be shown isn't there.
    let (_, held) =
        front.agent(story, "  - {name: asks, allow: [notes.*], approve: {by: [\"role:approver\"]}}\n");
    refused(&front.about(story, "files", "PUT", "/v1/orders/7/file", &held).send(), 403, "forbidden");
}

#[test]
fn an_allowed_request_is_charged() {
    let story = story();
    let front = front(story);
    let rules = "  - {name: three, allow: [orders.*], limits: [{count: 3, per: day}]}\n";
    let (_, token) = front.agent(story, rules);
    let statuses = placet_testkit::together(8, |number| {
        let target = format!("/customers/1/orders/{number}");
        front.about(story, "shop", "GET", &target, &token).send()
    });
    assert_eq!(statuses.iter().filter(|answer| answer.status == 200).count(), 3);
    for answer in statuses.iter().filter(|answer| answer.status != 200) {
        refused(answer, 403, "limit_exceeded");
        assert!(told(answer).pointer("/reasons/0/remedy/retry_at").is_some());
    }
    // What a proxy can't do is not left undone: a shaped answer.
    let (_, shaped) = front.agent(story, "  - {name: s, allow: [orders.*], shape: {redact: [\"$.card\"]}}\n");
    refused(&front.about(story, "shop", "GET", "/customers/1/orders/7", &shaped).send(), 403, "forbidden");
}

#[test]
fn a_held_request_goes_on_when_a_person_has_said_yes_once() {
    let story = story();
    let front = front(story);
    let rules = "  - {name: asks, allow: [orders.delete], approve: {by: [\"role:approver\"]}}\n";
    let (_, token) = front.agent(story, rules);
    let ask = |order: &str, approval: Option<&str>| {
        let target = format!("/customers/1/orders/{order}");
        let request = front.about(story, "shop", "DELETE", &target, &token);
        match approval {
            Some(approval) => request.header("placet-approval", approval).send(),
            None => request.send(),
        }
    };
    let held = ask("7", None);
    assert_eq!((held.status, held.header("placet-decision")), (403, Some("hold")));
    assert_eq!(told(&held)["code"], json!("approval_required"));
    let approval = held.header("placet-approval").unwrap().to_owned();
    assert_eq!(told(&held)["approval"]["id"], json!(approval));
    assert!(held.header("placet-approval-url").unwrap().ends_with(&approval));
    assert_eq!(ask("7", Some(&approval)).header("placet-decision"), Some("hold"), "not yet");
    let verdict = json!({"verdict": "approve"});
    story.approver().post(&format!("/v1/approvals/{approval}")).json(&verdict).send().expect(200);
    refused(&ask("8", Some(&approval)), 403, "approval_mismatch");
    ask("7", Some(&approval)).expect(200);
    refused(&ask("7", Some(&approval)), 403, "approval_used");
}

/// A token that is bound to a key is of no use to whoever has it alone: each request comes with a proof for its own URL.
#[test]
fn a_bound_token_comes_with_a_proof_for_the_url_that_was_called() {
    let story = story();
    let front = front(story);
    let (agent, plain) = front.agent(story, ALL);
    let (client, key) = (story.client(), Key::ed25519());
    let nonce = nonce(&client, &agent);
    let proof = key.proof("POST", &format!("{}/oauth/token", client.base()), None, Some(&nonce));
    let asked = agent.ask().with("scope", "orders.*").with("resource", &front.audience).request(&client);
    let token = asked.header("dpop", proof).send().expect(200).text("/access_token");
    let target = "/customers/1/orders/7";
    let url = format!("{}{target}", front.audience);
    let ask = |scheme: &str, token: &str, proof: Option<&str>| {
        let request = story.client().get("/v1/forward-auth/shop");
        let request = request.header("placet-resource-server", format!("Basic {}", front.credentials()));
        let request = request.header("x-original-method", "GET").header("x-original-uri", target);
        let request = request.header("authorization", format!("{scheme} {token}"));
        match proof {
            Some(proof) => request.header("dpop", proof).send(),
            None => request.send(),
        }
    };
    let proof = |method: &str, url: &str| key.proof(method, url, Some(&token), Some(&nonce));
    refused(&ask("Bearer", &token, None), 401, "proof_required");
    let stolen = ask("DPoP", &token, None);
    refused(&stolen, 401, "proof_required");
    assert!(stolen.header("www-authenticate").unwrap().starts_with("DPoP "));
    let fitting = proof("GET", &url);
    ask("DPoP", &token, Some(&fitting)).expect(200);
    refused(&ask("DPoP", &token, Some(&fitting)), 401, "proof_invalid");
    let another = Key::ed25519().proof("GET", &url, Some(&token), Some(&nonce));
    for wrong in [proof("DELETE", &url), proof("GET", &format!("{url}1")), another] {
        refused(&ask("DPoP", &token, Some(&wrong)), 401, "proof_invalid");
    }
    let door = proof("GET", &format!("{}/v1/forward-auth/shop", client.base()));
    refused(&ask("DPoP", &token, Some(&door)), 401, "proof_invalid");
    let unbound = key.proof("GET", &url, Some(&plain), Some(&nonce));
    refused(&ask("DPoP", &plain, Some(&unbound)), 401, "proof_required");
}
