//! Rotation of the keys that can be rotated while the server answers: of tokens and of bodies.
//!
//! There is always a next key for tokens: it is published and does not sign, so that verifiers that keep the key set
//! for a while know it before the first token signed by it. A rotation makes it the one that signs, and makes another
//! next one. The key that signed before verifies until its last token has expired, and is removed then.
//!
//! Invariant: a key signs only after it was published, but where an administrator gives the old ones up at once.

use super::{event, row, signing_key, token_row};
use crate::{
    app::App,
    clock,
    problem::{Answer, Problem},
    recording,
};
use placet_core::{
    keys::KeyAlgorithm,
    record::{EntryType, Envelope},
    refusal::Code,
    secret::Secret,
    time::Timestamp,
    token::LONGEST_LIFETIME,
};
use placet_store::{
    Fault, PreparedEntry,
    keys::{self, KeyState, Purpose, StoredKey},
};
use std::time::Duration;

/// How long others may keep the key set; so long before its first signature a key should be published.
pub const PUBLISHED: Duration = Duration::from_secs(300);
/// By how much clocks of nodes may differ, and how long one that has not seen a rotation yet goes on signing.
const TOLERANCE: Duration = Duration::from_secs(120);

/// Who asked for a rotation, for the record.
#[derive(Debug, Clone)]
pub struct By {
    /// A user's id or `admin-token`.
    pub by: String,
    /// The address that the request came from.
    pub source: Option<String>,
}

impl By {
    fn entry(&self, entry_type: EntryType, id: &str, now: Timestamp) -> PreparedEntry {
        let envelope = Envelope {
            key: Some(id.to_owned()),
            source: self.source.clone(),
            ..recording::by(entry_type, now, self.by.clone())
        };
        PreparedEntry::new(&envelope, None)
    }
}

/// What a rotation of the token keys has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The next key signs now.
    Signs {
        /// It.
        key: String,
        /// For how long it was published before, where that is less than [`PUBLISHED`].
        early: Option<Duration>,
    },
    /// A key of another algorithm is published; it signs from the next rotation on.
    Published {
        /// It.
        key: String,
    },
}

/// Rotates the keys of tokens. With an algorithm that the next key has not got, one that has it is published instead,
/// and signs from the next rotation on. `at_once` gives up all keys there are: no token that they signed is taken any
/// more, and neither is the next one waited for.
///
/// # Errors
/// `unavailable`; `conflict` where another rotation was faster.
pub async fn tokens(app: &App, algorithm: Option<KeyAlgorithm>, at_once: bool, by: By) -> Answer<Rotated> {
    let now = app.clock.now();
    let vault = app.secrets.vault.load();
    let seen = app.store.read(|q| keys::all(q)).await?;
    let of = |state| seen.iter().find(|key| key.purpose == Purpose::Token && key.state == state).cloned();
    let stored = |key: &StoredKey| key.algorithm.as_deref().and_then(KeyAlgorithm::from_name);
    let (Some(active), Some(next)) = (of(KeyState::Active), of(KeyState::Next)) else {
        return Err(Problem::of(Code::Internal, "there is no key to rotate to"));
    };
    let algorithm = algorithm.or_else(|| stored(&next)).unwrap_or_default();
    let make = |state| {
        token_row(&vault, &signing_key(algorithm), state, now)
            .map_err(|_| Problem::of(Code::Unavailable, "the new key can't be sealed"))
    };
    must_seal(app)?;
    let made = make(KeyState::Next)?;
    let (steps, outcome) = if at_once {
        let first = make(KeyState::Active)?;
        let old =
            seen.iter().filter(|key| key.purpose == Purpose::Token).map(|key| Step::Remove(key.id.clone()));
        let key = first.name().to_owned();
        let steps = old.chain([Step::Insert(first), Step::Insert(made)]).collect();
        (steps, Rotated::Signs { key, early: Some(Duration::ZERO) })
    } else if stored(&next) == Some(algorithm) {
        let until = now.plus(LONGEST_LIFETIME).plus(TOLERANCE);
        let published = Duration::from_micros(now.as_micros().abs_diff(next.since.as_micros()));
        let steps = vec![
            Step::Move(active.id.clone(), KeyState::Active, KeyState::Retired, Some(until)),
            Step::Move(next.id.clone(), KeyState::Next, KeyState::Active, None),
            Step::Insert(made),
        ];
        let early = (published < PUBLISHED).then_some(published);
        (steps, Rotated::Signs { key: next.name().to_owned(), early })
    } else {
        let key = made.name().to_owned();
        (vec![Step::Remove(next.id.clone()), Step::Insert(made)], Rotated::Published { key })
    };
    take(app, steps, by, now).await?;
    Ok(outcome)
}

