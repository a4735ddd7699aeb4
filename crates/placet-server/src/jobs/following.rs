//! What other nodes have changed: read again a few times a second, so that listings, introspection, dry runs and
//! everything that is kept in memory follow within a second.
//!
//! The commit point needs none of this: it compares versions in its own transaction, and is exact at once. Asking
//! whether anything has changed reads one row; only then is anything read anew.
//!
//! Invariant: where the store has not answered for [`STALE`], nothing that is kept in memory is believed: every chain
//! is read anew, which fails as long as the store does, and nothing is sealed.

use super::{Failure, Health, turn, turns};
use crate::{app::App, vault::rotation};
use placet_store::{Fault, Version, versions};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::timeout};

/// How often is asked whether anything has changed.
const FOLLOW: Duration = Duration::from_millis(200);
/// How long the store may take to say so.
const BOUND: Duration = Duration::from_secs(2);
/// How long what is kept in memory is believed without a word from the store.
pub(super) const STALE: Duration = Duration::from_secs(5);
/// How often the vault keys are looked at.
const VAULT: Duration = Duration::from_secs(1);

/// The counts that tell whether something has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    all: u64,
    keys: u64,
}

/// Follows what other nodes change.
pub(super) async fn following(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut health = Health::of(&app, "following the other nodes", FOLLOW);
    let mut turns = turns(FOLLOW);
    let mut followed: Option<Seen> = None;
    let mut last = Instant::now();
    while turn(&mut turns, &mut stopped).await {
        match follow(&app, followed).await {
            Ok(seen) => {
                followed = Some(seen);
                last = Instant::now();
                app.bearers.heard();
                health.note(&Ok(()));
            }
            Err(failure) => {
                health.note(&Err(failure));
                if last.elapsed() >= STALE {
                    app.bearers.authority_changed();
                    app.secrets.vault.suspend();
                    // What was missed meanwhile is read anew, whatever the counts say.
                    followed = None;
                }
            }
        }
    }
}

/// Reads anew what has changed since `followed`, and answers what was seen before reading it.
async fn follow(app: &App, followed: Option<Seen>) -> Result<Seen, Failure> {
    let asked = app.store.read(|q| {
        let (all, keys) = (versions::changes(q)?, versions::current(q, &Version::Keys)?);
        Ok::<_, Fault>(Seen { all, keys })
    });
    let seen = timeout(BOUND, asked).await.map_err(|_| Failure("the store does not answer".to_owned()))??;
    // What was ended is forgotten first, also where the keys can't be read.
    let refreshed = match followed {
        Some(followed) if followed.all == seen.all => Ok(()),
        _ => app.refresh().await,
    };
    if followed.is_none_or(|followed| followed.keys != seen.keys) {
        app.reload_keys().await?;
    }
    refreshed?;
    Ok(seen)
}

/// Looks after the vault keys: what is at hand, what other nodes have, and what is still sealed by an old one.
pub(super) async fn keeping_the_vault(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut health = Health::of(&app, "keeping the vault", VAULT);
    let mut turns = turns(VAULT);
    let mut keeper = rotation::Keeper::default();
    while turn(&mut turns, &mut stopped).await {
        health.note(&keeper.turn(&app).await.map_err(Failure));
    }
    if let Err(fault) = keeper.leave(&app).await {
        tracing::warn!(error = %fault, "the other nodes could not be told that this one stops");
    }
}
