//! Makes connections, to checked addresses only.
//!
//! A name is resolved once, *all* its addresses are checked, and one of those very addresses is dialled: there is no
//! second look-up whose answer could differ. A name of which any address is refused is refused whole, since a name
//! that points inside as well as outside is an attack or a mistake.
//!
//! A public address that turns out to be one of this machine's own is given up before a byte is written: services that
//! listen there often trust whoever is on the machine.
//!
//! Invariant: no socket is opened to an address that [`permit`] has not passed in the same call.

use crate::address::{AddressClass, classify};
use crate::route::default_port;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;

/// Looks names up. Production uses the operating system's resolver; tests give hostile answers.
pub trait Resolve: std::fmt::Debug + Send + Sync {
    /// All addresses of `host`, with `port`.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;
}

/// The operating system's resolver.
#[derive(Debug)]
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Why there is no connection. In every case nothing of the request left this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    #[error("no address")]
    NotResolved,
    #[error("forbidden address ({0})")]
    Forbidden(AddressClass),
    #[error("connection failed ({0})")]
    Failed(io::ErrorKind),
    #[error("no connection in time")]
    TimedOut,
}

/// Whose word the address is, and so which addresses may be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// An administrator's: what is written as a literal or as `localhost` is meant; a name is not permitted more than
    /// public addresses, unless the administrator says so.
    Administered {
        /// Private addresses behind a name too.
        allow_private: bool,
    },
    /// Anybody's: public addresses, however they are written.
    Anybody {
        /// This machine too, where it is written as a literal or as `localhost`: for trying things out.
        loopback: bool,
    },
}

/// Opens TCP connections under one policy.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) reach: Reach,
    pub(crate) connect_timeout: Duration,
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial(&uri).await.map(TokioIo::new) })
    }
}

impl Dialer {
    /// A connection to where `uri` is.
    pub(crate) async fn dial(&self, uri: &Uri) -> Result<TcpStream, DialError> {
        let deadline = Instant::now() + self.connect_timeout;
        let host = uri.host().unwrap_or_default();
        let default = default_port(uri.scheme_str().unwrap_or_default());
        let port = uri.port_u16().unwrap_or(default);
        let (written, addresses) = match literal(host) {
            Some(address) => (Written::Literal, vec![SocketAddr::new(address, port)]),
            None => {
                let answer = timeout_at(deadline, self.resolver.resolve(host, port)).await;
                let addresses = answer.map_err(|_| DialError::TimedOut)?.map_err(|error| {
                    tracing::debug!(host, %error, "upstream name not resolved");
                    DialError::NotResolved
                })?;
                (if host == "localhost" { Written::Localhost } else { Written::Name }, addresses)
            }
        };
        for address in &addresses {
            permit(address.ip(), written, self.reach).map_err(DialError::Forbidden)?;
        }
        let stream = self.connect(&addresses, deadline).await?;
        // Only now is it known, and nothing has been written yet.
        if is_own(stream.local_addr(), stream.peer_addr()) && !may_be_own(&stream, written, self.reach) {
            return Err(DialError::Forbidden(AddressClass::Own));
        }
        Ok(stream)
    }

    async fn connect(&self, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, DialError> {
        let mut last = DialError::NotResolved;
        for (index, address) in addresses.iter().enumerate() {
            // Each address gets an equal part of what is left, so that a dead one doesn't use it all up.
            let left = deadline.saturating_duration_since(Instant::now());
            let others = u32::try_from(addresses.len().saturating_sub(index)).unwrap_or(u32::MAX);
            match timeout(left / others.max(1), TcpStream::connect(*address)).await {
                Ok(Ok(stream)) => {
                    // Without it a small request waits for the acknowledgement of the one before.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY not set");
                    }
                    return Ok(stream);
                }
                Ok(Err(error)) => last = DialError::Failed(error.kind()),
                Err(_) => last = DialError::TimedOut,
            }
        }
        Err(last)
    }
}

