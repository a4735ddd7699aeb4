//! The header `Client-Cert` (RFC 9440), by which a proxy that has ended the connection says which certificate it has seen,
//! and `Client-Cert-Chain` with those behind it.
//!
//! Invariant: it counts only where an administrator has said that it does, and from the proxies that are named; from
//! anybody else it is as if it were not there.

use super::ClientCertificate;
use crate::{app::App, problem::Problem};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::HeaderMap,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::refusal::Code;
use placet_identity::Certificate;
use rustls::pki_types::CertificateDer;
use std::{net::SocketAddr, sync::Arc};

const CERTIFICATE: &str = "client-cert";
const CHAIN: &str = "client-cert-chain";
/// The most bytes of either header that are looked at.
const MAX_BYTES: usize = 64 * 1024;

/// The layer, which is there where an administrator has said so: the certificate that a known proxy names.
pub(crate) async fn named(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    if !peer.is_some_and(|peer| app.forwarded_by.contains(&peer)) {
        return next.run(request).await;
    }
    match read(request.headers()) {
        Ok(None) => {}
        Ok(Some(certificate)) => {
            if certificate.is_current(app.clock.now()) {
                request.extensions_mut().insert(ClientCertificate(Arc::new(certificate)));
            }
        }
        Err(()) => {
            let detail = "the proxy's `Client-Cert` can't be read (RFC 9440): it is to be one certificate";
            return Problem::of(Code::RequestInvalid, detail).into_response();
        }
    }
    next.run(request).await
}

fn read(headers: &HeaderMap) -> Result<Option<Certificate>, ()> {
    let mut certificates = headers.get_all(CERTIFICATE).iter();
    let Some(value) = certificates.next() else { return Ok(None) };
    if certificates.next().is_some() {
        return Err(());
    }
    let first = item(value.to_str().map_err(|_| ())?).ok_or(())?;
    let mut behind = Vec::new();
    for value in headers.get_all(CHAIN) {
        for text in value.to_str().map_err(|_| ())?.split(',') {
            behind.push(item(text).ok_or(())?);
        }
    }
    Certificate::parse(first, behind).map(Some).map_err(|_| ())
}

/// A byte sequence of RFC 8941 §3.3.5, without parameters.
fn item(text: &str) -> Option<CertificateDer<'static>> {
    let encoded = text.trim_matches([' ', '\t']).strip_prefix(':')?.strip_suffix(':')?;
    if encoded.is_empty() || encoded.len() > MAX_BYTES {
        return None;
    }
    STANDARD.decode(encoded).ok().map(CertificateDer::from)
}
