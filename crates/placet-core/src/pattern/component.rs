//! One component of a pattern (a segment or an authority), and lists of components.
//!
//! Cover is decided with one string. Write a letter that occurs in no literal for every star of the covered pattern:
//! if the covering pattern matches that string, only its stars can have taken those letters, and a star takes any
//! other text as well. If it does not match, that string is the counter-example. For action names, whose alphabet
//! has 64 letters, a long run of one letter serves: a literal can take part of such a run only where it begins or
//! ends with that letter, so at most two letters per literal are unfit, and [`super::MAX_STARS`] keeps that below 64.
//!
//! Two components that both have a star have a common match exactly if their beginnings agree and their ends agree:
//! everything between can be written one after the other, each one's stars taking what the other needs.
//!
//! Invariant: components of names and resources are never empty, so a component that is only a star matches every
//! non-empty text; a star beside a literal matches the empty text too.

/// A part of a [`Component`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Exactly this text, already decoded; nothing in it is special.
    Literal(String),
    /// Any text.
    Star,
}

/// One component of a pattern, in a form that is equal for equal patterns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Component(Shape);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Shape {
    Literal(Box<str>),
    Any,
    /// `prefix*middle[0]*middle[1]*…*suffix`, something of it not empty; the middles are never empty.
    Glob {
        prefix: Box<str>,
        middle: Box<[Box<str>]>,
        suffix: Box<str>,
    },
}

impl Component {
    /// A component that is this text and nothing else. Nothing in the text is special.
    pub fn literal(text: &str) -> Self {
        Self(Shape::Literal(text.into()))
    }

    /// A component that is any non-empty text.
    pub fn star() -> Self {
        Self(Shape::Any)
    }

    /// A component made of pieces in their order. Neighbouring stars are one star.
    pub(crate) fn from_pieces(pieces: Vec<Piece>) -> Self {
        // The literals between stars: one more of them than there are stars.
        let mut literals = Vec::new();
        let mut current = String::new();
        let mut after_star = false;
        for piece in pieces {
            match piece {
                Piece::Literal(text) => {
                    after_star &= text.is_empty();
                    current.push_str(&text);
                }
                Piece::Star if after_star => {}
                Piece::Star => {
                    literals.push(std::mem::take(&mut current).into_boxed_str());
                    after_star = true;
                }
            }
        }
        if literals.is_empty() {
            return Self(Shape::Literal(current.into()));
        }
        let prefix = literals.remove(0);
        if prefix.is_empty() && literals.is_empty() && current.is_empty() {
            return Self(Shape::Any);
        }
        Self(Shape::Glob { prefix, middle: literals.into(), suffix: current.into() })
    }

    /// The pieces: literals and stars in turn, none of them empty.
    pub fn pieces(&self) -> Vec<Piece> {
        match &self.0 {
            Shape::Literal(text) => vec![Piece::Literal(text.to_string())],
            Shape::Any => vec![Piece::Star],
            Shape::Glob { prefix, middle, suffix } => {
                let mut pieces = vec![Piece::Literal(prefix.to_string()), Piece::Star];
                for text in middle {
                    pieces.extend([Piece::Literal(text.to_string()), Piece::Star]);
                }
                pieces.push(Piece::Literal(suffix.to_string()));
                pieces.retain(|piece| *piece != Piece::Literal(String::new()));
                pieces
            }
        }
    }

    /// The text, if there is no star.
    pub(crate) fn as_literal(&self) -> Option<&str> {
        match &self.0 {
            Shape::Literal(text) => Some(text),
            Shape::Any | Shape::Glob { .. } => None,
        }
    }

    /// Whether this is only a star: any component at all.
    pub(crate) fn is_star(&self) -> bool {
        matches!(self.0, Shape::Any)
    }

