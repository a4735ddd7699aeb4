//! What a person shows beside their password: the sealed secret of an authenticator app, and recovery codes by the keyed
//! hash of their text.
//!
//! Invariant: a step of the app's codes and a recovery code are used once, on all nodes; of several uses at once one wins.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
};
use placet_core::{id::UserId, secret::KeyedHash, time::Timestamp};

statements! {
    /// One person's.
    FIND = "SELECT generation, sealed, created, confirmed, last_step FROM totp WHERE user_id = ?1";
    /// A new secret, unless one is confirmed.
    ENROL = "INSERT INTO totp (user_id, generation, sealed, created) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (user_id) DO UPDATE SET generation = excluded.generation, sealed = excluded.sealed,
             created = excluded.created, last_step = NULL WHERE totp.confirmed IS NULL";
    /// The person has shown that the app has it.
    CONFIRM = "UPDATE totp SET confirmed = ?3, last_step = ?4
               WHERE user_id = ?1 AND generation = ?2 AND confirmed IS NULL";
    /// Uses the code of a step.
    USE_STEP = "UPDATE totp SET last_step = ?3 WHERE user_id = ?1 AND generation = ?2 AND confirmed IS NOT NULL
                AND (last_step IS NULL OR last_step < ?3)";
    /// Drops the secret.
    DROP_TOTP = "DELETE FROM totp WHERE user_id = ?1";
    /// Drops a secret that was never confirmed.
    DROP_UNCONFIRMED = "DELETE FROM totp WHERE user_id IN
                        (SELECT user_id FROM totp WHERE confirmed IS NULL AND created < ?1 LIMIT ?2)";
    /// Secrets to be sealed anew.
    VAULTED_TOTP = "SELECT user_id, generation, sealed FROM totp WHERE user_id > ?1 ORDER BY user_id LIMIT ?2";
    /// The same secret under another vault key.
    RESEAL_TOTP = "UPDATE totp SET sealed = ?3 WHERE user_id = ?1 AND sealed = ?2";
    /// A recovery code.
    ADD_CODE = "INSERT INTO recovery_codes (user_id, hash) VALUES (?1, ?2)";
    /// Uses one.
    USE_CODE = "UPDATE recovery_codes SET used = ?3 WHERE user_id = ?1 AND hash = ?2 AND used IS NULL";
    /// Whether one can be used.
    HAS_CODE = "SELECT 1 FROM recovery_codes WHERE user_id = ?1 AND hash = ?2 AND used IS NULL";
    /// How many are left.
    CODES_LEFT = "SELECT COUNT(*) FROM recovery_codes WHERE user_id = ?1 AND used IS NULL";
    /// Drops all of one person.
    DROP_CODES = "DELETE FROM recovery_codes WHERE user_id = ?1";
}

/// The secret of a person's authenticator app, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totp {
    /// What the seal is bound to, beside the person: another one for each enrolment.
    pub generation: u64,
    /// The sealed secret.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
    /// Since when it counts; none: it was not confirmed yet, and nothing is asked for.
    pub confirmed: Option<Timestamp>,
    /// The step of the last code that was used.
    pub last_step: Option<i64>,
}

/// A person's secret, confirmed or not.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn totp(q: &mut impl Query, user: UserId) -> Result<Option<Totp>, Fault> {
    q.one(&FIND, &params![user], read)
}

/// Keeps a new secret until it is confirmed, in place of one that was not. `false` where one is confirmed: that is
/// removed first.
///
/// # Errors
/// [`Fault::Conflict`] where there is no such user.
pub fn enrol(
    tx: &mut Tx<'_>,
    user: UserId,
    generation: u64,
    sealed: &[u8],
    now: Timestamp,
) -> Result<bool, Fault> {
    Ok(tx.execute(&ENROL, &params![user, generation, sealed, now])? > 0)
}

