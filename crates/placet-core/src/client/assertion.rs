//! A client's proof that it is that client: an assertion that it signed for this server alone (RFC 7523 §2.2, §3, with
//! the audience of draft-ietf-oauth-rfc7523bis).
//!
//! Invariant: the audience is this issuer and nobody else, so that what a client sends to one server is of no use at
//! another. That an assertion was not used before is the store's to say.

use crate::{
    jose::{
        Jws,
        claims::{self, NoTime},
    },
    keys::SigningKey,
    refusal::Reason,
    time::Timestamp,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The type of such an assertion (RFC 7523 §2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// For how long an assertion may be good, from now.
pub const LONGEST: Duration = Duration::from_secs(600);
/// How far the client's clock may be off.
pub const TOLERANCE: Duration = Duration::from_secs(60);
/// The longest `jti`, in bytes.
const MAX_JTI: usize = 256;
/// What `typ` may say, where it is there.
const TYPES: [&str; 2] = ["jwt", "client-authentication+jwt"];

/// What is wrong with an assertion whose signature is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// It is something else.
    #[error("its `typ` is not that of a client's assertion")]
    Type,
    /// `iss` and `sub` are not the client.
    #[error("`iss` and `sub` are both the client's id")]
    Client,
    /// It is meant for somebody else, or for others too.
    #[error("`aud` is this issuer, `{0}`, and nothing else")]
    Audience(String),
    /// `exp` is missing, over, or too far.
    #[error("`exp` is a time within the next {} seconds", .0.as_secs())]
    Expiry(Duration),
    /// `iat` or `nbf` is not yet, or `iat` too long ago.
    #[error("`iat` and `nbf`, where they are there, are times that have come, within the last {} seconds", .0.as_secs())]
    NotYet(Duration),
    /// `jti` is missing, empty or too long.
    #[error("`jti` is text of 1 to {MAX_JTI} bytes")]
    Id,
}

/// What has to be remembered of an assertion, so that it is used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// Its id, unique for its maker.
    pub jti: String,
    /// Until when somebody could come with it again.
    pub until: Timestamp,
}

/// Whom an assertion says that it is of; nothing of it is believed.
pub fn claimed<'j>(jws: &'j Jws<'_>) -> Option<&'j str> {
    claims::text(jws.unverified(), "sub")
}

/// Checks what a client claims in an assertion that one of its keys has signed.
///
/// # Errors
/// [`AssertionError`].
pub fn check(jws: &Jws<'_>, client_id: &str, issuer: &str, now: Timestamp) -> Result<Once, AssertionError> {
    if TYPES.iter().all(|known| jws.is_type(known) == Some(false)) {
        return Err(AssertionError::Type);
    }
    let claims = jws.unverified();
    if ["iss", "sub"].iter().any(|name| claims::text(claims, name) != Some(client_id)) {
        return Err(AssertionError::Client);
    }
    if claims::sole_audience(claims) != Some(issuer) {
        return Err(AssertionError::Audience(issuer.to_owned()));
    }
    let expires = times(claims, LONGEST, now)?;
    Ok(Once { jti: id(claims)?, until: expires.plus(TOLERANCE) })
}

/// Checks the times of an assertion that may be good for `longest`, and answers when it ends.
///
/// # Errors
/// [`AssertionError::Expiry`], [`AssertionError::NotYet`].
pub(crate) fn times(
    claims: &Map<String, Value>,
    longest: Duration,
    now: Timestamp,
) -> Result<Timestamp, AssertionError> {
    let no_expiry = AssertionError::Expiry(longest);
    let time = |name| {
        claims::time(claims, name).map_err(|NoTime(name)| match name {
            "exp" => AssertionError::Expiry(longest),
            _ => AssertionError::NotYet(longest),
        })
    };
    let Some(expires) = time("exp")? else { return Err(no_expiry) };
    if expires.plus(TOLERANCE) <= now || expires > now.plus(longest).plus(TOLERANCE) {
        return Err(no_expiry);
    }
    let issued = time("iat")?;
    let early = |time: &Timestamp| *time > now.plus(TOLERANCE);
    let old = |time: Timestamp| time.plus(longest).plus(TOLERANCE) < now;
    if issued.as_ref().is_some_and(early)
        || issued.is_some_and(old)
        || time("nbf")?.as_ref().is_some_and(early)
    {
        return Err(AssertionError::NotYet(longest));
    }
    Ok(expires)
}

/// The id of an assertion that is good once.
///
/// # Errors
/// [`AssertionError::Id`].
pub(crate) fn id(claims: &Map<String, Value>) -> Result<String, AssertionError> {
    let jti = claims::text(claims, "jti").filter(|jti| (1..=MAX_JTI).contains(&jti.len()));
    jti.map(str::to_owned).ok_or(AssertionError::Id)
}