/// Makes a new key for the bodies of the record. The old ones open what they sealed for as long as it is kept.
///
/// # Errors
/// As [`tokens`].
pub async fn bodies(app: &App, by: By) -> Answer<String> {
    let now = app.clock.now();
    must_seal(app)?;
    let seen = app.store.read(|q| keys::all(q)).await?;
    let of_bodies = || seen.iter().filter(|key| key.purpose == Purpose::Body);
    let newest = of_bodies().filter_map(|key| key.name().parse::<u32>().ok()).max().unwrap_or(0);
    let name = newest.saturating_add(1).to_string();
    let key = Secret::new(clock::entropy::<32>());
    let made = row(&app.secrets.vault.load(), Purpose::Body, &name, &key, KeyState::Active, now)
        .map_err(|_| Problem::of(Code::Unavailable, "the new key can't be sealed"))?;
    let old = of_bodies().filter(|key| key.state == KeyState::Active);
    let mut steps: Vec<_> =
        old.map(|key| Step::Move(key.id.clone(), KeyState::Active, KeyState::Retired, None)).collect();
    steps.push(Step::Insert(made));
    take(app, steps, by, now).await?;
    Ok(name)
}

/// Removes the keys whose last token has expired.
///
/// # Errors
/// [`Fault`].
pub(crate) async fn remove_expired(app: &App, now: Timestamp) -> Result<usize, Fault> {
    let over = |key: &StoredKey| key.until.is_some_and(|until| until <= now);
    let found = app.store.read(|q| keys::all(q)).await?;
    let over: Vec<_> = found.iter().filter(|key| over(key)).collect();
    if over.is_empty() {
        return Ok(0);
    }
    let gone: Vec<_> =
        over.iter().map(|key| (key.id.clone(), event(EntryType::KeyRemoved, &key.id, now))).collect();
    app.store
        .write(move |tx| {
            let mut removed = 0;
            for (id, entry) in &gone {
                // Another node may have been faster.
                if keys::remove(tx, id)? {
                    tx.record(entry.clone())?;
                    removed += 1;
                }
            }
            Ok::<_, Fault>(removed)
        })
        .await
}

/// A node that must not seal can make no key.
fn must_seal(app: &App) -> Answer<()> {
    if app.secrets.vault.seals() {
        return Ok(());
    }
    Err(Problem::of(Code::Unavailable, "this node has not got the vault key that seals; the log says which"))
}

/// A change of a key, as it was decided from what was read.
enum Step {
    Insert(StoredKey),
    Move(String, KeyState, KeyState, Option<Timestamp>),
    Remove(String),
}

impl Step {
    fn entry(&self, by: &By, now: Timestamp) -> PreparedEntry {
        let (entry_type, id) = match self {
            Self::Insert(key) => (EntryType::KeyCreated, &key.id),
            Self::Move(id, _, KeyState::Active, _) => (EntryType::KeyActivated, id),
            Self::Move(id, ..) => (EntryType::KeyRetired, id),
            Self::Remove(id) => (EntryType::KeyRemoved, id),
        };
        by.entry(entry_type, id, now)
    }
}

/// Takes the steps in one transaction, all or none of them, and reads the keys anew.
async fn take(app: &App, steps: Vec<Step>, by: By, now: Timestamp) -> Answer<()> {
    let steps: Vec<_> = steps
        .into_iter()
        .map(|step| {
            let entry = step.entry(&by, now);
            (step, entry)
        })
        .collect();
    app.store
        .write(move |tx| {
            for (step, entry) in &steps {
                let taken = match step {
                    Step::Insert(key) => {
                        keys::insert(tx, key).map(|()| true).or_else(|fault| match fault {
                            Fault::Conflict(_) => Ok(false),
                            fault => Err(fault),
                        })?
                    }
                    Step::Move(id, from, to, until) => keys::advance(tx, id, (*from, *to), now, *until)?,
                    Step::Remove(id) => keys::remove(tx, id)?,
                };
                if !taken {
                    return Err(Problem::of(
                        Code::Conflict,
                        "another rotation was faster; look at the keys again",
                    ));
                }
                tx.record(entry.clone())?;
            }
            Ok(())
        })
        .await?;
    app.reload_keys().await
}
