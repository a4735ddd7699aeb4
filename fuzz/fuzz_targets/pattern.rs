//! Patterns of resources: one text each, and match, cover and intersection as the definition says them: against a matcher
//! that tries everything, and against resources made of the patterns themselves.
#![cfg_attr(fuzzing, no_main)]

use placet_core::pattern::{ActionName, ActionPattern, Component, Piece, ResourcePattern, ResourceUri};

/// A character that no pattern here has: what stands for anything.
const FRESH: char = '\u{e000}';

/// As written: a star or a character.
type Letters = Vec<Option<char>>;

fn letters(component: &Component) -> Letters {
    let mut out = Vec::new();
    for piece in component.pieces() {
        match piece {
            Piece::Star => out.push(None),
            Piece::Literal(text) => out.extend(text.chars().map(Some)),
        }
    }
    out
}

/// Authority and segments.
fn path(pattern: &ResourcePattern) -> Option<Vec<Letters>> {
    let all: Vec<Letters> = pattern.authority().into_iter().chain(pattern.segments()).map(letters).collect();
    let small =
        |part: &Letters| part.len() <= 14 && part.iter().filter(|letter| letter.is_none()).count() <= 4;
    let fresh = |part: &Letters| !part.contains(&Some(FRESH));
    (all.len() <= 8 && all.iter().all(|part| small(part) && fresh(part))).then_some(all)
}

/// A star is any text; no component is empty.
fn matches(pattern: &[Option<char>], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((None, rest)) => (0..=text.len()).any(|taken| matches(rest, &text[taken..])),
        Some((Some(letter), rest)) => text.first() == Some(letter) && matches(rest, &text[1..]),
    }
}

fn matches_path(pattern: &[Letters], rest: bool, texts: &[Vec<char>]) -> bool {
    let fits = if rest { texts.len() >= pattern.len() } else { texts.len() == pattern.len() };
    fits && pattern.iter().zip(texts).all(|(part, text)| matches(part, text))
}

/// Whether some text is matched by both.
fn meet(one: &[Option<char>], other: &[Option<char>]) -> bool {
    match (one.split_first(), other.split_first()) {
        (None, None) => true,
        (Some((None, rest)), _) => {
            meet(rest, other) || other.split_first().is_some_and(|(_, less)| meet(one, less))
        }
        (_, Some((None, rest))) => {
            meet(one, rest) || one.split_first().is_some_and(|(_, less)| meet(less, other))
        }
        (Some((a, one)), Some((b, other))) => a == b && meet(one, other),
        _ => false,
    }
}

/// What a pattern stands for, with one character for each star and so many more segments: if one of these is not covered
/// nothing is, and if all are, so is everything, for no pattern asks for that character.
fn instance(pattern: &[Letters], more: usize) -> Vec<Vec<char>> {
    let fill = |part: &Letters| part.iter().map(|letter| letter.unwrap_or(FRESH)).collect();
    pattern.iter().map(fill).chain(std::iter::repeat_n(vec![FRESH], more)).collect()
}

fn resources(one: &ResourcePattern, other: &ResourcePattern) {
    assert!(one.covers(one) && one.intersects(one));
    assert_eq!(one.intersects(other), other.intersects(one));
    assert!(!one.covers(other) || one.intersects(other));
    if let Some(single) = other.single() {
        assert_eq!(one.covers(other), one.matches(&single));
        assert_eq!(one.intersects(other), one.matches(&single));
    }
    let (Some(scheme), Some(theirs)) = (one.scheme(), other.scheme()) else { return };
    let (Some(a), Some(b)) = (path(one), path(other)) else { return };
    let counts = if other.has_rest() { 0..a.len() + 2 } else { 0..1 };
    let covered =
        scheme == theirs && counts.clone().all(|more| matches_path(&a, one.has_rest(), &instance(&b, more)));
    assert_eq!(one.covers(other), covered, "`{one}` covers `{other}`");
    for more in counts {
        let texts = instance(&b, more);
        let texts: Vec<String> = texts.iter().map(|text| text.iter().collect()).collect();
        let Some((authority, segments)) = texts.split_first() else { return };
        let Ok(uri) = ResourceUri::from_parts(theirs, authority, segments) else { continue };
        assert!(other.matches(&uri), "`{other}` matches `{uri}`");
        let texts: Vec<Vec<char>> = texts.iter().map(|text| text.chars().collect()).collect();
        let matched = scheme == theirs && matches_path(&a, one.has_rest(), &texts);
        assert_eq!(one.matches(&uri), matched, "`{one}` matches `{uri}`");
    }
    let fits = match (one.has_rest(), other.has_rest()) {
        (true, true) => true,
        (true, false) => b.len() >= a.len(),
        (false, true) => a.len() >= b.len(),
        (false, false) => a.len() == b.len(),
    };
    let met = scheme == theirs && fits && a.iter().zip(&b).all(|(a, b)| meet(a, b));
    assert_eq!(one.intersects(other), met, "`{one}` meets `{other}`");
}

pub(crate) fn run(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let mut lines = data.lines();
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let third = lines.next().unwrap_or_default();
    if let Ok(pattern) = ResourcePattern::parse(first) {
        let again = ResourcePattern::parse(pattern.as_str()).expect("the canonical text is a pattern");
        assert_eq!(again, pattern);
        assert_eq!(again.as_str(), pattern.as_str());
        if let Ok(other) = ResourcePattern::parse(second) {
            resources(&pattern, &other);
            resources(&other, &pattern);
            assert_eq!(pattern == other, pattern.covers(&other) && other.covers(&pattern));
        }
        if let Ok(uri) = ResourceUri::parse(third) {
            assert_eq!(ResourceUri::parse(uri.as_str()).as_ref(), Ok(&uri));
            let alone = ResourcePattern::from_uri(&uri);
            assert!(alone.matches(&uri));
            assert_eq!(alone.single().as_ref(), Some(&uri));
            assert_eq!(pattern.matches(&uri), pattern.covers(&alone));
            assert_eq!(ResourcePattern::parse(uri.as_str()).as_ref(), Ok(&alone));
        }
    }
    if let (Ok(one), Ok(other)) = (ActionPattern::parse(first), ActionPattern::parse(second)) {
        assert_eq!(ActionPattern::parse(one.as_str()).as_ref(), Ok(&one));
        assert!(one.covers(&one));
        assert!(!one.covers(&other) || one.intersects(&other));
        if let Ok(name) = ActionName::parse(third) {
            assert!(!(one.covers(&other) && other.matches(&name)) || one.matches(&name));
            assert!(!(one.matches(&name) && other.matches(&name)) || one.intersects(&other));
            assert_eq!(one.matches(&name), one.covers(&ActionPattern::from_name(&name)));
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
