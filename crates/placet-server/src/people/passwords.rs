//! Argon2id, off the threads that serve requests and few at once: hashing is slow and large on purpose.
//!
//! The bound is one for the process, as processors and memory are.
//!
//! Invariant: however many people sign in, at most [`AT_ONCE`] hashes are made at a time, and no more than [`MOST`]
//! requests wait for one.

use crate::{clock, problem::Problem};
use placet_core::{
    password::{self, PasswordError},
    refusal::Code,
};
use tokio::sync::Semaphore;

/// How many hashes are made at once.
const AT_ONCE: usize = 2;
/// How many requests are hashing or wait for it.
const MOST: usize = 34;

static HASHING: Semaphore = Semaphore::const_new(AT_ONCE);
static WAITING: Semaphore = Semaphore::const_new(MOST);

/// A hash that no password has: what the password of an unknown user is compared with, so that it takes as long.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The text to store for a new password.
///
/// # Errors
/// `request_invalid` where it is too short or too long, `unavailable` where too many wait.
pub(crate) async fn hashed(password: String) -> Result<String, Problem> {
    let hashed = slowly(move || password::hash(&password, clock::entropy())).await?;
    hashed.map_err(|error| match error {
        PasswordError::Length => Problem::of(Code::RequestInvalid, format!("`password`: {error}")),
        PasswordError::Hash => Problem::of(Code::Internal, error.to_string()),
    })
}

/// Whether `password` is the one of `stored`; without `stored` no, after the same time.
///
/// # Errors
/// `unavailable` where too many wait.
pub(crate) async fn fits(password: String, stored: Option<String>) -> Result<bool, Problem> {
    slowly(move || {
        let known = stored.is_some();
        password::verify(&password, stored.as_deref().unwrap_or(NOBODY)) && known
    })
    .await
}

async fn slowly<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let busy = || Problem::of(Code::Unavailable, "too many people are signing in; try again");
    let waiting = WAITING.try_acquire().map_err(|_| busy())?;
    let turn = HASHING.acquire().await.map_err(|_| busy())?;
    let work = move || {
        // Held until the work is done, also where its request is gone by then.
        let _held = (waiting, turn);
        work()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Problem::of(Code::Internal, "hashing a password failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_user_costs_the_same_hash_and_never_signs_in() {
        let stored = hashed("correct horse battery".into()).await.unwrap();
        let parameters = |text: &str| text.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(parameters(&stored), parameters(NOBODY));
        assert!(fits("correct horse battery".into(), Some(stored)).await.unwrap());
        assert!(!fits("correct horse battery".into(), None).await.unwrap());
        assert!(!password::verify("", NOBODY));
    }

    #[tokio::test]
    async fn a_short_password_is_refused() {
        assert_eq!(hashed("short".into()).await.unwrap_err().code(), Code::RequestInvalid);
    }
}
