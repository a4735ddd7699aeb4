//! `placet record`: reading the record, and checking that it is what was signed.
//!
//! Invariant: `verify` trusts a key and checkpoints that were kept outside of the record, and says where it had none.

pub(crate) mod offline;
pub(crate) mod outside;
pub(crate) mod verify;

use crate::{
    cli::Context,
    client::query,
    data::{RECORD_KEY, write_whole},
    exit::{Exit, Failure},
    input,
    output::{line, rows, text},
};
use clap::{Args, Subcommand};
use placet_core::record::{Proof, VerifierKey};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How often `tail --follow` asks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print entries, oldest first
    #[command(
        after_help = "Examples:\n  placet record tail --limit 20\n  placet record tail --after 118 --follow"
    )]
    Tail(Tail),
    /// Show one entry
    #[command(after_help = "Example:\n  placet record show 118")]
    Show {
        /// Its index
        index: u64,
    },
    /// Verify the whole record: exit code 0 verified, 1 not, 2 could not be read
    #[command(
        after_help = "It also compares with the last checkpoint that this command saw of the same record. With --data and no server on that directory, what is stored is read: its files, or the PostgreSQL database that --database or PLACET_DATABASE names.\n\nExamples:\n  placet record verify --key record.pub --checkpoint kept-elsewhere.txt\n  placet record verify --data /var/lib/placet"
    )]
    Verify {
        /// A checkpoint that was kept outside: the note, or what `record verify --json` printed
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The record's verifier key, kept outside (`record.pub` of the data directory)
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Read this PostgreSQL database, without a server; with a password rather [env: PLACET_DATABASE]
        #[arg(long, value_name = "URL", conflicts_with = "url")]
        database: Option<String>,
    },
    /// Get the proof that an entry is in the record
    #[command(after_help = "Example:\n  placet record prove 118 -o proof.json")]
    Prove {
        /// The entry's index
        index: u64,
        /// Write it to this file
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check a proof without a server, with the public key alone
    #[command(after_help = "Example:\n  placet record verify-proof proof.json --key record.pub")]
    VerifyProof {
        /// The proof
        proof: PathBuf,
        /// The record's verifier key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Only those after this index
    #[arg(long, value_name = "N")]
    after: Option<u64>,
    /// At most as many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Wait for more
    #[arg(long, short, conflicts_with = "limit")]
    follow: bool,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Tail(tail) => tail.run(context).await,
            Self::Show { index } => {
                context.out.document(&context.client()?.read(&format!("/v1/record/{index}")).await?);
                Ok(Exit::Done)
            }
            Self::Verify { checkpoint, key, database } => {
                // What can't be read was not found wrong: scripts tell the two apart by the exit code.
                let verified =
                    verify::run(context, checkpoint.as_deref(), key.as_deref(), database.as_deref());
                verified.await.map_err(Failure::unread)
            }
            Self::Prove { index, output } => {
                let proof = context.client()?.read(&format!("/v1/record/{index}/proof")).await?;
                match output {
                    Some(path) => {
                        let written = write_whole(&path, format!("{proof:#}\n").as_bytes());
                        written.map_err(|error| {
                            Failure::unreadable(format!("`{}` can't be written: {error}", path.display()))
                        })?;
                        context.out.sentence(&format!("The proof is in {}.", path.display()));
                    }
                    // It is for another command to read, so it is JSON in any case.
                    None => line(&format!("{proof:#}")),
                }
                Ok(Exit::Done)
            }
            Self::VerifyProof { proof, key } => verify_proof(context, &proof, &key),
        }
    }
}

impl Tail {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let mut after = self.after;
        let mut left = self.limit;
        loop {
            let members = [("after", after.map(|n| n.to_string())), ("limit", left.map(|n| n.to_string()))];
            let page = client.read(&format!("/v1/record{}", query(&members))).await?;
            let entries = rows(&page, "entries");
            for entry in entries {
                context.out.item(entry, &summary(entry));
            }
            let last = entries.last().and_then(|entry| entry.get("index")).and_then(Value::as_u64);
            after = last.or(after);
            let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
            left = left.map(|left| left.saturating_sub(count));
            let ended = page.get("next").is_none_or(Value::is_null) || entries.is_empty();
            if left == Some(0) || (ended && !self.follow) {
                return Ok(Exit::Done);
            }
            if ended {
                tokio::time::sleep(FOLLOW_EVERY).await;
            }
        }
    }
}

/// An entry on one line.
fn summary(entry: &Value) -> String {
    let member = |name: &str| entry.get(name).filter(|value| !value.is_null()).map(text);
    let parts = ["index", "at", "type", "decision", "agent", "action", "resource", "codes", "outcome", "by"];
    parts.iter().filter_map(|name| member(name)).collect::<Vec<_>>().join("  ")
}

fn verify_proof(context: &Context, proof: &Path, key: &Path) -> Result<Exit, Failure> {
    let key = read_key(key)?;
    let shown = proof.display().to_string();
    let proof = Proof::from_json(&input::file(proof)?);
    let proof = proof.map_err(|error| Failure::unreadable(format!("`{shown}` can't be read: {error}")))?;
    match proof.verify(&key) {
        Ok(envelope) => {
            let at = envelope.at.to_string();
            let kind = envelope.entry_type.as_str();
            let id = envelope.id.to_string();
            let document = json!({"result": "verified", "index": proof.index, "size": proof.size, "id": id, "type": kind, "at": at});
            let sentence =
                format!("entry {} of {} ({kind}, {id}, {at}) is in the record", proof.index, proof.size);
            context.out.item(&document, &format!("verified: {sentence}"));
            Ok(Exit::Done)
        }
        Err(error) => {
            context.out.item(
                &json!({"result": "refused", "reason": error.to_string()}),
                &format!("refused: {error}"),
            );
            Ok(Exit::Negative)
        }
    }
}

/// Reads a verifier key from a file.
fn read_key(path: &Path) -> Result<VerifierKey, Failure> {
    let bytes = input::file(path)?;
    parse_key(&String::from_utf8_lossy(&bytes), &format!("`{}`", path.display()))
}

pub(crate) fn parse_key(text: &str, source: &str) -> Result<VerifierKey, Failure> {
    text.trim()
        .parse()
        .map_err(|error| Failure::unreadable(format!("{source} holds no verifier key: {error}")))
}

/// The key that the data directory publishes, if one is named and has it.
fn key_of_directory(context: &Context) -> Result<Option<VerifierKey>, Failure> {
    let path = context.global.data.as_ref().map(|directory| directory.join(RECORD_KEY));
    path.filter(|path| path.is_file()).map(|path| read_key(&path)).transpose()
}
