//! Placet's doors as protected resources (RFC 9728): where a client that was turned away finds out from whom to get a
//! token, and how to send it.
//!
//! A door has the URL below the issuer that its clients know it by, and its metadata at the well-known path with that
//! inserted (RFC 9728 §3.1). Whichever it is, a token for Placet is what it takes.
//!
//! Invariant: only doors that are there have metadata, and `resource` is the URL that the metadata was asked for.

use super::metadata::{KEPT, signed, split, with_scopes};
use crate::{app::App, problem::Problem};
use axum::{
    Json,
    extract::{Path, State},
    http::header,
    response::{IntoResponse as _, Response},
};
use placet_core::{dpop::ALGORITHMS, grant::cover::PLACET_ACTION, refusal::Code, token::Statement};
use serde_json::json;
use std::sync::Arc;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// The doors by their paths; each stands for what is below it too.
const DOORS: [&str; 4] = ["/v1/actions", "/v1/decisions", "/proxy", "/mcp"];

/// `GET /.well-known/oauth-protected-resource`: Placet as a whole.
pub async fn show(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    document(&app, "").await
}

/// `GET /.well-known/oauth-protected-resource/{path…}`: one door.
pub(crate) async fn show_at(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let path = format!("/{path}");
    let (_, own) = split(&app.issuer);
    // An issuer with a path has it inserted here as well.
    let door = path.strip_prefix(own).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match door {
        Some("") => document(&app, "").await,
        Some(door) if is_door(door) => document(&app, door).await,
        _ => Err(Problem::of(Code::NotFound, "there is no protected resource at that path")),
    }
}

/// Where the metadata is of the door that has this path, or else of Placet as a whole.
pub(crate) fn url_for(app: &App, path: &str) -> String {
    let (origin, own) = split(&app.issuer);
    let door = door_of(path).unwrap_or_default();
    format!("{origin}{WELL_KNOWN}{own}{door}")
}

/// Whether `url` is Placet's own, as a whole or one of its doors: what a client may name as the `resource` of a token
/// (RFC 8707 §2).
pub(crate) fn is_own(issuer: &str, url: &str) -> bool {
    match url.strip_prefix(issuer) {
        Some("" | "/") => true,
        Some(rest) => is_door(rest),
        None => false,
    }
}

/// The part of a path that names its door.
fn door_of(path: &str) -> Option<&str> {
    let at =
        |door: &str| path.strip_prefix(door).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    DOORS.into_iter().find(|door| at(door))
}

fn is_door(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte));
    plain && door_of(path).is_some() && !path.ends_with('/')
}

async fn document(app: &App, door: &str) -> Result<Response, Problem> {
    let issuer = &app.issuer;
    let mut document = json!({
        "resource": format!("{issuer}{door}"),
        "resource_name": "Placet",
        "authorization_servers": [issuer],
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "bearer_methods_supported": ["header"],
        // Declared types are for others: Placet's own doors go by no other.
        "authorization_details_types_supported": [PLACET_ACTION],
        "dpop_signing_alg_values_supported": ALGORITHMS,
    });
    if let (Some(_), Some(document)) = (&app.mutual_tls, document.as_object_mut()) {
        document.insert("tls_client_certificate_bound_access_tokens".into(), true.into());
    }
    with_scopes(app, &mut document).await?;
    let document = signed(app, Statement::ResourceMetadata, document)?;
    Ok(([(header::CACHE_CONTROL, KEPT)], Json(document)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_are_known_by_their_paths_and_nothing_else_is() {
        assert_eq!(door_of("/v1/actions/act_1"), Some("/v1/actions"));
        assert_eq!(door_of("/proxy/shop-main/x"), Some("/proxy"));
        assert_eq!(door_of("/mcp"), Some("/mcp"));
        for other in ["", "/", "/v1", "/v1/actionsx", "/mcpx", "/v1/grants", "/x/proxy"] {
            assert_eq!(door_of(other), None, "{other}");
        }
        let issuer = "https://placet.example/t";
        for own in ["", "/", "/v1/actions", "/proxy/shop-main"] {
            assert!(is_own(issuer, &format!("{issuer}{own}")), "{own}");
        }
        for other in [
            "https://placet.example",
            "https://placet.example/tt",
            "https://placet.example/t/v1",
            "https://placet.example/t/proxy?x",
            "https://placet.example/t/proxy#x",
            "https://placet.example/t/proxy/",
        ] {
            assert!(!is_own(issuer, other), "{other}");
        }
    }
}
