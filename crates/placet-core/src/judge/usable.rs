//! What an MCP server tells of what may be used: resources in a list, values that complete an argument. The agent is told of those
//! that it may use itself, each judged by what judges when it is used.
//!
//! Invariant: of what can't be told whether it may be used, nothing is told; how much there is beside it, neither.

use super::{
    Request, Verdict,
    shaped::{self, COST_PER_ANSWER},
    verdict,
};
use crate::{
    action::Action,
    cel::{FUEL_PER_DECISION, Fuel},
    mcp::template,
    pattern::ActionName,
    policy::BoundPolicies,
    service::{Part, Service, ServiceAction},
    shape::Withheld,
};
use serde_json::{Map, Value};
use std::{cell::Cell, collections::BTreeSet};

/// A server, as far as it may be used.
#[derive(Debug, Clone, Copy)]
pub struct McpServer<'a> {
    /// Its definition.
    pub service: &'a Service,
    /// Its actions that are out of reach, whatever rules say.
    pub quarantined: &'a BTreeSet<ActionName>,
}

/// The body of a successful answer as the agent gets to see it. `request` is what was asked, `part` what of the server it is.
///
/// # Errors
/// [`Withheld`]: the agent gets no body.
pub fn usable(
    policies: &BoundPolicies,
    request: &Request<'_>,
    server: &McpServer<'_>,
    part: Part,
    mut body: Value,
) -> Result<Value, Withheld> {
    let judging = Judging { policies, request, server, left: Cell::new(COST_PER_ANSWER) };
    match part {
        Part::Resources => {
            let missing = || Withheld::Missing("$.resources".to_owned());
            let all = body.get_mut("resources").and_then(Value::as_array_mut).ok_or_else(missing)?;
            judging.keep(all, |one| {
                let uri = one.get("uri")?.as_str()?;
                judging.reading(uri)
            })?;
        }
        Part::ResourceCompletion | Part::PromptCompletion => {
            let missing = || Withheld::Missing("$.completion.values".to_owned());
            let completion = body.get_mut("completion").and_then(Value::as_object_mut).ok_or_else(missing)?;
            completion.remove("total");
            let all = completion.get_mut("values").and_then(Value::as_array_mut).ok_or_else(missing)?;
            judging.keep(all, |value| judging.using(part, value.as_str()?))?;
        }
        _ => {}
    }
    Ok(body)
}

struct Judging<'a> {
    policies: &'a BoundPolicies,
    request: &'a Request<'a>,
    server: &'a McpServer<'a>,
    left: Cell<u64>,
}

impl Judging<'_> {
    /// Keeps what may be used: `action` says how.
    fn keep(&self, all: &mut Vec<Value>, action: impl Fn(&Value) -> Option<Action>) -> Result<(), Withheld> {
        let mut failed = None;
        all.retain(|one| {
            let permitted = action(one).map_or(Ok(false), |action| self.permits(&action));
            permitted.unwrap_or_else(|why| {
                failed = Some(why);
                false
            })
        });
        failed.map_or(Ok(()), Err)
    }

    fn permits(&self, action: &Action) -> Result<bool, Withheld> {
        let asked = Request { action, ..*self.request };
        shaped::spend(&self.left, shaped::cost_of_member(self.policies, &asked))?;
        let budget = self.left.get().min(FUEL_PER_DECISION);
        let (judgement, after) = verdict::member(self.policies, &asked, Fuel::new(budget));
        shaped::spend(&self.left, budget.saturating_sub(after.left()))?;
        Ok(judgement.verdict != Verdict::Deny)
    }

    /// Reading the resource with this URI.
    fn reading(&self, uri: &str) -> Option<Action> {
        let declared = self.declared(&Part::Resource.action(self.server.service.name())?)?;
        self.action(declared, &Map::from_iter([("uri".to_owned(), Value::from(uri))]))
    }

    /// What a completed value is for: reading the resource of a template, or getting a prompt.
    fn using(&self, part: Part, value: &str) -> Option<Action> {
        let params = &self.request.action.params;
        let reference = params.get("ref")?;
        let argument = params.get("argument")?.get("name")?.as_str()?;
        let mut known = Map::new();
        if let Some(Value::Object(stated)) =
            params.get("context").and_then(|context| context.get("arguments"))
        {
            known.clone_from(stated);
        }
        known.insert(argument.to_owned(), value.into());
        if part == Part::ResourceCompletion {
            let template = reference.get("uri")?.as_str()?;
            if !template::has(template, argument) {
                return None;
            }
            let uri = template::filled(template, |name| known.get(name)?.as_str())?;
            return self.reading(&uri);
        }
        let name = reference.get("name")?.as_str()?;
        let is_it = |one: &&ServiceAction| {
            one.tool().is_some_and(|tool| tool.part() == Part::Prompt && tool.name() == name)
        };
        let prompt = self.server.service.actions().find(is_it)?;
        self.action(self.declared(prompt.name())?, &known).or_else(|| {
            // Other arguments are still to come: what rules ask of them isn't known yet.
            let resource = prompt.whole_resource()?;
            let version = self.request.action.service.clone()?;
            Some(Action::stated_of(version, prompt, resource, known))
        })
    }

    fn declared(&self, name: &ActionName) -> Option<&ServiceAction> {
        self.server.service.action(name).filter(|_| !self.server.quarantined.contains(name))
    }

    fn action(&self, declared: &ServiceAction, params: &Map<String, Value>) -> Option<Action> {
        let version = self.request.action.service.clone()?;
        let mut action = Action::declared(version, declared, None, params).ok()?;
        action.connection = self.request.action.connection;
        Some(action)
    }
}
