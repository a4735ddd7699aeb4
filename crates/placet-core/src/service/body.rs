//! What the body of an action's request is made of: its parameters as they are, or a layout that says where each goes
//! (`body: {json: {message: {subject: $params.subject}}}`).
//!
//! A layout is JSON in which `$params.NAME` stands for a parameter; everything else is sent as it is written. An object or
//! list below the top that has places for parameters, none of which is given, is left out with its constants.
//!
//! Invariant: what is [read](Layout::read) from a body is what the same body would be [written](Layout::write) from: the
//! caller compares the two, so that a member which no place explains is refused.

use super::{mapping::PARAM, message::Message};
use crate::{
    diagnostic::{Diagnostic, quoted},
    yaml::{self, Node, Reading, Yaml},
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Stands for an item of the list in [`EACH`].
const ITEM: &str = "$item";
/// `{$each: NAME, item: LAYOUT}`: a list with one such item for each of the parameter's.
const EACH: &str = "$each";
/// `{$message: {…}}`: a mail.
const MESSAGE: &str = "$message";

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Form,
}

/// What a body is made of.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// There is none.
    None,
    /// The parameters that travel nowhere else, by their names.
    Rest(Media),
    /// A layout with places for all of them, and its constants that are there whatever is given.
    Layout(Media, Layout, Vec<(Vec<String>, Value)>),
}

/// A layout, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Layout {
    /// As it is written.
    Constant(Value),
    /// A parameter (or, within [`Layout::Each`], the item).
    Place(String),
    Object(BTreeMap<String, Self>),
    /// A list with one item: how many there are does not depend on what is given.
    One(Box<Self>),
    /// A list with an item for each of a parameter's.
    Each(String, Box<Self>),
    Message(Message),
}

impl Body {
    /// How it is written; `None` where there is none.
    pub(super) fn media(&self) -> Option<Media> {
        match self {
            Self::None => None,
            Self::Rest(media) | Self::Layout(media, ..) => Some(*media),
        }
    }

    fn constants(&self) -> &[(Vec<String>, Value)] {
        match self {
            Self::Layout(_, _, constants) => constants,
            _ => &[],
        }
    }

    /// Whether no body can be both of these: both always have a constant in one place, with different values.
    pub(super) fn differs(&self, other: &Self) -> bool {
        self.media() == other.media()
            && self.constants().iter().any(|(path, value)| {
                other.constants().iter().any(|(same, another)| same == path && another != value)
            })
    }

    /// Whether a body has the constants of this one.
    pub(super) fn has_constants(&self, members: &Map<String, Value>) -> bool {
        self.constants().iter().all(|(path, value)| {
            let mut steps = path.iter();
            let first = steps.next().and_then(|name| members.get(name));
            let found = steps.try_fold(first, |at, name| at.map(|at| at.get(name)));
            match (self.media(), found.flatten()) {
                (_, None) => false,
                (Some(Media::Form), Some(found)) => {
                    super::value::query_text(value) == super::value::query_text(found)
                }
                (_, Some(found)) => found == value,
            }
        })
    }
}

impl Layout {
    /// Reads a layout. `None` where something was reported.
    pub(super) fn load(it: &Reading<'_>) -> Option<Self> {
        let layout = Self::of(it.node(), it, false)?;
        if layout == Self::Place(ITEM.to_owned()) {
            it.error("`$item` stands only within `item`");
            return None;
        }
        // At the top members are told apart, also where all are constants.
        Some(match layout {
            Self::Constant(Value::Object(members)) => {
                Self::Object(members.into_iter().map(|(name, value)| (name, Self::Constant(value))).collect())
            }
            other => other,
        })
    }

