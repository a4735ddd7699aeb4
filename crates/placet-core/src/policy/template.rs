//! Entries of `on`: resource patterns in which `{{user.id}}` and the like stand for facts of the grant.
//!
//! A template is taken apart when it is loaded; a value is put in as one literal piece of one component. Whatever it
//! contains (`*`, `/`, `..`, `{{`), the pattern that comes out matches no more than that text in that place, or
//! there is no pattern at all.
//!
//! Invariant: a value can't widen a pattern.

use crate::{
    chain::Link,
    pattern::{Component, PatternError, Piece, ResourcePattern},
};

/// An entry of `on` as it was written.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// Nothing to fill in.
    Pattern(ResourcePattern),
    /// With facts of the grant to fill in.
    Template(Template),
}

/// A resource pattern with places for facts. The scheme is always written out.
#[derive(Debug, Clone)]
pub(super) struct Template {
    scheme: Box<str>,
    authority: Part,
    segments: Box<[Part]>,
    rest: bool,
}

/// One component, piece by piece.
type Part = Box<[Slot]>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    Piece(Piece),
    Fact(Fact),
}

/// What can be filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Fact {
    UserId,
    UserName,
    AgentId,
    AgentHandle,
    AgentOwner,
    /// Of the agent, by name.
    Label(Box<str>),
    TaskId,
    TaskLabel,
    TaskDescription,
    /// A name that no grant fills in this version.
    Nothing(Box<str>),
}

/// What is wrong with an entry, and where in its text (in bytes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryError {
    pub(super) message: String,
    pub(super) offset: usize,
    /// A name that is not known, and those that are.
    pub(super) unknown: Option<(String, &'static [&'static str])>,
}

impl EntryError {
    fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), offset, unknown: None }
    }
}

enum Token<'a> {
    Text(&'a str),
    Fact(Fact),
}

impl Entry {
    /// Reads an entry.
    pub(super) fn parse(text: &str) -> Result<Self, EntryError> {
        let tokens = tokens(text)?;
        if tokens.iter().all(|token| matches!(token, Token::Text(_))) {
            return match ResourcePattern::parse(text) {
                Ok(pattern) => Ok(Self::Pattern(pattern)),
                Err(error) => Err(EntryError::new(0, error.to_string())),
            };
        }
        Template::build(tokens).map(Self::Template)
    }

    /// Patterns of the same shape, for checks that look at stars and literals only: with a literal for every fact,
    /// and with a literal for one and stars for the others.
    pub(super) fn samples(&self) -> Box<[ResourcePattern]> {
        let template = match self {
            Self::Pattern(pattern) => return [pattern.clone()].into(),
            Self::Template(template) => template,
        };
        let literal = || Piece::Literal("x".to_owned());
        let all = template.pattern(|_| Some(literal()));
        let each = template.facts().map(|one| {
            template.pattern(|fact| Some(if std::ptr::eq(one, fact) { literal() } else { Piece::Star }))
        });
        std::iter::once(all).chain(each).filter_map(|filled| filled?.ok()).collect()
    }
}

impl Template {
    fn build(tokens: Vec<Token<'_>>) -> Result<Self, EntryError> {
        let mut tokens = tokens.into_iter();
        let Some((scheme, first)) = tokens.next().and_then(|token| match token {
            Token::Text(text) => text.split_once("://"),
            Token::Fact(_) => None,
        }) else {
            return Err(EntryError::new(
                0,
                "a template begins with its scheme, as in `order://`, written out",
            ));
        };
        let mut parts: Vec<Vec<Token<'_>>> = vec![Vec::new()];
        for token in std::iter::once(Token::Text(first)).chain(tokens) {
            match token {
                Token::Text(text) => {
                    for (index, piece) in text.split('/').enumerate() {
                        if index > 0 {
                            parts.push(Vec::new());
                        }
                        if let (Some(last), false) = (parts.last_mut(), piece.is_empty()) {
                            last.push(Token::Text(piece));
                        }
                    }
                }
                fact @ Token::Fact(_) => {
                    if let Some(last) = parts.last_mut() {
                        last.push(fact);
                    }
                }
            }
        }
        let rest = parts.len() > 1 && matches!(parts.last().map(Vec::as_slice), Some([Token::Text("**")]));
        if rest {
            parts.pop();
        }
        let mut parts = parts.into_iter().map(part).collect::<Result<Vec<_>, _>>()?.into_iter();
        let authority = parts.next().unwrap_or_default();
        let template = Self { scheme: scheme.into(), authority, segments: parts.collect(), rest };
        match template.pattern(|_| Some(Piece::Literal("x".to_owned()))) {
            Some(Err(error)) => Err(EntryError::new(0, error.problem())),
            _ => Ok(template),
        }
    }

    /// The pattern for a link of a chain; `None` where a fact is missing, empty or can't stand in a resource.
    pub(super) fn fill(&self, link: &Link) -> Option<ResourcePattern> {
        let value = |fact: &Fact| fact.of(link).filter(|value| !value.is_empty()).map(Piece::Literal);
        self.pattern(value)?.ok()
    }

    /// As [`Template::fill`], with values that are given.
    pub(super) fn fill_with(&self, value: impl Fn(&Fact) -> Option<String>) -> Option<ResourcePattern> {
        let value = |fact: &Fact| value(fact).filter(|value| !value.is_empty()).map(Piece::Literal);
        self.pattern(value)?.ok()
    }

    /// The scheme, and the components as they were written, the authority first.
    pub(super) fn components(&self) -> (&str, impl Iterator<Item = &[Slot]>) {
        (&self.scheme, std::iter::once(&*self.authority).chain(self.segments.iter().map(|part| &**part)))
    }

