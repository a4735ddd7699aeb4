//! Parameters of statements, and definitions of databases: what is rendered is proven before it leaves, has no value in its
//! text, and describes back to the same parameters.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    json,
    service::{Prepared, Service},
};
use serde_json::{Map, Value};
use std::sync::LazyLock;

static DATABASE: LazyLock<Service> = LazyLock::new(|| {
    let text = include_bytes!("../../examples/services/orders-db.yaml");
    Service::parse(text, None).expect("it is a service").0
});

fn ask(service: &Service, params: &Map<String, Value>) {
    for action in service.actions().take(12) {
        // Of the parameters those that it has, so that one input reaches several.
        let own: Map<String, Value> = params
            .iter()
            .filter(|(name, _)| action.params().iter().any(|known| known == *name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let Ok(described) = action.describe(&own) else { continue };
        let Ok(call) = service.render(action, &described.params) else { continue };
        let prepared = call.body.as_deref().and_then(Prepared::read);
        // Values are bound, whatever they say: other values leave the text as it is.
        if let Some(prepared) = prepared {
            let strings = own.values().filter_map(Value::as_str).filter(|text| text.contains("';"));
            strings.for_each(|text| assert!(!prepared.statement.contains(text), "{}", prepared.statement));
        }
        assert!(service.describe_call(&call).is_some(), "what is rendered describes back");
    }
}

pub(crate) fn run(data: &[u8]) {
    if let Ok(Value::Object(params)) = json::parse(data) {
        ask(&DATABASE, &params);
    }
    let Ok((service, _)) = Service::parse(data, None) else { return };
    let values =
        [Value::from(7), Value::from("a\"b'; --"), Value::Bool(true), Value::from(vec![Value::from(1)])];
    for value in values {
        let names = service.actions().flat_map(|action| action.params().iter().cloned());
        let params: Map<String, Value> = names.map(|name| (name, value.clone())).collect();
        ask(&service, &params);
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
