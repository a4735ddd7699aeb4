//! `tools/list` and `tools/call`.
//!
//! What a model can't say for itself its client says in `_meta`: `placet/approval` names the approval of a call,
//! `placet/idempotency-key` makes it happen at most once.
//!
//! Invariant: a tool is listed where the catalog has its action as one that may be taken now, and a call is judged whether
//! it was listed or not. What the agent may not know of is told as what does not exist.

use super::{Answered, Door, Refused};
use crate::{
    api::{
        actions::{is_key, preferred_wait},
        catalog::{self, Listed},
        decisions::paced,
    },
    bearer,
    problem::Problem,
    way::{self, Asked, Wanted, wait},
};
use placet_core::{
    grant::Missing,
    id::ApprovalId,
    judge::outlook::Outlook,
    mcp::{Request, Revision, RpcError, tool},
    pattern::ActionName,
    refusal::Code,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How many tools a page has.
const PAGE: usize = 100;
/// How long a call that comes back from its user waits for the people who approve: clients give up after a minute.
const WAIT: Duration = Duration::from_secs(30);

const META_APPROVAL: &str = "placet/approval";
const META_KEY: &str = "placet/idempotency-key";
const META_ACTION: &str = "placet/action";
const META_HEADERS: &str = "placet/headers";
/// What the user is asked while people decide.
const QUESTION: &str = "approval";

impl Door<'_> {
    /// The tools that the agent may use now.
    pub(super) async fn list(&self, request: &Request) -> Result<Value, Refused> {
        let wrong = || RpcError::params("`cursor` is none that was given here");
        let after = match request.params.get("cursor") {
            None => None,
            Some(cursor) => Some(cursor.as_str().and_then(tool::after).ok_or_else(wrong)?),
        };
        let (app, bearer) = (self.app, &self.caller.bearer);
        paced(app, bearer, 1)?;
        let rules = app.rules.load_full();
        let policies = rules.policies.bind(&bearer.chain);
        let now = app.clock.now();
        let known = catalog::listed(app, &rules, (&bearer.chain, &policies), after.as_deref(), now).await?;
        let mut usable: Vec<Listed<'_>> = known.into_values().filter(is_usable).collect();
        let more = usable.len() > PAGE;
        usable.truncate(PAGE);
        let names: Vec<&str> = usable.iter().map(|one| one.declared.name().as_str()).collect();
        let asked = json!({"after": after, "limit": PAGE});
        let body = json!({"resource": null, "catalog": asked, "answer": names});
        let door = Some(way::Door::Mcp);
        catalog::record(app, bearer, &policies, self.source, door, &body).await?;
        let mut answer = json!({"tools": usable.iter().map(defined).collect::<Vec<_>>()});
        if let (true, Some(last), Some(members)) = (more, names.last(), answer.as_object_mut()) {
            members.insert("nextCursor".into(), tool::cursor(last).into());
        }
        Ok(answer)
    }

    /// One call, all the way.
    pub(super) async fn call(&self, request: &Request) -> Result<Answered, Refused> {
        let Some(name) = request.params.get("name").and_then(Value::as_str) else {
            return Err(RpcError::params("`name` is the name of a tool").into());
        };
        let mut arguments = match request.params.get("arguments") {
            None => Map::new(),
            Some(Value::Object(arguments)) => arguments.clone(),
            Some(_) => return Err(RpcError::params("`arguments` is an object").into()),
        };
        let known = self.app.rules.load().action_of(name).ok_or_else(|| unknown(name))?;
        let back = Back::of(request)?;
        if let (Some(approval), Some(Reply::No)) = (back.approval, back.reply) {
            return Ok(Answered::Other(declined(approval)));
        }
        let connection = self.chosen(&known, &mut arguments)?;
        let asked = Asked {
            wanted: Wanted::Action {
                service: None,
                action: known.to_string(),
                params: arguments,
                connection,
            },
            idempotency_key: key(request)?,
            approval: back.approval,
            source: self.source.0,
            door: way::Door::Mcp,
        };
        let waits = preferred_wait(self.headers).or((back.reply == Some(Reply::Yes)).then_some(WAIT));
        match wait::act(self.app, &self.caller.held, asked, waits).await {
            Ok(way::Answered::Executed { id, result, .. }) => {
                let rules = self.app.rules.load();
                let is_tool = rules.declaring(&known).is_some_and(|(_, declared)| declared.tool().is_some());
                let passed = if is_tool { passed_on(&id.to_string(), &result) } else { None };
                Ok(Answered::Other(passed.unwrap_or_else(|| executed(&id.to_string(), &result))))
            }
            Ok(way::Answered::Held { id, approval }) => {
                // Whoever was asked already is not asked again: it would be the same question.
                let asks =
                    self.revision == Revision::Stateless && request.offers_forms() && back.reply.is_none();
                Ok(if asks {
                    Answered::InputRequired(question(known.as_str(), &approval))
                } else {
                    held(&id.to_string(), &approval)
                })
            }
            Ok(way::Answered::Passed(_)) => {
                Err(Problem::of(Code::Internal, "an answer can't be passed on at this door").into())
            }
            Err(problem) => self.refused(&known, problem).await,
        }
    }

    /// The connection that the arguments name, taken out of them.
    fn chosen(
        &self,
        name: &ActionName,
        arguments: &mut Map<String, Value>,
    ) -> Result<Option<String>, Refused> {
        let rules = self.app.rules.load();
        if rules.declaring(name).is_some_and(|(_, declared)| !tool::chooses(declared)) {
            return Ok(None);
        }
        match arguments.remove(tool::CONNECTION) {
            None => Ok(None),
            Some(Value::String(connection)) => Ok(Some(connection)),
            Some(_) => Err(RpcError::params(format!("`{}` is a string", tool::CONNECTION)).into()),
        }
    }

    /// How a refusal is told: as a result where a model can do something about it.
    async fn refused(&self, name: &ActionName, problem: Problem) -> Result<Answered, Refused> {
        // The token is no good any more, or everything fails.
        if problem.code().status() == 401 || matches!(problem.code(), Code::Internal | Code::Unavailable) {
            return Err(problem.into());
        }
        if problem.code() == Code::NotGranted {
            let bearer = bearer::live(self.app, &self.caller.held).await?;
            let rules = self.app.rules.load_full();
            let policies = rules.policies.bind(&bearer.chain);
            let within = (&bearer.chain, &policies);
            match catalog::look(self.app, &rules, within, name, self.app.clock.now()).await? {
                None => return Err(unknown(&tool::name(name)).into()),
                // Its registration has it: the client can ask for a token with more.
                Some(Outlook { lacking: Some(Missing::Scope | Missing::Tool), .. }) => {
                    return Err(problem.into());
                }
                Some(_) => {}
            }
        }
        Ok(Answered::Other(told(Value::Object(problem.told()), true, Map::new())))
    }
}

