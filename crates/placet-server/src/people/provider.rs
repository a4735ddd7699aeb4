//! Sign-in at an identity provider: a person leaves for it, comes back with a code, and is known by what the provider says of
//! whoever signed in there.
//!
//! What is noted of somebody who left is one row: where they go on here, under the keyed hash of what they come back with
//! (`state`), of the browser that they left from and of the provider. The nonce and the proof key (PKCE) are made from the
//! same, so nothing of them lies anywhere.
//!
//! Invariant: what somebody comes back with is taken once, on all nodes, before anything is asked of the provider; it is of no
//! use in another browser or as the answer of another provider. Whom the provider means is a user here by a link, which an
//! administrator or the person has made with a fresh proof, and by nothing else that it says.

use super::{
    factors,
    proof::{Elsewhere, Proven},
    session::still_signed_in,
};
use crate::{
    app::App,
    caller::{SignedIn, Source},
    clock,
    problem::Problem,
    rates,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_core::{
    id::{ProviderId, SessionId, UserId},
    provider::Asking,
    record::EntryType,
    refusal::Code,
    seal::{Aad, SealEntropy, Sealed},
    secret::{KeyedHash, Secret, sha256},
    time::Timestamp,
};
use placet_identity::{ProviderError, Redeeming};
use placet_store::{
    PreparedEntry, Tx,
    providers::{self, Away, Provider},
    sessions,
};
use serde_json::json;
use std::time::Duration;

/// What sealed secrets of providers are, for the vault.
pub(crate) const PROVIDER_KIND: &str = "identity_provider";
/// The most providers.
pub(crate) const MOST: usize = 16;
/// For how long a person may be away.
const WITHIN: Duration = Duration::from_secs(600);
/// The longest place to go on to, in bytes: that of an authorization request.
const LONGEST: usize = 32 * 1024;
/// The purposes of what is made from a `state`.
const STATE: &str = "sign_in_state";
const NONCE: &str = "sign_in_nonce";
const VERIFIER: &str = "sign_in_verifier";

/// What somebody came back with.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) state: String,
    pub(crate) code: Option<String>,
    pub(crate) iss: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) description: Option<String>,
}

/// Somebody who came back.
#[derive(Debug)]
pub(crate) struct Back {
    /// Where they go on here.
    pub(crate) onward: String,
    /// The session to whose person the provider's subject is to be linked.
    pub(crate) session: Option<SessionId>,
    /// Whom the provider speaks of, or why it is not known.
    pub(crate) who: Result<Elsewhere, Unknown>,
}

/// Why it is not known who came back.
#[derive(Debug)]
pub(crate) enum Unknown {
    /// The provider has refused: its code, and what it says about it.
    Refused(String, Option<String>),
    /// The answer is not this provider's, or none.
    NotAnAnswer,
    /// What it says can't be had, or is not believed.
    Failed(ProviderError),
    /// The secret that it is shown can't be opened.
    Secret,
}

/// Where people come back to from a provider: another place for each, so that no answer is taken for another's.
pub(crate) fn redirect_uri(app: &App, handle: &str) -> String {
    format!("{}/sign-in/callback/{handle}", app.pages)
}

/// Notes that somebody leaves for a provider, and answers where they are sent. `session` is the one to whose person the
/// provider's subject is to be linked, with the proof that they have just shown, which is used up.
///
/// # Errors
/// `too_many_requests`; `unavailable` where the provider can't be read; as [`Proven::used`].
pub(crate) async fn leave(
    app: &App,
    browser: &Secret,
    provider: &Provider,
    onward: &str,
    linking: Option<(SessionId, Proven)>,
    source: Source,
) -> Result<String, Problem> {
    if onward.len() > LONGEST {
        return Err(Problem::of(Code::RequestInvalid, "the request that you came with is too long"));
    }
    let now = app.clock.now();
    app.rates.left(source, now)?;
    let published = app.providers.configuration(&provider.document, now).await.map_err(|error| {
        tracing::warn!(provider = provider.document.handle, %error, "an identity provider can't be used");
        Problem::of(
            Code::Unavailable,
            "the identity provider can't be reached right now; the log has the cause",
        )
    })?;
    let bytes: [u8; 32] = clock::entropy();
    let state = URL_SAFE_NO_PAD.encode(bytes);
    let hash = state_hash(app, browser, provider.id, &state);
    let verifier = verifier(app, browser, &state);
    let away = Away {
        provider: provider.id,
        onward: onward.to_owned(),
        session: linking.as_ref().map(|(session, _)| *session),
        expires: now.plus(WITHIN),
    };
    let noted = move |tx: &mut Tx<'_>| {
        if let Some(session) = away.session {
            still_signed_in(tx, session, now)?;
        }
        if !providers::lives(tx, away.provider)? {
            return Err(gone());
        }
        Ok::<_, Problem>(providers::leave(tx, hash, &away)?)
    };
    // Who is signed in there may be somebody else, who sat here before.
    let anew = linking.is_some() || wants_anew(onward);
    match linking {
        Some((_, proven)) => proven.used(app, source, now, noted).await?,
        None => app.store.write(noted).await?,
    }
    let asking = Asking {
        redirect_uri: &redirect_uri(app, &provider.document.handle),
        state: &state,
        nonce: &nonce(app, browser, &state),
        code_challenge: &URL_SAFE_NO_PAD.encode(sha256(&[verifier.expose()])),
        anew,
    };
    Ok(published.ask_at(&provider.document, &asking))
}

