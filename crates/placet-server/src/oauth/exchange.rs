//! Token exchange (RFC 8693). What is asked for says which exchange it is:
//!
//! | `requested_token_type` | `subject_token` | what it gives |
//! |---|---|---|
//! | access token, or left out | the client's own | a token of its own for less |
//! | access token, or left out | another agent's access token, or a delegation token | a child's token: as `parent_token` does |
//! | refresh token | the client's own | a refresh token for the same grant |
//! | delegation | the client's own | a delegation token for one named child (DESIGN §3.7) |
//!
//! The client that authenticates is the actor. An `actor_token` is a second proof of that, and has to be its own.
//!
//! Invariant: an exchange never gives more than its subject has, as that is now, nor more than the actor's registration.

mod delegation;

use super::{
    client::Client,
    issue::{self, Presented},
    refresh::{self, REFRESH_TOKEN},
};
use crate::{app::App, bearer, body::OAuthParams, caller::Source, problem::OAuthError};
use serde_json::Value;
use std::sync::Arc;

pub use delegation::{DELEGATED_LIFETIME, DELEGATION_TOKEN};

/// The type of an access token (RFC 8693 §3).
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// One exchange.
///
/// # Errors
/// RFC 8693 §2.2.2: `invalid_request` for a subject or actor token that can't be used, `invalid_target`; what exceeds is
/// named as everywhere.
pub async fn exchange(
    app: &Arc<App>,
    client: &Arc<Client>,
    params: &OAuthParams,
    source: Source,
) -> Result<Value, OAuthError> {
    let subject = params.required("subject_token")?;
    let subject_type = params.required("subject_token_type")?;
    actor(app, client, params).await?;
    if params.text("parent_token")?.is_some() || params.text("grant_id")?.is_some() {
        return Err(invalid("an exchange has its `subject_token`: leave `parent_token` and `grant_id` out"));
    }
    match params.text("requested_token_type")? {
        Some(DELEGATION_TOKEN) => {
            is_access(subject_type)?;
            delegation::delegate(app, client, params, subject, source).await
        }
        Some(REFRESH_TOKEN) => {
            is_access(subject_type)?;
            for narrowing in [
                "scope",
                "required_tools",
                "required_resources",
                "authorization_details",
                "resource",
                "audience",
            ] {
                if params.has(narrowing) {
                    return Err(invalid(format!(
                        "a refresh token stands for the whole grant: leave `{narrowing}` out, or exchange for less first"
                    )));
                }
            }
            let bearer =
                bearer::live(app, &params.held(subject)).await.map_err(|problem| unusable(problem.into()))?;
            if bearer.chain.agent().id != client.agent.id {
                return Err(invalid("`subject_token` is the token of another agent"));
            }
            refresh::first(app, &bearer, refresh::bound_to(client, params), source).await.map(Value::Object)
        }
        None | Some(ACCESS_TOKEN) => {
            let presented = presented(app, client, params, subject, subject_type).await?;
            let mut answer = issue::issue(app, client, presented, params, source).await.map_err(unusable)?;
            answer.insert("issued_token_type".into(), ACCESS_TOKEN.into());
            Ok(Value::Object(answer))
        }
        Some(_) => Err(invalid(format!(
            "`requested_token_type` is `{ACCESS_TOKEN}`, `{REFRESH_TOKEN}` or `{DELEGATION_TOKEN}`"
        ))),
    }
}

/// Whether the subject is the client itself or a parent of it.
async fn presented<'p>(
    app: &App,
    client: &Client,
    params: &OAuthParams,
    subject: &'p str,
    subject_type: &str,
) -> Result<Presented<'p>, OAuthError> {
    let now = app.clock.now();
    match subject_type {
        ACCESS_TOKEN => {
            let bearer =
                bearer::live(app, &params.held(subject)).await.map_err(|problem| unusable(problem.into()))?;
            let own = bearer.chain.agent().id == client.agent.id;
            Ok(if own { Presented::Own(subject) } else { Presented::Parent(subject) })
        }
        DELEGATION_TOKEN => {
            let verifier = app.verifier(subject).await;
            verifier.delegation(subject, now).map_err(|reason| unusable(reason.into()))?;
            Ok(Presented::Parent(subject))
        }
        _ => Err(invalid(format!("`subject_token_type` is `{ACCESS_TOKEN}` or `{DELEGATION_TOKEN}`"))),
    }
}

/// Checks the second proof of who acts (RFC 8693 §2.1): its type stands iff it does.
async fn actor(app: &App, client: &Client, params: &OAuthParams) -> Result<(), OAuthError> {
    let (token, kind) = (params.text("actor_token")?, params.text("actor_token_type")?);
    let (token, kind) = match (token, kind) {
        (None, None) => return Ok(()),
        (Some(token), Some(kind)) => (token, kind),
        _ => return Err(invalid("`actor_token` and `actor_token_type` come together")),
    };
    if kind != ACCESS_TOKEN {
        return Err(invalid(format!("`actor_token_type` is `{ACCESS_TOKEN}`")));
    }
    let bearer = bearer::live(app, &params.held(token)).await.map_err(|problem| {
        invalid(format!("`actor_token`: {}: {}", problem.code().as_str(), problem.detail()))
    })?;
    if bearer.chain.agent().id != client.agent.id {
        return Err(invalid(
            "`actor_token` is not the client's that authenticates: the child asks for itself",
        ));
    }
    Ok(())
}

fn is_access(kind: &str) -> Result<(), OAuthError> {
    if kind == ACCESS_TOKEN {
        return Ok(());
    }
    Err(invalid(format!("`subject_token_type` has to be `{ACCESS_TOKEN}`")))
}

/// A subject token that can't be used is an invalid request (RFC 8693 §2.2.2).
fn unusable(error: OAuthError) -> OAuthError {
    if error.error == "invalid_grant" || error.error == "invalid_token" {
        return invalid(format!("`subject_token`: {}", error.description));
    }
    error
}

fn invalid(description: impl Into<String>) -> OAuthError {
    OAuthError::new("invalid_request", description)
}
