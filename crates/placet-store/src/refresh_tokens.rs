//! Refresh tokens as they are stored: by their keyed hash, each good once.
//!
//! A use names the successor. The row of a used token stays until it expires, so that a second use is known for one;
//! `salt` is what the successor was derived with, so that a client that lost the answer can be given the same again.
//!
//! Invariant: a token is used once; of several uses at once one wins, and the others find what it did.

use crate::{
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
};
use placet_core::{
    id::{AgentId, GrantId},
    jose::Thumbprint,
    secret::KeyedHash,
    time::Timestamp,
};

statements! {
    /// A new one.
    INSERT = "INSERT INTO refresh_tokens (hash, agent, grant_id, issued, expires, key, certificate)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    /// One, with whether its successor was used.
    FIND = "SELECT t.agent, t.grant_id, t.issued, t.expires, t.used, t.salt, s.used, t.key, t.certificate
            FROM refresh_tokens t LEFT JOIN refresh_tokens s ON s.hash = t.successor WHERE t.hash = ?1";
    /// Uses one that was not used.
    USE = "UPDATE refresh_tokens SET used = ?2, salt = ?3, successor = ?4 WHERE hash = ?1 AND used IS NULL";
    /// Forgets some that can't be used any more.
    PURGE = "DELETE FROM refresh_tokens WHERE hash IN
             (SELECT hash FROM refresh_tokens WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
}

/// A refresh token without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    /// The only agent that can use it.
    pub agent: AgentId,
    /// The grant that it gives access tokens of.
    pub grant: GrantId,
    /// When it was made.
    pub issued: Timestamp,
    /// When it can't be used any more.
    pub expires: Timestamp,
    /// The key that whoever uses it has to prove to hold.
    pub key: Option<Thumbprint>,
    /// The certificate that whoever uses it has to show (RFC 8705 §4).
    pub certificate: Option<Thumbprint>,
    /// When and how it was used.
    pub used: Option<Used>,
}

/// The use of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// When.
    pub at: Timestamp,
    /// What its successor was derived with.
    pub salt: [u8; 32],
    /// Whether the successor was used in its turn: then the answer did arrive.
    pub followed: bool,
}

/// Stores a new token under the hash of its text.
///
/// # Errors
/// [`Fault::Conflict`] where there is no such agent or grant, or the hash is known.
pub fn insert(tx: &mut Tx<'_>, hash: KeyedHash, token: &RefreshToken) -> Result<(), Fault> {
    let [key, certificate] = [token.key, token.certificate].map(|it| it.map(|it| it.to_string()));
    let row =
        params![hash.as_bytes(), token.agent, token.grant, token.issued, token.expires, key, certificate];
    tx.execute(&INSERT, &row).map(|_| ())
}

/// The token of this hash, also a used or expired one.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, hash: KeyedHash) -> Result<Option<RefreshToken>, Fault> {
    q.one(&FIND, &params![hash.as_bytes()], |row| {
        let used = match row.optional_time(4)? {
            Some(at) => {
                let followed = row.optional_time(6)?.is_some();
                Some(Used { at, salt: row.digest(5)?, followed })
            }
            None => None,
        };
        Ok(RefreshToken {
            agent: row.id(0)?,
            grant: row.id(1)?,
            issued: row.time(2)?,
            expires: row.time(3)?,
            key: thumbprint(row.optional_text(7)?.as_deref())?,
            certificate: thumbprint(row.optional_text(8)?.as_deref())?,
            used,
        })
    })
}

fn thumbprint(text: Option<&str>) -> Result<Option<Thumbprint>, Fault> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|_| Fault::Unreadable("what a refresh token is bound to"))
}

/// Uses a token, once: `false` where it was used before. The successor is to be inserted in the same transaction.
///
/// # Errors
/// [`Fault`].
pub fn spend(
    tx: &mut Tx<'_>,
    hash: KeyedHash,
    now: Timestamp,
    salt: &[u8; 32],
    successor: KeyedHash,
) -> Result<bool, Fault> {
    Ok(tx.execute(&USE, &params![hash.as_bytes(), now, salt, successor.as_bytes()])? > 0)
}

/// Forgets up to `limit` tokens that had expired at `now`; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn purge(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&PURGE, &params![now, limit])
}
