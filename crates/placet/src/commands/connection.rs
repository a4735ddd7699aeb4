//! `placet connection`: accounts at upstreams, whose secrets agents never see.

mod connect;

use super::Members;
use crate::{
    cli::Context,
    client::{Body, encoded},
    exit::{Exit, Failure},
    input,
};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a connection; its secret is read from standard input, or for `oauth2` from files
    #[command(
        after_help = "Examples:\n  placet connection add shop-main --service shop < shop-token\n  placet connection add mail-lee --service mail --user lee --auth oauth2 --client-id placet \\\n      --client-secret-file secret --refresh-token-file refresh-token\n  placet connection add files-main --service files --auth aws-sigv4 --key-id AKIDEXAMPLE < secret-key\n  placet connection add bank-main --service bank --auth mtls --certificate client.pem --key client.key\n  placet connection add shop-main --service shop --secret-from file:shop-token\n  placet connection add hub-main --service hub --auth oauth2 --client-id Iv23li --subject 4711 --signing-key-file app.pem --check"
    )]
    Add(Add),
    Connect(connect::Connect),
    Reconnect(connect::Reconnect),
    /// List connections
    #[command(after_help = "Example:\n  placet connection list")]
    List,
    /// Show a connection, and what it needs where it is parked
    #[command(after_help = "Example:\n  placet connection show shop-main")]
    Show {
        /// Its name or id
        connection: String,
    },
    /// Try whether the secret of a connection works; exit code 1 where it does not, 2 where that can't be told
    #[command(
        after_help = "The server takes the action that the service names for this (`check`). A secret that upstream does not take parks the connection, and one that it takes again wakes it.\n\nExample:\n  placet connection check shop-main"
    )]
    Check {
        /// Its name or id
        connection: String,
    },
    /// Give a connection another secret, read from standard input
    #[command(
        after_help = "Ends approvals that wait for it, and wakes it where it is parked.\n\nExample:\n  placet connection secret shop-main < shop-token"
    )]
    Secret(NewSecret),
    /// Let the secret of a parked connection go where its service is now
    #[command(
        after_help = "`placet connection show` says where that is, and what to confirm. A user's own is confirmed by that user.\n\nExample:\n  placet connection confirm shop-main shop@4"
    )]
    Confirm {
        /// Its name or id
        connection: String,
        /// The version of the service that you have looked at
        #[arg(value_name = "SERVICE@VERSION")]
        version: String,
    },
    /// Say which agents may use a connection of the organization: all, where none is named
    #[command(
        after_help = "Examples:\n  placet connection agents shop-main support-1 support-2\n  placet connection agents shop-main"
    )]
    Agents {
        /// Its name or id
        connection: String,
        /// Handles or ids
        #[arg(value_name = "AGENT")]
        agents: Vec<String>,
    },
    /// Remove a connection with its secret
    #[command(after_help = "Example:\n  placet connection remove shop-main")]
    Remove {
        /// Its name or id
        connection: String,
    },
}

/// Another secret.
#[derive(Debug, Args)]
pub(crate) struct NewSecret {
    /// Its name or id
    connection: String,
    #[command(flatten)]
    credential: Credential,
    /// Store it only if it works, as the service says how to find out
    #[arg(long)]
    check: bool,
}

/// A new connection.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Its name
    name: String,
    /// The service that it is an account of
    #[arg(long, value_name = "NAME")]
    service: String,
    #[command(flatten)]
    credential: Credential,
    /// The user whose account it is, instead of the organization's
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// An agent that may use it, instead of all; can be repeated
    #[arg(long = "agent", value_name = "AGT")]
    agents: Vec<String>,
    /// Add it only if its secret works, as the service says how to find out
    #[arg(long)]
    check: bool,
}

