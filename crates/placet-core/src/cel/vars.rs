//! The variables that a condition can read.
//!
//! Invariant: values are borrowed where they stand; nothing is copied to evaluate a condition.

use crate::time::Timestamp;
use serde_json::Value as Json;
use std::fmt;

/// A name that a condition may start a path with (DESIGN §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Root {
    /// The parameters of the action.
    Params,
    /// The action.
    Action,
    /// The resource: its URI's parts, and attributes where resolved.
    Resource,
    /// The agent.
    Agent,
    /// The user of the grant.
    User,
    /// The task.
    Task,
    /// The grant.
    Grant,
    /// The risk assessment.
    Risk,
    /// The time of the decision.
    Now,
    /// What a trusted resource server says about the request.
    Context,
}

impl Root {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Params,
        Self::Action,
        Self::Resource,
        Self::Agent,
        Self::User,
        Self::Task,
        Self::Grant,
        Self::Risk,
        Self::Now,
        Self::Context,
    ];

    /// The name as conditions write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Params => "params",
            Self::Action => "action",
            Self::Resource => "resource",
            Self::Agent => "agent",
            Self::User => "user",
            Self::Task => "task",
            Self::Grant => "grant",
            Self::Risk => "risk",
            Self::Now => "now",
            Self::Context => "context",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|root| root.name() == name)
    }
}

/// The values of the variables for one decision; what isn't set is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activation<'a> {
    roots: [Option<&'a Json>; Root::ALL.len()],
    now: Option<Timestamp>,
}

impl<'a> Activation<'a> {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable ([`Root::Now`] is set with [`Activation::at`] and ignored here).
    #[must_use]
    pub fn with(mut self, root: Root, value: &'a Json) -> Self {
        if let Some(place) = self.roots.get_mut(root as usize) {
            *place = Some(value);
        }
        self
    }

    /// Sets `now`.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.now = Some(now);
        self
    }

    pub(super) fn root(&self, root: Root) -> Option<&'a Json> {
        self.roots.get(root as usize).copied().flatten()
    }

    pub(super) fn now(&self) -> Option<Timestamp> {
        self.now
    }
}

/// A variable and the fields selected from it, as far as the text says: `params.items[i].price` is
/// `params.items`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    root: Root,
    fields: Box<[Box<str>]>,
}

impl Path {
    pub(super) fn new(root: Root, fields: Box<[Box<str>]>) -> Self {
        Self { root, fields }
    }

    /// The variable.
    pub fn root(&self) -> Root {
        self.root
    }

    /// The fields, outermost first; none where the variable itself is read.
    pub fn fields(&self) -> &[Box<str>] {
        &self.fields
    }

    /// The variable's name and its fields: `["params", "amount"]`.
    pub fn segments(&self) -> Vec<&str> {
        std::iter::once(self.root.name()).chain(self.fields.iter().map(AsRef::as_ref)).collect()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root.name())?;
        self.fields.iter().try_for_each(|field| write!(f, ".{field}"))
    }
}
