//! The pace of polls, what a request becomes with time, and codes as people type them.

use super::*;
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn request(state: State, decided: Option<i64>) -> Waiting {
    Waiting {
        id: RequestId::from_parts(at(0), [1; 10]),
        through: Through::Device,
        agent: AgentId::from_parts(at(0), [2; 10]),
        user: None,
        asked: Asked { client_id: "c".into(), query: String::new(), key: None, from: None, message: None },
        state,
        created: at(0),
        expires: at(600),
        decided: decided.map(at),
        pace: Pace::new(at(0)),
    }
}

#[test]
fn whoever_keeps_the_interval_is_never_slowed_down_and_whoever_does_not_is_each_time() {
    let (in_time, pace) = Pace::new(at(100)).polled(at(100));
    assert_eq!((in_time, pace), (true, Pace { interval: INTERVAL, next: at(105) }));
    let (in_time, kept) = pace.polled(at(105));
    assert!(in_time && kept.interval == INTERVAL);
    // A second early is what networks do.
    assert!(pace.polled(at(104)).0);
    let (in_time, slower) = pace.polled(at(103));
    assert_eq!((in_time, slower), (false, Pace { interval: Duration::from_secs(10), next: at(113) }));
    // From then on it is ten seconds (RFC 8628 §3.5), and longer if that is not kept either.
    assert!(!slower.polled(at(109)).0);
    assert!(slower.polled(at(113)).0);
    let mut pace = slower;
    for second in 104..400 {
        pace = pace.polled(at(second)).1;
    }
    assert_eq!(pace.interval, SLOWEST);
}

#[test]
fn a_clock_that_went_back_holds_nobody_up() {
    let pace = Pace { interval: INTERVAL, next: at(10_000) };
    assert_eq!(pace.polled(at(100)), (true, Pace { interval: INTERVAL, next: at(105) }));
}

#[test]
fn what_is_over_stays_over_and_a_yes_waits_a_little_for_the_client() {
    let pending = request(State::Pending, None);
    assert_eq!(pending.state_at(at(599)), State::Pending);
    assert_eq!(pending.state_at(at(600)), State::Expired);
    assert_eq!(pending.polled(at(600)), Answer::Expired);
    let early = request(State::Approved, Some(10));
    assert_eq!((early.state_at(at(129)), early.state_at(at(130))), (State::Approved, State::Expired));
    let late = request(State::Approved, Some(599));
    assert_eq!((late.polled(at(718)), late.polled(at(719))), (Answer::Ready, Answer::Expired));
    for (state, answer) in
        [(State::Denied, Answer::Denied), (State::Taken, Answer::Taken), (State::Ended, Answer::Ended)]
    {
        assert_eq!(request(state, Some(10)).polled(at(10_000)), answer);
    }
}

#[test]
fn a_code_is_read_as_people_type_it() {
    let code = UserCode::parse("WDJB-MJHT").unwrap();
    assert_eq!(code.to_string(), "WDJB-MJHT");
    for typed in ["wdjbmjht", " wdjb mjht ", "W-D-J-B-M-J-H-T", "wdjb\u{2013}mjht", "WDJB\tMJHT\n"] {
        assert!(UserCode::parse(typed) == Some(code), "{typed}");
    }
    for wrong in ["", "WDJB-MJH", "WDJB-MJHTT", "WDJA-MJHT", "WDJ0-MJHT", "ＷDJB-MJHT", "WDJB_MJHT"] {
        assert!(UserCode::parse(wrong).is_none(), "{wrong}");
    }
    assert!(!format!("{code:?}").contains("WDJB"));
}

proptest! {
    #[test]
    fn every_code_that_is_made_is_read_back(entropy: [u8; 16]) {
        let code = UserCode::generated(entropy);
        prop_assert!(UserCode::parse(&code.to_string()) == Some(code));
    }

    #[test]
    fn the_next_poll_is_never_further_away_than_the_interval(polls in prop::collection::vec(0i64..400, 1..60)) {
        let mut pace = Pace::new(at(0));
        for second in polls {
            let before = pace.interval;
            let (in_time, after) = pace.polled(at(second));
            prop_assert!(after.interval >= before && after.interval <= SLOWEST);
            prop_assert_eq!(after.next, at(second).plus(after.interval));
            prop_assert!(in_time == (after.interval == before) || before == SLOWEST);
            pace = after;
        }
    }
}
