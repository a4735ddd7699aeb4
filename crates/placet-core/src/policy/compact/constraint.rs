//! The names of constraints, and what each says.
//!
//! Invariant: a name that isn't known and a value that isn't understood are reported, never passed over.

use super::words::{self, Time};
use crate::{
    diagnostic::{Diagnostic, quoted},
    yaml::{Node, Reading, Spanned, Yaml},
};

/// A name, or the beginning of one, with what it is for and an example of it: for messages and for editors.
pub(in crate::policy) struct Known {
    pub(in crate::policy) name: &'static str,
    /// What a name of the family looks like, as a regular expression; absent where the name is the whole.
    pub(in crate::policy) family: Option<&'static str>,
    pub(in crate::policy) about: &'static str,
    /// As JSON.
    pub(in crate::policy) example: &'static str,
}

const fn known(name: &'static str, about: &'static str, example: &'static str) -> Known {
    Known { name, family: None, about, example }
}

const fn family(
    name: &'static str,
    pattern: &'static str,
    about: &'static str,
    example: &'static str,
) -> Known {
    Known { name, family: Some(pattern), about, example }
}

/// Every name that a constraint can have.
pub(in crate::policy) const KNOWN: &[Known] = &[
    family(
        "maxX",
        "^max[A-Z]",
        "The parameter `x` is at most this; of a list, its length. `maxEmails`, `maxRows` and the like: how many rows come back.",
        "500",
    ),
    family("minX", "^min[A-Z]", "The parameter `x` is at least this.", "1"),
    family(
        "maxXPerDay",
        "^max.+Per(Minute|Hour|Day|Week|Month)$",
        "All `x` of a day (minute, hour, week, month) together are at most this: a parameter's sum, or actions counted.",
        "2000",
    ),
    known(
        "maxPerDay",
        "So many actions a day; also `maxPerMinute`, `maxPerHour`, `maxPerWeek`, `maxPerMonth`.",
        "5",
    ),
    family("onlyOwnX", "^onlyOwn", "Only resources whose pattern contains the user.", "true"),
    family("onlyX", "^only[A-Z]", "Only what has this attribute.", "true"),
    family("noX", "^no[A-Z]", "Nothing that has this attribute.", "true"),
    known(
        "allowedDomains",
        "Every address in `to`, `cc` and `bcc` is of one of these domains.",
        "[\"example.com\"]",
    ),
    known("excludeFolders", "Nothing that is in one of these folders.", "[\"Spam\"]"),
    known("requireKeywords", "Only what has one of these words.", "[\"invoice\"]"),
    known("timeWindow", "Only what is not older.", "\"last_7_days\""),
    known(
        "detect",
        "What is looked for in what comes back, and what is done with it: as `shape.detect` of a rule.",
        "{\"secrets\": \"redact\", \"card\": \"withhold\"}",
    ),
    known(
        "requireApproval",
        "A person has to say yes: always (`true`), or where this holds; a bare name is a parameter.",
        "\"amount > 100\"",
    ),
    known(
        "requireSecondApproval",
        "A second person has to say yes as well: always (`true`), or where this holds.",
        "\"amount > 1000\"",
    ),
    known("ifRateLimit", "So many actions in a span.", "\"100/hour not exceeded\""),
    known("ifUser", "The user has this role.", "\"has role \\\"clerk\\\"\""),
    known("ifTime", "Only at these times.", "\"between 9am-5pm EST\""),
    known("ifRiskScore", "Only at a risk like this.", "\"below 7.0\""),
    known("ifDataClassification", "Only what is, or is not, classified so.", "\"not \\\"sensitive\\\"\""),
];

/// A constraint as it was stated.
#[derive(Debug)]
pub(super) struct Constraint<'a> {
    pub(super) key: &'a Spanned<String>,
    pub(super) value: Reading<'a>,
    /// The group that it stands in.
    pub(super) group: Option<&'a Spanned<String>>,
    pub(super) what: What,
}

/// A number as it was stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Amount {
    Number(String),
    Percent(String),
}

