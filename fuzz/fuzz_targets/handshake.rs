//! Heads of requests that ask for a WebSocket, as agents send them: what is taken is what the standard has (RFC 6455 §4.2), and
//! the answer is one to this very request. What asks for one is never taken for an ordinary request.
#![cfg_attr(fuzzing, no_main)]

use http::{HeaderMap, Method, Version};
use placet_core::websocket;
use placet_server::fuzzing;

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
    let Some(head) = fuzzing::head(text) else { return };
    if fuzzing::is_ordinary(&head) {
        assert!(!has(&head.headers, "upgrade", "websocket"), "it asks for a WebSocket");
    }
    let Some((offered, answer)) = fuzzing::websocket(&head) else { return };
    let only = |name: &str| {
        let mut values = head.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    assert_eq!((head.version, &head.method), (Version::HTTP_11, &Method::GET));
    assert!(has(&head.headers, "upgrade", "websocket") && has(&head.headers, "connection", "upgrade"));
    assert_eq!(only("sec-websocket-version"), Some("13"));
    let key = only("sec-websocket-key").expect("one key");
    assert_eq!(key.len(), 24);
    let names = items(&head.headers, "sec-websocket-protocol");
    assert!(offered.len() <= 16 && offered.iter().all(|name| names.contains(&name.to_ascii_lowercase())));
    assert!(offered.iter().enumerate().all(|(at, name)| !offered[..at].contains(name)), "one twice");
    for chosen in offered.iter().map(Some).chain([None]) {
        let headers = answer(chosen.map(String::as_str));
        assert_eq!(items(&headers, "connection"), ["upgrade"]);
        assert_eq!(items(&headers, "upgrade"), ["websocket"]);
        assert_eq!(headers["sec-websocket-accept"], websocket::accept(key));
        let named: Vec<_> = headers.get_all("sec-websocket-protocol").iter().collect();
        assert_eq!(named, chosen.iter().collect::<Vec<_>>());
        assert_eq!(headers.len(), 3 + named.len(), "nothing that was not asked for");
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