/// Makes an assertion, as a client does. `jti` has to be new each time; `kid` names the key in the client's set.
///
/// # Errors
/// `internal` where signing fails.
pub fn sign(
    key: &SigningKey,
    kid: Option<&str>,
    client_id: &str,
    issuer: &str,
    jti: &str,
    now: Timestamp,
) -> Result<String, Reason> {
    let claims = json!({
        "iss": client_id, "sub": client_id, "aud": issuer, "jti": jti,
        "iat": now.as_seconds(), "exp": now.plus(Duration::from_secs(60)).as_seconds(),
    });
    let mut header = jsonwebtoken::Header::new(key.algorithm().jose());
    header.typ = Some("client-authentication+jwt".to_owned());
    header.kid = kid.map(str::to_owned);
    key.jws(&header, &claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{jose::KeySet, keys::KeyRing};
    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    const NOW: i64 = 1_800_000_000;

    fn checked(header: Value, change: impl FnOnce(&mut Value)) -> Result<Once, AssertionError> {
        let mut claims = json!({"iss": "agt_1", "sub": "agt_1", "aud": "https://a.example", "jti": "x",
            "exp": NOW + 60, "iat": NOW});
        change(&mut claims);
        // What is checked here comes behind the signature.
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}.", part(&header), part(&claims));
        let jws = Jws::parse(&text).unwrap();
        check(&jws, "agt_1", "https://a.example", Timestamp::from_seconds(NOW))
    }

    fn with(name: &str, value: Value) -> Result<Once, AssertionError> {
        checked(json!({"alg": "EdDSA"}), |claims| {
            let claims = claims.as_object_mut().unwrap();
            if value.is_null() {
                claims.remove(name)
            } else {
                claims.insert(name.to_owned(), value)
            };
        })
    }

    #[test]
    fn what_is_right_is_used_once_until_it_ends() {
        let until = Timestamp::from_seconds(NOW + 120);
        assert_eq!(with("nbf", json!(NOW)), Ok(Once { jti: "x".into(), until }));
        assert!(with("iat", Value::Null).is_ok());
        assert!(with("aud", json!(["https://a.example"])).is_ok());
        for typ in ["JWT", "client-authentication+jwt", "application/client-authentication+jwt"] {
            assert!(checked(json!({"alg": "EdDSA", "typ": typ}), |_| {}).is_ok());
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        use AssertionError::{Audience, Client, Id, Type};
        let (expiry, not_yet) = (AssertionError::Expiry(LONGEST), AssertionError::NotYet(LONGEST));
        let audience = || Audience("https://a.example".into());
        for typ in ["at+jwt", "oauth-id-jag+jwt", "dpop+jwt", "placet-delegation+jwt", ""] {
            assert_eq!(checked(json!({"alg": "EdDSA", "typ": typ}), |_| {}), Err(Type));
        }
        for (name, value, error) in [
            ("iss", json!("agt_2"), Client),
            ("iss", Value::Null, Client),
            ("sub", json!("agt_2"), Client),
            ("sub", json!("AGT_1"), Client),
            ("sub", json!(["agt_1"]), Client),
            ("aud", json!("https://a.example/"), audience()),
            ("aud", json!("https://a.example/oauth/token"), audience()),
            ("aud", json!(["https://a.example", "https://b.example"]), audience()),
            ("aud", json!(["https://a.example", "https://a.example"]), audience()),
            ("aud", json!([]), audience()),
            ("aud", Value::Null, audience()),
            ("exp", Value::Null, expiry.clone()),
            ("exp", json!(NOW - 60), expiry.clone()),
            ("exp", json!(NOW + 661), expiry.clone()),
            ("exp", json!((NOW + 60).to_string()), expiry.clone()),
            ("iat", json!(NOW + 61), not_yet.clone()),
            ("iat", json!(NOW - 661), not_yet.clone()),
            ("iat", json!("now"), not_yet.clone()),
            ("nbf", json!(NOW + 61), not_yet.clone()),
            ("jti", Value::Null, Id),
            ("jti", json!(""), Id),
            ("jti", json!(7), Id),
            ("jti", json!("x".repeat(257)), Id),
        ] {
            assert_eq!(with(name, value.clone()), Err(error), "{name} {value}");
        }
    }

    #[test]
    fn what_this_signs_this_takes() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let key = SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap();
        let now = Timestamp::from_seconds(NOW);
        let text = sign(&key, None, "agt_1", "https://a.example", "one", now).unwrap();
        let set = KeyRing::new(vec![key]).unwrap().jwks();
        let jws = Jws::parse(&text).unwrap();
        KeySet::parse(&set).unwrap().verify(&jws).unwrap();
        assert_eq!(claimed(&jws), Some("agt_1"));
        assert_eq!(check(&jws, "agt_1", "https://a.example", now).unwrap().jti, "one");
    }
}
