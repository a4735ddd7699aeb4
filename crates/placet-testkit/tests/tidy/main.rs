//! The rules of this repository that no compiler holds: how long a file may be, where SQL and secrets may be, which
//! crate may use which, and that the pages say what the code says.
//!
//! `UPDATE_DOCS=1 cargo test -p placet-testkit --test tidy` writes what is generated: `docs/refusals.md` and the list
//! of those who open secrets. A change of either is to be looked at like a change of code.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what the tests share fails them by panicking"
)]

mod code;
mod fuzz;
mod graph;
mod lexer;
mod pages;
mod tree;
