//! The small phrases of the compact form: times, zones, roles, percentages.
//!
//! Invariant: a phrase is understood whole or not at all, and whoever reads it is told what would be.

use crate::decimal::Decimal;

/// Abbreviations of time zones and the IANA zones that people mean by them. Those that mean several are left out.
const ZONES: &[(&[&str], &str)] = &[
    (&["EST", "EDT", "ET"], "America/New_York"),
    (&["CST", "CDT", "CT"], "America/Chicago"),
    (&["MST", "MDT", "MT"], "America/Denver"),
    (&["PST", "PDT", "PT"], "America/Los_Angeles"),
    (&["AKST", "AKDT"], "America/Anchorage"),
    (&["HST"], "Pacific/Honolulu"),
    (&["UTC", "GMT", "Z"], "UTC"),
    (&["BST"], "Europe/London"),
    (&["WET", "WEST"], "Europe/Lisbon"),
    (&["CET", "CEST", "MEZ", "MESZ"], "Europe/Berlin"),
    (&["EET", "EEST"], "Europe/Athens"),
    (&["MSK"], "Europe/Moscow"),
    (&["JST"], "Asia/Tokyo"),
    (&["KST"], "Asia/Seoul"),
    (&["HKT"], "Asia/Hong_Kong"),
    (&["SGT"], "Asia/Singapore"),
    (&["AEST", "AEDT"], "Australia/Sydney"),
    (&["AWST"], "Australia/Perth"),
    (&["NZST", "NZDT"], "Pacific/Auckland"),
];

/// When: for `hours` of the full form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Time {
    /// `mon-fri`; every day where it isn't said.
    pub(super) days: Option<String>,
    /// `HH:MM`.
    pub(super) from: String,
    /// `HH:MM`, `24:00` at most.
    pub(super) to: String,
    /// An IANA zone.
    pub(super) zone: Option<String>,
}

/// What `ifTime` may say.
pub(super) const TIME: &str = "write `between 9am-5pm EST`, with `on mon-fri` behind it where that is meant; a zone is an IANA name or an abbreviation such as `EST`";

/// Reads `between 9am-5pm EST on mon-fri`.
pub(super) fn time(text: &str) -> Option<Time> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let ["between", words @ ..] = words.as_slice() else { return None };
    let (span, days) = match words.iter().position(|word| *word == "on") {
        Some(at) => (words.get(..at)?, Some(words.get(at + 1..)?)),
        None => (words, None),
    };
    let days = match days {
        None => None,
        Some(["weekdays"]) => Some("mon-fri".to_owned()),
        Some(["weekends"]) => Some("sat,sun".to_owned()),
        Some(days) if !days.is_empty() => Some(days.concat().to_ascii_lowercase()),
        Some(_) => return None,
    };
    // `9am-5pm`, `9am - 5pm`, `9am and 5pm`, `9 am to 5 pm`: what is not a zone at the end are the two times.
    let (times, zone) = match span.split_last() {
        Some((last, times))
            if !times.is_empty()
                && last.starts_with(|c: char| c.is_ascii_uppercase())
                && meridiem(last).is_none() =>
        {
            (times, Some(zone(last)?))
        }
        _ => (span, None),
    };
    let joined = times.join(" ");
    let (from, to) = joined
        .split_once('-')
        .or_else(|| joined.split_once(" and "))
        .or_else(|| joined.split_once(" to "))?;
    let (from, to) = (clock(from.trim())?, clock(to.trim())?);
    let to = if to == "00:00" { "24:00".to_owned() } else { to };
    Some(Time { days, from, to, zone })
}

/// The IANA zone of an abbreviation, or a name that looks like one itself.
fn zone(word: &str) -> Option<String> {
    let known = ZONES.iter().find(|(words, _)| words.contains(&word)).map(|(_, zone)| (*zone).to_owned());
    known.or_else(|| word.contains('/').then(|| word.to_owned()))
}

fn meridiem(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "am" => Some(false),
        "pm" => Some(true),
        _ => None,
    }
}

