//! What the functions do.
//!
//! Invariant: positions are code points; every byte read or made is paid for before.

use super::{
    Why,
    evaluate::{Evaluator, overflow, shorten, wrong_target},
    functions::{self, Function},
    node::Node,
    value::{Text, Value},
};
use crate::decimal::Decimal;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

pub(super) fn call<'a>(
    evaluator: &mut Evaluator<'a, '_>,
    function: Function,
    arguments: &'a [Node],
) -> Result<Value<'a>, Why> {
    if let (Function::Contains | Function::StartsWith | Function::EndsWith, [target, part]) =
        (function, arguments)
    {
        return text_and_part(evaluator, function, target, part);
    }
    let values: Vec<Value<'a>> =
        arguments.iter().map(|argument| evaluator.value(argument)).collect::<Result<_, _>>()?;
    let Some((target, rest)) = values.split_first() else {
        return Err(Why::Value(format!("`{}` was given nothing", function.name())));
    };
    let arguments = Arguments { function, rest };
    match function {
        Function::Size => size(evaluator, target),
        Function::Timestamp => timestamp(target),
        Function::Duration => duration(target),
        Function::Int => int(target),
        Function::Double => double(evaluator, target),
        Function::String => string(evaluator, target),
        Function::Bool => boolean(target),
        Function::Dyn => Ok(target.clone()),
        Function::Join => join(evaluator, target, &arguments),
        _ if function.is_calendar() => {
            let name = arguments.text(0)?;
            let zone = functions::zone(name)
                .ok_or_else(|| Why::Value(format!("unknown time zone `{}`", shorten(name))))?;
            calendar(function, target, &zone)
        }
        _ => match target {
            Value::Text(text) => {
                evaluator.fuel.spend_bytes(text.as_ref().len())?;
                of_text(evaluator, text.as_ref(), &arguments)
            }
            other => Err(wrong_target(function.name(), other)),
        },
    }
}

/// The functions that are called most, without a list of their arguments.
fn text_and_part<'a>(
    evaluator: &mut Evaluator<'a, '_>,
    function: Function,
    target: &'a Node,
    part: &'a Node,
) -> Result<Value<'a>, Why> {
    let (target, rest) = (evaluator.value(target)?, [evaluator.value(part)?]);
    let Value::Text(text) = &target else { return Err(wrong_target(function.name(), &target)) };
    let text = text.as_ref();
    evaluator.fuel.spend_bytes(text.len())?;
    let part = Arguments { function, rest: &rest }.text(0)?;
    Ok(Value::Bool(match function {
        Function::Contains => text.contains(part),
        Function::StartsWith => text.starts_with(part),
        _ => text.ends_with(part),
    }))
}

/// The arguments after the target.
struct Arguments<'v, 'a> {
    function: Function,
    rest: &'v [Value<'a>],
}

impl<'v> Arguments<'v, '_> {
    fn text(&self, index: usize) -> Result<&'v str, Why> {
        match self.rest.get(index) {
            Some(Value::Text(text)) => Ok(text.as_ref()),
            Some(other) => Err(Why::Type(format!(
                "`{}` needs a string and was given {}",
                self.function.name(),
                other.type_name()
            ))),
            None => Err(Why::Type(format!("`{}` lacks an argument", self.function.name()))),
        }
    }

    fn whole(&self, index: usize) -> Result<Option<i64>, Why> {
        match self.rest.get(index) {
            None => Ok(None),
            Some(value) => value.number().and_then(Decimal::to_i64).map(Some).ok_or_else(|| {
                Why::Type(format!(
                    "`{}` needs a whole number and was given {}",
                    self.function.name(),
                    value.type_name()
                ))
            }),
        }
    }

    /// A position among `length` code points, the end included.
    fn position(&self, index: usize, length: usize) -> Result<Option<usize>, Why> {
        let Some(position) = self.whole(index)? else { return Ok(None) };
        match usize::try_from(position) {
            Ok(position) if position <= length => Ok(Some(position)),
            _ => {
                Err(Why::Value(format!("position {position} is out of range in `{}`", self.function.name())))
            }
        }
    }
}

