//! Passkeys (Web Authentication Level 3): what a browser says that an authenticator did, verified here. Registration is
//! §7.1 of the standard, an assertion §7.2; the numbers in comments are their steps.
//!
//! What made the authenticator is not asked: attestation statements are read and not looked at.
//!
//! Invariant: an answer is believed only where it was made for this challenge, on exactly this origin and not in a frame of
//! another, for this relying party, by an authenticator that had verified the person, and signed by the key that is
//! registered, with the algorithm of that key. Whether the challenge was used before is the caller's to know.

mod data;
mod key;

pub use key::{CredentialAlgorithm, CredentialKey};

use crate::{
    cbor::{CborError, Value},
    json,
    secret::sha256,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use data::AuthenticatorData;

/// The longest id of a credential (§4).
pub const MAX_CREDENTIAL: usize = 1023;
/// The longest client data that are looked at.
const MAX_CLIENT_DATA: usize = 8 * 1024;

/// What an answer has to be for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The challenge that this browser was given.
    pub challenge: &'a [u8],
    /// The origin of the pages, as browsers write it.
    pub origin: &'a str,
    /// The relying party's id: the host of that origin.
    pub rp_id: &'a str,
}

/// A credential that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its id.
    pub credential: Vec<u8>,
    /// Its public key (COSE, RFC 9052 §7), as it came.
    pub key: Vec<u8>,
    /// How often it has signed, where its authenticator counts.
    pub sign_count: u32,
    /// Whether it may be copied to another device.
    pub backup_eligible: bool,
}

/// A credential that is registered.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its public key, as it was registered.
    pub key: &'a [u8],
    /// How often it had signed when it was last seen.
    pub sign_count: u32,
    /// Whether it may be copied to another device.
    pub backup_eligible: bool,
    /// Whose it is: what was given as `user.id` when it was made.
    pub user_handle: &'a [u8],
}

/// An answer to `navigator.credentials.get`.
#[derive(Debug, Clone, Copy)]
pub struct Assertion<'a> {
    /// `clientDataJSON`.
    pub client_data: &'a [u8],
    /// `authenticatorData`.
    pub authenticator_data: &'a [u8],
    /// `signature`.
    pub signature: &'a [u8],
    /// `userHandle`: whose credential the authenticator says that it is.
    pub user_handle: &'a [u8],
}

/// Why an answer is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The client data are no JSON object with one reading.
    #[error("the browser's data can't be read")]
    ClientData,
    /// Made for the other operation.
    #[error("it was made for another operation")]
    Type,
    /// Made for another challenge.
    #[error("it was made for another challenge")]
    Challenge,
    /// Made on another origin, or in a frame of one.
    #[error("it was made on another origin, or in a frame of one")]
    Origin,
    /// CBOR that can't be read.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// Authenticator data that can't be read.
    #[error("the authenticator's data can't be read")]
    AuthenticatorData,
    /// An attestation object that can't be read.
    #[error("the attestation object can't be read")]
    Attestation,
    /// Made for another relying party.
    #[error("it was made for another site")]
    RelyingParty,
    /// Nobody was there, or the authenticator did not find out who.
    #[error("the authenticator did not verify who was there")]
    NotVerified,
    /// What it says of copies contradicts itself, or what it said before.
    #[error("what it says of copies contradicts itself")]
    Backup,
    /// A key of a kind that was not asked for, or that is none.
    #[error("its key is not one of ES256, EdDSA, RS256")]
    Key,
    /// An id that is too long or empty.
    #[error("its id has not 1 to {MAX_CREDENTIAL} bytes")]
    Credential,
    /// Somebody else's credential.
    #[error("it is somebody else's")]
    UserHandle,
    /// The registered key did not sign it.
    #[error("its signature is wrong")]
    Signature,
    /// Its counter did not rise: there may be a copy of the authenticator.
    #[error("its counter did not rise: there may be a copy of it")]
    Counter,
}

