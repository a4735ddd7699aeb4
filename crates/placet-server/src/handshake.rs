//! The agent's side of a WebSocket's opening handshake (RFC 6455 §4.2): what it asks for, and the answer that switches its
//! connection over.
//!
//! Nothing of it goes on: the upstream's hop has a handshake of its own, with a key of its own. Extensions are not taken, so
//! nothing is compressed; `Origin` and cookies are of no use here, as it is the token that says who asks.
//!
//! Invariant: what asks for a WebSocket and isn't whole is refused, never taken for an ordinary request.

use crate::{
    api::actions::once,
    problem::Problem,
    serving::{KeptOpen, Switching},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request::Parts};
use placet_core::{refusal::Code, websocket};

/// The most subprotocols that are offered.
const MOST_PROTOCOLS: usize = 16;

/// A handshake that an agent has begun.
#[derive(Debug)]
pub(crate) struct Handshake {
    /// Gives the connection, once the answer has gone out.
    pub(crate) switching: Switching,
    /// The connection counts as open as long as there is this.
    pub(crate) kept: Option<KeptOpen>,
    accept: String,
}

/// The handshake of a request and the subprotocols that it offers, if it asks for a WebSocket at all.
///
/// # Errors
/// `request_invalid` where it does, and not as the standard has it.
pub(crate) fn asked(parts: &Parts) -> Result<Option<(Handshake, Vec<String>)>, Problem> {
    let upgrades = parts.headers.get_all(header::UPGRADE).iter().filter_map(|value| value.to_str().ok());
    if !upgrades.flat_map(websocket::items).any(|item| item.eq_ignore_ascii_case("websocket")) {
        return Ok(None);
    }
    let bad =
        |what: &str| Problem::of(Code::RequestInvalid, format!("no WebSocket can be opened so: {what}"));
    if parts.version != Version::HTTP_11 || parts.method != Method::GET {
        return Err(bad("it takes a GET over HTTP/1.1"));
    }
    let connection = parts.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    if !connection.flat_map(websocket::items).any(|item| item.eq_ignore_ascii_case("upgrade")) {
        return Err(bad("`Connection: Upgrade` is missing"));
    }
    if once(&parts.headers, "sec-websocket-version")? != Some(websocket::VERSION) {
        return Err(bad("send `Sec-WebSocket-Version: 13`"));
    }
    let key = once(&parts.headers, "sec-websocket-key")?.filter(|key| websocket::is_key(key));
    let key = key.ok_or_else(|| bad("`Sec-WebSocket-Key` is 16 bytes in base64"))?;
    let offers = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offers = offers.filter_map(|value| value.to_str().ok()).flat_map(websocket::items);
    let mut offered: Vec<String> = Vec::new();
    for name in offers {
        if offered.len() >= MOST_PROTOCOLS || !websocket::is_protocol(name) {
            return Err(bad("`Sec-WebSocket-Protocol` has at most 16 names"));
        }
        if !offered.iter().any(|known| known == name) {
            offered.push(name.to_owned());
        }
    }
    let switching = Switching::of(&parts.extensions);
    let switching = switching.ok_or_else(|| bad("this connection can't be switched over"))?;
    let kept = parts.extensions.get::<KeptOpen>().cloned();
    Ok(Some((Handshake { switching, kept, accept: websocket::accept(key) }, offered)))
}

impl Handshake {
    /// The headers of the answer, with the subprotocol that upstream has chosen.
    pub(crate) fn answer(&self, protocol: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let mut put = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put(header::SEC_WEBSOCKET_ACCEPT, &self.accept);
        if let Some(protocol) = protocol {
            put(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        headers
    }
}
