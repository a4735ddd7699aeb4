//! `tools/list` and `tools/call`, and lists of what is pinned in general.
//!
//! Invariant: a tool is listed where the catalog has its action as one that may be taken now, and a call is judged whether
//! it was listed or not.

use super::{
    Answered, Door, Refused,
    taken::{self, Done, META_ACTION, META_APPROVAL, Told},
};
use crate::{
    api::{
        actions::once,
        catalog::{self, Listed},
        decisions::paced,
    },
    way,
};
use placet_core::{
    mcp::{Request, RpcError, offered, tool},
    pattern::ActionName,
    service::{Part, ServiceAction},
};
use serde_json::{Map, Value, json};

/// How many tools a page has.
pub(super) const PAGE: usize = 100;
const META_HEADERS: &str = "placet/headers";

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tools,
    Prompts,
}

impl Kind {
    fn has(self, declared: &ServiceAction) -> bool {
        let part = declared.tool().map_or(Part::Tool, placet_core::service::Tool::part);
        part == if self == Self::Tools { Part::Tool } else { Part::Prompt }
    }

    fn defined(self, listed: &Listed<'_>) -> Option<Value> {
        let connections: Vec<&str> = listed.connections.iter().map(|one| one.name.as_str()).collect();
        let service = &listed.live.service;
        match self {
            Self::Tools => Some(tool::definition(service, listed.declared, &connections)),
            Self::Prompts => offered::prompt(service, listed.declared, &connections),
        }
    }
}

impl Door {
    /// The tools, or the prompts, that the agent may use now.
    pub(super) async fn list(&self, request: &Request, kind: Kind) -> Result<Value, Refused> {
        let wrong = || RpcError::params("`cursor` is none that was given here");
        let after = match request.params.get("cursor") {
            None => None,
            Some(cursor) => Some(cursor.as_str().and_then(tool::after).ok_or_else(wrong)?),
        };
        let (app, bearer) = (&self.app, &self.caller.bearer);
        paced(app, bearer, 1)?;
        let rules = app.rules.load_full();
        let policies = rules.policies.bind(&bearer.chain);
        let now = app.clock.now();
        let known = catalog::listed(app, &rules, (&bearer.chain, &policies), after.as_deref(), now).await?;
        let mut usable: Vec<Listed<'_>> =
            known.into_values().filter(|one| kind.has(one.declared) && is_usable(one)).collect();
        let more = usable.len() > PAGE;
        usable.truncate(PAGE);
        let names: Vec<&str> = usable.iter().map(|one| one.declared.name().as_str()).collect();
        let asked = json!({"after": after, "limit": PAGE});
        let body = json!({"resource": null, "catalog": asked, "answer": names});
        let door = Some(way::Door::Mcp);
        catalog::record(app, bearer, &policies, self.source, door, &body).await?;
        let member = if kind == Kind::Tools { "tools" } else { "prompts" };
        let mut answer = Map::new();
        answer.insert(member.into(), usable.iter().filter_map(|one| kind.defined(one)).collect());
        if let (true, Some(last)) = (more, names.last()) {
            answer.insert("nextCursor".into(), tool::cursor(last).into());
        }
        Ok(Value::Object(answer))
    }

