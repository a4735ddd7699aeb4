//! `resources/list`, `resources/templates/list` and `resources/read`.
//!
//! Which resources there are only their servers know, and they are asked each time: an action as any other, which is
//! charged and recorded. Of what they say, the agent is told what it may read.
//!
//! Invariant: a resource is listed where reading it would be judged to be allowed, or to be asked about, by the function
//! that judges it when it is read. A server that fails takes no other's resources away.

use super::{
    Answered, Door, Refused,
    tools::{PAGE, is_usable},
};
use crate::{
    api::{catalog, decisions::paced},
    rules::Rules,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_core::{
    action::{Action, ServiceVersion},
    id::ConnectionId,
    judge::{self, Verdict},
    mcp::{
        Request, Revision, RpcError,
        offered::{self, Place},
    },
    policy::BoundPolicies,
    refusal::Code,
    service::{Part, Tool},
};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// For how long other servers are asked for one page.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often servers are asked for one page.
const MOST_ASKED: usize = 20;
/// The error for what is not there, before 2026-07-28.
const NOT_FOUND: i32 = -32002;
/// What is told of a resource or a template, beside its URI.
const TOLD: &[&str] = &["name", "title", "description", "mimeType", "size", "annotations"];

/// Whom to ask: a connection of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    service: String,
    connection: String,
    id: ConnectionId,
    /// Whether it is not the only one of its service.
    among: bool,
}

impl Door {
    /// `resources/list` and `resources/templates/list`
    pub(super) async fn resources(&self, request: &Request, part: Part) -> Result<Value, Refused> {
        let (mut from, mut cursor) = match request.params.get("cursor") {
            None => (None, None),
            Some(text) => {
                let wrong = || RpcError::params("`cursor` is none that was given here");
                let (from, cursor) = text.as_str().and_then(read).ok_or_else(wrong)?;
                (Some(from), cursor)
            }
        };
        let (app, bearer) = (&self.app, &self.caller.bearer);
        paced(app, bearer, 1)?;
        let rules = app.rules.load_full();
        let policies = rules.policies.bind(&bearer.chain);
        let (mut found, mut asks, until) = (Vec::new(), 0, Instant::now() + PATIENCE);
        for source in self.sources(&rules, &policies, part).await? {
            let place = (source.service.clone(), source.connection.clone());
            if from.as_ref().is_some_and(|from| place < *from) {
                continue;
            }
            if from.take() != Some(place.clone()) {
                cursor = None;
            }
            loop {
                asks += 1;
                if found.len() >= PAGE || asks > MOST_ASKED || Instant::now() >= until {
                    return Ok(listing(part, found, Some(written(&place, cursor.as_deref()))));
                }
                let asked = self.asked(request, &source, part, cursor.as_deref()).await?;
                let Some((page, next)) = asked else { break };
                found.extend(
                    page.into_iter().filter_map(|one| self.told(one, &rules, &policies, &source, part)),
                );
                // A server that says the same for ever is not asked for ever.
                if next.is_none() || next == cursor {
                    break;
                }
                cursor = next;
            }
        }
        Ok(listing(part, found, None))
    }

