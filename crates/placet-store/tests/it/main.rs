//! The store as a whole: exact under concurrency, whole after crashes, the same SQL on both engines.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "a test may stop where something is not as it should be"
)]

mod actions;
mod crash;
mod denials;
mod faults;
mod groups;
mod ledger;
mod log;
mod meters;
mod migration;
mod nodes;
mod opening;
mod plans;
mod postgres;
mod world;