/// [`Dialer`] and TLS, together within the connect timeout.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    pub(crate) https: HttpsConnector<Dialer>,
    pub(crate) connect_timeout: Duration,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(self.connect_timeout, self.https.call(uri));
        Box::pin(async move { connecting.await.map_err(|_| BoxError::from(DialError::TimedOut))? })
    }
}

/// How the administrator wrote the host in `base_url`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Literal,
    Localhost,
    Name,
}

fn permit(address: IpAddr, written: Written, reach: Reach) -> Result<(), AddressClass> {
    match (classify(address), written, reach) {
        (class @ AddressClass::Metadata, ..) => Err(class),
        (AddressClass::Public, Written::Name, _) => Ok(()),
        (AddressClass::Public, _, Reach::Anybody { .. }) => Ok(()),
        (
            AddressClass::Loopback,
            Written::Literal | Written::Localhost,
            Reach::Anybody { loopback: true },
        ) => Ok(()),
        (class, _, Reach::Anybody { .. }) => Err(class),
        (_, Written::Literal, Reach::Administered { .. }) => Ok(()),
        (AddressClass::Loopback, Written::Localhost, Reach::Administered { .. }) => Ok(()),
        (_, _, Reach::Administered { allow_private: true }) => Ok(()),
        (class, _, Reach::Administered { allow_private: false }) => Err(class),
    }
}

/// Whether a connection may end at this machine: where that is what was meant.
fn may_be_own(stream: &TcpStream, written: Written, reach: Reach) -> bool {
    match reach {
        Reach::Administered { allow_private } => written != Written::Name || allow_private,
        // What is at a loopback address was permitted as such.
        Reach::Anybody { loopback } => {
            loopback && stream.peer_addr().is_ok_and(|peer| classify(peer.ip()) == AddressClass::Loopback)
        }
    }
}

/// Whether a connection ends at the machine where it began: then both its ends have the same address.
fn is_own(local: io::Result<SocketAddr>, peer: io::Result<SocketAddr>) -> bool {
    match (local, peer) {
        (Ok(local), Ok(peer)) => local.ip() == peer.ip(),
        // The system doesn't say: not known is not permitted.
        _ => true,
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_to_this_machine_is_known_by_its_ends() {
        let at = |text: &str| Ok(text.parse::<SocketAddr>().unwrap());
        assert!(is_own(at("203.0.113.7:5000"), at("203.0.113.7:443")));
        assert!(is_own(at("[2001:db8::1]:5000"), at("[2001:db8::1]:443")));
        assert!(!is_own(at("10.0.0.5:5000"), at("203.0.113.7:443")));
        assert!(is_own(Err(io::Error::other("gone")), at("203.0.113.7:443")));
    }

    #[test]
    fn anybodys_address_is_public_however_it_is_written() {
        use AddressClass::{Embedded, LinkLocal, Loopback, Metadata, Private, UniqueLocal};
        use Written::{Literal, Localhost, Name};
        let anybody = |loopback| Reach::Anybody { loopback };
        for written in [Literal, Localhost, Name] {
            for (address, class) in [
                ("127.0.0.1", Loopback),
                ("::1", Loopback),
                ("::ffff:127.0.0.1", Embedded),
                ("10.0.0.5", Private),
                ("169.254.1.1", LinkLocal),
                ("169.254.169.254", Metadata),
                ("fd00::1", UniqueLocal),
            ] {
                let address = address.parse().unwrap();
                assert_eq!(permit(address, written, anybody(false)), Err(class), "{address} {written:?}");
                // Trying things out reaches this machine where that is written, and nothing else.
                let meant = class == Loopback && written != Name;
                assert_eq!(permit(address, written, anybody(true)).is_ok(), meant, "{address} {written:?}");
            }
            assert!(permit("93.184.216.34".parse().unwrap(), written, anybody(false)).is_ok());
        }
    }
}
