//! `placet session`: where people are signed in, and ending that.

use crate::{
    cli::Context,
    client::{Body, encoded, query},
    exit::{Exit, Failure},
};
use clap::Subcommand;
use reqwest::Method;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List sessions: your own, or everybody's where you are an administrator
    #[command(after_help = "Examples:\n  placet session list\n  placet session list --user usr_01k…")]
    List {
        /// Only those of this person
        #[arg(long, value_name = "USR")]
        user: Option<String>,
        /// Only those behind this one
        #[arg(long, value_name = "SES")]
        after: Option<String>,
    },
    /// End a session, in a browser or in a terminal, at once
    #[command(after_help = "Example:\n  placet session end ses_01k…")]
    End {
        /// The session's id
        session: String,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        match self {
            Self::List { user, after } => {
                let path = format!("/v1/sessions{}", query(&[("user", user), ("after", after)]));
                let columns = ["id", "user", "began_with", "provider", "created", "expires", "alive"];
                out.list(&client.read(&path).await?, "sessions", &columns);
            }
            Self::End { session } => {
                let path = format!("/v1/sessions/{}", encoded(&session));
                let ended = client.send(Method::DELETE, &path, &[], Body::Empty).await?;
                if !ended.is_success() {
                    return Err(Failure::Refused(ended.refusal()));
                }
                out.sentence(&format!("The session {session} has ended."));
            }
        }
        Ok(Exit::Done)
    }
}
