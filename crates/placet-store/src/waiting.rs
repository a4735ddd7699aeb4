//! Requests for authority that wait for a person, by the keyed hash of what their client polls with.
//!
//! Invariant: of several answers of people to one request at once, one counts, and of several who come for its tokens
//! one gets them.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
};
use placet_core::{
    id::{AgentId, RequestId, UserId},
    secret::KeyedHash,
    time::Timestamp,
    waiting::{Consented, Pace, State, Waiting},
};
use std::time::Duration;

/// The columns that [`read`] takes.
macro_rules! columns {
    () => {
        "id, through, agent, user_id, state, document, created, expires, decided, poll_interval, poll_next"
    };
}

statements! {
    /// A new one.
    INSERT = "INSERT INTO waiting_requests (id, hash, through, agent, user_id, user_code, hint, state, document, created,
                                            expires, poll_interval, poll_next)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', ?8, ?9, ?10, ?11, ?12)";
    /// One by its id.
    FIND = concat!("SELECT ", columns!(), " FROM waiting_requests WHERE id = ?1");
    /// One by what its client polls with.
    BY_HASH = concat!("SELECT ", columns!(), " FROM waiting_requests WHERE hash = ?1");
    /// One by the code that its device shows.
    BY_USER_CODE = concat!("SELECT ", columns!(), " FROM waiting_requests WHERE user_code = ?1");
    /// Those that wait for a person, oldest first.
    OF_USER = concat!("SELECT ", columns!(), " FROM waiting_requests
                       WHERE user_id = ?1 AND state = 'pending' AND expires > ?2 ORDER BY id LIMIT ?3");
    /// What a person consented to.
    CONSENTED = "SELECT consented FROM waiting_requests WHERE id = ?1";
    /// Somebody has entered its code.
    CLAIM = "UPDATE waiting_requests SET user_id = ?2 WHERE id = ?1 AND state = 'pending' AND user_code IS NOT NULL";
    /// A person decided on it.
    DECIDE = "UPDATE waiting_requests SET state = ?3, decided = ?4, consented = ?5, user_code = NULL
              WHERE id = ?1 AND user_id = ?2 AND state = 'pending'";
    /// Its client has polled.
    POLLED = "UPDATE waiting_requests SET poll_interval = ?2, poll_next = ?3 WHERE id = ?1 AND state = 'pending'";
    /// Its client was given the tokens.
    TAKE = "UPDATE waiting_requests SET state = 'taken' WHERE id = ?1 AND state = 'approved'";
    /// Its agent can't act any more.
    END_OF_AGENT = "UPDATE waiting_requests SET state = 'ended', user_code = NULL
                    WHERE agent = ?1 AND state IN ('pending', 'approved')";
    /// How many of a client wait, up to a number.
    COUNT_OF_AGENT = "SELECT COUNT(*) FROM (SELECT id FROM waiting_requests
                      WHERE agent = ?1 AND expires > ?2 AND state = 'pending' LIMIT ?3) AS waiting";
    /// How many wait for a person, up to a number.
    COUNT_OF_USER = "SELECT COUNT(*) FROM (SELECT id FROM waiting_requests
                     WHERE user_id = ?1 AND expires > ?2 AND state = 'pending' AND through = 'backchannel' LIMIT ?3) AS waiting";
    /// How often a client has asked somebody since a time and got no yes, up to a number.
    COUNT_IN_VAIN = "SELECT COUNT(*) FROM (SELECT id FROM waiting_requests
                     WHERE agent = ?1 AND hint = ?2 AND created > ?3 AND state NOT IN ('approved', 'taken') LIMIT ?4) AS asked";
    /// How many wait of everybody, up to a number.
    COUNT = "SELECT COUNT(*) FROM (SELECT id FROM waiting_requests WHERE expires > ?1 LIMIT ?2) AS waiting";
    /// Forgets some whose end nobody asks about any more.
    PURGE = "DELETE FROM waiting_requests WHERE id IN
             (SELECT id FROM waiting_requests WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
}

/// How a new request is found.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// The hash of what its client polls with.
    pub hash: KeyedHash,
    /// The hash of the code that a device shows.
    pub user_code: Option<KeyedHash>,
    /// The hash of whom the client named.
    pub hint: Option<KeyedHash>,
}

/// Stores a new request that waits.
///
/// # Errors
/// [`Fault::Conflict`] where a hash is known, or there is no such user.
pub fn insert(tx: &mut Tx<'_>, new: &Waiting, keys: Keys) -> Result<(), Fault> {
    let document = document::write(&new.asked)?;
    let row = params![
        new.id,
        keys.hash.as_bytes(),
        new.through.as_str(),
        new.agent,
        new.user,
        keys.user_code.as_ref().map(KeyedHash::as_bytes),
        keys.hint.as_ref().map(KeyedHash::as_bytes),
        &document,
        new.created,
        new.expires,
        new.pace.interval.as_secs(),
        new.pace.next,
    ];
    tx.execute(&INSERT, &row).map(|_| ())
}

/// The request of this id.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, id: RequestId) -> Result<Option<Waiting>, Fault> {
    q.one(&FIND, &params![id], read)
}

