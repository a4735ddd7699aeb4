//! Envoy's `ext_authz`: a real gRPC client over a real socket, with messages as Envoy sends them.

use crate::{
    forward_auth::{Front, front},
    mtls::world::{Authority, Certified},
    stage::PLACET,
};
use http::uri::PathAndQuery;
use placet_server::doors::ext_authz::message::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderMap, HeaderValue,
    HeaderValueOption, HttpRequest, HttpResponse, OkHttpResponse, Request,
};
use placet_testkit::{Server, Story, together, until};
use rcgen::SanType;
use serde_json::{Value, json};
use std::{collections::HashMap, fs, sync::LazyLock};
use tokio::runtime::Runtime;
use tonic::{
    Code, Status,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;

const ALL: &str = "  - {name: all, allow: [orders.*, notes.*, refunds.*]}\n";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A server with the listener.
struct World {
    story: Story,
    envoy: Channel,
}

fn listening(server: &mut Server, flags: &[&str]) -> String {
    server.flags(&[&["--ext-authz-listen", "127.0.0.1:0"], flags].concat());
    server.restart();
    let log = server.log();
    let line = log.lines().rfind(|line| line.contains("Envoy is answered")).unwrap();
    let address = line.split("127.0.0.1:").nth(1).unwrap();
    format!("127.0.0.1:{}", address.split(|letter: char| !letter.is_ascii_digit()).next().unwrap())
}

fn world() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(|| {
        let mut server = Server::start(PLACET);
        let address = listening(&mut server, &[]);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let envoy = RUNTIME.block_on(endpoint.connect()).unwrap();
        World { story: Story::on(server), envoy }
    });
    &WORLD
}

/// What Envoy sends about a request.
fn about(method: &str, path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let pseudo =
        [(":method", method), (":path", path), (":authority", "orders.example"), (":scheme", "https")];
    let pseudo = pseudo.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let http = HttpRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: headers.chain(pseudo).collect(),
        ..HttpRequest::default()
    };
    let extensions = HashMap::from([
        ("service".to_owned(), "shop".to_owned()),
        ("with_request_body".to_owned(), "true".to_owned()),
    ]);
    let request = Some(Request { http: Some(http) });
    CheckRequest { attributes: Some(AttributeContext { request, context_extensions: extensions }) }
}

fn http(check: &mut CheckRequest) -> &mut HttpRequest {
    check.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap()
}

/// The same with a body as it is sent with `pack_as_bytes`.
fn with_body(mut check: CheckRequest, body: &[u8], partial: &str) -> CheckRequest {
    let http = http(&mut check);
    http.raw_body = body.to_vec();
    http.headers.insert("x-envoy-auth-partial-body".into(), partial.into());
    http.headers.insert("content-type".into(), "application/json".into());
    check
}

fn call(channel: &Channel, credentials: Option<&str>, check: CheckRequest) -> Result<CheckResponse, Status> {
    let mut request = tonic::Request::new(check);
    if let Some(credentials) = credentials {
        request.metadata_mut().insert("authorization", credentials.parse().unwrap());
    }
    let channel = channel.clone();
    RUNTIME.block_on(async move {
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<CheckRequest, CheckResponse>::default();
        let path = PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
        Ok(grpc.unary(request, path, codec).await?.into_inner())
    })
}

impl World {
    fn check(&self, front: &Front, check: CheckRequest) -> CheckResponse {
        call(&self.envoy, Some(&format!("Basic {}", front.credentials())), check).unwrap()
    }

    fn allowed(&self, front: &Front, check: CheckRequest) -> OkHttpResponse {
        let answer = self.check(front, check);
        match (answer.status.unwrap().code, answer.http_response.unwrap()) {
            (0, HttpResponse::Ok(ok)) => ok,
            (code, other) => panic!("{code}: {other:?}"),
        }
    }

    fn denied(&self, front: &Front, check: CheckRequest, status: i32, code: &str) -> DeniedHttpResponse {
        let answer = self.check(front, check);
        assert_ne!(answer.status.unwrap().code, 0);
        let HttpResponse::Denied(denied) = answer.http_response.unwrap() else { panic!("allowed") };
        let body: Value = serde_json::from_str(&denied.body).unwrap();
        assert_eq!((denied.status.unwrap().code, &body["code"]), (status, &json!(code)), "{body:#}");
        assert_eq!(header(&denied.headers, "placet-code"), Some(code));
        denied
    }
}

fn header<'h>(headers: &'h [HeaderValueOption], name: &str) -> Option<&'h str> {
    let found = headers.iter().find(|option| option.header.as_ref().unwrap().key == name)?;
    assert_eq!(found.append.map(|append| append.value), Some(false), "it replaces what the agent sent");
    Some(found.header.as_ref().unwrap().value.as_str())
}

