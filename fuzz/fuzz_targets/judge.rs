//! Tests of policies as they are written in files: reading them, and deciding each by the policies of the examples. No
//! case panics, each decision is the same twice, and what is allowed names the rule that allows it.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    judge::Verdict,
    policy::{
        Policy, PolicySet,
        case::{Needs, Suite},
    },
    service::Service,
};
use std::sync::{Arc, LazyLock};

static SHOP: LazyLock<(Vec<Arc<Policy>>, Vec<Service>)> = LazyLock::new(|| {
    let service = |source: &[u8]| Service::parse(source, None).expect("it is an example").0;
    let services = vec![
        service(include_bytes!("../../examples/services/shop.yaml")),
        service(include_bytes!("../../examples/services/mail.yaml")),
    ];
    let refs: Vec<&Service> = services.iter().collect();
    let load = |source: &[u8]| Arc::new(Policy::load(source, None, 1, &refs).expect("it is an example").0);
    let policies = vec![
        load(include_bytes!("../../examples/policies/support-desk.yaml")),
        load(include_bytes!("../../examples/policies/mail-triage.yaml")),
    ];
    (policies, services)
});

pub(crate) fn run(data: &[u8]) {
    let _ = Needs::read(data, None);
    let (policies, services) = &*SHOP;
    let Ok((suite, _)) = Suite::load(data, None, policies.clone(), services.clone()) else { return };
    let none = PolicySet::new(Vec::new());
    for case in suite.cases() {
        let decided = case.decide(suite.policies());
        assert_eq!(decided, case.decide(suite.policies()));
        let _ = case.differences(&decided);
        assert_eq!(decided.rules.is_empty(), decided.decision == Verdict::Deny);
        assert_eq!(case.decide(&none).decision, Verdict::Deny);
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
