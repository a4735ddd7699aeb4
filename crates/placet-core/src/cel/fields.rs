//! The members of a map that many conditions read, found without searching the map.
//!
//! Invariant: answers what the map answers. Whoever chooses the names can make it no slower than the map.

use serde_json::{Map, Value as Json};

const PLACES: usize = 16;

/// Where a map's members stand. Names that share a place with an earlier one are searched for in the map.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    places: [Option<(&'a str, &'a Json)>; PLACES],
    map: &'a Map<String, Json>,
}

impl<'a> Fields<'a> {
    /// Of so many members as there are places; of a larger map none is remembered.
    pub fn of(map: &'a Map<String, Json>) -> Self {
        let mut places = [None; PLACES];
        if map.len() <= PLACES {
            for (name, json) in map {
                if let Some(place @ None) = places.get_mut(place_of(name)) {
                    *place = Some((name.as_str(), json));
                }
            }
        }
        Self { places, map }
    }

    /// The member of this name.
    #[inline]
    pub(super) fn find(&self, name: &str) -> Option<&'a Json> {
        match self.places.get(place_of(name)) {
            Some(Some((found, json))) if *found == name => Some(json),
            _ => self.map.get(name),
        }
    }
}

/// Names of parameters differ in length, and in their first, middle or last letters.
#[inline]
fn place_of(name: &str) -> usize {
    let bytes = name.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().map_or(0, usize::from);
    let length = bytes.len();
    (length ^ byte(0) ^ (byte(length / 2) << 1) ^ (byte(length.saturating_sub(1)) << 2)) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn a_member_is_found_as_in_the_map(
            members in proptest::collection::btree_map("[ab]{0,4}", 0_i32..9, 0..24),
            asked in "[ab]{0,4}",
        ) {
            let map: Map<String, Json> = members.into_iter().map(|(name, value)| (name, json!(value))).collect();
            let fields = Fields::of(&map);
            prop_assert_eq!(fields.find(&asked), map.get(&asked));
            for (name, value) in &map {
                prop_assert_eq!(fields.find(name), Some(value));
            }
        }
    }
}
