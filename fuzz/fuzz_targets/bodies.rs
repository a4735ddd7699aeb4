//! Bodies that are no plain JSON: mails and forms. As parameters (JSON), which are rendered, and as they come at a raw door:
//! what is described renders to the same parameters, and describes back.
#![cfg_attr(fuzzing, no_main)]

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use placet_core::{
    json,
    service::{Service, ServiceAction},
};
use serde_json::{Map, Value};
use std::sync::LazyLock;

static SERVICES: LazyLock<[Service; 2]> = LazyLock::new(|| {
    let sources: [&[u8]; 2] =
        [include_bytes!("../../services/gmail.yaml"), include_bytes!("../../services/stripe.yaml")];
    sources.map(|source| Service::parse(source, None).expect("it is a service").0)
});

/// Renders what is described, and takes it back.
fn render(service: &Service, action: &ServiceAction, params: &Map<String, Value>) -> Option<Vec<u8>> {
    let described = action.describe(params).ok()?;
    let call = service.render(action, &described.params).ok()?;
    let (name, back) = service.describe_call(&call).expect("what is rendered describes back");
    assert_eq!(&name, action.name());
    let again = action.describe(&back).expect("what came back is described");
    assert_eq!(again.resource, described.resource);
    let rendered = service.render(action, &again.params).expect("what came back is rendered");
    assert_eq!(rendered.body, call.body, "another body");
    assert_eq!(rendered.target, call.target);
    call.body
}

/// A mail as anybody reads it: no line but those of the parts, each once, and none of them broken by a value.
fn mail(body: &[u8]) {
    let Ok(value) = json::parse(body) else { return };
    let raw = value.get("raw").or_else(|| value.pointer("/message/raw")).and_then(Value::as_str);
    let Some(raw) = raw else { return };
    let mail = String::from_utf8(URL_SAFE.decode(raw).expect("it is base64url")).expect("it is ASCII");
    assert!(mail.is_ascii());
    let (head, text) = mail.split_once("\r\n\r\n").expect("headers and a text");
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(&byte)));
    let mut names: Vec<&str> = Vec::new();
    for line in head.split("\r\n") {
        assert!(!line.contains(['\r', '\n']) && !line.is_empty());
        if !line.starts_with(' ') {
            names.push(line.split_once(": ").expect("a header").0);
        }
    }
    let known = ["To", "Cc", "Bcc", "Subject", "In-Reply-To", "References", "MIME-Version", "Content-Type"];
    let last = "Content-Transfer-Encoding";
    assert!(names.iter().all(|name| known.contains(name) || *name == last), "{names:?}");
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), names.len(), "{names:?}");
}

pub(crate) fn run(data: &[u8]) {
    if let Ok(Value::Object(params)) = json::parse(data) {
        for service in SERVICES.iter() {
            for action in service.actions() {
                // Of the parameters those that it has, so that one input reaches several.
                let own =
                    params.iter().filter(|(name, _)| action.params().iter().any(|known| known == *name));
                let own = own.map(|(name, value)| (name.clone(), value.clone())).collect();
                if let Some(body) = render(service, action, &own) {
                    mail(&body);
                }
            }
        }
    }
    // A body for whatever action takes one.
    for service in SERVICES.iter() {
        for (method, path) in [
            ("POST", "/gmail/v1/users/me/messages/send"),
            ("POST", "/gmail/v1/users/me/drafts"),
            ("POST", "/v1/customers"),
            ("POST", "/v1/refunds"),
            ("POST", "/v1/payment_intents"),
        ] {
            let Some(method) = placet_core::call::Method::from_name(method) else { continue };
            let below = path.strip_prefix(service.base_path()).unwrap_or(path);
            let Some(placed) = service.place(method, below) else { continue };
            let Ok(params) = placed.params(None, Some(data)) else { continue };
            if let Some(body) = render(service, placed.action(), &params) {
                mail(&body);
            }
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
