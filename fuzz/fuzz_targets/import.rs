//! OpenAPI documents: what an import makes is a service that loads, with as many actions as it says.
#![cfg_attr(fuzzing, no_main)]

use placet_core::service::{Options, Service, import};

pub(crate) fn run(data: &[u8]) {
    let Ok(imported) = import(data, &Options::default()) else { return };
    let (service, _) = Service::parse(imported.yaml.as_bytes(), None)
        .unwrap_or_else(|problems| panic!("{}\n{:?}", imported.yaml, problems));
    assert_eq!(service.name(), imported.name);
    assert_eq!(service.actions().count(), imported.actions);
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
