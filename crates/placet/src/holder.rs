//! A key that tokens are bound to (DPoP, RFC 9449), as the command line holds it: a file, and proofs made with it.
//!
//! Invariant: the private key stays in its file and in this process; what goes out are its public half and signatures.

use crate::{exit::Failure, output::note, private_key};
use clap::Args;
use placet_core::{
    dpop::{self, Making},
    keys::SigningKey,
};
use placet_server::clock::{self, Clock};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where the key is.
#[derive(Debug, Args)]
pub(crate) struct KeyFile {
    /// Bind the token to the key in this file (DPoP), or prove to hold it: Ed25519 or P-256 in PKCS#8 PEM
    #[arg(long, value_name = "FILE", env = "PLACET_DPOP_KEY")]
    dpop_key: Option<PathBuf>,
}

/// A key, as often as it is needed.
#[derive(Debug, Clone)]
pub(crate) struct Holder(Arc<SigningKey>);

impl KeyFile {
    /// The key, where a file is named.
    ///
    /// # Errors
    /// A sentence, where it can't be read or is none.
    pub(crate) fn open(&self) -> Result<Option<Holder>, Failure> {
        self.dpop_key.as_deref().map(read).transpose()
    }

    /// The same; a file that isn't there is made, with a new key.
    ///
    /// # Errors
    /// As [`KeyFile::open`], and where it can't be written.
    pub(crate) fn open_or_make(&self) -> Result<Option<Holder>, Failure> {
        let Some(path) = self.dpop_key.as_deref() else { return Ok(None) };
        if !path.exists() {
            private_key::generate(path)?;
            note(&format!("a new key was made in `{}`", path.display()));
        }
        read(path).map(Some)
    }
}

impl Holder {
    /// A proof for one request.
    ///
    /// # Errors
    /// A sentence, never in practice.
    pub(crate) fn proof(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
        nonce: Option<&str>,
    ) -> Result<String, Failure> {
        let making =
            Making { method, url, token, nonce, entropy: clock::entropy(), now: Clock::System.now() };
        dpop::make(&self.0, &making)
            .map_err(|_| Failure::unreadable("no proof could be signed with the DPoP key"))
    }
}

fn read(path: &Path) -> Result<Holder, Failure> {
    Ok(Holder(Arc::new(private_key::read(path)?)))
}
