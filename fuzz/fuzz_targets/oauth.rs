//! Answers of token endpoints: a token that is taken can be sent in one header, and what is kept of it is read the same.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    secret::Secret,
    service::oauth::{self, Kept, OAuth},
    time::Timestamp,
};
use std::sync::LazyLock;

static SERVER: LazyLock<OAuth> = LazyLock::new(|| {
    serde_json::from_str(r#"{"token_url": "https://auth.example/token", "token_type": "urn:bearer"}"#)
        .expect("a server")
});

pub(crate) fn run(data: &[u8]) {
    for ok in [true, false] {
        let Ok(granted) = oauth::read(&SERVER, ok, &Secret::new(data)) else { continue };
        assert!(ok, "an error grants nothing");
        let now = Timestamp::from_seconds(1_700_000_000);
        let kept =
            Kept::new("client".to_owned(), Some(Secret::new("secret-secret")), None).expect("a client");
        let kept = kept.with(granted, now);
        let access = kept.access.as_ref().expect("a token was granted");
        let token = access.token.expose();
        assert!(!token.is_empty() && token.iter().all(u8::is_ascii_graphic));
        assert!(
            access.due.zip(access.expires).is_none_or(|(due, expires)| due <= expires && access.is_good(now))
        );
        let again = Kept::from_secret(&kept.to_secret()).expect("what is kept is read");
        assert_eq!(again, kept);
    }
    if let Some(kept) = Kept::from_secret(&Secret::new(data)) {
        let again = Kept::from_secret(&kept.to_secret()).expect("what is kept is read");
        assert_eq!(again.to_secret().expose(), kept.to_secret().expose());
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
