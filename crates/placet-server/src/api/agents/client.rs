//! What an administrator says about an agent as an OAuth client: the members of RFC 7591 §2 beside Placet's own.
//!
//! Invariant: a document that a client publishes about itself is not written over.

use super::invalid;
use crate::{app::App, body::read_as, mtls::MutualTls, problem::Problem};
use placet_core::{
    client::{Author, MEMBERS, Metadata},
    id::AgentId,
    refusal::Code,
    time::Timestamp,
};
use placet_store::{
    Tx, client_use,
    clients::{self, Origin, StoredClient},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Takes the members about the client out of a body; the others are read as `T`.
///
/// # Errors
/// `request_invalid` for what `T` does not take.
pub(super) fn split<T: DeserializeOwned>(
    body: Map<String, Value>,
) -> Result<(T, Map<String, Value>), Problem> {
    let (client, rest): (Map<_, _>, Map<_, _>) =
        body.into_iter().partition(|(name, _)| MEMBERS.contains(&name.as_str()));
    let rest = read_as(Value::Object(rest)).map_err(|mut what| {
        // serde names the members of `T` only.
        if what.starts_with("unknown field") {
            what = format!("{what}, `{}`", MEMBERS.join("`, `"));
        }
        invalid(format!("the body is not what this endpoint takes: {what}"))
    })?;
    Ok((rest, client))
}

/// What a new agent is as a client: what the document at `url` says, else what the administrator does.
///
/// # Errors
/// `request_invalid`, also where the document can't be read.
pub(super) async fn new(
    app: &App,
    url: Option<&str>,
    members: &Map<String, Value>,
) -> Result<StoredClient, Problem> {
    let Some(url) = url else {
        let metadata = Metadata::read(members, Author::Administrator);
        let metadata = metadata.map_err(|error| invalid(error.to_string()))?;
        has_its_place(app.mutual_tls.as_ref(), &metadata)?;
        return Ok(StoredClient { metadata, ..StoredClient::default() });
    };
    if let Some((name, _)) = members.iter().next() {
        return Err(invalid(format!("the document at `client_id_url` says what `{name}` is: leave it out")));
    }
    let metadata = app.foreign.document(url, app.clock.now()).await;
    let metadata = metadata.map_err(|error| invalid(format!("`client_id_url`: {error}")))?;
    Ok(StoredClient {
        origin: Origin::Document,
        url: Some(url.to_owned()),
        metadata: (*metadata).clone(),
        acts_alone: true,
        last_used: None,
    })
}

/// Refuses a client that could not do here what it is registered to do.
fn has_its_place(mutual_tls: Option<&MutualTls>, metadata: &Metadata) -> Result<(), Problem> {
    MutualTls::refuses(mutual_tls, metadata).map_or(Ok(()), |what| Err(invalid(what)))
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
pub(super) fn change(
    tx: &mut Tx<'_>,
    id: AgentId,
    members: &Map<String, Value>,
    acts_alone: Option<bool>,
    mutual_tls: Option<&MutualTls>,
) -> Result<Changed, Problem> {
    let mut before = clients::find(tx, id)?;
    if let Some(acts_alone) = acts_alone {
        before.acts_alone = acts_alone;
        clients::set_alone(tx, id, &before)?;
    }
    if members.is_empty() {
        return Ok(Changed { client: before, needs_secret: false });
    }
    if before.origin == Origin::Document {
        let what = "the client's metadata is the document at its `client_id`: it is changed there";
        return Err(Problem::of(Code::Conflict, what));
    }
    let metadata = before.metadata.changed(members, Author::Administrator);
    let metadata = metadata.map_err(|error| invalid(error.to_string()))?;
    has_its_place(mutual_tls, &metadata)?;
    let has_secret = |metadata: &Metadata| metadata.token_endpoint_auth_method.is_secret();
    let needs_secret = has_secret(&metadata) && !has_secret(&before.metadata);
    clients::put(tx, id, &metadata)?;
    Ok(Changed { client: StoredClient { metadata, ..before }, needs_secret })
}

/// Adds when a client that nobody registered by hand was used last, and when it ends if it stays unused.
pub(super) fn show_use(shown: &mut Map<String, Value>, last_used: Option<Timestamp>, idle: Option<Duration>) {
    let Some(day) = last_used.filter(|day| day.as_micros() > 0) else { return };
    shown.insert("last_used".into(), date(day).into());
    if let Some(end) = idle.and_then(|idle| client_use::ends(day, idle)) {
        shown.insert("ends_unused".into(), json!(end));
    }
}

/// The date of a day, like `2026-11-23`.
pub(crate) fn date(day: Timestamp) -> String {
    let text = day.to_string();
    text.split_once('T').map_or(text.clone(), |(date, _)| date.to_owned())
}

/// Adds what is said about the client to what is shown of the agent.
pub(super) fn show(shown: &mut Map<String, Value>, client: &StoredClient) {
    if let Some(url) = &client.url {
        shown.insert("client_id_url".into(), url.clone().into());
    }
    shown.insert("acts_alone".into(), client.acts_alone.into());
    shown.extend(client.metadata.to_members());
}
