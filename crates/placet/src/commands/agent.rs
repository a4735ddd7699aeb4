//! `placet agent`: registering, changing, activating, suspending and ending agents.

mod client;

use super::Members;
use crate::{
    cli::Context,
    client::{Body, encoded},
    exit::{Exit, Failure},
    input,
};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register an agent; prints its client id and its secret, which is never shown again
    #[command(
        after_help = "Example:\n  placet agent create support-bot --tool 'orders.*' --tool refunds.create \\\n      --resource 'order://**' --level elevated --label team=support --activate"
    )]
    Create(Create),
    /// Change what is said about an agent; what is left out stays
    #[command(
        after_help = "Example:\n  placet agent change support-bot --level standard --redirect-uri http://localhost/callback"
    )]
    Change(Change),
    /// Make a key that an agent signs with (Ed25519); prints its public half, for `--jwks`
    #[command(
        after_help = "The private key is written into FILE, which must not be there yet and which only you can read.\n\nExample:\n  placet agent keygen agent.pem > agent.jwks\n  placet agent create nightly --tool 'orders.*' --auth-method private_key_jwt --jwks agent.jwks --activate\n  placet token --client-id agt_01k… --key agent.pem --scope orders.read"
    )]
    Keygen {
        /// Where the private key is written
        file: PathBuf,
    },
    /// Activate an agent with its registration token, read from standard input
    #[command(after_help = "Example:\n  placet agent activate agt_01k… < registration-token")]
    Activate {
        /// The agent's client id
        client_id: String,
    },
    /// List agents
    #[command(after_help = "Example:\n  placet agent list")]
    List,
    /// Show one agent
    #[command(after_help = "Example:\n  placet agent show agt_01k…")]
    Show {
        /// The agent's client id
        client_id: String,
    },
    /// Suspend an agent: nothing it holds works any more
    #[command(after_help = "Example:\n  placet agent suspend agt_01k…")]
    Suspend {
        /// The agent's client id
        client_id: String,
    },
    /// Resume a suspended agent
    #[command(after_help = "Example:\n  placet agent resume agt_01k…")]
    Resume {
        /// The agent's client id
        client_id: String,
    },
    /// End an agent and all its grants, for good
    #[command(after_help = "Example:\n  placet agent end agt_01k…")]
    End {
        /// The agent's client id
        client_id: String,
    },
}

/// A new agent.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its unique handle
    name: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// An action pattern that it may use (`orders.*`); can be repeated
    #[arg(long = "tool", value_name = "PATTERN")]
    tools: Vec<String>,
    /// A resource pattern that it may act on (`order://**`); can be repeated [default: every resource]
    #[arg(long = "resource", value_name = "PATTERN")]
    resources: Vec<String>,
    /// The heaviest effects it may have [default of the server: standard]
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// A scope that a token request without one gets; can be repeated
    #[arg(long = "default-scope", value_name = "SCOPE")]
    default_scopes: Vec<String>,
    /// A declared type of authorization details that it may state; can be repeated
    #[arg(long = "detail-type", value_name = "TYPE")]
    detail_types: Vec<String>,
    /// A label that policies can name; can be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The user who owns it
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// It is the client whose metadata is the document at this URL, which is its client id
    #[arg(long, value_name = "URL")]
    document: Option<String>,
    /// Activate it at once
    #[arg(long)]
    activate: bool,
    #[command(flatten)]
    client: client::Client,
}

