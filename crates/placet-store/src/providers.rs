//! Identity providers that people sign in with, their subjects that are users here, and people who are there now.
//!
//! Invariant: one live row of a handle; what is not live has no secret and signs nobody in. What somebody comes back with is
//! taken once, on all nodes.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
};
use placet_core::{
    id::{ProviderId, SessionId, UserId},
    provider::Document,
    secret::KeyedHash,
    time::Timestamp,
};

statements! {
    /// A new one.
    INSERT_PROVIDER = "INSERT INTO providers (id, handle, made_by, created, document, generation, sealed)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    /// A live one by id.
    PROVIDER_BY_ID = "SELECT id, made_by, created, document, generation, sealed FROM providers
              WHERE id = ?1 AND ended IS NULL";
    /// A live one by its handle.
    PROVIDER_BY_HANDLE = "SELECT id, made_by, created, document, generation, sealed FROM providers
              WHERE handle = ?1 AND ended IS NULL";
    /// A page of the live ones.
    PROVIDERS = "SELECT id, made_by, created, document, generation, sealed FROM providers
              WHERE id > ?1 AND ended IS NULL ORDER BY id LIMIT ?2";
    /// Another secret.
    SET_SECRET = "UPDATE providers SET generation = ?3, sealed = ?4
              WHERE id = ?1 AND generation = ?2 AND ended IS NULL";
    /// Ends one.
    END_PROVIDER = "UPDATE providers SET ended = ?2, sealed = NULL WHERE id = ?1 AND ended IS NULL";
    /// Whether one is live.
    PROVIDER_LIVES = "SELECT 1 FROM providers WHERE id = ?1 AND ended IS NULL";
    /// Secrets to be sealed anew.
    VAULTED_PROVIDERS = "SELECT id, generation, sealed FROM providers
              WHERE id > ?1 AND sealed IS NOT NULL ORDER BY id LIMIT ?2";
    /// The same secret under another vault key.
    RESEAL_PROVIDER = "UPDATE providers SET sealed = ?3 WHERE id = ?1 AND sealed = ?2";
    /// Says who a subject is.
    PUT_SUBJECT = "INSERT INTO provider_subjects (provider, subject, user_id, created) VALUES (?1, ?2, ?3, ?4)
              ON CONFLICT (provider, subject) DO NOTHING";
    /// It is nobody any more.
    DROP_SUBJECT = "DELETE FROM provider_subjects WHERE provider = ?1 AND subject = ?2";
    /// A person has none any more.
    DROP_SUBJECTS_OF_USER = "DELETE FROM provider_subjects WHERE user_id = ?1";
    /// Forgets some of providers that have ended.
    PURGE_SUBJECTS = "DELETE FROM provider_subjects WHERE (provider, subject) IN
              (SELECT provider_subjects.provider, provider_subjects.subject FROM providers CROSS JOIN provider_subjects
               WHERE providers.ended <= ?1 AND provider_subjects.provider = providers.id LIMIT ?2)";
    /// Who a subject is.
    SUBJECT = "SELECT user_id FROM provider_subjects WHERE provider = ?1 AND subject = ?2";
    /// A page of a provider's.
    SUBJECTS = "SELECT subject, user_id, created FROM provider_subjects
              WHERE provider = ?1 AND subject > ?2 ORDER BY subject LIMIT ?3";
    /// A person's, with providers that are live.
    SUBJECTS_OF_USER = "SELECT s.provider, s.subject, s.created, p.document FROM provider_subjects s
              JOIN providers p ON p.id = s.provider
              WHERE s.user_id = ?1 AND p.ended IS NULL ORDER BY s.provider, s.subject";
    /// Notes that somebody leaves for a provider.
    LEAVE = "INSERT INTO sign_ins_elsewhere (hash, provider, onward, session_id, expires) VALUES (?1, ?2, ?3, ?4, ?5)";
    /// Who comes back.
    AWAY = "SELECT provider, onward, session_id, expires FROM sign_ins_elsewhere WHERE hash = ?1";
    /// Whether somebody may.
    IS_AWAY = "SELECT 1 FROM sign_ins_elsewhere WHERE hash = ?1 AND expires > ?2";
    /// Once.
    COME_BACK = "DELETE FROM sign_ins_elsewhere WHERE hash = ?1";
    /// Forgets some who did not come back in time.
    PURGE_AWAY = "DELETE FROM sign_ins_elsewhere WHERE hash IN
              (SELECT hash FROM sign_ins_elsewhere WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
}

/// A provider that people can sign in with.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// Its id.
    pub id: ProviderId,
    /// What was declared about it.
    pub document: Document,
    /// Who declared it: a user's id.
    pub made_by: String,
    /// When.
    pub created: Timestamp,
    /// What the seal is bound to, beside the id: another one for each secret.
    pub generation: u64,
    /// The secret that this server shows there, sealed.
    pub sealed: Vec<u8>,
}

