//! Answers and uploads that are open, each under the grant that it runs on, so that they end when the grant does.
//!
//! The commit point decides about what begins; a stream goes on long after it. So each is registered here, and a job
//! asks, whenever authority changes on this node and several times a second besides, whether its chain still lives and, of
//! an action, whether it would still be allowed.
//!
//! Invariant: a stream whose grant can't be confirmed for `UNCONFIRMED` is cut: unknown is never yes.

use crate::{app::App, problem::Problem, way::ongoing::Ongoing};
use placet_core::{chain::Chain, id::GrantId, refusal::Code};
use placet_store::{Fault, lineage};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    open: HashMap<u64, Entry>,
    /// Since when the store hasn't answered.
    silent: Option<Instant>,
}

struct Entry {
    grant: GrantId,
    /// What runs on it, where that is an action.
    action: Option<Arc<Ongoing>>,
    cut: watch::Sender<Option<Code>>,
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
        self.registered(grant, None)
    }

    /// Registers what runs on for an action: it also ends when that would be denied.
    pub(crate) fn register_action(&self, grant: GrantId, action: Ongoing) -> OpenStream<'_> {
        self.registered(grant, Some(Arc::new(action)))
    }

    fn registered(&self, grant: GrantId, action: Option<Arc<Ongoing>>) -> OpenStream<'_> {
        let (sender, cut) = watch::channel(None);
        let mut registry = self.registry();
        let number = registry.next;
        registry.next += 1;
        registry.open.insert(number, Entry { grant, action, cut: sender });
        OpenStream { streams: self, number, cut, longest: tokio::time::Instant::now() + LONGEST }
    }

    /// Cuts every stream, for a stop of the server.
    pub(crate) fn cut_all(&self) {
        for entry in self.registry().open.values() {
            entry.cut.send_replace(Some(Code::Unavailable));
        }
    }

    fn grants(&self) -> Vec<GrantId> {
        let grants: BTreeSet<GrantId> = self.registry().open.values().map(|entry| entry.grant).collect();
        grants.into_iter().collect()
    }

    fn cut(&self, ended: &HashMap<GrantId, Code>) {
        for entry in self.registry().open.values() {
            if let Some(code) = ended.get(&entry.grant) {
                entry.cut.send_replace(Some(*code));
            }
        }
    }

    /// The actions that run on grants that are alive.
    fn actions(&self, alive: &HashMap<GrantId, Chain>) -> Vec<(u64, GrantId, Arc<Ongoing>)> {
        let registry = self.registry();
        let on_those = registry.open.iter().filter(|(_, entry)| alive.contains_key(&entry.grant));
        on_those.filter_map(|(number, entry)| Some((*number, entry.grant, entry.action.clone()?))).collect()
    }

    fn cut_one(&self, number: u64, code: Code) {
        if let Some(entry) = self.registry().open.get(&number) {
            entry.cut.send_replace(Some(code));
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

/// Looks at all open streams and cuts those whose grant has ended, or whose action would be denied now.
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
        let (mut ended, mut alive) = (HashMap::new(), HashMap::new());
        for (grant, rows) in found? {
            let chain = match rows {
                None => Err(Code::TokenInvalid),
                Some(rows) => Chain::assemble(rows.links, rows.stamps, now).map_err(|reason| reason.code),
            };
            match chain {
                Ok(chain) => _ = alive.insert(grant, chain),
                Err(code) => _ = ended.insert(grant, code),
            }
        }
        app.streams.cut(&ended);
        for (number, grant, action) in app.streams.actions(&alive) {
            let Some(chain) = alive.get(&grant) else { continue };
            let denied = action.denied(app, chain, now).await;
            app.streams.note(denied.is_ok());
            if let Some(code) = denied? {
                app.streams.cut_one(number, code);
            }
        }
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
