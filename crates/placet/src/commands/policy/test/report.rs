//! What is told of tests that were run: JSON, lines for people, JUnit's XML.
//!
//! Invariant: the same tests give the same bytes; no text of a test can break out of the form it is told in.

use placet_core::{
    judge::Verdict,
    policy::case::{Case, Coverage, Decided, Difference},
    refusal::Reason,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One test that was run.
pub(super) struct Ran<'a> {
    /// Its file.
    pub(super) file: &'a str,
    /// The test.
    pub(super) case: &'a Case,
    /// What was decided.
    pub(super) decided: Decided,
    /// In what that is not as expected.
    pub(super) differences: Vec<Difference>,
}

/// All of them, in order.
pub(super) struct Report<'a> {
    pub(super) ran: Vec<Ran<'a>>,
    /// What they have seen, where that is asked for.
    pub(super) coverage: Option<Coverage>,
    /// How much they have to have seen, in per cent.
    pub(super) least: Option<u8>,
}

impl Report<'_> {
    /// Whether all passed and saw enough.
    pub(super) fn is_good(&self) -> bool {
        self.failed() == 0 && self.saw_enough()
    }

    fn failed(&self) -> usize {
        self.ran.iter().filter(|ran| !ran.differences.is_empty()).count()
    }

    fn saw_enough(&self) -> bool {
        match (&self.coverage, self.least) {
            (Some(coverage), Some(least)) => coverage.is_at_least(least),
            _ => true,
        }
    }

    /// As one JSON document.
    pub(super) fn document(&self) -> Value {
        let tests = self.ran.iter().map(|ran| {
            json!({
                "file": ran.file,
                "line": ran.case.position.line,
                "test": ran.case.name,
                "result": result(ran),
                "expected": ran.case.expected.shown(),
                "actual": ran.decided,
                "differences": ran.differences,
            })
        });
        let failed = self.failed();
        let mut document =
            json!({"passed": self.ran.len() - failed, "failed": failed, "tests": tests.collect::<Vec<_>>()});
        if let (Some(coverage), Value::Object(members)) = (&self.coverage, &mut document) {
            let mut shown = json!(coverage);
            if let Value::Object(shown) = &mut shown {
                shown.insert("percent".into(), coverage.percent().into());
                if let Some(least) = self.least {
                    shown.insert("least".into(), least.into());
                }
            }
            members.insert("coverage".into(), shown);
        }
        document
    }

    /// As lines for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut file = None;
        for ran in &self.ran {
            if file != Some(ran.file) {
                file = Some(ran.file);
                lines.push(ran.file.to_owned());
            }
            let mark = if ran.differences.is_empty() { "ok    " } else { "FAILED" };
            lines.push(format!("  {mark}  {:5}  {}", word(ran.decided.decision), ran.case.name));
            if !ran.differences.is_empty() {
                lines.extend(why(ran).into_iter().map(|text| format!("            {text}")));
            }
        }
        if let Some(coverage) = &self.coverage {
            lines.extend(seen(coverage));
        }
        let failed = self.failed();
        let mut last = format!("{} passed, {failed} failed", self.ran.len() - failed);
        if let Some(coverage) = &self.coverage {
            let _ = write!(last, ", {} % seen", coverage.percent());
        }
        if let (false, Some(least)) = (self.saw_enough(), self.least) {
            let _ = write!(last, ": less than {least} %");
        }
        lines.push(last);
        lines
    }

    /// As JUnit's XML, without times.
    pub(super) fn junit(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let counts = |ran: &[Ran<'_>]| {
            let failed = ran.iter().filter(|ran| !ran.differences.is_empty()).count();
            format!("tests=\"{}\" failures=\"{failed}\"", ran.len())
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "<testsuites name=\"placet policy test\" {}>", counts(&self.ran));
        for suite in self.ran.chunk_by(|one, other| one.file == other.file) {
            let Some(first) = suite.first() else { continue };
            let _ = writeln!(out, "  <testsuite name=\"{}\" {}>", xml(first.file), counts(suite));
            for ran in suite {
                let (file, name, at) = (xml(ran.file), xml(&ran.case.name), ran.case.position.line);
                let head =
                    format!("<testcase classname=\"{file}\" name=\"{name}\" file=\"{file}\" line=\"{at}\"");
                if ran.differences.is_empty() {
                    let _ = writeln!(out, "    {head}/>");
                    continue;
                }
                let message = ran.differences.first().map(difference).unwrap_or_default();
                let _ = writeln!(
                    out,
                    "    {head}>\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                    xml(&message),
                    xml(&why(ran).join("\n"))
                );
            }
            out.push_str("  </testsuite>\n");
        }
        out.push_str("</testsuites>\n");
        out
    }
}

fn result(ran: &Ran<'_>) -> &'static str {
    if ran.differences.is_empty() { "passed" } else { "failed" }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Hold => "hold",
        Verdict::Deny => "deny",
    }
}

/// What is not as expected, and all that was said.
fn why(ran: &Ran<'_>) -> Vec<String> {
    let mut lines: Vec<String> = ran.differences.iter().map(difference).collect();
    lines.extend(ran.decided.reasons.iter().map(reason));
    lines.extend(
        ran.decided.rules.iter().map(|chosen| format!("chosen: {} of {}", chosen.rule, chosen.policy)),
    );
    lines
}

