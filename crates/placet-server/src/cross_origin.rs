//! What a page of another origin may ask and read (CORS): a client that runs in a browser finds the metadata, registers,
//! gets its tokens and gives them back (OAuth 2.0 for Browser-Based Applications §6.3).
//!
//! Nothing here is given by where a browser is: the listener has no cookies, so what a page can send, anybody can. The
//! answer never allows credentials, so that a browser adds none of its own.
//!
//! Invariant: only what is listed here, and never the authorization endpoint (RFC 9700 §2.6) or any other page, which are
//! on a listener without this.

use crate::{app::App, oauth::metadata};
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};

/// The routes, with their methods.
const OPEN: [(&str, &str); 13] = [
    ("/.well-known/oauth-authorization-server", "GET"),
    ("/.well-known/oauth-authorization-server/{*path}", "GET"),
    ("/.well-known/openid-configuration", "GET"),
    ("/.well-known/openid-configuration/{*path}", "GET"),
    ("/.well-known/oauth-protected-resource", "GET"),
    ("/.well-known/oauth-protected-resource/{*path}", "GET"),
    ("/.well-known/jwks.json", "GET"),
    ("/oauth/token", "POST"),
    ("/oauth/par", "POST"),
    ("/oauth/revoke", "POST"),
    ("/oauth/status", "GET"),
    ("/oauth/status/{list}", "GET"),
    ("/oauth/register", "POST"),
];
/// A client's registration, which it manages with a token of its own (RFC 7592).
const REGISTRATION: (&str, &str) = ("/oauth/register/{client_id}", "GET, PUT, DELETE");

/// What a page may send: `*` does not stand for `Authorization`.
const HEADERS: &str = "authorization, content-type, accept, dpop, mcp-protocol-version";
/// What a page may read besides what every page may.
const EXPOSED: &str = "dpop-nonce, retry-after, www-authenticate";
/// For how long a browser need not ask again, in seconds.
const KEPT: &str = "7200";

/// The layer.
pub(crate) async fn allowed<F: Future<Output = Response>>(
    app: &App,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let open = matched.and_then(|path| methods(metadata::split(&app.issuer).1, path.as_str()));
    let Some(methods) = open else { return next(request).await };
    if is_preflight(request.method(), request.headers()) {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        open_to_all(headers);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(KEPT));
        return response;
    }
    let mut response = next(request).await;
    let headers = response.headers_mut();
    open_to_all(headers);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    response
}

/// The same for everybody, asked from a page or not, so that what is kept between serves all.
fn open_to_all(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
}

fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The methods of a route that is open, below the issuer's own path too.
fn methods(own: &str, matched: &str) -> Option<&'static str> {
    let inner = matched.strip_prefix(own).filter(|inner| inner.starts_with('/'));
    let of = |route: &str| {
        OPEN.into_iter().chain([REGISTRATION]).find_map(|(open, methods)| (open == route).then_some(methods))
    };
    of(matched).or_else(|| inner.and_then(of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_that_is_open_is_there_with_these_methods() {
        let routes = crate::routes();
        for (path, methods) in OPEN.into_iter().chain([REGISTRATION]) {
            let listed: BTreeSet<&str> =
                routes.listed().iter().filter(|route| route.path == path).map(|route| route.method).collect();
            assert_eq!(listed, methods.split(", ").collect(), "{path}");
        }
    }

    #[test]
    fn an_issuers_path_goes_before_it_and_nothing_else_does() {
        assert_eq!(methods("", "/oauth/token"), Some("POST"));
        assert_eq!(methods("/t", "/t/oauth/token"), Some("POST"));
        assert_eq!(methods("/t", "/oauth/token"), Some("POST"));
        for other in
            ["/t/t/oauth/token", "/toauth/token", "/oauth/introspect", "/v1/agents", "/oauth/authorize", ""]
        {
            assert_eq!(methods("/t", other), None, "{other}");
        }
    }
}
