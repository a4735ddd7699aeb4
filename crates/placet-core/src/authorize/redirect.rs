//! Where an authorization request may be answered, and how the answer is written there.
//!
//! What can be a redirect URI and which requests mean a registered one is [`crate::client::RedirectUri`]'s to say.
//!
//! Invariant: an answer is written behind what was registered, and changes nothing of where that leads.

use crate::client::{Metadata, RedirectKind, RedirectUri};
use std::fmt::Write as _;

/// Parameters of the answer; a redirect URI whose query has one would be answered with two.
const OF_THE_ANSWER: [&str; 6] = ["code", "state", "iss", "error", "error_description", "error_uri"];

/// Where a request is to be answered: at the registered URI that it names, or at the only one where it names none
/// (OAuth 2.1 §2.3.2). `None` where that can't be told, or an answer there could be misread.
pub fn meant(client: &Metadata, asked: Option<&str>) -> Option<RedirectUri> {
    let meant = match (asked, client.redirect_uris.as_slice()) {
        (Some(asked), _) => client.redirect(asked).and_then(|_| RedirectUri::parse(asked).ok())?,
        (None, [only]) => only.clone(),
        (None, _) => return None,
    };
    let query = meant.as_str().split_once('?').map_or("", |(_, query)| query);
    let taken = |pair: &str| OF_THE_ANSWER.contains(&pair.split('=').next().unwrap_or_default());
    (!query.split('&').any(taken)).then_some(meant)
}

/// The URI with the parameters of an answer (RFC 6749 §4.1.2): behind a query that it has already.
pub fn answer(uri: &RedirectUri, params: &[(&str, &str)]) -> String {
    let mut out = uri.as_str().to_owned();
    let mut between = match uri.as_str().split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some((_, query)) if query.ends_with('&') => "",
        Some(_) => "&",
    };
    for (name, value) in params {
        out.push_str(between);
        out.push_str(name);
        out.push('=');
        encode(value, &mut out);
        between = "&";
    }
    out
}

/// The source expression for `form-action` of a Content Security Policy: browsers also apply that to the redirect which
/// follows a form.
pub fn form_action(uri: &RedirectUri) -> String {
    let (scheme, rest) = uri.as_str().split_once(':').unwrap_or_default();
    let authority = rest.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    // The grammar of policies has no IPv6 addresses.
    if uri.kind() == RedirectKind::PrivateUse || !authority.bytes().all(plain) {
        format!("{scheme}:")
    } else {
        format!("{scheme}://{authority}")
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986 §2.3).
pub(crate) fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests;
