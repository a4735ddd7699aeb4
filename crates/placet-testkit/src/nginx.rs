//! A real nginx, with the configuration that a test gives it, on a free port.
//!
//! Invariant: it ends with the process of the tests, however that ends: a shell waits for the end of a pipe and kills it.

use crate::{Client, until};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    port: u16,
    child: Child,
    guard: Child,
    _home: TempDir,
}

impl Nginx {
    /// Starts it with what stands in `http {…}`; `LISTEN` in it is where it listens.
    ///
    /// # Panics
    /// Where nginx is not installed (`scripts/test` installs it), or doesn't take the configuration.
    pub fn start(http: &str) -> Self {
        let home = tempfile::Builder::new().prefix("placet-nginx-").tempdir().unwrap();
        // Taken again at once: nothing else asks for this very port in between.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| home.path().join(name).display().to_string();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("    {name}_temp_path {};\n", at(name)))
            .collect();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log {} info;\nevents {{}}\nhttp {{\n    access_log off;\n{paths}{}\n}}\n",
            at("pid"),
            at("error.log"),
            http.replace("LISTEN", &format!("127.0.0.1:{port}"))
        );
        let file = home.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let output = fs::File::create(home.path().join("output")).unwrap();
        let mut child = Command::new(program())
            .arg("-p")
            .arg(home.path())
            .arg("-e")
            .arg(home.path().join("error.log"))
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap();
        let guard = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\" 2>/dev/null; rm -rf \"$1\"", &child.id().to_string()])
            .arg(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("nginx to listen", || {
            if let Some(status) = child.try_wait().unwrap() {
                let said = |name: &str| fs::read_to_string(home.path().join(name)).unwrap_or_default();
                panic!("nginx ended ({status}): {}{}", said("output"), said("error.log"));
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { port, child, guard, _home: home }
    }

    /// Where it answers, as a base URL.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(&self.base())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, on the path or where Debian has it.
fn program() -> PathBuf {
    let path = std::env::vars_os().find(|(name, _)| name == "PATH").map(|(_, value)| value);
    let mut places: Vec<PathBuf> = path.iter().flat_map(std::env::split_paths).collect();
    places.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found =
        places.into_iter().map(|place| place.join("nginx")).find(|file: &PathBuf| Path::is_file(file));
    found.expect("nginx is installed: `apt-get install nginx`, or run scripts/test, which does")
}
