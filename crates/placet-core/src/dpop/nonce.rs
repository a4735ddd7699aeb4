//! Nonces that a server hands out for proofs (RFC 9449 §8 and §9): a proof that has one was made after it.
//!
//! A nonce is the time at which it was made and a keyed hash of that, so that none is stored and every node of an
//! installation knows those of the others.
//!
//! Invariant: only whoever holds the installation's key can make one, for any time.

use crate::{
    secret::{HashKey, KeyedHash},
    time::Timestamp,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::time::Duration;

/// How long a nonce can be used.
pub const LIFETIME: Duration = Duration::from_secs(300);
/// How far the clocks of two nodes may lie apart.
const SKEW: Duration = Duration::from_secs(30);
/// The purpose under which they are hashed.
const PURPOSE: &str = "dpop_nonce";
/// How many bytes of the hash go into one.
const HASHED: usize = 16;

/// The nonce of this moment.
pub fn issue(key: &HashKey, now: Timestamp) -> String {
    let time = now.as_micros().to_be_bytes();
    let hash = key.hash(PURPOSE, &time);
    let bytes: Vec<u8> = time.into_iter().chain(hash.as_bytes().iter().copied().take(HASHED)).collect();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// When this nonce was issued; `None` where it isn't one of ours, or is too old.
pub fn issued(key: &HashKey, text: &str, now: Timestamp) -> Option<Timestamp> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (time, hash) = bytes.split_at_checked(8)?;
    let time: [u8; 8] = time.try_into().ok()?;
    // Compared as the keyed hashes are, in constant time; what is left out of a nonce is left out of both.
    let padded = |hash: &[u8]| {
        let mut whole = [0; 32];
        for (to, from) in whole.iter_mut().zip(hash) {
            *to = *from;
        }
        KeyedHash::from_bytes(&whole)
    };
    let own = key.hash(PURPOSE, &time);
    if hash.len() != HASHED || padded(hash) != padded(own.as_bytes().get(..HASHED)?) {
        return None;
    }
    let at = Timestamp::from_micros(i64::from_be_bytes(time));
    (at.plus(LIFETIME) > now && at <= now.plus(SKEW)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_nonce_lives_five_minutes_and_is_known_to_every_holder_of_the_key() {
        let (one, same, other) = (HashKey::new(&[1; 32]), HashKey::new(&[1; 32]), HashKey::new(&[2; 32]));
        let nonce = issue(&one, at(1000));
        for now in [970, 1000, 1299] {
            assert_eq!(issued(&same, &nonce, at(now)), Some(at(1000)), "{now}");
        }
        for now in [0, 969, 1300, 9999] {
            assert_eq!(issued(&same, &nonce, at(now)), None, "{now}");
        }
        assert_eq!(issued(&other, &nonce, at(1000)), None);
        assert_ne!(nonce, issue(&one, at(1001)));
    }

    proptest! {
        #[test]
        fn any_change_is_found(position in 0usize..32, to in "[A-Za-z0-9_-]") {
            let key = HashKey::new(&[1; 32]);
            let nonce = issue(&key, at(1000));
            let mut forged = nonce.clone();
            forged.replace_range(position..=position, &to);
            prop_assert!(forged == nonce || issued(&key, &forged, at(1000)).is_none());
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            prop_assert!(issued(&HashKey::new(&[1; 32]), &text, at(1000)).is_none());
        }
    }
}
