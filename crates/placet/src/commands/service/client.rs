//! `placet service client`: what this server is at the authorization server of a service.
//!
//! Invariant: the client's secret is no flag, and is not printed.

use crate::{
    cli::Context,
    client::{Body, Client, encoded},
    exit::{Exit, Failure},
    input,
};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Say which client Placet is at the authorization server of a service, or show it
#[derive(Debug, Args)]
#[command(
    after_help = "Register Placet there first, with the redirect URI that this command prints. The secret is read from standard input, or from a file.\n\nExamples:\n  placet service client gmail\n  placet service client gmail --client-id 1234.apps.example < client-secret\n  placet service client gmail --client-id 1234.apps.example --client-secret-file client-secret\n  placet service client notes --client-id placet --public\n  placet service client gmail --remove"
)]
pub(crate) struct Asked {
    /// The service
    service: String,
    #[command(flatten)]
    registered: Registered,
    /// Say that it is none any more
    #[arg(long, conflicts_with = "client_id")]
    remove: bool,
}

/// A client, as the authorization server knows it.
#[derive(Debug, Args)]
pub(crate) struct Registered {
    /// What the authorization server calls it
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Its secret is in this file
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_secret_file: Option<PathBuf>,
    /// It has no secret
    #[arg(long, requires = "client_id", conflicts_with = "client_secret_file")]
    public: bool,
}

impl Registered {
    /// Whether there is one.
    pub(super) const fn is_named(&self) -> bool {
        self.client_id.is_some()
    }

    /// As it is sent.
    ///
    /// # Errors
    /// Where the secret can't be read.
    pub(super) fn sent(&self) -> Result<Option<Value>, Failure> {
        let Some(id) = &self.client_id else { return Ok(None) };
        let secret = match &self.client_secret_file {
            _ if self.public => None,
            Some(path) => Some(input::secret_in(path, "client's secret")?),
            None => Some(input::secret_text("Client secret")?),
        };
        Ok(Some(match secret {
            Some(secret) => json!({"client_id": id, "client_secret": secret}),
            None => json!({"client_id": id}),
        }))
    }
}

/// Says what it is.
///
/// # Errors
/// What the server refuses.
pub(super) async fn put(client: &Client, service: &str, body: &Value) -> Result<Value, Failure> {
    client.send(Method::PUT, &path(service), &[], Body::Json(body)).await?.success()
}

/// Runs the command.
///
/// # Errors
/// What the server refuses.
pub(super) async fn run(asked: &Asked, context: &Context) -> Result<Exit, Failure> {
    let client = context.client()?;
    if asked.remove {
        client.send(Method::DELETE, &path(&asked.service), &[], Body::Empty).await?.success()?;
        context.out.sentence(&format!("{} has no client any more.", asked.service));
        return Ok(Exit::Done);
    }
    let told = match asked.registered.sent()? {
        Some(body) => put(&client, &asked.service, &body).await?,
        None => client.read(&path(&asked.service)).await?,
    };
    context.out.document(&told);
    Ok(Exit::Done)
}

fn path(service: &str) -> String {
    format!("/v1/services/{}/client", encoded(service))
}
