//! Storage: the only crate that contains SQL.
//!
//! [`Store`] keeps everything in a SQLite file, or on a PostgreSQL server that several nodes may share: one SQL text
//! for both, and what differs is in `connection.rs`. It has one writer thread that commits many requests at once, and a few reader threads. Aggregates are plain
//! synchronous functions over [`Query`] and [`Tx`] in modules named after them; the control plane runs them in
//! closures ([`Store::write`], [`Store::read`]), and the way of an action takes the typed operations.
//!
//! Invariant: no rules and no HTTP here; time, ids and randomness come in as arguments.

pub mod accounts;
pub mod actions;
pub mod admit;
pub mod agents;
pub mod approvals;
pub mod assertions;
pub mod authorization_codes;
pub mod client_use;
pub mod clients;
pub mod conclude;
mod connection;
pub mod connections;
pub mod counters;
pub mod decisions;
pub mod delegations;
pub mod denials;
pub mod detail_types;
mod document;
pub mod documents;
pub mod egress_authorities;
mod fault;
pub mod file;
mod folding;
pub mod gauges;
pub mod grants;
pub mod idempotency;
pub mod issue;
pub mod issuers;
pub mod keys;
mod lease;
mod leases;
pub mod lineage;
pub mod listed_tools;
mod load;
mod migrate;
mod needs;
pub mod observations;
pub mod offline;
pub mod passkeys;
pub mod permits;
pub mod policy_stages;
mod postgres;
pub mod probe;
pub mod proofs;
pub mod providers;
pub mod purposes;
pub mod pushed_requests;
mod reader;
pub mod record;
pub mod refresh_tokens;
pub mod registrations;
pub mod resource_servers;
pub mod restored;
pub mod retention;
mod row;
pub mod scopes;
pub mod second_factors;
pub mod sessions;
pub mod sql;
mod sqlite;
pub mod status_lists;
mod store;
pub mod tasks;
pub mod trusted_issuers;
pub mod tx;
pub mod users;
mod value;
pub mod versions;
pub mod waiting;
mod writer;

pub use admit::{Admission, Admitted, Refused};
pub use conclude::{ConcludeError, Conclusion};
pub use denials::PendingDenial;
pub use fault::{Fault, OpenError};
pub use issue::Issue;
pub use load::WriterLoad;
pub use postgres::Address;
pub use reader::Reader;
pub use record::PreparedEntry;
pub use store::{Database, Store, StoreOptions};
pub use tx::{Query, Row, Tx, Value};
pub use versions::Version;

/// Name and text of every statement, for the test that prepares each on both engines.
#[doc(hidden)]
pub fn all_statements() -> Vec<(String, String)> {
    let statements = [
        accounts::STATEMENTS,
        actions::STATEMENTS,
        admit::STATEMENTS,
        agents::STATEMENTS,
        approvals::STATEMENTS,
        assertions::STATEMENTS,
        authorization_codes::STATEMENTS,
        client_use::STATEMENTS,
        clients::STATEMENTS,
        conclude::STATEMENTS,
        connections::STATEMENTS,
        counters::STATEMENTS,
        decisions::STATEMENTS,
        delegations::STATEMENTS,
        proofs::STATEMENTS,
        providers::STATEMENTS,
        denials::STATEMENTS,
        detail_types::STATEMENTS,
        documents::STATEMENTS,
        egress_authorities::STATEMENTS,
        policy_stages::STATEMENTS,
        gauges::STATEMENTS,
        grants::STATEMENTS,
        idempotency::STATEMENTS,
        issuers::STATEMENTS,
        keys::STATEMENTS,
        leases::STATEMENTS,
        lineage::STATEMENTS,
        migrate::STATEMENTS,
        observations::STATEMENTS,
        offline::STATEMENTS,
        passkeys::STATEMENTS,
        permits::STATEMENTS,
        probe::STATEMENTS,
        postgres::STATEMENTS,
        listed_tools::STATEMENTS,
        purposes::STATEMENTS,
        pushed_requests::STATEMENTS,
        record::STATEMENTS,
        refresh_tokens::STATEMENTS,
        registrations::STATEMENTS,
        resource_servers::STATEMENTS,
        scopes::STATEMENTS,
        second_factors::STATEMENTS,
        restored::STATEMENTS,
        retention::STATEMENTS,
        sessions::STATEMENTS,
        status_lists::STATEMENTS,
        tasks::STATEMENTS,
        trusted_issuers::STATEMENTS,
        users::STATEMENTS,
        versions::STATEMENTS,
        waiting::STATEMENTS,
        writer::STATEMENTS,
    ];
    let rows = [
        actions::ROWS,
        counters::ROWS,
        grants::ROWS,
        record::ROWS,
        status_lists::ROWS,
        tasks::ROWS,
        versions::ROWS,
    ];
    let keys = [
        actions::KEYS,
        admit::KEYS,
        conclude::KEYS,
        counters::KEYS,
        denials::KEYS,
        idempotency::KEYS,
        versions::KEYS,
    ];
    let keys = keys.into_iter().flatten().flat_map(|keys| keys.all());
    let single = statements
        .into_iter()
        .chain(record::BELOW)
        .flatten()
        .map(|one| (one.name().to_owned(), one.text().to_owned()));
    single.chain(rows.into_iter().flatten().flat_map(|rows| rows.all())).chain(keys).collect()
}

/// The whole schema in PostgreSQL's words, for the same test.
#[doc(hidden)]
pub fn schema() -> String {
    migrate::schema()
}

/// A migration in an engine's words, for the test that begins with an old one.
#[doc(hidden)]
pub fn words_for(migration: &str, sqlite: bool) -> String {
    migrate::words(migration, sqlite)
}
