//! Several nodes on one database: what one of them says holds at the others' commit point at once, limits are exact
//! over all of them, and there is one log.

use crate::world::{
    Engine, World, admission, agent, at, charge, conclusion, entry, fresh, from, node, signer,
};
use placet_core::{
    id::NodeId,
    record::{Checkpoint, EntryType, Envelope, merkle::Frontier},
};
use placet_store::{
    Admission, Fault, PendingDenial, PreparedEntry, Refused, Store, Tx, Version,
    actions::{self, ActionState},
    admit::Key,
    documents::{self, Kind},
    record,
};
use std::time::{Duration, Instant};

fn two() -> (World, Store, Store) {
    let world = World::new(Engine::Postgres);
    let (one, other) = (world.open(), world.open_as(second()));
    (world, one, other)
}

fn second() -> NodeId {
    from(2)
}

fn on(versions: &[(Version, u64)]) -> Admission {
    Admission { versions: versions.to_vec(), ..admission(vec![charge("c", 0, 1, 1_000_000)]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_on_one_node_is_seen_by_the_next_admission_on_the_other() {
    let (_world, one, other) = two();
    let versions = [Version::Lineage(from(3)), Version::Agent(agent()), Version::Policies];
    for round in 0..20u64 {
        let seen: Vec<_> = versions.iter().map(|version| (version.clone(), round)).collect();
        let (changes, admits) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        admits.admit(on(&seen)).await.unwrap();
        let changed = versions.clone();
        changes
            .write::<_, Fault, _>(move |tx| changed.iter().try_for_each(|version| tx.bump(version.clone())))
            .await
            .unwrap();
        for store in [&one, &other] {
            assert_eq!(store.admit(on(&seen)).await.unwrap_err(), Refused::Stale);
        }
    }
}

/// Admissions and revocations at once: each admission that was answered after a revocation was answered is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_admitted_on_a_version_whose_change_was_answered() {
    let (_world, one, other) = two();
    let version = || Version::Lineage(from(3));
    for round in 0..15u64 {
        let flood = tokio::spawn({
            let other = other.clone();
            async move {
                loop {
                    match other.admit(on(&[(version(), round)])).await {
                        Ok(_) => {}
                        Err(refused) => break refused,
                    }
                }
            }
        });
        one.write::<_, Fault, _>(move |tx| tx.bump(version())).await.unwrap();
        assert_eq!(other.admit(on(&[(version(), round)])).await.unwrap_err(), Refused::Stale);
        assert_eq!(flood.await.unwrap(), Refused::Stale);
    }
}

/// 10,000 last units, each wanted by both nodes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_unit_of_a_budget_has_one_winner() {
    const RACES: usize = 10_000;
    let (world, one, other) = two();
    for block in 0..(RACES / 1000) {
        let mut racing = tokio::task::JoinSet::new();
        for race in 0..1000 {
            for store in [&one, &other] {
                let store = store.clone();
                // Half of them meet in windows that nobody has a row of yet.
                let counter = format!("{}", block * 1000 + race);
                racing.spawn(
                    async move { store.admit(admission(vec![charge(&counter, 0, 1, 1)])).await.is_ok() },
                );
            }
        }
        let won = racing.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1000);
    }
    assert_eq!(world.number("SELECT COUNT(*) FROM counters WHERE used = 1"), RACES as i64);
    assert_eq!(world.number("SELECT COUNT(*) FROM actions"), RACES as i64);
    assert_eq!(world.verify_chain(), RACES as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_budget_for_two_nodes_is_exact() {
    let (world, one, other) = two();
    let mut racing = tokio::task::JoinSet::new();
    for number in 0..600 {
        let store = if number % 2 == 0 { one.clone() } else { other.clone() };
        racing.spawn(async move {
            let admitted = store.admit(admission(vec![charge("c", 0, 1, 200)])).await.ok()?;
            // Some are given back, and somebody else may have what they had.
            if number % 10 == 0 {
                store.conclude(conclusion(admitted.action(), ActionState::Failed, true)).await.unwrap();
                return Some(0);
            }
            Some(1)
        });
    }
    let kept: i64 = racing.join_all().await.into_iter().flatten().sum();
    assert_eq!(world.number("SELECT used FROM counters"), kept);
    assert!((140..=200).contains(&kept), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_idempotency_key_and_an_approval_are_used_once_over_both() {
    let (world, one, other) = two();
    for round in 0..60u8 {
        let approval: placet_core::id::ApprovalId = from(u64::from(round) + 1000);
        let digest = world.literal(&[9; 32]);
        world.run(&format!(
            "INSERT INTO approvals (id, agent, grant_id, digest, state, expires, version, document)
             VALUES ('{approval}', 'agt', 'gnt', {digest}, 'approved', {}, 1, '{{}}')",
            at(10).as_micros()
        ));
        let keyed = |with_key: bool| {
            let mut admission = admission(vec![]);
            if with_key {
                admission.idempotency = Some(Key { scope: [round; 32], digest: [1; 32], expires: at(100) });
            } else {
                admission.approval = Some((approval, [9; 32]));
            }
            admission
        };
        for with_key in [true, false] {
            let (first, second) = tokio::join!(one.admit(keyed(with_key)), other.admit(keyed(with_key)));
            let refused = match (first, second) {
                (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
                both => panic!("round {round}, key {with_key}: {both:?}"),
            };
            let right = matches!(refused, Refused::IdempotencyInFlight if with_key)
                || matches!(refused, Refused::Approval(_) if !with_key);
            assert!(right, "{refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_sequencers_make_one_log() {
    let (world, one, other) = two();
    let mut at_once = tokio::task::JoinSet::new();
    for store in [one.clone(), other.clone()] {
        let appends = store.clone();
        at_once.spawn(async move {
            for _ in 0..150 {
                appends.append((0..5).map(|_| entry(EntryType::DecisionDeny)).collect()).await.unwrap();
            }
        });
        at_once.spawn(async move {
            for _ in 0..60 {
                store.sequence(at(1)).await.unwrap();
            }
        });
    }
    at_once.join_all().await;
    while one.sequence(at(2)).await.unwrap() > 0 {}
    let (size, note) = one.read::<_, Fault, _>(|reader| record::checkpoint(reader)).await.unwrap().unwrap();
    assert_eq!(size, 1500);
    let mut frontier = Frontier::default();
    let mut next = [(node(), 1), (second(), 1)];
    for from in (0..1500).step_by(500) {
        let entries =
            other.read::<_, Fault, _>(move |reader| record::entries(reader, from, 500)).await.unwrap();
        assert_eq!(entries.len(), 500);
        for entry in &entries {
            let next = next.iter_mut().find(|(node, _)| *node == entry.node).unwrap();
            assert_eq!(entry.seq, next.1);
            next.1 += 1;
        }
        frontier.append(entries.iter().map(|entry| entry.leaf_hash));
    }
    let checkpoint = Checkpoint::parse_and_verify(&note, &signer().public_key()).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (1500, frontier.root()));
    assert_eq!(world.verify_chain(), 1500);
}

#[test]
fn nodes_that_start_at_once_on_an_empty_database_all_succeed() {
    let world = World::new(Engine::Postgres);
    let stores = placet_testkit::together(4, |number| world.open_as(from(number as u64 + 1)));
    assert_eq!(stores.len(), 4);
    assert_eq!(world.number("SELECT COUNT(*) FROM batches"), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_whose_node_was_taken_over_writes_no_more() {
    let world = World::new(Engine::Postgres);
    let old = world.open();
    old.admit(admission(vec![charge("c", 0, 1, 10)])).await.unwrap();
    let new = world.open();
    new.admit(admission(vec![charge("c", 0, 1, 10)])).await.unwrap();
    for _ in 0..2 {
        let refused = old.admit(admission(vec![charge("c", 0, 1, 10)])).await.unwrap_err();
        assert_eq!(refused, Refused::Fault(Fault::Replaced));
        assert_eq!(old.write::<(), Fault, _>(|_| Ok(())).await, Err(Fault::Replaced));
    }
    new.admit(admission(vec![charge("c", 0, 1, 10)])).await.unwrap();
    assert_eq!((world.number("SELECT used FROM counters"), world.verify_chain()), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_starts_ends_only_its_own() {
    let (world, one, other) = two();
    let own = one.admit(admission(vec![])).await.unwrap().action();
    let theirs = other.admit(admission(vec![])).await.unwrap().action();
    drop(one);
    let one = world.open();
    assert_eq!(one.recover(at(5), |_| entry(EntryType::ActionOutcome)).await.unwrap(), 1);
    let state =
        async |id| one.read::<_, Fault, _>(move |q| actions::find(q, id)).await.unwrap().unwrap().state;
    assert_eq!((state(own).await, state(theirs).await), (ActionState::Unknown, ActionState::Pending));
    let long =
        async |before| one.read::<_, Fault, _>(move |q| actions::overdue(q, before, 10)).await.unwrap();
    assert_eq!(long(at(0)).await, []);
    assert_eq!(long(at(1)).await.iter().map(|action| action.id).collect::<Vec<_>>(), [theirs]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_denials_of_two_nodes_are_counted_by_each_and_none_is_lost() {
    let (world, one, other) = two();
    let minute = Duration::from_secs(60);
    let deny = || entry(EntryType::DecisionDeny);
    let counted = |denial: &PendingDenial| {
        let envelope = Envelope {
            outcome: Some(denial.count.to_string()),
            ..Envelope::new(fresh::<placet_core::id::kind::Event>(), EntryType::DecisionDeny, at(1))
        };
        PreparedEntry::new(&envelope, None)
    };
    let mut at_once = tokio::task::JoinSet::new();
    for store in [&one, &other] {
        for _ in 0..200 {
            let store = store.clone();
            at_once.spawn(async move { store.append_denial([1; 32], deny(), at(0), minute).await.unwrap() });
        }
        // Whoever comes first writes down what both have counted; what comes later begins anew.
        let store = store.clone();
        at_once.spawn(async move {
            for _ in 0..8 {
                store.flush_denials(at(60), counted).await.unwrap();
            }
        });
    }
    at_once.join_all().await;
    one.flush_denials(at(60), counted).await.unwrap();
    let entries = world.verify_chain();
    let all = one.read::<_, Fault, _>(|q| {
        Ok([record::chain(q, node(), 1, 1000)?, record::chain(q, second(), 1, 1000)?].concat())
    });
    let all = all.await.unwrap();
    assert_eq!(all.len() as u64, entries);
    let said = |entry: &record::StoredEntry| {
        let leaf = String::from_utf8(entry.leaf.clone()).unwrap();
        let count =
            leaf.split_once("\"outcome\":\"").map(|(_, rest)| rest.split_once('"').unwrap().0.to_owned());
        count.map_or(1, |count| count.parse().unwrap())
    };
    assert_eq!(all.iter().map(said).sum::<u64>(), 400);
}

/// Closures of all nodes take turns: what one of them reads stays so until it has written.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closures_of_two_nodes_exclude_each_other() {
    let (world, one, other) = two();
    let begun = Instant::now();
    let mut at_once = tokio::task::JoinSet::new();
    for number in 0..100 {
        let store = if number % 2 == 0 { one.clone() } else { other.clone() };
        at_once.spawn(async move {
            store
                .write::<_, Fault, _>(move |tx| {
                    // Read, then write what depends on it.
                    let version = placet_store::versions::current(tx, &Version::Policies)?;
                    let action = fresh::<placet_core::id::kind::Token>();
                    tx.bump(Version::Policies)?;
                    placet_store::delegations::spend(tx, action, at(version as i64))
                })
                .await
                .unwrap()
        });
    }
    at_once.join_all().await;
    assert_eq!(world.number("SELECT COUNT(DISTINCT expires) FROM spent_delegations"), 100);
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// A connection that is made while another node puts another version of its service in force: either it is refused, or
/// whoever replaces the service sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_rests_on_a_version_of_a_service_is_seen_by_whoever_replaces_it() {
    fn apply(tx: &mut Tx<'_>) -> Result<u64, Fault> {
        documents::apply(tx, Kind::Service, "crm", "service: crm", "admin-token", at(0))
    }
    let (_world, one, other) = two();
    assert_eq!(one.write(apply).await.unwrap(), 1);
    let mut kept = 0;
    for version in 1..=100u64 {
        let replaces = one.write::<_, Fault, _>(move |tx| {
            apply(tx)?;
            placet_store::versions::current(tx, &Version::Agent(agent()))
        });
        let keeps = other.write::<_, Fault, _>(move |tx| {
            if !documents::stays(tx, Kind::Service, "crm", version)? {
                return Ok(false);
            }
            tx.bump(Version::Agent(agent()))?;
            Ok(true)
        });
        let (saw, stayed) = tokio::join!(replaces, keeps);
        kept += u64::from(stayed.unwrap());
        assert_eq!(saw.unwrap(), kept, "version {version}");
        let replaced = other.write(move |tx| documents::stays(tx, Kind::Service, "crm", version)).await;
        assert!(!replaced.unwrap());
    }
}
