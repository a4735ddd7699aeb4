//! Client certificates, shown to an upstream that looks at them.

use crate::upstream::{SECRET, answer, call, later};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::call::{Auth, Method, Mtls};
use placet_core::secret::Secret;
use placet_gateway::{
    CertificateDer, Credential, Gateway, GatewayConfig, NotSent, ResponseBody, Route, Unknown,
    UpstreamFailure,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of a client, and its key, in PEM.
fn client(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![format!("{name}.client.example")]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, authority).unwrap();
    (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()))
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// An upstream that answers, on connections that it keeps, by whose certificate each was opened and what came as
/// `Authorization`.
struct Upstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    async fn start(own: &Authority, clients: &Authority, anybody: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, own).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(clients.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = if anybody { verifier.allow_unauthenticated() } else { verifier };
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, opened) = (acceptor.clone(), Arc::clone(&opened));
                tokio::spawn(async move {
                    let mut stream = match acceptor.accept(stream).into_fallible().await {
                        Ok(stream) => stream,
                        // What it says last would be lost if anything were left unread.
                        Err((_, mut stream)) => {
                            let _ = stream.shutdown().await;
                            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                            return;
                        }
                    };
                    opened.fetch_add(1, Ordering::SeqCst);
                    let shown = stream.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec());
                    let shown = shown.unwrap_or_default();
                    let name = ["one", "two", "three"].into_iter().find(|name| {
                        shown
                            .windows(name.len() + 15)
                            .any(|it| it == format!("{name}.client.example").as_bytes())
                    });
                    loop {
                        let mut seen = Vec::new();
                        while !seen.ends_with(b"\r\n\r\n") {
                            if !matches!(stream.read_buf(&mut seen).await, Ok(1..)) {
                                return;
                            }
                        }
                        let seen = String::from_utf8(seen).unwrap();
                        let header = seen.lines().find_map(|line| line.strip_prefix("authorization: "));
                        let said = format!("{} {}", name.unwrap_or("nobody"), header.unwrap_or("-"));
                        stream.write_all(&answer("200 OK", "", said)).await.unwrap();
                    }
                });
            }
        });
        Self { address, connections }
    }

    fn route(&self) -> Route {
        Route::new(&format!("https://localhost:{}", self.address.port()), false).unwrap()
    }
}

fn gateway(roots: Vec<CertificateDer<'static>>) -> Gateway {
    Gateway::new(GatewayConfig { extra_roots: roots, ..GatewayConfig::default() }).unwrap()
}

fn mtls(ca: Option<String>, beside: Option<Auth>) -> Auth {
    Auth::Mtls(Box::new(Mtls { ca, beside }))
}

fn credential(auth: &Auth, pem: &(String, String)) -> Credential {
    Credential::new(auth, &Secret::new(format!("{}{}", pem.0, pem.1))).unwrap()
}

async fn get(gateway: &Gateway, route: &Route, credential: &Credential) -> Result<String, UpstreamFailure> {
    let answer = gateway.send(call(route, Method::Get, None), route, credential, later()).await?;
    Ok(match answer.body {
        ResponseBody::Text(text) => text,
        other => format!("{other:?}"),
    })
}

#[tokio::test]
async fn what_was_opened_with_one_certificate_serves_nobody_else() {
    let (own, clients) = (authority("upstreams"), authority("clients"));
    let upstream = Upstream::start(&own, &clients, true).await;
    let (gateway, route) = (gateway(vec![own.der().clone()]), upstream.route());
    let [one, two] = ["one", "two"].map(|name| credential(&mtls(None, None), &client(&clients, name)));
    let bearer = Credential::new(&Auth::Bearer, &Secret::new(SECRET)).unwrap();
    for _ in 0..3 {
        assert_eq!(get(&gateway, &route, &one).await.unwrap(), "one -");
        assert_eq!(get(&gateway, &route, &two).await.unwrap(), "two -");
        assert_eq!(get(&gateway, &route, &bearer).await.unwrap(), "nobody Bearer [scrubbed]");
    }
    // Each is kept all the same.
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 3);
    drop(one);
    let again = credential(&mtls(None, None), &client(&clients, "three"));
    assert_eq!(get(&gateway, &route, &again).await.unwrap(), "three -");
    assert!(!format!("{two:?}{again:?}").contains("PRIVATE"));
}

