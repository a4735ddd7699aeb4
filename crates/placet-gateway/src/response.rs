//! Reads an upstream's answer whole, within bounds, and leaves out what an agent must not see.
//!
//! Headers pass only where they are on a list; those that are hop-by-hop or that set cookies or ask for credentials
//! are not on it, and `Connection` may strike out more. The body is decoded before it is scrubbed, so that no way of
//! writing a JSON string hides anything.
//!
//! Invariant: every name, value and body that leaves here has gone through the scrubber.

use crate::failure::{Unknown, Unreadable};
use crate::scrub::Scrubber;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde_json::Value;

/// What an upstream answered, without the credential.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamResponse {
    /// The status as it came; a redirect is answered, not followed.
    pub status: u16,
    /// The headers that may be shown, names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: ResponseBody,
    /// Whether it says that the token that it was shown is not valid (RFC 6750 §3.1).
    pub invalid_token: bool,
}

/// A body, as much decoded as its type allows.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseBody {
    /// Upstream says JSON and it is.
    Json(Value),
    /// Anything else that is UTF-8; also an empty body.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadError {
    Unreadable(Unreadable),
    Unknown(Unknown),
}

/// Reads the rest of `response`. The caller sets the time limit.
pub(crate) async fn read(
    response: http::Response<Incoming>,
    scrubber: &Scrubber,
    max: usize,
) -> Result<UpstreamResponse, ReadError> {
    let (head, body) = response.into_parts();
    if !body.is_end_stream() && is_encoded(&head.headers) {
        return Err(ReadError::Unreadable(Unreadable::Encoded));
    }
    let body = collect(body, max).await?;
    Ok(UpstreamResponse {
        status: head.status.as_u16(),
        headers: shown_headers(&head.headers, scrubber),
        body: decode(body, is_json(&head.headers), scrubber),
        invalid_token: says_invalid_token(&head.headers),
    })
}

pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let codings = |name, harmless: &'static str| {
        headers.get_all(name).iter().any(move |value| match value.to_str() {
            Ok(text) => {
                text.split(',').map(str::trim).any(|c| !c.is_empty() && !c.eq_ignore_ascii_case(harmless))
            }
            Err(_) => true,
        })
    };
    codings(CONTENT_ENCODING, "identity") || codings(TRANSFER_ENCODING, "chunked")
}

pub(crate) async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, ReadError> {
    let too_large = ReadError::Unreadable(Unreadable::TooLarge { max });
    let hint = body.size_hint();
    let fits = |length: usize| if length > max { Err(too_large) } else { Ok(length) };
    // What is announced to be too long isn't read at all.
    let announced = fits(usize::try_from(hint.lower()).unwrap_or(usize::MAX))?;
    let mut whole = Vec::new();
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ReadError::Unknown(Unknown::Disconnected))?;
        // Trailers are left out.
        let Ok(data) = frame.into_data() else { continue };
        fits(first.len().saturating_add(whole.len()).saturating_add(data.len()))?;
        // Most answers are one frame, which then needs no copy.
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(announced.max(first.len().saturating_add(data.len())));
            whole.extend_from_slice(&first);
            first = Bytes::new();
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.into() })
}

pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

pub(crate) fn decode(body: Bytes, is_json: bool, scrubber: &Scrubber) -> ResponseBody {
    // What two readers could read differently is no JSON here: who judges it and who acts on it must see the same.
    if is_json && let Ok(mut value) = placet_core::json::parse(&body) {
        // A body that is one string or number in all is one whole value as well.
        scrubber.scrub_json(&mut value);
        return ResponseBody::Json(value);
    }
    let body = scrubber.scrub_bytes(&body).unwrap_or_else(|| body.into());
    String::from_utf8(body).map_or_else(|e| ResponseBody::Bytes(e.into_bytes()), ResponseBody::Text)
}

pub(crate) fn shown_headers(headers: &HeaderMap, scrubber: &Scrubber) -> Vec<(String, String)> {
    let mut shown = Vec::new();
    for (name, value) in headers {
        if !is_shown(name) || is_named_in_connection(headers, name) {
            continue;
        }
        // A name is scrubbed by leaving its header out; a value that is no text isn't shown.
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else { continue };
        if scrubber.scrub_text(name.as_str()).is_none() {
            let value = scrubber.scrub_text(value).unwrap_or_else(|| value.to_owned());
            shown.push((name.as_str().to_owned(), value));
        }
    }
    shown
}

/// Whether an answer says of the token itself that it has ended, was taken back or is none (RFC 6750 §3.1): a challenge with
/// `error="invalid_token"`. Any other refusal may be about what was asked for.
pub(crate) fn says_invalid_token(headers: &HeaderMap) -> bool {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).any(|challenge| {
        let mut quoted = false;
        let parameters = challenge.split(|letter: char| {
            quoted ^= letter == '"';
            letter == ',' && !quoted
        });
        parameters.filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
            // The first has the scheme before it.
            let name = name.split_ascii_whitespace().next_back().unwrap_or_default();
            name.eq_ignore_ascii_case("error") && value.trim().trim_matches('"') == "invalid_token"
        })
    })
}

/// The headers an agent can use: what the body is, validators, paging, rate limits, redirects, ids for support.
pub(crate) fn is_shown(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "allow"
            | "cache-control"
            | "content-disposition"
            | "content-language"
            | "content-location"
            | "content-range"
            | "content-type"
            | "date"
            | "etag"
            | "expires"
            | "grpc-message"
            | "grpc-status"
            | "grpc-status-details-bin"
            | "last-modified"
            | "link"
            | "location"
            | "request-id"
            | "retry-after"
            | "server-timing"
            | "x-correlation-id"
            | "x-next-page"
            | "x-page"
            | "x-per-page"
            | "x-prev-page"
            | "x-request-id"
            | "x-total"
            | "x-total-count"
            | "x-total-pages"
    ) || ["x-ratelimit-", "x-rate-limit-", "ratelimit"].iter().any(|prefix| name.starts_with(prefix))
}

fn is_named_in_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|named| named.trim().eq_ignore_ascii_case(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_challenge_that_says_so_is_about_the_token() {
        let says = |challenges: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for challenge in challenges {
                headers.append(WWW_AUTHENTICATE, challenge.parse().unwrap());
            }
            says_invalid_token(&headers)
        };
        for challenge in [
            r#"Bearer error="invalid_token""#,
            r#"Bearer realm="a, b", error="invalid_token", error_description="it ended""#,
            r#"bearer  ERROR = "invalid_token""#,
            "Bearer error=invalid_token",
            r#"DPoP algs="ES256", error="invalid_token""#,
        ] {
            assert!(says(&[challenge]), "{challenge}");
            assert!(says(&["Basic realm=x", challenge]), "{challenge}");
        }
        for challenge in [
            "Bearer",
            r#"Bearer realm="api""#,
            r#"Bearer error="insufficient_scope""#,
            r#"Bearer error_description="invalid_token""#,
            r#"Bearer realm="x, error=invalid_token""#,
            r#"Bearer error="invalid_token_or_so""#,
        ] {
            assert!(!says(&[challenge]), "{challenge}");
        }
        assert!(!says(&[]));
    }
}
