//! `placet user`, `placet login`, `placet logout`: people and their sessions.

use super::{Members, account::prove};
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
    /// Say which roles a user has from now on, all of them
    #[command(
        after_help = "What they said yes to, and may answer no more, counts no longer: approvals that were not used wait for somebody else again.\n\nNeeds you to be signed in as an administrator.\n\nExamples:\n  placet user roles ada --role approver --role support-lead\n  placet user roles ada --none"
    )]
    Roles {
        /// The person's name or id
        user: String,
        /// A role; can be repeated
        #[arg(long = "role", value_name = "ROLE", required_unless_present = "none", conflicts_with = "none")]
        roles: Vec<String>,
        /// None at all
        #[arg(long)]
        none: bool,
    },
    /// Take from somebody everything to sign in with but the password, and end their sessions: for who has lost their
    /// authenticator app and recovery codes
    #[command(
        after_help = "Needs you to be signed in as an administrator; your own password is asked for, or read from standard input (a code on its second line).\n\nExample:\n  placet user reset-factors ada"
    )]
    ResetFactors {
        /// The person's name or id
        user: String,
    },
}

/// Sign in.
#[derive(Debug, Args)]
#[command(
    after_help = "The password is asked for, and a code of your authenticator app where you have one; or they are read from standard input, a line each. A recovery code does in place of a code.\n\nExample:\n  placet login --name ada"
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
        match self {
            Self::Add { name, roles } => {
                let client = context.client()?;
                let password = input::new_password()?;
                let members = Members::default().set("name", name).set("password", password);
                let made = client.post("/v1/users", &members.set("roles", roles).done()).await?;
                context.out.document(&made);
            }
            Self::Roles { user, roles, none: _ } => {
                let client = context.person()?;
                let path = format!("/v1/users/{}/roles", encoded(&user));
                let body = json!({"roles": roles});
                let changed = client.send(Method::PUT, &path, &[], Body::Json(&body)).await?.success()?;
                context.out.document(&changed);
            }
            Self::ResetFactors { user } => {
                let client = context.person()?;
                let path = format!("/v1/users/{}/reset-factors", encoded(&user));
                prove(&client, &path, input::shown()?, Members::default()).await?;
                context.out.sentence(&format!(
                    "{user} signs in with the password alone now; their sessions have ended."
                ));
            }
        }
        Ok(Exit::Done)
    }
}

impl Login {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (server, state) = (context.server()?, context.state()?);
        let name = Members::default().set("name", self.name.as_str());
        let answer = prove(&server, "/v1/sessions", input::shown()?, name).await?;
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
