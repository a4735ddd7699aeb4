//! Tokens: access tokens (RFC 9068) and delegation tokens (DESIGN §3.7). A token only represents a grant.
//!
//! Both are JWTs signed by the installation; they differ in `typ` and `aud`, and each endpoint takes one kind.
//! Verification checks the signature, type, issuer, audience and time; whether the grant is alive is a question
//! for [`crate::chain`]; whoever has only the published keys verifies with [`offline`].
//!
//! Invariant: a token is never the source of authority; nothing decides by its claims but which grant to look up,
//! and until when.

pub mod offline;

use crate::{
    agent::Agent,
    chain::Chain,
    grant::cover::AuthorizationDetail,
    id::{AgentId, GrantId, TokenId},
    jose::Thumbprint,
    keys::KeyRing,
    refusal::{Code, Reason},
    status_list::StatusClaim,
    time::Timestamp,
};
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long an access token lives at most.
pub const ACCESS_LIFETIME: Duration = Duration::from_secs(600);
/// How long a delegation token can be presented.
pub const DELEGATION_LIFETIME: Duration = Duration::from_secs(300);
/// How long any token that a signing key has signed can be good: so long the key has to be known after its last.
pub const LONGEST_LIFETIME: Duration = ACCESS_LIFETIME;
const _: () = assert!(DELEGATION_LIFETIME.as_secs() <= LONGEST_LIFETIME.as_secs());
/// The longest token text that is looked at.
pub const MAX_LENGTH: usize = 16 * 1024;

const ACCESS_TYPE: &str = "at+jwt";
const DELEGATION_TYPE: &str = "placet-delegation+jwt";

/// An actor and those it acts for (RFC 8693 §4.1). Only the outermost acts; the others are for the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// An agent's id.
    pub sub: String,
    /// The one that handed it the authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Self>>,
}

impl Actor {
    /// The agents of a chain, the acting one outermost; adjacent links of one agent are one actor.
    pub fn of(chain: &Chain) -> Self {
        let mut agents: Vec<&Agent> = Vec::new();
        for link in chain.links() {
            if agents.last().is_none_or(|last| last.id != link.agent.id) {
                agents.push(&link.agent);
            }
        }
        let nest = |inner: Option<Box<Self>>, agent: &Agent| {
            Some(Box::new(Self { sub: agent.id.to_string(), act: inner }))
        };
        let actor = agents.iter().rev().fold(None, |inner, agent| nest(inner, agent));
        actor.map_or_else(|| Self { sub: chain.agent().id.to_string(), act: None }, |actor| *actor)
    }
}

/// The `task` claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskClaim {
    /// The client's label, or the task's id.
    pub id: String,
    /// The same of the task that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// The `grant` claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantClaim {
    /// The grant that the token represents.
    pub id: GrantId,
    /// The root of its lineage.
    pub root: GrantId,
    /// Links above it.
    pub depth: u8,
}

/// The `cnf` claim (RFC 7800 §3.1): what whoever presents the token has to prove to hold. Where it names both, both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The thumbprint of a key, proved with DPoP (RFC 9449 §6.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jkt: Option<Thumbprint>,
    /// The thumbprint of a certificate, proved by mutual TLS (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256", default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Thumbprint>,
}

impl Confirmation {
    /// As a claim: none where nothing is bound.
    pub fn claim(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }
}

/// The claims of an access token (RFC 9068 §2.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The issuer.
    pub iss: String,
    /// The user on whose behalf, else the acting agent.
    pub sub: String,
    /// Who may be shown it.
    pub aud: Vec<String>,
    /// Seconds since the epoch, exclusive.
    pub exp: i64,
    /// Seconds since the epoch.
    pub iat: i64,
    /// The token's id.
    pub jti: TokenId,
    /// The acting agent.
    pub client_id: AgentId,
    /// Space-separated scopes.
    pub scope: String,
    /// RFC 9396 details, if the grant has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// The acting agent and those that handed it authority.
    pub act: Actor,
    /// The task it is bound to.
    pub task: TaskClaim,
    /// The grant it represents.
    pub grant: GrantClaim,
    /// What it is bound to; without it the token is a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// Where those read what became of it who don't ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusClaim>,
}