/// The request that is polled with what has this hash.
///
/// # Errors
/// [`Fault`].
pub fn by_hash(q: &mut impl Query, hash: KeyedHash) -> Result<Option<Waiting>, Fault> {
    q.one(&BY_HASH, &params![hash.as_bytes()], read)
}

/// The request whose device shows the code of this hash, also one whose time is over.
///
/// # Errors
/// [`Fault`].
pub fn by_user_code(q: &mut impl Query, hash: KeyedHash) -> Result<Option<Waiting>, Fault> {
    q.one(&BY_USER_CODE, &params![hash.as_bytes()], read)
}

/// Up to `limit` requests that wait for this person at `now`, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn of_user(
    q: &mut impl Query,
    user: UserId,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Waiting>, Fault> {
    q.query(&OF_USER, &params![user, now, limit], read)
}

/// What a person said yes to; none where nobody did.
///
/// # Errors
/// [`Fault`].
pub fn consented(q: &mut impl Query, id: RequestId) -> Result<Option<Consented>, Fault> {
    let text = q.one(&CONSENTED, &params![id], |row| row.optional_text(0))?.flatten();
    text.map(|text| document::read(&text)).transpose()
}

/// Notes who has entered a code; `false` where the request no longer waits for one.
///
/// # Errors
/// [`Fault`].
pub fn claim(tx: &mut Tx<'_>, id: RequestId, user: UserId) -> Result<bool, Fault> {
    Ok(tx.execute(&CLAIM, &params![id, user])? > 0)
}

/// Notes the answer of the person who is asked, once: yes with what they consent to, or no. `false` where there was an
/// answer before, or somebody else is asked.
///
/// # Errors
/// [`Fault`].
pub fn decide(
    tx: &mut Tx<'_>,
    id: RequestId,
    user: UserId,
    consented: Option<&Consented>,
    now: Timestamp,
) -> Result<bool, Fault> {
    let state = if consented.is_some() { State::Approved } else { State::Denied };
    let document = consented.map(document::write).transpose()?;
    Ok(tx.execute(&DECIDE, &params![id, user, state.as_str(), now, document])? > 0)
}

/// Notes when the client may poll next.
///
/// # Errors
/// [`Fault`].
pub fn polled(tx: &mut Tx<'_>, id: RequestId, pace: Pace) -> Result<(), Fault> {
    tx.execute(&POLLED, &params![id, pace.interval.as_secs(), pace.next]).map(|_| ())
}

/// Gives the tokens, once: `false` where they were given before, or are not to be given any more.
///
/// # Errors
/// [`Fault`].
pub fn take(tx: &mut Tx<'_>, id: RequestId) -> Result<bool, Fault> {
    Ok(tx.execute(&TAKE, &params![id])? > 0)
}

/// Ends what an agent waits for, also what a person has said yes to and nobody came for.
///
/// # Errors
/// [`Fault`].
pub fn end_of_agent(tx: &mut Tx<'_>, agent: AgentId) -> Result<u64, Fault> {
    tx.execute(&END_OF_AGENT, &params![agent])
}

/// How many requests of this client wait at `now`, up to `most`.
///
/// # Errors
/// [`Fault`].
pub fn count_of_agent(q: &mut impl Query, agent: AgentId, now: Timestamp, most: usize) -> Result<u64, Fault> {
    Ok(q.one(&COUNT_OF_AGENT, &params![agent, now, most], |row| row.count(0))?.unwrap_or(0))
}

/// How many requests in which clients have named this person wait at `now`, up to `most`.
///
/// # Errors
/// [`Fault`].
pub fn count_of_user(q: &mut impl Query, user: UserId, now: Timestamp, most: usize) -> Result<u64, Fault> {
    Ok(q.one(&COUNT_OF_USER, &params![user, now, most], |row| row.count(0))?.unwrap_or(0))
}

/// How many requests this client has made for whom it named so since `since` without a yes, up to `most`.
///
/// # Errors
/// [`Fault`].
pub fn count_in_vain(
    q: &mut impl Query,
    agent: AgentId,
    hint: KeyedHash,
    since: Timestamp,
    most: usize,
) -> Result<u64, Fault> {
    let asked = params![agent, hint.as_bytes(), since, most];
    Ok(q.one(&COUNT_IN_VAIN, &asked, |row| row.count(0))?.unwrap_or(0))
}

/// How many requests there are whose end is ahead at `now`, of everybody, up to `most`.
///
/// # Errors
/// [`Fault`].
pub fn count(q: &mut impl Query, now: Timestamp, most: usize) -> Result<u64, Fault> {
    Ok(q.one(&COUNT, &params![now, most], |row| row.count(0))?.unwrap_or(0))
}

/// Forgets up to `limit` requests that had ended at `before`; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn purge(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&PURGE, &params![before, limit])
}

fn read(row: &Row<'_>) -> Result<Waiting, Fault> {
    Ok(Waiting {
        id: row.id(0)?,
        through: document::state(&row.text(1)?)?,
        agent: row.id(2)?,
        user: row.optional_id(3)?,
        state: document::state(&row.text(4)?)?,
        asked: row.json(5)?,
        created: row.time(6)?,
        expires: row.time(7)?,
        decided: row.optional_time(8)?,
        pace: Pace { interval: Duration::from_secs(row.count(9)?), next: row.time(10)? },
    })
}