/// Who is at a provider now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// Where.
    pub provider: ProviderId,
    /// Where they go on here.
    pub onward: String,
    /// The session to whose person the subject is to be linked.
    pub session: Option<SessionId>,
    /// Until when they may come back.
    pub expires: Timestamp,
}

/// A subject of a provider that a person signs in as.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// The provider.
    pub provider: ProviderId,
    /// What it is called there.
    pub subject: String,
    /// Since when.
    pub created: Timestamp,
    /// What is declared about the provider.
    pub document: Document,
}

/// Stores a new one. `false` where a live one has its handle.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn insert(tx: &mut Tx<'_>, one: &Provider) -> Result<bool, Fault> {
    let document = document::write(&one.document)?;
    let (handle, sealed) = (&one.document.handle, &one.sealed);
    let row = params![one.id, handle, &one.made_by, one.created, &document, one.generation, sealed];
    Ok(tx.execute(&INSERT_PROVIDER, &row)? > 0)
}

/// The live one of this id.
///
/// # Errors
/// [`Fault`].
pub fn find(q: &mut impl Query, id: ProviderId) -> Result<Option<Provider>, Fault> {
    q.one(&PROVIDER_BY_ID, &params![id], read)
}

/// The live one with this handle.
///
/// # Errors
/// [`Fault`].
pub fn by_handle(q: &mut impl Query, handle: &str) -> Result<Option<Provider>, Fault> {
    q.one(&PROVIDER_BY_HANDLE, &params![handle], read)
}

/// Up to `limit` live ones behind `after`, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn list(q: &mut impl Query, after: Option<ProviderId>, limit: usize) -> Result<Vec<Provider>, Fault> {
    q.query(&PROVIDERS, &params![document::behind(after), limit], read)
}

/// Puts another secret in place of that of `generation`. `false` where that is another by now, or the provider has ended.
///
/// # Errors
/// [`Fault`].
pub fn set_secret(
    tx: &mut Tx<'_>,
    id: ProviderId,
    generation: u64,
    next: u64,
    sealed: &[u8],
) -> Result<bool, Fault> {
    Ok(tx.execute(&SET_SECRET, &params![id, generation, next, sealed])? > 0)
}

/// Ends a live one for good: its links count no more, and are forgotten by and by. `false` where there is none.
///
/// # Errors
/// [`Fault`].
pub fn end(tx: &mut Tx<'_>, id: ProviderId, now: Timestamp) -> Result<bool, Fault> {
    Ok(tx.execute(&END_PROVIDER, &params![id, now])? > 0)
}

/// Whether anybody can sign in with it.
///
/// # Errors
/// [`Fault`].
pub fn lives(q: &mut impl Query, id: ProviderId) -> Result<bool, Fault> {
    Ok(q.one(&PROVIDER_LIVES, &params![id], |_| Ok(()))?.is_some())
}

/// Up to `limit` sealed secrets behind `after`, with what each is bound to.
///
/// # Errors
/// [`Fault`].
pub fn vaulted(
    q: &mut impl Query,
    after: Option<ProviderId>,
    limit: usize,
) -> Result<Vec<(ProviderId, u64, Vec<u8>)>, Fault> {
    let page = params![document::behind(after), limit];
    q.query(&VAULTED_PROVIDERS, &page, |row| Ok((row.id(0)?, row.count(1)?, row.blob(2)?)))
}

/// Puts the same secret, sealed by another vault key, where `old` is; `false` where something else is by now.
///
/// # Errors
/// [`Fault`].
pub fn reseal(tx: &mut Tx<'_>, id: ProviderId, old: &[u8], new: &[u8]) -> Result<bool, Fault> {
    Ok(tx.execute(&RESEAL_PROVIDER, &params![id, old, new])? > 0)
}

