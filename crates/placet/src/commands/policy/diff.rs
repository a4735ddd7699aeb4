//! `placet policy diff`: which actions two versions of a policy see differently.
//!
//! Invariant: it tells of differences that it saw. That it saw none is no proof that there is none.

use super::{
    recorded::{InForce, Recorded, Step, too_little},
    report as diagnostics, suites,
};
use crate::{
    cli::Context,
    client::{Client, encoded, query},
    exit::{Exit, Failure},
    input,
    output::{escaped, line, note},
};
use clap::Args;
use placet_core::{
    diagnostic::Diagnostic,
    judge::Verdict,
    policy::{
        Policy, PolicySet,
        case::{Case, Incomplete, Outcome, probes},
    },
    service::Service,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

const AFTER: &str = "\
What is compared: actions made from what both versions say (the values that conditions compare with and those beside
them, resources of each pattern and of none, the ends of hours); the tests of files; the decisions of the record.
Exit code 0: no outcome changes; 1: some do.

Examples:
  placet policy diff support-desk.yaml new/support-desk.yaml --tests policies
  placet policy diff support-desk@3 support-desk.yaml --service services/shop.yaml --record";

/// The most changes that a person is shown of each kind.
const SHOWN: usize = 20;

/// Which versions, and on what they are compared.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Diff {
    /// The one before: a file, or the name of a policy at the server, with `@VERSION` for an older one
    #[arg(value_name = "A")]
    before: String,
    /// The one after
    #[arg(value_name = "B")]
    after: String,
    /// A service that both are read with; can be repeated
    #[arg(long = "service", value_name = "FILE")]
    services: Vec<PathBuf>,
    /// Tests whose actions are compared, with the other policies that they name; can be repeated
    #[arg(long = "tests", value_name = "PATH")]
    tests: Vec<PathBuf>,
    /// Compare the decisions of the server's record, beside the other policies that are in force
    #[arg(long)]
    record: bool,
    /// How many entries of the record, the newest
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    last: u64,
}

/// What is said beside the changes.
#[derive(Default)]
struct Beside {
    /// Of the record, by why.
    left_out: BTreeMap<String, u64>,
    /// Limits of which not all that was used is known.
    incomplete: BTreeSet<Incomplete>,
}

/// An action whose outcome changes.
struct Change {
    /// `generated`, `test` or `record`.
    from: &'static str,
    /// The test's name, or the entry's place in the log.
    name: Option<String>,
    /// The question.
    asked: Value,
    before: Outcome,
    after: Outcome,
}

pub(crate) async fn run(asked: Diff, context: &Context) -> Result<Exit, Failure> {
    let services = match services(&asked.services)? {
        Ok(services) => services,
        Err(found) => return Ok(diagnostics(context, &found, &[])),
    };
    let known: Vec<&Service> = services.iter().collect();
    let client = if asked.record { Some(context.client()?) } else { None };
    let mut versions = Vec::new();
    for what in [&asked.before, &asked.after] {
        let source = source(what, context).await?;
        match Policy::load(&source, Some(what), 1, &known) {
            Ok((policy, _)) => versions.push(Arc::new(policy)),
            Err(found) => return Ok(diagnostics(context, &found, &[])),
        }
    }
    let [before, after] = versions.as_slice() else { return Ok(Exit::Done) };
    let mut compared: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut changes = generated((before, after), &services, &mut compared);
    let read = suites::read(&asked.tests)?;
    if read.found.iter().any(Diagnostic::is_error) {
        return Ok(diagnostics(context, &read.found, &[]));
    }
    for tests in &read.tests {
        let with = |policy: &Arc<Policy>| {
            let others = tests.suite.policies().policies().iter();
            let others = others.filter(|other| other.name() != before.name() && other.name() != after.name());
            PolicySet::new(others.chain([policy]).cloned().collect())
        };
        let (one, other) = (with(before), with(after));
        for case in tests.suite.cases() {
            *compared.entry("test").or_default() += 1;
            let Some((before, after)) = case.change(&one, &other) else { continue };
            let asked =
                json!({"action": case.action().map(|action| action.name.as_str()), "file": tests.file});
            changes.push(Change { from: "test", name: Some(case.name.clone()), asked, before, after });
        }
    }
    let mut beside = Beside::default();
    if let Some(client) = &client {
        beside = recorded((before, after), client, asked.last, &mut compared, &mut changes).await?;
    }
    tell(context, &compared, &beside, &changes);
    Ok(if changes.is_empty() { Exit::Done } else { Exit::Negative })
}

