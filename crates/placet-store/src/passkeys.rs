//! Passkeys of people.
//!
//! Invariant: a credential is registered once, whoever's it is; a counter that rose never falls.

use crate::{
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
};
use placet_core::{
    id::{PasskeyId, UserId},
    time::Timestamp,
};

/// The columns that [`read`] takes.
macro_rules! columns {
    () => {
        "id, user_id, credential, key, sign_count, backup_eligible, name, created, used"
    };
}

statements! {
    /// A new one.
    INSERT_PASSKEY = "INSERT INTO passkeys (id, user_id, credential, key, sign_count, backup_eligible, name, created)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (credential) DO NOTHING";
    /// By its credential.
    BY_CREDENTIAL = concat!("SELECT ", columns!(), " FROM passkeys WHERE credential = ?1");
    /// All of one person.
    OF_USER = concat!("SELECT ", columns!(), " FROM passkeys WHERE user_id = ?1 ORDER BY id");
    /// Notes a use: its counter has risen, or there is none.
    USE_PASSKEY = "UPDATE passkeys SET sign_count = ?2, used = ?3
              WHERE id = ?1 AND (sign_count < ?2 OR (sign_count = 0 AND ?2 = 0))";
    /// One of a person.
    REMOVE_PASSKEY = "DELETE FROM passkeys WHERE id = ?1 AND user_id = ?2";
    /// All of a person.
    REMOVE_PASSKEYS = "DELETE FROM passkeys WHERE user_id = ?1";
}

/// A passkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    /// Our id of it.
    pub id: PasskeyId,
    /// Whose it is.
    pub user: UserId,
    /// Its authenticator's id of it.
    pub credential: Vec<u8>,
    /// Its public key (COSE).
    pub key: Vec<u8>,
    /// How often it had signed when it was last used; 0 where its authenticator does not count.
    pub sign_count: u32,
    /// Whether it may be copied to another device.
    pub backup_eligible: bool,
    /// What its person calls it.
    pub name: String,
    /// When it was added.
    pub created: Timestamp,
    /// When it was last used.
    pub used: Option<Timestamp>,
}

/// Adds a passkey. `false` where its credential is registered already, whoever's it is.
///
/// # Errors
/// [`Fault::Conflict`] where there is no such user. [`Fault`]; so for all functions here.
pub fn insert(tx: &mut Tx<'_>, passkey: &Passkey) -> Result<bool, Fault> {
    let row = params![
        passkey.id,
        passkey.user,
        &passkey.credential,
        &passkey.key,
        passkey.sign_count,
        passkey.backup_eligible,
        &passkey.name,
        passkey.created
    ];
    Ok(tx.execute(&INSERT_PASSKEY, &row)? > 0)
}

/// The passkey of a credential.
///
/// # Errors
/// [`Fault`].
pub fn by_credential(q: &mut impl Query, credential: &[u8]) -> Result<Option<Passkey>, Fault> {
    q.one(&BY_CREDENTIAL, &params![credential], read)
}

/// All of a person, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn of_user(q: &mut impl Query, user: UserId) -> Result<Vec<Passkey>, Fault> {
    q.query(&OF_USER, &params![user], read)
}

/// Notes a use with this counter. `false` where the passkey is gone, or its counter has not risen since.
///
/// # Errors
/// [`Fault`].
pub fn note_use(tx: &mut Tx<'_>, id: PasskeyId, sign_count: u32, now: Timestamp) -> Result<bool, Fault> {
    Ok(tx.execute(&USE_PASSKEY, &params![id, sign_count, now])? > 0)
}

/// Removes a passkey of this person; `false` where they have no such.
///
/// # Errors
/// [`Fault`].
pub fn remove(tx: &mut Tx<'_>, id: PasskeyId, user: UserId) -> Result<bool, Fault> {
    Ok(tx.execute(&REMOVE_PASSKEY, &params![id, user])? > 0)
}

/// Removes all of a person; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn remove_all(tx: &mut Tx<'_>, user: UserId) -> Result<u64, Fault> {
    tx.execute(&REMOVE_PASSKEYS, &params![user])
}

fn read(row: &Row<'_>) -> Result<Passkey, Fault> {
    Ok(Passkey {
        id: row.id(0)?,
        user: row.id(1)?,
        credential: row.blob(2)?,
        key: row.blob(3)?,
        sign_count: u32::try_from(row.count(4)?).map_err(|_| Fault::Unreadable("a counter"))?,
        backup_eligible: row.boolean(5)?,
        name: row.text(6)?,
        created: row.time(7)?,
        used: row.optional_time(8)?,
    })
}
