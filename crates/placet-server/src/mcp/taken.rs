//! One action taken at this door, all the way, whatever it is called here: a tool, a prompt, a resource.
//!
//! What a model can't say for itself its client says in `_meta`: `placet/approval` names the approval of a call,
//! `placet/idempotency-key` makes it happen at most once.
//!
//! Invariant: what the agent may not know of is told as what does not exist.

use super::{Door, Refused};
use crate::{
    api::{
        actions::{is_key, preferred_wait},
        catalog,
    },
    bearer,
    problem::Problem,
    way::{self, Asked, Wanted, wait},
};
use placet_core::{
    grant::Missing,
    id::ApprovalId,
    judge::outlook::Outlook,
    mcp::{Request, Revision, RpcError},
    pattern::ActionName,
    refusal::Code,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How long a call that comes back from its user waits for the people who approve: clients give up after a minute.
const WAIT: Duration = Duration::from_secs(30);

pub(super) const META_APPROVAL: &str = "placet/approval";
const META_KEY: &str = "placet/idempotency-key";
pub(super) const META_ACTION: &str = "placet/action";
/// What the user is asked while people decide.
const QUESTION: &str = "approval";

/// What came of an action.
pub(super) enum Done {
    /// It was carried out: its id, and `{status, headers, body}`.
    Executed(String, Value),
    /// People have been asked: its id, and the approval.
    Held(String, Value),
    /// The client's user is asked something first.
    Asks(Value),
    /// The client's user did not want to wait for this approval.
    Declined(ApprovalId),
}

/// How a refusal is told.
pub(super) enum Told {
    /// By a status: the client has to do something about it, or everything fails.
    ByStatus(Problem),
    /// As what does not exist.
    AsAbsent,
    /// As it is.
    AsIs(Problem),
}

impl Door {
    /// Takes an action for a request.
    pub(super) async fn take(
        &self,
        request: &Request,
        known: &ActionName,
        params: Map<String, Value>,
        connection: Option<String>,
    ) -> Result<Done, Refused> {
        let back = Back::of(request)?;
        if let (Some(approval), Some(Reply::No)) = (back.approval, back.reply) {
            return Ok(Done::Declined(approval));
        }
        let asked = Asked {
            wanted: Wanted::Action { service: None, action: known.to_string(), params, connection },
            idempotency_key: key(request)?,
            approval: back.approval,
            source: self.source.0,
            door: way::Door::Mcp,
            following: self.following.clone(),
        };
        let waits = preferred_wait(&self.headers).or((back.reply == Some(Reply::Yes)).then_some(WAIT));
        match wait::act(&self.app, &self.caller.held, asked, waits).await? {
            way::Answered::Executed { id, result, .. } => Ok(Done::Executed(id.to_string(), result)),
            way::Answered::Held { id, approval } => {
                // Whoever was asked already is not asked again: it would be the same question.
                let asks =
                    self.revision == Revision::Stateless && request.offers_forms() && back.reply.is_none();
                Ok(if asks {
                    Done::Asks(question(known.as_str(), &approval))
                } else {
                    Done::Held(id.to_string(), approval)
                })
            }
            way::Answered::Passed(_) => {
                Err(Problem::of(Code::Internal, "an answer can't be passed on at this door").into())
            }
        }
    }

    /// How the refusal of an action is told.
    pub(super) async fn telling(&self, name: &ActionName, problem: Problem) -> Result<Told, Problem> {
        // The token is no good any more, or everything fails.
        if problem.code().status() == 401 || matches!(problem.code(), Code::Internal | Code::Unavailable) {
            return Ok(Told::ByStatus(problem));
        }
        if problem.code() == Code::NotGranted {
            return Ok(match self.outlook(name).await? {
                None => Told::AsAbsent,
                // Its registration has it: the client can ask for a token with more.
                Some(Outlook { lacking: Some(Missing::Scope | Missing::Tool), .. }) => {
                    Told::ByStatus(problem)
                }
                Some(_) => Told::AsIs(problem),
            });
        }
        Ok(Told::AsIs(problem))
    }

    /// What may come of an action for who calls; `None` where nothing can.
    pub(super) async fn outlook(&self, name: &ActionName) -> Result<Option<Outlook>, Problem> {
        let bearer = bearer::live(&self.app, &self.caller.held).await?;
        let rules = self.app.rules.load_full();
        let policies = rules.policies.bind(&bearer.chain);
        catalog::look(&self.app, &rules, (&bearer.chain, &policies), name, self.app.clock.now()).await
    }

    /// What was asked for, where its result is the answer; what else came of it as an error of the protocol. `absent` is
    /// what is told of what does not exist.
    pub(super) async fn result_of(
        &self,
        known: &ActionName,
        taken: Result<Done, Refused>,
        absent: impl FnOnce() -> RpcError,
    ) -> Result<Result<Map<String, Value>, Value>, Refused> {
        let problem = match taken {
            Ok(Done::Executed(id, result)) => return passed(&id, result).map(Ok).map_err(Refused::from),
            Ok(Done::Asks(question)) => return Ok(Err(question)),
            Ok(Done::Held(id, approval)) => return Err(denied(&held(&id, &approval)).into()),
            Ok(Done::Declined(approval)) => return Err(denied(&declined(approval)).into()),
            Err(Refused::Rpc(error)) => return Err(error.into()),
            Err(Refused::Http(problem)) => *problem,
        };
        Err(match self.telling(known, problem).await? {
            Told::ByStatus(problem) => problem.into(),
            Told::AsAbsent => absent().into(),
            Told::AsIs(problem) => denied(&Value::Object(problem.told())).into(),
        })
    }
}

/// A refusal as an error of the protocol, for methods whose results can't be errors.
fn denied(told: &Value) -> RpcError {
    let text = |member: &str| told.get(member).and_then(Value::as_str).unwrap_or_default();
    RpcError::new(RpcError::DENIED, format!("{}: {}", text("code"), text("detail"))).with(told.clone())
}

/// The result of an upstream's method as that of ours; its error as ours.
fn passed(id: &str, result: Value) -> Result<Map<String, Value>, RpcError> {
    let status = result.get("status").and_then(Value::as_u64).unwrap_or_default();
    let body = result.get("body").cloned().unwrap_or_default();
    match body {
        Value::Object(mut members) if status < 400 => {
            stamp(&mut members, id);
            Ok(members)
        }
        body => {
            let error = body.get("error");
            let code = error.and_then(|error| error.get("code")?.as_i64()?.try_into().ok());
            let text = error.and_then(|error| error.get("message")?.as_str());
            let text =
                text.map_or_else(|| format!("its server answered with the status {status}"), str::to_owned);
            // Others have a meaning to clients that only this server may give them: a refusal, an address for people.
            let code = code.filter(|code| [-32602, -32601, -32002, RpcError::INTERNAL].contains(code));
            let told = RpcError::new(code.unwrap_or(RpcError::INTERNAL), text);
            Err(match error.and_then(|error| error.get("data")).filter(|_| code.is_some()) {
                Some(data) => told.with(data.clone()),
                None => told,
            })
        }
    }
}

/// What a server says in its `_meta`, and in the place of what would be taken for Placet's own, the id of the action.
pub(super) fn stamp(members: &mut Map<String, Value>, id: &str) {
    let foreign = |key: &str| !key.starts_with("placet/") && !key.starts_with("io.modelcontextprotocol/");
    let mut meta = match members.remove("_meta") {
        Some(Value::Object(meta)) => meta,
        _ => Map::new(),
    };
    meta.retain(|key, _| foreign(key));
    meta.insert(META_ACTION.into(), id.into());
    members.insert("_meta".into(), Value::Object(meta));
}

/// `_meta["placet/idempotency-key"]`.
fn key(request: &Request) -> Result<Option<String>, RpcError> {
    match request.meta(META_KEY)? {
        None => Ok(None),
        Some(Value::String(key)) if is_key(key) => Ok(Some(key.clone())),
        Some(_) => Err(RpcError::params(format!("`{META_KEY}` has 1 to 255 visible ASCII characters"))),
    }
}

/// What a user said to [`question`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Yes,
    No,
}

