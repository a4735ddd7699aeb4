//! The exchange that makes a delegation token (DESIGN §3.7): a parent narrows first, and hands the narrowed part to one
//! named child.
//!
//! Invariant: what a delegation token stands for is a grant that the delegating agent itself holds, below its own
//! live chain; the child gets no authority before it presents the token with its own credentials.

use super::{
    super::{client::Client, issue, token},
    invalid, unusable,
};
use crate::{
    app::App,
    bearer::{self, Bearer},
    body::OAuthParams,
    caller::Source,
    clock,
    problem::OAuthError,
    recording,
};
use placet_core::{
    agent::{Agent, AgentState},
    grant::{Exceeds, Grant, Origin, Request},
    record::{EntryType, Envelope},
    refusal::{Code, Reason},
    time::Timestamp,
    token::{DELEGATION_LIFETIME, DelegationClaims, sign_delegation},
};
use placet_store::{Fault, agents, grants, lineage};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The type of a delegation token.
pub const DELEGATION_TOKEN: &str = "urn:placet:params:oauth:token-type:delegation";
/// How long what was delegated lives at most.
pub const DELEGATED_LIFETIME: Duration = Duration::from_secs(3600);

const ATTEMPTS: usize = 5;

/// Makes a delegation token out of the client's own access token.
///
/// # Errors
/// RFC 8693 §2.2.2: `invalid_request`, `invalid_target` for a child that can't be named; `invalid_scope` and the like
/// name what exceeds.
pub(super) async fn delegate(
    app: &App,
    client: &Arc<Client>,
    params: &OAuthParams,
    subject: &str,
    source: Source,
) -> Result<Value, OAuthError> {
    let mut request = token::asked(app, params).await?;
    request.scope = issue::expanded(app, request.scope).await?;
    // `audience` names the child here.
    request.audience = issue::audience(app, params, false).await?;
    let child = child(app, params.required("audience")?).await?;
    for _ in 0..ATTEMPTS {
        let now = app.clock.now();
        let bearer =
            bearer::live(app, &params.held(subject)).await.map_err(|problem| unusable(problem.into()))?;
        if bearer.chain.agent().id != client.agent.id {
            return Err(invalid("`subject_token` is the token of another agent"));
        }
        let grant = narrowed(&bearer, request.clone(), now)?;
        issue::within_level(&app.rules.load(), client, &request)?;
        let claims = DelegationClaims {
            iss: app.issuer.clone(),
            aud: app.issuer.clone(),
            exp: now.plus(DELEGATION_LIFETIME).min(grant.authority.expires).as_seconds(),
            iat: now.as_seconds(),
            jti: clock::fresh(now),
            sub: client.agent.id,
            child: child.id,
            grant: grant.id,
        };
        if commit(app, &bearer, &grant, &claims, &child, source, now).await? {
            let scope: Vec<String> = grant.authority.scope.iter().map(ToString::to_string).collect();
            return Ok(json!({
                "access_token": sign_delegation(&app.secrets.tokens.load(), &claims)?,
                "issued_token_type": DELEGATION_TOKEN,
                "token_type": "N_A",
                "expires_in": claims.exp - claims.iat,
                "scope": scope.join(" "),
                "grant_id": grant.id,
            }));
        }
        app.bearers.authority_changed();
    }
    Err(OAuthError::from(Reason::of(Code::Unavailable).detail("authority keeps changing; try again")))
}

/// The active agent that `name` means, by id or handle.
async fn child(app: &App, name: &str) -> Result<Agent, OAuthError> {
    let named = name.to_owned();
    let found = app.store.read(move |q| agents::named(q, &named)).await?;
    found.filter(|agent| agent.state == AgentState::Active).ok_or_else(|| {
        OAuthError::new(
            "invalid_target",
            "`audience` names no active agent; give its client_id or agent_name",
        )
    })
}

/// The grant that the token will stand for.
fn narrowed(bearer: &Bearer, mut request: Request, now: Timestamp) -> Result<Grant, OAuthError> {
    let chain = &bearer.chain;
    let exceeds = |error: Exceeds| OAuthError::new(error.oauth(), error.to_string());
    let above = &chain.leaf().grant;
    if !chain.may_deepen() {
        return Err(exceeds(Exceeds::Depth(above.authority.max_depth)));
    }
    request.expires = Some(now.plus(DELEGATED_LIFETIME).min(chain.expires()));
    // What is handed on of a bound token stays bound.
    request.bound = bearer.claims.bound();
    let authority = chain.effective().narrow(&request).map_err(exceeds)?;
    Ok(Grant {
        id: clock::fresh(now),
        root: above.root,
        parent: Some(above.id),
        depth: above.depth.saturating_add(1),
        agent: above.agent,
        user: above.user,
        task: above.task,
        authority,
        limits: Vec::new(),
        origin: Origin::Delegation,
        created: now,
        revoked: None,
    })
}

/// Stores and records the grant; `false` where the chain has changed since it was read.
async fn commit(
    app: &App,
    bearer: &Bearer,
    grant: &Grant,
    claims: &DelegationClaims,
    child: &Agent,
    source: Source,
    now: Timestamp,
) -> Result<bool, OAuthError> {
    let mut envelope = Envelope {
        source: recording::source(source.0),
        ..recording::attributed(EntryType::GrantDelegated, now, &bearer.chain, Some(claims.jti))
    };
    envelope.grants.insert(0, grant.id);
    envelope.chain.insert(0, grant.agent);
    let authority = &grant.authority;
    let body = json!({"child": child.id, "scope": authority.scope, "tools": authority.tools,
        "resources": authority.resources, "authorization_details": authority.authorization_details,
        "expires": authority.expires});
    let entry = app.prepare(envelope, Some(&body))?;
    let (stamps, grant) = (bearer.chain.stamps().to_vec(), grant.clone());
    let stored = app
        .store
        .write(move |tx| {
            if !lineage::holds(tx, &stamps)? {
                return Ok(false);
            }
            grants::insert(tx, &grant)?;
            tx.record(entry.clone())?;
            Ok::<_, Fault>(true)
        })
        .await?;
    Ok(stored)
}
