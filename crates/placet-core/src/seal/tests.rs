use super::*;
use crate::time::Timestamp;
use proptest::prelude::*;

const ROW: Aad<'static> = Aad { kind: "connection", row: "con_1", version: 3 };

fn root(id: &str, byte: u8) -> RootKey {
    RootKey::new(id.into(), [byte; 32]).unwrap()
}

fn entropy(seed: u8) -> SealEntropy {
    SealEntropy::new(std::array::from_fn(|index| seed.wrapping_add(u8::try_from(index).unwrap())))
}

fn entry(byte: u8) -> EventId {
    EventId::from_parts(Timestamp::from_seconds(1), [byte; 10])
}

#[test]
fn debug_prints_nothing() {
    let key = root("k1", 7);
    let sealed = key.seal(&ROW, entropy(1), b"hunter2").unwrap();
    let text = format!("{key:?} {sealed:?} {:?} {:?}", entropy(1), BodyKey::new(1, [7; 32]).unwrap());
    assert_eq!(text, "RootKey(…) Sealed(…) SealEntropy(…) BodyKey(…)");
}

#[test]
fn key_ids_that_cannot_be_named_are_refused() {
    for id in ["", "a b", "ü", "a\n", &"x".repeat(65)] {
        assert_eq!(RootKey::new(id.into(), [0; 32]).unwrap_err(), SealError::KeyId);
    }
    assert!(RootKey::new("x".repeat(64), [0; 32]).is_ok());
}

#[test]
fn the_wrong_key_does_not_open() {
    let sealed = root("k1", 7).seal(&ROW, entropy(1), b"hunter2").unwrap();
    let other = SealError::OtherKey { sealed_by: "k1".into(), key_id: "k2".into() };
    assert_eq!(root("k2", 7).open(&ROW, &sealed).unwrap_err(), other);
    assert_eq!(root("k1", 8).open(&ROW, &sealed).unwrap_err(), SealError::Refused);
}

#[test]
fn the_fields_of_a_row_do_not_run_into_each_other() {
    let key = root("k", 1);
    let sealed = key.seal(&Aad { kind: "ab", row: "c", version: 0 }, entropy(0), b"x").unwrap();
    assert!(key.open(&Aad { kind: "a", row: "bc", version: 0 }, &sealed).is_err());
}

#[test]
fn rotation_moves_a_secret_to_the_new_key_only() {
    let (old, new) = (root("old", 1), root("new", 2));
    let sealed = old.seal(&ROW, entropy(9), b"hunter2").unwrap();
    let moved = old.rewrap(&new, &ROW, [5; 12], &sealed).unwrap();
    assert_eq!(moved.key_id(), "new");
    assert_eq!(new.open(&ROW, &moved).unwrap().expose(), b"hunter2");
    assert!(old.open(&ROW, &moved).is_err());
    assert!(old.rewrap(&new, &Aad { version: 4, ..ROW }, [5; 12], &sealed).is_err());
}

#[test]
fn no_prefix_of_a_sealed_value_opens() {
    let key = root("k1", 7);
    let bytes = key.seal(&ROW, entropy(1), b"hunter2").unwrap().to_bytes();
    for length in 0..bytes.len() {
        assert!(Sealed::from_bytes(&bytes[..length]).and_then(|sealed| key.open(&ROW, &sealed)).is_err());
    }
    let body_key = BodyKey::new(1, [7; 32]).unwrap();
    let bytes = body_key.seal(entry(1), [1; 12], b"{}").unwrap();
    for length in 0..bytes.len() {
        assert!(body_key.open(entry(1), &bytes[..length]).is_err());
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens_for_its_row_only(
        plaintext: Vec<u8>, kind in "[a-z]{0,6}", row in "[a-z]{0,6}", version in 0u64..3,
        other in ("[a-z]{0,6}", "[a-z]{0,6}", 0u64..3), seed: u8, at: prop::sample::Index, flip in 1u8..,
    ) {
        let key = root("k1", 7);
        let aad = Aad { kind: &kind, row: &row, version };
        let bytes = key.seal(&aad, entropy(seed), &plaintext).unwrap().to_bytes();
        prop_assert_eq!(bytes[0], FORMAT);
        let sealed = Sealed::from_bytes(&bytes).unwrap();
        let opened = key.open(&aad, &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &plaintext[..]);
        let moved = Aad { kind: &other.0, row: &other.1, version: other.2 };
        if moved != aad {
            prop_assert_eq!(key.open(&moved, &sealed).unwrap_err(), SealError::Refused);
        }
        let mut changed = bytes;
        let index = at.index(changed.len());
        changed[index] ^= flip;
        prop_assert!(Sealed::from_bytes(&changed).and_then(|sealed| key.open(&aad, &sealed)).is_err());
    }

    #[test]
    fn a_body_opens_for_its_entry_only(plaintext: Vec<u8>, nonce: [u8; 12], at: prop::sample::Index, flip in 1u8..) {
        let key = BodyKey::new(4, [7; 32]).unwrap();
        let mut sealed = key.seal(entry(1), nonce, &plaintext).unwrap();
        prop_assert_eq!(BodyKey::number_of(&sealed), Some(4));
        let opened = key.open(entry(1), &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &plaintext[..]);
        prop_assert!(key.open(entry(2), &sealed).is_err());
        prop_assert!(BodyKey::new(4, [8; 32]).unwrap().open(entry(1), &sealed).is_err());
        prop_assert!(BodyKey::new(5, [7; 32]).unwrap().open(entry(1), &sealed).is_err());
        let index = at.index(sealed.len());
        sealed[index] ^= flip;
        prop_assert!(key.open(entry(1), &sealed).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
        let key = root("k1", 7);
        prop_assert!(Sealed::from_bytes(&bytes).and_then(|sealed| key.open(&ROW, &sealed)).is_err());
        prop_assert!(BodyKey::new(1, [7; 32]).unwrap().open(entry(1), &bytes).is_err());
    }
}
