//! What an administrator says about an agent as an OAuth client: the members of RFC 7591 §2 beside Placet's own.
//!
//! Invariant: a document that a client publishes about itself is not written over.

use super::invalid;
use crate::problem::Problem;
use placet_core::{
    client::{Author, MEMBERS, Metadata},
    id::AgentId,
    refusal::Code,
};
use placet_store::{
    Tx,
    clients::{self, Origin, StoredClient},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Takes the members about the client out of a body; the others are read as `T`.
///
/// # Errors
/// `request_invalid` for what `T` does not take.
pub(super) fn split<T: DeserializeOwned>(
    body: Map<String, Value>,
) -> Result<(T, Map<String, Value>), Problem> {
    let (client, rest): (Map<_, _>, Map<_, _>) =
        body.into_iter().partition(|(name, _)| MEMBERS.contains(&name.as_str()));
    let rest = serde_json::from_value(Value::Object(rest)).map_err(|error| {
        let mut what = error.to_string();
        // serde names the members of `T` only.
        if what.starts_with("unknown field") {
            what = format!("{what}, `{}`", MEMBERS.join("`, `"));
        }
        invalid(format!("the body is not what this endpoint takes: {what}"))
    })?;
    Ok((rest, client))
}

/// The metadata of a new agent.
///
/// # Errors
/// `request_invalid`.
pub(super) fn new(members: &Map<String, Value>) -> Result<Metadata, Problem> {
    Metadata::read(members, Author::Administrator).map_err(|error| invalid(error.to_string()))
}

/// What a change of a client came to.
pub(super) struct Changed {
    /// As it is now.
    pub(super) client: StoredClient,
    /// Whether it had no secret and needs one.
    pub(super) needs_secret: bool,
}

/// Changes the members that are there.
///
/// # Errors
/// `request_invalid`; `conflict` where the metadata is the client's own document.
pub(super) fn change(tx: &mut Tx<'_>, id: AgentId, members: &Map<String, Value>) -> Result<Changed, Problem> {
    let before = clients::find(tx, id)?;
    if members.is_empty() {
        return Ok(Changed { client: before, needs_secret: false });
    }
    if before.origin == Origin::Document {
        let what = "the client's metadata is the document at its `client_id`: it is changed there";
        return Err(Problem::of(Code::Conflict, what));
    }
    let metadata = before.metadata.changed(members, Author::Administrator);
    let metadata = metadata.map_err(|error| invalid(error.to_string()))?;
    let has_secret = |metadata: &Metadata| metadata.token_endpoint_auth_method.is_secret();
    let needs_secret = has_secret(&metadata) && !has_secret(&before.metadata);
    clients::put(tx, id, &metadata)?;
    Ok(Changed { client: StoredClient { metadata, ..before }, needs_secret })
}

/// Adds what is said about the client to what is shown of the agent.
pub(super) fn show(shown: &mut Map<String, Value>, client: &StoredClient) {
    if let Some(url) = &client.url {
        shown.insert("client_id_url".into(), url.clone().into());
    }
    shown.extend(client.metadata.to_members());
}
