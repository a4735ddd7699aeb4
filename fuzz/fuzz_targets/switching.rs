//! Headers that upstreams answer a WebSocket's handshake with: what is taken is an answer to this very request with nothing that
//! was not asked for (RFC 6455 §4.1), whatever names it offered.
#![cfg_attr(fuzzing, no_main)]

use http::{HeaderMap, HeaderName, HeaderValue};
use placet_core::websocket;
use placet_gateway::fuzzing;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The items of all headers of a name, in lower case.
fn items(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',').map(|it| it.trim().to_ascii_lowercase())).collect()
}

fn has(headers: &HeaderMap, name: &str, item: &str) -> bool {
    items(headers, name).iter().any(|it| it == item)
}

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut headers = HeaderMap::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        // What can't be guessed.
        let value = value.trim_matches([' ', '\t']).replace("$accept", &websocket::accept(KEY));
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value))
        else {
            continue;
        };
        headers.append(name, value);
    }
    let offered = ["v1".to_owned(), "v2.feed".to_owned()];
    let Some(chosen) = fuzzing::agreed(&headers, KEY, &offered) else { return };
    assert_eq!(items(&headers, "upgrade"), ["websocket"]);
    assert!(has(&headers, "connection", "upgrade"));
    let accepted: Vec<_> = headers.get_all("sec-websocket-accept").iter().collect();
    assert_eq!(accepted, ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
    assert!(!headers.contains_key("sec-websocket-extensions"));
    let named: Vec<_> = headers.get_all("sec-websocket-protocol").iter().collect();
    assert_eq!(named, chosen.iter().collect::<Vec<_>>());
    assert!(chosen.as_ref().is_none_or(|chosen| offered.contains(chosen)));
    // To another key it is none, nor where nothing was offered and a name is chosen.
    assert_eq!(fuzzing::agreed(&headers, &websocket::key(*b"another nonce..."), &offered), None);
    assert_eq!(fuzzing::agreed(&headers, KEY, &[]).is_some(), chosen.is_none());
    // What is asked with these names says each of them once, in their order.
    let asked = fuzzing::handshake(KEY, &offered).expect("names fit into a header");
    assert_eq!(items(&asked, "sec-websocket-protocol"), offered);
    assert!(!asked.contains_key("sec-websocket-extensions"));
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
