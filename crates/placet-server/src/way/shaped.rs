//! What of upstream's answer the agent gets to see, where rules shape it or the action returns members.
//!
//! It stands where answers are given: at the action door, at the proxy door, and where an answer is replayed. A shaped
//! answer is read whole. Of one that is no success only the status passes: its body is not laid out as a rule expects.
//!
//! It is work for a processor, as much as an answer is large: done off the threads that serve requests, few at once, and
//! after what happened upstream was recorded. Agents take turns at it, each with all that it has handed authority to.
//!
//! Invariant: what can't be shaped is withheld; that the action was carried out is recorded and told all the same.

use super::{Described, detected::Given, outcome::Form, turns::Turns};
use crate::{app::App, bearer::Bearer, problem::Problem, rules::LiveService};
use axum::body::Bytes;
use placet_core::{
    action::Action,
    call::Method,
    detect::Found,
    id::{ActionId, AgentId},
    json,
    judge::{self, Judgement, Request},
    record::{EntryType, Envelope},
    refusal::Code,
    service::Part,
    shape::Withheld,
    time::Timestamp,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Says that rules have a say in what comes back: what is missing may be there all the same.
const SHAPED: &str = "placet-shaped";

/// How many answers are shaped at once.
const AT_ONCE: usize = 2;

/// One for the process, as processors are. By the agent at the root of the lineage: children are no further shares.
static SHAPING: Turns<AgentId> = Turns::new(AT_ONCE);

/// What is done to the answer of one action.
pub(super) struct Shaping {
    bearer: Arc<Bearer>,
    judgement: Judgement,
    action: Arc<Action>,
    live: Arc<LiveService>,
    at: Timestamp,
}

impl Shaping {
    /// `None` where the answer passes as it is.
    pub(super) fn of(
        bearer: &Arc<Bearer>,
        described: &Described,
        judgement: &Judgement,
        at: Timestamp,
    ) -> Option<Self> {
        judge::is_shaped(judgement, described.declared()).then(|| Self {
            bearer: Arc::clone(bearer),
            judgement: judgement.clone(),
            action: Arc::clone(&described.action),
            live: Arc::clone(&described.live),
            at,
        })
    }

    /// Shapes `{status, headers, body}`, as it is answered at the action door and kept for idempotency keys.
    ///
    /// # Errors
    /// [`Withheld`], where there is a body that can't be shaped.
    pub(super) async fn result(self, form: Form, result: Value) -> Result<(Form, Value), Withheld> {
        aside(self.party(), move || self.shape_result(form, result)).await
    }

    /// Shapes the body of a successful answer that says it is JSON; `None` where there is none.
    ///
    /// # Errors
    /// [`Withheld`].
    pub(super) async fn bytes(self, body: Bytes) -> Result<Option<Vec<u8>>, Withheld> {
        if body.is_empty() {
            return Ok(None);
        }
        aside(self.party(), move || {
            let value = json::parse(&body).map_err(|_| Withheld::NotJson)?;
            let shaped = self.value(value)?;
            serde_json::to_vec(&shaped).map(Some).map_err(|_| Withheld::NotJson)
        })
        .await
    }

    fn party(&self) -> AgentId {
        self.bearer.chain.root_agent()
    }

    fn shape_result(&self, form: Form, result: Value) -> Result<(Form, Value), Withheld> {
        let mut members = match result {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let status = members.get("status").and_then(Value::as_u64).and_then(|status| status.try_into().ok());
        let body = members.remove("body").unwrap_or_default();
        let is_empty = form == Form::Text && body == "";
        let shaped = if is_empty || !status.is_some_and(passes) {
            None
        } else if form == Form::Json {
            Some(self.value(body)?)
        } else {
            return Err(Withheld::NotJson);
        };
        let came = members.get("headers").and_then(Value::as_object).into_iter().flatten();
        let came = came.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        let headers: Map<String, Value> =
            headers(came, shaped.is_some()).into_iter().map(|(name, value)| (name, value.into())).collect();
        let (form, body) = shaped.map_or((Form::Text, "".into()), |body| (Form::Json, body));
        Ok((form, json!({"status": status, "headers": headers, "body": body})))
    }

    fn value(&self, body: Value) -> Result<Value, Withheld> {
        let request =
            Request { chain: &self.bearer.chain, action: &self.action, now: self.at, context: None };
        let declared = self.live.service.action(&self.action.name);
        let shape = |body| judge::shape(&self.bearer.policies, &request, &self.judgement, declared, body);
        match declared.and_then(|declared| Some(declared.tool()?.part())) {
            Some(Part::Tool) => of_tool(body, shape),
            Some(part) => {
                let server =
                    judge::McpServer { service: &self.live.service, quarantined: &self.live.quarantined };
                shape(judge::usable(&self.bearer.policies, &request, &server, part, body)?)
            }
            None => shape(body),
        }
    }
}

/// The result of a tool, of which only the structure can be shaped: what it says in words besides is left out, and of an
/// error nothing passes but that it is one.
fn of_tool(
    mut result: Value,
    shape: impl FnOnce(Value) -> Result<Value, Withheld>,
) -> Result<Value, Withheld> {
    if result.get("isError") == Some(&Value::Bool(true)) {
        return Ok(json!({"isError": true, "content": []}));
    }
    let content = result.get_mut("structuredContent").map(Value::take).ok_or(Withheld::NotJson)?;
    let shaped = shape(content)?;
    let text = shaped.to_string();
    Ok(json!({"structuredContent": shaped, "content": [{"type": "text", "text": text}], "isError": false}))
}

/// Does the work off the threads that serve requests, when it is the party's turn. What stops with a bug is withheld.
pub(super) async fn aside<T: Send + 'static>(
    party: AgentId,
    work: impl FnOnce() -> Result<T, Withheld> + Send + 'static,
) -> Result<T, Withheld> {
    let turn = SHAPING.take(party).await.ok_or(Withheld::Stopped)?;
    let work = move || {
        // Held until the work is done, also where its request is gone by then.
        let _held = turn;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Withheld::Stopped)?
}

/// Whether an answer with this status has a body that a shape is about.
pub(super) fn passes(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Whether the headers say that the body is JSON.
pub(super) fn is_json(headers: &[(String, String)]) -> bool {
    let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
    let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

/// The headers of a shaped answer: none that tells something of the body as it was (validators, lengths, totals, pages,
/// places of what was made).
pub(super) fn headers<'h>(
    came: impl Iterator<Item = (&'h str, &'h str)>,
    has_body: bool,
) -> Vec<(String, String)> {
    let harmless = |name: &str| {
        matches!(name, "allow" | "date" | "request-id" | "retry-after" | "x-correlation-id" | "x-request-id")
            || ["x-ratelimit-", "x-rate-limit-", "ratelimit"].iter().any(|prefix| name.starts_with(prefix))
    };
    let kept = came.filter(|(name, _)| harmless(name));
    let kind = has_body.then_some(("content-type", "application/json"));
    let own = [(SHAPED, "true")].into_iter().chain(kind);
    kept.chain(own).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The request without what lets the agent choose how the answer is laid out, and without questions about what the whole
/// answer would be: a shape is written for one layout, and may hide what such a question is about.
pub(super) fn in_its_own_layout(mut described: Described) -> Described {
    let reads = matches!(described.call.method, Method::Get | Method::Head);
    described.call.headers.retain(|(name, _)| match name.as_str() {
        "accept" | "accept-language" | "if-none-match" | "if-modified-since" => false,
        "if-match" | "if-unmodified-since" => !reads,
        _ => true,
    });
    described
}

/// Whether the agent asked for a layout of its own.
pub(super) fn chooses_layout(described: &Described) -> bool {
    described.call.headers.iter().any(|(name, value)| match name.as_str() {
        "accept" => !matches!(value.trim(), "*/*" | "application/json" | "application/json, */*"),
        "accept-language" => value.trim() != "*",
        _ => false,
    })
}

/// The refusal of a result that can't be shaped. The reason is for the operator: it names what rules hide.
pub(super) fn withheld(why: &Withheld, id: ActionId) -> Problem {
    tracing::warn!(action = %id, %why, "a result is withheld: it can't be shaped as the rules say");
    if let Withheld::Detected(kinds) = why {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        let detail = "the action was carried out, but its result has what is kept from agents (`detected`); ask for less: \
                      other members, another item";
        let problem = Problem::of(Code::ResultSensitive, detail).with("detected", kinds);
        return problem.with("id", id.to_string()).with("happened", "yes");
    }
    let detail = "the action was carried out, but its result is not of a form that the rules on what may come back can be \
                  applied to; sent again without the same idempotency key it is carried out again";
    Problem::of(Code::ResultWithheld, detail).with("id", id.to_string()).with("happened", "yes")
}

/// Records that a result was withheld, and makes the refusal. `recorded` is what the outcome's entry says of the action,
/// `found` what was found in it, `given` whether it is a replay.
///
/// # Errors
/// The record can't be written: what happened was recorded before, and the result stays withheld.
pub(super) async fn refuse(
    app: &App,
    why: &Withheld,
    id: ActionId,
    recorded: Envelope,
    found: &Found,
    given: Given,
) -> Result<Problem, Problem> {
    let now = app.clock.now();
    let problem = withheld(why, id);
    let envelope = Envelope {
        id: crate::clock::fresh(now),
        entry_type: EntryType::ActionWithheld,
        codes: vec![problem.code().as_str().to_owned()],
        at: now,
        ..recorded
    };
    let entry = app.prepare(envelope, given.body(found).as_ref())?;
    let unwritten = |fault| {
        tracing::error!(action = %id, %fault, "it could not be recorded that a result was withheld");
        Problem::of(Code::Unavailable, "the action ran; its result is withheld, which could not be recorded")
            .with("id", id.to_string())
            .with("happened", "yes")
    };
    app.store.append(vec![entry]).await.map_err(unwritten)?;
    Ok(problem)
}
