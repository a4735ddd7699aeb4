//! The arithmetic behind limits: which counter an action is charged to, by how much, and until when.
//!
//! A counter belongs to (policy, rule, limit, by-value, window): it keeps its count when the policy's next version
//! only changes the maximum. Amounts are whole numbers: 1 for a `count`, a `rate` and `concurrent`, millionths for a
//! `sum`.
//!
//! Invariant: nothing here holds or changes a counter that counts. The store does, inside the commit point, and it alone
//! knows what is used; a [`Book`] is for asking what would have been.

mod book;
mod charge;
mod rate;
mod read;
mod window;

pub use book::Book;
pub use charge::{Charge, Meter, Standing};
pub use rate::{Emptied, MOST, Rate};

use crate::{
    cel::{Expression, Lists, Path},
    time::Timestamp,
};
use jiff::{Span, Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// The span that a limit counts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// A calendar minute.
    Minute,
    /// A calendar hour.
    Hour,
    /// A calendar day in the limit's zone.
    Day,
    /// From Monday, in the limit's zone.
    Week,
    /// A calendar month in the limit's zone.
    Month,
    /// No window: the counter never starts anew.
    Total,
}

impl Per {
    /// The words of the policy language, for errors and suggestions.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("minute", Self::Minute),
        ("hour", Self::Hour),
        ("day", Self::Day),
        ("week", Self::Week),
        ("month", Self::Month),
        ("total", Self::Total),
    ];

    /// From its word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, per)| *per)
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, per)| *per == self).map_or("total", |(word, _)| word)
    }

    /// The window that `now` lies in: `[start, end)`.
    pub fn window(self, now: Timestamp, zone: &TimeZone) -> Window {
        self.fixed(now, zone).unwrap_or_else(|| self.by_calendar(now, zone))
    }

    fn by_calendar(self, now: Timestamp, zone: &TimeZone) -> Window {
        let at = now.to_jiff().to_zoned(zone.clone());
        let bounds = match self {
            Self::Minute | Self::Hour | Self::Total => None,
            Self::Day => day(&at, 0, Span::new().days(1)),
            Self::Week => {
                let since_monday = i64::from(at.weekday().to_monday_zero_offset());
                day(&at, since_monday, Span::new().weeks(1))
            }
            Self::Month => at.first_of_month().ok().and_then(|first| day(&first, 0, Span::new().months(1))),
        };
        match bounds {
            Some((start, end)) => Window {
                start: Timestamp::from_jiff(start.timestamp()),
                end: Timestamp::from_jiff(end.timestamp()),
            },
            None => Window::always(),
        }
    }
}

/// Midnight `back` days before `at`, and that plus `span`, both in `at`'s zone with its daylight-saving rules.
fn day(at: &Zoned, back: i64, span: Span) -> Option<(Zoned, Zoned)> {
    let start = at.checked_sub(Span::new().try_days(back).ok()?).ok()?.start_of_day().ok()?;
    let end =
        start.date().checked_add(span).ok()?.to_zoned(start.time_zone().clone()).ok()?.start_of_day().ok()?;
    Some((start, end))
}

/// A stretch of time, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub start: Timestamp,
    /// The first moment after it: when the counter starts anew.
    pub end: Timestamp,
}

/// Whose counter an action is charged to.
#[derive(Debug, Clone, Default)]
pub enum By {
    /// The agent that the link belongs to: ten children share their parent's five a day.
    #[default]
    Agent,
    /// The grant's user; an action without one is denied as unknown.
    User,
    /// The task. Where the agent made it itself, also (agent, user).
    Task,
    /// The grant. Where its task was made by the agent itself, also (agent, user).
    Grant,
    /// The resource, as addressed.
    Resource,
    /// What an expression says about the action: a counter for each value, whoever acts.
    Key(Expression),
}

impl By {
    /// The words of the policy language, in the order of the variants; anything else is an expression.
    pub const WORDS: [&'static str; 5] = ["agent", "user", "task", "grant", "resource"];

    /// From its word, or from an expression, which is anything but one bare word.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_with(text, &Lists::none())
    }

    /// As [`By::parse`], with the lists that the expression may name.
    fn parse_with(text: &str, lists: &Lists) -> Result<Self, String> {
        Ok(match text {
            "agent" => Self::Agent,
            "user" => Self::User,
            "task" => Self::Task,
            "grant" => Self::Grant,
            "resource" => Self::Resource,
            _ if text.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-')) => {
                return Err(format!(
                    "`{text}` is unknown; use agent, user, task, grant or resource, or an expression such as \
                     `params.recipient`"
                ));
            }
            _ => Self::Key(Expression::parse_with(text, lists).map_err(|error| error.message)?),
        })
    }

    /// Its word, or the expression's text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Task => "task",
            Self::Grant => "grant",
            Self::Resource => "resource",
            Self::Key(expression) => expression.source(),
        }
    }

    /// Whether it is the grant that says whose counter it is, so that nothing in a request gives another one.
    pub(crate) fn is_of_the_grant(&self) -> bool {
        matches!(self, Self::Agent | Self::User | Self::Task | Self::Grant)
    }
}

