//! A server's memory is nobody's: it leaves no core file however it is ended, and another process of its own user can't look
//! into it. Where tests run as root, who is asked about everything, servers here run as `nobody`.

use placet_testkit::until;
use std::{
    fs,
    os::unix::{fs::MetadataExt as _, fs::chown, process::CommandExt as _, process::ExitStatusExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};
use tempfile::TempDir;

const NOBODY: u32 = 65534;
/// 32 bytes in base64.
const VAULT_KEY: &str = "Y2FuYXJ5LWluLXRoZS1lbnZpcm9ubWVudC01ZDFjN2U=";

/// A directory for a user who is not root, with the binary in it, where that user can reach it.
pub(crate) fn home() -> (TempDir, Option<u32>) {
    let home = tempfile::Builder::new().prefix("placet-test-").tempdir().unwrap();
    let is_root = fs::metadata(home.path()).unwrap().uid() == 0;
    let binary = home.path().join("placet");
    let built = env!("CARGO_BIN_EXE_placet");
    if fs::hard_link(built, &binary).is_err() {
        fs::copy(built, &binary).unwrap();
    }
    if is_root {
        chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    (home, is_root.then_some(NOBODY))
}

/// A shell that first asks for core files of any size.
fn shell(home: &Path, user: Option<u32>, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -c unlimited 2>/dev/null; {script}")]);
    command.current_dir(home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("PLACET_VAULT_KEY", VAULT_KEY).env_remove("PLACET_DATABASE");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}

/// Whether the same user can read this of a process.
fn reads(home: &Path, user: Option<u32>, process: &Process, what: &str) -> bool {
    let script = format!("exec head -c 1 /proc/{}/{what}", process.id());
    shell(home, user, &script).status().unwrap().success()
}

/// A process that ends with its test.
struct Process(Child);

impl Process {
    fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it the signal until it has ended: for SIGSEGV a Rust program has a handler, which takes itself away and returns
    /// to what had failed.
    fn ended_by(&mut self, signal: &str) -> ExitStatus {
        until("the end", || {
            _ = Command::new("kill").args([signal, &self.id().to_string()]).status().unwrap();
            self.0.try_wait().unwrap()
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn a_server_leaves_no_core_file_and_is_not_looked_into() {
    let (home, user) = home();
    let (home, data) = (home.path(), home.path().join("data"));
    for (signal, number) in [("-ABRT", 6), ("-SEGV", 11)] {
        // What the one before it announced.
        let _ = fs::remove_file(data.join("address"));
        let script = "exec ./placet serve --listen 127.0.0.1:0 --log error --data data";
        let mut server = Process(shell(home, user, script).spawn().unwrap());
        until("the server", || data.join("address").is_file().then_some(()));
        let mut other = Process(shell(home, user, "exec sleep 600").spawn().unwrap());
        until("the other process", || {
            let name = fs::read_to_string(format!("/proc/{}/comm", other.id())).unwrap_or_default();
            (name.trim() == "sleep").then_some(())
        });
        for what in ["environ", "maps"] {
            assert!(reads(home, user, &other, what), "{what} of another process");
            assert!(!reads(home, user, &server, what), "{what} of the server");
        }
        // Memory, too: reading at 0 fails for everybody, so it is whether it can be opened at all.
        let opens = |process: &Process| {
            let script = format!("exec 3< /proc/{}/mem", process.id());
            shell(home, user, &script).status().unwrap().success()
        };
        assert!(opens(&other) && !opens(&server), "the memory of the server");
        let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
        let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{cores}");

        let server = server.ended_by(signal);
        assert_eq!(server.signal(), Some(number));
        assert!(!server.core_dumped());
        let left: Vec<_> = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let cores = left.iter().filter(|name| name.to_string_lossy().contains("core")).count();
        assert_eq!(cores, 0, "{left:?}");
        // What would have been without it, as far as this machine makes core files at all.
        let other = other.ended_by(signal);
        assert_eq!(other.signal(), Some(number));
        eprintln!("another process left a core file: {}", other.core_dumped());
        for entry in fs::read_dir(home).unwrap().flatten() {
            if entry.file_name().to_string_lossy().contains("core") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}
