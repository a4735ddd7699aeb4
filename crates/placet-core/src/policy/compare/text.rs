//! Texts that stand for all others: one for each way in which a text can match some of a set of globs and not the
//! rest.
//!
//! The globs are run side by side over every text of the letters that occur in them and one that doesn't, shortest
//! first; texts that leave all globs in the same state have the same future, so that few are looked at.
//!
//! Invariant: complete within its budget: a text of any length matches the same globs as one of those answered.
//! Beyond the budget there is no answer.

use crate::pattern::{Component, Piece};
use std::collections::{HashSet, VecDeque};

/// Steps that a comparison may take in all.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new(steps: usize) -> Self {
        Self(steps)
    }

    /// Takes some; `None` once there is nothing left.
    pub(super) fn take(&mut self, steps: usize) -> Option<()> {
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or(0);
        left.map(|_| ())
    }
}

/// A text with stars, each for any text, also none. `head` and `tail` are text that stands before and behind what is
/// looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Glob {
    /// `None` is a star.
    tokens: Vec<Option<char>>,
    head: String,
    tail: String,
}

/// Which texts there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alphabet {
    /// A letter that occurs in no glob is taken from these, the first that does.
    pub(super) fresh: &'static str,
    pub(super) first: fn(char) -> bool,
    pub(super) each: fn(char) -> bool,
    /// Whether a text may be empty.
    pub(super) empty: bool,
}

const LETTERS: &str = "xyzwvkqjuabcdefghilmnoprstXYZWVKQJUABCDEFGHILMNOPRST0123456789_-";

impl Alphabet {
    /// Segments of actions, and handles apart from their first character.
    pub(super) const NAMES: Self = Self {
        fresh: LETTERS,
        first: |_| true,
        each: |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'),
        empty: false,
    };
    pub(super) const HANDLES: Self = Self {
        fresh: LETTERS,
        first: |c| c.is_ascii_alphanumeric(),
        each: |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'),
        empty: false,
    };
    /// Components of resources, decoded.
    pub(super) const COMPONENTS: Self = Self {
        fresh: "xyzwvkqjuabcdefghilmnoprst0123456789XYZÄÖÜßøñç♠♥♦♣",
        first: |_| true,
        each: |c| !c.is_control() && c != '\\',
        empty: false,
    };
    /// Any text at all.
    pub(super) const TEXTS: Self = Self { first: |_| true, each: |_| true, empty: true, ..Self::COMPONENTS };
}

impl Glob {
    pub(super) fn literal(text: &str) -> Self {
        Self::of(text.chars().map(Some).collect())
    }

    pub(super) fn beginning(text: &str) -> Self {
        Self::of(text.chars().map(Some).chain([None]).collect())
    }

    pub(super) fn ending(text: &str) -> Self {
        Self::of([None].into_iter().chain(text.chars().map(Some)).collect())
    }

    pub(super) fn containing(text: &str) -> Self {
        Self::of([None].into_iter().chain(text.chars().map(Some)).chain([None]).collect())
    }

    pub(super) fn component(component: &Component) -> Self {
        let mut tokens = Vec::new();
        for piece in component.pieces() {
            match piece {
                Piece::Literal(text) => tokens.extend(text.chars().map(Some)),
                Piece::Star => tokens.push(None),
            }
        }
        Self::of(tokens)
    }

    /// What is left to match between these.
    pub(super) fn between(mut self, head: &str, tail: &str) -> Self {
        (self.head, self.tail) = (head.to_owned(), tail.to_owned());
        self
    }

    /// Whether the letter occurs in it.
    pub(super) fn has(&self, letter: char) -> bool {
        self.tokens.contains(&Some(letter))
    }

    fn of(tokens: Vec<Option<char>>) -> Self {
        Self { tokens, head: String::new(), tail: String::new() }
    }

    /// The places reached from `places` by standing still: a star may be no text.
    fn rest(&self, places: &mut Vec<u32>) {
        let mut index = 0;
        while let Some(place) = places.get(index).copied() {
            index += 1;
            if self.token(place) == Some(None) && !places.contains(&(place + 1)) {
                places.push(place + 1);
            }
        }
        places.sort_unstable();
    }

    fn token(&self, place: u32) -> Option<Option<char>> {
        self.tokens.get(usize::try_from(place).ok()?).copied()
    }

    fn start(&self) -> Vec<u32> {
        let mut places = vec![0];
        self.rest(&mut places);
        self.run(places, &self.head)
    }

    fn run(&self, places: Vec<u32>, text: &str) -> Vec<u32> {
        text.chars().fold(places, |places, letter| self.step(&places, letter))
    }

