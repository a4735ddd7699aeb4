//! Resources (`order://customer:42/17`) and patterns over them (`order://customer:42/**`).
//!
//! The parser is our own and opaque: nothing is a port, a default or a query, and case matters. Each part is
//! percent-decoded once; what comes out is compared, and written back with everything but unreserved characters,
//! `:` and `@` encoded, so that one resource has one text.
//!
//! Invariant: no part is empty, holds a control character or a backslash, or has a `.` or `..` step, also not after
//! decoding. The limits on length are for parsing; cover does not make use of them.

use super::component::{Component, Components, Piece};
use super::{MAX_RESOURCE_BYTES, MAX_SEGMENTS, MAX_STARS, PatternError, as_text};
use std::fmt::Write as _;

/// One resource: `scheme://authority/segments`, the segments optional.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResourceUri {
    text: Box<str>,
    scheme: Box<str>,
    authority: Box<str>,
    segments: Vec<Box<str>>,
}

impl ResourceUri {
    /// Reads a resource.
    ///
    /// # Errors
    /// If it is no `scheme://authority/segments` within the limits, or a part is refused (see the module).
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::read(text).map_err(|problem| PatternError::new(text, "a resource", problem))
    }

    /// Makes a resource from decoded parts; nothing in them is special.
    ///
    /// # Errors
    /// If a part is refused (see the module), or a limit is passed.
    pub fn from_parts<S: AsRef<str>>(
        scheme: &str,
        authority: &str,
        segments: &[S],
    ) -> Result<Self, PatternError> {
        let segments = segments.iter().map(|segment| segment.as_ref().into()).collect();
        Self::build(scheme, authority.into(), segments)
            .map_err(|problem| PatternError::new(&format!("{scheme}://{authority}/…"), "a resource", problem))
    }

    /// The scheme.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The authority, decoded.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The segments, decoded.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &str> {
        self.segments.iter().map(|segment| &**segment)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let (scheme, parts) = split(text)?;
        let mut decoded = parts.split('/').map(|part| {
            if part.contains('*') { Err("a star in a resource is written `%2A`") } else { decode(part) }
        });
        let authority = decoded.next().unwrap_or(Err("the authority is missing"))?.into();
        let segments = decoded.map(|part| part.map(String::into_boxed_str)).collect::<Result<_, _>>()?;
        Self::build(scheme, authority, segments)
    }

    fn build(scheme: &str, authority: Box<str>, segments: Vec<Box<str>>) -> Result<Self, &'static str> {
        check_scheme(scheme)?;
        check_value(&authority)?;
        check_count(segments.len())?;
        let mut text = format!("{scheme}://");
        encode(&authority, &mut text);
        for segment in &segments {
            check_value(segment)?;
            text.push('/');
            encode(segment, &mut text);
        }
        check_length(&text)?;
        Ok(Self { text: text.into(), scheme: scheme.into(), authority, segments })
    }
}
as_text!(ResourceUri, PatternError);

/// A pattern over resources: a resource in which `*` stands for one segment, or for a part of one or of the
/// authority, and `**` as the last component for zero or more segments. `scheme://**` is everything of a scheme; a
/// bare `*` or `**` matches everything. A literal star is written `%2A`.
///
/// Two patterns are equal if they mean the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResourcePattern {
    text: Box<str>,
    /// `None` is everything.
    within: Option<Within>,
}

/// Everything of a scheme is an authority of any text and a rest, however it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Within {
    scheme: Box<str>,
    authority: Component,
    segments: Components,
}

