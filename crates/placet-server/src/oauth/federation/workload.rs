//! Workload identity federation (RFC 7523 §2.1): a CI system, a cluster or SPIFFE says which workload asks, and an
//! administrator has said as which agent that acts. The agent then obtains what it would with credentials of its own.
//!
//! Invariant: one agent, named by the rules of the issuer; the request can choose among several, and never adds one.

use super::{
    super::client::{self, Client},
    invalid, workloads,
};
use crate::{app::App, body::OAuthParams, problem::OAuthError};
use axum::http::HeaderMap;
use placet_core::{
    client::assertion::Once, federation::assertion::check_workload, id::AgentId, jose::Jws, time::Timestamp,
};
use placet_store::trusted_issuers::TrustedIssuer;
use std::sync::Arc;

/// The agent that a workload acts as, whose assertion this issuer has signed, and what has to be remembered of it.
pub(super) async fn client(
    app: &App,
    jws: &Jws<'_>,
    issuer: &TrustedIssuer,
    headers: &HeaderMap,
    params: &OAuthParams,
    now: Timestamp,
) -> Result<(Arc<Client>, Option<Once>), OAuthError> {
    let workloads = workloads(issuer)?;
    let once = check_workload(jws, &app.issuer, workloads.one_time, now)
        .map_err(|error| invalid(format!("the assertion is not good: {error}")))?;
    // A client that authenticates besides has to be the same.
    let authenticates = headers.contains_key(axum::http::header::AUTHORIZATION)
        || params.has("client_secret")
        || params.has("client_assertion");
    let authenticated =
        if authenticates { Some(client::authenticate(app, headers, params).await?) } else { None };
    let chosen = match &authenticated {
        Some(client) => Some(client.id.as_str()),
        None => params.text("client_id")?,
    };
    let mut acting: Vec<Arc<Client>> = Vec::new();
    for agent in workloads.agents_of(jws.unverified()) {
        let Ok(id) = agent.parse::<AgentId>() else { continue };
        let Some(client) = client::find(app, id).await? else { continue };
        if chosen.is_none_or(|chosen| client.id == chosen) {
            acting.push(client);
        }
    }
    let mut acting = acting.into_iter();
    match (acting.next(), acting.next()) {
        (Some(client), None) => Ok((client, once)),
        (Some(_), Some(_)) => {
            Err(invalid("the workload acts as several agents here: name one with `client_id`"))
        }
        (None, _) => Err(OAuthError::new(
            "unauthorized_client",
            "the workload acts as no agent here that is active: an administrator maps its `sub` and claims to one (`placet issuer show`)",
        )),
    }
}
