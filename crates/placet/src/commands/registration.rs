//! `placet registration`: clients that registered themselves, and what they may have when somebody confirms them.

use super::{Members, object};
use crate::{
    cli::Context,
    client::{Body, encoded},
    exit::{Exit, Failure},
};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List clients that wait to be confirmed
    #[command(after_help = "Example:\n  placet registration list")]
    List,
    /// Make a client that waits an active agent, with what the template says
    #[command(after_help = "Example:\n  placet registration confirm agt_01k…")]
    Confirm {
        /// The client id
        client_id: String,
    },
    /// Refuse a client that waits
    #[command(after_help = "Example:\n  placet registration refuse agt_01k…")]
    Refuse {
        /// The client id
        client_id: String,
    },
    /// Show what clients may have that nobody registered by hand, or say it
    #[command(
        after_help = "Without flags it shows what holds. With any it replaces all of it.\n\nExamples:\n  placet registration template\n  placet registration template --tool 'orders.read' --level restricted --label team=desk\n  placet registration template --closed"
    )]
    Template(Template),
}

/// What clients may have that nobody registered by hand.
#[derive(Debug, Args)]
pub(crate) struct Template {
    /// An action pattern that they may use; can be repeated [default: none]
    #[arg(long = "tool", value_name = "PATTERN")]
    tools: Vec<String>,
    /// A resource pattern that they may act on; can be repeated [default: every resource]
    #[arg(long = "resource", value_name = "PATTERN")]
    resources: Vec<String>,
    /// The heaviest effects they may have: restricted, standard or elevated
    #[arg(long)]
    level: Option<String>,
    /// A scope that a request without one gets; can be repeated
    #[arg(long = "default-scope", value_name = "SCOPE")]
    default_scopes: Vec<String>,
    /// A declared type of authorization details that they may state; can be repeated
    #[arg(long = "detail-type", value_name = "TYPE")]
    detail_types: Vec<String>,
    /// A label that policies can name; can be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = super::agent::label)]
    labels: Vec<(String, String)>,
    /// A host whose documents can be clients (`app.example`, `*.app.example`); can be repeated [default: any]
    #[arg(long = "document-host", value_name = "HOST")]
    hosts: Vec<String>,
    /// No client comes by itself
    #[arg(long)]
    closed: bool,
    /// All of it as JSON
    #[arg(long, value_name = "JSON", conflicts_with_all = ["tools", "resources", "level", "default_scopes", "detail_types", "labels", "hosts", "closed"])]
    document: Option<String>,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        match self {
            Self::List => {
                let answer = client.read("/v1/registrations").await?;
                out.list(
                    &answer,
                    "registrations",
                    &["client_id", "client_name", "redirect_uris", "created", "expires"],
                );
            }
            Self::Confirm { client_id } => {
                let path = format!("/v1/registrations/{}/confirm", encoded(&client_id));
                out.document(&client.send(Method::POST, &path, &[], Body::Empty).await?.success()?);
            }
            Self::Refuse { client_id } => {
                let path = format!("/v1/registrations/{}", encoded(&client_id));
                client.send(Method::DELETE, &path, &[], Body::Empty).await?.success()?;
                out.sentence(&format!("{client_id} is refused"));
            }
            Self::Template(template) => {
                const PATH: &str = "/v1/registration-template";
                let answer = match template.body()? {
                    None => client.read(PATH).await?,
                    Some(body) => client.send(Method::PUT, PATH, &[], Body::Json(&body)).await?.success()?,
                };
                out.document(&answer);
            }
        }
        Ok(Exit::Done)
    }
}

impl Template {
    /// What was said; `None` where nothing was.
    fn body(self) -> Result<Option<Value>, Failure> {
        if let Some(document) = &self.document {
            return object("--document", document).map(Some);
        }
        let labels: Map<String, Value> =
            self.labels.into_iter().map(|(key, value)| (key, value.into())).collect();
        let body = Members::default()
            .list("allowed_tools", &self.tools)
            .list("resource_access", &self.resources)
            .maybe("max_scope_level", self.level)
            .list("default_scopes", &self.default_scopes)
            .list("authorization_details_types", &self.detail_types)
            .maybe("labels", (!labels.is_empty()).then_some(labels))
            .list("document_hosts", &self.hosts)
            .maybe("open", self.closed.then_some(false));
        Ok((!body.0.is_empty()).then(|| body.done()))
    }
}