/// A change of an agent.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// The agent's handle or client id
    agent: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// The heaviest effects it may have
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// A scope that a token request without one gets; can be repeated
    #[arg(long = "default-scope", value_name = "SCOPE")]
    default_scopes: Vec<String>,
    /// A declared type of authorization details that it may state; can be repeated
    #[arg(long = "detail-type", value_name = "TYPE")]
    detail_types: Vec<String>,
    /// A label that policies can name; can be repeated, and replaces all that there were
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The user who owns it
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    #[command(flatten)]
    client: client::Client,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    /// Reads only
    Restricted,
    /// Reads and writes
    Standard,
    /// Also deletes and moves money
    Elevated,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let out = context.out;
        match self {
            Self::Create(create) => return create.run(context).await,
            Self::Change(change) => return change.run(context).await,
            Self::Keygen { file } => out.document(&super::key::generate(&file)?),
            Self::Activate { client_id } => {
                let token = input::secret_text("Registration token")?;
                let body = Members::default().set("registration_token", token).done();
                let path = format!("/v1/agents/{}/activate", encoded(&client_id));
                let answer = context.server()?.post(&path, &body).await?;
                if out.is_json() {
                    out.document(&answer);
                }
                out.sentence(&format!("{client_id} is active"));
            }
            Self::List => {
                let answer = context.client()?.read("/v1/agents").await?;
                out.list(
                    &answer,
                    "agents",
                    &["client_id", "agent_name", "state", "max_scope_level", "created"],
                );
            }
            Self::Show { client_id } => {
                out.document(&context.client()?.read(&format!("/v1/agents/{}", encoded(&client_id))).await?);
            }
            Self::Suspend { client_id } => {
                let path = format!("/v1/agents/{}/suspend", encoded(&client_id));
                let answer =
                    context.client()?.send(Method::POST, &path, &[], Body::Empty).await?.success()?;
                if out.is_json() {
                    out.document(&answer);
                }
                out.sentence(&format!("{client_id} is suspended"));
            }
            Self::Resume { client_id } => {
                let path = format!("/v1/agents/{}/activate", encoded(&client_id));
                let answer =
                    context.client()?.send(Method::POST, &path, &[], Body::Empty).await?.success()?;
                if out.is_json() {
                    out.document(&answer);
                }
                out.sentence(&format!("{client_id} may act again"));
            }
            Self::End { client_id } => {
                let path = format!("/v1/agents/{}", encoded(&client_id));
                let answer =
                    context.client()?.send(Method::DELETE, &path, &[], Body::Empty).await?.success()?;
                if out.is_json() {
                    out.document(&answer);
                }
                out.sentence(&format!("{client_id} has ended, and all its grants with it"));
            }
        }
        Ok(Exit::Done)
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let labels: Map<String, Value> =
            self.labels.into_iter().map(|(key, value)| (key, value.into())).collect();
        let level = client::word(self.level);
        let body = Members::default()
            .set("agent_name", self.name)
            .maybe("description", self.description)
            .set("allowed_tools", self.tools)
            .list("resource_access", &self.resources)
            .maybe("max_scope_level", level)
            .list("default_scopes", &self.default_scopes)
            .list("authorization_details_types", &self.detail_types)
            .maybe("labels", (!labels.is_empty()).then_some(labels))
            .maybe("owner", self.owner)
            .maybe("client_id_url", self.document);
        let body = self.client.add_to(body)?.done();
        let client = context.client()?;
        let mut answer = client.post("/v1/agents", &body).await?;
        if self.activate {
            let member = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
            let path = format!("/v1/agents/{}/activate", encoded(member("client_id")));
            let body = Members::default().set("registration_token", member("registration_token")).done();
            let activated = client.post(&path, &body).await?;
            // What was printed otherwise is used up or out of date.
            if let (Some(shown), Some(state)) = (answer.as_object_mut(), activated.get("state")) {
                shown.remove("registration_token");
                shown.insert("state".to_owned(), state.clone());
            }
        }
        context.out.document(&answer);
        let next =
            if self.activate { "it is active" } else { "it is not active yet: run `placet agent activate`" };
        let sentence = match answer.get("client_secret") {
            Some(_) => format!("Keep the client secret: it is not shown again; {next}."),
            None => format!("It has no secret; {next}."),
        };
        context.out.sentence(&sentence);
        Ok(Exit::Done)
    }
}

impl Change {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let labels: Map<String, Value> =
            self.labels.into_iter().map(|(key, value)| (key, value.into())).collect();
        let body = Members::default()
            .maybe("description", self.description)
            .maybe("max_scope_level", client::word(self.level))
            .list("default_scopes", &self.default_scopes)
            .list("authorization_details_types", &self.detail_types)
            .maybe("labels", (!labels.is_empty()).then_some(labels))
            .maybe("owner", self.owner);
        let body = self.client.add_to(body)?.done();
        let path = format!("/v1/agents/{}", encoded(&self.agent));
        let answer = context.client()?.send(Method::PATCH, &path, &[], Body::Json(&body)).await?.success()?;
        context.out.document(&answer);
        if answer.get("client_secret").is_some() {
            context.out.sentence("Keep the client secret: it is not shown again.");
        }
        Ok(Exit::Done)
    }
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    if key.is_empty() { Err("the key is empty".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}