impl ResourcePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// As for [`ResourceUri::parse`]; if `**` is anything but the last component, or a component has more than 16
    /// stars.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::read(text).map_err(|problem| PatternError::new(text, "a resource pattern", problem))
    }

    /// The pattern that matches every resource.
    pub fn everything() -> Self {
        Self { text: "*".into(), within: None }
    }

    /// Everything of a scheme: `scheme://**`.
    ///
    /// # Errors
    /// If it is no scheme.
    pub(crate) fn everything_of(scheme: &str) -> Result<Self, PatternError> {
        Self::from_parts(scheme, Component::star(), Vec::new(), true)
    }

    /// Makes a pattern from its parts; `rest` stands for a `**` at the end. Literals in the components stay literal.
    ///
    /// # Errors
    /// If the scheme is no scheme, a component is refused (empty, a `.` or `..` step, a control character, a
    /// backslash, more than 16 stars), or a limit is passed.
    pub fn from_parts(
        scheme: &str,
        authority: Component,
        segments: Vec<Component>,
        rest: bool,
    ) -> Result<Self, PatternError> {
        Self::build(scheme, authority, Components { list: segments, rest })
            .map_err(|problem| PatternError::new(&format!("{scheme}://…"), "a resource pattern", problem))
    }

    /// The pattern that matches this resource only.
    pub fn from_uri(uri: &ResourceUri) -> Self {
        let list = uri.segments().map(Component::literal).collect();
        let within = Within {
            scheme: uri.scheme.clone(),
            authority: Component::literal(&uri.authority),
            segments: Components { list, rest: false },
        };
        Self { text: uri.text.clone(), within: Some(within) }
    }

    /// Whether the resource is one that this pattern stands for.
    pub fn matches(&self, uri: &ResourceUri) -> bool {
        self.within.as_ref().is_none_or(|within| {
            within.scheme == uri.scheme
                && within.authority.matches(&uri.authority)
                && within.segments.matches(uri.segments())
        })
    }

    /// Whether every resource that `other` matches is matched by this pattern.
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.within, &other.within) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(one), Some(another)) => {
                one.scheme == another.scheme
                    && one.authority.covers(&another.authority)
                    && one.segments.covers(&another.segments)
            }
        }
    }

    /// Whether some resource is matched by both.
    pub fn intersects(&self, other: &Self) -> bool {
        match (&self.within, &other.within) {
            (None, _) | (_, None) => true,
            (Some(one), Some(another)) => {
                one.scheme == another.scheme
                    && one.authority.intersects(&another.authority)
                    && one.segments.intersects(&another.segments)
            }
        }
    }

    /// Whether this matches every resource.
    pub fn is_everything(&self) -> bool {
        self.within.is_none()
    }

    /// The one resource that this matches, if it has no star.
    pub fn single(&self) -> Option<ResourceUri> {
        let within = self.within.as_ref().filter(|within| !within.segments.rest)?;
        let authority = within.authority.as_literal()?.into();
        let literal = |component: &Component| component.as_literal().map(Box::from);
        let segments = within.segments.list.iter().map(literal).collect::<Option<_>>()?;
        Some(ResourceUri { text: self.text.clone(), scheme: within.scheme.clone(), authority, segments })
    }

    /// The scheme, unless this matches everything.
    pub fn scheme(&self) -> Option<&str> {
        self.within.as_ref().map(|within| &*within.scheme)
    }

    /// The authority, unless this matches everything.
    pub fn authority(&self) -> Option<&Component> {
        self.within.as_ref().map(|within| &within.authority)
    }

    /// The segments before any `**`; none if this matches everything.
    pub fn segments(&self) -> &[Component] {
        self.within.as_ref().map_or(&[], |within| &within.segments.list)
    }

    /// Whether this ends in `**` or matches everything.
    pub fn has_rest(&self) -> bool {
        self.within.as_ref().is_none_or(|within| within.segments.rest)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        if text == "*" || text == "**" {
            return Ok(Self::everything());
        }
        let (scheme, parts) = split(text)?;
        let (front, rest) = match parts.strip_suffix("**") {
            Some("") => {
                return Self::build(scheme, Component::star(), Components { list: Vec::new(), rest: true });
            }
            Some(front) => (front.strip_suffix('/').ok_or(DOUBLE_STAR)?, true),
            None => (parts, false),
        };
        let mut components = front.split('/').map(|part| Piece::read(part).map(Component::from_pieces));
        let authority = components.next().unwrap_or(Err("the authority is missing"))?;
        let list = components.collect::<Result<_, _>>()?;
        Self::build(scheme, authority, Components { list, rest })
    }

    fn build(scheme: &str, authority: Component, segments: Components) -> Result<Self, &'static str> {
        check_scheme(scheme)?;
        check_count(segments.list.len())?;
        for component in segments.list.iter().chain([&authority]) {
            if component.stars() > MAX_STARS {
                return Err("a component has more than 16 stars");
            }
            // With a letter for each star: if that is refused, every other filling that could matter is as well.
            check_value(&component.filled("x"))?;
        }
        let within = Within { scheme: scheme.into(), authority, segments };
        let text = write(&within);
        check_length(&text)?;
        Ok(Self { text: text.into(), within: Some(within) })
    }
}
as_text!(ResourcePattern, PatternError);

