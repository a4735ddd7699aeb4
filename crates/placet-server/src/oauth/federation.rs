//! `grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer` (RFC 7523 §2.1): an assertion of an issuer that an
//! administrator trusts, about a person for whom an agent acts (`id_jag.rs`), or about the workload that asks
//! (`workload.rs`).
//!
//! Invariant: no key verifies but those of the issuer that `iss` names, and no issuer counts but those an administrator
//! has added, while they are; what this server signs itself is never an assertion.

pub(super) mod id_jag;
mod workload;

use super::{
    client::{self, Client},
    issue::{self, Presented},
};
use crate::{app::App, body::OAuthParams, caller::Source, problem::OAuthError};
use axum::http::{HeaderMap, StatusCode};
use placet_core::{
    client::{GrantType, assertion::Once},
    federation::{
        People, Workloads,
        assertion::{self, Kind},
    },
    id::TrustedIssuerId,
    jose::{Jws, KeySet},
    time::Timestamp,
};
use placet_identity::ForeignError;
use placet_store::{
    Fault, Tx, assertions,
    trusted_issuers::{self, TrustedIssuer},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// What assertions are used up for.
const PURPOSE: &str = "grant";

/// The grant type.
pub const JWT_BEARER: &str = GrantType::JwtBearer.as_str();

/// The word of a trusted issuer that a token is given on.
#[derive(Debug, Clone)]
pub struct Word {
    issuer: TrustedIssuerId,
    iss: String,
    subject: String,
    jti: Option<String>,
    /// What has to be remembered of the assertion, where it is good once.
    once: Option<Once>,
}

/// Whether a word still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    Yes,
    /// The issuer is trusted no more.
    Distrusted,
    /// The assertion was used before.
    Used,
}

impl Word {
    fn of(issuer: &TrustedIssuer, jws: &Jws<'_>, once: Option<Once>) -> Self {
        let text = |name| jws.unverified().get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            issuer: issuer.id,
            iss: issuer.document.issuer.clone(),
            subject: text("sub").unwrap_or_default(),
            jti: text("jti"),
            once,
        }
    }

    /// Uses the assertion up, in the transaction that gives something on it.
    pub(super) fn take(&self, tx: &mut Tx<'_>) -> Result<Counts, Fault> {
        if !trusted_issuers::lives(tx, self.issuer)? {
            return Ok(Counts::Distrusted);
        }
        let Some(once) = &self.once else { return Ok(Counts::Yes) };
        // By its name, so that what was used stays used where the issuer is trusted anew.
        let fresh = assertions::spend(tx, PURPOSE, &self.iss, &once.jti, once.until)?;
        Ok(if fresh { Counts::Yes } else { Counts::Used })
    }

    /// As the record tells it.
    pub(super) fn told(&self) -> Value {
        json!({"id": self.issuer, "issuer": self.iss, "subject": self.subject, "jti": self.jti})
    }

    /// The issuer.
    pub(super) fn issuer(&self) -> TrustedIssuerId {
        self.issuer
    }
}

impl Counts {
    /// Why nothing was given.
    pub(super) fn refused(self) -> OAuthError {
        OAuthError::new(
            "invalid_grant",
            match self {
                Self::Used => {
                    "the assertion was used before: each is good once, so ask its issuer for another one"
                }
                Self::Yes | Self::Distrusted => "the assertion's issuer is trusted here no more",
            },
        )
    }
}

/// A request with an assertion whose signature is right, and whom it comes from.
#[derive(Debug)]
pub(super) struct Asserted {
    /// The client: the one that authenticated, or the agent that the workload acts as.
    pub(super) client: Arc<Client>,
    text: String,
    issuer: TrustedIssuer,
    /// What is known already of a workload's assertion.
    once: Option<Once>,
}

