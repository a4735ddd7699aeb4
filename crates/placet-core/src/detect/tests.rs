//! What is found, what is not, and that neither depends on how a text comes.

mod written;

use super::*;
use proptest::prelude::*;
use serde_json::json;

/// All kinds, redacted.
fn all() -> Detect {
    let mut detect = Detect::default();
    Kind::ALL.into_iter().for_each(|kind| detect.set(kind, Level::Redact));
    detect
}

fn only(kind: Kind) -> Detect {
    let mut detect = Detect::default();
    detect.set(kind, Level::Redact);
    detect
}

/// The kinds that are found in a text, in the order of their names, as often as they are.
fn kinds(text: &str) -> Vec<(&'static str, u64)> {
    let mut found = Found::default();
    all().text(text, None, &mut found);
    found.counts().map(|(kind, count)| (kind.as_str(), count)).collect()
}

fn redacted(text: &str) -> String {
    all().text(text, None, &mut Found::default()).unwrap_or_else(|| text.to_owned())
}

/// Of letters and digits, so many, that differ. Written so that nobody's search for secrets finds this file.
fn drawn(count: usize) -> String {
    "aB3dE5gH7jK9mN1pQ2sT4vW6yZ8".chars().cycle().take(count).collect()
}

fn key() -> String {
    let begin = ["-----BEGIN", "PRIVATE KEY-----"].join(" ");
    format!("{begin}\n{}\n{}\nab==\n-----END PRIVATE KEY-----", drawn(64), drawn(64))
}

/// Something of each kind, with nothing before or after that belongs to it.
fn examples() -> Vec<(Kind, String)> {
    let upper = drawn(16).to_ascii_uppercase();
    let token = |begin: &str, count: usize| format!("{begin}{}", drawn(count));
    vec![
        (Kind::PrivateKey, key()),
        (Kind::PrivateKey, key().replace('\n', "\\n")),
        (Kind::Jwt, format!("{}.{}.{}", token("eyJ", 20), token("eyJ", 40), drawn(43))),
        (Kind::GithubToken, token("ghp_", 36)),
        (Kind::GithubToken, token("github_pat_", 82)),
        (Kind::GitlabToken, token("glpat-", 20)),
        (Kind::SlackToken, token("xoxb-", 40)),
        (Kind::SlackToken, format!("hooks.slack.com/services/T0AB/B0CD/{}", drawn(24))),
        (Kind::StripeKey, token("sk_live_", 24)),
        (Kind::AwsKey, format!("AKIA{upper}")),
        (Kind::GoogleKey, token("AIza", 35)),
        (Kind::NpmToken, token("npm_", 36)),
        (Kind::PypiToken, token("pypi-AgEI", 80)),
        (Kind::OpenaiKey, token("sk-proj-", 60)),
        (Kind::AnthropicKey, token("sk-ant-", 60)),
        (Kind::HuggingfaceToken, token("hf_", 34)),
        (Kind::SendgridKey, format!("SG.{}.{}", drawn(22), drawn(43))),
        (Kind::DigitaloceanToken, format!("dop_v1_{}", "0a1b2c3d".repeat(8))),
        (Kind::ShopifyToken, format!("shpat_{}", "0a1b2c3d".repeat(4))),
        (Kind::Card, "4111 1111 1111 1111".to_owned()),
        (Kind::Card, "5555555555554444".to_owned()),
        (Kind::Card, "3782-822463-10005".to_owned()),
        (Kind::Card, "6011 0009 9013 9424".to_owned()),
        (Kind::Card, "3530111333300000".to_owned()),
        (Kind::Card, "38520000023237".to_owned()),
        (Kind::Iban, "DE89 3704 0044 0532 0130 00".to_owned()),
        (Kind::Iban, "GB29NWBK60161331926819".to_owned()),
        (Kind::Iban, "NO9386011117947".to_owned()),
        (Kind::Email, "ann.lee+x@mail.example.co.uk".to_owned()),
        (Kind::Email, "jürgen@bücher.example".to_owned()),
        (Kind::Phone, "+49 30 901820".to_owned()),
        (Kind::Phone, "+1 (415) 555-2671".to_owned()),
        (Kind::Phone, "(415) 555-2671".to_owned()),
        (Kind::Ssn, "536-90-4399".to_owned()),
        (Kind::NationalId, "529.982.247-25".to_owned()),
        (Kind::NationalId, "1 84 12 76 451 089 46".to_owned()),
        (Kind::NationalId, "RSSMRA85T10A562S".to_owned()),
        (Kind::NationalId, "X1234567L".to_owned()),
        (Kind::NationalId, "12345678-Z".to_owned()),
    ]
}

