//! `placet permit`: what people have answered more broadly than once, and taking it back.

use crate::{
    cli::Context,
    client::{encoded, query},
    exit::{Exit, Failure},
    output::rows,
};
use clap::Subcommand;
use serde_json::{Value, json};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List permits
    #[command(after_help = "Examples:\n  placet permit list\n  placet permit list --agent agt_01k…")]
    List {
        /// Only those of this agent
        #[arg(long, value_name = "AGT")]
        agent: Option<String>,
    },
    /// Show what a permit says, and what is left of it
    #[command(after_help = "Example:\n  placet permit show prm_01k…")]
    Show {
        /// The permit's id
        permit: String,
    },
    /// Take a permit back, at once and for good
    #[command(after_help = "Example:\n  placet permit revoke prm_01k…")]
    Revoke {
        /// The permit's id
        permit: String,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        match self {
            Self::List { agent } => {
                let answer = client.read(&format!("/v1/permits{}", query(&[("agent", agent)]))).await?;
                if out.is_json() {
                    out.document(&answer);
                } else {
                    let columns = ["id", "state", "agent", "actions", "resources", "count", "sum", "expires"];
                    out.list(&flat(&answer), "permits", &columns);
                }
            }
            Self::Show { permit } => {
                out.document(&client.read(&format!("/v1/permits/{}", encoded(&permit))).await?);
            }
            Self::Revoke { permit } => {
                let path = format!("/v1/permits/{}/revoke", encoded(&permit));
                out.document(&client.post(&path, &json!({})).await?);
            }
        }
        Ok(Exit::Done)
    }
}

/// The list with counters as `used/max`.
fn flat(answer: &Value) -> Value {
    let row = |permit: &Value| {
        let mut row = permit.clone();
        for counter in ["count", "sum"] {
            let of = |member: &str| permit.get(counter).and_then(|it| it.get(member));
            if let (Some(used), Some(max), Some(row)) = (of("used"), of("max"), row.as_object_mut()) {
                row.insert(counter.to_owned(), format!("{used}/{max}").into());
            }
        }
        row
    };
    rows(answer, "permits").iter().map(row).collect()
}
