//! What policies in `mode: observe` would have said, counted by version, rule, action, agent, verdict and code.
//!
//! Invariant: a version of a policy has at most [`MOST`] rows and one more, which counts what found no room; nothing
//! that was noted goes uncounted.

use crate::{
    fault::Fault,
    params, statements,
    store::Store,
    tx::{Query, Row, Tx, Value},
    writer::{Lane, Operation},
};
use placet_core::{id::AgentId, time::Timestamp};
use std::collections::BTreeMap;

statements! {
    /// Counts more of a kind that is known.
    COUNT = "UPDATE observations SET count = count + ?9, last_at = ?10
             WHERE policy = ?1 AND version = ?2 AND rule = ?3 AND action = ?4 AND agent = ?5 AND would = ?6
             AND code = ?7 AND decision = ?8";
    /// The first of its kind.
    FIRST = "INSERT INTO observations (policy, version, rule, action, agent, would, code, decision, count, first_at,
             last_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)
             ON CONFLICT (policy, version, rule, action, agent, would, code, decision)
             DO UPDATE SET count = observations.count + excluded.count, last_at = excluded.last_at";
    /// How many kinds a version has.
    KINDS = "SELECT COUNT(*) FROM observations WHERE policy = ?1 AND version = ?2";
    /// All of a policy, those that were counted most first.
    OF = "SELECT version, rule, action, agent, would, code, decision, count, first_at, last_at FROM observations
          WHERE policy = ?1 ORDER BY version DESC, count DESC, rule, action, agent, would, code, decision LIMIT ?2";
    /// Those of versions before one.
    FORGET = "DELETE FROM observations WHERE policy = ?1 AND version < ?2";
}

/// Rows of one version of a policy.
pub const MOST: i64 = 2000;
/// How many versions of a policy keep theirs.
const VERSIONS: u64 = 5;

/// One thing that an observed policy would have said about one action.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Observed {
    /// The policy.
    pub policy: String,
    /// Its version.
    pub version: u64,
    /// The rule.
    pub rule: String,
    /// The action's name.
    pub action: String,
    /// The acting agent.
    pub agent: AgentId,
    /// `allow`, `hold` or `deny`.
    pub would: &'static str,
    /// Why, as a code; empty for `allow`.
    pub code: &'static str,
    /// What was decided: `allow` or `deny`.
    pub decision: &'static str,
}

/// A count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The policy's version.
    pub version: u64,
    /// The rule.
    pub rule: String,
    /// The action's name.
    pub action: String,
    /// The acting agent; none where there was no room for a row of its own, and then rule, action and code are empty.
    pub agent: Option<AgentId>,
    /// `allow`, `hold` or `deny`.
    pub would: String,
    /// Why, as a code; empty for `allow`.
    pub code: String,
    /// What was decided: `allow` or `deny`.
    pub decision: String,
    /// How often.
    pub count: u64,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
}

impl Store {
    /// Counts what observed policies would have said about a refused action; answers when that is durable.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn observe(&self, observed: Vec<Observed>, at: Timestamp) -> Result<(), Fault> {
        if observed.is_empty() {
            return Ok(());
        }
        self.inner.writer.send(Observing(observed, at))?.await.unwrap_or(Err(Fault::Closed))
    }
}

struct Observing(Vec<Observed>, Timestamp);

impl Operation for Observing {
    type Value = ();
    type Error = Fault;
    const LANE: Lane = Lane::Begin;

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        tx.lease.observed.note(&self.0, self.1);
        Ok(())
    }
}

/// What a group has noted and not yet written, each kind once and in one order on every node, so that two of them never
/// wait for each other crosswise.
#[derive(Debug, Default)]
pub(crate) struct Noted(BTreeMap<Observed, (u64, Timestamp)>);

impl Noted {
    /// Counts them; they are written with the group.
    pub(crate) fn note(&mut self, observed: &[Observed], at: Timestamp) {
        for one in observed {
            let (count, last) = self.0.entry(one.clone()).or_insert((0, at));
            *count += 1;
            *last = at.max(*last);
        }
    }
}

/// Writes what was noted.
pub(crate) fn write(tx: &mut Tx<'_>) -> Result<(), Fault> {
    for (one, (count, last)) in std::mem::take(&mut tx.lease.observed.0) {
        let agent = one.agent.to_string();
        let own = [&one.rule, &one.action, &agent, one.code];
        if tx.execute(&COUNT, &row(&one, own, count, last))? > 0 {
            continue;
        }
        let kinds = tx.one(&KINDS, &params![&one.policy, one.version], |row| row.integer(0))?.unwrap_or(0);
        tx.execute(&FIRST, &row(&one, if kinds < MOST { own } else { [""; 4] }, count, last))?;
    }
    Ok(())
}

fn row<'a>(
    one: &'a Observed,
    [rule, action, agent, code]: [&'a str; 4],
    count: u64,
    last: Timestamp,
) -> [Value<'a>; 10] {
    params![&one.policy, one.version, rule, action, agent, one.would, code, one.decision, count, last]
}

/// What was counted of the policy `name`, the newest version first and in it what was counted most; at most `limit`.
///
/// # Errors
/// [`Fault`].
pub fn of(query: &mut impl Query, name: &str, limit: usize) -> Result<Vec<Counted>, Fault> {
    query.query(&OF, &params![name, limit], |row: &Row<'_>| {
        let agent = row.text(3)?;
        Ok(Counted {
            version: row.count(0)?,
            rule: row.text(1)?,
            action: row.text(2)?,
            agent: if agent.is_empty() { None } else { Some(row.id(3)?) },
            would: row.text(4)?,
            code: row.text(5)?,
            decision: row.text(6)?,
            count: row.count(7)?,
            first: row.time(8)?,
            last: row.time(9)?,
        })
    })
}

/// Drops what was counted of the versions before the last few; `version` is the newest.
pub(crate) fn forget(tx: &mut Tx<'_>, name: &str, version: u64) -> Result<(), Fault> {
    tx.execute(&FORGET, &params![name, version.saturating_sub(VERSIONS - 1)]).map(|_| ())
}
