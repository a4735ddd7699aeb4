//! Admission and conclusion: limits are exact, whatever happens at the same time.

use crate::world::{Engine, World, admission, agent, at, charge, conclusion, entry, from, on_both_engines};
use placet_core::{ledger::Standing, record::EntryType, refusal::Code};
use placet_store::{
    ConcludeError, Fault, Refused, Version,
    actions::{self, ActionState},
    admit::Key,
    conclude::Conclusion,
    counters,
};
use proptest::prelude::*;
use std::collections::HashMap;

on_both_engines! {
    of_64_at_once_against_10_exactly_10_are_admitted,
    a_charge_that_does_not_fit_leaves_nothing_of_the_others,
    what_changed_since_is_stale,
    a_key_belongs_to_one_request_and_replays_what_came_of_it,
    an_approval_is_used_once_and_for_its_request_only,
    concluding_twice_is_an_error_and_gives_back_once,
    what_a_crash_left_in_flight_becomes_unknown_and_can_be_settled_once,
}

/// The refusal of a charge in the window of the first minute.
fn exceeded(index: usize, used: i64) -> Refused {
    Refused::Limit { index, standing: Standing { used, retry_at: Some(at(60)) } }
}

async fn used(store: &placet_store::Store, counter: &str, start: i64) -> i64 {
    let charge = charge(counter, start, 0, 0);
    store
        .read::<_, Fault, _>(move |reader| counters::used(reader, &charge.counter, charge.window))
        .await
        .unwrap()
}

async fn of_64_at_once_against_10_exactly_10_are_admitted(world: World) {
    for round in 1..=3 {
        let store = world.open();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.admit(admission(vec![charge("c", 0, 1, 10 * round)])).await })
            })
            .collect();
        let mut admitted = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => admitted += 1,
                Err(refused) => {
                    assert_eq!(refused, exceeded(0, 10 * round));
                }
            }
        }
        assert_eq!(admitted, 10);
        assert_eq!(used(&store, "c", 0).await, 10 * round);
    }
    assert_eq!(world.verify_chain(), 30);
}

async fn a_charge_that_does_not_fit_leaves_nothing_of_the_others(world: World) {
    let store = world.open();
    let both = vec![charge("wide", 0, 1, 10), charge("narrow", 0, 5, 4)];
    assert_eq!(store.admit(admission(both)).await.unwrap_err(), exceeded(1, 0));
    // The same counter twice in one action counts twice.
    let twice = vec![charge("wide", 0, 6, 10), charge("wide", 0, 6, 10)];
    assert_eq!(store.admit(admission(twice)).await.unwrap_err(), exceeded(1, 6));
    let negative = vec![charge("wide", 0, -1, 10)];
    assert!(matches!(store.admit(admission(negative)).await, Err(Refused::Limit { index: 0, .. })));
    assert_eq!(used(&store, "wide", 0).await, 0);
    assert_eq!(world.verify_chain(), 0);
}

async fn what_changed_since_is_stale(world: World) {
    let store = world.open();
    let versions = [Version::Agent(agent()), Version::Policies, Version::Service("x".into())];
    let admit = |seen: u64| {
        let mut admission = admission(vec![]);
        admission.versions = versions.iter().map(|version| (version.clone(), seen)).collect();
        store.admit(admission)
    };
    admit(0).await.unwrap();
    for version in versions.clone() {
        store.write::<_, Fault, _>(move |tx| tx.bump(version.clone())).await.unwrap();
    }
    assert_eq!(admit(0).await.unwrap_err(), Refused::Stale);
    admit(1).await.unwrap();
    // A bump that is rolled back never was.
    let undone = store.write::<(), Fault, _>(|tx| tx.bump(Version::Policies).and(Err(Fault::Closed))).await;
    assert_eq!(undone, Err(Fault::Closed));
    admit(1).await.unwrap();
    drop(store);
    let store = world.open();
    let mut old = admission(vec![]);
    old.versions = vec![(Version::Policies, 0)];
    assert_eq!(store.admit(old).await.unwrap_err(), Refused::Stale);
}

