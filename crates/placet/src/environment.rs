//! The environment variables that the binary reads, all of them, once, at its start.
//!
//! Secrets come from here or from standard input and never from flags, which every process of the machine can see;
//! that is why these are not read by the parser of the flags.

use placet_core::{secret::Secret, service::reference::ENV_PREFIX};
use std::{collections::HashMap, path::PathBuf};

/// What the environment says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `PLACET_URL`: the server's base URL.
    pub(crate) url: Option<String>,
    /// `PLACET_TOKEN`: the bearer token to send.
    pub(crate) token: Option<Secret>,
    /// `PLACET_CLIENT_SECRET`: an agent's secret for `placet token`.
    pub(crate) client_secret: Option<Secret>,
    /// `PLACET_VAULT_KEY`: the vault key, base64.
    pub(crate) vault_key: Option<Secret>,
    /// `PLACET_VAULT_SERVICE`: the file that says where key services are.
    pub(crate) vault_service: Option<PathBuf>,
    /// `PLACET_DATABASE`: the URL of the database, which may hold a password.
    pub(crate) database: Option<Secret>,
    /// `NO_COLOR` is there and not empty.
    pub(crate) no_color: bool,
    /// Where state of the CLI is kept: `$XDG_STATE_HOME/placet`, else `~/.local/state/placet`.
    pub(crate) state: Option<PathBuf>,
}

impl Environment {
    /// Reads it.
    pub(crate) fn read() -> Self {
        let text = |name| text(name).filter(|value| !value.is_empty());
        let state = text("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let state = state.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")));
        Self {
            url: text("PLACET_URL"),
            token: text("PLACET_TOKEN").map(Secret::new),
            client_secret: text("PLACET_CLIENT_SECRET").map(Secret::new),
            vault_key: text("PLACET_VAULT_KEY").map(Secret::new),
            vault_service: text("PLACET_VAULT_SERVICE").map(PathBuf::from),
            database: text("PLACET_DATABASE").map(Secret::new),
            no_color: text("NO_COLOR").is_some(),
            state: state.map(|path| path.join("placet")),
        }
    }
}

/// A secret that an operator's file says is in this variable.
pub(crate) fn secret(name: &str) -> Option<Secret> {
    text(name).filter(|value| !value.is_empty()).map(Secret::new)
}

/// The secrets of connections that are kept in the environment, by the names of their variables.
pub(crate) fn connection_secrets() -> HashMap<String, Secret> {
    let all = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    all.filter(|(name, value)| name.starts_with(ENV_PREFIX) && !value.is_empty())
        .map(|(name, value)| (name, Secret::new(value.into_encoded_bytes())))
        .collect()
}

/// What a program of the operator's needs of the environment, and nothing else of it: this server's own secrets may be there.
pub(crate) fn of_programs() -> impl Iterator<Item = (&'static str, String)> {
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "XDG_CONFIG_HOME",
        "XDG_RUNTIME_DIR",
    ]
    .into_iter()
    .filter_map(|name| Some((name, text(name)?)))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