    fn of(node: &Node, it: &Reading<'_>, item: bool) -> Option<Self> {
        let refuse = |message: &str| {
            it.report().error(node.position, message);
            None
        };
        match &node.value {
            Yaml::String(text) if text == ITEM && item => Some(Self::Place(ITEM.to_owned())),
            Yaml::String(text) if text.starts_with('$') => match text.strip_prefix(PARAM) {
                Some(_) if item => refuse("within `item` only `$item` stands for something"),
                Some(name) => Some(Self::Place(name.to_owned())),
                None => {
                    it.report().add(
                        Diagnostic::error(format!("{} stands for nothing", quoted(text)))
                            .at(node.position)
                            .help("write `$params.NAME` for a parameter"),
                    );
                    None
                }
            },
            Yaml::Map(entries) => {
                let first = entries.first().map(|(key, _)| key.value.as_str());
                if entries.iter().any(|(key, _)| key.value == EACH) {
                    return Self::each(node, it, item);
                }
                if first == Some(MESSAGE) && entries.len() == 1 && !item {
                    return Message::load(&node.get(MESSAGE)?.reading(MESSAGE, it.report()))
                        .map(Self::Message);
                }
                if let Some((key, _)) =
                    entries.iter().find(|(key, _)| [MESSAGE, "$item"].contains(&key.value.as_str()))
                {
                    it.report().error(key.position, format!("{} can't stand here", quoted(&key.value)));
                    return None;
                }
                let read: Vec<Option<(String, Self)>> = entries
                    .iter()
                    .map(|(key, node)| Some((key.value.clone(), Self::of(node, it, item)?)))
                    .collect();
                let members: BTreeMap<String, Self> = read.into_iter().collect::<Option<_>>()?;
                Some(if members.values().all(|part| matches!(part, Self::Constant(_))) {
                    Self::Constant(yaml::to_json(node))
                } else {
                    Self::Object(members)
                })
            }
            Yaml::List(items) => {
                let read: Vec<Option<Self>> = items.iter().map(|node| Self::of(node, it, item)).collect();
                let mut read: Vec<Self> = read.into_iter().collect::<Option<_>>()?;
                if read.iter().all(|part| matches!(part, Self::Constant(_))) {
                    return Some(Self::Constant(yaml::to_json(node)));
                }
                match (read.pop(), read.is_empty()) {
                    (Some(only), true) => Some(Self::One(Box::new(only))),
                    _ => {
                        refuse("a list with parameters has one item; `$each` makes one for each of a list's")
                    }
                }
            }
            _ => Some(Self::Constant(yaml::to_json(node))),
        }
    }

    fn each(node: &Node, it: &Reading<'_>, item: bool) -> Option<Self> {
        let map = node.reading(EACH, it.report()).map()?;
        map.finish(&[EACH, "item"]);
        let list = map.required(EACH)?;
        let made = map.required("item")?;
        let Some(name) = list.string()?.strip_prefix(PARAM).filter(|_| !item) else {
            list.error("`$each` is `$params.NAME`, and not within another");
            return None;
        };
        let made = Self::of(made.node(), it, true)?;
        let mut places = Vec::new();
        made.places(&mut places);
        if places != [ITEM] {
            map.report().error(map.position(), "`$item` has to stand once in `item`");
            return None;
        }
        Some(Self::Each(name.to_owned(), Box::new(made)))
    }

    /// Whether a member of that name has a place at the top.
    pub(super) fn names(&self, member: &str) -> bool {
        matches!(self, Self::Object(members) if members.contains_key(member))
    }

