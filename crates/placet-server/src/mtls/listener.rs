//! The listener for mutual TLS: it asks every client for a certificate, and serves those that have none as well.
//!
//! Here nobody is refused for who certified them: that is looked at where a client says who it is. What is proved on the
//! connection is that its other end holds the certificate's key. Each connection proves that anew: none is resumed.
//!
//! Invariant: handshakes go on beside each other, at most [`HANDSHAKES`] and each for at most [`HANDSHAKE_TIME`]: whoever
//! doesn't finish one keeps nobody else waiting while there is room, and is cut off. So is who asks nothing for [`IDLE`].

use super::{ClientCertificate, Live};
use crate::{
    app::App,
    router,
    serving::{self, Open, Version},
};
use axum::{
    extract::{ConnectInfo, Request},
    http::HeaderMap,
};
use placet_identity::Certificate;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower_service::Service as _;

/// How long a handshake may take.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// How many handshakes go on at once.
pub const HANDSHAKES: usize = 1024;
/// How many connections are open at once.
pub const CONNECTIONS: usize = 8192;
/// How long a client may keep a connection without asking anything, and how long the head of a request may take to come.
pub const IDLE: Duration = Duration::from_secs(30);
/// How long to wait where the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// What the listener presents itself with.
#[derive(Debug, Clone)]
pub struct Identity(Arc<ServerConfig>);

impl Identity {
    /// A certificate with those behind it, and its key, in PEM.
    ///
    /// # Errors
    /// A sentence, where they can't be used.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("the certificate can't be read: {error}"))?;
        if chain.is_empty() {
            return Err("there is no certificate (PEM)".to_owned());
        }
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the key can't be read: {error}"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = AnyCertificate(provider.signature_verification_algorithms);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(chain, key)
            .map_err(|error| format!("the certificate and the key can't be used together: {error}"))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(Arc::new(config)))
    }
}

/// Takes any certificate whose key signs the handshake.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // None are named: a client whose certificate is its own has to send it too.
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
struct Peer {
    address: SocketAddr,
    certificate: Option<Arc<Certificate>>,
}

/// A connection after its handshake.
struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    open: OwnedSemaphorePermit,
}

async fn accept(listener: TcpListener, identity: Live<Identity>, ready: mpsc::Sender<Connection>) {
    let (handshakes, connections) =
        (Arc::new(Semaphore::new(HANDSHAKES)), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        let Ok(open) = Arc::clone(&connections).acquire_owned().await else { return };
        let Ok(turn) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection for mutual TLS can't be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // What it presents itself with now; connections that are open keep what they have seen.
        let acceptor = TlsAcceptor::from(Arc::clone(&identity.now().0));
        let ready = ready.clone();
        tokio::spawn(async move {
            _ = stream.set_nodelay(true);
            let shaken = tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await;
            drop(turn);
            let Ok(Ok(stream)) = shaken else { return };
            let Ok(certificate) = shown(&stream) else { return };
            _ = ready.send(Connection { stream, peer: Peer { address, certificate }, open }).await;
        });
    }
}

/// The certificate of a connection.
fn shown(stream: &TlsStream<TcpStream>) -> Result<Option<Arc<Certificate>>, ()> {
    let (_, session) = stream.get_ref();
    let Some((first, behind)) = session.peer_certificates().and_then(<[_]>::split_first) else {
        return Ok(None);
    };
    match Certificate::parse(first.clone(), behind.to_vec()) {
        Ok(certificate) => Ok(Some(Arc::new(certificate))),
        Err(error) => {
            tracing::info!(%error, "a client's certificate can't be used");
            Err(())
        }
    }
}

/// A request with what is known of its connection, as the other listeners have it, and the certificate where that holds now.
fn arrived(app: &App, peer: &Peer, mut request: Request) -> Request {
    // The connection ends here: nobody between has written where it comes from.
    request.headers_mut().remove("x-forwarded-for");
    request.extensions_mut().insert(ConnectInfo(peer.address));
    let current = peer.certificate.as_ref().filter(|it| it.is_current(app.clock.now()));
    if let Some(certificate) = current.filter(|_| !is_of_a_page(request.headers())) {
        request.extensions_mut().insert(ClientCertificate(Arc::clone(certificate)));
    }
    request
}

/// Whether a page of another origin has a browser send this, which shows its certificates unasked as it does cookies.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    let sites = headers.get_all("sec-fetch-site");
    sites.iter().any(|site| site == "cross-site" || site == "same-site")
}

/// Serves what the doors' listener serves, over mutual TLS, until `shutdown` is done; requests that are under way are
/// answered first.
///
/// # Errors
/// What the listener met.
pub async fn serve(
    listener: TcpListener,
    identity: Live<Identity>,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (sender, mut ready) = mpsc::channel(HANDSHAKES);
    // Ends with this, however this ends.
    let mut accepting = JoinSet::new();
    accepting.spawn(accept(listener, identity, sender));
    let mut shutdown = pin!(shutdown);
    let router = router(Arc::clone(&app));
    let open_ones = Open::new();
    loop {
        let connection = tokio::select! {
            () = &mut shutdown => break,
            Some(connection) = ready.recv() => connection,
        };
        let Connection { stream, peer, open } = connection;
        let (app, router) = (Arc::clone(&app), router.clone());
        let version = Version::agreed(stream.get_ref().1.alpn_protocol());
        // A router is always ready.
        let answering = move |request: Request| router.clone().call(arrived(&app, &peer, request));
        tokio::spawn(serving::serve(stream, version, IDLE, answering, open_ones.one_at(open)));
    }
    drop(accepting);
    open_ones.end().await;
    Ok(())
}
