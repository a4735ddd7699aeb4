//! The page about the language: each of its examples loads, and each key has one.

use super::*;

#[test]
fn every_example_of_the_page_loads() {
    let page = include_str!("../../../../../docs/policies.md");
    let blocks: Vec<&str> = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .collect();
    for block in &blocks {
        let name = block.lines().next().unwrap_or_default();
        match Policy::load(block.as_bytes(), None, 1, &[]) {
            Ok((policy, warnings)) => {
                let undeclared = |it: &Diagnostic| it.message.starts_with("no service declares");
                assert!(warnings.iter().all(undeclared), "{name}: {warnings:?}");
                let full = policy.in_full();
                assert!(Policy::load(full.as_bytes(), None, 1, &[]).is_ok(), "{full}");
            }
            Err(found) => panic!("{name}: {}", found[0].render()),
        }
    }
    let all = blocks.concat();
    let keys = [
        "policy",
        "applies_to",
        "agents",
        "labels",
        "mode",
        "rules",
        "record",
        "keep",
        "name",
        "allow",
        "guard",
        "deny",
        "on",
        "when",
        "hours",
        "days",
        "from",
        "to",
        "zone",
        "limits",
        "count",
        "per",
        "sum",
        "max",
        "by",
        "not",
        "distinct",
        "rate",
        "burst",
        "concurrent",
        "approve",
        "within",
        "lists",
        "agent",
        "actions",
        "resources",
        "constraints",
        "audit",
        "shape",
        "rows",
        "at",
        "where",
        "redact",
        "intent",
        "plan",
        "entities",
        "judge",
        "otherwise",
    ];
    for key in keys {
        assert!(
            all.contains(&format!("{key}: ")) || all.contains(&format!("{key}:\n")),
            "no example has `{key}`"
        );
    }
}
