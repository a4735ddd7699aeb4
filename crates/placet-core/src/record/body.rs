//! The body of an entry: resource, parameters, context, reasons, results. It lies beside the leaf, sealed.
//!
//! The leaf has a commitment to salt and body. Without the salt, which is sealed with the body, nobody can find a
//! guessable body by trying; once both are erased the leaf, every hash and every proof stay as they were.
//!
//! Invariant: a body is never part of what is hashed into the tree, and a member that a service marks secret never
//! becomes part of a body.

use crate::{
    id::EventId,
    seal::{BodyKey, SealError},
    secret::{Secret, sha256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::fmt;

const BODY_DOMAIN: &[u8] = b"placet/record/body/1";
const MEMBER_DOMAIN: &[u8] = b"placet/record/member/1";
const SALT: usize = 16;

/// SHA-256 over (domain, salt, body), each with its length before it.
pub fn commit(salt: [u8; 16], body: &[u8]) -> [u8; 32] {
    commit_in(BODY_DOMAIN, salt, body)
}

/// A body with its salt. `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    salt: [u8; SALT],
    json: Vec<u8>,
}

/// Why a stored body can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It does not open.
    #[error("the body of an entry does not open: {0}")]
    Seal(#[from] SealError),
    /// It opens, but is too short to hold a salt.
    #[error("the body of an entry has no salt")]
    NoSalt,
}

impl Body {
    /// A body (JSON text) under a fresh random salt.
    pub fn new(salt: [u8; 16], json: impl Into<Vec<u8>>) -> Self {
        Self { salt, json: json.into() }
    }

    /// The JSON text.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The salt: whoever holds it and the text can check the commitment.
    pub fn salt(&self) -> [u8; 16] {
        self.salt
    }

    /// What the envelope holds of it.
    pub fn commitment(&self) -> [u8; 32] {
        commit(self.salt, &self.json)
    }

    /// The stored form: salt and body, sealed for the entry. `nonce` is fresh and random.
    ///
    /// # Errors
    /// As [`BodyKey::seal`].
    pub fn seal(&self, key: &BodyKey, entry: EventId, nonce: [u8; 12]) -> Result<Vec<u8>, SealError> {
        let plaintext = Secret::new([self.salt.as_slice(), &self.json].concat());
        key.seal(entry, nonce, plaintext.expose())
    }

    /// Opens the stored form. Whether it is the body that the entry was written with is for the commitment to say.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn open(key: &BodyKey, entry: EventId, sealed: &[u8]) -> Result<Self, BodyError> {
        let plaintext = key.open(entry, sealed)?;
        let (salt, json) = plaintext.expose().split_first_chunk().ok_or(BodyError::NoSalt)?;
        Ok(Self { salt: *salt, json: json.to_vec() })
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body(…)")
    }
}

/// Replaces every member that a service marks secret by `{"$commitment": "…"}`, and says how many there were.
///
/// A path is keys from the top, separated by dots: `card.number`; an array on the way stands for each of its items. Each
/// member has a salt of its own, asked from `salt`; whoever is to be able to show the value later keeps the salt, and
/// never beside the commitment.
pub fn redact_secret_members<'a>(
    value: &mut Value,
    paths: impl IntoIterator<Item = &'a str>,
    mut salt: impl FnMut() -> [u8; 16],
) -> usize {
    paths.into_iter().map(|path| redact(value, Some(path), &mut salt)).sum()
}

fn redact(value: &mut Value, path: Option<&str>, salt: &mut impl FnMut() -> [u8; 16]) -> usize {
    match (path, value) {
        (None, member) => {
            let commitment = commit_in(MEMBER_DOMAIN, salt(), member.to_string().as_bytes());
            *member = json!({ "$commitment": URL_SAFE_NO_PAD.encode(commitment) });
            1
        }
        (Some(path), Value::Array(items)) => {
            items.iter_mut().map(|item| redact(item, Some(path), salt)).sum()
        }
        (Some(path), Value::Object(members)) => {
            // A key may itself contain dots: the whole rest of the path is tried as one key too.
            let whole = members.get_mut(path).map_or(0, |member| redact(member, None, salt));
            let below = path.match_indices('.').map(|(at, _)| at).collect::<Vec<_>>();
            below.into_iter().fold(whole, |count, at| {
                let (Some(key), Some(rest)) = (path.get(..at), path.get(at + 1..)) else { return count };
                count + members.get_mut(key).map_or(0, |member| redact(member, Some(rest), salt))
            })
        }
        (Some(_), Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => 0,
    }
}

fn commit_in(domain: &[u8], salt: [u8; SALT], bytes: &[u8]) -> [u8; 32] {
    let length = |part: &[u8]| (part.len() as u64).to_be_bytes();
    sha256(&[&length(domain), domain, &length(&salt), &salt, &length(bytes), bytes])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn entry(byte: u8) -> EventId {
        EventId::from_parts(Timestamp::default(), [byte; 10])
    }

    #[test]
    fn a_secret_member_leaves_nothing_of_itself() {
        let mut value = json!({
            "card": [{"number": "4111", "name": "A"}, {"number": {"a": "4222"}}, 3],
            "card.number": "4333",
            "number": "kept",
        });
        let mut next = 0u8;
        let count = redact_secret_members(&mut value, ["card.number", "absent.x", "number.below"], || {
            next += 1;
            [next; 16]
        });
        assert_eq!((count, next), (3, 3));
        let text = value.to_string();
        assert!(!text.contains("4111") && !text.contains("4222") && !text.contains("4333"), "{text}");
        assert_eq!(value["card"][0]["name"], "A");
        assert_eq!(value["number"], "kept");
        let expected = commit_in(MEMBER_DOMAIN, [2; 16], br#""4111""#);
        assert_eq!(value["card"][0]["number"]["$commitment"], URL_SAFE_NO_PAD.encode(expected));
    }

    #[test]
    fn equal_members_have_unequal_commitments() {
        let mut value = json!([{"pin": 1}, {"pin": 1}]);
        let mut next = 0;
        redact_secret_members(&mut value, ["pin"], || {
            next += 1;
            [next; 16]
        });
        assert_ne!(value[0], value[1]);
    }

    #[test]
    fn a_body_without_a_salt_is_refused() {
        let key = BodyKey::new(1, [1; 32]).unwrap();
        let short = key.seal(entry(1), [0; 12], &[0; 15]).unwrap();
        assert_eq!(Body::open(&key, entry(1), &short).unwrap_err(), BodyError::NoSalt);
    }

    proptest! {
        #[test]
        fn a_body_comes_back_and_is_committed_to(salt: [u8; 16], other: [u8; 16], json: Vec<u8>, more: Vec<u8>) {
            let key = BodyKey::new(1, [1; 32]).unwrap();
            let body = Body::new(salt, json.clone());
            let sealed = body.seal(&key, entry(1), [0; 12]).unwrap();
            prop_assert_eq!(&Body::open(&key, entry(1), &sealed).unwrap(), &body);
            prop_assert!(Body::open(&key, entry(2), &sealed).is_err());
            prop_assert_eq!(body.commitment(), commit(salt, &json));
            if other != salt {
                prop_assert_ne!(body.commitment(), commit(other, &json));
            }
            if more != json {
                prop_assert_ne!(body.commitment(), commit(salt, &more));
            }
        }
    }
}
