//! Where key services are, as the operator writes it down in a file.
//!
//! ```yaml
//! transit:                               # HashiCorp Vault, OpenBao
//!   address: https://vault.example:8200
//!   key: placet
//!   mount: transit                       # as here where it isn't said
//!   namespace: team-a                    # none where it isn't said
//!   ca_file: ca.pem                      # authorities besides the system's
//!   context: cGxhY2V0                    # base64; only for a key with derivation
//!   auth: {token_file: token}
//!   # auth: {approle: {role_id: …, secret_id_file: secret-id, mount: approle}}
//!   # auth: {kubernetes: {role: placet, token_file: /var/run/secrets/kubernetes.io/serviceaccount/token, mount: kubernetes}}
//! pkcs11:                                # a device
//!   module: /usr/lib/softhsm/libsofthsm2.so
//!   token: placet
//!   key: placet
//!   pin_file: pin
//! new_keys: transit                      # or `pkcs11` or `file`; needed where both are there
//! ```
//!
//! Invariant: no secret stands in it; tokens and PINs are in files of their own.

use super::{ServiceKind, is_name};
use crate::{
    client::Uri,
    diagnostic::Diagnostic,
    yaml::{MapReading, Reading, parse},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::path::PathBuf;

/// The key services of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyServicesConfig {
    /// A transit interface.
    pub transit: Option<TransitConfig>,
    /// A device.
    pub pkcs11: Option<Pkcs11Config>,
    /// What becomes of new vault keys.
    pub new_keys: NewKeys,
}

/// What becomes of a new vault key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKeys {
    /// A service wraps it.
    Wrapped(ServiceKind),
    /// It lies in the file as it is: the way back from a service.
    Plain,
}

/// A transit interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitConfig {
    /// Scheme, host and port, without a slash at the end.
    pub address: String,
    /// Where the interface is mounted.
    pub mount: String,
    /// The key that wraps.
    pub key: String,
    /// The namespace that all is asked in.
    pub namespace: Option<String>,
    /// A file with authorities that are believed besides the system's.
    pub ca_file: Option<PathBuf>,
    /// For keys with derivation: base64.
    pub context: Option<String>,
    /// With what it is asked.
    pub auth: TransitAuth,
}

/// With what a transit interface is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransitAuth {
    /// A token in a file, which is renewed while a server runs.
    Token {
        /// The file.
        file: PathBuf,
    },
    /// A role, logged in anew for each piece of work.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The role's id, which is no secret.
        role_id: String,
        /// The file with the secret id.
        secret_id_file: PathBuf,
    },
    /// A service account, logged in anew for each piece of work.
    Kubernetes {
        /// Where the method is mounted.
        mount: String,
        /// The role.
        role: String,
        /// The file with the service account's token.
        token_file: PathBuf,
    },
}

/// A device with a PKCS#11 module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Config {
    /// The module: a shared library.
    pub module: PathBuf,
    /// The label of the token.
    pub token: String,
    /// The label of the AES key that wraps.
    pub key: String,
    /// The file with the user's PIN.
    pub pin_file: PathBuf,
}

impl KeyServicesConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it, each with its place.
    pub fn read(source: &[u8], file: Option<&str>) -> Result<Self, Vec<Diagnostic>> {
        let (root, report) = parse(source, file)?;
        let config = Self::of(&root.reading("the document", &report));
        report.finish(config).map(|(config, _)| config)
    }

    fn of(reading: &Reading<'_>) -> Option<Self> {
        let map = reading.map()?;
        map.finish(&["transit", "pkcs11", "new_keys"]);
        let (transit, pkcs11) = (maybe(&map, "transit", transit), maybe(&map, "pkcs11", pkcs11));
        // What is described wrongly was told where it stands.
        let (transit, pkcs11) = (transit?, pkcs11?);
        let new_keys = match (map.optional("new_keys"), &transit, &pkcs11) {
            (_, None, None) => {
                reading.error("it describes no key service: `transit` or `pkcs11`");
                return None;
            }
            (Some(reading), ..) => {
                let word = reading.one_of(&["transit", "pkcs11", "file"])?;
                let described = match word {
                    "transit" => transit.is_some(),
                    "pkcs11" => pkcs11.is_some(),
                    _ => true,
                };
                if !described {
                    reading.error(format!("`new_keys` names `{word}`, and no `{word}` is described"));
                    return None;
                }
                match word {
                    "transit" => NewKeys::Wrapped(ServiceKind::Transit),
                    "pkcs11" => NewKeys::Wrapped(ServiceKind::Pkcs11),
                    _ => NewKeys::Plain,
                }
            }
            (None, Some(_), None) => NewKeys::Wrapped(ServiceKind::Transit),
            (None, None, Some(_)) => NewKeys::Wrapped(ServiceKind::Pkcs11),
            (None, Some(_), Some(_)) => {
                reading.error("where two key services are described, `new_keys` says which wraps new vault keys: `transit`, `pkcs11`, or `file` for none");
                return None;
            }
        };
        Some(Self { transit, pkcs11, new_keys })
    }
}

