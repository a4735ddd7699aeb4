//! Logging in to a HashiCorp Vault, or what speaks like it, by a role: what is sent, and what of the answer is read.
//!
//! Invariant: the secret is written once, and lies in what is wiped.

use placet_core::secret::Secret;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct LoggedIn {
    auth: Option<Authorized>,
}

/// What a login answers.
#[derive(Deserialize)]
pub(crate) struct Authorized {
    /// What later requests show.
    pub(crate) client_token: Secret,
    /// How long that is good, in seconds.
    #[serde(default)]
    pub(crate) lease_duration: u64,
}

/// The body that shows a role and its secret, each under its name.
pub(crate) fn body(role: (&'static str, &str), secret: (&'static str, &str)) -> Secret {
    // Into room that is large enough even where all of it is escaped: nothing is left behind where it would have grown.
    let mut body = Vec::with_capacity(6 * (role.1.len() + secret.1.len()) + 64);
    body.extend_from_slice(format!("{{\"{}\":{},\"{}\":", role.0, Value::from(role.1), secret.0).as_bytes());
    _ = serde_json::to_writer(&mut body, secret.1);
    body.push(b'}');
    Secret::new(body)
}

/// What the answer says; none where it is no answer to a login.
pub(crate) fn read(answer: &Secret) -> Option<Authorized> {
    serde_json::from_slice::<LoggedIn>(answer.expose()).ok()?.auth
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_role_and_its_secret_are_one_object_whatever_they_hold() {
        for (role, secret) in [("app", "s3cret"), ("a\"b\\", "line\nand \u{1}\u{1F512}\""), ("", "")] {
            let body = body(("role_id", role), ("secret_id", secret));
            let read: Value = serde_json::from_slice(body.expose()).unwrap();
            assert_eq!(read, json!({"role_id": role, "secret_id": secret}));
        }
        let told = |text: &str| read(&Secret::new(text)).map(|it| (it.client_token, it.lease_duration));
        assert_eq!(told(r#"{"auth":{"client_token":"t","lease_duration":5}}"#), Some((Secret::new("t"), 5)));
        assert_eq!(told(r#"{"auth":{"client_token":"t"},"data":{}}"#), Some((Secret::new("t"), 0)));
        for none in [r#"{"auth":null}"#, "{}", r#"{"auth":{}}"#, "no JSON"] {
            assert!(told(none).is_none(), "{none}");
        }
    }
}