impl AccessClaims {
    /// How it is presented: `DPoP` or `Bearer`.
    pub fn token_type(&self) -> &'static str {
        // One that is bound to a certificate alone is presented as any other (RFC 8705 §3).
        if self.bound().jkt.is_some() { "DPoP" } else { "Bearer" }
    }

    /// What it is bound to.
    pub fn bound(&self) -> Confirmation {
        self.cnf.unwrap_or_default()
    }
}

/// The claims of a delegation token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationClaims {
    /// The issuer.
    pub iss: String,
    /// The issuer again: it is presented at the token endpoint and nowhere else.
    pub aud: String,
    /// Seconds since the epoch, exclusive.
    pub exp: i64,
    /// Seconds since the epoch.
    pub iat: i64,
    /// The token's id; spent at its first use.
    pub jti: TokenId,
    /// The agent that delegates.
    pub sub: AgentId,
    /// The only agent that can present it.
    pub child: AgentId,
    /// The narrowed grant under which the child's will hang.
    pub grant: GrantId,
}

/// Who issues and who is meant, for verification.
#[derive(Debug, Clone, Copy)]
pub struct Issuers<'a> {
    /// Every issuer that this data directory has used; tokens of each stay valid.
    pub known: &'a [String],
}

/// Signs `claims` as an access token.
///
/// # Errors
/// `internal` where signing fails.
pub fn sign_access(keys: &KeyRing, claims: &AccessClaims) -> Result<String, Reason> {
    sign(keys, ACCESS_TYPE, claims)
}

/// Signs `claims` as a delegation token.
///
/// # Errors
/// `internal` where signing fails.
pub fn sign_delegation(keys: &KeyRing, claims: &DelegationClaims) -> Result<String, Reason> {
    sign(keys, DELEGATION_TYPE, claims)
}

/// What Placet states under its signature besides tokens. Each kind has a `typ` of its own, so that none is taken for
/// another, and none for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// The metadata of the authorization server (RFC 8414 §2.1).
    ServerMetadata,
    /// The metadata of a protected resource (RFC 9728 §2.2).
    ResourceMetadata,
    /// The metadata of a policy decision point (AuthZEN Authorization API 1.0 §9.1.2).
    DecisionPointMetadata,
    /// The answer of an introspection (RFC 9701 §5).
    Introspection,
    /// A list of statuses (draft-ietf-oauth-status-list §5.1).
    StatusList,
}

impl Statement {
    /// The `typ` of its header.
    pub const fn typ(self) -> &'static str {
        match self {
            Self::ServerMetadata => "oauth-authorization-server-metadata+jwt",
            Self::ResourceMetadata => "oauth-protected-resource-metadata+jwt",
            Self::DecisionPointMetadata => "authzen-configuration+jwt",
            Self::Introspection => "token-introspection+jwt",
            Self::StatusList => "statuslist+jwt",
        }
    }
}

/// Signs a statement.
///
/// # Errors
/// `internal` where signing fails.
pub fn sign_statement(
    keys: &KeyRing,
    statement: Statement,
    claims: &serde_json::Value,
) -> Result<String, Reason> {
    sign(keys, statement.typ(), claims)
}

/// Verifies an access token's signature, `typ`, `iss` and time. Its audience is [`AccessClaims::aud`]: the caller
/// compares it with what it is.
///
/// # Errors
/// `token_invalid`, or `token_expired` for a token that was good once.
pub fn verify_access(
    keys: &KeyRing,
    issuers: Issuers<'_>,
    token: &str,
    now: Timestamp,
) -> Result<AccessClaims, Reason> {
    let claims: AccessClaims = verify(keys, ACCESS_TYPE, token)?;
    check(issuers, &claims.iss, claims.exp, now)?;
    Ok(claims)
}

