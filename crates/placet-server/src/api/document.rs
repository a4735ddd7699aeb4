//! What policies and services have in common: a YAML or JSON document under a name of the path, checked against what
//! is in force, stored as the next version.
//!
//! Invariant: a document's name is the one in the path, and its text is stored as it was sent.

use crate::{body, problem::Problem};
use axum::extract::Request;
use placet_core::{diagnostic::Diagnostic, refusal::Code};
use serde_json::Value;

/// The media types that a document may have.
const KINDS: &[&str] = &["application/yaml", "text/yaml", "application/x-yaml", "application/json"];

/// The text of a document.
///
/// # Errors
/// `media_type_unsupported`, `body_too_large`, `document_invalid` where it is not UTF-8.
pub(crate) async fn read(request: Request) -> Result<String, Problem> {
    body::expect_media_type(request.headers(), KINDS)?;
    let bytes = body::whole(request).await?;
    String::from_utf8(bytes.into()).map_err(|error| {
        let detail = format!("the document is not UTF-8 from byte {} on", error.utf8_error().valid_up_to());
        Problem::document(&[Diagnostic::error(detail)])
    })
}

/// Refuses a document whose name is not the path's.
///
/// # Errors
/// `document_invalid`.
pub(crate) fn expect_name(kind: &str, inside: &str, in_path: &str) -> Result<(), Problem> {
    if inside == in_path {
        return Ok(());
    }
    let detail = format!("the document's `{kind}` is `{inside}`, the path says `{in_path}`");
    Err(Problem::document(&[Diagnostic::error(detail)]))
}

/// Warnings as they are answered.
pub(crate) fn warnings(warnings: &[Diagnostic]) -> Value {
    serde_json::to_value(warnings).unwrap_or_default()
}

/// Somebody else stored a version meanwhile.
pub(crate) fn overtaken() -> Problem {
    Problem::of(Code::Unavailable, "somebody else changed the same document; nothing was done, try again")
}