/// What an account is used with.
#[derive(Debug, Args)]
struct Credential {
    /// How the secret is sent, which the service says, too: only where --key-id could be of several is it needed
    #[arg(long, value_enum)]
    auth: Option<Auth>,
    /// The user name beside the secret, for `basic`, where the service states none
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Who this server is at the authorization server, for `oauth2`
    #[arg(long, value_name = "ID", required_if_eq("auth", "oauth2"))]
    client_id: Option<String>,
    /// The client's secret is in this file, for `oauth2`
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_secret_file: Option<PathBuf>,
    /// A refresh token of the account is in this file, for `oauth2`; without one the client acts for itself
    #[arg(long, value_name = "FILE", requires = "client_id")]
    refresh_token_file: Option<PathBuf>,
    /// The id of the key, for `aws-sigv4`, for `hmac` where the service sends one, and beside --signing-key-file
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// A session token is in this file, for `aws-sigv4`
    #[arg(long, value_name = "FILE", requires = "key_id")]
    session_token_file: Option<PathBuf>,
    /// The client certificate (PEM) is in this file, for `mtls`; without it standard input has both, in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its private key (PEM) is in this file
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Standard input has the secret that the service wants beside the certificate
    #[arg(long, requires = "certificate")]
    beside: bool,
    /// The server reads the secret where it is kept, at each use: `env:NAME`, `file:PATH`, `command:NAME` or
    /// `vault:PATH#KEY`
    #[arg(long, value_name = "WHERE", value_parser = elsewhere, conflicts_with_all = ["key_id", "certificate", "client_id"])]
    secret_from: Option<Value>,
    /// A private key (PEM; RSA, or EC on P-256) that signs assertions is in this file, for `oauth2` with an
    /// `assertion_audience` or an `exchange`; --key-id is what the server calls it
    #[arg(long, value_name = "FILE", requires = "client_id", conflicts_with_all = ["refresh_token_file", "subject_token_file"])]
    signing_key_file: Option<PathBuf>,
    /// The server reads the client's secret where it is kept, for `oauth2`: as --secret-from
    #[arg(long, value_name = "WHERE", value_parser = elsewhere, requires = "client_id", conflicts_with = "client_secret_file")]
    client_secret_from: Option<Value>,
    /// The same for the key that signs
    #[arg(long, value_name = "WHERE", value_parser = elsewhere, requires = "client_id", conflicts_with_all = ["signing_key_file", "refresh_token_file", "subject_token_file"])]
    signing_key_from: Option<Value>,
    /// For whom the tokens are that assertions get, where that is not the client itself: a person, or an installation
    #[arg(long, value_name = "NAME", requires = "client_id")]
    subject: Option<String>,
    /// A token that is exchanged for access tokens is in this file, for `oauth2` with a `subject_token_type`
    #[arg(long, value_name = "FILE", requires = "client_id", conflicts_with = "refresh_token_file")]
    subject_token_file: Option<PathBuf>,
}

