use super::*;
use placet_core::{secret::Secret, time::Timestamp};
use std::os::unix::fs::PermissionsExt as _;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_made_may_be_read_by_its_owner_only() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("a/b");
    let directory = DataDir::open(&path).unwrap();
    let node = directory.node(true, Timestamp::from_seconds(1)).unwrap();
    VaultKeys::file(path.join(VAULT_KEY), None).make().unwrap();
    let token = new_admin_token().unwrap();
    assert!(directory.admin_token().unwrap().is_none());
    directory.keep_admin_token(&token).unwrap();
    assert_eq!(mode(&path), 0o700);
    for name in [ADMIN_TOKEN, VAULT_KEY, "node"] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
    let line = fs::read_to_string(path.join(ADMIN_TOKEN)).unwrap();
    assert_eq!(line.lines().count(), 1);
    // 256 bits in base64url.
    assert_eq!(line.trim_end().len(), "plt_admin_".len() + 43);
    assert!(directory.admin_token().unwrap() == Some(token));
    assert_eq!(directory.node(false, Timestamp::from_seconds(2)).unwrap(), node);
}

#[test]
fn a_node_keeps_its_name() {
    let outside = tempfile::tempdir().unwrap();
    let directory = DataDir::open(outside.path()).unwrap();
    let failure = directory.node(false, Timestamp::from_seconds(1)).unwrap_err();
    assert!(matches!(&failure, Failure::NotStarted(message) if message.contains("node")), "{failure}");
    fs::write(outside.path().join("node"), "x").unwrap();
    directory.node(true, Timestamp::from_seconds(1)).unwrap_err();
}

#[test]
fn an_administrator_token_is_one_line() {
    let outside = tempfile::tempdir().unwrap();
    let directory = DataDir::open(outside.path()).unwrap();
    for wrong in ["", "x", "plt_session_x", "plt_admin_a\nplt_admin_b"] {
        fs::write(outside.path().join(ADMIN_TOKEN), wrong).unwrap();
        let failure = directory.admin_token().unwrap_err();
        assert!(failure.to_string().contains(ADMIN_TOKEN), "{failure}");
    }
    fs::write(outside.path().join(ADMIN_TOKEN), "plt_admin_a\n").unwrap();
    assert!(directory.admin_token().unwrap() == Some(Secret::new("plt_admin_a")));
}

#[test]
fn a_directory_has_one_holder_and_a_lock_file_left_behind_is_no_obstacle() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join(LOCK), "").unwrap();
    let first = DataDir::open(outside.path()).unwrap();
    let second = DataDir::open(outside.path()).unwrap_err();
    assert!(matches!(&second, Failure::NotStarted(message) if message.contains("another")), "{second}");
    drop(first);
    DataDir::open(outside.path()).unwrap();
}

#[test]
fn an_address_left_by_a_killed_server_is_taken_away() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join(ADDRESS), "http://127.0.0.1:1\n").unwrap();
    let directory = DataDir::open(outside.path()).unwrap();
    assert!(!outside.path().join(ADDRESS).exists());
    directory
        .announce("http://127.0.0.1:2", "http://127.0.0.1:3", Some("https://127.0.0.1:4"), None)
        .unwrap();
    assert_eq!(fs::read_to_string(outside.path().join(MTLS_ADDRESS)).unwrap(), "https://127.0.0.1:4\n");
    assert_eq!(fs::read_to_string(outside.path().join(ADDRESS)).unwrap(), "http://127.0.0.1:2\n");
    directory.withdraw();
    assert!(!outside.path().join(ADDRESS).exists() && !outside.path().join(MTLS_ADDRESS).exists());
}

#[test]
fn a_draft_left_by_a_killed_process_is_no_obstacle() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x.new"), "half").unwrap();
    write_whole(&outside.path().join("x"), b"whole").unwrap();
    assert_eq!(fs::read(outside.path().join("x")).unwrap(), b"whole");
    assert!(!outside.path().join("x.new").exists());
}

#[test]
fn a_file_in_the_way_is_a_sentence() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("file");
    fs::write(&path, "").unwrap();
    let failure = DataDir::open(&path).unwrap_err();
    assert!(
        matches!(&failure, Failure::NotStarted(message) if message.contains("can't be written")),
        "{failure}"
    );
}
