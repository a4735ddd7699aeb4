//! Clients whose id is the URL of a document that describes them (draft-ietf-oauth-client-id-metadata-document).
//!
//! Invariant: the document names exactly the URL that it was read from, byte by byte, and no shared secret.

use super::{Author, Metadata, MetadataError, Uri};
use crate::json;
use serde_json::Value;

/// The largest document, in bytes.
pub const MAX_BYTES: usize = 5 * 1024;

/// Whether a `client_id` is meant as a URL.
pub fn is_url(client_id: &str) -> bool {
    client_id.starts_with("https://") || client_id.starts_with("http://")
}

/// Checks that a `client_id` can be the URL of a document: https with a path, without user information, fragment and
/// dot-segments; http where it is at this machine, if whoever fetches it permits that.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn check_url(client_id: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("the client id `{}` {what}", client_id.escape_debug()));
    let uri = match Uri::parse(client_id) {
        Ok(uri) => uri,
        Err(what) => return wrong(&format!("is no URL of a document: it {what}")),
    };
    if !uri.is_https_or_local() {
        return wrong("is no https URL");
    }
    if uri.path.is_empty() {
        return wrong("has no path");
    }
    // Whoever fetches it may write these otherwise, and it would be another client's.
    if uri.query.is_some_and(|query| query.contains('\'')) {
        return wrong("has `'` in its query: write `%27`");
    }
    if let Some(authority) = uri.authority {
        if authority.host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return wrong("has a host in lower case");
        }
        if matches!((uri.scheme, authority.port), ("https", Some(443)) | ("http", Some(80))) {
            return wrong("names no port that is the default of its scheme");
        }
    }
    Ok(())
}

/// Reads the document that was found at `url`.
///
/// # Errors
/// [`MetadataError`] with what is wrong.
pub fn read(url: &str, document: &[u8]) -> Result<Metadata, MetadataError> {
    let wrong = |what: String| MetadataError::Metadata(what);
    if document.len() > MAX_BYTES {
        return Err(wrong(format!("the document has more than {MAX_BYTES} bytes")));
    }
    let members = match json::parse(document) {
        Ok(Value::Object(members)) => members,
        Ok(_) => return Err(wrong("the document is no JSON object".to_owned())),
        Err(error) => return Err(wrong(format!("the document is not valid JSON: {error}"))),
    };
    if members.get("client_id").and_then(Value::as_str) != Some(url) {
        return Err(wrong("the document's `client_id` is not the URL that it was read from".to_owned()));
    }
    let metadata = Metadata::read(&members, Author::Document)?;
    if metadata.client_name.is_none() {
        return Err(wrong("the document has no `client_name`, which people would be shown".to_owned()));
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_client_id_is_a_url_with_one_spelling() {
        for good in
            ["https://app.example/client.json", "https://app.example/", "https://app.example:8443/a?b=c"]
        {
            assert!(check_url(good).is_ok(), "{good}");
        }
        assert!(check_url("http://127.0.0.1:9/c").is_ok());
        for wrong in [
            "https://app.example",
            "http://app.example/c",
            "https://app.example/c#x",
            "https://me@app.example/c",
            "https://app.example/a/../c",
            "https://app.example/%2E/c",
            "https://аpp.example/c",
            "https://app.example/c\u{200b}",
            "HTTPS://app.example/c",
            "https://App.example/c",
            "https://app.example:443/c",
            "https://app.example/c?a='b'",
            "http://127.0.0.1:80/c",
            "https://app.example\\c",
            "https:///c",
            "agt_01k",
        ] {
            assert!(check_url(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_document_is_of_its_url_alone() {
        let url = "https://app.example/c";
        let document = |change: &dyn Fn(&mut Value)| {
            let mut document = json!({"client_id": url, "client_name": "App",
                "redirect_uris": ["https://app.example/back"], "unknown": {"x": 1}});
            change(&mut document);
            read(url, document.to_string().as_bytes())
        };
        assert!(document(&|_| {}).unwrap().is_public());
        for (name, value) in [
            ("client_id", json!("https://app.example/c/")),
            ("client_id", json!("https://APP.example/c")),
            ("client_id", json!("https://app.example/%63")),
            ("client_id", Value::Null),
            ("client_name", Value::Null),
            ("client_secret", json!("x")),
            ("token_endpoint_auth_method", json!("client_secret_post")),
            ("redirect_uris", json!([])),
        ] {
            assert!(document(&|document| document[name] = value.clone()).is_err(), "{name}");
        }
        for text in [
            "",
            "[]",
            "{}",
            r#"{"client_id":"https://app.example/c","client_id":"https://app.example/d"}"#,
            r#"{"client_id":"https://app.example/c","client_name":"a","redirect_uris":["https://a.example/b"],"client_id":"https://app.example/c"}"#,
        ] {
            assert!(read(url, text.as_bytes()).is_err(), "{text}");
        }
        let padded = format!("{}{}", json!({"client_id": url}), " ".repeat(MAX_BYTES));
        assert!(read(url, padded.as_bytes()).unwrap_err().to_string().contains("bytes"));
    }
}
