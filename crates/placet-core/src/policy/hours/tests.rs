use super::*;
use crate::diagnostic::Report;
use jiff::civil::Weekday;
use proptest::prelude::*;

fn load(text: &str) -> Result<Hours, Vec<String>> {
    let (root, report) = crate::yaml::parse(text.as_bytes(), None).unwrap();
    let hours = Hours::read(&root.reading("hours", &report));
    let found: Vec<_> = Report::into_diagnostics(report);
    let errors: Vec<_> = found.iter().filter(|it| it.is_error()).map(|it| it.message.clone()).collect();
    if errors.is_empty() { Ok(hours.unwrap()) } else { Err(errors) }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn reads_what_people_write_and_nothing_else() {
    for (text, shown) in [
        ("{days: mon-fri, from: 09:00, to: 17:00, zone: Europe/Paris}", "mon-fri 09:00-17:00 Europe/Paris"),
        ("{days: 'sat, sun', zone: UTC}", "sat-sun 00:00-24:00 UTC"),
        ("{days: [mon, wed-fri], zone: UTC}", "mon,wed-fri 00:00-24:00 UTC"),
        ("{days: fri-mon, from: '22:00', to: '06:30'}", "mon,fri-sun 22:00-06:30 UTC"),
        ("{from: '22:00', to: '00:00'}", "mon-sun 22:00-24:00 UTC"),
        ("[{days: mon}, {days: tue, to: '24:00'}]", "mon 00:00-24:00 UTC; tue 00:00-24:00 UTC"),
    ] {
        assert_eq!(load(text).map(|hours| hours.to_string()), Ok(shown.to_owned()), "{text}");
        let again = load(&load(text).unwrap().in_full()).unwrap();
        assert_eq!(load(text), Ok(again), "{text}");
    }
    for wrong in [
        "{}",
        "[]",
        "{zone: UTC}",
        "{days: []}",
        "{days: monday}",
        "{days: mon-}",
        "{days: ''}",
        "{days: 'mon,,tue'}",
        "{from: '9:00', to: '17:00'}",
        "{from: '09:60', to: '17:00'}",
        "{from: '24:00', to: '17:00'}",
        "{from: '09:00', to: '24:01'}",
        "{from: '+9:00'}",
        "{from: '09:00', to: '09:00'}",
        "{from: '00:00', to: '00:00'}",
        "{from: 900}",
        "{days: mon, zone: Mars/Olympus}",
        "{days: mon, until: '17:00'}",
        "just text",
    ] {
        assert!(load(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_end_is_exclusive_and_nights_belong_to_the_day_they_begin_on() {
    let office = load("{days: mon-fri, from: '09:00', to: '17:00', zone: America/New_York}").unwrap();
    // 2026-11-02 is a Monday, and New York is at -5.
    for (time, open) in [
        ("2026-11-02T13:59:59.999999Z", false),
        ("2026-11-02T14:00:00Z", true),
        ("2026-11-02T21:59:59.999999Z", true),
        ("2026-11-02T22:00:00Z", false),
        ("2026-11-01T15:00:00Z", false),
    ] {
        assert_eq!(office.open(at(time)), open, "{time}");
    }
    assert_eq!(office.opens_after(at("2026-11-06T22:00:00Z")), Some(at("2026-11-09T14:00:00Z")));
    let night = load("{days: fri, from: '22:00', to: '06:00', zone: UTC}").unwrap();
    for (time, open) in [
        ("2026-11-06T05:00:00Z", false),
        ("2026-11-06T22:00:00Z", true),
        ("2026-11-07T05:59:59Z", true),
        ("2026-11-07T06:00:00Z", false),
        ("2026-11-07T23:00:00Z", false),
    ] {
        assert_eq!(night.open(at(time)), open, "{time}");
    }
}

#[test]
fn clocks_that_are_put_forward_and_back() {
    // 2026-03-29: Paris skips 02:00 to 03:00. 2026-10-25: it shows 02:00 to 03:00 twice.
    let early = load("{from: '02:30', to: '04:00', zone: Europe/Paris}").unwrap();
    assert_eq!(early.opens_after(at("2026-03-28T12:00:00Z")), Some(at("2026-03-29T01:00:00Z")));
    assert!(early.open(at("2026-03-29T01:00:00Z")) && !early.open(at("2026-03-29T00:59:59Z")));
    let skipped = load("{days: sun, from: '02:00', to: '03:00', zone: Europe/Paris}").unwrap();
    assert_eq!(skipped.opens_after(at("2026-03-23T00:00:00Z")), Some(at("2026-04-05T00:00:00Z")));
    let twice = load("{from: '02:15', to: '02:45', zone: Europe/Paris}").unwrap();
    assert_eq!(twice.opens_after(at("2026-10-25T00:00:00Z")), Some(at("2026-10-25T00:15:00Z")));
    assert_eq!(twice.opens_after(at("2026-10-25T00:45:00Z")), Some(at("2026-10-25T01:15:00Z")));
    assert!(!twice.open(at("2026-10-25T01:00:00Z")));
}

/// What the clock on the wall says, told from the words of the rule and nothing else.
fn oracle(days: &[Weekday], from: u16, to: u16, zone: &TimeZone, at: Timestamp) -> bool {
    let wall = zone.to_datetime(at.to_jiff());
    let minute = u16::try_from(i32::from(wall.hour()) * 60 + i32::from(wall.minute())).unwrap();
    let on = |day: Weekday| days.contains(&day);
    if from < to {
        on(wall.weekday()) && from <= minute && minute < to
    } else {
        on(wall.weekday()) && minute >= from || on(wall.weekday().previous()) && minute < to
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn minute_by_minute(
        mask in 1..128u8,
        from in 0..DAY,
        length in 1..DAY,
        zone in prop::sample::select(vec![
            "UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu",
            "Pacific/Apia", "Africa/Casablanca", "Asia/Beirut", "America/Havana",
        ]),
        // Around changes of clocks: Paris and Casablanca, Havana and Beirut (at midnight), Lord Howe (half an hour),
        // Sao Paulo 2018 (skips midnight), Apia 2011 (skips a day).
        begin in prop::sample::select(vec![
            "2026-03-26T00:00:00Z", "2026-10-22T00:00:00Z", "2026-03-06T00:00:00Z", "2026-10-30T00:00:00Z",
            "2026-04-03T00:00:00Z", "2026-10-02T00:00:00Z", "2018-11-02T00:00:00Z", "2011-12-28T00:00:00Z",
            "2026-02-13T00:00:00Z", "2026-06-01T00:00:00Z",
        ]),
    ) {
        let to = if from + length == DAY { DAY } else { (from + length) % DAY };
        let all = [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday,
            Weekday::Saturday, Weekday::Sunday];
        let days: Vec<_> = all.into_iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1).map(|(_, day)| day).collect();
        let named: Vec<_> = NAMES.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1).map(|(_, name)| *name).collect();
        let text = format!("{{days: [{}], from: '{}', to: '{}', zone: {zone}}}", named.join(", "), clock(from), clock(to));
        let hours = load(&text).unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let minute = |n: i64| Timestamp::from_micros(at(begin).as_micros() + n * 60_000_000);
        let open: Vec<bool> = (0..9 * 24 * 60).map(|n| oracle(&days, from, to, &zone, minute(n))).collect();
        for (n, is_open) in (0..).zip(&open) {
            prop_assert_eq!(hours.open(minute(n)), *is_open, "{} at {}", text, minute(n));
        }
        // The next opening is the first open minute, asked from where it is closed.
        for n in (0..open.len()).step_by(211).filter(|n| !open[*n]) {
            let next = open.iter().skip(n).position(|open| *open).map(|more| minute((n + more) as i64));
            let found = hours.opens_after(minute(n as i64));
            match next {
                Some(next) => prop_assert_eq!(found, Some(next), "{} after {}", text, minute(n as i64)),
                // Beyond what was listed, but not before its end.
                None => prop_assert!(found.is_none_or(|found| found >= minute(open.len() as i64)), "{}", text),
            }
        }
    }
}
