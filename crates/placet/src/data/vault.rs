//! The vault keys: where they are kept, and how they are read and written.
//!
//! In a file there is one key to a line, each 32 bytes in base64, or wrapped by a key service
//! ([`placet_core::key_service`]); a file of exactly 32 bytes is one key as it is. While the vault key is rotated there are
//! several. The file is always written whole, under a lock on its directory, which this program's commands take too.
//!
//! A wrapped key is unwrapped once and kept: a key service that is not reached later stops nobody from reading the file
//! again.
//!
//! Invariant: no key is dropped from a file unless the server says that nothing is sealed by it any more; where new keys are
//! wrapped, none lies in the file in the clear, not for a moment.

use super::{VAULT_KEY, write_whole};
use crate::exit::Failure;
use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fs4::FileExt;
use placet_core::{key_service::WrappedKey, seal::RootKey, secret::Secret};
use placet_gateway::{KeyServiceError, KeyServices};
use placet_server::vault::VaultSource;
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Where vault keys are, as flags and environment say: those that are not in the data directory, and the key services
/// that wrap them wherever they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct VaultPlace {
    elsewhere: Option<VaultKeys>,
    services: Option<Arc<KeyServices>>,
}

impl VaultPlace {
    /// Keys in this file, or else in the text of `PLACET_VAULT_KEY`; else in the data directory.
    pub(crate) fn new(
        file: Option<&Path>,
        environment: Option<&Secret>,
        services: Option<Arc<KeyServices>>,
    ) -> Self {
        let elsewhere = match (file, environment) {
            (Some(path), _) => Some(VaultKeys::file(path, services.clone())),
            (None, Some(text)) => Some(VaultKeys::environment(text.clone(), services.clone())),
            (None, None) => None,
        };
        Self { elsewhere, services }
    }

    /// The keys that are not in the data directory.
    pub(crate) fn elsewhere(&self) -> Option<&VaultKeys> {
        self.elsewhere.as_ref()
    }

    /// Those in the data directory.
    pub(crate) fn own(&self, directory: &Path) -> VaultKeys {
        VaultKeys::file(directory.join(VAULT_KEY), self.services.clone())
    }

    /// Those that a server on the data directory uses.
    pub(crate) fn of(&self, directory: &Path) -> VaultKeys {
        self.elsewhere.clone().unwrap_or_else(|| self.own(directory))
    }

    /// The key services.
    pub(crate) fn services(&self) -> Option<&Arc<KeyServices>> {
        self.services.as_ref()
    }
}

/// Where the vault keys are.
#[derive(Debug, Clone)]
pub(crate) struct VaultKeys(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    place: Place,
    services: Option<Arc<KeyServices>>,
    /// What was unwrapped, by its line.
    unwrapped: Mutex<BTreeMap<String, Arc<RootKey>>>,
}

#[derive(Debug)]
enum Place {
    /// A file; `writing` is held while it is read and written anew.
    File { path: PathBuf, writing: Mutex<()> },
    /// An environment variable.
    Environment(Secret),
}

/// One key as it is kept.
enum Line {
    Plain(Secret),
    Wrapped(WrappedKey),
}

impl Line {
    /// `None` where it is neither.
    fn read(word: &str) -> Option<Self> {
        if WrappedKey::is_one(word.as_bytes()) {
            return WrappedKey::parse(word).map(Self::Wrapped);
        }
        let plain = Secret::new(word);
        root(&plain).map(|_| Self::Plain(plain))
    }

    fn text(&self) -> Secret {
        match self {
            Self::Plain(line) => line.clone(),
            Self::Wrapped(key) => Secret::new(key.to_string()),
        }
    }

    fn key_id(&self) -> Option<String> {
        match self {
            Self::Plain(line) => root(line).map(|key| key.key_id().to_owned()),
            Self::Wrapped(key) => Some(key.key_id.clone()),
        }
    }
}

/// A vault key at hand, as people are told of it.
#[derive(Debug)]
pub(crate) struct Described {
    /// Its id.
    pub(crate) id: String,
    /// The kind of the key service that wraps it, and under which of its keys; `None` where it lies in the clear.
    pub(crate) wrapped: Option<String>,
}

impl VaultKeys {
    /// In a file, which may not be there yet.
    pub(crate) fn file(path: impl Into<PathBuf>, services: Option<Arc<KeyServices>>) -> Self {
        Self::of(Place::File { path: path.into(), writing: Mutex::new(()) }, services)
    }

    /// In the text of `PLACET_VAULT_KEY`: keys with commas between.
    pub(crate) fn environment(text: Secret, services: Option<Arc<KeyServices>>) -> Self {
        Self::of(Place::Environment(text), services)
    }

    fn of(place: Place, services: Option<Arc<KeyServices>>) -> Self {
        Self(Arc::new(Kept { place, services, unwrapped: Mutex::default() }))
    }

