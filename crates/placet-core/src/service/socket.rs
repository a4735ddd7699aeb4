//! WebSockets of a service: an action that opens one, and the actions that an agent's messages on it are.
//!
//! A message is one JSON object. Which action it is, values at fixed places of it say (`match`); everything else of it are
//! that action's parameters. The variables of the path that the WebSocket was opened with are parameters of every message
//! on it: they are what was opened, not what a message says.
//!
//! Invariant: no message is two actions, which is checked when a definition is loaded; what is sent is written anew from the
//! action and its parameters, and a message that would not be written so is refused.

pub(super) mod load;

use super::{ParamsInvalid, Service, ServiceAction, body::Body, template::Values, value};
use crate::{
    call::{Method, UpstreamCall},
    json,
    pattern::ActionName,
};
use serde_json::{Map, Value};
use std::time::Duration;

/// What an action has to do with a WebSocket.
#[derive(Debug, Clone)]
pub(super) enum Socket {
    /// It opens one.
    Opens(WebSocket),
    /// It is a message on one.
    Carried(Carried),
}

/// A WebSocket, as the action that opens it declares it.
#[derive(Debug, Clone)]
pub struct WebSocket {
    protocols: Vec<String>,
    refusal: Option<Value>,
    binary: bool,
    idle: Option<Duration>,
}

/// A message of an agent's, as an action.
#[derive(Debug, Clone)]
pub struct Carried {
    of: ActionName,
    matches: Vec<(Vec<String>, Value)>,
}

/// What an agent is told of a message that was refused.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// The problem document.
    pub problem: &'a Map<String, Value>,
    /// The message, where it could be read.
    pub message: Option<&'a Value>,
}

impl WebSocket {
    /// Subprotocols that may be spoken on it.
    pub fn protocols(&self) -> &[String] {
        &self.protocols
    }

    /// Whether upstream's messages may be binary.
    pub fn binary(&self) -> bool {
        self.binary
    }

    /// For how long nothing may come from either side, where that is stated.
    pub fn idle(&self) -> Option<Duration> {
        self.idle
    }

    /// What is sent to the agent in the place of its message: the problem document, or the frame that is declared with what
    /// its variables stand for.
    pub fn refusal(&self, refused: Refusal<'_>) -> Value {
        match &self.refusal {
            None => Value::Object(refused.problem.clone()),
            Some(frame) => filled(frame, refused),
        }
    }
}

/// A frame with its variables filled in.
fn filled(frame: &Value, refused: Refusal<'_>) -> Value {
    match frame {
        Value::String(text) => match text.as_str() {
            "$problem" => Value::Object(refused.problem.clone()),
            "$code" => refused.problem.get("code").cloned().unwrap_or_default(),
            "$detail" => {
                let said = refused.problem.get("detail").or_else(|| refused.problem.get("title"));
                said.cloned().unwrap_or_default()
            }
            "$approval" => {
                let url = refused.problem.get("approval").and_then(|approval| approval.get("url"));
                url.cloned().unwrap_or_default()
            }
            text => match (text.strip_prefix(load::MESSAGE), refused.message) {
                (Some(pointer), Some(message)) => message.pointer(pointer).cloned().unwrap_or_default(),
                (Some(_), None) => Value::Null,
                (None, _) => frame.clone(),
            },
        },
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), filled(value, refused))).collect()
        }
        Value::Array(items) => items.iter().map(|item| filled(item, refused)).collect(),
        other => other.clone(),
    }
}

impl Carried {
    /// The action that opens the WebSocket.
    pub fn of(&self) -> &ActionName {
        &self.of
    }

    /// What stands in each such message, by JSON pointer.
    pub fn matched(&self) -> Map<String, Value> {
        let escaped = |step: &String| format!("/{}", step.replace('~', "~0").replace('/', "~1"));
        let places = self.matches.iter();
        places.map(|(path, value)| (path.iter().map(escaped).collect(), value.clone())).collect()
    }

    /// Whether a message is of this action: each of its values stands where it has to.
    fn fits(&self, message: &Value) -> bool {
        self.matches.iter().all(|(path, value)| {
            let mut at = Some(message);
            for step in path {
                at = at.and_then(Value::as_object).and_then(|members| members.get(step));
            }
            at == Some(value)
        })
    }

    /// Whether some message fits both: unless the two want different values at one place, or one wants members where the
    /// other wants a value.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.of == other.of
            && self.matches.iter().all(|(path, value)| {
                other.matches.iter().all(|(another, wanted)| {
                    let shared = path.iter().zip(another).take_while(|(one, two)| one == two).count();
                    if shared < path.len().min(another.len()) {
                        return true;
                    }
                    path.len() == another.len() && value == wanted
                })
            })
    }
}

