//! Messages of the Model Context Protocol as they come to the door, and lists of tools as servers answer with them: a request
//! that is read is a request to any reader, and a list that is pinned is pinned the same again.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    json,
    mcp::{Headers, Message, Revision, offered::Place, repeated, tool},
    service::Pins,
};
use serde_json::Value;

fn message(data: &[u8]) {
    match Message::read(data) {
        Ok(Message::Request(request)) => {
            let value: Value = serde_json::from_slice(data).expect("anybody reads it");
            assert_eq!(value["jsonrpc"], "2.0");
            assert_eq!(value["id"], request.id);
            assert_eq!(value["method"], request.method.as_str());
            assert!(request.id.is_string() || request.id.is_number());
            assert!(value.get("result").is_none() && value.get("error").is_none());
            for version in [None, Some("2025-11-25"), Some("2026-07-28"), Some("1999-01-01")] {
                let name = request.params.get("name").and_then(Value::as_str);
                let headers = Headers { version, method: Some(&request.method), name };
                if let Ok(revision) = Revision::of(&request, headers) {
                    assert_eq!(revision == Revision::Stateless, version == Some("2026-07-28"));
                    // A header that says something else is never right.
                    let other = Headers { version, method: Some("tools/other"), name };
                    assert!(
                        Revision::of(&request, other).is_err()
                            || request.method == "tools/other"
                            || version.is_none()
                    );
                }
            }
            let _ = request.offers_forms();
        }
        Ok(Message::Notification { method, .. }) => {
            let value: Value = serde_json::from_slice(data).expect("anybody reads it");
            assert_eq!((value["method"].as_str(), value.get("id")), (Some(method.as_str()), None));
        }
        Ok(Message::Response) => {}
        Err((id, error)) => {
            let answer = error.answer(id.as_ref());
            assert!(answer["error"]["code"].is_i64());
        }
    }
}

pub(crate) fn run(data: &[u8]) {
    message(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(last) = tool::after(text)
    {
        assert_eq!(tool::after(&tool::cursor(&last)).as_deref(), Some(last.as_str()));
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(place) = Place::read(text)
    {
        assert_eq!(place.outward(), text);
    }
    let Ok(value) = json::parse(data) else { return };
    if let Ok(repeated) = repeated::declared(&value) {
        let empty = serde_json::Map::new();
        assert!(repeated.iter().all(|one| one.sent(&empty).is_none()));
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (tools, prompts) = match &value {
        Value::Array(tools) => (tools.clone(), Vec::new()),
        other => (list(&other["tools"]), list(&other["prompts"])),
    };
    if let Ok(pins) = Pins::of_listing(&tools, &prompts) {
        assert_eq!(Pins::of_listing(&tools, &prompts).as_ref(), Ok(&pins));
        assert!(pins.0.len() <= tools.len() + prompts.len());
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
