//! What a constraint says of one action, by what the services declare about that.
//!
//! Invariant: a constraint that could be meant otherwise, or that can't be held, is wrong; it never says less than it
//! seems to.

use super::{
    constraint::{Amount, Constraint, What, cel_text},
    expression::{Unit, parameter, rewrite},
    words,
};
use crate::{
    diagnostic::Position,
    service::{Effect, ParamType, ServiceAction},
    yaml::{Node, Yaml},
};
use serde_json::Value;

/// What to do where a constraint is about some actions only.
pub(super) const GROUP: &str = "put it into a group of the actions that it is about, as in `refunds: {…}`";

/// What comes of a constraint for an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fit {
    /// These.
    Yes(Vec<Piece>),
    /// The action has no parameter of this name, so that there is nothing to bound.
    Lacks(String),
    /// It can't be held for this action: why, and what to do.
    Wrong(String, Option<String>),
}

/// A part of a rule of the full form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A condition.
    When(String),
    /// An entry of `limits`.
    Limit(Node),
    /// `hours`
    Hours(Node),
    /// When one person is asked; absent: always.
    Approve(Option<String>),
    /// When a second one is asked as well; absent: always.
    Second(Option<String>),
    /// Only entries of `on` that contain the user.
    Own,
    /// An entry of `shape.rows`: where the list is, how many rows, which.
    Rows { at: String, max: Option<Node>, filter: Option<String> },
    /// `shape.detect`
    Detect(Node),
}

/// Names after `max` that count what comes back.
const ROWS: &[&str] =
    &["Rows", "Emails", "Messages", "Results", "Records", "Items", "Entries", "Documents", "Files", "Events"];
/// Names before `PerDay` that count actions of any kind.
const ACTIONS: &[&str] = &["Actions", "Calls", "Requests", "Operations", "Times", "Uses"];

/// An action that the policy names: its name or pattern, and what a service declares of it.
#[derive(Debug, Clone)]
pub(super) struct Subject<'a> {
    pub(super) text: String,
    pub(super) action: Option<&'a ServiceAction>,
    /// Where the policy names it.
    pub(super) at: Position,
}

impl Subject<'_> {
    /// Whether one of its words is `group`, with or without a final `s`.
    pub(super) fn has_word(&self, group: &str) -> bool {
        let group = group.to_ascii_lowercase();
        let bare = group.strip_suffix('s').unwrap_or(&group);
        self.text.split(['.', '_']).any(|word| {
            let word = word.to_ascii_lowercase();
            word.strip_suffix('s').unwrap_or(&word) == bare
        })
    }

    /// What the service says that it does.
    pub(super) fn effect(&self) -> Option<Effect> {
        self.action.and_then(ServiceAction::effect)
    }

    /// The name that the action has for a parameter; `None` where it certainly has none.
    fn resolve(&self, written: &str) -> Option<String> {
        let forms = forms(written);
        match self.action {
            None => forms.into_iter().next(),
            Some(action) => forms.into_iter().find(|form| action.params().contains(form)),
        }
    }

    fn kind(&self, name: &str) -> ParamType {
        self.action.map_or(ParamType::Unknown, |action| action.params_type(&[name]))
    }

    /// What the service says a percentage of the parameter is.
    fn unit(&self, name: &str) -> Result<Unit, String> {
        let declared =
            self.action.and_then(|action| action.params_schema()?.get("properties")?.get(name)?.get("unit"));
        match declared.map(Value::as_str) {
            None => Ok(Unit::Undeclared),
            Some(Some("percent")) => Ok(Unit::Percent),
            Some(Some("fraction")) => Ok(Unit::Fraction),
            Some(_) => {
                Err(format!("the `unit` of `{name}` of `{}` is neither `percent` nor `fraction`", self.text))
            }
        }
    }
}

