//! What an authorization server publishes about itself (RFC 8414, OpenID Connect Discovery), made into what a service's
//! definition says about it. It is read when somebody writes a definition, and never by itself: what a definition says is where
//! secrets go.
//!
//! Invariant: it counts only for the issuer that was asked about, letter by letter; its places are https, or http at this
//! machine.

use super::{OAuth, account, is_token_url};
use crate::{client::Uri, provider::ClientAuth};
use serde_json::Value;
use std::collections::BTreeMap;

/// Why what was published is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishedError {
    /// It is somebody else's.
    #[error("its `issuer` is not the one that was asked about, letter by letter")]
    Issuer,
    /// A place is missing or none.
    #[error("its `{0}` is no https URL")]
    Place(&'static str),
    /// It knows no proofs that only who left can show.
    #[error("it has no `S256` among its `code_challenge_methods_supported`")]
    Proof,
    /// A client can show its secret in no way that is known here.
    #[error("it takes none of `client_secret_basic`, `client_secret_post` and `none` at its token endpoint")]
    ClientAuth,
}

/// Where the server of `issuer` may publish what it is, in the order of asking; none where it is no issuer.
pub fn places(issuer: &str) -> Vec<String> {
    let Ok(Uri { authority: Some(_), path, query: None, .. }) = Uri::parse(issuer) else { return Vec::new() };
    if !account::is_page(issuer) {
        return Vec::new();
    }
    let origin = issuer.strip_suffix(path).unwrap_or(issuer);
    let path = path.trim_end_matches('/');
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}{path}/.well-known/openid-configuration"),
    ];
    places.dedup();
    places
}

/// Reads what the server of `issuer` publishes.
///
/// # Errors
/// [`PublishedError`].
pub fn read(issuer: &str, published: &Value) -> Result<OAuth, PublishedError> {
    let text = |name: &str| published.get(name).and_then(Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err(PublishedError::Issuer);
    }
    let place = |name: &'static str, is_one: fn(&str) -> bool| match text(name) {
        None => Ok(None),
        Some(url) if is_one(url) => Ok(Some(url.to_owned())),
        Some(_) => Err(PublishedError::Place(name)),
    };
    let words = |name: &str| {
        let list = published.get(name).and_then(Value::as_array)?;
        Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>())
    };
    let authorization_url = place("authorization_endpoint", account::is_page)?;
    if authorization_url.is_some()
        && words("code_challenge_methods_supported").is_some_and(|methods| !methods.contains(&"S256"))
    {
        return Err(PublishedError::Proof);
    }
    let takes = words("token_endpoint_auth_methods_supported").unwrap_or_else(|| vec!["client_secret_basic"]);
    let client_auth = match () {
        () if takes.contains(&"client_secret_basic") => ClientAuth::ClientSecretBasic,
        () if takes.contains(&"client_secret_post") => ClientAuth::ClientSecretPost,
        () if takes.contains(&"none") => ClientAuth::ClientSecretBasic,
        () => return Err(PublishedError::ClientAuth),
    };
    let says_iss = published.get("authorization_response_iss_parameter_supported");
    Ok(OAuth {
        token_url: place("token_endpoint", is_token_url)?.ok_or(PublishedError::Place("token_endpoint"))?,
        client_auth,
        scope: Vec::new(),
        resource: None,
        audience: None,
        authorization_url,
        device_authorization_url: place("device_authorization_endpoint", is_token_url)?,
        issuer: Some(issuer.to_owned()),
        iss_in_response: says_iss == Some(&Value::Bool(true)),
        authorization_params: BTreeMap::new(),
        token_type: None,
        subject_token_type: None,
        assertion_audience: None,
        exchange: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ISSUER: &str = "https://sso.example/tenant";

    fn published(more: &Value) -> Result<OAuth, PublishedError> {
        let mut all = json!({"issuer": ISSUER, "token_endpoint": "https://sso.example/token",
            "authorization_endpoint": "https://sso.example/authorize"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(ISSUER, &all)
    }

    #[test]
    fn it_is_published_where_the_standards_say() {
        let both = |origin: &str, path: &str| {
            vec![
                format!("{origin}/.well-known/oauth-authorization-server{path}"),
                format!("{origin}{path}/.well-known/openid-configuration"),
            ]
        };
        assert_eq!(places(ISSUER), both("https://sso.example", "/tenant"));
        assert_eq!(places("https://sso.example"), both("https://sso.example", ""));
        assert_eq!(places("https://sso.example/"), both("https://sso.example", ""));
        for none in
            ["", "sso.example", "http://sso.example", "https://sso.example?x", "javascript:x", "https://a@b"]
        {
            assert_eq!(places(none), Vec::<String>::new(), "{none}");
        }
    }

    #[test]
    fn what_is_published_counts_for_the_issuer_that_was_asked_about() {
        let read = published(&json!({"authorization_response_iss_parameter_supported": true,
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"]}));
        let read = read.unwrap();
        assert_eq!((read.iss_in_response, read.client_auth), (true, ClientAuth::ClientSecretPost));
        assert_eq!(read.issuer.as_deref(), Some(ISSUER));
        for (more, error) in [
            (json!({"issuer": "https://sso.example/tenant/"}), PublishedError::Issuer),
            (json!({"issuer": null}), PublishedError::Issuer),
            (json!({"token_endpoint": null}), PublishedError::Place("token_endpoint")),
            (json!({"token_endpoint": "http://sso.example/token"}), PublishedError::Place("token_endpoint")),
            (
                json!({"authorization_endpoint": "javascript:x"}),
                PublishedError::Place("authorization_endpoint"),
            ),
            (
                json!({"device_authorization_endpoint": "ftp://x"}),
                PublishedError::Place("device_authorization_endpoint"),
            ),
            (json!({"code_challenge_methods_supported": ["plain"]}), PublishedError::Proof),
            (
                json!({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}),
                PublishedError::ClientAuth,
            ),
        ] {
            assert_eq!(published(&more), Err(error), "{more}");
        }
    }
}
