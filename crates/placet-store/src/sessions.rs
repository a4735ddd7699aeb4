//! People's signed-in sessions. The token is stored as its keyed hash only.
//!
//! Invariant: [`by_token`] answers no session that has ended or expired.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
    users,
};
use placet_core::{
    id::{ProviderId, SessionId, UserId},
    secret::KeyedHash,
    time::Timestamp,
    user::{BeganWith, User},
};

/// The columns that [`read`] takes.
macro_rules! columns {
    () => {
        "id, user_id, created, expires, ended, began_by, provider"
    };
}

statements! {
    /// A new session.
    INSERT = "INSERT INTO sessions (id, user_id, token, created, expires, began_by, provider)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    /// A live one by the hash of its token.
    BY_TOKEN = concat!("SELECT ", columns!(), " FROM sessions
                        WHERE token = ?1 AND ended IS NULL AND expires > ?2");
    /// One by id.
    BY_ID = concat!("SELECT ", columns!(), " FROM sessions WHERE id = ?1");
    /// A page of one user's.
    PAGE = concat!("SELECT ", columns!(), " FROM sessions
                    WHERE user_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    /// A page of everybody's.
    PAGE_OF_ALL = concat!("SELECT ", columns!(), " FROM sessions WHERE id > ?1 ORDER BY id LIMIT ?2");
    /// One user's that can be used, the newest first.
    LIVE = concat!("SELECT ", columns!(), " FROM sessions
                    WHERE user_id = ?1 AND ended IS NULL AND expires > ?2 ORDER BY id DESC LIMIT ?3");
    /// Ends one.
    END = "UPDATE sessions SET ended = ?2 WHERE id = ?1 AND ended IS NULL";
    /// Ends all of one user but one.
    END_ALL = "UPDATE sessions SET ended = ?2 WHERE user_id = ?1 AND ended IS NULL AND expires > ?2 AND id <> ?3";
    /// Ends all that began with a provider.
    END_OF_PROVIDER = "UPDATE sessions SET ended = ?2 WHERE provider = ?1 AND ended IS NULL AND expires > ?2";
    /// Ends those of one user.
    END_OF_USER_AT = "UPDATE sessions SET ended = ?3
              WHERE provider = ?1 AND user_id = ?2 AND ended IS NULL AND expires > ?3";
}

/// A session as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// When the person signed in.
    pub created: Timestamp,
    /// When it ends by itself.
    pub expires: Timestamp,
    /// When it was ended before that.
    pub ended: Option<Timestamp>,
    /// With what they did; none where the session is older than that was kept.
    pub began_with: Option<BeganWith>,
    /// The identity provider, where it began with one.
    pub provider: Option<ProviderId>,
}

/// Stores a new session under the hash of its token.
///
/// # Errors
/// [`Fault::Conflict`] where there is no such user, or it would end before it begins.
pub fn insert(
    tx: &mut Tx<'_>,
    id: SessionId,
    user: UserId,
    token: KeyedHash,
    (began_with, provider): (BeganWith, Option<ProviderId>),
    created: Timestamp,
    expires: Timestamp,
) -> Result<(), Fault> {
    let row = params![id, user, token.as_bytes(), created, expires, began_with.as_str(), provider];
    tx.execute(&INSERT, &row).map(|_| ())
}

/// The session of this token and its user, if it is live at `now`.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn by_token(
    q: &mut impl Query,
    token: KeyedHash,
    now: Timestamp,
) -> Result<Option<(Session, User)>, Fault> {
    let Some(session) = q.one(&BY_TOKEN, &params![token.as_bytes(), now], read)? else { return Ok(None) };
    let user = users::find(q, session.user)?.ok_or(Fault::Unreadable("a session's user"))?;
    Ok(Some((session, user)))
}

/// The session of this id, in whatever state.
///
/// # Errors
/// [`Fault`].
pub fn find(q: &mut impl Query, id: SessionId) -> Result<Option<Session>, Fault> {
    q.one(&BY_ID, &params![id], read)
}

/// Up to `limit` sessions of `user`, or of everybody, behind `after`, oldest first; those that ended too.
///
/// # Errors
/// [`Fault`].
pub fn list(
    q: &mut impl Query,
    user: Option<UserId>,
    after: Option<SessionId>,
    limit: usize,
) -> Result<Vec<Session>, Fault> {
    match user {
        Some(user) => q.query(&PAGE, &params![user, document::behind(after), limit], read),
        None => q.query(&PAGE_OF_ALL, &params![document::behind(after), limit], read),
    }
}

/// Up to `limit` sessions of `user` that are live at `now`, the newest first.
///
/// # Errors
/// [`Fault`].
pub fn live(q: &mut impl Query, user: UserId, now: Timestamp, limit: usize) -> Result<Vec<Session>, Fault> {
    q.query(&LIVE, &params![user, now, limit], read)
}

/// Ends the session. `false` where it had ended, or never was.
///
/// # Errors
/// [`Fault`].
pub fn end(tx: &mut Tx<'_>, id: SessionId, now: Timestamp) -> Result<bool, Fault> {
    Ok(tx.execute(&END, &params![id, now])? > 0)
}

/// Ends every live session of `user` but `except`, as a change of password does; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn end_all(
    tx: &mut Tx<'_>,
    user: UserId,
    except: Option<SessionId>,
    now: Timestamp,
) -> Result<u64, Fault> {
    tx.execute(&END_ALL, &params![user, now, document::behind(except)])
}

/// Ends every live session that began with a provider; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn end_of_provider(tx: &mut Tx<'_>, provider: ProviderId, now: Timestamp) -> Result<u64, Fault> {
    tx.execute(&END_OF_PROVIDER, &params![provider, now])
}

/// Ends every live session of `user` that began with a provider; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn end_of_user_at(
    tx: &mut Tx<'_>,
    provider: ProviderId,
    user: UserId,
    now: Timestamp,
) -> Result<u64, Fault> {
    tx.execute(&END_OF_USER_AT, &params![provider, user, now])
}

fn read(row: &Row<'_>) -> Result<Session, Fault> {
    Ok(Session {
        id: row.id(0)?,
        user: row.id(1)?,
        created: row.time(2)?,
        expires: row.time(3)?,
        ended: row.optional_time(4)?,
        began_with: row.optional_text(5)?.map(|word| document::state(&word)).transpose()?,
        provider: row.optional_id(6)?,
    })
}
