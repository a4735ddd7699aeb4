//! Signs the assertions that a connection's key is for (RFC 7523), with RSASSA-PKCS1-v1_5 and SHA-256.
//!
//! Invariant: no error and no message has a part of the key.

use crate::token::TokenError;
use placet_core::{
    secret::Secret,
    service::oauth::assertion::{Assertion, Signing},
};
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};

/// The assertion with its signature.
///
/// # Errors
/// What is there is no key that signs so.
pub fn signed(assertion: Assertion, signing: &Signing) -> Result<Secret, TokenError> {
    let key = PrivateKeyDer::from_pem_slice(signing.key.expose()).map_err(|_| TokenError::Key)?;
    let key = any_supported_type(&key).map_err(|_| TokenError::Key)?;
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or(TokenError::Key)?;
    let signature = signer.sign(assertion.text().as_bytes()).map_err(|_| TokenError::Key)?;
    Ok(assertion.signed(&signature))
}