/// The secret of this generation counts from now on, and its code of `step` is used. `false` where it is another one by
/// now, or is confirmed.
///
/// # Errors
/// [`Fault`].
pub fn confirm(
    tx: &mut Tx<'_>,
    user: UserId,
    generation: u64,
    step: i64,
    now: Timestamp,
) -> Result<bool, Fault> {
    Ok(tx.execute(&CONFIRM, &params![user, generation, now, step])? > 0)
}

/// Uses the code of a step: `false` where it or a later one was used before, or the secret is not this one any more.
///
/// # Errors
/// [`Fault`].
pub fn use_step(tx: &mut Tx<'_>, user: UserId, generation: u64, step: i64) -> Result<bool, Fault> {
    Ok(tx.execute(&USE_STEP, &params![user, generation, step])? > 0)
}

/// Drops a person's secret and recovery codes; `false` where there was no confirmed secret.
///
/// # Errors
/// [`Fault`].
pub fn remove(tx: &mut Tx<'_>, user: UserId) -> Result<bool, Fault> {
    let was_confirmed = totp(tx, user)?.is_some_and(|totp| totp.confirmed.is_some());
    tx.execute(&DROP_TOTP, &params![user])?;
    tx.execute(&DROP_CODES, &params![user])?;
    Ok(was_confirmed)
}

/// Drops up to `limit` secrets that were made before `before` and never confirmed; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn forget_unconfirmed(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&DROP_UNCONFIRMED, &params![before, limit])
}

/// Puts these recovery codes in place of whatever the person had.
///
/// # Errors
/// [`Fault`].
pub fn set_recovery_codes(tx: &mut Tx<'_>, user: UserId, codes: &[KeyedHash]) -> Result<(), Fault> {
    tx.execute(&DROP_CODES, &params![user])?;
    for code in codes {
        tx.execute(&ADD_CODE, &params![user, code.as_bytes()])?;
    }
    Ok(())
}

/// Whether the person has this recovery code and has not used it.
///
/// # Errors
/// [`Fault`].
pub fn has_recovery_code(q: &mut impl Query, user: UserId, code: KeyedHash) -> Result<bool, Fault> {
    Ok(q.one(&HAS_CODE, &params![user, code.as_bytes()], |_| Ok(()))?.is_some())
}

/// Uses a recovery code, once: `false` where there is none, or it was used.
///
/// # Errors
/// [`Fault`].
pub fn use_recovery_code(
    tx: &mut Tx<'_>,
    user: UserId,
    code: KeyedHash,
    now: Timestamp,
) -> Result<bool, Fault> {
    Ok(tx.execute(&USE_CODE, &params![user, code.as_bytes(), now])? > 0)
}

/// How many recovery codes are left.
///
/// # Errors
/// [`Fault`].
pub fn recovery_codes_left(q: &mut impl Query, user: UserId) -> Result<u64, Fault> {
    Ok(q.one(&CODES_LEFT, &params![user], |row| row.count(0))?.unwrap_or(0))
}

/// Up to `limit` sealed secrets behind `after`, in the order of people's ids, with their generation.
///
/// # Errors
/// [`Fault`].
pub fn vaulted(
    q: &mut impl Query,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<(UserId, u64, Vec<u8>)>, Fault> {
    q.query(&VAULTED_TOTP, &params![document::behind(after), limit], |row| {
        Ok((row.id(0)?, row.count(1)?, row.blob(2)?))
    })
}

/// Puts the same secret, sealed by another vault key, where `old` is; `false` where something else is by now.
///
/// # Errors
/// [`Fault`].
pub fn reseal(tx: &mut Tx<'_>, user: UserId, old: &[u8], new: &[u8]) -> Result<bool, Fault> {
    Ok(tx.execute(&RESEAL_TOTP, &params![user, old, new])? > 0)
}

fn read(row: &Row<'_>) -> Result<Totp, Fault> {
    Ok(Totp {
        generation: row.count(0)?,
        sealed: row.blob(1)?,
        created: row.time(2)?,
        confirmed: row.optional_time(3)?,
        last_step: row.optional_integer(4)?,
    })
}
