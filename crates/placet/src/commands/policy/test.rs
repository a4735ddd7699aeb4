//! `placet policy test`: tests of policies, without a server.

mod replay;
mod report;

use super::{report as diagnostics, suites};
use crate::{
    cli::Context,
    exit::{Exit, Failure},
    output::{line, note},
};
use clap::Args;
use placet_core::policy::case::Coverage;
use report::{Ran, Report};
use std::path::PathBuf;

const AFTER: &str = "\
Exit code 0: every test passed, or nothing would be decided otherwise; 1: a test failed, something would be, or
something is wrong with a file; 2: something can't be read.

Examples:
  placet policy test policies
  placet policy test policies/support-desk.test.yaml --coverage --min-coverage 90 --junit report.xml
  placet policy test --replay new/support-desk.yaml";

/// Which tests, and what is told of them.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Test {
    /// Files of tests, or directories with files named `….test.yaml`; with `--replay` files of policies
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Tell which rules, conditions and limits no test has seen
    #[arg(long)]
    coverage: bool,
    /// Fail where tests have seen less than this
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Decide what is in the server's record again, by these policies and the others that are in force
    #[arg(long, conflicts_with_all = ["coverage", "min_coverage", "junit"])]
    replay: bool,
    /// How many entries of the record, the newest
    #[arg(long, value_name = "N", requires = "replay", default_value_t = 10_000)]
    last: u64,
}

pub(crate) async fn run(asked: &Test, context: &Context) -> Result<Exit, Failure> {
    if asked.replay {
        return replay::run(&asked.paths, asked.last, context).await;
    }
    let read = suites::read(&asked.paths)?;
    if read.found.iter().any(placet_core::diagnostic::Diagnostic::is_error) {
        return Ok(diagnostics(context, &read.found, &[]));
    }
    // Beside the results, so that these stay one document.
    read.found.iter().for_each(|warning| note(&format!("{}\n", warning.render())));
    let mut ran = Vec::new();
    let mut coverage: Option<Coverage> = None;
    for tests in &read.tests {
        let mut seen = Coverage::of(tests.suite.policies());
        for case in tests.suite.cases() {
            let decided = case.decide(tests.suite.policies());
            seen.add(&decided.trace);
            ran.push(Ran { file: &tests.file, differences: case.differences(&decided), decided, case });
        }
        match &mut coverage {
            Some(all) => all.merge(seen),
            None => coverage = Some(seen),
        }
    }
    let least = asked.min_coverage;
    let coverage = coverage.filter(|_| asked.coverage || least.is_some());
    let report = Report { ran, coverage, least };
    if let Some(path) = &asked.junit {
        std::fs::write(path, report.junit()).map_err(|error| {
            Failure::unreadable(format!("`{}` can't be written: {error}", path.display()))
        })?;
    }
    if context.out.is_json() {
        context.out.document(&report.document());
    } else {
        report.lines().iter().for_each(|text| line(&crate::output::escaped(text)));
    }
    Ok(if report.is_good() { Exit::Done } else { Exit::Negative })
}
