//! Bodies of the type `application/x-www-form-urlencoded`, with members of objects as `name[key]` and items of lists as
//! `name[0]`, as payment and chat interfaces take them.
//!
//! Invariant: a pair is read in one way: names stand once, indices count from 0 without gaps, and a name with brackets of
//! its own is never written.

use super::value;
use serde_json::{Map, Value};

/// What is wrong with a value or a body.
pub(super) type Problem = &'static str;

/// The most pairs of a body.
const MOST: usize = 10_000;
/// The deepest that names are nested.
const DEEPEST: usize = 16;

/// The pairs of these members: names with brackets, texts; sorted by name.
pub(super) fn pairs(members: &Map<String, Value>) -> Result<Vec<(String, String)>, Problem> {
    let mut out = Vec::new();
    for (name, value) in members {
        plain(name)?;
        write(name.clone(), value, DEEPEST, &mut out)?;
    }
    out.sort();
    Ok(out)
}

fn plain(name: &str) -> Result<(), Problem> {
    if name.is_empty() || name.contains(['[', ']']) {
        Err("a name in a form has no brackets")
    } else {
        Ok(())
    }
}

fn write(name: String, value: &Value, depth: usize, out: &mut Vec<(String, String)>) -> Result<(), Problem> {
    let Some(depth) = depth.checked_sub(1) else { return Err("it is nested too deeply for a form") };
    match value {
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            plain(key)?;
            write(format!("{name}[{key}]"), value, depth, out)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| write(format!("{name}[{index}]"), value, depth, out)),
        scalar => {
            out.push((name, value::query_text(scalar).ok_or("a form can't say `null`")?));
            Ok(())
        }
    }
}

/// Pairs as they are sent.
pub(super) fn encode(pairs: &[(String, String)]) -> String {
    let mut out = String::new();
    for (name, text) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        value::encode(name, &mut out);
        out.push('=');
        value::encode(text, &mut out);
    }
    out
}

/// The pairs of a body, sorted by name. How it is encoded does not matter, as what is sent is written anew.
pub(super) fn decode(body: &[u8]) -> Result<Vec<(String, String)>, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.split('&').count() > MOST {
        return Err("the body has too many members");
    }
    let mut pairs = text
        .split('&')
        .map(|pair| {
            let (name, text) = pair.split_once('=').ok_or("the body is `name=value` with `&` between")?;
            Ok((part(name)?, part(text)?))
        })
        .collect::<Result<Vec<_>, Problem>>()?;
    pairs.sort();
    if pairs.iter().zip(pairs.iter().skip(1)).any(|(one, next)| one.0 == next.0) {
        return Err("a member of the body stands twice");
    }
    Ok(pairs)
}

fn part(text: &str) -> Result<String, Problem> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    if bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && !(digit(at + 1) && digit(at + 2))) {
        return Err("the body has a `%` without two digits");
    }
    String::from_utf8(value::decode(&text.replace('+', " ")))
        .map_err(|_| "the body is not UTF-8 when decoded")
}

/// Pairs as nested objects of texts: items of lists under their indices.
pub(super) fn tree(pairs: &[(String, String)]) -> Result<Map<String, Value>, Problem> {
    let mut tree = Map::new();
    for (name, text) in pairs {
        let mut steps = name.split('[');
        let first = steps.next().unwrap_or_default();
        let mut path = vec![first];
        for step in steps {
            path.push(step.strip_suffix(']').ok_or(BRACKETS)?);
        }
        if path.len() > DEEPEST || path.iter().any(|step| step.is_empty() || step.contains(']')) {
            return Err(BRACKETS);
        }
        insert(&mut tree, &path, text)?;
    }
    Ok(tree)
}

const BRACKETS: Problem = "names in the body are `name`, `name[key]` or `name[0]`";

fn insert(tree: &mut Map<String, Value>, path: &[&str], text: &str) -> Result<(), Problem> {
    match path {
        [] => Err(BRACKETS),
        [last] => match tree.insert((*last).to_owned(), Value::String(text.to_owned())) {
            None => Ok(()),
            Some(_) => Err("a member of the body is a value and has members"),
        },
        [first, rest @ ..] => {
            let below = tree.entry((*first).to_owned()).or_insert_with(|| Value::Object(Map::new()));
            match below {
                Value::Object(below) => insert(below, rest, text),
                _ => Err("a member of the body is a value and has members"),
            }
        }
    }
}

/// The items of a list that was read as an object.
pub(super) fn items(object: &Map<String, Value>) -> Option<Vec<Value>> {
    (0..object.len()).map(|index| object.get(&index.to_string()).cloned()).collect()
}
