//! Checking policies and services without a server.

use crate::process::{run, stdout};
use std::path::Path;

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).display().to_string()
}

#[test]
fn the_examples_are_good() {
    let home = tempfile::tempdir().unwrap();
    let (policy, service) = (example("policies/support-desk.yaml"), example("services/shop.yaml"));
    let output = run(home.path(), &["service", "check", &service]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let output = run(home.path(), &["policy", "check", &policy, "--service", &service, "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{found:#}");
    assert_eq!(found, serde_json::json!({"valid": true, "diagnostics": []}));
}

#[test]
fn a_mistake_is_shown_where_it_is() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join("desk.yaml"),
        "policy: desk\nrules:\n  - name: read\n    alow: [orders.read]\n",
    )
    .unwrap();
    let output = run(home.path(), &["policy", "check", "desk.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let shown = stdout(&output);
    assert!(shown.contains("--> desk.yaml:4:5") && shown.contains("4 |     alow: [orders.read]"), "{shown}");
    assert!(shown.contains("  |     ^") && shown.contains("did you mean `allow`?"), "{shown}");
}

#[test]
fn a_file_that_is_not_there_is_code_2() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(run(home.path(), &["policy", "check", "none.yaml"]).status.code(), Some(2));
    assert_eq!(run(home.path(), &["record", "verify-proof", "none", "--key", "none"]).status.code(), Some(2));
}
