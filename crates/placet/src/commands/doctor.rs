//! `placet doctor`: looks at a data directory, its database and its server, and says what to do about what is not well.
//!
//! Invariant: it changes nothing, and prints no secret.

mod checks;

use crate::{
    cli::Context,
    client::{Body, Client},
    data::{self, Installation, is_held},
    exit::{Exit, Failure},
    output::line,
};
use clap::Args;
use placet_core::time::Timestamp;
use placet_server::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// How far two clocks may be apart: tokens live for minutes.
const CLOCKS: i64 = 30;

const AFTER: &str = "\
Exit code 0 where nothing fails (warnings included), 1 where something does. With --url only the server is looked at.

A node whose data is in PostgreSQL is looked at there: give --database or PLACET_DATABASE, as to `placet serve`.

Examples:
  placet doctor --data /var/lib/placet
  PLACET_DATABASE=postgres://placet:secret@db.example/placet placet doctor --data /var/lib/placet
  placet doctor --url https://placet.example --json";

/// Check an installation.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Doctor {
    /// The file with the vault key, where it is kept outside of the data directory
    #[arg(long, value_name = "FILE")]
    vault_key_file: Option<PathBuf>,
    /// The file that says where key services are, where one wraps the vault key [env: PLACET_VAULT_SERVICE]
    #[arg(long, value_name = "FILE")]
    vault_service: Option<PathBuf>,
    /// The PostgreSQL database of the node; with a password rather [env: PLACET_DATABASE]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// What was found.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    level: Level,
    found: String,
    /// What to do.
    remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), remedy: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn fail(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Doctor {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut findings = Vec::new();
        if context.global.url.is_some() {
            findings.extend(server(&context.server()?).await);
        } else {
            let directory = context.global.data.as_deref().unwrap_or(Path::new(data::DEFAULT));
            if !directory.is_dir() {
                return Err(Failure::unreadable(format!(
                    "there is no data directory `{}`; name it with --data, or a server with --url",
                    directory.display()
                )));
            }
            let vault = context.vault(self.vault_key_file.as_deref(), self.vault_service.as_deref())?;
            let installation = Installation::new(directory, context.database(self.database.as_deref())?);
            findings.extend(checks::directory(&installation));
            findings.extend(checks::keys(&installation, &vault));
            findings.extend(checks::database(&installation));
            findings.push(checks::user(directory));
            match std::fs::read_to_string(directory.join(data::ADDRESS)) {
                Ok(address) if is_held(directory) => {
                    findings.extend(server(&Client::new(address.trim(), None)?).await);
                }
                _ if is_held(directory) => findings.push(Finding::warn(
                    "server",
                    "it is starting or stopping",
                    "look again in a moment; its log says what it is doing",
                )),
                _ => findings.push(Finding::warn(
                    "server",
                    "no server runs on this directory",
                    "start it with `placet serve`",
                )),
            }
        }
        print(context, &findings);
        let fails = findings.iter().any(|finding| finding.level == Level::Fail);
        Ok(if fails { Exit::Negative } else { Exit::Done })
    }
}

/// Whether the server answers and is ready, and what its clock says.
async fn server(client: &Client) -> Vec<Finding> {
    let before = Clock::System.now();
    let answer = match client.send(Method::GET, "/readyz", &[], Body::Empty).await {
        Ok(answer) => answer,
        Err(failure) => {
            return vec![Finding::fail(
                "server",
                failure.to_string(),
                "start it, or look at its log and at what stands between",
            )];
        }
    };
    let after = Clock::System.now();
    let mut findings = vec![match answer.body.get("status").and_then(Value::as_str) {
        Some("ready") => Finding::ok("server", format!("{} is ready", client.base())),
        Some(_) => Finding::fail(
            "server",
            format!("{} is not ready: {}", client.base(), answer.body),
            "the log of the server says why",
        ),
        None => Finding::fail(
            "server",
            format!("{} answers {} and no report", client.base(), answer.status),
            "is it Placet that answers there?",
        ),
    }];
    if let Some(count @ 1..) = answer.body.get("upstreams_not_answering").and_then(Value::as_u64) {
        findings.push(Finding::warn(
            "upstreams",
            format!(
                "{count} of the upstreams did not answer of late, and are tried again by one call at a time"
            ),
            "`placet service list --json` says which: see whether they are up and reachable from the server",
        ));
    }
    let at = answer.body.get("at").and_then(|at| serde_json::from_value::<Timestamp>(at.clone()).ok());
    if let Some(at) = at {
        findings.push(clock(at, before, after));
    }
    findings
}

/// Compares a clock that was read between two moments of ours.
fn clock(theirs: Timestamp, before: Timestamp, after: Timestamp) -> Finding {
    let seconds = |from: Timestamp, to: Timestamp| (to.as_micros() - from.as_micros()) / 1_000_000;
    let apart = if theirs < before { seconds(theirs, before) } else { seconds(after, theirs).max(0) };
    if apart > CLOCKS {
        Finding::fail(
            "clock",
            format!("the server's clock and this one are {apart} seconds apart"),
            "let both follow the same time service: tokens live for minutes",
        )
    } else {
        Finding::ok("clock", "the server's clock agrees with this one")
    }
}

fn print(context: &Context, findings: &[Finding]) {
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    if context.out.is_json() {
        let listed: Vec<Value> = findings
            .iter()
            .map(|finding| {
                json!({"check": finding.check, "status": finding.level.word(), "found": finding.found,
                    "remedy": finding.remedy})
            })
            .collect();
        return line(&format!("{:#}", json!({"status": worst.word(), "checks": listed})));
    }
    for finding in findings {
        context.out.sentence(&format!("{:4}  {:10}  {}", finding.level.word(), finding.check, finding.found));
        if let Some(remedy) = &finding.remedy {
            context.out.sentence(&format!("                  {remedy}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_told() {
        let at = Timestamp::from_seconds;
        assert_eq!(clock(at(100), at(99), at(101)).level, Level::Ok);
        assert_eq!(clock(at(80), at(99), at(101)).level, Level::Ok);
        assert_eq!(clock(at(60), at(99), at(101)).level, Level::Fail);
        assert_eq!(clock(at(200), at(99), at(101)).level, Level::Fail);
    }
}