    /// The connections whose servers may be asked, in their order.
    async fn sources(
        &self,
        rules: &Rules,
        policies: &BoundPolicies,
        part: Part,
    ) -> Result<Vec<Source>, Refused> {
        let (app, chain) = (&self.app, &self.caller.bearer.chain);
        let known = catalog::listed(app, rules, (chain, policies), None, app.clock.now()).await?;
        let is_one = |listed: &&catalog::Listed<'_>| {
            listed.declared.tool().map(Tool::part) == Some(part) && is_usable(listed)
        };
        let mut sources = Vec::new();
        for listed in known.values().filter(is_one) {
            for connection in listed.connections.iter() {
                sources.push(Source {
                    service: listed.live.service.name().to_owned(),
                    connection: connection.name.clone(),
                    id: connection.id,
                    among: listed.connections.len() > 1,
                });
            }
        }
        sources.sort();
        Ok(sources)
    }

    /// One page of one server; `None` where it has none for this agent.
    async fn asked(
        &self,
        request: &Request,
        source: &Source,
        part: Part,
        cursor: Option<&str>,
    ) -> Result<Option<(Vec<Value>, Option<String>)>, Refused> {
        let Some(name) = part.action(&source.service) else { return Ok(None) };
        let mut params = Map::new();
        if let Some(cursor) = cursor {
            params.insert("cursor".into(), cursor.into());
        }
        // What a client says of one call is about no other.
        let alone = Request { id: request.id.clone(), method: request.method.clone(), params: Map::new() };
        let taken = self.take(&alone, &name, params, Some(source.connection.clone())).await;
        let result = self.result_of(&name, taken, || RpcError::params("no such list")).await;
        let mut result = match result {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => return Ok(None),
            Err(Refused::Rpc(error)) => {
                tracing::info!(
                    service = source.service,
                    error.message,
                    "a server has not told its resources"
                );
                return Ok(None);
            }
            // One connection's own trouble takes nobody else's resources away.
            Err(Refused::Http(problem)) if problem.code() == Code::Unavailable => return Ok(None),
            Err(refused) => return Err(refused),
        };
        let next = result.remove("nextCursor").and_then(|next| next.as_str().map(str::to_owned));
        match result.remove(member(part)) {
            Some(Value::Array(page)) => Ok(Some((page, next))),
            _ => Ok(None),
        }
    }

    /// What the agent is told of a resource; `None` where it may not read it.
    fn told(
        &self,
        one: Value,
        rules: &Rules,
        policies: &BoundPolicies,
        source: &Source,
        part: Part,
    ) -> Option<Value> {
        let key = if part == Part::Templates { "uriTemplate" } else { "uri" };
        let Value::Object(mut members) = one else { return None };
        let Some(Value::String(uri)) = members.remove(key) else { return None };
        let read = Part::Resource.action(&source.service)?;
        let (live, declared) = rules.declaring(&read)?;
        let chain = &self.caller.bearer.chain;
        if !crate::way::names(chain, &read) {
            return None;
        }
        if part == Part::Resources {
            let params = Map::from_iter([("uri".to_owned(), Value::from(uri.as_str()))]);
            let version = ServiceVersion { name: source.service.clone(), version: live.version };
            let mut action = Action::declared(version, declared, None, &params).ok()?;
            action.connection = Some(source.id);
            let now = self.app.clock.now();
            let request = judge::Request { chain, action: &action, now, context: None };
            let verdict = judge::informed(policies, &request, Some(declared)).verdict;
            if verdict == Verdict::Deny {
                return None;
            }
        }
        members.retain(|name, _| TOLD.contains(&name.as_str()));
        let connection = source.among.then_some(source.connection.as_str());
        let place = Place { service: &source.service, connection, uri: &uri };
        members.insert(key.into(), place.outward().into());
        Some(Value::Object(members))
    }

    /// `resources/read`
    pub(super) async fn read(&self, request: &Request) -> Result<Answered, Refused> {
        let Some(uri) = request.params.get("uri").and_then(Value::as_str) else {
            return Err(RpcError::params("`uri` is the URI of a resource").into());
        };
        let code = if self.revision == Revision::Stateless { RpcError::INVALID_PARAMS } else { NOT_FOUND };
        let absent = || {
            let short: String = uri.chars().take(512).collect();
            RpcError::new(code, "Resource not found").with(json!({"uri": short}))
        };
        let place = Place::read(uri).ok_or_else(absent)?;
        let known = Part::Resource.action(place.service).ok_or_else(absent)?;
        if self.app.rules.load().declaring(&known).is_none() {
            return Err(absent().into());
        }
        let params = Map::from_iter([("uri".to_owned(), Value::from(place.uri))]);
        let connection = place.connection.map(str::to_owned);
        let taken = self.take(request, &known, params, connection).await;
        match self.result_of(&known, taken, absent).await {
            Ok(Err(question)) => Ok(Answered::InputRequired(question)),
            Ok(Ok(result)) => {
                let mut result = Value::Object(result);
                offered::outward(&mut result, place.service, place.connection);
                Ok(Answered::Cacheable(result))
            }
            // Its server knows it by another name.
            Err(Refused::Rpc(mut error)) => {
                if let Some(own) = error.data.as_mut().and_then(|data| data.get_mut("uri"))
                    && *own == place.uri
                {
                    *own = uri.into();
                }
                if matches!(error.code, NOT_FOUND) {
                    error.code = code;
                }
                Err(error.into())
            }
            Err(refused) => Err(refused),
        }
    }
}

fn member(part: Part) -> &'static str {
    if part == Part::Templates { "resourceTemplates" } else { "resources" }
}

fn listing(part: Part, found: Vec<Value>, next: Option<String>) -> Value {
    let mut told = Map::new();
    told.insert(member(part).into(), found.into());
    if let Some(next) = next {
        told.insert("nextCursor".into(), next.into());
    }
    Value::Object(told)
}

/// Where a listing goes on: at which connection, and behind what its server said. Clients are not to read it.
fn written(place: &(String, String), cursor: Option<&str>) -> String {
    URL_SAFE_NO_PAD.encode(json!([place.0, place.1, cursor]).to_string())
}

fn read(text: &str) -> Option<((String, String), Option<String>)> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (service, connection, cursor) = serde_json::from_slice(&bytes).ok()?;
    Some(((service, connection), cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_says_where_a_listing_goes_on() {
        let place = ("files".to_owned(), "files-main".to_owned());
        for cursor in [None, Some("2".to_owned()), Some("\u{1f600}\"".to_owned())] {
            assert_eq!(read(&written(&place, cursor.as_deref())), Some((place.clone(), cursor)));
        }
        for wrong in ["", "x", "W10", &URL_SAFE_NO_PAD.encode("[1, 2, 3]")] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