/// Verifies a delegation token's signature, `typ`, `iss`, `aud` and time. Whether it was spent is the store's to say.
///
/// # Errors
/// `token_invalid`, or `token_expired` for a token that was good once.
pub fn verify_delegation(
    keys: &KeyRing,
    issuers: Issuers<'_>,
    token: &str,
    now: Timestamp,
) -> Result<DelegationClaims, Reason> {
    let claims: DelegationClaims = verify(keys, DELEGATION_TYPE, token)?;
    if claims.aud != claims.iss {
        return Err(invalid("the token is meant for somebody else"));
    }
    check(issuers, &claims.iss, claims.exp, now)?;
    Ok(claims)
}

/// The name of the key that a token says it was signed by; nothing of it is checked.
pub fn key_of(token: &str) -> Option<String> {
    if token.len() > MAX_LENGTH {
        return None;
    }
    let header = jsonwebtoken::decode_header(token).ok()?;
    let ours = [ACCESS_TYPE, DELEGATION_TYPE].map(Some).contains(&header.typ.as_deref());
    header.kid.filter(|_| ours)
}

fn sign<T: Serialize>(keys: &KeyRing, typ: &str, claims: &T) -> Result<String, Reason> {
    let key = keys.signer();
    let mut header = Header::new(key.algorithm().jose());
    header.typ = Some(typ.to_owned());
    header.kid = Some(key.kid().to_owned());
    key.jws(&header, claims)
}

fn verify<T: serde::de::DeserializeOwned>(keys: &KeyRing, typ: &str, token: &str) -> Result<T, Reason> {
    if token.len() > MAX_LENGTH {
        return Err(invalid("the token is too long"));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| invalid("the token is no JWT of ours"))?;
    if header.typ.as_deref() != Some(typ) {
        return Err(invalid("the token is of another kind"));
    }
    let key = header.kid.as_deref().and_then(|kid| keys.find(kid));
    let key = key.ok_or_else(|| invalid("the token was signed by a key that is not ours"))?;
    // Issuer, audience and time are checked against what the caller gives; the library would ask the system's clock.
    let mut validation = Validation::new(key.algorithm().jose());
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let token = jsonwebtoken::decode::<T>(token, key.public(), &validation)
        .map_err(|_| invalid("the token's signature or claims are not valid"))?;
    Ok(token.claims)
}

fn check(issuers: Issuers<'_>, iss: &str, exp: i64, now: Timestamp) -> Result<(), Reason> {
    if !issuers.known.iter().any(|known| known == iss) {
        return Err(invalid("the token is of another issuer"));
    }
    // No leeway: both clocks are the same one.
    if Timestamp::from_seconds(exp) <= now {
        return Err(Reason::of(Code::TokenExpired));
    }
    Ok(())
}

