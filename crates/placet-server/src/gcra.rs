//! How often something may be asked, on this node: the generic cell rate algorithm. What is kept is the time at which all
//! that was asked is paid for; it lies at most a burst ahead.
//!
//! Invariant: a clock that goes back holds nobody up for longer than a burst takes.

use placet_core::time::Timestamp;
use std::time::Duration;

/// Counts one more at `now`, where one may come `each` so long and `burst` at once.
///
/// # Errors
/// How long until the next fits.
pub(crate) fn take(paid: &mut Timestamp, now: Timestamp, each: Duration, burst: u32) -> Result<(), Duration> {
    let most = each.saturating_mul(burst);
    // Further ahead than it is ever set: that was another time of day.
    let from = if now.until(*paid) > most { now } else { (*paid).max(now) };
    let due = from.plus(each);
    let ahead = now.until(due);
    if ahead > most {
        return Err(ahead.saturating_sub(most));
    }
    *paid = due;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let mut now = Timestamp::from_seconds(1000);
        let mut paid = now;
        assert_eq!((0..50).filter(|_| take(&mut paid, now, EACH, 5).is_ok()).count(), 5);
        assert_eq!(take(&mut paid, now, EACH, 5), Err(EACH));
        for _ in 0..3 {
            now = now.plus(EACH);
            assert!(take(&mut paid, now, EACH, 5).is_ok() && take(&mut paid, now, EACH, 5).is_err());
        }
    }

    #[test]
    fn a_clock_that_goes_back_holds_nobody_up() {
        let mut paid = Timestamp::from_seconds(10_000);
        let now = Timestamp::from_seconds(1000);
        assert_eq!((0..50).filter(|_| take(&mut paid, now, EACH, 5).is_ok()).count(), 5);
        // By less than a burst: no longer than that.
        let before = now.minus(EACH * 3);
        let wait = take(&mut paid, before, EACH, 5).err();
        assert!(wait.is_none_or(|wait| wait <= EACH * 5), "{wait:?}");
    }
}
