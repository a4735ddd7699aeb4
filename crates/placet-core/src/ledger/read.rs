//! Limits from their JSON form, the same in policies, grants and requests.
//!
//! Invariant: a member that is not understood, or that has no meaning beside the others, is an error.

use super::{By, Limit, LimitError, MOST, Measure, Per, Rate};
use crate::{
    cel::{Expression, Lists},
    decimal::Decimal,
};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// Every member of a limit.
const KNOWN: &[&str] = &["count", "sum", "max", "per", "zone", "by", "rate", "burst", "concurrent"];

impl LimitError {
    fn new(member: &'static str, message: impl Into<String>) -> Self {
        Self { member, message: message.into() }
    }
}

impl Limit {
    /// Reads `{count, per, zone?, by?}`, `{sum, max, per, zone?, by?}`, `{rate, burst?, by?}` or `{concurrent, by?}`.
    ///
    /// # Errors
    /// The member that is wrong and what it should be.
    pub fn from_json(value: &Value) -> Result<Self, LimitError> {
        Self::from_json_with(value, &Lists::none())
    }

    /// As [`Limit::from_json`], with the lists that its expressions may name as `lists.NAME`.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn from_json_with(value: &Value, lists: &Lists) -> Result<Self, LimitError> {
        let map = value.as_object().ok_or_else(|| LimitError::new("count", "a limit is a mapping"))?;
        if let Some(unknown) = map.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            let message = format!("unknown member `{unknown}` of a limit; known: {}", KNOWN.join(", "));
            return Err(LimitError::new("count", message));
        }
        let measure = Members(map).measure(lists)?;
        let by = match Members(map).text("by")? {
            None => By::Agent,
            Some(text) => By::parse_with(text, lists).map_err(|message| LimitError::new("by", message))?,
        };
        let (per, zone) = match measure {
            Measure::Count { .. } | Measure::Sum { .. } => Members(map).window()?,
            Measure::Rate { .. } | Measure::Concurrent { .. } => (Per::Total, TimeZone::UTC),
        };
        Ok(Self { measure, per, zone, by })
    }
}

/// The members of a limit.
#[derive(Clone, Copy)]
struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    fn measure(self, lists: &Lists) -> Result<Measure, LimitError> {
        let has = |member: &&'static str| self.0.contains_key(*member);
        let kinds: Vec<&'static str> =
            ["count", "sum", "rate", "concurrent"].into_iter().filter(has).collect();
        match kinds.as_slice() {
            ["count"] => {
                self.without("count", &["max", "burst"])?;
                Ok(Measure::Count { max: self.whole("count", 0, i64::MAX)? })
            }
            ["sum"] => {
                self.without("sum", &["burst"])?;
                self.sum(lists)
            }
            ["rate"] => {
                self.without("rate", &["max", "per", "zone"])?;
                let rate = self.0.get("rate").and_then(Value::as_str);
                let text = rate.ok_or_else(|| LimitError::new("rate", "`rate` is text, as in `100/hour`"))?;
                let rate = Rate::parse(text).map_err(|message| LimitError::new("rate", message))?;
                let burst =
                    if self.0.contains_key("burst") { self.whole("burst", 1, MOST)? } else { rate.times() };
                Ok(Measure::Rate { rate, burst })
            }
            [_] => {
                self.without("concurrent", &["max", "per", "zone", "burst"])?;
                Ok(Measure::Concurrent { max: self.whole("concurrent", 0, i64::MAX)? })
            }
            ["count", "sum", ..] => {
                Err(LimitError::new("count", "`count` stands alone, without `sum` and `max`"))
            }
            [_, second, ..] => {
                Err(LimitError::new(second, format!("`{second}` is a limit of its own: write two")))
            }
            [] => Err(LimitError::new(
                "count",
                "a limit has `count`, `rate`, `concurrent`, or `sum` with `max`",
            )),
        }
    }

    fn sum(self, lists: &Lists) -> Result<Measure, LimitError> {
        let (Some(of), Some(max)) = (self.text("sum")?, self.number("max")?) else {
            return Err(LimitError::new(
                "sum",
                "a limit has `count`, `rate`, `concurrent`, or `sum` with `max`",
            ));
        };
        let of = Expression::parse_with(of, lists).map_err(|error| LimitError::new("sum", error.message))?;
        let max = max.to_millionths().map_err(|error| LimitError::new("max", format!("`max`: {error}")))?;
        if max < 0 {
            return Err(LimitError::new("max", "`max` is 0 or more"));
        }
        Ok(Measure::Sum { of, max })
    }

    fn window(self) -> Result<(Per, TimeZone), LimitError> {
        let per = self.text("per")?.ok_or_else(|| {
            LimitError::new("per", "`per` is missing: minute, hour, day, week, month or total")
        })?;
        let per = Per::parse(per).ok_or_else(|| {
            LimitError::new("per", format!("`{per}` is no span; use minute, hour, day, week, month or total"))
        })?;
        let zone = match self.text("zone")? {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                LimitError::new("zone", format!("`{name}` is no IANA time zone, such as Europe/Paris"))
            })?,
        };
        Ok((per, zone))
    }

    fn without(self, what: &str, members: &[&'static str]) -> Result<(), LimitError> {
        match members.iter().find(|member| self.0.contains_key(**member)) {
            None => Ok(()),
            Some(_) if what == "count" => {
                Err(LimitError::new("count", "`count` stands alone, without `sum` and `max`"))
            }
            Some(member) => Err(LimitError::new(member, format!("a `{what}` has no `{member}`"))),
        }
    }

    fn text(self, member: &'static str) -> Result<Option<&'a str>, LimitError> {
        match self.0.get(member) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(LimitError::new(member, format!("`{member}` is text"))),
        }
    }

    fn number(self, member: &'static str) -> Result<Option<Decimal>, LimitError> {
        match self.0.get(member) {
            Some(Value::Number(number)) => Decimal::parse(&number.to_string()).map(Some).map_err(|_| {
                LimitError::new(member, format!("`{member}` is not a number that can be held exactly"))
            }),
            None => Ok(None),
            Some(_) => Err(LimitError::new(member, format!("`{member}` is a number"))),
        }
    }

    fn whole(self, member: &'static str, low: i64, high: i64) -> Result<i64, LimitError> {
        let number = self.number(member)?.and_then(|number| number.to_i64());
        number.filter(|number| (low..=high).contains(number)).ok_or_else(|| {
            let up_to = if high == i64::MAX { " or more".to_owned() } else { format!(" to {high}") };
            LimitError::new(member, format!("`{member}` is a whole number, {low}{up_to}"))
        })
    }
}
