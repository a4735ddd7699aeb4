//! What the fuzzers (`fuzz/README.md`) ask of the core beyond its public interface. It is there only where they, or tests, are
//! built.
//!
//! Invariant: nothing that ships reaches it.

use crate::{
    cbor,
    cel::{Activation, Conjunct, Fuel, Outcome},
    keys::SigningKey,
    yaml,
};
use serde_json::Value;

#[cfg(test)]
mod replay;

/// What a condition says by the evaluator alone, without the shorter way that simple ones have.
pub fn in_general(conjunct: &Conjunct, vars: &Activation<'_>, fuel: &mut Fuel) -> Outcome {
    conjunct.evaluate_in_general(vars, fuel)
}

/// CBOR read and written again; `None` for what is not read.
pub fn cbor(bytes: &[u8]) -> Option<Vec<u8>> {
    let value = cbor::Value::read(bytes).ok()?;
    let mut out = Vec::new();
    value.write(&mut out);
    Some(out)
}

/// Whether a document that is read in one pass is read so as the parser reads it that knows all of YAML, places included;
/// `None` where it is left to that.
pub fn yaml_is_read_alike(text: &str) -> Option<bool> {
    yaml::is_read_alike(text)
}

/// A compact JWS of any header and claims.
pub fn jws(key: &SigningKey, header: &Value, claims: &Value) -> Option<String> {
    key.jws(header, claims).ok()
}
