//! What commands print: tables for a person at a terminal, JSON for everything else.
//!
//! Invariant: at a terminal no control or bidirectional character of anybody's text is printed, so that what a person
//! is shown is what there is. JSON goes out as the server said it.

use serde_json::{Map, Value};
use std::{
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
};

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    color: bool,
}

impl Output {
    /// JSON where it is wanted or standard output is no terminal; colours only at a terminal, unless `NO_COLOR`.
    pub(crate) fn new(json: bool, no_color: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { json: json || !terminal, color: terminal && !no_color }
    }

    /// For a person, whether or not standard output is a terminal, unless JSON is asked for.
    pub(crate) fn for_people(json: bool, no_color: bool) -> Self {
        Self { json, ..Self::new(json, no_color) }
    }

    /// Whether JSON is printed.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints a document: its members one a line for a person.
    pub(crate) fn document(self, value: &Value) {
        if self.json {
            return line(&pretty(value));
        }
        match value {
            Value::Object(members) => self.members(members, 0),
            other => line(&text(other)),
        }
    }

    /// Prints a list: one line each, with these members as columns. The list is `value` or its member `key`.
    pub(crate) fn list(self, value: &Value, key: &str, columns: &[&str]) {
        if self.json {
            return line(&pretty(value));
        }
        let rows = rows(value, key);
        if rows.is_empty() {
            return line(&format!("no {key}"));
        }
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| columns.iter().map(|column| row.get(*column).map(text).unwrap_or_default()).collect())
            .collect();
        let width = |at: usize, name: &str| {
            let widest = cells.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
            widest.unwrap_or_default().max(name.len())
        };
        let widths: Vec<usize> = columns.iter().enumerate().map(|(at, name)| width(at, name)).collect();
        let pad = |cells: &mut dyn Iterator<Item = &str>| {
            let mut out = String::new();
            for (cell, width) in cells.zip(&widths) {
                let _ = write!(out, "{cell:width$}  ");
            }
            out.trim_end().to_owned()
        };
        line(&self.strong(&pad(&mut columns.iter().copied())));
        for row in &cells {
            line(&pad(&mut row.iter().map(String::as_str)));
        }
    }

    /// Prints one value on one line: JSON, or `text` for a person.
    pub(crate) fn item(self, value: &Value, text: &str) {
        line(&if self.json { value.to_string() } else { escaped(text) });
    }

    /// The same for what takes a person several lines: each is one, whatever is in it.
    pub(crate) fn lines(self, value: &Value, lines: &[&str]) {
        line(&if self.json { value.to_string() } else { one_below_another(lines) });
    }

    /// Prints a sentence for a person; nothing where JSON is printed.
    pub(crate) fn sentence(self, sentence: &str) {
        if !self.json {
            line(&escaped(sentence));
        }
    }

    /// The text in bold at a terminal.
    pub(crate) fn strong(self, text: &str) -> String {
        if self.color { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A word of the wire in the colour of what it means.
    pub(crate) fn word(self, word: &str) -> String {
        let code = match word {
            "allow" | "verified" | "executed" | "active" => "32",
            "deny" | "revoked" | "refused" => "31",
            "hold" | "held" | "pending" => "33",
            _ => return word.to_owned(),
        };
        if self.color { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() }
    }

    fn members(self, members: &Map<String, Value>, indent: usize) {
        let widest = members.keys().map(|name| name.chars().count()).max().unwrap_or_default();
        for (name, value) in members {
            let name = escaped(name);
            let label = self.strong(&format!("{name:widest$}"));
            match value {
                Value::Object(inner) if !inner.is_empty() => {
                    line(&format!("{:indent$}{label}", ""));
                    self.members(inner, indent + 2);
                }
                Value::Array(items) if items.iter().any(Value::is_object) => {
                    line(&format!("{:indent$}{label}", ""));
                    for item in items {
                        if let Value::Object(inner) = item {
                            line(&format!("{:indent$}  -", ""));
                            self.members(inner, indent + 4);
                        } else {
                            line(&format!("{:indent$}  {}", "", text(item)));
                        }
                    }
                }
                other => line(&format!("{:indent$}{label}  {}", "", text(other))),
            }
        }
    }
}

/// Writes a line to standard output. Who reads it may be gone; that is no fault of ours.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a line to standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The items of an answer that is a list, or an object with the list under `key`.
pub(crate) fn rows<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value.as_array().or_else(|| value.get(key).and_then(Value::as_array));
    list.map(Vec::as_slice).unwrap_or_default()
}

/// The text with every control and bidirectional character written as its number.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        let hidden = letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}');
        if hidden {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(letter));
        } else {
            out.push(letter);
        }
    }
    out
}

/// These lines, none of which can be more than one.
fn one_below_another(lines: &[&str]) -> String {
    lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("\n")
}

/// A value on one line for a person.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => escaped(text),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            items.iter().map(text).collect::<Vec<_>>().join(", ")
        }
        // JSON escapes the controls itself, the others not.
        other => escaped(&other.to_string()),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn threat_14_nothing_that_could_disguise_itself_is_shown() {
        assert_eq!(escaped("a\u{1b}[31m\u{202e}b\n"), "a\\u{1b}[31m\\u{202e}b\\u{a}");
        assert_eq!(text(&json!({"a": "\u{202e}\u{1b}"})), "{\"a\":\"\\u{202e}\\u001b\"}");
        assert_eq!(text(&json!(["x", 2, null])), "x, 2, -");
    }

    #[test]
    fn lines_stand_one_below_another_and_none_makes_another() {
        assert_eq!(one_below_another(&["auth:", "", "  a\nb"]), "auth:\n\n  a\\u{a}b");
    }

    #[test]
    fn a_list_is_found_bare_or_under_its_name() {
        assert_eq!(rows(&json!([1]), "agents").len(), 1);
        assert_eq!(rows(&json!({"agents": [1, 2]}), "agents").len(), 2);
        assert_eq!(rows(&json!({"grants": [1, 2]}), "agents").len(), 0);
    }
}
