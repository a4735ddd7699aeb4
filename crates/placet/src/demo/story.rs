//! The story that the demo plays: people, a shop, an agent and its helper; what each may do, and what stops them.
//!
//! Invariant: agents send only their own tokens; what they are refused is refused by the server.

use super::{
    SHOP_SECRET,
    stage::{Stage, Step},
    upstream::Shop,
};
use crate::{
    client::{Body, Client, encoded, query},
    commands::record::{self, outside::Outside},
    exit::Failure,
    output::{rows, text},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    record::{Proof, VerifierKey},
    secret::Secret,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

const SERVICE: &str = include_str!("../../../../examples/services/shop.yaml");
const POLICY: &str = include_str!("../../../../examples/policies/support-desk.yaml");
/// The base URL in the example, which is replaced by where the demo's shop is.
const EXAMPLE_URL: &str = "http://127.0.0.1:9000";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const DELEGATION: &str = "urn:placet:params:oauth:token-type:delegation";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Plays it.
///
/// # Errors
/// A sentence, where something can't be reached or an answer lacks what the next step needs.
pub(super) async fn tell(
    stage: &mut Stage,
    administrator: &Client,
    shop: &Shop,
    directory: &Path,
) -> Result<(), Failure> {
    let lead = people(stage, administrator).await?;
    let ada = sign_in(stage, administrator, "Ada, the administrator, signs in.", "ada").await?;
    set_up(stage, &ada, shop).await?;
    let bot =
        Agent::register(stage, &ada, "support-bot", "elevated", &["orders.*", "refunds.create"]).await?;
    let token = bot.token(stage, administrator).await?;
    let agent = administrator.with_token(Secret::new(token.as_str()));
    actions(stage, &agent, &lead, shop).await?;
    let helper =
        Agent::register(stage, &ada, "support-helper", "elevated", &["orders.*", "refunds.create"]).await?;
    let child = delegate(stage, administrator, &bot, &helper, &token).await?;
    let child = administrator.with_token(Secret::new(child.as_str()));
    helping(stage, &child).await?;
    history_and_end(stage, &ada, &child, &token).await?;
    proof(stage, &ada, directory).await
}

async fn people(stage: &mut Stage, administrator: &Client) -> Result<Client, Failure> {
    for (name, role, sentence) in [
        ("lee", "support-lead", "Somebody must be able to say yes: a user with the role of a support lead."),
        (
            "ada",
            "administrator",
            "And an administrator. From now on the administrator token makes no more users.",
        ),
    ] {
        let body = json!({"name": name, "password": password(name), "roles": [role]});
        stage.step(administrator, post("/v1/users", sentence, "201", &body), |_| String::new()).await?;
    }
    sign_in(stage, administrator, "Lee, the support lead, signs in with a password.", "lee").await
}

async fn sign_in(stage: &mut Stage, server: &Client, sentence: &str, name: &str) -> Result<Client, Failure> {
    let body = json!({"name": name, "password": password(name)});
    let answer = stage.step(server, post("/v1/sessions", sentence, "201", &body), |_| String::new()).await?;
    Ok(server.with_token(Secret::new(member(&answer, "token")?)))
}

fn password(name: &str) -> String {
    format!("{name} keeps this in no file")
}

async fn set_up(stage: &mut Stage, ada: &Client, shop: &Shop) -> Result<(), Failure> {
    let service = SERVICE.replace(EXAMPLE_URL, shop.base_url());
    let step = Step {
        sentence: "The shop is described: its actions, how each maps to HTTP, what each does.",
        expected: "201",
        method: Method::PUT,
        path: "/v1/services/shop",
        headers: &[],
        body: Body::Yaml(service.as_bytes()),
    };
    stage.step(ada, step, |_| "examples/services/shop.yaml".to_owned()).await?;
    let sentence = "Placet keeps the secret that the shop demands; no agent ever sees it.";
    let body =
        json!({"name": "shop-main", "service": "shop", "auth": {"type": "bearer", "secret": SHOP_SECRET}});
    stage.step(ada, post("/v1/connections", sentence, "201", &body), |_| String::new()).await?;
    let step = Step {
        sentence: "A policy says what support agents may do: read; refund up to 500, 400 a day; over 100 Lee is asked.",
        expected: "201",
        method: Method::PUT,
        path: "/v1/policies/support-desk",
        headers: &[],
        body: Body::Yaml(POLICY.as_bytes()),
    };
    stage.step(ada, step, |_| "examples/policies/support-desk.yaml".to_owned()).await?;
    Ok(())
}

/// A registered agent.
struct Agent {
    id: String,
    secret: String,
}

impl Agent {
    async fn register(
        stage: &mut Stage,
        ada: &Client,
        name: &str,
        level: &str,
        tools: &[&str],
    ) -> Result<Self, Failure> {
        let body = json!({
            "agent_name": name, "allowed_tools": tools, "resource_access": ["order://**"], "max_scope_level": level,
        });
        let sentence =
            format!("The agent `{name}` is registered; that is the most that it can ever be given.");
        let answer = stage
            .step(ada, post("/v1/agents", &sentence, "201", &body), |answer| {
                format!("{} {}", named(answer, "client_id"), named(answer, "allowed_scopes"))
            })
            .await?;
        let (id, secret) = (member(&answer, "client_id")?, member(&answer, "client_secret")?);
        let body = json!({"registration_token": member(&answer, "registration_token")?});
        let path = format!("/v1/agents/{}/activate", encoded(&id));
        let step = post(&path, "It is activated.", "200", &body);
        stage.step(ada, step, |answer| named(answer, "state")).await?;
        Ok(Self { id, secret })
    }

    fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.id, self.secret)))
    }

    async fn token(&self, stage: &mut Stage, server: &Client) -> Result<String, Failure> {
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "orders.read refunds.create"),
            ("task_id", "ticket-118"),
            ("task_description", "Customer 42 wants money back for order 1"),
        ];
        let sentence = "It asks for a token, bound to one task and to what that task needs.";
        self.token_request(stage, server, sentence, &form).await
    }

    async fn token_request(
        &self,
        stage: &mut Stage,
        server: &Client,
        sentence: &str,
        form: &[(&str, &str)],
    ) -> Result<String, Failure> {
        let basic = self.basic();
        let step = Step {
            sentence,
            expected: "200",
            method: Method::POST,
            path: "/oauth/token",
            headers: &[("authorization", &basic)],
            body: Body::Form(form),
        };
        let bare = Client::new(server.base(), None)?;
        let remark = |answer: &Value| {
            let shown = ["scope", "task_id", "parent_task_id", "scope_inheritance", "expires_in"];
            let shown = shown.iter().filter_map(|name| Some(format!("{name}: {}", text(answer.get(*name)?))));
            shown.collect::<Vec<_>>().join(", ")
        };
        member(&stage.step(&bare, step, remark).await?, "access_token")
    }
}