fn difference(difference: &Difference) -> String {
    format!("{}: expected {}, was {}", difference.of, plain(&difference.expected), plain(&difference.actual))
}

/// `condition_failed: small refunds of desk@1: params.amount <= 500 [params.amount = 501]`
fn reason(reason: &Reason) -> String {
    let mut text = reason.code.as_str().to_owned();
    if let (Some(rule), Some(policy)) = (&reason.rule, &reason.policy) {
        let _ = write!(text, ": {rule} of {policy}");
    }
    if let Some(expression) = &reason.expression {
        let _ = write!(text, ": {expression}");
    }
    let observed: Vec<_> = reason.observed.iter().map(|(path, value)| format!("{path} = {value}")).collect();
    if !observed.is_empty() {
        let _ = write!(text, " [{}]", observed.join(", "));
    }
    if let Some(detail) = &reason.detail {
        let _ = write!(text, ": {detail}");
    }
    text
}

fn seen(coverage: &Coverage) -> Vec<String> {
    let mut lines = Vec::new();
    for policy in &coverage.policies {
        lines.push(format!("seen of {}", policy.policy));
        for rule in &policy.rules {
            lines.push(format!("  {:3} of {:3}  {} \"{}\"", rule.seen, rule.of, rule.kind, rule.rule));
            lines.extend(rule.unseen.iter().map(|words| format!("              never: {words}")));
        }
    }
    lines
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Text as it may stand in XML, in elements and in attributes.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            // XML 1.0 can't have them at all.
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}')
            }
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::policy::suites;
    use std::fs;

    /// The lines and the XML of the tests in the page, with this change of them.
    fn told(change: (&str, &str)) -> (Vec<String>, String) {
        let home = tempfile::tempdir().unwrap();
        let page = include_str!("../../../../../../docs/policy-tests.md");
        for (block, _) in page.split("```yaml\n# ").skip(1).filter_map(|rest| rest.split_once("```")) {
            let (name, text) = block.split_once('\n').unwrap();
            assert!(name.ends_with("desk.yaml") || text.contains(change.0));
            fs::write(home.path().join(name), text.replace(change.0, change.1)).unwrap();
        }
        let read = suites::read(&[home.path().to_owned()]).unwrap();
        assert!(read.found.is_empty(), "{:?}", read.found);
        let [tests] = read.tests.as_slice() else { panic!() };
        let mut coverage = Coverage::of(tests.suite.policies());
        let cases = tests.suite.cases().iter().map(|case| {
            let decided = case.decide(tests.suite.policies());
            coverage.add(&decided.trace);
            Ran { file: "support-desk.test.yaml", differences: case.differences(&decided), decided, case }
        });
        let ran: Vec<_> = cases.collect();
        let large = ran.iter().find(|ran| ran.case.name == "too large").unwrap();
        let said = [("condition_failed".to_owned(), Some("small refunds".to_owned()))];
        assert!(page.contains(&large.decided.trace.render("deny", &said)));
        let report = Report { ran, coverage: Some(coverage), least: Some(90) };
        (report.lines(), report.junit())
    }

    #[test]
    fn a_person_is_told_in_lines() {
        let (lines, _) = told(("", ""));
        let page = include_str!("../../../../../../docs/policy-tests.md");
        let lines = lines.join("\n");
        assert!(page.contains(lines.trim_end_matches(": less than 90 %")), "{lines}");
        let (lines, xml) = told(("name: a small one", "name: a <&> one"));
        assert!(lines.iter().any(|line| line.ends_with("  a <&> one")), "{lines:#?}");
        assert!(xml.contains("name=\"a &lt;&amp;&gt; one\""), "{xml}");
        assert_eq!(super::xml("\u{7}\"\n"), "\u{fffd}&quot;\n");
    }

    #[test]
    fn what_failed_is_told_with_all_that_was_said() {
        let (lines, xml) =
            told(("then: allow", "then: {decision: deny, reasons: [no_rule], rule: office hours}"));
        let wrong = [
            "  FAILED  allow  a small one",
            "            decision: expected deny, was allow",
            "            reasons: expected no_rule, was none",
            "            rule: expected office hours, was small refunds",
            "            chosen: small refunds of support-desk@1",
        ];
        assert_eq!(lines.get(1..6).unwrap(), wrong);
        assert_eq!(lines.last().unwrap(), "4 passed, 1 failed, 83 % seen: less than 90 %");
        let (lines, _) = told(("then: {decision: hold, rule: small refunds}", "then: deny"));
        let reason = "            approval_required: small refunds of support-desk@1: params.amount > 100 [params.amount = 101]";
        assert!(lines.iter().any(|line| line == reason), "{lines:#?}");
        let case = |name: &str, line: u32| {
            format!(
                "    <testcase classname=\"support-desk.test.yaml\" name=\"{name}\" file=\"support-desk.test.yaml\" line=\"{line}\""
            )
        };
        let expected = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="placet policy test" tests="5" failures="1">
  <testsuite name="support-desk.test.yaml" tests="5" failures="1">
{}>
      <failure message="decision: expected deny, was allow">decision: expected deny, was allow
reasons: expected no_rule, was none
rule: expected office hours, was small refunds
chosen: small refunds of support-desk@1</failure>
    </testcase>
{}/>
"#,
            case("a small one", 6),
            case("a larger one is asked about", 12)
        );
        assert!(xml.starts_with(&expected), "{xml}");
    }
}
