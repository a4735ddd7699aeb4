//! Names beside which a secret stands, and values that look like one.
//!
//! Invariant: a name is judged by its end, as languages write compounds: `client_secret` is one, `secret_name` is none.

/// What stands beside a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// A password, which people choose: short ones are some too.
    Password,
    /// Something that was drawn.
    Secret,
    /// A scheme with something that was drawn.
    Authorization,
}

/// The longest name that is looked at.
pub(super) const LONGEST_NAME: usize = 64;
/// The longest value.
pub(super) const LONGEST_VALUE: usize = 4096;

const PASSWORDS: [&str; 5] = ["password", "passwd", "passphrase", "passcode", "pwd"];
const SECRETS: [&str; 9] = [
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "credential",
];
/// Tokens that say where one is, and give access to nothing.
const PLACES: [&str; 9] =
    ["page", "next", "prev", "sync", "continuation", "cursor", "delta", "csrf", "pagination"];

/// What the name says of its value.
pub(super) fn named(name: &[u8]) -> Option<Named> {
    if name.len() > LONGEST_NAME || name.len() < 3 {
        return None;
    }
    // Before anything is written down: most names end in other letters.
    let last = name.iter().rev().find(|byte| byte.is_ascii_alphanumeric())?.to_ascii_lowercase();
    if !matches!(last, b'd' | b'e' | b't' | b'n' | b'y' | b'l' | b's') {
        return None;
    }
    let plain: String = name
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect();
    let plain = plain.strip_suffix('s').unwrap_or(&plain);
    if PASSWORDS.iter().any(|end| plain.ends_with(end)) {
        return Some(Named::Password);
    }
    if plain.ends_with("authorization") {
        return Some(Named::Authorization);
    }
    let secret = SECRETS.iter().any(|end| plain.ends_with(end));
    // What points to a page is named as a token is, and as nothing else that gives access.
    let is_place = |rest: &str| PLACES.iter().any(|place| rest.ends_with(place));
    let place = plain.contains("csrf") || plain.strip_suffix("token").is_some_and(is_place);
    (secret && !place).then_some(Named::Secret)
}

/// Where in a value the secret is; `None` where it is none: a placeholder, a word, a number.
pub(super) fn secret(named: Named, value: &[u8]) -> Option<std::ops::Range<usize>> {
    let whole = 0..value.len();
    match named {
        Named::Password => (value.len() >= 8 && classes(value) >= 2 && is_one(value)).then_some(whole),
        Named::Secret => {
            (value.len() >= 16 && classes(value) >= 2 && is_one(value) && is_varied(value)).then_some(whole)
        }
        Named::Authorization => {
            let space = value.iter().position(|byte| *byte == b' ');
            let start = space.map_or(0, |space| space.saturating_add(1));
            let secret = value.get(start..).unwrap_or_default();
            (secret.len() >= 8 && is_one(secret) && is_varied(secret)).then_some(start..value.len())
        }
    }
}

/// Kinds of characters: lower case, upper case, digits, others.
fn classes(value: &[u8]) -> usize {
    let any = |is: fn(&u8) -> bool| usize::from(value.iter().any(is));
    any(u8::is_ascii_lowercase)
        + any(u8::is_ascii_uppercase)
        + any(u8::is_ascii_digit)
        + any(|byte| !byte.is_ascii_alphanumeric())
}

/// Whether it is one word, and stands for itself.
fn is_one(value: &[u8]) -> bool {
    let stands_for_another =
        [&b"${"[..], b"{{", b"<", b"[scrubbed", b"http://", b"https://", b"***", b"xxx", b"XXX", b"$("];
    value.len() <= LONGEST_VALUE
        && !value.iter().any(u8::is_ascii_whitespace)
        && memchr::memmem::find(value, b"[redacted:").is_none()
        && !stands_for_another.iter().any(|begins| value.starts_with(begins))
}

/// Whether at least as many different characters are in it as in what was drawn at random: of sixteen hexadecimal digits
/// fewer than seven are seen once in 20,000 draws, in words and dates often.
fn is_varied(value: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in value {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    let different = seen.iter().filter(|seen| **seen).count();
    let is_date = value
        .get(..5)
        .is_some_and(|begin| begin.iter().take(4).all(u8::is_ascii_digit) && begin.last() == Some(&b'-'));
    different >= 7 && !is_date
}
