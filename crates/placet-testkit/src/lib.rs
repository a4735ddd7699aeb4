//! For tests only: the outside of Placet, as tests need it. The real binary as a process ([`Server`]), an upstream
//! that demands a secret and remembers what it saw ([`Upstream`]), one that speaks WebSocket ([`WebSocketUpstream`]), a PostgreSQL server ([`Cluster`]), key services
//! ([`OpenBao`], [`SoftHsm`]), a network that fails ([`Proxy`]), a real nginx ([`Nginx`]), a client that takes any answer ([`Client`]), and a
//! stage on which they are set up together ([`Story`]). The house rules of the repository are in `tests/tidy`.
//!
//! Everything blocks, so that a test reads from top to bottom; what happens at once is written with [`together`].
//!
//! Invariant: nothing that ships depends on this crate, and nothing here stands in for a part of Placet itself.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what tests share fails them by panicking"
)]

mod authenticator;
mod client;
mod http2;
mod key_services;
mod nginx;
mod postgres;
mod proxy;
mod publisher;
mod server;
mod story;
mod upstream;
mod websocket;
mod wire;

pub use authenticator::{
    Asserted, Authenticator, BACKED_UP, Created, ELIGIBLE, PRESENT, Signs, VERIFIED, attestation, cose,
};
pub use client::{Answer, Client, Request};
pub use http2::{Answering, Http2, Sending};
pub use key_services::{OpenBao, SoftHsm};
pub use nginx::Nginx;
pub use postgres::{Certified, Cluster, Database};
pub use proxy::Proxy;
pub use publisher::Publisher;
pub use server::{Server, is_about_a_file, on_postgres};
pub use story::{Agent, Asking, Registering, SECRET, Story, fresh, password};
pub use upstream::{Gate, Reply, Seen, Upstream};
pub use websocket::{Heard, Talk, WebSocketUpstream};
pub use wire::{RawUpstream, Wire};

use std::{
    sync::{Barrier, LazyLock},
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// Where upstreams and clients run; it lives as long as the process of the tests.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Does something `count` times at once, each from a thread of its own that begins when all are there, and answers
/// what each gave, in their order. The argument is the number of the one that does it, from 0.
pub fn together<T: Send>(count: usize, what: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (start, what) = (&Barrier::new(count), &what);
    thread::scope(|scope| {
        let begun: Vec<_> = (0..count)
            .map(|number| {
                scope.spawn(move || {
                    start.wait();
                    what(number)
                })
            })
            .collect();
        begun.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Waits until `look` finds something, and answers it.
///
/// # Panics
/// After 20 seconds, with `what`.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}
