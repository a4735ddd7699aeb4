//! Reading claims (RFC 7519 §4.1) of which the signature has been verified.

use crate::time::Timestamp;
use serde_json::{Map, Value};

/// The last second that a claim may name: the end of the year 9999.
const LAST: i64 = 253_402_300_799;

/// A claim that is not of the kind that it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time in seconds")]
pub struct NoTime(pub &'static str);

/// A claim that is text.
pub fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// A claim that is a time; fractions of a second are cut off.
///
/// # Errors
/// [`NoTime`] where it is there and no number between 0 and the year 9999.
pub fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, NoTime> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let number = value.as_number().ok_or(NoTime(name))?;
    let whole = number.to_string();
    let whole = match whole.split_once('.') {
        Some((whole, digits)) if digits.bytes().all(|digit| digit.is_ascii_digit()) => whole,
        _ => &whole,
    };
    let seconds = whole.parse::<i64>().ok().filter(|seconds| (0..=LAST).contains(seconds));
    seconds.map(|seconds| Some(Timestamp::from_seconds(seconds))).ok_or(NoTime(name))
}

/// The one that `aud` names, alone: as text, or as a list of one.
pub(crate) fn sole_audience(claims: &Map<String, Value>) -> Option<&str> {
    match claims.get("aud")? {
        Value::String(audience) => Some(audience),
        Value::Array(list) => match list.as_slice() {
            [Value::String(audience)] => Some(audience),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn claims(text: &str) -> Map<String, Value> {
        json::parse(text.as_bytes()).unwrap().as_object().unwrap().clone()
    }

    #[test]
    fn a_time_is_a_number_of_seconds() {
        let read = |text: &str| time(&claims(&format!(r#"{{"exp":{text}}}"#)), "exp");
        assert_eq!(read("1000"), Ok(Some(Timestamp::from_seconds(1000))));
        assert_eq!(read("1000.75"), Ok(Some(Timestamp::from_seconds(1000))));
        assert_eq!(time(&claims("{}"), "exp"), Ok(None));
        for wrong in ["\"1000\"", "null", "true", "-1", "1e3", "1.5e3", "99999999999999", "[1000]", "{}"] {
            assert_eq!(read(wrong), Err(NoTime("exp")), "{wrong}");
        }
    }

    #[test]
    fn an_audience_is_one() {
        let read = |text: &str| sole_audience(&claims(&format!(r#"{{"aud":{text}}}"#))).map(str::to_owned);
        assert_eq!(read(r#""a""#).as_deref(), Some("a"));
        assert_eq!(read(r#"["a"]"#).as_deref(), Some("a"));
        for wrong in [r#"["a","b"]"#, r#"["a","a"]"#, "[]", r#"[["a"]]"#, "1", "null", r#"{"a":"a"}"#] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