    /// Adds the parameters that have a place in it, each as often as it stands there.
    pub(super) fn places<'a>(&'a self, found: &mut Vec<&'a str>) {
        match self {
            Self::Constant(_) => {}
            Self::Place(name) | Self::Each(name, _) => found.push(name),
            Self::Object(members) => members.values().for_each(|part| part.places(found)),
            Self::One(item) => item.places(found),
            Self::Message(message) => found.extend(message.params()),
        }
    }

    /// Its constants in objects that are always there, as one of the `required` parameters has a place in them.
    pub(super) fn constants(&self, required: &[&str]) -> Vec<(Vec<String>, Value)> {
        let mut found = Vec::new();
        let Self::Object(members) = self else { return found };
        for (name, part) in members {
            match part {
                Self::Constant(value) => found.push((vec![name.clone()], value.clone())),
                Self::Object(_) => {
                    let mut places = Vec::new();
                    part.places(&mut places);
                    if places.iter().any(|place| required.contains(place)) {
                        let below = part.constants(required).into_iter();
                        found.extend(below.map(|(path, value)| ([vec![name.clone()], path].concat(), value)));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Whether it has only what a form can say.
    pub(super) fn fits_form(&self) -> bool {
        fn plain(part: &Layout) -> bool {
            match part {
                Layout::Constant(value) => super::value::query_text(value).is_some(),
                Layout::Place(_) => true,
                Layout::Object(members) => members.values().all(plain),
                _ => false,
            }
        }
        matches!(self, Self::Object(_)) && plain(self)
    }

    /// The body for these parameters; an object or list at the top is always there.
    pub(super) fn write(&self, params: &Map<String, Value>) -> Result<Option<Value>, &'static str> {
        match self {
            Self::Object(members) => Self::object(members, params).map(Some),
            other => other.part(params),
        }
    }

    fn object(members: &BTreeMap<String, Self>, params: &Map<String, Value>) -> Result<Value, &'static str> {
        let mut object = Map::new();
        for (name, part) in members {
            if let Some(value) = part.part(params)? {
                object.insert(name.clone(), value);
            }
        }
        Ok(Value::Object(object))
    }

    /// `None` where it has places, and nothing for any of them is given.
    fn part(&self, params: &Map<String, Value>) -> Result<Option<Value>, &'static str> {
        Ok(match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Place(name) => params.get(name).cloned(),
            Self::Object(members) => {
                let mut places = Vec::new();
                self.places(&mut places);
                if !places.iter().any(|name| params.contains_key(*name)) {
                    return Ok(None);
                }
                Some(Self::object(members, params)?)
            }
            Self::One(item) => item.part(params)?.map(|value| Value::Array(vec![value])),
            Self::Each(name, item) => match params.get(name) {
                None => None,
                Some(Value::Array(items)) => {
                    let mut made = Vec::with_capacity(items.len());
                    for one in items {
                        let one = Map::from_iter([(ITEM.to_owned(), one.clone())]);
                        made.push(item.part(&one)?.unwrap_or_default());
                    }
                    Some(Value::Array(made))
                }
                Some(_) => return Err("what is sent one by one must be a list"),
            },
            Self::Message(message) => message.write(params)?.map(Value::String),
        })
    }

    /// Takes the parameters out of a body.
    pub(super) fn read(&self, value: &Value, params: &mut Map<String, Value>) -> Result<(), &'static str> {
        const OTHER: &str = "the body is not laid out as the action's is";
        match (self, value) {
            // What it is here is compared with what would be written.
            (Self::Constant(_), _) => Ok(()),
            (Self::Place(name), value) => {
                params.insert(name.clone(), value.clone());
                Ok(())
            }
            (Self::Object(parts), Value::Object(members)) => {
                members.iter().try_for_each(|(name, value)| parts.get(name).ok_or(OTHER)?.read(value, params))
            }
            (Self::One(item), Value::Array(items)) => match items.as_slice() {
                [only] => item.read(only, params),
                _ => Err(OTHER),
            },
            (Self::Each(name, item), Value::Array(items)) => {
                let mut list = Vec::with_capacity(items.len());
                for one in items {
                    let mut found = Map::new();
                    item.read(one, &mut found)?;
                    list.push(found.remove(ITEM).ok_or(OTHER)?);
                }
                params.insert(name.clone(), Value::Array(list));
                Ok(())
            }
            (Self::Message(message), Value::String(text)) => message.read(text, params),
            _ => Err(OTHER),
        }
    }
}
