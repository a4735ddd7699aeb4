//! Authorization codes, by the keyed hash of their text, each with the grant that a person consented to.
//!
//! The grant and its task are made in the transaction that uses the code; until then they are no more than its
//! document.
//!
//! Invariant: a code is used once; of several uses at once one wins, and the others find that it was used.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
};
use placet_core::{
    authorize::Challenge,
    grant::Grant,
    id::{AgentId, UserId},
    jose::Thumbprint,
    secret::KeyedHash,
    task::Task,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

statements! {
    /// A new one.
    INSERT = "INSERT INTO authorization_codes (hash, agent, user_id, document, issued, expires)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    /// One.
    FIND = "SELECT agent, user_id, document, issued, expires, used FROM authorization_codes WHERE hash = ?1";
    /// Uses one that was not used.
    USE = "UPDATE authorization_codes SET used = ?2 WHERE hash = ?1 AND used IS NULL";
    /// Forgets some that can't be used any more.
    PURGE = "DELETE FROM authorization_codes WHERE hash IN
             (SELECT hash FROM authorization_codes WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
}

/// What a person consented to, and what the code for it is bound to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Consented {
    /// The redirect URI that the code was sent to.
    pub redirect_uri: String,
    /// What its verifier has to fit.
    pub challenge: Challenge,
    /// The key that its user has to prove to hold.
    #[serde(default)]
    pub key: Option<Thumbprint>,
    /// The root grant that is made when the code is used.
    pub grant: Grant,
    /// Its task.
    pub task: Task,
}

/// A code without its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Code {
    /// The only client that can use it.
    pub agent: AgentId,
    /// The person who consented.
    pub user: UserId,
    /// To what.
    pub consented: Consented,
    /// When it was made.
    pub issued: Timestamp,
    /// When it can't be used any more.
    pub expires: Timestamp,
    /// When it was used.
    pub used: Option<Timestamp>,
}

/// Stores a new code under the hash of its text.
///
/// # Errors
/// [`Fault::Conflict`] where there is no such agent or user, or the hash is known.
pub fn insert(tx: &mut Tx<'_>, hash: KeyedHash, code: &Code) -> Result<(), Fault> {
    let document = document::write(&code.consented)?;
    let row = params![hash.as_bytes(), code.agent, code.user, &document, code.issued, code.expires];
    tx.execute(&INSERT, &row).map(|_| ())
}

/// The code of this hash, also a used or expired one.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, hash: KeyedHash) -> Result<Option<Code>, Fault> {
    q.one(&FIND, &params![hash.as_bytes()], |row| {
        Ok(Code {
            agent: row.id(0)?,
            user: row.id(1)?,
            consented: row.json(2)?,
            issued: row.time(3)?,
            expires: row.time(4)?,
            used: row.optional_time(5)?,
        })
    })
}

/// Uses a code, once: `false` where it was used before.
///
/// # Errors
/// [`Fault`].
pub fn spend(tx: &mut Tx<'_>, hash: KeyedHash, now: Timestamp) -> Result<bool, Fault> {
    Ok(tx.execute(&USE, &params![hash.as_bytes(), now])? > 0)
}

/// Forgets up to `limit` codes that had expired at `before`; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn purge(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&PURGE, &params![before, limit])
}
