//! The JSON APIs under `/v1`, a file per noun of the path.
//!
//! A handler says who may call it, reads what was sent, does one thing through [`crate::app::App`], and answers.

pub mod access;
pub mod account;
pub mod actions;
pub mod agents;
pub mod approvals;
pub mod authorization_server;
pub mod catalog;
pub mod connect;
pub mod connections;
pub mod decisions;
mod declared;
pub mod detail_types;
mod document;
pub mod egress;
pub mod grants;
pub mod identity_providers;
pub mod keys;
pub mod operations;
pub mod permits;
pub mod policies;
pub(crate) mod query;
pub mod record;
pub mod registrations;
pub mod requests;
pub mod resource_servers;
pub(crate) mod roots;
pub mod scopes;
pub mod services;
pub mod sessions;
pub mod tasks;
pub mod tokens;
pub mod trusted_issuers;
pub mod users;
