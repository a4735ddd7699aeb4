//! The variables that conditions see.
//!
//! Invariant: of the resource only what is known; what an agent merely claims is absent, and so unknown.

use super::Request;
use crate::{
    action::Action,
    cel::{Activation, Facts, Fields, Root},
    pattern::Component,
    policy::{BoundLink, Reads},
};
use serde_json::{Map, Value};
use std::cell::OnceCell;

/// The variables of one request; each is made when a rule first reads it.
pub(super) struct Subject<'a> {
    pub(super) request: &'a Request<'a>,
    params: Fields<'a>,
    action: OnceCell<Value>,
    resource: OnceCell<Value>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(request: &'a Request<'a>) -> Self {
        let params = Fields::of(&request.action.params);
        Self { request, params, action: OnceCell::new(), resource: OnceCell::new() }
    }

    /// The variables that `reads` names, as a link sees them. `risk` is in none.
    pub(super) fn variables<'s>(&'s self, link: &'s BoundLink, reads: Reads) -> Activation<'s> {
        let request = self.request;
        let known = [
            (Root::Agent, Some(&link.agent)),
            (Root::User, link.user.as_ref()),
            (Root::Task, link.task.as_ref()),
            (Root::Grant, Some(&link.grant)),
            (Root::Context, request.context),
            (Root::Params, Some(request.action.params.as_value())),
        ];
        let variables = Activation::of(known).params(&self.params).at(request.now);
        if reads.has(Root::Action) || reads.has(Root::Resource) { variables.facts(self) } else { variables }
    }

    /// A value by its path, for reasons; `Null` where it is not known.
    pub(super) fn observed(&self, link: &BoundLink, path: &crate::cel::Path) -> Value {
        let action = self.request.action;
        let made;
        let params;
        let root = match path.root() {
            Root::Params => {
                params = path.fields().first().and_then(|name| action.params.get(&**name));
                return descend(params, path.fields().get(1..).unwrap_or_default())
                    .map_or(Value::Null, shown);
            }
            Root::Action => {
                made = self::action(action);
                Some(&made)
            }
            Root::Resource => {
                made = resource(action);
                Some(&made)
            }
            Root::Agent => Some(&link.agent),
            Root::User => link.user.as_ref(),
            Root::Task => link.task.as_ref(),
            Root::Grant => Some(&link.grant),
            Root::Context => self.request.context,
            Root::Now => return self.request.now.to_string().into(),
            Root::Risk | Root::Lists | Root::Item => None,
        };
        descend(root, path.fields()).map_or(Value::Null, shown)
    }
}

impl Facts for Subject<'_> {
    fn text(&self, root: Root, field: &str) -> Option<&str> {
        let action = self.request.action;
        match (root, field) {
            (Root::Action, "name") => Some(action.name.as_str()),
            (Root::Action, "effect") => action.effect.map(|effect| effect.as_str()),
            (Root::Resource, "scheme") => action.known.scheme(),
            (Root::Resource, "authority") => action.known.authority().and_then(Component::as_literal),
            _ => None,
        }
    }

    fn whole(&self, root: Root) -> Option<&Value> {
        let action = self.request.action;
        match root {
            Root::Action => Some(self.action.get_or_init(|| self::action(action))),
            Root::Resource => Some(self.resource.get_or_init(|| resource(action))),
            _ => None,
        }
    }
}

fn descend<'v>(from: Option<&'v Value>, fields: &[Box<str>]) -> Option<&'v Value> {
    fields.iter().try_fold(from?, |value, field| value.get(&**field))
}

/// The longest text that a reason repeats, in characters, and the largest list or map, in bytes of JSON.
const LONGEST: usize = 200;

/// The value as far as it fits a reason.
fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) if text.chars().nth(LONGEST).is_some() => {
            text.chars().take(LONGEST).chain(['…']).collect::<String>().into()
        }
        Value::Array(items) if too_large(value) => format!("(a list of {} items)", items.len()).into(),
        Value::Object(members) if too_large(value) => format!("(a map of {} members)", members.len()).into(),
        Value::Number(number) if number.as_str().len() > LONGEST => "(a very long number)".into(),
        _ => value.clone(),
    }
}

fn too_large(value: &Value) -> bool {
    value.to_string().len() > LONGEST
}

fn action(action: &Action) -> Value {
    let mut members = Map::new();
    members.insert("name".to_owned(), action.name.as_str().into());
    if let Some(effect) = action.effect {
        members.insert("effect".to_owned(), effect.as_str().into());
    }
    Value::Object(members)
}

/// The parts that are known whole, and what was read from upstream.
fn resource(action: &Action) -> Value {
    let known = &action.known;
    let mut members = action.facts.known().clone();
    if known.single().is_some() {
        members.insert("uri".to_owned(), known.as_str().into());
    }
    if let Some(scheme) = known.scheme() {
        members.insert("scheme".to_owned(), scheme.into());
    }
    if let Some(authority) = known.authority().and_then(Component::as_literal) {
        members.insert("authority".to_owned(), authority.into());
    }
    if !known.has_rest()
        && let Some(segments) = known.segments().iter().map(Component::as_literal).collect::<Option<Vec<_>>>()
    {
        members.insert("segments".to_owned(), segments.into());
    }
    Value::Object(members)
}
