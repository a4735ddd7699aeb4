//! An agent's own private key in a file: PKCS #8 in PEM, which agents' libraries read and write.
//!
//! Invariant: it is written once, readable by its owner only, and never printed or sent.

use crate::{exit::Failure, input};
use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{keys::SigningKey, secret::Secret};
use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// How long a line of PEM is (RFC 7468 §2).
const LINE: usize = 64;

/// Makes an Ed25519 key and writes it into a new file (mode 0600).
///
/// # Errors
/// A sentence, also where there is such a file.
pub(crate) fn generate(path: &Path) -> Result<SigningKey, Failure> {
    let failed = || Failure::unreadable("the system gives no randomness for a key");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| failed())?;
    let key = SigningKey::from_pkcs8(pkcs8.as_ref()).map_err(|_| failed())?;
    let encoded = Secret::new(STANDARD.encode(pkcs8.as_ref()));
    let lines: Vec<&[u8]> = encoded.expose().chunks(LINE).collect();
    let body = Secret::new(lines.join(&b'\n'));
    let unwritable = |error: std::io::Error| {
        Failure::unreadable(format!("`{}` can't be written: {error}", path.display()))
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(unwritable)?;
    let parts = [BEGIN.as_bytes(), b"\n", body.expose(), b"\n", END.as_bytes(), b"\n"];
    let written = parts.iter().try_for_each(|part| file.write_all(part));
    written.and_then(|()| file.sync_all()).map_err(unwritable)?;
    Ok(key)
}

/// Reads a key: Ed25519 or P-256.
///
/// # Errors
/// A sentence, where it can't be read or is none.
pub(crate) fn read(path: &Path) -> Result<SigningKey, Failure> {
    let wrong = || {
        let what = "is no private key: PEM with PKCS #8, Ed25519 or P-256";
        Failure::unreadable(format!("`{}` {what}", path.display()))
    };
    let text = Secret::new(input::file(path)?);
    let text = text.expose_str().ok_or_else(wrong)?;
    let body = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).ok_or_else(wrong)?.0;
    let body = Secret::new(body.split_ascii_whitespace().collect::<String>());
    let der = Secret::new(STANDARD.decode(body.expose()).map_err(|_| wrong())?);
    SigningKey::from_pkcs8(der.expose()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_written_once_for_its_owner_and_read_back() {
        let outside = tempfile::tempdir().unwrap();
        let path = outside.path().join("key.pem");
        let made = generate(&path).unwrap();
        assert_eq!(read(&path).unwrap().public_members(), made.public_members());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().all(|line| line.len() <= LINE));
        assert!(generate(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        for wrong in [
            "",
            "x",
            "-----BEGIN PRIVATE KEY-----\nx",
            "-----BEGIN PRIVATE KEY-----\n@\n-----END PRIVATE KEY-----",
        ] {
            std::fs::write(&path, wrong).unwrap();
            assert!(read(&path).is_err(), "{wrong}");
        }
    }
}
