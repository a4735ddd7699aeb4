//! What an expression can be while it is evaluated, and how values compare.
//!
//! Invariant: JSON is read where it stands. A number is exact, and one number is one value however it was
//! written; strings compare by code point and are never normalised.

use super::{
    Why,
    fuel::Fuel,
    node::{Comparison, Constant},
};
use crate::decimal::Decimal;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json};
use std::{cmp::Ordering, rc::Rc};

/// Deepest value that is compared; also what serde_json reads at most.
const MAX_VALUE_DEPTH: usize = 128;

#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Decimal(Decimal),
    Text(Text<'a>),
    JsonList(&'a [Json]),
    JsonMap(&'a Map<String, Json>),
    List(Rc<[Self]>),
    Map(Rc<[(Text<'a>, Self)]>),
    Time(Timestamp),
    Span(SignedDuration),
}

#[derive(Clone, Debug)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Made(Rc<str>),
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl<'a> Value<'a> {
    /// A JSON value in place. A whole number that fits an `i64` is a CEL int however it is written.
    pub(super) fn from_json(json: &'a Json, fuel: &mut Fuel) -> Result<Self, Why> {
        Ok(match json {
            Json::Null => Self::Null,
            Json::Bool(yes) => Self::Bool(*yes),
            Json::Number(number) => number_of(number.as_str(), fuel)?,
            Json::String(text) => Self::Text(Text::Borrowed(text)),
            Json::Array(elements) => Self::JsonList(elements),
            Json::Object(fields) => Self::JsonMap(fields),
        })
    }

    pub(super) fn from_constant(constant: &'a Constant) -> Self {
        match constant {
            Constant::Null => Self::Null,
            Constant::Bool(yes) => Self::Bool(*yes),
            Constant::Int(whole) => Self::Int(*whole),
            Constant::Decimal(number) => Self::Decimal(*number),
            Constant::Text(text) => Self::Text(Text::Borrowed(text)),
        }
    }

    pub(super) fn made(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Text::Made(text.into()))
    }

    /// The type's name in messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) | Self::Decimal(_) => "a number",
            Self::Text(_) => "a string",
            Self::JsonList(_) | Self::List(_) => "a list",
            Self::JsonMap(_) | Self::Map(_) => "a map",
            Self::Time(_) => "a timestamp",
            Self::Span(_) => "a duration",
        }
    }

    pub(super) fn number(&self) -> Option<Decimal> {
        match self {
            Self::Int(whole) => Some(Decimal::from_i64(*whole)),
            Self::Decimal(number) => Some(*number),
            _ => None,
        }
    }

    /// A field of a map; `None` where it is absent, an error where this is not a map.
    pub(super) fn field(&self, name: &str, fuel: &mut Fuel) -> Result<Option<Self>, Why> {
        match self {
            Self::JsonMap(fields) => fields.get(name).map(|value| Self::from_json(value, fuel)).transpose(),
            Self::Map(fields) => {
                fuel.spend(fields.len() as u64)?;
                Ok(fields.iter().find(|(key, _)| key.as_ref() == name).map(|(_, value)| value.clone()))
            }
            other => {
                Err(Why::Type(format!("`{name}` was read of {}, which is not a map", other.type_name())))
            }
        }
    }

    /// How many elements a list has; `None` where it isn't one.
    pub(super) fn list_length(&self) -> Option<usize> {
        match self {
            Self::JsonList(elements) => Some(elements.len()),
            Self::List(elements) => Some(elements.len()),
            _ => None,
        }
    }

    /// An element of a list.
    pub(super) fn element(&self, index: usize, fuel: &mut Fuel) -> Result<Option<Self>, Why> {
        match self {
            Self::JsonList(elements) => {
                elements.get(index).map(|json| Self::from_json(json, fuel)).transpose()
            }
            Self::List(elements) => Ok(elements.get(index).cloned()),
            _ => Ok(None),
        }
    }

    /// The keys of a map, as the elements that macros run over.
    pub(super) fn keys(&self) -> Option<Vec<Self>> {
        match self {
            Self::JsonMap(fields) => {
                Some(fields.keys().map(|key| Self::Text(Text::Borrowed(key.as_str()))).collect())
            }
            Self::Map(fields) => Some(fields.iter().map(|(key, _)| Self::Text(key.clone())).collect()),
            _ => None,
        }
    }

    pub(super) fn map_length(&self) -> Option<usize> {
        match self {
            Self::JsonMap(fields) => Some(fields.len()),
            Self::Map(fields) => Some(fields.len()),
            _ => None,
        }
    }

    /// CEL's `==`: values of different types are unequal, numbers compare by value.
    pub(super) fn equals(&self, other: &Self, fuel: &mut Fuel) -> Result<bool, Why> {
        self.equals_at(other, fuel, 0)
    }

    fn equals_at(&self, other: &Self, fuel: &mut Fuel, depth: usize) -> Result<bool, Why> {
        if depth > MAX_VALUE_DEPTH {
            return Err(Why::Value("a value is nested too deep to be compared".to_owned()));
        }
        fuel.spend(1)?;
        match (self, other) {
            (Self::Null, Self::Null) => Ok(true),
            (Self::Bool(left), Self::Bool(right)) => Ok(left == right),
            (Self::Int(left), Self::Int(right)) => Ok(left == right),
            (Self::Text(left), Self::Text(right)) => {
                let (left, right) = (left.as_ref(), right.as_ref());
                fuel.spend_bytes(left.len().min(right.len()))?;
                Ok(left == right)
            }
            (Self::Time(left), Self::Time(right)) => Ok(left == right),
            (Self::Span(left), Self::Span(right)) => Ok(left == right),
            _ => {
                if let (Some(left), Some(right)) = (self.number(), other.number()) {
                    return Ok(left == right);
                }
                if let (Some(left), Some(right)) = (self.list_length(), other.list_length()) {
                    return self.lists_equal(left, other, right, fuel, depth);
                }
                if let (Some(left), Some(right)) = (self.map_length(), other.map_length()) {
                    return if left == right { self.maps_equal(other, fuel, depth) } else { Ok(false) };
                }
                Ok(false)
            }
        }
    }

    fn lists_equal(
        &self,
        length: usize,
        other: &Self,
        other_length: usize,
        fuel: &mut Fuel,
        depth: usize,
    ) -> Result<bool, Why> {
        if length != other_length {
            return Ok(false);
        }
        for index in 0..length {
            let (Some(left), Some(right)) = (self.element(index, fuel)?, other.element(index, fuel)?) else {
                return Ok(false);
            };
            if !left.equals_at(&right, fuel, depth + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn maps_equal(&self, other: &Self, fuel: &mut Fuel, depth: usize) -> Result<bool, Why> {
        fuel.spend(self.map_length().unwrap_or(0) as u64)?;
        for key in self.keys().unwrap_or_default() {
            let Self::Text(key) = key else { return Ok(false) };
            let (Some(left), Some(right)) =
                (self.field(key.as_ref(), fuel)?, other.field(key.as_ref(), fuel)?)
            else {
                return Ok(false);
            };
            if !left.equals_at(&right, fuel, depth + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `<` and its kin: defined between two numbers, strings, bools, timestamps or durations.
    pub(super) fn compare(&self, other: &Self, sign: Comparison, fuel: &mut Fuel) -> Result<Ordering, Why> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Ok(left.cmp(right)),
            (Self::Bool(left), Self::Bool(right)) => Ok(left.cmp(right)),
            (Self::Text(left), Self::Text(right)) => {
                let (left, right) = (left.as_ref(), right.as_ref());
                fuel.spend_bytes(left.len().min(right.len()))?;
                Ok(left.cmp(right))
            }
            (Self::Time(left), Self::Time(right)) => Ok(left.cmp(right)),
            (Self::Span(left), Self::Span(right)) => Ok(left.cmp(right)),
            _ => match (self.number(), other.number()) {
                (Some(left), Some(right)) => Ok(left.cmp(&right)),
                _ => Err(Why::Type(format!(
                    "`{}` does not compare {} with {}",
                    sign.sign(),
                    self.type_name(),
                    other.type_name()
                ))),
            },
        }
    }
}

/// The usual number without the exact parser: at most 18 bytes, digits and perhaps a sign.
#[inline]
pub(super) fn plain_whole(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || text.len() > 18 {
        return None;
    }
    let mut whole = 0_i64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Eighteen digits stay far below the largest.
        whole = whole.wrapping_mul(10).wrapping_add(i64::from(digit));
    }
    Some(if negative { -whole } else { whole })
}

/// The value of a JSON number's text.
fn number_of<'a>(text: &str, fuel: &mut Fuel) -> Result<Value<'a>, Why> {
    if let Some(whole) = plain_whole(text) {
        return Ok(Value::Int(whole));
    }
    fuel.spend_bytes(text.len())?;
    let number = Decimal::parse(text).map_err(|error| {
        let shown: String = text.chars().take(40).collect();
        Why::Number(format!("`{shown}`: {error}"))
    })?;
    Ok(number.to_i64().map_or(Value::Decimal(number), Value::Int))
}