/// From now on a subject is this user. `false` where it is a user already, also this one.
///
/// # Errors
/// [`Fault::Conflict`] where there is no such user.
pub fn link(
    tx: &mut Tx<'_>,
    id: ProviderId,
    subject: &str,
    user: UserId,
    now: Timestamp,
) -> Result<bool, Fault> {
    Ok(tx.execute(&PUT_SUBJECT, &params![id, subject, user, now])? > 0)
}

/// From now on a subject is nobody; `false` where it was nobody before.
///
/// # Errors
/// [`Fault`].
pub fn unlink(tx: &mut Tx<'_>, id: ProviderId, subject: &str) -> Result<bool, Fault> {
    Ok(tx.execute(&DROP_SUBJECT, &params![id, subject])? > 0)
}

/// From now on nobody is this person; answers of how many links.
///
/// # Errors
/// [`Fault`].
pub fn unlink_all(tx: &mut Tx<'_>, user: UserId) -> Result<u64, Fault> {
    tx.execute(&DROP_SUBJECTS_OF_USER, &params![user])
}

/// Forgets up to `limit` links of providers that have ended by `now`; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn purge_links(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&PURGE_SUBJECTS, &params![now, limit])
}

/// Who a subject is.
///
/// # Errors
/// [`Fault`].
pub fn user(q: &mut impl Query, id: ProviderId, subject: &str) -> Result<Option<UserId>, Fault> {
    q.one(&SUBJECT, &params![id, subject], |row| row.id(0))
}

/// Up to `limit` subjects of a provider behind `after`, with who each is and since when.
///
/// # Errors
/// [`Fault`].
pub fn subjects(
    q: &mut impl Query,
    id: ProviderId,
    after: &str,
    limit: usize,
) -> Result<Vec<(String, UserId, Timestamp)>, Fault> {
    q.query(&SUBJECTS, &params![id, after, limit], |row| Ok((row.text(0)?, row.id(1)?, row.time(2)?)))
}

/// The subjects that a person signs in as.
///
/// # Errors
/// [`Fault`].
pub fn of_user(q: &mut impl Query, user: UserId) -> Result<Vec<Subject>, Fault> {
    q.query(&SUBJECTS_OF_USER, &params![user], |row| {
        Ok(Subject {
            provider: row.id(0)?,
            subject: row.text(1)?,
            created: row.time(2)?,
            document: row.json(3)?,
        })
    })
}

/// Notes that somebody leaves for a provider, and comes back with what has this hash.
///
/// # Errors
/// [`Fault::Conflict`] where somebody has.
pub fn leave(tx: &mut Tx<'_>, hash: KeyedHash, away: &Away) -> Result<(), Fault> {
    let row = params![hash.as_bytes(), away.provider, &away.onward, away.session, away.expires];
    tx.execute(&LEAVE, &row).map(|_| ())
}

/// Whether somebody may come back with this now.
///
/// # Errors
/// [`Fault`].
pub fn is_away(q: &mut impl Query, hash: KeyedHash, now: Timestamp) -> Result<bool, Fault> {
    Ok(q.one(&IS_AWAY, &params![hash.as_bytes(), now], |_| Ok(()))?.is_some())
}

/// Who comes back with this; once.
///
/// # Errors
/// [`Fault`].
pub fn come_back(tx: &mut Tx<'_>, hash: KeyedHash, now: Timestamp) -> Result<Option<Away>, Fault> {
    let found = tx.one(&AWAY, &params![hash.as_bytes()], |row| {
        Ok(Away {
            provider: row.id(0)?,
            onward: row.text(1)?,
            session: row.optional_id(2)?,
            expires: row.time(3)?,
        })
    })?;
    let taken = tx.execute(&COME_BACK, &params![hash.as_bytes()])? > 0;
    Ok(found.filter(|away| taken && now < away.expires))
}

/// Forgets up to `limit` who could not come back any more at `now`; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn purge(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&PURGE_AWAY, &params![now, limit])
}

fn read(row: &Row<'_>) -> Result<Provider, Fault> {
    Ok(Provider {
        id: row.id(0)?,
        made_by: row.text(1)?,
        created: row.time(2)?,
        document: row.json(3)?,
        generation: row.count(4)?,
        sealed: row.blob(5)?,
    })
}
