//! Key services that nobody here wrote: OpenBao, and SoftHSM behind its PKCS#11 module. `scripts/test` installs both.
//!
//! Invariant: each has a directory and a port of its own, and OpenBao ends with the test process, however that ends.

use crate::{
    Answer, Client,
    server::{Guarded, guarded},
    until,
};
use serde_json::Value;
use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// Names OpenBao's program where it is not `target/tools/bao`.
const BAO: &str = "PLACET_TEST_BAO";
const ROOT_TOKEN: &str = "root-token-of-a-test";

/// An OpenBao server with a transit key, in memory.
#[derive(Debug)]
pub struct OpenBao {
    address: SocketAddr,
    _server: Guarded,
    _home: TempDir,
}

impl OpenBao {
    /// Starts one with the transit key `placet`, and a policy `placet` that lets it be used.
    ///
    /// # Panics
    /// Where it is not installed, or does not become ready.
    pub fn start() -> Self {
        let home = tempfile::Builder::new().prefix("placet-test-").tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let named = std::env::vars().find(|(name, _)| name == BAO).map(|(_, path)| PathBuf::from(path));
        let binary =
            named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bao"));
        assert!(binary.is_file(), "there is no `{}`: `scripts/test` installs it", binary.display());
        let log = File::create(home.path().join("log")).unwrap();
        let mut command = Command::new(binary);
        command
            .args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id", ROOT_TOKEN])
            .arg(format!("-dev-listen-address={address}"))
            .env("HOME", home.path())
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let server = guarded(&mut command, home.path());
        let bao = Self { address, _server: server, _home: home };
        until("OpenBao", || {
            let health = Client::new(&format!("http://{address}")).get("/v1/sys/health").try_send();
            health.is_ok_and(|health| health.status == 200).then_some(())
        });
        bao.ask("POST", "sys/mounts/transit", &serde_json::json!({"type": "transit"})).expect(204);
        bao.ask("POST", "transit/keys/placet", &serde_json::json!({"type": "aes256-gcm96"}));
        let rules = "path \"transit/encrypt/placet\" {capabilities=[\"update\"]}\n\
                     path \"transit/decrypt/placet\" {capabilities=[\"update\"]}";
        bao.ask("POST", "sys/policies/acl/placet", &serde_json::json!({"policy": rules})).expect(204);
        bao
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks it something as its administrator.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let client = Client::new(&format!("http://{}", self.address));
        client.request(method, &format!("/v1/{path}")).header("x-vault-token", ROOT_TOKEN).json(body).send()
    }

    /// A new token with the policy `placet`, and these members (`period`, `ttl`).
    pub fn token(&self, more: &Value) -> String {
        let mut body = serde_json::json!({"policies": ["placet"], "renewable": true});
        for (member, value) in more.as_object().into_iter().flatten() {
            body[member] = value.clone();
        }
        self.ask("POST", "auth/token/create", &body).expect(200).text("/auth/client_token")
    }
}

/// A device in software, with the AES key `placet` on the token `placet`.
#[derive(Debug)]
pub struct SoftHsm {
    home: TempDir,
}

impl SoftHsm {
    /// The PIN of its token.
    pub const PIN: &str = "87654321";
    /// Its module.
    pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

    /// Makes one.
    ///
    /// # Panics
    /// Where SoftHSM is not installed.
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("placet-test-").tempdir().unwrap();
        let made = Self { home };
        fs::create_dir(made.home.path().join("tokens")).unwrap();
        let text = format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            made.home.path().join("tokens").display()
        );
        fs::write(made.configuration(), text).unwrap();
        made.tool(&[
            "--init-token",
            "--free",
            "--label",
            "placet",
            "--so-pin",
            "12345678",
            "--pin",
            Self::PIN,
        ]);
        made.add_key("placet", [7; 32]);
        made
    }

    /// Puts another AES key onto the token.
    ///
    /// # Panics
    /// Where that fails.
    pub fn add_key(&self, label: &str, key: [u8; 32]) {
        let file = self.home.path().join("key");
        fs::write(&file, key).unwrap();
        let id = format!("{:02x}", key[0]);
        let file = file.to_str().unwrap();
        self.tool(&[
            "--import",
            file,
            "--aes",
            "--token",
            "placet",
            "--label",
            label,
            "--id",
            &id,
            "--pin",
            Self::PIN,
        ]);
    }

    /// What `SOFTHSM2_CONF` has to name for whoever uses it.
    pub fn configuration(&self) -> PathBuf {
        self.home.path().join("softhsm2.conf")
    }

    fn tool(&self, arguments: &[&str]) {
        let mut tool = Command::new("softhsm2-util");
        let done = tool.args(arguments).env("SOFTHSM2_CONF", self.configuration()).output();
        let done = done.expect("softhsm2-util, which `scripts/test` installs");
        assert!(done.status.success(), "{done:?}");
    }
}

impl Default for SoftHsm {
    fn default() -> Self {
        Self::new()
    }
}
