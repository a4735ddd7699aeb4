//! Where the server's log goes: standard error, for people at a terminal, else one JSON document a line.

use crate::exit::Failure;
use std::io::IsTerminal as _;
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging what `filter` lets through (`info`, `placet_server=debug,warn`, …).
///
/// # Errors
/// A sentence, where the filter can't be read.
pub(crate) fn start(filter: &str, no_color: bool) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter);
    let filter =
        filter.map_err(|error| Failure::unreadable(format!("the log filter can't be read: {error}")))?;
    let terminal = std::io::stderr().is_terminal();
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Where a logger is set already, as in tests, that one stays.
    let _ = if terminal { log.compact().with_ansi(!no_color).try_init() } else { log.json().try_init() };
    Ok(())
}