#[test]
fn a_beginning_that_nothing_follows_is_no_token() {
    for text in ["SG.", "SG. is a company", "ya29.", "a ya29..", "xoxe.xoxp-", "://", "eyJ"] {
        assert_eq!(kinds(text), [], "{text}");
    }
}

#[test]
fn each_kind_is_found_by_itself_and_within_text_and_nothing_else_is() {
    let mut seen = std::collections::BTreeSet::from([Kind::UrlPassword, Kind::NamedSecret]);
    for (kind, text) in examples() {
        seen.insert(kind);
        let mark = format!("[redacted:{kind}]");
        for (before, after) in [
            ("", ""),
            ("see ", " there"),
            ("(", ")"),
            ("\"", "\","),
            ("a\n", "\nb"),
            ("{\"log\":\"added:\\n", "\\nb\"}"),
            ("<b>", "</b>"),
            ("", "."),
        ] {
            let whole = format!("{before}{text}{after}");
            assert_eq!(redacted(&whole), format!("{before}{mark}{after}"), "{whole}");
            assert_eq!(kinds(&whole), [(kind.as_str(), 1)], "{whole}");
            // Who looks for something else doesn't find it.
            for other in Kind::ALL.into_iter().filter(|other| *other != kind) {
                assert_eq!(only(other).text(&whole, None, &mut Found::default()), None, "{other}: {whole}");
            }
        }
    }
    assert_eq!(seen.len(), Kind::ALL.len(), "there is no example of some kind");
}

#[test]
fn what_is_around_may_be_in_any_script() {
    for (text, left) in [
        ("卡号4111111111111111。", "卡号[redacted:card]。"),
        ("„DE89370400440532013000“", "„[redacted:iban]“"),
        ("to: ann@example.com”", "to: [redacted:email]”"),
        ("a 請寄ann@example.com，謝謝", "a [redacted:email]，謝謝"),
    ] {
        assert_eq!(redacted(text), left);
    }
    // Half a character is none of an address.
    let long = format!("{}@example.com", "é".repeat(80));
    assert!(
        redacted(&long).starts_with('é') && redacted(&long).ends_with("é[redacted:email]"),
        "{}",
        redacted(&long)
    );
}

#[test]
fn what_stands_beside_a_name_is_found() {
    let token = drawn(24);
    for (text, left) in [
        ("password: hunter2hunter".to_owned(), "password: [redacted:named_secret]"),
        ("DB_PASSWORD=hunter2hunter".to_owned(), "DB_PASSWORD=[redacted:named_secret]"),
        (format!("{{\"client_secret\": \"{token}\"}}"), "{\"client_secret\": \"[redacted:named_secret]\"}"),
        (
            format!("{{\\\"accessToken\\\":\\\"{token}\\\",\\\"a\\\":1}}"),
            "{\\\"accessToken\\\":\\\"[redacted:named_secret]\\\",\\\"a\\\":1}",
        ),
        (format!("NEXTAUTH_SECRET={token}"), "NEXTAUTH_SECRET=[redacted:named_secret]"),
        (format!("PAGERDUTY_API_KEY={token}"), "PAGERDUTY_API_KEY=[redacted:named_secret]"),
        (format!("NEXTCLOUD_TOKEN={token}"), "NEXTCLOUD_TOKEN=[redacted:named_secret]"),
        ("card:4111111111111111".to_owned(), "card:[redacted:card]"),
        ("ssn:123-45-6789".to_owned(), "ssn:[redacted:ssn]"),
        (format!("x-api-key: {token}\nb"), "x-api-key: [redacted:named_secret]\nb"),
        (format!("Authorization: Bearer {token}"), "Authorization: Bearer [redacted:named_secret]"),
        (format!("?api_key={token}&a=b"), "?api_key=[redacted:named_secret]&a=b"),
        (format!("apiKey => '{token}'"), "apiKey => '[redacted:named_secret]'"),
        (
            "postgres://ann:s3cr@db.example/x".replace("3cr@", "3cr3t@"),
            "postgres://ann:[redacted:url_password]@db.example/x",
        ),
    ] {
        assert_eq!(redacted(&text), left, "{text}");
    }
}

