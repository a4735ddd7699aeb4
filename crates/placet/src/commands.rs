//! The commands against a running server, a file per noun.
//!
//! Invariant: a command reads what it is given, sends requests and prints answers; it decides nothing itself.

pub(crate) mod account;
pub(crate) mod act;
pub(crate) mod action;
pub(crate) mod agent;
pub(crate) mod approvals;
pub(crate) mod backup;
pub(crate) mod ca;
pub(crate) mod catalog;
pub(crate) mod connection;
pub(crate) mod detail_type;
pub(crate) mod doctor;
pub(crate) mod grant;
pub(crate) mod intent;
pub(crate) mod issuer;
mod key;
pub(crate) mod keys;
pub(crate) mod permit;
pub(crate) mod policy;
pub(crate) mod provider;
pub(crate) mod record;
pub(crate) mod registration;
pub(crate) mod request;
pub(crate) mod resource_server;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod scope;
pub(crate) mod service;
pub(crate) mod session;
pub(crate) mod shell;
pub(crate) mod task;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod vault;

use crate::{exit::Failure, input};
use serde_json::{Map, Value};
use std::path::Path;

/// Collects the members that were given into a JSON object.
#[derive(Debug, Default)]
struct Members(Map<String, Value>);

impl Members {
    fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// A list, where it has items.
    fn list(self, name: &str, items: &[String]) -> Self {
        if items.is_empty() { self } else { self.set(name, items.to_vec()) }
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

/// Reads a JSON object from the file that a flag names.
fn object_in(flag: &str, path: &Path) -> Result<Map<String, Value>, Failure> {
    members(flag, &input::text_file(path, "file")?)
}

/// Reads a JSON object from a flag.
fn object(flag: &str, text: &str) -> Result<Value, Failure> {
    members(flag, text).map(Value::Object)
}

fn members(flag: &str, text: &str) -> Result<Map<String, Value>, Failure> {
    match placet_core::json::parse(text.as_bytes()) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Failure::unreadable(format!("{flag} is not a JSON object"))),
        Err(error) => Err(Failure::unreadable(format!("{flag} is not JSON: {error}"))),
    }
}
