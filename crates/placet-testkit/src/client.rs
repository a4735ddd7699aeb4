//! A client of any HTTP server: every status is an answer, nothing is followed, kept or retried.
//!
//! Invariant: it sends what a test says and nothing else.

use crate::RUNTIME;
use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use std::{net::IpAddr, sync::LazyLock, time::Duration};

/// One for all: setting up TLS, which is never used, takes longer than a request.
static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| builder().build().unwrap());

fn builder() -> reqwest::ClientBuilder {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    builder.no_proxy().http1_only().timeout(Duration::from_secs(60))
}

/// A server and the bearer token that is sent to it, if any.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    bearer: Option<String>,
}

/// A request that is being put together.
#[derive(Debug)]
#[must_use = "a request goes nowhere before `send`"]
pub struct Request {
    inner: reqwest::RequestBuilder,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body: JSON, or text where it is none, or null where it is empty.
    pub body: Value,
    /// The bytes of the body.
    pub bytes: Vec<u8>,
}

impl Client {
    /// A client of the server at `base`, without a token.
    pub fn new(base: &str) -> Self {
        Self { http: HTTP.clone(), base: base.trim_end_matches('/').to_owned(), bearer: None }
    }

    /// The same over TLS: with a certificate and its key, if any, and with the authority that has certified the server (PEM).
    ///
    /// # Panics
    /// Where they can't be used.
    pub fn over_tls(base: &str, identity: Option<&str>, authority: &str) -> Self {
        let authority = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
        let builder = builder().tls_certs_only([authority]);
        let builder = match identity {
            Some(pem) => builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap()),
            None => builder,
        };
        Self { http: builder.build().unwrap(), ..Self::new(base) }
    }

    /// The same in HTTP/2 and nothing else, as the handshake agrees on it.
    ///
    /// # Panics
    /// Where they can't be used.
    pub fn over_tls_in_http2(base: &str, identity: &str, authority: &str) -> Self {
        let authority = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
        let identity = reqwest::Identity::from_pem(identity.as_bytes()).unwrap();
        let builder = builder().tls_certs_only([authority]).identity(identity).http2_prior_knowledge();
        Self { http: builder.build().unwrap(), ..Self::new(base) }
    }

    /// Over TLS without a certificate, from another address of this machine.
    ///
    /// # Panics
    /// Where `authority` is no certificate.
    pub fn over_tls_from(base: &str, authority: &str, address: IpAddr) -> Self {
        let authority = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
        let http = builder().tls_certs_only([authority]).local_address(address).build().unwrap();
        Self { http, ..Self::new(base) }
    }

    /// The same from another address of this machine.
    ///
    /// # Panics
    /// Never in practice.
    pub fn from_address(base: &str, address: IpAddr) -> Self {
        Self { http: builder().local_address(address).build().unwrap(), ..Self::new(base) }
    }

    /// The same server with a token that every request carries.
    pub fn with(&self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..self.clone() }
    }

    /// Where it sends to.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A GET of a path, or of a whole URL.
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// A POST to a path.
    pub fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }

    /// A PUT to a path.
    pub fn put(&self, path: &str) -> Request {
        self.request("PUT", path)
    }

    /// A PATCH of a path.
    pub fn patch(&self, path: &str) -> Request {
        self.request("PATCH", path)
    }

    /// A DELETE of a path.
    pub fn delete(&self, path: &str) -> Request {
        self.request("DELETE", path)
    }

    /// A request with any method.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let inner = self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        let request = Request { inner };
        match &self.bearer {
            Some(token) => request.bearer(token),
            None => request,
        }
    }
}

impl Request {
    /// With `Authorization: Bearer …`. Replaces one that is there.
    pub fn bearer(self, token: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        Self { inner: self.inner.headers(headers) }
    }

    /// With `Authorization: Basic …`.
    pub fn basic(self, name: &str, secret: &str) -> Self {
        Self { inner: self.inner.basic_auth(name, Some(secret)) }
    }

    /// With one more header, of any bytes.
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        Self { inner: self.inner.header(name, HeaderValue::from_bytes(value.as_ref()).unwrap()) }
    }

    /// With a JSON body.
    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// With a form (`application/x-www-form-urlencoded`).
    pub fn form(self, members: &[(&str, &str)]) -> Self {
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        self.body("application/x-www-form-urlencoded", members.join("&"))
    }

    /// With a body of YAML.
    pub fn yaml(self, text: &str) -> Self {
        self.body("application/yaml", text.to_owned())
    }

    /// With any body and content type.
    pub fn body(self, content_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { inner: self.inner.header("content-type", content_type).body(bytes.into()) }
    }

    /// Sends it.
    ///
    /// # Panics
    /// Where no answer comes.
    pub fn send(self) -> Answer {
        self.try_send().unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// Sends it to a server that may be gone.
    ///
    /// # Errors
    /// Where no whole answer comes.
    pub fn try_send(self) -> Result<Answer, reqwest::Error> {
        let inner = self.inner;
        RUNTIME.block_on(async move {
            let response = inner.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let bytes = response.bytes().await?.to_vec();
            let body = match serde_json::from_slice(&bytes) {
                Ok(value) => value,
                Err(_) if bytes.is_empty() => Value::Null,
                Err(_) => Value::from(String::from_utf8_lossy(&bytes)),
            };
            Ok(Answer { status, headers, body, bytes })
        })
    }
}

impl Answer {
    /// The same, of which `status` was expected.
    ///
    /// # Panics
    /// Where it is another, with the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert!(self.status == status, "{} instead of {status}: {:#}", self.status, self.body);
        self
    }

    /// A refusal: the status, and a problem document's `code` or OAuth's `error`.
    ///
    /// # Panics
    /// Where it is another.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let found = self.body.get("code").or_else(|| self.body.get("error"));
        let found = found.and_then(Value::as_str).unwrap_or_default();
        assert!(
            (self.status, found) == (status, code),
            "{} {found} instead of {status} {code}: {:#}",
            self.status,
            self.body
        );
        self
    }

    /// A member that is text.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    pub fn text(&self, pointer: &str) -> String {
        self.at(pointer)
            .as_str()
            .unwrap_or_else(|| panic!("`{pointer}` is no text: {:#}", self.body))
            .to_owned()
    }

    /// A member, by its JSON pointer.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    pub fn at(&self, pointer: &str) -> &Value {
        self.body
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{}: there is no `{pointer}`: {:#}", self.status, self.body))
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Percent-encodes everything but unreserved characters.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
