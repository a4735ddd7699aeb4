//! The one form of a path and query that is read: whatever two programs could read differently is refused before it
//! is asked what it would be.
//!
//! Invariant: a target that was let through has one reading, however often a program decodes it: no segment of it
//! is or becomes `.` or `..`, and there is one way to write it.

use super::value;

/// Checks the path and query of a raw request, as they came. It tells nothing about what is installed.
///
/// Refused are empty segments (but a last one), `.` and `..` segments, also encoded once or twice, backslashes and
/// control characters, raw or encoded, what is not ASCII, `%` without two upper-case digits, and encodings of what
/// need not be encoded (RFC 3986 §6.2.2).
///
/// # Errors
/// What is wrong, without the text.
pub fn check_target(target: &str) -> Result<(), &'static str> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = path.strip_prefix('/').ok_or("the path does not begin with `/`")?;
    let count = path.split('/').count();
    for (index, segment) in path.split('/').enumerate() {
        if segment.is_empty() && index + 1 < count {
            return Err("the path has an empty segment");
        }
        check_text(segment, "-._~!$&'()*+,;=:@")?;
        let once = value::decode(segment);
        let twice = value::decode(&String::from_utf8_lossy(&once));
        for text in [segment.as_bytes(), &once, &twice] {
            let text = String::from_utf8_lossy(text);
            if value::is_dotted(&text) {
                return Err("the path has a `.` or `..` segment");
            }
            if text.contains('\\') || text.chars().any(char::is_control) {
                return Err("the path has a backslash or a control character");
            }
        }
    }
    query.map_or(Ok(()), |query| check_text(query, "-._~!$&'()*+,;=:@/?"))
}

/// A path with everything in its segments encoded that values have encoded, for telling somebody who wrote it
/// otherwise.
pub fn normal_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            out.push('/');
        }
        value::encode(&String::from_utf8_lossy(&value::decode(segment)), &mut out);
    }
    out
}

/// A query that was let through, in the one way to write it: a space that is written as forms have it (`+`), and characters that
/// clients leave as they are in values though values have them encoded. For doors that render what they send: they send
/// what was read, whatever an upstream would have read.
///
/// What separates members for some programs (`;`, a second `=`) stays, and so is refused when the query is read.
pub fn normal_query(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    for character in query.chars() {
        match character {
            '+' => out.push_str("%20"),
            '!' | '$' | '\'' | '(' | ')' | '*' | ',' | ':' | '@' | '/' | '?' => {
                value::encode(character.encode_utf8(&mut [0; 4]), &mut out);
            }
            other => out.push(other),
        }
    }
    out
}

/// Checks that only `kept`, letters, digits and well-formed normal encodings stand in a text.
fn check_text(text: &str, kept: &str) -> Result<(), &'static str> {
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let &[high, low, ref after @ ..] = after else { return Err(ENCODING) };
            let digit = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_lowercase());
            let decoded =
                digit(high).zip(digit(low)).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
            let decoded = decoded.ok_or(ENCODING)?;
            if decoded.is_ascii_alphanumeric() || b"-._~".contains(&decoded) {
                return Err("it encodes a character that is not encoded (RFC 3986 §6.2.2.2)");
            }
            if decoded.is_ascii_control() {
                return Err("it has an encoded control character");
            }
            rest = after;
        } else if !byte.is_ascii_alphanumeric() && !kept.as_bytes().contains(&byte) {
            return Err("it has a character that has to be percent-encoded");
        }
    }
    Ok(())
}

const ENCODING: &str = "it has a `%` that two upper-case hexadecimal digits do not follow";
