//! CBOR (RFC 8949) as authenticators write it: definite lengths, shortest forms, no tags, no floats (CTAP 2.1 §8).
//!
//! Invariant: what is read has exactly one reading: no key twice, no number in a longer form than it needs, and nothing
//! behind the end that is not accounted for. No input panics or makes the reader allocate more than it was sent.

/// The longest input, in bytes.
const MAX_LENGTH: usize = 64 * 1024;
/// How deep arrays and maps may be nested, counting the outermost.
const MAX_DEPTH: usize = 8;

/// A value. A map keeps the order in which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// An integer.
    Integer(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// UTF-8 text.
    Text(String),
    /// A list.
    Array(Vec<Self>),
    /// Pairs; no key twice.
    Map(Vec<(Self, Self)>),
    /// True or false.
    Bool(bool),
    /// Null.
    Null,
}

/// Why something is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// It ends too early, or is longer than is looked at.
    #[error("the CBOR ends too early, or is longer than {MAX_LENGTH} bytes")]
    Length,
    /// Something follows.
    #[error("something follows the CBOR")]
    Trailing,
    /// A form that is not read here: a tag, a float, an indefinite length, a number in a longer form than it needs or
    /// beyond 64 bits.
    #[error("the CBOR is not in its one form: shortest numbers, definite lengths, no tags, no floats")]
    Form,
    /// Text that is not UTF-8.
    #[error("a text in the CBOR is not UTF-8")]
    Text,
    /// A key of a map occurs twice.
    #[error("a key occurs twice in a map of the CBOR")]
    Twice,
    /// Nested too deep.
    #[error("the CBOR is nested deeper than {MAX_DEPTH} levels")]
    Depth,
}

impl Value {
    /// Reads one value, which is all that there is.
    ///
    /// # Errors
    /// [`CborError`].
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, CborError> {
        match Self::read_first(bytes)? {
            (value, []) => Ok(value),
            _ => Err(CborError::Trailing),
        }
    }

    /// Reads one value, and answers what follows.
    ///
    /// # Errors
    /// [`CborError`], never `Trailing`.
    pub(crate) fn read_first(bytes: &[u8]) -> Result<(Self, &[u8]), CborError> {
        if bytes.len() > MAX_LENGTH {
            return Err(CborError::Length);
        }
        let mut rest = bytes;
        let value = value(&mut rest, 0)?;
        Ok((value, rest))
    }

    /// The integer, where it is one.
    pub(crate) fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(integer) = self { Some(*integer) } else { None }
    }

    /// The bytes, where they are some.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The text, where it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The pairs, where it is a map.
    pub(crate) fn as_map(&self) -> Option<&[(Self, Self)]> {
        if let Self::Map(pairs) = self { Some(pairs) } else { None }
    }

    /// As it is written, in the order that it has.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(integer) if *integer < 0 => head(out, 1, !integer.cast_unsigned()),
            Self::Integer(integer) => head(out, 0, integer.cast_unsigned()),
            Self::Bytes(bytes) => {
                head(out, 2, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Self::Text(text) => {
                head(out, 3, text.len() as u64);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Array(items) => {
                head(out, 4, items.len() as u64);
                items.iter().for_each(|item| item.write(out));
            }
            Self::Map(pairs) => {
                head(out, 5, pairs.len() as u64);
                for (key, value) in pairs {
                    key.write(out);
                    value.write(out);
                }
            }
            Self::Bool(truth) => out.push(if *truth { 0xf5 } else { 0xf4 }),
            Self::Null => out.push(0xf6),
        }
    }
}

#[cfg(any(test, fuzzing))]
fn head(out: &mut Vec<u8>, major: u8, number: u64) {
    let major = major << 5;
    match number {
        0..=23 => out.push(major | number.to_le_bytes()[0]),
        24..=0xff => out.extend_from_slice(&[major | 24, number.to_le_bytes()[0]]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend(number.to_be_bytes().into_iter().skip(6));
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend(number.to_be_bytes().into_iter().skip(4));
        }
        _ => {
            out.push(major | 27);
            out.extend(number.to_be_bytes());
        }
    }
}

fn value(rest: &mut &[u8], depth: usize) -> Result<Value, CborError> {
    let (first, mut behind) = rest.split_first().ok_or(CborError::Length)?;
    let (major, low) = (first >> 5, first & 0x1f);
    if major == 7 {
        *rest = behind;
        return match low {
            20 => Ok(Value::Bool(false)),
            21 => Ok(Value::Bool(true)),
            22 => Ok(Value::Null),
            _ => Err(CborError::Form),
        };
    }
    let number = number(low, &mut behind)?;
    *rest = behind;
    let integer = || i64::try_from(number).map_err(|_| CborError::Form);
    // More items or bytes than there are bytes left never fit; nothing is reserved for what is only said.
    let count = usize::try_from(number).ok().filter(|count| *count <= rest.len());
    match major {
        0 => Ok(Value::Integer(integer()?)),
        1 => Ok(Value::Integer(!integer()?)),
        2 => Ok(Value::Bytes(taken(rest, count)?.to_vec())),
        3 => {
            let text = std::str::from_utf8(taken(rest, count)?).map_err(|_| CborError::Text)?;
            Ok(Value::Text(text.to_owned()))
        }
        4 | 5 if depth >= MAX_DEPTH => Err(CborError::Depth),
        4 => {
            let count = count.ok_or(CborError::Length)?;
            let mut items = Vec::new();
            for _ in 0..count {
                items.push(value(rest, depth + 1)?);
            }
            Ok(Value::Array(items))
        }
        5 => {
            let count = count.ok_or(CborError::Length)?;
            let mut pairs: Vec<(Value, Value)> = Vec::new();
            for _ in 0..count {
                let key = value(rest, depth + 1)?;
                // Few keys each: comparing them all is cheaper than any order.
                if pairs.len() >= MAX_PAIRS {
                    return Err(CborError::Length);
                }
                if pairs.iter().any(|(known, _)| *known == key) {
                    return Err(CborError::Twice);
                }
                pairs.push((key, value(rest, depth + 1)?));
            }
            Ok(Value::Map(pairs))
        }
        _ => Err(CborError::Form),
    }
}

