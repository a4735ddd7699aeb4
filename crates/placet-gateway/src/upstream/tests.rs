use super::{
    breaker::{Breaker, ENOUGH, Entry, FIRST, IN_A_ROW, LONGEST, TRIAL},
    parties::AGENTS,
    *,
};
use crate::failure::Undone;
use placet_core::time::Timestamp;
use proptest::prelude::*;
use std::collections::VecDeque;

const SECOND: Duration = Duration::from_secs(1);

fn one_of(concurrency: usize, wait: Duration) -> Arc<Upstream> {
    Arc::new(Upstream::new(concurrency, wait, Arc::default()))
}

fn unreachable() -> UpstreamFailure {
    UpstreamFailure::NotSent { host: "x".into(), reason: NotSent::Unreachable }
}

#[tokio::test(start_paused = true)]
async fn turns_come_in_order_and_no_more_wait_than_may() {
    let upstream = one_of(1, SECOND * 100);
    let first = upstream.enter(None).await.unwrap();
    assert!(!first.waited());
    let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
    let mut waiting = Vec::new();
    for number in 0..WAITING_EACH {
        let (upstream, told) = (Arc::clone(&upstream), told.clone());
        waiting.push(tokio::spawn(async move {
            let slot = upstream.enter(None).await.unwrap();
            assert!(slot.waited());
            told.send(number).unwrap();
            slot.conclude_begun(Ok(200));
        }));
        tokio::task::yield_now().await;
    }
    assert_eq!(upstream.standing("x").waiting, WAITING_EACH);
    assert!(matches!(upstream.enter(None).await, Err(TurnedAway::Busy { .. })), "the queue is full");
    first.conclude_begun(Ok(200));
    for waits in waiting {
        waits.await.unwrap();
    }
    drop(told);
    let mut came = Vec::new();
    while let Some(number) = order.recv().await {
        came.push(number);
    }
    assert_eq!(came, (0..WAITING_EACH).collect::<Vec<_>>());
    let standing = upstream.standing("x");
    assert_eq!((standing.under_way, standing.waiting, standing.busy), (0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_told_and_who_gives_up_leaves_no_trace() {
    let upstream = one_of(1, SECOND);
    let held = upstream.enter(None).await.unwrap();
    let began = Instant::now();
    assert!(matches!(upstream.enter(None).await, Err(TurnedAway::Busy { .. })));
    assert!((SECOND..SECOND * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    // Whoever asked has gone.
    assert!(timeout(SECOND / 2, upstream.enter(None)).await.is_err());
    assert_eq!(upstream.standing("x").waiting, 0);
    drop(held);
    assert_eq!(upstream.standing("x").under_way, 0);
    upstream.enter(None).await.unwrap().conclude_begun(Ok(200));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_answer_is_not_asked_and_then_tried_by_one() {
    let upstream = one_of(8, SECOND);
    for _ in 0..IN_A_ROW {
        assert_eq!(upstream.standing("x").state, State::Closed);
        upstream.enter(None).await.unwrap().conclude_begun(Err(&unreachable()));
    }
    assert_eq!(upstream.standing("x").state, State::Open);
    assert_eq!(upstream.enter(None).await.unwrap_err(), TurnedAway::Broken { retry_after: FIRST });
    tokio::time::advance(FIRST).await;
    assert_eq!(upstream.standing("x").state, State::HalfOpen);
    let trial = upstream.enter(None).await.unwrap();
    assert!(matches!(upstream.enter(None).await, Err(TurnedAway::Broken { .. })), "one at a time");
    // It was not sent after all.
    drop(trial);
    let trial = upstream.enter(None).await.unwrap();
    trial.conclude_begun(Err(&unreachable()));
    assert_eq!(upstream.enter(None).await.unwrap_err(), TurnedAway::Broken { retry_after: FIRST * 2 });
    tokio::time::advance(FIRST * 2).await;
    upstream.enter(None).await.unwrap().conclude_begun(Ok(404));
    let standing = upstream.standing("x");
    assert_eq!((standing.state, standing.retry_after, standing.broken), (State::Closed, None, 3));
}

#[tokio::test(start_paused = true)]
async fn a_changed_service_keeps_what_is_known_of_its_upstream() {
    let upstreams = Upstreams::default();
    let before = upstreams.of("shop", Some(1));
    assert!(Arc::ptr_eq(&before, &upstreams.of("shop", Some(1))));
    let held = before.enter(None).await.unwrap();
    let after = upstreams.of("shop", Some(2));
    for _ in 0..IN_A_ROW {
        after.enter(None).await.unwrap().conclude_begun(Err(&unreachable()));
    }
    assert!(matches!(upstreams.of("shop", None).enter(None).await, Err(TurnedAway::Broken { .. })));
    assert!(upstreams.of("other", None).enter(None).await.is_ok(), "each has its own");
    held.conclude_begun(Ok(200));
    let standing = upstreams.standing();
    let names: Vec<_> = standing.iter().map(|it| (it.service.as_str(), it.state, it.concurrency)).collect();
    assert_eq!(names, [("other", State::Closed, CONCURRENCY), ("shop", State::Open, CONCURRENCY)]);
}

fn agent(n: usize) -> Option<AgentId> {
    let [low, high] = u16::try_from(n).unwrap().to_le_bytes();
    Some(AgentId::from_parts(Timestamp::MAX, [low, high, 0, 0, 0, 0, 0, 0, 0, 0]))
}

fn silent() -> UpstreamFailure {
    UpstreamFailure::Unknown { host: "x".into(), status: None, reason: Unknown::TimedOut }
}

#[tokio::test(start_paused = true)]
async fn what_one_agent_meets_by_what_it_asks_keeps_nobody_else_away() {
    let upstream = one_of(8, SECOND);
    // Whatever it does: in a row, over and over, with statuses or silence.
    for round in 0..200 {
        if let Ok(slot) = upstream.enter(agent(1)).await {
            let silent = silent();
            slot.conclude_begun(if round % 2 == 0 { Err(&silent) } else { Ok(500) });
        }
        if let Ok(slot) = upstream.enter(agent(1)).await {
            slot.conclude_begun(Err(&silent()));
        }
        tokio::time::advance(Duration::from_millis(700)).await;
        if round % 5 == 4 {
            upstream.enter(agent(2)).await.expect("another is let in").conclude_begun(Ok(200));
        }
    }
    assert_eq!(upstream.standing("x").state, State::Closed);
    // It is kept away itself, and comes back by one call that is answered.
    for _ in 0..IN_A_ROW {
        if let Ok(slot) = upstream.enter(agent(3)).await {
            slot.conclude_begun(Err(&silent()));
        }
    }
    assert_eq!(upstream.enter(agent(3)).await.unwrap_err(), TurnedAway::Broken { retry_after: FIRST });
    assert!(upstream.standing("x").kept_away >= 1);
    upstream.enter(agent(2)).await.unwrap().conclude_begun(Ok(200));
    tokio::time::advance(FIRST).await;
    upstream.enter(agent(3)).await.unwrap().conclude_begun(Ok(200));
    upstream.enter(agent(3)).await.unwrap().conclude_begun(Ok(200));
}

#[tokio::test(start_paused = true)]
async fn who_fails_every_trial_keeps_nobody_else_away() {
    let upstream = one_of(8, SECOND);
    for n in 1..=5 {
        upstream.enter(agent(n)).await.unwrap().conclude_begun(Err(&silent()));
    }
    assert_eq!(upstream.standing("x").state, State::Open);
    // It is there again, and one agent asks for what it stumbles at, first each time.
    tokio::time::advance(FIRST).await;
    let mut let_in = 0;
    for _ in 0..20 {
        if let Ok(slot) = upstream.enter(agent(9)).await {
            slot.conclude_begun(Ok(500));
            let_in += 1;
        }
        if let Ok(slot) = upstream.enter(agent(1)).await {
            slot.conclude_begun(Ok(200));
            break;
        }
        tokio::time::advance(FIRST).await;
    }
    assert!(let_in < 6, "{let_in}");
    assert_eq!(upstream.standing("x").state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn who_tries_and_takes_its_time_keeps_nobody_else_away() {
    let upstream = one_of(8, SECOND);
    for n in 1..=5 {
        upstream.enter(agent(n)).await.unwrap().conclude_begun(Err(&silent()));
    }
    tokio::time::advance(FIRST).await;
    // It is there again, and one agent sends something that takes minutes.
    let slow = upstream.enter(agent(9)).await.unwrap();
    assert!(matches!(upstream.enter(agent(1)).await, Err(TurnedAway::Broken { .. })), "one at a time");
    tokio::time::advance(TRIAL).await;
    assert!(matches!(upstream.enter(agent(9)).await, Err(TurnedAway::Broken { .. })), "it tries already");
    assert_eq!(upstream.standing("x").state, State::HalfOpen);
    let other = upstream.enter(agent(1)).await.expect("another one tries");
    assert!(matches!(upstream.enter(agent(2)).await, Err(TurnedAway::Broken { .. })), "one at a time");
    // What the first one says in the end is old, if it is no answer.
    slow.conclude_begun(Err(&silent()));
    assert_eq!(upstream.standing("x").state, State::HalfOpen);
    other.conclude_begun(Ok(200));
    assert_eq!(upstream.standing("x").state, State::Closed);
    // An answer is one however late it is.
    for n in 1..=5 {
        upstream.enter(agent(n)).await.unwrap().conclude_begun(Err(&silent()));
    }
    tokio::time::advance(FIRST).await;
    let first = upstream.enter(agent(6)).await.unwrap();
    tokio::time::advance(TRIAL).await;
    let second = upstream.enter(agent(7)).await.unwrap();
    first.conclude_begun(Ok(204));
    assert_eq!(upstream.standing("x").state, State::Closed);
    second.conclude_begun(Err(&silent()));
    assert_eq!(upstream.standing("x").state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn one_agent_does_not_take_the_turns_of_all() {
    let upstream = one_of(8, SECOND * 100);
    // As many as it gets, which it keeps for as long as it likes, and as many that wait.
    let mut held = Vec::new();
    while let Ok(slot) = timeout(Duration::from_millis(1), upstream.enter(agent(1))).await {
        held.push(slot.unwrap());
    }
    assert_eq!(held.len(), 6);
    let mut waiting = Vec::new();
    for _ in 0..8 * WAITING_EACH {
        let upstream = Arc::clone(&upstream);
        waiting.push(tokio::spawn(async move { upstream.enter(agent(1)).await.map(drop) }));
        tokio::task::yield_now().await;
    }
    assert!(matches!(upstream.enter(agent(1)).await, Err(TurnedAway::Busy { .. })), "the queue is full");
    assert_eq!(upstream.standing("x").waiting, 8 * WAITING_EACH);
    // Two others go on at once, a third has a place in the full queue and the first turn that is given back.
    let (one, other) = (upstream.enter(agent(2)).await.unwrap(), upstream.enter(agent(3)).await.unwrap());
    assert!(!one.waited() && !other.waited());
    let third = tokio::spawn({
        let upstream = Arc::clone(&upstream);
        async move { upstream.enter(agent(4)).await.map(|slot| slot.waited()) }
    });
    tokio::task::yield_now().await;
    assert!(!third.is_finished());
    drop(held.pop());
    assert_eq!(third.await.unwrap(), Ok(true));
    drop((one, other, held));
    let mut went = 0;
    for waits in waiting {
        went += usize::from(waits.await.unwrap().is_ok());
    }
    // One made room for the third.
    assert_eq!(went, 8 * WAITING_EACH - 1);
    assert_eq!((upstream.standing("x").under_way, upstream.standing("x").waiting), (0, 0));
}

/// Who is given a turn and no longer listens gives it on.
#[tokio::test(start_paused = true)]
async fn a_turn_that_nobody_takes_is_the_next_ones() {
    let upstream = one_of(1, SECOND * 100);
    let held = upstream.enter(agent(1)).await.unwrap();
    let mut gone = Box::pin(upstream.enter(agent(2)));
    assert!(timeout(Duration::from_millis(1), &mut gone).await.is_err());
    let next = tokio::spawn({
        let upstream = Arc::clone(&upstream);
        async move { upstream.enter(agent(3)).await.is_ok() }
    });
    tokio::task::yield_now().await;
    // It has its turn, and goes before it hears of it.
    drop(held);
    drop(gone);
    assert!(next.await.unwrap());
    assert_eq!(upstream.standing("x").under_way, 0);
}

#[tokio::test(start_paused = true)]
async fn what_several_agents_meet_is_the_upstream() {
    let upstream = one_of(8, SECOND);
    for n in 1..=5 {
        assert_eq!(upstream.standing("x").state, State::Closed);
        upstream.enter(agent(n)).await.unwrap().conclude_begun(Err(&silent()));
    }
    assert_eq!(upstream.standing("x").state, State::Open);
    assert!(matches!(upstream.enter(agent(9)).await, Err(TurnedAway::Broken { .. })));
    // One that can't be reached at all is so for everybody, whoever finds out.
    let upstream = one_of(8, SECOND);
    for _ in 0..IN_A_ROW {
        upstream.enter(agent(1)).await.unwrap().conclude_begun(Err(&unreachable()));
    }
    assert!(matches!(upstream.enter(agent(2)).await, Err(TurnedAway::Broken { .. })));
    // Statuses that say so: each agent's count for a little.
    let upstream = one_of(8, SECOND);
    for call in 0..ENOUGH {
        let slot = upstream.enter(agent(call as usize)).await.unwrap();
        slot.conclude_begun(Ok(if call % 2 == 0 { 200 } else { 503 }));
    }
    assert_eq!(upstream.standing("x").state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_agents_is_bounded() {
    let upstream = one_of(8, SECOND);
    for n in 0..AGENTS * 2 {
        upstream.enter(agent(n)).await.unwrap().conclude_begun(Ok(200));
    }
    assert!(upstream.health.breakers().known_of() <= AGENTS + 1);
}

#[test]
fn a_database_is_blamed_for_what_is_its_own() {
    let said =
        |code: &str| of_database(&ResponseBody::Json(serde_json::json!({"error": {"sqlstate": code}})));
    for code in ["40001", "40P01", "55P03", "57014", "23505", "42P01", "25006", "P0001"] {
        assert_eq!(said(code), Outcome::Good, "{code}");
    }
    for code in ["53300", "57P01", "57P03", "58030", "XX000"] {
        assert_eq!(said(code), Outcome::Error, "{code}");
    }
    assert_eq!(of_database(&ResponseBody::Json(serde_json::json!({"rows": []}))), Outcome::Good);
}

#[test]
fn what_an_upstream_is_blamed_for() {
    let failed = |reason| outcome(Err(&UpstreamFailure::NotSent { host: "x".into(), reason }));
    assert_eq!(failed(NotSent::BadCall), Outcome::Nothing);
    assert_eq!(failed(NotSent::Metadata), Outcome::Nothing);
    assert_eq!(failed(NotSent::TimedOut), Outcome::Unreached);
    assert_eq!(failed(NotSent::NoSession), Outcome::Nothing, "others have all of them");
    let refused = |sqlstate: &str| failed(NotSent::Refused { sqlstate: sqlstate.to_owned() });
    // A wrong password is one connection's; a database that is full or starts is everybody's.
    assert_eq!([refused("28P01"), refused("3D000"), failed(NotSent::Plain)], [Outcome::Nothing; 3]);
    assert_eq!([refused("53300"), refused("57P03")], [Outcome::Error; 2]);
    for reason in [Undone::TimedOut, Undone::Disconnected] {
        let undone = UpstreamFailure::Undone { host: "x".into(), reason };
        assert_eq!(outcome(Err(&undone)), Outcome::Silence);
    }
    let blamed: Vec<u16> = (100..600).filter(|status| outcome(Ok(*status)) != Outcome::Good).collect();
    assert_eq!(blamed, (500..600).filter(|status| *status != 501).collect::<Vec<_>>());
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

/// The same rules, from the whole history each time.
#[derive(Default)]
struct Oracle {
    /// When each call ended and whether it failed, since it was closed.
    ended: VecDeque<(u64, Outcome)>,
    open: Option<(u64, u64)>,
}

impl Oracle {
    fn opens(&self, now: u64) -> bool {
        let told: Vec<_> = self.ended.iter().filter(|(_, it)| *it != Outcome::Nothing).collect();
        let row = told
            .iter()
            .rev()
            .take_while(|(_, it)| matches!(it, Outcome::Silence | Outcome::Unreached))
            .count();
        let recent: Vec<_> = told.iter().filter(|(at, _)| now / 1000 - at / 1000 < 10).collect();
        let failed = recent.iter().filter(|(_, it)| *it != Outcome::Good).count();
        row >= IN_A_ROW as usize || (recent.len() >= ENOUGH as usize && failed * 2 >= recent.len())
    }
}

proptest! {
    /// Calls one after the other, each at some time and with some outcome.
    #[test]
    fn it_opens_and_closes_when_the_rules_say(
        calls in prop::collection::vec((0_u64..3000, prop::sample::select(vec![
            Outcome::Good, Outcome::Good, Outcome::Error, Outcome::Silence, Outcome::Unreached, Outcome::Nothing,
        ])), 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let start = Instant::now();
        let (mut breaker, mut oracle, mut now) = (Breaker::default(), Oracle::default(), 0);
        for (index, (later, outcome)) in calls.into_iter().enumerate() {
            // Seconds are counted from the first call.
            now += if index == 0 { 0 } else { later };
            let at = start + Duration::from_millis(now);
            let entered = breaker.enter(at);
            match oracle.open {
                Some((until, _)) if now < until => {
                    prop_assert_eq!(entered, Err(Duration::from_millis(until - now)));
                    continue;
                }
                Some((_, after)) => {
                    let Ok(trial @ Entry::Trial(_)) = entered else {
                        return Err(TestCaseError::fail(format!("{entered:?}")));
                    };
                    prop_assert!(breaker.enter(at).is_err());
                    breaker.conclude(trial, outcome, at);
                    match outcome {
                        Outcome::Good => {
                            oracle = Oracle::default();
                        }
                        Outcome::Nothing => oracle.open = Some((now, after)),
                        _ => {
                            let after = (after * 2).min(millis(LONGEST));
                            oracle.open = Some((now + after, after));
                        }
                    }
                }
                None => {
                    let entry = entered.unwrap();
                    breaker.conclude(entry, outcome, at);
                    oracle.ended.push_back((now, outcome));
                    if outcome != Outcome::Nothing && oracle.opens(now) {
                        let first = millis(FIRST);
                        oracle.open = Some((now + first, first));
                    }
                }
            }
            let open = oracle.open.is_some_and(|(until, _)| now < until);
            prop_assert_eq!(breaker.state(at) == State::Open, open, "at {}", now);
        }
    }
}
