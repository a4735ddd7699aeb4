//! What the machine allows: a bare upstream, a bare forwarder that writes as many bytes through the same
//! group-committing writer, a bare handler that signs a token.

use crate::load::Load;
use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use placet_core::{
    id::{EventId, NodeId},
    record::{EntryType, Envelope, RecordSigner},
    time::Timestamp,
};
use placet_server::clock;
use placet_store::{PreparedEntry, Store, StoreOptions};
use serde_json::json;
use std::{net::SocketAddr, sync::Arc};

/// What upstream answers with.
pub(crate) const UPSTREAM_ANSWER: &str =
    r#"{"refund":"r-1","order":"1","amount":80,"currency":"USD","status":"paid"}"#;

/// Bytes that an action writes: before the effect, and after it.
pub(crate) struct Written {
    pub(crate) before: usize,
    pub(crate) after: usize,
}

/// Requests to the bare handlers.
pub(crate) struct Floor {
    pub(crate) forward: Load,
    pub(crate) sign: Load,
}

/// A bare upstream.
pub(crate) async fn upstream() -> SocketAddr {
    let answer = || async { ([("content-type", "application/json")], UPSTREAM_ANSWER) };
    serve(Router::new().fallback(answer)).await
}

/// The bare handlers.
pub(crate) async fn start(upstream: SocketAddr, written: Written) -> Floor {
    let directory = tempfile::tempdir().unwrap().keep();
    let now = clock::Clock::System.now();
    let signer = Arc::new(RecordSigner::from_seed("bench", &[1; 32]).unwrap());
    let node = NodeId::from_parts(now, [2; 10]);
    let store = Store::open(StoreOptions::new(
        crate::database(&directory.join("floor.db"), "placet_floor"),
        node,
        [0; 16],
        signer,
        now,
    ))
    .unwrap();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(128).build(connector);
    let forwarding = Arc::new(Forwarding { store, client, upstream, written });
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = Arc::new(EncodingKey::from_ed_der(pkcs8.as_ref()));
    let address = serve(
        Router::new()
            .route("/forward", post(forward).with_state(forwarding))
            .route("/sign", post(sign).with_state(key)),
    )
    .await;
    let basic =
        STANDARD.encode("agt_01m80j96v0jqe6eyandmzkdygk:pcs_hB1S0nqOB6cCFnGZ8JHV3Lw2VdUhIYsDU1nT0yYfM2E");
    let form = format!("authorization: Basic {basic}\r\ncontent-type: application/x-www-form-urlencoded\r\n");
    Floor {
        forward: Load::new(
            address,
            "/forward",
            "content-type: application/json\r\n",
            crate::subject::ACTION,
            "200",
        ),
        sign: Load::new(address, "/sign", &form, crate::subject::TOKEN_REQUEST, "200"),
    }
}

struct Forwarding {
    store: Store,
    client: Client<HttpConnector, Full<Bytes>>,
    upstream: SocketAddr,
    written: Written,
}

/// Parses, writes durably, forwards, writes again, answers.
async fn forward(State(own): State<Arc<Forwarding>>, body: Bytes) -> Vec<u8> {
    let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
    own.store.append(vec![entry(own.written.before)]).await.unwrap();
    let request = http::Request::post(format!("http://{}/customers/42/orders/1/refunds", own.upstream))
        .header("content-type", "application/json")
        .header("authorization", "Bearer upstream-secret-0123456789")
        .body(Full::new(serde_json::to_vec(&parsed["params"]).unwrap().into()))
        .unwrap();
    let answer = own.client.request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let store = own.store.clone();
    let after = entry(own.written.after);
    tokio::spawn(async move { store.append(vec![after]).await.unwrap() });
    answer.to_vec()
}

/// An entry of about `bytes` bytes.
fn entry(bytes: usize) -> PreparedEntry {
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let id: EventId = clock::fresh(now);
    let mut envelope = Envelope::new(id, EntryType::ActionIntent, now);
    let bare = envelope.encode().len();
    envelope.rule = Some("x".repeat(bytes.saturating_sub(bare + 10)));
    PreparedEntry::new(&envelope, None)
}

/// Checks a secret's hash and signs a token like ours.
async fn sign(State(key): State<Arc<EncodingKey>>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    let basic = headers["authorization"].to_str().unwrap().split_once(' ').unwrap().1;
    let credential = STANDARD.decode(basic).unwrap();
    assert_ne!(placet_core::secret::sha256(&[&credential]), [0; 32]);
    assert!(!body.is_empty());
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some("at+jwt".into());
    header.kid = Some("2f8HlOImQ2Yw6SgkZbT1gHhIyPkqOmaPhcSXgOwkjMs".into());
    let claims = json!({"iss": "http://127.0.0.1:7447", "sub": "agt_01m80j96v0jqe6eyandmzkdygk", "aud": ["http://127.0.0.1:7447"],
        "exp": 1_800_000_600, "iat": 1_800_000_000, "jti": clock::fresh::<placet_core::id::kind::Token>(Timestamp::from_seconds(1_800_000_000)),
        "client_id": "agt_01m80j96v0jqe6eyandmzkdygk", "scope": "refunds.create", "act": {"sub": "agt_01m80j96v0jqe6eyandmzkdygk"},
        "task": {"id": "tsk_01m80j96v0jqe6eyandmzkdygk"}, "grant": {"id": "gnt_01m80j96v0jqe6eyandmzkdygk", "root": "gnt_01m80j96v0jqe6eyandmzkdygk", "depth": 1}});
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    serde_json::to_vec(
        &json!({"access_token": token, "token_type": "Bearer", "expires_in": 600, "scope": "refunds.create"}),
    )
    .unwrap()
}

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| _ = stream.set_nodelay(true));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}