#[test]
fn ordinary_text_is_left_alone() {
    for text in [
        // Ids, hashes, times, versions, amounts, order numbers.
        "550e8400-e29b-41d4-a716-446655440000",
        "41111111-1111-1111-1111-111111111111",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "commit 1964420 and 83808f8, tag v1.2.3-rc.1+build.2026",
        "2026-11-23T10:00:00.123456Z 2026-11-23T10:00:00+0100 2026-11-23 10:00:00+01:00",
        "1700000000 1700000000000 1700000000000000 1700000000000000000",
        "order 20261123103000, ord_8ZK2, invoice 2026-0000123, 100-200-300",
        "1,234,567.89 USD; 0.4111111111111111; 4111111111111111.5; 4111111111111112",
        "10.20.30.40 192.168.0.1:8080 [::1]:443 fe80::1",
        "room 415-555-2671-9, part no 123-45-6789-0, 1234567890123456789",
        "agt_01jd0000000000000000000000 act_01jd7xkqz0e4r8v2m6n0p4s8w2",
        // Places of e-mail addresses that are none.
        "@ann logo@2x.png user@localhost npm i @scope/pkg@1.2.3 a @ b.c x@y",
        "https://example.com/@user/post?a=b#c http://host:8080/ https://user@example",
        // Names that say no secret, and secrets that are none yet.
        "token_type: bearer, max_tokens: 4096, next_page_token: CAUQAAabc123XYZdef456, secret_name: prod/db",
        "password: ********, password: <your password>, password: ${DB_PASSWORD}, token: null, password: required",
        "the token: what an agent shows; a secret: nobody knows it",
        "passwordChangedAt: 2026-11-23T10:00:00Z, token_expires=2026-11-23",
        "tokenUrl: https://auth.example/oauth/token",
        "AKIA is how ids begin, ghp_ too, eyJ a token, sk-proj- a key; -----BEGIN CERTIFICATE-----",
        "hotel: 2026123, intel 1234567, total: 12345678",
        "+1 +12 345 +1000 1+23456789 a+49301234567",
        "DE00 is a code, GB is a country, FR76300 is short, DE89 3704 0044 0532 0130 01",
        "12345678A 12345678Z ABCDEF12G34H567I",
        "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000",
        "111.111.111-11 529.982.247-26",
    ] {
        assert_eq!(kinds(text), [], "{text}");
    }
}

#[test]
fn values_are_searched_as_their_reader_sees_them() {
    let source = r#"{"a": "ann\u0040example.com", "4111 1111 1111 1111": [1, {"phone": "0301234567"}], "n": 4111111111111111,
        "password": "hunter2hunter", "tokens": ["aB3dE5gH7jK9mN1pQ2sT"], "id": 42, "text": "{\"password\": \"hunter2hunter\"}"}"#;
    let mut value = crate::json::parse(source.as_bytes()).unwrap();
    let before = value.clone();
    let mut found = Found::default();
    assert!(all().value(&mut value, &mut found));
    assert_eq!(
        value,
        json!({"a": "[redacted:email]", "[redacted:card]": [1, {"phone": "[redacted:phone]"}], "n": "[redacted:card]",
            "password": "[redacted:named_secret]", "tokens": ["[redacted:named_secret]"], "id": 42,
            "text": "{\"password\": \"[redacted:named_secret]\"}"})
    );
    assert_eq!(found.to_value(), json!({"email": 1, "card": 2, "phone": 1, "named_secret": 3}));
    // What is only marked is as it came, and is counted all the same.
    let mut marks = Detect::default();
    Kind::ALL.into_iter().for_each(|kind| marks.set(kind, Level::Mark));
    let (mut same, mut marked) = (before.clone(), Found::default());
    assert!(!marks.value(&mut same, &mut marked));
    assert_eq!((same, marked), (before, found));
    // Names that become the same lose no member.
    let mut names = json!({"a@b.example": 1, "c@d.example": 2});
    assert!(all().value(&mut names, &mut Found::default()));
    assert_eq!(names, json!({"[redacted:email]": 1, "[redacted:email]'": 2}));
    // However many: what that takes grows with their number, and neither does one name with another, nor the time with both.
    let many: serde_json::Map<String, Value> =
        (0..50_000).map(|number| (format!("{number}@b.example"), Value::from(number))).collect();
    let mut many = Value::Object(many);
    assert!(all().value(&mut many, &mut Found::default()));
    let left = many.as_object().unwrap();
    assert_eq!(left.len(), 50_000);
    assert!(left.keys().all(|name| name.len() < 32));
}

