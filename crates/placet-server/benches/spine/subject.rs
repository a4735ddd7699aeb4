//! The real server, in this process, set up over HTTP as a person would.

use crate::{floor::Written, load::Load};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    id::NodeId,
    record::{EntryType, Envelope},
    seal::{RootKey, Vault},
    secret::{HashKey, Secret},
    time::Timestamp,
};
use placet_gateway::{Gateway, GatewayConfig};
use placet_server::{
    app::{App, Config},
    clock::Clock,
    jobs::Jobs,
    keys::{self, Material},
    vault::FixedVault,
};
use placet_store::{Store, StoreOptions};
use serde_json::{Value, json};
use std::{net::SocketAddr, path::Path, sync::Arc};
use tokio::{sync::oneshot, task::JoinHandle};

/// The action that is taken over and over.
pub(crate) const ACTION: &str = r#"{"service":"shop","action":"refunds.create","params":{"customer_id":"42","order_id":"1","amount":80,"currency":"USD"}}"#;
/// The same as a tool of the MCP door.
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refunds__create","arguments":{"customer_id":"42","order_id":"1","amount":80,"currency":"USD"}}}"#;
/// The token request that is made over and over: each makes a task and a grant.
pub(crate) const TOKEN_REQUEST: &str = "grant_type=client_credentials&scope=refunds.create";
const ADMIN: &str = "plt_admin_bench";

const SERVICE: &str = "
service: shop
base_url: http://UPSTREAM
auth: {type: bearer}
actions:
  refunds.create:
    method: POST
    path: /customers/{customer_id}/orders/{order_id}/refunds
    resource: order://customer:{customer_id}/{order_id}
    effect: money
    params:
      type: object
      properties: {customer_id: {type: string}, order_id: {type: string}, amount: {type: number}, currency: {type: string}}
      required: [customer_id, order_id, amount, currency]
";
const POLICY: &str = r#"
policy: desk
applies_to: {agents: ['support-*']}
rules:
  - name: refunds
    allow: [refunds.create]
    on: ['order://customer:*/*']
    when: [params.amount <= 500, params.currency == 'USD']
    limits:
      - {count: 1000000000, per: day}
      - {sum: params.amount, max: 1000000000, per: day}
    approve: {when: params.amount > 100}
  - {name: dollars, guard: ['refunds.*'], when: [params.amount > 0]}
  - {name: no burning, deny: ['orders.burn']}
  - {name: reads, allow: ['orders.read', 'orders.list'], on: ['order://customer:*/**']}
  - {name: no strangers, deny: ['refunds.*'], when: ["params.customer_id == '0'"]}
  - {name: large ones, allow: ['refunds.create'], when: [params.amount > 500], approve: {by: ['role:lead']}}
  - {name: notes, allow: ['notes.*']}
  - {name: no notes of others, deny: ['notes.*'], when: ["params.customer_id == '1'"]}
  - {name: one currency, guard: ['refunds.*'], when: [size(params.currency) == 3]}
  - {name: no bots, deny: ['**'], when: ["agent.id == 'retired'"]}
"#;

/// A running server and the requests to it.
pub(crate) struct Subject {
    pub(crate) act: Load,
    pub(crate) token: Load,
    /// The same action at the proxy door.
    pub(crate) proxied: Load,
    /// The same action at the MCP door.
    pub(crate) called: Load,
    pub(crate) store: Store,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// What hashes generated secrets.
pub(crate) fn hashing() -> HashKey {
    HashKey::new(&[3; 32])
}

/// The action with the token of a token endpoint's answer.
pub(crate) fn action_request(answer: &[u8]) -> Vec<u8> {
    Load::request("/v1/actions", &headers(answer), ACTION)
}

/// The header lines of a request with the token of a token endpoint's answer.
fn headers(answer: &[u8]) -> String {
    let issued: Value = serde_json::from_slice(answer).unwrap();
    let bearer = issued["access_token"].as_str().unwrap();
    format!("authorization: Bearer {bearer}\r\ncontent-type: application/json\r\n")
}

impl Subject {
    /// Starts it on an empty directory in front of `upstream`.
    pub(crate) async fn start(directory: &Path, upstream: SocketAddr) -> Self {
        let Served { address, store, stop, serving } = serve(directory).await;
        let admin = Admin { address };
        let service = SERVICE.replace("UPSTREAM", &upstream.to_string());
        admin.send("PUT", "/v1/services/shop", "application/yaml", &service).await;
        let secret = json!({"name": "shop", "service": "shop", "auth": {"type": "bearer", "secret": "upstream-secret-0123456789"}});
        admin.send("POST", "/v1/connections", "application/json", &secret.to_string()).await;
        admin.send("PUT", "/v1/policies/desk", "application/yaml", POLICY).await;
        let agent = json!({"agent_name": "support-bench", "allowed_tools": ["refunds.create"], "max_scope_level": "elevated"});
        let agent = admin.send("POST", "/v1/agents", "application/json", &agent.to_string()).await;
        let text = |member: &str| agent[member].as_str().unwrap().to_owned();
        let activation = json!({"registration_token": text("registration_token")}).to_string();
        let activate = format!("/v1/agents/{}/activate", text("client_id"));
        admin.send("POST", &activate, "application/json", &activation).await;
        let basic = STANDARD.encode(format!("{}:{}", text("client_id"), text("client_secret")));
        let form =
            format!("authorization: Basic {basic}\r\ncontent-type: application/x-www-form-urlencoded\r\n");
        let token = Load::new(address, "/oauth/token", &form, TOKEN_REQUEST, "200");
        let issued = token.once().await;
        let act = Load::each(address, vec![action_request(&issued)], "200");
        act.once().await;
        let path = format!("/proxy/shop{}", crate::reverse::PATH);
        let proxied = Load::new(address, &path, &headers(&issued), crate::reverse::BODY, "200");
        proxied.once().await;
        let mcp = format!(
            "{}accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n",
            headers(&issued)
        );
        let called = Load::new(address, "/mcp", &mcp, CALL, "200");
        called.once().await;
        Self { act, token, proxied, called, store, stop, serving }
    }

