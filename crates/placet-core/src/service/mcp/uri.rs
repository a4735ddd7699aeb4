//! URIs of resources: one spelling of each, so that what rules say of one they say of what a server would read.
//!
//! A server may decode, resolve and normalise what it is sent, once or more often, and one that does so takes several URIs for
//! the same. Of these one is canonical (RFC 3986 §6.2.2), and the others are refused, with a word that names it. What has
//! no canonical form (a `.` or `..` segment, a slash that is encoded) is refused without.
//!
//! Invariant: a URI that passes is what its canonical form is. What only the server can know (whether letters' case, a query or
//! a slash at the end make a difference to it) is not guessed.

use crate::service::value;
use std::borrow::Cow;

/// The longest URI of a resource, in bytes.
pub(super) const MAX_URI: usize = 4096;
/// How often one may be encoded.
const MAX_DECODED: usize = 8;
/// Schemes of the web: whose hosts are names of machines, and their ports.
const WEB: [(&str, &str); 5] =
    [("http", "80"), ("https", "443"), ("ws", "80"), ("wss", "443"), ("ftp", "21")];

/// Whether a URI is one that is judged as it is written. `slash`: its server keeps an encoded slash apart from a slash.
///
/// # Errors
/// Why it is refused.
pub(in crate::service) fn check(text: &str, slash: bool) -> Result<(), Cow<'static, str>> {
    if text.len() > MAX_URI {
        return Err("it is too long".into());
    }
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme {
        return Err("it is no URI: it begins with a scheme and `:`".into());
    }
    if text.chars().any(char::is_whitespace) {
        return Err("it has a space".into());
    }
    however_often(text)?;
    if is_encoded_twice(text.split(['?', '#']).next().unwrap_or_default()) {
        return Err("it is encoded more than once".into());
    }
    let canonical = canonical(text, slash)?;
    if canonical == text {
        return Ok(());
    }
    Err(format!(
        "it has several spellings, and this is not the one that is judged: write `{}`",
        crate::diagnostic::printable(&canonical, MAX_URI)
    )
    .into())
}

/// What may be in none, however often a server decodes it.
fn however_often(text: &str) -> Result<(), &'static str> {
    let mut read = text.to_owned();
    for _ in 0..MAX_DECODED {
        if read.chars().any(char::is_control) {
            return Err("it has a control character");
        }
        if read.contains('\\') {
            return Err("it has a backslash");
        }
        // Also behind what separates a query: some servers cut there, others do not.
        if read.split(['/', '?', '#', ';', '&', '=', ':']).any(|step| step == "." || step == "..") {
            return Err("it has a `.` or `..` segment");
        }
        let decoded = String::from_utf8(value::decode(&read)).map_err(|_| "it is not UTF-8 when decoded")?;
        if decoded == read {
            return Ok(());
        }
        read = decoded;
    }
    Err("it is encoded too often")
}

/// Whether what has been decoded once can be decoded again.
fn is_encoded_twice(path: &str) -> bool {
    let once = String::from_utf8(value::decode(path)).unwrap_or_default();
    value::decode(&once) != once.as_bytes()
}

/// The canonical form.
///
/// # Errors
/// It has none.
fn canonical(text: &str, slash: bool) -> Result<String, &'static str> {
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    let scheme = scheme.to_ascii_lowercase();
    // A fragment is a part of what is read, and of no other.
    let rest = rest.split('#').next().unwrap_or_default();
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let port = WEB.iter().find(|(web, _)| *web == scheme).map(|(_, port)| *port);
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) =
                rest.split_at_checked(rest.find('/').unwrap_or(rest.len())).unwrap_or_default();
            (Some(authority), path)
        }
        // To whoever looks at the path alone it is the same.
        None if rest.starts_with('/') => (Some(""), rest),
        None => (None, rest),
    };
    let mut out = format!("{scheme}:");
    if let Some(authority) = authority {
        out.push_str("//");
        out.push_str(&self::authority(authority, &scheme, port)?);
    } else if port.is_some() {
        return Err("it names no host");
    }
    let written = out.len();
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
    spelled(path, &mut out, inner, !slash)?;
    if authority.is_some() {
        // Several slashes are one to file systems.
        let path = out.split_off(written);
        let mut after_slash = false;
        for letter in path.chars() {
            let is_slash = letter == '/';
            if !(is_slash && after_slash) {
                out.push(letter);
            }
            after_slash = is_slash;
        }
        if port.is_some() && out.len() == written {
            out.push('/');
        }
    }
    if let Some(query) = query {
        out.push('?');
        // What separates in a query says something else when it is encoded.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        spelled(query, &mut out, plain, false)?;
    }
    Ok(out)
}

fn authority(text: &str, scheme: &str, default_port: Option<&str>) -> Result<String, &'static str> {
    let mut out = String::new();
    spelled(
        text,
        &mut out,
        |byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte),
        true,
    )?;
    if scheme == "file" && out.eq_ignore_ascii_case("localhost") {
        return Ok(String::new());
    }
    let Some(default_port) = default_port else { return Ok(out) };
    if out.contains('@') {
        return Err("it names a user beside the host");
    }
    let host = out.to_ascii_lowercase();
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port)),
        _ => (host.as_str(), None),
    };
    if name.is_empty() {
        return Err("it names no host");
    }
    Ok(match port.filter(|port| !port.is_empty() && *port != default_port) {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    })
}

