//! `placet policy explain`: one decision as a tree, of a test without a server, or of an agent at the server.
//!
//! Invariant: both are told by one function from what the judge said while it judged.

use super::{report as diagnostics, suites};
use crate::{
    cli::Context,
    client::Body,
    commands::{Members, object},
    exit::{Exit, Failure},
    output::{escaped, line},
};
use clap::Args;
use placet_core::judge::Trace;
use reqwest::Method;
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::path::PathBuf;

const AFTER: &str = "\
Of a test, without a server, or of an agent at the server, as an administrator (a dry run: nothing is charged).

Examples:
  placet policy explain policies/support-desk.test.yaml --case 'too large'
  placet policy explain --agent support-bot --action refunds.create --params '{\"order_id\": \"7\", \"amount\": 750}'";

/// What is to be explained.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Explain {
    /// A file of tests
    #[arg(value_name = "FILE", required_unless_present = "action", conflicts_with = "action")]
    file: Option<PathBuf>,
    /// The name of one of its tests, where it has several
    #[arg(long, value_name = "NAME", conflicts_with = "action")]
    case: Option<String>,
    /// The action's name
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// As this agent (handle or id)
    #[arg(long, requires = "action")]
    agent: Option<String>,
    /// Within this task (id or label)
    #[arg(long, requires = "action")]
    task: Option<String>,
    /// On behalf of the user with this id or name
    #[arg(long, value_name = "ID", requires = "action")]
    user: Option<String>,
    /// What it would act on, a URI; from the parameters where the service says how
    #[arg(long, value_name = "URI", requires = "action")]
    resource: Option<String>,
    /// Its parameters, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    params: String,
    /// What upstream would hold (`resource.NAME`), a JSON object; it is not asked
    #[arg(long, value_name = "JSON", requires = "action")]
    facts: Option<String>,
}

pub(crate) async fn run(asked: Explain, context: &Context) -> Result<Exit, Failure> {
    match &asked.file {
        Some(file) => of_test(file.clone(), asked.case.as_deref(), context),
        None => at_server(asked, context).await,
    }
}

fn of_test(file: PathBuf, name: Option<&str>, context: &Context) -> Result<Exit, Failure> {
    let read = suites::read(&[file])?;
    let Some(tests) = read.tests.first().filter(|_| read.tests.len() == 1) else {
        if read.found.is_empty() {
            return Err(Failure::unreadable("name one file of tests"));
        }
        return Ok(diagnostics(context, &read.found, &[]));
    };
    let cases = tests.suite.cases();
    let names = || cases.iter().map(|case| format!("`{}`", case.name)).collect::<Vec<_>>().join(", ");
    let case = match (name, cases) {
        (Some(name), _) => tests.suite.find(name).ok_or_else(|| {
            Failure::unreadable(format!("`{}` has no test `{name}`; it has {}", tests.file, names()))
        })?,
        (None, [only]) => only,
        (None, _) => {
            let message = format!("`{}` has several tests; name one with `--case`: {}", tests.file, names());
            return Err(Failure::unreadable(message));
        }
    };
    let decided = case.decide(tests.suite.policies());
    let mut document = json!(decided);
    if let Value::Object(members) = &mut document {
        members.insert("trace".into(), json!(decided.trace));
    }
    told(context, &document, &decided.trace);
    Ok(Exit::Done)
}

async fn at_server(asked: Explain, context: &Context) -> Result<Exit, Failure> {
    let user = asked.user.map(|id| Members::default().set("id", id).done());
    let facts = asked.facts.map(|facts| object("--facts", &facts)).transpose()?;
    let body = Members::default()
        .set("action", asked.action.unwrap_or_default())
        .maybe("resource", asked.resource)
        .maybe("facts", facts)
        .set("params", object("--params", &asked.params)?)
        .set("dry_run", true)
        .set("explain", true)
        .maybe("agent", asked.agent)
        .maybe("task", asked.task)
        .maybe("user", user)
        .done();
    let client = context.client()?;
    let answer = client.send(Method::POST, "/v1/decisions", &[], Body::Json(&body)).await?.success()?;
    // What was refused before any rule was asked has no tree.
    let trace = match answer.get("trace") {
        None => Trace::default(),
        Some(trace) => Trace::deserialize(trace)
            .map_err(|_| Failure::unreadable("the server's explanation is of another version"))?,
    };
    told(context, &answer, &trace);
    Ok(Exit::Done)
}

/// The tree for a person, the whole answer as JSON.
fn told(context: &Context, answer: &Value, trace: &Trace) {
    if context.out.is_json() {
        return context.out.document(answer);
    }
    let decision = answer.get("decision").and_then(Value::as_str).unwrap_or_default();
    for text in trace.render(decision, &reasons(answer)).lines() {
        line(&escaped(text));
    }
}

/// Each reason's code and rule.
fn reasons(answer: &Value) -> Vec<(String, Option<String>)> {
    let reasons = answer.get("reasons").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |reason: &Value, member: &str| reason.get(member).and_then(Value::as_str).map(str::to_owned);
    reasons.iter().filter_map(|reason| Some((text(reason, "code")?, text(reason, "rule")))).collect()
}
