//! Names of services, actions and parameters, made of what a document calls them.
//!
//! Invariant: a name that is made is one that the loader takes.

use super::operation::Operation;
use crate::pattern::ActionName;
use std::collections::BTreeSet;

/// The longest part of a name.
const LONGEST: usize = 48;

/// The words of a text: split at what is no letter or digit, and before a capital behind a small letter.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = ' ';
    for character in text.chars() {
        if !character.is_ascii_alphanumeric() {
            last = ' ';
            continue;
        }
        let begins = !last.is_ascii_alphanumeric()
            || (character.is_ascii_uppercase() && (last.is_ascii_lowercase() || last.is_ascii_digit()));
        let small = character.to_ascii_lowercase();
        match words.last_mut().filter(|_| !begins) {
            Some(word) => word.push(small),
            None => words.push(small.to_string()),
        }
        last = character;
    }
    words
}

/// Words joined to a part of a name; `otherwise` where there are none.
pub(super) fn part(words: &[String], otherwise: &str) -> String {
    let joined = words.join("_");
    let cut = joined.get(..LONGEST).unwrap_or(&joined).trim_end_matches('_');
    if cut.is_empty() { otherwise.to_owned() } else { cut.to_owned() }
}

/// The name of a service of that title.
pub(super) fn service(title: &str) -> String {
    let mut words = words(title);
    words.retain(|word| {
        !["api", "rest", "the", "openapi", "service", "v1", "v2", "v3"].contains(&word.as_str())
    });
    let name = part(&words, "imported");
    if name.starts_with(|first: char| first.is_ascii_lowercase()) { name } else { format!("s{name}") }
}

/// The name of an action: service, group, operation.
pub(super) fn action(
    service: &str,
    tag: Option<&str>,
    id: Option<&str>,
    method: &str,
    path: &str,
) -> Option<ActionName> {
    let literals: Vec<Vec<String>> = path.split('/').filter(|part| !part.contains('{')).map(words).collect();
    let first = literals.iter().find(|words| !words.is_empty() && !is_version(words));
    let group = tag.map(words).filter(|words| !words.is_empty()).or_else(|| first.cloned());
    let group = part(&group.unwrap_or_default(), "root");
    let operation = match id.map(words).filter(|words| !words.is_empty()) {
        // `users/list`, `users_list` and `usersList` of the group `users` are `list`.
        Some(words) => {
            let own = words.join("_");
            let rest = own.strip_prefix(&format!("{group}_")).map(str::to_owned).unwrap_or(own);
            rest.get(..LONGEST).unwrap_or(&rest).trim_end_matches('_').to_owned()
        }
        None => {
            let one = path.rsplit('/').next().is_some_and(|last| last.contains('{'));
            let verb = match method {
                "get" | "head" if one => "read",
                "get" | "head" => "list",
                "post" => "create",
                "put" => "replace",
                "patch" => "update",
                _ => "delete",
            };
            let behind = literals.iter().rev().find(|words| !words.is_empty());
            let behind = behind.map(|words| part(words, "")).filter(|last| *last != group);
            behind.map_or_else(|| verb.to_owned(), |last| format!("{verb}_{last}"))
        }
    };
    ActionName::parse(&format!("{service}.{group}.{operation}")).ok()
}

fn is_version(words: &[String]) -> bool {
    matches!(words, [only] if only == "api" || only.strip_prefix('v').is_some_and(|rest| rest.parse::<u32>().is_ok()))
}

/// The name of a variable of a path; `None` where nothing of it can be one.
pub(super) fn variable(name: &str) -> Option<String> {
    let plain: String = name
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() || character == '-' { character } else { '_' })
        .collect();
    let begins = plain.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let plain = if begins { plain } else { format!("_{plain}") };
    (!name.is_empty() && plain.len() <= 64).then_some(plain)
}

/// Gives actions of one name numbers.
pub(super) fn make_unique(made: &mut [Operation]) {
    let mut taken: BTreeSet<ActionName> = BTreeSet::new();
    for operation in made {
        let mut number = 2;
        let base = operation.name.clone();
        while taken.contains(&operation.name) {
            let Ok(next) = ActionName::parse(&format!("{base}_{number}")) else { break };
            operation.name = next;
            number += 1;
        }
        taken.insert(operation.name.clone());
    }
}
