//! Exact questions against oracles that list everything, hostile texts, and values put into patterns.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn uri(text: &str) -> ResourceUri {
    ResourceUri::parse(text).unwrap()
}

fn resource(text: &str) -> ResourcePattern {
    ResourcePattern::parse(text).unwrap()
}

fn action(text: &str) -> ActionPattern {
    ActionPattern::parse(text).unwrap()
}

/// All texts of 1 to `longest` of the letters.
fn words(letters: &str, longest: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut from = 0;
    for _ in 0..longest {
        let to = all.len();
        for index in from..to {
            all.extend(letters.chars().map(|letter| format!("{}{letter}", all[index])).collect::<Vec<_>>());
        }
        from = to;
    }
    all.split_off(1)
}

/// Backtracking by the definition: a star is any text, except that a lone star is not the empty one.
fn oracle(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|taken| oracle(rest, &text[taken..])),
        Some((letter, rest)) => text.first() == Some(letter) && oracle(rest, &text[1..]),
    }
}

fn oracle_component(pattern: &str, text: &str) -> bool {
    let [pattern_chars, text_chars] = [pattern, text].map(|t| t.chars().collect::<Vec<_>>());
    !text.is_empty() && oracle(&pattern_chars, &text_chars)
}

/// By the definition, over components as written; a last `**` is zero or more.
fn oracle_path(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (Some((&"**", [])), _) => true,
        (None, None) => true,
        (Some((first, pattern)), Some((text, path))) => {
            oracle_component(first, text) && oracle_path(pattern, path)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn component(text: &str) -> Component {
    let piece = |letter| if letter == '*' { Piece::Star } else { Piece::Literal(String::from(letter)) };
    Component::from_pieces(text.chars().map(piece).collect())
}

/// Compares what is said of all pairs (covers, meets, equals) with what the lists of matches say.
fn compare<P: std::fmt::Debug + PartialEq>(
    patterns: &[(P, HashSet<usize>)],
    covers: impl Fn(&P, &P) -> bool,
    intersects: impl Fn(&P, &P) -> bool,
) {
    let mut answers = [0, 0];
    for (one, ones) in patterns {
        for (another, others) in patterns {
            assert_eq!(covers(one, another), others.is_subset(ones), "{one:?} covers {another:?}");
            assert_eq!(intersects(one, another), !ones.is_disjoint(others), "{one:?} meets {another:?}");
            assert_eq!(one == another, ones == others, "{one:?} equals {another:?}");
            answers[usize::from(covers(one, another))] += 1;
        }
    }
    assert!(answers.iter().all(|count| *count > patterns.len()), "both answers occur: {answers:?}");
}

/// Every component of a few pieces over two letters, against every text of these and a third, so long that it holds
/// a witness of each difference and each meeting (beside a slash, steps are refused, so witnesses are longer there).
#[test]
fn components_are_exact() {
    for (letters, more, pieces, longest) in
        [("ab", "abf", 4, 6), (".a", ".af", 4, 6), ("./", "./f", 3, 7), ("éê", "éêf", 3, 4)]
    {
        let build = |part| ResourcePattern::from_parts("s", part, Vec::new(), false);
        let universe: Vec<_> = words(more, longest)
            .into_iter()
            .filter_map(|text| ResourceUri::from_parts::<&str>("s", &text, &[]).ok())
            .collect();
        let mut patterns = Vec::new();
        for text in words(&format!("{letters}*"), pieces) {
            let Ok(pattern) = build(component(&text)) else { continue };
            let mut matched = HashSet::new();
            for (index, uri) in universe.iter().enumerate() {
                let expected = oracle_component(&text, uri.authority());
                assert_eq!(pattern.matches(uri), expected, "{text} {uri}");
                if expected {
                    matched.insert(index);
                }
            }
            assert!(!matched.is_empty(), "{text} matches something");
            patterns.push((pattern, matched));
        }
        compare(&patterns, ResourcePattern::covers, ResourcePattern::intersects);
    }
}

/// Patterns of one to three components, with and without `**`, and the paths of one to four.
fn paths() -> (Vec<Vec<&'static str>>, Vec<Vec<&'static str>>) {
    fn lists(of: &[&'static str], longest: usize) -> Vec<Vec<&'static str>> {
        let mut all: Vec<Vec<&str>> = vec![vec![]];
        for index in 0.. {
            if index == all.len() || all[index].len() == longest {
                break;
            }
            all.extend(of.iter().map(|part| [all[index].as_slice(), &[*part]].concat()).collect::<Vec<_>>());
        }
        all
    }
    let plain = lists(&["a", "ab", "*", "a*"], 3);
    let rest = plain.iter().map(|list| [list.as_slice(), &["**"]].concat());
    let patterns = plain.iter().filter(|list| !list.is_empty()).cloned().chain(rest).collect();
    (patterns, lists(&["a", "ab", "f", "af"], 4).split_off(1))
}

#[test]
fn resource_patterns_are_exact() {
    let (patterns, universe) = paths();
    let uris: Vec<_> = universe.iter().map(|path| uri(&format!("s://{}", path.join("/")))).collect();
    let with_matches = patterns.iter().map(|list| {
        let pattern = resource(&format!("s://{}", list.join("/")));
        let matched = (0..uris.len()).filter(|i| oracle_path(list, &universe[*i])).collect::<HashSet<_>>();
        for (index, uri) in uris.iter().enumerate() {
            assert_eq!(pattern.matches(uri), matched.contains(&index), "{pattern} {uri}");
        }
        (pattern, matched)
    });
    compare(&with_matches.collect::<Vec<_>>(), ResourcePattern::covers, ResourcePattern::intersects);
}

#[test]
fn action_patterns_are_exact() {
    let (mut patterns, universe) = paths();
    // In an action pattern a bare star is everything.
    for pattern in &mut patterns {
        if *pattern == ["*"] {
            *pattern = vec!["**"];
        }
    }
    let names: Vec<_> = universe.iter().map(|path| ActionName::parse(&path.join(".")).unwrap()).collect();
    let with_matches = patterns.iter().map(|list| {
        let pattern = action(&list.join("."));
        let matched = (0..names.len()).filter(|i| oracle_path(list, &universe[*i])).collect::<HashSet<_>>();
        for (index, name) in names.iter().enumerate() {
            assert_eq!(pattern.matches(name), matched.contains(&index), "{pattern} {name}");
        }
        (pattern, matched)
    });
    compare(&with_matches.collect::<Vec<_>>(), ActionPattern::covers, ActionPattern::intersects);
}

#[test]
fn everything_and_schemes() {
    for text in ["*", "**"] {
        let all = resource(text);
        assert!(all.is_everything() && all.matches(&uri("a://b")) && all.covers(&resource("a://**")));
        assert!(!resource("a://**").covers(&all) && all.intersects(&resource("a://b")));
        assert_eq!(all.single(), None);
    }
    assert!(!resource("a://**").is_everything());
    assert_eq!(resource("a://**"), resource("a://*/**"));
    assert!(
        !resource("a://x").intersects(&resource("b://x")) && !resource("a://**").covers(&resource("A://x"))
    );
    assert_eq!(action("*"), action("**"));
    assert_eq!(action("*.**"), action("**"));
    assert!(action("admin.**").matches(&ActionName::parse("admin").unwrap()));
    assert!(!action("mail.read").matches(&ActionName::parse("mail.read.all").unwrap()));
    assert!(!action("mail.*").matches(&ActionName::parse("mail").unwrap()));
    assert!(action("*.create_*").matches(&ActionName::parse("refunds.create_bulk").unwrap()));
    assert_eq!(action("mail.read").single(), ActionName::parse("mail.read").ok());
    assert_eq!(action("mail.*").single(), None);
}

#[test]
fn nasty_resources_are_refused() {
    let long = format!("order://x/{}", "a".repeat(3000));
    let encoded_long = format!("order://x/{}", "é".repeat(600));
    let deep = format!("order://x{}", "/a".repeat(65));
    for text in [
        "",
        "order",
        "order:x",
        "order:/x",
        "order://",
        "order:///x",
        "://x",
        "1a://x",
        "ör://x",
        "a b://x",
        "a*://x",
        "*://x",
        "order://a//b",
        "order://a/",
        "order://a/../b",
        "order://a/./b",
        "order://a/..",
        "order://../a",
        "order://.",
        "order://a/%2e%2e/b",
        "order://a/.%2E",
        "order://a/%2e",
        "order://a/b%2F..%2Fc",
        "order://a/..%2fc",
        "order://a/%00",
        "order://a/%0a",
        "order://a/\n",
        "order://a/\u{7f}",
        "order://a/%c2%85",
        "order://a/\u{85}",
        "order://a/%ff",
        "order://a/%c3",
        "order://a/%c0%ae%c0%ae",
        "order://a/%ed%a0%80",
        "order://a/%",
        "order://a/%2",
        "order://a/%zz",
        "order://a/%+1",
        "order://a/%%32e",
        "order://a\\b",
        "order://a/%5c",
        "order://a?b",
        "order://a/b#c",
        "order://a/%é",
        &long,
        &encoded_long,
        &deep,
    ] {
        assert!(ResourceUri::parse(text).is_err(), "{text:?}");
        assert!(ResourcePattern::parse(text).is_err(), "{text:?} as a pattern");
    }
    for text in ["order://*", "order://a/*", "order://a/**", "*", "order://a/b*"] {
        assert!(ResourceUri::parse(text).is_err(), "{text:?} has an unescaped star");
    }
    let stars = format!("a://b/{}", "*x".repeat(17));
    for text in
        ["***", "a://***", "a://**/b", "a://b**", "a://b/**c", "a://b/**/c", "a://b/c**", "a://b/***", &stars]
    {
        assert!(ResourcePattern::parse(text).is_err(), "{text:?} has stars in the wrong place");
    }
    assert!(ResourcePattern::parse(&format!("a://b/{}", "*x".repeat(16))).is_ok());
    assert!(ResourceUri::parse(&format!("order://x{}", "/a".repeat(64))).is_ok());
}

#[test]
fn resources_are_decoded_once_and_written_in_one_way() {
    for (text, authority, segments, canonical) in [
        ("order://customer:42", "customer:42", vec![], "order://customer:42"),
        ("order://c:abc@x/7", "c:abc@x", vec!["7"], "order://c:abc@x/7"),
        ("a://b/%252e", "b", vec!["%2e"], "a://b/%252e"),
        ("a://b/%252e%252E/c", "b", vec!["%2e%2E", "c"], "a://b/%252e%252E/c"),
        ("a://b/%2F", "b", vec!["/"], "a://b/%2F"),
        ("a://b/x%2fy", "b", vec!["x/y"], "a://b/x%2Fy"),
        ("a://b/%2A%2a", "b", vec!["**"], "a://b/%2A%2A"),
        ("a://b/%41~é ", "b", vec!["A~é "], "a://b/A~%C3%A9%20"),
        ("a://b/...", "b", vec!["..."], "a://b/..."),
        ("a://b/%3F%23", "b", vec!["?#"], "a://b/%3F%23"),
        ("a://b/c://d", "", vec![], ""),
    ] {
        let Ok(read) = ResourceUri::parse(text) else {
            assert_eq!(canonical, "", "{text} is a resource");
            continue;
        };
        assert_eq!((read.authority(), read.segments().collect::<Vec<_>>()), (authority, segments), "{text}");
        assert_eq!(read.to_string(), canonical);
        assert_eq!(uri(canonical), read);
        assert_eq!(resource(text).single(), Some(read));
    }
    assert_ne!(uri("a://b/C"), uri("a://b/c"));
    assert_eq!(resource("a://b/%2A*").as_str(), "a://b/%2A*");
    assert!(
        resource("a://b/%2A*").matches(&uri("a://b/%2Ax"))
            && !resource("a://b/%2A*").matches(&uri("a://b/x"))
    );
    assert!(
        !resource("a://b/*").matches(&uri("a://b/x/y")) && resource("a://b/*").matches(&uri("a://b/x%2Fy"))
    );
}

#[test]
fn nasty_actions_are_refused() {
    let long = "a".repeat(129);
    for text in ["", ".", "a.", ".a", "a..b", "a b", "a:b", "a/b", "é", "a\0", "a.*", "*", &long] {
        assert!(ActionName::parse(text).is_err(), "{text:?}");
    }
    let stars = "*x".repeat(17);
    for text in
        ["", ".", "a.", "*.", ".*", "***", "**.a", "a**", "a.**b", "a.**.b", "a.***", ".**", "é*", &stars]
    {
        assert!(ActionPattern::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn messages_are_bounded_and_escaped() {
    let message = ResourceUri::parse(&format!("a://\u{1b}[2J{}", "x".repeat(5000))).unwrap_err().to_string();
    assert!(message.len() < 1500 && !message.contains('\u{1b}'), "{message}");
}

#[test]
fn limits_hold_for_built_patterns_too() {
    let part = |text: &str| Component::literal(text);
    let build = |segments| ResourcePattern::from_parts("a", part("b"), segments, true);
    assert!(build(vec![part("x"); 64]).is_ok() && build(vec![part("x"); 65]).is_err());
    assert!(build(vec![part(&"/".repeat(700))]).is_err());
    for scheme in ["", "a:", "a/", "*", "a://b", "é"] {
        assert!(ResourcePattern::from_parts(scheme, Component::star(), vec![], true).is_err(), "{scheme:?}");
    }
}

/// Texts of the characters that mean something somewhere.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof!["[ab*/.%2eEF:?#@\\\\ é]{0,8}", "\\PC{0,8}", any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_value_put_in_as_a_literal_is_only_itself(value in hostile(), other in hostile(), before in "[a-z]{0,3}") {
        let pieces = vec![Piece::Literal(before.clone()), Piece::Literal(value.clone())];
        let built = ResourcePattern::from_parts("s", Component::literal("x"), vec![Component::from_pieces(pieces)], false);
        let exact = ResourceUri::from_parts("s", "x", &[format!("{before}{value}")]);
        prop_assert_eq!(built.is_ok(), exact.is_ok());
        if let (Ok(built), Ok(exact)) = (built, exact) {
            prop_assert!(built.matches(&exact));
            prop_assert_eq!(built.single(), Some(exact.clone()));
            prop_assert_eq!(&ResourcePattern::from_uri(&exact), &built);
            prop_assert_eq!(&resource(built.as_str()), &built);
            prop_assert!(!built.covers(&resource("s://x/*")) && resource("s://x/*").covers(&built));
            if let Ok(other) = ResourceUri::parse(&format!("s://x/{other}")) {
                prop_assert_eq!(built.matches(&other), other == exact);
            }
        }
    }

    #[test]
    fn a_value_beside_a_star_stays_in_its_place(value in hostile(), other in hostile()) {
        let pieces = vec![Piece::Literal(value.clone()), Piece::Literal("-".into()), Piece::Star];
        let built = ResourcePattern::from_parts("s", Component::from_pieces(pieces), vec![], true);
        let (Ok(built), Ok(other)) = (built, ResourceUri::from_parts("s", &other, &["y"])) else { return Ok(()) };
        prop_assert_eq!(built.matches(&other), other.authority().starts_with(&format!("{value}-")));
        prop_assert_eq!(&resource(built.as_str()), &built);
    }

    #[test]
    fn what_is_written_reads_back(text in "s://[ab*%2A/.:é]{0,10}(/\\*\\*)?") {
        if let Ok(read) = ResourceUri::parse(&text) {
            prop_assert_eq!(&uri(read.as_str()), &read);
            prop_assert!(read.segments().all(|part| !part.is_empty() && part != "." && part != ".."));
            let json = serde_json::to_string(&read).unwrap();
            prop_assert_eq!(serde_json::from_str::<ResourceUri>(&json).unwrap(), read);
        }
        if let Ok(read) = ResourcePattern::parse(&text) {
            prop_assert_eq!(&resource(read.as_str()), &read);
            if let (Some(scheme), Some(authority)) = (read.scheme(), read.authority()) {
                let built = ResourcePattern::from_parts(scheme, authority.clone(), read.segments().to_vec(), read.has_rest());
                prop_assert_eq!(built.unwrap(), read.clone());
            }
            let json = serde_json::to_string(&read).unwrap();
            prop_assert_eq!(serde_json::from_str::<ResourcePattern>(&json).unwrap(), read);
        }
    }

    /// Longer components than the lists above hold: the covered pattern with a fresh letter for each star is the
    /// counter-example or there is none, and whatever one that is covered matches, the other matches.
    #[test]
    fn long_components(wide in "[ab*]{1,14}", narrow in "[ab*]{1,14}", fill in prop::collection::vec("[abf]{0,4}", 14)) {
        let [wide_part, narrow_part] = [&wide, &narrow].map(|text| component(text));
        let covers = wide_part.covers(&narrow_part);
        prop_assert_eq!(covers, oracle_component(&wide, &narrow.replace('*', "f")));
        let mut fill = fill.iter();
        let filled: String = narrow
            .chars()
            .map(|letter| if letter == '*' { fill.next().unwrap().clone() } else { letter.to_string() })
            .collect();
        prop_assert_eq!(narrow_part.matches(&filled), !filled.is_empty());
        prop_assert_eq!(wide_part.matches(&filled), oracle_component(&wide, &filled));
        if !filled.is_empty() {
            prop_assert!(!covers || wide_part.matches(&filled));
            prop_assert!(!wide_part.matches(&filled) || wide_part.intersects(&narrow_part));
        }
    }

    #[test]
    fn no_text_makes_a_panic(text in hostile()) {
        for text in [text.clone(), format!("a://{text}"), format!("a://b/{text}/**")] {
            let _ = (ActionName::parse(&text), ActionPattern::parse(&text), ResourceUri::parse(&text));
            let _ = (ResourcePattern::parse(&text), Piece::parse_many(&text));
        }
    }
}
