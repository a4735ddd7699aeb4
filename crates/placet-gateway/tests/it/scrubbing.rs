//! The scrubber against every way of writing a secret that we know, within any text.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use placet_core::secret::Secret;
use placet_gateway::{SCRUBBED, Scrubber};
use proptest::prelude::*;
use serde_json::{Value, json};

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes `text` with the characters that `which` picks escaped by `escape`.
fn escaped(text: &str, which: u64, escape: impl Fn(u8) -> String) -> String {
    let pick = |at: usize| which.rotate_right(u32::try_from(at % 64).unwrap()) & 1 == 1;
    text.bytes()
        .enumerate()
        .map(|(at, b)| if pick(at) { escape(b) } else { char::from(b).to_string() })
        .collect()
}

/// The inside of a JSON string.
fn inner_json(text: &str) -> String {
    let quoted = json!(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent(b: u8) -> String {
    format!("%{b:02X}")
}

/// All forms of `secret`, some of them varied by `which`.
fn forms(secret: &str, which: u64) -> Vec<(&'static str, String)> {
    let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    let mut forms = vec![
        ("raw", secret.to_owned()),
        ("lower case", secret.to_ascii_lowercase()),
        ("hex", hex(secret)),
        ("HEX", hex(secret).to_ascii_uppercase()),
        ("percent", escaped(secret, which, percent)),
        ("percent lower", escaped(secret, which, |b| format!("%{b:02x}"))),
        ("percent all", escaped(secret, u64::MAX, percent)),
        ("percent twice", escaped(secret, which, |b| format!("%25{b:02X}"))),
        ("form", escaped(secret, which, |b| if b == b' ' { "+".into() } else { percent(b) })),
        ("unicode", escaped(secret, which, |b| format!("\\u{b:04x}"))),
        ("UNICODE", escaped(secret, u64::MAX, |b| format!("\\u{b:04X}"))),
        ("unicode within", escaped(secret, which, |b| format!("\\\\u{b:04x}"))),
        ("x", escaped(secret, which, |b| format!("\\x{b:02x}"))),
        ("entity", escaped(secret, which, |b| format!("&#{b};"))),
        ("hex entity", escaped(secret, which, |b| format!("&#x{b:x};"))),
        ("json", inner_json(secret)),
        ("json slash", inner_json(secret).replace('/', "\\/")),
        ("json in json", json!(json!(secret).to_string()).to_string()),
    ];
    for engine in engines {
        for before in ["", "u", "u:", "Bearer ", "user:", "ab"] {
            for after in ["", "\n", ":x", "tail"] {
                let encoded = engine.encode(format!("{before}{secret}{after}"));
                forms.push(("base64 escaped", escaped(&encoded, which, percent)));
                forms.push(("base64 json", encoded.replace('/', "\\/")));
                forms.push(("base64", encoded));
            }
        }
    }
    forms
}

/// Secrets that can be in a header, not so regular that a text is likely to hold them by itself.
fn secrets() -> impl Strategy<Value = String> {
    "[!-~][ -~]{6,60}[!-~]"
}

/// What base64 text with one run of characters cut out still says, at every alignment.
fn says(secret: &str, text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains(&secret.to_ascii_lowercase()) || lower.contains(&hex(secret))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_form_remains_in_any_text(
        secret in secrets(), before in "\\PC{0,40}", after in "\\PC{0,40}", which: u64,
    ) {
        let scrubber = Scrubber::new(&Secret::new(secret.as_str()));
        for (name, form) in forms(&secret, which) {
            let text = format!("{before}{form}{after}");
            let scrubbed = scrubber.scrub_text(&text);
            prop_assert!(scrubbed.is_some(), "{name} not found: {form}");
            let scrubbed = scrubbed.unwrap();
            prop_assert!(!scrubbed.contains(&form), "{name} remains in {scrubbed}");
            prop_assert!(!says(&secret, &scrubbed), "{name}: {scrubbed}");
            prop_assert_eq!(scrubber.scrub_text(&scrubbed), None, "{}: found again in {}", name, scrubbed);
            prop_assert_eq!(scrubber.scrub_bytes(text.as_bytes()), Some(scrubbed.into_bytes()));
        }
    }

    #[test]
    fn several_forms_side_by_side_all_go(secret in secrets(), which: u64, order: u64) {
        let scrubber = Scrubber::new(&Secret::new(secret.as_str()));
        let mut forms = forms(&secret, which);
        let length = forms.len();
        forms.rotate_left(usize::try_from(order % 1000).unwrap() % length);
        let text: String = forms.iter().take(12).map(|(_, form)| form.as_str()).collect();
        let scrubbed = scrubber.scrub_text(&text).unwrap();
        for (name, form) in forms.iter().take(12) {
            prop_assert!(!scrubbed.contains(form), "{name} remains");
        }
    }

    #[test]
    fn text_without_the_secret_is_untouched(secret in "[A-Z]{12,30}", text in "[a-z0-9%\\\\&;#+/ .]{0,200}") {
        let scrubber = Scrubber::new(&Secret::new(format!("~{secret}~")));
        prop_assert_eq!(scrubber.scrub_text(&text), None);
    }

    #[test]
    fn what_surrounds_the_secret_stays(secret in "[A-Z]{12,30}", before in "[a-z .]{0,40}", after in "[a-z .]{0,40}") {
        let secret = format!("~{secret}~");
        let scrubber = Scrubber::new(&Secret::new(secret.as_str()));
        let expected = format!("{before}{SCRUBBED}{after}");
        prop_assert_eq!(scrubber.scrub_text(&format!("{before}{secret}{after}")), Some(expected.clone()));
        let mut value = json!({"deep": [{"text": format!("{before}{secret}{after}"), &secret: null}], "n": 1});
        scrubber.scrub_json(&mut value);
        prop_assert_eq!(value, json!({"deep": [{"text": expected, SCRUBBED: null}], "n": 1}));
    }

    #[test]
    fn any_bytes_are_survived(secret in proptest::collection::vec(any::<u8>(), 0..40), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let scrubber = Scrubber::new(&Secret::new(secret.clone()));
        let text = [&bytes[..], &secret, &bytes].concat();
        let scrubbed = scrubber.scrub_bytes(&text);
        if secret.len() >= 8 {
            let scrubbed = scrubbed.unwrap();
            prop_assert!(!scrubbed.windows(secret.len()).any(|window| window == secret));
        }
    }

    #[test]
    fn a_repetitive_secret_leaves_no_tail(unit in "[ab]{1,3}", times in 8_usize..12, extra in 1_usize..12) {
        let secret = unit.repeat(times);
        let scrubber = Scrubber::new(&Secret::new(secret.as_str()));
        let scrubbed = scrubber.scrub_text(&format!("-{}-", unit.repeat(times + extra))).unwrap();
        prop_assert_eq!(scrubbed, format!("-{SCRUBBED}-"));
    }
}

#[test]
fn the_characters_beside_a_base64_match_go_with_it() {
    // Off its alignment the secret's first and last bytes share characters with their neighbours.
    let secret = "s3cr3t-value";
    let scrubber = Scrubber::new(&Secret::new(secret));
    let encoded = STANDARD.encode(format!("u:{secret}!"));
    assert_eq!(encoded, "dTpzM2NyM3QtdmFsdWUh");
    assert_eq!(scrubber.scrub_text(&encoded).unwrap(), "dT[scrubbed]h");
}

#[test]
fn utf_16_is_found_in_both_orders() {
    let secret = "s3cr3t-value";
    let scrubber = Scrubber::new(&Secret::new(secret));
    for pair in [|b| [b, 0], |b| [0, b]] {
        let bytes: Vec<u8> = secret.bytes().flat_map(pair).collect();
        let scrubbed = scrubber.scrub_bytes(&bytes).unwrap();
        assert!(scrubbed.len() <= SCRUBBED.len() + 1, "{scrubbed:?}");
    }
}

#[test]
fn a_secret_like_the_replacement_ends_and_leaves_nothing() {
    for secret in ["[scrubbed]", "scrubbed", "x[scrubb", "d]x[scru", "[scrubbed][scrubbed]"] {
        let scrubber = Scrubber::new(&Secret::new(secret));
        let scrubbed = scrubber.scrub_text(&format!("x{secret}{secret}x{secret}")).unwrap();
        assert!(!scrubbed.contains(secret), "{secret}: {scrubbed}");
    }
}

#[test]
fn a_short_secret_goes_only_as_a_whole_value() {
    let scrubber = Scrubber::new(&Secret::new("k/1+a"));
    for whole in [
        "k/1+a",
        "Bearer k/1+a",
        " k/1+a\n",
        "k%2F1%2Ba",
        "k\\/1\\u002ba",
        "6b2f312b61",
        "6B2F312B61",
        "ay8xK2E=",
        "ay8xK2E",
    ] {
        assert_eq!(scrubber.scrub_text(whole).as_deref(), Some(SCRUBBED), "{whole}");
        let mut value = json!({"a": [whole], whole: "k/1+a and more"});
        scrubber.scrub_json(&mut value);
        assert_eq!(value, json!({"a": [SCRUBBED], SCRUBBED: "k/1+a and more"}), "{whole}");
    }
    for part in ["k/1+a.", "xk/1+a", "K/1+A", "k/1+", "", "Bearer  k/1+a"] {
        assert_eq!(scrubber.scrub_text(part), None, "{part}");
    }
    let digits = Scrubber::new(&Secret::new("12"));
    let mut value = json!({"12": 12, "a": 1200});
    digits.scrub_json(&mut value);
    assert_eq!(value, json!({SCRUBBED: 12, "a": 1200}));
    // Seven bytes are short, eight are not.
    assert_eq!(Scrubber::new(&Secret::new("abcdefg")).scrub_text("-abcdefg"), None);
    assert!(Scrubber::new(&Secret::new("abcdefgh")).scrub_text("-abcdefgh").is_some());
    assert_eq!(Scrubber::new(&Secret::new("")).scrub_text(""), None);
}

#[test]
fn a_number_that_is_the_secret_goes_and_others_keep_their_text() {
    let scrubber = Scrubber::new(&Secret::new("123456789"));
    let mut value: Value =
        serde_json::from_str(r#"{"a": 123456789, "b": 1.0e+5, "c": 91234567890, "d": 0.10}"#).unwrap();
    scrubber.scrub_json(&mut value);
    assert_eq!(value.to_string(), r#"{"a":"[scrubbed]","b":1.0e+5,"c":"[scrubbed]","d":0.10}"#);
}

#[test]
fn hostile_text_takes_bounded_work() {
    // Runs of escapes that could each begin a match: this ends at once or it doesn't end.
    let scrubber = Scrubber::new(&Secret::new("\\\\\\\\\\\\\\\\%%%%&&&&\\\\x"));
    for unit in ["\\", "%25", "%", "&amp;", "&#", "\\u005c", "\\\\%"] {
        let text = unit.repeat(4_000 / unit.len());
        assert_eq!(scrubber.scrub_text(&text), None, "{unit}");
    }
}
