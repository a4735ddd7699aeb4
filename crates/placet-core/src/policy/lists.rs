//! `lists`: values that a document states once, for conditions to name as `lists.NAME`.
//!
//! Invariant: bounded in number and size; every name can be written in a condition.

use crate::{
    cel::{Lists, RESERVED},
    diagnostic::{Diagnostic, quoted},
    yaml::{Reading, to_json},
};
use serde_json::Value;
use std::collections::HashSet;

/// The most lists of one policy.
pub(super) const MOST: usize = 64;
/// The most items of one list.
pub(super) const MOST_ITEMS: usize = 10_000;
/// The longest item, in bytes.
pub(super) const LONGEST_ITEM: usize = 256;
/// What a name of a list may be, as a regular expression.
pub(super) const NAME: &str = "^[A-Za-z_][A-Za-z0-9_]{0,63}$";

/// A list as it was stated.
#[derive(Debug)]
pub(super) struct Stated {
    pub(super) name: Box<str>,
    pub(super) items: Box<[Value]>,
}

/// Reads `lists: {NAME: [item, …]}`, for the conditions and for showing it again.
pub(super) fn read(reading: &Reading<'_>) -> (Lists, Box<[Stated]>) {
    let (mut lists, mut stated) = (Lists::default(), Vec::new());
    let Some(map) = reading.map() else { return (lists, stated.into()) };
    for (index, (key, value)) in map.entries().enumerate() {
        if index == MOST {
            reading.error(format!("a policy has at most {MOST} lists"));
            break;
        }
        let name = key.value.as_str();
        if !is_name(name) {
            let message = format!(
                "{} is no name of a list: a letter or `_`, then letters, digits and `_`, at most 64, no word of CEL",
                quoted(name)
            );
            reading.report().error(key.position, message);
        }
        let items = items(&value);
        // Added whatever was wrong with it, so that what names it is no mistake as well.
        if lists.add(name, &items).is_err() {
            value.error("a number of the list can't be held exactly");
            _ = lists.add(name, &[]);
        }
        stated.push(Stated { name: name.into(), items: items.into() });
    }
    (lists, stated.into())
}

/// Warns of lists that no condition names. To be asked when all conditions were read.
pub(super) fn check_used(reading: &Reading<'_>, lists: &Lists) {
    let Some(map) = reading.map() else { return };
    for name in lists.unused() {
        let at = map.key_position(name).unwrap_or(reading.position());
        let diagnostic = Diagnostic::warning(format!("no condition names the list `{name}`"));
        reading
            .report()
            .add(diagnostic.at(at).help(format!("write `lists.{name}` in a condition, or remove it")));
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(plain)
        && !RESERVED.contains(&name)
}

fn items(value: &Reading<'_>) -> Vec<Value> {
    let Some(items) = value.list() else { return Vec::new() };
    if items.is_empty() {
        value.error("the list is empty: state at least an item");
    }
    if items.len() > MOST_ITEMS {
        value.error(format!("a list has at most {MOST_ITEMS} items"));
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for item in &items {
        let json = to_json(item.node());
        match &json {
            Value::String(text) if text.len() > LONGEST_ITEM => {
                item.error(format!("an item of a list has at most {LONGEST_ITEM} bytes"));
                continue;
            }
            Value::String(_) | Value::Number(_) => {}
            _ => {
                item.error(format!("an item of a list is text or a number, not {}", item.node().describe()));
                continue;
            }
        }
        if !seen.insert(json.to_string()) {
            item.warning("the list has this item already");
        }
        found.push(json);
    }
    found
}
