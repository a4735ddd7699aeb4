//! What is wrong with a document that a person wrote (a policy, a service): where, the line itself, what to do.
//!
//! Loaders don't stop at the first mistake: they add to a [`Report`], which knows the source, and go on.
//!
//! Invariant: a diagnostic prints no control or bidirectional characters of its source, so that it can't disguise
//! itself in a terminal, and its size is bounded whatever the source is.

use serde::Serialize;
use std::{cell::RefCell, fmt, fmt::Write as _};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document is refused.
    Error,
    /// The document is taken; its author should look.
    Warning,
}

/// A place in a source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Position {
    /// Where a document begins.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong or doubtful.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether the document is refused for it.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop, what the author wrote in backticks.
    pub message: String,
    /// The file's name as the caller gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The source line at `position`, or the part of a long line around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The policy rule it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Characters of `snippet` before the caret.
    #[serde(skip)]
    caret: usize,
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(message: impl AsRef<str>) -> Self {
        Self::new(Severity::Error, message.as_ref())
    }

    /// A warning without a place yet.
    pub fn warning(message: impl AsRef<str>) -> Self {
        Self::new(Severity::Warning, message.as_ref())
    }

    fn new(severity: Severity, message: &str) -> Self {
        let message = printable(message, LONGEST_MESSAGE);
        Self {
            severity,
            message,
            file: None,
            position: None,
            snippet: None,
            help: None,
            rule: None,
            caret: 0,
        }
    }

    /// Says where it is.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl AsRef<str>) -> Self {
        self.help = Some(printable(help.as_ref(), LONGEST_MESSAGE));
        self
    }

    /// Says which rule it belongs to.
    #[must_use]
    pub fn rule(mut self, rule: impl AsRef<str>) -> Self {
        self.rule = Some(printable(rule.as_ref(), LONGEST_MESSAGE));
        self
    }

    /// Adds "did you mean …" where something known is near to `name`.
    #[must_use]
    pub fn suggest<'a>(self, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        match nearest(name, known) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// Whether the document is refused for it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// As plain text of several lines, without a newline at the end:
    ///
    /// ```text
    /// error: unknown key `polcy`
    ///  --> desk.yaml:1:1
    ///   |
    /// 1 | polcy: desk
    ///   | ^
    ///   = help: did you mean `policy`?
    /// ```
    pub fn render(&self) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut out = format!("{severity}: {}", self.message);
        let line = self.position.map(|position| position.line.to_string()).unwrap_or_default();
        let width = line.len();
        // Writing to a String can't fail.
        let _ = match (&self.file, self.position) {
            (Some(file), Some(at)) => write!(out, "\n{:width$}--> {file}:{at}", ""),
            (Some(file), None) => write!(out, "\n{:width$}--> {file}", ""),
            (None, Some(at)) => write!(out, "\n{:width$}--> {at}", ""),
            (None, None) => Ok(()),
        };
        if let Some(snippet) = &self.snippet {
            let caret = self.caret;
            let _ = write!(out, "\n{:width$} |\n{line} | {snippet}\n{:width$} | {:caret$}^", "", "", "");
        }
        if let Some(rule) = &self.rule {
            let _ = write!(out, "\n{:width$} = rule: {rule}", "");
        }
        if let Some(help) = &self.help {
            let _ = write!(out, "\n{:width$} = help: {help}", "");
        }
        out
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render())
    }
}

/// Collects what is wrong with one source text. Shared by reference between the readers of its parts.
#[derive(Debug)]
pub struct Report {
    file: Option<String>,
    text: String,
    found: RefCell<Vec<Diagnostic>>,
}

impl Report {
    /// For `text`, called `file` in messages.
    pub fn new(file: Option<&str>, text: impl Into<String>) -> Self {
        Self {
            file: file.map(|name| printable(name, LONGEST_MESSAGE)),
            text: text.into(),
            found: RefCell::default(),
        }
    }

    /// Adds an error at a place.
    pub fn error(&self, at: Position, message: impl AsRef<str>) {
        self.add(Diagnostic::error(message).at(at));
    }

    /// Adds a warning at a place.
    pub fn warning(&self, at: Position, message: impl AsRef<str>) {
        self.add(Diagnostic::warning(message).at(at));
    }

    /// Adds a diagnostic, filling in the file and the source line. After 100 only errors are kept, and those only
    /// if there is none yet, so that a report that has an error always says so.
    pub fn add(&self, mut diagnostic: Diagnostic) {
        let mut found = self.found.borrow_mut();
        if found.len() >= MOST && (!diagnostic.is_error() || found.iter().any(Diagnostic::is_error)) {
            return;
        }
        diagnostic.file.clone_from(&self.file);
        if let Some(position) = diagnostic.position
            && let Some(line) = self.text.lines().nth(position.line.saturating_sub(1))
        {
            let (snippet, caret) = window(line, position.column);
            diagnostic.snippet = Some(snippet);
            diagnostic.caret = caret;
        }
        found.push(diagnostic);
    }

    /// Whether an error was added.
    pub(crate) fn has_errors(&self) -> bool {
        self.found.borrow().iter().any(Diagnostic::is_error)
    }

    /// All that was added, in the order of the source.
    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|diagnostic| diagnostic.position);
        found
    }

    /// `value` with the warnings, or all that was found if there is an error in it or no value.
    ///
    /// # Errors
    /// The diagnostics, at least one of them an error.
    pub fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Diagnostic>), Vec<Diagnostic>> {
        let refused = self.has_errors();
        match value {
            Some(value) if !refused => Ok((value, self.into_diagnostics())),
            _ => {
                if !refused {
                    self.add(Diagnostic::error("the document could not be read"));
                }
                Err(self.into_diagnostics())
            }
        }
    }
}