/// A call that comes back after it was held.
struct Back {
    approval: Option<ApprovalId>,
    reply: Option<Reply>,
}

impl Back {
    fn of(request: &Request) -> Result<Self, RpcError> {
        let named = |place: Option<&Value>, what: &str| {
            let id = place.map(|id| id.as_str().and_then(|id| id.parse().ok()));
            let wrong = || RpcError::params(format!("`{what}` is the id of an approval (`apr_…`)"));
            id.map(|id: Option<ApprovalId>| id.ok_or_else(wrong)).transpose()
        };
        let meta = named(request.meta(META_APPROVAL)?, META_APPROVAL)?;
        // Whatever a client makes of it: an approval is bound to the request, and nothing else is in it.
        let state = named(request.params.get("requestState"), "requestState")?;
        if let (Some(meta), Some(state)) = (meta, state)
            && meta != state
        {
            return Err(RpcError::params(format!("`{META_APPROVAL}` and `requestState` name two approvals")));
        }
        let reply = request.params.get("inputResponses").and_then(|all| all.get(QUESTION)?.get("action"));
        let reply = reply.map(|action| if action == "accept" { Reply::Yes } else { Reply::No });
        Ok(Self { approval: meta.or(state), reply })
    }
}

/// People have been asked, and have not answered.
pub(super) fn held(id: &str, approval: &Value) -> Value {
    let next = "A person has to approve this very call. Tell them the approval's id; once they have approved it, make the same \
                call again with the same arguments.";
    let code = Code::ApprovalRequired;
    json!({
        "status": "held", "code": code.as_str(), "title": code.title(), "detail": next, "id": id, "approval": approval,
    })
}

