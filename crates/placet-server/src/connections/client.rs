//! What this server is at the authorization servers of services: a client's id, and its secret where it has one.
//!
//! An administrator says it once for a service; whoever connects an account does so through it, and no connection keeps the
//! secret, so that another one counts at once for all of them.
//!
//! Invariant: a secret is shown only to the server that it was given for. Where a definition names another, there is no client
//! until somebody says so anew.

use crate::{app::App, clock, problem::Problem};
use placet_core::{
    call::Auth,
    refusal::Code,
    seal::{Aad, SealEntropy, Sealed},
    secret::Secret,
    service::oauth::{Kept, OAuth},
};
use placet_store::accounts::{self, ServiceClient};

/// The kind of row that a client's secret is sealed to.
pub(crate) const CLIENT_KIND: &str = "service_client";

/// The most services that people are shown.
const MOST: usize = 500;

/// What this server is at an authorization server.
#[derive(Debug)]
pub(crate) struct Client {
    /// What it is called there.
    pub(crate) id: String,
    secret: Option<Secret>,
}

impl Client {
    /// What is kept of an account, with the client's secret for one question.
    pub(crate) fn asking(&self, kept: &Kept) -> Kept {
        Kept { client_secret: self.secret.clone(), ..kept.clone() }
    }
}

/// What this server is at the authorization server of a service, where that is the one that it was said for.
///
/// # Errors
/// `unavailable` where the store doesn't answer or the secret can't be opened.
pub(crate) async fn registered(app: &App, service: &str, server: &OAuth) -> Result<Option<Client>, Problem> {
    let name = service.to_owned();
    let found = app.store.read(move |q| accounts::client(q, &name)).await?;
    let Some(found) = found.filter(|found| found.about.server.is_same_server(server)) else {
        return Ok(None);
    };
    let secret = match &found.sealed {
        Some(sealed) => Some(open(app, &found, sealed)?),
        None => None,
    };
    Ok(Some(Client { id: found.about.client_id, secret }))
}

/// The services of which this server is a client, at the authorization server that each names now.
///
/// # Errors
/// `unavailable` where the store doesn't answer.
pub(crate) async fn open_to_people(app: &App) -> Result<Vec<String>, Problem> {
    let found = app.store.read(|q| accounts::clients(q, "", MOST)).await?;
    let rules = app.rules.load();
    let is_open = |client: &ServiceClient| {
        let live = rules.services.get(&client.service);
        let server = live.and_then(|live| match live.service.auth() {
            Auth::Oauth2(server) => Some(server),
            _ => None,
        });
        server.is_some_and(|server| server.asks_people() && server.is_same_server(&client.about.server))
    };
    Ok(found.into_iter().filter(is_open).map(|client| client.service).collect())
}

/// Seals a client's secret to its row.
///
/// # Errors
/// `internal` where the vault can't.
pub(crate) fn seal(app: &App, service: &str, generation: u64, secret: &Secret) -> Result<Vec<u8>, Problem> {
    let aad = Aad { kind: CLIENT_KIND, row: service, version: generation };
    let sealed = app.secrets.vault.seal(&aad, SealEntropy::new(clock::entropy()), secret.expose());
    Ok(sealed.map_err(|_| Problem::of(Code::Internal, "the secret could not be sealed"))?.to_bytes())
}

fn open(app: &App, client: &ServiceClient, sealed: &[u8]) -> Result<Secret, Problem> {
    let aad = Aad { kind: CLIENT_KIND, row: &client.service, version: client.generation };
    let opened = Sealed::from_bytes(sealed).and_then(|sealed| app.secrets.vault.open(&aad, &sealed));
    opened.map_err(|error| {
        tracing::error!(service = client.service, %error, "the secret of a service's client can't be opened");
        Problem::of(
            Code::Unavailable,
            "the secret of the service's client can't be opened; the log has the cause",
        )
    })
}
