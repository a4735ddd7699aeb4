//! DPoP (RFC 9449): a signed statement, sent beside a token, that whoever sends the request holds the key that the token
//! is bound to. A stolen token is of no use without that key.
//!
//! Here is what can be said of a proof by itself: its form, its signature, for which request and which token it was made,
//! and when. Whether it was used before is [`replays`]' to say, whether its nonce is one of ours [`nonce`]'s.
//!
//! Invariant: a proof is good for one request of one method at one URL with one token, within [`WINDOW`] of its time.

pub mod nonce;
pub mod replays;

use crate::{
    jose::{Algorithm, JwkError, Jws, JwsError, PublicKey, Thumbprint},
    keys::SigningKey,
    refusal::Reason,
    secret::sha256,
    time::Timestamp,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Number, Value, json};
use std::{fmt::Write as _, time::Duration};

/// How far the time of a proof may lie from now, on both sides.
pub const WINDOW: Duration = Duration::from_secs(300);
/// The longest proof that is looked at.
pub const MAX_LENGTH: usize = 8 * 1024;
/// The longest `jti` and `nonce`.
const MAX_ID: usize = 512;
/// The algorithms of proofs, as JOSE names them.
pub const ALGORITHMS: [&str; 2] = [Algorithm::EdDsa.as_str(), Algorithm::Es256.as_str()];
const TYPE: &str = "dpop+jwt";

/// The request that a proof has to be for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The method.
    pub method: &'a str,
    /// The base URLs under which this server is known, without a slash at their end.
    pub bases: &'a [String],
    /// The path of the request, as it came.
    pub path: &'a str,
    /// The access token that it comes with; none at the token endpoint.
    pub token: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

/// A proof that holds for its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The key that its sender holds.
    pub key: Thumbprint,
    /// What no other proof of this key has.
    pub id: ProofId,
    /// When it says that it was made.
    pub issued: Timestamp,
    /// The server's nonce that it was made with.
    pub nonce: Option<String>,
}

/// A digest of the key and the `jti`: proofs of two keys are never the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProofId([u8; 16]);

impl ProofId {
    fn new(key: &Thumbprint, jti: &str) -> Self {
        let [half, _] = halves(sha256(&[b"dpop", key.as_bytes(), jti.as_bytes()]));
        Self(half)
    }

    /// As stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

fn halves(whole: [u8; 32]) -> [[u8; 16]; 2] {
    let mut out = [[0; 16]; 2];
    for (to, from) in out.iter_mut().flatten().zip(whole) {
        *to = from;
    }
    out
}

/// Why a proof is none (`invalid_dpop_proof`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Its form or its signature.
    #[error("the DPoP proof can't be used: {0}")]
    Jws(#[from] JwsError),
    /// The key that it brings.
    #[error("the DPoP proof's `jwk` can't be used: {0}")]
    Key(#[from] JwkError),
    /// It is signed with another algorithm than [`ALGORITHMS`].
    #[error("the DPoP proof's `alg` is not EdDSA or ES256")]
    Algorithm,
    /// It is longer than [`MAX_LENGTH`].
    #[error("the DPoP proof is too long")]
    TooLong,
    /// It is another kind of JWT.
    #[error("the DPoP proof's `typ` is not `dpop+jwt`")]
    Type,
    /// A claim is missing, of another type, or empty.
    #[error("the DPoP proof's `{0}` is missing or can't be read")]
    Claim(&'static str),
    /// It was made for another method.
    #[error("the DPoP proof's `htm` is not the request's method")]
    Method,
    /// It was made for another URL.
    #[error("the DPoP proof's `htu` is not the URL of this request, as the issuer names it")]
    Url,
    /// It is from too long ago, or from too far ahead.
    #[error("the DPoP proof's `iat` is more than five minutes from the server's time")]
    Time,
    /// It was made for another token.
    #[error("the DPoP proof's `ath` is not the hash of the access token")]
    Token,
}

/// Reads a proof and says whose key it shows, for this very request.
///
/// # Errors
/// [`ProofError`], the first that is found.
pub fn verify(text: &str, expected: &Expected<'_>) -> Result<Proof, ProofError> {
    if text.len() > MAX_LENGTH {
        return Err(ProofError::TooLong);
    }
    let jws = Jws::parse(text)?;
    if jws.is_type(TYPE) != Some(true) {
        return Err(ProofError::Type);
    }
    if !matches!(jws.algorithm(), Algorithm::EdDsa | Algorithm::Es256) {
        return Err(ProofError::Algorithm);
    }
    // Whoever made it holds the key that it brings, which says nothing of who that is.
    let jwk = jws.header().get("jwk").and_then(Value::as_object).ok_or(JwkError::Unsupported)?;
    let key = PublicKey::from_jwk(jwk)?;
    let claims = jws.verify(&key)?;
    if claim(claims, "htm")? != expected.method {
        return Err(ProofError::Method);
    }
    let url = normal(claim(claims, "htu")?).ok_or(ProofError::Url)?;
    let is_meant = |base: &String| normal(&format!("{base}{}", expected.path)).is_some_and(|own| own == url);
    if !expected.bases.iter().any(is_meant) {
        return Err(ProofError::Url);
    }
    let issued =
        claims.get("iat").and_then(Value::as_number).and_then(seconds).ok_or(ProofError::Claim("iat"))?;
    if issued.plus(WINDOW) < expected.now || expected.now.plus(WINDOW) < issued {
        return Err(ProofError::Time);
    }
    if let Some(token) = expected.token
        && claim(claims, "ath")? != token_hash(token)
    {
        return Err(ProofError::Token);
    }
    let key = key.thumbprint();
    let nonce = claims.contains_key("nonce").then(|| claim(claims, "nonce")).transpose()?;
    Ok(Proof { key, id: ProofId::new(&key, claim(claims, "jti")?), issued, nonce: nonce.map(str::to_owned) })
}

/// The `ath` of an access token (RFC 9449 §4.2).
pub fn token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(&[token.as_bytes()]))
}

/// What a proof is made of, by whoever holds the key.
#[derive(Debug, Clone, Copy)]
pub struct Making<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// Its URL; query and fragment are left out.
    pub url: &'a str,
    /// The access token that it goes with.
    pub token: Option<&'a str>,
    /// The server's nonce, where it sent one.
    pub nonce: Option<&'a str>,
    /// What no other proof of this key has; 128 random bits.
    pub entropy: [u8; 16],
    /// The time.
    pub now: Timestamp,
}

