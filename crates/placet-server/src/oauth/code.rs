//! Authorization codes: opaque, hashed at rest, good once and for a minute (OAuth 2.1 §4.1.3, RFC 7636).
//!
//! A person's consent gives one ([`crate::pages`]). Whoever uses it is the client that asked, with the verifier of its
//! challenge; then the grant that was consented to is made, with its task. A second use says that two have the code: the
//! grant is revoked, with everything below it.
//!
//! Invariant: of a code only its keyed hash is stored; nothing is granted by one that nobody uses.

use super::{
    authorize::Asked,
    client::Client,
    issue::{self, Presented},
    redeem::{self, Redemption, Token},
};
use crate::{
    app::App,
    body::OAuthParams,
    caller::{SignedIn, Source},
    clock,
    consent::{self, Failing, Yes},
    problem::{OAuthError, Problem},
    revocation::{self, Ending, What},
};
use placet_core::{
    authorize::Refusal,
    chain::Chain,
    id::GrantId,
    refusal,
    secret::{KeyedHash, Secret},
    time::Timestamp,
    waiting::Consented,
};
use placet_store::{
    Fault, Tx,
    authorization_codes::{self, Code},
    pushed_requests,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// What a code begins with.
const PREFIX: &str = "plt_code_";
/// How long a code can be used.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long after its end a code that was used is still known for one: longer than its tokens live, but for those that
/// were refreshed.
pub(crate) const KNOWN: Duration = Duration::from_secs(24 * 3600);

/// The purpose under which codes are hashed.
const PURPOSE: &str = "authorization_code";

/// Stores the answer of a person to an authorization request, who was told what has the digest `seen`: yes, for how long,
/// or no. Answers the URL at which the client is told.
///
/// # Errors
/// What the client is told instead, or the person.
pub(crate) async fn answered(
    app: &Arc<App>,
    asked: &Asked,
    person: &SignedIn,
    source: Source,
    approves: Option<Duration>,
    seen: [u8; 32],
) -> Result<String, Failing> {
    let now = app.clock.now();
    let pushed = asked.pushed;
    let Some(lasts) = approves else {
        let denied = Refusal::new("access_denied", "the person said no");
        if let Some(pushed) = pushed {
            let decide = move |tx: &mut Tx<'_>| pushed_requests::decide(tx, pushed.hash, now);
            if !app.store.write::<_, Fault, _>(decide).await? {
                return Err(consent::decided().into());
            }
        }
        return Err(Failing::Refused(denied));
    };
    let yes = Yes::new(app, &asked.sought, person, (lasts, seen), source, now);
    let (text, hash) = fresh(app);
    let (user, request) = (person.user.id, asked.request);
    let redirect_uri = asked.back.to().as_str().to_owned();
    let inner = Arc::clone(app);
    app.store
        .write(move |tx| {
            let how = json!({"redirect_uri": redirect_uri});
            let Consented { grant, task } = yes.given(&inner, tx, &how)?;
            if let Some(pushed) = pushed
                && !pushed_requests::decide(tx, pushed.hash, now)?
            {
                return Err(Failing::from(consent::decided()));
            }
            let code = Code {
                agent: grant.agent,
                user,
                consented: authorization_codes::Consented {
                    redirect_uri: redirect_uri.clone(),
                    challenge: request.challenge,
                    key: request.key,
                    grant,
                    task,
                },
                issued: now,
                expires: now.plus(LIFETIME),
                used: None,
            };
            Ok(authorization_codes::insert(tx, hash, &code)?)
        })
        .await?;
    if asked.sought.client.unconfirmed.is_some() {
        app.bearers.authority_changed();
    }
    let text = text.expose_str().ok_or_else(|| Problem::of(refusal::Code::Internal, "a code is not text"))?;
    Ok(asked.back.with_code(text))
}

/// A new code: its text, and the hash that it is stored under.
fn fresh(app: &App) -> (Secret, KeyedHash) {
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
    match issue::issue(app, client, Presented::Code(text), params, source).await {
        Ok(answer) => Ok(Value::Object(answer)),
        // Another one may have used it since it was looked at here.
        Err(error) => match find(app, text).await? {
            Some(found) if found.agent == client.agent.id && found.used.is_some() => {
                Err(reused(app, client, found.consented.grant.id, source).await)
            }
            _ => Err(error),
        },
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
    let Code { consented, .. } = found
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
    let consented = Consented { grant: consented.grant, task: consented.task };
    let token = Token::Code(hash(app, text.as_bytes()));
    redeem::taken_up(app, client, token, consented, params, now).await?.ok_or_else(unusable)
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
