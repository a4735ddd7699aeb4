//! Authenticator data (Web Authentication §6.1): what an authenticator states, and signs.
//!
//! Invariant: every byte is accounted for by the flags.

use super::Refused;
use crate::cbor::Value;

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const ATTESTED: u8 = 1 << 6;
const EXTENSIONS: u8 = 1 << 7;
/// The bytes of an authenticator's model, which is not asked.
const MODEL: usize = 16;

/// Authenticator data in their parts.
#[derive(Debug)]
pub(super) struct AuthenticatorData<'a> {
    /// SHA-256 of the relying party's id.
    pub(super) rp_id_hash: &'a [u8; 32],
    flags: u8,
    /// How often the credential has signed, where the authenticator counts; else 0.
    pub(super) sign_count: u32,
    /// The credential, where it was just made.
    pub(super) attested: Option<Attested<'a>>,
}

/// A credential that was just made (§6.5.2).
#[derive(Debug)]
pub(super) struct Attested<'a> {
    /// Its id.
    pub(super) credential: &'a [u8],
    /// Its public key, as it came.
    pub(super) key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    /// Takes them apart.
    ///
    /// # Errors
    /// [`Refused::AuthenticatorData`], [`Refused::Cbor`].
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Refused> {
        let short = Refused::AuthenticatorData;
        let (rp_id_hash, rest) = bytes.split_first_chunk().ok_or(short)?;
        let (flags, rest) = rest.split_first().ok_or(short)?;
        let (count, mut rest) = rest.split_first_chunk().ok_or(short)?;
        let mut attested = None;
        if flags & ATTESTED != 0 {
            let (_, behind) = rest.split_at_checked(MODEL).ok_or(short)?;
            let (length, behind) = behind.split_first_chunk().ok_or(short)?;
            let (credential, behind) =
                behind.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(short)?;
            let (_, left) = Value::read_first(behind)?;
            let (key, _) = behind.split_at_checked(behind.len() - left.len()).ok_or(short)?;
            attested = Some(Attested { credential, key });
            rest = left;
        }
        if flags & EXTENSIONS != 0 {
            let (extensions, left) = Value::read_first(rest)?;
            extensions.as_map().ok_or(short)?;
            rest = left;
        }
        if !rest.is_empty() {
            return Err(short);
        }
        Ok(Self { rp_id_hash, flags: *flags, sign_count: u32::from_be_bytes(*count), attested })
    }

    /// Whether somebody was there.
    pub(super) fn user_present(&self) -> bool {
        self.flags & PRESENT != 0
    }

    /// Whether the authenticator found out that it was its person: by a PIN, a finger, a face.
    pub(super) fn user_verified(&self) -> bool {
        self.flags & VERIFIED != 0
    }

    /// Whether the credential may be copied to another device.
    pub(super) fn backup_eligible(&self) -> bool {
        self.flags & ELIGIBLE != 0
    }

    /// Whether it is.
    pub(super) fn backed_up(&self) -> bool {
        self.flags & BACKED_UP != 0
    }
}
