//! Refresh tokens: opaque, hashed at rest, good once (RFC 6749 §6, RFC 9700 §4.14).
//!
//! An agent exchanges an access token of its own for one ([`exchange`](super::exchange)), or is given one with a grant that
//! a person consented to ([`code`](super::code)); it stands for the same grant and never for more. Each use gives an access
//! token and the successor. A second use says that two have the token: the grant is revoked, with everything below it.
//!
//! An installation can be lenient for a moment (`App::refresh_retry`, none by default): then a second use within it, while
//! nobody has used the successor, is taken for a client that lost the answer. It is given the same successor again,
//! derived anew.
//!
//! Invariant: of a token only its keyed hash is stored; a token has one successor, and of many uses at once one makes it.

use super::{client::Client, issue, issue::Presented};
use crate::{
    app::App,
    bearer::Bearer,
    body::OAuthParams,
    caller::Source,
    clock,
    problem::OAuthError,
    recording,
    revocation::{self, Ending, What},
};
use placet_core::{
    grant::Grant,
    id::GrantId,
    record::{EntryType, Envelope},
    refusal::{Code, Reason},
    secret::{KeyedHash, Secret},
    time::Timestamp,
    token::Confirmation,
};
use placet_store::{Fault, Tx, lineage, refresh_tokens};
use refresh_tokens::RefreshToken;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// What a refresh token begins with.
pub const PREFIX: &str = "plt_refresh_";
/// The type of a refresh token (RFC 8693 §3).
pub const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";
/// How long a refresh token lives without being used, at most; never longer than its grant.
pub const LIFETIME: Duration = Duration::from_secs(14 * 24 * 3600);

/// The purpose under which refresh tokens are hashed.
const PURPOSE: &str = "refresh_token";
/// The purpose under which a successor is derived.
const SUCCESSOR: &str = "refresh_token_successor";

/// A first refresh token for the grant of a live access token that the client presented as its own. What it is bound to has
/// to be shown with it; a client that authenticates by itself needs no binding (RFC 9449 §5, RFC 8705 §4).
///
/// # Errors
/// `temporarily_unavailable` where authority keeps changing.
pub async fn first(
    app: &App,
    bearer: &Bearer,
    bound: Confirmation,
    source: Source,
) -> Result<Map<String, Value>, OAuthError> {
    let now = app.clock.now();
    let token = Secret::generated(PREFIX, clock::entropy());
    let grant = &bearer.chain.leaf().grant;
    let stored = RefreshToken {
        agent: grant.agent,
        grant: grant.id,
        issued: now,
        expires: now.plus(LIFETIME).min(bearer.chain.expires()),
        key: bound.jkt,
        certificate: bound.certificate,
        used: None,
    };
    let envelope = Envelope {
        source: recording::source(source.0),
        ..recording::attributed(EntryType::GrantRefreshToken, now, &bearer.chain, Some(bearer.claims.jti))
    };
    let entry = app.prepare(envelope, Some(&json!({"expires": stored.expires})))?;
    let (hash, stamps) = (hash(app, token.expose()), bearer.chain.stamps().to_vec());
    let written = app
        .store
        .write(move |tx| {
            if !lineage::holds(tx, &stamps)? {
                return Ok(false);
            }
            refresh_tokens::insert(tx, hash, &stored)?;
            tx.record(entry.clone())?;
            Ok::<_, Fault>(true)
        })
        .await?;
    if !written {
        app.bearers.authority_changed();
        return Err(Reason::of(Code::Unavailable).detail("authority has changed; try again").into());
    }
    let mut answer = Map::new();
    answer.insert("access_token".into(), told(&token)?.into());
    answer.insert("issued_token_type".into(), REFRESH_TOKEN.into());
    answer.insert("token_type".into(), "N_A".into());
    answer.insert("expires_in".into(), now.until(stored.expires).as_secs().into());
    answer.insert("scope".into(), issue::scope_text(&bearer.chain.effective()).into());
    answer.insert("grant_id".into(), json!(stored.grant));
    Ok(answer)
}

