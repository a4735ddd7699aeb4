//! Key services: keys that never leave a service or a device wrap the vault keys, so that what lies on a disk opens for
//! nobody without it.
//!
//! A wrapped vault key is one line of text ([`WrappedKey`]) which stands where a vault key in base64 could. Which service
//! wrapped it, and under which of its keys, stands in the line; where the services are is the operator's file
//! ([`KeyServicesConfig`]).
//!
//! Invariant: no secret stands in either; a line is bound to the id of its vault key, which is a digest of the key.

mod config;

pub use config::{KeyServicesConfig, NewKeys, Pkcs11Config, TransitAuth, TransitConfig};

use std::fmt;

/// What a line of a wrapped key begins with.
const MARK: &str = "wrapped:";
/// The longest line that is read.
const LONGEST: usize = 4096;

/// The kinds of key services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKind {
    /// The transit interface of HashiCorp Vault and OpenBao.
    Transit,
    /// A device with a PKCS#11 module.
    Pkcs11,
}

impl ServiceKind {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transit => "transit",
            Self::Pkcs11 => "pkcs11",
        }
    }
}

/// A vault key as it lies on a disk, wrapped by a key service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The id of the vault key inside.
    pub key_id: String,
    /// What kind of service wrapped it.
    pub by: ServiceKind,
    /// Under which of its keys: for transit, the mount and the key, with a slash between; for PKCS#11, the label.
    pub under: String,
    /// What the service made of it.
    pub wrapped: String,
}

impl WrappedKey {
    /// Whether a line says that it is a wrapped key.
    pub fn is_one(line: &[u8]) -> bool {
        line.starts_with(MARK.as_bytes())
    }

    /// From a line; `None` where it is no whole one.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = Some(line).filter(|line| line.len() <= LONGEST)?.strip_prefix(MARK)?.splitn(4, ':');
        let (key_id, by) = (parts.next()?, parts.next()?);
        let by = [ServiceKind::Transit, ServiceKind::Pkcs11].into_iter().find(|kind| kind.as_str() == by)?;
        let (under, wrapped) = (parts.next()?, parts.next()?);
        let sound = is_key_id(key_id) && is_name(under) && is_wrapped(wrapped);
        let (key_id, under, wrapped) = (key_id.to_owned(), under.to_owned(), wrapped.to_owned());
        sound.then_some(Self { key_id, by, under, wrapped })
    }

    /// What the service is asked to bind the wrapped key to.
    pub fn bound_to(key_id: &str) -> Vec<u8> {
        [b"placet/vault-key/1:", key_id.as_bytes()].concat()
    }
}

impl fmt::Display for WrappedKey {
    /// The line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{}:{}:{}:{}", self.key_id, self.by.as_str(), self.under, self.wrapped)
    }
}

/// The form that [`crate::seal::RootKey::named_by_digest`] makes.
fn is_key_id(text: &str) -> bool {
    text.strip_prefix("vault-").is_some_and(|hex| {
        hex.len() == 16 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Names of keys, mounts and labels: what can stand in a line and in a path as it is.
fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    text.len() <= 256 && text.split('/').all(part)
}

/// No white space and no comma, by which lines and keys are told apart.
fn is_wrapped(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_says_which_key_it_is_and_who_wrapped_it() {
        let line = "wrapped:vault-0123456789abcdef:transit:transit/placet:vault:v3:AbC+/=";
        let key = WrappedKey::parse(line).unwrap();
        assert_eq!((key.by, key.under.as_str()), (ServiceKind::Transit, "transit/placet"));
        assert_eq!(
            (key.key_id.as_str(), key.wrapped.as_str()),
            ("vault-0123456789abcdef", "vault:v3:AbC+/=")
        );
        assert_eq!(key.to_string(), line);
        for wrong in [
            "",
            "wrapped:",
            "wrapped:vault-0123456789abcdef:transit:transit/placet",
            "wrapped:vault-0123456789abcdef:transit:transit/placet:",
            "wrapped:vault-0123456789abcdef:transit:../placet:vault:v1:A",
            "wrapped:vault-0123456789abcdef:transit:a//b:vault:v1:A",
            "wrapped:vault-0123456789abcdef:cloud:placet:A",
            "wrapped:vault-0123456789ABCDEF:transit:placet:A",
            "wrapped:vault-0123:transit:placet:A",
            "wrapped:vault-0123456789abcdef:transit:placet:a b",
            "vault-0123456789abcdef:transit:placet:A",
        ] {
            assert_eq!(WrappedKey::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_as_it_was(line in "wrapped:vault-[0-9a-f]{16}:(transit|pkcs11):[a-z./-]{1,9}:[!-~]{1,20}") {
            if let Some(key) = WrappedKey::parse(&line) {
                prop_assert_eq!(key.to_string(), line);
            }
        }

        #[test]
        fn nothing_panics(line in ".{0,80}") {
            let _ = WrappedKey::parse(&line);
            let _ = WrappedKey::parse(&format!("wrapped:{line}"));
        }
    }
}