    /// Opens a directory that was used before, until a request is answered that reads rules and agents.
    pub(crate) async fn reopen(directory: &Path) -> Self {
        let Served { address, store, stop, serving } = serve(directory).await;
        Admin { address }.send("GET", "/v1/agents?limit=1", "application/json", "").await;
        let nothing = || Load::each(address, Vec::new(), "200");
        Self { act: nothing(), token: nothing(), proxied: nothing(), called: nothing(), store, stop, serving }
    }

    /// How often actions were admitted and upstreams asked so far, and how long that took in all, in seconds.
    pub(crate) async fn took(&self) -> [(f64, f64); 2] {
        let admin = Admin { address: self.act.address() };
        let metrics = admin.send("GET", "/metrics", "text/plain", "").await;
        let value = |name: String| {
            let line = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix(&name));
            line.unwrap().trim().parse::<f64>().unwrap()
        };
        ["admit", "upstream"].map(|name| {
            let part = |part: &str| value(format!("placet_{name}_seconds_{part} "));
            (part("count"), part("sum"))
        })
    }

    /// Stops it and closes the store.
    pub(crate) async fn stop(self) {
        drop(self.store);
        _ = self.stop.send(());
        self.serving.await.unwrap();
    }

    /// What one action writes: leaf and body of its entries, and its row.
    pub(crate) async fn bytes_per_action(&self) -> Written {
        // The outcome rides the next group commit and is put into the log after that.
        let found = loop {
            let entries = self.store.read(|q| placet_store::record::entries(q, 0, 100)).await.unwrap();
            let size = |wanted: EntryType| {
                entries.iter().find_map(|entry| {
                    let envelope = Envelope::decode(&entry.leaf).unwrap();
                    (envelope.entry_type == wanted)
                        .then(|| entry.leaf.len() + entry.sealed.as_ref().map_or(0, Vec::len))
                })
            };
            if let (Some(before), Some(after)) =
                (size(EntryType::ActionIntent), size(EntryType::ActionOutcome))
            {
                break (before, after);
            }
            tokio::task::yield_now().await;
        };
        // The row of an action: five ids, two charges as text, times; and what its conclusion changes.
        Written { before: found.0 + 420, after: found.1 + 40 }
    }
}

struct Served {
    address: SocketAddr,
    store: Store,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// The server on `directory`, with the same keys each time.
async fn serve(directory: &Path) -> Served {
    let clock = Clock::System;
    let now = clock.now();
    let node = NodeId::from_parts(Timestamp::from_seconds(1), [2; 10]);
    let admin_token = Secret::new(ADMIN);
    let material = Material { hash: Secret::new([3; 32]), ..Material::fresh("bench".into(), admin_token) };
    let signer = material.signer().unwrap();
    let store = Store::open(StoreOptions::new(
        crate::database(&directory.join("placet.db"), "placet_subject"),
        node,
        [0; 16],
        signer,
        now,
    ))
    .unwrap();
    let root = Arc::new(RootKey::named_by_digest([4; 32]).unwrap());
    let vault = Vault::new(vec![Arc::clone(&root)]).unwrap();
    keys::found(&store, &vault, &material, now).await.unwrap();
    let secrets = keys::open(&store, Arc::new(FixedVault(vec![root])), vault).await.unwrap();
    store.sign_with(Arc::clone(&secrets.record));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let issuer = format!("http://{address}");
    let known = issuer.clone();
    store.write(move |tx| placet_store::issuers::remember(tx, &known, now)).await.unwrap();
    let config = Config {
        issuers: vec![issuer.clone()],
        pages: issuer.clone(),
        base_url: issuer.clone(),
        forwarded_by: Vec::new(),
        mutual_tls: None,
        client_rate: u32::MAX,
        issuer,
        secrets,
        clock,
        node,
        shared: false,
        keep_record: None,
        idle_registrations: None,
        refresh_retry: std::time::Duration::ZERO,
        foreign: placet_identity::Foreign::new(placet_gateway::FetchConfig::default()).unwrap(),
        providers: placet_identity::Providers::new(placet_gateway::FetchConfig::default()).unwrap(),
        judge: None,
        secrets_elsewhere: Arc::new(placet_server::connections::Nowhere),
        egress: None,
    };
    let gateway = Gateway::new(GatewayConfig::default()).unwrap();
    let app = App::start(config, store.clone(), gateway).await.unwrap();
    placet_server::jobs::catch_up(&app).await.unwrap();
    let jobs = Jobs::start(&app);
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(async move {
        let shutdown = async { _ = stopped.await };
        placet_server::serve(listener, app, shutdown).await.unwrap();
        jobs.stop().await;
    });
    Served { address, store, stop, serving }
}

struct Admin {
    address: SocketAddr,
}

impl Admin {
    async fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> Value {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\nauthorization: Bearer {ADMIN}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 2"), "{answer}");
        serde_json::from_str(body).unwrap_or_else(|_| body.into())
    }
}
