//! What the authorization endpoint decides without storage (OAuth 2.1, RFC 9700): which requests can be read, where
//! they are answered, and which verifiers fit a challenge.
//!
//! Invariant: nothing is answered to a redirect URI that was not found among the client's own.

pub mod pkce;
pub mod redirect;
pub mod request;

pub use pkce::Challenge;
pub use request::{Parameters, Prompt, Refusal, Request};
