//! Windows that take no calendar: minutes, hours, and days and weeks of UTC.
//!
//! Invariant: they are the windows that the calendar would give.

use super::{Per, Window};
use crate::time::Timestamp;
use jiff::tz::TimeZone;

/// In microseconds.
const DAY: i64 = 86_400_000_000;
/// 9000-01-01T00:00:00Z: far beyond it days have no end that can be held.
const LATE: i64 = 221_845_392_000_000_000;

impl Per {
    /// The window, where it takes no calendar.
    pub(super) fn fixed(self, now: Timestamp, zone: &TimeZone) -> Option<Window> {
        // Days of UTC are all of one length.
        let utc = || *zone == TimeZone::UTC && (0..LATE).contains(&now.as_micros());
        match self {
            Self::Total => Some(Window::always()),
            // Minutes and hours are cut in absolute time, so that a clock set back doesn't open a second window.
            Self::Minute => Some(Window::cut(now, 60_000_000, 0)),
            Self::Hour => Some(Window::cut(now, 3_600_000_000, 0)),
            Self::Day if utc() => Some(Window::cut(now, DAY, 0)),
            // The first day was a Thursday.
            Self::Week if utc() => Some(Window::cut(now, 7 * DAY, 3 * DAY)),
            Self::Day | Self::Week | Self::Month => None,
        }
    }
}

impl Window {
    pub(super) fn always() -> Self {
        Self { start: Timestamp::from_micros(0), end: Timestamp::MAX }
    }

    /// The stretch of `micros` that `now` lies in, one of them begun so long before the first moment.
    fn cut(now: Timestamp, micros: i64, before: i64) -> Self {
        let start = (now.as_micros() + before).div_euclid(micros) * micros - before;
        Self { start: Timestamp::from_micros(start), end: Timestamp::from_micros(start + micros) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_window_of_utc_is_that_of_the_calendar(micros in 0..LATE, near in any::<bool>(), week in any::<bool>()) {
            // Half of them close to midnight.
            let micros = if near { micros / DAY * DAY + micros % 3 - 1 } else { micros };
            let now = Timestamp::from_micros(micros.max(0));
            let per = if week { Per::Week } else { Per::Day };
            prop_assert!(per.fixed(now, &TimeZone::UTC).is_some());
            prop_assert_eq!(per.window(now, &TimeZone::UTC), per.by_calendar(now, &TimeZone::UTC));
        }
    }
}
