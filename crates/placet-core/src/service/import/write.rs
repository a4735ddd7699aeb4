//! The text of a definition.
//!
//! Invariant: nothing of the document stands in it but as a quoted value or in a comment that it can't end.

use super::operation::Operation;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The most notes that are written as comments.
const MOST: usize = 200;

/// What was left out, as comments.
pub(super) fn heading(out: &mut String, notes: &[String]) {
    out.push_str("# Made of an OpenAPI document. Read it before it is put in force: effects come from methods and names,\n");
    out.push_str("# resources from paths, and nothing says what an upstream does with a parameter.\n");
    for note in notes.iter().take(MOST) {
        let plain: String = note
            .chars()
            .map(|one| if one.is_control() || is_bidi(one) { ' ' } else { one })
            .take(300)
            .collect();
        let _ = writeln!(out, "# - {plain}");
    }
    if let Some(more) = notes.len().checked_sub(MOST).filter(|more| *more > 0) {
        let _ = writeln!(out, "# - and {more} more");
    }
}

fn is_bidi(character: char) -> bool {
    matches!(character, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The definition with these actions.
pub(super) fn definition<'a>(
    name: &str,
    about: Option<&str>,
    base_url: &str,
    auth: &Value,
    operations: impl IntoIterator<Item = &'a Operation>,
) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "service: {}", quoted(name));
    if let Some(about) = about {
        let plain: String = about.chars().filter(|one| !one.is_control()).take(200).collect();
        let _ = writeln!(out, "description: {}", quoted(&plain));
    }
    let _ = writeln!(out, "base_url: {}\nauth: {}\nactions:", quoted(base_url), flow(auth));
    for operation in operations {
        action(&mut out, operation);
    }
    out
}

fn action(out: &mut String, it: &Operation) {
    let _ = writeln!(out, "  {}:", it.name);
    if let Some(about) = it.about.as_deref().filter(|about| !about.trim().is_empty()) {
        let _ = writeln!(out, "    description: {}", quoted(about));
    }
    let _ = writeln!(out, "    method: {}\n    path: {}", it.method, quoted(&it.path));
    let _ = writeln!(out, "    resource: {}\n    effect: {}", quoted(&it.resource), it.effect.as_str());
    if !it.query.is_empty() {
        let _ = writeln!(out, "    query: {}", flow(&json!(it.query)));
    }
    if !it.headers.is_empty() {
        let _ = writeln!(out, "    headers: {}", flow(&Value::Object(it.headers.clone())));
    }
    if let Some(body) = &it.body {
        let _ = writeln!(out, "    body: {}", flow(body));
    }
    let _ = writeln!(out, "    params:\n      type: object");
    if !it.properties.is_empty() {
        out.push_str("      properties:\n");
        for (name, schema) in &it.properties {
            let _ = writeln!(out, "        {}: {}", quoted(name), flow(schema));
        }
    }
    if !it.required.is_empty() {
        let _ = writeln!(out, "      required: {}", flow(&json!(it.required)));
    }
    out.push_str("      additionalProperties: false\n");
}

/// A text as it is where YAML reads it as it is, else quoted as in JSON.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    let word = !text.is_empty()
        && text.bytes().all(plain)
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'/')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if word { text.to_owned() } else { escaped(text) }
}

/// JSON's form, with what some readers of YAML take for the end of a line escaped.
fn escaped(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            one if one.is_control() || is_bidi(one) => {
                let mut units = [0; 2];
                for unit in one.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            one => out.push(one),
        }
    }
    out.push('"');
    out
}

/// A value on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => match text.as_str() {
            "json" | "form" => text.clone(),
            _ => quoted(text),
        },
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => format!("{{{}}}", members_of(members)),
        other => other.to_string(),
    }
}

fn members_of(members: &Map<String, Value>) -> String {
    let all: Vec<String> =
        members.iter().map(|(name, value)| format!("{}: {}", quoted(name), flow(value))).collect();
    all.join(", ")
}
