//! How the characters of a scalar lie in the source, and which scalars are not strings.

use super::Yaml;
use crate::diagnostic::Position;
use saphyr_parser::ScalarStyle;
use std::{borrow::Cow, fmt::Write as _};

/// How to find a character of a scalar's value in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Not known.
    Unknown,
    /// The value stands verbatim on one line, beginning here.
    Verbatim(Position),
    /// The value stands on one line, beginning here, with escapes: the text between the quotes.
    Escaped { start: Position, raw: Box<str>, double: bool },
    /// A `|` block: the value's first line is `line`, each behind `indent` characters.
    Block { line: usize, indent: usize },
}

impl Origin {
    /// For a scalar that begins at `position`; `rest` is the source from there.
    pub(super) fn of(value: &str, style: ScalarStyle, position: Position, rest: &str) -> Self {
        let inside = Position { column: position.column + 1, ..position };
        match style {
            ScalarStyle::Plain if !value.contains('\n') && rest.starts_with(value) => {
                Self::Verbatim(position)
            }
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                let double = style == ScalarStyle::DoubleQuoted;
                let Some(raw) = quoted_text(rest, double) else { return Self::Unknown };
                if raw == value { Self::Verbatim(inside) } else { Self::escaped(value, raw, inside, double) }
            }
            ScalarStyle::Literal => Self::block(value, position, rest),
            _ => Self::Unknown,
        }
    }

    /// Where byte `offset` of `value` stands.
    pub(super) fn position(&self, value: &str, offset: usize) -> Option<Position> {
        let before = value.get(..offset)?;
        match self {
            Self::Unknown => None,
            Self::Verbatim(start) => {
                Some(Position { column: start.column + before.chars().count(), ..*start })
            }
            Self::Escaped { start, raw, double } => {
                let widths = widths(raw, *double).take(before.chars().count());
                Some(Position { column: start.column + widths.sum::<usize>(), ..*start })
            }
            Self::Block { line, indent } => {
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
                Some(Position { line: line + before.matches('\n').count(), column: indent + column + 1 })
            }
        }
    }

    /// For a value that stands on one line as `raw`, between quotes, with escapes.
    pub(super) fn escaped(value: &str, raw: &str, start: Position, double: bool) -> Self {
        // Where the count does not agree the text was folded or has an escape that makes no character.
        if widths(raw, double).count() == value.chars().count() {
            Self::Escaped { start, raw: raw.into(), double }
        } else {
            Self::Unknown
        }
    }

    /// The parser places a block at its content, behind the indent of its first line.
    fn block(value: &str, position: Position, rest: &str) -> Self {
        match value.lines().next() {
            Some(first) if !first.is_empty() && rest.starts_with(first) => {
                Self::Block { line: position.line, indent: position.column - 1 }
            }
            _ => Self::Unknown,
        }
    }
}

/// JSON writes a character beyond U+FFFF as two escapes (RFC 8259 §7), which YAML does not know: they become one of
/// YAML's. Only in a text that is JSON, where a backslash is always an escape in a string.
pub(super) fn join_surrogates(text: &str) -> Cow<'_, str> {
    let escaped = text.contains("\\ud") || text.contains("\\uD");
    if !escaped || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        if let Some((character, after)) = surrogates(after) {
            // Writing to a string does not fail.
            let _ = write!(out, "\\U{character:08x}");
            rest = after;
        } else {
            let width = after.chars().next().map_or(0, char::len_utf8);
            let (escape, after) = after.split_at_checked(width).unwrap_or((after, ""));
            out.push('\\');
            out.push_str(escape);
            rest = after;
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The character of `uD83D\uDE00` and what follows.
fn surrogates(text: &str) -> Option<(u32, &str)> {
    let unit = |digits: Option<&str>| u32::from_str_radix(digits?, 16).ok();
    let high = unit(text.strip_prefix('u')?.get(..4)).filter(|unit| (0xd800..0xdc00).contains(unit))?;
    let second = text.get(5..)?.strip_prefix("\\u")?;
    let low = unit(second.get(..4)).filter(|unit| (0xdc00..0xe000).contains(unit))?;
    Some((0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), second.get(4..)?))
}

/// A plain scalar in YAML 1.2's core schema, narrowed to what JSON has.
pub(super) fn plain(text: &str) -> Yaml {
    match text {
        "" | "~" | "null" => Yaml::Null,
        "true" => Yaml::Bool(true),
        "false" => Yaml::Bool(false),
        text if is_json_number(text) => Yaml::Number(text.to_owned()),
        text => Yaml::String(text.to_owned()),
    }
}

/// RFC 8259 §6.
fn is_json_number(text: &str) -> bool {
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return false;
    }
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

/// What stands between the quotes, if the closing one is on the same line.
fn quoted_text(rest: &str, double: bool) -> Option<&str> {
    let quote = if double { '"' } else { '\'' };
    let inside = rest.strip_prefix(quote)?;
    let mut chars = inside.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' | '\r' => return None,
            '\\' if double => {
                chars.next();
            }
            '\'' if !double && chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
            }
            c if c == quote => return inside.get(..at),
            _ => {}
        }
    }
    None
}

/// The number of source characters of each character of the value.
fn widths(raw: &str, double: bool) -> impl Iterator<Item = usize> {
    let mut chars = raw.chars();
    std::iter::from_fn(move || {
        Some(match chars.next()? {
            '\\' if double => {
                let digits = match chars.next()? {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                2 + chars.by_ref().take(digits).count()
            }
            '\'' if !double => 1 + usize::from(chars.next().is_some()),
            _ => 1,
        })
    })
}
