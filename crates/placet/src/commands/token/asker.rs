//! Who asks for a token, and how it proves that: with a secret, with a key of its own, or, as a public client, not at all.
//!
//! Invariant: a secret is read once; an assertion is made anew for each request, as it is good once.

use super::super::{Members, key};
use crate::{
    certificate::CertificateFile,
    cli::Context,
    client::{Answer, Body, Client},
    exit::Failure,
    holder::KeyFile,
    input,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use placet_core::client::assertion::ASSERTION_TYPE;
use reqwest::Method;
use serde_json::Value;
use std::path::PathBuf;

/// The flags.
#[derive(Debug, Args)]
pub(in crate::commands) struct Asker {
    /// The agent's private key (PEM, PKCS #8; Ed25519 or P-256) is in this file: sign with it instead of a secret
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The key's name in the agent's key set (`kid`), where that has several
    #[arg(long, value_name = "KID", requires = "key")]
    key_id: Option<String>,
    #[command(flatten)]
    dpop: KeyFile,
    #[command(flatten)]
    certificate: CertificateFile,
    /// The client secret is used though a certificate is shown, which the token is bound to
    #[arg(long, requires = "certificate")]
    with_secret: bool,
}

/// Where a client's secret comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum SecretFrom {
    /// The environment, else standard input.
    Anywhere,
    /// The environment: standard input is for something else.
    EnvironmentOnly,
    /// There is none: the client is public, or somebody else says who it is.
    Nowhere,
}

/// A client that can send requests.
pub(in crate::commands) struct Asking {
    server: Client,
    client_id: String,
    proof: Proof,
}

enum Proof {
    Secret(String),
    Key { path: PathBuf, kid: Option<String> },
    None,
}

impl Asker {
    /// Reads what is needed to ask as this client, or as whom another's assertion names.
    ///
    /// # Errors
    /// A sentence, where the secret or a key can't be read or no server is known.
    pub(in crate::commands) fn open(
        self,
        context: &Context,
        client_id: Option<String>,
        from: SecretFrom,
    ) -> Result<Asking, Failure> {
        let given = context.environment.client_secret.as_ref();
        let proof = match (self.key, from, given) {
            (Some(path), ..) => Proof::Key { path, kid: self.key_id },
            (None, SecretFrom::Nowhere, _) => Proof::None,
            // The certificate says who it is.
            (None, ..) if self.certificate.is_given() && !self.with_secret => Proof::None,
            (None, _, Some(secret)) => Proof::Secret(input::text_of(secret, "client secret")?),
            (None, SecretFrom::EnvironmentOnly, None) => {
                return Err(Failure::unreadable(
                    "the client secret is read from PLACET_CLIENT_SECRET here, as standard input is for something else",
                ));
            }
            (None, SecretFrom::Anywhere, None) => Proof::Secret(input::secret_text("Client secret")?),
        };
        let server =
            self.certificate.shown_by(context, context.server()?)?.holding(self.dpop.open_or_make()?);
        Ok(Asking { server, client_id: client_id.unwrap_or_default(), proof })
    }
}

impl Asking {
    /// Posts a form as this client; any status is an answer.
    ///
    /// # Errors
    /// A sentence, where nothing could be sent.
    pub(in crate::commands) async fn post(&self, path: &str, members: &Members) -> Result<Answer, Failure> {
        let mut form: Vec<(&str, &str)> =
            members.0.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
        let (mut basic, mut assertion) = (None, None);
        match &self.proof {
            Proof::Secret(secret) => {
                basic = Some(format!("Basic {}", STANDARD.encode(format!("{}:{secret}", self.client_id))));
            }
            Proof::Key { path, kid } => {
                let text = key::assertion(&self.server, path, kid.as_deref(), &self.client_id).await?;
                assertion = Some(text);
            }
            Proof::None if self.client_id.is_empty() => {}
            Proof::None => form.push(("client_id", &self.client_id)),
        }
        if let Some(text) = &assertion {
            form.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", text)]);
        }
        let headers: Vec<(&str, &str)> = basic.iter().map(|text| ("authorization", text.as_str())).collect();
        self.server.send(Method::POST, path, &headers, Body::Form(&form)).await
    }

    /// Posts a form as this client and answers what a success is.
    ///
    /// # Errors
    /// As [`Asking::post`], and the server's refusal.
    pub(in crate::commands) async fn ask(&self, path: &str, members: &Members) -> Result<Value, Failure> {
        self.post(path, members).await?.success()
    }
}

/// What is asked for.
#[derive(Debug, Args)]
pub(in crate::commands) struct Wish {
    /// The scopes, separated by spaces [default of the server: the agent's default scopes]
    #[arg(long)]
    scope: Option<String>,
    /// The task: a label of your own, or the id of one that a person made
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// What the task is for
    #[arg(long, value_name = "TEXT")]
    task_description: Option<String>,
    /// Whom the token is for: a resource server's audience [default of the server: Placet itself]
    #[arg(long, value_name = "URI")]
    audience: Option<String>,
    /// An action pattern to narrow the token to; can be repeated
    #[arg(long = "tool", value_name = "PATTERN")]
    tools: Vec<String>,
    /// A resource pattern to narrow the token to; can be repeated
    #[arg(long = "resource", value_name = "PATTERN")]
    resources: Vec<String>,
}

impl Wish {
    /// Whether it says for which task.
    pub(in crate::commands) fn names_a_task(&self) -> bool {
        self.task.is_some()
    }

    /// As parameters.
    pub(in crate::commands) fn members(self) -> Members {
        let joined = |items: &[String]| (!items.is_empty()).then(|| items.join(" "));
        Members::default()
            .maybe("scope", self.scope)
            .maybe("task_id", self.task)
            .maybe("task_description", self.task_description)
            .maybe("resource", self.audience)
            .maybe("required_tools", joined(&self.tools))
            .maybe("required_resources", joined(&self.resources))
    }
}
