//! How to find out whether the credential of a connection works: an action of the service that does no harm, and what of
//! its answer says that the credential was taken, or refused.
//!
//! Invariant: pure. The action only reads, its parameters are the definition's alone, and an answer that says neither says
//! nothing: an upstream that is down, or that wants something else, refuses no credential.

use super::{
    Effect, ServiceAction,
    status::{self, Answer},
};
use crate::{
    diagnostic::quoted,
    pattern::ActionName,
    yaml::{self, MapReading},
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The keys of `check`.
pub(super) const KEYS: &[&str] = &["action", "params", "works", "refused"];
/// The status of an upstream that does not know a credential (RFC 9110 §15.5.2).
const UNAUTHORIZED: u16 = 401;

/// The `check` of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionCheck {
    action: ActionName,
    params: Map<String, Value>,
    /// After which answers it works; empty: any 2xx.
    works: Vec<Answer>,
    /// After which it is refused; empty: 401.
    refused: Vec<Answer>,
}

/// What an answer says of the credential that it was asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It works.
    Works,
    /// Upstream does not take it.
    Refused,
    /// Nothing.
    Unclear,
}

impl ConnectionCheck {
    /// The action that is taken.
    pub fn action(&self) -> &ActionName {
        &self.action
    }

    /// Its parameters.
    pub fn params(&self) -> &Map<String, Value> {
        &self.params
    }

    /// What an answer says. One that says both says nothing.
    pub fn read(&self, status: u16, body: &Value) -> Finding {
        let is = |one: &Answer| one.is(status, body);
        let refused = match self.refused.as_slice() {
            [] => status == UNAUTHORIZED,
            answers => answers.iter().any(is),
        };
        let works = match self.works.as_slice() {
            // What counts as refused is looked at first where nothing else is said.
            [] => !refused && (200..300).contains(&status),
            answers => answers.iter().any(is),
        };
        match (works, refused) {
            (true, false) => Finding::Works,
            (false, true) => Finding::Refused,
            _ => Finding::Unclear,
        }
    }
}

/// Reads it, where the definition has one: none where it has not, nothing where it is wrong.
pub(super) fn load(
    map: &MapReading<'_>,
    actions: Option<&BTreeMap<ActionName, ServiceAction>>,
) -> Option<Option<ConnectionCheck>> {
    let Some(it) = map.optional("check") else { return Some(None) };
    let said = it.map()?;
    said.finish(KEYS);
    let asked = said.required("action")?;
    let action = status::name(&asked)?;
    let params = match said.optional("params").map(|it| yaml::to_json(it.node())) {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => {
            it.error("`params` of `check` are members with the values that are sent");
            return None;
        }
    };
    let answers = |key: &str| {
        let said = said.optional(key).map_or_else(Vec::new, |it| it.one_or_many());
        said.iter().map(status::answer).collect::<Option<Vec<Answer>>>()
    };
    let (works, refused) = (answers("works")?, answers("refused")?);
    // What is wrong with the actions is told already.
    let target = actions?.get(&action);
    if let Some(problem) = problem(&action, target, &params) {
        asked.error(format!("`check`: {problem}"));
        return None;
    }
    Some(Some(ConnectionCheck { action, params, works, refused }))
}

/// Why an action could not tell whether a credential works.
fn problem(name: &ActionName, target: Option<&ServiceAction>, params: &Map<String, Value>) -> Option<String> {
    let Some(target) = target else { return Some(format!("there is no action `{name}`")) };
    if target.effect != Some(Effect::Read) {
        return Some(format!("`{name}` does not have the effect `read`"));
    }
    if target.socket.is_some() || target.stream {
        return Some(format!("`{name}` is no single request with an answer"));
    }
    if let Some(other) = params.keys().find(|name| !target.names.contains(*name)) {
        return Some(format!("`{name}` has no parameter {}", quoted(other)));
    }
    target
        .describe(params)
        .err()
        .map(|error| format!("`{name}` can't be asked with these parameters: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Service;
    use serde_json::json;

    fn service(check: &str) -> Result<Service, String> {
        let text = format!(
            "service: chat\nbase_url: https://chat.example\nauth: {{type: bearer}}\ncheck: {check}\nactions:\n  \
             chat.me.read: {{method: GET, path: /me, resource: \"chat://me\", effect: read}}\n  \
             chat.rooms.read: {{method: GET, path: \"/rooms/{{room}}\", resource: \"chat://rooms/{{room}}\", effect: read, \
             params: {{type: object, properties: {{room: {{type: string}}}}, required: [room], additionalProperties: false}}}}\n  \
             chat.rooms.leave: {{method: POST, path: /leave, resource: \"chat://rooms\", effect: write}}\n"
        );
        let read = Service::parse(text.as_bytes(), None);
        read.map(|(service, _)| service)
            .map_err(|all| all.iter().map(|one| one.render()).collect::<Vec<_>>().join("\n"))
    }

    fn read(check: &str, status: u16, body: &Value) -> Finding {
        let service = service(check).unwrap_or_else(|told| panic!("{told}"));
        service.check().unwrap().read(status, body)
    }

    #[test]
    fn an_answer_says_that_a_credential_works_or_not_or_nothing() {
        let usual = "{action: chat.me.read}";
        for (status, finding) in [
            (200, Finding::Works),
            (204, Finding::Works),
            (401, Finding::Refused),
            (403, Finding::Unclear),
            (302, Finding::Unclear),
            (500, Finding::Unclear),
        ] {
            assert_eq!(read(usual, status, &Value::Null), finding, "{status}");
        }
        let own = "{action: chat.me.read, works: {status: 200, body: {/ok: true}, has: /user/id}, \
                   refused: [{status: 401}, {status: 200, body: {/ok: false, /error: invalid_auth}}]}";
        for (status, body, finding) in [
            (200, json!({"ok": true, "user": {"id": "U1"}}), Finding::Works),
            (200, json!({"ok": true, "user": {"id": null}}), Finding::Unclear),
            (200, json!({"ok": true}), Finding::Unclear),
            (201, json!({"ok": true, "user": {"id": "U1"}}), Finding::Unclear),
            (200, json!({"ok": false, "error": "invalid_auth"}), Finding::Refused),
            (200, json!({"ok": false, "error": "internal_error"}), Finding::Unclear),
            (401, Value::Null, Finding::Refused),
        ] {
            assert_eq!(read(own, status, &body), finding, "{status} {body}");
        }
        // Both is nothing.
        let both = "{action: chat.me.read, works: {status: 200}, refused: {status: 200}}";
        assert_eq!(read(both, 200, &Value::Null), Finding::Unclear);
        let rooms = service("{action: chat.rooms.read, params: {room: lobby}}").unwrap();
        assert_eq!(Value::Object(rooms.check().unwrap().params().clone()), json!({"room": "lobby"}));
    }

    #[test]
    fn what_could_not_tell_does_not_load() {
        for (check, problem) in [
            ("{action: chat.you.read}", "no action"),
            ("{action: chat.rooms.leave}", "effect"),
            ("{action: chat.rooms.read}", "parameters"),
            ("{action: chat.me.read, params: {room: lobby}}", "no parameter"),
            ("{action: chat.me.read, params: [lobby]}", "members"),
            ("{action: chat.me.read, works: {status: 99}}", "whole number"),
            ("{action: chat.me.read, works: {status: 200, has: ok}}", "pointer"),
            ("{action: chat.me.read, fails: {status: 200}}", "fails"),
            ("{params: {}}", "action"),
        ] {
            let told = service(check).expect_err(check);
            assert!(told.contains(problem), "{check}: {told}");
        }
    }
}
