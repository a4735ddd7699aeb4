//! What of an installation's keys lies in the data directory: the node's name, the administrator token, and the keys
//! that older versions kept here.
//!
//! The keys themselves are in the database, sealed by the vault key ([`placet_server::keys`]).
//!
//! Invariant: keys of an older version are removed only when the database has them.

use super::{ADMIN_TOKEN, DataDir, RECORD_KEY};
use crate::exit::Failure;
use aws_lc_rs::rand;
use placet_core::{
    id::NodeId,
    record::{RecordSigner, VerifierKey},
    secret::Secret,
    time::Timestamp,
};
use placet_server::{caller::ADMIN_PREFIX, keys::Material};

pub(super) const NODE: &str = "node";
const TOKEN: &str = "keys/token.pk8";
const RECORD: &str = "keys/record.pk8";
const HASH: &str = "keys/hash.key";
const APPROVAL: &str = "keys/approval.key";
const BODY: &str = "keys/body.key";
const VAULT_ID: &str = "vault.id";
/// The files that older versions made beside the database; these have to be there all, or none.
const OLD: [&str; 5] = [TOKEN, RECORD, HASH, APPROVAL, BODY];

impl DataDir {
    /// The name of this node, made where there is none. `may_make` is false where the database of this directory is
    /// there already: a node of another name would not go on with its chain.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn node(&self, may_make: bool, now: Timestamp) -> Result<NodeId, Failure> {
        if let Some(bytes) = self.read(NODE)? {
            let name = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().parse().ok());
            return name.ok_or_else(|| self.wrong(NODE, "it is not the name of a node"));
        }
        if !may_make {
            return Err(self.missing(NODE));
        }
        let node = NodeId::from_parts(now, random()?);
        self.write(NODE, format!("{node}\n").as_bytes())?;
        Ok(node)
    }

    /// The administrator token that lies here, `None` where there is none.
    ///
    /// # Errors
    /// A sentence, where the file holds something else.
    pub(crate) fn admin_token(&self) -> Result<Option<Secret>, Failure> {
        let Some(bytes) = self.read(ADMIN_TOKEN)?.map(Secret::new) else { return Ok(None) };
        let line = bytes.expose_str().map(str::trim_end);
        let line = line.filter(|line| line.starts_with(ADMIN_PREFIX) && line.lines().count() == 1);
        let line =
            line.ok_or_else(|| self.wrong(ADMIN_TOKEN, "it is not one line with an administrator token"))?;
        Ok(Some(Secret::new(line)))
    }

    /// Keeps the administrator token here.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn keep_admin_token(&self, token: &Secret) -> Result<(), Failure> {
        let line = Secret::new([token.expose(), b"\n"].concat());
        self.write(ADMIN_TOKEN, line.expose())
    }

    /// Takes away what was made for an installation that another node was faster to make.
    pub(crate) fn take_back(&self, names: &[&str]) {
        for name in names {
            if let Err(error) = self.remove(name) {
                tracing::warn!(%error, name, "a file could not be removed");
            }
        }
    }

    /// The keys that an older version kept in files; `None` where there are none.
    ///
    /// # Errors
    /// A sentence: some of them are missing, or can't be used.
    pub(crate) fn old_keys(&self, node: NodeId) -> Result<Option<OldKeys>, Failure> {
        let mut found = Vec::new();
        for name in OLD {
            found.push(self.read(name)?.map(Secret::new));
        }
        if found.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut keys = OLD.iter().zip(found).map(|(name, found)| found.ok_or_else(|| self.missing(name)));
        let mut next = || keys.next().unwrap_or_else(|| Err(self.missing(TOKEN)));
        let (token, record, hash, approval, body) = (next()?, next()?, next()?, next()?, next()?);
        for (name, key) in [(HASH, &hash), (APPROVAL, &approval), (BODY, &body)] {
            if key.expose().len() != 32 {
                return Err(self.wrong(name, "it does not hold 32 bytes"));
            }
        }
        if placet_core::keys::SigningKey::from_pkcs8(token.expose()).is_err() {
            return Err(self.wrong(TOKEN, "it holds no signing key"));
        }
        let record_name = record_name(node);
        if RecordSigner::from_pkcs8(&record_name, record.expose()).is_err() {
            return Err(self.wrong(RECORD, "it holds no signing key"));
        }
        let vault_id = self.read(VAULT_ID)?.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        let admin_token = self.admin_token()?.ok_or_else(|| self.missing(ADMIN_TOKEN))?;
        let material = Material { token, record, record_name, hash, approval, body, admin_token };
        Ok(Some(OldKeys { material, vault_id }))
    }

    /// The public half of the record's key among [`DataDir::old_keys`], `None` where it is not there.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn old_record_key(&self, node: NodeId) -> Result<Option<VerifierKey>, Failure> {
        let Some(bytes) = self.read(RECORD)?.map(Secret::new) else { return Ok(None) };
        let signer = RecordSigner::from_pkcs8(&record_name(node), bytes.expose());
        signer
            .map(|signer| Some(signer.public_key()))
            .map_err(|_| self.wrong(RECORD, "it holds no signing key"))
    }

    /// Removes the files of [`DataDir::old_keys`], now that the database has them.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn remove_old_keys(&self) -> Result<(), Failure> {
        // The record's key last: by it what is left is known for what it is.
        for name in [TOKEN, HASH, APPROVAL, BODY, VAULT_ID, RECORD] {
            self.remove(name).map_err(|error| self.wrong(name, &format!("it can't be removed: {error}")))?;
        }
        // Where somebody keeps something else in it, it stays.
        let _ = std::fs::remove_dir(self.path().join("keys"));
        Ok(())
    }

    /// Writes the record's verifier key where everybody who may enter the directory can take it.
    ///
    /// # Errors
    /// A sentence, where the file can't be written.
    pub(crate) fn publish_record_key(&self, key: &str) -> Result<(), Failure> {
        let line = format!("{key}\n");
        if self.read(RECORD_KEY)?.as_deref() == Some(line.as_bytes()) {
            return Ok(());
        }
        self.write(RECORD_KEY, line.as_bytes())
    }

    /// Whether a server has served from this directory before: it leaves the record's key in it once it has opened or
    /// made its installation.
    ///
    /// # Errors
    /// A sentence, where the file can't be read.
    pub(crate) fn has_served(&self) -> Result<bool, Failure> {
        Ok(self.read(RECORD_KEY)?.is_some())
    }

    /// What is said where the database is empty, and was not.
    pub(crate) fn emptied(&self) -> Failure {
        Failure::start(format!(
            "the database is empty, and `{}` says that there was an installation in it: put the database back from a backup, or give an empty data directory for a new installation",
            self.path().join(RECORD_KEY).display()
        ))
    }

    /// What is said where a file is gone that the database needs.
    pub(crate) fn missing(&self, name: &str) -> Failure {
        Failure::start(format!(
            "`{}` is missing beside an existing database; put it back from a backup (a new one would not fit what is stored)",
            self.path().join(name).display()
        ))
    }

    fn wrong(&self, name: &str, why: &str) -> Failure {
        Failure::start(format!("`{}` can't be used: {why}", self.path().join(name).display()))
    }
}

/// The keys of an older version, to be taken into the database.
#[derive(Debug)]
pub(crate) struct OldKeys {
    /// The keys.
    pub(crate) material: Material,
    vault_id: Option<String>,
}

impl OldKeys {
    /// Whether `vault` is the vault key that this directory was made with.
    ///
    /// # Errors
    /// A sentence, where it is another.
    pub(crate) fn check_vault_key(&self, vault: &str) -> Result<(), Failure> {
        match &self.vault_id {
            Some(known) if known != vault => Err(Failure::start(format!(
                "the vault key is not the one that the data directory was made with: it has the id `{vault}` and not `{known}`"
            ))),
            _ => Ok(()),
        }
    }
}

/// The name of the record's key of an installation that this node makes: the origin line of its checkpoints.
pub(crate) fn record_name(node: NodeId) -> String {
    format!("placet/record/{node}")
}

/// A new administrator token.
///
/// # Errors
/// A sentence, where the system gives no randomness.
pub(crate) fn new_admin_token() -> Result<Secret, Failure> {
    Ok(Secret::generated(ADMIN_PREFIX, random()?))
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Failure::start("the system gives no randomness"))?;
    Ok(bytes)
}
