//! Ends clients that registered themselves, or were confirmed as what a document says, and that nobody uses any more
//! (`placet serve --idle-registrations`): with everything that they hold, as an administrator would.
//!
//! What is used is whoever is given a token, or a grant. What such a client said of itself is forgotten, like that of one
//! that nobody ever confirmed; its URL is free again, and whoever comes from there is somebody new.
//!
//! Invariant: an agent that an administrator made never ends here, nor one that somebody has stopped: that would let it
//! come back as another. Whether it is unused is looked at in the transaction that ends it.

use super::Failure;
use crate::{
    app::App,
    caller::Source,
    problem::Problem,
    reconcile::ITSELF,
    revocation::{self, Ending, What},
};
use placet_core::{id::AgentId, time::Timestamp};
use placet_store::{Fault, client_use};
use std::sync::Arc;
use tokio::sync::watch;

/// How many clients are looked for at once.
const BATCH: usize = 100;

/// Those that are due now.
pub(super) async fn end(app: &Arc<App>, stopped: &watch::Receiver<bool>) -> Result<(), Failure> {
    let Some(idle) = app.idle_registrations else { return Ok(()) };
    let now = app.clock.now();
    let before = client_use::before(now, idle);
    let prepare = move |tx: &mut placet_store::Tx<'_>| {
        let begun = client_use::begin(tx, now, BATCH)?;
        Ok::<_, Fault>(begun.max(client_use::leave(tx, before, BATCH)?))
    };
    while app.store.write(prepare).await? >= BATCH as u64 && !*stopped.borrow() {
        tokio::task::yield_now().await;
    }
    let mut failed = false;
    loop {
        let unused = app.store.read(move |q| client_use::unused(q, before, BATCH)).await?;
        for agent in &unused {
            if *stopped.borrow() {
                return Ok(());
            }
            // One that can't be ended is no reason for others to stay.
            if let Err(problem) = end_one(app, *agent, before, now).await {
                tracing::warn!(%agent, detail = problem.detail(), "an unused client could not be ended; it is tried again");
                failed = true;
            }
        }
        if unused.len() < BATCH || failed {
            return Ok(());
        }
    }
}

/// Ends one, if it is unused still.
async fn end_one(app: &Arc<App>, agent: AgentId, before: Timestamp, now: Timestamp) -> Result<(), Problem> {
    let ending = Ending {
        what: What::Agent(agent),
        by: ITSELF.to_owned(),
        reason: Some("the client was not used for too long".to_owned()),
        affected_task_chain: None,
        source: Source(None),
    };
    let inner = Arc::clone(app);
    let ended = app.store.write(move |tx| {
        let is_due = client_use::is_unused(tx, agent, before)?;
        if is_due {
            revocation::apply(&inner, tx, &ending, now)?;
            client_use::forget(tx, agent)?;
        }
        Ok::<_, Problem>(is_due)
    });
    if ended.await? {
        tracing::info!(%agent, "a client that registered itself was not used for too long and has ended");
        app.bearers.authority_changed();
    }
    Ok(())
}
