//! `placet policy`: checking policies without a server, and applying them.

mod compare;
mod diff;
mod explain;
mod recorded;
mod schema;
mod stage;
mod suites;
mod sync;
mod test;

use crate::{
    cli::Context,
    client::{Body, Client, encoded, query},
    exit::{Exit, Failure},
    input,
    output::line,
};
use clap::Subcommand;
use placet_core::{diagnostic::Diagnostic, policy::Policy, service::Service};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check policies without a server; exit code 1 where one has an error
    #[command(
        after_help = "Example:\n  placet policy check policies/support-desk.yaml --service services/shop.yaml"
    )]
    Check {
        /// The policies
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// A service that they are checked against; can be repeated
        #[arg(long = "service", value_name = "FILE")]
        services: Vec<PathBuf>,
    },
    /// Run tests of policies, without a server
    Test(test::Test),
    /// Compare two versions of a policy by what they decide
    Diff(diff::Diff),
    /// Explain one decision: every link, rule, condition and limit that was asked, and what it saw
    Explain(explain::Explain),
    /// Say whether policies allow anything that others don't, with an action that shows it
    Compare(compare::Compare),
    /// Put policies in force, each under the name that it states
    #[command(
        after_help = "Examples:\n  placet policy apply policies/support-desk.yaml\n  placet policy apply templates/mail-triage.yaml --agent mail-bot"
    )]
    Apply {
        /// The policies
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Whom a document in the compact form without `agent` is for: a handle; can be repeated
        #[arg(long = "agent", value_name = "HANDLE")]
        agents: Vec<String>,
    },
    Sync(sync::Sync),
    /// List policies
    #[command(after_help = "Example:\n  placet policy list")]
    List,
    /// Show a policy
    #[command(after_help = "Example:\n  placet policy show support-desk --version 2")]
    Show {
        /// Its name
        name: String,
        /// The version, instead of the newest
        #[arg(long, value_name = "N")]
        version: Option<u64>,
    },
    /// Show what a policy became when it was loaded: its rules in full, one a line
    #[command(
        after_help = "Examples:\n  placet policy rules policies/support-desk.yaml --service services/shop.yaml\n  placet policy rules support-desk"
    )]
    Rules {
        /// A file, or the name of a policy at the server
        #[arg(value_name = "FILE|NAME")]
        what: String,
        /// The version at the server, instead of the one in force
        #[arg(long, value_name = "N")]
        version: Option<u64>,
        /// A service that a file is read against; can be repeated
        #[arg(long = "service", value_name = "FILE")]
        services: Vec<PathBuf>,
    },
    /// Print the JSON Schema of policies, with which editors complete and check them
    #[command(
        after_help = "Example:\n  placet policy schema > policy.schema.json\n\nMany editors take it from the first line of a policy:\n  # yaml-language-server: $schema=policy.schema.json"
    )]
    Schema,
    /// List the versions of a policy, the newest first
    #[command(after_help = "Example:\n  placet policy history support-desk")]
    History {
        /// Its name
        name: String,
    },
    /// Put the text of an older version in force, as a new version
    #[command(after_help = "Example:\n  placet policy rollback support-desk --to 3")]
    Rollback {
        /// Its name
        name: String,
        /// The version to go back to, instead of the one before
        #[arg(long, value_name = "N")]
        to: Option<u64>,
    },
    Stage(stage::Stage),
    /// Put the staged version of a policy in force for all agents
    #[command(after_help = "Example:\n  placet policy promote support-desk")]
    Promote {
        /// Its name
        name: String,
    },
    /// Take the staged version of a policy back; its agents have what all others have
    #[command(after_help = "Example:\n  placet policy unstage support-desk")]
    Unstage {
        /// Its name
        name: String,
    },
    /// Put a policy out of force; what its guards and denies held back they no longer do
    #[command(after_help = "Example:\n  placet policy remove support-desk")]
    Remove {
        /// Its name
        name: String,
    },
    /// Show what a policy in `mode: observe` would have said, counted
    #[command(after_help = "Example:\n  placet policy observed support-desk")]
    Observed {
        /// Its name
        name: String,
        /// One version, instead of all
        #[arg(long, value_name = "N")]
        version: Option<u64>,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let out = context.out;
        match self {
            Self::Check { files, services } => return check(context, &files, &services),
            Self::Test(asked) => return test::run(&asked, context).await,
            Self::Diff(asked) => return diff::run(asked, context).await,
            Self::Explain(asked) => return explain::run(asked, context).await,
            Self::Schema => schema::print(),
            Self::Compare(asked) => return compare::run(&asked, context),
            Self::Apply { files, agents } => {
                let client = context.client()?;
                let agents = (!agents.is_empty()).then(|| agents.join(","));
                for file in &files {
                    let answer = apply(&client, "policies", "policy", file, agents.as_deref()).await?;
                    out.document(&answer);
                }
            }
            Self::Sync(sync) => return sync.run(context).await,
            Self::List => {
                let answer = context.client()?.read("/v1/policies").await?;
                if let Some(wrong) = answer.pointer("/directory/detail").and_then(Value::as_str) {
                    crate::output::note(&format!(
                        "what is in the directory of policies is not in force: {wrong}"
                    ));
                }
                out.list(
                    &answer,
                    "policies",
                    &["policy", "version", "mode", "stage", "applied", "applied_by"],
                );
            }
            Self::Show { name, version } => {
                let version = version.map(|version| version.to_string());
                let path = format!("/v1/policies/{}{}", encoded(&name), query(&[("version", version)]));
                let answer = context.client()?.read(&path).await?;
                show_source(context, &answer, "source");
            }
            Self::Rules { what, version, services } => {
                return rules(context, &what, version, &services).await;
            }
            Self::History { name } => {
                let answer =
                    context.client()?.read(&format!("/v1/policies/{}/versions", encoded(&name))).await?;
                out.list(&answer, "versions", &["version", "active", "applied", "applied_by"]);
            }
            Self::Rollback { name, to } => {
                let path = format!("/v1/policies/{}/rollback", encoded(&name));
                let asked = to.map_or_else(|| json!({}), |to| json!({ "to": to }));
                let answer =
                    context.client()?.send(Method::POST, &path, &[], Body::Json(&asked)).await?.success()?;
                out.document(&answer);
            }
            Self::Stage(stage) => return stage.run(context).await,
            Self::Promote { name } => return stage::promote(context, &name).await,
            Self::Unstage { name } => return stage::unstage(context, &name).await,
            Self::Remove { name } => {
                let path = format!("/v1/policies/{}", encoded(&name));
                context.client()?.send(Method::DELETE, &path, &[], Body::Empty).await?.success()?;
                out.sentence(&format!("{name} is no longer in force"));
            }
            Self::Observed { name, version } => {
                let version = version.map(|version| version.to_string());
                let query = query(&[("version", version)]);
                let path = format!("/v1/policies/{}/observations{query}", encoded(&name));
                let answer = context.client()?.read(&path).await?;
                let columns =
                    ["version", "would", "decision", "count", "rule", "action", "handle", "code", "last"];
                out.list(&answer, "observations", &columns);
            }
        }
        Ok(Exit::Done)
    }
}

