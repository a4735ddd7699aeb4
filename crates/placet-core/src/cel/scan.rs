//! A first look at the text, before any recursive parser sees it: bounds on tokens and nesting, and where the
//! top-level `&&` stand.
//!
//! Invariant: linear in the text and without recursion, so no text can exhaust the stack here; and what passes is
//! shallow enough that parsing and evaluating it can't either. Whatever this doesn't recognise is an error.

use super::ParseError;
use crate::decimal::Decimal;

/// Longest source text in bytes.
pub(super) const MAX_SOURCE: usize = 2048;
const MAX_OPERATORS: usize = 256;
const MAX_NESTING: usize = 32;
/// Highest tree that a text may describe (an upper bound computed from its tokens).
pub(super) const MAX_DEPTH: usize = 48;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Name, literal: something that an operator can follow.
    Operand,
    Open,
    Close,
    /// `&&`
    And,
    /// `,`
    Separator,
    /// `||`
    Or,
    Question,
    Colon,
    Dot,
    Sign,
    Not,
    /// Arithmetic, comparison, `in`.
    Binary,
}

/// A word, literal, operator or bracket: bytes `start..end` of the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Takes the text apart and checks the bounds.
///
/// # Errors
/// What is too long, too deep or not a token, and where.
pub(super) fn scan(source: &str) -> Result<Vec<Token>, ParseError> {
    if source.len() > MAX_SOURCE {
        return Err(error(
            0,
            format!("the condition is {} bytes long, the most is {MAX_SOURCE}", source.len()),
        ));
    }
    let tokens = tokens(source)?;
    bound(source, &tokens)?;
    Ok(tokens)
}

/// The operands of the top-level `&&`, outer parentheses taken off; none is empty.
///
/// # Errors
/// An operand that is missing, and where.
pub(super) fn conjuncts<'t>(source: &str, tokens: &'t [Token]) -> Result<Vec<&'t [Token]>, ParseError> {
    let mut found = Vec::new();
    let mut pending = vec![tokens];
    // Depth first and in order: a piece in parentheses that is itself a conjunction is opened up.
    while let Some(piece) = pending.pop() {
        let inner = without_parentheses(source, piece);
        match split(inner) {
            Some(parts) => pending.extend(parts.into_iter().rev()),
            None if piece.is_empty() => {
                let before = found.last().and_then(|piece: &&[Token]| piece.last());
                let at = before.map_or(0, |token| token.end);
                return Err(error(at, "an operand of `&&` is empty: write a condition there".to_owned()));
            }
            None => found.push(piece),
        }
    }
    Ok(found)
}

/// The tokens inside the parentheses around a whole piece; other brackets make lists and maps and stay.
fn without_parentheses<'t>(source: &str, tokens: &'t [Token]) -> &'t [Token] {
    let is = |token: &Token, bracket: u8| source.as_bytes().get(token.start) == Some(&bracket);
    let mut piece = tokens;
    while let [first, inner @ .., last] = piece {
        if first.kind != Kind::Open || !is(first, b'(') || !is(last, b')') {
            break;
        }
        let mut depth = 0_usize;
        for token in inner {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return piece,
                },
                _ => {}
            }
        }
        piece = inner;
    }
    piece
}

/// The operands of the `&&` at this level; nothing where there is none or something binds weaker than `&&`.
fn split(tokens: &[Token]) -> Option<Vec<&[Token]>> {
    let mut depth = 0_usize;
    let mut weaker = false;
    let parts: Vec<_> = tokens
        .split(|token| {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                _ => {}
            }
            let top = depth == 0;
            weaker |= top && matches!(token.kind, Kind::Or | Kind::Separator | Kind::Question | Kind::Colon);
            top && token.kind == Kind::And
        })
        .collect();
    (parts.len() > 1 && !weaker).then_some(parts)
}

/// What is known about one open bracket while the tokens go by.
#[derive(Default)]
struct Level {
    /// Height of the operand being read: its unary operators, its selections and calls, what its brackets hold.
    operand: usize,
    binary: usize,
    highest_operand: usize,
    highest: usize,
    ternaries: usize,
    logical: usize,
}

impl Level {
    fn end_operand(&mut self) {
        self.highest_operand = self.highest_operand.max(self.operand);
        self.operand = 0;
    }

    fn end_segment(&mut self) {
        self.end_operand();
        self.highest = self.highest.max(self.binary + self.highest_operand);
        self.binary = 0;
        self.highest_operand = 0;
    }

    fn height(&mut self) -> usize {
        self.end_segment();
        // The parser balances `&&` and `||`.
        let balanced = (usize::BITS - self.logical.leading_zeros()) as usize;
        1 + self.highest + self.ternaries + balanced
    }
}

