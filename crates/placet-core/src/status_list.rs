//! Status lists (draft-ietf-oauth-status-list-21): what became of many tokens, as a few bits of each, in one signed
//! statement that anybody may keep and pass on. Whoever checks tokens by themselves learns from it what introspection
//! would tell: that one was revoked, or is suspended.
//!
//! [`Statuses`] is the array of bits and its text, [`Places`] gives each token a place of its own, and [`read`] is how a
//! statement is read by whoever was shown a token.
//!
//! Invariant: what somebody else sent is inflated up to a bound and no further, and a place that a list does not have is
//! never a status.

mod places;
mod read;

pub use places::{PLACES, Places};
pub use read::{Said, Unreadable, read};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use miniz_oxide::{deflate::compress_to_vec_zlib, inflate::decompress_to_vec_zlib_with_limit};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The media type of a statement (draft §8.2), and behind its slash the `typ` of its header (§5.1).
pub const MEDIA_TYPE: &str = "application/statuslist+jwt";
/// The longest array that a list is inflated to, in bytes: four million statuses of two bits.
pub const MAX_BYTES: usize = 1 << 20;
/// The highest level: the array is made seldom and sent often (draft §4.1).
const LEVEL: u8 = 9;

/// What became of a token (draft §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is good.
    Valid,
    /// It is good no more.
    Invalid,
    /// It is not good now, and may be again.
    Suspended,
    /// A value that says nothing here.
    Other(u8),
}

impl Status {
    /// The value in a list.
    pub const fn value(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Invalid => 1,
            Self::Suspended => 2,
            Self::Other(value) => value,
        }
    }

    /// What a value in a list says.
    pub const fn of(value: u8) -> Self {
        match value {
            0 => Self::Valid,
            1 => Self::Invalid,
            2 => Self::Suspended,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => f.write_str("valid"),
            Self::Invalid => f.write_str("invalid"),
            Self::Suspended => f.write_str("suspended"),
            Self::Other(value) => write!(f, "unknown ({value})"),
        }
    }
}

/// The `status` claim of a token (draft §6.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusClaim {
    /// Where its status stands.
    pub status_list: Reference,
}

/// A place in a list (draft §6.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The place, from 0.
    pub idx: u64,
    /// The list: where it is found, and what its statement has as `sub`.
    pub uri: String,
}

/// How many bits a status has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// Two statuses.
    One,
    /// Four.
    Two,
    /// Sixteen.
    Four,
    /// All.
    Eight,
}

impl Bits {
    /// As the statement says it; `None` for any other number.
    pub const fn of(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            4 => Some(Self::Four),
            8 => Some(Self::Eight),
            _ => None,
        }
    }

    /// How many.
    pub const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    const fn mask(self) -> u8 {
        match self {
            Self::One => 0b1,
            Self::Two => 0b11,
            Self::Four => 0b1111,
            Self::Eight => 0xff,
        }
    }

    /// The byte of a place, and how far up its bits are.
    fn place(self, idx: u64) -> Option<(usize, u32)> {
        let bit = idx.checked_mul(self.number().into())?;
        Some((usize::try_from(bit / 8).ok()?, u32::try_from(bit % 8).ok()?))
    }
}

/// An array of statuses (draft §4.1): from the least significant bits of the first byte on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses {
    bits: Bits,
    bytes: Vec<u8>,
}

/// Why a `lst` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// No base64url without padding.
    #[error("`lst` is no base64url")]
    Base64,
    /// No zlib stream, or one that ends too soon.
    #[error("`lst` is no whole zlib stream")]
    Zlib,
    /// More than is looked at.
    #[error("`lst` inflates to more than {MAX_BYTES} bytes")]
    TooLarge,
}

impl Statuses {
    /// As many as asked for, rounded up to whole bytes, all the same: `status` cut to its bits.
    pub fn all(bits: Bits, places: usize, status: Status) -> Self {
        let each = usize::from(8 / bits.number());
        let value = status.value() & bits.mask();
        let byte = (0..each).fold(0u8, |byte, _| byte.checked_shl(bits.number().into()).unwrap_or(0) | value);
        Self { bits, bytes: vec![byte; places.div_ceil(each)] }
    }

    /// Sets one. `false` where there is no such place, or the value does not fit.
    #[must_use]
    pub fn set(&mut self, idx: u64, status: Status) -> bool {
        let (mask, value) = (self.bits.mask(), status.value());
        let Some((byte, up)) = self.bits.place(idx) else { return false };
        let Some(byte) = self.bytes.get_mut(byte).filter(|_| value <= mask) else { return false };
        *byte = (*byte & !(mask << up)) | (value << up);
        true
    }

    /// The one at a place; `None` where the list has no such place (then nothing is said, draft §8.3).
    pub fn at(&self, idx: u64) -> Option<Status> {
        let (byte, up) = self.bits.place(idx)?;
        self.bytes.get(byte).map(|byte| Status::of(byte >> up & self.bits.mask()))
    }

    /// How many there are.
    pub fn places(&self) -> usize {
        self.bytes.len() * usize::from(8 / self.bits.number())
    }

    /// The member `lst` of a statement.
    pub fn to_lst(&self) -> String {
        URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(&self.bytes, LEVEL))
    }

    /// From the member `lst` of a statement; at most [`MAX_BYTES`] are ever inflated.
    ///
    /// # Errors
    /// [`ListError`].
    pub(crate) fn from_lst(bits: Bits, lst: &str) -> Result<Self, ListError> {
        let packed = URL_SAFE_NO_PAD.decode(lst).map_err(|_| ListError::Base64)?;
        let bytes = decompress_to_vec_zlib_with_limit(&packed, MAX_BYTES).map_err(|error| {
            if error.status == miniz_oxide::inflate::TINFLStatus::HasMoreOutput {
                ListError::TooLarge
            } else {
                ListError::Zlib
            }
        })?;
        Ok(Self { bits, bytes })
    }
}

#[cfg(test)]
mod tests;
