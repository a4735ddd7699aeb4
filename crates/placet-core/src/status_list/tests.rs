use super::*;
use crate::{
    jose::KeySet,
    keys::{KeyRing, SigningKey},
    time::Timestamp,
    token::{Statement, sign_statement},
};
use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

const BITS: [Bits; 4] = [Bits::One, Bits::Two, Bits::Four, Bits::Eight];
const URI: &str = "https://placet.example/oauth/status/one";

static RING: LazyLock<KeyRing> = LazyLock::new(ring);

fn ring() -> KeyRing {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    KeyRing::new(vec![SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap()]).unwrap()
}

fn keys(ring: &KeyRing) -> KeySet {
    KeySet::parse(&ring.jwks()).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn claims() -> Value {
    let mut list = Statuses::all(Bits::Two, 16, Status::Valid);
    assert!(list.set(3, Status::Invalid) && list.set(4, Status::Suspended));
    json!({"sub": URI, "iat": 1000, "exp": 1120, "ttl": 20,
        "status_list": {"bits": 2, "lst": list.to_lst()}})
}

fn said(claims: &Value, idx: u64, now: i64) -> Result<Said, Unreadable> {
    let statement = sign_statement(&RING, Statement::StatusList, claims).unwrap();
    read(&statement, &keys(&RING), &Reference { idx, uri: URI.to_owned() }, at(now))
}

#[test]
fn the_vectors_of_the_draft_are_read() {
    let one = Statuses::from_lst(Bits::One, "eNrbuRgAAhcBXQ").unwrap();
    assert_eq!(one.bytes, [0xb9, 0xa3]);
    let expected = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1];
    let found: Vec<u8> = (0..16).map(|idx| one.at(idx).unwrap().value()).collect();
    assert_eq!((found.as_slice(), one.at(16)), (expected.as_slice(), None));
    let two = Statuses::from_lst(Bits::Two, "eNo76fITAAPfAgc").unwrap();
    assert_eq!(two.bytes, [0xc9, 0x44, 0xf9]);
    let found: Vec<u8> = (0..12).map(|idx| two.at(idx).unwrap().value()).collect();
    assert_eq!(found, [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]);
    // A million places, of which eleven are not valid.
    let long = "eNrt2zENACEQAEEuoaBABP5VIO01fCjIHTMStt9ovGVIAAAAAABAbiEBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEB5WwIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAID0ugQAAAAAAAAAAAAAAAAAQG12SgAAAAAAAAAAAAAAAAAAAAAAAAAAAOCSIQEAAAAAAAAAAAAAAAAAAAAAAAD8ExIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwJEuAQAAAAAAAAAAAAAAAAAAAAAAAMB9SwIAAAAAAAAAAAAAAAAAAACoYUoAAAAAAAAAAAAAAEBqH81gAQw";
    let long = Statuses::from_lst(Bits::Two, long).unwrap();
    assert_eq!(long.places(), 1 << 20);
    let set: Vec<(u64, u8)> = (0..1 << 20)
        .map(|idx| (idx, long.at(idx).unwrap().value()))
        .filter(|(_, value)| *value != 0)
        .collect();
    let expected = [
        (0, 1),
        (1993, 2),
        (25460, 1),
        (159_495, 3),
        (495_669, 1),
        (554_353, 1),
        (645_645, 2),
        (723_232, 1),
        (854_545, 1),
        (934_534, 2),
        (1_000_345, 3),
    ];
    assert_eq!(set, expected);
}

#[test]
fn a_statement_says_what_became_of_a_token() {
    for (idx, status) in [(0, Status::Valid), (3, Status::Invalid), (4, Status::Suspended)] {
        let said = said(&claims(), idx, 1100).unwrap();
        assert_eq!((said.status, said.expires), (status, at(1120)));
        assert_eq!(said.ttl, Some(std::time::Duration::from_secs(20)));
    }
}

