//! `placet token`: an agent's tokens.

pub(super) mod asker;
mod elsewhere;
mod status;

use super::Members;
use crate::{
    cli::Context,
    client::Body,
    exit::{Exit, Failure},
    input,
};
use asker::{Asker, SecretFrom, Wish};
use clap::{Args, Subcommand};
use elsewhere::{Ask, Device};
use placet_core::client::GrantType;
use reqwest::Method;
use serde_json::Value;
use std::path::PathBuf;

const AFTER: &str = "\
The client secret is read from PLACET_CLIENT_SECRET, else from standard input. With --key the agent proves who it is
with an assertion that its key signs, and there is no secret (`placet agent keygen` makes such a key). With --certificate it
shows that instead of a secret, over mutual TLS, and the token is bound to it. With --assertion and
no --client-id a trusted issuer says which agent it is (`placet issuer add`), and there is no secret either.

Examples:
  placet token --client-id agt_01k… --scope 'orders.read refunds.create' --task ticket-118 < client-secret
  placet token --client-id agt_01k… --key agent.pem --scope orders.read
  placet token --client-id agt_01k… --scope orders.read --dpop-key key.pem < client-secret
  placet token --client-id agt_01k… --scope orders.read --certificate agent.crt --certificate-key agent.key
  placet token --assertion workload.jwt --scope orders.read
  placet token introspect < access-token";

const DEVICE: &str = "\
A code is printed. A person enters it at the pages, on any device, and is told what is asked before
they answer. The token is printed once they have said yes.

Examples:
  placet token device --client-id agt_01k… --public --scope orders.read --task-description 'answer tickets'
  placet token device --client-id agt_01k… --scope orders.read < client-secret";

const ASK: &str = "\
The person finds the request at the pages, under /requests, or with `placet request list`.

Example:
  placet token ask --client-id agt_01k… --user lee --scope orders.read --message 'ticket 118' < client-secret";

/// Get a token, or introspect, verify, check or revoke one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = AFTER)]
pub(crate) struct Token {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    request: Request,
}

/// A token request.
#[derive(Debug, Args)]
struct Request {
    /// The agent's client id
    #[arg(long, value_name = "AGT", required_unless_present = "assertion")]
    client_id: Option<String>,
    /// What a trusted issuer says about a workload, or about a person (ID-JAG, with --client-id), is in this file
    #[arg(long, value_name = "FILE")]
    assertion: Option<PathBuf>,
    #[command(flatten)]
    asker: Asker,
    #[command(flatten)]
    wish: Wish,
    /// A grant that a person made for the agent, to take up
    #[arg(long, value_name = "GNT", conflicts_with_all = ["parent_token_file", "parent_token_stdin"])]
    grant: Option<String>,
    /// The parent's access token or a delegation token is in this file
    #[arg(long, value_name = "FILE", conflicts_with = "parent_token_stdin")]
    parent_token_file: Option<PathBuf>,
    /// Read the parent's token from standard input (the client secret is then in PLACET_CLIENT_SECRET)
    #[arg(long)]
    parent_token_stdin: bool,
    /// The parent's task
    #[arg(long, value_name = "ID")]
    parent_task: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Get a token for which a person says yes on another device, where they enter a code
    #[command(after_help = DEVICE)]
    Device(Box<Device>),
    /// Get a token for which a person says yes who is asked by name
    #[command(after_help = ASK)]
    Ask(Box<Ask>),
    /// Say whether a token (from standard input) is active and what it stands for
    #[command(after_help = "Example:\n  placet token introspect --history < access-token")]
    Introspect {
        /// With the history of its task
        #[arg(long)]
        history: bool,
    },
    /// Say whether a token (from standard input) is good for what is about to be asked of it
    #[command(
        after_help = "Example:\n  placet token verify --scope orders.read --task ticket-118 < access-token"
    )]
    Verify {
        /// The scopes that it has to have, separated by spaces
        #[arg(long)]
        scope: Option<String>,
        /// An action pattern that it has to reach; can be repeated
        #[arg(long = "tool", value_name = "PATTERN")]
        tools: Vec<String>,
        /// The task that it has to be for
        #[arg(long, value_name = "ID")]
        task: Option<String>,
        /// The task that that has to be part of
        #[arg(long, value_name = "ID")]
        parent_task: Option<String>,
        /// What the task has to be for
        #[arg(long, value_name = "TEXT")]
        task_description: Option<String>,
    },
    /// Check a token (from standard input) as its resource server would: by the published keys and its list of statuses
    #[command(after_help = "Example:\n  placet token status < access-token")]
    Status,
    /// Revoke a token (from standard input), its grant and all below it
    #[command(after_help = "Example:\n  placet token revoke --reason 'laptop lost' < access-token")]
    Revoke {
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
}

