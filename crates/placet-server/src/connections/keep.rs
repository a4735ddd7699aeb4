//! A connection is stored, or gets another secret, whoever it came from.
//!
//! Invariant: a secret is sealed to its row before it is stored, and no entry has it; what was decided on the secret before is
//! stale from then on.

use super::seal;
use crate::{app::App, caller::Source, problem::Problem, recording, rules::LiveService};
use placet_core::{
    record::{EntryType, Envelope},
    refusal::Code,
    secret::Secret,
    service::reference::Reference,
};
use placet_store::{
    Fault, Tx,
    connections::{self, Connection, ConnectionState},
    documents::{self, Kind},
};
use serde_json::{Value, json};

/// Stores a new connection with its secret; `first` is done in the same transaction, before.
///
/// # Errors
/// `conflict` where its name is taken; those of `first`.
pub(crate) async fn added(
    app: &App,
    source: Source,
    live: &LiveService,
    connection: &Connection,
    secret: &Secret,
    first: impl Fn(&mut Tx<'_>) -> Result<(), Problem> + Send + 'static,
) -> Result<(), Problem> {
    let sealed = seal(app, connection, connection.generation, secret)?;
    let envelope = Envelope {
        connection: Some(connection.id),
        service: Some(named_version(live)),
        user: connection.user,
        source: recording::source(source.0),
        ..recording::by(EntryType::ConnectionAdded, connection.created, connection.made_by.clone())
    };
    let mut body = json!({"name": connection.name, "auth": connection.auth, "agents": connection.agents});
    told_elsewhere(&mut body, connection.reference.as_ref());
    let (entry, connection) = (app.prepare(envelope, Some(&body))?, connection.clone());
    let of = (live.service.name().to_owned(), live.version);
    app.store
        .write(move |tx| {
            stays(tx, &of)?;
            first(tx)?;
            connections::insert(tx, &connection, &sealed).map_err(|fault| match fault {
                Fault::Conflict("name") => Problem::of(
                    Code::Conflict,
                    format!("there is a connection `{}` already", connection.name),
                ),
                fault => fault.into(),
            })?;
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// Gives a connection, as it was read, another secret, which also confirms: whoever gives it has seen where it goes.
/// `connection.auth` is how it is sent from then on.
///
/// # Errors
/// `conflict` where somebody else has meanwhile; those of `first`.
pub(crate) async fn changed(
    app: &App,
    (by, source): (String, Source),
    live: &LiveService,
    connection: Connection,
    secret: &Secret,
    first: impl Fn(&mut Tx<'_>) -> Result<(), Problem> + Send + 'static,
) -> Result<(), Problem> {
    let sealed = seal(app, &connection, connection.generation.saturating_add(1), secret)?;
    let envelope = Envelope {
        connection: Some(connection.id),
        service: Some(named_version(live)),
        user: connection.user,
        outcome: Some(ConnectionState::Active.as_str().to_owned()),
        source: recording::source(source.0),
        ..recording::by(EntryType::ConnectionChanged, app.clock.now(), by)
    };
    let mut body = json!({"name": connection.name, "changed": "secret", "auth": connection.auth});
    told_elsewhere(&mut body, connection.reference.as_ref());
    let entry = app.prepare(envelope, Some(&body))?;
    let (of, id) = ((live.service.name().to_owned(), live.version), connection.id);
    app.store
        .write(move |tx| {
            stays(tx, &of)?;
            first(tx)?;
            if !connections::set_secret(tx, &connection, &sealed)? {
                return Err(overtaken());
            }
            Ok(tx.record(entry.clone())?)
        })
        .await?;
    // What was read where the secret before was kept is of no use any more.
    app.connections.elsewhere.forget(id);
    Ok(())
}

/// Where its secret is, among what is recorded.
fn told_elsewhere(body: &mut Value, reference: Option<&Reference>) {
    if let (Some(body), Some(reference)) = (body.as_object_mut(), reference) {
        body.insert("secret".to_owned(), json!(reference));
    }
}

/// Refuses where the service is another than the one that was looked at.
///
/// # Errors
/// `conflict`.
pub(crate) fn unchanged(app: &App, live: &LiveService) -> Result<(), Problem> {
    let rules = app.rules.load();
    let now = rules.services.get(live.service.name()).map(|now| now.version);
    if now == Some(live.version) { Ok(()) } else { Err(service_changed()) }
}

/// Refuses where this version of a service is not the one in force, and keeps it until the transaction ends: another node
/// may have changed it, and parks only what there is then.
///
/// # Errors
/// `conflict`.
pub(crate) fn stays(tx: &mut Tx<'_>, (service, version): &(String, u64)) -> Result<(), Problem> {
    if documents::stays(tx, Kind::Service, service, *version)? { Ok(()) } else { Err(service_changed()) }
}

fn service_changed() -> Problem {
    Problem::of(
        Code::Conflict,
        "the service was changed at the same time; nothing was done, look at it and try again",
    )
}

/// A service as the record names it.
pub(crate) fn named_version(live: &LiveService) -> String {
    format!("{}@{}", live.service.name(), live.version)
}

fn overtaken() -> Problem {
    Problem::of(
        Code::Conflict,
        "somebody else changed this connection at the same time; nothing was done, look at it and try again",
    )
}
