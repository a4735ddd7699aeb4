//! `placet approvals`: what agents are held for, and a person's answer. It takes a person's session and nothing else.

use crate::{
    cli::Context,
    client::encoded,
    exit::{Exit, Failure},
    output::rows,
};
use clap::Subcommand;
use serde_json::{Value, json};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the approvals that you can decide
    #[command(after_help = "Example:\n  placet approvals list")]
    List,
    /// Show everything that will run if you approve
    #[command(after_help = "Example:\n  placet approvals show apr_01k…")]
    Show {
        /// The approval's id
        approval: String,
    },
    /// Approve the request
    #[command(after_help = "Example:\n  placet approvals approve apr_01k…")]
    Approve {
        /// The approval's id
        approval: String,
    },
    /// Deny the request
    #[command(after_help = "Example:\n  placet approvals deny apr_01k…")]
    Deny {
        /// The approval's id
        approval: String,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.person()?, context.out);
        let decide = async |approval: &str, verdict: &str| {
            let answer = client
                .post(&format!("/v1/approvals/{}", encoded(approval)), &json!({"verdict": verdict}))
                .await?;
            out.document(&answer);
            Ok(Exit::Done)
        };
        match self {
            Self::List => {
                let answer = client.read("/v1/approvals").await?;
                if out.is_json() {
                    out.document(&answer);
                } else {
                    out.list(
                        &flat(&answer),
                        "approvals",
                        &["id", "state", "agent", "action", "resource", "params", "expires"],
                    );
                }
                Ok(Exit::Done)
            }
            Self::Show { approval } => {
                out.document(&client.read(&format!("/v1/approvals/{}", encoded(&approval))).await?);
                Ok(Exit::Done)
            }
            Self::Approve { approval } => decide(&approval, "approve").await,
            Self::Deny { approval } => decide(&approval, "deny").await,
        }
    }
}

/// The list with what a person looks for first beside the id.
fn flat(answer: &Value) -> Value {
    let row = |approval: &Value| {
        let of = |pointer: &str| approval.pointer(pointer).cloned().unwrap_or_default();
        json!({
            "id": of("/id"), "state": of("/state"), "agent": of("/shown/agent/handle"), "action": of("/shown/action"),
            "resource": of("/shown/resource"), "params": of("/shown/params"), "expires": of("/expires"),
        })
    };
    rows(answer, "approvals").iter().map(row).collect()
}
