//! Each DPoP proof is good once, and the server's nonces (RFC 9449 §8, §9 and §11.1).
//!
//! A node alone remembers the proofs itself, which costs nothing but memory. Where several share a database, a proof is
//! taken there, in a transaction of its own: exact on all of them, for one round trip more. A nonce is asked for only where
//! the memory can't know whether it has seen a proof: for some minutes after a start, and when more come than it holds.
//!
//! Invariant: only proofs that hold, of keys that a live token or an authenticated client goes with, are remembered.

use crate::{app::App, problem::Problem};
use placet_core::{
    dpop::{
        Proof, WINDOW, nonce,
        replays::{Replays, Seen},
    },
    refusal::Code,
    time::Timestamp,
};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How many proofs are remembered for certain; about 40 bytes each.
const MOST: usize = 1 << 19;
/// How far the clocks of two nodes may lie apart.
const SKEW: Duration = Duration::from_secs(30);

/// The proofs that this node has taken.
#[derive(Debug)]
pub struct Proofs(Mutex<Replays>);

impl Proofs {
    /// None yet.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Replays::new(now, MOST)))
    }
}

/// Takes a proof that holds for its request.
///
/// # Errors
/// `proof_invalid` where it was used before, `nonce_required` where it has to come with another nonce.
pub async fn take(app: &App, proof: &Proof) -> Result<(), Problem> {
    let now = app.clock.now();
    let nonce = match &proof.nonce {
        Some(text) => Some(nonce::issued(&app.secrets.hashing, text, now).ok_or_else(nonce_required)?),
        None => None,
    };
    let seen = app.proofs.0.lock().unwrap_or_else(PoisonError::into_inner).take(proof, nonce, now);
    match seen {
        Seen::Before => return Err(used()),
        Seen::Unknown if !app.shared => return Err(nonce_required()),
        Seen::First | Seen::Unknown => {}
    }
    if app.shared {
        let (id, expires) = (proof.id, proof.issued.plus(WINDOW).plus(SKEW));
        let first = app
            .store
            .write::<_, placet_store::Fault, _>(move |tx| placet_store::proofs::take(tx, id, expires))
            .await?;
        if !first {
            return Err(used());
        }
    }
    Ok(())
}

/// The nonce of this moment.
pub fn nonce(app: &App) -> String {
    nonce::issue(&app.secrets.hashing, app.clock.now())
}

fn used() -> Problem {
    Problem::of(Code::ProofInvalid, "the DPoP proof was used before: make one for each request")
}

fn nonce_required() -> Problem {
    let detail =
        "make a DPoP proof with the `nonce` of this answer's `DPoP-Nonce` header, and send the request again";
    Problem::of(Code::NonceRequired, detail)
}
