//! Lengths of time as policies write them: `30m`, `90d`.

/// Seconds of a day.
const DAY: u64 = 24 * 3600;
/// The longest that `within` can be, in seconds.
const LONGEST: u64 = 7 * DAY;

/// The longest that `keep` can be, in seconds: a hundred years.
const LONGEST_KEEP: u64 = 36_525 * DAY;

/// Seconds of `30s`, `30m`, `2h` or `7d`; from one second to seven days.
pub(super) fn seconds(text: &str) -> Result<u64, &'static str> {
    const FORM: &str = "a time is a whole number with `s`, `m`, `h` or `d`, such as `30m`";
    let total = read(text).ok_or(FORM)?;
    Some(total).filter(|total| (1..=LONGEST).contains(total)).ok_or("a time is from `1s` to `7d`")
}

/// Seconds of `12h` or `90d`; from one hour to a hundred years.
pub(super) fn keep(text: &str) -> Result<u64, &'static str> {
    const FORM: &str = "`keep` is a whole number with `h` or `d`, such as `90d`";
    let total = read(text).filter(|_| text.ends_with(['h', 'd'])).ok_or(FORM)?;
    Some(total).filter(|total| (3600..=LONGEST_KEEP).contains(total)).ok_or("`keep` is from `1h` to `36525d`")
}

/// The whole number times its unit, however large: what overflows is the largest.
fn read(text: &str) -> Option<u64> {
    let (at, unit) = text.char_indices().last()?;
    let unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => DAY,
        _ => return None,
    };
    let digits = text.get(..at).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write_and_nothing_else() {
        assert_eq!(seconds("1s"), Ok(1));
        assert_eq!(seconds("30m"), Ok(1800));
        assert_eq!(seconds("168h"), Ok(LONGEST));
        assert_eq!(seconds("7d"), Ok(LONGEST));
        for wrong in
            ["", "m", "30", "-1m", "+1m", "1.5h", " 1m", "1 m", "1M", "30min", "٣m", "0s", "8d", "604801s"]
        {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!((keep("90d"), keep("1h"), keep("36525d")), (Ok(90 * DAY), Ok(3600), Ok(LONGEST_KEEP)));
        for wrong in ["90", "60m", "59m", "0d", "36526d", "1y", "-1d", "99999999999999999999d"] {
            assert!(keep(wrong).is_err(), "{wrong}");
        }
        assert!(seconds("99999999999999999999d").is_err());
        assert!(seconds("18446744073709551615d").is_err());
    }
}
