//! The keys of an installation, as they lie in its data directory.
//!
//! Invariant: see [`super`]: a key is made once, and never beside a database that needs another.

use super::{ADMIN_TOKEN, DataDir, RECORD_KEY};
use crate::exit::Failure;
use aws_lc_rs::{rand, rand::SystemRandom, signature::Ed25519KeyPair};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    id::NodeId,
    secret::{Secret, sha256},
    time::Timestamp,
};
use std::{fmt::Write as _, path::Path};

const TOKEN_KEY: &str = "keys/token.pk8";
const RECORD_SIGNER: &str = "keys/record.pk8";
const HASH_KEY: &str = "keys/hash.key";
const APPROVAL_KEY: &str = "keys/approval.key";
const BODY_KEY: &str = "keys/body.key";
const VAULT_KEY: &str = "vault.key";
const VAULT_ID: &str = "vault.id";
const NODE: &str = "node";

/// What an installation's files hold.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Signs tokens: Ed25519 in PKCS#8.
    pub(crate) token: Secret,
    /// Signs the record: Ed25519 in PKCS#8.
    pub(crate) record: Secret,
    /// Hashes generated secrets.
    pub(crate) hash: [u8; 32],
    /// Keys the digests of held requests.
    pub(crate) approval: [u8; 32],
    /// Seals the bodies of the record.
    pub(crate) body: [u8; 32],
    /// Seals the vault.
    pub(crate) vault: [u8; 32],
    /// Names the vault key: a digest of it, so that another key has another name.
    pub(crate) vault_id: String,
    /// The administrator token.
    pub(crate) admin_token: Secret,
    /// This node.
    pub(crate) node: NodeId,
}

impl Keys {
    /// Reads the keys, or makes them where there is no database yet. `vault` is the vault key where it comes from
    /// elsewhere; `admin_prefix` is what an administrator token begins with.
    ///
    /// # Errors
    /// A sentence naming the file that is missing, unreadable or not what it should be.
    pub(crate) fn load(
        directory: &DataDir,
        vault: Option<[u8; 32]>,
        admin_prefix: &str,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let files = Files { directory, may_make: !directory.database().exists() };
        let vault = files.vault(vault)?;
        let vault_id = vault_id(&vault);
        let known_id = files.text(VAULT_ID, || Ok(vault_id.clone()))?;
        if known_id != vault_id {
            return Err(Failure::start(format!(
                "the vault key is not the one that `{}` was made with: it has the id `{vault_id}` and not `{known_id}`",
                directory.path().display()
            )));
        }
        let node = files.text(NODE, || Ok(NodeId::from_parts(now, random()?).to_string()))?;
        let node = node.parse().map_err(|error| files.wrong(NODE, &format!("{error}")))?;
        let token = files.secret(TOKEN_KEY, signing_key)?;
        let record = files.secret(RECORD_SIGNER, signing_key)?;
        let hash = files.key(HASH_KEY)?;
        let approval = files.key(APPROVAL_KEY)?;
        let body = files.key(BODY_KEY)?;
        let admin_token = files.secret(ADMIN_TOKEN, || {
            let mut line = Secret::generated(admin_prefix, random()?).expose().to_vec();
            line.push(b'\n');
            Ok(Secret::new(line))
        })?;
        let line = admin_token.expose_str().map(str::trim_end).filter(|line| line.starts_with(admin_prefix));
        let line =
            line.ok_or_else(|| files.wrong(ADMIN_TOKEN, "it is not one line with an administrator token"))?;
        let admin_token = Secret::new(line.as_bytes());
        Ok(Self { token, record, hash, approval, body, vault, vault_id, admin_token, node })
    }

    /// The name of the record's key: the origin line of its checkpoints.
    pub(crate) fn record_name(&self) -> String {
        format!("placet/record/{}", self.node)
    }

    /// Writes the record's verifier key where everybody who may enter the directory can take it.
    ///
    /// # Errors
    /// A sentence, where the file can't be written.
    pub(crate) fn publish_record_key(directory: &DataDir, key: &str) -> Result<(), Failure> {
        let line = format!("{key}\n");
        if directory.read(RECORD_KEY)?.as_deref() == Some(line.as_bytes()) {
            return Ok(());
        }
        directory.write(RECORD_KEY, line.as_bytes())
    }
}

