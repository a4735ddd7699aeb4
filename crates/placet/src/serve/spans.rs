//! Spans of time as flags say them: `400d`, `12h`, `30m`, `10s`, or a word for the end of the scale.
//!
//! Invariant: what is no span is refused in a sentence that says what one looks like; none is rounded or cut.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The longest time in which a refresh token that is sent again is taken for a lost answer. A connection that is mended
/// later was given up by its client long before.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// For how long something is kept; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept(pub(super) Option<Duration>);

impl Kept {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self(None));
        }
        span(text).map(|kept| Self(Some(kept))).ok_or_else(|| {
            format!("`{text}` is no time to keep something: write `400d`, `12h`, `30m`, `10s` or `forever`")
        })
    }
}

/// After how long something that nobody uses ends; `None` is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Idle(pub(super) Option<Duration>);

impl Idle {
    /// A day at least, as uses are noted by the day.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        span(text).filter(|idle| *idle >= DAY).map(|idle| Self(Some(idle))).ok_or_else(|| {
            format!(
                "`{text}` is no time after which an unused client ends: write `90d`, at least `1d`, or `never`"
            )
        })
    }
}

/// For how long after its use a refresh token that is sent again is answered once more; not at all is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retry(pub(super) Duration);

impl Retry {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        span(text).filter(|retry| *retry <= LONGEST_RETRY).map(Self).ok_or_else(|| {
            format!(
                "`{text}` is no time to send a refresh token again in: write `10s`, at most `60s`, or `0`"
            )
        })
    }
}

/// A number and a unit; more than nothing.
fn span(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds: u64 = match unit {
        'd' => DAY.as_secs(),
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return None,
    };
    let number = text.strip_suffix(unit)?.parse::<u32>().ok()?;
    (number > 0).then(|| Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: [&str; 10] = ["", "d", "0d", "-1d", "1", "1w", "1.5d", "ever", "99999999999d", "1é"];

    #[test]
    fn how_long_something_is_kept_is_read() {
        assert_eq!(Kept::parse("forever"), Ok(Kept(None)));
        assert_eq!(Kept::parse("2d"), Ok(Kept(Some(Duration::from_secs(172_800)))));
        for wrong in WRONG {
            assert!(Kept::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn after_how_long_the_unused_ends_is_read() {
        assert_eq!(Idle::parse("never"), Ok(Idle(None)));
        assert_eq!(Idle::parse("90d"), Ok(Idle(Some(DAY * 90))));
        assert_eq!(Idle::parse("36h"), Ok(Idle(Some(DAY * 3 / 2))));
        for wrong in WRONG.into_iter().chain(["forever", "23h", "10s"]) {
            assert!(Idle::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn how_long_a_refresh_token_may_be_sent_again_is_read() {
        assert_eq!(Retry::parse("0"), Ok(Retry(Duration::ZERO)));
        assert_eq!(Retry::parse("10s"), Ok(Retry(Duration::from_secs(10))));
        assert_eq!(Retry::parse("1m"), Ok(Retry(LONGEST_RETRY)));
        for wrong in WRONG.into_iter().chain(["0s", "61s", "2m", "never"]) {
            assert!(Retry::parse(wrong).is_err(), "{wrong}");
        }
    }
}
