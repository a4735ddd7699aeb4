//! How a statement is read by whoever was shown a token, and has found the token itself good (draft §8.3).
//!
//! Invariant: there is an answer only from a statement of the signer's, about the list that the token names, while it is
//! good; everything else says nothing, which is no yes.

use super::{Bits, ListError, MEDIA_TYPE, Reference, Status, Statuses};
use crate::{
    jose::{Jws, JwsError, KeySet},
    time::Timestamp,
};
use serde_json::{Map, Value};
use std::time::Duration;

/// The longest statement that is looked at, in bytes.
const MAX_LENGTH: usize = 4 << 20;
/// How far the signer's clock may be ahead.
const AHEAD: Duration = Duration::from_secs(60);

/// What a statement says about one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// What became of it.
    pub status: Status,
    /// When that was stated.
    pub issued: Timestamp,
    /// Until when it may be believed.
    pub expires: Timestamp,
    /// After how long a new one should be fetched.
    pub ttl: Option<Duration>,
}

/// Why a statement says nothing about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No statement, or not of this signer.
    #[error("the status list is not believed: {0}")]
    Jws(#[from] JwsError),
    /// Something else that was signed.
    #[error("the status list is not of type `statuslist+jwt`")]
    Type,
    /// A member is missing or of the wrong kind.
    #[error("the status list has no usable `{0}`")]
    Member(&'static str),
    /// A statement about another list.
    #[error("the status list is about another one: its `sub` is not the `uri` of the token")]
    Subject,
    /// From the future.
    #[error("the status list was issued in the future")]
    Early,
    /// An old one.
    #[error("the status list has expired")]
    Expired,
    /// What it holds can't be read.
    #[error("the status list can't be read: {0}")]
    List(#[from] ListError),
    /// There is no such place.
    #[error("the status list has no such place: it says nothing about the token")]
    OutOfRange,
}

/// What the statement `text`, signed with one of `keys`, says at `now` about the token that has this reference.
///
/// `exp` has to be there: what has no end could be shown again for ever.
///
/// # Errors
/// [`Unreadable`]: then the token is to be refused.
pub fn read(text: &str, keys: &KeySet, reference: &Reference, now: Timestamp) -> Result<Said, Unreadable> {
    let jws = Jws::parse_within(text, MAX_LENGTH)?;
    if jws.is_type(MEDIA_TYPE.trim_start_matches("application/")) != Some(true) {
        return Err(Unreadable::Type);
    }
    let claims = keys.verify(&jws)?;
    if claims.get("sub").and_then(Value::as_str) != Some(&reference.uri) {
        return Err(Unreadable::Subject);
    }
    let issued = time(claims, "iat")?;
    let expires = time(claims, "exp")?;
    if issued > now.plus(AHEAD) {
        return Err(Unreadable::Early);
    }
    if expires <= now {
        return Err(Unreadable::Expired);
    }
    let ttl = match claims.get("ttl") {
        None => None,
        Some(ttl) => {
            let seconds = ttl.as_u64().filter(|seconds| *seconds > 0).ok_or(Unreadable::Member("ttl"))?;
            Some(Duration::from_secs(seconds))
        }
    };
    let list = claims.get("status_list").and_then(Value::as_object);
    let list = list.ok_or(Unreadable::Member("status_list"))?;
    let bits = list.get("bits").and_then(Value::as_u64).and_then(Bits::of);
    let bits = bits.ok_or(Unreadable::Member("bits"))?;
    let lst = list.get("lst").and_then(Value::as_str).ok_or(Unreadable::Member("lst"))?;
    let status = Statuses::from_lst(bits, lst)?.at(reference.idx).ok_or(Unreadable::OutOfRange)?;
    Ok(Said { status, issued, expires, ttl })
}

/// A time in seconds, as far as one can be held.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Timestamp, Unreadable> {
    let seconds = claims.get(name).and_then(Value::as_i64).filter(|seconds| (0..1 << 40).contains(seconds));
    seconds.map(Timestamp::from_seconds).ok_or(Unreadable::Member(name))
}
