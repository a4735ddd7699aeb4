//! What is declared about the variables of conditions: our own by name, `params` by the service's action.
//!
//! Invariant: only what can never be there is absent. What this version doesn't fill yet (`risk`, `agent.trust`,
//! `user.claims`) is of unknown type, and unknown when judged; so is what a service may have read from upstream.

use crate::{
    cel::{FieldType, PARTS, Schema},
    diagnostic::nearest,
    service::{Fact, Lookup, ParamType, ServiceAction},
};

/// The declared types, for one action or, without one, for any.
pub(super) struct Declared<'a>(pub(super) Option<&'a ServiceAction>);

impl Schema for Declared<'_> {
    fn type_of(&self, path: &[&str]) -> FieldType {
        let text = FieldType::String;
        match path {
            ["params", fields @ ..] => self.0.map_or(FieldType::Unknown, |action| param(action, fields)),
            ["now"] => FieldType::Timestamp,
            ["now", ..] => FieldType::Absent { nearest: None },
            ["risk" | "context" | "item", ..] => FieldType::Unknown,
            [_] => FieldType::Map,
            ["action", "name" | "effect"] | ["resource", "uri" | "scheme" | "authority"] => text,
            ["resource", "segments"] | ["user", "roles"] => FieldType::List(Box::new(text)),
            ["resource", name] => self.0.map_or(FieldType::Unknown, |action| fact(action, name)),
            ["agent", "id" | "handle" | "owner"] | ["agent", "labels", _] => text,
            ["agent", "labels"] => FieldType::Map,
            ["agent", "trust", ..] | ["user", "claims", ..] => FieldType::Unknown,
            ["user", "id" | "name"] | ["task", "id" | "label" | "description"] => text,
            ["grant", "id" | "expires"] => text,
            ["grant", "depth"] => FieldType::Integer,
            [root, member] => FieldType::Absent {
                nearest: nearest(member, members(root).iter().copied()).map(str::to_owned),
            },
            _ => FieldType::Absent { nearest: None },
        }
    }
}

fn members(root: &str) -> &'static [&'static str] {
    match root {
        "action" => &["name", "effect"],
        "resource" => &PARTS,
        "agent" => &["id", "handle", "owner", "labels", "trust"],
        "user" => &["id", "name", "roles", "claims"],
        "task" => &["id", "label", "description"],
        "grant" => &["id", "depth", "expires"],
        _ => &[],
    }
}

/// What the service of an action reads about its resource.
fn fact(action: &ServiceAction, name: &str) -> FieldType {
    match action.fact(name) {
        Some(fact) => fact.kind().field(),
        None => {
            let declared = action.lookups().iter().flat_map(Lookup::facts).map(Fact::name);
            let near = nearest(name, PARTS.into_iter().chain(declared));
            FieldType::Absent { nearest: near.map(str::to_owned) }
        }
    }
}

fn param(action: &ServiceAction, fields: &[&str]) -> FieldType {
    match action.params_type(fields) {
        ParamType::Unknown => FieldType::Unknown,
        ParamType::Absent { nearest } => FieldType::Absent { nearest },
        ParamType::Bool => FieldType::Bool,
        ParamType::Integer => FieldType::Integer,
        ParamType::Number => FieldType::Number,
        ParamType::String => FieldType::String,
        ParamType::List => FieldType::List(Box::new(param(action, &[fields, &["[]"]].concat()))),
        ParamType::Map => FieldType::Map,
    }
}
