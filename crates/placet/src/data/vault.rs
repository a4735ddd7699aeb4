//! The vault keys: where they are kept, and how they are read and written.
//!
//! In a file there is one key to a line, each 32 bytes in base64; a file of exactly 32 bytes is one key as it is.
//! While the vault key is rotated there are several. The file is always written whole.
//!
//! Invariant: no key is dropped from a file unless the server says that nothing is sealed by it any more.

use super::write_whole;
use crate::exit::Failure;
use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{seal::RootKey, secret::Secret};
use placet_server::vault::VaultSource;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Where the vault keys are.
#[derive(Debug, Clone)]
pub(crate) struct VaultKeys(Arc<Place>);

#[derive(Debug)]
enum Place {
    /// A file; `writing` is held while it is read and written anew.
    File { path: PathBuf, writing: Mutex<()> },
    /// An environment variable.
    Environment(Secret),
}

impl VaultKeys {
    /// In a file, which may not be there yet.
    pub(crate) fn file(path: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Place::File { path: path.into(), writing: Mutex::new(()) }))
    }

    /// In the text of `PLACET_VAULT_KEY`: keys in base64, with commas between.
    pub(crate) fn environment(text: Secret) -> Self {
        Self(Arc::new(Place::Environment(text)))
    }

    /// The keys, `None` where the file is not there.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn at_hand(&self) -> Result<Option<Vec<Arc<RootKey>>>, Failure> {
        let found = self.bytes().map_err(Failure::start)?;
        found.map(|bytes| parse(&bytes).ok_or_else(|| Failure::start(self.unusable()))).transpose()
    }

    /// Makes the first key of an installation.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn make(&self) -> Result<Vec<Arc<RootKey>>, Failure> {
        self.add().map_err(Failure::start)?;
        Ok(self.at_hand()?.unwrap_or_default())
    }

    /// The file, where it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &*self.0 {
            Place::File { path, .. } => Some(path),
            Place::Environment(_) => None,
        }
    }

    fn bytes(&self) -> Result<Option<Secret>, String> {
        match &*self.0 {
            Place::Environment(text) => Ok(Some(text.clone())),
            Place::File { path, .. } => match std::fs::read(path) {
                Ok(bytes) => Ok(Some(Secret::new(bytes))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(format!("the vault key file `{}` can't be read: {error}", path.display())),
            },
        }
    }

    /// Reads the file, changes the lines and writes it whole.
    fn rewrite(&self, change: impl FnOnce(&mut Vec<Secret>)) -> Result<(), String> {
        let Place::File { path, writing } = &*self.0 else {
            return Err("the vault keys are in PLACET_VAULT_KEY, which a running server can't change: set it to all of the keys, with commas between, and start again".to_owned());
        };
        let _writing = writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = match self.bytes()? {
            Some(bytes) => lines(&bytes).ok_or_else(|| self.unusable())?,
            None => Vec::new(),
        };
        change(&mut lines);
        let mut text = Vec::new();
        for line in &lines {
            text.extend_from_slice(line.expose());
            text.push(b'\n');
        }
        let text = Secret::new(text);
        write_whole(path, text.expose()).map_err(|error| {
            format!(
                "the vault key file `{}` can't be written: {error}; write the new key into it yourself, on a line of its own below the others",
                path.display()
            )
        })
    }

    fn unusable(&self) -> String {
        let what = "neither 32 bytes nor lines of 32 bytes in base64";
        match &*self.0 {
            Place::File { path, .. } => format!("the vault key file `{}` holds {what}", path.display()),
            Place::Environment(_) => {
                "PLACET_VAULT_KEY does not hold 32 bytes in base64, or several of those with commas between"
                    .to_owned()
            }
        }
    }
}

impl VaultSource for VaultKeys {
    fn read(&self) -> Result<Vec<Arc<RootKey>>, String> {
        let bytes = self.bytes()?.ok_or_else(|| "the vault key file is not there".to_owned())?;
        parse(&bytes).ok_or_else(|| self.unusable())
    }

    fn add(&self) -> Result<String, String> {
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_| "the system gives no randomness".to_owned())?;
        let line = Secret::new(STANDARD.encode(key));
        self.rewrite(|lines| lines.push(line))?;
        RootKey::named_by_digest(key).map(|key| key.key_id().to_owned()).map_err(|error| error.to_string())
    }

    fn drop_keys(&self, ids: &[String]) -> Result<(), String> {
        let dropped = |line: &Secret| root(line).is_some_and(|key| ids.iter().any(|id| id == key.key_id()));
        self.rewrite(|lines| {
            // The last key stays, whatever is asked for.
            if !lines.iter().all(dropped) {
                lines.retain(|line| !dropped(line));
            }
        })
    }
}

fn parse(bytes: &Secret) -> Option<Vec<Arc<RootKey>>> {
    lines(bytes)?.iter().map(|line| root(line).map(Arc::new)).collect()
}

/// The keys in base64, at least one; `None` where something is no key.
fn lines(bytes: &Secret) -> Option<Vec<Secret>> {
    if bytes.expose().len() == 32 {
        return Some(vec![Secret::new(STANDARD.encode(bytes.expose()))]);
    }
    let text = bytes.expose_str()?;
    let words = text.split([',', ' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    let lines: Vec<_> = words.map(Secret::new).collect();
    (!lines.is_empty() && lines.iter().all(|line| root(line).is_some())).then_some(lines)
}

fn root(line: &Secret) -> Option<RootKey> {
    let bytes = STANDARD.decode(line.expose()).map(Secret::new).ok()?;
    RootKey::named_by_digest(bytes.expose().try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn ids(keys: &VaultKeys) -> Vec<String> {
        keys.read().unwrap().iter().map(|key| key.key_id().to_owned()).collect()
    }

    #[test]
    fn a_file_of_an_older_version_is_one_key_and_becomes_lines() {
        let outside = tempfile::tempdir().unwrap();
        let path = outside.path().join("vault.key");
        fs::write(&path, [7; 32]).unwrap();
        let keys = VaultKeys::file(&path);
        let old = ids(&keys);
        let new = keys.add().unwrap();
        assert_eq!(ids(&keys), [old[0].clone(), new.clone()]);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        keys.drop_keys(&old).unwrap();
        let new = [new];
        assert_eq!(ids(&keys), new);
        // Never the last one.
        keys.drop_keys(&new).unwrap();
        assert_eq!(ids(&keys), new);
    }

    #[test]
    fn the_environment_takes_several_and_can_not_be_written() {
        let (a, b) = (STANDARD.encode([1; 32]), STANDARD.encode([2; 32]));
        let keys = VaultKeys::environment(Secret::new(format!("{a}, {b}")));
        assert_eq!(ids(&keys).len(), 2);
        assert!(keys.add().unwrap_err().contains("PLACET_VAULT_KEY"));
    }

    #[test]
    fn what_is_no_key_is_a_sentence_without_the_text() {
        let outside = tempfile::tempdir().unwrap();
        let path = outside.path().join("vault.key");
        assert!(VaultKeys::file(&path).at_hand().unwrap().is_none());
        let good = STANDARD.encode([1; 32]);
        for wrong in ["", "\n", "hunter2", &format!("{good}\nhunter2"), &STANDARD.encode([1; 31])] {
            fs::write(&path, wrong).unwrap();
            let failure = VaultKeys::file(&path).at_hand().unwrap_err().to_string();
            assert!(failure.contains("32 bytes") && !failure.contains("hunter2"), "{failure}");
        }
    }
}
