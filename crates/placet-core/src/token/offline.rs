//! An access token as its resource server checks it by itself: with the published keys, and the list of statuses that it
//! names (`docs/status-lists.md`). Nothing is asked.
//!
//! Invariant: what is not of the expected issuer, signed with one of its keys, and in its time is no token; what became of
//! it is another question, which only the list answers.

use super::{ACCESS_TYPE, AccessClaims, MAX_LENGTH, invalid};
use crate::{
    jose::{Jws, KeySet},
    refusal::{Code, Reason},
    time::Timestamp,
};
use serde_json::Value;

/// Verifies an access token's signature, `typ`, `iss` and time (RFC 9068 §4). Its audience is [`AccessClaims::aud`]: the
/// caller compares it with what it is.
///
/// # Errors
/// `token_invalid`, or `token_expired` for one that was good once.
pub fn verify(token: &str, keys: &KeySet, issuer: &str, now: Timestamp) -> Result<AccessClaims, Reason> {
    if token.len() > MAX_LENGTH {
        return Err(invalid("the token is too long"));
    }
    let jws = Jws::parse(token).map_err(|error| invalid(&format!("the token can't be read: {error}")))?;
    if jws.is_type(ACCESS_TYPE) != Some(true) {
        return Err(invalid("the token is of another kind"));
    }
    let claims =
        keys.verify(&jws).map_err(|error| invalid(&format!("the token is not believed: {error}")))?;
    let claims: AccessClaims = serde_json::from_value(Value::Object(claims.clone()))
        .map_err(|_| invalid("the token lacks claims of an access token"))?;
    if claims.iss != issuer {
        return Err(invalid("the token is of another issuer"));
    }
    if Timestamp::from_seconds(claims.exp) <= now {
        return Err(Reason::of(Code::TokenExpired));
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keys::{KeyRing, SigningKey},
        status_list::{Reference, StatusClaim},
        token::{Actor, DelegationClaims, GrantClaim, TaskClaim, sign_access, sign_delegation},
    };
    use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};

    fn ring() -> KeyRing {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        KeyRing::new(vec![SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap()]).unwrap()
    }

    fn id<K: crate::id::Kind>(n: u8) -> crate::id::Id<K> {
        crate::id::Id::from_parts(Timestamp::from_seconds(1), [n; 10])
    }

    fn claims() -> AccessClaims {
        AccessClaims {
            iss: "https://a".into(),
            sub: "agt".into(),
            aud: vec!["https://orders".into()],
            exp: 1600,
            iat: 1000,
            jti: id(1),
            client_id: id(2),
            scope: "orders.read".into(),
            authorization_details: Vec::new(),
            act: Actor { sub: "agt".into(), act: None },
            task: TaskClaim { id: "t".into(), parent: None },
            grant: GrantClaim { id: id(3), root: id(3), depth: 0 },
            cnf: None,
            status: Some(StatusClaim { status_list: Reference { idx: 7, uri: "https://a/x".into() } }),
        }
    }

    #[test]
    fn what_the_published_keys_verify_is_read_whole_and_nothing_else_is() {
        let keys = ring();
        let published = KeySet::parse(&keys.jwks()).unwrap();
        let at = Timestamp::from_seconds;
        let token = sign_access(&keys, &claims()).unwrap();
        assert_eq!(verify(&token, &published, "https://a", at(1599)), Ok(claims()));
        let code =
            |token: &str, issuer: &str, now| verify(token, &published, issuer, at(now)).unwrap_err().code;
        assert_eq!(code(&token, "https://a", 1600), Code::TokenExpired);
        assert_eq!(code(&token, "https://a/", 1000), Code::TokenInvalid);
        let foreign = sign_access(&ring(), &claims()).unwrap();
        let delegation = DelegationClaims {
            iss: "https://a".into(),
            aud: "https://a".into(),
            exp: 1300,
            iat: 1000,
            jti: id(1),
            sub: id(2),
            child: id(2),
            grant: id(3),
        };
        let delegation = sign_delegation(&keys, &delegation).unwrap();
        for wrong in [foreign.as_str(), delegation.as_str(), "", "a.b.c", &format!("x{token}")] {
            assert_eq!(code(wrong, "https://a", 1000), Code::TokenInvalid);
        }
    }
}
