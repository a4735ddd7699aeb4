//! `placet resource-server`: services of one's own that ask Placet about the agents that call them.

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
    /// Register a resource server; its secret is printed once
    #[command(
        after_help = "Examples:\n  placet resource-server create orders-api --audience https://orders.example\n  placet resource-server create orders-api --audience https://orders.example --status-list"
    )]
    Create {
        /// Its name
        name: String,
        /// What tokens for it have as audience: an absolute URI
        #[arg(long, value_name = "URI")]
        audience: String,
        /// It checks tokens by itself: they say in which list of statuses they stand
        #[arg(long)]
        status_list: bool,
    },
    /// List resource servers
    #[command(after_help = "Example:\n  placet resource-server list")]
    List,
    /// Show one resource server
    #[command(after_help = "Example:\n  placet resource-server show orders-api")]
    Show {
        /// Its id, name or audience
        server: String,
    },
    /// Give a resource server a new secret; the one before is good no more
    #[command(after_help = "Example:\n  placet resource-server renew orders-api")]
    Renew {
        /// Its id, name or audience
        server: String,
    },
    /// End a resource server
    #[command(after_help = "Example:\n  placet resource-server end orders-api")]
    End {
        /// Its id, name or audience
        server: String,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        let path = |server: &str| format!("/v1/resource-servers/{}", encoded(server));
        match self {
            Self::Create { name, audience, status_list } => {
                let status_list = status_list.then_some(true);
                let members = Members::default().set("name", name).set("audience", audience);
                let body = members.maybe("status_list", status_list).done();
                out.document(&client.post("/v1/resource-servers", &body).await?);
            }
            Self::List => {
                let answer = client.read("/v1/resource-servers").await?;
                out.list(&answer, "resource_servers", &["id", "name", "audience", "created"]);
            }
            Self::Show { server } => out.document(&client.read(&path(&server)).await?),
            Self::Renew { server } => {
                let path = format!("{}/secret", path(&server));
                let answer = client.send(Method::POST, &path, &[], Body::Empty).await?.success()?;
                out.document(&answer);
            }
            Self::End { server } => {
                client.send(Method::DELETE, &path(&server), &[], Body::Empty).await?.success()?;
                out.sentence(&format!("{server} has ended"));
            }
        }
        Ok(Exit::Done)
    }
}
