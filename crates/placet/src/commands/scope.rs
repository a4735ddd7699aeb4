//! `placet scope`: what scopes mean in plain words, which others they stand for, who may delegate them.

use super::Members;
use crate::{
    cli::Context,
    client::{Body, encoded},
    exit::{Exit, Failure},
};
use clap::Subcommand;
use reqwest::Method;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what a scope means; replaces what was said before
    #[command(after_help = "Examples:
  placet scope apply orders.read --description 'See your orders'
  placet scope apply support --description 'Help with your orders' --includes orders.read --includes refunds.create --role support-lead")]
    Apply {
        /// The scope, as clients ask for it
        name: String,
        /// What people are told who are asked to grant it
        #[arg(long, value_name = "TEXT")]
        description: String,
        /// A scope that it stands for; can be repeated
        #[arg(long, value_name = "SCOPE")]
        includes: Vec<String>,
        /// A role that a user may have to delegate it; can be repeated [default: everybody may]
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// List the scopes that are registered
    #[command(after_help = "Example:\n  placet scope list")]
    List,
    /// Show one scope
    #[command(after_help = "Example:\n  placet scope show support")]
    Show {
        /// The scope
        name: String,
    },
    /// Take a scope out of the registry; grants keep what they were given
    #[command(after_help = "Example:\n  placet scope remove support")]
    Remove {
        /// The scope
        name: String,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        let path = |name: &str| format!("/v1/scopes/{}", encoded(name));
        match self {
            Self::Apply { name, description, includes, roles } => {
                let body = Members::default()
                    .set("description", description)
                    .list("includes", &includes)
                    .list("roles", &roles)
                    .done();
                let answer =
                    client.send(Method::PUT, &path(&name), &[], Body::Json(&body)).await?.success()?;
                out.document(&answer);
            }
            Self::List => {
                let answer = client.read("/v1/scopes").await?;
                out.list(&answer, "scopes", &["name", "description", "includes", "roles"]);
            }
            Self::Show { name } => out.document(&client.read(&path(&name)).await?),
            Self::Remove { name } => {
                client.send(Method::DELETE, &path(&name), &[], Body::Empty).await?.success()?;
                out.sentence(&format!("{name} is registered no more"));
            }
        }
        Ok(Exit::Done)
    }
}
