//! `placet task`: the purposes that authority is given for.

use super::{Members, object_in};
use crate::{
    cli::Context,
    client::encoded,
    exit::{Exit, Failure},
};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::path::PathBuf;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a task for an agent to claim, on behalf of the person who is signed in
    #[command(
        after_help = "Example:\n  placet task create --agent agt_01k… --description 'Refund order 1' \\\n      --scope orders.read --scope refunds.create"
    )]
    Create(Create),
    /// Complete a task: its grants end
    #[command(after_help = "Example:\n  placet task complete tsk_01k…")]
    Complete {
        /// The task's id
        task: String,
    },
    /// Revoke a task: its grants and all below them end
    #[command(after_help = "Example:\n  placet task revoke tsk_01k… --reason 'wrong customer'")]
    Revoke {
        /// The task's id
        task: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
}

/// A new task.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The agent that may claim it
    #[arg(long, value_name = "AGT")]
    agent: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What it is about, by name, as a file with a JSON object: what `intent` of a policy compares parameters with
    #[arg(long, value_name = "FILE")]
    details: Option<PathBuf>,
    /// The calls that it takes, as a file with a JSON object `{"plan": [{"action": …, "params": {…}}]}`
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// A label of your own
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// On whose behalf, where an administrator makes it
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A scope; can be repeated
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// A resource pattern; can be repeated
    #[arg(long = "resource", value_name = "PATTERN")]
    resources: Vec<String>,
    /// A connection; can be repeated
    #[arg(long = "connection", value_name = "NAME")]
    connections: Vec<String>,
    /// When it ends (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        let answer = match self {
            Self::Create(create) => client.post("/v1/tasks", &create.body()?).await?,
            Self::Complete { task } => {
                client
                    .post(&format!("/v1/tasks/{}/complete", encoded(&task)), &Members::default().done())
                    .await?
            }
            Self::Revoke { task, reason } => {
                let body = Members::default().maybe("reason", reason).done();
                client.post(&format!("/v1/tasks/{}/revoke", encoded(&task)), &body).await?
            }
        };
        out.document(&answer);
        Ok(Exit::Done)
    }
}

impl Create {
    fn body(self) -> Result<Value, Failure> {
        let details = self.details.as_deref().map(|path| object_in("--details", path)).transpose()?;
        let plan = match self.plan.as_deref().map(|path| object_in("--plan", path)).transpose()? {
            None => None,
            Some(mut members) => {
                Some(members.remove("plan").filter(|_| members.is_empty()).ok_or_else(|| {
                    Failure::unreadable(
                        "--plan is a JSON object with `plan`, a list of calls, and nothing else",
                    )
                })?)
            }
        };
        Ok(Members::default()
            .set("agent", self.agent)
            .maybe("description", self.description)
            .maybe("task_id", self.label)
            .maybe("user", self.user)
            .list("scope", &self.scopes)
            .list("resources", &self.resources)
            .list("connections", &self.connections)
            .maybe("expires", self.expires)
            .maybe("details", details.map(Value::Object))
            .maybe("plan", plan)
            .done())
    }
}
