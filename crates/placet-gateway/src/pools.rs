//! The connections to upstreams that are kept open.
//!
//! Connections are pooled by (policy, scheme, authority): one client for routes that may reach private addresses and
//! one for those that may not. Since a route's policy is a function of these three, a connection is only ever
//! reused by a route that may have opened it, and routes to one upstream share connections, also across reloads. Who
//! shows a certificate has pools of its own ([`crate::identity`]).
//!
//! Over TLS an upstream that offers HTTP/2 (ALPN) is spoken to in it: many calls on one connection. An upstream takes a
//! bounded number of those at a time, and a call beyond that would wait for another's stream to end; so where many are
//! open, further ones go through pools that speak HTTP/1.1 alone, a connection each.
//!
//! Invariant: what a call may not have opened, it is not given.

use crate::dial::{Connector, Dialer, Reach, SystemResolver};
use crate::gateway::GatewayConfig;
use crate::upload::Outgoing;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type HttpClient = Client<Connector, Outgoing>;

/// How many calls are open at once on what may be one HTTP/2 connection: fewer than any usual upstream takes.
pub(crate) const SHARED: usize = 64;
/// How much of one answer may lie here unread over HTTP/2, and of all on a connection: the whole of the former for as
/// many as an upstream usually lets go on, so that agents who don't read keep no others waiting.
const WINDOW: u32 = 128 * 1024;
const WINDOWS: u32 = 16 * 1024 * 1024;
/// How often an HTTP/2 upstream that is silent while it is waited for is asked whether it is there, and how long it has.
const PING: Duration = Duration::from_secs(20);

/// The connections under one policy.
#[derive(Debug)]
struct Versions {
    /// What upstream prefers.
    any: HttpClient,
    /// HTTP/1.1 alone.
    plain: HttpClient,
}

/// The connections of routes that may reach private addresses, and of those that may not.
#[derive(Debug)]
pub(crate) struct Pools {
    public_only: Versions,
    private_too: Versions,
}

impl Pools {
    pub(crate) fn new(config: &GatewayConfig, tls: &ClientConfig, https_only: bool) -> Self {
        let resolver = config.resolver.clone().unwrap_or_else(|| Arc::new(SystemResolver));
        let client = |allow_private, http2| {
            let connect_timeout = config.connect_timeout;
            let reach = Reach::Administered { allow_private };
            let dialer = Dialer { resolver: Arc::clone(&resolver), reach, connect_timeout };
            let https = HttpsConnectorBuilder::new().with_tls_config(tls.clone());
            let https = if https_only { https.https_only() } else { https.https_or_http() };
            let https = if http2 {
                https.enable_all_versions().wrap_connector(dialer)
            } else {
                https.enable_http1().wrap_connector(dialer)
            };
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(config.idle_timeout)
                .pool_max_idle_per_host(config.max_idle_per_upstream)
                .http2_initial_stream_window_size(WINDOW)
                .http2_initial_connection_window_size(WINDOWS)
                .http2_keep_alive_interval(PING)
                .http2_keep_alive_timeout(PING)
                // Only what hyper never took from its queue (module comment).
                .retry_canceled_requests(true)
                // In HTTP/2 the authority is said without it.
                .set_host(true)
                .build(Connector { https, connect_timeout })
        };
        let versions = |private| Versions { any: client(private, true), plain: client(private, false) };
        Self { public_only: versions(false), private_too: versions(true) }
    }

    /// Those of a route under this policy; `plain` are those that speak HTTP/1.1 alone.
    pub(crate) fn of(&self, allow_private: bool, plain: bool) -> HttpClient {
        let versions = if allow_private { &self.private_too } else { &self.public_only };
        if plain { versions.plain.clone() } else { versions.any.clone() }
    }
}
