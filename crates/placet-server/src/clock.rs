//! The only places where the server reads the time and takes randomness; everything else is handed both.

use aws_lc_rs::rand;
use placet_core::{
    id::{Id, Kind},
    signing::Moment,
    time::Timestamp,
};
use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use zeroize::{Zeroize as _, Zeroizing};

/// Tells the time. Tests set their own with [`Clock::at`].
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's clock.
    System,
    /// A clock that stands until it is set (microseconds since the epoch).
    Set(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `at`.
    pub fn at(at: Timestamp) -> Self {
        Self::Set(Arc::new(AtomicI64::new(at.as_micros())))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                #[expect(clippy::disallowed_methods, reason = "this is the clock")]
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
            }
            Self::Set(micros) => Timestamp::from_micros(micros.load(Ordering::Relaxed)),
        }
    }
}

/// How many random bytes a thread draws at once: each draw asks the processor for fresh entropy, which takes longer than
/// making the bytes, and an action needs half a dozen ids and nonces.
const DRAWN: usize = 512;

thread_local! {
    /// What this thread has drawn and not yet given out: the first `.1` bytes. What was given out is wiped.
    static POOL: RefCell<(Zeroizing<[u8; DRAWN]>, usize)> = RefCell::new((Zeroizing::new([0; DRAWN]), 0));
}

/// Random bytes, seeded by the operating system and the processor.
///
/// # Panics
/// Never returns where the system has no randomness: there is nothing safe to go on with.
pub fn entropy<const N: usize>() -> [u8; N] {
    let drawn = POOL.try_with(|pool| pool.try_borrow_mut().ok().and_then(|mut pool| drawn(&mut pool)));
    // A thread that ends has no pool any more, and much at once is not taken from it.
    drawn.ok().flatten().unwrap_or_else(|| {
        let mut bytes = [0; N];
        fill(&mut bytes);
        bytes
    })
}

/// The last bytes of the pool, which is filled again where it has too few; none where it is too small.
fn drawn<const N: usize>((pool, left): &mut (Zeroizing<[u8; DRAWN]>, usize)) -> Option<[u8; N]> {
    if *left < N {
        fill(&mut **pool);
        *left = DRAWN;
    }
    let at = left.checked_sub(N)?;
    let taken = pool.get_mut(at..*left)?;
    let bytes = <[u8; N]>::try_from(&*taken).ok()?;
    taken.zeroize();
    *left = at;
    Some(bytes)
}

fn fill(bytes: &mut [u8]) {
    if rand::fill(bytes).is_err() {
        std::process::abort();
    }
}

/// At what a request to an upstream is signed.
pub fn moment() -> Moment {
    Moment { now: Clock::System.now(), nonce: entropy() }
}

/// A new id, made at `now`.
pub fn fresh<K: Kind>(now: Timestamp) -> Id<K> {
    Id::from_parts(now, entropy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nothing_random_is_given_out_twice() {
        let mut seen = HashSet::new();
        for _ in 0..3 * DRAWN {
            assert!(seen.insert(entropy::<16>().to_vec()));
            assert!(seen.insert(entropy::<7>().to_vec()));
            assert!(seen.insert(entropy::<32>().to_vec()));
        }
        // More than is drawn at once.
        let large = entropy::<{ 2 * DRAWN }>();
        let pieces: HashSet<_> = large.chunks(16).collect();
        assert_eq!(pieces.len(), 2 * DRAWN / 16);
    }

    #[test]
    fn what_was_given_out_is_not_kept() {
        let mut pool = (Zeroizing::new([0; DRAWN]), 0);
        let given: [u8; 24] = drawn(&mut pool).unwrap();
        let (kept, left) = &pool;
        assert_eq!(*left, DRAWN - 24);
        assert!(kept[*left..].iter().all(|byte| *byte == 0));
        assert!(!kept.windows(24).any(|window| window == given));
    }
}
