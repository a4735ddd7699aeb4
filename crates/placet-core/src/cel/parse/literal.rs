//! Texts and numbers as they are written.
//!
//! Invariant: a number is held exactly or refused; a text is what its escapes say or refused.

use super::super::{ParseError, compile::error, node::Constant};
use crate::decimal::Decimal;

/// The value of a string literal: its quotes taken off and, unless it is raw, its escapes put in.
pub(super) fn text(written: &str, at: usize) -> Result<Box<str>, ParseError> {
    let (raw, quoted) = match written.strip_prefix(['r', 'R']) {
        Some(quoted) => (true, quoted),
        None => (false, written),
    };
    let triple = quoted.len() >= 6 && (quoted.starts_with("\"\"\"") || quoted.starts_with("'''"));
    let quotes = if triple { 3 } else { 1 };
    let inner = quoted.get(quotes..quoted.len().saturating_sub(quotes)).unwrap_or_default();
    if raw || !inner.contains('\\') {
        return Ok(inner.into());
    }
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, escape)) = rest.split_once('\\') {
        out.push_str(before);
        let (character, after) = unescape(escape).ok_or_else(|| {
            let shown: String = escape.chars().take(1).collect();
            error(at, format!("`\\{shown}` is no escape here: a backslash itself is written `\\\\`"))
        })?;
        out.push(character);
        rest = after;
    }
    out.push_str(rest);
    Ok(out.into())
}

/// The character that an escape stands for, and what follows it.
fn unescape(escape: &str) -> Option<(char, &str)> {
    let mut characters = escape.chars();
    let first = characters.next()?;
    let plain = match first {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        '\\' | '?' | '"' | '\'' | '`' => Some(first),
        _ => None,
    };
    if let Some(plain) = plain {
        return Some((plain, characters.as_str()));
    }
    let (digits, length, radix) = match first {
        'x' | 'X' => (characters.as_str(), 2, 16),
        'u' => (characters.as_str(), 4, 16),
        'U' => (characters.as_str(), 8, 16),
        '0'..='3' => (escape, 3, 8),
        _ => return None,
    };
    let (digits, after) = digits.split_at_checked(length)?;
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, radix).ok()?).map(|character| (character, after))
}

/// The value of a number literal, without its sign.
pub(super) fn number(written: &str, negative: bool, at: usize) -> Result<Constant, ParseError> {
    let refused = || error(at, format!("`{written}` is not a number that can be used"));
    let magnitude = match written.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).map_err(|_| refused())?,
        None if written.contains(['.', 'e', 'E']) => {
            // `.5` is `0.5`.
            let point_first = written.starts_with('.').then(|| format!("0{written}"));
            let number = Decimal::parse(point_first.as_deref().unwrap_or(written)).map_err(|_| refused())?;
            return Ok(Constant::Decimal(if negative { number.negate() } else { number }));
        }
        None => written.parse::<u64>().map_err(|_| refused())?,
    };
    let whole = if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
    whole.map(Constant::Int).ok_or_else(refused)
}
