//! `placet provider`: identity providers that people sign in with, and whom each means.

use super::{Members, account::prove};
use crate::{
    cli::Context,
    client::{Body, encoded, query},
    exit::{Exit, Failure},
    input,
};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let people sign in with an OpenID provider, once they are linked
    #[command(after_help = "\
Needs you to be signed in as an administrator; your own password is asked for, or read from standard input (a code on its second line). \
Register at the provider first, as a confidential client with the redirect URI PAGES/sign-in/callback/HANDLE.

Examples:
  placet provider create example --issuer https://sso.example --client-id placet --client-secret-file secret --name 'Example SSO'
  placet provider create work --issuer https://sso.example/realms/work --client-id placet --client-secret-file secret \\
      --second-factor --acr phr --claim 'groups=engineering'")]
    Create(Box<Create>),
    /// List the providers that people sign in with
    #[command(after_help = "Example:\n  placet provider list")]
    List,
    /// Show a provider, with the address to register there
    #[command(after_help = "Example:\n  placet provider show example")]
    Show {
        /// Its handle or id
        provider: String,
    },
    /// Show the provider another client secret from now on
    #[command(after_help = "Example:\n  placet provider secret example --client-secret-file secret")]
    Secret {
        /// Its handle or id
        provider: String,
        /// The secret is in this file
        #[arg(long, value_name = "FILE")]
        client_secret_file: PathBuf,
    },
    /// Say which user a subject of a provider is
    #[command(
        after_help = "Needs you to be signed in as an administrator; your own password is asked for, or read from standard input (a code on its second line).\n\nExample:\n  placet provider link example 00u1abc lee"
    )]
    Link {
        /// Its handle or id
        provider: String,
        /// What it calls the person: the `sub` of its ID tokens
        subject: String,
        /// The user
        user: String,
    },
    /// A subject of a provider is nobody any more; sessions that began so end
    #[command(after_help = "Example:\n  placet provider unlink example 00u1abc")]
    Unlink {
        /// Its handle or id
        provider: String,
        /// What it calls the person
        subject: String,
    },
    /// List whom a provider means
    #[command(after_help = "Example:\n  placet provider links example")]
    Links {
        /// Its handle or id
        provider: String,
        /// Only those behind this subject
        #[arg(long, value_name = "SUBJECT")]
        after: Option<String>,
    },
    /// Nobody signs in with a provider any more; its links, and sessions that began with it, end
    #[command(after_help = "Example:\n  placet provider remove example")]
    Remove {
        /// Its handle or id
        provider: String,
    },
}

/// A provider that people are to sign in with.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// How it is called here: 1 to 32 of a-z, 0-9 and `-`
    handle: String,
    /// Its `issuer`, letter by letter
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// The client id that it has given this server
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// The client secret is in this file
    #[arg(long, value_name = "FILE")]
    client_secret_file: PathBuf,
    /// What people read on the button [default: the handle]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How the secret is shown [default: what the provider takes, `client_secret_basic` first]
    #[arg(long, value_name = "METHOD", value_parser = ["client_secret_basic", "client_secret_post"])]
    auth: Option<String>,
    /// An algorithm that it signs with; can be repeated [default of the server: EdDSA, ES256, RS256, PS256]
    #[arg(long = "algorithm", value_name = "ALG")]
    algorithms: Vec<String>,
    /// A scope to ask for beside `openid`; can be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scope: Vec<String>,
    /// A claim that its ID tokens have to have; can be repeated
    #[arg(long = "claim", value_name = "NAME=PATTERN", value_parser = pair)]
    claims: Vec<(String, String)>,
    /// It asks for a second factor itself: none is asked for here
    #[arg(long)]
    second_factor: bool,
    /// Only where it states this `acr`, which it is asked for; can be repeated
    #[arg(long = "acr", value_name = "ACR", requires = "second_factor")]
    acr: Vec<String>,
    /// Only where it states this `amr`; can be repeated
    #[arg(long = "amr", value_name = "AMR", requires = "second_factor")]
    amr: Vec<String>,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let out = context.out;
        let path = |provider: &str| format!("/v1/identity-providers/{}", encoded(provider));
        match self {
            Self::Create(create) => {
                let client = context.person()?;
                let members = create.members()?;
                out.document(&prove(&client, "/v1/identity-providers", input::shown()?, members).await?);
            }
            Self::List => {
                let answer = context.client()?.read("/v1/identity-providers").await?;
                out.list(&answer, "identity_providers", &["handle", "name", "issuer", "created", "id"]);
            }
            Self::Show { provider } => out.document(&context.client()?.read(&path(&provider)).await?),
            Self::Secret { provider, client_secret_file } => {
                let client = context.person()?;
                let secret = input::secret_in(&client_secret_file, "client secret")?;
                let members = Members::default().set("client_secret", secret);
                prove(&client, &format!("{}/secret", path(&provider)), input::shown()?, members).await?;
                out.sentence(&format!("{provider} is shown the new secret from now on."));
            }
            Self::Link { provider, subject, user } => {
                let client = context.person()?;
                let members = Members::default().set("subject", subject).set("user", user);
                let path = format!("{}/subjects", path(&provider));
                out.document(&prove(&client, &path, input::shown()?, members).await?);
            }
            Self::Unlink { provider, subject } => {
                let body = json!({"subject": subject, "user": Value::Null});
                let path = format!("{}/subjects", path(&provider));
                out.document(&context.client()?.post(&path, &body).await?);
            }
            Self::Links { provider, after } => {
                let path = format!("{}/subjects{}", path(&provider), query(&[("after", after)]));
                out.list(&context.client()?.read(&path).await?, "subjects", &["subject", "user", "created"]);
            }
            Self::Remove { provider } => {
                let sent = context.client()?.send(Method::DELETE, &path(&provider), &[], Body::Empty).await?;
                out.document(&sent.success()?);
            }
        }
        Ok(Exit::Done)
    }
}

impl Create {
    fn members(self) -> Result<Members, Failure> {
        let secret = input::secret_in(&self.client_secret_file, "client secret")?;
        let mut members = Members::default()
            .set("handle", self.handle)
            .set("issuer", self.issuer)
            .set("client_id", self.client_id)
            .set("client_secret", secret)
            .maybe("name", self.name)
            .maybe("auth", self.auth)
            .list("algorithms", &self.algorithms)
            .list("scope", &self.scope);
        if !self.claims.is_empty() {
            let claims = self.claims.into_iter().map(|(name, value)| (name, value.into()));
            members = members.set("claims", Value::Object(claims.collect::<Map<_, _>>()));
        }
        if self.second_factor {
            let needs = Members::default().list("acr", &self.acr).list("amr", &self.amr);
            members = members.set("second_factor", needs.done());
        }
        Ok(members)
    }
}

/// The secret in a file, without its last newline.
/// At the first `=`: patterns may have one.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write NAME=PATTERN, with something on both sides".to_owned()),
    }
}
