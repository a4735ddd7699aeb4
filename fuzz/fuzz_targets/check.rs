//! What Envoy asks (`CheckRequest`), as bytes of a message, and as lines that one is made of. A message that is read is written
//! and read the same; what it is about is the request that it says, and its body is one only where all of it was sent.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    call::Method,
    service::{SeenBody, Service, check_target},
};
use placet_server::{
    doors::ext_authz::message::{
        AttributeContext, CheckRequest, HeaderMap, HeaderValue, HttpRequest, Request,
    },
    fuzzing,
};
use prost::Message as _;
use std::sync::LazyLock;

const PARTIAL: &str = "x-envoy-auth-partial-body";

static SERVICE: LazyLock<Service> = LazyLock::new(|| {
    let text = include_bytes!("../../examples/services/shop.yaml");
    Service::parse(text, None).expect("it is a service").0
});

/// A message of lines: method and target, headers, an empty one, the body. A header that begins with `<` is among those that
/// came as they were; one that begins with `!` is an extension.
fn made(text: &str) -> CheckRequest {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, path) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or_default();
    let mut http = HttpRequest { method: method.to_owned(), path: path.to_owned(), ..HttpRequest::default() };
    let mut context = AttributeContext::default();
    let mut raw = HeaderMap::default();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let (mut key, mut map) = (name, &mut http.headers);
        if let Some(name) = name.strip_prefix('!') {
            (key, map) = (name, &mut context.context_extensions);
        } else if let Some(name) = name.strip_prefix('<') {
            let value = HeaderValue {
                key: name.to_owned(),
                raw_value: value.as_bytes().to_vec(),
                ..HeaderValue::default()
            };
            raw.headers.push(value);
            continue;
        }
        map.insert(key.to_owned(), value.to_owned());
    }
    match body.strip_prefix('<') {
        Some(body) => http.body = body.to_owned(),
        None => http.raw_body = body.as_bytes().to_vec(),
    }
    http.header_map = (!raw.headers.is_empty()).then_some(raw);
    context.request = Some(Request { http: Some(http) });
    CheckRequest { attributes: Some(context) }
}

fn asked(request: &CheckRequest) {
    let written = request.encode_to_vec();
    assert_eq!(CheckRequest::decode(written.as_slice()).as_ref(), Ok(request), "written again");
    let Some(context) = &request.attributes else { return };
    let Some(http) = context.request.as_ref().and_then(|request| request.http.as_ref()) else { return };
    for sends_bodies in [false, true] {
        let Some((headers, body)) = fuzzing::checked(http, sends_bodies) else { continue };
        // Each header that was said is there, and no other.
        let said = http.headers.keys().map(String::as_str);
        let raw = http.header_map.iter().flat_map(|map| &map.headers).map(|header| header.key.as_str());
        let count = said.chain(raw).filter(|name| !name.starts_with(':')).count();
        assert_eq!(headers.len(), count);
        if let SeenBody::Whole(bytes) = body {
            assert_eq!(bytes, http.raw_body);
            assert!(http.body.is_empty(), "it was mended");
            let partial: Vec<_> = headers.get_all(PARTIAL).iter().collect();
            assert_eq!(partial, ["false"], "nothing says that it is whole");
            assert!(sends_bodies || !bytes.is_empty(), "none was sent");
        }
        let Some(method) = Method::from_name(&http.method) else { continue };
        let Ok((action, params)) = SERVICE.seen(method, &http.path, body, |_| true) else { continue };
        assert_eq!(check_target(&http.path), Ok(()));
        let call = SERVICE.render(action, &params).expect("it was rendered");
        assert_eq!(call.target.split('?').next(), http.path.split('?').next(), "another path");
        if !matches!(body, SeenBody::Whole(_)) {
            assert!(call.body.is_none(), "nobody saw a body");
        }
    }
}

pub(crate) fn run(data: &[u8]) {
    if let Ok(request) = CheckRequest::decode(data) {
        asked(&request);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        asked(&made(text));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
