//! The upstream side of every door: dials, adds the credential, sends once, and hands back an answer in which the
//! credential can't be found.
//!
//! The only crate that touches customer traffic and opens secrets. It decides nothing: whether a call may be made
//! has been decided, and recorded, before [`Gateway::perform`] is reached.
//!
//! Invariant: no header of an agent's reaches an upstream but those that a call lists; nothing of the credential reaches an agent; a
//! request of which a byte may have been written is never sent again; no address is dialled that was not checked.

// Fuzz targets name it as those do who use it (`fuzzing`).
#[cfg(test)]
extern crate self as placet_gateway;

mod address;
mod ask;
mod assertion;
mod dial;
mod failure;
mod fetch;
mod form;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gateway;
mod identity;
mod inject;
mod key_service;
mod kv;
mod mcp;
mod pools;
mod postgres;
mod response;
mod role_login;
mod route;
mod scrub;
mod streamed;
mod token;
mod tunnel;
mod upload;
mod upstream;
mod websocket;

pub use address::{AddressClass, classify};
pub use ask::Asker;
pub use assertion::AssertionKey;
pub use dial::Resolve;
pub use failure::{Happened, NotSent, Undone, Unknown, Unreadable, UpstreamFailure};
pub use fetch::{Answered, FetchConfig, FetchError, Fetched, Fetcher};
pub use form::{basic, form};
pub use gateway::{Gateway, GatewayConfig, GatewayError, roots_from_pem};
pub use identity::check as check_certificates;
pub use inject::{Credential, CredentialError};
pub use key_service::{KeyService, KeyServiceError, KeyServices, Pkcs11, SecretFrom, Transit};
pub use kv::{Given, KeyValue, Login};
pub use mcp::{CallOff, Command, Followed, Following, NoTools, Notice, Told, Wanted, follow};
pub use postgres::MOST_SESSIONS;
pub use response::{ResponseBody, UpstreamResponse};
pub use route::{Route, RouteError};
pub use rustls::pki_types::CertificateDer;
pub use scrub::{SCRUBBED, Scrubber};
pub use streamed::{Piece, StreamedAnswer};
pub use token::TokenError;
pub use tunnel::Tunnel;
pub use upload::Upload;
pub use upstream::{CONCURRENCY, Outcome, Slot, Standing, State, TurnedAway, Upstream, Upstreams};
pub use websocket::{
    Broken, Duplex, Ending, Hearing, Offer, Opened, Said, Speaking, agent as websocket_of_agent,
};
