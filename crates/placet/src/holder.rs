//! A key that tokens are bound to (DPoP, RFC 9449), as the command line holds it: a file, and proofs made with it.
//!
//! Invariant: the private key stays in its file and in this process; what goes out are its public half and signatures.

use crate::{exit::Failure, input, output::note};
use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use placet_core::{
    dpop::{self, Making},
    keys::SigningKey,
};
use placet_server::clock::{self, Clock};
use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

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
            make(path)?;
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
    let wrong = || {
        let path = path.display();
        Failure::unreadable(format!("`{path}` holds no Ed25519 or P-256 private key in PKCS#8 PEM"))
    };
    let text = String::from_utf8(input::file(path)?).map_err(|_| wrong())?;
    let inner = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).ok_or_else(wrong)?.0;
    let inner: String = inner.split_ascii_whitespace().collect();
    let pkcs8 = STANDARD.decode(inner).map_err(|_| wrong())?;
    SigningKey::from_pkcs8(&pkcs8).map(|key| Holder(Arc::new(key))).map_err(|_| wrong())
}

fn make(path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::unreadable(format!("no key can be written to `{}`: {error}", path.display()))
    };
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| Failure::unreadable("the system gives no randomness for a key"))?;
    let encoded = STANDARD.encode(pkcs8.as_ref());
    let mut text = format!("{BEGIN}\n");
    for line in encoded.as_bytes().chunks(64) {
        let _ = writeln!(text, "{}", String::from_utf8_lossy(line));
    }
    let _ = writeln!(text, "{END}");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
