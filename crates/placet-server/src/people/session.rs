//! Sessions: how one begins, whether it lives still, and how it is ended.

use super::proof::Proven;
use crate::{
    app::App,
    caller::{SESSION, SESSION_PREFIX, Source},
    clock,
    problem::Problem,
    recording,
};
use placet_core::{
    id::SessionId,
    record::{EntryType, Envelope},
    refusal::Code,
    secret::Secret,
    time::Timestamp,
};
use placet_store::{Fault, Query, sessions};
use serde_json::json;
use std::time::Duration;

/// How long a session lasts.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// A session that has just begun.
pub(crate) struct Begun {
    /// Its id.
    pub(crate) id: SessionId,
    /// What it is used with.
    pub(crate) token: Secret,
    /// When it ends by itself.
    pub(crate) expires: Timestamp,
}

/// Begins a session with a proof, which is used up by it.
///
/// # Errors
/// As [`Proven::used`].
pub(crate) async fn begin(app: &App, proven: Proven, source: Source) -> Result<Begun, Problem> {
    let (now, user) = (app.clock.now(), proven.user.id);
    let (began_with, provider) = (proven.began_with(), proven.provider());
    let (id, expires): (SessionId, _) = (clock::fresh(now), now.plus(LIFETIME));
    let token = Secret::generated(SESSION_PREFIX, clock::entropy());
    let hash = app.secrets.hashing.hash(SESSION, token.expose());
    let envelope = Envelope {
        user: Some(user),
        source: recording::source(source.0),
        ..recording::by(EntryType::SessionStarted, now, user.to_string())
    };
    let mut body = json!({"session": id, "expires": expires, "began_with": began_with});
    if let (Some(members), Some(provider)) = (body.as_object_mut(), provider) {
        members.insert("provider".into(), json!(provider));
    }
    let entry = app.prepare(envelope, Some(&body))?;
    proven
        .used(app, source, now, move |tx| {
            sessions::insert(tx, id, user, hash, (began_with, provider), now, expires)?;
            Ok(tx.record(entry.clone())?)
        })
        .await?;
    Ok(Begun { id, token, expires })
}

/// Lets through a session that lives: it may have been ended since it was looked at.
///
/// # Errors
/// `token_invalid`.
pub(crate) fn still_signed_in(q: &mut impl Query, session: SessionId, now: Timestamp) -> Result<(), Problem> {
    let live =
        sessions::find(q, session)?.is_some_and(|session| session.ended.is_none() && now < session.expires);
    if live { Ok(()) } else { Err(Problem::of(Code::TokenInvalid, "the session has ended: sign in again")) }
}

/// Ends a session.
///
/// # Errors
/// What the store met.
pub(crate) async fn finish(
    app: &App,
    session: &sessions::Session,
    by: String,
    source: Source,
) -> Result<(), Problem> {
    let (id, now) = (session.id, app.clock.now());
    let envelope = Envelope {
        user: Some(session.user),
        source: recording::source(source.0),
        ..recording::by(EntryType::SessionEnded, now, by)
    };
    let entry = app.prepare(envelope, Some(&json!({"session": id})))?;
    let ended = app
        .store
        .write(move |tx| {
            let ended = sessions::end(tx, id, now)?;
            if ended {
                tx.record(entry.clone())?;
            }
            Ok::<_, Fault>(ended)
        })
        .await?;
    // It may have ended meanwhile, or before: what was asked for is so.
    tracing::debug!(session = %id, ended, "a session was ended");
    Ok(())
}
