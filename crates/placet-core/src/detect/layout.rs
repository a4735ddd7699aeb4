//! How a body is laid out, as its media type says: what of it is read as JSON, and in how many pieces.
//!
//! Invariant: a type or an encoding in which nothing could be found is refused, not taken for another.

use super::Unsearchable;

/// How a body is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Text.
    Text,
    /// Events (`text/event-stream`): the data of each, all lines of it together, may be JSON.
    Events,
    /// Each line is JSON.
    Lines,
    /// JSON texts, each behind a record separator (`application/json-seq`, RFC 7464).
    Records,
}

/// What is known of a body before it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) layout: Layout,
    pub(super) letters: Letters,
}

/// What a body says of how its letters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    /// Text, in an encoding that has ASCII as it is or, by its first bytes, in UTF-16.
    Text,
    /// Nobody says that it is text; it may be, in either.
    Unsaid,
    /// Pictures, sounds: what is in them is no text, whatever it begins with.
    Media,
    /// UTF-16 in the order that the first bytes show.
    Utf16,
    /// UTF-16 with the lower byte first.
    Utf16Le,
    /// UTF-16 with the higher byte first.
    Utf16Be,
}

/// Encodings in which ASCII is ASCII.
const ASCII_IN: [&str; 11] = [
    "utf-8",
    "utf8",
    "us-ascii",
    "ascii",
    "iso-8859-",
    "windows-125",
    "gb",
    "big5",
    "euc-",
    "shift_jis",
    "koi8-",
];

/// By the value of `Content-Type`.
pub(super) fn of(content_type: &str) -> Result<Known, Unsearchable> {
    let kind = content_type.to_ascii_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| part.strip_prefix("charset=")).map(|it| it.trim_matches('"'));
    let letters = match charset {
        Some("utf-16") => Letters::Utf16,
        Some("utf-16le") => Letters::Utf16Le,
        Some("utf-16be") => Letters::Utf16Be,
        Some(other) if !ASCII_IN.iter().any(|begins| other.starts_with(begins)) => {
            return Err(Unsearchable::Encoding(other.chars().take(64).collect()));
        }
        _ if is_media(essence) => Letters::Media,
        _ if is_text(essence) => Letters::Text,
        _ => Letters::Unsaid,
    };
    Ok(Known { layout: layout(essence), letters })
}

fn layout(essence: &str) -> Layout {
    let within = |words: &[&str]| words.iter().any(|word| essence.contains(word));
    if essence == "text/event-stream" {
        Layout::Events
    } else if essence == "application/json-seq" || essence.ends_with("+json-seq") {
        Layout::Records
    } else if within(&["ndjson", "jsonl", "json-lines", "jsonlines", "json-stream"]) {
        Layout::Lines
    } else {
        Layout::Text
    }
}

/// Whether what has this type is text, and so has no zeros.
pub(super) fn is_text(essence: &str) -> bool {
    let structured = ["json", "xml", "yaml", "csv", "javascript", "x-www-form-urlencoded", "x-sh", "pem"];
    essence.starts_with("text/") || structured.iter().any(|word| essence.contains(word))
}

fn is_media(essence: &str) -> bool {
    let kinds = ["image/", "audio/", "video/", "font/"];
    kinds.iter().any(|kind| essence.starts_with(kind)) && !is_text(essence)
}