impl Service {
    /// The action that a message is on a WebSocket that `opening` opens.
    pub fn carried(&self, opening: &ActionName, message: &Value) -> Option<&ServiceAction> {
        self.actions.values().find(|action| {
            action.carried().is_some_and(|carried| carried.of == *opening && carried.fits(message))
        })
    }

    /// The message that carries an action out: its body is the text, its target the path that the WebSocket is at.
    pub(super) fn render_carried(
        &self,
        action: &ServiceAction,
        params: &Map<String, Value>,
    ) -> Result<UpstreamCall, ParamsInvalid> {
        let values = action.values(params)?;
        let mut target = self.base_path.clone();
        let path = action.path.fill(&values, &mut target);
        path.map_err(|problem| ParamsInvalid::whole(format!("the path is refused: {problem}")))?;
        let call = UpstreamCall {
            method: Method::Get,
            origin: self.origin.clone(),
            target,
            headers: Vec::new(),
            fixed: Vec::new(),
            body: Some(action.write_body(params)?),
            streamed: false,
        };
        match self.describe_carried(&call) {
            Some((name, back)) if name == action.name && action.same(params, &back) => Ok(call),
            _ => Err(ParamsInvalid::whole("the message would not say the same as the parameters".to_owned())),
        }
    }

    /// The action and parameters of a rendered message.
    pub(super) fn describe_carried(&self, call: &UpstreamCall) -> Option<(ActionName, Map<String, Value>)> {
        let plain = call.origin == self.origin && call.headers.is_empty() && call.fixed.is_empty();
        if !plain || call.method != Method::Get || call.streamed {
            return None;
        }
        let message = json::parse(call.body.as_deref()?).ok()?;
        let opening = self.place(Method::Get, call.target.strip_prefix(&self.base_path)?)?;
        let action = self.carried(&opening.action().name, &message)?;
        let params = action.carried_by(opening.values(), &message).ok()?;
        (action.write_body(&params).ok() == call.body).then(|| (action.name.clone(), params))
    }
}

impl ServiceAction {
    /// The WebSocket that it opens, if it does.
    pub fn websocket(&self) -> Option<&WebSocket> {
        match &self.socket {
            Some(Socket::Opens(socket)) => Some(socket),
            _ => None,
        }
    }

    /// Whether it opens a WebSocket or is a message on one: then it is for the doors that WebSockets go through.
    pub fn is_of_socket(&self) -> bool {
        self.socket.is_some()
    }

    /// What it is on a WebSocket, if it is a message.
    pub fn carried(&self) -> Option<&Carried> {
        match &self.socket {
            Some(Socket::Carried(carried)) => Some(carried),
            _ => None,
        }
    }

    /// The parameters of a message of this action, on a WebSocket that was opened with `opened`.
    ///
    /// # Errors
    /// Where the message has anything that the action's have not.
    pub fn message_params(
        &self,
        opened: &Map<String, Value>,
        message: &Value,
    ) -> Result<Map<String, Value>, ParamsInvalid> {
        let mut values = Values::new();
        for name in self.path.variables() {
            let text = opened.get(name).map(|value| value::segment_text(value, self.encoded_slash));
            let Some(Ok(text)) = text else {
                return Err(ParamsInvalid::of(name, format!("`{name}` is missing")));
            };
            values.insert(name.to_owned(), text);
        }
        self.carried_by(&values, message)
    }

    fn carried_by(&self, opened: &Values, message: &Value) -> Result<Map<String, Value>, ParamsInvalid> {
        const OTHER: &str = "the message is not laid out as the action's is";
        let Body::Layout(_, layout, _) = &self.mapping.body else {
            return Err(ParamsInvalid::whole(OTHER.to_owned()));
        };
        let mut params = Map::new();
        let read = layout.read(message, &mut params);
        // A member that is a parameter's misspelt is told by its name.
        if let (Err(_), Value::Object(members)) = (&read, message)
            && let Some(name) = members.keys().find(|name| !layout.names(name))
        {
            return Err(self.unknown(name));
        }
        let whole = |problem: &str| ParamsInvalid::whole(problem.to_owned());
        read.map_err(|_| whole(OTHER))?;
        if layout.write(&params).map_err(whole)?.as_ref() != Some(message) {
            return Err(whole(OTHER));
        }
        for (name, text) in opened {
            params.insert(name.clone(), super::call::typed(text.clone(), &self.params_type(&[name])));
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests;
