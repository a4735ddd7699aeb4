//! A database server that is lost, silent or slow: nothing is answered that isn't so, nothing happens twice, nobody
//! waits for ever, and the store goes on by itself.

use crate::world::{Engine, World, admission, at, charge, conclusion, entry, fresh, from, options, place};
use placet_core::record::EntryType;
use placet_store::{
    ConcludeError, Fault, Refused, Store, Version,
    actions::{self, ActionState},
    delegations,
};
use placet_testkit::{Cluster, Proxy, until};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// Longer than any request takes.
const BOUND: Duration = Duration::from_secs(17);

fn proxied() -> (World, Proxy, Store) {
    let world = World::new(Engine::Postgres);
    let proxy = Proxy::before(Cluster::of_this_process().address());
    let url = world.postgres.as_ref().unwrap().url_through(proxy.port());
    let store = Store::open(options(place(&url))).unwrap();
    (world, proxy, store)
}

async fn until_admitted(store: &Store) {
    let end = Instant::now() + Duration::from_secs(20);
    while let Err(refused) = store.admit(admission(vec![])).await {
        assert!(matches!(refused, Refused::Fault(Fault::Unavailable(_))), "{refused:?}");
        assert!(Instant::now() < end, "it does not come back by itself");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_whose_answer_was_lost_is_answered_right_and_not_done_twice() {
    let (world, proxy, store) = proxied();
    for round in 0..8i64 {
        proxy.cut_after(b"COMMIT\0", 1);
        let mut at_once = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let store = store.clone();
            at_once
                .spawn(async move { store.admit(admission(vec![charge("c", 0, 1, 1000)])).await.unwrap() });
        }
        at_once.join_all().await;
        assert_eq!(proxy.cuts(), round as u64 + 1, "no commit was cut");
        assert_eq!(world.number("SELECT used FROM counters"), (round + 1) * 20);
    }
    assert_eq!(world.number("SELECT COUNT(*) FROM actions"), 160);
    // A closure likewise, which would be refused if it ran twice.
    proxy.cut_after(b"COMMIT\0", 1);
    let jti = fresh::<placet_core::id::kind::Token>();
    let spent = store.write::<_, Fault, _>(move |tx| delegations::spend(tx, jti, at(1))).await;
    assert_eq!(spent, Ok(true));
    assert_eq!(proxy.cuts(), 9);
    assert_eq!(world.verify_chain(), 160);
    assert_eq!(store.orphans(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_is_lost_before_the_commit_is_made_anew() {
    let (world, proxy, store) = proxied();
    for _ in 0..10 {
        store.admit(admission(vec![charge("c", 0, 1, 1000)])).await.unwrap();
        store.read::<_, Fault, _>(|q| actions::in_flight(q, from(3))).await.unwrap();
        proxy.cut();
    }
    assert_eq!((world.number("SELECT used FROM counters"), world.verify_chain()), (10, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_silent_database_is_unavailable_in_time_and_works_again_by_itself() {
    let (world, proxy, store) = proxied();
    let action = store.admit(admission(vec![charge("c", 0, 1, 10)])).await.unwrap().action();
    proxy.stall();
    let begun = Instant::now();
    let (admitted, read, closure, concluded) = tokio::join!(
        store.admit(admission(vec![charge("c", 0, 1, 10)])),
        store.read::<_, Fault, _>(|q| actions::in_flight(q, from(3))),
        store.write::<_, Fault, _>(|tx| tx.bump(Version::Policies)),
        store.conclude(conclusion(action, ActionState::Done, false)),
    );
    assert!(matches!(admitted, Err(Refused::Fault(Fault::Unavailable(_)))), "{admitted:?}");
    assert!(matches!(read, Err(Fault::Unavailable(_))), "{read:?}");
    assert!(matches!(closure, Err(Fault::Unavailable(_))), "{closure:?}");
    assert!(matches!(concluded, Err(ConcludeError::Fault(Fault::Unavailable(_)))), "{concluded:?}");
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    // Those that come while it is down are told sooner.
    let begun = Instant::now();
    assert!(store.admit(admission(vec![])).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    proxy.forward();
    until_admitted(&store).await;
    store.read::<_, Fault, _>(|q| actions::in_flight(q, from(3))).await.unwrap();
    // The outcome of what had happened was not forgotten.
    let state = format!("SELECT state FROM actions WHERE id = '{action}'");
    until("the conclusion", || (world.column(&state) == ["done"]).then_some(()));
    world.verify_chain();
}

/// The commit is sent, its answer is lost, and nobody can be asked for longer than anybody waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_kept_although_it_was_called_unavailable_is_found_out() {
    let (world, proxy, store) = proxied();
    store.admit(admission(vec![charge("c", 0, 1, 10)])).await.unwrap();
    proxy.cut_after(b"COMMIT\0", 1);
    let wanted = admission(vec![charge("c", 0, 1, 10)]);
    let action = wanted.action;
    let admitting = tokio::spawn({
        let store = store.clone();
        async move { store.admit(wanted).await }
    });
    while proxy.cuts() == 0 {
        tokio::task::yield_now().await;
    }
    proxy.stall();
    let begun = Instant::now();
    let refused = admitting.await.unwrap().unwrap_err();
    assert!(matches!(refused, Refused::Fault(Fault::Unavailable(_))), "{refused:?}");
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    assert_eq!(store.orphans(), []);
    proxy.forward();
    until_admitted(&store).await;
    assert_eq!(store.orphans(), [action]);
    store.conclude(conclusion(action, ActionState::Failed, true)).await.unwrap();
    store.orphan_settled(action);
    assert_eq!(store.orphans(), []);
    assert_eq!(world.number("SELECT used FROM counters"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_database_is_only_slow() {
    let (world, proxy, store) = proxied();
    proxy.delay(Duration::from_millis(40));
    let mut at_once = tokio::task::JoinSet::new();
    for _ in 0..600 {
        let store = store.clone();
        at_once.spawn(async move { store.admit(admission(vec![charge("c", 0, 1, 1000)])).await.unwrap() });
    }
    let begun = Instant::now();
    at_once.join_all().await;
    // A handful of round trips for each group, not one for each statement.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!((world.number("SELECT used FROM counters"), world.verify_chain()), (600, 600));
}

/// Two transactions that wait for one another: the server ends one of them, and it is run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deadlock_is_run_again() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let world = World::new(Engine::Postgres);
    let store = world.open();
    for version in [Version::Policies, Version::Service("x".into())] {
        store.write::<_, Fault, _>(move |tx| tx.bump(version.clone())).await.unwrap();
    }
    let url = world.place();
    // Somebody else takes the two rows in the other order, and is more patient.
    let (locked, first) = std::sync::mpsc::channel();
    let (go_on, second) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        client.batch_execute("SET deadlock_timeout = '20s'; BEGIN").unwrap();
        client.execute("SELECT 1 FROM versions WHERE key = 'service/x' FOR UPDATE", &[]).unwrap();
        locked.send(()).unwrap();
        second.recv().unwrap();
        client.execute("SELECT 1 FROM versions WHERE key = 'policies' FOR UPDATE", &[]).unwrap();
        client.batch_execute("COMMIT").unwrap();
    });
    first.recv().unwrap();
    let outcome = store.write::<_, Fault, _>(move |tx| {
        RUNS.fetch_add(1, Ordering::SeqCst);
        tx.bump(Version::Policies)?;
        _ = go_on.send(());
        tx.bump(Version::Service("x".into()))
    });
    outcome.await.unwrap();
    other.join().unwrap();
    assert!(RUNS.load(Ordering::SeqCst) > 1);
    assert_eq!(world.column("SELECT version FROM versions WHERE key <> 'changes' ORDER BY key"), ["2", "2"]);
}

/// A server that is killed and comes back has everything that was answered, and the store finds it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_killed_loses_nothing_that_was_answered() {
    static BACK: AtomicBool = AtomicBool::new(false);
    static ADMITTED: AtomicUsize = AtomicUsize::new(0);
    let cluster = Cluster::start(&["fsync=on"]);
    let database = cluster.database();
    let store = Store::open(options(place(&database.url()))).unwrap();
    let mut at_once = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        at_once.spawn(async move {
            let mut answered = vec![];
            let mut after = 0;
            while after < 20 {
                match store.admit(admission(vec![charge("c", 0, 1, 1_000_000)])).await {
                    Ok(admitted) => {
                        answered.push(admitted.action().to_string());
                        ADMITTED.fetch_add(1, Ordering::SeqCst);
                        after += i32::from(BACK.load(Ordering::SeqCst));
                    }
                    Err(Refused::Fault(Fault::Unavailable(_))) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            answered
        });
    }
    until("some load", || (ADMITTED.load(Ordering::SeqCst) > 100).then_some(()));
    cluster.kill();
    cluster.restart();
    BACK.store(true, Ordering::SeqCst);
    let answered: Vec<_> = at_once.join_all().await.into_iter().flatten().collect();
    let stored: std::collections::HashSet<_> =
        database.column("SELECT id FROM actions").into_iter().collect();
    assert!(answered.iter().all(|action| stored.contains(action)));
    let orphans = store.orphans().len();
    assert_eq!(stored.len(), answered.len() + orphans);
    assert_eq!(database.column("SELECT used FROM counters"), [stored.len().to_string()]);
    store.append(vec![entry(EntryType::DecisionDeny)]).await.unwrap();
    drop(store);
    drop(database);
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_text_with_a_nul_fails_nobody() {
    let world = World::new(Engine::Postgres);
    let store = world.open();
    let strange = "order://\0/\u{F8F0}0";
    for used in 0..2 {
        let (one, other) = tokio::join!(
            store.admit(admission(vec![charge(strange, 0, 1, 2), charge("order:///0", 0, 1, 2)])),
            store.admit(admission(vec![charge("c", 0, 1, 2)])),
        );
        assert!(one.is_ok() && other.is_ok(), "{used}");
    }
    let refused = store.admit(admission(vec![charge(strange, 0, 1, 2)])).await.unwrap_err();
    assert!(matches!(refused, Refused::Limit { index: 0, standing } if standing.used == 2), "{refused:?}");
}
