//! The `path` and `resource` of an action: text with `{name}` where a parameter goes.
//!
//! Invariant: a filled template has as many segments as the template; a value never adds or removes one.

use super::value;
use crate::pattern::{Component, Piece, ResourcePattern, ResourceUri};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

/// Values of variables, decoded.
pub(super) type Values = BTreeMap<String, String>;

/// What is wrong with a template, and at which byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TemplateError {
    pub(super) offset: usize,
    pub(super) message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Decoded.
    Literal(String),
    Variable(String),
}

/// One segment: literals and variables in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment(Vec<Part>);

/// The path of an action, below the path of its service's `base_url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathTemplate {
    segments: Vec<Segment>,
}

/// The resource of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResourceTemplate {
    scheme: String,
    /// The authority, then the segments.
    components: Vec<Segment>,
}

impl PathTemplate {
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let refuse = |offset, message: &str| Err(TemplateError { offset, message: message.to_owned() });
        let Some(rest) = text.strip_prefix('/') else { return refuse(0, "a path begins with `/`") };
        if let Some(offset) = text.find(['?', '#']) {
            return refuse(offset, "a path has no query and no fragment; declare parameters instead");
        }
        let mut segments = Vec::new();
        let mut offset = 1;
        let count = rest.split('/').count();
        for (index, part) in rest.split('/').enumerate() {
            // An empty last segment is a trailing slash.
            if part.is_empty() && index + 1 < count {
                return refuse(offset, "a path has no empty segments");
            }
            segments.push(Segment::parse(part, offset)?);
            offset += part.len() + 1;
        }
        let path = Self { segments };
        let mut names: Vec<_> = path.variables().collect();
        names.sort_unstable();
        if let Some(twice) = names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b).map(|(a, _)| *a) {
            return refuse(
                text.rfind(&format!("{{{twice}}}")).unwrap_or(0),
                &format!("`{twice}` stands twice"),
            );
        }
        Ok(path)
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().flat_map(Segment::variables)
    }

    /// Appends the encoded path to `out`.
    pub(super) fn fill(&self, values: &Values, out: &mut String) -> Result<(), &'static str> {
        for segment in &self.segments {
            out.push('/');
            segment.encode(values, out)?;
        }
        Ok(())
    }

    /// The variables' values in an encoded path, decoded; `None` if it is not of this form.
    pub(super) fn read(&self, path: &str) -> Option<Values> {
        let mut values = Values::new();
        let mut parts = path.strip_prefix('/')?.split('/');
        for segment in &self.segments {
            segment.read(parts.next()?, &mut values)?;
        }
        parts.next().is_none().then_some(values)
    }

    /// Which of two overlapping templates is the more literal: the one whose first differing segment is.
    pub(super) fn literalness(&self, other: &Self) -> Ordering {
        self.segments.iter().map(Segment::rank).cmp(other.segments.iter().map(Segment::rank))
    }

    /// Whether every path of the other form is of this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|(one, another)| {
                match (one.0.is_empty(), another.0.is_empty()) {
                    (false, false) => one.stars().covers(&another.stars()),
                    (one, another) => one == another,
                }
            })
    }

    /// Where this has a variable alone and `other` a text: both.
    pub(super) fn facing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.segments.iter().zip(&other.segments).filter_map(|pair| {
            match (pair.0.0.as_slice(), pair.1.0.as_slice()) {
                ([Part::Variable(name)], [Part::Literal(text)]) => Some((name.as_str(), text.as_str())),
                _ => None,
            }
        })
    }

    /// Whether some path could be of both forms. May say so of two that are merely hard to tell apart.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|(one, another)| one.overlaps(another))
    }
}