impl Piece {
    /// Reads a part of one component of a resource pattern as written: `*` is a star, the rest is percent-decoded.
    /// For templates, whose text between two placeholders may be empty.
    ///
    /// # Errors
    /// If it has a `/`, `?`, `#`, `**` or a malformed percent-encoding.
    pub(crate) fn parse_many(text: &str) -> Result<Vec<Self>, PatternError> {
        let refuse = |problem| PatternError::new(text, "a part of a resource pattern", problem);
        if text.contains('/') {
            return Err(refuse("a slash separates components"));
        }
        Self::read(text).map_err(refuse)
    }

    fn read(text: &str) -> Result<Vec<Self>, &'static str> {
        if text.contains("**") {
            return Err(DOUBLE_STAR);
        }
        let mut pieces = Vec::new();
        for (index, literal) in text.split('*').enumerate() {
            if index > 0 {
                pieces.push(Self::Star);
            }
            if !literal.is_empty() {
                pieces.push(Self::Literal(decode(literal)?));
            }
        }
        Ok(pieces)
    }
}

const DOUBLE_STAR: &str = "`**` stands only as the last component";

/// The scheme and what follows `://`.
fn split(text: &str) -> Result<(&str, &str), &'static str> {
    check_length(text)?;
    text.split_once("://").ok_or("it has the form `scheme://authority/segments`")
}

fn check_length(text: &str) -> Result<(), &'static str> {
    (text.len() <= MAX_RESOURCE_BYTES).then_some(()).ok_or("it is longer than 2048 bytes (percent-encoded)")
}

fn check_count(segments: usize) -> Result<(), &'static str> {
    (segments <= MAX_SEGMENTS).then_some(()).ok_or("it has more than 64 segments")
}

/// RFC 3986 §3.1, and `_` as service names have it.
fn check_scheme(scheme: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_');
    (scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic()) && scheme.bytes().all(allowed))
        .then_some(())
        .ok_or("the scheme is a letter, then letters, digits, `+`, `-`, `.` and `_`")
}

/// What a decoded authority or segment must be.
fn check_value(value: &str) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("a component is empty");
    }
    if value.chars().any(char::is_control) {
        return Err("a component has a control character");
    }
    if value.contains('\\') {
        return Err("a component has a backslash");
    }
    // An encoded slash stays inside its component, but whoever decodes it once more must not be led upwards.
    if value.split('/').any(|step| step == "." || step == "..") {
        return Err("a component has a `.` or `..` step");
    }
    Ok(())
}

/// Decodes once.
fn decode(text: &str) -> Result<String, &'static str> {
    if text.contains(['?', '#']) {
        return Err("`?` and `#` are written `%3F` and `%23`");
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let value = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        bytes.push(value.ok_or("`%` is not followed by two hexadecimal digits")?);
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 when decoded")
}

fn encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@') {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn write(within: &Within) -> String {
    let mut text = format!("{}://", within.scheme);
    if within.authority.is_star() && within.segments.list.is_empty() && within.segments.rest {
        text.push_str("**");
        return text;
    }
    for (index, component) in [&within.authority].into_iter().chain(&within.segments.list).enumerate() {
        if index > 0 {
            text.push('/');
        }
        for piece in component.pieces() {
            match piece {
                Piece::Literal(literal) => encode(&literal, &mut text),
                Piece::Star => text.push('*'),
            }
        }
    }
    if within.segments.rest {
        text.push_str("/**");
    }
    text
}