/// The rules of a file, without a server, or else of a policy at the server.
async fn rules(
    context: &Context,
    what: &str,
    version: Option<u64>,
    services: &[PathBuf],
) -> Result<Exit, Failure> {
    let file = Path::new(what);
    if version.is_some() || !file.exists() {
        let version = version.map(|version| version.to_string());
        let path = format!("/v1/policies/{}/rules{}", encoded(what), query(&[("version", version)]));
        show_source(context, &context.client()?.read(&path).await?, "document");
        return Ok(Exit::Done);
    }
    let mut found = Vec::new();
    let loaded = self::services(services, &mut found)?;
    let services: Vec<&Service> = loaded.iter().collect();
    match Policy::load(&input::file(file)?, Some(what), 1, &services) {
        Ok((policy, _)) => {
            let rules: Vec<_> = policy.rules_in_full().collect();
            let answer = json!({"policy": policy.name(), "mode": policy.mode().as_str(), "rules": rules,
                                "document": policy.in_full()});
            show_source(context, &answer, "document");
            Ok(Exit::Done)
        }
        Err(errors) => {
            found.extend(errors);
            Ok(report(context, &found, &[]))
        }
    }
}

/// The services of files; what is wrong with them, and warnings, are added to `found`.
fn services(files: &[PathBuf], found: &mut Vec<Diagnostic>) -> Result<Vec<Service>, Failure> {
    let mut loaded = Vec::new();
    for file in files {
        match Service::parse(&input::file(file)?, Some(&file.display().to_string())) {
            Ok((service, warnings)) => {
                loaded.push(service);
                found.extend(warnings);
            }
            Err(errors) => found.extend(errors),
        }
    }
    Ok(loaded)
}

