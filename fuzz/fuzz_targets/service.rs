//! Service definitions: what loads can describe and render the parameters that its own names suggest; the resource lies in
//! the action's range, and the call describes back.
#![cfg_attr(fuzzing, no_main)]

use placet_core::service::{Service, check_target};
use serde_json::{Map, Value, json};

pub(crate) fn run(data: &[u8]) {
    let service = match Service::parse(data, None) {
        Ok((service, _)) => service,
        Err(problems) => {
            assert!(problems.iter().any(|problem| problem.is_error()), "refused without an error");
            problems.iter().for_each(|problem| drop(problem.render()));
            return;
        }
    };
    for action in service.actions().take(8) {
        for value in [json!("x"), json!(7), json!("a b/c%2e"), json!(true)] {
            let params: Map<String, Value> =
                action.params().iter().map(|name| (name.clone(), value.clone())).collect();
            let Ok(described) = action.describe(&params) else { continue };
            assert!(action.range().matches(&described.resource));
            assert!(described.known.matches(&described.resource));
            assert!(action.range().covers(&described.known));
            let Ok(call) = service.render(action, &described.params) else { continue };
            let (name, _) = service.describe_call(&call).expect("what is rendered describes back");
            assert_eq!(&name, action.name());
            assert_eq!(check_target(&call.target), Ok(()), "{}", call.target);
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
