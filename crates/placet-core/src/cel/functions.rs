//! The functions that a condition can call: their names and what they need.
//!
//! Invariant: a name that isn't here is an error when loading.

use jiff::tz::{Offset, TimeZone};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    LowerAscii,
    UpperAscii,
    Trim,
    Split,
    Join,
    Replace,
    Substring,
    IndexOf,
    LastIndexOf,
    CharAt,
    Timestamp,
    Duration,
    Int,
    Double,
    String,
    Bool,
    Dyn,
    FullYear,
    Month,
    DayOfMonth,
    Date,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// How a function is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `x.f()`
    Method,
    /// `f(x)`
    Plain,
    Either,
}

/// Name, function, style, fewest and most arguments; the target counts as one.
const TABLE: [(&str, Function, Style, usize, usize); 32] = [
    ("size", Function::Size, Style::Either, 1, 1),
    ("contains", Function::Contains, Style::Method, 2, 2),
    ("startsWith", Function::StartsWith, Style::Method, 2, 2),
    ("endsWith", Function::EndsWith, Style::Method, 2, 2),
    ("matches", Function::Matches, Style::Either, 2, 2),
    ("lowerAscii", Function::LowerAscii, Style::Method, 1, 1),
    ("upperAscii", Function::UpperAscii, Style::Method, 1, 1),
    ("trim", Function::Trim, Style::Method, 1, 1),
    ("split", Function::Split, Style::Method, 2, 3),
    ("join", Function::Join, Style::Method, 1, 2),
    ("replace", Function::Replace, Style::Method, 3, 4),
    ("substring", Function::Substring, Style::Method, 2, 3),
    ("indexOf", Function::IndexOf, Style::Method, 2, 3),
    ("lastIndexOf", Function::LastIndexOf, Style::Method, 2, 3),
    ("charAt", Function::CharAt, Style::Method, 2, 2),
    ("timestamp", Function::Timestamp, Style::Plain, 1, 1),
    ("duration", Function::Duration, Style::Plain, 1, 1),
    ("int", Function::Int, Style::Plain, 1, 1),
    ("double", Function::Double, Style::Plain, 1, 1),
    ("string", Function::String, Style::Plain, 1, 1),
    ("bool", Function::Bool, Style::Plain, 1, 1),
    ("dyn", Function::Dyn, Style::Plain, 1, 1),
    ("getFullYear", Function::FullYear, Style::Method, 1, 2),
    ("getMonth", Function::Month, Style::Method, 1, 2),
    ("getDayOfMonth", Function::DayOfMonth, Style::Method, 1, 2),
    ("getDate", Function::Date, Style::Method, 1, 2),
    ("getDayOfWeek", Function::DayOfWeek, Style::Method, 1, 2),
    ("getDayOfYear", Function::DayOfYear, Style::Method, 1, 2),
    ("getHours", Function::Hours, Style::Method, 1, 2),
    ("getMinutes", Function::Minutes, Style::Method, 1, 2),
    ("getSeconds", Function::Seconds, Style::Method, 1, 2),
    ("getMilliseconds", Function::Milliseconds, Style::Method, 1, 2),
];

const MACROS: [&str; 10] = [
    "has",
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "map",
    "filter",
    "transformList",
    "transformMap",
    "transformMapEntry",
];

impl Function {
    /// The function that a call means.
    ///
    /// # Errors
    /// What is wrong with the call, with the nearest known name.
    pub(super) fn find(name: &str, on_target: bool, arguments: usize) -> Result<Self, String> {
        let Some((_, function, style, fewest, most)) = TABLE.iter().find(|row| row.0 == name) else {
            if MACROS.contains(&name) {
                return Err(match name {
                    "has" => "`has` is written `has(x.field)`".to_owned(),
                    _ => format!("`{name}` is written `list.{name}(x, condition on x)`"),
                });
            }
            let known = TABLE.iter().map(|row| row.0).chain(MACROS);
            return Err(match nearest(name, known) {
                Some(near) => format!("unknown function `{name}`; did you mean `{near}`?"),
                None => format!("unknown function `{name}`"),
            });
        };
        match style {
            Style::Method if !on_target => Err(format!("`{name}` is called on a value: `x.{name}(…)`")),
            Style::Plain if on_target => Err(format!("`{name}` is not called on a value: `{name}(x)`")),
            _ if !(*fewest..=*most).contains(&arguments) => {
                Err(format!("`{name}` was given {} arguments", arguments - usize::from(on_target)))
            }
            _ => Ok(*function),
        }
    }

    pub(super) fn name(self) -> &'static str {
        TABLE.iter().find(|row| row.1 == self).map_or("", |row| row.0)
    }

    /// Whether it takes a part of a date, in a time zone.
    pub(super) fn is_calendar(self) -> bool {
        matches!(
            self,
            Self::FullYear
                | Self::Month
                | Self::DayOfMonth
                | Self::Date
                | Self::DayOfWeek
                | Self::DayOfYear
                | Self::Hours
                | Self::Minutes
                | Self::Seconds
                | Self::Milliseconds
        )
    }
}

/// A time zone by IANA name or offset (`+02:00`).
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    if name.starts_with(|first: char| matches!(first, '+' | '-') || first.is_ascii_digit()) {
        let negative = name.starts_with('-');
        let (hours, minutes) = name.strip_prefix(['+', '-']).unwrap_or(name).split_once(':')?;
        let number = |text: &str| {
            let valid = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            if valid { text.parse::<i32>().ok() } else { None }
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        if hours > 23 || minutes > 59 {
            return None;
        }
        let seconds = hours * 3600 + minutes * 60;
        return Offset::from_seconds(if negative { -seconds } else { seconds }).ok().map(TimeZone::fixed);
    }
    TimeZone::get(name).ok()
}

/// The known name that `name` was probably meant to be.
pub(super) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let most = match name.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    known
        .into_iter()
        .map(|candidate| (distance(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, a swap of neighbours not counted specially.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, mine) in left.chars().take(64).enumerate() {
        let mut previous = index;
        let mut current = index + 1;
        let mut next = vec![current];
        for (theirs, above) in right.iter().zip(row.iter().skip(1)) {
            current = (previous + usize::from(mine != *theirs)).min(current + 1).min(above + 1);
            previous = *above;
            next.push(current);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
