//! How a running server is: what it counts, whether its jobs work, whether it is stopping.
//!
//! Invariant: nothing here names an agent, a user, a resource or a secret: who reads it need not be trusted with them.

pub mod failures;
pub mod metrics;
pub(crate) mod process;
pub mod readiness;
pub mod space;

use crate::rules::directory::Directory;
use failures::Failures;
use metrics::Metrics;
use readiness::Readiness;
use space::Space;

/// What a server knows about its own running.
#[derive(Debug, Default)]
pub struct Operations {
    /// What is counted and measured.
    pub metrics: Metrics,
    /// What makes it ready or not.
    pub readiness: Readiness,
    /// Whether there is room to begin anything.
    pub space: Space,
    /// Who was refused before they were known, since it was written down.
    pub failures: Failures,
    /// How the directory of policies stands, where one is followed.
    pub directory: Directory,
}
