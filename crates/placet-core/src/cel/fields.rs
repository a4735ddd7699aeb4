//! The members of a map that many conditions read, found without searching the map.
//!
//! Invariant: answers what the map answers. Whoever chooses the names can make it no slower than a look at every place.

use super::vars::Found;
use serde_json::{Map, Value as Json};

const PLACES: usize = 16;

/// Where a map's members stand: each at the place of its name, or at the next that was free.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    places: [Option<(Key, Found<'a>)>; PLACES],
    map: &'a Map<String, Json>,
}

/// What of a name tells it from others without comparing texts: all of it, where it has at most 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    head: u64,
    tail: u64,
    length: u32,
    /// Where a member of this name stands, unless another one was there first.
    place: u32,
}

impl<'a> Fields<'a> {
    /// Of so many members as there are places; of a larger map none is remembered.
    pub fn of(map: &'a Map<String, Json>) -> Self {
        let mut places = [None; PLACES];
        if map.len() <= PLACES {
            for (name, json) in map {
                let key = Key::of(name);
                let free = key.places().find(|place| places.get(*place).is_some_and(Option::is_none));
                if key.is_whole()
                    && let Some(place) = free.and_then(|free| places.get_mut(free))
                {
                    *place = Some((key, Found::of(json)));
                }
            }
        }
        Self { places, map }
    }

    /// The member of this name, whose key is `key`.
    #[inline]
    pub(super) fn find(&self, key: &Key, name: &str) -> Option<Found<'a>> {
        if let Some(Some((found, member))) = self.places.get(key.place as usize)
            && found == key
        {
            return Some(*member);
        }
        self.find_on(key, name)
    }

    /// The same for a member that is not at its own place.
    fn find_on(&self, key: &Key, name: &str) -> Option<Found<'a>> {
        for place in key.places() {
            match self.places.get(place) {
                Some(Some((found, member))) if found == key => return Some(*member),
                Some(Some(_)) => {}
                _ => break,
            }
        }
        self.map.get(name).map(Found::Json)
    }
}

impl Key {
    #[inline]
    pub(super) fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        let (head, tail) = match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            _ => (bytes.iter().fold(0, |head, byte| head << 8 | u64::from(*byte)), 0),
        };
        // Multiplied, each bit of a name has a say in the highest.
        let mixed = (head ^ tail.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = u32::try_from(mixed >> 60).unwrap_or(0);
        Self { head, tail, length: u32::try_from(bytes.len()).unwrap_or(u32::MAX), place }
    }

    /// Whether no other name has this key.
    fn is_whole(&self) -> bool {
        self.length <= 16
    }

    /// Where a member of this name may stand, in order.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let first = self.place as usize;
        (0..PLACES).map(move |step| (first + step) % PLACES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Names that are near to each other, on both sides of the lengths that keys treat differently.
    fn name() -> impl Strategy<Value = String> {
        prop_oneof!["[ab\\x00]{0,4}", "a{6}[ab\\x00]{1,3}", "a{7}[ab]{1,3}a{5}[ab]{0,3}"]
    }

    proptest! {
        #[test]
        fn a_whole_key_is_one_name(one in name(), other in name()) {
            let (one_key, other_key) = (Key::of(&one), Key::of(&other));
            prop_assert_eq!(one_key.is_whole(), one.len() <= 16);
            if one_key.is_whole() {
                prop_assert_eq!(one_key == other_key, one == other);
            }
        }

        #[test]
        fn a_member_is_found_as_in_the_map(
            members in proptest::collection::btree_map(name(), 0_i32..9, 0..24),
            asked in name(),
        ) {
            let map: Map<String, Json> = members.into_iter().map(|(name, value)| (name, json!(value))).collect();
            let fields = Fields::of(&map);
            let find = |name: &str| fields.find(&Key::of(name), name).and_then(Found::json);
            prop_assert_eq!(find(&asked), map.get(&asked));
            for (name, value) in &map {
                prop_assert_eq!(find(name), Some(value));
            }
        }
    }
}
