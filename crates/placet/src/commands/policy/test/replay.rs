//! The decisions of the record, decided again by a new version of a policy: which would have been others.
//!
//! Invariant: as of `recorded`: nothing is left out silently.

use super::super::{
    diff::{question, short},
    recorded::{InForce, Recorded},
    report as diagnostics,
};
use crate::{
    cli::Context,
    exit::{Exit, Failure},
    input,
    output::{escaped, line, note},
};
use placet_core::{
    policy::{Policy, PolicySet, case::Outcome},
    service::Service,
};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc};

pub(super) async fn run(files: &[PathBuf], last: u64, context: &Context) -> Result<Exit, Failure> {
    let client = context.client()?;
    let in_force = InForce::read(&client).await?;
    let services: Vec<&Service> = in_force.services.iter().collect();
    let mut new = Vec::new();
    for file in files {
        match Policy::load(&input::file(file)?, Some(&file.display().to_string()), 1, &services) {
            Ok((policy, _)) => new.push(Arc::new(policy)),
            Err(found) => return Ok(diagnostics(context, &found, &[])),
        }
    }
    let policies = PolicySet::new(in_force.with(&new));
    let found = Recorded::read(&client, last).await?;
    let mut changes: Vec<Value> = Vec::new();
    for entry in &found.entries {
        let outcome = Outcome::of(&entry.case.decide(&policies));
        let now = json!(outcome.decision);
        if now != entry.decided.as_str() {
            changes.push(json!({
                "index": entry.index, "asked": question(&entry.test), "decided": entry.decided, "now": outcome,
            }));
        }
    }
    if context.out.is_json() {
        let document =
            json!({"replayed": found.entries.len(), "left_out": found.left_out, "changes": changes});
        context.out.document(&document);
    } else {
        for change in &changes {
            let text = |pointer: &str| change.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let index = change.get("index").map(ToString::to_string).unwrap_or_default();
            let (was, now) = (text("/decided"), text("/now/decision"));
            let asked = change.get("asked").map(short).unwrap_or_default();
            line(&escaped(&format!("{was} → {now}  entry {index}: {asked}")));
        }
        for (why, count) in &found.left_out {
            note(&escaped(&format!("left out {count} of the record: {why}")));
        }
        line(&format!("{} of {} would be decided otherwise", changes.len(), found.entries.len()));
    }
    Ok(if changes.is_empty() { Exit::Done } else { Exit::Negative })
}
