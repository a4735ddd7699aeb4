//! The parameters of statements.
//!
//! Invariant: a value is what its column holds, on both engines; how an engine is given it is that engine's module's.

use placet_core::{
    id::{Id, Kind},
    time::Timestamp,
};
use std::borrow::Cow;

/// A parameter of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// SQL's NULL.
    Null,
    /// A `BIGINT`: numbers, times in microseconds, booleans as 0 and 1.
    Integer(i64),
    /// A `TEXT`.
    Text(Cow<'a, str>),
    /// A `BYTEA`.
    Blob(Cow<'a, [u8]>),
}

/// A list of [`Value`]s from anything that converts: `&params![id, now, None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { [$($crate::tx::Value::from($value)),*] };
}

macro_rules! conversions {
    ($($(<$life:lifetime>)? $from:ty, $name:ident => $value:expr;)*) => {
        $(impl<'a> From<$from> for Value<'a> { fn from($name: $from) -> Self { $value } })*
    };
}

conversions! {
    i64, value => Self::Integer(value);
    i32, value => Self::Integer(value.into());
    u32, value => Self::Integer(value.into());
    u16, value => Self::Integer(value.into());
    u8, value => Self::Integer(value.into());
    bool, value => Self::Integer(value.into());
    Timestamp, value => Self::Integer(value.as_micros());
    &'a str, value => Self::Text(Cow::Borrowed(value));
    &'a String, value => Self::Text(Cow::Borrowed(value));
    String, value => Self::Text(Cow::Owned(value));
    &'a [u8], value => Self::Blob(Cow::Borrowed(value));
    &'a Vec<u8>, value => Self::Blob(Cow::Borrowed(value));
    Vec<u8>, value => Self::Blob(Cow::Owned(value));
    &'a [u8; 32], value => Self::Blob(Cow::Borrowed(value));
    [u8; 32], value => Self::Blob(Cow::Owned(value.to_vec()));
    // Versions and counts: nothing here gets near 2^63.
    u64, value => Self::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    usize, value => Self::Integer(i64::try_from(value).unwrap_or(i64::MAX));
}

impl<K: Kind> From<Id<K>> for Value<'_> {
    fn from(id: Id<K>) -> Self {
        Self::Text(Cow::Owned(id.to_string()))
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Value<'_> {
    /// The same, owning what it holds.
    pub(crate) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => Value::Integer(number),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Blob(bytes) => Value::Blob(Cow::Owned(bytes.into_owned())),
        }
    }
}