/// A first refresh token that is given together with a grant.
#[derive(Debug, Clone)]
pub(super) struct First {
    token: Secret,
    hash: KeyedHash,
    stored: RefreshToken,
}

impl First {
    /// One for a grant that is about to be made.
    pub(super) fn of(app: &App, grant: &Grant, bound: Confirmation, now: Timestamp) -> Self {
        let token = Secret::generated(PREFIX, clock::entropy());
        let hash = hash(app, token.expose());
        let expires = now.plus(LIFETIME).min(grant.authority.expires);
        let stored = RefreshToken {
            agent: grant.agent,
            grant: grant.id,
            issued: now,
            expires,
            key: bound.jkt,
            certificate: bound.certificate,
            used: None,
        };
        Self { token, hash, stored }
    }

    /// Stores it, behind its grant.
    pub(super) fn insert(&self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        refresh_tokens::insert(tx, self.hash, &self.stored)
    }

    /// Its text.
    pub(super) fn told(&self) -> Option<&str> {
        self.token.expose_str()
    }
}

/// What a refresh token of this client is bound to: a public client's, as it has nothing else to show (RFC 9449 §5, RFC 8705
/// §4).
pub(super) fn bound_to(client: &Client, params: &OAuthParams) -> Confirmation {
    if client.metadata.is_public() { params.bound() } else { Confirmation::default() }
}

/// `grant_type=refresh_token` (RFC 6749 §6): an access token of the grant, or of less where less is asked for, and the
/// successor, which stands for the whole grant as before.
///
/// # Errors
/// RFC 6749 §5.2: `invalid_grant` for a token that can't be used, `invalid_scope` for more than the grant has.
pub async fn refresh(
    app: &Arc<App>,
    client: &Arc<Client>,
    params: &OAuthParams,
    source: Source,
) -> Result<Value, OAuthError> {
    let token = params.required("refresh_token")?;
    if params.text("parent_token")?.is_some() || params.text("grant_id")?.is_some() {
        return Err(OAuthError::new(
            "invalid_request",
            "a refresh token names its grant: leave `parent_token` and `grant_id` out",
        ));
    }
    let found = find(app, token).await?;
    // Before anything else of the request is looked at: two have it.
    if let Some(found) = found
        && found.agent == client.agent.id
        && is_reuse(&found, app.refresh_retry, app.clock.now())
    {
        return Err(reused(app, client, found.grant, source).await);
    }
    issue::issue(app, client, Presented::Refresh(token), params, source).await.map(Value::Object)
}

/// What the use of a refresh token changes.
#[derive(Debug, Clone)]
pub(super) struct Rotation {
    hash: KeyedHash,
    salt: [u8; 32],
    successor: KeyedHash,
    /// When the successor ends.
    expires: Timestamp,
    /// How long after its use the token may come again.
    retry: Duration,
}

impl Rotation {
    /// The same, with a successor that ends at `end` at the latest.
    #[must_use]
    pub(super) fn ending_by(self, end: Timestamp) -> Self {
        Self { expires: self.expires.min(end), ..self }
    }

    /// Uses the token up in the transaction that gives what it is good for. Answers what the successor is derived
    /// with; `None` where the token was used before and this is no retry.
    pub(super) fn commit(&self, tx: &mut Tx<'_>, now: Timestamp) -> Result<Option<[u8; 32]>, Fault> {
        let Some(found) = refresh_tokens::find(tx, self.hash)? else { return Ok(None) };
        match found.used {
            Some(used) if !is_reuse(&found, self.retry, now) => Ok(Some(used.salt)),
            Some(_) => Ok(None),
            None => {
                refresh_tokens::spend(tx, self.hash, now, &self.salt, self.successor)?;
                let next = RefreshToken { issued: now, expires: self.expires, used: None, ..found };
                refresh_tokens::insert(tx, self.successor, &next)?;
                Ok(Some(self.salt))
            }
        }
    }
}

