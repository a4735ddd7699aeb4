//! A stage: a server with an administrator and an approver who are signed in, an upstream shop, its service and a
//! connection to it. Agents, policies and tokens are a line each.
//!
//! Invariant: everything is made over HTTP, as anybody else would make it.

use crate::{Answer, Client, Server, Upstream, until};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The secret that the shop wants and no agent may ever see.
pub const SECRET: &str = "canary-upstream-secret-5d1c7e0b9a";

/// The shop's service; `BASE` is where it answers.
const SERVICE: &str = r#"service: shop
base_url: BASE
auth: {type: bearer}
actions:
  orders.list:
    method: GET
    path: /customers/{customer_id}/orders
    resource: order://customer:{customer_id}
    effect: read
    params:
      type: object
      properties: {customer_id: {type: string}, page: {type: integer}, q: {type: string}}
      required: [customer_id]
      additionalProperties: false
  orders.read:
    method: GET
    path: /customers/{customer_id}/orders/{order_id}
    resource: order://customer:{customer_id}/{order_id}
    effect: read
    params:
      type: object
      properties: {customer_id: {type: string}, order_id: {type: string}}
      required: [customer_id, order_id]
      additionalProperties: false
  orders.delete:
    method: DELETE
    path: /customers/{customer_id}/orders/{order_id}
    resource: order://customer:{customer_id}/{order_id}
    effect: delete
    params:
      type: object
      properties: {customer_id: {type: string}, order_id: {type: string}}
      required: [customer_id, order_id]
      additionalProperties: false
  notes.write:
    method: POST
    path: /customers/{customer_id}/notes
    resource: order://customer:{customer_id}
    effect: write
    params:
      type: object
      properties: {customer_id: {type: string}, text: {type: string}}
      required: [customer_id, text]
      additionalProperties: false
  refunds.create:
    method: POST
    path: /customers/{customer_id}/orders/{order_id}/refunds
    resource: order://customer:{customer_id}/{order_id}
    effect: money
    no_effect: [404, 422]
    params:
      type: object
      properties:
        customer_id: {type: string}
        order_id: {type: string}
        amount: {}
        currency: {type: string}
        reason: {type: string}
      required: [customer_id, order_id, amount]
      additionalProperties: false
"#;

/// A number that no other call in this process gives, behind `prefix`: for handles, customers and labels of tasks.
pub fn fresh(prefix: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The password of the user `name`.
pub fn password(name: &str) -> String {
    format!("{name} keeps this in no file")
}

/// The stage.
#[derive(Debug)]
pub struct Story {
    /// The server.
    pub server: Server,
    /// The shop.
    pub shop: Upstream,
    /// The session token of `ada`, an administrator.
    pub ada: String,
    /// The session token of `lee`, with the roles `approver` and `support-lead`.
    pub lee: String,
}

impl Story {
    /// Sets it up: the users `ada` and `lee`, the service `shop`, the connection `shop-main` of the organization.
    pub fn new(binary: &str) -> Self {
        Self::on(Server::start(binary))
    }

    /// The same on a server that was just started.
    pub fn on(server: Server) -> Self {
        let shop = Upstream::start(SECRET);
        let mut story = Self { server, shop, ada: String::new(), lee: String::new() };
        let admin = story.server.admin();
        for (name, roles) in [("lee", json!(["approver", "support-lead"])), ("ada", json!(["administrator"]))]
        {
            let user = json!({"name": name, "password": password(name), "roles": roles});
            admin.post("/v1/users").json(&user).send().expect(201);
        }
        story.lee = story.sign_in("lee");
        story.ada = story.sign_in("ada");
        let service = SERVICE.replace("BASE", story.shop.base());
        story.service("shop", &service).expect(201);
        story.connection("shop-main", "shop", &json!({})).expect(201);
        story
    }

    /// A client without a token.
    pub fn client(&self) -> Client {
        self.server.client()
    }

    /// A client with an administrator's session.
    pub fn admin(&self) -> Client {
        self.client().with(&self.ada)
    }

    /// A client with the session of `lee`, who may approve.
    pub fn approver(&self) -> Client {
        self.client().with(&self.lee)
    }

    /// Makes a user with roles and signs in; answers the id and the session token. It hashes twice, which is slow.
    pub fn user(&self, name: &str, roles: &[&str]) -> (String, String) {
        let user = json!({"name": name, "password": password(name), "roles": roles});
        let made = self.admin().post("/v1/users").json(&user).send().expect(201);
        (made.text("/id"), self.sign_in(name))
    }

    /// Signs a user in; answers the session token.
    pub fn sign_in(&self, name: &str) -> String {
        let body = json!({"name": name, "password": password(name)});
        self.client().post("/v1/sessions").json(&body).send().expect(201).text("/token")
    }

    /// Applies a policy (YAML).
    pub fn policy(&self, name: &str, yaml: &str) -> Answer {
        self.admin().put(&format!("/v1/policies/{name}")).yaml(yaml).send()
    }

    /// Applies a policy for one agent, named after its handle, whose rules these are (YAML, from column 0).
    pub fn rules(&self, handle: &str, rules: &str) -> Answer {
        self.policy(
            handle,
            &format!("policy: {handle}\napplies_to: {{agents: [\"{handle}\"]}}\nrules:\n{rules}"),
        )
    }

    /// Applies a service (YAML).
    pub fn service(&self, name: &str, yaml: &str) -> Answer {
        self.admin().put(&format!("/v1/services/{name}")).yaml(yaml).send()
    }

    /// The shop's service as YAML, at another address.
    pub fn service_at(base: &str) -> String {
        SERVICE.replace("BASE", base)
    }

    /// Adds a connection with the shop's secret as bearer; `more` has further members (`user`, `agents`, `auth`).
    pub fn connection(&self, name: &str, service: &str, more: &Value) -> Answer {
        let mut body =
            json!({"name": name, "service": service, "auth": {"type": "bearer", "secret": SECRET}});
        for (member, value) in more.as_object().into_iter().flatten() {
            body.as_object_mut().unwrap().insert(member.clone(), value.clone());
        }
        self.admin().post("/v1/connections").json(&body).send()
    }

    /// Begins to register an agent under a handle: level `elevated`, every action and resource, nothing by default.
    pub fn agent(&self, handle: &str) -> Registering<'_> {
        let body = json!({
            "agent_name": handle, "allowed_tools": ["orders.*", "notes.*", "refunds.*"],
            "resource_access": ["order://**"], "max_scope_level": "elevated",
        });
        Registering { story: self, body }
    }

    /// An agent with a fresh handle whose own policy has these rules, and its token for all that it may.
    pub fn ready(&self, rules: &str) -> (Agent, String) {
        let agent = self.agent(&fresh("agent-")).register();
        self.rules(&agent.handle, rules).expect(201);
        let token = agent.token(&self.client(), "orders.* notes.* refunds.*");
        (agent, token)
    }

    /// What an agent asks at the action door, with the service `shop`.
    pub fn act(&self, token: &str, action: &str, params: &Value) -> Answer {
        self.acting(token, action, params).send()
    }

    /// The same, not yet sent.
    pub fn acting(&self, token: &str, action: &str, params: &Value) -> crate::Request {
        let body = json!({"service": "shop", "action": action, "params": params});
        self.client().post("/v1/actions").bearer(token).json(&body)
    }

    /// Metrics without labels, as they are now; what a busy database has not told in time is asked for again.
    pub fn gauges<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        crate::until("all of these metrics", || {
            let metrics = self.server.admin().get("/metrics").send().expect(200).bytes;
            let metrics = String::from_utf8(metrics).unwrap();
            let values: Vec<u64> = names
                .iter()
                .filter_map(|name| {
                    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                    Some(value?.parse().unwrap())
                })
                .collect();
            values.try_into().ok()
        })
    }

    /// Every entry of the record, oldest first: all that was answered before this call is among them, as it is
    /// waited for until the sequencer has put it in.
    pub fn record(&self) -> Vec<Value> {
        let admin = self.server.admin();
        let written: u64 = self.gauges(["placet_record_entries", "placet_record_lag_entries"]).iter().sum();
        let logged = || self.gauges(["placet_record_entries"]);
        until("entries to be put into the log", || (logged() >= [written]).then_some(()));
        let mut entries: Vec<Value> = Vec::new();
        loop {
            let after = entries.last().map(|last| format!("after={}&", last["index"])).unwrap_or_default();
            let page = admin.get(&format!("/v1/record?{after}limit=500")).send().expect(200);
            let found = page.at("/entries").as_array().unwrap().clone();
            if found.is_empty() {
                return entries;
            }
            entries.extend(found);
        }
    }
}

