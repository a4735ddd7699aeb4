//! Values of JSON: every string is searched as its reader sees it, without escapes, with the name of its member beside it.
//!
//! Invariant: no member is lost, also where names become the same.

use super::{Detect, Found, Kind, Level, ident, mark};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub(super) fn redact(detect: &Detect, value: &mut Value, found: &mut Found) -> bool {
    below(detect, value, None, found)
}

/// `name` is that of the nearest member: the items of a list are what its name says.
fn below(detect: &Detect, value: &mut Value, name: Option<&str>, found: &mut Found) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(number) => {
            let redacted =
                is_long(number.as_str()).then(|| detect.text(number.as_str(), name, found)).flatten();
            match redacted {
                // In part it would be a text that looks like half a number.
                Some(text) => {
                    *value = Value::String(text);
                    true
                }
                None => false,
            }
        }
        Value::String(text) => match string(detect, text, name, found) {
            Some(redacted) => {
                *text = redacted;
                true
            }
            None => false,
        },
        Value::Array(items) => {
            items.iter_mut().fold(false, |any, item| below(detect, item, name, found) | any)
        }
        Value::Object(members) => object(detect, members, found),
    }
}

fn object(detect: &Detect, members: &mut Map<String, Value>, found: &mut Found) -> bool {
    let mut any = false;
    let mut names = Vec::new();
    for (name, item) in members.iter_mut() {
        any |= below(detect, item, Some(name), found);
        names.push(detect.text(name, None, found));
    }
    if names.iter().all(Option::is_none) {
        return any;
    }
    let old = std::mem::take(members);
    let mut taken = BTreeMap::new();
    for ((name, item), redacted) in old.into_iter().zip(names) {
        let base = redacted.unwrap_or(name);
        let mut name = base.clone();
        while members.contains_key(&name) {
            let count = taken.entry(base.clone()).or_insert(0_usize);
            *count += 1;
            // The first has a mark, as what follows has its number: so many of one name cost no more than their number.
            name = if *count == 1 { format!("{base}'") } else { format!("{base}'{count}") };
        }
        members.insert(name, item);
    }
    true
}

/// Whether a number has as many digits as the shortest that is looked for.
fn is_long(number: &str) -> bool {
    number.len() >= 7
}

fn string(detect: &Detect, text: &str, name: Option<&str>, found: &mut Found) -> Option<String> {
    if let Some(level) = detect.level(Kind::NamedSecret)
        && let Some(named) = name.and_then(|name| ident::named(name.as_bytes()))
        && let Some(range) = ident::secret(named, text.as_bytes())
    {
        // What gives access is one thing, whatever its parts look like.
        found.count(Kind::NamedSecret);
        if level != Level::Mark {
            // But for what keeps it back more strictly: a token that withholds the answer does so in whatever place.
            let mut within = Found::default();
            detect.text(text, name, &mut within);
            found.add_beyond(&within, detect, level);
            let before = text.get(..range.start).unwrap_or_default();
            return Some(format!("{before}{}", mark(Kind::NamedSecret)));
        }
    }
    if let Some(mut within) = written_in_escapes(text) {
        return below(detect, &mut within, name, found).then(|| within.to_string());
    }
    detect.text(text, name, found)
}

/// JSON in a text, where it has letters that only its reader sees (`\u0040`): all other escapes end words as they do
/// elsewhere.
fn written_in_escapes(text: &str) -> Option<Value> {
    let begins = matches!(text.trim_ascii_start().as_bytes().first(), Some(b'{' | b'[' | b'"'));
    (begins && text.contains("\\u")).then(|| crate::json::parse(text.as_bytes()).ok()).flatten()
}
