//! What policies and services have in common: a YAML or JSON document under a name of the path, checked against what
//! is in force, stored as the next version.
//!
//! Invariant: a document's name is the one in the path, and its text is stored as it was sent.

use super::query::QueryParams;
use crate::{app::App, body, problem::Problem};
use axum::extract::Request;
use placet_core::{diagnostic::Diagnostic, refusal::Code, secret::sha256};
use placet_store::documents::{self, Applied, Kind};
use serde_json::{Value, json};

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
pub(crate) fn expect_name(kind: Kind, inside: &str, in_path: &str) -> Result<(), Problem> {
    if inside == in_path {
        return Ok(());
    }
    let detail = format!("the document's `{}` is `{inside}`, the path says `{in_path}`", word(kind));
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

/// The word for a kind, on the wire and in sentences.
const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Policy => "policy",
        Kind::Service => "service",
    }
}

/// Every version of the document `name`, oldest first.
///
/// # Errors
/// `unavailable`.
pub(crate) async fn versions(app: &App, kind: Kind, name: &str) -> Result<Vec<Applied>, Problem> {
    let name = name.to_owned();
    Ok(app.store.read(move |q| documents::versions_of(q, kind, &name)).await?)
}

/// The version of a document that the query names (`version`), or the one in force.
///
/// # Errors
/// `not_found`; `request_invalid` where the query has anything else.
pub(crate) async fn one(
    app: &App,
    kind: Kind,
    name: String,
    query: &QueryParams,
) -> Result<Applied, Problem> {
    query.only(&["version"])?;
    let version: Option<u64> = query.parsed("version")?;
    let found = app.store.read(move |q| match version {
        None => documents::find(q, kind, &name),
        Some(version) => documents::version(q, kind, &name, version),
    });
    found.await?.ok_or_else(|| no_such(kind))
}

/// A version as it is answered, with its text.
pub(crate) fn shown(kind: Kind, applied: Applied) -> Value {
    let Applied { name, version, source, at, by, .. } = applied;
    json!({word(kind): name, "version": version, "source": source, "applied": at, "applied_by": by})
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
