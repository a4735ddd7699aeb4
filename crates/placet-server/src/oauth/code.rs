//! Authorization codes: opaque, hashed at rest, good once and for a minute (OAuth 2.1 §4.1.3, RFC 7636).
//!
//! A person's consent gives one ([`crate::pages`]). Whoever uses it is the client that asked, with the verifier of its
//! challenge; then the grant that was consented to is made, with its task. A second use says that two have the code: the
//! grant is revoked, with everything below it.
//!
//! Invariant: of a code only its keyed hash is stored; nothing is granted by one that nobody uses.

use super::{
    client::Client,
    issue::{self, Presented},
    refresh,
};
use crate::{
    app::App,
    body::OAuthParams,
    caller::Source,
    clock,
    problem::OAuthError,
    revocation::{self, Ending, What},
};
use placet_core::{
    chain::{Chain, Link},
    client::GrantType,
    id::GrantId,
    secret::{KeyedHash, Secret},
    time::Timestamp,
};
use placet_store::{
    Fault, Tx,
    authorization_codes::{self, Code, Consented},
    users,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// What a code begins with.
const PREFIX: &str = "plt_code_";
/// How long a code can be used.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);
/// How long after its end a code that was used is still known for one: longer than its tokens live, but for those that
/// were refreshed.
pub(crate) const KNOWN: Duration = Duration::from_secs(24 * 3600);

/// The purpose under which codes are hashed.
const PURPOSE: &str = "authorization_code";

/// A new code: its text, and the hash that it is stored under.
pub(crate) fn fresh(app: &App) -> (Secret, KeyedHash) {
    let code = Secret::generated(PREFIX, clock::entropy());
    let hash = hash(app, code.expose());
    (code, hash)
}

/// `grant_type=authorization_code` (OAuth 2.1 §4.1.3): an access token of the grant that the person consented to, and a
/// refresh token where the client may use one.
///
/// # Errors
/// RFC 6749 §5.2: `invalid_grant` for a code that can't be used, in the same words for one of another client and for one
/// that never was; `invalid_target` for more than was consented to.
pub async fn exchange(
    app: &Arc<App>,
    client: &Arc<Client>,
    params: &OAuthParams,
    source: Source,
) -> Result<Value, OAuthError> {
    let text = params.required("code")?;
    let found = find(app, text).await?;
    // Before anything else of the request is looked at: two have it.
    if let Some(found) = found.filter(|found| found.agent == client.agent.id)
        && found.used.is_some()
    {
        return Err(reused(app, client, found.consented.grant.id, source).await);
    }
    issue::issue(app, client, Presented::Code(text), params, source).await.map(Value::Object)
}

/// The use of a code.
#[derive(Debug, Clone)]
pub(super) struct Redemption {
    hash: KeyedHash,
    /// The root grant and the task that come to be.
    pub(super) consented: Arc<Consented>,
    refresh: Option<refresh::First>,
}

impl Redemption {
    /// Uses the code up; `false` where it was used before.
    pub(super) fn spend(&self, tx: &mut Tx<'_>, now: Timestamp) -> Result<bool, Fault> {
        authorization_codes::spend(tx, self.hash, now)
    }

    /// Stores what goes with the grant, behind it.
    pub(super) fn follow(&self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        self.refresh.as_ref().map_or(Ok(()), |first| first.insert(tx))
    }

    /// The text of the refresh token.
    pub(super) fn refresh_token(&self) -> Option<&str> {
        self.refresh.as_ref().and_then(refresh::First::told)
    }
}

/// What the client that presents a code uses it for, and the chain of the grant that will be made.
///
/// # Errors
/// As [`exchange`].
pub(super) async fn presented(
    app: &App,
    client: &Client,
    text: &str,
    params: &OAuthParams,
    now: Timestamp,
) -> Result<(Redemption, Chain), OAuthError> {
    let unusable =
        || OAuthError::new("invalid_grant", "the code is unknown, has expired, or is not this client's");
    let found = find(app, text).await?;
    let Code { consented, user, .. } = found
        .filter(|found| found.agent == client.agent.id && found.used.is_none() && now < found.expires)
        .ok_or_else(unusable)?;
    // OAuth 2.1 leaves it out; a client of before sends it, and then it has to be the same (RFC 6749 §4.1.3).
    if params.text("redirect_uri")?.is_some_and(|sent| sent != consented.redirect_uri) {
        return Err(OAuthError::new(
            "invalid_grant",
            "`redirect_uri` is not the one that the code was sent to",
        ));
    }
    if !consented.challenge.fits(params.required("code_verifier")?) {
        return Err(OAuthError::new("invalid_grant", "`code_verifier` does not fit the challenge"));
    }
    if consented.key.is_some() && params.key() != consented.key {
        return Err(OAuthError::new(
            "invalid_grant",
            "the code is bound to a key: send a DPoP proof with it",
        ));
    }
    let person = app.store.read(move |q| users::find(q, user)).await?.ok_or_else(unusable)?;
    let link = Link {
        grant: Arc::new(consented.grant.clone()),
        agent: Arc::clone(&client.agent),
        registration: Arc::clone(&client.registration.leaf().grant),
        task: Some(Arc::new(consented.task.clone())),
        user: Some(Arc::new(person)),
    };
    let chain = Chain::assemble(vec![link], client.registration.stamps().to_vec(), now)?;
    let refresh = client
        .metadata
        .may_use(GrantType::RefreshToken)
        .then(|| refresh::First::of(app, &consented.grant, refresh::bound_to(client, params), now));
    Ok((Redemption { hash: hash(app, text.as_bytes()), consented: Arc::new(consented), refresh }, chain))
}

/// Ends the grant of a code that two have, and says so to the one that came second.
pub(super) async fn reused(app: &Arc<App>, client: &Client, grant: GrantId, source: Source) -> OAuthError {
    let ending = Ending {
        what: What::Grant(grant),
        by: client.agent.id.to_string(),
        reason: Some("an authorization code was used twice".to_owned()),
        affected_task_chain: None,
        source,
    };
    match revocation::end(app, ending).await {
        Ok(_) => OAuthError::new("invalid_grant", "the code was used before; its grant was revoked"),
        Err(problem) => problem.into(),
    }
}

async fn find(app: &App, text: &str) -> Result<Option<Code>, OAuthError> {
    if !text.starts_with(PREFIX) {
        return Ok(None);
    }
    let hash = hash(app, text.as_bytes());
    Ok(app.store.read(move |q| authorization_codes::find(q, hash)).await?)
}

fn hash(app: &App, text: &[u8]) -> KeyedHash {
    app.secrets.hashing.hash(PURPOSE, text)
}
