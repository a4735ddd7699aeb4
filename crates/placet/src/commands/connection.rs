//! `placet connection`: accounts at upstreams, whose secrets agents never see.

use super::Members;
use crate::{
    cli::Context,
    exit::{Exit, Failure},
    input,
};
use clap::{Args, Subcommand, ValueEnum};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a connection; its secret is read from standard input
    #[command(after_help = "Example:\n  placet connection add shop-main --service shop < shop-token")]
    Add(Add),
    /// List connections
    #[command(after_help = "Example:\n  placet connection list")]
    List,
}

/// A new connection.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Its name
    name: String,
    /// The service that it is an account of
    #[arg(long, value_name = "NAME")]
    service: String,
    /// How the secret is sent
    #[arg(long, value_enum, default_value = "bearer")]
    auth: Auth,
    /// The user name beside the secret, for `basic`, where the service states none
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// The user whose account it is, instead of the organization's
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// An agent that may use it, instead of all; can be repeated
    #[arg(long = "agent", value_name = "AGT")]
    agents: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Auth {
    /// In `Authorization: Bearer`
    Bearer,
    /// In `Authorization: Basic`, with --username
    Basic,
    /// In the query member that the service names
    Query,
    /// In the header that the service names
    Header,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        match self {
            Self::Add(add) => {
                let secret = input::secret_text("Secret")?;
                let kind = match add.auth {
                    Auth::Bearer => "bearer",
                    Auth::Basic => "basic",
                    Auth::Query => "query",
                    Auth::Header => "header",
                };
                let auth = Members::default()
                    .set("type", kind)
                    .set("secret", secret)
                    .maybe("username", add.username)
                    .done();
                let body = Members::default()
                    .set("name", add.name)
                    .set("service", add.service)
                    .set("auth", auth)
                    .maybe("user", add.user)
                    .list("agents", &add.agents)
                    .done();
                context.out.document(&client.post("/v1/connections", &body).await?);
            }
            Self::List => {
                let answer = client.read("/v1/connections").await?;
                context.out.list(
                    &answer,
                    "connections",
                    &["id", "name", "service", "user", "agents", "state", "created"],
                );
            }
        }
        Ok(Exit::Done)
    }
}
