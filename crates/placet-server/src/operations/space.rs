//! Whether there is room to begin anything: new actions and tokens are refused before the disk is full, so that
//! outcomes and revocations can still be written (DESIGN §8). Who keeps the room is the binary, which knows the disk.
//!
//! Invariant: only beginning something is refused. Whatever ends something goes on for as long as there is any room.

use crate::problem::Problem;
use placet_core::refusal::Code;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::sync::Notify;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);

/// Whether there is room.
#[derive(Debug, Default)]
pub struct Space {
    tight: AtomicBool,
    full: Notify,
}

impl Space {
    /// Whether there is too little room to begin anything.
    pub fn is_tight(&self) -> bool {
        self.tight.load(Ordering::Relaxed)
    }

    /// Says whether there is.
    pub fn set_tight(&self, tight: bool) {
        self.tight.store(tight, Ordering::Relaxed);
    }

    /// Refuses to begin something where there is too little room.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) fn may_begin(&self) -> Result<(), Problem> {
        if self.is_tight() {
            return Err(Problem::of(
                Code::Unavailable,
                "too little space is left to begin anything; nothing was done, try again later",
            ));
        }
        Ok(())
    }

    /// The store met the end of the disk: nothing begins, and the reserve is looked at now.
    pub fn met_the_end(&self) {
        self.tight.store(true, Ordering::Relaxed);
        self.full.notify_one();
    }

    /// Waits until it is time to look, or the store met the end of the disk; answers whether it did.
    pub async fn time_to_look(&self) -> bool {
        tokio::select! {
            () = self.full.notified() => true,
            () = tokio::time::sleep(EVERY) => false,
        }
    }
}