/// The ways to write a name in parameters: as it is, `camelCase`, `snake_case`, `kebab-case`.
fn forms(written: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for part in written.split(['_', '-']).filter(|part| !part.is_empty()) {
        let mut lower_before = false;
        for c in part.chars() {
            if words.is_empty() || (c.is_ascii_uppercase() && lower_before) {
                words.push(String::new());
            }
            lower_before = !c.is_ascii_uppercase();
            if let Some(word) = words.last_mut() {
                word.push(c.to_ascii_lowercase());
            }
        }
        words.push(String::new());
    }
    words.retain(|word| !word.is_empty());
    let capitalised = |word: &String| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
    };
    let camel: String = words
        .iter()
        .enumerate()
        .map(|(at, word)| if at == 0 { word.clone() } else { capitalised(word) })
        .collect();
    let mut forms = Vec::new();
    // `X` of `maxX` is capitalised; nothing else is a parameter that begins so.
    if !written.starts_with(|first: char| first.is_ascii_uppercase()) {
        forms.push(written.to_owned());
    }
    forms.extend([camel, words.join("_"), words.join("-"), written.to_owned()]);
    forms.dedup();
    forms
}

/// What the constraint says of the subject. `guessed` is told of parameters whose percentage was taken as a fraction.
pub(super) fn fit(constraint: &Constraint<'_>, subject: &Subject<'_>, guessed: &mut dyn FnMut(&str)) -> Fit {
    let one = |piece| Fit::Yes(vec![piece]);
    match &constraint.what {
        What::Bound { sign, of, amount } => bound(constraint, subject, (sign, of, amount), guessed),
        What::Total { of, per } => total(constraint, subject, of, per),
        What::Own => one(Piece::Own),
        What::Detect(detect) => one(Piece::Detect(detect.clone())),
        What::Domains(list) => domains(subject, list),
        What::Rate(rate) => one(Piece::Limit(map(constraint, vec![("rate", text(constraint, rate))]))),
        What::When(condition) => one(Piece::When(condition.clone())),
        What::Classification { differs, word } => {
            let sign = if *differs { "!=" } else { "==" };
            one(Piece::When(format!("resource.classification {sign} {}", cel_text(word))))
        }
        What::Hours(time) => {
            let mut entries = Vec::new();
            if let Some(days) = &time.days {
                entries.push(("days", text(constraint, days)));
            }
            entries.push(("from", text(constraint, &time.from)));
            entries.push(("to", text(constraint, &time.to)));
            if let Some(zone) = &time.zone {
                entries.push(("zone", text(constraint, zone)));
            }
            one(Piece::Hours(map(constraint, entries)))
        }
        What::Approve { when: None, second } => one(asked(*second, None)),
        What::Approve { when: Some(when), second } => approval(subject, when, *second, guessed),
        What::Folders(folders) => match subject.resolve("folder").filter(|_| subject.action.is_some()) {
            Some(name) => {
                let list: Vec<_> = folders.iter().map(|folder| cel_text(folder)).collect();
                one(Piece::When(format!("!({}.lowerAscii() in [{}])", parameter(&name), list.join(", "))))
            }
            None => {
                let list: Vec<_> = folders.iter().map(|folder| cel_text(folder)).collect();
                let filter = format!("!(item.folder.lowerAscii() in [{}])", list.join(", "));
                rows(constraint, subject, "in which folder something is", None, Some(filter))
            }
        },
        What::Keywords(words) => {
            rows(constraint, subject, "which words something has", None, Some(has_words(words)))
        }
        What::Window(span) => {
            let filter = format!("timestamp(item.date) >= now - duration({})", cel_text(span));
            rows(constraint, subject, "how old something is", None, Some(filter))
        }
        What::Attribute { of, wanted } => {
            let name = forms(of).into_iter().next().unwrap_or_default();
            let filter = format!("item.{name} == {wanted}");
            rows(constraint, subject, "this attribute", None, Some(filter))
        }
    }
}