/// What becomes of somebody who comes back.
///
/// # Errors
/// `token_invalid` where nobody left this browser for this provider with that, or they came back before, or too late;
/// `too_many_requests` where that is often so from there.
pub(crate) async fn comes_back(
    app: &App,
    browser: &Secret,
    provider: &Provider,
    answer: Answer,
    source: Source,
) -> Result<Back, Problem> {
    let now = app.clock.now();
    let late = || {
        let detail = "this took too long, was done before, or was begun in another browser";
        Problem::of(Code::TokenInvalid, detail)
    };
    let hash = state_hash(app, browser, provider.id, &answer.state);
    // What anybody can make up asks nothing of the writer.
    if !app.store.read(move |q| providers::is_away(q, hash, now)).await? {
        app.rates.stranger(source, now).map_err(rates::too_many)?;
        return Err(late());
    }
    let away = app.store.write(move |tx| providers::come_back(tx, hash, now)).await?;
    let away = away.filter(|away| away.provider == provider.id).ok_or_else(late)?;
    let who = known(app, browser, provider, &answer, now).await;
    Ok(Back { onward: away.onward, session: away.session, who })
}

/// Whether who goes on to this authorization request is to be asked anew (OpenID Connect Core §3.1.2.1).
fn wants_anew(onward: &str) -> bool {
    let is_anew = |value: &str| value.split(' ').any(|word| word == "login");
    form_urlencoded::parse(onward.as_bytes()).any(|(name, value)| name == "prompt" && is_anew(&value))
}

async fn known(
    app: &App,
    browser: &Secret,
    provider: &Provider,
    answer: &Answer,
    now: Timestamp,
) -> Result<Elsewhere, Unknown> {
    let document = &provider.document;
    let published = app.providers.configuration(document, now).await.map_err(Unknown::Failed)?;
    // RFC 9207 §2.4: one that says whose its answers are always does.
    let is_its = match &answer.iss {
        Some(iss) => *iss == document.issuer,
        None => !published.answers_say_iss,
    };
    if !is_its {
        return Err(Unknown::NotAnAnswer);
    }
    if let Some(error) = &answer.error {
        return Err(Unknown::Refused(error.clone(), answer.description.clone()));
    }
    let code = answer.code.as_deref().filter(|code| !code.is_empty()).ok_or(Unknown::NotAnAnswer)?;
    let secret = opened(app, provider).ok_or(Unknown::Secret)?;
    let redeeming = Redeeming {
        code,
        verifier: &verifier(app, browser, &answer.state),
        nonce: &nonce(app, browser, &answer.state),
        redirect_uri: &redirect_uri(app, &document.handle),
    };
    let said = app.providers.redeemed(document, &secret, &redeeming, now).await.map_err(Unknown::Failed)?;
    Ok(Elsewhere { provider: provider.id, subject: said.subject, two_factors: said.two_factors })
}

/// Links whom a provider speaks of to the person who left for it.
///
/// # Errors
/// `token_invalid` where the session has ended meanwhile; `conflict` where the subject is somebody's; `not_found` where the
/// provider is gone.
pub(crate) async fn link_own(
    app: &App,
    person: &SignedIn,
    elsewhere: Elsewhere,
    source: Source,
) -> Result<(), Problem> {
    let (now, user, session) = (app.clock.now(), person.user.id, person.session);
    let link = Link { provider: elsewhere.provider, subject: elsewhere.subject, user };
    let entry = link.entry(app, user.to_string(), true, source)?;
    app.store
        .write(move |tx| {
            still_signed_in(tx, session, now)?;
            link.make(tx, now)?;
            Ok::<_, Problem>(tx.record(entry.clone())?)
        })
        .await
}

