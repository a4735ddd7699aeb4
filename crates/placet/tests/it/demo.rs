//! The demo, which starts a server and an upstream of its own.

use crate::process::{run, stdout};
use serde_json::Value;
use std::time::{Duration, Instant};

#[test]
fn every_step_gives_what_it_should() {
    let home = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let output = run(home.path(), &["demo", "--json"]);
    let steps: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let bad: Vec<_> = steps.iter().filter(|step| step["ok"] != true).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(output.status.code(), Some(0), "{}", crate::process::stderr(&output));
    assert!(began.elapsed() < Duration::from_secs(10));
    for word in ["allow", "deny", "hold", "revoked", "verified"] {
        assert!(steps.iter().any(|step| step["outcome"] == word), "{word}");
    }
    assert!(!stdout(&output).contains("shop-secret"));
}

#[test]
fn the_story_can_be_read_when_piped() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["demo"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["POST /v1/actions", "=> allow", "=> deny", "=> hold", "=> revoked", "=> verified", " 1. "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains("shop-secret"));
}
