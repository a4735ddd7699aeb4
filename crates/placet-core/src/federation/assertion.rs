//! What an assertion of a trusted issuer has to say (RFC 7523 §3, with the audience of draft-ietf-oauth-rfc7523bis).
//! Its signature is looked at first, and is not looked at here.
//!
//! The two kinds are told apart by `typ`, so that neither is ever taken for the other, nor anything else that an issuer
//! signs (an access token, a logout token), nor what this server signs, for either.
//!
//! Invariant: the audience is this issuer alone. An ID-JAG is good once, for the client that it names, at the places
//! that it names; whether it was used before is the store's to say.

use crate::{
    client::assertion::{self, AssertionError, Once, TOLERANCE},
    grant::cover::AuthorizationDetail,
    jose::{Jws, Thumbprint, claims},
    scope::Scope,
    time::Timestamp,
};
use serde_json::{Map, Value};
use std::time::Duration;

/// The grant profile of an ID-JAG, as metadata names it.
pub const ID_JAG_PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";
/// The `typ` of an ID-JAG.
pub const ID_JAG_TYPE: &str = "oauth-id-jag+jwt";
/// For how long an ID-JAG may be good, from now.
pub const ID_JAG_LONGEST: Duration = Duration::from_secs(3600);
/// For how long a workload's token may be good, from now.
pub const WORKLOAD_LONGEST: Duration = Duration::from_secs(24 * 3600);
/// What the `typ` of a workload's token may be, where it has one (SPIFFE JWT-SVID §2.3; OpenID Connect providers).
const WORKLOAD_TYPES: [&str; 2] = ["jwt", "jose"];
/// The most places that an ID-JAG may name.
const MAX_RESOURCES: usize = 16;

/// What an assertion speaks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A person, for whom a client acts.
    IdJag,
    /// A workload.
    Workload,
}

/// What is wrong with an assertion whose signature is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FederationError {
    /// It is something else.
    #[error("its `typ` is neither `{ID_JAG_TYPE}` nor that of a workload's token (`JWT`, `JOSE`, or none)")]
    Type,
    /// Times, audience or id.
    #[error("{0}")]
    Assertion(#[from] AssertionError),
    /// It is meant for somebody else, or is a list.
    #[error("`aud` is this issuer, `{0}`, as one text")]
    Audience(String),
    /// A claim is missing or not what it has to be.
    #[error("`{0}` {1}")]
    Claim(&'static str, &'static str),
    /// It was made for another client.
    #[error(
        "`client_id` is not the client that authenticated: the identity provider makes one for each client"
    )]
    Client,
    /// It is bound to a key.
    #[error("it is bound to a key (`cnf`): send a `DPoP` header with a proof of that key")]
    Unproved,
    /// It is bound in a way that is not known.
    #[error("it is bound (`cnf`) otherwise than by `jkt`, which is all that can be proved here")]
    Binding,
}

/// What an ID-JAG gives leave for.
#[derive(Debug, Clone, PartialEq)]
pub struct IdJag {
    /// What has to be remembered of it.
    pub once: Once,
    /// Where what it gives may be used; at least one.
    pub resource: Vec<String>,
    /// What it gives at most, if it says; words that are no scope here give nothing.
    pub scope: Option<Vec<Scope>>,
    /// RFC 9396 details that bound it.
    pub authorization_details: Option<Vec<AuthorizationDetail>>,
    /// The key that what it gives is bound to.
    pub key: Option<Thumbprint>,
}

/// What an assertion says that it speaks about.
///
/// # Errors
/// [`FederationError::Type`].
pub fn kind(jws: &Jws<'_>) -> Result<Kind, FederationError> {
    match jws.is_type(ID_JAG_TYPE) {
        None => Ok(Kind::Workload),
        Some(true) => Ok(Kind::IdJag),
        Some(false) if WORKLOAD_TYPES.iter().any(|known| jws.is_type(known) == Some(true)) => {
            Ok(Kind::Workload)
        }
        Some(false) => Err(FederationError::Type),
    }
}

/// Who says that it signed; nothing of it is believed.
pub fn claimed<'j>(jws: &'j Jws<'_>) -> Option<&'j str> {
    claims::text(jws.unverified(), "iss")
}

