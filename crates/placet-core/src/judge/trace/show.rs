//! The tree as text.
//!
//! Invariant: one line a thing, and no text of others can begin a line of its own.

use super::{ApproveTrace, ConjunctTrace, LimitTrace, LinkTrace, PolicyTrace, RuleTrace, Seen, Trace};
use crate::judge::Said;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// A line with what hangs below it.
struct Branch {
    text: String,
    below: Vec<Self>,
}

impl Branch {
    fn of(text: impl Into<String>, below: Vec<Self>) -> Self {
        Self { text: text.into(), below }
    }

    fn write(&self, out: &mut String, lead: &str, last: bool) {
        let (mark, under) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let text = self.text.replace(|c: char| c.is_control(), " ");
        // Writing to a string does not fail.
        let _ = writeln!(out, "{lead}{mark}{text}");
        children(&self.below, out, &format!("{lead}{under}"));
    }
}

fn children(branches: &[Branch], out: &mut String, lead: &str) {
    for (index, branch) in branches.iter().enumerate() {
        branch.write(out, lead, index + 1 == branches.len());
    }
}

pub(super) fn tree(trace: &Trace, decision: &str, reasons: &[(String, Option<String>)]) -> String {
    let mut out = decision.to_owned();
    for (index, (code, rule)) in reasons.iter().enumerate() {
        out.push_str(if index == 0 { ": " } else { ", " });
        out.push_str(code);
        if let Some(rule) = rule {
            let _ = write!(out, " ({rule})");
        }
    }
    out = out.replace(|c: char| c.is_control(), " ");
    out.push('\n');
    let authorities = trace.authorities.iter().map(|authority| {
        let said = authority.missing.as_ref().map_or_else(
            || "permits the action".to_owned(),
            |missing| format!("does not permit the action: {missing}"),
        );
        format!("{} of {}: {said}", authority.of, authority.agent)
    });
    // A registration stands beside each grant of its agent, and at the root.
    let mut said: Vec<String> = Vec::new();
    for text in authorities {
        if !said.contains(&text) {
            said.push(text);
        }
    }
    let mut branches: Vec<Branch> = said.into_iter().map(|text| Branch::of(text, Vec::new())).collect();
    if !trace.level {
        branches.push(Branch::of("the level of an agent does not permit the effect", Vec::new()));
    }
    branches.extend(trace.links.iter().map(link));
    children(&branches, &mut out, "");
    out
}

fn link(link: &LinkTrace) -> Branch {
    let said = match (link.allowed, link.policies.is_empty()) {
        (true, _) => "its policies allow the action",
        (false, true) => "no policy applies to it",
        (false, false) => "none of its policies allows the action",
    };
    let mut below: Vec<Branch> = link.policies.iter().map(policy).collect();
    below.extend(link.limits.iter().map(limit));
    Branch::of(format!("agent {}: {said}", link.agent), below)
}

fn policy(policy: &PolicyTrace) -> Branch {
    let mode = if policy.mode == "observe" { " (observed: decides nothing)" } else { "" };
    let mut below: Vec<Branch> = policy.rules.iter().map(rule).collect();
    if !policy.others.is_empty() {
        below.push(Branch::of(format!("about other actions: {}", policy.others.join(", ")), Vec::new()));
    }
    Branch::of(format!("policy {}{mode}", policy.policy), below)
}

fn rule(rule: &RuleTrace) -> Branch {
    let said = match rule.said {
        Said::Chosen => "chosen",
        Said::NotHeld => "does not hold",
        Said::NotReached => "not asked: a rule before it was chosen",
        Said::OtherResource => "about other resources",
        Said::Passed => "holds",
        Said::Failed => "failed: the action is denied",
        Said::Matched => "matches: the action is denied",
        Said::NotMatched => "does not match",
    };
    let mut below = Vec::new();
    // Of a rule that was not asked there is nothing to tell.
    if !matches!(rule.said, Said::NotReached | Said::OtherResource) {
        if let Some(hours) = &rule.hours {
            let open = match hours.open {
                Some(true) => "true",
                Some(false) => "false",
                None => "not asked",
            };
            below.push(Branch::of(format!("{open}: hours: {}", hours.hours), Vec::new()));
        }
        below.extend(rule.when.iter().map(conjunct));
        if matches!(rule.said, Said::Chosen | Said::Passed) {
            below.extend(rule.limits.iter().map(limit));
            below.extend(rule.intent.as_ref().map(|intent| Branch::of(intent.said(), Vec::new())));
            below.extend(rule.approve.as_ref().map(approve));
        }
    }
    Branch::of(format!("{} \"{}\": {said}", rule.kind, rule.rule), below)
}

fn conjunct(conjunct: &ConjunctTrace) -> Branch {
    let mut text = match conjunct.outcome {
        Seen::True => "true",
        Seen::False => "false",
        Seen::Unknown => "unknown",
        Seen::NotEvaluated => "not evaluated",
    }
    .to_owned();
    let _ = write!(text, ": {}{}", conjunct.expression, observed(&conjunct.observed));
    if let Some(why) = &conjunct.why {
        let _ = write!(text, " — {why}");
    }
    Branch::of(text, Vec::new())
}

fn observed(observed: &Map<String, Value>) -> String {
    let shown: Vec<_> = observed.iter().map(|(path, value)| format!("{path} = {value}")).collect();
    if shown.is_empty() { String::new() } else { format!("   [{}]", shown.join(", ")) }
}

fn limit(limit: &LimitTrace) -> Branch {
    let mut text = match limit.fits {
        Some(true) => "fits",
        Some(false) => "used up",
        None if limit.unreadable.is_some() => "can't be counted",
        None => "limit",
    }
    .to_owned();
    let _ = write!(text, ": {}", limit.limit);
    if let (Some(amount), Some(used), Some(max)) = (&limit.amount, &limit.used, &limit.max) {
        let _ = write!(text, "   [{used} of {max} used, this adds {amount}]");
    }
    if let Some(why) = &limit.unreadable {
        let _ = write!(text, " — {why}");
    }
    Branch::of(text, Vec::new())
}

fn approve(approve: &ApproveTrace) -> Branch {
    let text = match approve.asks {
        Some(true) => format!("asks people: {}", approve.whom()),
        Some(false) => "asks nobody".to_owned(),
        None => "was not asked whether to ask people".to_owned(),
    };
    Branch::of(text, approve.when.iter().map(conjunct).collect())
}