/// The most pairs of one map.
const MAX_PAIRS: usize = 64;

/// The number of a head, in the shortest form that it has.
fn number(low: u8, rest: &mut &[u8]) -> Result<u64, CborError> {
    let (length, least) = match low {
        0..=23 => return Ok(low.into()),
        24 => (1, 24),
        25 => (2, 0x100),
        26 => (4, 0x1_0000),
        27 => (8, 0x1_0000_0000),
        _ => return Err(CborError::Form),
    };
    let bytes = taken(rest, Some(length))?;
    let number = bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    if number < least { Err(CborError::Form) } else { Ok(number) }
}

fn taken<'a>(rest: &mut &'a [u8], count: Option<usize>) -> Result<&'a [u8], CborError> {
    let split = count.and_then(|count| rest.split_at_checked(count));
    let (taken, left) = split.ok_or(CborError::Length)?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(hex: &str) -> Result<Value, CborError> {
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        Value::read(&bytes)
    }

    /// RFC 8949, appendix A.
    #[test]
    fn examples_of_the_standard_are_read() {
        use Value::{Array, Bool, Bytes, Integer, Map, Null, Text};
        for (hex, integer) in [
            ("00", 0),
            ("17", 23),
            ("1818", 24),
            ("1903e8", 1000),
            ("1a000f4240", 1_000_000),
            ("1b000000e8d4a51000", 1_000_000_000_000),
            ("20", -1),
            ("3863", -100),
            ("3903e7", -1000),
            ("1b7fffffffffffffff", i64::MAX),
            ("3b7fffffffffffffff", i64::MIN),
        ] {
            assert_eq!(read(hex), Ok(Integer(integer)), "{hex}");
        }
        assert_eq!(read("4401020304"), Ok(Bytes(vec![1, 2, 3, 4])));
        assert_eq!(read("62c3bc"), Ok(Text("ü".into())));
        assert_eq!(read("83f4f5f6"), Ok(Array(vec![Bool(false), Bool(true), Null])));
        let pairs =
            vec![(Text("a".into()), Integer(1)), (Text("b".into()), Array(vec![Integer(2), Integer(3)]))];
        assert_eq!(read("a26161016162820203"), Ok(Map(pairs)));
    }

    #[test]
    fn what_has_another_form_or_two_readings_is_refused() {
        let refused = [
            ("", CborError::Length),
            ("18", CborError::Length),
            ("420a", CborError::Length),
            ("5affffffff00", CborError::Length),
            ("9bffffffffffffffff00", CborError::Length),
            ("0000", CborError::Trailing),
            // In a longer form than it needs.
            ("1817", CborError::Form),
            ("1900ff", CborError::Form),
            ("1a0000ffff", CborError::Form),
            ("1b00000000ffffffff", CborError::Form),
            ("5800", CborError::Form),
            // Beyond 64 bits with a sign.
            ("1bffffffffffffffff", CborError::Form),
            ("3bffffffffffffffff", CborError::Form),
            // Indefinite, tagged, a float, undefined, a simple value.
            ("5f4101ff", CborError::Form),
            ("9f01ff", CborError::Form),
            ("c001", CborError::Form),
            ("f90000", CborError::Form),
            ("f7", CborError::Form),
            ("f800", CborError::Form),
            ("ff", CborError::Form),
            ("61ff", CborError::Text),
            ("a201000100", CborError::Twice),
            ("a2616100616100", CborError::Twice),
        ];
        for (hex, error) in refused {
            assert_eq!(read(hex), Err(error), "{hex}");
        }
        assert!(read(&format!("{}00", "81".repeat(MAX_DEPTH))).is_ok());
        assert_eq!(read(&format!("{}00", "81".repeat(MAX_DEPTH + 1))), Err(CborError::Depth));
        assert_eq!(Value::read(&vec![0; MAX_LENGTH + 1]), Err(CborError::Length));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::Integer),
            (0u8..64, any::<bool>()).prop_map(|(bits, minus)| {
                let number = 1i64.wrapping_shl(bits.into()).wrapping_sub(1);
                Value::Integer(if minus { !number } else { number })
            }),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
            ".{0,30}".prop_map(Value::Text),
            any::<bool>().prop_map(Value::Bool),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((inner.clone(), inner), 0..6).prop_map(|pairs| {
                    let mut kept: Vec<(Value, Value)> = Vec::new();
                    for (key, value) in pairs {
                        if kept.iter().all(|(known, _)| *known != key) {
                            kept.push((key, value));
                        }
                    }
                    Value::Map(kept)
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in any_value(), more: u8) {
            let mut bytes = Vec::new();
            value.write(&mut bytes);
            prop_assert_eq!(Value::read(&bytes), Ok(value));
            for length in 0..bytes.len() {
                prop_assert!(Value::read(&bytes[..length]).is_err());
            }
            bytes.push(more);
            prop_assert_eq!(Value::read(&bytes), Err(CborError::Trailing));
        }

        #[test]
        fn any_bytes_are_refused_or_written_back(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = Value::read(&bytes) {
                let mut again = Vec::new();
                value.write(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
