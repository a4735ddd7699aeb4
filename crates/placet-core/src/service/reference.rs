//! Secrets of connections that are kept elsewhere: where, by name.
//!
//! Invariant: pure, and no secret itself. A name that could lead out of the place that the operator has allowed is refused
//! here, before anybody looks.

use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What names of environment variables begin with.
pub const ENV_PREFIX: &str = "PLACET_SECRET_";
/// The longest name or path, in bytes.
const MAX_NAME: usize = 255;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reference {
    /// In the environment that the server was started with.
    Env {
        /// With [`ENV_PREFIX`].
        name: String,
    },
    /// In a file of the operator's directory.
    File {
        /// Below that directory.
        path: String,
    },
    /// What the operator's command writes.
    Command {
        /// Its one argument.
        name: String,
    },
    /// In a key-value store (version 2) of HashiCorp Vault or what speaks like it.
    VaultKv {
        /// Below the operator's mount.
        path: String,
        /// The member that it is; without it the secret is all of them, as an object.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
}

/// Why a reference leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// A variable that is not for this.
    #[error(
        "`name` of an environment variable begins with `{ENV_PREFIX}`, with capitals, digits and `_` behind it"
    )]
    Env,
    /// A path that could lead elsewhere.
    #[error("`path` has plain segments with `/` between them: none empty, `.` or `..`, and none absolute")]
    Path,
    /// A name that could be taken for an option.
    #[error("`name` has letters, digits and `._-/@:`, and begins with a letter or digit")]
    Name,
    /// No member.
    #[error("`key` has 1 to {MAX_NAME} visible characters")]
    Key,
    /// Several parts where there is to be one.
    #[error("what is there has several parts, and one is wanted: name its `key` (`vault:PATH#KEY`)")]
    Whole,
}

impl Reference {
    /// Whether it leads where such secrets are.
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn check(&self) -> Result<(), ReferenceError> {
        match self {
            Self::Env { name } => {
                let own = name.strip_prefix(ENV_PREFIX).unwrap_or_default();
                let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
                let good = !own.is_empty() && name.len() <= MAX_NAME && own.bytes().all(fits);
                if good { Ok(()) } else { Err(ReferenceError::Env) }
            }
            Self::File { path } => checked_path(path),
            Self::Command { name } => {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/@:".contains(&byte);
                let begins = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
                let good = begins && name.len() <= MAX_NAME && name.bytes().all(fits);
                if good { Ok(()) } else { Err(ReferenceError::Name) }
            }
            Self::VaultKv { path, key } => {
                checked_path(path)?;
                let good = key.as_ref().is_none_or(|key| {
                    (1..=MAX_NAME).contains(&key.len()) && !key.chars().any(char::is_control)
                });
                if good { Ok(()) } else { Err(ReferenceError::Key) }
            }
        }
    }

    /// Whether what is read there can be one text: a secret of the key-value store is an object, of which a member has to be
    /// named. All of it in the place of a token would go to an upstream that is to have one part.
    ///
    /// # Errors
    /// [`ReferenceError::Whole`].
    pub fn check_is_one(&self) -> Result<(), ReferenceError> {
        if matches!(self, Self::VaultKv { key: None, .. }) { Err(ReferenceError::Whole) } else { Ok(()) }
    }

    /// As it is sealed in the place of a secret.
    pub fn to_secret(&self) -> Secret {
        Secret::new(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Whether this is what was sealed.
    pub fn is_sealed_as(&self, sealed: &Secret) -> bool {
        self.to_secret() == *sealed
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env { name } => write!(f, "the environment variable `{name}`"),
            Self::File { path } => write!(f, "the file `{path}`"),
            Self::Command { name } => write!(f, "what the command says of `{name}`"),
            Self::VaultKv { path, key: None } => write!(f, "`{path}` of the key-value store"),
            Self::VaultKv { path, key: Some(key) } => write!(f, "`{key}` in `{path}` of the key-value store"),
        }
    }
}

/// Only what has one reading in a file system and in a URL.
fn checked_path(path: &str) -> Result<(), ReferenceError> {
    let plain = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@+".contains(&byte))
    };
    let good = path.len() <= MAX_NAME && path.split('/').all(plain);
    if good { Ok(()) } else { Err(ReferenceError::Path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::path::{Component, Path};

    #[test]
    fn references_that_lead_somewhere_and_those_that_do_not() {
        for (value, good) in [
            (json!({"from": "env", "name": "PLACET_SECRET_SHOP"}), true),
            (json!({"from": "env", "name": "PLACET_SECRET_"}), false),
            (json!({"from": "env", "name": "PLACET_VAULT_KEY"}), false),
            (json!({"from": "file", "path": "team/shop-token"}), true),
            (json!({"from": "file", "path": "..data"}), true),
            (json!({"from": "file", "path": "/etc/passwd"}), false),
            (json!({"from": "file", "path": "a/../../b"}), false),
            (json!({"from": "file", "path": "a//b"}), false),
            (json!({"from": "file", "path": ""}), false),
            (json!({"from": "file", "path": "a\\b"}), false),
            (json!({"from": "command", "name": "op://team/shop:token@1"}), true),
            (json!({"from": "command", "name": "--help"}), false),
            (json!({"from": "command", "name": "a b"}), false),
            (json!({"from": "command", "name": "$(x)"}), false),
            (json!({"from": "vault_kv", "path": "placet/shop", "key": "token"}), true),
            (json!({"from": "vault_kv", "path": "placet/shop"}), true),
            (json!({"from": "vault_kv", "path": "placet/%2e%2e/shop"}), false),
            (json!({"from": "vault_kv", "path": "placet?version=1"}), false),
            (json!({"from": "vault_kv", "path": "placet", "key": ""}), false),
        ] {
            let reference: Reference = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(reference.check().is_ok(), good, "{value}");
            assert!(reference.is_sealed_as(&reference.to_secret()));
        }
        for value in [
            json!({"from": "http", "url": "x"}),
            json!({"from": "env"}),
            json!({"from": "env", "name": "a", "path": "b"}),
        ] {
            assert!(serde_json::from_value::<Reference>(value).is_err());
        }
    }

    #[test]
    fn of_a_secret_with_several_parts_one_is_named_where_one_is_wanted() {
        let of = |key: Option<&str>| Reference::VaultKv { path: "shop".into(), key: key.map(Into::into) };
        assert_eq!(of(None).check_is_one(), Err(ReferenceError::Whole));
        assert_eq!(of(Some("token")).check_is_one(), Ok(()));
        assert_eq!(Reference::File { path: "shop".into() }.check_is_one(), Ok(()));
    }

    proptest! {
        #[test]
        fn no_path_leads_out(path in "[a-z./\\\\%~:\u{0}-]{0,12}") {
            if (Reference::File { path: path.clone() }).check().is_ok() {
                prop_assert!(Path::new(&path).components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert!(!path.contains(['\\', '%', '\0', ':', '~']));
            }
        }
    }
}
