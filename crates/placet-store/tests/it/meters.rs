//! Rates and leases: exact against a model, under whatever comes in whatever order, over restarts, with clocks that
//! differ.

use crate::world::{Engine, World, admission, agent, at, conclusion, fresh, on_both_engines};
use placet_core::{
    id::ActionId,
    ledger::{Charge, Meter, Rate, Standing, Window},
    record::{EntryType, Envelope},
    time::Timestamp,
};
use placet_store::{
    Admission, Fault, PreparedEntry, Refused, Store,
    actions::ActionState,
    counters,
    observations::{self, Observed},
    retention,
};
use proptest::prelude::*;
use std::time::Duration;

on_both_engines! {
    a_body_is_kept_as_long_as_its_policies_say,
    of_64_at_once_as_many_as_fit,
    a_refusal_of_one_leaves_nothing_of_the_others,
    what_is_over_goes,
    what_is_observed_is_counted_and_bounded,
}

const ALWAYS: Window = Window { start: Timestamp::from_micros(0), end: Timestamp::MAX };

fn rate(counter: &str, text: &str, burst: i64) -> Charge {
    let meter = Meter::Rate(Rate::parse(text).unwrap());
    Charge { counter: counter.into(), meter, window: ALWAYS, amount: 1, max: burst, limit: 0 }
}

fn lease(counter: &str, max: i64) -> Charge {
    Charge { counter: counter.into(), meter: Meter::Concurrent, window: ALWAYS, amount: 1, max, limit: 0 }
}

fn now(millis: i64) -> Timestamp {
    Timestamp::from_micros(at(0).as_micros() + millis * 1000)
}

/// An admission at this time, whose leases end by themselves ten seconds later.
fn asking(charges: Vec<Charge>, millis: i64) -> Admission {
    Admission { at: now(millis), until: now(millis).plus(Duration::from_secs(10)), ..admission(charges) }
}

async fn standing(store: &Store, charge: Charge, at: Timestamp) -> Standing {
    store.read::<_, Fault, _>(move |reader| counters::standing(reader, &charge, at)).await.unwrap()
}

async fn of_64_at_once_as_many_as_fit(world: World) {
    let store = world.open();
    let together = async |charge: Charge, millis: i64| {
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (store, charge) = (store.clone(), charge.clone());
                tokio::spawn(async move { store.admit(asking(vec![charge], millis)).await })
            })
            .collect();
        let mut admitted = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(one) => admitted.push(one.action()),
                Err(refused) => assert!(matches!(refused, Refused::Limit { index: 0, .. }), "{refused}"),
            }
        }
        admitted
    };
    assert_eq!(together(rate("r", "7/second", 10), 0).await.len(), 10);
    // After a second there is room for seven, whose parts of a microsecond add up.
    assert_eq!(together(rate("r", "7/second", 10), 1000).await.len(), 7);
    let stands = standing(&store, rate("r", "7/second", 10), now(1000)).await;
    assert_eq!(
        stands,
        Standing { used: 10, retry_at: Some(Timestamp::from_micros(now(1000).as_micros() + 142_858)) }
    );
    let under_way = together(lease("l", 5), 0).await;
    assert_eq!(under_way.len(), 5);
    for action in under_way.iter().take(2) {
        store.conclude(conclusion(*action, ActionState::Done, false)).await.unwrap();
    }
    // Of what is unknown the effect may still be happening.
    let unknown = conclusion(under_way[2], ActionState::Unknown, false);
    store.conclude(unknown).await.unwrap();
    assert_eq!(together(lease("l", 5), 0).await.len(), 2);
    assert_eq!(standing(&store, lease("l", 5), now(0)).await, Standing { used: 5, retry_at: None });
    // By time all of them end.
    assert_eq!(standing(&store, lease("l", 5), now(10_000)).await.used, 0);
    assert_eq!(together(lease("l", 5), 10_000).await.len(), 5);
}