#[test]
fn envoy_passes_on_what_was_allowed_without_the_agents_credential() {
    let world = world();
    let front = front(&world.story);
    let (agent, token) = front.agent(&world.story, ALL);
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("placet-user", "usr_forged")];
    let ok = world.allowed(&front, about("GET", "/customers/1/orders/7", &headers));
    assert_eq!(header(&ok.headers, "placet-decision"), Some("allow"));
    assert_eq!(header(&ok.headers, "placet-agent"), Some(agent.id.as_str()));
    assert_eq!(header(&ok.headers, "placet-action-name"), Some("orders.read"));
    for name in ["authorization", "placet-authorization", "dpop", "placet-approval", "placet-user"] {
        assert!(ok.headers_to_remove.iter().any(|removed| removed == name), "{name}: {ok:?}");
    }
    assert!(!ok.headers_to_remove.iter().any(|removed| removed == "placet-agent"), "that is set");
    let action = header(&ok.headers, "placet-action").unwrap();
    let entries = world.story.record();
    let entry = entries.iter().find(|entry| entry["action_id"] == *action).unwrap();
    assert_eq!((&entry["type"], &entry["door"]), (&json!("action.intent"), &json!("ext-authz")));
    // Headers as they came, where Envoy is told to send them so.
    let mut raw = about("GET", "/customers/1/orders/7", &[]);
    let one = |key: &str, value: &str| HeaderValue {
        key: key.into(),
        value: String::new(),
        raw_value: value.as_bytes().to_vec(),
    };
    http(&mut raw).header_map = Some(HeaderMap { headers: vec![one("authorization", &bearer)] });
    world.allowed(&front, raw.clone());
    http(&mut raw).header_map.as_mut().unwrap().headers.push(one("authorization", &bearer));
    world.denied(&front, raw, 403, "request_invalid");
}

#[test]
fn envoy_tells_the_agent_why_not() {
    let world = world();
    let front = front(&world.story);
    let rules = "  - {name: r, allow: [orders.read]}\n  - {name: d, allow: [orders.delete], approve: {by: [\"role:approver\"]}}\n";
    let (_, token) = front.agent(&world.story, rules);
    let bearer = format!("Bearer {token}");
    let with = |method, path| about(method, path, &[("authorization", bearer.as_str())]);
    let nobody = world.denied(&front, about("GET", "/customers/1/orders/7", &[]), 401, "token_invalid");
    assert_eq!(header(&nobody.headers, "www-authenticate"), Some("Bearer realm=\"placet\""));
    world.denied(&front, with("GET", "/customers/1/orders"), 403, "no_rule");
    for path in [
        "/customers/1/orders/%2e%2e",
        "/customers/1/orders/7;a",
        "//customers/1/orders/7",
        "/customers/1/orders/a%2Fb",
    ] {
        world.denied(&front, with("GET", path), 403, "params_invalid");
    }
    let held = world.denied(&front, with("DELETE", "/customers/1/orders/7"), 403, "approval_required");
    let approval = header(&held.headers, "placet-approval").unwrap().to_owned();
    let verdict = json!({"verdict": "approve"});
    let path = format!("/v1/approvals/{approval}");
    world.story.approver().post(&path).json(&verdict).send().expect(200);
    let again = [("authorization", bearer.as_str()), ("placet-approval", approval.as_str())];
    world.allowed(&front, about("DELETE", "/customers/1/orders/7", &again));
    world.denied(&front, about("DELETE", "/customers/1/orders/7", &again), 403, "approval_used");
}

