//! Lets go of what has been kept long enough: bodies of the record, and rows that nothing can ask for any more.
//!
//! The record itself stays for ever, with every proof; what it says about people and parameters does not.
//!
//! Invariant: a transaction drops at most [`BATCH`] rows of a kind, and between two others have their turn.

use super::{Failure, Health, turn, turns, unused};
use crate::app::App;
use placet_core::time::Timestamp;
use placet_store::{Fault, Tx, accounts, providers, purposes, retention, second_factors, status_lists};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// How long an approval may wait at most: longer than any rule's `within`, twice.
const LONGEST: Duration = Duration::from_secs(90 * 24 * 3600);
/// How often it is looked.
const EVERY: Duration = Duration::from_secs(600);
/// How many rows a transaction drops.
const BATCH: usize = 200;
/// How long windows of limits stay after their end: longer than any action takes that may give back to them.
const COUNTERS: Duration = Duration::from_secs(2 * 24 * 3600);
/// How long sessions stay after their end.
const SESSIONS: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a secret of an authenticator app waits to be confirmed.
const UNCONFIRMED: Duration = Duration::from_secs(3600);
/// How long actions stay after their outcome: longer than the longest window of a limit.
const ACTIONS: Duration = Duration::from_secs(90 * 24 * 3600);

/// The job.
pub(super) async fn run(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut health = Health::of(&app, "letting go of what is old", EVERY);
    let mut turns = turns(EVERY);
    while turn(&mut turns, &mut stopped).await {
        let dropped = once(&app, &stopped).await;
        health.note(&dropped.and(unused::end(&app, &stopped).await));
    }
}

type Drops = fn(&mut Tx<'_>, Timestamp, usize) -> Result<u64, Fault>;

/// Everything that is due now.
async fn once(app: &App, stopped: &watch::Receiver<bool>) -> Result<(), Failure> {
    let now = app.clock.now();
    let mut kinds: Vec<(Drops, Timestamp)> = vec![
        (retention::erase_kept, now),
        (retention::counters, now.minus(COUNTERS)),
        (retention::leases, now.minus(COUNTERS)),
        (retention::sessions, now.minus(SESSIONS)),
        (providers::purge, now),
        (providers::purge_links, now),
        (accounts::purge, now),
        (second_factors::forget_unconfirmed, now.minus(UNCONFIRMED)),
        (retention::actions, now.minus(ACTIONS)),
        (status_lists::purge, now),
        (purposes::forget_refusals, now),
        (purposes::forget_values, now),
    ];
    if let Some(keep) = app.keep_record {
        kinds.push((retention::erase_bodies, now.minus(keep)));
        // They show what was asked for, as bodies do; and one that may still be open is never dropped.
        kinds.push((retention::approvals, now.minus(keep.max(LONGEST))));
    }
    for (drops, before) in kinds {
        loop {
            let dropped = app.store.write(move |tx| drops(tx, before, BATCH)).await?;
            if dropped < BATCH as u64 || *stopped.borrow() {
                break;
            }
            // Whoever waits comes first.
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
