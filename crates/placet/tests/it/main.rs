//! The binary as people run it: processes, exit codes, what is printed, what lies in the data directory; and the
//! server over real HTTP, with a real upstream.
//!
//! Invariant: servers listen on port 0 and are stopped by the test that started them, or end with the test process.

#[cfg(test)]
mod actions;
#[cfg(test)]
mod advice;
mod agents;
#[cfg(test)]
mod approval_races;
#[cfg(test)]
mod approvals;
#[cfg(test)]
mod approvers;
#[cfg(test)]
mod authorize;
#[cfg(test)]
mod authzen;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod check;
#[cfg(test)]
mod children;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod clients_documents;
#[cfg(test)]
mod clients_keys;
#[cfg(test)]
mod clients_registration;
#[cfg(test)]
mod clients_unused;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod confined;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod connections_checked;
#[cfg(test)]
mod connections_elsewhere;
#[cfg(test)]
mod connections_oauth;
#[cfg(test)]
mod connections_signed;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod cross_origin;
#[cfg(test)]
mod database;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod detail_types;
#[cfg(test)]
mod detect;
#[cfg(test)]
mod device;
#[cfg(test)]
mod discovery;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod dpop;
#[cfg(test)]
mod dpop_delegation;
#[cfg(test)]
mod dpop_nodes;
#[cfg(test)]
mod dumps;
#[cfg(test)]
mod egress;
#[cfg(test)]
mod exchange;
#[cfg(test)]
mod ext_authz;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod federation;
#[cfg(test)]
mod forward_auth;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod help;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod intent;
#[cfg(test)]
mod introspection;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod leaks;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod limits_attacked;
#[cfg(test)]
mod lineage_model;
#[cfg(test)]
mod mcp;
#[cfg(test)]
mod mcp_upstream;
#[cfg(test)]
mod metadata;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod mtls;
#[cfg(test)]
mod narrowed;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod one_agent;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod parties;
#[cfg(test)]
mod people;
#[cfg(test)]
mod permits;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod policy_compact;
#[cfg(test)]
mod policy_compare;
#[cfg(test)]
mod policy_language;
#[cfg(test)]
mod policy_rollout;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod policy_versions;
#[cfg(test)]
mod process;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod proxy_cut;
#[cfg(test)]
mod proxy_http2;
#[cfg(test)]
mod proxy_messages;
#[cfg(test)]
mod proxy_streaming;
#[cfg(test)]
mod questions;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod reconcile;
#[cfg(test)]
mod record;
#[cfg(test)]
mod refresh;
#[cfg(test)]
mod resource_servers;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod returned;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod runbook;
#[cfg(test)]
mod scopes;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod services;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod shape_aside;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod status;
#[cfg(test)]
mod stored;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod threats;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod upstreams;
#[cfg(test)]
mod users;
#[cfg(test)]
mod vault;
#[cfg(test)]
mod vault_services;
#[cfg(test)]
mod verify_token;
#[cfg(test)]
mod waiting;
#[cfg(test)]
mod websocket;
