//! The variables that a condition can read.
//!
//! Invariant: values are borrowed where they stand; nothing is copied to evaluate a condition.

use super::{
    fields::{Fields, Key},
    value::plain_whole,
};
use crate::time::Timestamp;
use serde_json::Value as Json;
use std::fmt;

/// What `resource` has of its own; all else of it is read from upstream.
pub(crate) const PARTS: [&str; 4] = ["uri", "scheme", "authority", "segments"];

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
    /// The lists of the document; filled in when it is loaded, so that no decision reads it.
    Lists,
    /// A row of what came back, in `shape.rows.where` only.
    Item,
}

impl Root {
    /// How many there are.
    const COUNT: usize = Self::ALL.len() + 1;

    /// All that every condition may read; [`Root::Item`] is not among them.
    pub const ALL: [Self; 11] = [
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
        Self::Lists,
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
            Self::Lists => "lists",
            Self::Item => "item",
        }
    }

    /// Whether nothing fills the field of an agent or a user today.
    pub(super) fn is_unfilled(self, field: &str) -> bool {
        matches!((self, field), (Self::Agent, "trust") | (Self::User, "claims"))
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::Item]).find(|root| root.name() == name)
    }
}

/// Variables that are made when they are first read as a whole.
pub trait Facts {
    /// `ROOT.FIELD`, where that is a text that is there without making the whole.
    fn text(&self, root: Root, field: &str) -> Option<&str>;

    /// The variable; `None` where it is not one of these.
    fn whole(&self, root: Root) -> Option<&Json>;
}

/// The values of the variables for one decision; what isn't set is unknown.
#[derive(Clone, Copy, Default)]
pub struct Activation<'a> {
    roots: [Option<&'a Json>; Root::COUNT],
    params: Option<&'a Fields<'a>>,
    facts: Option<&'a dyn Facts>,
    now: Option<Timestamp>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    Json(&'a Json),
    Text(&'a str),
    /// A whole number that was read before, and where it stands.
    Whole(i64, &'a Json),
}

impl<'a> Found<'a> {
    /// What is read once however many conditions ask for it.
    pub(super) fn of(json: &'a Json) -> Self {
        match json {
            Json::Number(number) => match plain_whole(number.as_str()) {
                Some(whole) => Self::Whole(whole, json),
                None => Self::Json(json),
            },
            _ => Self::Json(json),
        }
    }

    #[inline]
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Json(json) => json.as_str(),
            Self::Whole(..) => None,
        }
    }

    /// The JSON value, where it stands in one.
    pub(super) fn json(self) -> Option<&'a Json> {
        match self {
            Self::Text(_) => None,
            Self::Json(json) | Self::Whole(_, json) => Some(json),
        }
    }
}

impl<'a> Activation<'a> {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// These variables, as far as they are known; as [`Activation::with`] for each.
    #[must_use]
    #[inline]
    pub fn of<const N: usize>(known: [(Root, Option<&'a Json>); N]) -> Self {
        let mut roots = [None; Root::COUNT];
        for (root, value) in known {
            if let Some(place) = roots.get_mut(root as usize) {
                *place = value;
            }
        }
        Self { roots, params: None, facts: None, now: None }
    }

    /// Sets a variable ([`Root::Now`] is set with [`Activation::at`] and ignored here).
    #[must_use]
    #[inline]
    pub fn with(mut self, root: Root, value: &'a Json) -> Self {
        if let Some(place) = self.roots.get_mut(root as usize) {
            *place = Some(value);
        }
        self
    }

    /// Sets where the members of `params` stand, which are those of the variable set.
    #[must_use]
    #[inline]
    pub fn params(mut self, params: &'a Fields<'a>) -> Self {
        self.params = Some(params);
        self
    }

    /// Sets `now`.
    #[must_use]
    #[inline]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.now = Some(now);
        self
    }

    /// Sets where variables come from that were not set.
    #[must_use]
    #[inline]
    pub fn facts(mut self, facts: &'a dyn Facts) -> Self {
        self.facts = Some(facts);
        self
    }

    pub(super) fn root(&self, root: Root) -> Option<&'a Json> {
        let set = self.roots.get(root as usize).copied().flatten();
        set.or_else(|| self.facts.and_then(|facts| facts.whole(root)))
    }

    /// A text that is there without the variable that it is a field of.
    pub(super) fn fact(&self, path: &Path) -> Option<&'a str> {
        let facts = self.facts?;
        match path.fields() {
            [field] => facts.text(path.root(), field),
            _ => None,
        }
    }

    /// What a path leads to, where something is there. Not for `now`.
    #[inline]
    pub(super) fn find(&self, path: &Path) -> Option<Found<'a>> {
        if path.root == Root::Params
            && let (Some(params), [first, rest @ ..]) = (self.params, &*path.fields)
        {
            let found = params.find(&path.first, first)?;
            return if rest.is_empty() { Some(found) } else { descend(found.json()?, rest) };
        }
        if let Some(text) = self.fact(path) {
            return Some(Found::Text(text));
        }
        descend(self.root(path.root)?, &path.fields)
    }

    pub(super) fn now(&self) -> Option<Timestamp> {
        self.now
    }
}

#[inline]
fn descend<'a>(from: &'a Json, fields: &[Box<str>]) -> Option<Found<'a>> {
    let mut json = from;
    for field in fields {
        json = json.as_object()?.get(&**field)?;
    }
    Some(Found::Json(json))
}

impl fmt::Debug for Activation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation")
            .field("roots", &self.roots)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// A variable and the fields selected from it, as far as the text says: `params.items[i].price` is
/// `params.items`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    root: Root,
    fields: Box<[Box<str>]>,
    /// Of the first field; of no text where there is none.
    first: Key,
}

impl Path {
    pub(super) fn new(root: Root, fields: Box<[Box<str>]>) -> Self {
        let first = Key::of(fields.first().map_or("", AsRef::as_ref));
        Self { root, fields, first }
    }

    /// A variable and fields of it.
    pub(crate) fn of(root: Root, fields: &[&str]) -> Self {
        Self::new(root, fields.iter().map(|field| Box::from(*field)).collect())
    }

    /// The variable.
    pub fn root(&self) -> Root {
        self.root
    }

    /// Whether it is the agent or the user as a whole, of which some fields can't be told to be absent.
    pub(super) fn is_somebody(&self) -> bool {
        matches!(self.root, Root::Agent | Root::User) && self.fields.is_empty()
    }

    /// Whether it is the resource as a whole.
    pub(super) fn is_resource(&self) -> bool {
        self.root == Root::Resource && self.fields.is_empty()
    }

    /// The fields, outermost first; none where the variable itself is read.
    pub fn fields(&self) -> &[Box<str>] {
        &self.fields
    }

    /// The path up to its last field, and that.
    pub(super) fn split_last(self) -> (Self, Box<str>) {
        let mut fields = self.fields.into_vec();
        let last = fields.pop().unwrap_or_default();
        (Self::new(self.root, fields.into()), last)
    }

    /// The path of a field.
    pub(super) fn select(self, field: Box<str>) -> Self {
        let mut fields = self.fields.into_vec();
        fields.push(field);
        Self::new(self.root, fields.into())
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
