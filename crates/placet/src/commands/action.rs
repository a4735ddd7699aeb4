//! `placet action`: what was carried out, and settling what nobody knows of.

use super::Members;
use crate::{
    cli::Context,
    client::{encoded, query},
    exit::{Exit, Failure},
};
use clap::Subcommand;

const SETTLE: &str = "\
It takes the session of a person with role administrator. What did not happen is given back to limits and
permits; what happened is kept. Either is recorded, with who said so and why.

Example:
  placet action settle act_01k… --happened no --reason 'the shop has no such refund'";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List actions, oldest first
    #[command(
        after_help = "Examples:\n  placet action list --state unknown\n  placet action list --after act_01k…"
    )]
    List {
        /// Only those that are `pending` or `unknown`
        #[arg(long)]
        state: Option<String>,
        /// Only those behind this one
        #[arg(long, value_name = "ACT")]
        after: Option<String>,
        /// At most so many (100)
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
    },
    /// Show one action
    #[command(after_help = "Example:\n  placet action show act_01k…")]
    Show {
        /// The action's id
        action: String,
    },
    /// Say whether an unknown action happened
    #[command(after_help = SETTLE)]
    Settle {
        /// The action's id
        action: String,
        /// Whether it happened
        #[arg(long, value_parser = ["yes", "no"])]
        happened: String,
        /// What that rests on
        #[arg(long)]
        reason: String,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let out = context.out;
        match self {
            Self::List { state, after, limit } => {
                let limit = limit.map(|limit| limit.to_string());
                let path =
                    format!("/v1/actions{}", query(&[("state", state), ("after", after), ("limit", limit)]));
                let answer = context.client()?.read(&path).await?;
                let columns = ["id", "status", "action", "resource", "agent", "user", "connection", "at"];
                out.list(&answer, "actions", &columns);
            }
            Self::Show { action } => {
                out.document(&context.client()?.read(&format!("/v1/actions/{}", encoded(&action))).await?);
            }
            Self::Settle { action, happened, reason } => {
                let body = Members::default().set("happened", happened).set("reason", reason).done();
                let path = format!("/v1/actions/{}/settle", encoded(&action));
                out.document(&context.person()?.post(&path, &body).await?);
            }
        }
        Ok(Exit::Done)
    }
}