/// A file, or a policy at the server.
async fn source(what: &str, context: &Context) -> Result<Vec<u8>, Failure> {
    if Path::new(what).exists() {
        return input::file(Path::new(what));
    }
    let (name, version) = match what.split_once('@') {
        Some((name, version)) => (name, Some(version.to_owned())),
        None => (what, None),
    };
    let path = format!("/v1/policies/{}{}", encoded(name), query(&[("version", version)]));
    let shown = context.client()?.read(&path).await?;
    Ok(shown.get("source").and_then(Value::as_str).unwrap_or_default().as_bytes().to_vec())
}

fn services(files: &[PathBuf]) -> Result<Result<Vec<Service>, Vec<Diagnostic>>, Failure> {
    let mut services = Vec::new();
    for file in files {
        match Service::parse(&input::file(file)?, Some(&file.display().to_string())) {
            Ok((service, _)) => services.push(service),
            Err(found) => return Ok(Err(found)),
        }
    }
    Ok(Ok(services))
}

fn generated(
    (before, after): (&Arc<Policy>, &Arc<Policy>),
    services: &[Service],
    compared: &mut BTreeMap<&'static str, usize>,
) -> Vec<Change> {
    let (one, other) = (PolicySet::new(vec![before.clone()]), PolicySet::new(vec![after.clone()]));
    let mut changes = Vec::new();
    let known: Vec<&Service> = services.iter().collect();
    for probe in probes(&[before, after], &known) {
        // One that nothing fills is no action that could be asked for.
        let Ok(case) = Case::from_json(&probe, services) else { continue };
        *compared.entry("generated").or_default() += 1;
        let Some((before, after)) = case.change(&one, &other) else { continue };
        changes.push(Change { from: "generated", name: None, asked: question(&probe), before, after });
    }
    changes
}

async fn recorded(
    (before, after): (&Arc<Policy>, &Arc<Policy>),
    client: &Client,
    last: u64,
    compared: &mut BTreeMap<&'static str, usize>,
    changes: &mut Vec<Change>,
) -> Result<Beside, Failure> {
    let in_force = InForce::read(client).await?;
    let others = |policy: &Arc<Policy>| {
        let mut all = in_force.with(std::slice::from_ref(policy));
        all.retain(|other| {
            other.name() == policy.name() || (other.name() != before.name() && other.name() != after.name())
        });
        PolicySet::new(all)
    };
    let (one, other) = (others(before), others(after));
    let found = Recorded::read(client, last, &in_force.services).await?;
    let (mut first, mut second) = (found.history(), found.history());
    for step in found.steps {
        let entry = match step {
            Step::Asked(entry) => entry,
            Step::Missed(missed) => {
                first.miss(missed.clone());
                second.miss(missed);
                continue;
            }
            Step::Ended { action, given_back } => {
                first.ended(&action, given_back);
                second.ended(&action, given_back);
                continue;
            }
        };
        *compared.entry("record").or_default() += 1;
        let (decided, otherwise) = (first.decide(&entry.case, &one).0, second.decide(&entry.case, &other).0);
        entry.charge(&mut first, &decided);
        entry.charge(&mut second, &otherwise);
        let (before, after) = (Outcome::of(&decided), Outcome::of(&otherwise));
        if before != after {
            let asked = question(&entry.test);
            changes.push(Change {
                from: "record",
                name: Some(entry.index.to_string()),
                asked,
                before,
                after,
            });
        }
    }
    let incomplete = first.incomplete().chain(second.incomplete()).cloned().collect();
    Ok(Beside { left_out: found.left_out, incomplete })
}