/// Checks what an identity provider says in an ID-JAG for `client_id`, whose sender has proved to hold `key`, if any.
///
/// # Errors
/// [`FederationError`].
pub fn check_id_jag(
    jws: &Jws<'_>,
    client_id: &str,
    issuer: &str,
    key: Option<Thumbprint>,
    now: Timestamp,
) -> Result<IdJag, FederationError> {
    if kind(jws)? != Kind::IdJag {
        return Err(FederationError::Type);
    }
    let claims = jws.unverified();
    subject(claims)?;
    if claims::text(claims, "aud") != Some(issuer) {
        return Err(FederationError::Audience(issuer.to_owned()));
    }
    if claims::text(claims, "client_id") != Some(client_id) {
        return Err(FederationError::Client);
    }
    if !claims.contains_key("iat") {
        return Err(FederationError::Claim("iat", "is missing"));
    }
    let expires = assertion::times(claims, ID_JAG_LONGEST, now)?;
    let once = Once { jti: assertion::id(claims)?, until: expires.plus(TOLERANCE) };
    let bound = check_binding(jws, key)?;
    Ok(IdJag {
        once,
        resource: resources(claims)?,
        scope: scopes(claims)?,
        authorization_details: details(claims)?,
        key: bound,
    })
}

/// Checks what an issuer says of a workload, but for the key that it may be bound to ([`check_binding`]): who sends it is
/// known before what they prove. Where each of its assertions is good once, answers what has to be remembered of this one.
///
/// # Errors
/// [`FederationError`].
pub fn check_workload(
    jws: &Jws<'_>,
    issuer: &str,
    one_time: bool,
    now: Timestamp,
) -> Result<Option<Once>, FederationError> {
    if kind(jws)? != Kind::Workload {
        return Err(FederationError::Type);
    }
    let claims = jws.unverified();
    subject(claims)?;
    // Clusters write it as a list of one.
    if claims::sole_audience(claims) != Some(issuer) {
        return Err(AssertionError::Audience(issuer.to_owned()).into());
    }
    let expires = assertion::times(claims, WORKLOAD_LONGEST, now)?;
    if !one_time {
        return Ok(None);
    }
    Ok(Some(Once { jti: assertion::id(claims)?, until: expires.plus(TOLERANCE) }))
}

/// The key that an assertion of either kind is bound to (RFC 7800 §3.1, RFC 9449 §6.1), if any; its sender has proved to
/// hold `key`.
///
/// # Errors
/// [`FederationError::Binding`], [`FederationError::Unproved`].
pub fn check_binding(jws: &Jws<'_>, key: Option<Thumbprint>) -> Result<Option<Thumbprint>, FederationError> {
    let Some(cnf) = jws.unverified().get("cnf") else { return Ok(None) };
    let jkt = cnf.as_object().filter(|cnf| cnf.len() == 1).and_then(|cnf| claims::text(cnf, "jkt"));
    let bound: Thumbprint = jkt.and_then(|jkt| jkt.parse().ok()).ok_or(FederationError::Binding)?;
    if key == Some(bound) { Ok(key) } else { Err(FederationError::Unproved) }
}

/// Both kinds say about whom they speak, also where another claim is what counts.
fn subject(claims: &Map<String, Value>) -> Result<(), FederationError> {
    let subject = claims::text(claims, "sub").filter(|subject| super::is_subject(subject));
    subject.map(|_| ()).ok_or(FederationError::Claim("sub", "is text of 1 to 1024 bytes"))
}

/// The places of an ID-JAG (RFC 8707), which the profile for enterprises requires.
fn resources(claims: &Map<String, Value>) -> Result<Vec<String>, FederationError> {
    let wrong =
        || FederationError::Claim("resource", "is a URI, or a list of 1 to 16: where the token may be used");
    let places = match claims.get("resource") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => {
            let texts = several.iter().map(|one| one.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    if (1..=MAX_RESOURCES).contains(&places.len()) { Ok(places) } else { Err(wrong()) }
}

fn scopes(claims: &Map<String, Value>) -> Result<Option<Vec<Scope>>, FederationError> {
    let Some(scope) = claims.get("scope") else { return Ok(None) };
    let text = scope.as_str().ok_or(FederationError::Claim("scope", "is words with spaces between"))?;
    // What is another server's word is nothing here.
    Ok(Some(text.split_ascii_whitespace().filter_map(|word| Scope::parse(word).ok()).collect()))
}

fn details(claims: &Map<String, Value>) -> Result<Option<Vec<AuthorizationDetail>>, FederationError> {
    let Some(details) = claims.get("authorization_details") else { return Ok(None) };
    let details = AuthorizationDetail::parse_list(details).ok().filter(|details| !details.is_empty());
    let wrong =
        FederationError::Claim("authorization_details", "is no list of RFC 9396 that has one reading here");
    details.map(Some).ok_or(wrong)
}
