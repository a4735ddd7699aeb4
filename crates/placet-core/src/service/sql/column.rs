//! The columns of a service's tables: which type each has, which values of parameters it takes, and how these are bound.
//!
//! A value is bound as a text and cast to its column's type by the database (`CAST($1 AS pg_catalog.int8)`); that the text
//! is one of the type, whole and without rounding, is seen to here, before anything is decided.
//!
//! Invariant: a value that is let through is written in one way only where the type can name a resource, and never says
//! anything to the parser of statements.

use crate::decimal::Decimal;
use serde_json::{Map, Value, json};

/// The longest list that a parameter can be.
pub(super) const MOST_ITEMS: usize = 100;
/// PostgreSQL's limit of a name, in bytes: what is longer is cut there, and means something else.
const LONGEST_NAME: usize = 63;

/// A column as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Whether it may be NULL.
    pub(super) null: bool,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct Kind {
    pub(super) scalar: Scalar,
    /// Whether it is an array of them.
    pub(super) array: bool,
}

/// The type of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Scalar {
    Smallint,
    Integer,
    Bigint,
    /// With its digits in all and behind the point, where they are bounded.
    Numeric(Option<(u32, u32)>),
    /// With its greatest length in characters.
    Text(Option<u32>),
    Boolean,
    Uuid,
    Timestamptz,
    Date,
    Json,
    Jsonb,
    /// Answered only: no two sides write it alike.
    Double,
}

