//! The opening handshake of WebSockets (RFC 6455 §4), as far as it is about texts: keys, and names of subprotocols.
//!
//! Invariant: what isn't a key or a name as the standard writes them is none.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The version that there is.
pub const VERSION: &str = "13";
/// What every answer is made with (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key of a handshake, from 16 random bytes.
pub fn key(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// Whether a text is a key: 16 bytes in base64.
pub fn is_key(text: &str) -> bool {
    STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == 16)
}

/// The answer to a key (`Sec-WebSocket-Accept`).
pub fn accept(key: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.finish())
}

/// Whether a text can be the name of a subprotocol: a token (RFC 9110 §5.6.2), not overly long.
pub fn is_protocol(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(token)
}

/// The items of a list header such as `Sec-WebSocket-Protocol` or `Connection`.
pub fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|item| item.trim_matches([' ', '\t'])).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_the_standard_has_it() {
        // RFC 6455 §1.3.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert!(is_key("dGhlIHNhbXBsZSBub25jZQ=="));
        for text in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZQ== "] {
            assert!(!is_key(text), "{text:?}");
        }
    }

    #[test]
    fn subprotocols_are_tokens() {
        assert!(is_protocol("graphql-transport-ws") && is_protocol("v2.feed"));
        assert!(!is_protocol("") && !is_protocol("a b") && !is_protocol("a,b") && !is_protocol("ü"));
        assert_eq!(items("a, b ,,\tc").collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
