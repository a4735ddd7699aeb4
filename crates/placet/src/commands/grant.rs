//! `placet grant`: looking at delegated authority, and ending it.

use super::Members;
use crate::{
    cli::Context,
    client::{encoded, query},
    exit::{Exit, Failure},
};
use clap::Subcommand;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List grants
    #[command(after_help = "Example:\n  placet grant list --agent agt_01k…")]
    List {
        /// Only those of this agent
        #[arg(long, value_name = "AGT")]
        agent: Option<String>,
        /// Only those of this task
        #[arg(long, value_name = "TSK")]
        task: Option<String>,
    },
    /// Show one grant
    #[command(after_help = "Example:\n  placet grant show gnt_01k…")]
    Show {
        /// The grant's id
        grant: String,
    },
    /// Show a grant's chain up to its root, and what hangs below it
    #[command(after_help = "Example:\n  placet grant lineage gnt_01k…")]
    Lineage {
        /// The grant's id
        grant: String,
    },
    /// Revoke a grant and all below it
    #[command(after_help = "Example:\n  placet grant revoke gnt_01k… --reason 'no longer needed'")]
    Revoke {
        /// The grant's id
        grant: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        match self {
            Self::List { agent, task } => {
                let answer =
                    client.read(&format!("/v1/grants{}", query(&[("agent", agent), ("task", task)]))).await?;
                out.list(
                    &answer,
                    "grants",
                    &["id", "parent", "agent", "task", "scope", "expires", "revoked"],
                );
            }
            Self::Show { grant } => {
                out.document(&client.read(&format!("/v1/grants/{}", encoded(&grant))).await?)
            }
            Self::Lineage { grant } => {
                out.document(&client.read(&format!("/v1/grants/{}/lineage", encoded(&grant))).await?);
            }
            Self::Revoke { grant, reason } => {
                let body = Members::default().maybe("reason", reason).done();
                out.document(&client.post(&format!("/v1/grants/{}/revoke", encoded(&grant)), &body).await?);
            }
        }
        Ok(Exit::Done)
    }
}