#[test]
fn a_body_that_came_whole_is_judged_and_any_other_refused() {
    let world = world();
    let front = front(&world.story);
    let rules = "  - {name: small, allow: [refunds.create], when: [params.amount <= 100]}\n";
    let (_, token) = front.agent(&world.story, rules);
    let bearer = format!("Bearer {token}");
    let post = || about("POST", "/customers/1/orders/7/refunds", &[("authorization", bearer.as_str())]);
    world.allowed(&front, with_body(post(), br#"{"amount": 50}"#, "false"));
    world.denied(&front, with_body(post(), br#"{"amount": 500}"#, "false"), 403, "condition_failed");
    world.denied(
        &front,
        with_body(post(), br#"{"amount": 50, "amount": 500}"#, "false"),
        403,
        "params_invalid",
    );
    world.denied(&front, with_body(post(), br#"{"amount": 50, "#, "false"), 403, "params_invalid");
    world.denied(&front, with_body(post(), b"", "false"), 403, "params_invalid");
    world.denied(&front, with_body(post(), br#"{"amount": 50}"#, "true"), 403, "params_invalid");
    world.denied(&front, post(), 403, "params_invalid");
    let mut text = with_body(post(), b"", "false");
    http(&mut text).body = r#"{"amount": 50}"#.into();
    world.denied(&front, text, 403, "params_invalid");
    let mut form = with_body(post(), br#"{"amount": 50}"#, "false");
    http(&mut form).headers.insert("content-type".into(), "text/plain".into());
    world.denied(&front, form, 403, "params_invalid");
    // An agent can say that its body came whole; a route that sends none does not make it so.
    let mut forged = with_body(post(), b"", "false");
    forged.attributes.as_mut().unwrap().context_extensions.remove("with_request_body");
    world.denied(&front, forged, 403, "params_invalid");
    let read = about("GET", "/customers/1/orders/7", &[("authorization", bearer.as_str())]);
    world.denied(&front, with_body(read, b"{}", "false"), 403, "params_invalid");
}

#[test]
fn calls_at_once_are_charged_one_by_one() {
    let world = world();
    let front = front(&world.story);
    let rules = "  - {name: three, allow: [orders.*], limits: [{count: 3, per: day}]}\n";
    let (_, token) = front.agent(&world.story, rules);
    let bearer = format!("Bearer {token}");
    let answers = together(12, |number| {
        let path = format!("/customers/1/orders/{number}");
        world.check(&front, about("GET", &path, &[("authorization", &bearer)])).status.unwrap().code
    });
    assert_eq!(answers.iter().filter(|code| **code == 0).count(), 3);
    assert!(answers.iter().all(|code| matches!(code, 0 | 7)), "{answers:?}");
}

#[test]
fn only_a_resource_server_that_says_what_it_asks_about_is_answered() {
    let world = world();
    let front = front(&world.story);
    let (_, token) = front.agent(&world.story, ALL);
    let bearer = format!("Bearer {token}");
    let check = || about("GET", "/customers/1/orders/7", &[("authorization", bearer.as_str())]);
    for credentials in [None, Some("Basic AAAA"), Some(bearer.as_str()), Some("Basic")] {
        let status = call(&world.envoy, credentials, check()).unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{credentials:?}");
    }
    let credentials = format!("Basic {}", front.credentials());
    let mut nameless = check();
    nameless.attributes.as_mut().unwrap().context_extensions.clear();
    let mut empty = check();
    empty.attributes.as_mut().unwrap().request = None;
    for wrong in [nameless, empty, CheckRequest { attributes: None }] {
        let status = call(&world.envoy, Some(&credentials), wrong).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let huge = with_body(check(), &vec![b' '; 5 << 20], "false");
    let status = call(&world.envoy, Some(&credentials), huge).unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    let channel = world.envoy.clone();
    let other = RUNTIME.block_on(async move {
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<CheckRequest, CheckResponse>::default();
        let path = PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Other");
        grpc.unary(tonic::Request::new(CheckRequest { attributes: None }), path, codec).await.unwrap_err()
    });
    assert_eq!(other.code(), Code::Unimplemented);
}

#[test]
fn with_authorities_only_who_they_certified_is_heard() {
    let (clients, strangers, servers) = (Authority::new(), Authority::new(), Authority::new());
    let own = servers.for_servers(vec![SanType::IpAddress("127.0.0.1".parse().unwrap())]);
    let mut server = Server::start(PLACET);
    let home = server.home().to_owned();
    let file = |name: &str, text: &str| {
        let path = home.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let files =
        [file("own.crt", &own.certificate), file("own.key", &own.key), file("clients.crt", &clients.pem)];
    let address = listening(
        &mut server,
        &[
            "--ext-authz-certificate",
            &files[0],
            "--ext-authz-key",
            &files[1],
            "--ext-authz-client-ca",
            &files[2],
        ],
    );
    let story = Story::on(server);
    let front = front(&story);
    let (_, token) = front.agent(&story, ALL);
    let bearer = format!("Bearer {token}");
    let ask = |shown: Option<&Certified>| {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&servers.pem));
        let tls = match shown {
            Some(it) => tls.identity(Identity::from_pem(&it.certificate, &it.key)),
            None => tls,
        };
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
        let channel = RUNTIME.block_on(async { endpoint.connect_lazy() });
        let check = about("GET", "/customers/1/orders/7", &[("authorization", &bearer)]);
        call(&channel, Some(&format!("Basic {}", front.credentials())), check)
    };
    assert_eq!(ask(Some(&clients.client(Vec::new()))).unwrap().status.unwrap().code, 0);
    for wrong in [None, Some(&strangers.client(Vec::new()))] {
        assert!(ask(wrong).is_err());
    }
    // What is renewed counts without a restart, and what can't be used does not.
    let told = |what: &str| story.server.log().contains(what).then_some(());
    file("clients.crt", "no certificate");
    until("the refusal", || told("counted before counts still"));
    assert!(ask(Some(&clients.client(Vec::new()))).is_ok());
    file("clients.crt", &strangers.pem);
    until("the new authority", || ask(Some(&strangers.client(Vec::new()))).is_ok().then_some(()));
    assert!(ask(Some(&clients.client(Vec::new()))).is_err());
    let next = clients.for_servers(vec![SanType::IpAddress("127.0.0.1".parse().unwrap())]);
    file("own.key", &next.key);
    file("own.crt", &next.certificate);
    until("the new certificate", || ask(Some(&strangers.client(Vec::new()))).is_err().then_some(()));
}