/// Whether a listed action is a tool now: the grant has it, it is not outside all hours, and it is no stream.
fn is_usable(listed: &Listed<'_>) -> bool {
    let closed = |ways: &Vec<placet_core::judge::outlook::Way>| ways.iter().all(|way| way.opens.is_some());
    let outlook = &listed.outlook;
    outlook.lacking.is_none()
        && !listed.declared.stream()
        && !listed.declared.is_of_socket()
        && !outlook.conditions.iter().any(closed)
}

fn defined(listed: &Listed<'_>) -> Value {
    let connections: Vec<&str> = listed.connections.iter().map(|one| one.name.as_str()).collect();
    tool::definition(&listed.live.service, listed.declared, &connections)
}

fn unknown(name: &str) -> RpcError {
    RpcError::params(format!("Unknown tool: {}", name.chars().take(128).collect::<String>()))
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

/// A result: JSON for programs, the same as text for models.
fn told(content: Value, is_error: bool, meta: Map<String, Value>) -> Value {
    let mut result = json!({"content": [{"type": "text", "text": content.to_string()}], "isError": is_error});
    if let Some(members) = result.as_object_mut() {
        members.insert("structuredContent".into(), content);
        if !meta.is_empty() {
            members.insert("_meta".into(), Value::Object(meta));
        }
    }
    result
}

/// The result of a tool of an upstream, which is one here; `None` where it is an error of the protocol, or of HTTP, whatever
/// it looks like.
fn passed_on(id: &str, result: &Value) -> Option<Value> {
    result.get("status").and_then(Value::as_u64).filter(|status| *status < 400)?;
    // What is said in its name would be taken for its own.
    let foreign = |key: &str| !key.starts_with("placet/") && !key.starts_with("io.modelcontextprotocol/");
    let mut told =
        result.get("body").filter(|body| body.get("content").is_some_and(Value::is_array))?.clone();
    let members = told.as_object_mut()?;
    let mut meta = match members.remove("_meta") {
        Some(Value::Object(meta)) => meta,
        _ => Map::new(),
    };
    meta.retain(|key, _| foreign(key));
    meta.insert(META_ACTION.into(), id.into());
    members.insert("_meta".into(), Value::Object(meta));
    members.entry("isError").or_insert(false.into());
    Some(told)
}

/// What upstream answered.
fn executed(id: &str, result: &Value) -> Value {
    let status = result.get("status").and_then(Value::as_u64).unwrap_or_default();
    let mut meta = Map::new();
    meta.insert(META_ACTION.into(), id.into());
    meta.insert(META_HEADERS.into(), result.get("headers").cloned().unwrap_or_default());
    told(json!({"status": status, "body": result.get("body")}), status >= 400, meta)
}

/// People have been asked, and have not answered.
fn held(id: &str, approval: &Value) -> Answered {
    let mut meta = Map::new();
    meta.insert(META_ACTION.into(), id.into());
    meta.insert(META_APPROVAL.into(), approval.get("id").cloned().unwrap_or_default());
    let next = "A person has to approve this very call. Tell them the approval's id; once they have approved it, make the same \
                call again with the same arguments.";
    let code = Code::ApprovalRequired;
    let content = json!({
        "status": "held", "code": code.as_str(), "title": code.title(), "detail": next, "id": id, "approval": approval,
    });
    Answered::Other(told(content, true, meta))
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
fn declined(approval: ApprovalId) -> Value {
    let mut meta = Map::new();
    meta.insert(META_APPROVAL.into(), approval.to_string().into());
    let code = Code::ApprovalRequired;
    let detail = "The user does not want to wait for the approval. Nothing was done.";
    let content = json!({
        "status": "held", "code": code.as_str(), "title": code.title(), "detail": detail, "approval": {"id": approval},
    });
    told(content, true, meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_no_result_of_a_tool() {
        let answered =
            |status: u64| json!({"status": status, "body": {"content": [{"type": "text", "text": "x"}]}});
        let passed = passed_on("act_1", &answered(200)).unwrap();
        assert_eq!((&passed["isError"], &passed["_meta"][META_ACTION]), (&json!(false), &json!("act_1")));
        for status in [400, 401, 500] {
            assert_eq!(passed_on("act_1", &answered(status)), None, "{status}");
            assert_eq!(executed("act_1", &answered(status))["isError"], true, "{status}");
        }
    }
}