/// Appends a part as it is spelled: what `plain` has is not encoded, what no URI has is. `no_slash`: one that is encoded has two
/// readings.
fn spelled(
    part: &str,
    out: &mut String,
    plain: impl Fn(u8) -> bool,
    no_slash: bool,
) -> Result<(), &'static str> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let encode = |byte: u8, out: &mut String| {
        out.push('%');
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from(HEX.get(usize::from(digit)).copied().unwrap_or(b'0')));
        }
    };
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = part.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            let of_uri = byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte);
            if of_uri {
                out.push(char::from(*byte))
            } else {
                encode(*byte, out)
            }
            continue;
        }
        let pair = digit(bytes.next()).zip(digit(bytes.next()));
        let decoded = pair.and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        match decoded.ok_or("it has a `%` that encodes nothing")? {
            b'/' if no_slash => {
                return Err(
                    "it has an encoded slash, which is a slash to some servers; of one that keeps them apart its service \
                            says `resources: {encoded_slash: true}`",
                );
            }
            // A slash is none that was encoded.
            decoded if decoded != b'/' && plain(decoded) => out.push(char::from(decoded)),
            decoded => encode(decoded, out),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> Option<String> {
        check(text, false).err().map(Cow::into_owned)
    }

    #[test]
    fn each_resource_has_one_spelling() {
        for one in [
            "note:///a",
            "note:///c?d=%20e",
            "note://Host/A/b/",
            "note:abc",
            "urn:x:y",
            "file:///srv/a%20b/%C3%A4.txt",
            "https://host.example/a;b=c?x=%2F&y=/",
            "https://host.example:8443/",
            "postgres://user@host/db/table/schema",
            "demo://resource/static/document/a.md",
            "memo://insights",
            "x://[::1]:80/a",
        ] {
            assert_eq!(refusal(one), None, "{one}");
        }
        for (other, canonical) in [
            ("NOTE:///a", "note:///a"),
            ("note:/a", "note:///a"),
            ("note:///%61", "note:///a"),
            ("note:///a%2bb", "note:///a+b"),
            ("note:///a%3ab", "note:///a:b"),
            ("note:///%c3%a4", "note:///%C3%A4"),
            ("note:///ä", "note:///%C3%A4"),
            ("note:///a{b}", "note:///a%7Bb%7D"),
            ("note:///a#b", "note:///a"),
            ("note:///a//b", "note:///a/b"),
            ("note:////a", "note:///a"),
            ("note:///a?%61=%3d", "note:///a?a=%3D"),
            ("file://localhost/a", "file:///a"),
            ("file:/a", "file:///a"),
            ("HTTPS://Host.Example:443", "https://host.example/"),
            ("https://host.example:/a", "https://host.example/a"),
            ("note://h%6fst/a", "note://host/a"),
        ] {
            let said = refusal(other).unwrap_or_default();
            assert!(said.ends_with(&format!("write `{canonical}`")), "{other}: {said}");
            assert_eq!(refusal(canonical), None, "{canonical}");
        }
        for none in [
            "",
            "a",
            ":a",
            "1a:b",
            "note:///a b",
            "note:///a\u{0}",
            "note:///a%00",
            "note:///a\\b",
            "note:///a%5cb",
            "note:///../a",
            "note:///a/%2e%2E/b",
            "note:///a%252e%252e/b",
            "note:///a?b=../c",
            "note:///a%2Fb",
            "note:///a%2fb",
            "note:///a%252Fb",
            "note:///a%2541",
            "note:///%",
            "note:///%4",
            "note:///%zz",
            "note:///%ff",
            "https:///a",
            "https:a",
            "https://user@host/a",
            "note://a%2Fb/c",
        ] {
            let said = refusal(none);
            assert!(
                said.as_ref().is_some_and(|said| !said.contains("several spellings")),
                "{none}: {said:?}"
            );
        }
    }

    #[test]
    fn a_server_may_keep_an_encoded_slash_apart() {
        assert_eq!(check("gitlab://projects/group%2Fproject", true), Ok(()));
        assert!(
            check("gitlab://projects/group%2fproject", true)
                .unwrap_err()
                .ends_with("write `gitlab://projects/group%2Fproject`")
        );
        assert!(check("gitlab://projects/group%2F..%2Fproject", true).is_err());
    }

    /// As a server reads it that decodes once, and takes letters of schemes and hosts, slashes and ports as the standards do.
    fn read(text: &str) -> Option<String> {
        let decoded = String::from_utf8(value::decode(text)).ok()?;
        let (scheme, rest) = decoded.split_once(':')?;
        let rest = rest.split('#').next()?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let mut path = rest.replace("//", "/");
        while path.contains("//") {
            path = path.replace("//", "/");
        }
        Some(format!("{}:{path}", scheme.to_ascii_lowercase()))
    }

    proptest! {
        #[test]
        fn two_that_pass_are_read_as_two(one in "[nN]ote:/{1,4}[aA%26/1c3bB.:+]{0,9}", other in "[nN]ote:/{1,4}[aA%26/1c3bB.:+]{0,9}") {
            if check(&one, false).is_ok() && check(&other, false).is_ok() && one != other {
                prop_assert_ne!(read(&one), read(&other));
            }
        }

        #[test]
        fn what_is_named_instead_passes(text in "[a-zA-Z]{1,4}:/{0,3}[ -~äß]{0,20}") {
            if let Some((_, named)) = refusal(&text).as_deref().and_then(|said| said.split_once("judged: write `")) {
                prop_assert_eq!(refusal(named.trim_end_matches('`')), None, "{}", text);
            }
        }
    }
}
