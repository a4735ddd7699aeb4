//! The end of trust in an issuer. Its word counts no more from the first transaction on; what was given on it is revoked in
//! that one and in as many others as it takes, because there may be hundreds of thousands of grants and none may keep the
//! writer for long.
//!
//! Invariant: the issuer is dead before its grants are looked for, so that none is added behind; who ends it is stored until
//! all have followed, so that what is cut off is gone on with ([`go_on`]).

use super::{Ended, Ending, MAX_TOLD, What, apply};
use crate::{app::App, caller::Source, problem::Problem};
use placet_core::id::{GrantId, TrustedIssuerId};
use placet_store::{grants, trusted_issuers};
use std::sync::Arc;
use tokio::sync::watch;

/// How many grants a transaction revokes.
pub(crate) const STEP: usize = 100;

/// Ends the trust in an issuer, and everything of which a token was given on its word; answers when all of it has ended.
///
/// # Errors
/// `unavailable` where the store doesn't answer: what is left follows by itself.
pub(crate) async fn end(
    app: &Arc<App>,
    id: TrustedIssuerId,
    by: &str,
    source: Source,
) -> Result<Ended, Problem> {
    let mut all = Ended::default();
    let mut after = None;
    loop {
        let (ended, last) = step(app, id, by, source, after).await?;
        all.truncated |=
            ended.truncated || all.affected_grants.len() + ended.affected_grants.len() > MAX_TOLD;
        all.affected_grants.extend(ended.affected_grants);
        all.affected_grants.truncate(MAX_TOLD);
        all.affected_tasks.extend(ended.affected_tasks);
        all.affected_tasks.truncate(MAX_TOLD);
        all.in_flight.extend(ended.in_flight);
        if last.is_none() {
            return Ok(all);
        }
        after = last;
    }
}

/// Goes on with what was cut off, here or on another node, until this node stops. Where somebody is still at it, both get it
/// done.
///
/// # Errors
/// As [`end`].
pub(crate) async fn go_on(app: &Arc<App>, stopped: &watch::Receiver<bool>) -> Result<(), Problem> {
    while let Some((id, by)) = app.store.read(|q| trusted_issuers::ending(q)).await? {
        let mut after = None;
        loop {
            if *stopped.borrow() {
                return Ok(());
            }
            let (_, last) = step(app, id, &by, Source(None), after).await?;
            if last.is_none() {
                break;
            }
            after = last;
        }
    }
    Ok(())
}

/// One transaction; answers what it ended, and behind which grant the next one goes on.
async fn step(
    app: &Arc<App>,
    id: TrustedIssuerId,
    by: &str,
    source: Source,
    after: Option<GrantId>,
) -> Result<(Ended, Option<GrantId>), Problem> {
    let (inner, by, now) = (Arc::clone(app), by.to_owned(), app.clock.now());
    let stepped = app.store.write(move |tx| {
        let found = trusted_issuers::grants(tx, id, after, now, STEP)?;
        let last = found.last().copied().filter(|_| found.len() == STEP);
        let mut given = Vec::with_capacity(found.len());
        for grant in found {
            given.extend(grants::find(tx, grant)?);
        }
        let ending = Ending {
            what: What::Issuer(id, given),
            by: by.clone(),
            reason: Some("the issuer on whose word it was given is trusted no more".to_owned()),
            affected_task_chain: None,
            source,
        };
        let ended = apply(&inner, tx, &ending, now)?;
        if last.is_none() {
            trusted_issuers::followed(tx, id)?;
        }
        Ok::<_, Problem>((ended, last))
    });
    let stepped = stepped.await?;
    app.bearers.authority_changed();
    Ok(stepped)
}
