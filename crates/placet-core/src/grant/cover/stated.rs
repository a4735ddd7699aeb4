//! Entries of types that an administrator declared, and which entries of a child its parent does not cover.
//!
//! Invariant: an entry that was not judged by its declared type is covered by an equal one only, and comes into no
//! authority that does not have it.

use super::AuthorizationDetail;
use crate::detail_type::Declared;
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};

/// One entry of a type that is not Placet's own.
#[derive(Clone)]
pub struct Stated {
    members: Map<String, Value>,
    /// Its type, where this is of a request that was judged by it.
    declared: Option<Arc<Declared>>,
}

impl Stated {
    /// An entry with its `type` member, not judged.
    pub(crate) const fn new(members: Map<String, Value>) -> Self {
        Self { members, declared: None }
    }

    /// What it says, with its `type`.
    pub const fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    /// The `type` member.
    pub fn kind(&self) -> &str {
        self.members.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    /// Its type, where it was judged by it.
    pub fn declared(&self) -> Option<&Declared> {
        self.declared.as_deref()
    }

    /// It was judged by its type.
    pub(crate) fn is_of(&mut self, declared: Arc<Declared>) {
        self.declared = Some(declared);
    }

    /// Whether `child` says the same or less.
    pub(super) fn covers(&self, child: &Self) -> bool {
        self.members == child.members
            || (self.kind() == child.kind()
                && child.declared.as_ref().is_some_and(|declared| {
                    declared.name() == child.kind() && declared.narrows(&self.members, &child.members)
                }))
    }
}

impl PartialEq for Stated {
    fn eq(&self, other: &Self) -> bool {
        self.members == other.members
    }
}
impl Eq for Stated {}

impl fmt::Debug for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stated").field(&self.members).finish()
    }
}

/// The indexes of the child's entries that the parent's do not cover. Of entries of declared types each needs one of the
/// parent's for itself.
pub fn beyond(child: &[AuthorizationDetail], parent: &[AuthorizationDetail]) -> Vec<usize> {
    // For each entry of the parent, the child's that has it.
    let mut taken: Vec<Option<usize>> = vec![None; parent.len()];
    let covering = |entry: &AuthorizationDetail| match entry {
        AuthorizationDetail::PlacetAction { .. } => Vec::new(),
        AuthorizationDetail::Other(_) => {
            let covers = |(at, own): (usize, &AuthorizationDetail)| own.covers(entry).then_some(at);
            parent.iter().enumerate().filter_map(covers).collect()
        }
    };
    let wide: Vec<Vec<usize>> = child.iter().map(covering).collect();
    let mut over = Vec::new();
    for (index, entry) in child.iter().enumerate() {
        let covered = match entry {
            AuthorizationDetail::PlacetAction { .. } => parent.iter().any(|own| own.covers(entry)),
            AuthorizationDetail::Other(_) => place(index, &wide, &mut taken, &mut vec![false; parent.len()]),
        };
        if !covered {
            over.push(index);
        }
    }
    over
}

/// Finds an entry of the parent for one of the child, moving others where those have another (a maximum matching, by
/// augmenting paths). The path is no longer than the entries of a request.
fn place(index: usize, wide: &[Vec<usize>], taken: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for at in wide.get(index).into_iter().flatten() {
        match seen.get_mut(*at) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        let free = match taken.get(*at).copied().flatten() {
            None => true,
            Some(other) => place(other, wide, taken, seen),
        };
        if free && let Some(slot) = taken.get_mut(*at) {
            *slot = Some(index);
            return true;
        }
    }
    false
}