    /// Whether it ends in `**`.
    pub(super) fn has_rest(&self) -> bool {
        self.rest
    }

    /// The facts that are filled in.
    pub(super) fn facts(&self) -> impl Iterator<Item = &Fact> {
        std::iter::once(&self.authority).chain(&self.segments).flatten().filter_map(|slot| match slot {
            Slot::Fact(fact) => Some(fact),
            Slot::Piece(_) => None,
        })
    }

    fn pattern(
        &self,
        value: impl Fn(&Fact) -> Option<Piece>,
    ) -> Option<Result<ResourcePattern, PatternError>> {
        let component = |part: &Part| {
            let pieces = part.iter().map(|slot| match slot {
                Slot::Piece(piece) => Some(piece.clone()),
                Slot::Fact(fact) => value(fact),
            });
            Some(Component::from_pieces(pieces.collect::<Option<_>>()?))
        };
        let segments = self.segments.iter().map(component).collect::<Option<_>>()?;
        Some(ResourcePattern::from_parts(&self.scheme, component(&self.authority)?, segments, self.rest))
    }
}

fn part(tokens: Vec<Token<'_>>) -> Result<Part, EntryError> {
    let mut slots = Vec::new();
    for token in tokens {
        match token {
            Token::Text(text) => {
                let pieces =
                    Piece::parse_many(text).map_err(|error| EntryError::new(0, error.to_string()))?;
                slots.extend(pieces.into_iter().map(Slot::Piece));
            }
            Token::Fact(fact) => slots.push(Slot::Fact(fact)),
        }
    }
    if slots.is_empty() {
        return Err(EntryError::new(0, "a component of the resource is empty"));
    }
    Ok(slots.into())
}

/// Splits at `{{…}}`.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, EntryError> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        plain(before, at, &mut found)?;
        at += before.len();
        let Some((name, behind)) = after.split_once("}}") else {
            return Err(EntryError::new(at, "`{{` is not closed: write `}}` behind the name"));
        };
        found.push(Token::Fact(Fact::named(name.trim()).map_err(|(message, known)| EntryError {
            unknown: known.map(|known| (name.trim().to_owned(), known)),
            ..EntryError::new(at, message)
        })?));
        at += name.len() + 4;
        rest = behind;
    }
    plain(rest, at, &mut found)?;
    Ok(found)
}

fn plain<'a>(text: &'a str, at: usize, found: &mut Vec<Token<'a>>) -> Result<(), EntryError> {
    if let Some(brace) = text.find(['{', '}']) {
        let message =
            "a template has two braces, as in `{{user.id}}`; a brace itself is written `%7B` or `%7D`";
        return Err(EntryError::new(at + brace, message));
    }
    if !text.is_empty() {
        found.push(Token::Text(text));
    }
    Ok(())
}

/// What a text that is nothing but `{{…}}` becomes for a link: `None` where it is another text, and within where the
/// fact is missing.
pub(super) fn fact(text: &str, link: &Link) -> Option<Option<String>> {
    let name = text.strip_prefix("{{")?.strip_suffix("}}")?;
    Some(Fact::named(name.trim()).ok()?.of(link))
}

/// Names that a template can have, for suggestions.
const NAMES: &[&str] = &[
    "user.id",
    "user.name",
    "agent.id",
    "agent.handle",
    "agent.owner",
    "agent.user_id",
    "task.id",
    "task.label",
    "task.description",
    "authenticated_user_id",
];

impl Fact {
    fn named(name: &str) -> Result<Self, (String, Option<&'static [&'static str]>)> {
        Ok(match name {
            "authenticated_user_id" | "user.id" | "agent.user_id" => Self::UserId,
            "user.name" => Self::UserName,
            "agent.id" => Self::AgentId,
            "agent.handle" => Self::AgentHandle,
            "agent.owner" => Self::AgentOwner,
            "task.id" => Self::TaskId,
            "task.label" => Self::TaskLabel,
            "task.description" => Self::TaskDescription,
            _ => match name.split_once('.') {
                Some(("agent", label)) if !label.is_empty() => Self::Label(label.into()),
                Some(("user" | "task", member)) if !member.is_empty() => Self::Nothing(name.into()),
                _ => {
                    let message = format!(
                        "`{name}` can't be filled in: a template names a fact of `user`, `agent` or `task`"
                    );
                    return Err((message, Some(NAMES)));
                }
            },
        })
    }

    /// The name, where no grant fills it in this version.
    pub(super) fn unfilled(&self) -> Option<&str> {
        match self {
            Self::Nothing(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it is the user of the grant.
    pub(super) fn is_user(&self) -> bool {
        matches!(self, Self::UserId | Self::UserName)
    }

    fn of(&self, link: &Link) -> Option<String> {
        match self {
            Self::UserId => link.grant.user.map(|id| id.to_string()),
            Self::UserName => link.user.as_ref().map(|user| user.name.clone()),
            Self::AgentId => Some(link.agent.id.to_string()),
            Self::AgentHandle => Some(link.agent.handle.clone()),
            Self::AgentOwner => link.agent.owner.clone(),
            Self::Label(name) => link.agent.labels.get(&**name).cloned(),
            Self::TaskId => link.grant.task.map(|id| id.to_string()),
            Self::TaskLabel => link.stated_task()?.stated_label().map(str::to_owned),
            Self::TaskDescription => link.stated_task()?.stated_description().map(str::to_owned),
            Self::Nothing(_) => None,
        }
    }
}