/// What is held by leaving rows out of what comes back: `what` is what nothing else tells.
fn rows(
    constraint: &Constraint<'_>,
    subject: &Subject<'_>,
    what: &str,
    max: Option<Node>,
    filter: Option<String>,
) -> Fit {
    if let Some(members) = subject.action.and_then(ServiceAction::members) {
        return Fit::Yes(vec![Piece::Rows { at: members.items().to_string(), max, filter }]);
    }
    let key = &constraint.key.value;
    let message = format!(
        "`{key}`: nothing tells {what} of `{}`, of which no service says `response: {{items: …}}`",
        subject.text
    );
    Fit::Wrong(message, Some(format!("have the service say where the items are; of other actions, {GROUP}")))
}

/// Whether one of the words is in a text of the item that people read.
fn has_words(words: &[String]) -> String {
    let any = |field: &str| {
        let of = |word: &String| format!("item.{field}.lowerAscii().contains({})", cel_text(word));
        format!("has(item.{field}) && ({})", words.iter().map(of).collect::<Vec<_>>().join(" || "))
    };
    ["subject", "title", "body", "text", "snippet"].map(any).join(" || ")
}

fn asked(second: bool, when: Option<String>) -> Piece {
    if second { Piece::Second(when) } else { Piece::Approve(when) }
}

fn bound(
    constraint: &Constraint<'_>,
    subject: &Subject<'_>,
    (sign, of, amount): (&str, &str, &Amount),
    guessed: &mut dyn FnMut(&str),
) -> Fit {
    let resolved = subject.resolve(of);
    let counts_rows = sign == "<=" && ROWS.contains(&of);
    let name = match resolved {
        Some(name) if !counts_rows || subject.action.is_some() => name,
        _ if counts_rows => {
            return rows(
                constraint,
                subject,
                "how many rows come back",
                Some(constraint.value.node().clone()),
                None,
            );
        }
        _ => return Fit::Lacks(forms(of).into_iter().next().unwrap_or_default()),
    };
    let amount = match amount {
        Amount::Number(number) => number.clone(),
        Amount::Percent(number) => match subject.unit(&name) {
            Err(message) => return Fit::Wrong(message, None),
            Ok(Unit::Percent) => number.clone(),
            Ok(unit) => {
                if unit == Unit::Undeclared {
                    guessed(&name);
                }
                let Some(fraction) = words::hundredth(number) else {
                    return Fit::Wrong(format!("`{number}%` can't be held exactly"), None);
                };
                fraction
            }
        },
    };
    let read = parameter(&name);
    match subject.kind(&name) {
        ParamType::Number | ParamType::Integer | ParamType::Unknown | ParamType::Absent { .. } => {
            Fit::Yes(vec![Piece::When(format!("{read} {sign} {amount}"))])
        }
        ParamType::List => Fit::Yes(vec![Piece::When(format!("size({read}) {sign} {amount}"))]),
        ParamType::Bool | ParamType::String | ParamType::Map => {
            Fit::Wrong(format!("`{name}` of `{}` is neither a number nor a list", subject.text), None)
        }
    }
}

fn total(constraint: &Constraint<'_>, subject: &Subject<'_>, of: &str, per: &'static str) -> Fit {
    let max = constraint.value.node().clone();
    let per = text(constraint, per);
    let count =
        |max| Fit::Yes(vec![Piece::Limit(map(constraint, vec![("count", max), ("per", per.clone())]))]);
    let sum = |name: &str, max| {
        let of = text(constraint, &parameter(name));
        Fit::Yes(vec![Piece::Limit(map(constraint, vec![("sum", of), ("max", max), ("per", per.clone())]))])
    };
    if of.is_empty() || ACTIONS.contains(&of) {
        return count(max);
    }
    let is_number = |name: &String| {
        matches!(subject.kind(name), ParamType::Number | ParamType::Integer | ParamType::Unknown)
    };
    match subject.resolve(of).filter(is_number) {
        Some(name) if subject.action.is_some() => sum(&name, max),
        _ if subject.has_word(of) => count(max),
        Some(name) => sum(&name, max),
        None => Fit::Lacks(forms(of).into_iter().next().unwrap_or_default()),
    }
}

