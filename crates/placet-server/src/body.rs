//! Reading request bodies: bounded, in time, of the right kind, without duplicate members, with errors that say what to send.
//!
//! Invariant: no handler reads a body any other way.

use crate::{
    mtls::ClientCertificate,
    oauth::federation::Word,
    problem::{OAuthError, Problem},
    sender::Held,
};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use placet_core::{jose::Thumbprint, json, refusal::Code, token::Confirmation};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

/// The most bytes that a request body may have.
pub const MAX_BODY: usize = 1024 * 1024;

/// How long a body that is read whole may take to come: meanwhile what has come is kept in memory, for whoever sends it.
const TIME: Duration = Duration::from_secs(30);

/// How much of the path of a member is told.
const MAX_MEMBER: usize = 200;

/// How much of a body that is too large is read all the same.
const DRAINED: usize = 8 * MAX_BODY;
/// For how long.
const DRAINING: Duration = Duration::from_secs(1);

/// The media type of a request without its parameters, lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The whole body, at most [`MAX_BODY`] bytes, which has half a minute to come.
///
/// # Errors
/// `body_too_large`, `request_slow`, or `request_invalid` where the body breaks off.
pub async fn whole(request: Request) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    whole_of(&parts.headers, body).await
}

/// The whole body that came with these headers.
///
/// # Errors
/// As [`whole`].
pub(crate) async fn whole_of(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let late = |_| Problem::of(Code::RequestSlow, "the body did not come in time");
    tokio::time::timeout(TIME, read_whole(headers, body)).await.map_err(late)?
}

async fn read_whole(headers: &HeaderMap, mut body: Body) -> Result<Bytes, Problem> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > MAX_BODY) {
        drain(body).await;
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Problem::of(Code::RequestInvalid, "the body broke off before its end"))?;
        // What is no data is trailers, which mean nothing here.
        let data = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > MAX_BODY {
            drain(body).await;
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// Reads on and keeps nothing, within bounds: whoever is still writing when the connection closes may never see the
/// answer.
pub(crate) async fn drain(mut body: Body) {
    let reading = async {
        let mut left = DRAINED;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // Whoever has stopped writing waits for the answer, or is gone.
    let _ = tokio::time::timeout(DRAINING, reading).await;
}

fn too_large() -> Problem {
    Problem::of(Code::BodyTooLarge, format!("a body may have at most {MAX_BODY} bytes"))
}

/// A JSON body of a known shape: `application/json`, no duplicate keys, no unknown members where `T` denies them.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        expect_media_type(request.headers(), &["application/json"])?;
        let bytes = whole(request).await?;
        let value = json::parse(&bytes).map_err(|error| {
            Problem::of(Code::RequestInvalid, format!("the body is not valid JSON: {error}"))
        })?;
        read_as(value).map(Self).map_err(|error| {
            Problem::of(Code::RequestInvalid, format!("the body is not what this endpoint takes: {error}"))
        })
    }
}

/// Reads a value of a known shape.
///
/// # Errors
/// A sentence that names the member and what is expected there, and not what stood there.
pub(crate) fn read_as<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let what = without_value(&error.inner().to_string());
        let member: String = error.path().to_string().chars().take(MAX_MEMBER).collect();
        // Of the outermost members serde itself says which.
        let said = member == "." || (what.starts_with("unknown field") && !member.contains(['.', '[']));
        if said { what } else { format!("`{member}`: {what}") }
    })
}

/// What is wrong, without the text that stood there: it may be a secret at a wrong place, and answers end up in logs of
/// their readers. Names of members, and what is expected, are told.
fn without_value(error: &str) -> String {
    for kind in ["invalid type: string", "invalid value: string", "unknown variant"] {
        if let Some((_, rest)) = error.split_once(kind) {
            // The last: the text may hold anything.
            let expected = rest.rsplit_once(", expected ").map(|(_, expected)| expected);
            return expected
                .map_or_else(|| kind.to_owned(), |expected| format!("{kind}, expected {expected}"));
        }
    }
    error.to_owned()
}

