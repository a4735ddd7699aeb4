//! The record: who did what by whose authority, in a form that shows any later change.
//!
//! An entry is a small public [`leaf::Envelope`]; its [`body::Body`] lies beside it, sealed, and can be erased. Each
//! node chains its entries ([`chain`]); all of them are leaves of one append-only tree ([`merkle`]) whose size and
//! root are signed ([`checkpoint`]). [`proof`] shows one entry to somebody with nothing but the public key, and
//! [`verify`] checks a whole record.
//!
//! Invariant: what a proof or a verification trusts is the pinned public key, never a key inside the record.

pub mod body;
pub mod chain;
pub mod checkpoint;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod verify;

pub use body::Body;
pub use chain::Head;
pub use checkpoint::Checkpoint;
pub use leaf::{EntryType, Envelope};
pub use note::{NoteError, RecordSigner, VerifierKey};
pub use proof::Proof;
pub use verify::{Entry, Fault, Kept, Verified, Verifier};
