//! What hot operations will look at, read for a whole group at once: on PostgreSQL a question costs a round trip, so
//! hundreds of admissions ask together, in one.
//!
//! Rows are locked in the order of their keys, kinds in the order below, on every node the same: whoever comes second
//! waits for the first one's commit instead of for ever. What the commit point compares is read `FOR SHARE`, what it
//! counts in `FOR UPDATE`; a row that is missing is made, with 0, for only a row can be locked.
//!
//! Invariant: what was fetched is what the operation would have read by itself at that place in the transaction;
//! whoever changes it changes it here too, or takes it out.

use crate::{
    actions,
    admit::{self, StoredApproval},
    conclude::{self, Open},
    connection::Connection,
    counters,
    denials::{self, Counted},
    fault::Fault,
    idempotency::{self, StoredKey},
    postgres::{Asked, Kind, Postgres},
    row::Row,
    sql::{Keys, Statement},
    tx::Tx,
    value::Value,
    versions::{self, Version},
};
use placet_core::id::{ActionId, ApprovalId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What a group of hot operations will look at.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// By the key of their row.
    pub(crate) versions: BTreeMap<String, Version>,
    /// Ids that should be unused.
    pub(crate) fresh: BTreeSet<ActionId>,
    /// Actions that end; whether any of them gives back.
    pub(crate) ends: BTreeSet<ActionId>,
    pub(crate) gives_back: bool,
    pub(crate) denials: BTreeSet<[u8; 32]>,
    pub(crate) approvals: BTreeSet<ApprovalId>,
    pub(crate) scopes: BTreeSet<[u8; 32]>,
    /// Counter and start of the window, with its end.
    pub(crate) counters: BTreeMap<(String, i64), i64>,
}

impl Needs {
    /// What the commit point compares.
    pub(crate) fn versions(&mut self, seen: &[(Version, u64)]) {
        self.versions.extend(seen.iter().map(|(version, _)| (version.to_string(), version.clone())));
    }
}

/// What was read of it. What isn't here was not asked for, or has changed: it is read by itself then.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) unused: HashSet<ActionId>,
    pub(crate) open: HashMap<ActionId, Open>,
    pub(crate) denials: HashMap<[u8; 32], Option<Counted>>,
    pub(crate) approvals: HashMap<ApprovalId, Option<StoredApproval>>,
    pub(crate) keys: HashMap<[u8; 32], Option<StoredKey>>,
}

