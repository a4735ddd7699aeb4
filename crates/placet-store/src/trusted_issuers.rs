//! Issuers whose assertions count, the users whom their subjects mean, and the grants that were made on their word.
//!
//! Invariant: one live row for an issuer; a row stays when the trust has ended, so that what was done on its word can be
//! told later.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
};
use placet_core::{
    federation::Document,
    id::{GrantId, TrustedIssuerId, UserId},
    time::Timestamp,
};

/// The columns that [`read`] takes.
macro_rules! columns {
    () => {
        "id, made_by, created, ended, document"
    };
}

statements! {
    /// A new one.
    INSERT = "INSERT INTO trusted_issuers (id, issuer, made_by, created, document)
              VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
    /// One by id.
    BY_ID = concat!("SELECT ", columns!(), " FROM trusted_issuers WHERE id = ?1");
    /// A live one by its `iss`.
    BY_ISSUER = concat!("SELECT ", columns!(), " FROM trusted_issuers WHERE issuer = ?1 AND ended IS NULL");
    /// A page of the live ones.
    PAGE = concat!("SELECT ", columns!(), " FROM trusted_issuers
                    WHERE id > ?1 AND ended IS NULL ORDER BY id LIMIT ?2");
    /// Ends one; its grants are to follow.
    END = "UPDATE trusted_issuers SET ended = ?2, ending_by = ?3 WHERE id = ?1 AND ended IS NULL";
    /// They have.
    FOLLOWED = "UPDATE trusted_issuers SET ending_by = NULL WHERE id = ?1";
    /// Those whose grants are to follow.
    ENDING = "SELECT id, ending_by FROM trusted_issuers WHERE ending_by IS NOT NULL ORDER BY id LIMIT 1";
    /// Whether one is live.
    LIVES = "SELECT 1 FROM trusted_issuers WHERE id = ?1 AND ended IS NULL";
    /// Says whom it means by a subject.
    PUT_USER = "INSERT INTO trusted_subjects (issuer, subject, user_id) VALUES (?1, ?2, ?3)
                ON CONFLICT (issuer, subject) DO UPDATE SET user_id = excluded.user_id";
    /// Means nobody by it any more.
    DROP_USER = "DELETE FROM trusted_subjects WHERE issuer = ?1 AND subject = ?2";
    /// Whom it means by a subject.
    USER = "SELECT user_id FROM trusted_subjects WHERE issuer = ?1 AND subject = ?2";
    /// All of them, in part.
    USERS = "SELECT subject, user_id FROM trusted_subjects WHERE issuer = ?1 ORDER BY subject LIMIT ?2";
    /// Notes that a token of a grant was given on its word.
    NOTE = "INSERT INTO trusted_grants (issuer, grant_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    /// Some of the grants of which that was done and that have not ended.
    GRANTS = "SELECT t.grant_id FROM trusted_grants t JOIN grants g ON g.id = t.grant_id
              WHERE t.issuer = ?1 AND t.grant_id > ?2 AND g.expires > ?3 AND g.revoked_at IS NULL
              ORDER BY t.grant_id LIMIT ?4";
}

/// An issuer whose assertions count, or did.
#[derive(Debug, Clone, PartialEq)]
pub struct TrustedIssuer {
    /// Its id.
    pub id: TrustedIssuerId,
    /// What an administrator said about it; without the users of `id_jag`, which lie beside it.
    pub document: Document,
    /// Who made it: a user's id, or `admin-token`.
    pub made_by: String,
    /// When.
    pub created: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// Stores a new one. `false` where a live one has its `iss`.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn insert(tx: &mut Tx<'_>, one: &TrustedIssuer) -> Result<bool, Fault> {
    let document = document::write(&one.document)?;
    let row = params![one.id, &one.document.issuer, &one.made_by, one.created, &document];
    Ok(tx.execute(&INSERT, &row)? > 0)
}

/// The one of this id, also one that ended.
///
/// # Errors
/// [`Fault`].
pub fn find(q: &mut impl Query, id: TrustedIssuerId) -> Result<Option<TrustedIssuer>, Fault> {
    q.one(&BY_ID, &params![id], read)
}

/// The live one with this `iss`.
///
/// # Errors
/// [`Fault`].
pub fn by_issuer(q: &mut impl Query, issuer: &str) -> Result<Option<TrustedIssuer>, Fault> {
    q.one(&BY_ISSUER, &params![issuer], read)
}

/// Up to `limit` live ones behind `after`, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn list(
    q: &mut impl Query,
    after: Option<TrustedIssuerId>,
    limit: usize,
) -> Result<Vec<TrustedIssuer>, Fault> {
    q.query(&PAGE, &params![document::behind(after), limit], read)
}

