//! What a server, and a run of an agent's program, give up before they hold a secret: memory images of themselves.
//!
//! Vault keys and, for a moment each, credentials are in the memory of a server. It leaves no core file when it crashes,
//! and no other process of its user may attach to it, or read its memory or its environment. (The administrator of the
//! machine can do all of that, and is trusted.)
//!
//! Invariant: this comes before anything secret is read from a file, and before a program of anybody else's runs.

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

/// Gives up being looked into, for good, by the program that is run among others. Core files are not limited: the limit
/// would be that program's, too, and this one leaves none without it.
///
/// # Errors
/// A sentence, where the system does not do it: a program is not run that could read what is kept from it.
pub(crate) fn hide() -> Result<(), Failure> {
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    hidden.map_err(|error| {
        Failure::unreadable(format!("the client secret can't be hidden from the command: {error}"))
    })
}
