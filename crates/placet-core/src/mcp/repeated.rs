//! Arguments that are repeated in headers (`x-mcp-header`, 2026-07-28), for whoever routes without reading bodies.
//!
//! Invariant: what a header says is never more than a copy of what the body says. A schema that could be read to repeat
//! something else than one value at one place is refused whole.

use super::{Revision, RpcError, in_header, mismatch, plain, quoted};
use serde_json::{Map, Value};

/// The extension of schemas that says so.
pub(crate) const KEY: &str = "x-mcp-header";
/// What the names of the headers begin with.
pub const PREFIX: &str = "mcp-param-";
/// How many arguments of one tool are repeated.
const MOST: usize = 32;

/// One argument that is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// The header, in small letters.
    pub header: String,
    /// Where the argument is: names of properties.
    pub path: Vec<String>,
}

/// The arguments that a schema has repeated.
///
/// # Errors
/// A sentence: what of it can't be repeated.
pub fn declared(schema: &Value) -> Result<Vec<Repeated>, String> {
    let mut found = Vec::new();
    walk(schema, Some(&[]), &mut found)?;
    if found.len() > MOST {
        return Err(format!("it has more than {MOST} arguments repeated in headers"));
    }
    for (index, one) in found.iter().enumerate() {
        if found.iter().take(index).any(|other| other.header == one.header) {
            return Err(format!("it has two arguments repeated in the header {}", quoted(&one.header)));
        }
    }
    Ok(found)
}

/// `path` is where values of this schema are; `None` where that can't be said.
fn walk(schema: &Value, path: Option<&[String]>, found: &mut Vec<Repeated>) -> Result<(), String> {
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(all) => return all.iter().try_for_each(|one| walk(one, None, found)),
        _ => return Ok(()),
    };
    for (key, value) in members {
        match key.as_str() {
            KEY => found.push(repeated(members, value, path)?),
            "properties" => {
                for (name, it) in value.as_object().into_iter().flatten() {
                    let below = path.map(|path| [path, std::slice::from_ref(name)].concat());
                    walk(it, below.as_deref(), found)?;
                }
            }
            // Values, not schemas.
            "const" | "enum" | "default" | "examples" => {}
            // Names of properties or of definitions, whatever they are.
            "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                value.as_object().into_iter().flatten().try_for_each(|(_, it)| walk(it, None, found))?;
            }
            _ => walk(value, None, found)?,
        }
    }
    Ok(())
}

fn repeated(schema: &Map<String, Value>, name: &Value, path: Option<&[String]>) -> Result<Repeated, String> {
    let token = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let name = name.as_str().filter(|name| token(name));
    let name = name.ok_or("it has arguments repeated in what is no header's name")?;
    let path = path.filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| format!("which argument is repeated in {} can't be said", quoted(name)))?;
    let kind = schema.get("type").and_then(Value::as_str);
    if !matches!(kind, Some("string" | "integer" | "boolean" | "number")) {
        return Err(format!("what is repeated in {} is no single value", quoted(name)));
    }
    Ok(Repeated { header: format!("{PREFIX}{}", name.to_ascii_lowercase()), path: path.to_vec() })
}

