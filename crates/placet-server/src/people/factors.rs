//! What a person changes about how they sign in: the password, the authenticator app, the recovery codes.
//!
//! Invariant: each change needs a fresh proof, which is used up by it, but [`confirm`]: that needs a session that lives and a
//! code of the new secret, for which there was a proof. What counts from then on is recorded, and ends the sessions that it
//! makes doubtful. What is secret is answered once.

use super::{
    passwords,
    proof::{self, Proven, TOTP_KIND},
    session::still_signed_in,
};
use crate::{
    app::App,
    caller::{SignedIn, Source},
    clock,
    problem::Problem,
    recording,
};
use placet_core::{
    id::{SessionId, UserId},
    record::{EntryType, Envelope},
    refusal::Code,
    seal::{Aad, SealEntropy},
    secret::{KeyedHash, Secret},
    time::Timestamp,
    totp::{RECOVERY_CODES, TotpSecret, Typed, recovery_code},
};
use placet_store::{
    PreparedEntry, Query,
    passkeys::{self, Passkey},
    providers, second_factors, sessions, users,
};
use serde_json::{Value, json};

/// What a person has to sign in with, beside the password.
#[derive(Debug, Clone)]
pub(crate) struct Factors {
    /// Since when codes of an authenticator app are asked for.
    pub(crate) totp: Option<Timestamp>,
    /// How many recovery codes are left.
    pub(crate) recovery_codes: u64,
    /// Their passkeys, oldest first.
    pub(crate) passkeys: Vec<Passkey>,
}

/// A secret that an authenticator app is to be given.
pub(crate) struct Enrolment {
    /// As a person types it.
    pub(crate) secret: Secret,
    /// As an app reads it.
    pub(crate) url: Secret,
}

impl Factors {
    /// Those of a person.
    ///
    /// # Errors
    /// What the store met.
    pub(crate) fn of(q: &mut impl Query, user: UserId) -> Result<Self, placet_store::Fault> {
        Ok(Self {
            totp: second_factors::totp(q, user)?.and_then(|totp| totp.confirmed),
            recovery_codes: second_factors::recovery_codes_left(q, user)?,
            passkeys: passkeys::of_user(q, user)?,
        })
    }
}

/// A new secret for an authenticator app. It counts once [`confirm`] has seen a code of it.
///
/// # Errors
/// `conflict` where there is one that counts; as [`Proven::used`].
pub(crate) async fn enrol(app: &App, proven: Proven, source: Source) -> Result<Enrolment, Problem> {
    let (now, user) = (app.clock.now(), proven.user.id);
    let secret = TotpSecret::new(clock::entropy());
    let host = app.pages.split_once("://").map_or("", |(_, host)| host);
    let enrolment =
        Enrolment { secret: secret.text(), url: secret.url(&format!("Placet at {host}"), &proven.user.name) };
    let generation = now.as_micros().max(1).unsigned_abs();
    let row = user.to_string();
    let aad = Aad { kind: TOTP_KIND, row: &row, version: generation };
    let sealed = app.secrets.vault.seal(&aad, SealEntropy::new(clock::entropy()), secret.to_seal());
    let sealed = sealed.map_err(|_| Problem::of(Code::Unavailable, "the secret could not be sealed"))?;
    let sealed = sealed.to_bytes();
    proven
        .used(app, source, now, move |tx| {
            if second_factors::enrol(tx, user, generation, &sealed, now)? {
                return Ok(());
            }
            let detail = "there is an authenticator app already: remove that one first";
            Err(Problem::of(Code::Conflict, detail))
        })
        .await?;
    Ok(enrolment)
}

/// From now on a code is asked for beside the password. Answers the recovery codes; ends every other session of the
/// person, which began without a code.
///
/// # Errors
/// `not_found` where no secret waits, `not_permitted` for a wrong code; `too_many_requests`; `token_invalid` where the session
/// has ended meanwhile.
pub(crate) async fn confirm(
    app: &App,
    person: &SignedIn,
    code: &str,
    source: Source,
) -> Result<Vec<Secret>, Problem> {
    let (now, user, session) = (app.clock.now(), person.user.id, person.session);
    let waiting = app.store.read(move |q| second_factors::totp(q, user)).await?;
    let none = || Problem::of(Code::NotFound, "no authenticator app waits to be confirmed: begin again");
    let totp = waiting.filter(|totp| totp.confirmed.is_none()).ok_or_else(none)?;
    app.rates.confirm(&user.to_string(), now)?;
    let step = match Typed::read(code) {
        Typed::Code(code) => proof::opened(app, user, &totp)?.step_of(&code, now, None),
        _ => None,
    };
    let wrong = || Problem::of(Code::NotPermitted, "the code is wrong: take the one that the app shows now");
    let step = step.ok_or_else(wrong)?;
    let (hashes, shown) = recovery_codes(app, user);
    let entry = entry(app, EntryType::UserTotpEnrolled, user, user.to_string(), source, &json!({}))?;
    app.store
        .write(move |tx| {
            still_signed_in(tx, session, now)?;
            if !second_factors::confirm(tx, user, totp.generation, step, now)? {
                return Err(none());
            }
            second_factors::set_recovery_codes(tx, user, &hashes)?;
            sessions::end_all(tx, user, Some(session), now)?;
            Ok(tx.record(entry.clone())?)
        })
        .await?;
    Ok(shown)
}