/// Reads all of it, after the statements `first`, whose answers are given back.
pub(crate) fn fetch(
    tx: &mut Tx<'_>,
    first: &[(&Statement, &[Value<'_>])],
    needs: &Needs,
) -> Result<Vec<Vec<tokio_postgres::Row>>, Fault> {
    let Connection::Postgres(postgres) = tx.connection else { return Ok(Vec::new()) };
    let mut asking = Asking { postgres, pieces: Vec::new() };
    for (statement, params) in first {
        asking.pieces.push((statement.text(), params.to_vec()));
    }
    let versions: Vec<_> = needs.versions.keys().map(Value::from).collect();
    let versions = asking.add(versions::shared(), &versions);
    let ends: Vec<_> = needs.ends.iter().map(|id| Value::from(*id)).collect();
    let ends = asking.add(conclude::open(), &ends);
    let denials: Vec<_> = needs.denials.iter().map(Value::from).collect();
    let denials = asking.add(denials::counted(), &denials);
    let approvals: Vec<_> = needs.approvals.iter().map(|id| Value::from(*id)).collect();
    let approvals = asking.add(admit::approvals(), &approvals);
    let scopes: Vec<_> = needs.scopes.iter().map(Value::from).collect();
    let scopes = asking.add(idempotency::stored(), &scopes);
    let fresh: Vec<_> = needs.fresh.iter().map(|id| Value::from(*id)).collect();
    let fresh = asking.add(actions::existing(), &fresh);
    // What is given back is only known once the actions are read; then all counters are read after them, in order.
    let (now, later) = if needs.gives_back {
        (BTreeMap::new(), needs.counters.clone())
    } else {
        (needs.counters.clone(), BTreeMap::new())
    };
    let keys = counter_keys(&now);
    let counted = asking.add(counters::locked(), &keys);
    let answers = asking.ask()?;

    let lease = &mut *tx.lease;
    each(&answers, versions.0, versions.1, |row| {
        let key = row.text(0)?;
        if let Some(version) = needs.versions.get(&key) {
            lease.versions.insert(version.clone(), row.count(1)?);
        }
        Ok(())
    })?;
    let fetched = &mut lease.fetched;
    each(&answers, ends.0, ends.1, |row| {
        fetched.open.insert(row.id(0)?, conclude::read(row, 1)?);
        Ok(())
    })?;
    fetched.denials = needs.denials.iter().map(|key| (*key, None)).collect();
    each(&answers, denials.0, denials.1, |row| {
        fetched.denials.insert(row.digest(0)?, Some(denials::read(row, 1)?));
        Ok(())
    })?;
    fetched.approvals = needs.approvals.iter().map(|id| (*id, None)).collect();
    each(&answers, approvals.0, approvals.1, |row| {
        fetched.approvals.insert(row.id(0)?, Some(admit::read(row, 1)?));
        Ok(())
    })?;
    fetched.keys = needs.scopes.iter().map(|scope| (*scope, None)).collect();
    each(&answers, scopes.0, scopes.1, |row| {
        fetched.keys.insert(row.digest(0)?, Some(idempotency::read(row, 1)?));
        Ok(())
    })?;
    fetched.unused = needs.fresh.iter().copied().collect();
    each(&answers, fresh.0, fresh.1, |row| {
        fetched.unused.remove(&row.id(0)?);
        Ok(())
    })?;
    each(&answers, counted.0, counted.1, |row| {
        let (counter, start) = (row.text(0)?, row.integer(1)?);
        lease.counters.know(&counter, start, row.integer(2)?, row.integer(3)?);
        Ok(())
    })?;

    make_versions(tx, needs)?;
    if needs.gives_back {
        let mut all = later;
        let given: Vec<_> =
            tx.lease.fetched.open.values().filter_map(|open| open.charges.as_deref()).collect();
        for charges in given {
            all.extend(counters::Taken::decode(charges)?.iter().filter_map(counters::Taken::key));
        }
        lock_counters(tx, &all)?;
    } else {
        let missing =
            now.into_iter().filter(|((counter, start), _)| !tx.lease.counters.knows(counter, *start));
        let missing = missing.collect();
        make_counters(tx, &missing)?;
    }
    let mut answers = answers;
    answers.truncate(first.len());
    Ok(answers)
}

/// Locks counters that were not asked for with the group, in their order, and makes those that are missing.
pub(crate) fn lock_counters(tx: &mut Tx<'_>, wanted: &BTreeMap<(String, i64), i64>) -> Result<(), Fault> {
    read_counters(tx, wanted)?;
    let missing: BTreeMap<_, _> = wanted
        .iter()
        .filter(|((counter, start), _)| !tx.lease.counters.knows(counter, *start))
        .map(|(key, end)| (key.clone(), *end))
        .collect();
    make_counters(tx, &missing)
}

fn make_counters(tx: &mut Tx<'_>, missing: &BTreeMap<(String, i64), i64>) -> Result<(), Fault> {
    if missing.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value<'_>> = missing
        .iter()
        .flat_map(|((counter, start), end)| [counter.into(), (*start).into(), (*end).into(), 0.into()])
        .collect();
    tx.insert(counters::made(), &rows)?;
    read_counters(tx, missing)
}

fn read_counters(tx: &mut Tx<'_>, wanted: &BTreeMap<(String, i64), i64>) -> Result<(), Fault> {
    let Connection::Postgres(postgres) = tx.connection else { return Ok(()) };
    let mut asking = Asking { postgres, pieces: Vec::new() };
    let keys = counter_keys(wanted);
    let (_, count) = asking.add(counters::locked(), &keys);
    let answers = asking.ask()?;
    each(&answers, 0, count, |row| {
        let (counter, start) = (row.text(0)?, row.integer(1)?);
        tx.lease.counters.know(&counter, start, row.integer(2)?, row.integer(3)?);
        Ok(())
    })
}

fn make_versions(tx: &mut Tx<'_>, needs: &Needs) -> Result<(), Fault> {
    let missing: BTreeMap<_, _> =
        needs.versions.iter().filter(|(_, version)| !tx.lease.versions.contains_key(*version)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let Connection::Postgres(postgres) = tx.connection else { return Ok(()) };
    let rows: Vec<Value<'_>> = missing.keys().flat_map(|key| [Value::from(*key), 0.into()]).collect();
    tx.insert(versions::made(), &rows)?;
    let mut asking = Asking { postgres, pieces: Vec::new() };
    let keys: Vec<_> = missing.keys().map(|key| Value::from(*key)).collect();
    let (_, count) = asking.add(versions::shared(), &keys);
    let answers = asking.ask()?;
    each(&answers, 0, count, |row| {
        let key = row.text(0)?;
        if let Some(version) = missing.get(&key) {
            tx.lease.versions.insert((*version).clone(), row.count(1)?);
        }
        Ok(())
    })
}

fn counter_keys(wanted: &BTreeMap<(String, i64), i64>) -> Vec<Value<'_>> {
    wanted.keys().flat_map(|(counter, start)| [counter.into(), (*start).into()]).collect()
}

/// Questions that go in one round trip.
struct Asking<'a> {
    postgres: &'a Postgres,
    pieces: Vec<(&'a str, Vec<Value<'a>>)>,
}

impl<'a> Asking<'a> {
    /// Where the answers to a question begin, and how many there are.
    fn add(&mut self, keys: &'static Keys, values: &[Value<'a>]) -> (usize, usize) {
        let at = self.pieces.len();
        self.pieces.extend(keys.pieces(values));
        (at, self.pieces.len() - at)
    }

    fn ask(self) -> Result<Vec<Vec<tokio_postgres::Row>>, Fault> {
        if self.pieces.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<_> =
            self.pieces.iter().map(|(text, params)| Asked { text, params, kind: Kind::Rows }).collect();
        self.postgres.ask(&asked)
    }
}

fn each(
    answers: &[Vec<tokio_postgres::Row>],
    at: usize,
    count: usize,
    mut read: impl FnMut(&Row<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    answers.iter().skip(at).take(count).flatten().try_for_each(|row| read(&Row::from(row)))
}
