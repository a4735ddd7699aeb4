//! Documents in force: what policies and services have in common as they are put there.
//!
//! Invariant: a document has the name that it is stored under, and its entry in the record has the digest of its text.

use crate::problem::Problem;
use placet_core::{diagnostic::Diagnostic, refusal::Code, secret::sha256};
use placet_store::documents::Kind;
use serde_json::{Value, json};

/// Refuses a document whose name is not the path's.
///
/// # Errors
/// `document_invalid`.
pub(crate) fn expect_name(kind: Kind, inside: &str, in_path: &str) -> Result<(), Problem> {
    if inside == in_path {
        return Ok(());
    }
    let detail = format!("the document's `{}` is `{inside}`, the path says `{in_path}`", word(kind));
    Err(Problem::document(&[Diagnostic::error(detail)]))
}

/// Somebody else stored a version meanwhile.
pub(crate) fn overtaken() -> Problem {
    Problem::of(Code::Unavailable, "somebody else changed the same document; nothing was done, try again")
}

/// The word for a kind, on the wire and in sentences.
pub(crate) const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Policy => "policy",
        Kind::Service => "service",
    }
}

/// The body of an entry about a document that was put in force: its text and the digest of that.
pub(crate) fn applied_body(text: &str) -> Value {
    let digest: String = sha256(&[text.as_bytes()]).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"sha256": digest, "source": text})
}

/// There is none of this name, or none with this number.
pub(crate) fn no_such(kind: Kind) -> Problem {
    let word = word(kind);
    Problem::of(Code::NotFound, format!("there is no such {word}, or no such version of it"))
}