/// No code is asked for any more.
///
/// # Errors
/// `not_found` where there is no app; as [`Proven::used`].
pub(crate) async fn remove_totp(app: &App, proven: Proven, source: Source) -> Result<(), Problem> {
    let (now, user) = (app.clock.now(), proven.user.id);
    let body = json!({"shown": proven.began_with()});
    let entry = entry(app, EntryType::UserTotpRemoved, user, user.to_string(), source, &body)?;
    proven
        .used(app, source, now, move |tx| {
            if !second_factors::remove(tx, user)? {
                return Err(Problem::of(Code::NotFound, "there is no authenticator app"));
            }
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// New recovery codes in place of all that there were.
///
/// # Errors
/// `not_found` where there is no app; as [`Proven::used`].
pub(crate) async fn renew_recovery_codes(
    app: &App,
    proven: Proven,
    source: Source,
) -> Result<Vec<Secret>, Problem> {
    let (now, user) = (app.clock.now(), proven.user.id);
    let (hashes, shown) = recovery_codes(app, user);
    let body = json!({"shown": proven.began_with()});
    let entry = entry(app, EntryType::UserRecoveryCodes, user, user.to_string(), source, &body)?;
    proven
        .used(app, source, now, move |tx| {
            if second_factors::totp(tx, user)?.is_none_or(|totp| totp.confirmed.is_none()) {
                return Err(Problem::of(
                    Code::NotFound,
                    "recovery codes are for when the authenticator app is lost, and there is none",
                ));
            }
            second_factors::set_recovery_codes(tx, user, &hashes)?;
            Ok(tx.record(entry.clone())?)
        })
        .await?;
    Ok(shown)
}

/// Another password. Ends every session of the person but `session`.
///
/// # Errors
/// `request_invalid` where the new one is too short or too long; as [`Proven::used`].
pub(crate) async fn change_password(
    app: &App,
    proven: Proven,
    session: SessionId,
    new: String,
    source: Source,
) -> Result<(), Problem> {
    let hashed = passwords::hashed(new).await?;
    let (now, user) = (app.clock.now(), proven.user.id);
    let body = json!({"shown": proven.began_with()});
    let entry = entry(app, EntryType::UserPassword, user, user.to_string(), source, &body)?;
    proven
        .used(app, source, now, move |tx| {
            let version = users::find(tx, user)?.map_or(0, |user| user.version);
            if !users::set_password(tx, user, version, &hashed)? {
                return Err(Problem::of(Code::Conflict, "the user was changed a moment ago: try again"));
            }
            sessions::end_all(tx, user, Some(session), now)?;
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// An administrator, who has shown once more who they are, takes from a person everything but the password, and ends
/// their sessions: for somebody who has lost what they signed in with.
///
/// # Errors
/// As [`Proven::used`].
pub(crate) async fn reset(app: &App, proven: Proven, user: UserId, source: Source) -> Result<(), Problem> {
    let (now, by) = (app.clock.now(), proven.user.id.to_string());
    let body = json!({"shown": proven.began_with()});
    let entry = entry(app, EntryType::UserFactorsRemoved, user, by, source, &body)?;
    proven
        .used(app, source, now, move |tx| {
            second_factors::remove(tx, user)?;
            passkeys::remove_all(tx, user)?;
            // Nothing is asked for beside a provider's word any more.
            providers::unlink_all(tx, user)?;
            sessions::end_all(tx, user, None, now)?;
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// Fresh recovery codes: as they are kept, and as they are shown.
fn recovery_codes(app: &App, user: UserId) -> (Vec<KeyedHash>, Vec<Secret>) {
    let one = |_| {
        let (kept, shown) = recovery_code(clock::entropy());
        (proof::recovery_hash(app, user, &kept), shown)
    };
    (0..RECOVERY_CODES).map(one).unzip()
}

/// An entry about how a person signs in.
pub(super) fn entry(
    app: &App,
    entry_type: EntryType,
    user: UserId,
    by: String,
    source: Source,
    body: &Value,
) -> Result<PreparedEntry, Problem> {
    let envelope = Envelope {
        user: Some(user),
        source: recording::source(source.0),
        ..recording::by(entry_type, app.clock.now(), by)
    };
    app.prepare(envelope, Some(body))
}
