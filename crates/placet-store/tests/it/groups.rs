//! Group commits: what fails alone is dropped alone, what fails with the file fails together, and the record never
//! has a gap.

use crate::world::{Engine, World, admission, at, charge, entry, fresh, on_both_engines, options};
use placet_core::record::{EntryType, Envelope};
use placet_store::{Database, Fault, PreparedEntry, Refused, Store, record};
use std::time::Duration;

on_both_engines! {
    one_that_fails_or_panics_hurts_nobody,
    an_action_id_that_comes_twice_fails_alone,
    a_full_queue_answers_busy_and_outcomes_still_get_through,
    a_batch_that_another_wrote_is_not_written_over,
}

#[derive(Debug, PartialEq, Eq)]
enum Mine {
    No,
    Fault(Fault),
}
impl From<Fault> for Mine {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

async fn one_that_fails_or_panics_hurts_nobody(world: World) {
    let store = world.open();
    let tasks: Vec<_> = (0..300u32)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let outcome = store.write::<(), Mine, _>(move |tx| {
                    tx.record(entry(EntryType::AgentRegistered))?;
                    match number % 3 {
                        0 => Ok(()),
                        1 => Err(Mine::No),
                        _ => panic!("on purpose"),
                    }
                });
                let outcome = outcome.await;
                store.admit(admission(vec![charge("c", 0, 1, 1000)])).await.unwrap();
                (number, outcome)
            })
        })
        .collect();
    for task in tasks {
        let (number, outcome) = task.await.unwrap();
        match number % 3 {
            0 => assert_eq!(outcome, Ok(())),
            1 => assert_eq!(outcome, Err(Mine::No)),
            _ => assert_eq!(outcome, Err(Mine::Fault(Fault::Panicked))),
        }
    }
    assert_eq!(world.verify_chain(), 100 + 300);
}

async fn an_action_id_that_comes_twice_fails_alone(world: World) {
    let store = world.open();
    let twice = admission(vec![charge("c", 0, 1, 100)]);
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let mut admission = admission(vec![charge("c", 0, 1, 100)]);
            if number % 4 == 0 {
                admission.action = twice.action;
            }
            let store = store.clone();
            tokio::spawn(async move { store.admit(admission).await.map(|admitted| admitted.action()) })
        })
        .collect();
    let mut conflicts = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => {}
            Err(refused) => {
                assert!(matches!(refused, Refused::Fault(Fault::Conflict(_))), "{refused:?}");
                conflicts += 1;
            }
        }
    }
    assert_eq!(conflicts, 4);
    assert_eq!(world.verify_chain(), 16);
}

fn heavy() -> PreparedEntry {
    let envelope = Envelope::new(fresh::<placet_core::id::kind::Event>(), EntryType::DecisionDeny, at(0));
    PreparedEntry::new(&envelope, Some(vec![1; 100_000]))
}

#[tokio::test]
async fn a_full_disk_fails_the_group_and_space_brings_it_back() {
    let world = World::new(Engine::Sqlite);
    let small = Database::Sqlite { path: world.path.clone(), max_pages: Some(400) };
    let store = Store::open(options(small)).unwrap();
    let mut kept = vec![];
    let fault = loop {
        let entry = heavy();
        let id = entry.id();
        match store.append(vec![entry]).await {
            Ok(()) => kept.push(id),
            Err(fault) => break fault,
        }
        assert!(kept.len() < 100, "never full");
    };
    assert_eq!(fault, Fault::Full);
    assert!(kept.len() > 3);
    // A closure can't go on as if nothing was: its group is lost whatever it answers.
    let shrugged = store.write::<(), Fault, _>(|tx| {
        tx.record(heavy())?;
        Ok(())
    });
    assert_eq!(shrugged.await, Err(Fault::Full));
    let erase = kept.clone();
    store
        .write::<_, Fault, _>(move |tx| {
            for id in &erase {
                assert!(record::erase(tx, *id)?);
            }
            Ok(())
        })
        .await
        .unwrap();
    store.append(vec![heavy()]).await.unwrap();
    store.admit(admission(vec![charge("c", 0, 1, 1)])).await.unwrap();
    drop(store);
    assert_eq!(world.verify_chain(), kept.len() as u64 + 2);
}

async fn a_full_queue_answers_busy_and_outcomes_still_get_through(world: World) {
    let store = world.open();
    let action = store.admit(admission(vec![])).await.unwrap().action();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (started, begun) = std::sync::mpsc::channel();
    let blocking = {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .write::<_, Fault, _>(move |_| {
                    _ = started.send(());
                    _ = wait.recv();
                    Ok(())
                })
                .await
        })
    };
    tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..5000 {
        let store = store.clone();
        waiting.spawn(async move { store.append(vec![entry(EntryType::DecisionDeny)]).await });
    }
    // Those beyond the queue are answered while the writer is stuck.
    for turned_away in 0..(5000 - 4096) {
        let next = tokio::time::timeout(Duration::from_secs(60), waiting.join_next()).await;
        let Ok(next) = next else { panic!("more wait than may: only {turned_away} were turned away") };
        assert_eq!(next.unwrap().unwrap(), Err(Fault::Busy));
    }
    let concluded =
        store.conclude(crate::world::conclusion(action, placet_store::actions::ActionState::Done, false));
    release.send(()).unwrap();
    blocking.await.unwrap().unwrap();
    concluded.await.unwrap();
    while let Some(outcome) = waiting.join_next().await {
        outcome.unwrap().unwrap();
    }
    assert_eq!(world.verify_chain(), 4096 + 2);
}

async fn a_batch_that_another_wrote_is_not_written_over(world: World) {
    let store = world.open();
    store.append(vec![entry(EntryType::DecisionDeny)]).await.unwrap();
    world.run("UPDATE batches SET batch = batch + 1");
    assert!(matches!(store.append(vec![entry(EntryType::DecisionDeny)]).await, Err(Fault::Corrupt(_))));
    // What is in memory was dropped; it goes on from what is stored.
    store.append(vec![entry(EntryType::DecisionDeny)]).await.unwrap();
    drop(store);
    assert_eq!(world.verify_chain(), 2);
}