/// A registration that is being put together.
#[derive(Debug)]
#[must_use = "nothing is registered before `register`"]
pub struct Registering<'a> {
    story: &'a Story,
    body: Value,
}

/// A registered agent that is active.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its handle.
    pub handle: String,
    /// Its `client_id`.
    pub id: String,
    /// Its client secret; empty where its method is another.
    pub secret: String,
    /// The answer to its registration.
    pub registration: Value,
}

impl Registering<'_> {
    /// With another value of a member.
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.body.as_object_mut().unwrap().insert(member.to_owned(), value);
        self
    }

    /// Registers and activates it.
    pub fn register(self) -> Agent {
        let made = self.story.admin().post("/v1/agents").json(&self.body).send().expect(201);
        let secret = made.body.get("client_secret").and_then(Value::as_str).unwrap_or_default().to_owned();
        let id = made.text("/client_id");
        let confirm = json!({"registration_token": made.text("/registration_token")});
        let path = format!("/v1/agents/{id}/activate");
        self.story.client().post(&path).json(&confirm).send().expect(200);
        let handle = self.body.get("agent_name").and_then(Value::as_str).unwrap().to_owned();
        Agent { handle, id, secret, registration: made.body }
    }

    /// Only asks for it.
    pub fn send(self) -> Answer {
        self.story.admin().post("/v1/agents").json(&self.body).send()
    }
}

impl Agent {
    /// Begins a token request with `grant_type=client_credentials` and basic authentication.
    pub fn ask(&self) -> Asking<'_> {
        let mut form = Map::new();
        form.insert("grant_type".to_owned(), "client_credentials".into());
        Asking { agent: self, form }
    }

    /// An access token for a scope, on a task that is made for it.
    pub fn token(&self, client: &Client, scope: &str) -> String {
        self.ask().with("scope", scope).send(client).expect(200).text("/access_token")
    }
}

/// A token request that is being put together.
#[derive(Debug)]
#[must_use = "nothing is asked before `send`"]
pub struct Asking<'a> {
    agent: &'a Agent,
    form: Map<String, Value>,
}

impl Asking<'_> {
    /// With a parameter; replaces one of the same name.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.form.insert(name.to_owned(), value.into());
        self
    }

    /// Sends it.
    pub fn send(self, client: &Client) -> Answer {
        self.request(client).send()
    }

    /// The request, not yet sent.
    pub fn request(self, client: &Client) -> crate::Request {
        let form: Vec<(&str, &str)> =
            self.form.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        client.post("/oauth/token").basic(&self.agent.id, &self.agent.secret).form(&form)
    }
}