    fn step(&self, places: &[u32], letter: char) -> Vec<u32> {
        let mut next = Vec::new();
        for place in places {
            match self.token(*place) {
                Some(None) if !next.contains(place) => next.push(*place),
                Some(Some(wanted)) if wanted == letter && !next.contains(&(place + 1)) => {
                    next.push(place + 1);
                }
                _ => {}
            }
        }
        self.rest(&mut next);
        next
    }

    fn accepts(&self, places: &[u32]) -> bool {
        let end = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX);
        if self.tail.is_empty() {
            return places.contains(&end);
        }
        self.run(places.to_vec(), &self.tail).contains(&end)
    }
}

/// A text for each set of globs that some valid text matches while matching no other. `None` where that can't be told
/// within the budget.
pub(super) fn representatives(
    globs: &[Glob],
    alphabet: Alphabet,
    valid: impl Fn(&str) -> bool,
    budget: &mut Budget,
) -> Option<Vec<String>> {
    let mut globs = globs.to_vec();
    globs.sort_by(|one, other| {
        (&one.tokens, &one.head, &one.tail).cmp(&(&other.tokens, &other.head, &other.tail))
    });
    globs.dedup();
    let occurring = || {
        let fixed = globs.iter().flat_map(|glob| glob.head.chars().chain(glob.tail.chars()));
        globs.iter().flat_map(|glob| glob.tokens.iter().flatten().copied()).chain(fixed)
    };
    let used: HashSet<char> = occurring().collect();
    let fresh = alphabet.fresh.chars().find(|letter| !used.contains(letter))?;
    let mut letters: Vec<char> = used.into_iter().filter(|letter| (alphabet.each)(*letter)).collect();
    letters.sort_unstable();
    letters.insert(0, fresh);

    let mut seen: HashSet<(Vec<Vec<u32>>, bool)> = HashSet::new();
    let mut found: HashSet<Vec<bool>> = HashSet::new();
    let mut answer = Vec::new();
    let start: Vec<Vec<u32>> = globs.iter().map(Glob::start).collect();
    let mut queue = VecDeque::from([(start, String::new())]);
    while let Some((state, text)) = queue.pop_front() {
        if (alphabet.empty || !text.is_empty()) && valid(&text) {
            let matched: Vec<bool> =
                globs.iter().zip(&state).map(|(glob, places)| glob.accepts(places)).collect();
            if found.insert(matched) {
                answer.push(text.clone());
            }
        }
        for letter in letters.iter().filter(|letter| !text.is_empty() || (alphabet.first)(**letter)) {
            budget.take(1 + globs.len())?;
            let next: Vec<Vec<u32>> =
                globs.iter().zip(&state).map(|(glob, places)| glob.step(places, *letter)).collect();
            if seen.insert((next.clone(), true)) {
                let mut text = text.clone();
                text.push(*letter);
                queue.push_back((next, text));
            }
        }
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn components(texts: &[String]) -> Vec<Component> {
        let piece = |c: char| if c == '*' { Piece::Star } else { Piece::Literal(c.to_string()) };
        texts.iter().map(|text| Component::from_pieces(text.chars().map(piece).collect())).collect()
    }

    proptest! {
        /// Against every short text over the letters of the globs and one more.
        #[test]
        fn every_way_of_matching_has_a_text(texts in proptest::collection::vec("[ab*]{1,4}", 1..4)) {
            let components = components(&texts);
            let globs: Vec<Glob> = components.iter().map(Glob::component).collect();
            let found =
                representatives(&globs, Alphabet::COMPONENTS, |_| true, &mut Budget::new(1_000_000)).unwrap();
            let matched =
                |text: &str| components.iter().map(|component| component.matches(text)).collect::<Vec<_>>();
            let ways: HashSet<Vec<bool>> = found.iter().map(|text| matched(text)).collect();
            prop_assert_eq!(ways.len(), found.len());
            let mut all = vec![String::new()];
            for _ in 0..7 {
                all = all.iter().flat_map(|text| ["a", "b", "x"].map(|c| format!("{text}{c}"))).collect();
                for text in &all {
                    prop_assert!(ways.contains(&matched(text)), "{text}");
                }
            }
        }
    }

    #[test]
    fn what_costs_too_much_has_no_answer() {
        let globs: Vec<Glob> = (0..40).map(|n| Glob::containing(&format!("a{n}b{n}"))).collect();
        assert_eq!(representatives(&globs, Alphabet::TEXTS, |_| true, &mut Budget::new(10_000)), None);
    }
}
