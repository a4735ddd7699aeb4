//! Connections that are passed on unread, to hosts that the operator has named: bytes there and back, no credential.
//!
//! Invariant: dialled by the same check as every call; nothing is added, nothing is read.

use crate::{
    failure::{NotSent, UpstreamFailure},
    gateway::{Gateway, connect_failure},
    route::Route,
};
use std::io;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::TcpStream,
};

/// An open connection to a host.
#[derive(Debug)]
pub struct Tunnel(TcpStream);

impl Gateway {
    /// Connects to the host of `route`.
    ///
    /// # Errors
    /// [`UpstreamFailure::NotSent`]: it can't be reached, or its address is refused.
    pub async fn tunnel(&self, route: &Route) -> Result<Tunnel, UpstreamFailure> {
        let uri = route.origin().parse().map_err(|_| failed(route, NotSent::BadCall))?;
        let dialled = self.dialer(route.allow_private()).dial(&uri).await;
        dialled.map(Tunnel).map_err(|error| failed(route, connect_failure(&error)))
    }
}

impl Tunnel {
    /// Carries bytes both ways until both have ended.
    ///
    /// # Errors
    /// What either connection met.
    pub async fn carry(mut self, mut agent: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        copy_bidirectional(&mut agent, &mut self.0).await.map(|_| ())
    }
}

fn failed(route: &Route, reason: NotSent) -> UpstreamFailure {
    UpstreamFailure::NotSent { host: route.host().to_owned(), reason }
}
