//! Redirect URIs against the parser that browsers use, and against tricks.

use super::*;
use proptest::prelude::*;
use url::Url;

fn ok(text: &str) -> RedirectUri {
    RedirectUri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn client(uris: &[&str]) -> Metadata {
    Metadata { redirect_uris: uris.iter().map(|text| ok(text)).collect(), ..Metadata::default() }
}

#[test]
fn a_policy_names_where_a_form_may_lead() {
    for (text, action) in [
        ("https://app.example/callback", "https://app.example"),
        ("https://app.example:8443/cb?tenant=a", "https://app.example:8443"),
        ("https://app.example", "https://app.example"),
        ("https://[2001:db8::1]:8443/cb", "https:"),
        ("http://127.0.0.1:49152/cb", "http://127.0.0.1:49152"),
        ("http://localhost/callback", "http://localhost"),
        ("http://[::1]:80/", "http:"),
        ("com.example.app:/oauth", "com.example.app:"),
    ] {
        assert_eq!(form_action(&ok(text)), action, "{text}");
    }
}

#[test]
fn what_could_mean_two_things_is_no_redirect_uri() {
    for text in [
        "",
        "callback",
        "/callback",
        "//app.example/cb",
        "https:",
        "https:/app.example/cb",
        "https:app.example/cb",
        "https://",
        "https:///cb",
        "https://app.example/cb#x",
        "https://app.example/cb#",
        "https://user@app.example/cb",
        "https://app.example@evil.example/cb",
        "https://app.example:443:80/cb",
        "https://app.example:/cb",
        "https://app.example:0/cb",
        "https://app.example:65536/cb",
        "https://app.example:+80/cb",
        "https://app.exa%6dple/cb",
        "https://app.example\\@evil.example/cb",
        "https://app.example\\.evil.example",
        "https://аpp.example/cb",
        "https://app.example/c b",
        "https://app.example/c\tb",
        "https://app.example/c\nb",
        "https://app.example/c\0b",
        " https://app.example/cb",
        "https://[::1/cb",
        "https://[::1]x/cb",
        "https://[app.example]/cb",
        "HTTPS://app.example/cb",
        "http://app.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "http://127.0.0.1@evil.example/cb",
        "http://127.0.0.1:80@evil.example/cb",
        "http://localhost.evil.example/cb",
        "http://127.1/cb",
        "http://2130706433/cb",
        "http://0x7f.0.0.1/cb",
        "http://0.0.0.0/cb",
        "javascript:alert(1)",
        "javascript://app.example/%0aalert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:https://app.example/1",
        "urn:ietf:wg:oauth:2.0:oob",
        "ws://app.example/",
        "1app:/cb",
        "app:",
    ] {
        assert!(RedirectUri::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_request_means_a_registered_one_letter_by_letter() {
    let client = client(&["https://app.example/cb", "http://127.0.0.1/cb"]);
    let meant = |asked: &str| meant(&client, Some(asked)).map(|uri| uri.as_str().to_owned());
    for good in [
        "https://app.example/cb",
        "http://127.0.0.1/cb",
        "http://127.0.0.1:1/cb",
        "http://127.0.0.1:65535/cb",
    ] {
        assert_eq!(meant(good).as_deref(), Some(good));
    }
    for wrong in [
        "https://app.example/cb/",
        "https://app.example/cb?",
        "https://app.example/CB",
        "https://app.example/c%62",
        "https://APP.example/cb",
        "https://app.example:443/cb",
        "https://app.example./cb",
        "https://app.example/x/../cb",
        "https://app.example//cb",
        "https://app.example/cb;x",
        "https://app.example/cb%00",
        "https://app.example/cb%2f",
        "https://app.example/cb#",
        "https://app.example/cb ",
        " https://app.example/cb",
        "https://app.example/cb\u{200b}",
        "https://app.example/cb\u{0}",
        "https://app。example/cb",
        "https://xn--pp-2ka.example/cb",
        "http://app.example/cb",
        "//app.example/cb",
        "http://127.0.0.1:/cb",
        "http://127.0.0.1:080000/cb",
        "http://127.0.0.1:80:80/cb",
        "http://127.0.0.1:80/cb/",
        "http://127.0.0.1:80/cb?x",
        "http://127.0.0.1:80@evil.example/cb",
        "http://127.0.0.1:80\\@evil.example/cb",
        "http://127.0.0.1:80/\\evil.example/cb",
        "http://127.0.0.1.evil.example:80/cb",
        "http://localhost:80/cb",
        "http://[::1]:80/cb",
        "https://127.0.0.1:80/cb",
        "",
    ] {
        assert_eq!(meant(wrong), None, "{wrong:?}");
    }
}

#[test]
fn naming_none_means_the_only_one() {
    assert_eq!(meant(&client(&["https://app.example/cb"]), None).unwrap().as_str(), "https://app.example/cb");
    assert!(meant(&client(&["https://app.example/cb", "https://app.example/b"]), None).is_none());
    assert!(meant(&client(&[]), None).is_none());
    assert!(meant(&client(&[]), Some("https://app.example/cb")).is_none());
    // An answer there would be read as two.
    for text in
        ["https://app.example/cb?code=x", "https://app.example/cb?a=b&state=x", "https://app.example/?iss"]
    {
        assert!(meant(&client(&[text]), Some(text)).is_none() && meant(&client(&[text]), None).is_none());
    }
}

#[test]
fn an_answer_is_behind_what_was_registered() {
    let answer = |text: &str| answer(&ok(text), &[("code", "a b&c=d#é"), ("iss", "https://x")]);
    let tail = "code=a%20b%26c%3Dd%23%C3%A9&iss=https%3A%2F%2Fx";
    assert_eq!(answer("https://a.example/cb"), format!("https://a.example/cb?{tail}"));
    assert_eq!(answer("https://a.example/cb?"), format!("https://a.example/cb?{tail}"));
    assert_eq!(answer("https://a.example/cb?x=1"), format!("https://a.example/cb?x=1&{tail}"));
    assert_eq!(answer("https://a.example/cb?x=1&"), format!("https://a.example/cb?x=1&{tail}"));
    assert_eq!(answer("https://a.example"), format!("https://a.example?{tail}"));
}

/// Pieces that an attacker would try.
fn piece() -> impl Strategy<Value = String> {
    let tricks = prop::sample::select(vec![
        "@",
        ":",
        "/",
        "\\",
        "?",
        "#",
        "%2f",
        "%40",
        "%5c",
        "..",
        ".",
        "[",
        "]",
        "//",
        "evil.example",
        ":80",
        ":8080",
        "localhost",
        "127.0.0.1",
        "[::1]",
        "\t",
        "\n",
        " ",
        "\u{200b}",
        "\u{202e}",
        "。",
        "／",
        "＠",
        "а",
        "&",
        "code=x",
        ";",
        "%00",
        "0",
        "65536",
    ]);
    prop_oneof![3 => tricks.prop_map(str::to_owned), 1 => "[ -~]{0,3}"]
}

fn registered() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "https://app.example/cb".to_owned(),
        "https://app.example".to_owned(),
        "https://app.example:8443/cb?t=1".to_owned(),
        "http://127.0.0.1/cb".to_owned(),
        "http://127.0.0.1:7000/a/b?t=1".to_owned(),
        "http://localhost:7000/".to_owned(),
        "http://[::1]/cb".to_owned(),
        "http://localhost".to_owned(),
        "com.example.app:/cb".to_owned(),
        "cursor://host.name/cb".to_owned(),
    ])
}

/// A registered one with pieces put in, taken out and put over.
fn mutated() -> impl Strategy<Value = (String, String)> {
    let change = (any::<prop::sample::Index>(), 0_usize..4, piece());
    (registered(), prop::collection::vec(change, 0..4)).prop_map(|(registered, changes)| {
        let mut asked: Vec<char> = registered.chars().collect();
        for (at, gone, piece) in changes {
            let at = at.index(asked.len() + 1);
            let end = (at + gone).min(asked.len());
            asked.splice(at..end, piece.chars());
        }
        (registered, asked.into_iter().collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    /// What is permitted leads, for the parser that browsers use, to where the registered one leads.
    #[test]
    fn a_browser_goes_where_it_was_registered((registered, asked) in mutated()) {
        let Some(meant) = meant(&client(&[&registered]), Some(&asked)) else { return Ok(()) };
        prop_assert_eq!(meant.as_str(), &asked);
        let (one, two) = (Url::parse(&registered).unwrap(), Url::parse(&asked).unwrap());
        prop_assert_eq!(one.scheme(), two.scheme());
        prop_assert_eq!(one.host_str(), two.host_str());
        prop_assert_eq!(one.path(), two.path());
        prop_assert_eq!(one.query(), two.query());
        prop_assert_eq!(two.fragment(), None);
        prop_assert_eq!((two.username(), two.password()), ("", None));
        if one.port() != two.port() {
            prop_assert!(["127.0.0.1", "[::1]", "localhost"].contains(&two.host_str().unwrap()));
            prop_assert_eq!(two.scheme(), "http");
        }
    }

    /// The rule in other words: equal, or equal once the port of a loopback address is taken out of both.
    #[test]
    fn permitted_is_equal_but_for_the_port((registered, asked) in mutated()) {
        let portless = |text: &str| {
            let host = ["http://127.0.0.1", "http://[::1]", "http://localhost"]
                .into_iter()
                .find_map(|host| text.strip_prefix(host).map(|rest| (host, rest)))?;
            let rest = match host.1.strip_prefix(':') {
                None => host.1,
                Some(rest) => {
                    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                    let (port, rest) = rest.split_at(digits);
                    (!port.starts_with('0') && (1..=65535).contains(&port.parse::<u32>().ok()?)).then_some(rest)?
                }
            };
            (rest.is_empty() || rest.starts_with(['/', '?'])).then(|| format!("{}{rest}", host.0))
        };
        let expected = registered == asked || portless(&registered).is_some_and(|one| portless(&asked) == Some(one));
        prop_assert_eq!(meant(&client(&[&registered]), Some(&asked)).is_some(), expected);
    }

    /// Whatever the value, it is one parameter of the answer, and comes back as it was.
    #[test]
    fn an_answer_is_read_as_it_was_written(registered in registered(), state in any::<String>()) {
        let uri = ok(&registered);
        let answer = Url::parse(&answer(&uri, &[("code", "c"), ("state", &state)])).unwrap();
        let before = Url::parse(&registered).unwrap().query_pairs().count();
        let read: Vec<_> = answer.query_pairs().skip(before).collect();
        prop_assert_eq!(read.len(), 2);
        prop_assert_eq!(&read[1], &("state".into(), state.into()));
        prop_assert!(answer.fragment().is_none());
    }

    /// A policy is never widened by what stands in a URI.
    #[test]
    fn a_source_expression_is_one((_, asked) in mutated()) {
        if let Ok(uri) = RedirectUri::parse(&asked) {
            let source = form_action(&uri);
            prop_assert!(!source.contains([' ', ';', ',', '\'', '"', '*']), "{}", source);
        }
    }

    /// Nothing makes it panic.
    #[test]
    fn any_text_is_read(text in any::<String>()) {
        if let Ok(uri) = RedirectUri::parse(&text) {
            let _ = (meant(&client(&[&text]), Some(&text)), answer(&uri, &[]), form_action(&uri));
        }
    }
}
