//! A certificate that the command line shows over mutual TLS (RFC 8705): files, and where the server takes it.
//!
//! Invariant: the private key stays in its file and in this process.

use crate::{cli::Context, client::Client, exit::Failure, input};
use clap::Args;
use placet_core::secret::Secret;
use std::path::PathBuf;

/// Where the certificate is.
#[derive(Debug, Args)]
pub(crate) struct CertificateFile {
    /// Show the certificate in this file (PEM, with those behind it) over mutual TLS: to say who the agent is, or what its
    /// token is bound to. Sent to --url, or to the listener for that of the server of --data
    #[arg(long, value_name = "FILE", env = "PLACET_CERTIFICATE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// Its private key is in this file (PEM)
    #[arg(long, value_name = "FILE", env = "PLACET_CERTIFICATE_KEY")]
    certificate_key: Option<PathBuf>,
    /// Authorities that the server may be certified by (PEM) [default: the system's]
    #[arg(long, value_name = "FILE", env = "PLACET_SERVER_CA")]
    server_ca: Option<PathBuf>,
}

impl CertificateFile {
    /// Whether one is shown.
    pub(crate) fn is_given(&self) -> bool {
        self.certificate.is_some()
    }

    /// The same client over mutual TLS, where a certificate is given.
    ///
    /// # Errors
    /// A sentence, where a file can't be used or no place for certificates is known.
    pub(crate) fn shown_by(&self, context: &Context, client: Client) -> Result<Client, Failure> {
        let roots = self.server_ca.as_deref().map(input::file).transpose()?;
        let (Some(certificate), Some(key)) = (&self.certificate, &self.certificate_key) else {
            let is_tls = roots.is_some() && client.base().starts_with("https://");
            return if is_tls { client.over_tls(None, roots.as_deref()) } else { Ok(client) };
        };
        let client = match context.mutual_tls()? {
            Some(base) => client.at(&base)?,
            None => client,
        };
        let mut pem = input::file(certificate)?;
        pem.push(b'\n');
        pem.extend_from_slice(Secret::new(input::file(key)?).expose());
        client.over_tls(Some(&Secret::new(pem)), roots.as_deref())
    }
}
