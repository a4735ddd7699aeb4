//! `placet service`: the definitions of upstreams.

mod client;
mod import;
mod shipped;
mod tools;

use super::policy::{apply, report, show_source};
use crate::{
    cli::Context,
    client::{Body, encoded, query},
    exit::{Exit, Failure},
    input,
};
use clap::Subcommand;
use placet_core::{diagnostic::Diagnostic, policy::Policy, service::Service};
use reqwest::Method;
use serde_json::json;
use shipped::With;
use std::{collections::BTreeMap, path::PathBuf};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check services without a server; exit code 1 where one has an error
    #[command(
        after_help = "Examples:\n  placet service check services/shop.yaml\n  placet service check services/*.yaml --policy policies/support-desk.yaml"
    )]
    Check {
        /// The services
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// A policy: actions that none of them names are told; can be repeated
        #[arg(long = "policy", value_name = "FILE")]
        policies: Vec<PathBuf>,
    },
    Import(import::Import),
    /// Put services in force, each under the name that it states
    #[command(after_help = "Example:\n  placet service apply services/shop.yaml")]
    Apply {
        /// The services
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List the definitions of well-known services that come with Placet, or print one
    #[command(
        after_help = "Examples:\n  placet service catalog\n  placet service catalog github > services/github.yaml\n  placet service catalog github --oauth2 > services/github.yaml"
    )]
    Catalog {
        /// The one to print
        name: Option<String>,
        /// With accounts that people connect at the provider's authorization server
        #[arg(long, requires = "name")]
        oauth2: bool,
        /// With installations of an app, which signs for their tokens
        #[arg(long, requires = "name", conflicts_with = "oauth2")]
        app: bool,
    },
    Client(client::Asked),
    /// Print the `auth` of a definition for an authorization server, as that publishes it
    #[command(
        after_help = "The server looks it up, and puts nothing in force. Add the scopes that the accounts need.\n\nExample:\n  placet service discover https://sso.crm.example"
    )]
    Discover {
        /// What the authorization server calls itself
        issuer: String,
    },
    /// Put definitions that come with Placet in force
    #[command(
        after_help = "Examples:\n  placet service add github slack\n  placet service add jira --base-url https://acme.atlassian.net\n  placet service add http --name crm --base-url https://crm.example.com/api\n\nWith --client-id people connect accounts of their own, at the provider's authorization server:\n  placet service add gmail --client-id 1234.apps.example --client-secret-file client-secret\n  placet connection connect gmail\n\nWith --app its connections are installations of an app:\n  placet service add github --app\n  placet connection add hub-main --service github --auth oauth2 --client-id Iv23li --subject 4711 \\\n      --signing-key-file app.pem --check\n\nOtherwise connect an account: placet connection add --help"
    )]
    Add {
        /// Which, as `placet service catalog` lists them
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Another address than the definition's: of a server of one's own
        #[arg(long, value_name = "URL")]
        base_url: Option<String>,
        /// Another name: of the service, and the first word of its actions' names
        #[arg(long = "name", value_name = "OWN")]
        own: Option<String>,
        /// Connections are installations of an app, whose key signs for their tokens
        #[arg(long, conflicts_with = "client_id")]
        app: bool,
        #[command(flatten)]
        registered: client::Registered,
    },
    /// Print the JSON Schema of services, with which editors complete and check them
    #[command(after_help = "Example:\n  placet service schema > service.schema.json")]
    Schema,
    /// Ask an MCP server which tools it has, and show how they stand to what was accepted
    #[command(after_help = "Example:\n  placet service tools files")]
    Tools {
        /// The service
        name: String,
    },
    /// Accept what an MCP server says of its tools now: they become actions of the service
    #[command(
        after_help = "Examples:\n  placet service accept files read_file list_directory\n  placet service accept files read_file@DIGEST\n  placet service accept files --all\n\nLook at them first: placet --json service tools files. With a digest nothing else than what it names is accepted."
    )]
    Accept {
        /// The service
        name: String,
        /// The tools, by their names at the server
        #[arg(value_name = "TOOL[@DIGEST]")]
        tools: Vec<String>,
        /// All that are new or changed and can be accepted
        #[arg(long, conflicts_with = "tools")]
        all: bool,
    },
    /// Take tools of an MCP server out of a service again
    #[command(after_help = "Example:\n  placet service withdraw files write_file")]
    Withdraw {
        /// The service
        name: String,
        /// The tools, by their names at the server
        #[arg(required = true, value_name = "TOOL")]
        tools: Vec<String>,
    },
    /// List services
    #[command(after_help = "Example:\n  placet service list")]
    List,
    /// Show a service
    #[command(after_help = "Example:\n  placet service show shop")]
    Show {
        /// Its name
        name: String,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Schema => {
                format!("{:#}", placet_core::service::schema()).lines().for_each(crate::output::line);
            }
            Self::Check { files, policies } => return check(context, &files, &policies),
            Self::Import(asked) => return import::run(&asked, context),
            Self::Apply { files } => {
                let client = context.client()?;
                for file in &files {
                    context.out.document(&apply(&client, "services", "service", file, None).await?);
                }
            }
            Self::Catalog { name: None, .. } => {
                let listed = |service: Service| {
                    json!({"service": service.name(), "actions": service.actions().len(), "base_url":
                        format!("{}{}", service.origin(), service.base_path()), "auth": service.auth().kind(),
                        "description": service.description()})
                };
                let all: Vec<_> = shipped::all().map(listed).collect();
                context.out.list(
                    &json!({"services": all}),
                    "services",
                    &["service", "actions", "auth", "base_url", "description"],
                );
            }
            Self::Discover { issuer } => {
                let asked = query(&[("issuer", Some(issuer))]);
                let found = context.client()?.read(&format!("/v1/authorization-server{asked}")).await?;
                let auth = found.get("auth").unwrap_or(&serde_json::Value::Null);
                // JSON is YAML.
                let block = format!("auth: {auth:#}");
                context.out.lines(&found, &block.lines().collect::<Vec<_>>());
            }
            Self::Client(asked) => return client::run(&asked, context).await,
            Self::Catalog { name: Some(name), oauth2, app } => {
                shipped::text(&name, None, None, with(oauth2, app))?.lines().for_each(crate::output::line);
            }
            Self::Add { names, base_url, own, app, registered } => {
                let with = with(registered.is_named(), app);
                return add(context, &names, base_url.as_deref(), own.as_deref(), (with, &registered)).await;
            }
            Self::Tools { name } => tools::look(context, &name).await?,
            Self::Accept { name, tools, all } => tools::accept(context, &name, &tools, all).await?,
            Self::Withdraw { name, tools } => tools::withdraw(context, &name, &tools).await?,
            Self::List => {
                let answer = context.client()?.read("/v1/services").await?;
                context.out.list(
                    &answer,
                    "services",
                    &["service", "version", "applied", "applied_by", "actions"],
                );
            }
            Self::Show { name } => {
                show_source(
                    context,
                    &context.client()?.read(&format!("/v1/services/{}", encoded(&name))).await?,
                    "source",
                );
            }
        }
        Ok(Exit::Done)
    }
}

