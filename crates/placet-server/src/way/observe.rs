//! What policies in `mode: observe` would have said about an action: beside its entry of the record, and counted.
//!
//! Invariant: it changes no answer.

use placet_core::{
    chain::Chain,
    judge::{Observation, Verdict},
    pattern::ActionName,
    record::leaf,
    refusal::{Code, Reader},
};
use placet_store::observations::Observed;
use serde_json::{Value, json};

/// The body of an entry with what was observed beside the rest.
pub(crate) fn beside(mut body: Value, observed: &[Observation]) -> Value {
    if let Some(members) = body.as_object_mut().filter(|_| !observed.is_empty()) {
        let told = observed.iter().map(|one| {
            let reason = one.reason.as_ref().map(|reason| reason.disclosed_to(Reader::Administrator));
            json!({"policy": one.policy, "rule": one.rule, "would": one.would, "reason": reason})
        });
        members.insert("observed".to_owned(), told.collect());
    }
    body
}

/// As it is counted beside what was decided.
pub(crate) fn noted(
    observed: &[Observation],
    chain: &Chain,
    action: &ActionName,
    decided: leaf::Verdict,
) -> Vec<Observed> {
    let note = |one: &Observation| {
        let (policy, version) = one.policy.rsplit_once('@')?;
        Some(Observed {
            policy: policy.to_owned(),
            version: version.parse().ok()?,
            rule: one.rule.clone().unwrap_or_default(),
            action: action.as_str().to_owned(),
            agent: chain.agent().id,
            would: match one.would {
                Verdict::Allow => "allow",
                Verdict::Hold => "hold",
                Verdict::Deny => "deny",
            },
            code: one.reason.as_ref().map_or("", |reason| Code::as_str(reason.code)),
            decision: if decided == leaf::Verdict::Allow { "allow" } else { "deny" },
        })
    };
    observed.iter().filter_map(note).collect()
}
