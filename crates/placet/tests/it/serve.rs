//! Starting and stopping the server.

use crate::process::{Server, placet, run, stderr};
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

fn refused(output: &std::process::Output, part: &str) {
    assert_eq!(output.status.code(), Some(3), "{}", stderr(output));
    assert!(stderr(output).contains(part), "{}", stderr(output));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_killed_server_starts_again_with_the_same_keys() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Server::start(home.path(), &data);
    assert!(server.ready.contains("admin.token"));
    let token = fs::read(data.join("admin.token")).unwrap();
    let mode = |name: &str| fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("admin.token"), mode("vault.key")), (0o700, 0o600, 0o600));
    server.kill();
    let server = Server::start(home.path(), &data);
    assert_eq!(fs::read(data.join("admin.token")).unwrap(), token);
    let address = fs::read_to_string(data.join("address")).unwrap();
    assert!(server.ready.contains(address.trim()));
    assert_eq!(server.stop(), Some(0));
    assert!(!data.join("address").exists());
}

#[test]
fn a_second_server_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Server::start(home.path(), &data);
    let path = data.display().to_string();
    let output = run(home.path(), &["serve", "--listen", "127.0.0.1:0", "--data", &path]);
    refused(&output, "another `placet serve`");
    assert!(data.join("address").exists());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_port_in_use_is_said_before_anything_is_made() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(home.path(), &["serve", "--listen", &address, "--data", "data"]);
    refused(&output, "in use");
    assert!(!home.path().join("data").exists());
}

#[test]
fn what_can_not_be_used_is_named() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    refused(&run(home.path(), &["serve", "--listen", "127.0.0.1:0", "--data", "file"]), "can't be written");
    // Where even root can make nothing.
    let output = run(home.path(), &["serve", "--listen", "127.0.0.1:0", "--data", "/proc/placet-data"]);
    refused(&output, "can't be written");
    fs::write(home.path().join("short"), "x").unwrap();
    let output = run(
        home.path(),
        &["serve", "--listen", "127.0.0.1:0", "--data", "data", "--vault-key-file", "short"],
    );
    refused(&output, "32 bytes");
}

#[test]
fn a_vault_key_from_the_environment_leaves_no_file() {
    let home = tempfile::tempdir().unwrap();
    let with = |key: &str| {
        let mut command = placet(home.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data", "data"]).env("PLACET_VAULT_KEY", key);
        command
    };
    refused(&with("short").output().unwrap(), "PLACET_VAULT_KEY");
    assert!(!home.path().join("data/vault.key").exists());
}