/// What is asked in a test, and who asks.
pub(super) fn question(test: &Value) -> Value {
    let given = test.get("given").cloned().unwrap_or_default();
    let when = |member: &str| test.get("when").and_then(|when| when.get(member)).cloned();
    json!({
        "action": when("action"), "resource": when("resource"), "params": when("params"),
        "agent": given.get("agent"), "user": given.get("user"), "now": given.get("now"),
    })
}

fn tell(context: &Context, compared: &BTreeMap<&'static str, usize>, beside: &Beside, changes: &[Change]) {
    let Beside { left_out, incomplete } = beside;
    if context.out.is_json() {
        let changes = changes.iter().map(|change| {
            json!({
                "from": change.from, "name": change.name, "asked": change.asked,
                "before": change.before, "after": change.after,
            })
        });
        let changes: Vec<Value> = changes.collect();
        let document = json!({
            "compared": compared, "left_out": left_out, "incomplete": incomplete, "changes": changes,
        });
        return context.out.document(&document);
    }
    let mut kinds: BTreeMap<String, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        kinds.entry(kind(change)).or_default().push(change);
    }
    for (kind, changes) in &kinds {
        line(&context.out.strong(&format!("{kind}: {}", changes.len())));
        for change in changes.iter().take(SHOWN) {
            line(&escaped(&format!("  {}", one_line(change))));
        }
        if changes.len() > SHOWN {
            line(&format!("  and {} more", changes.len() - SHOWN));
        }
    }
    for (why, count) in left_out {
        note(&escaped(&format!("left out {count} of the record: {why}")));
    }
    for one in incomplete {
        note(&escaped(&too_little(one)));
    }
    let all: usize = compared.values().sum();
    let of: Vec<String> = compared.iter().map(|(from, count)| format!("{count} {from}")).collect();
    line(&format!("{} of {all} change their outcome ({})", changes.len(), of.join(", ")));
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Hold => "hold",
        Verdict::Deny => "deny",
    }
}

/// What changes: the decision, or what comes with it.
fn kind(change: &Change) -> String {
    let (before, after) = (&change.before, &change.after);
    if before.decision != after.decision {
        return format!("{} → {}", word(before.decision), word(after.decision));
    }
    let what = if before.limits != after.limits {
        "other limits"
    } else if before.asks != after.asks {
        "other people asked"
    } else if before.shapes != after.shapes {
        "another shape"
    } else if before.reasons == after.reasons {
        "other values of a list"
    } else {
        "other reasons"
    };
    format!("{} with {what}", word(before.decision))
}

fn one_line(change: &Change) -> String {
    let mut out = match &change.name {
        Some(name) => format!("{} {name}: {}", change.from, short(&change.asked)),
        None => short(&change.asked),
    };
    let reasons = |outcome: &Outcome| outcome.reasons.iter().copied().collect::<Vec<_>>().join(", ");
    let (before, after) = (reasons(&change.before), reasons(&change.after));
    let shaped = |outcome: &Outcome| outcome.shapes.iter().cloned().collect::<Vec<_>>().join(", ");
    let (before, after) =
        if before == after { (shaped(&change.before), shaped(&change.after)) } else { (before, after) };
    if before != after {
        let some = |text: String| if text.is_empty() { "none".to_owned() } else { text };
        // Writing to a string does not fail.
        let _ = write!(out, " ({} → {})", some(before), some(after));
    }
    out
}

/// A question on one line.
pub(super) fn short(asked: &Value) -> String {
    let text = |member: &str| match asked.get(member) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let named = |who: &str, member: &str| {
        let name = asked.get(who).and_then(|who| who.get(member)).and_then(Value::as_str);
        name.map(str::to_owned)
    };
    let mut out = format!("{} {} {}", text("action"), text("resource"), text("params")).trim_end().to_owned();
    for (word, value) in [("by", named("agent", "handle")), ("for", named("user", "name"))] {
        if let Some(value) = value {
            let _ = write!(out, " {word} {value}");
        }
    }
    out
}
