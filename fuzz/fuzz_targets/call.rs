//! Calls: a method, a target and a body, a line each, as they come at a raw door. What is described renders to the same
//! call; and parameters as JSON, rendered, describe back.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    call::{Method, UpstreamCall},
    json,
    service::{Service, check_target},
};
use serde_json::Value;
use std::sync::LazyLock;

static DRIVE: LazyLock<Service> = LazyLock::new(|| {
    Service::parse(include_bytes!("../seeds/service/drive.yaml"), None).expect("it is a service").0
});

pub(crate) fn run(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let mut lines = data.splitn(3, '\n');
    let (method, target) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let body = lines.next();
    if let Some(method) = Method::from_name(method)
        && check_target(target).is_ok()
        && let Some(below) = target.strip_prefix(DRIVE.base_path())
    {
        let (path, query) = below.split_once('?').map_or((below, None), |(path, query)| (path, Some(query)));
        if let Some(placed) = DRIVE.place(method, path)
            && let Ok(params) = placed.params(query, body.map(str::as_bytes))
            && let Ok(described) = placed.action().describe(&params)
            && let Ok(call) = DRIVE.render(placed.action(), &described.params)
        {
            // What is sent is in one form; what came may be in another, but means the same.
            let (name, back) = DRIVE.describe_call(&call).expect("what is rendered describes back");
            assert_eq!(&name, placed.action().name());
            let again = placed.action().describe(&back).expect("what came back is described");
            assert_eq!(again.resource, described.resource);
            assert_eq!(
                call.target.split('?').next(),
                target.split('?').next(),
                "the path is the one that came"
            );
        }
        let call = UpstreamCall {
            method,
            origin: DRIVE.origin().to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            fixed: Vec::new(),
            body: body.map(|body| body.as_bytes().to_vec()),
            streamed: false,
        };
        if let Some((name, params)) = DRIVE.describe_call(&call)
            && let Some(action) = DRIVE.action(&name)
            && let Ok(described) = action.describe(&params)
            && let Ok(rendered) = DRIVE.render(action, &described.params)
        {
            assert_eq!(rendered.target.split('?').next(), call.target.split('?').next());
        }
    }
    let Ok(Value::Object(params)) = json::parse(data.as_bytes()) else { return };
    for action in DRIVE.actions() {
        if let Ok(described) = action.describe(&params)
            && let Ok(call) = DRIVE.render(action, &described.params)
        {
            assert_eq!(check_target(&call.target), Ok(()), "{}", call.target);
            let (name, _) = DRIVE.describe_call(&call).expect("what is rendered describes back");
            assert_eq!(&name, action.name());
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
