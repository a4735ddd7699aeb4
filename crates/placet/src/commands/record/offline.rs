//! Verifying the record where it is stored, without a server.
//!
//! Invariant: it reads only. What is damaged is a verdict, not a failure to read.

use super::outside::Outside;
use crate::{
    data::{BodyReader, Installation},
    exit::Failure,
};
use placet_core::record::{Checkpoint, Entry, Fault, Verified, Verifier, VerifierKey};
use placet_store::{
    Fault as StoreFault, Reader,
    record::{self, StoredEntry},
};
use std::collections::BTreeMap;

/// Entries read at once.
const PAGE: u64 = 500;

/// What verifying came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The record, or what is wrong with it.
    pub(crate) result: Result<Verified, Wrong>,
    /// Its newest checkpoint.
    pub(crate) checkpoint: Option<String>,
}

/// Why a record is not verified.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// It is not what was signed.
    Record(Fault),
    /// It can't be read any more.
    Damaged(String),
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Record(fault) => write!(f, "{fault}"),
            Self::Damaged(what) => write!(f, "the record is damaged: {what}"),
        }
    }
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self::Record(fault)
    }
}

/// Verifies the record of an installation, with the checkpoints from `outside`, and those bodies that can be read.
///
/// # Errors
/// A sentence, where there is no record to read.
pub(crate) fn verify(
    installation: &Installation<'_>,
    key: &VerifierKey,
    outside: &Outside,
    bodies: &BodyReader,
) -> Result<Outcome, Failure> {
    // Where even this can't be read, that is said below.
    if let Ok(None) = installation.schema() {
        return Err(installation.no_database());
    }
    let mut newest = None;
    let walked = installation.read(|q| {
        let checkpoint = record::checkpoint(q).map_err(Stop::Store)?;
        newest = checkpoint.map(|(_, note)| note);
        walk(q, key, newest.as_deref(), outside, bodies)
    });
    let result = match walked {
        Ok(verified) => Ok(verified),
        Err(Stop::Wrong(wrong)) => Err(wrong),
        Err(Stop::Store(StoreFault::Corrupt(what))) => Err(Wrong::Damaged(what)),
        Err(Stop::Store(StoreFault::Unreadable(what))) => {
            Err(Wrong::Damaged(format!("{what} can't be read")))
        }
        Err(Stop::Store(fault)) => {
            return Err(installation.unread(&fault));
        }
    };
    Ok(Outcome { result, checkpoint: newest })
}

/// Why the walk ended early.
enum Stop {
    Wrong(Wrong),
    Store(StoreFault),
}

impl From<StoreFault> for Stop {
    fn from(fault: StoreFault) -> Self {
        Self::Store(fault)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Wrong(fault.into())
    }
}

fn walk(
    q: &mut Reader<'_>,
    key: &VerifierKey,
    checkpoint: Option<&str>,
    outside: &Outside,
    bodies: &BodyReader,
) -> Result<Verified, Stop> {
    let given: Vec<&str> = outside.given.iter().map(String::as_str).collect();
    let verifier = Verifier::new(key.clone(), checkpoint, &given)?;
    let mut verifier = verifier.with_kept(&outside.kept, outside.may_be_older)?;
    let size = checkpoint
        .and_then(|note| Checkpoint::parse_and_verify(note, key).ok())
        .map_or(0, |checkpoint| checkpoint.size);
    let mut fed: BTreeMap<_, u64> = BTreeMap::new();
    let mut at = 0;
    while at < size {
        let page = record::entries(q, at, PAGE.min(size - at))?;
        if page.is_empty() {
            break;
        }
        for stored in &page {
            feed(stored, bodies, |entry| verifier.entry(entry))?;
            *fed.entry(stored.node).or_default() += 1;
        }
        at += page.len() as u64;
    }
    record::check_tiles(q, &verifier)?;
    let heads = record::heads(q)?;
    for head in &heads {
        let mut seq = fed.get(&head.node).copied().unwrap_or_default();
        loop {
            let page = record::chain(q, head.node, seq + 1, PAGE)?;
            let Some(last) = page.last() else { break };
            seq = seq.max(last.seq);
            for stored in &page {
                feed(stored, bodies, |entry| verifier.tail(entry))?;
            }
        }
    }
    Ok(verifier.finish(heads.iter().map(|head| head.note.as_str()))?)
}

fn feed(
    stored: &StoredEntry,
    bodies: &BodyReader,
    take: impl FnOnce(&Entry<'_>) -> Result<(), Fault>,
) -> Result<(), Stop> {
    let (node, seq) = (stored.node, stored.seq);
    let body = stored.sealed.as_deref().map(|sealed| bodies.open(stored.id, sealed));
    let body = body.transpose().map_err(|()| Stop::Wrong(Fault::Body { node, seq }.into()))?.flatten();
    Ok(take(&Entry { node, seq, leaf: &stored.leaf, chain_hash: stored.chain_hash, body: body.as_ref() })?)
}
