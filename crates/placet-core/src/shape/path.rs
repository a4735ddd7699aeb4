//! Paths into a JSON document: a small, strict part of JSONPath (RFC 9535): `$`, `.name`, `['name']`, `[*]`, `[n]`.
//!
//! Invariant: a text has one reading or none, and reading it is bounded; two paths are equal if they mean the same.

use std::fmt;

/// The longest path, in bytes.
pub const MAX_PATH: usize = 256;
/// The most steps of a path.
pub const MAX_STEPS: usize = 16;
/// The most digits of an index.
const MAX_DIGITS: usize = 6;

/// A path into a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    steps: Box<[Step]>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// The member of an object.
    Member(Box<str>),
    /// Every item of a list.
    Each,
    /// One item of a list, counted from 0.
    Index(usize),
}

/// Why a text is no path, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PathError {
    /// What is wrong and what to write instead.
    pub message: String,
    /// Where, in bytes from the start of the text.
    pub offset: usize,
}

type Read<'t> = Result<(Step, &'t str), PathError>;

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// Where it is longer than [`MAX_PATH`] or [`MAX_STEPS`], or has anything but the steps of the module.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let reader = Reader { text };
        if text.len() > MAX_PATH {
            return Err(reader.wrong("", format!("a path has at most {MAX_PATH} bytes")));
        }
        let Some(mut rest) = text.strip_prefix('$') else {
            return Err(reader.wrong(text, "a path begins with `$`, which is the whole answer: `$.orders`"));
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if steps.len() == MAX_STEPS {
                return Err(reader.wrong(rest, format!("a path has at most {MAX_STEPS} steps")));
            }
            let (step, after) = if let Some(name) = rest.strip_prefix('.') {
                reader.dotted(name)?
            } else if let Some(inside) = rest.strip_prefix('[') {
                reader.bracketed(inside)?
            } else {
                let message = "`.name`, `['name']`, `[*]` or `[n]` stands here; names with other characters than \
                               letters, digits and `_` are written `['name']`";
                return Err(reader.wrong(rest, message));
            };
            steps.push(step);
            rest = after;
        }
        Ok(Self { steps: steps.into() })
    }

    /// Whether it is `$`, the whole document.
    pub fn is_whole(&self) -> bool {
        self.steps.is_empty()
    }

    /// What stands at the path: of a list that it goes through, of every item that has it.
    pub fn find<'v>(&self, body: &'v serde_json::Value) -> Vec<&'v serde_json::Value> {
        let mut found = vec![body];
        for step in &self.steps {
            found = match step {
                Step::Member(name) => found.into_iter().filter_map(|value| value.get(&**name)).collect(),
                Step::Index(index) => found
                    .into_iter()
                    .filter_map(|value| value.as_array().and_then(|items| items.get(*index)))
                    .collect(),
                Step::Each => found.into_iter().filter_map(serde_json::Value::as_array).flatten().collect(),
            };
        }
        found
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The path as far as its first `steps` steps.
    pub(super) fn head(&self, steps: usize) -> String {
        Self { steps: self.steps.iter().take(steps).cloned().collect() }.to_string()
    }
}

/// The one canonical text.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.steps {
            match step {
                Step::Member(name) if is_plain(name) => write!(f, ".{name}")?,
                Step::Member(name) => write!(f, "['{}']", name.replace('\\', "\\\\").replace('\'', "\\'"))?,
                Step::Each => f.write_str("[*]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit()) && name.chars().all(in_name)
}

fn in_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

struct Reader<'t> {
    text: &'t str,
}

impl<'t> Reader<'t> {
    /// An error where `rest` begins.
    fn wrong(&self, rest: &str, message: impl Into<String>) -> PathError {
        PathError { message: message.into(), offset: self.text.len().saturating_sub(rest.len()) }
    }

    /// A name after a dot.
    fn dotted(&self, name: &'t str) -> Read<'t> {
        let end = name.find(|character| !in_name(character)).unwrap_or(name.len());
        let (found, after) = name.split_at_checked(end).unwrap_or((name, ""));
        if is_plain(found) {
            return Ok((Step::Member(found.into()), after));
        }
        Err(self.wrong(
            name,
            match name.chars().next() {
                Some('.') => "`..` is not supported: write each step",
                Some('*') => "`.*` is not supported: `[*]` is every item of a list, members are named",
                None => "a name is missing after `.`",
                Some(_) => {
                    "a name after `.` is a letter or `_`, then letters, digits and `_`; others are written `['name']`"
                }
            },
        ))
    }

    /// What stands in brackets.
    fn bracketed(&self, inside: &'t str) -> Read<'t> {
        let (step, rest) = match inside.chars().next() {
            Some('*') => (Step::Each, inside.get(1..).unwrap_or_default()),
            Some(quote @ ('\'' | '"')) => self.quoted(inside.get(1..).unwrap_or_default(), quote)?,
            Some(digit) if digit.is_ascii_digit() => self.index(inside)?,
            Some('?') => return Err(self.wrong(inside, "filters stand in `where`, not in a path")),
            Some('-') => return Err(self.wrong(inside, "an index counts from the beginning, from 0")),
            _ => return Err(self.wrong(inside, "in brackets stands `*`, an index, or a name in quotes")),
        };
        match rest.strip_prefix(']') {
            Some(after) => Ok((step, after)),
            None => Err(self.wrong(rest, "`]` is missing here; slices and unions are not supported")),
        }
    }

    fn index(&self, inside: &'t str) -> Read<'t> {
        let end = inside.find(|character: char| !character.is_ascii_digit()).unwrap_or(inside.len());
        let (digits, rest) = inside.split_at_checked(end).unwrap_or((inside, ""));
        if digits.len() > MAX_DIGITS || (digits.len() > 1 && digits.starts_with('0')) {
            let message = format!("an index has at most {MAX_DIGITS} digits and no zero before them");
            return Err(self.wrong(inside, message));
        }
        let index = digits.parse().map_err(|_| self.wrong(inside, "this is no index"))?;
        Ok((Step::Index(index), rest))
    }

    /// A name up to its closing quote; `\` stands before a quote or a `\`.
    fn quoted(&self, inside: &'t str, quote: char) -> Read<'t> {
        let mut name = String::new();
        let mut characters = inside.char_indices();
        while let Some((at, character)) = characters.next() {
            let here = inside.get(at..).unwrap_or_default();
            match character {
                _ if character == quote => {
                    let rest = here.get(1..).unwrap_or_default();
                    return Ok((Step::Member(name.into()), rest));
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('\\' | '\'' | '"'))) => name.push(escaped),
                    _ => return Err(self.wrong(here, "`\\` stands before a quote or another `\\`")),
                },
                _ if character.is_control() => {
                    return Err(self.wrong(here, "a name has no control characters"));
                }
                _ => name.push(character),
            }
        }
        Err(self.wrong("", format!("the closing `{quote}` is missing")))
    }
}