    /// One call, all the way.
    pub(super) async fn call(&self, request: &Request) -> Result<Answered, Refused> {
        let Some(name) = request.params.get("name").and_then(Value::as_str) else {
            return Err(RpcError::params("`name` is the name of a tool").into());
        };
        let mut arguments = arguments(request)?;
        let known = self.app.rules.load().action_of(name).ok_or_else(|| unknown(name))?;
        self.fits(&known, &arguments)?;
        let connection = self.chosen(&known, &mut arguments)?;
        match self.take(request, &known, arguments, connection.clone()).await {
            Ok(Done::Executed(id, result)) => {
                let rules = self.app.rules.load();
                let declaring = rules.declaring(&known).filter(|(_, declared)| declared.tool().is_some());
                let passed = declaring.and_then(|(live, _)| {
                    let mut passed = passed_on(&id, &result)?;
                    let (service, connection) = (live.service.name(), connection.as_deref());
                    let read = Part::Resource.action(service)?;
                    if live.service.action(&read).is_some() {
                        offered::outward(&mut passed, service, connection);
                    } else {
                        offered::outward_of_none(&mut passed, service, connection);
                    }
                    Some(passed)
                });
                Ok(Answered::Other(passed.unwrap_or_else(|| executed(&id, &result))))
            }
            Ok(Done::Asks(question)) => Ok(Answered::InputRequired(question)),
            Ok(Done::Held(id, approval)) => {
                let mut meta = Map::new();
                meta.insert(META_ACTION.into(), id.as_str().into());
                meta.insert(META_APPROVAL.into(), approval.get("id").cloned().unwrap_or_default());
                Ok(Answered::Other(told(taken::held(&id, &approval), true, meta)))
            }
            Ok(Done::Declined(approval)) => {
                let mut meta = Map::new();
                meta.insert(META_APPROVAL.into(), approval.to_string().into());
                Ok(Answered::Other(told(taken::declined(approval), true, meta)))
            }
            Err(Refused::Rpc(error)) => Err(error.into()),
            Err(Refused::Http(problem)) => match self.telling(&known, *problem).await? {
                Told::ByStatus(problem) => Err(problem.into()),
                Told::AsAbsent => Err(unknown(&tool::name(&known)).into()),
                Told::AsIs(problem) => {
                    Ok(Answered::Other(told(Value::Object(problem.told()), true, Map::new())))
                }
            },
        }
    }

    /// Whether it is a tool, if it is anything, and headers that repeat its arguments say what these say.
    fn fits(&self, known: &ActionName, arguments: &Map<String, Value>) -> Result<(), Refused> {
        let rules = self.app.rules.load();
        let Some((_, declared)) = rules.declaring(known) else { return Ok(()) };
        if !Kind::Tools.has(declared) {
            return Err(unknown(&tool::name(known)).into());
        }
        for repeated in declared.tool().map(placet_core::service::Tool::repeated).unwrap_or_default() {
            let header = once(&self.headers, &repeated.header).map_err(|problem| {
                let message = format!("Header mismatch: {}", problem.detail());
                RpcError::new(RpcError::HEADER_MISMATCH, message).refused()
            })?;
            repeated.agrees(header, arguments, self.revision)?;
        }
        Ok(())
    }

    /// The connection that the arguments name, taken out of them.
    pub(super) fn chosen(
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
}

/// The arguments of a tool or a prompt.
pub(super) fn arguments(request: &Request) -> Result<Map<String, Value>, RpcError> {
    match request.params.get("arguments") {
        None => Ok(Map::new()),
        Some(Value::Object(arguments)) => Ok(arguments.clone()),
        Some(_) => Err(RpcError::params("`arguments` is an object")),
    }
}

/// Whether a listed action is a tool now: the grant has it, it is not outside all hours, and it is no stream.
pub(super) fn is_usable(listed: &Listed<'_>) -> bool {
    let closed = |ways: &Vec<placet_core::judge::outlook::Way>| ways.iter().all(|way| way.opens.is_some());
    let outlook = &listed.outlook;
    outlook.lacking.is_none()
        && !listed.declared.stream()
        && !listed.declared.is_of_socket()
        && !outlook.conditions.iter().any(closed)
}

fn unknown(name: &str) -> RpcError {
    RpcError::params(format!("Unknown tool: {}", name.chars().take(128).collect::<String>()))
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
    let mut told =
        result.get("body").filter(|body| body.get("content").is_some_and(Value::is_array))?.clone();
    let members = told.as_object_mut()?;
    // What is said in its name would be taken for its own.
    taken::stamp(members, id);
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