async fn actions(stage: &mut Stage, agent: &Client, lead: &Client, shop: &Shop) -> Result<(), Failure> {
    let read =
        json!({"service": "shop", "action": "orders.read", "params": {"customer_id": "42", "order_id": "1"}});
    let sentence = "The agent reads the order. Placet adds the shop's secret on the way.";
    let answer = stage.step(agent, post("/v1/actions", sentence, "allow", &read), upstream_answer).await?;
    let leaked = answer.to_string().contains(SHOP_SECRET);
    let seen = shop.with_secret() == 1 && shop.without_secret() == 0 && !leaked;
    let remark = "the shop saw its secret; the agent's answer does not hold it";
    stage.check(
        "The shop is asked what it saw.",
        "the shop's own count",
        if seen { "verified" } else { "leaked" },
        "verified",
        remark,
    );

    let sentence = "It tries to refund 750. The policy says no, says why, and what would do.";
    let body = refund("750");
    stage.step(agent, post("/v1/actions", sentence, "deny", &body), first_reason).await?;
    let sentence = "It tries 300. That is within bounds, but somebody has to say yes.";
    let body = refund("300");
    let held = stage
        .step(agent, post("/v1/actions", sentence, "hold", &body), |answer| {
            format!(
                "approval {} {}",
                answer.pointer("/approval/id").map(text).unwrap_or_default(),
                answer.pointer("/approval/rule").map(text).unwrap_or_default()
            )
        })
        .await?;
    let approval = held.pointer("/approval/id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let path = format!("/v1/approvals/{}", encoded(&approval));
    let step = Step {
        sentence: "Lee looks: every argument that will run, who asks, for which task.",
        expected: "200",
        method: Method::GET,
        path: &path,
        headers: &[],
        body: Body::Empty,
    };
    stage.step(lead, step, |answer| answer.pointer("/shown/params").map(text).unwrap_or_default()).await?;
    let sentence = "Lee approves.";
    let verdict = json!({"verdict": "approve"});
    stage.step(lead, post(&path, sentence, "200", &verdict), |answer| named(answer, "state")).await?;
    let step = Step {
        headers: &[("placet-approval", &approval)],
        ..post(
            "/v1/actions",
            "The agent sends the same request again, with the approval. It is carried out, once.",
            "allow",
            &body,
        )
    };
    stage.step(agent, step, upstream_answer).await?;
    let body = refund("80");
    let sentence = "Another 80 need nobody's yes.";
    stage.step(agent, post("/v1/actions", sentence, "allow", &body), upstream_answer).await?;
    let body = refund("50");
    let sentence = "But now 380 of the day's 400 are used up: 50 more are refused.";
    stage.step(agent, post("/v1/actions", sentence, "deny", &body), first_reason).await?;
    let paid = shop.refunds();
    let outcome = if paid == 2 { "verified" } else { "wrong" };
    stage.check(
        "The shop counts: two refunds were paid, what was refused never arrived.",
        "the shop's own count",
        outcome,
        "verified",
        &format!("{paid} refunds"),
    );
    Ok(())
}

async fn delegate(
    stage: &mut Stage,
    server: &Client,
    bot: &Agent,
    helper: &Agent,
    token: &str,
) -> Result<String, Failure> {
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", ACCESS_TOKEN),
        ("requested_token_type", DELEGATION),
        ("audience", helper.id.as_str()),
        ("scope", "orders.read"),
    ];
    let sentence = "The agent hands a narrower part of its authority on: reading only, to this helper only.";
    let delegation = bot.token_request(stage, server, sentence, &form).await?;
    let form = [
        ("grant_type", "client_credentials"),
        ("parent_token", delegation.as_str()),
        ("scope", "orders.read refunds.create"),
        ("task_id", "ticket-118-look"),
    ];
    let basic = helper.basic();
    let step = Step {
        sentence: "The helper asks for refunds too: more than was handed on.",
        expected: "invalid_scope",
        method: Method::POST,
        path: "/oauth/token",
        headers: &[("authorization", &basic)],
        body: Body::Form(&form),
    };
    let bare = Client::new(server.base(), None)?;
    stage.step(&bare, step, |answer| named(answer, "error_description")).await?;
    let form = [
        ("grant_type", "client_credentials"),
        ("parent_token", delegation.as_str()),
        ("scope", "orders.read"),
        ("task_id", "ticket-118-look"),
        ("task_description", "Look up order 1"),
        ("parent_task_id", "ticket-118"),
    ];
    helper
        .token_request(stage, server, "It asks for what it was given, for a task below the parent's.", &form)
        .await
}

