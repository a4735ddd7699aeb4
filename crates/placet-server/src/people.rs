//! How people show who they are: a password, a second factor beside it, a passkey, an identity
//! provider, and the session that begins with them.
//!
//! Invariant: a session begins in [`session::begin`] and nowhere else, and what it began with is used up in the same
//! transaction. No token of an agent and not the administrator token is a proof of a person.

pub(crate) mod factors;
pub(crate) mod passkeys;
pub(crate) mod passwords;
pub(crate) mod proof;
pub(crate) mod provider;
pub(crate) mod session;
