//! The decisions of the record, decided again by a new version of a policy: which would have been others.
//!
//! What was done is charged as it goes, as the ledger would have charged it by the new version.
//!
//! Invariant: as of `recorded`: nothing is left out silently.

use super::super::{
    diff::{question, short},
    recorded::{InForce, Recorded, Step, too_little},
    report as diagnostics,
};
use crate::{
    cli::Context,
    exit::{Exit, Failure},
    input,
    output::{escaped, line, note},
};
use placet_core::{
    policy::{
        Policy, PolicySet,
        case::{Incomplete, Outcome},
    },
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
    let mut found = Recorded::read(&client, last, &in_force.services).await?;
    let mut history = found.history();
    let mut changes: Vec<Value> = Vec::new();
    for step in std::mem::take(&mut found.steps) {
        let entry = match step {
            Step::Asked(entry) => entry,
            Step::Missed(missed) => {
                history.miss(missed);
                continue;
            }
            Step::Ended { action, given_back } => {
                history.ended(&action, given_back);
                continue;
            }
        };
        let (decided, whole) = history.decide(&entry.case, &policies);
        entry.charge(&mut history, &decided);
        let outcome = Outcome::of(&decided);
        let now = json!(outcome.decision);
        if now == entry.decided.as_str() {
            continue;
        }
        if entry.limited && !whole {
            found.leave_out(
                "it was denied for `limit_exceeded`, and of its limits not all that was used is known",
            );
            continue;
        }
        changes.push(json!({
            "index": entry.index, "asked": question(&entry.test), "decided": entry.decided, "now": outcome,
        }));
    }
    let incomplete: Vec<&Incomplete> = history.incomplete().collect();
    if context.out.is_json() {
        let document = json!({"replayed": found.asked, "left_out": found.left_out, "incomplete": incomplete, "changes": changes});
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
        for one in incomplete {
            note(&escaped(&too_little(one)));
        }
        line(&format!("{} of {} would be decided otherwise", changes.len(), found.asked));
    }
    Ok(if changes.is_empty() { Exit::Done } else { Exit::Negative })
}
