//! Clients whose id is the URL of a document (draft-ietf-oauth-client-id-metadata-document), once an agent stands for
//! one: what the document says now is what counts.
//!
//! Invariant: a document that can't be read now, and was not read a short time ago, is no proof of anything.

use super::{Client, assertion::unread, find};
use crate::{
    app::App,
    oauth::client::refreshed,
    problem::{OAuthError, Problem},
    recording,
};
use placet_core::{
    client::Metadata,
    id::AgentId,
    record::{EntryType, Envelope},
};
use placet_store::clients;
use serde_json::Value;
use std::sync::Arc;

/// The active client whose id is this URL, with what its document says now; `None` where no agent stands for it.
///
/// # Errors
/// 401 `invalid_client` where its document is not acceptable, 503 where it can't be read.
pub(super) async fn known(app: &App, url: &str) -> Result<Option<Arc<Client>>, OAuthError> {
    let sought = url.to_owned();
    let Some(agent) = app.store.read(move |q| clients::by_url(q, &sought)).await? else { return Ok(None) };
    let Some(client) = find(app, agent).await? else { return Ok(None) };
    let metadata = read(app, url).await?;
    if metadata == client.metadata {
        return Ok(Some(client));
    }
    follow(app, agent, &metadata).await?;
    refreshed(app, agent).await
}

/// What the document at `url` says.
///
/// # Errors
/// As [`known`].
pub(super) async fn read(app: &App, url: &str) -> Result<Arc<Metadata>, OAuthError> {
    let read = app.foreign.document(url, app.clock.now()).await;
    read.map_err(|error| unread("the client's document can't be used", &error))
}

/// Stores what the document says now, and records that it has changed.
async fn follow(app: &App, agent: AgentId, metadata: &Metadata) -> Result<(), OAuthError> {
    let envelope = Envelope {
        agent: Some(agent),
        ..recording::by(EntryType::AgentChanged, app.clock.now(), agent.to_string())
    };
    let entry = app.prepare(envelope, Some(&Value::Object(metadata.to_members())))?;
    let metadata = metadata.clone();
    app.store
        .write(move |tx| {
            if clients::find(tx, agent)?.metadata != metadata {
                clients::put(tx, agent, &metadata)?;
                tx.record(entry.clone())?;
            }
            Ok::<_, Problem>(())
        })
        .await?;
    app.bearers.authority_changed();
    Ok(())
}