async fn a_refusal_of_one_leaves_nothing_of_the_others(world: World) {
    let store = world.open();
    let all = || vec![rate("r", "1/day", 5), lease("l", 5), rate("s", "1/day", 1)];
    store.admit(asking(all(), 0)).await.unwrap();
    for _ in 0..3 {
        let refused = store.admit(asking(all(), 0)).await.unwrap_err();
        let Refused::Limit { index: 2, standing } = refused else { panic!("{refused}") };
        assert_eq!(standing, Standing { used: 1, retry_at: Some(at(86_400)) });
    }
    assert_eq!(standing(&store, rate("r", "1/day", 5), now(0)).await.used, 1);
    assert_eq!(standing(&store, lease("l", 5), now(0)).await.used, 1);
    // One counter twice in one action counts twice.
    let twice = vec![rate("t", "1/day", 1), rate("t", "1/day", 1)];
    assert!(matches!(store.admit(asking(twice, 0)).await, Err(Refused::Limit { index: 1, .. })));
}

async fn what_is_over_goes(world: World) {
    let store = world.open();
    for millis in 0..20 {
        store.admit(asking(vec![rate("r", "1/second", 50), lease("l", 50)], millis)).await.unwrap();
    }
    let dropped =
        async |before| store.write::<_, Fault, _>(move |tx| counters::prune(tx, before)).await.unwrap();
    // The bucket is empty 20 s after the first; all leases have ended by then.
    assert_eq!(dropped(now(0)).await, 0);
    assert!(dropped(at(100)).await >= 21);
    assert_eq!(standing(&store, rate("r", "1/second", 50), at(100)).await, Standing::default());
    store.admit(asking(vec![rate("r", "1/second", 1), lease("l", 1)], 100_000)).await.unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    /// Somebody asks, at a clock that differs by so many milliseconds.
    Ask {
        counter: usize,
        skew: i64,
    },
    /// The n-th action that is under way ends.
    End {
        which: usize,
        state: usize,
    },
    Wait(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3usize, -40..40i64).prop_map(|(counter, skew)| Step::Ask { counter, skew }),
        5 => (any::<usize>(), 0..3usize).prop_map(|(which, state)| Step::End { which, state }),
        6 => prop_oneof![0..300i64, 3_000..12_000i64].prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// What was admitted, and nothing cleverer than that.
#[derive(Default)]
struct Model {
    /// When, in thirds of a millisecond, by counter.
    passed: [Vec<i64>; 3],
    /// Leases: the counter, when it ends, whether it was released.
    leases: Vec<(usize, i64, ActionId, bool)>,
}

impl Model {
    /// Whether one more fits into a bucket of three a second that holds four.
    fn rate_fits(&self, counter: usize, millis: i64) -> bool {
        let empty = self.passed[counter].iter().fold(i64::MIN / 2, |empty, at| empty.max(*at) + 1000);
        empty.max(millis * 3) + 1000 - millis * 3 <= 4000
    }

    fn live(&self, counter: usize, millis: i64) -> usize {
        let live = |one: &&(usize, i64, ActionId, bool)| one.0 == counter && one.1 > millis && !one.3;
        self.leases.iter().filter(live).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn like_a_list_of_what_was_admitted(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new(Engine::Sqlite);
            let mut store = world.open();
            let (mut model, mut millis) = (Model::default(), 0_i64);
            for step in steps {
                match step {
                    Step::Wait(by) => millis += by,
                    Step::Restart => {
                        drop(store);
                        store = world.open();
                    }
                    Step::Ask { counter, skew } => {
                        let then = millis + skew;
                        let charges = vec![
                            rate(&format!("r{counter}"), "3/second", 4),
                            lease(&format!("l{counter}"), 3),
                        ];
                        let (rate_fits, live) = (model.rate_fits(counter, then), model.live(counter, then));
                        let stands = standing(&store, charges[0].clone(), now(then)).await;
                        assert_eq!(stands.used < 4, rate_fits);
                        assert_eq!(standing(&store, charges[1].clone(), now(then)).await.used, live as i64);
                        match store.admit(asking(charges, then)).await {
                            Ok(admitted) => {
                                assert!(rate_fits && live < 3);
                                model.passed[counter].push(then * 3);
                                model.leases.push((counter, then + 10_000, admitted.action(), false));
                            }
                            Err(Refused::Limit { index: 0, .. }) => assert!(!rate_fits),
                            Err(Refused::Limit { index: 1, .. }) => assert!(rate_fits && live >= 3),
                            Err(other) => panic!("{other}"),
                        }
                    }
                    Step::End { which, state } => {
                        if model.leases.is_empty() {
                            continue;
                        }
                        let which = which % model.leases.len();
                        let action = model.leases[which].2;
                        let state = [ActionState::Done, ActionState::Failed, ActionState::Unknown][state];
                        // A rate gives nothing back, whatever is said; a lease ends once.
                        let give_back = state == ActionState::Failed;
                        let ended = store.conclude(conclusion(action, state, give_back)).await.is_ok();
                        model.leases[which].3 |= ended && state != ActionState::Unknown;
                    }
                }
            }
        });
    }
}