fn of_text<'a>(
    evaluator: &mut Evaluator<'a, '_>,
    text: &str,
    arguments: &Arguments<'_, 'a>,
) -> Result<Value<'a>, Why> {
    let length = || text.chars().count();
    match arguments.function {
        Function::LowerAscii => Ok(Value::made(text.to_ascii_lowercase())),
        Function::UpperAscii => Ok(Value::made(text.to_ascii_uppercase())),
        Function::Trim => Ok(Value::made(text.trim())),
        Function::CharAt => {
            let Some(position) = arguments.position(0, length())? else {
                return Err(Why::Type("`charAt` lacks an argument".to_owned()));
            };
            Ok(Value::made(text.chars().skip(position).take(1).collect::<String>()))
        }
        Function::Substring => {
            let length = length();
            let start = arguments.position(0, length)?.unwrap_or(0);
            let end = arguments.position(1, length)?.unwrap_or(length);
            if end < start {
                return Err(Why::Value(format!("`substring` from {start} to {end}")));
            }
            Ok(Value::made(text.chars().skip(start).take(end - start).collect::<String>()))
        }
        Function::IndexOf => {
            let from = arguments.position(1, length())?.unwrap_or(0);
            let skipped = byte_of(text, from);
            let found = text.get(skipped..).and_then(|rest| rest.find(arguments.text(0).ok()?));
            arguments.text(0)?;
            Ok(found.map_or(Value::Int(-1), |byte| position_of(text, skipped + byte)))
        }
        Function::LastIndexOf => {
            let needle = arguments.text(0)?;
            let length = length();
            let last = arguments.position(1, length)?.unwrap_or(length);
            // The match may start at `last` at the latest.
            let end = byte_of(text, last).saturating_add(needle.len()).min(text.len());
            let end = (0..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            let found = text.get(..end).and_then(|head| head.rfind(needle));
            Ok(found.map_or(Value::Int(-1), |byte| position_of(text, byte)))
        }
        Function::Split => split(evaluator, text, arguments),
        Function::Replace => {
            let (from, to) = (arguments.text(0)?, arguments.text(1)?);
            let limit =
                arguments.whole(2)?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
            let hits = text.matches(from).count().min(limit);
            evaluator.fuel.spend_bytes(text.len().saturating_add(hits.saturating_mul(to.len())))?;
            Ok(Value::made(text.replacen(from, to, limit)))
        }
        other => Err(Why::Value(format!("`{}` can't be called here", other.name()))),
    }
}

fn split<'a>(
    evaluator: &mut Evaluator<'a, '_>,
    text: &str,
    arguments: &Arguments<'_, 'a>,
) -> Result<Value<'a>, Why> {
    let separator = arguments.text(0)?;
    let limit = arguments.whole(1)?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    if limit > 0 {
        let whole = Some(text).filter(|_| limit == 1);
        let mut rest = text;
        let mut characters = text.char_indices().skip(1);
        // An empty separator splits into code points, as in CEL's strings extension.
        let pieces: Box<dyn Iterator<Item = &str>> = match whole {
            Some(all) => Box::new(std::iter::once(all)),
            None if separator.is_empty() => Box::new(std::iter::from_fn(move || {
                if rest.is_empty() {
                    return None;
                }
                let end = characters.next().map_or(text.len(), |(byte, _)| byte) - (text.len() - rest.len());
                let (piece, left) = rest.split_at_checked(end)?;
                rest = left;
                Some(piece)
            })),
            None => Box::new(text.splitn(limit, separator)),
        };
        for piece in pieces {
            evaluator.fuel.spend(2)?;
            evaluator.fuel.spend_bytes(piece.len())?;
            parts.push(Value::made(piece));
        }
    }
    Ok(Value::List(parts.into()))
}