/// A credential, from the answer to `navigator.credentials.create` (§7.1).
///
/// # Errors
/// [`Refused`].
pub fn register(
    expected: &Expected<'_>,
    client_data: &[u8],
    attestation_object: &[u8],
) -> Result<Registered, Refused> {
    // 7 to 11.
    said_by_client(expected, "webauthn.create", client_data)?;
    let object = Value::read(attestation_object)?;
    let data = AuthenticatorData::parse(attested(&object)?)?;
    // 13 to 17.
    checked(expected, &data)?;
    let attested = data.attested.as_ref().ok_or(Refused::AuthenticatorData)?;
    // 19 and 25.
    CredentialKey::parse(attested.key)?;
    if !(1..=MAX_CREDENTIAL).contains(&attested.credential.len()) {
        return Err(Refused::Credential);
    }
    Ok(Registered {
        credential: attested.credential.to_vec(),
        key: attested.key.to_vec(),
        sign_count: data.sign_count,
        backup_eligible: data.backup_eligible(),
    })
}

/// The counter that is kept from now on, from an answer that this credential gave (§7.2).
///
/// # Errors
/// [`Refused`].
pub fn verify(expected: &Expected<'_>, known: &Known<'_>, answer: &Assertion<'_>) -> Result<u32, Refused> {
    // 6.
    if answer.user_handle != known.user_handle {
        return Err(Refused::UserHandle);
    }
    // 10 to 14.
    said_by_client(expected, "webauthn.get", answer.client_data)?;
    let data = AuthenticatorData::parse(answer.authenticator_data)?;
    if data.attested.is_some() {
        return Err(Refused::AuthenticatorData);
    }
    // 15 to 19.
    checked(expected, &data)?;
    if data.backup_eligible() != known.backup_eligible {
        return Err(Refused::Backup);
    }
    // 20 and 21.
    let signed = [answer.authenticator_data, &sha256(&[answer.client_data])].concat();
    if !CredentialKey::parse(known.key)?.verifies(&signed, answer.signature) {
        return Err(Refused::Signature);
    }
    // 22.
    let counts = data.sign_count != 0 || known.sign_count != 0;
    if counts && data.sign_count <= known.sign_count {
        return Err(Refused::Counter);
    }
    Ok(data.sign_count)
}

/// What a browser states (§5.8.1), for this operation.
fn said_by_client(expected: &Expected<'_>, operation: &str, client_data: &[u8]) -> Result<(), Refused> {
    if client_data.len() > MAX_CLIENT_DATA {
        return Err(Refused::ClientData);
    }
    let said = json::parse(client_data).map_err(|_| Refused::ClientData)?;
    let said = said.as_object().ok_or(Refused::ClientData)?;
    let text = |name: &str| said.get(name).and_then(serde_json::Value::as_str).ok_or(Refused::ClientData);
    if text("type")? != operation {
        return Err(Refused::Type);
    }
    if text("challenge")? != URL_SAFE_NO_PAD.encode(expected.challenge) {
        return Err(Refused::Challenge);
    }
    let framed =
        said.get("crossOrigin").is_some_and(|crossed| *crossed != false) || said.contains_key("topOrigin");
    if text("origin")? != expected.origin || framed {
        return Err(Refused::Origin);
    }
    Ok(())
}

/// What both operations ask of an authenticator.
fn checked(expected: &Expected<'_>, data: &AuthenticatorData<'_>) -> Result<(), Refused> {
    if *data.rp_id_hash != sha256(&[expected.rp_id.as_bytes()]) {
        return Err(Refused::RelyingParty);
    }
    if !data.user_present() || !data.user_verified() {
        return Err(Refused::NotVerified);
    }
    if data.backed_up() && !data.backup_eligible() {
        return Err(Refused::Backup);
    }
    Ok(())
}

/// The authenticator data in an attestation object (§6.5.4). Its statement is read as CBOR and not looked at.
fn attested(object: &Value) -> Result<&[u8], Refused> {
    let pairs = object.as_map().ok_or(Refused::Attestation)?;
    let member = |name: &str| {
        let found = pairs.iter().find(|(key, _)| key.as_text() == Some(name));
        found.map(|(_, value)| value).ok_or(Refused::Attestation)
    };
    let (format, statement) = (member("fmt")?.as_text(), member("attStmt")?.as_map());
    let (format, statement) = format.zip(statement).ok_or(Refused::Attestation)?;
    if pairs.len() != 3 || (format == "none" && !statement.is_empty()) {
        return Err(Refused::Attestation);
    }
    member("authData")?.as_bytes().ok_or(Refused::Attestation)
}

#[cfg(test)]
mod tests;
