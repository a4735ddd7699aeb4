//! `placet policy sync`: a directory of policies, put in force as a whole.
//!
//! Invariant: all of them or none.

use crate::{
    cli::Context,
    client::Body,
    exit::{Exit, Failure},
    input, policy_files,
};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

const AFTER: &str = "\
All files that end with .yaml, .yml or .json, but for tests (.test.yaml), are sent together. One bad file, and nothing changes.

Examples:
  placet policy sync policies --dry-run
  placet policy sync policies --prune";

/// Put all policies of a directory in force, or none
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Sync {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Take policies out of force that have no file there
    #[arg(long)]
    prune: bool,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

impl Sync {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let shown = self.directory.display();
        let unreadable = |error| Failure::unreadable(format!("`{shown}` can't be listed: {error}"));
        let files = policy_files::within(&self.directory).map_err(unreadable)?;
        if files.is_empty() {
            return Err(Failure::unreadable(format!("there are no policies in `{shown}`")));
        }
        let mut policies = Vec::new();
        for file in &files {
            let source = String::from_utf8(input::file(file)?)
                .map_err(|_| Failure::unreadable(format!("`{}` is not UTF-8", file.display())))?;
            policies.push(json!({"file": file.display().to_string(), "source": source}));
        }
        let others = if self.prune { "leave" } else { "stay" };
        let asked = json!({"policies": policies, "others": others, "dry_run": self.dry_run});
        let answer = context.client()?.send(Method::PUT, "/v1/policies", &[], Body::Json(&asked)).await?;
        let answer = answer.success()?;
        if context.out.is_json() {
            context.out.document(&answer);
            return Ok(Exit::Done);
        }
        let all = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let name = |one: &Value| {
            let name = one.get("policy").and_then(Value::as_str).unwrap_or_default();
            format!("{name}@{}", one.get("version").and_then(Value::as_u64).unwrap_or_default())
        };
        let (would, would_not) = if self.dry_run {
            ("would be in force", "would no longer be in force")
        } else {
            ("is in force", "is no longer in force")
        };
        let mut unchanged = 0_usize;
        for one in all("policies") {
            if one.get("changed").and_then(Value::as_bool) == Some(true) {
                context.out.sentence(&format!("{} {would}", name(&one)));
            } else {
                unchanged += 1;
            }
        }
        for one in all("removed") {
            context.out.sentence(&format!("{} {would_not}", name(&one)));
        }
        context.out.sentence(&format!("{unchanged} of {} are as they were", files.len()));
        Ok(Exit::Done)
    }
}
