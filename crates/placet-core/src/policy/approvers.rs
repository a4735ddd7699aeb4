//! `approve`: whom a rule asks, how many of them, and who is ruled out.
//!
//! Invariant: what nobody could ever answer is an error when the policy is loaded, as far as the policy itself says so.

use super::{
    document::{conditions, some_of},
    duration,
    full::{list, quoted, span},
    rule::{Approve, Condition, Reads},
};
use crate::{
    approval::{Approver, Except, MOST_PEOPLE, WITHIN},
    cel::Lists,
    diagnostic::Report,
    yaml::{MapReading, Reading, Yaml},
};

/// The keys of `approve`.
pub(super) const KEYS: &[&str] = &["when", "by", "not", "count", "distinct", "within"];

/// Reads `approve`; `None` where an error was reported.
pub(super) fn read(reading: &Reading<'_>, report: &Report, lists: &Lists) -> Option<Approve> {
    let map = reading.map()?;
    map.finish(KEYS);
    let when: Box<[Condition]> =
        map.optional("when").map(|reading| conditions(&reading, report, lists)).unwrap_or_default();
    let by: Box<[Approver]> = map.optional("by").map_or_else(
        || vec![Approver::Default].into(),
        |reading| some_of(&reading, "an approver").iter().filter_map(approver).collect(),
    );
    let not: Box<[Except]> = map
        .optional("not")
        .map(|reading| some_of(&reading, "somebody, or leave `not` out").iter().filter_map(except).collect())
        .unwrap_or_default();
    let count = match map.optional("count") {
        None => 1,
        Some(reading) => count(&reading)?,
    };
    let distinct = match map.optional("distinct") {
        None => false,
        Some(reading) => flag(&reading)?,
    };
    let within = match map.optional("within") {
        None => WITHIN.as_secs(),
        Some(reading) => match duration::seconds(reading.string()?) {
            Ok(seconds) => seconds,
            Err(problem) => {
                reading.error(problem);
                return None;
            }
        },
    };
    let approve = Approve { reads: Reads::of_conditions(&when), when, by, not, count, distinct, within };
    enough(&map, &approve)?;
    Some(approve)
}

impl Approve {
    /// Its members, everything spelled out; `when` is the list of its conditions, as text.
    pub(super) fn in_full(&self, when: &str) -> String {
        let mut members = Vec::new();
        if !self.when.is_empty() {
            members.push(format!("when: {when}"));
        }
        if *self.by != [Approver::Default] {
            members.push(format!("by: {}", list(self.by.iter().map(|by| quoted(&by.to_string())))));
        }
        if !self.not.is_empty() {
            members.push(format!("not: {}", list(self.not.iter().map(|not| quoted(&not.to_string())))));
        }
        if *self.by != [Approver::Default] {
            members.push(format!("count: {}", self.count));
        }
        if self.distinct {
            members.push("distinct: true".to_owned());
        }
        members.push(format!("within: {}", span(self.within)));
        members.join(", ")
    }
}

/// Whether as many people can be named as it takes.
fn enough(map: &MapReading<'_>, approve: &Approve) -> Option<()> {
    for (key, given) in [("count", approve.count > 1), ("not", !approve.not.is_empty())] {
        if let Some(reading) = map.optional(key).filter(|_| given)
            && map.optional("by").is_none()
        {
            reading.error(format!(
                "`{key}` needs `by`: without it only the grant's user is asked; name roles or users, as in \
                 `by: [\"role:approver\"]`"
            ));
            return None;
        }
    }
    let mut named: Vec<&str> = Vec::new();
    for by in &approve.by {
        let Approver::User(name) = by else { return Some(()) };
        let excluded = approve.not.iter().any(|not| matches!(not, Except::User(other) if other == name));
        if !excluded && !named.contains(&name.as_str()) {
            named.push(name);
        }
    }
    if named.len() < approve.count as usize && !approve.by.is_empty() {
        let at = map.optional("count").or_else(|| map.optional("by"))?;
        let people = match named.len() {
            0 => "nobody",
            1 => "one person",
            _ => "fewer people",
        };
        at.error(format!(
            "it takes {}, and `by` names {people}: nobody could ever approve it",
            approve.count
        ));
        return None;
    }
    Some(())
}

fn approver(item: &Reading<'_>) -> Option<Approver> {
    let text = item.string()?;
    match text.split_once(':') {
        Some(("role", role)) if crate::agent::is_handle(role) => Some(Approver::Role(role.to_owned())),
        Some(("user", user)) if crate::user::is_name(user) => Some(Approver::User(user.to_owned())),
        _ => {
            item.error(format!("`{text}` is no approver: write `role:NAME` or `user:NAME`"));
            None
        }
    }
}

fn except(item: &Reading<'_>) -> Option<Except> {
    let text = item.string()?;
    match (text, text.split_once(':')) {
        ("user", _) => Some(Except::OnBehalf),
        ("owner", _) => Some(Except::Owner),
        (_, Some(("role", role))) if crate::agent::is_handle(role) => Some(Except::Role(role.to_owned())),
        (_, Some(("user", user))) if crate::user::is_name(user) => Some(Except::User(user.to_owned())),
        _ => {
            item.error(format!(
                "`{text}` is nobody: write `user` (whom the agent acts for), `owner` (of the agent), `role:NAME` or \
                 `user:NAME`"
            ));
            None
        }
    }
}

fn count(reading: &Reading<'_>) -> Option<u32> {
    let whole = match &reading.node().value {
        Yaml::Number(text) => text.parse::<u32>().ok(),
        _ => None,
    };
    let found = whole.filter(|count| (1..=MOST_PEOPLE).contains(count));
    if found.is_none() {
        reading
            .error(format!("`count` is how many different people: a whole number from 1 to {MOST_PEOPLE}"));
    }
    found
}

fn flag(reading: &Reading<'_>) -> Option<bool> {
    match &reading.node().value {
        Yaml::Bool(yes) => Some(*yes),
        _ => {
            reading.error("`distinct` is true or false");
            None
        }
    }
}