#[tokio::test]
async fn a_secret_is_shown_beside_the_certificate_and_taken_out_of_the_answer() {
    let (own, clients) = (authority("upstreams"), authority("clients"));
    let upstream = Upstream::start(&own, &clients, false).await;
    let auth = mtls(Some(pem("CERTIFICATE", own.der())), Some(Auth::Bearer));
    let (certificate, key) = client(&clients, "one");
    let kept = json!({"certificate": certificate, "key": key, "secret": SECRET}).to_string();
    let credential = Credential::new(&auth, &Secret::new(kept)).unwrap();
    // Only the service's own `ca` is trusted here.
    assert_eq!(
        get(&gateway(Vec::new()), &upstream.route(), &credential).await.unwrap(),
        "one Bearer [scrubbed]"
    );
}

#[tokio::test]
async fn an_authority_of_the_service_is_the_only_one_that_counts() {
    let (own, clients) = (authority("upstreams"), authority("clients"));
    let upstream = Upstream::start(&own, &clients, false).await;
    let auth = mtls(Some(pem("CERTIFICATE", authority("another").der())), None);
    let credential = credential(&auth, &client(&clients, "one"));
    let failure = get(&gateway(vec![own.der().clone()]), &upstream.route(), &credential).await.unwrap_err();
    assert!(matches!(failure, UpstreamFailure::NotSent { reason: NotSent::Certificate, .. }), "{failure}");
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_upstream_that_does_not_know_the_certificate_is_told_of_as_such() {
    let (own, clients) = (authority("upstreams"), authority("clients"));
    let upstream = Upstream::start(&own, &clients, false).await;
    let (gateway, route) = (gateway(vec![own.der().clone()]), upstream.route());
    let stranger = credential(&mtls(None, None), &client(&authority("strangers"), "one"));
    // It has the name of who certifies clients, and is somebody else.
    let impostor = credential(&mtls(None, None), &client(&authority("clients"), "one"));
    let bearer = Credential::new(&Auth::Bearer, &Secret::new(SECRET)).unwrap();
    for credential in [stranger, impostor, bearer] {
        let failure = get(&gateway, &route, &credential).await.unwrap_err();
        // TLS 1.3 says so when the request may have been written already.
        let about_it = match &failure {
            UpstreamFailure::Unknown { reason, .. } => *reason == Unknown::Identity,
            UpstreamFailure::NotSent { reason, .. } => *reason == NotSent::Identity,
            UpstreamFailure::Answered { .. } | UpstreamFailure::Undone { .. } => false,
        };
        assert!(about_it, "{failure}");
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 0);
}

#[test]
fn what_is_no_identity_is_refused_without_a_part_of_it() {
    let clients = authority("clients");
    let (one, two) = (client(&clients, "one"), client(&clients, "two"));
    let with = |auth: &Auth, kept: String| Credential::new(auth, &Secret::new(kept)).unwrap_err().to_string();
    let alone = mtls(None, None);
    let beside = mtls(None, Some(Auth::Bearer));
    let object =
        |secret: Option<&str>| json!({"certificate": one.0, "key": one.1, "secret": secret}).to_string();
    for (auth, kept, why) in [
        (&alone, "text".to_owned(), "no PEM"),
        (&alone, one.0.clone(), "no private key"),
        (&alone, one.1.clone(), "no certificate"),
        (&alone, format!("{}{}", one.0, two.1), "not that of the certificate"),
        (
            &alone,
            one.0.clone()
                + "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "passphrase",
        ),
        (&alone, object(Some(SECRET)), "takes no `secret`"),
        (&beside, object(None), "missing"),
        (&beside, object(Some("two\nlines")), "can't carry"),
        (
            &mtls(Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()), None),
            one.0.clone() + &one.1,
            "`ca`",
        ),
    ] {
        let refused = with(auth, kept);
        assert!(refused.contains(why), "{why}: {refused}");
        assert!(!refused.contains("BEGIN") && !refused.contains("canary"), "{refused}");
    }
}
