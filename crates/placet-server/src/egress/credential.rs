//! Who asks the proxy: the agent's access token, as the password of `Proxy-Authorization: Basic …` since that is all that
//! HTTP clients can be told to send. The user name is free; where it is a connection's, that one is meant.
//!
//! Invariant: it is read from no other header, so that what an agent's program sends to a host never authorizes anything
//! here; and a token that is bound to a key is of no use, as nobody proves the key.

use crate::{
    app::App,
    bearer::{self, Bearer},
    problem::Problem,
    sender::Held,
};
use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{refusal::Code, secret::Secret};
use std::sync::Arc;

/// Who asks.
#[derive(Debug)]
pub(super) struct Credential {
    /// The token.
    pub(super) held: Held,
    /// What it stood for when it was shown.
    pub(super) bearer: Arc<Bearer>,
    /// The user name.
    pub(super) hint: String,
}

/// The credential of a request to the proxy, alive.
///
/// # Errors
/// A 401 of the table.
pub(super) async fn of(app: &App, headers: &HeaderMap) -> Result<Credential, Problem> {
    let (hint, token) = read(headers)?;
    let held = Held::bearer(token.expose_str().unwrap_or_default());
    let bearer = bearer::live(app, &held).await?;
    Ok(Credential { held, bearer, hint })
}

/// The user name and the token of a request to the proxy.
pub(crate) fn read(headers: &HeaderMap) -> Result<(String, Secret), Problem> {
    let missing = || {
        let detail = "send `Proxy-Authorization: Basic …` with an agent's access token as the password; `placet run` sees to that";
        Problem::of(Code::TokenInvalid, detail)
    };
    let mut values = headers.get_all(header::PROXY_AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(Problem::of(Code::RequestInvalid, "send one Proxy-Authorization header"));
    }
    let (scheme, encoded) = value.to_str().ok().and_then(|it| it.split_once(' ')).ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(missing());
    }
    let decoded = STANDARD.decode(encoded.trim()).ok().map(Secret::new).ok_or_else(missing)?;
    let (hint, token) = decoded.expose_str().and_then(|text| text.split_once(':')).ok_or_else(missing)?;
    Ok((hint.to_owned(), Secret::new(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(values: &[&str]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::PROXY_AUTHORIZATION, value.parse().unwrap());
        }
        let (hint, token) = read(&headers).ok()?;
        Some((hint, token.expose_str().unwrap().to_owned()))
    }

    #[test]
    fn the_password_is_the_token() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(parsed(&[&basic("shop-main:ey.J.x")]), pair("shop-main", "ey.J.x"));
        assert_eq!(parsed(&[&basic(":a:b")]), pair("", "a:b"));
        assert_eq!(parsed(&["bAsIc OmE="]), pair("", "a"));
        for wrong in ["Bearer a", "Basic", "Basic !", &basic("no colon"), ""] {
            assert_eq!(parsed(&[wrong]), None, "{wrong}");
        }
        assert_eq!(parsed(&[]), None);
        assert_eq!(parsed(&[&basic("a:b"), &basic("a:b")]), None, "two of them");
    }
}