/// `HH:MM` of `9am`, `9:30 pm`, `17:00`, `noon`, `midnight`.
fn clock(text: &str) -> Option<String> {
    match text {
        "noon" => return Some("12:00".to_owned()),
        "midnight" => return Some("00:00".to_owned()),
        _ => {}
    }
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, half) = text.split_at_checked(at)?;
    let afternoon = if half.is_empty() { None } else { Some(meridiem(half)?) };
    let digits = digits.trim();
    let (hour, minute) = digits.split_once(':').unwrap_or((digits, "00"));
    // `9` alone may be morning or evening.
    if afternoon.is_none() && !digits.contains(':') {
        return None;
    }
    let number = |text: &str, longest: usize| {
        let fits =
            !text.is_empty() && text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| text.parse::<u32>().ok())?
    };
    let (hour, minute) = (number(hour, 2)?, number(minute, 2).filter(|minute| *minute < 60)?);
    let hour = match afternoon {
        None => Some(hour).filter(|hour| *hour < 24 || (*hour == 24 && minute == 0))?,
        Some(afternoon) => {
            Some(hour).filter(|hour| (1..=12).contains(hour))? % 12 + if afternoon { 12 } else { 0 }
        }
    };
    Some(format!("{hour:02}:{minute:02}"))
}

/// The role of `has role "r"`.
pub(super) fn role(text: &str) -> Option<&str> {
    let role = unquoted(text.trim().strip_prefix("has role")?.strip_prefix(' ')?.trim());
    crate::agent::is_handle(role).then_some(role)
}

/// The rate of `100/hour` or `100/hour not exceeded`.
pub(super) fn rate(text: &str) -> &str {
    text.trim().strip_suffix("not exceeded").unwrap_or(text).trim()
}

/// The comparison and the number of `below 7.0`.
pub(super) fn risk(text: &str) -> Option<(&'static str, &str)> {
    const SIGNS: &[(&str, &str)] = &[
        ("below ", "<"),
        ("under ", "<"),
        ("at most ", "<="),
        ("above ", ">"),
        ("over ", ">"),
        ("at least ", ">="),
        ("<=", "<="),
        (">=", ">="),
        ("<", "<"),
        (">", ">"),
    ];
    let text = text.trim();
    let (sign, number) =
        SIGNS.iter().find_map(|(word, sign)| Some((*sign, text.strip_prefix(word)?.trim())))?;
    is_number(number).then_some((sign, number))
}

/// Whether a classification has to differ or to be, and which: `not "sensitive"`, `"public"`.
pub(super) fn classification(text: &str) -> Option<(bool, &str)> {
    let text = text.trim();
    let (differs, rest) = match text.strip_prefix("not ") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("is ").unwrap_or(text)),
    };
    let word = unquoted(rest.trim());
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    (!word.is_empty() && word.chars().all(plain)).then_some((differs, word))
}

/// The span of `last_7_days`, `last 24 hours`, as CEL writes it.
pub(super) fn window(text: &str) -> Option<String> {
    let text = text.trim().replace('_', " ");
    let mut words = text.split_whitespace();
    let (Some("last"), Some(count), Some(unit), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return None;
    };
    let hours = match unit {
        "hour" | "hours" => 1,
        "day" | "days" => 24,
        "week" | "weeks" => 7 * 24,
        _ => return None,
    };
    let count: u64 = Some(count).filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    let hours = count.checked_mul(hours).filter(|hours| (1..=876_600).contains(hours))?;
    Some(format!("{hours}h"))
}

/// The `keep` of `90days`, `90 days`, `12 weeks`, `1 year`, `90d`: hours or days.
pub(super) fn retention(text: &str) -> Option<String> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at_checked(at)?;
    let count: u64 = count.parse().ok()?;
    let (times, unit) = match unit.trim_start_matches([' ', '_']) {
        "h" | "hour" | "hours" => (1, 'h'),
        "d" | "day" | "days" => (1, 'd'),
        "w" | "week" | "weeks" => (7, 'd'),
        "y" | "year" | "years" => (365, 'd'),
        _ => return None,
    };
    Some(format!("{}{unit}", count.checked_mul(times)?))
}

