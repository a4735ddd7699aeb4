//! Runs the binary with an environment of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

/// The binary, with nothing of the surrounding environment that it reads.
pub(crate) fn placet(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_placet"));
    for name in [
        "PLACET_URL",
        "PLACET_TOKEN",
        "PLACET_CLIENT_SECRET",
        "PLACET_VAULT_KEY",
        "PLACET_DATABASE",
        "PLACET_LOG",
        "NO_COLOR",
    ] {
        command.env_remove(name);
    }
    command.env("XDG_STATE_HOME", home).current_dir(home).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(home: &Path, arguments: &[&str]) -> Output {
    placet(home).args(arguments).output().unwrap()
}

/// Runs a command to its end, with `input` as what is typed.
pub(crate) fn typed(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A running server; killed where a test ends without stopping it.
pub(crate) struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    /// The line that says it is ready.
    pub(crate) ready: String,
}

impl Server {
    /// Starts it on a free port and waits until it says that it is ready.
    pub(crate) fn start(home: &Path, data: &Path) -> Self {
        let mut command = placet(home);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--data"]).arg(data);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        out.read_line(&mut ready).unwrap();
        assert!(ready.contains("http://127.0.0.1:"), "not ready: {ready:?}");
        Self { child, out, ready }
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and waits for its end; answers its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        let mut rest = String::new();
        self.out.read_line(&mut rest).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that was begun: what it says is in a file, and it ends with its test, however that ends.
pub(crate) struct Begun {
    child: Child,
    home: PathBuf,
}

impl Begun {
    /// Has a command that is set up for `home` serve.
    pub(crate) fn serve(mut command: Command, home: &Path) -> Self {
        let said = fs::File::create(home.join("said")).unwrap();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data", "data"]);
        let child = command.stdout(Stdio::null()).stderr(said).spawn().unwrap();
        Self { child, home: home.to_owned() }
    }

    /// Whether it serves; where it has ended instead, the test fails with what it said.
    pub(crate) fn serves(&mut self) -> bool {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("it ended ({status}): {}", fs::read_to_string(self.home.join("said")).unwrap());
        }
        self.home.join("data/address").exists()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
