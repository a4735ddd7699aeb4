//! Requests that proxies ask about (forward-auth, ext_authz): method and target in the first line, the body behind it. What is
//! taken for an action is, rendered anew, the very target that was asked about.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    call::Method,
    service::{SeenBody, Service, check_target},
};
use std::sync::LazyLock;

static SERVICE: LazyLock<Service> = LazyLock::new(|| {
    let text = include_bytes!("../../examples/services/shop.yaml");
    Service::parse(text, None).expect("it is a service").0
});

pub(crate) fn run(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let (line, body) = data.split_once('\n').unwrap_or((data, ""));
    let Some((method, target)) = line.split_once(' ') else { return };
    let Some(method) = Method::from_name(method) else { return };
    for body in [SeenBody::Unseen, SeenBody::Unread, SeenBody::Whole(body.as_bytes())] {
        let Ok((action, params)) = SERVICE.seen(method, target, body, |_| true) else { continue };
        assert_eq!(check_target(target), Ok(()));
        let call = SERVICE.render(action, &params).expect("it was rendered");
        let path = |target: &str| target.split('?').next().map(str::to_owned);
        assert_eq!(path(&call.target), path(target), "another path");
        let sorted = |target: &str| {
            let query = target.split_once('?').map_or("", |(_, query)| query);
            let mut members: Vec<String> = query.split('&').map(str::to_owned).collect();
            members.sort();
            members
        };
        assert_eq!(sorted(&call.target), sorted(target), "another query");
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