impl ResourceTemplate {
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let refuse = |offset, message: &str| Err(TemplateError { offset, message: message.to_owned() });
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse(0, "a resource has the form `scheme://authority/segments`");
        };
        if scheme.contains(['{', '}']) {
            return refuse(0, "the scheme of a resource has no variables");
        }
        if let Some(offset) = text.find(['?', '#', '*']) {
            return refuse(offset, "a resource has no `?`, `#` or `*`");
        }
        let mut components = Vec::new();
        let mut offset = scheme.len() + 3;
        for part in rest.split('/') {
            if part.is_empty() {
                return refuse(offset, "a resource has no empty segments");
            }
            components.push(Segment::parse(part, offset)?);
            offset += part.len() + 1;
        }
        let template = Self { scheme: scheme.to_owned(), components };
        let sample = template.variables().map(|name| (name.to_owned(), "x".to_owned())).collect();
        match template.fill(&sample) {
            Ok(_) => Ok(template),
            Err(problem) => refuse(0, problem),
        }
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.components.iter().flat_map(Segment::variables)
    }

    /// The variables that only the agent's word settles, sorted. `is_settled`: what stands in the path, or is bound.
    pub(super) fn claimed(&self, is_settled: impl Fn(&str) -> bool) -> Vec<String> {
        let claimed: BTreeSet<&str> = self.variables().filter(|name| !is_settled(name)).collect();
        claimed.into_iter().map(str::to_owned).collect()
    }

    pub(super) fn fill(&self, values: &Values) -> Result<ResourceUri, &'static str> {
        let filled: Option<Vec<String>> = self.components.iter().map(|part| part.text(values)).collect();
        let filled = filled.ok_or(MISSING)?;
        let (authority, segments) = filled.split_first().ok_or(MISSING)?;
        ResourceUri::from_parts(&self.scheme, authority, segments).map_err(|error| error.problem())
    }

    /// The resource with a star for each variable that `claimed` names.
    pub(super) fn known(&self, values: &Values, claimed: &[String]) -> Result<ResourcePattern, &'static str> {
        let parts: Option<Vec<Component>> =
            self.components.iter().map(|part| part.known(values, claimed)).collect();
        let mut parts = parts.ok_or(MISSING)?.into_iter();
        let authority = parts.next().ok_or(MISSING)?;
        ResourcePattern::from_parts(&self.scheme, authority, parts.collect(), false)
            .map_err(|error| error.problem())
    }

    /// The pattern of every resource that there may be.
    pub(super) fn range(&self) -> Result<ResourcePattern, &'static str> {
        let mut parts = self.components.iter().map(Segment::stars);
        let authority = parts.next().ok_or(MISSING)?;
        ResourcePattern::from_parts(&self.scheme, authority, parts.collect(), false)
            .map_err(|error| error.problem())
    }

    /// The claimed variable whose value `pattern` would look at, if it could match at all.
    pub(super) fn reads_claimed(&self, pattern: &ResourcePattern, claimed: &[String]) -> Option<String> {
        let (scheme, authority) = pattern.scheme().zip(pattern.authority())?;
        let patterns: Vec<&Component> = [authority].into_iter().chain(pattern.segments()).collect();
        let fits = if pattern.has_rest() {
            patterns.len() <= self.components.len()
        } else {
            patterns.len() == self.components.len()
        };
        let pairs = || self.components.iter().zip(patterns.iter().copied());
        if scheme != self.scheme || !fits || !pairs().all(|(part, pattern)| part.may_match(pattern)) {
            return None;
        }
        pairs().find_map(|(part, pattern)| part.reads_claimed(pattern, claimed))
    }
}

const MISSING: &str = "a variable has no value";