async fn a_key_belongs_to_one_request_and_replays_what_came_of_it(world: World) {
    let store = world.open();
    let keyed = |digest: u8| {
        let mut admission = admission(vec![charge("c", 0, 1, 10)]);
        admission.idempotency = Some(Key { scope: [1; 32], digest: [digest; 32], expires: at(100) });
        admission
    };
    let first = store.admit(keyed(1)).await.unwrap();
    assert_eq!(store.admit(keyed(1)).await.unwrap_err(), Refused::IdempotencyInFlight);
    assert_eq!(store.admit(keyed(2)).await.unwrap_err(), Refused::IdempotencyMismatch);
    // In flight it stays bound even past its time.
    assert_eq!(
        store.admit(placet_store::Admission { at: at(200), ..keyed(1) }).await.unwrap_err(),
        Refused::IdempotencyInFlight
    );
    let answer = Some(b"sealed".to_vec());
    store
        .conclude(Conclusion {
            answer: answer.clone(),
            ..conclusion(first.action(), ActionState::Done, false)
        })
        .await
        .unwrap();
    let Err(Refused::Replay(replay)) = store.admit(keyed(1)).await else { panic!("not replayed") };
    assert_eq!((replay.action, replay.state, replay.answer), (first.action(), ActionState::Done, answer));
    assert_eq!(store.admit(keyed(2)).await.unwrap_err(), Refused::IdempotencyMismatch);
    assert_eq!(used(&store, "c", 0).await, 1);
    // Expired: another request may have it.
    let late = placet_store::Admission { at: at(100), ..keyed(2) };
    let second = store.admit(late).await.unwrap();
    assert_ne!(second.action(), first.action());
}

async fn an_approval_is_used_once_and_for_its_request_only(world: World) {
    let store = world.open();
    let insert = |number: u64, state: &str| {
        let id: placet_core::id::ApprovalId = from(number);
        let (digest, expires) = (world.literal(&[9; 32]), at(10).as_micros());
        world.run(&format!(
            "INSERT INTO approvals (id, agent, grant_id, digest, state, expires, version, document)
             VALUES ('{id}', 'agt', 'gnt', {digest}, '{state}', {expires}, 1, '{{}}')"
        ));
        id
    };
    let (approved, pending, denied) = (insert(1, "approved"), insert(2, "pending"), insert(3, "denied"));
    let with = |approval, digest: u8, now| {
        let mut admission = admission(vec![charge("c", 0, 1, 1)]);
        admission.at = at(now);
        admission.approval = Some((approval, [digest; 32]));
        store.admit(admission)
    };
    let code = |refused: Refused| match refused {
        Refused::Approval(code) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(with(approved, 8, 0).await.unwrap_err()), Code::ApprovalMismatch);
    assert_eq!(code(with(from(77), 9, 0).await.unwrap_err()), Code::ApprovalMismatch);
    assert_eq!(code(with(approved, 9, 10).await.unwrap_err()), Code::ApprovalExpired);
    assert_eq!(code(with(pending, 9, 0).await.unwrap_err()), Code::ApprovalRequired);
    assert_eq!(code(with(denied, 9, 0).await.unwrap_err()), Code::ApprovalDenied);
    with(approved, 9, 0).await.unwrap();
    assert_eq!(code(with(approved, 9, 0).await.unwrap_err()), Code::ApprovalUsed);
    // Where a limit refuses, the approval stays as it was.
    let other = insert(4, "approved");
    assert!(matches!(with(other, 9, 0).await, Err(Refused::Limit { .. })));
    assert_eq!(world.column(&format!("SELECT state FROM approvals WHERE id = '{other}'")), ["approved"]);
}

async fn concluding_twice_is_an_error_and_gives_back_once(world: World) {
    let store = world.open();
    let action = store.admit(admission(vec![charge("c", 0, 3, 10)])).await.unwrap().action();
    store.admit(admission(vec![charge("c", 0, 2, 10)])).await.unwrap();
    let root = from(3);
    let flying = store.read::<_, Fault, _>(move |reader| actions::in_flight(reader, root)).await.unwrap();
    assert_eq!(flying.len(), 2);
    let unsure = conclusion(action, ActionState::Unknown, true);
    assert!(matches!(store.conclude(unsure).await, Err(ConcludeError::NoWay { .. })));
    drop(store);
    // Nothing of it is only in memory.
    let store = world.open();
    store.conclude(conclusion(action, ActionState::Failed, true)).await.unwrap();
    assert_eq!(used(&store, "c", 0).await, 2);
    for state in [ActionState::Failed, ActionState::Done] {
        assert_eq!(store.conclude(conclusion(action, state, true)).await, Err(ConcludeError::NotInFlight));
    }
    assert_eq!(used(&store, "c", 0).await, 2);
    assert_eq!(
        store.conclude(conclusion(from(999), ActionState::Done, false)).await,
        Err(ConcludeError::NotInFlight)
    );
    let found =
        store.read::<_, Fault, _>(move |reader| actions::find(reader, action)).await.unwrap().unwrap();
    assert_eq!((found.state, found.status), (ActionState::Failed, Some(200)));
    assert_eq!(world.verify_chain(), 3);
}