/// Links a subject to somebody, with the proof of the administrator who says so.
///
/// # Errors
/// As [`link_own`], and as [`Proven::used`].
pub(crate) async fn link(app: &App, proven: Proven, link: Link, source: Source) -> Result<(), Problem> {
    let now = app.clock.now();
    let entry = link.entry(app, proven.user.id.to_string(), true, source)?;
    proven
        .used(app, source, now, move |tx| {
            link.make(tx, now)?;
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// Takes a link away, and ends the person's sessions that began with the provider. `proven` is who says so, where they take
/// away their own: it is used up.
///
/// # Errors
/// `not_found` where there is no such link; as [`Proven::used`].
pub(crate) async fn unlink(
    app: &App,
    link: Link,
    by: String,
    proven: Option<Proven>,
    source: Source,
) -> Result<(), Problem> {
    let now = app.clock.now();
    let entry = link.entry(app, by, false, source)?;
    let ended = move |tx: &mut Tx<'_>| {
        let is_it = providers::user(tx, link.provider, &link.subject)? == Some(link.user);
        if !is_it || !providers::unlink(tx, link.provider, &link.subject)? {
            return Err(Problem::of(Code::NotFound, "there is no such link"));
        }
        sessions::end_of_user_at(tx, link.provider, link.user, now)?;
        Ok(tx.record(entry.clone())?)
    };
    match proven {
        Some(proven) => proven.used(app, source, now, ended).await,
        None => app.store.write(ended).await,
    }
}

/// Stores a provider that an administrator has declared, with their proof.
///
/// # Errors
/// `conflict` where there is one of its handle, or there are too many; as [`Proven::used`].
pub(crate) async fn declare(
    app: &App,
    proven: Proven,
    provider: Provider,
    entry: PreparedEntry,
    source: Source,
) -> Result<(), Problem> {
    proven
        .used(app, source, app.clock.now(), move |tx| {
            if providers::list(tx, None, MOST)?.len() >= MOST {
                let detail = format!("there are {MOST} identity providers already: remove one first");
                return Err(Problem::of(Code::Conflict, detail));
            }
            if !providers::insert(tx, &provider)? {
                let handle = &provider.document.handle;
                let detail = format!("there is an identity provider `{handle}` already");
                return Err(Problem::of(Code::Conflict, detail));
            }
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// Puts another secret in place of a provider's, with the proof of the administrator who says so.
///
/// # Errors
/// `conflict` where somebody else has; as [`Proven::used`].
pub(crate) async fn change_secret(
    app: &App,
    proven: Proven,
    provider: &Provider,
    secret: &Secret,
    entry: PreparedEntry,
    source: Source,
) -> Result<(), Problem> {
    let (id, generation) = (provider.id, provider.generation);
    let next = generation + 1;
    let sealed = sealed(app, id, next, secret)?;
    proven
        .used(app, source, app.clock.now(), move |tx| {
            if !providers::set_secret(tx, id, generation, next, &sealed)? {
                let detail = "the identity provider was changed a moment ago: try again";
                return Err(Problem::of(Code::Conflict, detail));
            }
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// What a provider calls somebody, and who that is.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// The provider.
    pub(crate) provider: ProviderId,
    /// What it calls them.
    pub(crate) subject: String,
    /// Who that is.
    pub(crate) user: UserId,
}

impl Link {
    fn make(&self, tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Problem> {
        if !providers::lives(tx, self.provider)? {
            return Err(gone());
        }
        if providers::link(tx, self.provider, &self.subject, self.user, now)? {
            return Ok(());
        }
        Err(Problem::of(
            Code::Conflict,
            "the subject signs in as somebody already: take that link away first",
        ))
    }

    fn entry(&self, app: &App, by: String, linked: bool, source: Source) -> Result<PreparedEntry, Problem> {
        let body = json!({"provider": self.provider, "subject": self.subject, "linked": linked});
        factors::entry(app, EntryType::ProviderLinked, self.user, by, source, &body)
    }
}

/// Seals the secret that this server shows to a provider.
///
/// # Errors
/// `internal` where it can't be.
pub(crate) fn sealed(
    app: &App,
    id: ProviderId,
    generation: u64,
    secret: &Secret,
) -> Result<Vec<u8>, Problem> {
    let row = id.to_string();
    let aad = Aad { kind: PROVIDER_KIND, row: &row, version: generation };
    let sealed = app.secrets.vault.seal(&aad, SealEntropy::new(clock::entropy()), secret.expose());
    let unsealed = |_| Problem::of(Code::Internal, "the secret could not be sealed");
    Ok(sealed.map_err(unsealed)?.to_bytes())
}

fn opened(app: &App, provider: &Provider) -> Option<Secret> {
    let row = provider.id.to_string();
    let aad = Aad { kind: PROVIDER_KIND, row: &row, version: provider.generation };
    let opened =
        Sealed::from_bytes(&provider.sealed).and_then(|sealed| app.secrets.vault.open(&aad, &sealed));
    opened
        .inspect_err(|error| {
            tracing::error!(provider = provider.document.handle, %error, "the secret of an identity provider can't be opened");
        })
        .ok()
}

/// That there is no such provider any more.
pub(crate) fn gone() -> Problem {
    Problem::of(Code::NotFound, "there is no such identity provider")
}

fn state_hash(app: &App, browser: &Secret, provider: ProviderId, state: &str) -> KeyedHash {
    hash(app, STATE, browser, &[provider.to_string().as_bytes(), state.as_bytes()])
}

fn nonce(app: &App, browser: &Secret, state: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash(app, NONCE, browser, &[state.as_bytes()]).as_bytes())
}

/// 43 characters of 256 bits (RFC 7636 §4.1), which nobody knows who has not got the browser's cookie and this server's key.
fn verifier(app: &App, browser: &Secret, state: &str) -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode(hash(app, VERIFIER, browser, &[state.as_bytes()]).as_bytes()))
}

fn hash(app: &App, purpose: &str, browser: &Secret, parts: &[&[u8]]) -> KeyedHash {
    let mut all = Vec::new();
    for part in [browser.expose()].iter().chain(parts) {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    let all = Secret::new(all);
    app.secrets.hashing.hash(purpose, all.expose())
}
