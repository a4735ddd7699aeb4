//! `placet ca`: who certifies hosts at the egress door.

use crate::{
    cli::Context,
    client::{Body, Client},
    exit::{Exit, Failure},
    output,
};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

const AFTER: &str = "\
Prints certificates (PEM): of the authority that certifies hosts now, and of the next one, so that a rotation is
not noticed by who trusts both. `placet run` has its command trust them; for anything else put them where
that looks. Trust them nowhere but where an agent runs.

Examples:
  placet ca > placet-egress.pem
  placet ca rotate";

/// Print the certificates that agents trust at the egress door, or have the next authority take over.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Ca {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Have the next authority certify from now on, and make another next one; the old one's key is gone
    #[command(after_help = "Example:\n  placet ca rotate")]
    Rotate,
}

/// The egress door as a program is set up with it.
#[derive(Debug)]
pub(super) struct Door {
    /// Where it is.
    pub(super) url: String,
    /// The certificates to trust there (PEM).
    pub(super) certificates: String,
}

impl Door {
    /// Asks a server.
    ///
    /// # Errors
    /// A sentence, where it can't be asked or has none.
    pub(super) async fn of(server: &Client) -> Result<Self, Failure> {
        let answer = server.send(Method::GET, "/v1/egress", &[], Body::Empty).await?.success()?;
        let closed = || {
            let why = "the egress door is not open there: it is with `placet serve --egress-listen ADDRESS`";
            Failure::Refused(why.to_owned())
        };
        let url = answer.get("url").and_then(Value::as_str).ok_or_else(closed)?.to_owned();
        Ok(Self { url, certificates: certificates(&answer) })
    }
}

fn certificates(answer: &Value) -> String {
    let authorities = answer.get("authorities").and_then(Value::as_array);
    let each = authorities.into_iter().flatten().filter_map(|one| one.get("certificate")?.as_str());
    each.collect()
}

impl Ca {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.command {
            // Not as JSON even where nobody looks: it is for a file.
            None if !context.global.json => {
                output::line(Door::of(&context.server()?).await?.certificates.trim_end());
            }
            None => context.out.document(&context.server()?.read("/v1/egress").await?),
            Some(Command::Rotate) => {
                let client = context.client()?;
                let path = "/v1/egress/authority/rotate";
                let answer = client.send(Method::POST, path, &[], Body::Empty).await?.success()?;
                if context.out.is_json() {
                    context.out.document(&answer);
                } else {
                    context.out.list(&answer, "authorities", &["id", "state", "created", "expires"]);
                }
            }
        }
        Ok(Exit::Done)
    }
}
