//! Typed, prefixed, time-ordered identifiers (`agt_01k…`).
//!
//! An id is 128 bits: 48 bits of Unix milliseconds, then 80 random bits, written as 26 characters of Crockford's
//! base 32 in lower case behind a prefix that names its kind. Text order is time order. A client id can't be
//! passed where a task id is wanted: the kinds are different types and the parser refuses other prefixes.
//!
//! Invariant: nothing here makes randomness or reads a clock; both come in through [`Id::from_parts`].

use crate::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{cmp, fmt, hash, marker::PhantomData, str::FromStr};

/// A kind of thing that has ids; its prefix is part of the id's text.
pub trait Kind {
    /// The text before the underscore, for example `agt`.
    const PREFIX: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $alias:ident, $prefix:literal;)*) => {
        /// The kinds of ids. These types have no values.
        pub mod kind {
            $($(#[$doc])* #[derive(Debug)] pub enum $kind {}
              impl super::Kind for $kind { const PREFIX: &'static str = $prefix; })*
        }
        $($(#[$doc])* pub type $alias = Id<kind::$kind>;)*
    };
}

kinds! {
    /// A registered agent (`client_id` on the wire).
    Agent, AgentId, "agt";
    /// A person.
    User, UserId, "usr";
    /// A task: the purpose that authority is given for.
    Task, TaskId, "tsk";
    /// One node of delegated authority.
    Grant, GrantId, "gnt";
    /// One action on its way through a door.
    Action, ActionId, "act";
    /// One decision.
    Decision, DecisionId, "dec";
    /// One held request waiting for people.
    Approval, ApprovalId, "apr";
    /// A request for authority that waits for a person.
    Request, RequestId, "req";
    /// A person's broader answer: for a task, within bounds.
    Permit, PermitId, "prm";
    /// An account at an upstream.
    Connection, ConnectionId, "con";
    /// One entry of the record.
    Event, EventId, "evt";
    /// A person's signed-in session.
    Session, SessionId, "ses";
    /// A person's passkey.
    Passkey, PasskeyId, "pky";
    /// One access or delegation token (`jti`).
    Token, TokenId, "tok";
    /// A resource server (`client_id` on the wire): who may charge decisions and introspect its audience.
    ResourceServer, ResourceServerId, "rsv";
    /// An issuer whose assertions count here.
    TrustedIssuer, TrustedIssuerId, "tis";
    /// A list of the statuses of tokens.
    StatusList, StatusListId, "tsl";
    /// A provider that people sign in with.
    Provider, ProviderId, "idp";
    /// One running server process with its own line of record entries.
    Node, NodeId, "nod";
}

/// An id of kind `K`.
pub struct Id<K>(u128, PhantomData<fn() -> K>);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LENGTH: usize = 26;

impl<K: Kind> Id<K> {
    /// Makes an id from the time it is made at and 80 random bits.
    pub fn from_parts(at: Timestamp, entropy: [u8; 10]) -> Self {
        let millis = u128::from(at.as_micros().max(0).unsigned_abs() / 1000) & ((1 << 48) - 1);
        let random = entropy.iter().fold(0u128, |acc, byte| acc << 8 | u128::from(*byte));
        Self(millis << 80 | random, PhantomData)
    }

    /// The id of another kind with the same bits: a charged decision is one action, and its two ids differ in their
    /// prefix only.
    pub fn as_kind<L: Kind>(self) -> Id<L> {
        Id(self.0, PhantomData)
    }

    /// The 128 bits, for example as a hash key.
    pub fn as_u128(self) -> u128 {
        self.0
    }
}

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form `{prefix}_…` (26 characters of base 32)")]
pub struct IdError {
    prefix: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let refused = IdError { prefix: K::PREFIX };
        let rest =
            text.strip_prefix(K::PREFIX).and_then(|rest| rest.strip_prefix('_')).ok_or(refused.clone())?;
        if rest.len() != TEXT_LENGTH {
            return Err(refused);
        }
        let mut value = 0u128;
        for (index, byte) in rest.bytes().enumerate() {
            let digit = ALPHABET.iter().position(|letter| *letter == byte).ok_or(refused.clone())?;
            // 26 characters hold 130 bits: the first may use only its lower three.
            if index == 0 && digit > 7 {
                return Err(refused);
            }
            value = value << 5 | digit as u128;
        }
        Ok(Self(value, PhantomData))
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; TEXT_LENGTH];
        let mut value = self.0;
        for slot in text.iter_mut().rev() {
            *slot = ALPHABET.get((value & 31) as usize).copied().unwrap_or(b'0');
            value >>= 5;
        }
        f.write_str(K::PREFIX)?;
        f.write_str("_")?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> hash::Hash for Id<K> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_value_are_one(micros in 0i64..=i64::MAX / 2, entropy: [u8; 10]) {
            let id = AgentId::from_parts(Timestamp::from_micros(micros), entropy);
            prop_assert_eq!(id.to_string().parse::<AgentId>().unwrap(), id);
            prop_assert!(id.to_string().parse::<TaskId>().is_err());
        }

        #[test]
        fn text_order_is_time_order(a in 0i64..1 << 47, b in 0i64..1 << 47) {
            let [x, y] = [a, b].map(|t| TaskId::from_parts(Timestamp::from_micros(t * 1000), [7; 10]));
            prop_assert_eq!(x.cmp(&y), x.to_string().cmp(&y.to_string()));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }

        #[test]
        fn any_text_is_refused_or_written_back(text in "(agt_)?[0-9a-z]{24,28}") {
            if let Ok(id) = text.parse::<AgentId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