#[test]
fn a_place_that_a_list_does_not_have_says_nothing() {
    for idx in [16, 17, 1 << 32, u64::MAX / 2 + 1, u64::MAX] {
        assert_eq!(said(&claims(), idx, 1100), Err(Unreadable::OutOfRange), "{idx}");
    }
}

#[test]
fn a_statement_about_another_list_says_nothing() {
    for sub in [json!("https://placet.example/oauth/status/other"), json!(format!("{URI}/")), Value::Null] {
        let mut other = claims();
        other["sub"] = sub;
        assert_eq!(said(&other, 0, 1100), Err(Unreadable::Subject));
    }
}

#[test]
fn a_statement_is_good_for_its_time_only() {
    assert_eq!(said(&claims(), 0, 1120), Err(Unreadable::Expired));
    assert!(said(&claims(), 0, 940).is_ok());
    assert_eq!(said(&claims(), 0, 939), Err(Unreadable::Early));
    for (member, value, name) in [
        ("exp", Value::Null, "exp"),
        ("exp", json!("1120"), "exp"),
        ("iat", json!(-1), "iat"),
        ("exp", json!(i64::MAX), "exp"),
        ("ttl", json!(0), "ttl"),
        ("ttl", json!(-5), "ttl"),
        ("status_list", json!([]), "status_list"),
    ] {
        let mut wrong = claims();
        wrong[member] = value;
        assert_eq!(said(&wrong, 0, 1100), Err(Unreadable::Member(name)));
    }
    for bits in [json!(0), json!(3), json!(16), json!("2"), Value::Null] {
        let mut wrong = claims();
        wrong["status_list"]["bits"] = bits;
        assert_eq!(said(&wrong, 0, 1100), Err(Unreadable::Member("bits")));
    }
}

#[test]
fn only_the_signers_statement_of_this_kind_is_believed() {
    let reference = Reference { idx: 0, uri: URI.to_owned() };
    let foreign = sign_statement(&ring(), Statement::StatusList, &claims()).unwrap();
    let found = read(&foreign, &keys(&RING), &reference, at(1100));
    assert_eq!(found, Err(Unreadable::Jws(crate::jose::JwsError::UnknownKey)));
    let other = sign_statement(&RING, Statement::Introspection, &claims()).unwrap();
    assert_eq!(read(&other, &keys(&RING), &reference, at(1100)), Err(Unreadable::Type));
    let good = sign_statement(&RING, Statement::StatusList, &claims()).unwrap();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let mut claims = claims();
    claims["status_list"]["lst"] = json!(Statuses::all(Bits::Two, 16, Status::Valid).to_lst());
    let header = signed.split_once('.').unwrap().0;
    let forged = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let found = read(&forged, &keys(&RING), &reference, at(1100));
    assert_eq!(found, Err(Unreadable::Jws(crate::jose::JwsError::Signature)));
}

#[test]
fn a_bomb_is_inflated_up_to_its_bound_only() {
    let fits = compress_to_vec_zlib(&vec![0; MAX_BYTES], 9);
    let fits = Statuses::from_lst(Bits::Eight, &URL_SAFE_NO_PAD.encode(fits)).unwrap();
    assert_eq!(fits.places(), MAX_BYTES);
    for size in [MAX_BYTES + 1, 64 * MAX_BYTES] {
        let bomb = URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(&vec![0; size], 9));
        assert!(bomb.len() < size / 500);
        assert_eq!(Statuses::from_lst(Bits::Two, &bomb), Err(ListError::TooLarge));
        let mut claims = claims();
        claims["status_list"]["lst"] = json!(bomb);
        assert_eq!(said(&claims, 0, 1100), Err(Unreadable::List(ListError::TooLarge)));
    }
    // Cut short, with a wrong checksum, or padded.
    let whole = compress_to_vec_zlib(&[1, 2, 3, 4, 5, 6], 9);
    for cut in 0..whole.len() {
        let lst = URL_SAFE_NO_PAD.encode(&whole[..cut]);
        assert_eq!(Statuses::from_lst(Bits::Two, &lst), Err(ListError::Zlib), "{cut}");
    }
    let mut changed = whole;
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(Statuses::from_lst(Bits::Two, &URL_SAFE_NO_PAD.encode(changed)), Err(ListError::Zlib));
    assert_eq!(Statuses::from_lst(Bits::Two, "eNo76fITAAPfAgc="), Err(ListError::Base64));
}