/// Where a secret is, as the server is told.
fn elsewhere(text: &str) -> Result<Value, String> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    match kind {
        _ if rest.is_empty() => Err("it has the form KIND:NAME".to_owned()),
        "env" | "command" => Ok(json!({"from": kind, "name": rest})),
        "file" => Ok(json!({"from": kind, "path": rest})),
        "vault" => Ok(match rest.split_once('#') {
            Some((path, key)) => json!({"from": "vault_kv", "path": path, "key": key}),
            None => json!({"from": "vault_kv", "path": rest}),
        }),
        _ => Err("there are env, file, command and vault".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Auth {
    /// In `Authorization: Bearer`
    Bearer,
    /// In `Authorization: Basic`, with --username
    Basic,
    /// In the query member that the service names
    Query,
    /// In the header that the service names
    Header,
    /// As a signature that the service describes
    Hmac,
    /// As a signature of AWS Signature Version 4, with --key-id
    AwsSigv4,
    /// As a client certificate, with --certificate and --key
    Mtls,
    /// As an access token that is asked for, and renewed, with --client-id
    Oauth2,
}

impl Credential {
    /// As it is sent; a secret that is no file's comes from standard input.
    fn sent(self) -> Result<Value, Failure> {
        let kind = self.kind()?;
        let auth = Members::default().maybe("type", kind.map(Auth::word));
        if kind != Some(Auth::Oauth2) {
            let username = self.username.clone();
            return Ok(auth.set("secret", self.secret(kind)?).maybe("username", username).done());
        }
        let client_secret = file(self.client_secret_file, "client's secret")?.map(Value::from);
        let client_secret = client_secret.or(self.client_secret_from);
        let refresh_token = file(self.refresh_token_file, "refresh token")?;
        let subject_token = file(self.subject_token_file, "subject token")?;
        let signing_key = file(self.signing_key_file, "signing key")?.map(Value::from);
        let signing_key = signing_key.or(self.signing_key_from);
        Ok(auth
            .maybe("client_id", self.client_id)
            .maybe("client_secret", client_secret)
            .maybe("refresh_token", refresh_token)
            .maybe("subject_token", subject_token)
            .maybe("signing_key", signing_key)
            .maybe("key_id", self.key_id)
            .maybe("subject", self.subject)
            .done())
    }
}

impl Credential {
    /// How it is sent, as far as that is said; else the server knows.
    fn kind(&self) -> Result<Option<Auth>, Failure> {
        match self {
            Self { auth: Some(auth), .. } => Ok(Some(*auth)),
            Self { client_id: Some(_), .. } => Ok(Some(Auth::Oauth2)),
            Self { certificate: Some(_), .. } => Ok(Some(Auth::Mtls)),
            Self { session_token_file: Some(_), .. } => Ok(Some(Auth::AwsSigv4)),
            Self { key_id: Some(_), .. } => {
                let told = "`--key-id` is of several kinds: say `--auth hmac` or `--auth aws-sigv4`";
                Err(Failure::unreadable(told))
            }
            _ => Ok(None),
        }
    }

    /// The secret, of however many parts it is.
    fn secret(self, kind: Option<Auth>) -> Result<Value, Failure> {
        if let Some(elsewhere) = self.secret_from {
            return Ok(elsewhere);
        }
        if let (Some(Auth::Mtls), Some(_)) = (kind, &self.certificate) {
            return Ok(Members::default()
                .maybe("certificate", file(self.certificate, "certificate")?)
                .maybe("key", file(self.key, "private key")?)
                .maybe("secret", self.beside.then(|| input::secret_text("Secret")).transpose()?)
                .done());
        }
        let secret = input::secret_text("Secret")?;
        Ok(match (kind, self.key_id) {
            (Some(Auth::AwsSigv4), Some(id)) => Members::default()
                .set("access_key_id", id)
                .set("secret_access_key", secret)
                .maybe("session_token", file(self.session_token_file, "session token")?)
                .done(),
            (_, Some(id)) => json!({"key_id": id, "secret": secret}),
            (_, None) => secret.into(),
        })
    }
}

fn file(path: Option<PathBuf>, what: &str) -> Result<Option<String>, Failure> {
    path.map(|path| input::secret_in(&path, what)).transpose()
}

impl Auth {
    const fn word(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Basic => "basic",
            Self::Query => "query",
            Self::Header => "header",
            Self::Hmac => "hmac",
            Self::AwsSigv4 => "aws_sigv4",
            Self::Mtls => "mtls",
            Self::Oauth2 => "oauth2",
        }
    }
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let path = |connection: &str| format!("/v1/connections/{}", encoded(connection));
        let patch = async |path: &str, change: Value| {
            client.send(Method::PATCH, path, &[], Body::Json(&change)).await?.success()
        };
        match self {
            Self::Connect(asked) => return asked.run(context).await,
            Self::Reconnect(asked) => return asked.run(context).await,
            Self::Show { connection } => context.out.document(&client.read(&path(&connection)).await?),
            Self::Check { connection } => {
                let path = format!("{}/check", path(&connection));
                let answer = client.send(Method::POST, &path, &[], Body::Empty).await?.success()?;
                let told = answer.get("check").unwrap_or(&Value::Null);
                let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let state = answer.get("state").and_then(Value::as_str).unwrap_or_default();
                context.out.item(&answer, &format!("{connection}: {}; it is {state}.", text("why")));
                return Ok(match text("result").as_str() {
                    "works" => Exit::Done,
                    "refused" => Exit::Negative,
                    _ => Exit::Undecided,
                });
            }
            Self::Secret(new) => {
                let auth = new.credential.sent()?;
                let change =
                    Members::default().set("auth", auth).maybe("check", new.check.then_some(true)).done();
                let answer = patch(&path(&new.connection), change).await?;
                context.out.document(&answer);
            }
            Self::Confirm { connection, version } => {
                let answer = patch(&path(&connection), json!({"confirm": version})).await?;
                context.out.document(&answer);
            }
            Self::Agents { connection, agents } => {
                let answer = patch(&path(&connection), json!({"agents": agents})).await?;
                context.out.document(&answer);
            }
            Self::Remove { connection } => {
                client.send(Method::DELETE, &path(&connection), &[], Body::Empty).await?.success()?;
                context.out.sentence(&format!("{connection} is removed, with its secret."));
            }
            Self::Add(add) => {
                let auth = add.credential.sent()?;
                let body = Members::default()
                    .set("name", add.name)
                    .set("service", add.service)
                    .set("auth", auth)
                    .maybe("user", add.user)
                    .list("agents", &add.agents)
                    .maybe("check", add.check.then_some(true))
                    .done();
                context.out.document(&client.post("/v1/connections", &body).await?);
            }
            Self::List => {
                let answer = client.read("/v1/connections").await?;
                context.out.list(
                    &answer,
                    "connections",
                    &["id", "name", "service", "user", "agents", "state", "created"],
                );
            }
        }
        Ok(Exit::Done)
    }
}
