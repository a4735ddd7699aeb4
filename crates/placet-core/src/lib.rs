//! The rules of Placet, without any effect: what a grant covers, what a policy says, what a decision is, how a
//! token, a sealed secret and a record entry are made and checked.
//!
//! Invariant: no I/O, no clock, no ambient randomness, no SQL and no `async` in this crate.

// Fuzz targets name it as those do who use it (`fuzzing`).
#[cfg(test)]
extern crate self as placet_core;

pub mod action;
pub mod agent;
pub mod approval;
pub mod authorize;
pub mod call;
mod cbor;
pub mod cel;
pub mod chain;
pub mod client;
pub mod consent;
pub mod decimal;
pub mod detail_type;
pub mod detect;
pub mod diagnostic;
pub mod dpop;
pub mod federation;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod grant;
pub mod id;
pub mod intent;
pub mod jose;
pub mod json;
pub mod judge;
pub mod key_service;
pub mod keys;
pub mod ledger;
pub mod mcp;
pub mod password;
pub mod pattern;
pub mod policy;
pub mod provider;
pub mod record;
pub mod refusal;
pub mod scope;
pub mod seal;
pub mod secret;
pub mod service;
pub mod shape;
pub mod signing;
pub mod status_list;
pub mod task;
pub mod time;
pub mod token;
pub mod totp;
pub mod user;
pub mod waiting;
pub mod webauthn;
pub mod websocket;
pub mod yaml;
