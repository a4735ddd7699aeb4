//! What a command finds around itself: which proxy to use, whom to trust there, and none of the credentials that lay about.
//!
//! Invariant: what was left out is named, never shown.

use crate::{exit::Failure, output};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where systems keep the authorities that they trust.
const SYSTEMS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Who reads a whole list of authorities, in the place of the system's: OpenSSL (Python, Ruby, PHP) and Go; requests; curl;
/// git; the AWS tools; pip; cargo; Bundler; gRPC; httplib2; what Nix builds; Google's tools.
const WHOLE: [&str; 12] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "BUNDLE_SSL_CA_CERT",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
];
/// Who reads authorities besides those that it has: Node.js and Deno.
const BESIDES: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];
const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Names of variables that hold or lead to credentials.
const CREDENTIALS: [&str; 18] = [
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "GPG_AGENT_INFO",
    "GIT_ASKPASS",
    "SSH_ASKPASS",
    "NETRC",
    "KUBECONFIG",
    "DOCKER_CONFIG",
    "DOCKER_HOST",
    "DOCKER_AUTH_CONFIG",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CLOUDSDK_CONFIG",
    "DATABASE_URL",
    "REDIS_URL",
    "MONGODB_URI",
    "PGPASSFILE",
    "SENTRY_DSN",
    "GITHUB_PAT",
];
/// What such names begin with.
const PREFIXES: [&str; 5] = ["AWS_", "AZURE_", "ARM_", "PLACET_", "OCI_"];
/// What they end with.
const SUFFIXES: [&str; 13] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PGPASS",
    "API_KEY",
    "APIKEY",
    "ACCESS_KEY",
    "ACCESS_KEY_ID",
    "SECRET_KEY",
    "PRIVATE_KEY",
    "CREDENTIALS",
    "WEBHOOK_URL",
];
/// What they are not, though they look so.
const HARMLESS: [&str; 4] = ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE", "PLACET_URL"];

/// The surroundings of a command.
pub(super) struct Surroundings {
    set: Vec<(String, OsString)>,
    removed: Vec<OsString>,
}

impl Surroundings {
    /// Those of the proxy `proxy` in front of the server `server`, where `certificates` (PEM) are trusted; what has to be a
    /// file is put into `directory`.
    ///
    /// # Errors
    /// A sentence, where the files can't be written.
    pub(super) fn around(
        directory: &Path,
        proxy: &str,
        server: &str,
        certificates: &str,
        keep: &[String],
    ) -> Result<Self, Failure> {
        let wrong = |error: std::io::Error| {
            Failure::unreadable(format!("the certificates can't be put into a temporary file: {error}"))
        };
        let (besides, whole) = (directory.join("egress.pem"), directory.join("all.pem"));
        fs::write(&besides, certificates).map_err(wrong)?;
        fs::write(&whole, format!("{}\n{certificates}", systems())).map_err(wrong)?;
        let inherited: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).collect();
        let removed: Vec<OsString> = inherited.into_iter().filter(|name| holds(name, keep)).collect();
        let named: Vec<_> = removed
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| !name.starts_with("PLACET_"))
            .collect();
        if !named.is_empty() {
            output::note(&format!("left out of the environment: {} (--keep keeps one)", named.join(", ")));
        }
        Ok(Self { set: set(proxy, server, &besides, &whole), removed })
    }

    /// Puts a command into them.
    pub(super) fn put(&self, command: &mut Command) {
        for name in &self.removed {
            command.env_remove(name);
        }
        for (name, value) in &self.set {
            command.env(name, value);
        }
    }
}

/// The variables that are set.
fn set(proxy: &str, server: &str, besides: &Path, whole: &Path) -> Vec<(String, OsString)> {
    let own = server.split_once("://").map_or(server, |(_, rest)| rest);
    let own = own.split('/').next().unwrap_or_default();
    let text = |names: &[&str], value: &str| -> Vec<(String, OsString)> {
        names.iter().map(|name| ((*name).to_owned(), value.into())).collect()
    };
    let path = |names: &[&str], value: &Path| -> Vec<(String, OsString)> {
        names.iter().map(|name| ((*name).to_owned(), value.into())).collect()
    };
    [
        text(&PROXIES, proxy),
        // Placet's own doors are no host of a service.
        text(&["NO_PROXY", "no_proxy"], own),
        text(&["NODE_USE_ENV_PROXY"], "1"),
        path(&WHOLE, whole),
        path(&BESIDES, besides),
    ]
    .concat()
}

/// The authorities that the system trusts; none where it doesn't keep them in a file.
fn systems() -> String {
    let given = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let places = given.into_iter().chain(SYSTEMS.iter().map(PathBuf::from));
    places.into_iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default()
}

/// Whether a variable of this name may hold a credential, and isn't to be kept.
fn holds(name: &OsString, keep: &[String]) -> bool {
    let Some(name) = name.to_str() else { return true };
    if keep.iter().any(|kept| kept == name) || HARMLESS.contains(&name) {
        return false;
    }
    let upper = name.to_ascii_uppercase();
    CREDENTIALS.contains(&upper.as_str())
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES.iter().any(|suffix| upper.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_may_hold_credentials_are_left_out_unless_they_are_kept() {
        let held = |name: &str, keep: &[&str]| {
            holds(&name.into(), &keep.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        };
        for name in [
            "AWS_SECRET_ACCESS_KEY",
            "AWS_PROFILE",
            "GITHUB_TOKEN",
            "GH_TOKEN",
            "OPENAI_API_KEY",
            "PLACET_CLIENT_SECRET",
            "PGPASSWORD",
            "my_db_password",
            "SSH_AUTH_SOCK",
        ] {
            assert!(held(name, &[]), "{name}");
            assert!(!held(name, &["OTHER", name]), "{name}");
        }
        for name in ["PATH", "HOME", "LANG", "AWS_REGION", "PLACET_URL", "TERM", "TOKENIZERS_PARALLELISM"] {
            assert!(!held(name, &[]), "{name}");
        }
    }

    #[test]
    fn both_spellings_of_the_proxies_are_set() {
        let set = set(
            "http://placet:x@127.0.0.1:1",
            "http://127.0.0.1:7447/base",
            Path::new("/b"),
            Path::new("/w"),
        );
        let value =
            |name: &str| set.iter().find(|(it, _)| it == name).map(|(_, value)| value.to_str().unwrap());
        for name in PROXIES {
            assert_eq!(value(name), Some("http://placet:x@127.0.0.1:1"));
        }
        assert_eq!(value("no_proxy"), Some("127.0.0.1:7447"));
        assert_eq!((value("SSL_CERT_FILE"), value("NODE_EXTRA_CA_CERTS")), (Some("/w"), Some("/b")));
    }
}
