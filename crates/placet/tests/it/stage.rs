//! The stages that the tests of a module share.

use placet_testkit::Story;
use std::sync::OnceLock;

/// The binary.
pub(crate) const PLACET: &str = env!("CARGO_BIN_EXE_placet");

/// One stage for all tests that are independent of each other by their agents and customers.
pub(crate) fn story() -> &'static Story {
    static STORY: OnceLock<Story> = OnceLock::new();
    STORY.get_or_init(|| Story::new(PLACET))
}
