//! The flags of `placet serve` about the listener for Envoy's `ext_authz`.
//!
//! Invariant: there is none unless a flag says where.

use super::{bind, certificates::CertificateFiles};
use crate::{exit::Failure, running};
use clap::Args;
use placet_server::doors::ext_authz::listener::Listening;
use std::{net::SocketAddr, path::PathBuf};

/// Where Envoy asks.
#[derive(Debug, Args)]
pub(super) struct ExtAuthz {
    /// Where Envoy asks before it passes a request on (`ext_authz`, gRPC): see docs/forward-auth.md
    #[arg(long, value_name = "ADDRESS")]
    ext_authz_listen: Option<SocketAddr>,
    /// The certificate of that listener, with those behind it, is in this file (PEM); it is read again when it
    /// changes [default: plain text]
    #[arg(long, value_name = "FILE", requires_all = ["ext_authz_listen", "ext_authz_key"])]
    ext_authz_certificate: Option<PathBuf>,
    /// Its private key is in this file (PEM)
    #[arg(long, value_name = "FILE", requires = "ext_authz_certificate")]
    ext_authz_key: Option<PathBuf>,
    /// Only who has a certificate of the authorities in this file (PEM) is heard there; it is read again when it changes
    #[arg(long, value_name = "FILE", requires = "ext_authz_certificate")]
    ext_authz_client_ca: Option<PathBuf>,
}

impl ExtAuthz {
    /// Reads the files and binds the address.
    ///
    /// # Errors
    /// A sentence saying what can't be used.
    pub(super) async fn open(&self) -> Result<Option<running::ExtAuthz>, Failure> {
        let Some(address) = self.ext_authz_listen else { return Ok(None) };
        let mut files = CertificateFiles::default();
        let identity = match (&self.ext_authz_certificate, &self.ext_authz_key) {
            (Some(certificate), Some(key)) => {
                let authorities = self.ext_authz_client_ca.as_deref();
                Some(files.envoy(certificate, key, authorities).map_err(Failure::start)?)
            }
            _ => None,
        };
        let listener = bind(address, "--ext-authz-listen").await?;
        if identity.is_none() && !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "ext_authz is listened for beyond this machine without TLS: give it --ext-authz-certificate"
            );
        }
        Ok(Some(running::ExtAuthz { at: Listening { listener, identity }, files }))
    }
}
