//! What the fuzzers (`fuzz/README.md`) ask of the core beyond its public interface. It is there only where they are built.
//!
//! Invariant: nothing that ships reaches it.

use crate::{
    cbor,
    cel::{Activation, Conjunct, Fuel, Outcome},
    keys::SigningKey,
};
use serde_json::Value;

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

/// A compact JWS of any header and claims.
pub fn jws(key: &SigningKey, header: &Value, claims: &Value) -> Option<String> {
    key.jws(header, claims).ok()
}
