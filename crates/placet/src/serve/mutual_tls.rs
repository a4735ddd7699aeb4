//! The flags of `placet serve` about clients' certificates (RFC 8705).
//!
//! Invariant: none is taken unless a flag says where from.

use super::{bind, certificates::CertificateFiles};
use crate::{exit::Failure, running};
use clap::Args;
use std::{net::SocketAddr, path::PathBuf};

/// Where clients show certificates.
#[derive(Debug, Args)]
pub(super) struct MutualTls {
    /// Where clients may show certificates: a listener with TLS that answers what --listen does
    #[arg(long, value_name = "ADDRESS", requires_all = ["mtls_certificate", "mtls_key"])]
    mtls_listen: Option<SocketAddr>,
    /// The certificate of that listener, with those behind it, is in this file (PEM); it is read again when it changes
    #[arg(long, value_name = "FILE", requires = "mtls_listen")]
    mtls_certificate: Option<PathBuf>,
    /// Its private key is in this file (PEM)
    #[arg(long, value_name = "FILE", requires = "mtls_listen")]
    mtls_key: Option<PathBuf>,
    /// The authorities that certify clients (`tls_client_auth`) are in this file (PEM); it is read again when
    /// it changes
    #[arg(long, value_name = "FILE")]
    mtls_client_ca: Option<PathBuf>,
    /// The URL by which clients reach that listener, or the proxy that asks for their certificates
    /// [default: https:// and the bound address]
    #[arg(long, value_name = "URL")]
    mtls_url: Option<String>,
    /// Take the certificates that the proxies of --forwarded-by name in `Client-Cert` (RFC 9440). Only where they remove
    /// what clients send under that name: anybody could be anybody else
    #[arg(long, requires = "forwarded_by")]
    client_cert_header: bool,
}

impl MutualTls {
    /// Reads the files and binds the address.
    ///
    /// # Errors
    /// A sentence saying what can't be used.
    pub(super) async fn open(&self) -> Result<Option<running::MutualTls>, Failure> {
        let mut files = CertificateFiles::default();
        let listener = match (self.mtls_listen, &self.mtls_certificate, &self.mtls_key) {
            (Some(address), Some(certificate), Some(key)) => {
                let identity = files.identity(certificate, key).map_err(Failure::start)?;
                Some((bind(address, "--mtls-listen").await?, identity))
            }
            _ => None,
        };
        if listener.is_none() && !self.client_cert_header {
            let stray = [
                (self.mtls_client_ca.is_some(), "--mtls-client-ca"),
                (self.mtls_url.is_some(), "--mtls-url"),
            ];
            if let Some((_, flag)) = stray.into_iter().find(|(given, _)| *given) {
                return Err(Failure::unreadable(format!(
                    "{flag} says nothing without --mtls-listen or --client-cert-header"
                )));
            }
            return Ok(None);
        }
        let authorities = self.mtls_client_ca.as_deref().map(|path| files.authorities(path));
        let authorities = authorities.transpose().map_err(Failure::start)?;
        let url = self.mtls_url.as_deref().map(checked).transpose()?;
        Ok(Some(running::MutualTls { listener, url, authorities, header: self.client_cert_header, files }))
    }
}

fn checked(text: &str) -> Result<String, Failure> {
    let url = super::checked_issuer(text)?;
    if url.starts_with("https://") {
        return Ok(url);
    }
    Err(Failure::unreadable(format!("`{text}` can't be the URL for mutual TLS: it is not https")))
}
