//! Client certificates of connections, and the pools of those who show one.
//!
//! Each has a TLS configuration and pools of its own, which live and end with it: what was opened with one certificate
//! can't be found, or resumed, by anybody who has another.
//!
//! Invariant: a private key is read here and goes nowhere; no message has a part of it.

use crate::gateway::{GatewayConfig, provider};
use crate::inject::CredentialError;
use crate::pools::{HttpClient, Pools};
use placet_core::call::{Auth, Mtls};
use placet_core::secret::Secret;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use serde::Deserialize;
use std::sync::{Arc, OnceLock};

/// The longest certificate and key that are read, in bytes.
const MAX_PEM: usize = 64 * 1024;

/// A certificate with its key, and whom it is shown to.
pub(crate) struct Identity {
    certified: Arc<SingleCertAndKey>,
    /// The authorities that the upstream is certified by; none: those of the operator and the system.
    authorities: Vec<CertificateDer<'static>>,
    pools: OnceLock<Option<Pools>>,
}

/// A certificate, its key, and what is shown beside them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    certificate: String,
    key: Secret,
    secret: Option<Secret>,
}

impl Identity {
    /// Reads what is kept of a connection: one PEM with certificates and a key, or an object with these and a secret. Gives
    /// the secret too.
    pub(crate) fn open(mtls: &Mtls, kept: &Secret) -> Result<(Self, Option<Secret>), CredentialError> {
        if kept.expose().len() > MAX_PEM {
            return Err(CredentialError::TooLong);
        }
        let refused = CredentialError::Certificate;
        let text = kept.expose().trim_ascii_start();
        let (chain, key, secret) = if text.starts_with(b"-----BEGIN") {
            (chain(kept.expose())?, key(kept.expose())?, None)
        } else {
            let form: Form = serde_json::from_slice(kept.expose())
                .map_err(|_| refused("it is no PEM, and no object with `certificate` and `key`"))?;
            (chain(form.certificate.as_bytes())?, key(form.key.expose())?, form.secret)
        };
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => refused("the key is not that of the certificate"),
            rustls::Error::InvalidCertificate(_) => refused("the certificate can't be read"),
            _ => refused("the key is of a kind that is not supported"),
        })?;
        let authorities = match &mtls.ca {
            Some(pem) => authorities(pem)?,
            None => Vec::new(),
        };
        let certified = Arc::new(SingleCertAndKey::from(certified));
        Ok((Self { certified, authorities, pools: OnceLock::new() }, secret))
    }

    /// Its own pool, made when it is first needed; none where TLS can't be set up.
    pub(crate) fn client(
        &self,
        config: &GatewayConfig,
        allow_private: bool,
        plain: bool,
    ) -> Option<HttpClient> {
        let pools = self.pools.get_or_init(|| {
            let resolver = Arc::clone(&self.certified);
            let builder = crate::gateway::tls_builder(config, &self.authorities).ok()?;
            Some(Pools::new(config, &builder.with_client_cert_resolver(resolver), true))
        });
        pools.as_ref().map(|pools| pools.of(allow_private, plain))
    }
}

/// Whether what a service says of certificates can be used.
///
/// # Errors
/// [`CredentialError::Authorities`].
pub fn check(auth: &Auth) -> Result<(), CredentialError> {
    let Auth::Mtls(mtls) = auth else { return Ok(()) };
    mtls.ca.as_deref().map_or(Ok(()), |pem| authorities(pem).map(drop))
}

/// The authorities of a service's definition.
///
/// # Errors
/// [`CredentialError::Authorities`].
fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| CredentialError::Authorities)?;
    let mut store = RootCertStore::empty();
    for certificate in &found {
        store.add(certificate.clone()).map_err(|_| CredentialError::Authorities)?;
    }
    Ok(found)
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| CredentialError::Certificate("the certificate is no PEM"))?;
    if found.is_empty() { Err(CredentialError::Certificate("there is no certificate")) } else { Ok(found) }
}

fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CredentialError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        CredentialError::Certificate("there is no private key in PEM, or it is encrypted with a passphrase")
    })
}