async fn what_a_crash_left_in_flight_becomes_unknown_and_can_be_settled_once(world: World) {
    let store = world.open();
    let action = store.admit(admission(vec![charge("c", 0, 1, 10)])).await.unwrap().action();
    drop(store);
    let store = world.open();
    let unknown = |_: &actions::StoredAction| entry(EntryType::ActionOutcome);
    assert_eq!(store.recover(at(5), unknown).await.unwrap(), 1);
    assert_eq!(store.recover(at(5), unknown).await.unwrap(), 0);
    assert_eq!(
        store.conclude(conclusion(action, ActionState::Done, false)).await,
        Err(ConcludeError::NotInFlight)
    );
    let settled =
        || Conclusion { from: ActionState::Unknown, ..conclusion(action, ActionState::Failed, true) };
    store.conclude(settled()).await.unwrap();
    assert_eq!(store.conclude(settled()).await, Err(ConcludeError::NotInFlight));
    assert_eq!(used(&store, "c", 0).await, 0);
    assert_eq!(world.verify_chain(), 3);
}

#[derive(Debug, Clone)]
enum Step {
    Admit { charges: Vec<(u8, i64, i64)> },
    Conclude { which: usize, give_back: bool },
    Closure { fails: bool },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let charges = prop::collection::vec((0..3u8, 0..2i64, 0..6i64), 0..3);
    prop_oneof![
        6 => charges.prop_map(|charges| Step::Admit { charges }),
        3 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, give_back)| Step::Conclude { which: which.index(8), give_back }),
        1 => any::<bool>().prop_map(|fails| Step::Closure { fails }),
        1 => Just(Step::Reopen),
    ]
}

/// Against a map of numbers: whatever the order, what is used is what was admitted less what was given back.
async fn counters_are_those_of_a_naive_model(engine: Engine, steps: Vec<Step>) {
    let world = World::new(engine);
    let mut store = world.open();
    let mut model: HashMap<(u8, i64), i64> = HashMap::new();
    let mut flying = vec![];
    let mut entries = 0;
    for step in steps {
        match step {
            Step::Admit { charges } => {
                let list = charges
                    .iter()
                    .map(|(counter, window, amount)| charge(&counter.to_string(), *window * 60, *amount, 12))
                    .collect();
                let mut after = model.clone();
                for (counter, window, amount) in &charges {
                    *after.entry((*counter, *window)).or_default() += amount;
                }
                let fits = charges.iter().all(|(counter, window, _)| after[&(*counter, *window)] <= 12);
                match store.admit(admission(list)).await {
                    Ok(admitted) => {
                        assert!(fits);
                        model = after;
                        flying.push((admitted.action(), charges));
                        entries += 1;
                    }
                    Err(refused) => assert!(!fits && matches!(refused, Refused::Limit { .. })),
                }
            }
            Step::Conclude { which, give_back } => {
                if which < flying.len() {
                    let (action, charges) = flying.swap_remove(which);
                    store.conclude(conclusion(action, ActionState::Failed, give_back)).await.unwrap();
                    entries += 1;
                    for (counter, window, amount) in charges.into_iter().filter(|_| give_back) {
                        *model.entry((counter, window)).or_default() -= amount;
                    }
                }
            }
            Step::Closure { fails } => {
                let outcome = store
                    .write::<(), Fault, _>(move |tx| {
                        tx.record(entry(EntryType::AgentRegistered))?;
                        if fails { Err(Fault::Closed) } else { Ok(()) }
                    })
                    .await;
                assert_eq!(outcome.is_err(), fails);
                entries += u64::from(!fails);
            }
            Step::Reopen => {
                drop(store);
                store = world.open();
            }
        }
    }
    for ((counter, window), expected) in model {
        assert_eq!(used(&store, &counter.to_string(), window * 60).await, expected);
    }
    assert_eq!(world.verify_chain(), entries);
}

fn in_runtime(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn counters_on_sqlite(steps in prop::collection::vec(step(), 1..40)) {
        in_runtime(counters_are_those_of_a_naive_model(Engine::Sqlite, steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn counters_on_postgres(steps in prop::collection::vec(step(), 1..40)) {
        in_runtime(counters_are_those_of_a_naive_model(Engine::Postgres, steps));
    }
}