fn invalid(detail: &str) -> Reason {
    Reason::of(Code::TokenInvalid).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;
    use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn ring() -> KeyRing {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        KeyRing::new(vec![SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap()]).unwrap()
    }

    fn claims() -> DelegationClaims {
        let at = Timestamp::from_seconds(1000);
        DelegationClaims {
            iss: "http://a".into(),
            aud: "http://a".into(),
            exp: 1300,
            iat: 1000,
            jti: TokenId::from_parts(at, [1; 10]),
            sub: AgentId::from_parts(at, [2; 10]),
            child: AgentId::from_parts(at, [3; 10]),
            grant: GrantId::from_parts(at, [4; 10]),
        }
    }

    fn known() -> Vec<String> {
        vec!["http://a".into()]
    }

    #[test]
    fn what_was_signed_is_what_is_read() {
        let (keys, known) = (ring(), known());
        let token = sign_delegation(&keys, &claims()).unwrap();
        let read = verify_delegation(&keys, Issuers { known: &known }, &token, Timestamp::from_seconds(1299))
            .unwrap();
        assert_eq!(read, claims());
    }

    #[test]
    fn time_issuer_audience_and_kind_are_checked() {
        let (keys, known) = (ring(), known());
        let code = |token: &str, now| {
            verify_delegation(&keys, Issuers { known: &known }, token, Timestamp::from_seconds(now))
                .unwrap_err()
                .code
        };
        let token = sign_delegation(&keys, &claims()).unwrap();
        assert_eq!(code(&token, 1300), Code::TokenExpired);
        for wrong in [
            DelegationClaims { iss: "http://b".into(), aud: "http://b".into(), ..claims() },
            DelegationClaims { aud: "http://b".into(), ..claims() },
        ] {
            assert_eq!(code(&sign_delegation(&keys, &wrong).unwrap(), 1000), Code::TokenInvalid);
        }
        // A delegation token is no access token, and the other way round.
        let access = verify_access(&keys, Issuers { known: &known }, &token, Timestamp::from_seconds(1000));
        assert_eq!(access.unwrap_err().code, Code::TokenInvalid);
        assert_eq!(code(&sign(&keys, "at+jwt", &claims()).unwrap(), 1000), Code::TokenInvalid);
        assert_eq!(code(&sign(&ring(), DELEGATION_TYPE, &claims()).unwrap(), 1000), Code::TokenInvalid);
    }

    #[test]
    fn a_key_of_the_other_algorithm_signs_and_verifies_and_a_retired_one_still_verifies() {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let known = known();
        let old = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let new =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = |pkcs8: &[u8]| SigningKey::from_pkcs8(pkcs8).unwrap();
        let before = KeyRing::new(vec![key(old.as_ref())]).unwrap();
        let after = KeyRing::new(vec![key(new.as_ref()), key(old.as_ref())]).unwrap();
        let read = |keys: &KeyRing, token: &str| {
            verify_delegation(keys, Issuers { known: &known }, token, Timestamp::from_seconds(1000))
        };
        let (first, second) =
            (sign_delegation(&before, &claims()).unwrap(), sign_delegation(&after, &claims()).unwrap());
        assert_eq!(read(&after, &first).unwrap(), claims());
        assert_eq!(read(&after, &second).unwrap(), claims());
        assert_eq!(read(&before, &second).unwrap_err().code, Code::TokenInvalid);
        assert_eq!(key_of(&second).as_deref(), Some(after.signer().kid()));
        assert_eq!(key_of(&sign(&after, "JWT", &claims()).unwrap()), None);
    }

    #[test]
    fn other_algorithms_are_refused() {
        let (keys, known) = (ring(), known());
        let token = sign_delegation(&keys, &claims()).unwrap();
        let kid = keys.signer().kid();
        let payload = token.split('.').nth(1).unwrap();
        for alg in ["none", "HS256", "ES256", "RS256"] {
            let header = format!(r#"{{"typ":"{DELEGATION_TYPE}","alg":"{alg}","kid":"{kid}"}}"#);
            let forged =
                format!("{}.{payload}.{}", URL_SAFE_NO_PAD.encode(header), token.split('.').nth(2).unwrap());
            let read =
                verify_delegation(&keys, Issuers { known: &known }, &forged, Timestamp::from_seconds(1000));
            assert_eq!(read.unwrap_err().code, Code::TokenInvalid, "{alg}");
        }
    }

    proptest! {
        #[test]
        fn any_changed_character_is_found(at in 0usize..400, to in "[A-Za-z0-9_.-]") {
            let (keys, known) = (ring(), known());
            let token = sign_delegation(&keys, &claims()).unwrap();
            let mut forged = token.clone();
            let at = at % token.len();
            forged.replace_range(at..=at, &to);
            // The last character of a part may differ in bits that base64 ignores; then it is the same token or refused.
            let read = verify_delegation(&keys, Issuers { known: &known }, &forged, Timestamp::from_seconds(1000));
            if forged != token {
                prop_assert!(read.is_err() || read.unwrap() == claims());
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let known = known();
            let read = verify_access(&ring(), Issuers { known: &known }, &text, Timestamp::default());
            prop_assert!(read.is_err());
        }
    }
}
