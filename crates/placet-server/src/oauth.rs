//! The authorization server's endpoints. OAuth issues authority; it is no door for actions.
//!
//! This version speaks authorization codes (OAuth 2.1 §4.1) with pushed requests
//! (RFC 9126), device authorization (RFC 8628) and CIBA in poll mode, client credentials (RFC 6749 §4.4), assertions of
//! trusted issuers (RFC 7523 §2.1), token exchange (RFC 8693) for access, refresh and delegation
//! tokens, refreshing (RFC 6749 §6), introspection (RFC 7662), revocation (RFC 7009), and publishes metadata (RFC 8414)
//! and keys (RFC 7517) that promise only that, and lists of statuses.

pub(crate) mod authorize;
pub mod backchannel;
pub mod client;
pub mod code;
pub mod device;
pub mod exchange;
pub mod federation;
pub mod history;
pub mod introspect;
pub mod issue;
pub mod metadata;
pub mod par;
pub mod protected_resource;
mod redeem;
pub mod refresh;
pub mod register;
pub mod resource_server;
pub mod revoke;
pub(crate) mod status;
pub mod token;
pub(crate) mod waiting;
