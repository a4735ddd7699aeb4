//! Passkeys: what a browser is asked, and what is made of its answer.
//!
//! A challenge is made of random bytes, the time and a keyed hash that binds it to its operation and to the browser session
//! that it was given to, so nothing is kept of one that nobody answers; that one was answered is kept until it is too old
//! anyway.
//!
//! Invariant: a passkey is added only by a person who had just shown who they are otherwise, and a session begins with one
//! only where its authenticator verified its person: that is two factors by itself.

use super::{
    factors,
    proof::{Proven, Shown},
    session::still_signed_in,
};
use crate::{
    app::App,
    caller::{SignedIn, Source},
    clock,
    problem::Problem,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_core::{
    id::{PasskeyId, UserId},
    record::EntryType,
    refusal::Code,
    secret::{KeyedHash, Secret},
    time::Timestamp,
    webauthn::{self, Assertion, Expected, Known},
};
use placet_store::{
    Fault, Tx, assertions,
    passkeys::{self, Passkey},
    users,
};
use serde_json::json;
use std::{net::IpAddr, time::Duration};

/// For how long a browser may answer.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(300);
/// The most passkeys of one person.
const MOST: usize = 32;
/// The longest name of a passkey, in characters.
const LONGEST_NAME: usize = 64;
/// How many random bytes a challenge has (Web Authentication §13.4.3).
const RANDOM: usize = 16;
/// What answers to challenges are used up for.
const PURPOSE: &str = "passkey";
/// The bytes that a challenge's keyed hash is over: random ones and the time.
const HEAD: usize = RANDOM + 8;

/// What a browser is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// To make a credential.
    Create,
    /// To sign with one.
    Get,
}

/// A credential that a browser says was made.
#[derive(Debug, Clone)]
pub(crate) struct Created {
    /// What its person calls it.
    pub(crate) name: String,
    /// `clientDataJSON`.
    pub(crate) client_data: Vec<u8>,
    /// `attestationObject`.
    pub(crate) attestation: Vec<u8>,
}

/// An assertion that a browser brings.
#[derive(Debug, Clone)]
pub(crate) struct Asserted {
    /// The credential's id.
    pub(crate) credential: Vec<u8>,
    /// `clientDataJSON`.
    pub(crate) client_data: Vec<u8>,
    /// `authenticatorData`.
    pub(crate) authenticator_data: Vec<u8>,
    /// `signature`.
    pub(crate) signature: Vec<u8>,
    /// `userHandle`.
    pub(crate) user_handle: Vec<u8>,
}

/// A challenge that this server made and that was answered, on its way to be used up.
pub(super) struct Answered {
    /// The origin that asked.
    origin: String,
    /// The challenge.
    challenge: String,
    /// Until when it could be answered.
    expires: Timestamp,
}

impl Answered {
    /// Uses it up. `false` where it was used before.
    pub(super) fn spend(&self, tx: &mut Tx<'_>) -> Result<bool, Fault> {
        assertions::spend(tx, PURPOSE, &self.origin, &self.challenge, self.expires)
    }
}

/// The relying party's id: the host of the pages. None where that is an address: browsers know no passkeys there.
pub(crate) fn rp_id(app: &App) -> Option<&str> {
    let host = app.pages.split_once("://")?.1;
    if host.starts_with('[') {
        return None;
    }
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    // Passkeys are for pages that nobody between can change.
    let is_safe = app.pages.starts_with("https://") || host == "localhost" || host.ends_with(".localhost");
    (is_safe && host.parse::<IpAddr>().is_err()).then_some(host)
}

/// What an authenticator knows a person by.
pub(crate) fn handle(user: UserId) -> [u8; 16] {
    user.as_u128().to_be_bytes()
}

/// A challenge for a browser session.
pub(crate) fn challenge(app: &App, operation: Operation, browser: &Secret) -> Vec<u8> {
    let mut head = clock::entropy::<RANDOM>().to_vec();
    head.extend_from_slice(&app.clock.now().as_micros().to_be_bytes());
    let tag = tag(app, operation, browser, &head);
    head.extend_from_slice(tag.as_bytes());
    head
}

/// Lets a person add a passkey, by a proof, which is used up by it. Answers those that they have already, oldest first.
///
/// # Errors
/// As [`Proven::used`].
pub(crate) async fn begin(app: &App, proven: Proven, source: Source) -> Result<Vec<Passkey>, Problem> {
    let (now, user) = (app.clock.now(), proven.user.id);
    proven.used(app, source, now, move |tx| Ok(passkeys::of_user(tx, user)?)).await
}