/// Who sends a request with an assertion. It is counted here: of a client that is known to that client, and of nobody who
/// is known, where it fails, to the address that it comes from.
///
/// # Errors
/// 401 `invalid_client` where a client doesn't authenticate that has to, `invalid_grant` for an assertion that is not good,
/// `unauthorized_client` for a workload that acts as no agent, 503 where the issuer's keys can't be read, 429 where too many
/// were sent.
pub(super) async fn asserted(
    app: &App,
    headers: &HeaderMap,
    params: &OAuthParams,
    source: Source,
) -> Result<Asserted, OAuthError> {
    let text = params.required("assertion")?;
    let jws = Jws::parse(text).map_err(|error| invalid(format!("the assertion can't be used: {error}")))?;
    let now = app.clock.now();
    match assertion::kind(&jws).map_err(|error| invalid(error.to_string()))? {
        Kind::IdJag => {
            // Before anything is looked up: only a client that is known makes this server verify signatures.
            let client = client::authenticate(app, headers, params).await?;
            app.rates.known(&client.agent.id.to_string(), now)?;
            client.must_use(GrantType::JwtBearer)?;
            let issuer = signed(app, &jws, now).await?;
            people(&issuer)?;
            Ok(Asserted { client, text: text.to_owned(), issuer, once: None })
        }
        Kind::Workload => {
            let acting = async {
                let issuer = signed(app, &jws, now).await?;
                let (client, once) = workload::client(app, &jws, &issuer, headers, params, now).await?;
                Ok::<_, OAuthError>((issuer, client, once))
            };
            let (issuer, client, once) = match acting.await {
                Ok(acting) => acting,
                // Nobody has said who they are, or somebody who is no agent here.
                Err(refused) if refused.status == StatusCode::BAD_REQUEST => {
                    app.rates.stranger(source, now).map_err(crate::rates::too_many)?;
                    return Err(refused);
                }
                Err(error) => return Err(error),
            };
            app.rates.known(&client.agent.id.to_string(), now)?;
            client.must_use(GrantType::JwtBearer)?;
            Ok(Asserted { client, text: text.to_owned(), issuer, once })
        }
    }
}

/// Gives a token on an assertion; `params` carry the key that the sender has proved.
///
/// # Errors
/// RFC 7523 §3.1, RFC 6749 §5.2.
pub(super) async fn exchange(
    app: &Arc<App>,
    asserted: &Asserted,
    params: OAuthParams,
    source: Source,
) -> Result<Value, OAuthError> {
    let Asserted { client, text, issuer, once } = asserted;
    let jws = Jws::parse(text).map_err(|error| invalid(error.to_string()))?;
    if assertion::kind(&jws) == Ok(Kind::Workload) {
        // What it gives is bound to the key that is proved, whether or not the assertion is.
        assertion::check_binding(&jws, params.key())
            .map_err(|error| invalid(format!("the assertion is not good: {error}")))?;
        let params = params.on_word(Word::of(issuer, &jws, once.clone()));
        return issue::client_credentials(app, client, &params, source).await;
    }
    let leave = id_jag::read(app, client, &jws, issuer, &params).await?;
    let params = params.on_word(Word::of(issuer, &jws, Some(leave.once().clone())));
    issue::issue(app, client, Presented::Assertion(&leave), &params, source).await.map(Value::Object)
}

/// The trusted issuer that signed it.
async fn signed(app: &App, jws: &Jws<'_>, now: Timestamp) -> Result<TrustedIssuer, OAuthError> {
    let untrusted = || {
        invalid(
            "no issuer that is trusted here has signed the assertion: compare its `iss`, `kid` and `alg` with what an administrator has added (`placet issuer list`)",
        )
    };
    let iss = assertion::claimed(jws).ok_or_else(untrusted)?.to_owned();
    if app.issuers.load().contains(&iss) {
        return Err(invalid("what this server issues is no assertion for it"));
    }
    let found = app.store.read(move |q| trusted_issuers::by_issuer(q, &iss)).await?;
    let issuer = found.filter(|issuer| issuer.document.signs_with(jws.algorithm())).ok_or_else(untrusted)?;
    match (&issuer.document.jwks, &issuer.document.jwks_uri) {
        (Some(keys), _) => {
            let keys = KeySet::parse(keys).map_err(|_| untrusted())?;
            keys.verify(jws).map_err(|_| untrusted())?;
        }
        (None, Some(url)) => app.foreign.verify(url, jws, now).await.map_err(|error| match error {
            ForeignError::Signature(_) => untrusted(),
            error => unread(&error),
        })?,
        (None, None) => return Err(untrusted()),
    }
    Ok(issuer)
}

/// What is answered where the issuer's keys can't be read.
fn unread(error: &ForeignError) -> OAuthError {
    let refused = invalid(format!("the issuer's keys can't be read: {error}"));
    if error.is_temporary() {
        OAuthError { status: StatusCode::SERVICE_UNAVAILABLE, error: "temporarily_unavailable", ..refused }
    } else {
        refused
    }
}

/// What it may say about people.
fn people(issuer: &TrustedIssuer) -> Result<&People, OAuthError> {
    issuer.document.id_jag.as_ref().ok_or_else(|| {
        invalid("the assertion's issuer is trusted here for workloads, not for people (`id_jag`)")
    })
}

/// What it may say about workloads.
fn workloads(issuer: &TrustedIssuer) -> Result<&Workloads, OAuthError> {
    issuer.document.workload.as_ref().ok_or_else(|| {
        invalid("the assertion's issuer is trusted here for people, not for workloads (`workload`)")
    })
}

fn invalid(description: impl Into<String>) -> OAuthError {
    OAuthError::new("invalid_grant", description)
}
