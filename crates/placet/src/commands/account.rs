//! `placet account`: how a person signs in: their password, authenticator app, recovery codes and passkeys.

use super::Members;
use crate::{
    cli::Context,
    client::{Answer, Body, Client, encoded},
    exit::{Exit, Failure},
    input::{self, Shown},
    output::{line, rows},
};
use clap::Subcommand;
use placet_core::refusal::Code;
use reqwest::Method;
use serde_json::Value;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what you have to sign in with
    #[command(after_help = "Example:\n  placet account show")]
    Show,
    /// Change your password; your other sessions end
    #[command(
        after_help = "The passwords are asked for, or read from standard input: the old one on the first line, the new one on the second, a code on the third where codes are asked for.\n\nExample:\n  placet account password"
    )]
    Password,
    /// Set up an authenticator app: a code of it is asked for once you have confirmed it
    #[command(
        after_help = "The secret is printed once. At a terminal the first code is asked for; else confirm with `placet account confirm-totp`.\n\nExample:\n  placet account totp"
    )]
    Totp,
    /// Confirm an authenticator app with the code that it shows now
    #[command(
        after_help = "The code is asked for, or read from standard input.\n\nExample:\n  placet account confirm-totp"
    )]
    ConfirmTotp,
    /// Remove your authenticator app, with a code of it or a recovery code
    #[command(after_help = "Example:\n  placet account remove-totp")]
    RemoveTotp,
    /// Make new recovery codes in place of those that there are
    #[command(after_help = "Example:\n  placet account recovery-codes")]
    RecoveryCodes,
    /// Remove one of your passkeys; they are added in a browser, on the pages
    #[command(after_help = "Example:\n  placet account remove-passkey pky_01k…")]
    RemovePasskey {
        /// The passkey's id, as `placet account show` says it
        passkey: String,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.person()?, context.out);
        match self {
            Self::Show => out.document(&client.read("/v1/account").await?),
            Self::Password => {
                let (shown, new) = input::change_of_password()?;
                let more = Members::default().set("new_password", new);
                prove(&client, "/v1/account/password", shown, more).await?;
                out.sentence("The password is changed; your other sessions have ended.");
            }
            Self::Totp => {
                let made = prove(&client, "/v1/account/totp", input::shown()?, Members::default()).await?;
                out.document(&made);
                if input::is_person() {
                    confirm(context, &client).await?;
                } else {
                    out.sentence("It counts once it is confirmed: placet account confirm-totp");
                }
            }
            Self::ConfirmTotp => confirm(context, &client).await?,
            Self::RemoveTotp => {
                prove(&client, "/v1/account/totp/remove", input::shown()?, Members::default()).await?;
                out.sentence("The authenticator app is removed.");
            }
            Self::RemovePasskey { passkey } => {
                let path = format!("/v1/account/passkeys/{}/remove", encoded(&passkey));
                prove(&client, &path, input::shown()?, Members::default()).await?;
                out.sentence("The passkey is removed.");
            }
            Self::RecoveryCodes => {
                let path = "/v1/account/recovery-codes";
                let made = prove(&client, path, input::shown()?, Members::default()).await?;
                tell(context, &made);
            }
        }
        Ok(Exit::Done)
    }
}

/// Sends a request with what a person shows. Where a code is needed as well, a person at a terminal is asked for it.
///
/// # Errors
/// The server's refusal.
pub(super) async fn prove(
    client: &Client,
    path: &str,
    shown: Shown,
    more: Members,
) -> Result<Value, Failure> {
    let body = |code: &Option<String>| {
        let members = Members(more.0.clone()).set("password", shown.password.as_str());
        members.maybe("totp", code.as_deref()).done()
    };
    let send = async |code: &Option<String>| -> Result<Answer, Failure> {
        client.send(Method::POST, path, &[], Body::Json(&body(code))).await
    };
    let answer = send(&shown.code).await?;
    let wants_code =
        answer.body.get("code").and_then(Value::as_str) == Some(Code::SecondFactorRequired.as_str());
    if wants_code && shown.code.is_none() && input::is_person() {
        return send(&Some(input::code()?)).await?.success();
    }
    answer.success()
}

async fn confirm(context: &Context, client: &Client) -> Result<(), Failure> {
    let body = Members::default().set("totp", input::code()?).done();
    let made = client.post("/v1/account/totp/confirm", &body).await?;
    tell(context, &made);
    context
        .out
        .sentence("From now on a code is asked for beside the password; your other sessions have ended.");
    Ok(())
}

fn tell(context: &Context, made: &Value) {
    if context.out.is_json() {
        context.out.document(made);
        return;
    }
    context.out.sentence(
        "Your recovery codes. Each does once in place of a code of the app; they are not shown again.",
    );
    for code in rows(made, "recovery_codes") {
        line(&crate::output::text(code));
    }
}
