//! Which proofs were used: each is good once (RFC 9449 §11.1).
//!
//! What is remembered is bounded, and yet nothing slips through: the memory knows since when it remembers everything. A
//! proof that may have been received before that has to bring a nonce that was issued since. So a fresh start, and more
//! proofs than there is room for, cost their senders a second request and never let anything pass twice.
//!
//! Invariant: what is answered as [`Seen::First`] was never taken before, by this memory or by one before it.

use super::{Proof, ProofId, WINDOW};
use crate::time::Timestamp;
use std::{collections::BTreeSet, time::Duration};

/// How long a proof may be sent again after it was first: it may have been made a window ahead of its time.
const KEPT: Duration = Duration::from_secs(2 * WINDOW.as_secs());

/// What a memory says of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was never taken; it is now.
    First,
    /// It was taken before.
    Before,
    /// It may have been, before this memory began: it has to come with a nonce that was issued since.
    Unknown,
}

/// The proofs that were taken, in two generations.
#[derive(Debug)]
pub struct Replays {
    /// Since when everything is remembered: the older generation's beginning.
    since: Timestamp,
    /// The younger one's.
    turned: Timestamp,
    older: BTreeSet<ProofId>,
    younger: BTreeSet<ProofId>,
    most: usize,
}

impl Replays {
    /// Without any, from now on; a generation has `most` proofs.
    pub fn new(now: Timestamp, most: usize) -> Self {
        Self { since: now, turned: now, older: BTreeSet::new(), younger: BTreeSet::new(), most }
    }

    /// Takes a proof, whose nonce was issued at `nonce` where it has one that holds.
    pub fn take(&mut self, proof: &Proof, nonce: Option<Timestamp>, now: Timestamp) -> Seen {
        if self.older.contains(&proof.id) || self.younger.contains(&proof.id) {
            return Seen::Before;
        }
        // Nobody took it earlier than a window before its time, nor before its nonce was known.
        let earliest = proof.issued.minus(WINDOW).max(nonce.unwrap_or(Timestamp::from_micros(0)));
        if earliest <= self.since {
            return Seen::Unknown;
        }
        if self.turned.plus(KEPT) <= now || self.younger.len() >= self.most {
            self.older = std::mem::take(&mut self.younger);
            self.since = self.turned;
            self.turned = now;
        }
        self.younger.insert(proof.id);
        Seen::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::Thumbprint;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn proof(jti: &str, issued: i64) -> Proof {
        let key = Thumbprint::of("a key");
        Proof { key, id: ProofId::new(&key, jti), issued: at(issued), nonce: None }
    }

    #[test]
    fn a_proof_is_taken_once_and_another_key_has_other_proofs() {
        let mut replays = Replays::new(at(0), 10);
        assert_eq!(replays.take(&proof("a", 1000), None, at(1000)), Seen::First);
        assert_eq!(replays.take(&proof("a", 1000), None, at(1000)), Seen::Before);
        assert_eq!(replays.take(&proof("a", 1001), Some(at(1000)), at(1001)), Seen::Before);
        let key = Thumbprint::of("another key");
        let other = Proof { key, id: ProofId::new(&key, "a"), ..proof("a", 1000) };
        assert_eq!(replays.take(&other, None, at(1000)), Seen::First);
    }

    #[test]
    fn after_a_start_a_proof_needs_a_nonce_until_none_of_before_can_come() {
        let mut replays = Replays::new(at(10_000), 10);
        assert_eq!(replays.take(&proof("a", 10_001), None, at(10_001)), Seen::Unknown);
        assert_eq!(replays.take(&proof("a", 10_001), Some(at(9_999)), at(10_001)), Seen::Unknown);
        assert_eq!(replays.take(&proof("a", 10_001), Some(at(10_001)), at(10_001)), Seen::First);
        assert_eq!(replays.take(&proof("b", 10_300), None, at(10_300)), Seen::Unknown);
        assert_eq!(replays.take(&proof("c", 10_301), None, at(10_301)), Seen::First);
    }

    proptest! {
        /// Against a memory that forgets nothing, with restarts and with far too little room.
        #[test]
        fn nothing_is_ever_taken_twice(
            steps in prop::collection::vec((0i64..60, -300i64..=300, 0u8..40, any::<bool>(), 0u8..30), 1..400),
            most in 1usize..20,
        ) {
            let (mut now, mut taken, mut replays) = (10_000, HashSet::new(), Replays::new(at(9_000), most));
            let mut made: Vec<(Proof, Option<Timestamp>)> = Vec::new();
            for (wait, skew, pick, with_nonce, restart) in steps {
                now += wait;
                if restart == 0 {
                    replays = Replays::new(at(now), most);
                }
                // A new proof, or one of before.
                let (proof, nonce) = match made.get(usize::from(pick)) {
                    Some(known) => known.clone(),
                    None => {
                        let one = proof(&made.len().to_string(), now + skew);
                        made.push((one.clone(), with_nonce.then(|| at(now))));
                        (one, with_nonce.then(|| at(now)))
                    }
                };
                // What is out of its window, or has an old nonce, is refused before it comes here.
                let stale = nonce.is_some_and(|nonce| nonce.plus(super::super::nonce::LIFETIME) <= at(now));
                if stale || proof.issued.plus(WINDOW) < at(now) || at(now).plus(WINDOW) < proof.issued {
                    continue;
                }
                match replays.take(&proof, nonce, at(now)) {
                    Seen::First => prop_assert!(taken.insert(proof.id), "taken twice"),
                    Seen::Before => prop_assert!(taken.contains(&proof.id)),
                    Seen::Unknown => {}
                }
                prop_assert!(replays.older.len() + replays.younger.len() <= 2 * most);
            }
        }

        #[test]
        fn with_room_and_time_no_honest_proof_is_turned_away(waits in prop::collection::vec(0i64..400, 1..60)) {
            let (mut now, mut replays) = (20_000, Replays::new(at(10_000), 100));
            for (index, wait) in waits.into_iter().enumerate() {
                now += wait;
                prop_assert_eq!(replays.take(&proof(&index.to_string(), now - 299), None, at(now)), Seen::First);
            }
        }
    }
}