fn bound(source: &str, tokens: &[Token]) -> Result<(), ParseError> {
    let too_deep = |at: usize| error(at, "the condition is nested too deep: split it at `&&`".to_owned());
    let mut operators = 0_usize;
    // With where it opened, and whether it only groups.
    let mut outer: Vec<(Level, usize, bool)> = Vec::new();
    let mut level = Level::default();
    let mut after_operand = false;
    for token in tokens {
        if !matches!(token.kind, Kind::Operand | Kind::Close) {
            operators += 1;
            if operators > MAX_OPERATORS {
                return Err(error(
                    token.start,
                    format!("more than {MAX_OPERATORS} operators in one condition"),
                ));
            }
        }
        match token.kind {
            Kind::Operand => {}
            Kind::Open => {
                let groups = !after_operand && source.as_bytes().get(token.start) == Some(&b'(');
                outer.push((std::mem::take(&mut level), token.start, groups));
                if outer.len() > MAX_NESTING {
                    return Err(error(token.start, format!("brackets nested more than {MAX_NESTING} deep")));
                }
            }
            Kind::Close => {
                let height = level.height();
                let Some((parent, _, groups)) = outer.pop() else {
                    return Err(error(token.start, "this bracket closes nothing".to_owned()));
                };
                level = parent;
                // Grouping makes no level of the tree.
                level.operand =
                    if groups { level.operand.max(height - 1) } else { level.operand.max(height) + 1 };
                if level.operand > MAX_DEPTH {
                    return Err(too_deep(token.start));
                }
            }
            Kind::And | Kind::Or => {
                level.end_segment();
                level.logical += 1;
            }
            Kind::Separator | Kind::Colon => level.end_segment(),
            Kind::Question => {
                level.end_segment();
                level.ternaries += 1;
            }
            Kind::Sign if after_operand => {
                level.end_operand();
                level.binary += 1;
            }
            Kind::Binary => {
                level.end_operand();
                level.binary += 1;
            }
            Kind::Dot | Kind::Not | Kind::Sign => level.operand += 1,
        }
        if level.operand + level.binary + level.ternaries > MAX_DEPTH {
            return Err(too_deep(token.start));
        }
        after_operand = matches!(token.kind, Kind::Operand | Kind::Close);
    }
    if let Some((_, at, _)) = outer.pop() {
        return Err(error(at, "this bracket is never closed".to_owned()));
    }
    if level.height() > MAX_DEPTH { Err(too_deep(0)) } else { Ok(()) }
}

fn tokens(source: &str) -> Result<Vec<Token>, ParseError> {
    let bytes = source.as_bytes();
    let at = |position: usize| bytes.get(position).copied().unwrap_or(0);
    let mut tokens = Vec::new();
    let mut position = 0;
    while position < bytes.len() {
        let start = position;
        let kind = match at(position) {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c => {
                position += 1;
                continue;
            }
            b'/' if at(position + 1) == b'/' => {
                while position < bytes.len() && at(position) != b'\n' {
                    position += 1;
                }
                continue;
            }
            b'"' | b'\'' => {
                position = string_end(bytes, start, start, false)?;
                Kind::Operand
            }
            b'`' => {
                position = quoted_end(bytes, start)?;
                Kind::Operand
            }
            b'0'..=b'9' => {
                position = number_end(source, start)?;
                Kind::Operand
            }
            b'.' if at(position + 1).is_ascii_digit() && !after_operand(&tokens) => {
                position = number_end(source, start)?;
                Kind::Operand
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                while at(position).is_ascii_alphanumeric() || at(position) == b'_' {
                    position += 1;
                }
                let word = source.get(start..position).unwrap_or_default();
                match (word, at(position)) {
                    ("r" | "R", b'"' | b'\'') => {
                        position = string_end(bytes, start, position, true)?;
                        Kind::Operand
                    }
                    ("b" | "B" | "br" | "bR" | "Br" | "BR" | "rb" | "rB" | "Rb" | "RB", b'"' | b'\'') => {
                        return Err(error(start, "byte strings are not supported".to_owned()));
                    }
                    ("in", _) => Kind::Binary,
                    _ => Kind::Operand,
                }
            }
            b'(' | b'[' | b'{' => {
                position += 1;
                Kind::Open
            }
            b')' | b']' | b'}' => {
                position += 1;
                Kind::Close
            }
            byte => {
                let (kind, length) = match (byte, at(position + 1)) {
                    (b'&', b'&') => (Kind::And, 2),
                    (b'|', b'|') => (Kind::Or, 2),
                    (b'=' | b'!' | b'<' | b'>', b'=') => (Kind::Binary, 2),
                    (b'<' | b'>' | b'+' | b'*' | b'/' | b'%', _) => (Kind::Binary, 1),
                    (b'-', _) => (Kind::Sign, 1),
                    (b'!', _) => (Kind::Not, 1),
                    (b'?', _) => (Kind::Question, 1),
                    (b':', _) => (Kind::Colon, 1),
                    (b',', _) => (Kind::Separator, 1),
                    (b'.', _) => (Kind::Dot, 1),
                    (b'=', _) => {
                        return Err(error(start, "`=` is not an operator: compare with `==`".to_owned()));
                    }
                    (b'&' | b'|', _) => return Err(error(start, "write `&&` or `||`".to_owned())),
                    _ => {
                        let found = source.get(start..).and_then(|rest| rest.chars().next()).unwrap_or(' ');
                        return Err(error(start, format!("`{}` can't stand here", found.escape_debug())));
                    }
                };
                position += length;
                kind
            }
        };
        tokens.push(Token { kind, start, end: position });
    }
    if tokens.is_empty() {
        return Err(error(0, "the condition is empty".to_owned()));
    }
    Ok(tokens)
}

