//! Calls over TLS to an upstream that a certificate authority of the test's own has certified.

use crate::upstream::{SECRET, answer, call, perform};
use placet_core::call::Method;
use placet_gateway::{Gateway, GatewayConfig, NotSent, Route, UpstreamFailure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// TLS of an upstream that is certified for `names` and offers `protocols` (ALPN), and the authority's certificate.
pub(crate) fn certified(names: &[&str], protocols: &[&[u8]]) -> (TlsAcceptor, CertificateDer<'static>) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "test authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let root = authority.der().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), root)
}

/// Starts an upstream that is certified for `names`; answers where, and the authority's certificate.
async fn start(names: &[&str]) -> (SocketAddr, CertificateDer<'static>) {
    let (acceptor, root) = certified(names, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") && stream.read_buf(&mut seen).await.unwrap() > 0 {}
            let seen = String::from_utf8(seen).unwrap();
            let said = if seen.contains(&format!("authorization: Bearer {SECRET}\r\n")) {
                "known"
            } else {
                "unknown"
            };
            stream.write_all(&answer("200 OK", "connection: close\r\n", said)).await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    (address, root)
}

pub(crate) fn trusting(extra_roots: Vec<CertificateDer<'static>>) -> Gateway {
    Gateway::new(GatewayConfig { extra_roots, ..GatewayConfig::default() }).unwrap()
}

async fn get(
    gateway: &Gateway,
    base: &str,
) -> Result<placet_gateway::UpstreamResponse, placet_gateway::UpstreamFailure> {
    let route = Route::new(base, false).unwrap();
    perform(gateway, &route, call(&route, Method::Get, None)).await
}

#[tokio::test]
async fn an_upstream_that_the_operator_trusts_is_called_over_tls() {
    let (address, root) = start(&["localhost", "127.0.0.1"]).await;
    let gateway = trusting(vec![root]);
    for host in ["localhost", "127.0.0.1"] {
        let response = get(&gateway, &format!("https://{host}:{}", address.port())).await.unwrap();
        assert_eq!(
            (response.status, response.body),
            (200, placet_gateway::ResponseBody::Text("known".into()))
        );
    }
}

#[tokio::test]
async fn an_authority_that_nobody_trusts_or_another_name_is_refused_before_anything_is_sent() {
    let (address, root) = start(&["elsewhere.example"]).await;
    let base = format!("https://localhost:{}", address.port());
    for gateway in [trusting(Vec::new()), trusting(vec![root])] {
        let failure = get(&gateway, &base).await.unwrap_err();
        assert!(
            matches!(failure, UpstreamFailure::NotSent { reason: NotSent::Certificate, .. }),
            "{failure}"
        );
    }
}