/// The known name that `name` was probably meant to be: at most a third of its characters differ (a swap of
/// neighbours counts once), case aside. `None` where all are farther.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.chars().take(LONGEST_NAME + 1).flat_map(char::to_lowercase).collect();
    if wanted.is_empty() || wanted.len() > LONGEST_NAME {
        return None;
    }
    let most = (wanted.len() / 3).max(1);
    known
        .filter(|candidate| candidate.len() <= LONGEST_NAME)
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
            let distance = distance(&wanted, &letters);
            // A name that has nothing in common with the wanted one is no suggestion, however short both are.
            (distance <= most && distance < wanted.len().max(letters.len())).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Text of a document as it may stand in a message: in backticks, controls replaced, at most 80 characters.
pub fn quoted(text: &str) -> String {
    format!("`{}`", printable(text, 80))
}

const LONGEST_NAME: usize = 64;
const LONGEST_MESSAGE: usize = 1000;
const LONGEST_SNIPPET: usize = 120;
const MOST: usize = 100;

/// Optimal string alignment distance: insert, delete, replace, swap neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best =
                (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

/// The line as it may be printed and the number of characters before the caret.
fn window(line: &str, column: usize) -> (String, usize) {
    let before = column.saturating_sub(1);
    let length = line.chars().take(LONGEST_SNIPPET + 1).count();
    if length <= LONGEST_SNIPPET {
        return (line.chars().map(shown).collect::<String>().trim_end().to_owned(), before.min(length));
    }
    let skip = before.saturating_sub(LONGEST_SNIPPET / 3);
    let mut out = String::new();
    if skip > 0 {
        out.push('…');
    }
    let mut rest = line.chars().skip(skip);
    out.extend(rest.by_ref().take(LONGEST_SNIPPET).map(shown));
    if rest.next().is_some() {
        out.push('…');
    }
    let caret = (before - skip + usize::from(skip > 0)).min(out.chars().count());
    (out, caret)
}

pub(crate) fn printable(text: &str, most: usize) -> String {
    let mut rest = text.chars();
    let mut out: String = rest.by_ref().take(most).map(shown).collect();
    if rest.next().is_some() {
        out.push('…');
    }
    out
}

/// One character for one character, so that columns stay right.
fn shown(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' => '\u{fffd}',
        '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn renders_place_line_caret_rule_and_help() {
        let report = Report::new(Some("desk.yaml"), "policy: desk\nrulse:\n  - x\n");
        report.add(
            Diagnostic::error(format!("unknown key {}", quoted("rulse")))
                .at(Position { line: 2, column: 1 })
                .rule("small refunds")
                .suggest("rulse", ["policy", "rules"].into_iter()),
        );
        report.warning(Position { line: 1, column: 9 }, "no");
        let all = report.into_diagnostics();
        insta::assert_snapshot!(all[1].render(), @r"
        error: unknown key `rulse`
         --> desk.yaml:2:1
          |
        2 | rulse:
          | ^
          = rule: small refunds
          = help: did you mean `rules`?
        ");
        assert_eq!(all[0].severity, Severity::Warning);
        let json = serde_json::to_value(&all[1]).unwrap();
        assert_eq!(json["position"], serde_json::json!({"line": 2, "column": 1}));
        assert_eq!(json["severity"], "error");
        assert_eq!(json.get("caret"), None);
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let (snippet, caret) = window(&line, 501);
        assert_eq!(snippet.chars().nth(caret), Some('X'));
        assert!(snippet.chars().count() <= LONGEST_SNIPPET + 2);
    }

    #[test]
    fn controls_and_bidi_are_not_printed() {
        let report = Report::new(None, "a\t\u{1b}[31m\u{202e}b");
        report.error(Position { line: 1, column: 3 }, "bad \u{1b}\n\u{2066}");
        let text = report.into_diagnostics()[0].render();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}') && !text.contains('\u{2066}'));
    }

    #[test]
    fn nearest_suggests_only_what_is_near() {
        let known = ["policy", "rules", "applies_to", "mode", "on", "when"];
        let near = |name| nearest(name, known.into_iter());
        assert_eq!(near("polcy"), Some("policy"));
        assert_eq!(near("Rules"), Some("rules"));
        assert_eq!(near("appliesto"), Some("applies_to"));
        assert_eq!(near("moed"), Some("mode"));
        assert_eq!(near("whne"), Some("when"));
        assert_eq!(near("limits"), None);
        assert_eq!(near("x"), None);
        assert_eq!(near(""), None);
        assert_eq!(near(&"on".repeat(1000)), None);
    }

    #[test]
    fn a_report_is_bounded_but_never_forgets_that_there_was_an_error() {
        let report = Report::new(None, "");
        for _ in 0..1000 {
            report.warning(Position::START, "w");
        }
        report.error(Position::START, "e");
        assert!(report.has_errors());
        assert!(report.into_diagnostics().len() <= MOST + 1);
    }

    proptest! {
        #[test]
        fn distance_is_a_symmetric_edit_distance(a in "[ab]{0,5}", b in "[ab]{0,5}") {
            let (x, y): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            let d = distance(&x, &y);
            prop_assert_eq!(d, distance(&y, &x));
            prop_assert_eq!(d == 0, a == b);
            prop_assert!(d >= x.len().abs_diff(y.len()) && d <= x.len().max(y.len()));
        }

        #[test]
        fn the_caret_stands_under_the_column(line in "\\PC{0,300}", column in 1usize..400) {
            let (snippet, caret) = window(&line, column);
            prop_assert!(caret <= snippet.chars().count().max(column));
            if let Some(c) = line.chars().nth(column - 1) && !c.is_whitespace() {
                prop_assert_eq!(snippet.chars().nth(caret), Some(shown(c)));
            }
        }
    }
}
