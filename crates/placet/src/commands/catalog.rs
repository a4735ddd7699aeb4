//! `placet catalog`: what an agent may do now, and what it would need for more.

use crate::{
    certificate::CertificateFile,
    cli::Context,
    client::query,
    exit::{Exit, Failure},
    holder::KeyFile,
};
use clap::Args;

const HELP: &str = "\
With an agent's token in PLACET_TOKEN it is about that agent; an administrator names one. With --json there are
the parameters, the bounds that they have to keep, and what is left of limits.

Examples:
  placet catalog
  placet catalog --agent support-bot --json";

/// List what an agent may do now.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Catalog {
    /// Of this agent (handle or id), for administrators
    #[arg(long)]
    agent: Option<String>,
    /// Within this task (id or label), for administrators
    #[arg(long)]
    task: Option<String>,
    /// Only actions behind this one
    #[arg(long, value_name = "ACTION")]
    after: Option<String>,
    /// At most so many (100)
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    #[command(flatten)]
    key: KeyFile,
    #[command(flatten)]
    certificate: CertificateFile,
}

impl Catalog {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let limit = self.limit.map(|limit| limit.to_string());
        let members = [("agent", self.agent), ("task", self.task), ("after", self.after), ("limit", limit)];
        let client = self.certificate.shown_by(context, context.client()?)?.holding(self.key.open()?);
        let answer = client.read(&format!("/v1/catalog{}", query(&members))).await?;
        let columns = ["action", "decision", "approval", "effect", "service", "description"];
        context.out.list(&answer, "actions", &columns);
        Ok(Exit::Done)
    }
}
