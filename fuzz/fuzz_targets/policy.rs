//! Policy documents, full and compact; those of an odd length with some services at hand. What loads is
//! printed in full and loads again as the same, as does what is kept of it; and it allows no more than itself.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    policy::{Comparison, Named, Policy, compare},
    service::Service,
    time::Timestamp,
};
use std::sync::{Arc, LazyLock};

static SERVICES: LazyLock<Vec<Service>> = LazyLock::new(|| {
    let sources: [&[u8]; 2] = [
        include_bytes!("../../examples/services/shop.yaml"),
        include_bytes!("../../examples/services/mail.yaml"),
    ];
    sources.iter().map(|source| Service::parse(source, None).expect("it is an example").0).collect()
});

pub(crate) fn run(source: &[u8]) {
    let services: Vec<&Service> = if source.len() % 2 == 1 { SERVICES.iter().collect() } else { Vec::new() };
    let named = Named { name: Some("fuzzed"), ..Named::default() };
    let (policy, warnings) = match Policy::load_as(source, &named, 1, &services) {
        Ok(loaded) => loaded,
        Err(problems) => {
            assert!(problems.iter().any(|problem| problem.is_error()), "refused without an error");
            problems.iter().for_each(|problem| drop(problem.render()));
            return;
        }
    };
    warnings.iter().for_each(|warning| drop(warning.render()));
    let full = policy.in_full();
    let again = match Policy::load(full.as_bytes(), None, 1, &services) {
        Ok((again, _)) => again,
        // Written out it may be longer than what is read.
        Err(_) if full.len() > placet_core::yaml::MAX_SOURCE => return,
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(|problem| problem.render()).collect();
            panic!("in full it does not load:\n{full}\n{}", problems.join("\n"))
        }
    };
    assert_eq!(again.in_full(), full);
    assert_eq!(again.name(), policy.name());
    if let Ok(text) = std::str::from_utf8(source)
        && policy.is_compact()
    {
        let kept = policy.kept(text);
        let (kept, _) = Policy::load(kept.as_bytes(), None, 1, &services).expect("what is kept loads");
        assert_eq!(kept.in_full(), full);
    }
    if source.len() < 1024 {
        let at = Timestamp::from_seconds(1_772_359_200);
        let wider = compare(&[Arc::new(policy)], &[Arc::new(again)], at);
        assert!(!matches!(wider, Comparison::Wider(_)), "wider than itself: {wider:?}\n{full}");
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
