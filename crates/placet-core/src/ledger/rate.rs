//! Rates: the generic cell rate algorithm (GCRA), a bucket that holds `burst` and drains evenly.
//!
//! The bucket is kept as the one point in time at which it would be empty (the theoretical arrival time). Where the
//! time between two drops is no whole number of microseconds, what is left over is kept beside it, so that nothing is
//! ever rounded away: seven a second are seven a second after a year too.
//!
//! Invariant: exact integers, no state, no clock. In any span of time at most `burst` + span × rate are let through.

use crate::time::Timestamp;
use std::fmt;

/// The most times of a rate, and the largest burst.
pub const MOST: i64 = 1_000_000_000;

/// How far in the future, beyond a full bucket, a stored state may lie before it is taken for what a clock left
/// behind that has been set back since. Nodes whose clocks differ by less than this never let more through.
const SKEW: i128 = 600_000_000;

/// So many times in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    times: i64,
    span: Span,
}

/// A span that a rate is stated over; a day has 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Span {
    /// 1 s.
    Second,
    /// 60 s.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
}

impl Span {
    /// The words of the policy language.
    const WORDS: &'static [(&'static str, Self)] =
        &[("second", Self::Second), ("minute", Self::Minute), ("hour", Self::Hour), ("day", Self::Day)];

    /// Its word.
    pub(super) fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, span)| *span == self).map_or("day", |(word, _)| word)
    }

    const fn micros(self) -> i64 {
        match self {
            Self::Second => 1_000_000,
            Self::Minute => 60_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }
}

/// When a bucket will be empty: `micros` since the epoch and `rest` parts of a microsecond, of which the rate's
/// `times` make one. The default is a bucket that has been empty for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Emptied {
    /// Whole microseconds since the epoch.
    pub micros: i64,
    /// 0 or more, below `times`.
    pub rest: i64,
}

impl Rate {
    /// So many times in a span; `None` where `times` is not from 1 to [`MOST`].
    fn new(times: i64, span: Span) -> Option<Self> {
        (1..=MOST).contains(&times).then_some(Self { times, span })
    }

    /// Reads `100/hour`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is no rate: write a whole number, a slash and second, minute, hour or day, as in `100/hour`"
            )
        };
        let (times, span) = text.split_once('/').ok_or_else(form)?;
        let (times, span) = (times.trim(), span.trim());
        let (_, span) = Span::WORDS.iter().find(|(word, _)| *word == span).ok_or_else(form)?;
        if times.is_empty() || !times.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(form());
        }
        let times = times.parse().ok().and_then(|times| Self::new(times, *span));
        times.ok_or_else(|| format!("a rate is from 1 to {MOST}; write a `deny` for what may never happen"))
    }

    /// How many times in its span.
    pub fn times(self) -> i64 {
        self.times
    }

    /// Its span.
    pub(super) fn span(self) -> Span {
        self.span
    }

    /// The slower of two.
    #[must_use]
    pub fn slower(self, other: Self) -> Self {
        let left = i128::from(self.times) * i128::from(other.span.micros());
        let right = i128::from(other.times) * i128::from(self.span.micros());
        if left <= right { self } else { other }
    }

    /// A bucket that holds so many drops at `now`.
    pub fn holding(self, drops: i64, now: Timestamp) -> Emptied {
        let units = self.units(now) + self.drop() * i128::from(drops.max(0));
        let times = i128::from(self.times);
        let micros = i64::try_from(units.div_euclid(times)).unwrap_or(i64::MAX);
        Emptied { micros, rest: i64::try_from(units.rem_euclid(times)).unwrap_or(0) }
    }

    /// How many drops the bucket holds at `now`, the one that is dripping out counted whole. One more fits where this
    /// is below the burst. A state that only a clock which was set back can have left behind leaves room for one, so
    /// that it costs one extra and not the time until then.
    pub fn used(self, emptied: Emptied, burst: i64, now: Timestamp) -> i64 {
        let level = self.level(emptied, burst, now);
        // Rounded up: below zero is zero.
        i64::try_from((level + self.drop() - 1).div_euclid(self.drop())).unwrap_or(i64::MAX)
    }

    /// The state after one more at `now`.
    #[must_use]
    pub fn charge(self, emptied: Emptied, burst: i64, now: Timestamp) -> Emptied {
        let after = self.units(now) + self.level(emptied, burst, now) + self.drop();
        let times = i128::from(self.times);
        let micros = i64::try_from(after.div_euclid(times)).unwrap_or(i64::MAX);
        Emptied { micros, rest: i64::try_from(after.rem_euclid(times)).unwrap_or(0) }
    }

    /// The first moment, from `now` on, at which one more fits.
    pub fn fits_at(self, emptied: Emptied, burst: i64, now: Timestamp) -> Timestamp {
        let full = self.drop() * (i128::from(burst) - 1);
        let wait = (self.level(emptied, burst, now) - full).max(0);
        let at = self.units(now) + wait;
        let times = i128::from(self.times);
        let micros = i64::try_from((at + times - 1).div_euclid(times)).unwrap_or(i64::MAX);
        Timestamp::from_micros(micros).min(Timestamp::MAX)
    }

    /// What is in the bucket at `now`, in parts of a microsecond.
    fn level(self, emptied: Emptied, burst: i64, now: Timestamp) -> i128 {
        let times = i128::from(self.times);
        // Another version of the limit may have left parts of another size: less than a microsecond.
        let rest = i128::from(emptied.rest).clamp(0, times - 1);
        let level = (i128::from(emptied.micros) * times + rest - self.units(now)).max(0);
        let full = self.drop() * i128::from(burst);
        if level > full + SKEW * times { full - self.drop() } else { level }
    }

    fn units(self, at: Timestamp) -> i128 {
        i128::from(at.as_micros()) * i128::from(self.times)
    }

    /// One drop, in parts of a microsecond.
    fn drop(self) -> i128 {
        i128::from(self.span.micros())
    }
}