/// What a limit measures, with its maximum.
#[derive(Debug, Clone)]
pub enum Measure {
    /// How often, at most `max` times.
    Count {
        /// Times per window.
        max: i64,
    },
    /// The sum of a number over the actions.
    Sum {
        /// What is summed.
        of: Expression,
        /// The most per window, in millionths.
        max: i64,
    },
    /// How often: at most `burst` at once, and then as many as the rate says. It counts what was admitted, whatever
    /// became of it, and nothing is given back.
    Rate {
        /// How fast.
        rate: Rate,
        /// How many at once; the rate's `times` where it is not stated.
        burst: i64,
    },
    /// How many at the same time, at most `max`. An action counts until it is concluded, and at the latest until its
    /// time limit.
    Concurrent {
        /// Under way at the same time.
        max: i64,
    },
}

/// A limit of a rule or of a grant.
#[derive(Clone)]
pub struct Limit {
    /// What it measures.
    pub measure: Measure,
    /// Over which span.
    pub per: Per,
    /// Where days, weeks and months begin.
    pub zone: TimeZone,
    /// Whose counter.
    pub by: By,
}

/// Why a limit can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LimitError {
    /// The member that is wrong.
    pub member: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl Limit {
    /// What tells this limit from the others of its rule; the maximum is left out, so that changing it keeps the
    /// counters.
    pub fn identity(&self) -> String {
        let by = self.by.as_str();
        let what = match &self.measure {
            Measure::Count { .. } => "count".to_owned(),
            Measure::Sum { of, .. } => format!("sum {}", of.source()),
            Measure::Rate { rate, .. } => return format!("rate per {} by {by}", rate.span().as_str()),
            Measure::Concurrent { .. } => return format!("concurrent by {by}"),
        };
        format!("{what} per {} {} by {by}", self.per.as_str(), self.zone.iana_name().unwrap_or("UTC"))
    }

    /// The maximum, in the counter's units; of a rate the burst.
    pub fn max(&self) -> i64 {
        match self.measure {
            Measure::Count { max } | Measure::Sum { max, .. } | Measure::Concurrent { max } => max,
            Measure::Rate { burst, .. } => burst,
        }
    }

    /// How its counter works.
    pub fn meter(&self) -> Meter {
        match self.measure {
            Measure::Count { .. } | Measure::Sum { .. } => Meter::Window,
            Measure::Rate { rate, .. } => Meter::Rate(rate),
            Measure::Concurrent { .. } => Meter::Concurrent,
        }
    }

    /// A number of the counter's units as people read it.
    pub fn shown(&self, units: i64) -> Value {
        match self.measure {
            Measure::Count { .. } | Measure::Rate { .. } | Measure::Concurrent { .. } => units.into(),
            Measure::Sum { .. } => number(units),
        }
    }
}

impl Limit {
    /// What its sum and its key read.
    pub fn reads(&self) -> impl Iterator<Item = &Path> {
        self.expressions().flat_map(Expression::conjuncts).flat_map(crate::cel::Conjunct::reads)
    }

    /// Its sum and its key, where it has them.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let sum = match &self.measure {
            Measure::Sum { of, .. } => Some(of),
            Measure::Count { .. } | Measure::Rate { .. } | Measure::Concurrent { .. } => None,
        };
        let key = match &self.by {
            By::Key(key) => Some(key),
            By::Agent | By::User | By::Task | By::Grant | By::Resource => None,
        };
        sum.into_iter().chain(key)
    }

    /// Millionths as an exact JSON number of units.
    pub fn number(millionths: i64) -> Value {
        number(millionths)
    }
}

fn number(millionths: i64) -> Value {
    let (sign, rest) = (if millionths < 0 { "-" } else { "" }, millionths.unsigned_abs());
    let text = format!("{sign}{}.{:06}", rest / 1_000_000, rest % 1_000_000);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    // The text is a number of JSON's grammar.
    text.parse::<serde_json::Number>().map_or(Value::Null, Value::Number)
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} max {self}", self.identity())
    }
}

impl PartialEq for Limit {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity() && self.max() == other.max() && self.meter() == other.meter()
    }
}

impl fmt::Display for Limit {
    /// The limit as its author would write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.measure {
            Measure::Count { max } => write!(f, "count: {max}")?,
            Measure::Sum { of, max } => write!(f, "sum: {}, max: {}", of.source(), number(*max))?,
            Measure::Rate { rate, burst } => return write!(f, "rate: {rate}, burst: {burst}"),
            Measure::Concurrent { max } => return write!(f, "concurrent: {max}"),
        }
        write!(f, ", per: {}", self.per.as_str())
    }
}

impl Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serde_json::Map::new();
        match &self.measure {
            Measure::Count { max } => _ = map.insert("count".into(), (*max).into()),
            Measure::Sum { of, max } => {
                map.insert("sum".into(), of.source().into());
                map.insert("max".into(), number(*max));
            }
            Measure::Rate { rate, burst } => {
                map.insert("rate".into(), rate.to_string().into());
                if *burst != rate.times() {
                    map.insert("burst".into(), (*burst).into());
                }
            }
            Measure::Concurrent { max } => _ = map.insert("concurrent".into(), (*max).into()),
        }
        if self.meter() == Meter::Window {
            map.insert("per".into(), self.per.as_str().into());
            if let Some(zone) = self.zone.iana_name().filter(|name| *name != "UTC") {
                map.insert("zone".into(), zone.into());
            }
        }
        if !matches!(self.by, By::Agent) {
            map.insert("by".into(), self.by.as_str().into());
        }
        map.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
