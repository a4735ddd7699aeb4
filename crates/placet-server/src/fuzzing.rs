//! What the fuzzers (`fuzz/README.md`) ask of the server beyond its public interface: how it reads what came, before it looks
//! anything up. It is there only where they, or tests, are built.
//!
//! Invariant: nothing that ships reaches it.

use crate::{
    doors::ext_authz::{self, message::HttpRequest},
    egress, handshake,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, request::Parts};
use placet_core::{secret::Secret, service::SeenBody};

#[cfg(test)]
mod replay;

/// The head of a request as text: its line, and headers; `None` where it is none. It is no stricter than what reads heads
/// from connections.
pub fn head(text: &str) -> Option<Parts> {
    let mut lines = text.split('\n');
    let mut line = lines.next()?.split(' ');
    let version = match line.next_back()? {
        "HTTP/1.0" => axum::http::Version::HTTP_10,
        "HTTP/1.1" => axum::http::Version::HTTP_11,
        "HTTP/2.0" => axum::http::Version::HTTP_2,
        _ => return None,
    };
    let mut request = Request::builder().version(version).method(line.next()?).uri(line.next()?);
    for header in lines.filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request =
            request.header(name, HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes()).ok()?);
    }
    let (parts, ()) = request.body(()).ok()?.into_parts();
    Some(parts)
}

/// The headers and the body of a request that Envoy asks about, as they are read; `None` where it is refused.
pub fn checked(http: &HttpRequest, sends_bodies: bool) -> Option<(HeaderMap, SeenBody<'_>)> {
    let headers = ext_authz::headers(http)?;
    let body = ext_authz::body(http, &headers, sends_bodies);
    Some((headers, body))
}

/// The origin that a tunnel is opened to, and the host that TLS in it has to name; `None` where it is refused.
pub fn tunnel(parts: &Parts) -> Option<(String, String)> {
    let route = egress::route("https", &egress::tunnel::authority(&parts.uri)?).ok()?;
    Some((route.origin().to_owned(), egress::tunnel::host(&route).to_owned()))
}

/// The host that a request in a tunnel is for, once it says so in one place; `None` where it is refused or says none.
pub fn host_in_tunnel(parts: &Parts) -> Option<HeaderMap> {
    let mut request = Request::from_parts(parts.clone(), axum::body::Body::empty());
    egress::tunnel::in_one_form(&mut request).ok()?;
    Some(request.into_parts().0.headers)
}

/// The user name and the token that a request shows to the egress door.
pub fn shown(headers: &HeaderMap) -> Option<(String, Secret)> {
    egress::credential::read(headers).ok()
}

/// How a handshake is answered, with the subprotocol that was chosen.
pub type Answering = Box<dyn Fn(Option<&str>) -> HeaderMap>;

/// What an agent's handshake for a WebSocket offers, and how it is answered; `None` where it is refused or is none.
pub fn websocket(parts: &Parts) -> Option<(Vec<String>, Answering)> {
    let mut parts = parts.clone();
    parts.extensions.insert(hyper::upgrade::on(Request::new(())));
    let (begun, offered) = handshake::asked(&parts).ok()??;
    Some((offered, Box::new(move |protocol: Option<&str>| begun.answer(protocol))))
}

/// Whether a request is taken for an ordinary one, and not for one that asks for a WebSocket.
pub fn is_ordinary(parts: &Parts) -> bool {
    matches!(handshake::asked(parts), Ok(None))
}
