//! The answer of the token endpoint, and the claims of an access token.
//!
//! Invariant: what is stated of scope, tools and resources is what the chain permits now, however much more was written
//! into the grant before something above it was narrowed.

use crate::{app::App, body::OAuthParams, problem::OAuthError};
use placet_core::{
    chain::Chain,
    grant::Authority,
    id::TokenId,
    status_list::StatusClaim,
    time::Timestamp,
    token::{ACCESS_LIFETIME, AccessClaims, Actor, GrantClaim, TaskClaim, sign_access},
    user::User,
};
use serde_json::{Map, Value, json};

/// What the answer is about.
pub(super) struct Given<'a> {
    pub(super) chain: &'a Chain,
    pub(super) jti: TokenId,
    /// When the token ends at the latest, whatever its chain says.
    pub(super) ends: Option<Timestamp>,
    pub(super) is_child: bool,
    /// Whether it is bound to the certificate, whatever its client is registered for.
    pub(super) stays_bound: bool,
    /// Where the token stands in a list of statuses, where it does.
    pub(super) status: Option<&'a StatusClaim>,
    pub(super) now: Timestamp,
}

/// The token endpoint's answer (RFC 6749 §5.1) with Placet's members (DESIGN §9).
pub(super) fn answer(
    app: &App,
    given: &Given<'_>,
    params: &OAuthParams,
) -> Result<Map<String, Value>, OAuthError> {
    let Given { chain, jti, ends, is_child, stays_bound, status, now } = *given;
    let (leaf, effective) = (chain.leaf(), chain.effective());
    let end = now.plus(ACCESS_LIFETIME).min(chain.expires()).min(ends.unwrap_or(Timestamp::MAX));
    let mut claims = claims(app, chain, &effective, jti, end, now);
    let mut bound = params.bound();
    if stays_bound || leaf.grant.authority.certificate.is_some() {
        bound.certificate = params.shown().certificate;
    }
    claims.cnf = bound.claim();
    claims.status = status.cloned();
    let token = sign_access(&app.secrets.tokens.load(), &claims)?;
    let mut answer = Map::new();
    answer.insert("access_token".into(), token.into());
    answer.insert("token_type".into(), claims.token_type().into());
    answer.insert("expires_in".into(), (claims.exp - claims.iat).into());
    answer.insert("scope".into(), claims.scope.into());
    answer.insert("task_id".into(), claims.task.id.into());
    answer.insert("task_bound".into(), true.into());
    answer.insert("granted_tools".into(), json!(effective.tools));
    answer.insert("granted_resources".into(), json!(effective.resources));
    answer.insert("grant_id".into(), json!(leaf.grant.id));
    if !effective.authorization_details.is_empty() {
        answer.insert("authorization_details".into(), json!(effective.authorization_details));
    }
    if is_child {
        let sent = params.text("parent_task_id")?.map(str::to_owned).or(claims.task.parent);
        answer.insert("parent_task_id".into(), json!(sent));
        answer.insert("scope_inheritance".into(), "restricted".into());
    }
    Ok(answer)
}

/// Scopes as OAuth writes them.
pub(crate) fn scope_text(authority: &Authority) -> String {
    authority.scope.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The claims of a token for the leaf of `chain` that ends at `end`.
fn claims(
    app: &App,
    chain: &Chain,
    effective: &Authority,
    jti: TokenId,
    end: Timestamp,
    now: Timestamp,
) -> AccessClaims {
    let leaf = chain.leaf();
    let parent_task = leaf.task.as_ref().and_then(|task| task.parent);
    let shown = |task: placet_core::id::TaskId| {
        let above = chain.links().iter().filter_map(|link| link.task.as_ref()).find(|known| known.id == task);
        above.map_or_else(|| task.to_string(), |known| known.shown_id())
    };
    let user: Option<&User> = chain.user();
    AccessClaims {
        iss: app.issuer.clone(),
        sub: user.map_or_else(|| chain.agent().id.to_string(), |user| user.id.to_string()),
        aud: leaf.grant.authority.audience.clone(),
        exp: end.as_seconds(),
        iat: now.as_seconds(),
        jti,
        client_id: chain.agent().id,
        scope: scope_text(effective),
        authorization_details: effective.authorization_details.clone(),
        act: Actor::of(chain),
        task: TaskClaim {
            id: leaf.task.as_ref().map(|task| task.shown_id()).unwrap_or_default(),
            parent: parent_task.map(shown),
        },
        grant: GrantClaim { id: leaf.grant.id, root: leaf.grant.root, depth: leaf.grant.depth },
        cnf: None,
        status: None,
    }
}
