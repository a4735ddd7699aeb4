//! Bodies that echo a credential in any of its forms: none comes through, and the pieces that a body comes in don't matter.
//! The first byte says which secret it is and how long the pieces are; of the rest, control characters stand for the secret in
//! the form of their number.
#![cfg_attr(fuzzing, no_main)]

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use placet_core::secret::Secret;
use placet_gateway::{Scrubber, fuzzing};
use serde_json::Value;
use std::sync::LazyLock;

/// Long ones, of the letters that forms differ in; the last could be made of what stands in its place.
const LONG: [&str; 4] = ["canary_4eC39HqL/yjW+Darj&1=z%c\\x", "aaaaaaaa", "k7\"<Zq> {w}'9", "x[scrubbed"];
/// Found as a whole value only.
const SHORT: &str = "tok3n/+";

static SCRUBBERS: LazyLock<Vec<Scrubber>> =
    LazyLock::new(|| LONG.iter().chain([&SHORT]).map(|it| Scrubber::new(&Secret::new(*it))).collect());

/// The secret in its form of that number.
fn form(secret: &str, number: u8) -> Vec<u8> {
    let secret = secret.as_bytes();
    let each =
        |write: &dyn Fn(u8) -> String| secret.iter().flat_map(|byte| write(*byte).into_bytes()).collect();
    // Only what has to be, as encoders do.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match number {
        0 => each(&|byte| format!("%{byte:02x}")),
        1 => each(&|byte| format!("%25{byte:02X}")),
        2 => each(&|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }),
        3 => each(&|byte| format!("\\u{byte:04x}")),
        4 => each(&|byte| match byte {
            b'"' | b'\\' | b'/' => format!("\\{}", char::from(byte)),
            _ => char::from(byte).to_string(),
        }),
        5 => each(&|byte| match byte {
            b'"' => "\\\\\\\"".to_owned(),
            b'\\' => "\\\\\\\\".to_owned(),
            _ => char::from(byte).to_string(),
        }),
        6 => each(&|byte| format!("&#x{byte:x};")),
        7 => each(&|byte| format!("&amp;#{byte};")),
        8 => each(&|byte| match byte {
            b'&' => "&amp;".to_owned(),
            b'<' => "&lt;".to_owned(),
            b'>' => "&gt;".to_owned(),
            b'"' => "&quot;".to_owned(),
            _ => char::from(byte).to_string(),
        }),
        // A tab and a line end stay what they are.
        11 => each(&|byte| format!("{byte:02x}")),
        12 => each(&|byte| format!("{byte:02X}")),
        14 => STANDARD.encode([b"user:", secret].concat()).into_bytes(),
        15 => STANDARD.encode([b"user1:", secret, b"!"].concat()).into_bytes(),
        16 => URL_SAFE_NO_PAD.encode(secret).into_bytes(),
        17 => secret.iter().flat_map(|byte| [*byte, 0]).collect(),
        18 => secret.iter().flat_map(|byte| [0, *byte]).collect(),
        19 => secret.to_ascii_uppercase(),
        20 => each(&|byte| match byte {
            b' ' => "+".to_owned(),
            _ if plain(byte) => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        }),
        21 => each(&|byte| format!("\\x{byte:02x}")),
        _ => secret.to_vec(),
    }
}

/// Whether `text` has `part` in it, in whatever case.
fn has(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => members.iter().for_each(|(key, item)| {
            found.push(key);
            strings(item, found);
        }),
        _ => {}
    }
}

pub(crate) fn run(data: &[u8]) {
    let Some((choice, template)) = data.split_first() else { return };
    let which = usize::from(*choice) % SCRUBBERS.len();
    let scrubber = &SCRUBBERS[which];
    let Some(secret) = LONG.get(which) else { return short(template) };
    let (mut text, mut forms) = (Vec::new(), vec![secret.as_bytes().to_vec()]);
    for byte in template {
        // Few enough that a run takes no time.
        if *byte < 32 && !b"\t\n\r".contains(byte) && forms.len() < 12 {
            let form = form(secret, *byte);
            text.extend_from_slice(&form);
            forms.push(form);
        } else {
            text.push(*byte);
        }
    }
    let whole = scrubber.scrub_bytes(&text);
    assert!(whole.is_some() || forms.iter().all(|form| !has(&text, form)), "it was not found");
    let whole = whole.unwrap_or_else(|| text.clone());
    let pieces: Vec<&[u8]> = text.chunks(usize::from(*choice) / SCRUBBERS.len() + 1).collect();
    let streamed = fuzzing::streamed(scrubber, &pieces).expect("it is long");
    let single: Vec<&[u8]> = text.chunks(1).collect();
    let by_byte = fuzzing::streamed(scrubber, &single).expect("it is long");
    for form in &forms {
        for (how, out) in [("as a whole", &whole), ("in pieces", &streamed), ("byte by byte", &by_byte)] {
            assert!(!has(out, form), "{how} it passed as {}", String::from_utf8_lossy(form));
        }
    }
    // A mark is another one where it could be taken for a part of the secret.
    if !secret.contains('[') {
        assert_eq!(String::from_utf8_lossy(&streamed), String::from_utf8_lossy(&whole), "pieces matter");
        assert_eq!(by_byte, whole, "pieces matter");
    }
    if let Ok(mut value) = serde_json::from_slice::<Value>(&text) {
        scrubber.scrub_json(&mut value);
        let mut found = Vec::new();
        strings(&value, &mut found);
        assert!(found.iter().all(|text| !has(text.as_bytes(), secret.as_bytes())));
    }
}

/// A short secret is a whole value, or nothing.
fn short(text: &[u8]) {
    let scrubber = &SCRUBBERS[LONG.len()];
    assert!(fuzzing::streamed(scrubber, &[text]).is_none());
    if text.trim_ascii() == SHORT.as_bytes() {
        assert!(scrubber.scrub_bytes(text).is_some());
    }
    let Ok(before) = serde_json::from_slice::<Value>(text) else { return };
    let after: Value =
        serde_json::from_slice(&fuzzing::scrubbed(scrubber, text, true)).expect("it stays JSON");
    let (mut were, mut are) = (Vec::new(), Vec::new());
    strings(&before, &mut were);
    strings(&after, &mut are);
    assert!(are.iter().all(|text| text.trim_ascii() != SHORT), "{after}");
    assert!(were.contains(&SHORT) || were.iter().any(|text| text.len() >= SHORT.len()) || before == after);
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