impl fmt::Display for Rate {
    /// `100/hour`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.times, self.span.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn reads_what_people_write_and_nothing_else() {
        for (text, shown) in [("100/hour", "100/hour"), ("1 / second", "1/second"), ("007/day", "7/day")] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), shown);
        }
        for wrong in [
            "", "100", "/hour", "100/", "100/week", "-1/hour", "1.5/hour", "1/hour/", "0/hour", "+1/day",
            "٣/day",
        ] {
            assert!(Rate::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Rate::parse("1000000001/day").is_err() && Rate::parse("99999999999999999999/day").is_err());
    }

    /// How many of the attempts at these times are let through.
    fn through(rate: Rate, burst: i64, times: impl Iterator<Item = i64>) -> Vec<i64> {
        let mut state = Emptied::default();
        let let_through = times.filter(|time| {
            let fits = rate.used(state, burst, at(*time)) < burst;
            if fits {
                state = rate.charge(state, burst, at(*time));
            }
            fits
        });
        let_through.collect()
    }

    #[test]
    fn seven_a_second_are_seven_a_second_after_an_hour() {
        let rate = Rate::parse("7/second").unwrap();
        // Asked every 10,000 µs for an hour: the two at once, and then one each seventh of a second.
        let count = through(rate, 2, (0..360_000).map(|step| step * 10_000)).len();
        assert_eq!(count, 25_201);
        let exact = through(rate, 7, (0..3600).flat_map(|second| std::iter::repeat_n(second * 1_000_000, 9)));
        assert_eq!(exact.len(), 3600 * 7);
    }

    #[test]
    fn a_clock_that_was_set_back_costs_one() {
        let rate = Rate::parse("2/minute").unwrap();
        let year = 365 * 86_400_000_000;
        let mut state = Emptied::default();
        for _ in 0..2 {
            state = rate.charge(state, 2, at(year));
        }
        assert_eq!(rate.used(state, 2, at(0)), 1);
        state = rate.charge(state, 2, at(0));
        assert_eq!(rate.used(state, 2, at(0)), 2);
        assert_eq!(rate.fits_at(state, 2, at(0)), at(30_000_000));
        // A little is a difference between two nodes: it lets nothing more through.
        let later = rate.charge(rate.charge(Emptied::default(), 2, at(500_000_000)), 2, at(500_000_000));
        assert_eq!(rate.used(later, 2, at(0)), 19);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// Against a bucket of exact fractions that is drained step by step.
        #[test]
        fn as_a_bucket_that_drains(
            times in prop_oneof![1..20i64, Just(99_991), Just(MOST)],
            span in 0..4usize,
            burst in 1..6i64,
            gaps in prop::collection::vec(prop_oneof![0..3i64, 0..2_000_000i64, 0..100_000_000_000i64], 1..60),
        ) {
            let rate = Rate::new(times, Span::WORDS[span].1).unwrap();
            let drop = i128::from(rate.span().micros());
            let (mut state, mut now, mut level) = (Emptied::default(), 1_793_620_800_000_000_i64, 0_i128);
            for gap in gaps {
                now += gap;
                level = (level - i128::from(gap) * i128::from(times)).max(0);
                let fits = level + drop <= drop * i128::from(burst);
                prop_assert_eq!(rate.used(state, burst, at(now)) < burst, fits);
                let next = rate.fits_at(state, burst, at(now));
                prop_assert_eq!(next == at(now), fits);
                // The first moment is the first: a microsecond earlier is too early.
                prop_assert!(rate.used(state, burst, next) < burst);
                prop_assert!(fits || rate.used(state, burst, at(next.as_micros() - 1)) >= burst);
                if fits {
                    state = rate.charge(state, burst, at(now));
                    level += drop;
                }
            }
        }

        #[test]
        fn in_no_span_more_than_the_burst_and_the_rate(
            times in 1..50i64, burst in 1..10i64, steps in prop::collection::vec(0..400_000i64, 1..80),
        ) {
            let rate = Rate::new(times, Span::Second).unwrap();
            let when: Vec<i64> = steps.iter().scan(0, |now, step| { *now += step; Some(*now) }).collect();
            let passed = through(rate, burst, when.into_iter());
            for (from, first) in passed.iter().enumerate() {
                for (to, last) in passed.iter().enumerate().skip(from) {
                    let most = i128::from(burst) * 1_000_000 + i128::from(last - first) * i128::from(times);
                    prop_assert!(((to - from + 1) as i128) * 1_000_000 <= most);
                }
            }
        }

        #[test]
        fn no_state_and_no_clock_breaks_it(micros: i64, rest: i64, now: i64, times in 1..=MOST, burst in 1..=MOST) {
            let rate = Rate::new(times, Span::Day).unwrap();
            let state = Emptied { micros, rest };
            _ = rate.used(state, burst, at(now));
            _ = rate.fits_at(state, burst, at(now));
            _ = rate.charge(state, burst, at(now));
        }
    }
}
