//! `placet connection connect`: an account that its owner connects, in a browser or by a code.
//!
//! Invariant: the ticket with which a code is asked about is not printed.

use super::super::Members;
use crate::{
    cli::Context,
    client::Client,
    exit::{Exit, Failure},
};
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;

/// Connect an account of your own at a service: prints the link at which you agree
#[derive(Debug, Args)]
#[command(
    after_help = "The link is opened in a browser, where you sign in to Placet, are told what is about to be connected, and go on to the service. With --device you enter a code there instead, on whatever device.\n\nExamples:\n  placet connection connect gmail\n  placet connection connect gmail --name gmail-work\n  placet connection connect github --device\n  placet connection connect slack --organization --agent support-1"
)]
pub(crate) struct Connect {
    /// The service
    service: String,
    /// What the connection is called; otherwise as the service and you are
    #[arg(long)]
    name: Option<String>,
    /// Make it the organization's, as an administrator
    #[arg(long)]
    organization: bool,
    /// An agent that may use it, instead of all; can be repeated
    #[arg(long = "agent", value_name = "AGT", requires = "organization")]
    agents: Vec<String>,
    /// Show a code that is entered at the service, and wait until it was
    #[arg(long)]
    device: bool,
}

/// Connect an account anew, such as one that waits for your attention
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  placet connection reconnect gmail-lee\n  placet connection reconnect github-lee --device"
)]
pub(crate) struct Reconnect {
    /// The connection's name or id
    connection: String,
    /// Show a code that is entered at the service, and wait until it was
    #[arg(long)]
    device: bool,
}

impl Connect {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let wanted = Members::default()
            .set("service", self.service)
            .maybe("name", self.name)
            .set("organization", self.organization)
            .list("agents", &self.agents);
        // What is somebody's is connected by that person, whoever else this machine could be.
        let client = if self.organization { context.client()? } else { context.person()? };
        begin(context, &client, &wanted.set("device", self.device).done()).await
    }
}

impl Reconnect {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let wanted = json!({"connection": self.connection, "device": self.device});
        begin(context, &context.person()?, &wanted).await
    }
}

async fn begin(context: &Context, client: &Client, wanted: &Value) -> Result<Exit, Failure> {
    let mut begun = client.post("/v1/connect", wanted).await?;
    let text =
        |begun: &Value, name: &str| begun.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(ticket) = begun.as_object_mut().and_then(|begun| begun.remove("ticket")) else {
        let link = format!("  {}", text(&begun, "url"));
        context.out.lines(&begun, &["Open this in your browser:", "", &link]);
        return Ok(Exit::Done);
    };
    let at = text(&begun, "verification_uri");
    let shown = match begun.get("verification_uri_complete").and_then(Value::as_str) {
        Some(whole) => format!(" (or {whole})"),
        None => String::new(),
    };
    context.out.item(&begun, &format!("Enter {} at {at}{shown}", text(&begun, "user_code")));
    let every = begun.get("interval").and_then(Value::as_u64).unwrap_or(5);
    let connected = wait(client, &ticket, every).await?;
    context.out.document(&connected);
    Ok(Exit::Done)
}

/// Asks, in the pace that is answered, until the account is connected or can't be any more.
async fn wait(client: &Client, ticket: &Value, mut seconds: u64) -> Result<Value, Failure> {
    loop {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let mut answer = client.post("/v1/connect/device", &json!({"ticket": ticket})).await?;
        if answer.get("status").and_then(Value::as_str) != Some("waiting") {
            return Ok(answer.get_mut("connection").map(Value::take).unwrap_or_default());
        }
        seconds = answer.get("interval").and_then(Value::as_u64).unwrap_or(seconds).max(1);
    }
}
