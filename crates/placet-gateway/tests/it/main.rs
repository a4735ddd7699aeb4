//! The gateway against upstreams on loopback that answer whatever a test wants, byte for byte.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "what the tests share fails them by panicking, and their text is ASCII"
)]

mod addresses;
mod fetching;
mod http2;
mod identity;
mod injection;
mod key_services;
mod postgres;
mod responses;
mod scrubbing;
mod sending;
mod signing;
mod streaming;
mod tls;
mod upstream;