/// The client's user is told that people have to decide, and says when they have.
fn question(name: &str, approval: &Value) -> Value {
    let text = |member: &str| approval.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (id, rule) = (text("id"), text("rule"));
    let message = format!(
        "`{name}` waits for a person's approval ({id}, asked by the rule \"{rule}\"). Accept to go on once it is approved; it \
         is waited for a moment."
    );
    json!({
        "inputRequests": {QUESTION: {
            "method": "elicitation/create",
            "params": {"mode": "form", "message": message, "requestedSchema": {"type": "object", "properties": {}}},
        }},
        "requestState": id,
    })
}

/// The client's user did not want to wait: nothing was done, and the question to the people stands.
pub(super) fn declined(approval: ApprovalId) -> Value {
    let code = Code::ApprovalRequired;
    let detail = "The user does not want to wait for the approval. Nothing was done.";
    json!({
        "status": "held", "code": code.as_str(), "title": code.title(), "detail": detail, "approval": {"id": approval},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_of_a_server_means_what_only_this_one_may_say() {
        let told = |code: i32| {
            let error =
                json!({"code": code, "message": "so it says", "data": {"url": "https://elsewhere.example"}});
            let result = json!({"status": 400, "headers": {}, "body": {"error": error}});
            let told = passed("act_1", result).unwrap_err().answer(None);
            (told["error"]["code"].clone(), told["error"]["data"].clone())
        };
        // Asking people to open an address, refusing by a rule, and negotiating are Placet's own.
        for foreign in [-32042, RpcError::DENIED, -32020, -32022, 7] {
            assert_eq!(told(foreign), (json!(RpcError::INTERNAL), Value::Null), "{foreign}");
        }
        assert_eq!(told(-32602), (json!(-32602), json!({"url": "https://elsewhere.example"})));
    }
}
