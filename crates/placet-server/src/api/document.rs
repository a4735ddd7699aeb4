//! What policies and services have in common: a YAML or JSON document under a name of the path, checked against what
//! is in force, stored as the next version.
//!
//! Invariant: a document's name is the one in the path, and its text is stored as it was sent, or (a policy in the
//! compact form) in comments above what it became.

use super::query::QueryParams;
use crate::{
    app::App,
    body,
    problem::Problem,
    rules::document::{no_such, word},
};
use axum::extract::Request;
use placet_core::diagnostic::Diagnostic;
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

/// Warnings as they are answered.
pub(crate) fn warnings(warnings: &[Diagnostic]) -> Value {
    serde_json::to_value(warnings).unwrap_or_default()
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
