//! `placet grant`: making delegated authority, looking at it, taking part of it back, and ending it.

use super::{Members, object};
use crate::{
    cli::Context,
    client::{encoded, query},
    exit::{Exit, Failure},
};
use clap::{Args, Subcommand};
use serde_json::Value;

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
    /// Make a grant for an agent, on behalf of the person who is signed in; the agent takes it up by its id
    #[command(
        after_help = "Example:\n  placet grant create --agent support-bot --scope 'orders.*' \\\n      --limit '{\"count\": 20, \"per\": \"day\"}' --expires 2030-01-01T00:00:00Z"
    )]
    Create(Create),
    /// Take part of a grant back: say what is left, for it and for all below it
    #[command(
        after_help = "Example:\n  placet grant narrow gnt_01k… --scope orders.read --reason 'reading is enough'"
    )]
    Narrow(Narrow),
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

/// A new grant.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The agent that may take it up (handle or id)
    #[arg(long, value_name = "AGT")]
    agent: String,
    /// On whose behalf, where an administrator makes it
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A scope; can be repeated
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// An action pattern; can be repeated
    #[arg(long = "tool", value_name = "PATTERN")]
    tools: Vec<String>,
    /// A resource pattern; can be repeated
    #[arg(long = "resource", value_name = "PATTERN")]
    resources: Vec<String>,
    /// A connection; can be repeated
    #[arg(long = "connection", value_name = "NAME")]
    connections: Vec<String>,
    /// A resource server, besides or instead of Placet itself; can be repeated
    #[arg(long = "audience", value_name = "NAME")]
    audience: Vec<String>,
    /// A limit, a JSON object as policies have them; can be repeated
    #[arg(long = "limit", value_name = "JSON")]
    limits: Vec<String>,
    /// When it ends (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// How many links may hang below it
    #[arg(long, value_name = "NUMBER")]
    max_depth: Option<u8>,
}

/// What is left of a grant.
#[derive(Debug, Args)]
pub(crate) struct Narrow {
    /// The grant's id
    grant: String,
    /// A scope that is left; can be repeated
    #[arg(long = "scope", required_unless_present_any = ["tools", "resources"])]
    scopes: Vec<String>,
    /// An action pattern that is left; can be repeated
    #[arg(long = "tool", value_name = "PATTERN")]
    tools: Vec<String>,
    /// A resource pattern that is left; can be repeated
    #[arg(long = "resource", value_name = "PATTERN")]
    resources: Vec<String>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

impl Create {
    fn body(self) -> Result<Value, Failure> {
        let limits =
            self.limits.iter().map(|limit| object("--limit", limit)).collect::<Result<Vec<_>, _>>()?;
        let members = Members::default()
            .set("agent", self.agent)
            .maybe("user", self.user)
            .list("scope", &self.scopes)
            .list("tools", &self.tools)
            .list("resources", &self.resources)
            .list("connections", &self.connections)
            .list("audience", &self.audience)
            .maybe("expires", self.expires)
            .maybe("max_depth", self.max_depth);
        Ok(if limits.is_empty() { members } else { members.set("limits", limits) }.done())
    }
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
            Self::Create(create) => out.document(&client.post("/v1/grants", &create.body()?).await?),
            Self::Narrow(narrow) => {
                let body = Members::default()
                    .list("scope", &narrow.scopes)
                    .list("tools", &narrow.tools)
                    .list("resources", &narrow.resources)
                    .maybe("reason", narrow.reason)
                    .done();
                let path = format!("/v1/grants/{}/narrow", encoded(&narrow.grant));
                out.document(&client.post(&path, &body).await?);
            }
            Self::Revoke { grant, reason } => {
                let body = Members::default().maybe("reason", reason).done();
                out.document(&client.post(&format!("/v1/grants/{}/revoke", encoded(&grant)), &body).await?);
            }
        }
        Ok(Exit::Done)
    }
}