fn after_operand(tokens: &[Token]) -> bool {
    tokens.last().is_some_and(|token| matches!(token.kind, Kind::Operand | Kind::Close))
}

/// Where the back-quoted name that starts at `start` ends.
fn quoted_end(bytes: &[u8], start: usize) -> Result<usize, ParseError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/' | b' ');
    let inner = bytes.iter().skip(start + 1).take_while(|byte| allowed(**byte)).count();
    let end = start + 1 + inner;
    if inner > 0 && bytes.get(end) == Some(&b'`') {
        return Ok(end + 1);
    }
    Err(error(
        start,
        "a quoted name has letters, digits, `_`, `.`, `-`, `/` and spaces, and ends with a back quote"
            .to_owned(),
    ))
}

/// Where the string whose quote stands at `quote` ends.
fn string_end(bytes: &[u8], start: usize, quote: usize, raw: bool) -> Result<usize, ParseError> {
    let at = |position: usize| bytes.get(position).copied();
    let mark = at(quote);
    let triple = at(quote + 1) == mark && at(quote + 2) == mark;
    let mut position = quote + if triple { 3 } else { 1 };
    while let Some(byte) = at(position) {
        if byte == b'\\' && !raw {
            position += 2;
        } else if Some(byte) == mark {
            if !triple {
                return Ok(position + 1);
            }
            if at(position + 1) == mark && at(position + 2) == mark {
                return Ok(position + 3);
            }
            position += 1;
        } else if matches!(byte, b'\n' | b'\r') && !triple {
            break;
        } else {
            position += 1;
        }
    }
    Err(error(start, "this string is never closed".to_owned()))
}

/// Where the number that starts at `start` ends; a number that can't be held exactly is refused here.
fn number_end(source: &str, start: usize) -> Result<usize, ParseError> {
    let rest = source.get(start..).unwrap_or_default();
    let mut previous = ' ';
    let mut seen_point = false;
    let hexadecimal = rest.starts_with("0x");
    let length = rest
        .char_indices()
        .find(|(index, character)| {
            let point = *character == '.'
                && !seen_point
                && rest.as_bytes().get(index + 1).is_some_and(u8::is_ascii_digit);
            let sign = matches!(character, '+' | '-') && matches!(previous, 'e' | 'E') && !hexadecimal;
            previous = *character;
            seen_point |= point;
            !(character.is_ascii_alphanumeric() || *character == '_' || point || sign)
        })
        .map_or(rest.len(), |(index, _)| index);
    let text = rest.get(..length).unwrap_or_default();
    let valid = if let Some(digits) = text.strip_prefix("0x") {
        i64::from_str_radix(digits, 16).is_ok() && !digits.starts_with(['+', '-'])
    } else if text.contains(['.', 'e', 'E']) {
        // `.5` is `0.5`.
        let point_first = text.starts_with('.').then(|| format!("0{text}"));
        Decimal::parse(point_first.as_deref().unwrap_or(text)).is_ok()
    } else {
        // The smallest whole number is written with a sign, which is not part of this text.
        text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse::<u64>().is_ok_and(|whole| whole <= 1 << 63)
    };
    if valid {
        Ok(start + length)
    } else {
        Err(error(start, format!("`{text}` is not a number that can be used")))
    }
}

fn error(offset: usize, message: String) -> ParseError {
    ParseError { message, offset: Some(offset) }
}
