//! A client of Placet's HTTP interface, as the commands and the demo use it.
//!
//! Invariant: the token is sent to the base URL only: redirects are not followed.

use crate::{exit::Failure, holder::Holder, output::escaped};
use placet_core::secret::Secret;
use reqwest::{Method, header};
use serde_json::Value;
use std::{fmt::Write as _, time::Duration};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A server and the token that is sent to it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<Secret>,
    holder: Option<Holder>,
}

/// The body of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body<'a> {
    /// None.
    Empty,
    /// JSON.
    Json(&'a Value),
    /// A form (`application/x-www-form-urlencoded`).
    Form(&'a [(&'a str, &'a str)]),
    /// YAML as it stands in a file.
    Yaml(&'a [u8]),
}

/// What the server answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body: JSON, or text where it is none, or null where it is empty.
    pub(crate) body: Value,
}

impl Answer {
    /// Whether the status is of the 200s.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of a success.
    ///
    /// # Errors
    /// The server's refusal as a sentence.
    pub(crate) fn success(self) -> Result<Value, Failure> {
        if self.is_success() { Ok(self.body) } else { Err(Failure::Refused(self.refusal())) }
    }

    /// A refusal as text: a problem document (RFC 9457), an OAuth error (RFC 6749 §5.2), or whatever it is.
    pub(crate) fn refusal(&self) -> String {
        let member = |name: &str| self.body.get(name).and_then(Value::as_str);
        let code = member("code").or_else(|| member("error")).or_else(|| member("title"));
        let detail = member("detail").or_else(|| member("error_description"));
        let mut out = match (code, detail) {
            (Some(code), Some(detail)) => format!("{code}: {detail}"),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (None, None) if self.body.is_string() => format!(
                "the server answered {}, and with something else than JSON: is this the address of Placet's interface, \
                 and not that of people's pages or of something in front of it?",
                self.status
            ),
            (None, None) => format!("the server answered {}: {}", self.status, self.body),
        };
        for diagnostic in self.body.get("diagnostics").and_then(Value::as_array).into_iter().flatten() {
            let part = |pointer: &str| diagnostic.pointer(pointer).map(crate::output::text);
            let place = part("/position/line").zip(part("/position/column"));
            let place = place.map(|(line, column)| format!("{line}:{column}: ")).unwrap_or_default();
            let message = part("/message").unwrap_or_default();
            // The first is in the detail already, with the line that it is about.
            if detail.is_some_and(|detail| detail.contains(&message)) {
                continue;
            }
            let _ = write!(out, "\n  {place}{message}");
            if let Some(help) = part("/help") {
                let _ = write!(out, " (help: {help})");
            }
        }
        out.lines().map(escaped).collect::<Vec<_>>().join("\n")
    }
}

impl Client {
    /// A client of the server at `base`.
    ///
    /// # Errors
    /// A sentence: `base` is no URL, or TLS can't be set up.
    pub(crate) fn new(base: &str, token: Option<Secret>) -> Result<Self, Failure> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let base = base.trim_end_matches('/').to_owned();
        let http = built(builder(&base)?)?;
        Ok(Self { http, base, token, holder: None })
    }

    /// The same with another base URL.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub(crate) fn at(self, base: &str) -> Result<Self, Failure> {
        Ok(Self { holder: self.holder, ..Self::new(base, self.token)? })
    }

    /// The same, which shows a certificate (PEM, with its key) and believes a server that these authorities have certified
    /// (PEM), else those of the system.
    ///
    /// # Errors
    /// A sentence, where they can't be used.
    pub(crate) fn over_tls(self, identity: Option<&Secret>, roots: Option<&[u8]>) -> Result<Self, Failure> {
        let wrong =
            |what: &str, error: reqwest::Error| Failure::unreadable(format!("{what} can't be used: {error}"));
        if !self.base.starts_with("https://") {
            return Err(Failure::unreadable(format!(
                "{} is not https: a certificate is shown over TLS only; name the place for that with --url",
                self.base
            )));
        }
        let mut builder = builder(&self.base)?;
        if let Some(identity) = identity {
            let identity = reqwest::Identity::from_pem(identity.expose());
            builder =
                builder.identity(identity.map_err(|error| wrong("the certificate with its key", error))?);
        }
        if let Some(roots) = roots {
            let roots = reqwest::Certificate::from_pem_bundle(roots);
            builder = builder.tls_certs_only(roots.map_err(|error| wrong("--server-ca", error))?);
        }
        Ok(Self { http: built(builder)?, ..self })
    }

    /// The same server with another token.
    #[must_use]
    pub(crate) fn with_token(&self, token: Secret) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// The same with a key that it proves to hold: its token is bound to that, or what it asks for will be.
    #[must_use]
    pub(crate) fn holding(self, holder: Option<Holder>) -> Self {
        Self { holder, ..self }
    }

    /// The server's base URL.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request; any status is an answer.
    ///
    /// # Errors
    /// A sentence, where the server can't be reached or its answer can't be read.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Answer, Failure> {
        let (answer, nonce) = self.send_once(method.clone(), path, headers, body, None).await?;
        // A proof is made anew with the nonce that the server wants (RFC 9449 §8 and §9), once.
        let wants_nonce = ["code", "error"].into_iter().any(|name| {
            let code = answer.body.get(name).and_then(Value::as_str);
            matches!(code, Some("nonce_required" | "use_dpop_nonce"))
        });
        match nonce.filter(|_| wants_nonce) {
            Some(nonce) => Ok(self.send_once(method, path, headers, body, Some(&nonce)).await?.0),
            None => Ok(answer),
        }
    }

    /// Sends a request once, with a proof made with `nonce` where it holds a key; answers the server's nonce as well.
    async fn send_once(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
        nonce: Option<&str>,
    ) -> Result<(Answer, Option<String>), Failure> {
        let url = format!("{}{path}", self.base);
        let token = self.token.as_ref().and_then(Secret::expose_str);
        let proof = match &self.holder {
            Some(holder) => Some(holder.proof(method.as_str(), &url, token, nonce)?),
            None => None,
        };
        let mut request = self.http.request(method, url);
        request = match (token, &proof) {
            (Some(token), None) => request.bearer_auth(token),
            (Some(token), Some(_)) => request.header(header::AUTHORIZATION, format!("DPoP {token}")),
            (None, _) => request,
        };
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = match body {
            Body::Empty => request,
            Body::Json(value) => {
                request.header(header::CONTENT_TYPE, "application/json").body(value.to_string())
            }
            Body::Form(members) => {
                request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form(members))
            }
            Body::Yaml(bytes) => {
                request.header(header::CONTENT_TYPE, "application/yaml").body(bytes.to_vec())
            }
        };
        let unreachable = |error: reqwest::Error| {
            Failure::unreadable(format!(
                "{} can't be reached: {}; is `placet serve` running?",
                self.base,
                escaped(&why(error))
            ))
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let nonce = answer.headers().get("dpop-nonce").and_then(|it| it.to_str().ok()).map(str::to_owned);
        let bytes = answer.bytes().await.map_err(unreachable)?;
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
        };
        Ok((Answer { status, body }, nonce))
    }

    /// Gets a document.
    ///
    /// # Errors
    /// As [`Client::send`], and the server's refusal.
    pub(crate) async fn read(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, &[], Body::Empty).await?.success()
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// As [`Client::send`], and the server's refusal.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::POST, path, &[], Body::Json(body)).await?.success()
    }
}