fn with(oauth2: bool, app: bool) -> With {
    match (oauth2, app) {
        (true, _) => With::Oauth2,
        (false, true) => With::App,
        (false, false) => With::Given,
    }
}

/// Looks closely at definitions, and at what policies say of them.
fn check(context: &Context, files: &[PathBuf], policies: &[PathBuf]) -> Result<Exit, Failure> {
    let (mut found, mut good) = (Vec::new(), Vec::new());
    let mut rules = Vec::new();
    for file in policies {
        match Policy::load(&input::file(file)?, Some(&file.display().to_string()), 1, &[]) {
            // What is doubtful in them is for `placet policy check`.
            Ok((policy, _)) => rules.push(policy),
            Err(errors) => found.extend(errors),
        }
    }
    let mut declared: BTreeMap<String, String> = BTreeMap::new();
    for file in files {
        let shown = file.display().to_string();
        match placet_core::service::check(&input::file(file)?, Some(&shown), &rules) {
            Ok((service, warnings)) => {
                let actions = service.actions().len();
                good.push(format!("{shown}: service {} with {actions} actions", service.name()));
                found.extend(warnings);
                for action in service.actions() {
                    if let Some(other) = declared.insert(action.name().as_str().to_owned(), shown.clone()) {
                        let message = format!(
                            "`{}` is declared in {other} and in {shown}: names are unique",
                            action.name()
                        );
                        found.push(Diagnostic::error(message));
                    }
                }
            }
            Err(errors) => found.extend(errors),
        }
    }
    Ok(report(context, &found, &good))
}

/// Puts shipped definitions in force.
async fn add(
    context: &Context,
    names: &[String],
    base_url: Option<&str>,
    own: Option<&str>,
    (with, registered): (With, &client::Registered),
) -> Result<Exit, Failure> {
    if names.len() > 1 && (base_url.is_some() || own.is_some() || with != With::Given) {
        let told = "`--name`, `--base-url`, `--client-id` and `--app` are for one service at a time";
        return Err(Failure::unreadable(told));
    }
    if let Some(name) = names.iter().find(|name| base_url.is_none() && shipped::needs_address(name)) {
        return Err(Failure::unreadable(format!(
            "say where it is: placet service add {name} --base-url https://…"
        )));
    }
    // All are there before the first is put in force.
    let texts: Vec<(&str, String)> = names
        .iter()
        .map(|name| Ok((own.unwrap_or(name), shipped::text(name, own, base_url, with)?)))
        .collect::<Result<_, Failure>>()?;
    let registered = registered.sent()?;
    let client = context.client()?;
    for (name, text) in texts {
        let path = format!("/v1/services/{}", encoded(name));
        let answer = client.send(Method::PUT, &path, &[], Body::Yaml(text.as_bytes())).await?;
        if !answer.is_success() {
            return Err(Failure::Refused(format!("`{name}` is refused: {}", answer.refusal())));
        }
        context.out.document(&answer.body);
        if let Some(registered) = &registered {
            context.out.document(&client::put(&client, name, registered).await?);
        }
    }
    Ok(Exit::Done)
}