/// Refuses a request whose content type is not one of `known`.
///
/// # Errors
/// `media_type_unsupported`, naming what to send.
pub(crate) fn expect_media_type(headers: &HeaderMap, known: &[&str]) -> Result<(), Problem> {
    match media_type(headers) {
        Some(kind) if known.contains(&kind.as_str()) => Ok(()),
        kind => Err(Problem::of(
            Code::MediaTypeUnsupported,
            format!(
                "send `Content-Type: {}` instead of `{}`",
                known.join("` or `"),
                kind.unwrap_or_else(|| "none".into())
            ),
        )),
    }
}

/// What an OAuth request says. Its parameters: a form (RFC 6749 §3.2), or a JSON object with the same names; one that
/// stands twice is an error, but for `REPEATABLE` ones, which become a list. And what its sender has proved to hold: a
/// certificate, and once that is verified a key; and on whose word besides its own it is to be believed.
#[derive(Debug, Default)]
pub struct OAuthParams {
    members: BTreeMap<String, Value>,
    key: Option<Thumbprint>,
    certificate: Option<ClientCertificate>,
    binds_certificate: bool,
    word: Option<Word>,
}

/// Parameters that may stand more than once (RFC 8693 §2.1, RFC 8707 §2).
const REPEATABLE: [&str; 2] = ["audience", "resource"];

impl<S: Send + Sync> FromRequest<S> for OAuthParams {
    type Rejection = OAuthError;

    async fn from_request(request: Request, _: &S) -> Result<Self, OAuthError> {
        let kind = media_type(request.headers());
        let certificate = request.extensions().get::<ClientCertificate>().cloned();
        let bytes = whole(request).await?;
        let params = match kind.as_deref() {
            Some("application/x-www-form-urlencoded") => Self::form(&bytes),
            Some("application/json") => {
                let value = json::parse(&bytes)
                    .map_err(|error| invalid(format!("the body is not valid JSON: {error}")))?;
                let Value::Object(map) = value else { return Err(invalid("the body is not a JSON object")) };
                Ok(Self::of(map.into_iter().filter(|(_, value)| !value.is_null()).collect()))
            }
            _ => Err(invalid("send `Content-Type: application/x-www-form-urlencoded`")),
        };
        params.map(|params| Self { certificate, ..params })
    }
}

fn invalid(description: impl Into<String>) -> OAuthError {
    OAuthError::new("invalid_request", description)
}

