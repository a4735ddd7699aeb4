//! An agent's own key: made here, and signing here that a request comes from that agent (`private_key_jwt`).
//!
//! Invariant: the private half is written once, readable by its owner only, and never sent.

use crate::{client::Client, exit::Failure, input};
use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    client::assertion,
    keys::{KeyRing, SigningKey},
    secret::Secret,
};
use placet_server::clock::{Clock, entropy};
use serde_json::Value;
use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Makes an Ed25519 key, writes it into a new file, and answers its public half as a JWK set.
///
/// # Errors
/// A sentence, also where there is such a file.
pub(super) fn generate(path: &Path) -> Result<Value, Failure> {
    let failed = || Failure::unreadable("no key could be made");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| failed())?;
    let key = SigningKey::from_pkcs8(pkcs8.as_ref()).map_err(|_| failed())?;
    let text = Secret::new(format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(pkcs8.as_ref())));
    let unwritable = |error: std::io::Error| {
        Failure::unreadable(format!("`{}` can't be written: {error}", path.display()))
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(unwritable)?;
    file.write_all(text.expose()).and_then(|()| file.sync_all()).map_err(unwritable)?;
    Ok(KeyRing::new(vec![key]).ok_or_else(failed)?.jwks())
}

/// An assertion for the server's issuer, signed with the key in a file.
///
/// # Errors
/// A sentence.
pub(super) async fn assertion(
    server: &Client,
    path: &Path,
    kid: Option<&str>,
    client_id: &str,
) -> Result<String, Failure> {
    let key = read(path)?;
    let metadata = server.read("/.well-known/oauth-authorization-server").await?;
    let issuer = metadata.get("issuer").and_then(Value::as_str);
    let issuer = issuer.ok_or_else(|| Failure::unreadable("the server does not say who it is"))?;
    let jti = STANDARD.encode(entropy::<16>());
    assertion::sign(&key, kid, client_id, issuer, &jti, Clock::System.now())
        .map_err(|_| Failure::unreadable("signing failed"))
}

fn read(path: &Path) -> Result<SigningKey, Failure> {
    let wrong = || {
        let what = "is no private key: PEM with PKCS #8, Ed25519 or P-256";
        Failure::unreadable(format!("`{}` {what}", path.display()))
    };
    let text = input::text_of(&Secret::new(input::file(path)?), "key")?;
    let (_, rest) = text.split_once(BEGIN).ok_or_else(wrong)?;
    let (body, _) = rest.split_once(END).ok_or_else(wrong)?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = Secret::new(STANDARD.decode(body).map_err(|_| wrong())?);
    SigningKey::from_pkcs8(der.expose()).map_err(|_| wrong())
}
