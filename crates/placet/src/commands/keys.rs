//! `placet keys`: which keys there are, and their rotation.

use super::Members;
use crate::{
    cli::Context,
    exit::{Exit, Failure},
};
use clap::{ArgGroup, Subcommand};
use serde_json::Value;

const ROTATE: &str = "\
Without a flag the keys that sign tokens are rotated: the next key, which was published all along, signs from now on;
the one before verifies until its last token has expired, and another next key is published.

With --algorithm a key of that algorithm is published first, where the next one is of another; rotate again when those
who keep the key set know it.

--vault makes a new vault key, moves everything that the old one has sealed, and drops the old one from the vault key
file; requests go on meanwhile. Where a key service wraps new vault keys (`docs/vault.md`) it wraps this one. Where several
nodes run, put the new key into the vault key file of each first, the same line that `placet vault new-key` prints once.
Backups that were made before need the old key: keep it with them.

--at-once is for a signing key that somebody else may have: no token that was signed before is taken any more.

Examples:
  placet keys rotate
  placet keys rotate --algorithm ES256
  placet keys rotate --body
  placet keys rotate --vault";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the keys: names, states and times
    #[command(after_help = "Example:\n  placet keys list")]
    List,
    /// Rotate keys while the server goes on
    #[command(after_help = ROTATE, group(ArgGroup::new("which").multiple(false)))]
    Rotate {
        /// Rotate the key that seals the bodies of the record
        #[arg(long, group = "which")]
        body: bool,
        /// Rotate the vault key
        #[arg(long, group = "which")]
        vault: bool,
        /// With what the next token key signs: EdDSA or ES256
        #[arg(long, value_name = "NAME", conflicts_with = "which")]
        algorithm: Option<String>,
        /// Give up the token keys there are, and all tokens that they signed
        #[arg(long, conflicts_with = "which")]
        at_once: bool,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        match self {
            Self::List => {
                let answer = client.read("/v1/keys").await?;
                shown(context, &answer);
            }
            Self::Rotate { body, vault, algorithm, at_once } => {
                let key = if body { Some("body") } else { vault.then_some("vault") };
                let members = Members::default().maybe("key", key);
                let members = members.maybe("algorithm", algorithm).maybe("at_once", at_once.then_some(true));
                let answer = client.post("/v1/keys/rotate", &members.done()).await?;
                shown(context, &answer);
            }
        }
        Ok(Exit::Done)
    }
}

/// As JSON, else a table, the vault keys behind the others, and what has to be said.
fn shown(context: &Context, answer: &Value) {
    if context.out.is_json() {
        context.out.document(answer);
        return;
    }
    context.out.list(answer, "keys", &["id", "state", "algorithm", "since", "until"]);
    context.out.sentence("");
    context.out.list(answer, "vault", &["id", "state", "since", "at_hand"]);
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        context.out.sentence(warning.as_str().unwrap_or_default());
    }
}
