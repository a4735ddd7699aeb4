//! How core types lie in columns: whole as JSON in `document`, states as their words.
//!
//! Invariant: what can't be read back is a fault, never a default.

use crate::fault::Fault;
use serde::{
    Serialize,
    de::{DeserializeOwned, IntoDeserializer as _, value::StrDeserializer},
};

/// The text of a `document`.
pub(crate) fn write(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|_| Fault::Unreadable("a document"))
}

/// A `document` from its text.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|_| Fault::Unreadable("a document"))
}

/// A state from its word.
pub(crate) fn state<T: DeserializeOwned>(word: &str) -> Result<T, Fault> {
    let word: StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
    T::deserialize(word).map_err(|_| Fault::Unreadable("a state"))
}

/// Where a page begins: behind `after`, or at the first row.
pub(crate) fn behind(after: Option<impl ToString>) -> String {
    after.map(|id| id.to_string()).unwrap_or_default()
}
