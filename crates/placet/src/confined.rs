//! What a server gives up before it holds a secret: memory images of itself.
//!
//! Vault keys and, for a moment each, credentials are in the memory of a server. It leaves no core file when it crashes,
//! and no other process of its user may attach to it, or read its memory or its environment. (The administrator of the
//! machine can do all of that, and is trusted.)
//!
//! Invariant: this comes before anything secret is read from a file.

use crate::exit::Failure;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Gives up core dumps and being looked into, for good.
///
/// # Errors
/// A sentence, where the system does not do it: a server that could leave its keys on a disk does not start.
pub(crate) fn confine() -> Result<(), Failure> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    // The limit does not hold where the system pipes core dumps to a program; this does.
    let confined = limited.and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    confined.map_err(|error| {
        Failure::start(format!("core dumps, which would hold keys, can't be switched off: {error}"))
    })
}
