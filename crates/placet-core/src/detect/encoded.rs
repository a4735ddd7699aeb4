//! Bytes that a value of JSON carries in base64, as results of MCP servers do: text is searched as what it is, and what can't be
//! looked into passes only where nothing withholds an answer.

use super::{
    Detect, Found, Level, Unsearchable,
    layout::{self, Letters},
    letters,
    stream::Stream,
};
use crate::json;
use base64::{
    Engine as _, alphabet,
    engine::general_purpose::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// With `=` at its end or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What takes the place of the text; `None` where it stays. `kind` is the media type that is stated, if one is.
pub(super) fn redact(
    detect: &Detect,
    text: &str,
    kind: &str,
    found: &mut Found,
) -> Result<Option<String>, Unsearchable> {
    let plain: String = text
        .chars()
        .filter(|letter| !letter.is_ascii_whitespace())
        .map(|letter| match letter {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    let closed = || {
        let withholds = detect.kinds().any(|(_, level)| level == Level::Withhold);
        if withholds { Err(Unsearchable::Closed) } else { Ok(None) }
    };
    let Ok(bytes) = LENIENT.decode(plain) else { return closed() };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_text = layout::is_text(&essence);
    if !is_text && !reads_as_text(&bytes) {
        return closed();
    }
    let is_json = matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json");
    let left = if is_json {
        let mut value = json::parse(&bytes).map_err(|_| Unsearchable::NotJson)?;
        detect.value(&mut value, found).then(|| value.to_string().into_bytes())
    } else {
        let mut stream = Stream::of(detect.clone(), if is_text { kind } else { "text/plain" })?;
        let mut left = stream.push(&bytes)?;
        left.extend(stream.finish()?);
        found.add(stream.found());
        Some(left).filter(|left| *left != bytes)
    };
    Ok(left.map(|left| STANDARD.encode(left)))
}

/// Whether bytes of which nobody says that they are text are some.
fn reads_as_text(bytes: &[u8]) -> bool {
    let printed = |letter: char| !letter.is_control() || matches!(letter, '\t' | '\n' | '\r' | '\u{c}');
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(printed))
        || letters::is_utf16(bytes, Letters::Unsaid)
}
