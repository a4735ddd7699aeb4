//! Several keys at once: what a rotation needs. One seals, all open.
//!
//! Invariant: what is sealed now is sealed by the one key that seals, and nothing opens by a key that it does not
//! name.

use super::{Aad, BodyKey, RootKey, SealEntropy, SealError, Sealed};
use crate::secret::Secret;
use std::{fmt, sync::Arc};

/// The vault: the root keys at hand, one of which seals.
#[derive(Clone)]
pub struct Vault {
    sealing: Arc<RootKey>,
    keys: Vec<Arc<RootKey>>,
}

impl Vault {
    /// From the keys at hand; the first seals. `None` without any.
    pub fn new(keys: Vec<Arc<RootKey>>) -> Option<Self> {
        let sealing = Arc::clone(keys.first()?);
        Some(Self { sealing, keys })
    }

    /// The same keys, of which the one of this id seals; `None` where it is not at hand.
    #[must_use]
    pub fn sealing_with(&self, key_id: &str) -> Option<Self> {
        let sealing = Arc::clone(self.find(key_id)?);
        Some(Self { sealing, keys: self.keys.clone() })
    }

    /// The id of the key that seals.
    pub fn sealing(&self) -> &str {
        self.sealing.key_id()
    }

    /// The ids of all keys at hand, in their order.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.key_id())
    }

    /// Seals `plaintext` for the row by the key that seals.
    ///
    /// # Errors
    /// As [`RootKey::seal`].
    pub fn seal(&self, aad: &Aad<'_>, entropy: SealEntropy, plaintext: &[u8]) -> Result<Sealed, SealError> {
        self.sealing.seal(aad, entropy, plaintext)
    }

    /// Opens what any of the keys at hand has sealed for this row.
    ///
    /// # Errors
    /// [`SealError::OtherKey`] where the key that sealed it is not at hand; else as [`RootKey::open`].
    pub fn open(&self, aad: &Aad<'_>, sealed: &Sealed) -> Result<Secret, SealError> {
        self.sealer_of(sealed)?.open(aad, sealed)
    }

    /// Moves a sealed value to the key that seals, without opening the secret; `None` where it is under that key
    /// already. `nonce` is fresh and random.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn rewrap(
        &self,
        aad: &Aad<'_>,
        nonce: [u8; 12],
        sealed: &Sealed,
    ) -> Result<Option<Sealed>, SealError> {
        if sealed.key_id() == self.sealing.key_id() {
            return Ok(None);
        }
        self.sealer_of(sealed)?.rewrap(&self.sealing, aad, nonce, sealed).map(Some)
    }

    fn sealer_of(&self, sealed: &Sealed) -> Result<&RootKey, SealError> {
        let other = || SealError::OtherKey {
            sealed_by: sealed.key_id().to_owned(),
            key_id: self.key_ids().collect::<Vec<_>>().join("`, `"),
        };
        self.find(sealed.key_id()).map(AsRef::as_ref).ok_or_else(other)
    }

    fn find(&self, key_id: &str) -> Option<&Arc<RootKey>> {
        self.keys.iter().find(|key| key.key_id() == key_id)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({})", self.sealing())
    }
}

/// The keys of the record's bodies: the first seals, all open.
#[derive(Debug)]
pub struct BodyKeys(Vec<BodyKey>);

impl BodyKeys {
    /// The first seals; `None` without any.
    pub fn new(keys: Vec<BodyKey>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The key that seals.
    pub fn sealing(&self) -> &BodyKey {
        #[expect(clippy::indexing_slicing, reason = "there is at least one key")]
        &self.0[0]
    }

    /// The key that a body names; `None` where it is not at hand, or the bytes are no sealed body.
    pub fn sealer_of(&self, sealed: &[u8]) -> Option<&BodyKey> {
        let number = BodyKey::number_of(sealed)?;
        self.0.iter().find(|key| key.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Aad<'static> = Aad { kind: "connection", row: "con_1", version: 3 };

    fn root(byte: u8) -> Arc<RootKey> {
        Arc::new(RootKey::named_by_digest([byte; 32]).unwrap())
    }

    fn entropy(seed: u8) -> SealEntropy {
        SealEntropy::new([seed; SealEntropy::LENGTH])
    }

    #[test]
    fn one_key_seals_and_all_open() {
        let (old, new) = (root(1), root(2));
        let before = Vault::new(vec![Arc::clone(&old), Arc::clone(&new)]).unwrap();
        let sealed = before.seal(&ROW, entropy(1), b"hunter2").unwrap();
        assert_eq!(sealed.key_id(), old.key_id());
        let during = before.sealing_with(new.key_id()).unwrap();
        assert_eq!(during.open(&ROW, &sealed).unwrap().expose(), b"hunter2");
        let moved = during.rewrap(&ROW, [9; 12], &sealed).unwrap().unwrap();
        assert_eq!(moved.key_id(), new.key_id());
        assert!(during.rewrap(&ROW, [9; 12], &moved).unwrap().is_none());
        // A node that has not switched yet opens both.
        assert_eq!(before.open(&ROW, &moved).unwrap().expose(), b"hunter2");
        let after = Vault::new(vec![new]).unwrap();
        assert_eq!(after.open(&ROW, &moved).unwrap().expose(), b"hunter2");
        let error = after.open(&ROW, &sealed).unwrap_err();
        assert!(matches!(error, SealError::OtherKey { .. }), "{error}");
        assert_eq!(after.rewrap(&ROW, [9; 12], &sealed).unwrap_err(), error);
    }

    #[test]
    fn a_key_that_is_not_at_hand_can_not_seal() {
        let vault = Vault::new(vec![root(1)]).unwrap();
        assert!(vault.sealing_with(root(2).key_id()).is_none());
        assert!(Vault::new(Vec::new()).is_none());
    }

    #[test]
    fn a_rewrapped_value_stays_bound_to_its_row() {
        let vault = Vault::new(vec![root(1), root(2)]).unwrap();
        let sealed = vault.seal(&ROW, entropy(1), b"hunter2").unwrap();
        let moved = vault.sealing_with(root(2).key_id()).unwrap();
        let other = Aad { row: "con_2", ..ROW };
        assert_eq!(moved.rewrap(&other, [9; 12], &sealed).unwrap_err(), SealError::Refused);
    }

    #[test]
    fn bodies_name_their_key() {
        let key = |number: u32| BodyKey::new(number, [u8::try_from(number).unwrap(); 32]).unwrap();
        let entry = crate::id::EventId::from_parts(crate::time::Timestamp::default(), [1; 10]);
        let sealed = key(1).seal(entry, [1; 12], b"body").unwrap();
        let keys = BodyKeys::new(vec![key(2), key(1)]).unwrap();
        assert_eq!(keys.sealer_of(&sealed).unwrap().open(entry, &sealed).unwrap().expose(), b"body");
        assert_eq!(keys.sealing().number(), 2);
        assert!(BodyKeys::new(vec![key(2)]).unwrap().sealer_of(&sealed).is_none());
        assert!(keys.sealer_of(b"x").is_none());
    }
}