#[test]
fn what_is_stricter_wins_and_a_group_is_written_by_its_name() {
    let mut one = Detect::default();
    Group::Personal.kinds().for_each(|kind| one.set(kind, Level::Redact));
    let mut other = only(Kind::Jwt);
    other.set(Kind::Card, Level::Withhold);
    other.set(Kind::Email, Level::Mark);
    let mut both = one.clone();
    both.join(&other);
    assert_eq!(
        (both.level(Kind::Card), both.level(Kind::Email)),
        (Some(Level::Withhold), Some(Level::Redact))
    );
    assert_eq!(
        both.in_words(),
        [("jwt", Level::Redact), ("personal", Level::Redact), ("card", Level::Withhold)]
    );
    assert_eq!((one.beyond(&both), other.beyond(&both)), (None, None));
    assert_eq!(both.beyond(&one), Some((Kind::Jwt, Level::Redact)));
    let mut found = Found::default();
    both.text("4111 1111 1111 1111", None, &mut found);
    assert_eq!((found.withheld(&both), found.withheld(&one)), (vec![Kind::Card], vec![]));
}

#[test]
fn a_key_ends_where_its_lines_do() {
    let rest = key().replace("-----END PRIVATE KEY-----", "Hello, world: this is not of the key.\nNor this.");
    let left = redacted(&rest);
    assert!(
        left.starts_with("[redacted:private_key]")
            && left.ends_with("Hello, world: this is not of the key.\nNor this."),
        "{left}"
    );
    assert!(!left.contains(&drawn(16)), "{left}");
    let twice = format!("{}\n{}\n", key(), key());
    assert_eq!(redacted(&twice), "[redacted:private_key]\n[redacted:private_key]\n");
}

