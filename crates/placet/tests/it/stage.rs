//! The stages that the tests of a module share.

use crate::upgrade;
use placet_testkit::{Server, Story};
use std::sync::OnceLock;

/// The binary.
pub(crate) const PLACET: &str = env!("CARGO_BIN_EXE_placet");

/// One stage for all tests that are independent of each other by their agents and customers. Its data directory was
/// made by an older version, with keys that tests know.
pub(crate) fn story() -> &'static Story {
    static STORY: OnceLock<Story> = OnceLock::new();
    STORY.get_or_init(|| Story::on(Server::prepared(PLACET, upgrade::lay_out)))
}
