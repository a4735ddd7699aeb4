//! `placet intent`: how well it is told which actions fit their purpose.
//!
//! Invariant: measures what a server would do, with the same checks, the same question and the same reading of answers.

use crate::{
    cli::Context,
    exit::{Exit, Failure},
    input, judge_file,
    output::line,
};
use clap::{Args, Subcommand};
use placet_core::{
    diagnostic::Diagnostic,
    intent::{
        Fit,
        case::{self, Case, Measure, Outcome},
    },
};
use placet_server::intent::{Judge, Opinion};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure the checks, and a judge behind them, on labelled cases
    Evaluate(Evaluate),
}

/// A measurement.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --judge only what can be checked without asking anybody is measured.\n\nExit codes: 0 within the thresholds; 1 beyond one of them; 2 something could not be read.\n\nExamples:\n  placet intent evaluate examples/intent/cases.yaml\n  placet intent evaluate examples/intent/cases.yaml --judge judge.yaml --max-unsafe-allow 0.02 --max-false-deny 0.2"
)]
pub(crate) struct Evaluate {
    /// The cases
    #[arg(value_name = "FILE")]
    cases: PathBuf,
    /// The judge, as for `placet serve --intent-judge`
    #[arg(long, value_name = "FILE")]
    judge: Option<PathBuf>,
    /// Exit with 1 where more of what doesn't fit would be allowed, as a rate from 0 to 1
    #[arg(long, value_name = "RATE", value_parser = rate)]
    max_unsafe_allow: Option<f64>,
    /// Exit with 1 where more of what fits would be denied, as a rate from 0 to 1
    #[arg(long, value_name = "RATE", value_parser = rate)]
    max_false_deny: Option<f64>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.0..=1.0).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is no rate from 0 to 1"))
}

/// What became of one case.
struct Told<'a> {
    case: &'a Case,
    outcome: Outcome,
    why: String,
    took: Option<Duration>,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Evaluate(evaluate) => evaluate.run(context).await,
        }
    }
}

impl Evaluate {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let text = input::text_file(&self.cases, "file of cases")?;
        let shown = self.cases.display().to_string();
        let cases = case::read(text.as_bytes(), Some(&shown)).map_err(|found| {
            let all: Vec<String> = found.iter().map(Diagnostic::render).collect();
            Failure::unreadable(all.join("\n"))
        })?;
        let judge = self.judge.as_deref().map(|path| judge_file::open(path, &[])).transpose()?;
        let mut told = Vec::with_capacity(cases.len());
        for case in &cases {
            told.push(tell(case, judge.as_ref()).await);
        }
        let measure = measured(told.iter());
        let mut kinds: BTreeMap<&str, Vec<&Told<'_>>> = BTreeMap::new();
        for one in &told {
            kinds.entry(one.case.kind.as_str()).or_default().push(one);
        }
        let kinds: Vec<(&str, Measure)> =
            kinds.into_iter().map(|(kind, told)| (kind, measured(told.into_iter()))).collect();
        let wrong: Vec<&Told<'_>> =
            told.iter().filter(|told| told.case.fits != (told.outcome == Outcome::Allowed)).collect();
        if context.out.is_json() {
            print_json(&measure, &kinds, &wrong)?;
        } else {
            print_table(context, &measure, &kinds, &wrong);
        }
        let beyond = self.max_unsafe_allow.is_some_and(|most| measure.unsafe_allow_rate > most)
            || self.max_false_deny.is_some_and(|most| measure.false_deny_rate > most);
        Ok(if beyond { Exit::Negative } else { Exit::Done })
    }
}

/// Checks a case, and asks the judge about what is left.
async fn tell<'a>(case: &'a Case, judge: Option<&Judge>) -> Told<'a> {
    match (case.checked(), judge) {
        (Fit::Fits, None) => Told { case, outcome: Outcome::Allowed, why: "fits".to_owned(), took: None },
        (Fit::Fits, Some(judge)) => {
            let opinion: Opinion = judge.ask(None, &case.about()).await;
            let outcome = match &opinion.said {
                Ok(_) if opinion.fits() => Outcome::Allowed,
                Ok(_) => Outcome::Refused,
                Err(_) => Outcome::Failed,
            };
            Told { case, outcome, why: opinion.word().to_owned(), took: Some(opinion.took) }
        }
        (Fit::NoPurpose, _) => {
            Told { case, outcome: Outcome::Refused, why: "no_purpose".to_owned(), took: None }
        }
        (Fit::Misfit(misfit), _) => {
            let of = misfit.parameter().map(|name| format!(" {name}")).unwrap_or_default();
            Told { case, outcome: Outcome::Refused, why: format!("{}{of}", misfit.as_str()), took: None }
        }
    }
}

fn measured<'a>(told: impl Iterator<Item = &'a Told<'a>> + Clone) -> Measure {
    let took: Vec<Duration> = told.clone().filter_map(|told| told.took).collect();
    Measure::of(told.map(|told| (told.case.fits, told.outcome)), &took)
}

fn print_json(measure: &Measure, kinds: &[(&str, Measure)], wrong: &[&Told<'_>]) -> Result<(), Failure> {
    let unwritten = |error| Failure::unreadable(format!("the measurement can't be written: {error}"));
    let mut answer = serde_json::to_value(measure).map_err(unwritten)?;
    let kinds: Vec<Value> = kinds
        .iter()
        .map(|(kind, measure)| {
            serde_json::to_value(measure).map(|measure| json!({"kind": kind, "measure": measure}))
        })
        .collect::<Result<_, _>>()
        .map_err(unwritten)?;
    let wrong: Vec<Value> = wrong
        .iter()
        .map(|told| {
            json!({"name": told.case.name, "kind": told.case.kind, "fits": told.case.fits, "outcome": told.outcome, "why": told.why})
        })
        .collect();
    if let Value::Object(members) = &mut answer {
        members.insert("kinds".to_owned(), kinds.into());
        members.insert("wrong".to_owned(), wrong.into());
    }
    line(&serde_json::to_string_pretty(&answer).map_err(unwritten)?);
    Ok(())
}

fn print_table(context: &Context, measure: &Measure, kinds: &[(&str, Measure)], wrong: &[&Told<'_>]) {
    let row = |kind: &str, measure: &Measure| {
        json!({"kind": kind, "cases": measure.cases, "right": measure.right,
            "accuracy": percent(measure.accuracy),
            "unsafe allows": format!("{} of {} ({})", measure.unsafe_allows, measure.off_purpose, percent(measure.unsafe_allow_rate)),
            "false denies": format!("{} of {} ({})", measure.false_denies, measure.fitting, percent(measure.false_deny_rate)),
            "failures": measure.failures})
    };
    let rows: Vec<Value> =
        kinds.iter().map(|(kind, measure)| row(kind, measure)).chain([row("all", measure)]).collect();
    let columns = ["kind", "cases", "right", "accuracy", "unsafe allows", "false denies", "failures"];
    context.out.list(&Value::Array(rows), "cases", &columns);
    if let (Some(p50), Some(p95)) = (measure.p50_ms, measure.p95_ms) {
        line(&format!(
            "{} questions; half answered within {p50} ms, 95 of 100 within {p95} ms",
            measure.asked
        ));
    }
    for told in wrong {
        let was = if told.case.fits { "fits, and was refused" } else { "does not fit, and was allowed" };
        context.out.sentence(&format!("{}: {was} ({})", told.case.name, told.why));
    }
}

fn percent(rate: f64) -> String {
    format!("{:.1} %", rate * 100.0)
}
