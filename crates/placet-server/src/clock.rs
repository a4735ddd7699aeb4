//! The only places where the server reads the time and takes randomness; everything else is handed both.

use aws_lc_rs::rand;
use placet_core::{
    id::{Id, Kind},
    signing::Moment,
    time::Timestamp,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

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

/// Random bytes from the operating system.
///
/// # Panics
/// Never returns where the system has no randomness: there is nothing safe to go on with.
pub fn entropy<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if rand::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    bytes
}

/// At what a request to an upstream is signed.
pub fn moment() -> Moment {
    Moment { now: Clock::System.now(), nonce: entropy() }
}

/// A new id, made at `now`.
pub fn fresh<K: Kind>(now: Timestamp) -> Id<K> {
    Id::from_parts(now, entropy())
}
