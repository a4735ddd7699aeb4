//! Access tokens of servers that are no authorization servers of RFC 6749: a signed assertion is shown as a bearer token, with
//! JSON if anything, and the token is a member of the JSON that comes back. Installations of GitHub Apps get theirs so.
//!
//! Invariant: pure. Nothing of what the server wrote but the token is passed on; what is not clearly a token is none.

use super::{Granted, Kept, MAX_CODE, OAuth, Ungranted, is_token, is_token_url};
use crate::{
    diagnostic::quoted,
    secret::Secret,
    service::mapping,
    time::Timestamp,
    yaml::{self, MapReading, Reading},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The keys of `exchange`.
pub(in crate::service) const KEYS: &[&str] = &["headers", "body", "token", "expires_at", "expires_in"];
/// What in the address stands for the subject of a connection.
const SUBJECT: &str = "{subject}";
/// The longest subject that stands in an address.
const MAX_SUBJECT: usize = 128;

/// How a token is asked for with an assertion, and where in the answer it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Constant headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// What is sent; nothing where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Map<String, Value>>,
    /// Where the token is (a JSON pointer).
    pub token: String,
    /// Where the time is after which it is worth nothing (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Where it says in how many seconds that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
}

/// An answer, as far as it counts.
#[derive(Debug)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// Whether it says that too much was asked for lately.
    pub limited: bool,
    /// Its body.
    pub body: &'a Secret,
}

impl OAuth {
    /// Whether tokens are got for assertions that a key of the connection signs.
    pub const fn takes_assertions(&self) -> bool {
        self.assertion_audience.is_some() || self.exchange.is_some()
    }

    /// Whether its address names whom a token is for.
    pub fn names_subject(&self) -> bool {
        self.token_url.contains(SUBJECT)
    }

    /// Where the token of `kept` is asked for; none where that needs a subject that it has not got.
    pub fn token_url_for(&self, kept: &Kept) -> Option<Cow<'_, str>> {
        if !self.names_subject() {
            return Some(Cow::Borrowed(&self.token_url));
        }
        let subject = kept.signing.as_ref()?.subject.as_deref().filter(|subject| is_segment(subject))?;
        Some(Cow::Owned(self.token_url.replace(SUBJECT, subject)))
    }
}

/// Whether this stays one segment of a path, whatever it is put beside.
pub(super) fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~.".contains(&byte);
    (1..=MAX_SUBJECT).contains(&text.len()) && text.bytes().all(plain) && !matches!(text, "." | "..")
}

/// Whether a token may be asked for at `url`, in which one whole segment may be `{subject}`.
pub(super) fn is_url(url: &str) -> bool {
    let whole = url.matches(SUBJECT).count() <= 1
        && url.split_once(SUBJECT).is_none_or(|(before, after)| {
            before.ends_with('/')
                && before.matches('/').count() > 2
                && (after.is_empty() || after.starts_with('/'))
        });
    whole && is_token_url(&url.replace(SUBJECT, "1"))
}

impl Exchange {
    /// What an answer means that came at `now`.
    ///
    /// # Errors
    /// [`Ungranted`].
    pub fn read(&self, answer: &Answer<'_>, now: Timestamp) -> Result<Granted, Ungranted> {
        match answer.status {
            200 | 201 => {}
            _ if answer.limited => return Err(Ungranted::Unusable("it wants to be asked less often")),
            // They are about the key, who has signed or the account, and will be said again.
            status @ (400 | 401 | 403 | 404 | 410 | 422) => {
                return Err(Ungranted::Refused(format!("status_{status}").chars().take(MAX_CODE).collect()));
            }
            _ => return Err(Ungranted::Unusable("it is not available")),
        }
        let no_json = || Ungranted::Unusable("it is no JSON");
        let mut body: Value = serde_json::from_slice(answer.body.expose()).map_err(|_| no_json())?;
        let Some(Value::String(token)) = body.pointer_mut(&self.token).map(Value::take) else {
            return Err(Ungranted::Unusable("it has no token where the definition says"));
        };
        let token = Secret::new(token);
        if !is_token(token.expose()) || token.expose().contains(&b' ') {
            return Err(Ungranted::Unusable("its token can't be sent in a header"));
        }
        Ok(Granted { access_token: token, refresh_token: None, lifetime: self.lifetime(&body, now)? })
    }

    /// How many seconds the token lives, where that is said.
    fn lifetime(&self, body: &Value, now: Timestamp) -> Result<Option<u64>, Ungranted> {
        let unclear = Ungranted::Unusable("when its token ends is not where the definition says");
        if let Some(at) = &self.expires_at {
            let text = body.pointer(at).and_then(Value::as_str);
            let ends = text.and_then(|text| Timestamp::parse(text).ok()).ok_or(unclear)?;
            let left = u64::try_from(ends.as_seconds().saturating_sub(now.as_seconds())).unwrap_or(0);
            return match left {
                0 => Err(Ungranted::Unusable("its token has ended already: one of the two clocks is wrong")),
                left => Ok(Some(left)),
            };
        }
        let Some(at) = &self.expires_in else { return Ok(None) };
        let seconds = body.pointer(at).and_then(Value::as_u64).filter(|seconds| *seconds > 0);
        seconds.map(Some).ok_or(unclear)
    }
}

/// Reads it, where the definition has one: none where it has not, nothing where it is wrong.
pub(super) fn load(map: &MapReading<'_>) -> Option<Option<Exchange>> {
    let Some(it) = map.optional("exchange") else { return Some(None) };
    let said = it.map()?;
    said.finish(KEYS);
    let others = ["authorization_url", "device_authorization_url", "subject_token_type", "client_auth"];
    if let Some(other) = others.into_iter().find(|key| map.optional(key).is_some()) {
        it.error(format!(
            "`exchange` shows an assertion and nothing else, so `{other}` can't stand beside it"
        ));
        return None;
    }
    let body = match said.optional("body").map(|it| yaml::to_json(it.node())) {
        None => None,
        Some(Value::Object(body)) => Some(body),
        Some(_) => {
            it.error("`body` is an object, whose members are sent as they stand there");
            return None;
        }
    };
    let token = pointer(&said.required("token")?)?;
    let place = |key: &str| said.optional(key).map_or(Some(None), |it| pointer(&it).map(Some));
    let (expires_at, expires_in) = (place("expires_at")?, place("expires_in")?);
    if expires_at.is_some() && expires_in.is_some() {
        it.error("when a token ends is said by `expires_at` or by `expires_in`");
        return None;
    }
    Some(Some(Exchange { headers: mapping::headers(&said), body, token, expires_at, expires_in }))
}

fn pointer(it: &Reading<'_>) -> Option<String> {
    let text = it.string()?;
    if !text.starts_with('/') {
        it.error(format!("{} is no JSON pointer: it begins with `/`", quoted(text)));
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests;
