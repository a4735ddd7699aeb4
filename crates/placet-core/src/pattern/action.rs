//! Names of actions (`refunds.create`) and patterns over them (`refunds.*`, `admin.**`, `*.create_*`).
//!
//! Invariant: a name without a star is only itself; `mail.read` does not reach `mail.read.all`.

use super::component::{Component, Components, Piece};
use super::{MAX_ACTION_BYTES, MAX_STARS, PatternError, as_text};

/// The name of an action: 1 to 128 bytes, segments of ASCII letters, digits, `_` and `-` split at `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionName(Box<str>);

impl ActionName {
    /// Reads a name.
    ///
    /// # Errors
    /// If it is empty or too long, or a segment is empty or has another character.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let refuse = |problem| PatternError::new(text, "an action name", problem);
        check_length(text).map_err(refuse)?;
        text.split('.').try_for_each(check_segment).map_err(refuse)?;
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
as_text!(ActionName, PatternError);

/// A pattern over action names: segments split at `.`, in which `*` stands for one segment or for a part of one, and
/// `**` as the last segment for zero or more. A bare `*` or `**` matches everything.
///
/// Two patterns are equal if they mean the same.
#[derive(Debug, Clone)]
pub struct ActionPattern {
    text: Box<str>,
    /// Everything is no component and a rest, however it was written: a name has at least one segment.
    components: Components,
    single: bool,
}

impl ActionPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is empty or longer than 128 bytes, a segment is empty or has a character that no name has, `**` is
    /// anything but the last segment, or a segment has more than 16 stars.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let refuse = |problem| PatternError::new(text, "an action pattern", problem);
        check_length(text).map_err(refuse)?;
        if text == "*" {
            return Ok(Self { text: text.into(), components: everything(), single: false });
        }
        let (front, rest) = match text.strip_suffix("**") {
            Some("") => return Ok(Self { text: text.into(), components: everything(), single: false }),
            Some(front) => match front.strip_suffix('.') {
                Some(front) => (front, true),
                None => return Err(refuse("`**` stands only as the last segment")),
            },
            None => (text, false),
        };
        let list = front.split('.').map(component).collect::<Result<Vec<_>, _>>().map_err(refuse)?;
        let components = match list.as_slice() {
            [only] if only.is_star() && rest => everything(),
            _ => Components { list, rest },
        };
        Ok(Self { single: !text.contains('*'), text: text.into(), components })
    }

    /// The pattern that matches this name only.
    pub fn from_name(name: &ActionName) -> Self {
        let list = name.0.split('.').map(Component::literal).collect();
        Self { text: name.0.clone(), components: Components { list, rest: false }, single: true }
    }

    /// Whether the name is one that this pattern stands for.
    pub fn matches(&self, name: &ActionName) -> bool {
        if self.single { self.text == name.0 } else { self.components.matches(name.0.split('.')) }
    }

    /// Whether every name that `other` matches is matched by this pattern.
    pub fn covers(&self, other: &Self) -> bool {
        self.components.covers(&other.components)
    }

    /// Whether some name is matched by both.
    pub fn intersects(&self, other: &Self) -> bool {
        self.components.intersects(&other.components)
    }

    /// Whether this matches every name.
    pub fn is_everything(&self) -> bool {
        self.components.rest && self.components.list.is_empty()
    }

    /// The one name that this matches, if it has no star.
    pub fn single(&self) -> Option<ActionName> {
        self.single.then(|| ActionName(self.text.clone()))
    }

    /// Its segments, and whether `**` stands behind them.
    pub(crate) fn parts(&self) -> (&[Component], bool) {
        (&self.components.list, self.components.rest)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
as_text!(ActionPattern, PatternError);

impl PartialEq for ActionPattern {
    fn eq(&self, other: &Self) -> bool {
        self.components == other.components
    }
}
impl Eq for ActionPattern {}
impl std::hash::Hash for ActionPattern {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.components.hash(state);
    }
}

fn everything() -> Components {
    Components { list: Vec::new(), rest: true }
}

fn check_length(text: &str) -> Result<(), &'static str> {
    match text.len() {
        0 => Err("it is empty"),
        1..=MAX_ACTION_BYTES => Ok(()),
        _ => Err("it is longer than 128 bytes"),
    }
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    if segment.is_empty() {
        return Err("a segment is empty");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    segment.bytes().all(allowed).then_some(()).ok_or("a segment has only letters, digits, `_` and `-`")
}

fn component(segment: &str) -> Result<Component, &'static str> {
    if segment.contains("**") {
        return Err("`**` stands only as the last segment");
    }
    if segment.is_empty() {
        return Err("a segment is empty");
    }
    let mut pieces = Vec::new();
    for (index, literal) in segment.split('*').enumerate() {
        if index > 0 {
            pieces.push(Piece::Star);
        }
        if !literal.is_empty() {
            check_segment(literal)?;
            pieces.push(Piece::Literal(literal.to_owned()));
        }
    }
    let component = Component::from_pieces(pieces);
    if component.stars() > MAX_STARS {
        return Err("a segment has more than 16 stars");
    }
    Ok(component)
}
