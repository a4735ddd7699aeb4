//! Where the operator lets secrets of connections be read: files of one directory, one command, variables that are
//! meant for it, one key-value store.
//!
//! Invariant: nothing outside of these is read, whatever a reference says; a command gets no shell, no environment but
//! what programs need to run, a limit of time and one of output; what was read is in no message.

use crate::{environment, exit::Failure};
use clap::Args;
use placet_core::{
    secret::Secret,
    service::{oauth::is_token_url, reference::Reference},
};
use placet_gateway::{CertificateDer, Given, KeyValue, Login};
use placet_server::connections::SecretSource;
use std::{
    collections::HashMap,
    future::Future,
    io::Read as _,
    path::{Path, PathBuf},
    pin::Pin,
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

/// The longest secret, in bytes.
const LONGEST: u64 = 64 * 1024;
/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(10);

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct SecretPlaces {
    /// Connections may have their secrets in files below this directory
    #[arg(long, value_name = "DIR")]
    secrets_from_dir: Option<PathBuf>,
    /// Connections may have their secrets from this program: it gets a name as its only argument, and writes the secret
    #[arg(long, value_name = "PATH")]
    secrets_command: Option<PathBuf>,
    /// Connections may have their secrets in this HashiCorp Vault or OpenBao (key-value store, version 2)
    #[arg(long, value_name = "URL")]
    kv_url: Option<String>,
    /// Where in it the key-value store is mounted
    #[arg(long, value_name = "NAME", default_value = "secret", requires = "kv_url")]
    kv_mount: String,
    /// The namespace of it
    #[arg(long, value_name = "NAME", requires = "kv_url")]
    kv_namespace: Option<String>,
    /// A token for it is in this file, which is read at each use
    #[arg(long, value_name = "FILE", requires = "kv_url", conflicts_with = "kv_role_id")]
    kv_token_file: Option<PathBuf>,
    /// The role that this server has there (AppRole)
    #[arg(long, value_name = "ID", requires = "kv_url", requires = "kv_secret_id_file")]
    kv_role_id: Option<String>,
    /// The role's secret id is in this file, which is read at each login
    #[arg(long, value_name = "FILE", requires = "kv_role_id")]
    kv_secret_id_file: Option<PathBuf>,
}

impl SecretPlaces {
    /// What is read there.
    ///
    /// # Errors
    /// A sentence: a place is not there, or not one.
    pub(crate) fn open(
        self,
        extra_roots: &[CertificateDer<'static>],
    ) -> Result<Arc<dyn SecretSource>, Failure> {
        let wrong = |flag: &str, path: &Path, why: &str| {
            Failure::start(format!("{flag}: `{}` can't be used: {why}", path.display()))
        };
        let directory = match self.secrets_from_dir {
            Some(path) => match path.canonicalize() {
                Ok(found) if found.is_dir() => Some(found),
                Ok(_) => return Err(wrong("--secrets-from-dir", &path, "it is no directory")),
                Err(error) => return Err(wrong("--secrets-from-dir", &path, &error.to_string())),
            },
            None => None,
        };
        let command = match self.secrets_command {
            Some(path) => match path.canonicalize() {
                Ok(found) if found.is_file() => Some(found),
                Ok(_) => return Err(wrong("--secrets-command", &path, "it is no program")),
                Err(error) => return Err(wrong("--secrets-command", &path, &error.to_string())),
            },
            None => None,
        };
        let store = match self.kv_url {
            Some(url) => {
                if !is_token_url(&url) {
                    let why = "an https URL (or http at this machine) without user, query and fragment";
                    return Err(Failure::start(format!("--kv-url: `{url}` is not {why}")));
                }
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
                let mount = self.kv_mount.trim_matches('/');
                if mount.is_empty() || !mount.bytes().all(plain) || mount.contains("..") {
                    return Err(Failure::start("--kv-mount is no name of a mount".to_owned()));
                }
                let login = match (self.kv_token_file, self.kv_role_id) {
                    (Some(path), _) => Login::Token(given(path, "token")),
                    (None, Some(role_id)) => {
                        let path = self.kv_secret_id_file.unwrap_or_default();
                        Login::AppRole { role_id, secret_id: given(path, "secret id") }
                    }
                    (None, None) => {
                        let detail =
                            "--kv-url needs --kv-token-file, or --kv-role-id with --kv-secret-id-file";
                        return Err(Failure::start(detail.to_owned()));
                    }
                };
                let store = KeyValue::new(&url, mount, self.kv_namespace, login, extra_roots);
                Some(store.map_err(|error| Failure::start(error.to_string()))?)
            }
            None => None,
        };
        Ok(Arc::new(Places { directory, command, store, environment: environment::connection_secrets() }))
    }
}

/// What is in a file, as it is now.
fn given(path: PathBuf, what: &'static str) -> Given {
    Arc::new(move || {
        let read = whole(&path).map_err(|why| format!("the {what} for the key-value store: {why}"))?;
        Ok(read)
    })
}

#[derive(Debug)]
struct Places {
    directory: Option<PathBuf>,
    command: Option<PathBuf>,
    store: Option<KeyValue>,
    environment: HashMap<String, Secret>,
}

impl SecretSource for Places {
    fn read<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> Pin<Box<dyn Future<Output = Result<Secret, String>> + Send + 'a>> {
        Box::pin(async move {
            reference.check().map_err(|error| error.to_string())?;
            match reference {
                Reference::Env { name } => self.environment.get(name).cloned().ok_or_else(|| {
                    format!("the server was started without `{name}`: set it, and start the server anew")
                }),
                Reference::File { path } => {
                    let directory =
                        self.directory.clone().ok_or_else(|| not_started_with("--secrets-from-dir"))?;
                    let path = path.clone();
                    let reading = tokio::task::spawn_blocking(move || within(&directory, &path));
                    reading.await.map_err(|_| "reading stopped with a bug".to_owned())?
                }
                Reference::Command { name } => {
                    let command =
                        self.command.as_ref().ok_or_else(|| not_started_with("--secrets-command"))?;
                    said_by(command, name).await
                }
                Reference::VaultKv { path, key } => {
                    let store = self.store.as_ref().ok_or_else(|| not_started_with("--kv-url"))?;
                    store.read(path, key.as_deref()).await
                }
            }
        })
    }
}

fn not_started_with(flag: &str) -> String {
    format!("the server was started without {flag}")
}

/// A file below the directory, wherever links in between lead.
fn within(directory: &Path, path: &str) -> Result<Secret, String> {
    let found = directory.join(path).canonicalize();
    let found = found.map_err(|error| format!("the file can't be read: {}", error.kind()))?;
    // Links to places beside it within the directory are how platforms change such files in one step.
    if !found.starts_with(directory) {
        return Err("the file leads out of the directory that the server may read secrets from".to_owned());
    }
    whole(&found)
}

/// A file's content without its last newline.
fn whole(path: &Path) -> Result<Secret, String> {
    let unread = |error: std::io::Error| format!("the file can't be read: {}", error.kind());
    if !path.metadata().map_err(unread)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unread)?;
    trimmed(bytes)
}