/// The rotation of a token that the client presents, and what is stored of it.
///
/// # Errors
/// `invalid_grant`, in the same words for a token of somebody else and for one that never was.
pub(super) async fn presented(
    app: &App,
    client: &Client,
    token: &str,
    shown: Confirmation,
    now: Timestamp,
) -> Result<(Rotation, RefreshToken), OAuthError> {
    let unusable = || OAuthError::new("invalid_grant", "the refresh token is unknown or has expired");
    let found =
        find(app, token).await?.filter(|found| found.agent == client.agent.id).ok_or_else(unusable)?;
    if found.expires <= now {
        return Err(unusable());
    }
    if found.key.is_some() && found.key != shown.jkt {
        return Err(OAuthError::new(
            "invalid_grant",
            "the refresh token is bound to a key: send a DPoP proof of it",
        ));
    }
    if found.certificate.is_some() && found.certificate != shown.certificate {
        return Err(OAuthError::new(
            "invalid_grant",
            "the refresh token is bound to a certificate: send it with that, over mutual TLS",
        ));
    }
    let salt = clock::entropy();
    let successor = hash(app, derived(app, token, &salt).expose());
    let (expires, retry) = (now.plus(LIFETIME), app.refresh_retry);
    let rotation = Rotation { hash: hash(app, token.as_bytes()), salt, successor, expires, retry };
    Ok((rotation, found))
}

/// The text of the successor of `token` that was derived with `salt`.
///
/// # Errors
/// `server_error`, never in practice.
pub(super) fn successor(app: &App, token: &str, salt: &[u8; 32]) -> Result<String, OAuthError> {
    told(&derived(app, token, salt)).map(str::to_owned)
}

/// Ends the grant of a token that two have, and says so to the one that came second.
pub(super) async fn reused(app: &Arc<App>, client: &Client, grant: GrantId, source: Source) -> OAuthError {
    let ending = Ending {
        what: What::Grant(grant),
        by: client.agent.id.to_string(),
        reason: Some("a refresh token was used twice".to_owned()),
        affected_task_chain: None,
        source,
    };
    match revocation::end(app, ending).await {
        Ok(_) => OAuthError::new("invalid_grant", "the refresh token was used before; its grant was revoked"),
        Err(problem) => problem.into(),
    }
}

/// The refresh token of this text, used or not; whoever asks has to be allowed to know.
///
/// # Errors
/// What the store met.
pub async fn find(app: &App, token: &str) -> Result<Option<RefreshToken>, OAuthError> {
    if !token.starts_with(PREFIX) {
        return Ok(None);
    }
    let hash = hash(app, token.as_bytes());
    Ok(app.store.read(move |q| refresh_tokens::find(q, hash)).await?)
}

/// Whether another use of the token now says that two have it. Where nothing else was said, each does, whatever the clock
/// of the node says at which it was used first.
fn is_reuse(token: &RefreshToken, retry: Duration, now: Timestamp) -> bool {
    token.used.is_some_and(|used| retry.is_zero() || used.followed || used.at.plus(retry) <= now)
}

fn hash(app: &App, token: &[u8]) -> KeyedHash {
    app.secrets.hashing.hash(PURPOSE, token)
}

fn derived(app: &App, token: &str, salt: &[u8; 32]) -> Secret {
    let seed = Secret::new([token.as_bytes(), b"\0", salt].concat());
    Secret::generated(PREFIX, *app.secrets.hashing.hash(SUCCESSOR, seed.expose()).as_bytes())
}

fn told(token: &Secret) -> Result<&str, OAuthError> {
    token.expose_str().ok_or_else(|| Reason::of(Code::Internal).detail("a token is not text").into())
}