/// The number of `15%`.
pub(super) fn percent(text: &str) -> Option<&str> {
    let number = text.trim().strip_suffix('%')?.trim_end();
    is_number(number).then_some(number)
}

/// A hundredth of a number.
pub(super) fn hundredth(number: &str) -> Option<String> {
    let number = Decimal::parse(number).ok()?;
    number.checked_div(Decimal::from_i64(100)).map(|fraction| fraction.to_string())
}

/// Whether the text is a number that a condition can have.
pub(super) fn is_number(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    text.len() <= 16 && digits(whole) && digits(fraction)
}

fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        let Time { days, from, to, zone } = time(text)?;
        Some(format!("{} {from}-{to} {}", days.unwrap_or_default(), zone.unwrap_or_default()))
    }

    #[test]
    fn times_as_people_say_them() {
        for (text, expected) in [
            ("between 9am-5pm EST", " 09:00-17:00 America/New_York"),
            ("between 9 am and 5:30 pm PST", " 09:00-17:30 America/Los_Angeles"),
            ("between 09:00 - 17:00 Europe/Paris on weekdays", "mon-fri 09:00-17:00 Europe/Paris"),
            ("between noon-midnight UTC on sat, sun", "sat,sun 12:00-24:00 UTC"),
            ("between 12am-12pm GMT", " 00:00-12:00 UTC"),
            ("between 10pm to 6am CET on Mon-Fri", "mon-fri 22:00-06:00 Europe/Berlin"),
            ("between 9AM-5PM", " 09:00-17:00 "),
            ("between 9:00 AM - 5:00 PM", " 09:00-17:00 "),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in [
            "9am-5pm EST",
            "between",
            "between 9-5 EST",
            "between 9am EST",
            "between 13pm-2pm EST",
            "between 0am-1am",
            "between 9am-5pm IST",
            "between 9am-5pm XYZ",
            "between 9am-5pm EST on",
            "between 9:60am-10am UTC",
            "between 25:00-26:00",
        ] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_zone_is_one() {
        for (words, zone) in ZONES {
            assert!(jiff::tz::TimeZone::get(zone).is_ok(), "{zone}");
            let twice = ZONES.iter().filter(|(others, _)| others.iter().any(|word| words.contains(word)));
            assert_eq!(twice.count(), 1, "{words:?}");
        }
    }

    #[test]
    fn other_phrases() {
        assert_eq!((role("has role \"lead\""), role("has role lead")), (Some("lead"), Some("lead")));
        assert_eq!((role("role lead"), role("has role"), role("has role \"a b\"")), (None, None, None));
        assert_eq!((rate("100/hour"), rate(" 5/day not exceeded ")), ("100/hour", "5/day"));
        assert_eq!(risk("below 7.0"), Some(("<", "7.0")));
        assert_eq!(risk("at most 7"), Some(("<=", "7")));
        assert_eq!((risk("7"), risk("below high"), risk("below 7.")), (None, None, None));
        assert_eq!(classification("not \"sensitive\""), Some((true, "sensitive")));
        assert_eq!(classification("public"), Some((false, "public")));
        assert_eq!((classification(""), classification("not \"a\" \\")), (None, None));
        assert_eq!(window("last_7_days").as_deref(), Some("168h"));
        assert_eq!(window("last 1 hour").as_deref(), Some("1h"));
        assert_eq!((window("last_days"), window("last_0_days"), window("7 days")), (None, None, None));
        assert_eq!(retention("90days").as_deref(), Some("90d"));
        assert_eq!(retention("1 year").as_deref(), Some("365d"));
        assert_eq!((retention("days"), retention("6 months"), retention("")), (None, None, None));
        assert_eq!(
            (percent("15%"), percent(" 7.5 % "), percent("15"), percent("%")),
            (Some("15"), Some("7.5"), None, None)
        );
        assert_eq!(hundredth("15").as_deref(), Some("0.15"));
        assert_eq!(hundredth("7.5").as_deref(), Some("0.075"));
    }
}
