//! The README's tour, run as a stranger would: every block marked `sh tour`, pasted into one shell. Only the ports are
//! others: those that the system picks.

use std::{fs, net::TcpListener, os::unix::fs::symlink, path::Path, process::Command};

/// The repository's root.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn the_tour_works_as_it_is_printed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("target/release")).unwrap();
    symlink(env!("CARGO_BIN_EXE_placet"), at("target/release/placet")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let elsewhere = |text: &str| text.replace("127.0.0.1:9000", &format!("127.0.0.1:{port}"));
    for example in ["services/shop.yaml", "policies/support-desk.yaml"] {
        let text = fs::read_to_string(Path::new(ROOT).join("examples").join(example)).unwrap();
        fs::create_dir_all(at("examples").join(example).parent().unwrap()).unwrap();
        fs::write(at("examples").join(example), elsewhere(&text)).unwrap();
    }
    let readme = elsewhere(&fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap());
    let readme = readme.replace("placet serve &", "placet serve --listen 127.0.0.1:0 &");
    let blocks: Vec<&str> = readme
        .split("```sh tour\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block that ends").0)
        .collect();
    assert!(blocks.len() > 8, "the README has lost its tour");
    // A failing command ends the tour; whatever happens, its servers end with it, and it takes a minute at most.
    let script = format!("set -e\ntrap 'kill $SERVER $SHOP 2>/dev/null || true' EXIT\n{}", blocks.join("\n"));
    fs::write(at("tour.sh"), script).unwrap();
    let output = Command::new("timeout")
        .args(["--kill-after=5", "60", "bash", "tour.sh"])
        .current_dir(directory.path())
        .env("XDG_STATE_HOME", at("state"))
        .env_remove("PLACET_URL")
        .env_remove("PLACET_TOKEN")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the tour stopped ({}):\n{out}\n{err}", output.status);
    for word in ["refused, as it should be", "revoked, as it should be", "\"status\": \"held\"", "verified"] {
        assert!(out.contains(word), "`{word}` is missing from the tour:\n{out}\n{err}");
    }
    assert_eq!(out.matches("\"status\": \"executed\"").count(), 2, "{out}\n{err}");
}