#[test]
fn every_place_of_a_list_is_given_once_and_in_no_order() {
    let mut places = Places::all();
    let mut state = 7u64;
    let mut given = Vec::with_capacity(PLACES.into());
    loop {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        match places.draw((mixed ^ (mixed >> 31)).to_le_bytes()) {
            Some(place) => given.push(place),
            None => break,
        }
    }
    let distinct: std::collections::BTreeSet<u16> = given.iter().copied().collect();
    assert_eq!((given.len(), distinct.len()), (8192, 8192));
    // Were they given in order, all would follow the one before.
    let follow = given.windows(2).filter(|pair| pair[1] == pair[0].wrapping_add(1)).count();
    assert!(follow < 20, "{follow}");
}

/// The same array as a list of statuses, and as bits from the first byte's least significant on.
fn naive(bits: Bits, statuses: &[u8]) -> Vec<u8> {
    let wide = usize::from(bits.number());
    let mut bytes = vec![0u8; (statuses.len() * wide).div_ceil(8)];
    for (idx, status) in statuses.iter().enumerate() {
        for bit in 0..wide {
            if status & (1 << bit) != 0 {
                let at = idx * wide + bit;
                bytes[at / 8] |= 1 << (at % 8);
            }
        }
    }
    bytes
}

proptest! {
    #[test]
    fn packing_is_as_the_naive_one(
        bits in prop::sample::select(BITS.to_vec()),
        first in any::<u8>(),
        statuses in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let fits: Vec<u8> = statuses.iter().map(|status| status & bits.mask()).collect();
        let mut list = Statuses::all(bits, fits.len(), Status::Valid);
        for (idx, status) in fits.iter().enumerate() {
            prop_assert!(list.set(idx as u64, Status::of(*status)));
        }
        prop_assert_eq!(&list.bytes, &naive(bits, &fits));
        let read = Statuses::from_lst(bits, &list.to_lst()).unwrap();
        for (idx, status) in fits.iter().enumerate() {
            prop_assert_eq!(read.at(idx as u64).map(Status::value), Some(*status));
        }
        prop_assert_eq!(read.at(read.places() as u64), None);
        // What does not fit is not stored, nor is anything beside it changed.
        for (idx, status) in statuses.iter().enumerate() {
            let fitted = list.set(idx as u64, Status::Other(*status));
            prop_assert_eq!(fitted, *status <= bits.mask());
        }
        prop_assert_eq!(&list.bytes, &naive(bits, &fits));
        let whole = Statuses::all(bits, fits.len(), Status::Other(first));
        prop_assert!((0..whole.places()).all(|idx| whole.at(idx as u64) == Some(Status::of(first & bits.mask()))));
        prop_assert!(!list.set(list.places() as u64, Status::Valid));
    }

    #[test]
    fn nothing_that_is_sent_panics(
        bits in prop::sample::select(BITS.to_vec()),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        text in ".{0,200}",
        idx in any::<u64>(),
    ) {
        let framed = [&[0x78, 0xda], bytes.as_slice()].concat();
        for packed in [&bytes, &framed] {
            if let Ok(list) = Statuses::from_lst(bits, &URL_SAFE_NO_PAD.encode(packed)) {
                prop_assert_eq!(list.at(idx).is_some(), idx < list.places() as u64);
            }
        }
        let reference = Reference { idx, uri: URI.to_owned() };
        prop_assert!(read(&text, &keys(&RING), &reference, at(1000)).is_err());
        let mut claims = claims();
        claims["status_list"]["lst"] = json!(text);
        prop_assert!(said(&claims, idx, 1000).is_err() || idx < 16);
    }
}
