//! An upstream's answer that is passed on as it comes, without the credential.
//!
//! Invariant: every piece that leaves here has gone through the scrubber, and an answer that breaks off ends in a
//! failure, never like a whole one.

use crate::failure::{Unknown, Unreadable, UpstreamFailure};
use crate::response::{self, ReadError};
use crate::route::OpenCall;
use crate::scrub::{Scrubber, StreamScrubber};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// The trailers of gRPC that are its own.
const GRPC: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// An answer of which only the head has come.
#[derive(Debug)]
pub struct StreamedAnswer {
    status: u16,
    invalid_token: bool,
    headers: Vec<(String, String)>,
    /// Names of trailers that are announced and may be shown.
    trailers: Vec<HeaderName>,
    json: bool,
    body: Incoming,
    scrubber: Scrubber,
    stream: Option<StreamScrubber>,
    /// Trailers that wait for the last bytes to go out.
    late: Option<Vec<(String, String)>>,
    idle: Duration,
    host: String,
    _open: OpenCall,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// Trailers: after them nothing comes.
    Trailers(Vec<(String, String)>),
}

impl StreamedAnswer {
    pub(crate) fn new(
        response: http::Response<Incoming>,
        scrubber: &Scrubber,
        idle: Duration,
        host: &str,
        open: OpenCall,
    ) -> Result<Self, UpstreamFailure> {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let host = host.to_owned();
        if status < 200 {
            // Nobody asked to switch protocols.
            return Err(UpstreamFailure::Unknown { host, status: Some(status), reason: Unknown::Malformed });
        }
        if !body.is_end_stream() && response::is_encoded(&head.headers) {
            return Err(UpstreamFailure::Answered { host, status, reason: Unreadable::Encoded });
        }
        Ok(Self {
            status,
            invalid_token: response::says_invalid_token(&head.headers),
            headers: response::shown_headers(&head.headers, scrubber),
            trailers: announced(&head.headers, scrubber),
            json: response::is_json(&head.headers),
            body,
            scrubber: scrubber.clone(),
            stream: None,
            late: None,
            idle,
            host,
            _open: open,
        })
    }

    /// The status as it came; a redirect is answered, not followed.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether it says that the token that it was shown is not valid (RFC 6750 §3.1).
    pub fn invalid_token(&self) -> bool {
        self.invalid_token
    }

    /// The headers that may be shown, names in lower case, in the order they came.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The names of trailers that may come.
    pub fn trailers(&self) -> impl Iterator<Item = &str> {
        self.trailers.iter().map(HeaderName::as_str)
    }

    /// Whether it can be passed on as it comes. If not (the secret is so short that it is found only as a whole
    /// value), it has to be read [whole](Self::whole).
    pub fn streams(&self) -> bool {
        self.scrubber.streams()
    }

    /// The length of the body, in bytes, as upstream announces it.
    pub fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The rest of the body whole, scrubbed, otherwise byte for byte; at most `max` bytes, until `deadline`. Trailers
    /// are left out.
    ///
    /// # Errors
    /// [`UpstreamFailure::Answered`] where it is longer, [`UpstreamFailure::Unknown`] where it breaks off or time runs
    /// out.
    pub async fn whole(self, max: usize, deadline: Instant) -> Result<Bytes, UpstreamFailure> {
        let Self { status, json, body, scrubber, host, .. } = self;
        let unknown = |host, reason| UpstreamFailure::Unknown { host, status: Some(status), reason };
        match timeout_at(deadline, response::collect(body, max)).await {
            Ok(Ok(body)) => Ok(scrubber.scrub_body(body, json)),
            Ok(Err(ReadError::Unreadable(reason))) => Err(UpstreamFailure::Answered { host, status, reason }),
            Ok(Err(ReadError::Unknown(reason))) => Err(unknown(host, reason)),
            Err(_) => Err(unknown(host, Unknown::TimedOut)),
        }
    }

    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// [`UpstreamFailure::Unknown`] where it breaks off, or nothing comes for longer than the gateway waits.
    pub async fn next(&mut self) -> Result<Option<Piece>, UpstreamFailure> {
        let unknown = |host: &String, status, reason| UpstreamFailure::Unknown {
            host: host.clone(),
            status: Some(status),
            reason,
        };
        if let Some(trailers) = self.late.take() {
            return Ok(Some(Piece::Trailers(trailers)));
        }
        loop {
            let frame = match timeout(self.idle, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_))) => return Err(unknown(&self.host, self.status, Unknown::Disconnected)),
                Ok(None) => {
                    let Some(mut stream) = self.stream.take() else { return Ok(None) };
                    let left = stream.finish();
                    return Ok((!left.is_empty()).then_some(Piece::Data(left)));
                }
                Err(_) => return Err(unknown(&self.host, self.status, Unknown::TimedOut)),
            };
            match frame.into_data() {
                Ok(data) => {
                    let stream =
                        self.stream.get_or_insert_with(|| StreamScrubber::new(self.scrubber.clone()));
                    let out = stream.push(data);
                    if !out.is_empty() {
                        return Ok(Some(Piece::Data(out)));
                    }
                }
                Err(frame) => {
                    let Ok(trailers) = frame.into_trailers() else { continue };
                    let shown = self.shown(&trailers);
                    let left = self.stream.take().map(|mut stream| stream.finish()).unwrap_or_default();
                    let trailers = (!shown.is_empty()).then_some(shown);
                    if left.is_empty() {
                        return Ok(trailers.map(Piece::Trailers));
                    }
                    self.late = trailers;
                    return Ok(Some(Piece::Data(left)));
                }
            }
        }
    }

    fn shown(&self, trailers: &HeaderMap) -> Vec<(String, String)> {
        let mut shown = response::shown_headers(trailers, &self.scrubber);
        shown.retain(|(name, _)| self.trailers.iter().any(|announced| announced.as_str() == name));
        shown
    }
}

/// The trailers that are announced (RFC 9110 §6.6.2) and may be shown: none that says how the message is framed,
/// where it is or who may keep it (§6.5.1).
fn announced(headers: &HeaderMap, scrubber: &Scrubber) -> Vec<HeaderName> {
    let named = headers.get_all(http::header::TRAILER).iter().filter_map(|value| value.to_str().ok());
    let names =
        named.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse::<HeaderName>().ok());
    let mut found: Vec<HeaderName> = Vec::new();
    // gRPC announces none: what says how the call went always comes.
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if kind.starts_with(b"application/grpc") {
        found.extend(GRPC.map(HeaderName::from_static));
    }
    for name in names {
        let plain = matches!(name.as_str(), "etag" | "last-modified" | "request-id" | "server-timing")
            || name.as_str().starts_with("x-")
            || name.as_str().starts_with("ratelimit");
        if plain
            && response::is_shown(&name)
            && scrubber.scrub_text(name.as_str()).is_none()
            && !found.contains(&name)
        {
            found.push(name);
        }
    }
    found
}