    /// Whether the (decoded) text of a component is one that this stands for.
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Shape::Literal(literal) => **literal == *text,
            Shape::Any => !text.is_empty(),
            Shape::Glob { prefix, middle, suffix } => {
                let inner = text.strip_prefix(&**prefix).and_then(|rest| rest.strip_suffix(&**suffix));
                inner.is_some_and(|inner| find_in_order(middle, [inner].into_iter()))
            }
        }
    }

    /// Whether every component that `other` stands for is one that this stands for.
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Shape::Any, Shape::Literal(text)) => !text.is_empty(),
            (Shape::Any, _) => true,
            (_, Shape::Literal(text)) => self.matches(text),
            (Shape::Literal(_), _) | (Shape::Glob { .. }, Shape::Any) => false,
            (
                Shape::Glob { prefix, middle, suffix },
                Shape::Glob { prefix: other_prefix, middle: other_middle, suffix: other_suffix },
            ) => {
                let (Some(first), Some(last)) =
                    (other_prefix.strip_prefix(&**prefix), other_suffix.strip_suffix(&**suffix))
                else {
                    return false;
                };
                let between = other_middle.iter().map(|text| &**text);
                find_in_order(middle, std::iter::once(first).chain(between).chain(std::iter::once(last)))
            }
        }
    }

    /// Whether some component is one that both stand for.
    pub fn intersects(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Shape::Literal(text), _) => other.matches(text),
            (_, Shape::Literal(text)) => self.matches(text),
            (Shape::Any, _) | (_, Shape::Any) => true,
            (
                Shape::Glob { prefix, suffix, .. },
                Shape::Glob { prefix: other_prefix, suffix: other_suffix, .. },
            ) => {
                (prefix.starts_with(&**other_prefix) || other_prefix.starts_with(&**prefix))
                    && (suffix.ends_with(&**other_suffix) || other_suffix.ends_with(&**suffix))
            }
        }
    }

    /// How many stars there are.
    pub(super) fn stars(&self) -> usize {
        match &self.0 {
            Shape::Literal(_) => 0,
            Shape::Any => 1,
            Shape::Glob { middle, .. } => middle.len() + 1,
        }
    }

    /// The component with `filler` for every star.
    pub(super) fn filled(&self, filler: &str) -> String {
        let text = |piece| match piece {
            Piece::Literal(text) => text,
            Piece::Star => filler.to_owned(),
        };
        self.pieces().into_iter().map(text).collect()
    }
}

/// Whether the needles occur one after the other, without overlap and none across two of the texts. Taking the first
/// place for each leaves the most room for the rest.
fn find_in_order<'a>(needles: &[Box<str>], mut texts: impl Iterator<Item = &'a str>) -> bool {
    if needles.is_empty() {
        return true;
    }
    let mut text = texts.next().unwrap_or_default();
    needles.iter().all(|needle| {
        loop {
            if let Some((_, rest)) = text.split_once(&**needle) {
                text = rest;
                return true;
            }
            let Some(next) = texts.next() else { return false };
            text = next;
        }
    })
}

/// Components in their order, with or without a `**` at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Components {
    pub(super) list: Vec<Component>,
    pub(super) rest: bool,
}

impl Components {
    pub(super) fn matches<'a>(&self, mut texts: impl Iterator<Item = &'a str>) -> bool {
        self.list.iter().all(|component| texts.next().is_some_and(|text| component.matches(text)))
            && (self.rest || texts.next().is_none())
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        let lengths = match (self.rest, other.rest) {
            (true, _) => self.list.len() <= other.list.len(),
            (false, true) => false,
            (false, false) => self.list.len() == other.list.len(),
        };
        lengths && self.list.iter().zip(&other.list).all(|(one, another)| one.covers(another))
    }

    pub(super) fn intersects(&self, other: &Self) -> bool {
        let lengths = (self.rest || self.list.len() >= other.list.len())
            && (other.rest || other.list.len() >= self.list.len());
        lengths && self.list.iter().zip(&other.list).all(|(one, another)| one.intersects(another))
    }
}
