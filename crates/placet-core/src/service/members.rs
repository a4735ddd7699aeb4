//! Actions that return members: which list of the answer has them, and which resource each of them is
//! (`response: {items: "$.orders", resource: "order://customer:{customer_id}/{id}"}`).
//!
//! A search, a listing or an archive is judged on the collection that it reads; its members are other resources, of
//! which some may be denied. They are taken out of the answer by [`crate::judge::shape`].
//!
//! Or which parameter says how many rows that list may have (`response: {items: "$.orders", limit: page_size}`), so that
//! no more are asked for than may come back.
//!
//! Invariant: a member whose resource can't be told has none, never a guessed one.

use super::{
    ServiceAction, Trusted,
    load::template,
    template::{ResourceTemplate, Values},
    value::segment_text,
};
use crate::{
    diagnostic::Diagnostic,
    pattern::{ResourcePattern, ResourceUri},
    shape::Path,
    yaml::{Reading, Spanned},
};
use serde_json::{Map, Value};

/// The `response` of an action.
#[derive(Debug, Clone)]
pub struct Members {
    items: Path,
    resource: ResourceTemplate,
}

/// The parameter that says how many rows a list of the answer may have.
#[derive(Debug, Clone)]
pub struct RowLimit {
    items: Path,
    param: String,
}

impl RowLimit {
    /// The lists.
    pub fn items(&self) -> &Path {
        &self.items
    }

    /// The parameter's name.
    pub fn param(&self) -> &str {
        &self.param
    }
}

/// What is said of an answer: of the list in it either who its members are or how many they may be, and which of its values
/// the service vouches for.
#[derive(Debug, Clone, Default)]
pub(super) struct Response {
    pub(super) members: Option<Members>,
    pub(super) row_limit: Option<Spanned<RowLimit>>,
    pub(super) trusted: Option<Trusted>,
}

/// The keys of `response`.
pub(super) const KEYS: &[&str] = &["items", "resource", "limit", "trusted"];

impl Members {
    /// The lists of members.
    pub fn items(&self) -> &Path {
        &self.items
    }

    /// The pattern that the resource of every member matches: a star for each variable.
    pub(crate) fn resource_pattern(&self) -> Option<ResourcePattern> {
        let variables: Vec<String> = self.resource.variables().map(str::to_owned).collect();
        self.resource.known(&Values::new(), &variables).ok()
    }

    /// The resource of one. Each variable is the item's member of that name; where the item has none, the action's
    /// parameter, unless that is merely claimed. `None` where one has no value, or one that would not stay in its
    /// segment.
    pub fn resource(
        &self,
        action: &ServiceAction,
        item: &Value,
        params: &Map<String, Value>,
    ) -> Option<ResourceUri> {
        let members = item.as_object()?;
        let is_known = |name: &str| action.in_path(name) || action.binds.iter().any(|bound| bound == name);
        let mut values = Values::new();
        for name in self.resource.variables() {
            let param = || params.get(name).filter(|_| is_known(name));
            let value = members.get(name).or_else(param)?;
            values.insert(name.to_owned(), segment_text(value, action.encoded_slash).ok()?);
        }
        self.resource.fill(&values).ok()
    }
}

impl Response {
    pub(super) fn load(it: &Reading<'_>) -> Option<Self> {
        let map = it.map()?;
        map.finish(KEYS);
        let trusted = match map.optional("trusted") {
            None => None,
            Some(it) => Some(Trusted::load(&it)?),
        };
        let of_a_list = ["items", "resource", "limit"].iter().any(|key| map.optional(key).is_some());
        if trusted.is_some() && !of_a_list {
            return Some(Self { trusted, ..Self::default() });
        }
        let items = map.required("items").and_then(|it| path(&it));
        if let Some(limit) = map.optional("limit") {
            if let Some(resource) = map.optional("resource") {
                resource.report().add(
                    Diagnostic::error("`limit` and `resource` can't both be said of a list")
                        .at(resource.position())
                        .help("members that may not be seen are taken out of what came: fewer asked for would be fewer seen"),
                );
                return None;
            }
            let param = limit.text()?;
            let value = RowLimit { items: items?, param: param.value };
            let row_limit = Some(Spanned { value, position: param.position });
            return Some(Self { members: None, row_limit, trusted });
        }
        let at = map.required("resource");
        let resource = at.as_ref().and_then(|it| template(it, ResourceTemplate::parse));
        if let (Some(at), Some(resource)) = (&at, &resource)
            && resource.variables().next().is_none()
        {
            at.error("`resource` has no variables: every member would be the same");
            return None;
        }
        let members = Some(Members { items: items?, resource: resource? });
        Some(Self { members, row_limit: None, trusted })
    }
}

pub(super) fn path(it: &Reading<'_>) -> Option<Path> {
    match Path::parse(it.string()?) {
        Ok(path) => Some(path),
        Err(error) => {
            let at = it.node().position_within(error.offset);
            it.report().add(Diagnostic::error(error.message).at(at));
            None
        }
    }
}
