//! `placet token device` and `placet token ask`: a token for which a person says yes elsewhere (RFC 8628, CIBA).
//!
//! Invariant: the server is asked no more often than it says.

use super::{
    super::Members,
    asker::{Asker, Asking, SecretFrom, Wish},
};
use crate::{
    cli::Context,
    exit::{Exit, Failure},
    output::{note, text},
};
use clap::Args;
use placet_core::{
    client::GrantType,
    waiting::{INTERVAL, SLOWER},
};
use serde_json::Value;
use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::Duration,
};

/// `placet token device`
#[derive(Debug, Args)]
pub(super) struct Device {
    /// The agent's client id
    #[arg(long, value_name = "AGT")]
    client_id: String,
    #[command(flatten)]
    asker: Asker,
    /// The agent is a public client: it has neither secret nor key
    #[arg(long, conflicts_with = "key")]
    public: bool,
    #[command(flatten)]
    wish: Wish,
}

/// `placet token ask`
#[derive(Debug, Args)]
pub(super) struct Ask {
    /// The agent's client id
    #[arg(long, value_name = "AGT")]
    client_id: String,
    #[command(flatten)]
    asker: Asker,
    /// Whom to ask: a user's name or id
    #[arg(long, value_name = "NAME")]
    user: String,
    /// What the person can recognise the request by
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// How many seconds the person has to answer [default of the server: 600]
    #[arg(long, value_name = "SECONDS")]
    within: Option<u32>,
    #[command(flatten)]
    wish: Wish,
}

impl Device {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let from = if self.public { SecretFrom::Nowhere } else { SecretFrom::Anywhere };
        let asking = self.asker.open(context, Some(self.client_id), from)?;
        let begun = asking.ask("/oauth/device_authorization", &self.wish.members()).await?;
        let of = |name: &str| begun.get(name).map(text).unwrap_or_default();
        note(&format!("On any device, open {} and enter the code", of("verification_uri")));
        note(&format!("    {}", of("user_code")));
        note(&format!("or open {} there.", of("verification_uri_complete")));
        waited(context, &asking, &begun, (GrantType::DeviceCode, "device_code")).await
    }
}

impl Ask {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let asking = self.asker.open(context, Some(self.client_id), SecretFrom::Anywhere)?;
        let members = self
            .wish
            .members()
            .set("login_hint", self.user.clone())
            .maybe("binding_message", self.message)
            .maybe("requested_expiry", self.within.map(|seconds| seconds.to_string()));
        let begun = asking.ask("/oauth/backchannel_authentication", &members).await?;
        let user = self.user;
        note(&format!("{user} is asked, and answers at the pages under /requests or with `placet request`."));
        waited(context, &asking, &begun, (GrantType::Ciba, "auth_req_id")).await
    }
}

/// Polls until there is an answer, and prints it.
async fn waited(
    context: &Context,
    asking: &Asking,
    begun: &Value,
    (grant_type, name): (GrantType, &str),
) -> Result<Exit, Failure> {
    let secret = begun.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| begun.get(name).and_then(Value::as_u64);
    let mut interval = number("interval").map_or(INTERVAL, Duration::from_secs);
    if let Some(seconds) = number("expires_in") {
        note(&format!("Waiting for an answer, {seconds} seconds at most."));
    }
    let members = Members::default().set("grant_type", grant_type.as_str()).set(name, secret);
    loop {
        tokio::time::sleep(interval).await;
        let answer = asking.post("/oauth/token", &members).await?;
        match answer.body.get("error").and_then(Value::as_str) {
            Some("authorization_pending") => {}
            Some("slow_down") => interval += SLOWER,
            _ => {
                progress("\n");
                context.out.document(&answer.success()?);
                return Ok(Exit::Done);
            }
        }
        progress(".");
    }
}

/// A sign of life, where somebody looks.
fn progress(sign: &str) {
    let mut out = stderr();
    if out.is_terminal() {
        let _ = out.write_all(sign.as_bytes()).and_then(|()| out.flush());
    }
}