/// Adds a passkey to a person's own. The challenge that its answer is for was given to them after they had shown who they
/// are.
///
/// # Errors
/// `not_permitted` where the answer is not believed; `token_invalid` where the challenge is too old or was used, or the
/// session has ended meanwhile; `conflict` where the credential is registered; `request_invalid` for its name, or where they
/// have too many.
pub(crate) async fn add(
    app: &App,
    person: &SignedIn,
    browser: &Secret,
    challenge: &[u8],
    created: Created,
    source: Source,
) -> Result<(), Problem> {
    let rp_id = rp_id(app).ok_or_else(nowhere)?;
    let now = app.clock.now();
    let answered = made_here(app, Operation::Create, browser, challenge, now)?;
    let name = created.name.trim().to_owned();
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        let detail = format!("a passkey's name has 1 to {LONGEST_NAME} characters, no control characters");
        return Err(Problem::of(Code::RequestInvalid, detail));
    }
    let expected = Expected { challenge, origin: &app.pages, rp_id };
    let made = webauthn::register(&expected, &created.client_data, &created.attestation);
    let made = made.map_err(|refused| {
        tracing::info!(user = %person.user.id, %refused, "a passkey was not added");
        Problem::of(Code::NotPermitted, format!("the passkey can't be added: {refused}"))
    })?;
    let passkey = Passkey {
        id: clock::fresh(now),
        user: person.user.id,
        credential: made.credential,
        key: made.key,
        sign_count: made.sign_count,
        backup_eligible: made.backup_eligible,
        name,
        created: now,
        used: None,
    };
    let (user, session) = (person.user.id, person.session);
    let body = json!({"passkey": passkey.id, "name": passkey.name});
    let entry = factors::entry(app, EntryType::UserPasskeyAdded, user, user.to_string(), source, &body)?;
    app.store
        .write(move |tx| {
            still_signed_in(tx, session, now)?;
            if !answered.spend(tx)? {
                return Err(too_late());
            }
            if passkeys::of_user(tx, user)?.len() >= MOST {
                let detail = format!("nobody has more than {MOST} passkeys: remove one first");
                return Err(Problem::of(Code::RequestInvalid, detail));
            }
            if !passkeys::insert(tx, &passkey)? {
                return Err(Problem::of(Code::Conflict, "this passkey is registered already"));
            }
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// The proof of a person who signs in with a passkey.
///
/// # Errors
/// `token_invalid`, in the same words for an unknown credential and an answer that is not believed; the log says which.
/// `too_many_requests` for one of many bad answers.
pub(crate) async fn proof(
    app: &App,
    browser: &Secret,
    challenge: &[u8],
    asserted: Asserted,
    source: Source,
) -> Result<Proven, Problem> {
    match checked(app, browser, challenge, asserted).await {
        Err(problem) if problem.code() == Code::TokenInvalid => {
            app.rates.passkey(source, app.clock.now())?;
            Err(problem)
        }
        found => found,
    }
}

async fn checked(
    app: &App,
    browser: &Secret,
    challenge: &[u8],
    asserted: Asserted,
) -> Result<Proven, Problem> {
    let rp_id = rp_id(app).ok_or_else(nowhere)?;
    let now = app.clock.now();
    let answered = made_here(app, Operation::Get, browser, challenge, now)?;
    let credential = asserted.credential.clone();
    let passkey = app.store.read(move |q| passkeys::by_credential(q, &credential)).await?;
    let wrong = || Problem::of(Code::TokenInvalid, "the passkey is not known here, or its answer is wrong");
    let passkey = passkey.ok_or_else(wrong)?;
    let known = Known {
        key: &passkey.key,
        sign_count: passkey.sign_count,
        backup_eligible: passkey.backup_eligible,
        user_handle: &handle(passkey.user),
    };
    let answer = Assertion {
        client_data: &asserted.client_data,
        authenticator_data: &asserted.authenticator_data,
        signature: &asserted.signature,
        user_handle: &asserted.user_handle,
    };
    let expected = Expected { challenge, origin: &app.pages, rp_id };
    let sign_count = webauthn::verify(&expected, &known, &answer).map_err(|refused| {
        tracing::warn!(passkey = %passkey.id, user = %passkey.user, %refused, "an answer with a passkey was refused");
        wrong()
    })?;
    let id = passkey.user;
    let user = app.store.read(move |q| users::find(q, id)).await?.ok_or_else(wrong)?;
    let shown = Shown::Passkey { id: passkey.id, sign_count, challenge: answered };
    Ok(Proven { user, shown })
}

/// Removes one of a person's passkeys.
///
/// # Errors
/// `not_found` where they have no such; as [`Proven::used`].
pub(crate) async fn remove(app: &App, proven: Proven, id: PasskeyId, source: Source) -> Result<(), Problem> {
    let (now, user) = (app.clock.now(), proven.user.id);
    let body = json!({"passkey": id, "shown": proven.began_with()});
    let entry = factors::entry(app, EntryType::UserPasskeyRemoved, user, user.to_string(), source, &body)?;
    proven
        .used(app, source, now, move |tx| {
            if !passkeys::remove(tx, id, user)? {
                return Err(Problem::of(Code::NotFound, "there is no such passkey"));
            }
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// The challenge of an answer, where this server made it for this operation and browser session, and not too long ago.
fn made_here(
    app: &App,
    operation: Operation,
    browser: &Secret,
    challenge: &[u8],
    now: Timestamp,
) -> Result<Answered, Problem> {
    let (head, sent) = challenge.split_at_checked(HEAD).ok_or_else(too_late)?;
    let sent = KeyedHash::from_bytes(sent).ok_or_else(too_late)?;
    if sent != tag(app, operation, browser, head) {
        return Err(too_late());
    }
    let (_, made) = head.split_last_chunk().ok_or_else(too_late)?;
    let made = Timestamp::from_micros(i64::from_be_bytes(*made));
    let expires = made.plus(ANSWERED_WITHIN);
    if now < made || expires <= now {
        return Err(too_late());
    }
    Ok(Answered { origin: app.pages.clone(), challenge: URL_SAFE_NO_PAD.encode(challenge), expires })
}

fn tag(app: &App, operation: Operation, browser: &Secret, head: &[u8]) -> KeyedHash {
    let purpose = match operation {
        Operation::Create => "passkey_create",
        Operation::Get => "passkey_get",
    };
    let bound = Secret::new([head, browser.expose()].concat());
    app.secrets.hashing.hash(purpose, bound.expose())
}

/// Why a challenge is good for nothing.
pub(super) fn too_late() -> Problem {
    Problem::of(Code::TokenInvalid, "this took too long, or was done before: try again")
}

fn nowhere() -> Problem {
    Problem::of(
        Code::RequestInvalid,
        "browsers know no passkeys at an address: the pages need an origin with a name",
    )
}
