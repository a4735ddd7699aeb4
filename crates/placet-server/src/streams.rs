//! Answers and uploads that are open, each under the grant that it runs on, so that they end when the grant does.
//!
//! The commit point decides about what begins; a stream goes on long after it. So each is registered here, and a job
//! asks, whenever authority changes on this node and several times a second besides, whether its chain still lives.
//!
//! Invariant: a stream whose grant can't be confirmed for `UNCONFIRMED` is cut: unknown is never yes.

use crate::{app::App, problem::Problem};
use placet_core::{chain::Chain, id::GrantId, refusal::Code};
use placet_store::{Fault, lineage};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The longest that a stream goes on: what is in flight for longer belongs to a node that is gone.
pub const LONGEST: Duration = Duration::from_secs(14 * 60);
/// How long a stream may run while the store doesn't say whether its grant lives.
const UNCONFIRMED: Duration = Duration::from_secs(5);
/// How many grants are read at a time.
const BATCH: usize = 64;

/// The open streams of this node.
#[derive(Default)]
pub struct Streams(Mutex<Registry>);

#[derive(Default)]
struct Registry {
    next: u64,
    open: HashMap<u64, (GrantId, watch::Sender<Option<Code>>)>,
    /// Since when the store hasn't answered.
    silent: Option<Instant>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Streams({})", self.registry().open.len())
    }
}

/// One open stream; it is open until this is dropped.
#[derive(Debug)]
pub struct OpenStream<'s> {
    streams: &'s Streams,
    number: u64,
    cut: watch::Receiver<Option<Code>>,
    longest: tokio::time::Instant,
}

impl Streams {
    /// Registers a stream under its grant. What ended before is found at the next turn.
    pub fn register(&self, grant: GrantId) -> OpenStream<'_> {
        let (sender, cut) = watch::channel(None);
        let mut registry = self.registry();
        let number = registry.next;
        registry.next += 1;
        registry.open.insert(number, (grant, sender));
        OpenStream { streams: self, number, cut, longest: tokio::time::Instant::now() + LONGEST }
    }

    /// Cuts every stream, for a stop of the server.
    pub fn cut_all(&self) {
        for (_, cut) in self.registry().open.values() {
            cut.send_replace(Some(Code::Unavailable));
        }
    }

    fn grants(&self) -> Vec<GrantId> {
        let grants: BTreeSet<GrantId> = self.registry().open.values().map(|(grant, _)| *grant).collect();
        grants.into_iter().collect()
    }

    fn cut(&self, ended: &HashMap<GrantId, Code>) {
        for (grant, cut) in self.registry().open.values() {
            if let Some(code) = ended.get(grant) {
                cut.send_replace(Some(*code));
            }
        }
    }

    /// Notes whether the store answers, and cuts everything where it hasn't for too long.
    fn note(&self, answers: bool) {
        let mut registry = self.registry();
        if answers {
            registry.silent = None;
            return;
        }
        let since = *registry.silent.get_or_insert_with(Instant::now);
        drop(registry);
        if since.elapsed() >= UNCONFIRMED {
            self.cut_all();
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // What is held is a map of channels, which no panic leaves half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenStream<'_> {
    /// Waits until it is to be cut, and says why.
    pub async fn ended(&mut self) -> Code {
        let told = tokio::time::timeout_at(self.longest, self.cut.wait_for(Option::is_some)).await;
        let cut = told.ok().and_then(Result::ok).and_then(|code| *code);
        // It has gone on for too long; its sender lives as long as it is registered.
        cut.unwrap_or(Code::Unavailable)
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.streams.registry().open.remove(&self.number);
    }
}

/// Looks at the grants of all open streams and cuts those that have ended.
///
/// # Errors
/// The store doesn't answer.
pub async fn check(app: &App) -> Result<(), Problem> {
    let grants = app.streams.grants();
    for some in grants.chunks(BATCH) {
        let now = app.clock.now();
        let some = some.to_vec();
        let read = app.store.read(move |q| {
            some.into_iter()
                .map(|grant| Ok((grant, lineage::load(q, grant)?)))
                .collect::<Result<Vec<_>, Fault>>()
        });
        let found = read.await;
        app.streams.note(found.is_ok());
        let ended = found?.into_iter().filter_map(|(grant, rows)| {
            let code = match rows {
                None => Code::TokenInvalid,
                Some(rows) => Chain::assemble(rows.links, rows.stamps, now).err()?.code,
            };
            Some((grant, code))
        });
        app.streams.cut(&ended.collect());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_after_the_longest_time() {
        let streams = Streams::default();
        let mut open = streams.register(GrantId::from_parts(placet_core::time::Timestamp::MAX, [1; 10]));
        let began = tokio::time::Instant::now();
        assert_eq!(open.ended().await, Code::Unavailable);
        assert!(began.elapsed() >= LONGEST && LONGEST < crate::reconcile::OVERDUE);
    }

    #[tokio::test]
    async fn a_stream_is_cut_with_its_grant_and_gone_when_dropped() {
        let streams = Streams::default();
        let grant = |n: u8| GrantId::from_parts(placet_core::time::Timestamp::MAX, [n; 10]);
        let (mut one, other) = (streams.register(grant(1)), streams.register(grant(2)));
        assert_eq!(streams.grants().len(), 2);
        streams.cut(&HashMap::from([(grant(1), Code::TokenRevoked)]));
        assert_eq!(one.ended().await, Code::TokenRevoked);
        assert!(other.cut.borrow().is_none());
        drop((one, other));
        assert!(streams.grants().is_empty());
    }
}
