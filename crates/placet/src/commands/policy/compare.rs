//! `placet policy compare`: whether policies allow anything that others don't.
//!
//! Invariant: without a server. Code 0 is said only where it is certain.

use super::report;
use crate::{
    cli::Context,
    exit::{Exit, Failure},
    input,
    output::{escaped, line},
    policy_files,
};
use clap::Args;
use placet_core::{
    policy::{Comparison, Policy, compare_with},
    service::Service,
};
use placet_server::clock::Clock;
use serde_json::json;
use std::{path::PathBuf, sync::Arc};

const AFTER: &str = "\
Exit code 0: NEW allows nothing that OLD doesn't, and asks for as many limits and approvals; 1: it does, and an action is
printed that shows it; 2: that can't be told, and it is printed why, or something could not be read.
What counts is all that is in force for an agent: compare directories, or several files, each with all of its policies.

Examples:
  placet policy compare support-desk.yaml new/support-desk.yaml
  placet policy compare policies/ new/policies/ --services services/
  placet policy compare desk.yaml,guards.yaml new/desk.yaml,guards.yaml --json";

/// What is compared.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Compare {
    /// Policies: a file, a directory of them, or several, with commas between them
    #[arg(value_name = "OLD", required = true, value_delimiter = ',', num_args = 1)]
    old: Vec<PathBuf>,
    /// The policies that are to allow nothing more
    #[arg(value_name = "NEW", required = true, value_delimiter = ',', num_args = 1)]
    new: Vec<PathBuf>,
    /// Services that both are read with: of the actions that they declare only requests that they let through are looked
    /// at. Files, or directories of them; can be repeated
    #[arg(long = "services", value_name = "FILE|DIR", value_delimiter = ',')]
    services: Vec<PathBuf>,
}

pub(super) fn run(asked: &Compare, context: &Context) -> Result<Exit, Failure> {
    let mut errors = Vec::new();
    let mut services: Vec<Service> = Vec::new();
    for file in files(&asked.services)? {
        match Service::parse(&input::file(&file)?, Some(&file.display().to_string())) {
            Ok((service, _)) => services.push(service),
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        report(context, &errors, &[]);
        return Ok(Exit::Undecided);
    }
    let known: Vec<&Service> = services.iter().collect();
    let mut load = |paths: &[PathBuf]| -> Result<Vec<Arc<Policy>>, Failure> {
        let mut policies: Vec<Arc<Policy>> = Vec::new();
        for file in files(paths)? {
            let shown = file.display().to_string();
            match Policy::load(&input::file(&file)?, Some(&shown), 1, &known) {
                Ok((policy, _)) => {
                    if let Some(other) = policies.iter().find(|other| other.name() == policy.name()) {
                        return Err(Failure::unreadable(format!(
                            "`{shown}` is a policy `{}`, as another file beside it is",
                            other.name()
                        )));
                    }
                    policies.push(Arc::new(policy));
                }
                Err(found) => errors.extend(found),
            }
        }
        Ok(policies)
    };
    let (old, new) = (load(&asked.old)?, load(&asked.new)?);
    if !errors.is_empty() {
        report(context, &errors, &[]);
        return Ok(Exit::Undecided);
    }
    let found = compare_with(&old, &new, &known, Clock::System.now());
    let (document, exit) = match &found {
        Comparison::NotWider => (json!({"result": "not_wider"}), Exit::Done),
        Comparison::Wider(wider) => (
            json!({"result": "wider", "how": wider.how, "witness": wider.witness,
                   "allowed_by": wider.allowed_by, "denied_for": wider.denied_for}),
            Exit::Negative,
        ),
        Comparison::Unknown(why) => (json!({"result": "unknown", "why": why}), Exit::Undecided),
    };
    if context.global.json {
        context.out.document(&document);
        return Ok(exit);
    }
    match &found {
        Comparison::NotWider => {
            line("not wider: nothing is allowed that was not, and with as many limits and approvals")
        }
        Comparison::Wider(wider) => {
            line("wider: there is an action that is");
            wider.to_string().lines().for_each(|text| line(&escaped(text)));
        }
        Comparison::Unknown(why) => {
            line("unknown: it can't be told");
            why.iter().for_each(|why| line(&escaped(&format!("  - {why}"))));
        }
    }
    Ok(exit)
}

/// The files, with those of directories by name.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unread = |error| Failure::unreadable(format!("`{}` can't be read: {error}", path.display()));
        let mut within = policy_files::within(path).map_err(unread)?;
        if within.is_empty() {
            return Err(Failure::unreadable(format!(
                "`{}` has no `.yaml`, `.yml` or `.json`",
                path.display()
            )));
        }
        files.append(&mut within);
    }
    Ok(files)
}