fn join<'a>(
    evaluator: &mut Evaluator<'a, '_>,
    target: &Value<'a>,
    arguments: &Arguments<'_, 'a>,
) -> Result<Value<'a>, Why> {
    let Some(length) = target.list_length() else { return Err(wrong_target("join", target)) };
    let separator = if arguments.rest.is_empty() { "" } else { arguments.text(0)? };
    let mut joined = String::new();
    for index in 0..length {
        let element = target.element(index, evaluator.fuel)?;
        let Some(Value::Text(text)) = &element else {
            return Err(Why::Type("`join` needs a list of strings".to_owned()));
        };
        let text = text.as_ref();
        evaluator.fuel.spend_bytes(separator.len() + text.len())?;
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text);
    }
    Ok(Value::made(joined))
}

fn size<'a>(evaluator: &mut Evaluator<'a, '_>, target: &Value<'a>) -> Result<Value<'a>, Why> {
    let size = match target {
        Value::Text(text) => {
            evaluator.fuel.spend_bytes(text.as_ref().len())?;
            text.as_ref().chars().count()
        }
        other => {
            other.list_length().or_else(|| other.map_length()).ok_or_else(|| wrong_target("size", other))?
        }
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn timestamp<'a>(target: &Value<'a>) -> Result<Value<'a>, Why> {
    match target {
        Value::Time(time) => Ok(Value::Time(*time)),
        Value::Int(seconds) => {
            Timestamp::from_second(*seconds).ok().and_then(time).ok_or_else(|| overflow("timestamp"))
        }
        Value::Text(text) => text
            .as_ref()
            .parse::<Timestamp>()
            .ok()
            .and_then(time)
            .ok_or_else(|| Why::Value(format!("`{}` is not an RFC 3339 time", shorten(text.as_ref())))),
        other => Err(wrong_target("timestamp", other)),
    }
}

/// A point in time within CEL's range, which begins with the year 1.
pub(super) fn time<'a>(time: Timestamp) -> Option<Value<'a>> {
    /// 0001-01-01T00:00:00Z.
    const FIRST_SECOND: i64 = -62_135_596_800;
    (time.as_nanosecond() >= i128::from(FIRST_SECOND) * 1_000_000_000).then_some(Value::Time(time))
}

fn duration<'a>(target: &Value<'a>) -> Result<Value<'a>, Why> {
    match target {
        Value::Span(span) => Ok(Value::Span(*span)),
        Value::Text(text) => read_duration(text.as_ref()).map(Value::Span).ok_or_else(|| {
            Why::Value(format!("`{}` is not a duration like `1h30m`", shorten(text.as_ref())))
        }),
        other => Err(wrong_target("duration", other)),
    }
}

/// Reads `1h30m`, `-1.5s`, `250ms`: CEL's durations.
fn read_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut total = Decimal::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|character: char| !(character.is_ascii_digit() || character == '.'))?;
        let (number, after) = rest.split_at_checked(number_end)?;
        let unit_end = after.find(|character: char| character.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(unit_end)?;
        let nanoseconds: i64 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let digits = number.trim_start_matches('0');
        let padded = if digits.is_empty() || digits.starts_with('.') {
            format!("0{digits}")
        } else {
            digits.to_owned()
        };
        if number.is_empty() || number.starts_with('.') {
            return None;
        }
        let part = Decimal::parse(&padded).ok()?.checked_mul(Decimal::from_i64(nanoseconds))?;
        total = total.checked_add(part)?;
        rest = next;
        parts += 1;
    }
    let total = if negative { total.negate() } else { total };
    if parts == 0 { None } else { total.to_i64().map(SignedDuration::from_nanos) }
}

fn int<'a>(target: &Value<'a>) -> Result<Value<'a>, Why> {
    match target {
        Value::Int(whole) => Ok(Value::Int(*whole)),
        Value::Decimal(number) => number.truncate_to_i64().map(Value::Int).ok_or_else(|| overflow("int")),
        Value::Time(time) => Ok(Value::Int(
            time.as_nanosecond().div_euclid(1_000_000_000).try_into().map_err(|_| overflow("int"))?,
        )),
        Value::Text(text) => {
            let text = text.as_ref();
            let plain = !text.starts_with('+');
            text.parse::<i64>()
                .ok()
                .filter(|_| plain)
                .map(Value::Int)
                .ok_or_else(|| Why::Value(format!("`{}` is not a whole number", shorten(text))))
        }
        other => Err(wrong_target("int", other)),
    }
}

