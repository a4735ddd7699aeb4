//! How people sign in: authenticator apps, recovery codes, passkeys, their account; and that no agent ever does.
//!
//! On a server of their own: its pages have an origin with a name, which passkeys need, and each test comes from an address
//! of its own.

mod account;
mod agents;
mod codes;
mod passkeys;
pub(crate) mod person;
