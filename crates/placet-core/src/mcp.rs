//! The Model Context Protocol, as far as one message and the headers that came with it say it: which revision is spoken,
//! what is asked, and which tools there are. Two revisions are: 2026-07-28, in which every request stands alone, and
//! 2025-11-25 with its predecessor, which begin with a handshake and of which nothing is kept here either.
//!
//! Invariant: it judges nothing and does nothing; what headers say is never more than a copy of what the body says, and a
//! message that is told two ways is refused.

pub mod contents;
pub mod events;
pub mod level;
pub mod message;
pub mod offered;
pub mod repeated;
pub mod template;
pub mod tool;

pub use level::Level;
pub use message::{Message, Request, RpcError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// The revision in which every request stands alone.
pub const STATELESS: &str = "2026-07-28";
/// The revisions that begin with a handshake, the newest first.
pub const WITH_HANDSHAKE: [&str; 2] = ["2025-11-25", "2025-06-18"];

/// `_meta`: the revision that a request is written in.
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// `_meta`: from which severity on the client wants to be told what a server logs.
pub const META_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// `_meta`: by what the client knows what is told of the progress of a request.
pub const META_PROGRESS: &str = "progressToken";
/// `_meta`: what the client can do.
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// How a request is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// 2026-07-28.
    Stateless,
    /// 2025-11-25 and before.
    WithHandshake,
}

/// The headers that repeat what a body says, each at most once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// `MCP-Protocol-Version`.
    pub version: Option<&'a str>,
    /// `Mcp-Method`.
    pub method: Option<&'a str>,
    /// `Mcp-Name`.
    pub name: Option<&'a str>,
}

/// All revisions that are spoken, the newest first.
pub fn supported() -> Vec<&'static str> {
    [&[STATELESS][..], &WITH_HANDSHAKE[..]].concat()
}

/// The revision that a handshake ends in: the one that was asked for where it is spoken, else the newest.
pub fn negotiated(asked: &str) -> &'static str {
    WITH_HANDSHAKE.into_iter().find(|known| *known == asked).unwrap_or(WITH_HANDSHAKE[0])
}

impl Revision {
    /// Which revision `request` is in, where its headers agree with it.
    ///
    /// # Errors
    /// What of it does not agree, is missing, or is of no revision that is spoken.
    pub fn of(request: &Request, headers: Headers<'_>) -> Result<Self, RpcError> {
        let stated = match request.meta(META_VERSION)? {
            None => None,
            Some(Value::String(stated)) => Some(stated.as_str()),
            Some(_) => return Err(RpcError::malformed(format!("`_meta` has `{META_VERSION}` as a string"))),
        };
        let revision = match (headers.version, stated) {
            (header, Some(stated)) if header != Some(stated) => {
                return Err(mismatch("MCP-Protocol-Version", header, stated));
            }
            (Some(STATELESS), None) => {
                return Err(RpcError::malformed(format!("`_meta` has no `{META_VERSION}`")));
            }
            (Some(STATELESS), Some(_)) => Self::Stateless,
            (None, _) => Self::WithHandshake,
            (Some(known), _) if WITH_HANDSHAKE.contains(&known) => Self::WithHandshake,
            (Some(other), _) => return Err(unsupported(other)),
        };
        // Whoever routes by a header has to be right about it, in whichever revision it was sent.
        agrees("Mcp-Method", headers.method, Some(&request.method), revision)?;
        let named = match request.method.as_str() {
            "tools/call" | "prompts/get" => request.params.get("name"),
            "resources/read" => request.params.get("uri"),
            _ => None,
        };
        let header = headers.name.map(plain).transpose()?;
        agrees("Mcp-Name", header.as_deref(), named.and_then(Value::as_str), revision)?;
        if revision == Self::Stateless && !request.meta(META_CAPABILITIES)?.is_some_and(Value::is_object) {
            return Err(RpcError::malformed(format!("`_meta` has no `{META_CAPABILITIES}`")));
        }
        Ok(revision)
    }
}

impl Request {
    /// Whether the client says of itself that it can ask its user something in a form.
    pub fn offers_forms(&self) -> bool {
        let offered = self.meta(META_CAPABILITIES).ok().flatten().and_then(|all| all.get("elicitation"));
        // With no mode named it is forms alone.
        offered.and_then(Value::as_object).is_some_and(|modes| modes.is_empty() || modes.contains_key("form"))
    }

    /// By what the client wants to be told of progress; `None` where it does not.
    ///
    /// # Errors
    /// It is neither a string nor an integer.
    pub fn progress(&self) -> Result<Option<&Value>, RpcError> {
        match self.meta(META_PROGRESS)? {
            None => Ok(None),
            Some(token) if token.is_string() || token.is_i64() || token.is_u64() => Ok(Some(token)),
            Some(_) => Err(RpcError::malformed("`progressToken` is a string or an integer")),
        }
    }

    /// From which severity on the client asks to be told what is logged; `None` where it does not say.
    ///
    /// # Errors
    /// It is no level.
    pub fn level(&self) -> Result<Option<Level>, RpcError> {
        let wrong = || RpcError::malformed(format!("`{META_LEVEL}` is a level, such as `info`"));
        let level = |it: &Value| it.as_str().and_then(Level::from_word).ok_or_else(wrong);
        self.meta(META_LEVEL)?.map(level).transpose()
    }

    /// A member of `_meta`.
    ///
    /// # Errors
    /// It is no object.
    pub fn meta(&self, name: &str) -> Result<Option<&Value>, RpcError> {
        match self.params.get("_meta") {
            None => Ok(None),
            Some(Value::Object(meta)) => Ok(meta.get(name)),
            Some(_) => Err(RpcError::malformed("`_meta` is not an object")),
        }
    }
}

/// Whether a header says what the body says. In the stateless revision it has to be there.
fn agrees(name: &str, header: Option<&str>, body: Option<&str>, revision: Revision) -> Result<(), RpcError> {
    match (header, body) {
        (None, None) => Ok(()),
        (None, Some(_)) if revision == Revision::WithHandshake => Ok(()),
        (header, Some(body)) if header == Some(body) => Ok(()),
        (header, body) => Err(mismatch(name, header, body.unwrap_or("nothing"))),
    }
}

fn mismatch(name: &str, header: Option<&str>, body: &str) -> RpcError {
    let said = match header {
        None => format!("the header `{name}` is missing, and the body says {}", quoted(body)),
        Some(header) => {
            format!("the header `{name}` says {}, and the body says {}", quoted(header), quoted(body))
        }
    };
    RpcError::new(RpcError::HEADER_MISMATCH, format!("Header mismatch: {said}")).refused()
}

/// Text from outside in a message: cut short.
pub(crate) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(128).collect();
    format!("{short:?}")
}

fn unsupported(asked: &str) -> RpcError {
    let data = json!({"supported": supported(), "requested": asked.chars().take(64).collect::<String>()});
    RpcError::new(RpcError::UNSUPPORTED_VERSION, "Unsupported protocol version").with(data).refused()
}

/// A value as a header repeats it: in base64 where it is not plain.
pub fn in_header(value: &str) -> String {
    let plain = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && value.trim() == value
        && !value.starts_with("=?");
    if plain { value.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(value)) }
}

/// The value of a header that may be written in base64 (`=?base64?…?=`).
fn plain(header: &str) -> Result<String, RpcError> {
    let Some(encoded) = header.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(header.to_owned());
    };
    let decoded = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let wrong = || RpcError::new(RpcError::HEADER_MISMATCH, "Header mismatch: it is not valid base64");
    decoded.ok_or_else(|| wrong().refused())
}

#[cfg(test)]
mod tests;