impl OAuthParams {
    /// Reads a form.
    ///
    /// # Errors
    /// `invalid_request` where a parameter stands twice that may not, or something is not UTF-8.
    pub(crate) fn form(bytes: &[u8]) -> Result<Self, OAuthError> {
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("the body is not UTF-8"))?;
        let mut map = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            // An empty value is as good as none (RFC 6749 §3.2).
            if value.is_empty() {
                continue;
            }
            let wrong = || invalid(format!("the parameter `{name}` stands twice or is not UTF-8"));
            if value.contains('\u{fffd}') {
                return Err(wrong());
            }
            let value = Value::String(value.into_owned());
            match map.entry(name.to_string()) {
                Entry::Vacant(slot) => _ = slot.insert(value),
                Entry::Occupied(mut slot) if REPEATABLE.contains(&&*name) => match slot.get_mut() {
                    Value::Array(items) => items.push(value),
                    first => {
                        let first_value = first.take();
                        *first = Value::Array(vec![first_value, value]);
                    }
                },
                Entry::Occupied(_) => return Err(wrong()),
            }
        }
        Ok(Self::of(map))
    }

    fn of(members: BTreeMap<String, Value>) -> Self {
        Self { members, ..Self::default() }
    }

    /// The same from a sender that has proved to hold `key` (RFC 9449 §5).
    #[must_use]
    pub fn proved(self, key: Option<Thumbprint>) -> Self {
        Self { key, ..self }
    }

    /// The same on the word of a trusted issuer (RFC 7523 §2.1).
    #[must_use]
    pub(crate) fn on_word(self, word: Word) -> Self {
        Self { word: Some(word), ..self }
    }

    /// The trusted issuer's word that it rests on.
    pub fn word(&self) -> Option<&Word> {
        self.word.as_ref()
    }

    /// The key that the sender has proved to hold.
    pub fn key(&self) -> Option<Thumbprint> {
        self.key
    }

    /// The certificate that the sender has proved to hold, which is within its time.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_ref()
    }

    /// The same from a client whose tokens are bound to its certificate (RFC 8705 §3).
    #[must_use]
    pub(crate) fn binding_certificate(self, binds_certificate: bool) -> Self {
        Self { binds_certificate, ..self }
    }

    /// All that the sender has proved to hold.
    pub fn shown(&self) -> Confirmation {
        Confirmation {
            jkt: self.key,
            certificate: self.certificate.as_ref().map(ClientCertificate::thumbprint),
        }
    }

    /// What of it the client's tokens are bound to.
    pub fn bound(&self) -> Confirmation {
        let shown = self.shown();
        Confirmation { certificate: shown.certificate.filter(|_| self.binds_certificate), ..shown }
    }

    /// What of it something is bound to that has to be bound: where there is nothing else, to any certificate.
    pub fn offered(&self) -> Confirmation {
        self.bound().claim().unwrap_or_else(|| self.shown())
    }

    /// A token among the parameters, with what its sender has proved.
    pub fn held(&self, token: &str) -> Held {
        Held::beside(token, self.shown())
    }

    /// The parameters but these as a query; what is no text is written as JSON.
    pub(crate) fn query_without(&self, left_out: &[&str]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.members.iter().filter(|(name, _)| !left_out.contains(&name.as_str())) {
            match value {
                Value::String(text) => _ = query.append_pair(name, text),
                Value::Array(items) if REPEATABLE.contains(&name.as_str()) => {
                    for item in items {
                        let text = item.as_str().map_or_else(|| item.to_string(), str::to_owned);
                        query.append_pair(name, &text);
                    }
                }
                other => _ = query.append_pair(name, &other.to_string()),
            }
        }
        query.finish()
    }

    /// A parameter as text.
    ///
    /// # Errors
    /// `invalid_request` where it is something else.
    pub fn text(&self, name: &str) -> Result<Option<&str>, OAuthError> {
        match self.members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(format!("the parameter `{name}` is text"))),
        }
    }

    /// A parameter that has to be there.
    ///
    /// # Errors
    /// `invalid_request` where it is not.
    pub fn required(&self, name: &str) -> Result<&str, OAuthError> {
        self.text(name)?.ok_or_else(|| invalid(format!("the parameter `{name}` is missing")))
    }

    /// A list: a JSON array of texts, or words with spaces between.
    ///
    /// # Errors
    /// `invalid_request` where it is neither.
    pub fn list(&self, name: &str) -> Result<Option<Vec<String>>, OAuthError> {
        let wrong = || {
            invalid(format!("the parameter `{name}` is a JSON array of texts, or words with spaces between"))
        };
        let array = |items: &[Value]| {
            items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect::<Result<Vec<_>, _>>()
        };
        match self.members.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => array(items).map(Some),
            Some(Value::String(text)) if text.trim_start().starts_with('[') => {
                match json::parse(text.as_bytes()) {
                    Ok(Value::Array(items)) => array(&items).map(Some),
                    _ => Err(wrong()),
                }
            }
            Some(Value::String(text)) => Ok(Some(text.split_ascii_whitespace().map(str::to_owned).collect())),
            Some(_) => Err(wrong()),
        }
    }

    /// A parameter that is JSON, as itself or as text.
    ///
    /// # Errors
    /// `invalid_request` where it is not JSON.
    pub fn json(&self, name: &str) -> Result<Option<Value>, OAuthError> {
        match self.members.get(name) {
            Some(Value::String(text)) => json::parse(text.as_bytes())
                .map(Some)
                .map_err(|error| invalid(format!("the parameter `{name}` is not valid JSON: {error}"))),
            other => Ok(other.cloned()),
        }
    }

    /// Whether a parameter was sent at all, whatever it is.
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// A yes or no, by default no.
    ///
    /// # Errors
    /// `invalid_request` where it is neither `true` nor `false`.
    pub fn flag(&self, name: &str) -> Result<bool, OAuthError> {
        match self.members.get(name) {
            None | Some(Value::Bool(false)) => Ok(false),
            Some(Value::Bool(true)) => Ok(true),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(_) => Err(invalid(format!("the parameter `{name}` is true or false"))),
        }
    }
}