/// What a constraint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// `maxX`, `minX`: the sign, `X` and the bound.
    Bound {
        sign: &'static str,
        of: String,
        amount: Amount,
    },
    /// `maxXPerDay`, with `X` empty for `maxPerDay`.
    Total {
        of: String,
        per: &'static str,
    },
    /// `onlyOwnX: true`
    Own,
    /// `onlyX: true` and `noX: true`: `X` and whether it has to be there.
    Attribute {
        of: String,
        wanted: bool,
    },
    /// The name of a list, as conditions read it, of domains.
    Domains(String),
    /// Folders, in lower case.
    Folders(Vec<String>),
    /// Words, in lower case.
    Keywords(Vec<String>),
    /// A span, as CEL writes it.
    Window(String),
    /// A condition with bare names; absent: always.
    Approve {
        when: Option<String>,
        second: bool,
    },
    /// `100/hour`
    Rate(String),
    /// A condition that is the same for all actions.
    When(String),
    /// `not "x"`: whether it has to differ, and from what.
    Classification {
        differs: bool,
        word: String,
    },
    Hours(Time),
    /// As `shape.detect`.
    Detect(Node),
}

/// Units that can follow `Per`.
const SPANS: &[(&str, &str)] = &[
    ("PerMinute", "minute"),
    ("PerHour", "hour"),
    ("PerDay", "day"),
    ("PerWeek", "week"),
    ("PerMonth", "month"),
];

/// Whether the name is one of a constraint, whatever its value is.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.iter().any(|known| known.family.is_none() && known.name == name) || family_of(name).is_some()
}

/// Reads one constraint. `domains` makes a list for conditions of domains, and answers what they call it.
pub(super) fn read<'a>(
    key: &'a Spanned<String>,
    value: Reading<'a>,
    group: Option<&'a Spanned<String>>,
    domains: &mut dyn FnMut(&Reading<'a>) -> Option<String>,
) -> Option<Constraint<'a>> {
    let name = key.value.as_str();
    let what = match name {
        "allowedDomains" => What::Domains(domains(&value)?),
        "excludeFolders" => What::Folders(some_words(&value)?),
        "requireKeywords" => What::Keywords(some_words(&value)?),
        // What is in it is read where the rule is.
        "detect" => {
            value.map()?;
            What::Detect(value.node().clone())
        }
        "timeWindow" => What::Window(phrase(
            &value,
            words::window,
            "write `last_7_days`, `last_24_hours` or `last_2_weeks`",
        )?),
        "requireApproval" | "requireSecondApproval" => {
            let when = match &value.node().value {
                Yaml::Bool(true) => None,
                Yaml::Bool(false) => return refuse_false(key, &value),
                _ => Some(value.string()?.to_owned()),
            };
            What::Approve { when, second: name == "requireSecondApproval" }
        }
        "ifRateLimit" => What::Rate(words::rate(value.string()?).to_owned()),
        "ifUser" => {
            let role =
                phrase(&value, |text| words::role(text).map(str::to_owned), "write `has role \"NAME\"`")?;
            What::When(format!("{} in user.roles", cel_text(&role)))
        }
        "ifTime" => What::Hours(phrase(&value, words::time, words::TIME)?),
        "ifRiskScore" => {
            let read =
                |text: &str| words::risk(text).map(|(sign, number)| format!("risk.score {sign} {number}"));
            What::When(phrase(
                &value,
                read,
                "write `below 7.0`, `at most 7.0`, `above 7.0` or `at least 7.0`",
            )?)
        }
        "ifDataClassification" => {
            let read =
                |text: &str| words::classification(text).map(|(differs, word)| (differs, word.to_owned()));
            let (differs, word) =
                phrase(&value, read, "write `not \"sensitive\"`, or what it has to be: `\"public\"`")?;
            What::Classification { differs, word }
        }
        _ => match family_of(name)? {
            Family::Most(of) => What::Bound { sign: "<=", of, amount: amount(&value)? },
            Family::Least(of) => What::Bound { sign: ">=", of, amount: amount(&value)? },
            Family::Total(of, per) => {
                value.number()?;
                What::Total { of, per }
            }
            Family::Own => must_be_true(key, &value, What::Own)?,
            Family::Attribute(of, wanted) => must_be_true(key, &value, What::Attribute { of, wanted })?,
        },
    };
    Some(Constraint { key, value, group, what })
}

