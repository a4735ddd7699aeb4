//! Lists of the statuses of tokens: which token stands where, and what its grant's life hangs on.
//!
//! Only the process that made a list gives places in it, so that no two nodes ever give the same one; the row of a place
//! is written in the transaction that its token rests on. A place that has no row reads as valid, and what ended is found
//! in the grants as they are: nothing of this is changed by a revocation.
//!
//! Invariant: a place belongs to one token until the list is gone, which is after every token in it has expired.

use crate::{
    document,
    fault::Fault,
    params,
    sql::{Rows, inserts},
    statements,
    tx::{Query, Tx, Value},
};
use placet_core::{
    chain::standing::Vital,
    id::{GrantId, StatusListId},
    time::Timestamp,
};

/// How many values a place's row has.
pub(crate) const ROW: usize = 4;

inserts! {
    /// Places of new tokens.
    MANY[4] = "INSERT INTO status_places (list, place, grant_id, expires)";
}

statements! {
    /// A new list.
    INSERT = "INSERT INTO status_lists (id, issuer, ends, condemned) VALUES (?1, ?2, ?3, 0)";
    /// Those that a token may stand in.
    LIVE = "SELECT id, issuer, ends FROM status_lists WHERE ends > ?1 ORDER BY ends, id LIMIT ?2";
    /// Whether all in one is over.
    CONDEMNED = "SELECT condemned FROM status_lists WHERE id = ?1";
    /// The place of a new token.
    TAKE = "INSERT INTO status_places (list, place, grant_id, expires) VALUES (?1, ?2, ?3, ?4)";
    /// The places of a list whose tokens may still be shown.
    PLACES = "SELECT place, grant_id FROM status_places WHERE list = ?1 AND expires > ?2";
    /// The grants of those places with all that is above them, each once, and what each one's life hangs on.
    VITALS = "WITH RECURSIVE up (id) AS (
                  SELECT grant_id FROM status_places WHERE list = ?1 AND expires > ?2
                  UNION
                  SELECT g.parent FROM up CROSS JOIN grants g WHERE g.id = up.id AND g.parent IS NOT NULL
              )
              SELECT g.id, g.parent, g.revoked_at, r.revoked_at, a.state, t.state, r.id, g.task
              FROM up CROSS JOIN grants g CROSS JOIN agents a
              LEFT JOIN grants r ON r.id = a.registration
              LEFT JOIN tasks t ON t.id = g.task
              WHERE g.id = up.id AND a.id = g.agent";
    /// The audiences whose tokens say where they stand.
    AUDIENCES = "SELECT audience FROM resource_servers WHERE status_list = 1 AND ended IS NULL ORDER BY audience";
    /// Places of lists that are over.
    PURGE_PLACES = "DELETE FROM status_places WHERE (list, place) IN
                    (SELECT p.list, p.place FROM status_lists l CROSS JOIN status_places p
                     WHERE l.ends <= ?1 AND p.list = l.id LIMIT ?2)";
    /// Lists that are over and empty.
    PURGE = "DELETE FROM status_lists WHERE id IN
             (SELECT l.id FROM status_lists l WHERE l.ends <= ?1
              AND NOT EXISTS (SELECT 1 FROM status_places p WHERE p.list = l.id) ORDER BY l.ends, l.id LIMIT ?2)";
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusList {
    /// Its id.
    pub id: StatusListId,
    /// The issuer of its tokens.
    pub issuer: String,
    /// When the last token in it has expired.
    pub ends: Timestamp,
}

/// The place of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The list.
    pub list: StatusListId,
    /// The place in it.
    pub place: u16,
    /// The grant that the token stands for.
    pub grant: GrantId,
    /// When the token expires, at the latest.
    pub expires: Timestamp,
}

/// What a list has to be made of.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Whether all in it is over.
    pub condemned: bool,
    /// The places of tokens that may still be shown, with their grants.
    pub places: Vec<(u16, GrantId)>,
    /// Those grants, and all above them.
    pub vitals: Vec<Vital>,
}

/// Stores a new list.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn insert(tx: &mut Tx<'_>, list: &StatusList) -> Result<(), Fault> {
    tx.execute(&INSERT, &params![list.id, &list.issuer, list.ends]).map(|_| ())
}

/// Stores the place of a token, in the transaction that the token rests on.
///
/// # Errors
/// [`Fault::Conflict`] where it was given before.
pub fn take(tx: &mut Tx<'_>, place: Place) -> Result<(), Fault> {
    tx.execute(&TAKE, &row(place)).map(|_| ())
}

/// Up to `limit` lists in which a token may stand that has not expired at `now`.
///
/// # Errors
/// [`Fault`].
pub fn live(q: &mut impl Query, now: Timestamp, limit: usize) -> Result<Vec<StatusList>, Fault> {
    q.query(&LIVE, &params![now, limit], |row| {
        Ok(StatusList { id: row.id(0)?, issuer: row.text(1)?, ends: row.time(2)? })
    })
}

/// What a list has to be made of, but for tokens that expired before `since`; `None` where there is no such list.
///
/// # Errors
/// [`Fault`].
pub fn contents(q: &mut impl Query, id: StatusListId, since: Timestamp) -> Result<Option<Contents>, Fault> {
    let Some(condemned) = q.one(&CONDEMNED, &params![id], |row| row.boolean(0))? else { return Ok(None) };
    if condemned {
        return Ok(Some(Contents { condemned, ..Contents::default() }));
    }
    let places = q.query(&PLACES, &params![id, since], |row| {
        let place = u16::try_from(row.integer(0)?).map_err(|_| Fault::Unreadable("a place"))?;
        Ok((place, row.id(1)?))
    })?;
    let vitals = q.query(&VITALS, &params![id, since], |row| {
        let task = row.optional_text(5)?.map(|word| document::state(&word)).transpose()?;
        if row.optional_text(6)?.is_none() {
            return Err(Fault::Unreadable("an agent's registration grant"));
        }
        if task.is_none() && row.optional_text(7)?.is_some() {
            return Err(Fault::Unreadable("a grant's task"));
        }
        Ok(Vital {
            grant: row.id(0)?,
            parent: row.optional_id(1)?,
            revoked: row.optional_time(2)?.is_some(),
            registration_revoked: row.optional_time(3)?.is_some(),
            agent: document::state(&row.text(4)?)?,
            task,
        })
    })?;
    Ok(Some(Contents { condemned, places, vitals }))
}

/// The audiences of live resource servers whose tokens say where they stand.
///
/// # Errors
/// [`Fault`].
pub fn audiences(q: &mut impl Query) -> Result<Vec<String>, Fault> {
    q.query(&AUDIENCES, &params![], |row| row.text(0))
}

/// Drops up to `limit` places of lists that ended before `now`, and such lists once they are empty; answers how many
/// places there were.
///
/// # Errors
/// [`Fault`].
pub fn purge(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    let dropped = tx.execute(&PURGE_PLACES, &params![now, limit])?;
    tx.execute(&PURGE, &params![now, limit])?;
    Ok(dropped)
}

/// The values of a place's row.
pub(crate) fn row(place: Place) -> [Value<'static>; ROW] {
    params![place.list, place.place, place.grant, place.expires]
}

/// For many rows at once.
pub(crate) fn many() -> &'static Rows {
    &MANY
}