/// Prints a stored document: its text (the member `text`) as it is for a person, where the answer has it.
pub(crate) fn show_source(context: &Context, answer: &Value, text: &str) {
    match answer.get(text).and_then(Value::as_str) {
        Some(source) if !context.out.is_json() => {
            source.lines().for_each(|text| line(&crate::output::escaped(text)));
        }
        _ => context.out.document(answer),
    }
}

/// Sends a document to the place that its own name says. `key` is the member with the name; `agents` are whom a policy
/// is for that doesn't say so, separated by commas.
pub(crate) async fn apply(
    client: &Client,
    collection: &str,
    key: &str,
    file: &Path,
    agents: Option<&str>,
) -> Result<Value, Failure> {
    let bytes = input::file(file)?;
    let shown = file.display().to_string();
    let stated = if key == "policy" { Policy::name_of(&bytes, Some(&shown)) } else { None };
    let name = match stated {
        Some(name) => name,
        None => name_of(&bytes, key, &shown)?,
    };
    let agents = query(&[("agents", agents.map(str::to_owned))]);
    let path = format!("/v1/{collection}/{}{agents}", encoded(&name));
    let answer = client.send(Method::PUT, &path, &[], Body::Yaml(&bytes)).await?;
    if answer.is_success() {
        return Ok(answer.body);
    }
    Err(Failure::Refused(format!("`{shown}` is refused: {}", answer.refusal())))
}

/// The name that a document states. What else is wrong with it is for the server to say.
fn name_of(bytes: &[u8], key: &str, file: &str) -> Result<String, Failure> {
    let text = String::from_utf8_lossy(bytes);
    let json = placet_core::json::parse(bytes).ok();
    if let Some(name) = json.as_ref().and_then(|value| value.get(key)).and_then(Value::as_str) {
        return Ok(name.to_owned());
    }
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'));
    let value =
        value.map(|value| value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']));
    value
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| Failure::Refused(format!("`{file}` states no name: it needs a line `{key}: NAME`")))
}

fn check(context: &Context, files: &[PathBuf], services: &[PathBuf]) -> Result<Exit, Failure> {
    let mut found = Vec::new();
    let loaded = self::services(services, &mut found)?;
    let services: Vec<&Service> = loaded.iter().collect();
    let mut good = Vec::new();
    for file in files {
        match Policy::load(&input::file(file)?, Some(&file.display().to_string()), 1, &services) {
            Ok((policy, warnings)) => {
                good.push(format!(
                    "{}: policy {} with {} rules",
                    file.display(),
                    policy.name(),
                    policy.rule_names().len()
                ));
                found.extend(warnings);
            }
            Err(errors) => found.extend(errors),
        }
    }
    Ok(report(context, &found, &good))
}

/// Prints what was found, errors and warnings alike, and says whether there was no error.
pub(crate) fn report(context: &Context, found: &[Diagnostic], good: &[String]) -> Exit {
    let failed = found.iter().any(Diagnostic::is_error);
    if context.global.json {
        context.out.document(&json!({"valid": !failed, "diagnostics": found}));
    } else {
        // Compilers print for people also where their output is piped.
        for diagnostic in found {
            line(&format!("{}\n", diagnostic.render()));
        }
        good.iter().for_each(|text| line(&crate::output::escaped(text)));
    }
    if failed { Exit::Negative } else { Exit::Done }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_read_from_the_document() {
        let name = |text: &str| name_of(text.as_bytes(), "policy", "f");
        assert_eq!(name("# x\npolicy: desk # the desk\n").unwrap(), "desk");
        assert_eq!(name("policy: \"desk\"\r\n").unwrap(), "desk");
        assert_eq!(name(r#"{"policy": "desk"}"#).unwrap(), "desk");
        assert!(name("rules: []\n  policy: x\n").is_err() && name("policy:\n").is_err());
    }
}