/// Ends a live one for good; the grants that were made on its word are to follow ([`followed`]). `false` where there is none.
///
/// # Errors
/// [`Fault`].
pub fn end(tx: &mut Tx<'_>, id: TrustedIssuerId, by: &str, now: Timestamp) -> Result<bool, Fault> {
    Ok(tx.execute(&END, &params![id, now, by])? > 0)
}

/// All of them have followed.
///
/// # Errors
/// [`Fault`].
pub fn followed(tx: &mut Tx<'_>, id: TrustedIssuerId) -> Result<(), Fault> {
    tx.execute(&FOLLOWED, &params![id]).map(|_| ())
}

/// One that has ended and whose grants are still to follow, and who has ended it.
///
/// # Errors
/// [`Fault`].
pub fn ending(q: &mut impl Query) -> Result<Option<(TrustedIssuerId, String)>, Fault> {
    q.one(&ENDING, &[], |row| Ok((row.id(0)?, row.text(1)?)))
}

/// Whether its word counts.
///
/// # Errors
/// [`Fault`].
pub fn lives(q: &mut impl Query, id: TrustedIssuerId) -> Result<bool, Fault> {
    Ok(q.one(&LIVES, &params![id], |_| Ok(()))?.is_some())
}

/// Says whom it means by a subject, whoever that was before.
///
/// # Errors
/// [`Fault::Conflict`] where there is no such user.
pub fn put_user(tx: &mut Tx<'_>, id: TrustedIssuerId, subject: &str, user: UserId) -> Result<(), Fault> {
    tx.execute(&PUT_USER, &params![id, subject, user]).map(|_| ())
}

/// From now on it means nobody by a subject; `false` where it did not before.
///
/// # Errors
/// [`Fault`].
pub fn drop_user(tx: &mut Tx<'_>, id: TrustedIssuerId, subject: &str) -> Result<bool, Fault> {
    Ok(tx.execute(&DROP_USER, &params![id, subject])? > 0)
}

/// Whom it means by a subject.
///
/// # Errors
/// [`Fault`].
pub fn user(q: &mut impl Query, id: TrustedIssuerId, subject: &str) -> Result<Option<UserId>, Fault> {
    q.one(&USER, &params![id, subject], |row| row.id(0))
}

/// Up to `limit` subjects, with whom it means by each.
///
/// # Errors
/// [`Fault`].
pub fn users(q: &mut impl Query, id: TrustedIssuerId, limit: usize) -> Result<Vec<(String, UserId)>, Fault> {
    q.query(&USERS, &params![id, limit], |row| Ok((row.text(0)?, row.id(1)?)))
}

/// Notes that a token of this grant was given on its word.
///
/// # Errors
/// [`Fault`].
pub fn note(tx: &mut Tx<'_>, id: TrustedIssuerId, grant: GrantId) -> Result<(), Fault> {
    tx.execute(&NOTE, &params![id, grant]).map(|_| ())
}

/// Up to `limit` grants behind `after` of which a token was given on its word and that have not ended by themselves.
///
/// # Errors
/// [`Fault`].
pub fn grants(
    q: &mut impl Query,
    id: TrustedIssuerId,
    after: Option<GrantId>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<GrantId>, Fault> {
    q.query(&GRANTS, &params![id, document::behind(after), now, limit], |row| row.id(0))
}

fn read(row: &Row<'_>) -> Result<TrustedIssuer, Fault> {
    Ok(TrustedIssuer {
        id: row.id(0)?,
        made_by: row.text(1)?,
        created: row.time(2)?,
        ended: row.optional_time(3)?,
        document: row.json(4)?,
    })
}