/// Reports a name that is none of a constraint, with the nearest that is. `groups` are names that would be groups.
pub(super) fn unknown(key: &Spanned<String>, groups: &[&str], report: &crate::diagnostic::Report) {
    let diagnostic = Diagnostic::error(format!("unknown constraint {}", quoted(&key.value))).at(key.position);
    let names = KNOWN.iter().map(|known| known.name).chain(groups.iter().copied());
    report.add(match crate::diagnostic::nearest(&key.value, names) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => {
            let all: Vec<_> = KNOWN.iter().map(|known| format!("`{}`", known.name)).collect();
            diagnostic.help(format!("known are {}", all.join(", ")))
        }
    });
}

/// A text as CEL writes it. What JSON escapes means the same there.
pub(super) fn cel_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

enum Family {
    Most(String),
    Least(String),
    Total(String, &'static str),
    Own,
    Attribute(String, bool),
}

fn family_of(name: &str) -> Option<Family> {
    let capital = |rest: &str| rest.starts_with(|first: char| first.is_ascii_uppercase());
    let after = |prefix: &str| name.strip_prefix(prefix).filter(|rest| capital(rest));
    if let Some(rest) = after("max") {
        let span = SPANS.iter().find_map(|(suffix, per)| Some((rest.strip_suffix(suffix)?, *per)));
        return Some(match span {
            Some((of, per)) => Family::Total(of.to_owned(), per),
            None => Family::Most(rest.to_owned()),
        });
    }
    if let Some(rest) = after("min") {
        return Some(Family::Least(rest.to_owned()));
    }
    if name.strip_prefix("onlyOwn").is_some_and(|rest| rest.is_empty() || capital(rest)) {
        return Some(Family::Own);
    }
    let attribute = |rest: &str, wanted| Family::Attribute(rest.to_owned(), wanted);
    after("only").map(|rest| attribute(rest, true)).or_else(|| after("no").map(|rest| attribute(rest, false)))
}

fn must_be_true(key: &Spanned<String>, value: &Reading<'_>, what: What) -> Option<What> {
    if value.bool()? { Some(what) } else { refuse_false(key, value) }
}

fn refuse_false<T>(key: &Spanned<String>, value: &Reading<'_>) -> Option<T> {
    let message = format!("`{}: false` asks for nothing", key.value);
    value.report().add(Diagnostic::error(message).at(value.position()).help("leave it out"));
    None
}

fn amount(value: &Reading<'_>) -> Option<Amount> {
    match &value.node().value {
        Yaml::Number(text) => Some(Amount::Number(text.clone())),
        Yaml::String(text) => match words::percent(text) {
            Some(number) => Some(Amount::Percent(number.to_owned())),
            None => value.refuse("a number or a percentage such as `15%`", None),
        },
        _ => value.refuse("a number or a percentage such as `15%`", None),
    }
}

fn phrase<T>(value: &Reading<'_>, read: impl Fn(&str) -> Option<T>, help: &str) -> Option<T> {
    let text = value.string()?;
    let found = read(text);
    if found.is_none() {
        let message = format!("`{}` is not understood: {}", value.name(), quoted(text));
        value.report().add(Diagnostic::error(message).at(value.position()).help(help));
    }
    found
}

/// Words of a list, or the one, in lower case as far as they are ASCII, as `lowerAscii` makes what they are compared
/// with: the exact spelling always matches.
fn some_words(value: &Reading<'_>) -> Option<Vec<String>> {
    let items = value.one_or_many();
    if items.is_empty() {
        value.error("the list is empty: name at least one, or leave it out");
        return None;
    }
    let text = |item: &Reading<'_>| {
        let text = item.string()?.trim().to_ascii_lowercase();
        if text.is_empty() {
            item.error("an empty text is in everything");
            return None;
        }
        Some(text)
    };
    items.iter().map(text).collect()
}
