//! Scopes: read as they were written, and the short form means what its long form says.
#![cfg_attr(fuzzing, no_main)]

use placet_core::scope::Scope;

pub(crate) fn run(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let Ok(scopes) = Scope::parse_list(data) else { return };
    let text = scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ");
    assert_eq!(Scope::parse_list(&text).as_ref(), Ok(&scopes));
    for scope in &scopes {
        assert!(scope.covers(scope));
        let action = scope.action().as_str();
        let long = if scope.resource().is_everything() {
            action.to_owned()
        } else {
            format!("{action}:{}", scope.resource())
        };
        let long = Scope::parse(&long).expect("the long form is a scope");
        assert!(long.covers(scope) && scope.covers(&long), "`{scope}` means `{long}`");
        for other in scopes.iter().take(4) {
            if let (Some(name), Some(_)) = (other.action().single(), other.resource().single()) {
                assert_eq!(scope.covers(other), scope.permits(&name, other.resource()));
            }
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