impl Segment {
    /// `offset` is where the segment begins in the template.
    fn parse(text: &str, offset: usize) -> Result<Self, TemplateError> {
        let refuse =
            |at: usize, message: &str| Err(TemplateError { offset: offset + at, message: message.into() });
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            if let Some(after) = rest.strip_prefix('{') {
                let Some((name, after)) = after.split_once('}') else {
                    return refuse(at, "`{` has no `}` in the same segment");
                };
                if !is_variable(name) {
                    return refuse(
                        at + 1,
                        "a variable's name is a letter or `_`, then letters, digits, `_` and `-`",
                    );
                }
                if matches!(parts.last(), Some(Part::Variable(_))) {
                    return refuse(at, "two variables need something between them");
                }
                parts.push(Part::Variable(name.to_owned()));
                rest = after;
            } else {
                let end = rest.find('{').unwrap_or(rest.len());
                let (literal, after) = rest.split_at(end);
                match read_literal(literal) {
                    Ok(literal) => parts.push(Part::Literal(literal)),
                    Err(message) => return refuse(at, message),
                }
                rest = after;
            }
        }
        if let [Part::Literal(only)] = parts.as_slice()
            && value::is_dotted(only)
        {
            return refuse(0, "a path has no `.` or `..` segments");
        }
        Ok(Self(parts))
    }

    fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// Decoded.
    fn text(&self, values: &Values) -> Option<String> {
        let mut out = String::new();
        for part in &self.0 {
            out.push_str(match part {
                Part::Literal(text) => text,
                Part::Variable(name) => values.get(name)?,
            });
        }
        Some(out)
    }

    fn encode(&self, values: &Values, out: &mut String) -> Result<(), &'static str> {
        let text = self.text(values).ok_or(MISSING)?;
        // A value and a literal that are harmless alone may make a step together, encoded once more or not.
        if value::is_dotted(&text) || value::is_dotted(&String::from_utf8_lossy(&value::decode(&text))) {
            return Err("the path would have a `.` or `..` segment");
        }
        for part in &self.0 {
            match part {
                Part::Literal(text) => value::encode_literal(text, out),
                Part::Variable(name) => value::encode(values.get(name).ok_or(MISSING)?, out),
            }
        }
        Ok(())
    }

    /// Each variable takes as little as the literal after it allows, the last one the rest.
    fn read(&self, text: &str, values: &mut Values) -> Option<()> {
        let mut rest = text;
        let mut parts = self.0.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Literal(literal) => rest = rest.strip_prefix(encoded(literal).as_str())?,
                Part::Variable(name) => {
                    let end = match parts.peek() {
                        Some(Part::Literal(next)) => {
                            let next = encoded(next);
                            // The last literal ends the segment; others are looked for behind one character.
                            let last = parts.clone().count() == 1;
                            if last {
                                rest.strip_suffix(next.as_str())?.len()
                            } else {
                                1 + rest.get(1..)?.find(&next)?
                            }
                        }
                        _ => rest.len(),
                    };
                    let value = value::decode_encoded(rest.get(..end)?).filter(|value| !value.is_empty())?;
                    values.insert(name.clone(), value);
                    rest = rest.get(end..)?;
                }
            }
        }
        rest.is_empty().then_some(())
    }

    fn known(&self, values: &Values, claimed: &[String]) -> Option<Component> {
        let mut pieces = Vec::new();
        for part in &self.0 {
            pieces.push(match part {
                Part::Literal(text) => Piece::Literal(text.clone()),
                Part::Variable(name) if claimed.contains(name) => Piece::Star,
                Part::Variable(name) => Piece::Literal(values.get(name)?.clone()),
            });
        }
        Some(Component::from_pieces(pieces))
    }

    /// 2: only a literal, 1: with a variable, 0: only a variable.
    fn rank(&self) -> u8 {
        match self.0.as_slice() {
            [] | [Part::Literal(_)] => 2,
            [Part::Variable(_)] => 0,
            _ => 1,
        }
    }

    /// The pattern of all values.
    fn stars(&self) -> Component {
        Component::from_pieces(
            self.0
                .iter()
                .map(|part| match part {
                    Part::Literal(text) => Piece::Literal(text.clone()),
                    Part::Variable(_) => Piece::Star,
                })
                .collect(),
        )
    }

    fn overlaps(&self, other: &Self) -> bool {
        if self.0.is_empty() || other.0.is_empty() {
            return self.0.is_empty() && other.0.is_empty();
        }
        self.stars().intersects(&other.stars())
    }

    /// Whether some value makes `pattern` match.
    fn may_match(&self, pattern: &Component) -> bool {
        pattern.intersects(&self.stars())
    }

    /// `pattern` may match this segment. It looks at no claimed value if it has one star and its literals reach no
    /// farther than this segment's first and last literals.
    fn reads_claimed(&self, pattern: &Component, claimed: &[String]) -> Option<String> {
        let variable = self.variables().find(|name| claimed.iter().any(|claim| claim == name))?;
        let pieces = pattern.pieces();
        let (first, last) = match pieces.as_slice() {
            [Piece::Star] => return None,
            [Piece::Literal(first), Piece::Star] => (first.as_str(), ""),
            [Piece::Star, Piece::Literal(last)] => ("", last.as_str()),
            [Piece::Literal(first), Piece::Star, Piece::Literal(last)] => (first.as_str(), last.as_str()),
            _ => return Some(variable.to_owned()),
        };
        let edge = |part: Option<&Part>| match part {
            Some(Part::Literal(text)) => text.clone(),
            _ => String::new(),
        };
        let inside = edge(self.0.first()).starts_with(first) && edge(self.0.last()).ends_with(last);
        (!inside).then(|| variable.to_owned())
    }
}

fn is_variable(name: &str) -> bool {
    name.len() <= 64
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn read_literal(text: &str) -> Result<String, &'static str> {
    if text.contains('}') {
        return Err("`}` has no `{` before it");
    }
    let decoded = String::from_utf8(value::decode(text)).map_err(|_| "it is not UTF-8 when decoded")?;
    if decoded.chars().any(char::is_control) {
        return Err("it has a control character");
    }
    if decoded.contains('\\') {
        return Err("it has a backslash");
    }
    Ok(decoded)
}

fn encoded(literal: &str) -> String {
    let mut out = String::new();
    value::encode_literal(literal, &mut out);
    out
}
