//! Lengths of time as policies write them: `30m`.

/// Seconds of a day.
const DAY: u64 = 24 * 3600;
/// The longest that `within` can be, in seconds.
const LONGEST: u64 = 7 * DAY;

/// Seconds of `30s`, `30m`, `2h` or `7d`; from one second to seven days.
pub(super) fn seconds(text: &str) -> Result<u64, &'static str> {
    const FORM: &str = "a time is a whole number with `s`, `m`, `h` or `d`, such as `30m`";
    const RANGE: &str = "a time is from `1s` to `7d`";
    let Some((at, unit)) = text.char_indices().last() else { return Err(FORM) };
    let unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => DAY,
        _ => return Err(FORM),
    };
    let digits = text.get(..at).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FORM);
    }
    let total = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    total.filter(|total| (1..=LONGEST).contains(total)).ok_or(RANGE)
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
        assert!(seconds("99999999999999999999d").is_err());
        assert!(seconds("18446744073709551615d").is_err());
    }
}