/// Reads a vault key that is kept outside of the data directory: 32 bytes, or 32 bytes in base64.
///
/// # Errors
/// A sentence.
pub(crate) fn vault_key_from_file(path: &Path) -> Result<[u8; 32], Failure> {
    let shown = path.display();
    let bytes = std::fs::read(path).map(Secret::new);
    let bytes = bytes
        .map_err(|error| Failure::start(format!("the vault key file `{shown}` can't be read: {error}")))?;
    if let Ok(key) = bytes.expose().try_into() {
        return Ok(key);
    }
    bytes.expose_str().and_then(vault_key_from_text).ok_or_else(|| {
        Failure::start(format!("the vault key file `{shown}` holds neither 32 bytes nor 32 bytes in base64"))
    })
}

/// A vault key from base64 text.
pub(crate) fn vault_key_from_text(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text.trim()).map(Secret::new).ok().and_then(|bytes| bytes.expose().try_into().ok())
}

struct Files<'a> {
    directory: &'a DataDir,
    may_make: bool,
}

impl Files<'_> {
    /// The file's bytes, made by `make` where there may be none yet.
    fn secret(&self, name: &str, make: impl FnOnce() -> Result<Secret, Failure>) -> Result<Secret, Failure> {
        if let Some(bytes) = self.directory.read(name)? {
            return Ok(Secret::new(bytes));
        }
        if !self.may_make {
            return Err(self.missing(name));
        }
        let made = make()?;
        self.directory.write(name, made.expose())?;
        Ok(made)
    }

    fn key(&self, name: &str) -> Result<[u8; 32], Failure> {
        let bytes = self.secret(name, || random().map(|bytes: [u8; 32]| Secret::new(bytes)))?;
        bytes.expose().try_into().map_err(|_| self.wrong(name, "it does not hold 32 bytes"))
    }

    fn text(&self, name: &str, make: impl FnOnce() -> Result<String, Failure>) -> Result<String, Failure> {
        let line = self.secret(name, || Ok(Secret::new(format!("{}\n", make()?))))?;
        let line = line.expose_str().map(|line| line.trim_end().to_owned());
        line.ok_or_else(|| self.wrong(name, "it is not text"))
    }

    fn vault(&self, given: Option<[u8; 32]>) -> Result<[u8; 32], Failure> {
        let Some(given) = given else { return self.key(VAULT_KEY) };
        match self.directory.read(VAULT_KEY)? {
            Some(kept) if kept != given => Err(Failure::start(format!(
                "the vault key that was given is not the one in `{}`; give none to use that one",
                self.directory.path().join(VAULT_KEY).display()
            ))),
            _ => Ok(given),
        }
    }

    fn missing(&self, name: &str) -> Failure {
        let advice = if name == VAULT_KEY {
            "; if the key is kept elsewhere, give --vault-key-file or PLACET_VAULT_KEY"
        } else {
            "; put it back from a backup (a new one would not fit what is stored)"
        };
        let path = self.directory.path().join(name);
        Failure::start(format!("`{}` is missing beside an existing database{advice}", path.display()))
    }

    fn wrong(&self, name: &str, why: &str) -> Failure {
        Failure::start(format!("`{}` can't be used: {why}", self.directory.path().join(name).display()))
    }
}

/// The start of a digest: enough to tell keys apart, and says nothing of 256 random bits.
fn vault_id(key: &[u8; 32]) -> String {
    let digest = sha256(&[b"placet/vault-key-id/1\0", key]);
    digest.iter().take(8).fold(String::from("vault-"), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    })
}

fn signing_key() -> Result<Secret, Failure> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    document.map(|document| Secret::new(document.as_ref())).map_err(|_| no_randomness())
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| no_randomness())?;
    Ok(bytes)
}

fn no_randomness() -> Failure {
    Failure::start("the system gives no randomness")
}
