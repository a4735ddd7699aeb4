//! Where the server's log goes: standard error, for people at a terminal, else one JSON document a line.
//!
//! Invariant: whatever is asked for, no library logs the values that it is given.

use crate::exit::Failure;
use std::io::IsTerminal as _;
use tracing_subscriber::{EnvFilter, fmt};

/// What is never let through, after anything that was asked for: the database's driver logs statements with their
/// parameters.
const NEVER: [&str; 2] = ["tokio_postgres=info", "tokio_postgres::query=info"];

/// Starts logging what `filter` lets through (`info`, `placet_server=debug,warn`, …).
///
/// # Errors
/// A sentence, where the filter can't be read.
pub(crate) fn start(filter: &str, no_color: bool) -> Result<(), Failure> {
    let filter = filter_of(filter)?;
    let terminal = std::io::stderr().is_terminal();
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Where a logger is set already, as in tests, that one stays.
    let _ = if terminal { log.compact().with_ansi(!no_color).try_init() } else { log.json().try_init() };
    Ok(())
}

fn filter_of(text: &str) -> Result<EnvFilter, Failure> {
    let unread =
        |error: &dyn std::fmt::Display| Failure::unreadable(format!("the log filter can't be read: {error}"));
    let mut filter = EnvFilter::try_new(text).map_err(|error| unread(&error))?;
    for never in NEVER {
        filter = filter.add_directive(never.parse().map_err(|error| unread(&error))?);
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_statement_is_logged_whatever_is_asked_for() {
        for asked in ["trace", "info", "tokio_postgres=trace", "tokio_postgres::query=debug,placet=trace"] {
            let filter = filter_of(asked).unwrap().to_string();
            for never in NEVER {
                assert!(filter.split(',').any(|one| one == never), "{asked}: {filter}");
            }
            assert!(!filter.contains("tokio_postgres=trace") && !filter.contains("query=debug"), "{filter}");
        }
        assert!(filter_of("placet=loud").is_err());
    }
}
