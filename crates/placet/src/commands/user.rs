//! `placet user`, `placet login`, `placet logout`: people and their sessions.

use super::Members;
use crate::{
    cli::Context,
    client::{Body, encoded},
    exit::{Exit, Failure},
    input,
    state::Session,
};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a user; the password is asked for twice, or read from standard input
    #[command(after_help = "Example:\n  placet user add ada --role administrator --role approver")]
    Add {
        /// The name to sign in with
        name: String,
        /// A role (administrator, approver, auditor, or one that policies name); can be repeated
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
    },
}

/// Sign in.
#[derive(Debug, Args)]
#[command(
    after_help = "The password is asked for, or read from standard input.\n\nExample:\n  placet login --name ada"
)]
pub(crate) struct Login {
    /// The name to sign in with
    #[arg(long)]
    name: String,
}

/// Sign out.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet logout")]
pub(crate) struct Logout {}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self::Add { name, roles } = self;
        let client = context.client()?;
        let password = input::new_password()?;
        let body = Members::default().set("name", name).set("password", password).set("roles", roles).done();
        context.out.document(&client.post("/v1/users", &body).await?);
        Ok(Exit::Done)
    }
}

impl Login {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (server, state) = (context.server()?, context.state()?);
        let password = input::secret_text("Password")?;
        let body = json!({"name": self.name, "password": password});
        let answer = server.post("/v1/sessions", &body).await?;
        let member = |name: &str| answer.get(name).and_then(Value::as_str);
        let (Some(id), Some(token)) = (member("id"), member("token")) else {
            return Err(Failure::unreadable("the server's answer is no session"));
        };
        let expires = member("expires").unwrap_or_default();
        state.keep_session(&Session::new(server.base(), &self.name, id, token, expires))?;
        // The token stays in its file.
        if context.out.is_json() {
            context
                .out
                .document(&json!({"id": id, "name": self.name, "url": server.base(), "expires": expires}));
        }
        context.out.sentence(&format!("Signed in at {} as {} until {expires}.", server.base(), self.name));
        Ok(Exit::Done)
    }
}

impl Logout {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (server, state) = (context.server()?, context.state()?);
        let Some(session) = state.session(server.base())? else {
            context.out.sentence(&format!("Nobody is signed in at {}.", server.base()));
            return Ok(Exit::Done);
        };
        let path = format!("/v1/sessions/{}", encoded(&session.id));
        let ended = server.with_token(session.token()).send(Method::DELETE, &path, &[], Body::Empty).await;
        // The file goes also where the server can't be told, or knows of no such session any more.
        state.forget_session(server.base())?;
        let ended = ended?;
        if !ended.is_success() && !matches!(ended.status, 401 | 404) {
            return Err(Failure::Refused(ended.refusal()));
        }
        context.out.sentence(&format!("Signed out at {}.", server.base()));
        Ok(Exit::Done)
    }
}