/// Makes a proof (RFC 9449 §4.2).
///
/// # Errors
/// `internal` where signing fails.
pub fn make(key: &SigningKey, making: &Making<'_>) -> Result<String, Reason> {
    let header = json!({"typ": TYPE, "alg": key.algorithm().as_str(), "jwk": key.public_members()});
    let mut claims = json!({
        "jti": URL_SAFE_NO_PAD.encode(making.entropy), "htm": making.method, "htu": without_query(making.url),
        "iat": making.now.as_seconds(),
    });
    if let Some(members) = claims.as_object_mut() {
        if let Some(token) = making.token {
            members.insert("ath".into(), token_hash(token).into());
        }
        if let Some(nonce) = making.nonce {
            members.insert("nonce".into(), nonce.into());
        }
    }
    key.jws(&header, &claims)
}

fn claim<'c>(claims: &'c Map<String, Value>, name: &'static str) -> Result<&'c str, ProofError> {
    let text = claims.get(name).and_then(Value::as_str);
    let bound = if name == "htu" { MAX_LENGTH } else { MAX_ID };
    text.filter(|text| !text.is_empty() && text.len() <= bound).ok_or(ProofError::Claim(name))
}

/// A NumericDate (RFC 7519 §2), which may have a fraction.
fn seconds(number: &Number) -> Option<Timestamp> {
    let text = number.to_string();
    let whole = text.split('.').next().unwrap_or_default();
    // Beyond what a clock can show, it is no time at all.
    let seconds: i64 = whole.parse().ok()?;
    (0..=1 << 40).contains(&seconds).then(|| Timestamp::from_seconds(seconds))
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// A URL as it is compared (RFC 3986 §6.2.2 and §6.2.3), without query and fragment; `None` for what is no http URL.
/// Dot segments are left as they are: no door takes them.
fn normal(url: &str) -> Option<String> {
    let (scheme, rest) = without_query(url).split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let (authority, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
    let authority = authority.to_ascii_lowercase();
    let authority =
        authority.strip_suffix(default_port).or_else(|| authority.strip_suffix(':')).unwrap_or(&authority);
    if authority.is_empty()
        || !rest.is_ascii()
        || rest.contains(['@', '\\'])
        || rest.bytes().any(|byte| byte <= b' ')
    {
        return None;
    }
    let mut out = format!("{scheme}://{authority}");
    let mut bytes = if path.is_empty() { "/" } else { path }.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(char::from(byte));
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let code = digit(bytes.next())? * 16 + digit(bytes.next())?;
        match char::from_u32(code).filter(|char| char.is_ascii_alphanumeric() || "-._~".contains(*char)) {
            Some(unreserved) => out.push(unreserved),
            None => _ = write!(out, "%{code:02X}"),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests;