#[test]
fn events_are_searched_behind_their_escapes_when_they_end() {
    let mut stream = Stream::new(all(), Layout::Events);
    let mut push = |text: &str| String::from_utf8(stream.push(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(push("event: a\ndata: {\"to\": \"ann\\u0040exam"), "");
    assert_eq!(push("ple.com\"}\n\n"), "event: a\ndata: {\"to\":\"[redacted:email]\"}\n\n");
    assert_eq!(push("data: {\"n\":  1.50}\r\n\r\n: ping\n"), "data: {\"n\":  1.50}\r\n\r\n");
    assert_eq!(push("\ndata: to ann@example.com\n\n"), ": ping\n\ndata: to [redacted:email]\n\n");
    let long = format!("data: \"{}", "x".repeat(2 * 1024 * 1024));
    assert_eq!(stream.push(long.as_bytes()), Err(Unsearchable::Long));
}

/// Luhn's check as its standard tells it: from the right every second digit doubled, the digits of all added.
fn luhn_by_hand(number: u64) -> bool {
    let text: Vec<u64> = number.to_string().bytes().rev().map(|byte| u64::from(byte - b'0')).collect();
    let sum: u64 = text
        .iter()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 1 { (digit * 2) / 10 + (digit * 2) % 10 } else { *digit })
        .sum();
    sum.is_multiple_of(10)
}

/// The remainder by 97 of a number of any length, digit by digit.
fn remainder(decimal: &str) -> u32 {
    decimal.bytes().fold(0, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97)
}

fn part() -> impl Strategy<Value = String> {
    let examples: Vec<String> = examples().into_iter().map(|(_, text)| text).collect();
    prop_oneof![
        4 => prop::sample::select(examples.clone()),
        2 => (prop::sample::select(examples), 0usize..80).prop_map(|(text, cut)| text.chars().take(cut).collect()),
        3 => "[ a-zA-Z0-9@.:=+\"'\\\\\n-]{0,24}",
        1 => Just("password: hunter2hunter\n".to_owned()),
        1 => Just("-----BEGIN RSA PRIVATE KEY-----\n".to_owned()),
        1 => (1usize..5).prop_map(|many| "x y".repeat(many * 10_000)),
        1 => (1usize..3).prop_map(|many| "4111-1111 eyJ.".repeat(many * 5_000)),
    ]
}

proptest! {
    #[test]
    fn luhn_is_that_of_the_standard(number in 0u64..10_u64.pow(17)) {
        let digits: Vec<u8> = number.to_string().bytes().map(|byte| byte - b'0').collect();
        prop_assert_eq!(personal::luhn(&digits), luhn_by_hand(number));
    }

    #[test]
    fn of_ten_check_digits_one_makes_a_card(number in 0u64..10_u64.pow(14)) {
        let text = format!("4{number:014}");
        let good: Vec<String> = (0..10).map(|check| format!("{text}{check}"))
            .filter(|text| only(Kind::Card).text(text, None, &mut Found::default()).is_some()).collect();
        prop_assert_eq!(good.len(), 1);
        prop_assert!(luhn_by_hand(good[0].parse().unwrap()));
    }

    #[test]
    fn an_iban_has_one_pair_of_check_digits(country in prop::sample::select(vec!["DE", "GB", "FR", "NO", "MT", "SE"]), body in "[0-9A-Z]{33}") {
        let length = personal::iban_length(country.as_bytes()).unwrap();
        let body = body.get(..length - 4).unwrap();
        // As the standard has it: the country and 00 last, letters as numbers, 98 less the remainder.
        let numbers: String = format!("{body}{country}00").chars().map(|letter| letter.to_digit(36).unwrap().to_string()).collect();
        let check = 98 - remainder(&numbers);
        prop_assert_eq!(personal::mod97(format!("{country}{check:02}{body}").as_bytes()), 1);
        for other in 0..100 {
            let text = format!("{country}{other:02}{body}");
            let found = only(Kind::Iban).text(&text, None, &mut Found::default()).is_some();
            // 00, 01, 98 and 99 have the remainder of another pair.
            prop_assert_eq!(found, other % 97 == check % 97, "{}", text);
        }
    }

    #[test]
    fn pieces_do_not_matter(
        parts in prop::collection::vec(part(), 0..8),
        pieces in prop::collection::vec(prop_oneof![1usize..40, 1000usize..100_000], 1..8),
        layout in prop::sample::select(vec![Layout::Text, Layout::Events, Layout::Lines, Layout::Records]),
        wide in any::<bool>(),
        levels in prop::sample::select(vec![Level::Mark, Level::Redact]),
    ) {
        // Of JSON as records and lines have it: each a text.
        let text = match layout {
            Layout::Lines => parts.iter().map(|part| format!("{}\n", Value::from(part.as_str()))).collect(),
            Layout::Records => parts.iter().map(|part| format!("\x1e{}\n", Value::from(part.as_str()))).collect(),
            _ => parts.concat(),
        };
        let body: Vec<u8> = if wide {
            "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
        } else {
            text.clone().into_bytes()
        };
        let mut detect = Detect::default();
        Kind::ALL.into_iter().for_each(|kind| detect.set(kind, levels));
        let read = |pieces: &[usize]| {
            let mut stream = Stream::new(detect.clone(), layout);
            let (mut out, mut rest) = (Vec::new(), &body[..]);
            for piece in pieces.iter().cycle() {
                let (head, tail) = rest.split_at((*piece).min(rest.len()));
                out.extend(stream.push(head).unwrap());
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            out.extend(stream.finish().unwrap());
            let left = if wide {
                let units = out.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
                char::decode_utf16(units.skip(1)).map(Result::unwrap).collect()
            } else {
                String::from_utf8_lossy(&out).into_owned()
            };
            (left, stream.found().clone())
        };
        let whole = read(&[usize::MAX]);
        prop_assert_eq!(&read(&pieces), &whole);
        if layout == Layout::Text {
            let mut found = Found::default();
            let at_once = detect.text(&text, None, &mut found).unwrap_or_else(|| text.clone());
            prop_assert_eq!((at_once, found), whole);
        }
    }

    #[test]
    fn what_is_left_has_nothing_that_is_found_again(parts in prop::collection::vec(part(), 0..5)) {
        let text = parts.join(" \n");
        let once = redacted(&text);
        prop_assert_eq!(redacted(&once), once);
    }
}
