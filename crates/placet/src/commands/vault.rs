//! `placet vault`: lines for vault key files, and what key services wrapped in them.
//!
//! These work on files and key services; no server is asked. Rotation is the server's: `placet keys rotate --vault`.
//!
//! Invariant: a key in the clear is printed only where it is asked for by name, and nothing wraps it.

use crate::{
    cli::Context,
    data,
    exit::{Exit, Failure},
    output::line,
};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

const NEW_KEY: &str = "\
For several nodes: put the one line that this prints into the vault key file of every node, below the others, wait ten
seconds and run `placet keys rotate --vault` on one. (A server that is alone makes its new key itself.)

With a key service the line is the key as that wrapped it, and no secret. Without one it is the key: keep it as one.

Examples:
  placet vault new-key --vault-service /etc/placet/key-service.yaml >> /var/lib/placet/vault.key
  (umask 077; placet vault new-key > new.key)";

const REWRAP: &str = "\
The vault keys stay the same, and what they sealed is not touched: each is unwrapped and wrapped again, under the newest
version of the key that the file of the key services names. Run it after that key was rotated there, and before an old
version of it is given up; a running server need not be stopped. Keys in the clear are left as they are: rotate them
(`placet keys rotate --vault`).

Examples:
  placet vault rewrap --data /var/lib/placet --vault-service /etc/placet/key-service.yaml
  PLACET_VAULT_SERVICE=/etc/placet/key-service.yaml placet vault rewrap --vault-key-file /etc/placet/vault.key";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a new vault key, as a line for vault key files
    #[command(after_help = NEW_KEY)]
    NewKey {
        #[command(flatten)]
        service: Service,
    },
    /// Have the key service wrap anew what it wrapped
    #[command(after_help = REWRAP)]
    Rewrap {
        /// The file with the vault key, where it is kept outside of the data directory
        #[arg(long, value_name = "FILE")]
        vault_key_file: Option<PathBuf>,
        #[command(flatten)]
        service: Service,
    },
}

/// Where key services are.
#[derive(Debug, Args)]
pub(crate) struct Service {
    /// The file that says where key services are (`docs/vault.md`) [env: PLACET_VAULT_SERVICE]
    #[arg(long, value_name = "FILE")]
    vault_service: Option<PathBuf>,
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::NewKey { service } => {
                let place = context.vault(None, service.vault_service.as_deref())?;
                let key = data::new_vault_key(place.services().map(AsRef::as_ref));
                // A line of a file, whatever it is printed to.
                line(key.map_err(Failure::unreadable)?.expose_str().unwrap_or_default());
            }
            Self::Rewrap { vault_key_file, service } => {
                let place = context.vault(vault_key_file.as_deref(), service.vault_service.as_deref())?;
                let directory = context.global.data.as_deref().unwrap_or(Path::new(data::DEFAULT));
                let keys = place.of(directory);
                if keys.path().is_some_and(|path| !path.is_file()) {
                    let path = keys.path().map(|path| path.display().to_string()).unwrap_or_default();
                    return Err(Failure::unreadable(format!(
                        "there is no vault key file `{path}`; name the data directory with --data, or the file with --vault-key-file"
                    )));
                }
                let ids = keys.rewrap().map_err(Failure::unreadable)?;
                let said = match ids.as_slice() {
                    [] => "No vault key is wrapped by a key service.".to_owned(),
                    ids => format!("Wrapped anew: {}.", ids.join(", ")),
                };
                context.out.item(&json!({"rewrapped": ids}), &said);
            }
        }
        Ok(Exit::Done)
    }
}