impl Token {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.command {
            None => self.request.run(context).await,
            Some(Command::Device(device)) => device.run(context).await,
            Some(Command::Ask(ask)) => ask.run(context).await,
            Some(Command::Introspect { history }) => {
                let token = input::secret_text("Token")?;
                let include = history.then_some(("include_task_history", "true"));
                let form: Vec<(&str, &str)> =
                    [("token", token.as_str())].into_iter().chain(include).collect();
                let answer = post(context, "/oauth/introspect", &form).await?;
                context.out.document(&answer);
                let active = answer.get("active").and_then(Value::as_bool) == Some(true);
                Ok(if active { Exit::Done } else { Exit::Negative })
            }
            Some(Command::Verify { scope, tools, task, parent_task, task_description }) => {
                let body = Members::default()
                    .set("token", input::secret_text("Token")?)
                    .maybe("scope", scope)
                    .list("required_tools", &tools)
                    .maybe("task_id", task)
                    .maybe("parent_task_id", parent_task)
                    .maybe("task_description", task_description)
                    .done();
                let answer = context.client()?.post("/v1/tokens/verify", &body).await?;
                context.out.document(&answer);
                let valid = answer.get("is_valid").and_then(Value::as_bool) == Some(true);
                Ok(if valid { Exit::Done } else { Exit::Negative })
            }
            Some(Command::Status) => status::run(context).await,
            Some(Command::Revoke { reason }) => {
                let token = input::secret_text("Token")?;
                let reason = reason.as_deref().map(|reason| ("reason", reason));
                let form: Vec<(&str, &str)> = [("token", token.as_str())].into_iter().chain(reason).collect();
                context.out.document(&post(context, "/oauth/revoke", &form).await?);
                Ok(Exit::Done)
            }
        }
    }
}

async fn post(context: &Context, path: &str, form: &[(&str, &str)]) -> Result<Value, Failure> {
    context.client()?.send(Method::POST, path, &[], Body::Form(form)).await?.success()
}

impl Request {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let from = match &self.client_id {
            // Its issuer says which agent it is.
            None => SecretFrom::Nowhere,
            Some(_) if self.parent_token_stdin => SecretFrom::EnvironmentOnly,
            Some(_) => SecretFrom::Anywhere,
        };
        let asking = self.asker.open(context, self.client_id, from)?;
        let parent = match (&self.parent_token_file, self.parent_token_stdin) {
            (Some(path), _) => Some(input::text_file(path, "parent's token")?.trim().to_owned()),
            (None, true) => Some(input::secret_text("Parent's token")?),
            (None, false) => None,
        };
        let assertion = match &self.assertion {
            Some(path) => Some(input::text_file(path, "assertion")?.trim().to_owned()),
            None => None,
        };
        let grant_type =
            if assertion.is_some() { GrantType::JwtBearer } else { GrantType::ClientCredentials };
        let members = self
            .wish
            .members()
            .set("grant_type", grant_type.as_str())
            .maybe("assertion", assertion)
            .maybe("grant_id", self.grant)
            .maybe("parent_token", parent)
            .maybe("parent_task_id", self.parent_task);
        context.out.document(&asking.ask("/oauth/token", &members).await?);
        Ok(Exit::Done)
    }
}
