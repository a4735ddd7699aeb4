//! `placet request`: agents that ask a person for authority from elsewhere, and the person's answer. It takes a person's
//! session and nothing else.
//!
//! Invariant: nobody says yes to what was not printed before.

use crate::{
    cli::Context,
    client::{Client, encoded},
    exit::{Exit, Failure},
    input,
    output::{note, rows, text},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the requests that wait for your answer
    #[command(after_help = "Example:\n  placet request list")]
    List,
    /// Enter the code that a device shows, and see who asks for what
    #[command(after_help = "Example:\n  placet request enter WDJB-MJHT")]
    Enter {
        /// The code
        code: String,
    },
    /// Show who asks, and all that would be granted
    #[command(after_help = "Example:\n  placet request show req_01k…")]
    Show {
        /// The request's id
        request: String,
    },
    /// Allow what is asked
    #[command(
        after_help = "What would be granted is shown first.\n\nExamples:\n  placet request approve req_01k…\n  placet request approve req_01k… --lasts 8h --yes"
    )]
    Approve(Approve),
    /// Do not allow it
    #[command(after_help = "Example:\n  placet request deny req_01k…")]
    Deny {
        /// The request's id
        request: String,
    },
}

/// A yes.
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The request's id
    request: String,
    /// For how long
    #[arg(long, value_name = "TIME", value_parser = ["1h", "8h", "1d", "7d", "30d"], default_value = "1d")]
    lasts: String,
    /// Allow it without asking back
    #[arg(long)]
    yes: bool,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.person()?, context.out);
        match self {
            Self::List => {
                let columns =
                    ["id", "agent_name", "through", "task_description", "message", "asked_from", "expires"];
                out.list(&client.read("/v1/requests").await?, "requests", &columns);
            }
            Self::Enter { code } => {
                let found = client.post("/v1/requests", &json!({"user_code": code})).await?;
                show(context, &found);
            }
            Self::Show { request } => show(context, &client.read(&path(&request)).await?),
            Self::Approve(approve) => return approve.run(context, &client).await,
            Self::Deny { request } => {
                out.document(&client.post(&path(&request), &json!({"verdict": "deny"})).await?);
            }
        }
        Ok(Exit::Done)
    }
}

impl Approve {
    async fn run(self, context: &Context, client: &Client) -> Result<Exit, Failure> {
        let path = path(&self.request);
        let found = client.read(&path).await?;
        for line in said(&found) {
            note(&line);
        }
        if !self.yes && !input::confirmed("Allow this?")? {
            return Ok(Exit::Negative);
        }
        let seen = found.get("seen").cloned().unwrap_or_default();
        let answer = json!({"verdict": "approve", "lasts": self.lasts, "seen": seen});
        context.out.document(&client.post(&path, &answer).await?);
        Ok(Exit::Done)
    }
}

fn show(context: &Context, found: &Value) {
    if context.out.is_json() {
        context.out.document(found);
        return;
    }
    context.out.sentence(&format!("The request {}", found.get("id").map(text).unwrap_or_default()));
    for line in said(found) {
        context.out.sentence(&line);
    }
}

/// What the person has to know, a line each.
fn said(found: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for part in rows(found, "parts") {
        lines.push(part.get("title").map(text).unwrap_or_default());
        for line in rows(part, "lines") {
            let mark = match line.get("says").and_then(Value::as_str) {
                Some("warning") => "!",
                Some("client") => ">",
                _ => " ",
            };
            lines.push(format!("  {mark} {}", line.get("text").map(text).unwrap_or_default()));
        }
    }
    lines
}

fn path(request: &str) -> String {
    format!("/v1/requests/{}", encoded(request))
}