    /// The keys, `None` where the file is not there.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn at_hand(&self) -> Result<Option<Vec<Arc<RootKey>>>, Failure> {
        let lines = self.lines().map_err(Failure::start)?;
        lines.map(|lines| self.roots(&lines)).transpose().map_err(Failure::start)
    }

    /// The keys as people are told of them, all of which are unwrapped to see that they can be; `None` where the file is
    /// not there.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn described(&self) -> Result<Option<Vec<Described>>, Failure> {
        let Some(lines) = self.lines().map_err(Failure::start)? else { return Ok(None) };
        let roots = self.roots(&lines).map_err(Failure::start)?;
        let described = roots.iter().zip(&lines).map(|(root, line)| Described {
            id: root.key_id().to_owned(),
            wrapped: match line {
                Line::Plain(_) => None,
                Line::Wrapped(key) => Some(format!("{} `{}`", key.by.as_str(), key.under)),
            },
        });
        Ok(Some(described.collect()))
    }

    /// Makes the first key of an installation.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn make(&self) -> Result<Vec<Arc<RootKey>>, Failure> {
        self.add().map_err(Failure::start)?;
        Ok(self.at_hand()?.unwrap_or_default())
    }

    /// Wraps anew what is wrapped: under the newest version of the key that the services' file names, which may be another
    /// one than before, or another service's. The vault keys stay the same; answers their ids.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn rewrap(&self) -> Result<Vec<String>, String> {
        let mut ids = Vec::new();
        self.rewrite(|lines| {
            for line in lines {
                let Line::Wrapped(old) = &*line else { continue };
                let (services, key) = (self.services(old)?, self.unwrap_key(old)?);
                let new = services.wrap_new(&key).map_err(|error| error.to_string())?;
                let new = new.ok_or_else(|| {
                    "the file of the key services says `new_keys: file`: nothing is wrapped by that; to leave a key service, rotate the vault key".to_owned()
                })?;
                ids.push(new.key_id.clone());
                *line = Line::Wrapped(new);
            }
            Ok(())
        })?;
        Ok(ids)
    }

    /// The file, where it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.0.place {
            Place::File { path, .. } => Some(path),
            Place::Environment(_) => None,
        }
    }

    fn bytes(&self) -> Result<Option<Secret>, String> {
        match &self.0.place {
            Place::Environment(text) => Ok(Some(text.clone())),
            Place::File { path, .. } => match std::fs::read(path) {
                Ok(bytes) => Ok(Some(Secret::new(bytes))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(format!("the vault key file `{}` can't be read: {error}", path.display())),
            },
        }
    }

    fn lines(&self) -> Result<Option<Vec<Line>>, String> {
        let bytes = self.bytes()?;
        bytes.map(|bytes| lines(&bytes).ok_or_else(|| self.unusable())).transpose()
    }

    /// The keys of the lines; a wrapped one is unwrapped where it has not been before.
    fn roots(&self, lines: &[Line]) -> Result<Vec<Arc<RootKey>>, String> {
        let mut known = BTreeMap::new();
        let mut roots = Vec::new();
        for line in lines {
            roots.push(match line {
                Line::Plain(line) => root(line).map(Arc::new).ok_or_else(|| self.unusable())?,
                Line::Wrapped(key) => {
                    let line = key.to_string();
                    let before = self.unwrapped().get(&line).map(Arc::clone);
                    let root = match before {
                        Some(root) => root,
                        None => Arc::new(self.unwrapped_root(key)?),
                    };
                    known.insert(line, Arc::clone(&root));
                    root
                }
            });
        }
        *self.unwrapped() = known;
        Ok(roots)
    }

    fn unwrapped(&self) -> MutexGuard<'_, BTreeMap<String, Arc<RootKey>>> {
        self.0.unwrapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn services(&self, key: &WrappedKey) -> Result<&KeyServices, String> {
        let none = || KeyServiceError::NotDescribed { key_id: key.key_id.clone(), kind: key.by.as_str() };
        self.0.services.as_deref().ok_or_else(|| none().to_string())
    }

    fn unwrap_key(&self, key: &WrappedKey) -> Result<Secret, String> {
        self.services(key)?.open(key).map_err(|error| error.to_string())
    }

    fn unwrapped_root(&self, key: &WrappedKey) -> Result<RootKey, String> {
        let bytes = self.unwrap_key(key)?;
        let root = bytes.expose().try_into().ok().and_then(|bytes| RootKey::named_by_digest(bytes).ok());
        root.ok_or_else(|| self.unusable())
    }

    /// Reads the file, changes the lines and writes it whole.
    fn rewrite(&self, change: impl FnOnce(&mut Vec<Line>) -> Result<(), String>) -> Result<(), String> {
        let Place::File { path, writing } = &self.0.place else {
            return Err("the vault keys are in PLACET_VAULT_KEY, which a running server can't change: set it to all of the keys, with commas between, and start again".to_owned());
        };
        let _writing = writing.lock().unwrap_or_else(PoisonError::into_inner);
        let unwritten = |error: io::Error| {
            format!(
                "the vault key file `{}` can't be written: {error}; write the new key into it yourself, on a line of its own below the others",
                path.display()
            )
        };
        // Against other processes; given up when it is closed. A directory that is not there yet has no other writer.
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory =
            if directory.is_dir() { Some(File::open(directory).map_err(unwritten)?) } else { None };
        if let Some(directory) = &directory {
            FileExt::lock(directory).map_err(unwritten)?;
        }
        let mut lines = self.lines()?.unwrap_or_default();
        change(&mut lines)?;
        let mut text = Vec::new();
        for line in &lines {
            text.extend_from_slice(line.text().expose());
            text.push(b'\n');
        }
        let text = Secret::new(text);
        write_whole(path, text.expose()).map_err(unwritten)
    }

    fn unusable(&self) -> String {
        let what = "neither 32 bytes nor lines of 32 bytes in base64, or of keys that a key service wrapped";
        match &self.0.place {
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
        let lines = self.lines()?.ok_or_else(|| "the vault key file is not there".to_owned())?;
        self.roots(&lines)
    }

    fn add(&self) -> Result<String, String> {
        let line = fresh(self.0.services.as_deref())?;
        let id = line.key_id().ok_or_else(|| self.unusable())?;
        self.rewrite(|lines| {
            lines.push(line);
            Ok(())
        })?;
        Ok(id)
    }

    fn drop_keys(&self, ids: &[String]) -> Result<(), String> {
        let dropped = |line: &Line| line.key_id().is_some_and(|key| ids.contains(&key));
        self.rewrite(|lines| {
            // The last key stays, whatever is asked for.
            if !lines.iter().all(dropped) {
                lines.retain(|line| !dropped(line));
            }
            Ok(())
        })
    }

    fn tend(&self) -> Result<(), String> {
        self.0.services.as_ref().map_or(Ok(()), |services| services.tend()).map_err(|error| error.to_string())
    }
}

/// A new vault key as a line for vault key files: wrapped, where `services` wrap new ones.
///
/// # Errors
/// A sentence.
pub(crate) fn new_line(services: Option<&KeyServices>) -> Result<Secret, String> {
    fresh(services).map(|line| line.text())
}

fn fresh(services: Option<&KeyServices>) -> Result<Line, String> {
    let mut key = [0; 32];
    rand::fill(&mut key).map_err(|_| "the system gives no randomness".to_owned())?;
    let key = Secret::new(key);
    let wrapped = services.map(|services| services.wrap_new(&key)).transpose();
    Ok(match wrapped.map_err(|error| error.to_string())?.flatten() {
        Some(wrapped) => Line::Wrapped(wrapped),
        None => Line::Plain(Secret::new(STANDARD.encode(key.expose()))),
    })
}

/// The keys, at least one; `None` where something is no key.
fn lines(bytes: &Secret) -> Option<Vec<Line>> {
    if bytes.expose().len() == 32 {
        return Some(vec![Line::Plain(Secret::new(STANDARD.encode(bytes.expose())))]);
    }
    let text = bytes.expose_str()?;
    let words = text.split([',', ' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    let lines = words.map(Line::read).collect::<Option<Vec<_>>>()?;
    (!lines.is_empty()).then_some(lines)
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
        let keys = VaultKeys::file(&path, None);
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
        let keys = VaultKeys::environment(Secret::new(format!("{a}, {b}")), None);
        assert_eq!(ids(&keys).len(), 2);
        assert!(keys.add().unwrap_err().contains("PLACET_VAULT_KEY"));
    }

    #[test]
    fn what_is_no_key_is_a_sentence_without_the_text() {
        let outside = tempfile::tempdir().unwrap();
        let path = outside.path().join("vault.key");
        assert!(VaultKeys::file(&path, None).at_hand().unwrap().is_none());
        let good = STANDARD.encode([1; 32]);
        for wrong in ["", "\n", "hunter2", &format!("{good}\nhunter2"), &STANDARD.encode([1; 31])] {
            fs::write(&path, wrong).unwrap();
            let failure = VaultKeys::file(&path, None).at_hand().unwrap_err().to_string();
            assert!(failure.contains("32 bytes") && !failure.contains("hunter2"), "{failure}");
        }
    }

    #[test]
    fn a_wrapped_key_needs_its_service_and_none_wrapped_it_is_dropped_unread() {
        let outside = tempfile::tempdir().unwrap();
        let path = outside.path().join("vault.key");
        let plain = STANDARD.encode([1; 32]);
        fs::write(
            &path,
            format!("{plain}\nwrapped:vault-0123456789abcdef:transit:transit/placet:vault:v1:A\n"),
        )
        .unwrap();
        let keys = VaultKeys::file(&path, None);
        let failure = keys.at_hand().unwrap_err().to_string();
        assert!(
            failure.contains("vault-0123456789abcdef") && failure.contains("--vault-service"),
            "{failure}"
        );
        assert!(keys.rewrap().unwrap_err().contains("--vault-service"));
        keys.drop_keys(&["vault-0123456789abcdef".to_owned()]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{plain}\n"));
        fs::write(&path, "wrapped:vault-0123456789abcdef:cloud:placet:A").unwrap();
        assert!(keys.at_hand().unwrap_err().to_string().contains("32 bytes"));
    }
}
