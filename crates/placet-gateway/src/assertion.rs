//! Signs the assertions that a connection's key is for (RFC 7523): with RSASSA-PKCS1-v1_5, or with ECDSA on P-256, as the
//! key is.
//!
//! Invariant: no error and no message has a part of the key.

use crate::token::TokenError;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use placet_core::{
    secret::Secret,
    service::oauth::assertion::{Algorithm, Assertion, Signing},
};
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::Signer,
};
use std::fmt;

/// A key that signs assertions.
pub struct AssertionKey(Inner);

enum Inner {
    Rsa(Box<dyn Signer>),
    /// JWS has the two numbers one behind the other (RFC 7518 §3.4), and not in DER as TLS has them.
    P256(Box<EcdsaKeyPair>),
}

impl fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AssertionKey")
    }
}

impl AssertionKey {
    /// The key of a connection.
    ///
    /// # Errors
    /// What is there is no key that signs so.
    pub fn read(signing: &Signing) -> Result<Self, TokenError> {
        let key = PrivateKeyDer::from_pem_slice(signing.key.expose()).map_err(|_| TokenError::Key)?;
        let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let p256 = match &key {
            PrivateKeyDer::Sec1(der) => EcdsaKeyPair::from_private_key_der(curve, der.secret_sec1_der()).ok(),
            PrivateKeyDer::Pkcs8(der) => EcdsaKeyPair::from_pkcs8(curve, der.secret_pkcs8_der()).ok(),
            _ => None,
        };
        if let Some(pair) = p256 {
            return Ok(Self(Inner::P256(Box::new(pair))));
        }
        let key = any_supported_type(&key).map_err(|_| TokenError::Key)?;
        let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or(TokenError::Key)?;
        Ok(Self(Inner::Rsa(signer)))
    }

    /// In which way it signs.
    pub const fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Inner::Rsa(_) => Algorithm::Rs256,
            Inner::P256(_) => Algorithm::Es256,
        }
    }

    /// The assertion with its signature.
    ///
    /// # Errors
    /// The key signs nothing.
    pub fn sign(&self, assertion: Assertion) -> Result<Secret, TokenError> {
        let text = assertion.text().as_bytes();
        let signature = match &self.0 {
            Inner::Rsa(signer) => signer.sign(text).map_err(|_| TokenError::Key)?,
            Inner::P256(pair) => {
                pair.sign(&SystemRandom::new(), text).map_err(|_| TokenError::Key)?.as_ref().to_vec()
            }
        };
        Ok(assertion.signed(&signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::{
        encoding::{AsDer, EcPrivateKeyRfc5915Der},
        signature::{
            ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, KeyPair as _, UnparsedPublicKey,
        },
    };
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    use placet_core::{
        service::oauth::{Kept, OAuth},
        time::Timestamp,
    };

    fn signing(label: &str, der: &[u8]) -> Signing {
        let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
        Signing { key: Secret::new(pem), key_id: None, subject: None }
    }

    #[test]
    fn a_key_on_p256_signs_in_the_form_of_jws_in_either_encoding() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        let sec1: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
        let server: OAuth = serde_json::from_value(
            serde_json::json!({"token_url": "https://as.example/t", "assertion_audience": "as"}),
        )
        .unwrap();
        for signing in [signing("PRIVATE KEY", pkcs8.as_ref()), signing("EC PRIVATE KEY", sec1.as_ref())] {
            let key = AssertionKey::read(&signing).unwrap();
            assert_eq!(key.algorithm(), Algorithm::Es256);
            let kept = Kept::signing(&server, "me".to_owned(), None, signing).unwrap();
            let now = Timestamp::from_seconds(1_800_000_000);
            let assertion = Assertion::of(&server, &kept, key.algorithm(), now, "id").unwrap();
            let text = assertion.text().to_owned();
            let signed = key.sign(assertion).unwrap();
            let signature = signed.expose_str().unwrap().rsplit_once('.').unwrap().1;
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            assert_eq!(signature.len(), 64);
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
            public.verify(text.as_bytes(), &signature).unwrap();
        }
    }

    #[test]
    fn what_signs_in_another_way_is_no_key() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        let garbage = signing("PRIVATE KEY", b"no key");
        for signing in [signing("PRIVATE KEY", pkcs8.as_ref()), signing("EC PRIVATE KEY", b"x"), garbage] {
            assert_eq!(AssertionKey::read(&signing).unwrap_err(), TokenError::Key);
        }
    }
}