/// Every address in `to`, `cc` and `bcc`; where none of them is there it can't be told.
fn domains(subject: &Subject<'_>, list: &str) -> Fit {
    let mut fields: Vec<(&str, String)> = Vec::new();
    for name in ["to", "cc", "bcc"] {
        if subject.action.is_some_and(|action| !action.params().iter().any(|known| known == name)) {
            continue;
        }
        let good = |address: &str| {
            format!(
                "{address}.matches('^[^@,;<>\"\\\\s]+@[^@,;<>\"\\\\s]+$') && {address}.lowerAscii().split('@')[1] in {list}"
            )
        };
        let read = parameter(name);
        let (alone, each) = (good(&read), format!("{read}.all(a, {})", good("a")));
        fields.push((
            name,
            match subject.kind(name) {
                ParamType::String => format!("({alone})"),
                ParamType::List => each,
                ParamType::Unknown | ParamType::Absent { .. } => format!("({each} || ({alone}))"),
                ParamType::Bool | ParamType::Integer | ParamType::Number | ParamType::Map => {
                    let message =
                        format!("`{name}` of `{}` is neither an address nor a list of them", subject.text);
                    return Fit::Wrong(message, None);
                }
            },
        ));
    }
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let Some((first, rest)) = fields.split_first() else {
        if subject.effect() == Some(Effect::Read) {
            return Fit::Lacks("to".to_owned());
        }
        // It may send all the same, to whom another parameter says.
        let message =
            format!("nothing tells whom `{}` sends to: it has none of `to`, `cc`, `bcc`", subject.text);
        return Fit::Wrong(message, Some(GROUP.to_owned()));
    };
    let (name, condition) = first;
    let others: Vec<_> = names.iter().skip(1).map(|other| format!("has(params.{other})")).collect();
    let mut pieces = vec![Piece::When(if others.is_empty() {
        condition.clone()
    } else {
        // Where none is there the condition reads what is absent, and so is unknown.
        format!("!has(params.{name}) && ({}) || {condition}", others.join(" || "))
    })];
    pieces.extend(
        rest.iter().map(|(name, condition)| Piece::When(format!("!has(params.{name}) || {condition}"))),
    );
    Fit::Yes(pieces)
}

fn approval(subject: &Subject<'_>, when: &str, second: bool, guessed: &mut dyn FnMut(&str)) -> Fit {
    let resolve = |written: &str| {
        let name = subject.resolve(written).unwrap_or_else(|| written.to_owned());
        let unit = subject.unit(&name).unwrap_or(Unit::Undeclared);
        (name, unit)
    };
    let rewritten = rewrite(when, &resolve);
    let has = |name: &String| subject.resolve(name).is_some();
    if let (Some(first), false) = (rewritten.names.first(), rewritten.names.iter().any(has)) {
        return Fit::Lacks(first.clone());
    }
    if let Some(Err(message)) = rewritten
        .names
        .iter()
        .filter_map(|name| subject.resolve(name))
        .map(|name| subject.unit(&name))
        .find(Result::is_err)
    {
        return Fit::Wrong(message, None);
    }
    rewritten.guessed.iter().for_each(|name| guessed(name));
    Fit::Yes(vec![asked(second, Some(rewritten.text))])
}

fn text(constraint: &Constraint<'_>, value: &str) -> Node {
    Node::made(Yaml::String(value.to_owned()), constraint.value.position())
}

fn map(constraint: &Constraint<'_>, entries: Vec<(&str, Node)>) -> Node {
    super::map(entries, constraint.value.position())
}