impl Kind {
    /// Reads `bigint`, `numeric(12,2)`, `varchar(40)`, `text[]`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (inner, array) = match text.strip_suffix("[]") {
            Some(inner) => (inner, true),
            None => (text, false),
        };
        let (word, bounds) = match inner.strip_suffix(')').and_then(|inner| inner.split_once('(')) {
            Some((word, bounds)) => (word, Some(numbers(bounds)?)),
            None => (inner, None),
        };
        let scalar = match (word, bounds.as_deref()) {
            ("smallint", None) => Scalar::Smallint,
            ("integer", None) => Scalar::Integer,
            ("bigint", None) => Scalar::Bigint,
            ("numeric", None) => Scalar::Numeric(None),
            ("numeric", Some([digits @ 1..=1000, scale])) if scale <= digits => {
                Scalar::Numeric(Some((*digits, *scale)))
            }
            ("text", None) => Scalar::Text(None),
            ("varchar", Some([most])) if *most > 0 => Scalar::Text(Some(*most)),
            ("boolean", None) => Scalar::Boolean,
            ("uuid", None) => Scalar::Uuid,
            ("timestamptz", None) => Scalar::Timestamptz,
            ("date", None) => Scalar::Date,
            ("json", None) => Scalar::Json,
            ("jsonb", None) => Scalar::Jsonb,
            ("double precision", None) => Scalar::Double,
            _ => return None,
        };
        Some(Self { scalar, array })
    }

    /// The type as statements name it.
    pub(super) fn sql(self) -> &'static str {
        match (self.scalar, self.array) {
            (Scalar::Smallint, false) => "pg_catalog.int2",
            (Scalar::Integer, false) => "pg_catalog.int4",
            (Scalar::Bigint, false) => "pg_catalog.int8",
            (Scalar::Numeric(_), false) => "pg_catalog.numeric",
            (Scalar::Text(_), false) => "pg_catalog.text",
            (Scalar::Boolean, false) => "pg_catalog.bool",
            (Scalar::Uuid, false) => "pg_catalog.uuid",
            (Scalar::Timestamptz, false) => "pg_catalog.timestamptz",
            (Scalar::Date, false) => "pg_catalog.date",
            (Scalar::Json, false) => "pg_catalog.json",
            (Scalar::Jsonb, false) => "pg_catalog.jsonb",
            (Scalar::Double, false) => "pg_catalog.float8",
            (Scalar::Smallint, true) => "pg_catalog.int2[]",
            (Scalar::Integer, true) => "pg_catalog.int4[]",
            (Scalar::Bigint, true) => "pg_catalog.int8[]",
            (Scalar::Numeric(_), true) => "pg_catalog.numeric[]",
            (Scalar::Text(_), true) => "pg_catalog.text[]",
            (Scalar::Boolean, true) => "pg_catalog.bool[]",
            (Scalar::Uuid, true) => "pg_catalog.uuid[]",
            (Scalar::Timestamptz, true) => "pg_catalog.timestamptz[]",
            (Scalar::Date, true) => "pg_catalog.date[]",
            (Scalar::Json, true) => "pg_catalog.json[]",
            (Scalar::Jsonb, true) => "pg_catalog.jsonb[]",
            (Scalar::Double, true) => "pg_catalog.float8[]",
        }
    }

    /// Whether parameters and constants can be of it.
    pub(super) fn is_given(self) -> bool {
        self.scalar != Scalar::Double
    }

    /// Whether its values can be compared with `=`.
    pub(super) fn is_compared(self) -> bool {
        !self.array && !matches!(self.scalar, Scalar::Json | Scalar::Jsonb | Scalar::Double)
    }

    /// Whether its values have an order that conditions can use.
    pub(super) fn is_ordered(self) -> bool {
        self.is_compared() && self.scalar != Scalar::Boolean
    }

    /// Whether it is text, which can begin with something.
    pub(super) fn is_text(self) -> bool {
        !self.array && matches!(self.scalar, Scalar::Text(_))
    }

    /// Whether each of its values is written in one way only, so that it can name a resource.
    pub(super) fn names(self) -> bool {
        !self.array
            && matches!(
                self.scalar,
                Scalar::Smallint
                    | Scalar::Integer
                    | Scalar::Bigint
                    | Scalar::Text(_)
                    | Scalar::Uuid
                    | Scalar::Date
            )
    }

    /// What a parameter of it looks like, as JSON Schema.
    pub(super) fn schema(self) -> Map<String, Value> {
        let schema = match self.scalar {
            Scalar::Smallint => json!({"type": "integer", "minimum": i16::MIN, "maximum": i16::MAX}),
            Scalar::Integer => json!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}),
            Scalar::Bigint => json!({"type": "integer"}),
            Scalar::Numeric(_) | Scalar::Double => json!({"type": "number"}),
            Scalar::Text(None) => json!({"type": "string"}),
            Scalar::Text(Some(most)) => json!({"type": "string", "maxLength": most}),
            Scalar::Boolean => json!({"type": "boolean"}),
            Scalar::Uuid => json!({"type": "string", "format": "uuid"}),
            Scalar::Timestamptz => json!({"type": "string", "format": "date-time"}),
            Scalar::Date => json!({"type": "string", "format": "date"}),
            Scalar::Json | Scalar::Jsonb => {
                json!({"type": ["object", "array", "string", "number", "boolean"]})
            }
        };
        let schema = if self.array {
            json!({"type": "array", "items": schema, "maxItems": MOST_ITEMS})
        } else {
            schema
        };
        match schema {
            Value::Object(schema) => schema,
            _ => Map::new(),
        }
    }

    /// A value as it is bound: a text, or a list of texts.
    ///
    /// # Errors
    /// What is wrong with it, without the value.
    pub(super) fn bind(self, value: &Value) -> Result<Value, &'static str> {
        match (self.array, value) {
            (false, value) => self.scalar.text(value).map(Value::String),
            (true, Value::Array(items)) if items.len() <= MOST_ITEMS => {
                items.iter().map(|item| self.scalar.text(item).map(Value::String)).collect()
            }
            (true, Value::Array(_)) => Err("the list is too long"),
            (true, _) => Err("it must be a list"),
        }
    }

    /// The value that was bound so.
    pub(super) fn unbind(self, bound: &Value) -> Option<Value> {
        match (self.array, bound) {
            (false, Value::String(text)) => self.scalar.value(text),
            (true, Value::Array(items)) => items
                .iter()
                .map(|item| self.scalar.value(item.as_str()?))
                .collect::<Option<Vec<_>>>()
                .map(Value::Array),
            _ => None,
        }
    }
}