/// What went wrong, down to the first cause: which is what can be done something about.
fn why(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut out = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(below) = cause {
        let text = below.to_string();
        if !out.ends_with(&text) {
            let _ = write!(out, ": {text}");
        }
        cause = below.source();
    }
    out
}

fn builder(base: &str) -> Result<reqwest::ClientBuilder, Failure> {
    let url: reqwest::Url = base
        .parse()
        .map_err(|error| Failure::unreadable(format!("`{}` is no URL: {error}", escaped(base))))?;
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(TIMEOUT);
    // A proxy of the environment can't reach this machine's loopback.
    let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    Ok(if local { builder.no_proxy() } else { builder })
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Failure> {
    builder.build().map_err(|error| Failure::unreadable(format!("no HTTP client can be made: {error}")))
}

/// A path's segment or a query's value: everything but unreserved characters is percent-encoded (RFC 3986 §2.3).
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A query with the members that are there; empty, or begins with `?`.
pub(crate) fn query(members: &[(&str, Option<String>)]) -> String {
    let mut out = String::new();
    for (name, value) in members {
        if let Some(value) = value {
            let _ = write!(out, "{}{name}={}", if out.is_empty() { '?' } else { '&' }, encoded(value));
        }
    }
    out
}

fn form(members: &[(&str, &str)]) -> String {
    members.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_stays_in_its_place() {
        assert_eq!(encoded("a/b?c=d&é"), "a%2Fb%3Fc%3Dd%26%C3%A9");
        assert_eq!(query(&[("a", None), ("b", Some("1 2".into())), ("c", Some("3".into()))]), "?b=1%202&c=3");
        assert_eq!(form(&[("a", "x&y"), ("b", "")]), "a=x%26y&b=");
    }

    #[test]
    fn a_refusal_names_its_code_and_its_places() {
        let refusal = |body| Answer { status: 403, body }.refusal();
        assert_eq!(refusal(json!({"code": "no_rule", "title": "x", "detail": "y"})), "no_rule: y");
        assert_eq!(refusal(json!({"error": "invalid_scope"})), "invalid_scope");
        assert_eq!(refusal(json!({"a": "\u{202e}"})), "the server answered 403: {\"a\":\"\\u{202e}\"}");
        // A page is no sentence.
        let page = refusal(json!("<!DOCTYPE html><h1>There is no such page.</h1>"));
        assert!(page.contains("answered 403") && !page.contains('<'), "{page}");
        let diagnostics = json!({"code": "document_invalid", "diagnostics": [
            {"message": "unknown key `x`", "position": {"line": 2, "column": 3}, "help": "did you mean `y`?"}]});
        assert_eq!(
            refusal(diagnostics),
            "document_invalid\n  2:3: unknown key `x` (help: did you mean `y`?)"
        );
    }
}
