//! Windows: what a day is where clocks are changed, and that no moment lies in two or in none.

use super::*;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    Timestamp::from_jiff(text.parse().unwrap())
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn hours(window: Window) -> f64 {
    (window.end.as_micros() - window.start.as_micros()) as f64 / 3.6e9
}

#[test]
fn a_day_is_as_long_as_its_zone_makes_it() {
    for (name, moment, from, length) in [
        // Put forward: 23 hours. Put back: 25. Both instants of the hour that comes twice are one day.
        ("Europe/Paris", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", 23.0),
        ("Europe/Paris", "2026-10-25T00:30:00Z", "2026-10-24T22:00:00Z", 25.0),
        ("Europe/Paris", "2026-10-25T01:30:00Z", "2026-10-24T22:00:00Z", 25.0),
        ("America/New_York", "2026-03-08T07:30:00Z", "2026-03-08T05:00:00Z", 23.0),
        ("America/New_York", "2026-11-01T06:30:00Z", "2026-11-01T04:00:00Z", 25.0),
        // By half an hour.
        ("Australia/Lord_Howe", "2026-10-04T00:00:00Z", "2026-10-03T13:30:00Z", 23.5),
        ("Australia/Lord_Howe", "2026-04-05T00:00:00Z", "2026-04-04T13:00:00Z", 24.5),
        // Midnight itself is skipped: the day begins at one.
        ("Asia/Beirut", "2026-03-29T12:00:00Z", "2026-03-28T22:00:00Z", 23.0),
        // A midnight that comes twice: the day before has both.
        ("Africa/Cairo", "2026-10-29T21:30:00Z", "2026-10-28T21:00:00Z", 25.0),
        // A day that never was: the one before it ends where the one after it begins.
        ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", 24.0),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", 24.0),
        ("Asia/Kathmandu", "2026-01-01T00:00:00Z", "2025-12-31T18:15:00Z", 24.0),
    ] {
        let window = Per::Day.window(at(moment), &zone(name));
        assert_eq!((window.start, hours(window)), (at(from), length), "{name} {moment}");
    }
}

#[test]
fn an_hour_that_comes_twice_is_two_and_a_minute_is_a_minute() {
    // Cut in absolute time: a clock that is set back opens no window a second time.
    let paris = zone("Europe/Paris");
    let (first, second) = (at("2026-10-25T00:30:00Z"), at("2026-10-25T01:30:00Z"));
    assert_eq!(Per::Hour.window(first, &paris).end, Per::Hour.window(second, &paris).start);
    assert_eq!(hours(Per::Hour.window(first, &paris)), 1.0);
    assert_eq!(Per::Minute.window(first, &paris).start, first);
    let week = Per::Week.window(second, &paris);
    assert_eq!((week.start, hours(week)), (at("2026-10-18T22:00:00Z"), 169.0));
    let month = Per::Month.window(at("2026-03-31T21:59:59Z"), &paris);
    assert_eq!((month.start, month.end), (at("2026-02-28T23:00:00Z"), at("2026-03-31T22:00:00Z")));
}

const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Australia/Lord_Howe",
    "Pacific/Apia",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    /// From 1990 to 2057: every moment lies in exactly one window, whichever moment of it is asked, and the next begins
    /// where it ends.
    #[test]
    fn windows_are_side_by_side(
        seconds in 631_152_000i64..2_750_000_000,
        name in prop::sample::select(ZONES.to_vec()),
        per in prop::sample::select(vec![Per::Minute, Per::Hour, Per::Day, Per::Week, Per::Month]),
        part in 0..1000i64,
    ) {
        let zone = zone(name);
        let now = Timestamp::from_seconds(seconds);
        let window = per.window(now, &zone);
        prop_assert!(window.start <= now && now < window.end);
        let length = window.end.as_micros() - window.start.as_micros();
        let inside = [0, 1, length / 1000 * part, length - 1];
        for moment in inside.map(|micros| Timestamp::from_micros(window.start.as_micros() + micros)) {
            prop_assert_eq!(per.window(moment, &zone), window, "{} {} {}", name, now, moment);
        }
        prop_assert_eq!(per.window(window.end, &zone).start, window.end, "{} {}", name, now);
        let before = per.window(Timestamp::from_micros(window.start.as_micros() - 1), &zone);
        prop_assert_eq!(before.end, window.start, "{} {}", name, now);
    }

    /// Sums of decimals are exact: what is charged is the number of millionths, however it is written.
    #[test]
    fn amounts_are_decimal(whole in 0..9_000_000_000_000i64, part in 0..1_000_000i64, zeros in 0..4usize) {
        let expected = whole * 1_000_000 + part;
        let text = format!("{whole}.{part:06}");
        let moved = format!("{}{}e-{}", expected, "0".repeat(zeros), 6 + zeros);
        for text in [text.clone(), text + &"0".repeat(zeros), moved] {
            let number: serde_json::Number = text.parse().unwrap();
            let amount = crate::decimal::Decimal::from_json(&number).unwrap().to_millionths();
            prop_assert_eq!(amount.ok(), Some(expected), "{}", text);
        }
        prop_assert_eq!(Limit::number(expected).to_string().parse::<f64>().is_ok(), true);
    }
}
