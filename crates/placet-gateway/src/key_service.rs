//! Key services at work: they wrap vault keys, and unwrap them when a server starts.
//!
//! A wrapped vault key is bound to its id and is checked against it when it comes back. The vault key itself is in this
//! process's memory while it runs, as each secret that it opens is for a moment; the key that wraps it never is.
//!
//! These calls block, and are few: one for each vault key at a start, and some at a rotation. Each runs on a thread of
//! its own, so that it can be made from anywhere.
//!
//! Invariant: no token, PIN or key stands in an error, and no message of a service is passed on with one in it.

mod pkcs11;
mod transit;

pub use pkcs11::Pkcs11;
pub use transit::Transit;

use placet_core::{
    key_service::{NewKeys, ServiceKind, WrappedKey},
    seal::RootKey,
    secret::Secret,
};
use std::{fmt, sync::Arc};

/// Reads a secret from where the operator keeps it, each time anew: it may have been replaced.
#[derive(Clone)]
pub struct SecretFrom(Arc<dyn Fn() -> Result<Secret, String> + Send + Sync>);

impl SecretFrom {
    /// From what reads it; errors are sentences that say which file can't be read.
    pub fn new(read: impl Fn() -> Result<Secret, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    fn read(&self) -> Result<Secret, KeyServiceError> {
        (self.0)().map_err(KeyServiceError::Credential)
    }
}

impl fmt::Debug for SecretFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretFrom(…)")
    }
}

/// Why a key service did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyServiceError {
    /// It was not asked, or did not answer.
    #[error("the key service {service} can't be reached: {why}")]
    Unreachable {
        /// Which one.
        service: String,
        /// Why not.
        why: String,
    },
    /// It said no.
    #[error("the key service {service} refused to {what}: {why}")]
    Refused {
        /// Which one.
        service: String,
        /// What was asked for.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// With what it is asked can't be read.
    #[error("{0}")]
    Credential(String),
    /// What came back is not the key that the line names.
    #[error("`{key_id}` came back from the key service {service} as another key")]
    OtherKey {
        /// The id that was wrapped.
        key_id: String,
        /// Which one.
        service: String,
    },
    /// A line names a kind of service that is not configured.
    #[error(
        "the vault key `{key_id}` is wrapped by a key service ({kind}) that is not described: name the file that describes it with --vault-service or PLACET_VAULT_SERVICE"
    )]
    NotDescribed {
        /// The vault key.
        key_id: String,
        /// The kind of service.
        kind: &'static str,
    },
}

/// What a key service does.
pub trait KeyService: fmt::Debug + Send + Sync {
    /// What people are told which one it is.
    fn name(&self) -> String;

    /// Under which of its keys new vault keys are wrapped; as in [`WrappedKey::under`].
    fn under(&self) -> String;

    /// Wraps `key`, bound to `aad`, under [`KeyService::under`].
    ///
    /// # Errors
    /// [`KeyServiceError`].
    fn wrap(&self, key: &Secret, aad: &[u8]) -> Result<String, KeyServiceError>;

    /// Unwraps what was wrapped under the key that `under` names.
    ///
    /// # Errors
    /// [`KeyServiceError`].
    fn unwrap_key(&self, under: &str, wrapped: &str, aad: &[u8]) -> Result<Secret, KeyServiceError>;

    /// Does what is due to keep access to it; called every few seconds, and seldom has something to do.
    ///
    /// # Errors
    /// [`KeyServiceError`], once for each attempt.
    fn tend(&self) -> Result<(), KeyServiceError> {
        Ok(())
    }
}

/// The key services of an installation.
#[derive(Debug)]
pub struct KeyServices {
    transit: Option<Transit>,
    pkcs11: Option<Pkcs11>,
    new_keys: NewKeys,
}

impl KeyServices {
    /// Of these.
    pub fn new(transit: Option<Transit>, pkcs11: Option<Pkcs11>, new_keys: NewKeys) -> Self {
        Self { transit, pkcs11, new_keys }
    }

    /// The line of a new vault key, wrapped where new ones are; `None` where they are not. `key` is its 32 bytes.
    ///
    /// # Errors
    /// [`KeyServiceError`].
    pub fn wrap_new(&self, key: &Secret) -> Result<Option<WrappedKey>, KeyServiceError> {
        let NewKeys::Wrapped(by) = self.new_keys else { return Ok(None) };
        let key_id = id(key).unwrap_or_default();
        let service = self.of(by, &key_id)?;
        let wrapped = service.wrap(key, &WrappedKey::bound_to(&key_id))?;
        let line = WrappedKey { key_id, by, under: service.under(), wrapped };
        // What would not be read again must not be written.
        let read = WrappedKey::parse(&line.to_string()).filter(|read| *read == line);
        read.map(Some).ok_or_else(|| KeyServiceError::Refused {
            service: service.name(),
            what: "wrap a vault key",
            why: "its answer has a form that is not known".to_owned(),
        })
    }

    /// The 32 bytes of a wrapped vault key.
    ///
    /// # Errors
    /// [`KeyServiceError`].
    pub fn open(&self, line: &WrappedKey) -> Result<Secret, KeyServiceError> {
        let service = self.of(line.by, &line.key_id)?;
        let key = service.unwrap_key(&line.under, &line.wrapped, &WrappedKey::bound_to(&line.key_id))?;
        if id(&key).as_deref() == Some(&line.key_id) {
            return Ok(key);
        }
        Err(KeyServiceError::OtherKey { key_id: line.key_id.clone(), service: service.name() })
    }

    /// Does what is due to keep access to them.
    ///
    /// # Errors
    /// [`KeyServiceError`] of the first that fails.
    pub fn tend(&self) -> Result<(), KeyServiceError> {
        let transit = self.transit.as_ref().map_or(Ok(()), KeyService::tend);
        self.pkcs11.as_ref().map_or(Ok(()), KeyService::tend).and(transit)
    }

    fn of(&self, kind: ServiceKind, key_id: &str) -> Result<&dyn KeyService, KeyServiceError> {
        let service = match kind {
            ServiceKind::Transit => self.transit.as_ref().map(|service| -> &dyn KeyService { service }),
            ServiceKind::Pkcs11 => self.pkcs11.as_ref().map(|service| -> &dyn KeyService { service }),
        };
        let key_id = key_id.to_owned();
        service.ok_or_else(|| KeyServiceError::NotDescribed { key_id, kind: kind.as_str() })
    }
}

/// The id of a vault key; `None` where these are not 32 bytes.
fn id(key: &Secret) -> Option<String> {
    let root = RootKey::named_by_digest(key.expose().try_into().ok()?).ok()?;
    Some(root.key_id().to_owned())
}
