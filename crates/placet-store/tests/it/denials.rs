//! Coalesced denials: nothing that was answered is missing from the sum.

use crate::world::{Engine, World, at, entry, on_both_engines};
use placet_core::{record::EntryType, time::Timestamp};
use placet_store::{PendingDenial, PreparedEntry};
use proptest::prelude::*;
use std::time::Duration;

on_both_engines! {
    the_first_is_an_entry_and_the_rest_a_count,
}

const WINDOW: Duration = Duration::from_secs(60);

fn deny() -> PreparedEntry {
    entry(EntryType::DecisionDeny)
}

async fn the_first_is_an_entry_and_the_rest_a_count(world: World) {
    let store = world.open();
    let first = deny();
    let sample = first.leaf().to_vec();
    store.append_denial([1; 32], first, at(0), WINDOW).await.unwrap();
    for second in 1..5 {
        store.append_denial([1; 32], deny(), at(second), WINDOW).await.unwrap();
    }
    store.append_denial([2; 32], deny(), at(5), WINDOW).await.unwrap();
    assert_eq!(world.verify_chain(), 2);
    assert_eq!(store.flush_denials(at(59), |_| deny()).await.unwrap(), 0);
    drop(store);
    let store = world.open();
    let mut seen = vec![];
    let flushed = store.flush_denials(at(60), |denial| {
        seen.push(denial.clone());
        deny()
    });
    assert_eq!(flushed.await.unwrap(), 1);
    assert_eq!(seen, [PendingDenial { key: seen[0].key, sample, count: 4, first: at(0), last: at(4) }]);
    assert_eq!(store.flush_denials(Timestamp::MAX, |_| deny()).await.unwrap(), 0);
    assert_eq!(world.verify_chain(), 3);
}

async fn entries_and_counts_add_up(engine: Engine, steps: Vec<(u8, i64, bool)>) {
    let world = World::new(engine);
    let store = world.open();
    let (mut now, mut answered, mut counted, mut flushed) = (0, 0, 0, 0);
    for (key, wait, flush) in steps {
        now += wait;
        store.append_denial([key; 32], deny(), at(now), WINDOW).await.unwrap();
        answered += 1;
        if flush {
            flushed += store
                .flush_denials(at(now), |denial| {
                    counted += denial.count;
                    deny()
                })
                .await
                .unwrap();
        }
    }
    flushed += store
        .flush_denials(Timestamp::MAX, |denial| {
            counted += denial.count;
            deny()
        })
        .await
        .unwrap();
    let firsts = world.verify_chain() - flushed as u64;
    assert_eq!(firsts + counted, answered);
}

fn steps() -> impl Strategy<Value = Vec<(u8, i64, bool)>> {
    prop::collection::vec((0..3u8, 0..50i64, any::<bool>()), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn sums_on_sqlite(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(entries_and_counts_add_up(Engine::Sqlite, steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn sums_on_postgres(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(entries_and_counts_add_up(Engine::Postgres, steps));
    }
}