fn transit(reading: &Reading<'_>) -> Option<TransitConfig> {
    let map = reading.map()?;
    map.finish(&["address", "mount", "key", "namespace", "ca_file", "context", "auth"]);
    let address = map.required("address").and_then(|reading| address(&reading));
    let mount = or(&map, "mount", "transit");
    let key = map.required("key").and_then(|reading| plain(&reading));
    let namespace = maybe(&map, "namespace", name);
    let ca_file = maybe(&map, "ca_file", path);
    let context = maybe(&map, "context", |reading| {
        let text = reading.string()?;
        if STANDARD.decode(text).is_ok_and(|bytes| !bytes.is_empty()) {
            return Some(text.to_owned());
        }
        reading.error("`context` is base64");
        None
    });
    let auth = map.required("auth").and_then(|reading| auth(&reading));
    Some(TransitConfig {
        address: address?,
        mount: mount?,
        key: key?,
        namespace: namespace?,
        ca_file: ca_file?,
        context: context?,
        auth: auth?,
    })
}

fn auth(reading: &Reading<'_>) -> Option<TransitAuth> {
    let map = reading.map()?;
    map.finish(&["token_file", "approle", "kubernetes"]);
    match (map.optional("token_file"), map.optional("approle"), map.optional("kubernetes")) {
        (Some(file), None, None) => Some(TransitAuth::Token { file: path(&file)? }),
        (None, Some(role), None) => {
            let map = role.map()?;
            map.finish(&["mount", "role_id", "secret_id_file"]);
            let (mount, role_id) = (or(&map, "mount", "approle"), map.required("role_id"));
            let file = map.required("secret_id_file").and_then(|reading| path(&reading));
            let role_id = role_id.and_then(|reading| reading.string().map(str::to_owned));
            Some(TransitAuth::AppRole { mount: mount?, role_id: role_id?, secret_id_file: file? })
        }
        (None, None, Some(role)) => {
            let map = role.map()?;
            map.finish(&["mount", "role", "token_file"]);
            let (mount, role) = (or(&map, "mount", "kubernetes"), map.required("role"));
            let file = map.required("token_file").and_then(|reading| path(&reading));
            let role = role.and_then(|reading| reading.string().map(str::to_owned));
            Some(TransitAuth::Kubernetes { mount: mount?, role: role?, token_file: file? })
        }
        _ => {
            reading.error("`auth` has one of `token_file`, `approle` and `kubernetes`");
            None
        }
    }
}

fn pkcs11(reading: &Reading<'_>) -> Option<Pkcs11Config> {
    let map = reading.map()?;
    map.finish(&["module", "token", "key", "pin_file"]);
    let module = map.required("module").and_then(|reading| path(&reading));
    let token = map.required("token").and_then(|reading| reading.string().map(str::to_owned));
    let key = map.required("key").and_then(|reading| plain(&reading));
    let pin_file = map.required("pin_file").and_then(|reading| path(&reading));
    Some(Pkcs11Config { module: module?, token: token?, key: key?, pin_file: pin_file? })
}