impl Repeated {
    /// What the arguments have there.
    fn value<'a>(&self, arguments: &'a Map<String, Value>) -> Option<&'a Value> {
        let (first, rest) = self.path.split_first()?;
        let mut value = arguments.get(first)?;
        for name in rest {
            value = value.get(name)?;
        }
        (!value.is_null()).then_some(value)
    }

    /// Its value as a header has it; `None` where there is none.
    pub fn sent(&self, arguments: &Map<String, Value>) -> Option<String> {
        match self.value(arguments)? {
            Value::String(text) => Some(in_header(text)),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => None,
        }
    }

    /// Whether the header says what the arguments say. In the stateless revision it has to be there.
    ///
    /// # Errors
    /// It does not.
    pub fn agrees(
        &self,
        header: Option<&str>,
        arguments: &Map<String, Value>,
        revision: Revision,
    ) -> Result<(), RpcError> {
        let value = self.value(arguments);
        let wrong = |said: Option<&str>| {
            let text = value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            mismatch(&self.header, said, &text)
        };
        let (header, value) = match (header, value) {
            (None, None) => return Ok(()),
            (None, Some(_)) if revision == Revision::WithHandshake => return Ok(()),
            (Some(header), Some(value)) => (header, value),
            (header, _) => return Err(wrong(header)),
        };
        let same = match value {
            Value::String(text) => plain(header).is_ok_and(|said| said == *text),
            Value::Bool(is) => header == if *is { "true" } else { "false" },
            // However either of them is written, and whatever a machine's numbers can hold.
            Value::Number(number) => {
                let said = Exact::read(header);
                header == number.to_string() || (said.is_some() && said == Exact::read(number.as_str()))
            }
            _ => false,
        };
        if same { Ok(()) } else { Err(wrong(Some(header))) }
    }
}

/// A number of JSON, exactly: its digits without zeros at either end, and where the point is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exact {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Exact {
    /// Zero has no sign and no exponent. `None` where it is no number, or its exponent is one that nobody writes.
    fn read(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                let is_one =
                    (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
                (mantissa, is_one.then(|| exponent.parse::<i64>().ok()).flatten()?)
            }
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some((whole, fraction)) => (whole, fraction),
            None => (mantissa, ""),
        };
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty()
            || !all_digits(whole)
            || !all_digits(fraction)
            || (whole.starts_with('0') && whole != "0")
        {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        let behind = all.len() - all.trim_end_matches('0').len();
        let shift = i64::try_from(behind).ok()? - i64::try_from(fraction.len()).ok()?;
        Some(Self { negative, digits: digits.to_owned(), exponent: exponent.checked_add(shift)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agrees(header: &str, value: &str) -> bool {
        let one = Repeated { header: "mcp-param-n".to_owned(), path: vec!["n".to_owned()] };
        let value = crate::json::parse(value.as_bytes()).unwrap();
        let arguments = Map::from_iter([("n".to_owned(), value)]);
        one.agrees(Some(header), &arguments, Revision::Stateless).is_ok()
    }

    #[test]
    fn numbers_agree_exactly() {
        for (header, value) in [
            ("7", "7"),
            ("7.0", "7"),
            ("70e-1", "7"),
            ("0.7E1", "7"),
            ("-0", "0"),
            ("0.10", "0.1"),
            ("1e2", "100"),
            ("9007199254740993", "9007199254740993"),
            ("9007199254740993.0", "9007199254740993"),
            ("1e400", "1e400"),
            ("10e399", "1E+400"),
            ("123456789012345678901234567890", "1.2345678901234567890123456789e29"),
        ] {
            assert!(agrees(header, value), "{header} {value}");
        }
        for (header, value) in [
            // The same to a machine that holds them in 64 bits.
            ("9007199254740992", "9007199254740993"),
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.10000000000000001"),
            ("1e400", "1e401"),
            ("123456789012345678901234567890", "123456789012345678901234567891"),
            ("8", "7"),
            ("-7", "7"),
            ("+7", "7"),
            ("07", "7"),
            ("7.", "7"),
            (".7", "0.7"),
            (" 7", "7"),
            ("0x7", "7"),
            ("7e", "7"),
            ("", "0"),
            ("NaN", "0"),
            ("inf", "1e400"),
            ("1e9999999999999999999", "1"),
        ] {
            assert!(!agrees(header, value), "{header} {value}");
        }
    }

    proptest! {
        #[test]
        fn small_numbers_agree_where_they_are_the_same(one in -2000_i64..2000, other in -2000_i64..2000, shift in 0_u32..4) {
            let scaled = |number: i64, shift: u32| format!("{number}{}e-{shift}", "0".repeat(shift as usize));
            prop_assert_eq!(agrees(&scaled(one, shift), &other.to_string()), one == other);
        }
    }
}