async fn what_is_observed_is_counted_and_bounded(world: World) {
    let store = world.open();
    let observed = |rule: &str| Observed {
        policy: "p".into(),
        version: 1,
        rule: rule.into(),
        action: "orders.read".into(),
        agent: agent(),
        would: "deny",
        code: "forbidden",
        decision: "allow",
    };
    let noted = (0..3).map(|_| observed("a")).collect();
    store.admit(Admission { observed: noted, ..admission(vec![]) }).await.unwrap();
    store.observe(vec![observed("b"), observed("a")], at(7)).await.unwrap();
    let of =
        async |store: &Store| store.read::<_, Fault, _>(|q| observations::of(q, "p", 10_000)).await.unwrap();
    let counted: Vec<_> =
        of(&store).await.into_iter().map(|one| (one.rule, one.count, one.first, one.last)).collect();
    assert_eq!(counted, [("a".to_owned(), 4, at(0), at(7)), ("b".to_owned(), 1, at(7), at(7))]);
    drop(store);
    let store = world.open();
    // A refused admission counts nothing: it is the denial's to count.
    let refused = Admission { observed: vec![observed("a")], ..admission(vec![lease("l", 0)]) };
    assert!(store.admit(refused).await.is_err());
    let many = (0..2500).map(|number| observed(&format!("r{number}"))).collect();
    store.observe(many, at(8)).await.unwrap();
    let counted = of(&store).await;
    let all = usize::try_from(observations::MOST).unwrap() + 1;
    assert_eq!(counted.len(), all);
    assert_eq!(counted.iter().map(|one| one.count).sum::<u64>(), 2505);
    assert_eq!((counted[0].agent, counted[0].rule.as_str(), counted[0].count), (None, "", 502));
}

async fn a_body_is_kept_as_long_as_its_policies_say(world: World) {
    let store = world.open();
    let sealed = |until: Option<i64>| {
        let envelope = Envelope::new(fresh::<placet_core::id::kind::Event>(), EntryType::ActionIntent, at(0));
        PreparedEntry::new(&envelope, Some(vec![7])).kept_until(until.map(at))
    };
    let entries = [None, Some(50), Some(500), None].map(sealed);
    store.append(entries.into()).await.unwrap();
    let left = || {
        let numbers = world.column("SELECT seq FROM record_bodies ORDER BY seq");
        numbers.iter().map(|seq| seq.parse::<i64>().unwrap()).collect::<Vec<_>>()
    };
    store.write::<_, Fault, _>(|tx| retention::erase_kept(tx, at(50), 10)).await.unwrap();
    assert_eq!(left(), [1, 2, 3, 4]);
    // The installation's default is about those that no policy says anything about.
    store.write::<_, Fault, _>(|tx| retention::erase_bodies(tx, at(100), 10)).await.unwrap();
    assert_eq!(left(), [2, 3]);
    store.write::<_, Fault, _>(|tx| retention::erase_kept(tx, at(100), 10)).await.unwrap();
    assert_eq!(left(), [3]);
    store.write::<_, Fault, _>(|tx| retention::erase_kept(tx, at(501), 10)).await.unwrap();
    assert_eq!(left(), Vec::<i64>::new());
}
