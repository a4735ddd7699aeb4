//! Messages on WebSockets: what was opened in the first line, the message behind it. A message is one action or none; what is
//! sent for it says the same, and describes back.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    json,
    pattern::ActionName,
    service::{Refusal, Service},
};
use serde_json::{Map, Value};
use std::sync::LazyLock;

static FEED: LazyLock<Service> = LazyLock::new(|| {
    Service::parse(include_bytes!("../seeds/socket/feed.yaml"), None).expect("it is a service").0
});
static OPENING: LazyLock<ActionName> = LazyLock::new(|| ActionName::parse("feed.open").expect("a name"));

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (opened, text) = text.split_once('\n').unwrap_or((r#"{"room": 7}"#, text));
    let Ok(Value::Object(opened)) = json::parse(opened.as_bytes()) else { return };
    let Ok(message) = json::parse(text.as_bytes()) else { return };
    let opening = FEED.action(&OPENING).expect("there is one");
    let Ok(opened) = opening.describe(&opened).map(|described| described.params) else { return };
    if FEED.render(opening, &opened).is_err() {
        return;
    }
    let socket = opening.websocket().expect("it opens one");
    let problem: Map<String, Value> = [("code".to_owned(), Value::from("not_granted"))].into_iter().collect();
    let told = socket.refusal(Refusal { problem: &problem, message: Some(&message) });
    assert_eq!(told["code"], "not_granted");
    assert_eq!(&told["id"], message.pointer("/id").unwrap_or(&Value::Null));
    // Which it is by what the definition says, pointer by pointer.
    let fits = FEED.actions().filter(|action| {
        action.carried().is_some_and(|carried| {
            carried.matched().iter().all(|(pointer, value)| in_objects(&message, pointer) == Some(value))
        })
    });
    let fits: Vec<&str> = fits.map(|action| action.name().as_str()).collect();
    let action = FEED.carried(&OPENING, &message);
    assert_eq!(action.map(|action| action.name().as_str()), fits.first().copied());
    assert!(fits.len() <= 1, "it is two actions: {fits:?}");
    let Some(action) = action else { return };
    let Ok(params) = action.message_params(&opened, &message) else { return };
    let Ok(described) = action.describe(&params) else { return };
    assert_eq!(described.params.get("room"), opened.get("room"), "what was opened is the opened");
    assert!(action.range().matches(&described.resource));
    let Ok(call) = FEED.render(action, &described.params) else { return };
    let sent = json::parse(call.body.as_deref().expect("a message")).expect("it is JSON");
    assert_eq!(sent, message, "another message is sent");
    assert_eq!(FEED.describe_call(&call), Some((action.name().clone(), described.params)));
}

/// What a pointer leads to through objects alone.
fn in_objects<'m>(message: &'m Value, pointer: &str) -> Option<&'m Value> {
    pointer
        .split('/')
        .skip(1)
        .try_fold(message, |at, step| at.as_object()?.get(&step.replace("~1", "/").replace("~0", "~")))
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