async fn helping(stage: &mut Stage, child: &Client) -> Result<(), Failure> {
    let read =
        json!({"service": "shop", "action": "orders.read", "params": {"customer_id": "42", "order_id": "1"}});
    stage
        .step(child, post("/v1/actions", "The helper reads the order.", "allow", &read), upstream_answer)
        .await?;
    let body = refund("10");
    let sentence = "A refund, which its parent may make, is not the helper's to make.";
    stage.step(child, post("/v1/actions", sentence, "deny", &body), first_reason).await?;
    Ok(())
}

async fn history_and_end(
    stage: &mut Stage,
    ada: &Client,
    child: &Client,
    token: &str,
) -> Result<(), Failure> {
    let form = [("token", token), ("include_task_history", "true")];
    let step = Step {
        sentence: "Ada asks what the agent's token stands for, and what its task has done so far.",
        expected: "200",
        method: Method::POST,
        path: "/oauth/introspect",
        headers: &[],
        body: Body::Form(&form),
    };
    let answer = stage
        .step(ada, step, |answer| {
            let events = answer.pointer("/task_history/events").and_then(Value::as_array).map(Vec::len);
            format!(
                "active: {}, {} events in its history",
                named(answer, "active"),
                events.unwrap_or_default()
            )
        })
        .await?;
    let active = answer.get("active").and_then(Value::as_bool) == Some(true);
    let known = answer
        .pointer("/task_history/events")
        .and_then(Value::as_array)
        .is_some_and(|events| !events.is_empty());
    let outcome = if active && known { "verified" } else { "unknown" };
    stage.check("The token is active and its history is there.", "the answer", outcome, "verified", "");
    let form = [("token", token), ("reason", "ticket closed")];
    let step = Step {
        sentence: "She revokes it. All that hangs below ends with it.",
        expected: "revoked",
        method: Method::POST,
        path: "/oauth/revoke",
        headers: &[],
        body: Body::Form(&form),
    };
    stage
        .step(ada, step, |answer| {
            let count = |name: &str| {
                answer.get(name).map_or(0, |value| {
                    value.as_array().map_or_else(
                        || value.as_u64().unwrap_or_default(),
                        |list| u64::try_from(list.len()).unwrap_or_default(),
                    )
                })
            };
            format!("{} grants and {} tasks ended", count("affected_grants"), count("affected_tasks"))
        })
        .await?;
    let read =
        json!({"service": "shop", "action": "orders.read", "params": {"customer_id": "42", "order_id": "1"}});
    let sentence = "The helper's next action is refused, though nobody touched its token.";
    stage
        .step(child, post("/v1/actions", sentence, "revoked", &read), |answer| named(answer, "code"))
        .await?;
    Ok(())
}

