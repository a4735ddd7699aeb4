//! What the fuzzers (`fuzz/README.md`) ask of the gateway beyond its public interface. It is there only where they, or tests,
//! are built.
//!
//! Invariant: nothing that ships reaches it.

use crate::{
    scrub::{Scrubber, StreamScrubber},
    websocket,
};
use bytes::Bytes;
use http::HeaderMap;

#[cfg(test)]
mod replay;

/// A body that came in these pieces, scrubbed while it streamed; `None` where it is only scrubbed as a whole.
pub fn streamed(scrubber: &Scrubber, pieces: &[&[u8]]) -> Option<Vec<u8>> {
    if !scrubber.streams() {
        return None;
    }
    let mut stream = StreamScrubber::new(scrubber.clone());
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(stream.push(Bytes::copy_from_slice(piece)));
    }
    out.extend(stream.finish());
    Some(out)
}

/// A whole body, scrubbed; one of JSON is read as that where its secret is short.
pub fn scrubbed(scrubber: &Scrubber, body: &[u8], json: bool) -> Vec<u8> {
    scrubber.scrub_body(Bytes::copy_from_slice(body), json).to_vec()
}

/// The subprotocol that an upstream's answer to a handshake agrees on, if it is one.
pub fn agreed(headers: &HeaderMap, key: &str, offered: &[String]) -> Option<Option<String>> {
    websocket::agreed(headers, key, offered)
}

/// The headers that ask an upstream for a WebSocket.
pub fn handshake(key: &str, protocols: &[String]) -> Option<HeaderMap> {
    websocket::handshake(key, protocols).map(|headers| headers.into_iter().collect())
}
