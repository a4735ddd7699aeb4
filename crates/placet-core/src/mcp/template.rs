//! Templates of URIs (RFC 6570), filled with texts.
//!
//! Invariant: a template of which something isn't known, or that has what isn't understood, has no URI: it is never filled in part.

use std::fmt::Write as _;

/// How the variables of one expression are written: what stands before the first and between, whether with their names, and what
/// they keep beside what no URI encodes.
struct Operator {
    first: &'static str,
    between: &'static str,
    named: bool,
    keeps_reserved: bool,
}

fn operator(mark: Option<u8>) -> Operator {
    let plain = |first, between, named| Operator { first, between, named, keeps_reserved: false };
    match mark {
        Some(b'+') => Operator { first: "", between: ",", named: false, keeps_reserved: true },
        Some(b'#') => Operator { first: "#", between: ",", named: false, keeps_reserved: true },
        Some(b'.') => plain(".", ".", false),
        Some(b'/') => plain("/", "/", false),
        Some(b';') => plain(";", ";", true),
        Some(b'?') => plain("?", "&", true),
        Some(b'&') => plain("&", "&", true),
        _ => plain("", ",", false),
    }
}

/// The URI that a template stands for with these values; `None` where it has none.
pub fn filled<'v>(template: &str, value: impl Fn(&str) -> Option<&'v str>) -> Option<String> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((literal, behind)) = rest.split_once('{') {
        let (expression, after) = behind.split_once('}')?;
        out.push_str(literal);
        let mark = expression.bytes().next().filter(|first| b"+#./;?&".contains(first));
        let names = expression.get(usize::from(mark.is_some())..)?;
        let written = operator(mark);
        for (index, name) in names.split(',').enumerate() {
            // Of a text all at once is what it is by itself.
            let name = name.strip_suffix('*').unwrap_or(name);
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.%".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_name) {
                return None;
            }
            let text = value(name)?;
            out.push_str(if index == 0 { written.first } else { written.between });
            if written.named {
                out.push_str(name);
                if mark != Some(b';') || !text.is_empty() {
                    out.push('=');
                }
            }
            encode(text, written.keeps_reserved, &mut out);
        }
        rest = after;
    }
    if rest.contains('}') {
        return None;
    }
    out.push_str(rest);
    Some(out)
}

/// Whether a template has a variable of this name.
pub fn has(template: &str, name: &str) -> bool {
    let expressions = template.split('{').skip(1).filter_map(|behind| behind.split_once('}'));
    let names = expressions.flat_map(|(expression, _)| expression.split(','));
    names
        .map(|one| one.trim_start_matches(['+', '#', '.', '/', ';', '?', '&']).trim_end_matches('*'))
        .any(|one| one == name)
}

fn encode(text: &str, keeps_reserved: bool, out: &mut String) {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        let encoded = || bytes.get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let kept = keeps_reserved && (b":/?#[]@!$&'()*+,;=".contains(byte) || *byte == b'%' && encoded());
        if unreserved || kept {
            out.push(char::from(*byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of RFC 6570, section 3.2, as far as values are texts.
    #[test]
    fn templates_are_filled_as_the_standard_shows() {
        let value = |name: &str| match name {
            "var" => Some("value"),
            "hello" => Some("Hello World!"),
            "half" => Some("50%"),
            "base" => Some("http://example.com/home/"),
            "path" => Some("/foo/bar"),
            "who" => Some("fred"),
            "dub" => Some("me/too"),
            "x" => Some("1024"),
            "y" => Some("768"),
            "empty" => Some(""),
            _ => None,
        };
        for (template, uri) in [
            ("{var}", "value"),
            ("{hello}", "Hello%20World%21"),
            ("{half}", "50%25"),
            ("O{empty}X", "OX"),
            ("{x,y}", "1024,768"),
            ("{x,hello,y}", "1024,Hello%20World%21,768"),
            ("{+var}", "value"),
            ("{+hello}", "Hello%20World!"),
            ("{+half}", "50%25"),
            ("{base}index", "http%3A%2F%2Fexample.com%2Fhome%2Findex"),
            ("{+base}index", "http://example.com/home/index"),
            ("{+path}/here", "/foo/bar/here"),
            ("{#path,x}/here", "#/foo/bar,1024/here"),
            ("X{.x,y}", "X.1024.768"),
            ("{/var,x}/here", "/value/1024/here"),
            ("{/dub*}", "/me%2Ftoo"),
            ("{;x,y,empty}", ";x=1024;y=768;empty"),
            ("{?x,y,empty}", "?x=1024&y=768&empty="),
            ("?fixed=yes{&x}", "?fixed=yes&x=1024"),
            ("note:///a", "note:///a"),
        ] {
            assert_eq!(filled(template, value).as_deref(), Some(uri), "{template}");
        }
        for template in ["{undef}", "{x,undef}", "{var:3}", "{", "}", "{}", "{=x}", "{x", "{x}}", "{a b}"] {
            assert_eq!(filled(template, value), None, "{template}");
        }
        assert!(has("a/{+b}{?c,d*}", "b") && has("a/{+b}{?c,d*}", "d") && !has("a/{+b}{?c,d*}", "a"));
    }
}
