//! Where a PostgreSQL server is, and how the connection to it is protected.
//!
//! `postgres://user:password@host:port/database?sslmode=…&sslrootcert=FILE`. On this machine (a socket, a loopback
//! address) the default is `disable`; anywhere else the server has to show a certificate for its name (`verify-full`),
//! from an authority that the system trusts or from `sslrootcert`. `require` and `verify-ca` mean that too: an
//! encrypted connection to nobody knows whom protects nothing.
//!
//! Invariant: the password is in no message and no debug output, and TLS is never given up silently.

use crate::fault::OpenError;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::{fmt, path::Path, sync::Arc, time::Duration};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long the system lets sent bytes be without an acknowledgement.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
/// After how long of silence the system asks whether the other side is still there, and how often.
const SILENCE: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// A server's address with the credentials for it.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    shown: String,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`OpenError::Address`], which says what is wrong with it and never what the password is.
    pub fn parse(url: &str) -> Result<Self, OpenError> {
        let wrong = |reason: &str| OpenError::Address(reason.to_owned());
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(wrong("it is written `postgres://user:password@host:port/database`"));
        }
        let (server, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut authority, mut rest) = (None, None, Vec::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "sslmode" => mode = Some(value.into_owned()),
                "sslrootcert" => authority = Some(value.into_owned()),
                _ => rest.push((name, value)),
            }
        }
        let rest =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(rest).finish().replace('+', "%20");
        let mut config: Config = format!("{server}?{rest}").parse().map_err(|_| {
            wrong("it is written `postgres://user:password@host:port/database`, with options that PostgreSQL knows")
        })?;
        if config.get_hosts().is_empty() {
            return Err(wrong("it names no host"));
        }
        let local = config.get_hosts().iter().all(is_local);
        let encrypted = match mode.as_deref() {
            Some("disable") => false,
            Some("require" | "verify-ca" | "verify-full") => true,
            None => !local,
            Some(_) => return Err(wrong("`sslmode` is `disable` or `verify-full`")),
        };
        config
            .ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable })
            .application_name("placet")
            .connect_timeout(super::CONNECT)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .keepalives(true)
            .keepalives_idle(SILENCE)
            .keepalives_interval(SILENCE)
            .keepalives_retries(PROBES);
        let tls = encrypted.then(|| tls(authority.as_deref().map(Path::new))).transpose()?;
        let shown = shown(&config);
        Ok(Self { config, tls: tls.map(MakeRustlsConnect::new), shown })
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn tls(&self) -> Option<MakeRustlsConnect> {
        self.tls.clone()
    }
}

impl fmt::Display for Address {
    /// Host and database, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.shown).finish()
    }
}

fn shown(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => String::new(),
    };
    let port = config.get_ports().first().map(|port| format!(":{port}")).unwrap_or_default();
    let database = config.get_dbname().or_else(|| config.get_user()).unwrap_or_default();
    format!("postgres://{host}{port}/{database}")
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
    }
}

fn tls(authority: Option<&Path>) -> Result<ClientConfig, OpenError> {
    let wrong = |reason: String| OpenError::Address(reason);
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    let Some(file) = authority else {
        let verified = builder.with_platform_verifier();
        return Ok(verified.map_err(|error| wrong(error.to_string()))?.with_no_client_auth());
    };
    let unusable = |reason: String| wrong(format!("`sslrootcert` `{}`: {reason}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no certificate in it".into()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(url: &str) -> String {
        Address::parse(url).unwrap_err().to_string()
    }

    #[test]
    fn the_password_is_shown_nowhere() {
        let address = Address::parse("postgres://me:hunter2@localhost:5433/placet").unwrap();
        assert_eq!(address.to_string(), "postgres://localhost:5433/placet");
        assert!(!format!("{address:?}").contains("hunter2"));
        for wrong in
            ["mysql://me:hunter2@h/d", "postgres://me:hunter2@h:x/d", "postgres://me:hunter2@h/d?nope=1"]
        {
            assert!(!reason(wrong).contains("hunter2"), "{}", reason(wrong));
        }
    }

    #[test]
    fn what_leaves_this_machine_is_encrypted_unless_somebody_says_no() {
        let encrypted = |url: &str| Address::parse(url).unwrap().tls.is_some();
        for local in ["localhost", "127.0.0.1", "[::1]", "%2Ftmp%2Fsocket"] {
            assert!(!encrypted(&format!("postgres://me@{local}/d")), "{local}");
            assert!(encrypted(&format!("postgres://me@{local}/d?sslmode=verify-full")), "{local}");
        }
        assert!(encrypted("postgres://me@db.example/d"));
        assert!(encrypted("postgres://me@db.example/d?sslmode=require"));
        assert!(!encrypted("postgres://me@db.example/d?sslmode=disable"));
        for weak in ["prefer", "allow", "no"] {
            assert!(reason(&format!("postgres://me@db.example/d?sslmode={weak}")).contains("verify-full"));
        }
        assert!(
            reason("postgres://me@h/d?sslmode=require&sslrootcert=/no/such.pem").contains("/no/such.pem")
        );
    }
}