/// No body at all is none; any other is read as ever.
impl<T: DeserializeOwned, S: Send + Sync> axum::extract::OptionalFromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = whole(Request::from_parts(parts.clone(), body)).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let request = Request::from_parts(parts, bytes.into());
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of which some has come, and nothing more does.
    struct Stalled(Option<Bytes>);

    impl axum::body::HttpBody for Stalled {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            match self.0.take() {
                Some(some) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(some)))),
                None => std::task::Poll::Pending,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_not_waited_for() {
        let began = tokio::time::Instant::now();
        let refused = whole(Request::new(Body::new(Stalled(Some(Bytes::from_static(b"{")))))).await;
        assert_eq!(refused.unwrap_err().code(), Code::RequestSlow);
        assert_eq!(began.elapsed(), TIME);
    }

    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Bearer,
        Basic,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read is of interest")]
    struct New {
        name: String,
        auth: Option<Auth>,
        #[serde(default)]
        kinds: Vec<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read is of interest")]
    struct Auth {
        r#type: Kind,
    }

    #[test]
    fn the_member_that_is_wrong_is_named_wherever_it_is() {
        let told = |value: Value| read_as::<New>(value).unwrap_err();
        let expected = "expected `bearer` or `basic`";
        for (value, says) in [
            (
                json!({"name": "x", "auth": {"type": "hunter2"}}),
                format!("`auth.type`: unknown variant, {expected}"),
            ),
            (
                json!({"name": "x", "kinds": ["basic", "hunter2"]}),
                format!("`kinds[1]`: unknown variant, {expected}"),
            ),
            (json!({"name": 5}), "`name`: invalid type: number, expected a string".to_owned()),
            (
                json!({"name": "x", "auth": {"type": "basic", "kind": 1}}),
                "`auth.kind`: unknown field `kind`, expected `type`".to_owned(),
            ),
            (
                json!({"name": "x", "kind": 1}),
                "unknown field `kind`, expected one of `name`, `auth`, `kinds`".to_owned(),
            ),
            (json!({}), "missing field `name`".to_owned()),
        ] {
            assert_eq!(told(value), says);
        }
        let long = "a".repeat(9000);
        assert!(told(json!({"name": "x", "auth": {long: 1}})).len() < 10_000);
    }

    #[test]
    fn what_stood_at_a_wrong_place_is_not_told_back() {
        for text in ["hunter2", "a, expected b", "`x`, expected one of `y`", "\"", ""] {
            for error in [
                serde_json::from_value::<u32>(Value::from(text)).unwrap_err().to_string(),
                serde_json::from_value::<Kind>(Value::from(text)).unwrap_err().to_string(),
                serde_json::from_value::<std::net::IpAddr>(Value::from(text)).unwrap_err().to_string(),
            ] {
                let told = without_value(&error);
                assert!(!text.contains("hunter2") || !told.contains("hunter2"), "{told}");
                assert!(!told.contains("a, expected b") && !told.contains("`y`"), "{told}");
            }
        }
        let told =
            |value: Value| without_value(&serde_json::from_value::<Kind>(value).unwrap_err().to_string());
        assert_eq!(told(Value::from("magic")), "unknown variant, expected `bearer` or `basic`");
    }
}