impl Scalar {
    /// The text that the database reads.
    fn text(self, value: &Value) -> Result<String, &'static str> {
        match self {
            Self::Smallint => whole(value, i64::from(i16::MIN), i64::from(i16::MAX)),
            Self::Integer => whole(value, i64::from(i32::MIN), i64::from(i32::MAX)),
            Self::Bigint => whole(value, i64::MIN, i64::MAX),
            Self::Numeric(bounds) => numeric(value, bounds),
            Self::Text(most) => {
                let text = string(value)?;
                if text.contains('\0') {
                    return Err("it has the character NUL, which a database can't hold");
                }
                match most {
                    Some(most) if text.chars().count() > usize::try_from(most).unwrap_or(usize::MAX) => {
                        Err("it is longer than its column")
                    }
                    _ => Ok(text.to_owned()),
                }
            }
            Self::Boolean => match value {
                Value::Bool(value) => Ok(value.to_string()),
                _ => Err("it must be true or false"),
            },
            Self::Uuid => {
                let text = string(value)?;
                let one_way = text.len() == 36
                    && text.bytes().enumerate().all(|(at, byte)| match at {
                        8 | 13 | 18 | 23 => byte == b'-',
                        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                    });
                if one_way {
                    Ok(text.to_owned())
                } else {
                    Err("it must be a UUID with small letters and hyphens")
                }
            }
            Self::Timestamptz => {
                let text = string(value)?;
                if is_instant(text) { Ok(text.to_owned()) } else { Err(INSTANT) }
            }
            Self::Date => {
                let text = string(value)?;
                if text.len() == 10 && !text.starts_with("0000") && text.parse::<jiff::civil::Date>().is_ok()
                {
                    Ok(text.to_owned())
                } else {
                    Err("it must be a date such as 2026-11-23")
                }
            }
            Self::Json | Self::Jsonb => {
                if has_nul(value) {
                    return Err("it has the character NUL, which a database can't hold");
                }
                Ok(value.to_string())
            }
            Self::Double => Err("it is of a type that is answered only"),
        }
    }

    /// The value of a text that was bound.
    fn value(self, text: &str) -> Option<Value> {
        match self {
            Self::Smallint | Self::Integer | Self::Bigint | Self::Numeric(_) => {
                text.parse().ok().map(Value::Number)
            }
            Self::Boolean => text.parse().ok().map(Value::Bool),
            Self::Json | Self::Jsonb => crate::json::parse(text.as_bytes()).ok(),
            Self::Text(_) | Self::Uuid | Self::Timestamptz | Self::Date => {
                Some(Value::String(text.to_owned()))
            }
            Self::Double => None,
        }
    }
}

const INSTANT: &str =
    "it must be a point in time such as 2026-11-23T08:00:00Z, with at most six digits of a second";

/// RFC 3339 with at most microseconds: what is finer would be rounded.
fn is_instant(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shaped = bytes.len() <= 32
        && bytes.get(10) == Some(&b'T')
        && !text.starts_with("0000")
        && bytes.iter().all(|byte| byte.is_ascii_digit() || b"-+:.TZ".contains(byte));
    let fraction =
        text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    shaped && fraction <= 6 && bytes.get(17..19) != Some(b"60") && text.parse::<jiff::Timestamp>().is_ok()
}

fn string(value: &Value) -> Result<&str, &'static str> {
    value.as_str().ok_or("it must be a string")
}

/// Digits alone, in the one way that they are written.
fn whole(value: &Value, least: i64, most: i64) -> Result<String, &'static str> {
    let Value::Number(number) = value else { return Err("it must be a whole number") };
    let text = number.to_string();
    match text.parse::<i64>() {
        Ok(read) if read.to_string() != text => {
            Err("it must be a whole number without anything but its digits")
        }
        Ok(read) if (least..=most).contains(&read) => Ok(text),
        Ok(_) => Err("it is outside the range of its column"),
        Err(_) => Err("it must be a whole number in the range of its column"),
    }
}

fn numeric(value: &Value, bounds: Option<(u32, u32)>) -> Result<String, &'static str> {
    let Value::Number(number) = value else { return Err("it must be a number") };
    let text = number.to_string();
    if Decimal::parse(&text).is_err() {
        return Err("it has more digits than can be held exactly");
    }
    // Written out, so that its digits can be counted.
    if text.contains(['e', 'E']) {
        return Err("it must be a number without an exponent");
    }
    let Some((digits, scale)) = bounds else { return Ok(text) };
    let (before, behind) = text.split_once('.').unwrap_or((&text, ""));
    let before = before.trim_start_matches('-').trim_start_matches('0').len();
    let behind = behind.trim_end_matches('0').len();
    let fits = |count: usize, most: u32| u32::try_from(count).is_ok_and(|count| count <= most);
    if fits(before, digits.saturating_sub(scale)) && fits(behind, scale) {
        Ok(text)
    } else {
        Err("it has more digits than its column: it would be rounded, or refused")
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

fn numbers(text: &str) -> Option<Vec<u32>> {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?;
    text.split(',').map(|part| digits(part.trim())).collect()
}

/// Whether a text can be a name in a statement. Names are quoted, so that case and keywords mean nothing.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_NAME && !text.chars().any(char::is_control)
}

/// A name in a statement.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