fn double<'a>(evaluator: &mut Evaluator<'a, '_>, target: &Value<'a>) -> Result<Value<'a>, Why> {
    match target {
        Value::Text(text) => {
            let text = text.as_ref();
            evaluator.fuel.spend_bytes(text.len())?;
            Decimal::parse(text)
                .map(Value::Decimal)
                .map_err(|error| Why::Number(format!("`{}`: {error}", shorten(text))))
        }
        other => other.number().map(Value::Decimal).ok_or_else(|| wrong_target("double", other)),
    }
}

fn string<'a>(evaluator: &mut Evaluator<'a, '_>, target: &Value<'a>) -> Result<Value<'a>, Why> {
    evaluator.fuel.spend(8)?;
    match target {
        Value::Text(text) => Ok(Value::Text(text.clone())),
        Value::Int(whole) => Ok(Value::made(whole.to_string())),
        Value::Decimal(number) => Ok(Value::made(number.to_string())),
        Value::Bool(yes) => Ok(Value::Text(Text::Borrowed(if *yes { "true" } else { "false" }))),
        Value::Time(time) => Ok(Value::made(time.to_string())),
        Value::Span(span) => {
            let second = Decimal::parse("1e-9").ok();
            let whole = i64::try_from(span.as_nanos()).ok();
            whole
                .zip(second)
                .and_then(|(nanoseconds, unit)| Decimal::from_i64(nanoseconds).checked_mul(unit))
                .map(|seconds| Value::made(format!("{seconds}s")))
                .ok_or_else(|| overflow("string"))
        }
        other => Err(wrong_target("string", other)),
    }
}

fn boolean<'a>(target: &Value<'a>) -> Result<Value<'a>, Why> {
    match target {
        Value::Bool(yes) => Ok(Value::Bool(*yes)),
        Value::Text(text) => match text.as_ref() {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            other => Err(Why::Value(format!("`{}` is neither true nor false", shorten(other)))),
        },
        other => Err(wrong_target("bool", other)),
    }
}

/// Parts of a date in a zone, counted as CEL does: months and days of month and year from 0, Sunday is 0; of a
/// duration its whole hours, minutes, seconds, and the milliseconds within its second.
pub(super) fn calendar<'a>(
    function: Function,
    target: &Value<'a>,
    zone: &TimeZone,
) -> Result<Value<'a>, Why> {
    let part = match target {
        Value::Time(time) => {
            let date = time.to_zoned(zone.clone());
            match function {
                Function::FullYear => i64::from(date.year()),
                Function::Month => i64::from(date.month()) - 1,
                Function::DayOfMonth => i64::from(date.day()) - 1,
                Function::Date => i64::from(date.day()),
                Function::DayOfWeek => i64::from(date.weekday().to_sunday_zero_offset()),
                Function::DayOfYear => i64::from(date.day_of_year()) - 1,
                Function::Hours => i64::from(date.hour()),
                Function::Minutes => i64::from(date.minute()),
                Function::Seconds => i64::from(date.second()),
                Function::Milliseconds => i64::from(date.millisecond()),
                other => return Err(wrong_target(other.name(), target)),
            }
        }
        Value::Span(span) => match function {
            Function::Hours => span.as_hours(),
            Function::Minutes => span.as_mins(),
            Function::Seconds => span.as_secs(),
            Function::Milliseconds => i64::from(span.subsec_millis()),
            other => return Err(wrong_target(other.name(), target)),
        },
        other => return Err(wrong_target(function.name(), other)),
    };
    Ok(Value::Int(part))
}

/// The byte at which a code point starts, or the end.
fn byte_of(text: &str, position: usize) -> usize {
    text.char_indices().nth(position).map_or(text.len(), |(byte, _)| byte)
}

/// The position, in code points, of a byte.
fn position_of<'a>(text: &str, byte: usize) -> Value<'a> {
    let position = text.get(..byte).map_or(0, |head| head.chars().count());
    Value::Int(i64::try_from(position).unwrap_or(i64::MAX))
}
