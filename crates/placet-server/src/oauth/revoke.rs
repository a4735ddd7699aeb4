//! `POST /oauth/revoke` (RFC 7009): revoking any token revokes its grant and everything below it.
//!
//! An agent revokes what it holds and what hangs below; the administrator token and administrators revoke anything.
//! A token of somebody else's grant is told like one that never was (RFC 7009 §2.2).
//!
//! Invariant: a token that has expired still names its grant, and its signature is still checked.

use super::{
    introspect::{Asker, Public, asker},
    refresh,
};
use crate::{
    app::App,
    body::OAuthParams,
    caller::Source,
    problem::OAuthError,
    revocation::{self, Ended, Ending, MAX_REASON, What},
    sender::Sender,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use placet_core::{id::GrantId, refusal::Code, time::Timestamp};
use placet_store::grants;
use std::sync::Arc;

/// The endpoint.
///
/// # Errors
/// RFC 7009 §2.2.1; `invalid_request` where `affected_task_chain` is not what would end, with status 409.
pub async fn post(
    State(app): State<Arc<App>>,
    source: Source,
    sender: Sender,
    headers: HeaderMap,
    params: OAuthParams,
) -> Result<Response, OAuthError> {
    let asker = asker(&app, &sender, &headers, &params, Public::Enough).await?;
    let token = params.required("token")?;
    // RFC 7009 §2.1: the hint only speeds up the search; the kinds are told apart by their form.
    params.text("token_type_hint")?;
    let reason = params.text("reason")?.map(str::to_owned);
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
        return Err(OAuthError::new(
            "invalid_request",
            format!("`reason` has at most {MAX_REASON} characters"),
        ));
    }
    let affected_task_chain = params.list("affected_task_chain")?;
    let grant = match named_grant(&app, token).await? {
        Some(grant) if may_revoke(&app, &asker, grant).await? => grant,
        _ => return Ok(answer(&Ended::default(), false)),
    };
    let ending = Ending { what: What::Grant(grant), by: asker.by(), reason, affected_task_chain, source };
    match revocation::end(&app, ending).await {
        Ok(ended) => Ok(answer(&ended, true)),
        Err(problem) if problem.code() == Code::Conflict => {
            let description = problem.detail().to_owned();
            Err(OAuthError {
                status: StatusCode::CONFLICT,
                ..OAuthError::new("invalid_request", description)
            })
        }
        Err(problem) => Err(problem.into()),
    }
}

fn answer(ended: &Ended, revoked: bool) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(ended.to_json(revoked))).into_response()
}

/// The grant that a token of ours stands for, whether or not it has expired or was used.
async fn named_grant(app: &App, token: &str) -> Result<Option<GrantId>, OAuthError> {
    if let Some(found) = refresh::find(app, token).await? {
        return Ok(Some(found.grant));
    }
    let verifier = app.verifier(token).await;
    // Nothing has expired at the beginning of time.
    let when = Timestamp::from_micros(0);
    Ok(match verifier.access(token, when) {
        Ok(claims) => Some(claims.grant.id),
        Err(_) => verifier.delegation(token, when).ok().map(|claims| claims.grant),
    })
}

/// Whether this one may revoke the grant, and there is one.
async fn may_revoke(app: &App, asker: &Asker, grant: GrantId) -> Result<bool, OAuthError> {
    let agent = match asker {
        Asker::Agent(agent) => Some(*agent),
        Asker::Person { administrator: true, .. } | Asker::AdminToken => None,
        // RFC 7009 §2.1: tokens are revoked by whom they were issued to.
        Asker::Person { administrator: false, .. } | Asker::ResourceServer(_) => return Ok(false),
    };
    let may = app.store.read(move |q| match agent {
        Some(agent) => grants::is_within(q, grant, agent),
        None => Ok(grants::find(q, grant)?.is_some()),
    });
    Ok(may.await?)
}