async fn proof(stage: &mut Stage, ada: &Client, directory: &Path) -> Result<(), Failure> {
    let key = crate::input::file(&directory.join("data").join(crate::data::RECORD_KEY))?;
    let key = record::parse_key(&String::from_utf8_lossy(&key), "`record.pub`")?;
    let outcome = record::verify::record(ada, Some(key.clone()), |_| Ok(Outside::default())).await?;
    let (word, remark) = match &outcome.result {
        Ok(verified) => {
            let entries: u64 = verified.heads.iter().map(|head| head.seq).sum();
            ("verified", format!("{entries} entries, {} of them in the log", verified.size))
        }
        Err(fault) => ("refused", fault.to_string()),
    };
    stage.check(
        "The whole record is verified: no entry changed, moved or missing.",
        "placet record verify",
        word,
        "verified",
        &remark,
    );
    let index = intent(ada).await?;
    let path = format!("/v1/record/{index}/proof");
    let step = Step {
        sentence: "One entry is proved: an action that was carried out.",
        expected: "200",
        method: Method::GET,
        path: &path,
        headers: &[],
        body: Body::Empty,
    };
    let document = stage.step(ada, step, |_| format!("entry {index}")).await?;
    let (word, remark) = offline(&document, &key);
    stage.check(
        "The proof is checked without the server, with the public key alone.",
        "placet record verify-proof",
        word,
        "verified",
        &remark,
    );
    Ok(())
}

/// The index of the first intent in the log. The sequencer puts entries there within a second.
async fn intent(ada: &Client) -> Result<u64, Failure> {
    let mut after: Option<String> = None;
    let mut patience = 40;
    loop {
        let page = ada.read(&format!("/v1/record{}", query(&[("after", after.clone())]))).await?;
        let entries = rows(&page, "entries");
        let is_intent = |entry: &&Value| entry.get("type").and_then(Value::as_str) == Some("action.intent");
        if let Some(index) = entries.iter().find(is_intent).and_then(|entry| entry.get("index")?.as_u64()) {
            return Ok(index);
        }
        match page.get("next").and_then(Value::as_u64) {
            Some(next) => after = Some(next.to_string()),
            None if patience == 0 => return Err(Failure::Refused("the record holds no intent".to_owned())),
            None => {
                patience -= 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn offline(document: &Value, key: &VerifierKey) -> (&'static str, String) {
    let proof = Proof::from_json(document.to_string().as_bytes()).and_then(|proof| proof.verify(key));
    match proof {
        Ok(envelope) => ("verified", format!("{} {}", envelope.entry_type.as_str(), envelope.id)),
        Err(error) => ("refused", error.to_string()),
    }
}

fn post<'a>(path: &'a str, sentence: &'a str, expected: &'a str, body: &'a Value) -> Step<'a> {
    Step { sentence, expected, method: Method::POST, path, headers: &[], body: Body::Json(body) }
}

fn refund(amount: &str) -> Value {
    let amount: Value = serde_json::from_str(amount).unwrap_or_default();
    let params = json!({"customer_id": "42", "order_id": "1", "amount": amount, "currency": "USD"});
    json!({"service": "shop", "action": "refunds.create", "params": params})
}

/// A member that the next step needs.
fn member(answer: &Value, name: &str) -> Result<String, Failure> {
    let found = answer.get(name).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Failure::Refused(format!("the answer has no `{name}`, which the next step needs")))
}

fn named(answer: &Value, name: &str) -> String {
    answer.get(name).map(text).unwrap_or_default()
}

fn upstream_answer(answer: &Value) -> String {
    let status = answer.pointer("/result/status").map(text).unwrap_or_default();
    let body = answer.pointer("/result/body").map(Value::to_string).unwrap_or_default();
    format!("{} {status} {body}", named(answer, "status"))
}

fn first_reason(answer: &Value) -> String {
    let part = |name: &str| answer.pointer(&format!("/reasons/0/{name}"));
    let mut out = part("code").map(text).unwrap_or_default();
    for name in ["rule", "expression", "remedy", "detail"] {
        if let Some(value) = part(name).filter(|value| !value.is_null()) {
            out.push_str(&format!(", {name}: {}", text(value)));
        }
    }
    out
}
