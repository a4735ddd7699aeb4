//! Keys of others, and JWTs as they sign them, however wrong.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_server::clock::Clock;
use placet_testkit::fresh;
use serde_json::{Value, json};

/// A private key.
pub(crate) enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    /// With PKCS #1, or PSS.
    Rsa(RsaKeyPair, bool),
}

impl Signer {
    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn p256() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Self::P256(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.unwrap().as_ref()).unwrap(),
        )
    }

    pub(crate) fn rsa(pss: bool) -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), pss)
    }

    pub(crate) fn alg(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(_) => "ES256",
            Self::Rsa(_, false) => "RS256",
            Self::Rsa(_, true) => "PS256",
        }
    }

    /// The public half.
    pub(crate) fn jwk(&self) -> Value {
        match self {
            Self::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().as_ref())})
            }
            Self::P256(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])})
            }
            Self::Rsa(key, _) => {
                let (n, e) = (key.public_key().modulus(), key.public_key().exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                json!({"kty": "RSA", "n": b64(n), "e": b64(e)})
            }
        }
    }

    /// The set with that alone, under a name if there is one.
    pub(crate) fn jwks(&self, kid: Option<&str>) -> Value {
        let mut jwk = self.jwk();
        if let Some(kid) = kid {
            jwk["kid"] = json!(kid);
        }
        json!({"keys": [jwk]})
    }

    /// Signs texts as they are.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ed25519(key) => key.sign(signed.as_bytes()).as_ref().to_vec(),
            Self::P256(key) => key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Rsa(key, pss) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let done = if *pss {
                    key.sign(&RSA_PSS_SHA256, &random, signed.as_bytes(), &mut signature)
                } else {
                    key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
                };
                done.unwrap();
                signature
            }
        };
        format!("{signed}.{}", b64(&signature))
    }

    /// An assertion of a client for an issuer, good and new.
    pub(crate) fn assertion(&self, client_id: &str, issuer: &str) -> String {
        self.changed(client_id, issuer, |_, _| {})
    }

    /// The same with something else in header or claims.
    pub(crate) fn changed(
        &self,
        client_id: &str,
        issuer: &str,
        change: impl FnOnce(&mut Value, &mut Value),
    ) -> String {
        let mut header = json!({"alg": self.alg(), "typ": "JWT"});
        let mut claims = json!({"iss": client_id, "sub": client_id, "aud": issuer, "iat": now(),
            "exp": now() + 60, "jti": fresh("jti-")});
        change(&mut header, &mut claims);
        self.sign(&header.to_string(), &claims.to_string())
    }
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    Clock::System.now().as_seconds()
}

pub(crate) fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
