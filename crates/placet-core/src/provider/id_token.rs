//! What an ID token has to say (OpenID Connect Core §3.1.3.7). Its signature is looked at first, and is not looked at here.
//!
//! Invariant: it is for this client alone, of the declared issuer, for the request that carries its nonce, and made a
//! moment ago. What is not known about it is refused.

use super::is_subject;
use crate::{
    jose::{Algorithm, Jws, claims},
    secret::sha256,
    time::Timestamp,
};
use aws_lc_rs::{constant_time, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use std::time::Duration;

/// How far the provider's clock may be off.
pub const TOLERANCE: Duration = Duration::from_secs(60);
/// How long ago a token may have been made: it is fetched right after.
pub const OLDEST: Duration = Duration::from_secs(600);

/// What an ID token is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The declared issuer.
    pub issuer: &'a str,
    /// This server, as the provider knows it.
    pub client_id: &'a str,
    /// The nonce of the request.
    pub nonce: &'a str,
    /// The access token that came with it.
    pub access_token: &'a str,
}

/// What is wrong with an ID token whose signature is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// It is something else.
    #[error("its `typ` is not that of an ID token")]
    Type,
    /// It is somebody else's.
    #[error("its `iss` is not the provider's issuer")]
    Issuer,
    /// It is for somebody else, or for others too.
    #[error("its `aud` is not this server's client id alone")]
    Audience,
    /// It was given to somebody else.
    #[error("its `azp` is not this server's client id")]
    Party,
    /// It names nobody.
    #[error("its `sub` is no text of 1 to 255 ASCII characters")]
    Subject,
    /// It is over.
    #[error("its `exp` is missing or over")]
    Expired,
    /// It was not made just now.
    #[error("its `iat` or `nbf` is not a moment ago")]
    Time,
    /// It is for another request.
    #[error("its `nonce` is not that of the request")]
    Nonce,
    /// It came with another access token.
    #[error("its `at_hash` is not that of the access token")]
    AccessToken,
}

/// Checks an ID token that one of the provider's keys has signed, and answers whom it is about.
///
/// # Errors
/// [`IdTokenError`].
pub fn check<'j>(jws: &'j Jws<'_>, expected: &Expected<'_>, now: Timestamp) -> Result<&'j str, IdTokenError> {
    if jws.is_type("jwt") == Some(false) {
        return Err(IdTokenError::Type);
    }
    let claims = jws.unverified();
    if claims::text(claims, "iss") != Some(expected.issuer) {
        return Err(IdTokenError::Issuer);
    }
    // Other audiences are nobody's whom this server trusts (§3.1.3.7, 3).
    if claims::sole_audience(claims) != Some(expected.client_id) {
        return Err(IdTokenError::Audience);
    }
    if claims.get("azp").is_some_and(|azp| azp.as_str() != Some(expected.client_id)) {
        return Err(IdTokenError::Party);
    }
    times(claims, now)?;
    let nonce = claims::text(claims, "nonce").unwrap_or_default();
    if constant_time::verify_slices_are_equal(nonce.as_bytes(), expected.nonce.as_bytes()).is_err() {
        return Err(IdTokenError::Nonce);
    }
    if let Some(hash) = claims.get("at_hash")
        && hash.as_str() != Some(&access_token_hash(jws.algorithm(), expected.access_token))
    {
        return Err(IdTokenError::AccessToken);
    }
    claims::text(claims, "sub").filter(|subject| is_subject(subject)).ok_or(IdTokenError::Subject)
}

fn times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), IdTokenError> {
    let expires = claims::time(claims, "exp").map_err(|_| IdTokenError::Expired)?;
    if expires.is_none_or(|expires| expires.plus(TOLERANCE) <= now) {
        return Err(IdTokenError::Expired);
    }
    let time = |name| claims::time(claims, name).map_err(|_| IdTokenError::Time);
    let is_early = |time: Timestamp| time > now.plus(TOLERANCE);
    let made = time("iat")?.ok_or(IdTokenError::Time)?;
    if is_early(made) || made.plus(OLDEST) < now || time("nbf")?.is_some_and(is_early) {
        return Err(IdTokenError::Time);
    }
    Ok(())
}

/// The left half of the hash of an access token, with the hash of the signature's algorithm (§3.1.3.6).
fn access_token_hash(algorithm: Algorithm, token: &str) -> String {
    match algorithm {
        Algorithm::EdDsa => {
            let whole = digest::digest(&digest::SHA512, token.as_bytes());
            URL_SAFE_NO_PAD.encode(whole.as_ref().get(..32).unwrap_or_default())
        }
        Algorithm::Es256 | Algorithm::Rs256 | Algorithm::Ps256 => {
            let whole = sha256(&[token.as_bytes()]);
            URL_SAFE_NO_PAD.encode(whole.get(..16).unwrap_or_default())
        }
    }
}
