//! Forms as token endpoints take them (RFC 6749 appendix B), and the header that a client shows its secret in.
//!
//! Invariant: what is written is read alike whether somebody decodes it as a form or as a URI. What holds a secret is one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::secret::Secret;

/// The members, in their order, as `application/x-www-form-urlencoded`.
pub fn form<'a>(members: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Secret {
    let mut form: Vec<u8> = Vec::with_capacity(1024);
    for (name, value) in members {
        if !form.is_empty() {
            form.push(b'&');
        }
        form.extend_from_slice(name.as_bytes());
        form.push(b'=');
        form.extend(percent(value));
    }
    Secret::new(form)
}

/// The `Authorization` header of a client: each part is encoded before they are joined (RFC 6749 §2.3.1), so that the
/// colon between them is the only one.
pub fn basic(client_id: &str, secret: &Secret) -> Secret {
    let id = percent(client_id.as_bytes());
    let pair = Secret::new(id.chain(*b":").chain(percent(secret.expose())).collect::<Vec<u8>>());
    let encoded = Secret::new(STANDARD.encode(pair.expose()));
    Secret::new([b"Basic ", encoded.expose()].concat())
}

/// Everything but unreserved characters as numbers.
fn percent(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    bytes.iter().flat_map(move |byte| {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        let written = if is_plain { [*byte, 0, 0] } else { [b'%', digit(byte >> 4), digit(byte & 15)] };
        written.into_iter().take(if is_plain { 1 } else { 3 })
    })
}
