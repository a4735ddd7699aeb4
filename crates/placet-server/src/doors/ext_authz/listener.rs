//! The listener for Envoy: gRPC, so HTTP/2 alone, in plain text (for the same machine or pod) or over TLS, where it can ask
//! for the certificate of whoever calls.
//!
//! Invariant: where authorities are given, nobody without a certificate of theirs is heard; who does not finish a handshake
//! or asks nothing is cut off.

use super::Calls;
use crate::{
    app::App,
    mtls::{
        Live,
        listener::{CONNECTIONS, HANDSHAKE_TIME},
    },
    serving::{self, Ending, Open, Version},
};
use axum::{extract::Request, response::Response};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use std::{convert::Infallible, future::Future, io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// How long whoever calls may keep a connection without asking anything. It is told to make another one then, and loses
/// nothing by that.
const IDLE: Duration = Duration::from_secs(120);
/// How long to wait where the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// What the listener presents itself with, and whose certificates it asks for.
#[derive(Debug, Clone)]
pub struct Identity(Arc<ServerConfig>);

impl Identity {
    /// A certificate with those behind it and its key, and the authorities that certify callers, in PEM.
    ///
    /// # Errors
    /// A sentence, where they can't be used.
    pub fn from_pem(certificates: &[u8], key: &[u8], authorities: Option<&[u8]>) -> Result<Self, String> {
        let read = |pem: &[u8], what: &str| {
            let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
            let read = read.map_err(|error| format!("{what} can't be read: {error}"))?;
            if read.is_empty() { Err(format!("{what}: there is no certificate (PEM)")) } else { Ok(read) }
        };
        let chain = read(certificates, "the certificate")?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the key can't be read: {error}"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = match authorities {
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for authority in read(pem, "the authorities of callers")? {
                    roots.add(authority).map_err(|error| format!("an authority can't be used: {error}"))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                config.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
            }
            None => config.with_no_client_auth(),
        };
        let mut config = config
            .with_single_cert(chain, key)
            .map_err(|error| format!("the certificate and the key can't be used together: {error}"))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// Answers Envoy on `listener` until `shutdown` is done; calls that are under way are answered first.
///
/// # Errors
/// What the listener met.
pub async fn serve(
    listener: TcpListener,
    identity: Option<Live<Identity>>,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let open_ones = Open::new();
    loop {
        let permit = Arc::clone(&room).acquire_owned();
        let Ok(permit) = (tokio::select! {
            () = &mut shutdown => break,
            permit = permit => permit,
        }) else {
            break;
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection for ext_authz can't be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // As it is now: connections that are open go on by what it was.
        let (identity, ending) = (identity.as_ref().map(Live::now), open_ones.one_at(permit));
        let calls = Calls { app: Arc::clone(&app), peer };
        tokio::spawn(serve_one(stream, identity, calls, ending));
    }
    open_ones.end().await;
    Ok(())
}

async fn serve_one(stream: TcpStream, identity: Option<Arc<Identity>>, calls: Calls, ending: Ending) {
    _ = stream.set_nodelay(true);
    let answering = move |call: Request| calls.clone().answer(call);
    match identity {
        None => answer(stream, answering, ending).await,
        Some(identity) => {
            let acceptor = TlsAcceptor::from(Arc::clone(&identity.0));
            let shaken = timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = shaken {
                answer(stream, answering, ending).await;
            }
        }
    }
}

async fn answer<S, A, F>(stream: S, answering: A, ending: Ending)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    A: Fn(Request) -> F + Clone + Send + Unpin + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    serving::serve(stream, Version::Http2, IDLE, answering, ending).await;
}

/// Where it listens.
#[derive(Debug)]
pub struct Listening {
    /// The bound listener.
    pub listener: TcpListener,
    /// What it presents itself with; plain text without.
    pub identity: Option<Live<Identity>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_is_cut_off() {
        let (ours, _theirs) = tokio::io::duplex(1024);
        let answering = |_| std::future::ready(Ok(Response::new(Body::empty())));
        let open = Open::new();
        timeout(IDLE * 2, answer(ours, answering, open.one())).await.expect("it is waited for");
    }
}