fn trimmed(bytes: Vec<u8>) -> Result<Secret, String> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST) {
        return Err(format!("it has more than {LONGEST} bytes"));
    }
    let bytes = Secret::new(bytes);
    let kept = bytes.expose().strip_suffix(b"\n").unwrap_or(bytes.expose());
    let kept = kept.strip_suffix(b"\r").unwrap_or(kept);
    if kept.is_empty() { Err("it is empty".to_owned()) } else { Ok(Secret::new(kept)) }
}

/// What the operator's command writes. What it says on its error output may be anything, and is thrown away.
async fn said_by(command: &Path, name: &str) -> Result<Secret, String> {
    let mut child = Command::new(command)
        .arg(name)
        .env_clear()
        .envs(environment::of_programs())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("the command can't be started: {}", error.kind()))?;
    let asked = async {
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let read = stdout.take(LONGEST + 1).read_to_end(&mut said).await;
            read.map_err(|error| format!("the command's output can't be read: {}", error.kind()))?;
        }
        // Whoever writes more than is read may end by that alone.
        let is_cut = u64::try_from(said.len()).is_ok_and(|length| length > LONGEST);
        let said = trimmed(said).map_err(|why| format!("the command's output can't be used: {why}"));
        let ended = child.wait().await.map_err(|error| format!("the command: {}", error.kind()))?;
        if ended.success() || is_cut { said } else { Err(format!("the command failed ({ended})")) }
    };
    timeout(COMMAND, asked)
        .await
        .map_err(|_| format!("the command took longer than {} seconds", COMMAND.as_secs()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn places(directory: &Path, command: Option<PathBuf>) -> Places {
        let environment = HashMap::from([("PLACET_SECRET_X".to_owned(), Secret::new("canary-env"))]);
        Places { directory: Some(directory.canonicalize().unwrap()), command, store: None, environment }
    }

    fn file(path: &str) -> Reference {
        Reference::File { path: path.to_owned() }
    }

    #[tokio::test]
    async fn files_are_read_within_the_directory_only() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("secrets");
        std::fs::create_dir_all(inner.join("..data")).unwrap();
        std::fs::write(outer.path().join("outside"), "canary-outside").unwrap();
        std::fs::write(inner.join("..data/token"), "canary-inside\n").unwrap();
        std::fs::write(inner.join("empty"), "\n").unwrap();
        std::fs::write(inner.join("large"), vec![b'x'; 70_000]).unwrap();
        symlink("..data/token", inner.join("token")).unwrap();
        symlink("../outside", inner.join("escape")).unwrap();
        symlink("/", inner.join("root")).unwrap();
        let places = places(&inner, None);
        for path in ["..data/token", "token"] {
            assert_eq!(places.read(&file(path)).await.unwrap().expose(), b"canary-inside");
        }
        for (path, why) in [
            ("escape", "leads out"),
            ("root/etc/passwd", "leads out"),
            ("../outside", "plain segments"),
            ("missing", "not found"),
            ("..data", "no file"),
            ("empty", "empty"),
            ("large", "more than"),
        ] {
            let refused = places.read(&file(path)).await.unwrap_err();
            assert!(refused.contains(why) && !refused.contains("canary"), "{path}: {refused}");
        }
        let env = |name: &str| Reference::Env { name: name.to_owned() };
        assert_eq!(places.read(&env("PLACET_SECRET_X")).await.unwrap().expose(), b"canary-env");
        assert!(places.read(&env("PLACET_SECRET_Y")).await.unwrap_err().contains("PLACET_SECRET_Y"));
        assert!(places.read(&env("HOME")).await.is_err());
    }

    #[tokio::test]
    async fn a_command_gets_one_argument_and_no_shell() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ask");
        let script = "#!/bin/sh\ncase \"$1\" in\n  args) echo \"$#:$0\";;\n  env) env | cut -d= -f1 | sort | tr '\\n' ' ';;\n  \
                      fail) echo canary-out; echo canary-err >&2; exit 3;;\n  none) ;;\n  much) head -c 70000 /dev/zero | tr '\\0' x;;\n  \
                      stdin) cat; echo end;;\n  *) printf '%s' \"$1\";;\nesac\n";
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        let places = places(directory.path(), Some(path.clone()));
        let ask = async |name: &str| places.read(&Reference::Command { name: name.to_owned() }).await;
        let text = |secret: Secret| secret.expose_str().unwrap().to_owned();
        assert_eq!(text(ask("args").await.unwrap()), format!("1:{}", path.display()));
        assert_eq!(text(ask("team/shop:token@1").await.unwrap()), "team/shop:token@1");
        assert_eq!(text(ask("stdin").await.unwrap()), "end");
        let known = text(ask("env").await.unwrap());
        assert!(
            known.split(' ').all(|name| !name.starts_with("PLACET") && !name.starts_with("CARGO")),
            "{known}"
        );
        for (name, why) in [
            ("fail", "failed"),
            ("none", "empty"),
            ("much", "more than"),
            ("a;b", "letters"),
            ("-x", "letters"),
        ] {
            let refused = ask(name).await.unwrap_err();
            assert!(refused.contains(why) && !refused.contains("canary"), "{name}: {refused}");
        }
    }
}