/// `None` where it stands there and is wrong.
fn maybe<T>(
    map: &MapReading<'_>,
    key: &str,
    read: impl FnOnce(&Reading<'_>) -> Option<T>,
) -> Option<Option<T>> {
    map.optional(key).map_or(Some(None), |reading| read(&reading).map(Some))
}

fn or(map: &MapReading<'_>, key: &str, default: &str) -> Option<String> {
    maybe(map, key, name).map(|found| found.unwrap_or_else(|| default.to_owned()))
}

fn path(reading: &Reading<'_>) -> Option<PathBuf> {
    reading.string().map(PathBuf::from)
}

/// A name with slashes in it, or without.
fn name(reading: &Reading<'_>) -> Option<String> {
    let text = reading.string()?;
    if is_name(text) {
        return Some(text.to_owned());
    }
    reading.error("it is made of letters, digits, `-`, `_` and `.`, with slashes between parts");
    None
}

/// A name without slashes.
fn plain(reading: &Reading<'_>) -> Option<String> {
    let found = name(reading)?;
    if !found.contains('/') {
        return Some(found);
    }
    reading.error("it has no slash");
    None
}

fn address(reading: &Reading<'_>) -> Option<String> {
    let text = reading.string()?;
    let rest = text.trim_end_matches('/');
    let sound = Uri::parse(text).ok().is_some_and(|uri| match (uri.scheme, uri.authority) {
        ("https", Some(_)) => true,
        ("http", Some(authority)) => authority.is_loopback(),
        _ => false,
    });
    let plain = rest.split_once("://").is_some_and(|(_, rest)| !rest.contains(['/', '?', '#', '@']));
    if sound && plain {
        return Some(rest.to_owned());
    }
    reading.error("`address` is an https URL, or an http one of this machine, without user, path and query");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<KeyServicesConfig, Vec<Diagnostic>> {
        KeyServicesConfig::read(text.as_bytes(), None)
    }

    const TRANSIT: &str =
        "transit: {address: \"https://vault.example:8200/\", key: placet, auth: {token_file: t}}\n";
    const DEVICE: &str = "pkcs11: {module: /m.so, token: a token, key: placet, pin_file: pin}\n";

    #[test]
    fn a_file_says_where_key_services_are() {
        let config = read(TRANSIT).unwrap();
        let transit = config.transit.unwrap();
        assert_eq!(
            (transit.address.as_str(), transit.mount.as_str()),
            ("https://vault.example:8200", "transit")
        );
        assert_eq!(transit.auth, TransitAuth::Token { file: "t".into() });
        assert_eq!(config.new_keys, NewKeys::Wrapped(ServiceKind::Transit));
        assert_eq!(read(DEVICE).unwrap().new_keys, NewKeys::Wrapped(ServiceKind::Pkcs11));
        let both = format!("{TRANSIT}{DEVICE}");
        assert!(read(&both).is_err(), "which wraps new ones?");
        assert_eq!(read(&format!("{both}new_keys: file")).unwrap().new_keys, NewKeys::Plain);
        let role = TRANSIT.replace("token_file: t", "approle: {role_id: r, secret_id_file: s}");
        let role = read(&role).unwrap().transit.unwrap().auth;
        assert!(matches!(role, TransitAuth::AppRole { mount, .. } if mount == "approle"));
        let account = TRANSIT.replace("token_file: t", "kubernetes: {role: r, token_file: s, mount: k8s/eu}");
        let account = read(&account).unwrap().transit.unwrap().auth;
        assert!(matches!(account, TransitAuth::Kubernetes { mount, .. } if mount == "k8s/eu"));
        assert!(read(&TRANSIT.replace("https://vault.example:8200/", "http://127.0.0.1:8200")).is_ok());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for wrong in [
            "{}".to_owned(),
            "new_keys: file".to_owned(),
            format!("{TRANSIT}new_keys: pkcs11"),
            format!("{TRANSIT}other: 1"),
            TRANSIT.replace("https://vault.example:8200/", "http://vault.example:8200"),
            TRANSIT.replace("https://vault.example:8200/", "https://vault.example/v1"),
            TRANSIT.replace("https://vault.example:8200/", "https://a@vault.example"),
            TRANSIT.replace("key: placet", "key: ../placet"),
            TRANSIT.replace("key: placet", "key: a/b"),
            TRANSIT.replace("key: placet", "key: placet, context: \"***\""),
            TRANSIT.replace("{token_file: t}", "{}"),
            TRANSIT.replace("token_file: t", "token: s.hunter2"),
            TRANSIT.replace("token_file: t", "token_file: t, approle: {role_id: r, secret_id_file: s}"),
            DEVICE.replace(", pin_file: pin", ""),
            DEVICE.replace("pin_file: pin", "pin: 1234"),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
