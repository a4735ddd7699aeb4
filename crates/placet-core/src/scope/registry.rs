//! The scopes of an installation: what each means in plain words, which others it stands for, and who may delegate it.
//!
//! A name that stands for others is written out when something is granted, so that a grant never changes its meaning
//! when the registry does. A scope that nobody registered means what its pattern says, as ever.
//!
//! Invariant: nothing here grants anything: what a name is written out to is narrowed like what was asked for in full;
//! and no name stands for everything.

use super::Scope;
use crate::pattern::ActionPattern;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 256;
/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 500;
/// The most scopes that one stands for, and the most roles.
pub const MAX_ITEMS: usize = 64;

/// What is registered under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it means, for people who are asked to grant it.
    pub description: String,
    /// The scopes that it stands for, registered or not; none: it stands for itself.
    #[serde(default)]
    pub includes: Vec<Scope>,
    /// The roles of which a user needs one to delegate it; none: everybody may.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// Why something can't be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The name is no scope that a client could ask for.
    #[error("the name is no scope: {0}")]
    Name(String),
    /// The name is a pattern, or stands for everything.
    #[error("`{0}` would stand for everything, which no scope does")]
    Everything(String),
    /// A name with `*` can't stand for others: it is a pattern already.
    #[error("`{0}` is a pattern: a scope that stands for others has a plain name")]
    Pattern(String),
    /// The description is missing, too long, or can't be shown.
    #[error("`description` has 1 to {MAX_DESCRIPTION} characters, without control characters")]
    Description,
    /// Too many scopes or roles.
    #[error("`includes` and `roles` have at most {MAX_ITEMS} items each, and no empty ones")]
    Items,
    /// It would stand for itself in the end.
    #[error("it would stand for itself, through `{0}`")]
    Circle(String),
}

/// Every scope that is registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry(BTreeMap<String, Entry>);

impl Registry {
    /// Of what is stored.
    pub fn new(entries: impl IntoIterator<Item = (String, Entry)>) -> Self {
        Self(entries.into_iter().collect())
    }

    /// Every name with what is registered under it, sorted.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// What is registered under a name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.0.get(name)
    }

    /// Whether `entry` can be registered under `name` beside the others.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn check(&self, name: &str, entry: &Entry) -> Result<(), EntryError> {
        if name.len() > MAX_NAME {
            return Err(EntryError::Name(format!("it has more than {MAX_NAME} bytes")));
        }
        let own = Scope::parse(name).map_err(|error| EntryError::Name(error.to_string()))?;
        let everything = std::iter::once(&own).chain(&entry.includes).find(|scope| is_everything(scope));
        if let Some(everything) = everything {
            return Err(EntryError::Everything(everything.as_str().to_owned()));
        }
        if !entry.includes.is_empty() && name.contains('*') {
            return Err(EntryError::Pattern(name.to_owned()));
        }
        let length = entry.description.chars().count();
        if length == 0 || length > MAX_DESCRIPTION || entry.description.chars().any(char::is_control) {
            return Err(EntryError::Description);
        }
        if entry.includes.len() > MAX_ITEMS
            || entry.roles.len() > MAX_ITEMS
            || entry.roles.iter().any(String::is_empty)
        {
            return Err(EntryError::Items);
        }
        let mut with = self.clone();
        with.0.insert(name.to_owned(), entry.clone());
        let back = entry.includes.iter().find(|scope| with.reaches(scope.as_str(), name));
        back.map_or(Ok(()), |scope| Err(EntryError::Circle(scope.as_str().to_owned())))
    }

    /// What these scopes stand for, written out: each once, in the order of first mention.
    pub fn expand(&self, scopes: &[Scope]) -> Vec<Scope> {
        let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
        for scope in scopes {
            self.write_out(scope, &mut out, &mut seen);
        }
        out
    }

    /// The registered names that a user with these roles may not delegate, of those that `scopes` touch. A scope that is
    /// written otherwise than it is registered is held to the same.
    pub fn beyond<'r>(&'r self, roles: &[String], scopes: &[Scope]) -> Vec<&'r str> {
        let touches = |name: &str, entry: &Entry| {
            let meant = match Scope::parse(name) {
                Ok(own) if entry.includes.is_empty() => vec![own],
                _ => self.expand(&entry.includes),
            };
            scopes.iter().any(|asked| {
                asked.as_str() == name || meant.iter().any(|one| one.covers(asked) || asked.covers(one))
            })
        };
        self.entries()
            .filter(|(_, entry)| {
                !entry.roles.is_empty() && !entry.roles.iter().any(|role| roles.contains(role))
            })
            .filter(|(name, entry)| touches(name, entry))
            .map(|(name, _)| name)
            .collect()
    }

    fn write_out<'s>(&'s self, scope: &'s Scope, out: &mut Vec<Scope>, seen: &mut BTreeSet<&'s str>) {
        if !seen.insert(scope.as_str()) {
            return;
        }
        match self.get(scope.as_str()) {
            Some(entry) if !entry.includes.is_empty() => {
                for included in &entry.includes {
                    self.write_out(included, out, seen);
                }
            }
            _ => out.push(scope.clone()),
        }
    }

    fn reaches(&self, from: &str, name: &str) -> bool {
        let (mut open, mut seen) = (vec![from], BTreeSet::new());
        while let Some(next) = open.pop() {
            if next == name {
                return true;
            }
            if seen.insert(next) {
                open.extend(
                    self.get(next).into_iter().flat_map(|entry| entry.includes.iter().map(Scope::as_str)),
                );
            }
        }
        false
    }
}

fn is_everything(scope: &Scope) -> bool {
    ActionPattern::parse("**").is_ok_and(|all| scope.action().covers(&all))
        && scope.resource().is_everything()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scopes(list: &[&str]) -> Vec<Scope> {
        list.iter().map(|text| Scope::parse(text).unwrap()).collect()
    }

    fn entry(includes: &[&str], roles: &[&str]) -> Entry {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Entry { description: "x".into(), includes: scopes(includes), roles }
    }

    fn registry() -> Registry {
        Registry::new([
            ("support".to_owned(), entry(&["orders.read", "refunds"], &[])),
            ("refunds".to_owned(), entry(&["refunds.create", "refunds.list"], &["lead"])),
            ("mail.send".to_owned(), entry(&[], &["mailer"])),
        ])
    }

    #[test]
    fn a_name_is_written_out_to_what_it_stands_for() {
        let expand = |list: &[&str]| -> Vec<String> {
            registry().expand(&scopes(list)).iter().map(ToString::to_string).collect()
        };
        assert_eq!(expand(&["support"]), ["orders.read", "refunds.create", "refunds.list"]);
        assert_eq!(expand(&["refunds.list", "refunds", "x.y"]), ["refunds.list", "refunds.create", "x.y"]);
        assert_eq!(expand(&["mail.send"]), ["mail.send"]);
        assert_eq!(expand(&["support:order://1"]), ["support:order://1"]);
    }

    #[test]
    fn what_stands_for_everything_or_for_itself_is_refused() {
        let registry = registry();
        let check = |name: &str, entry: Entry| registry.check(name, &entry).unwrap_err();
        assert!(registry.check("billing", &entry(&["invoices.*", "support"], &["lead"])).is_ok());
        for everything in ["*", "**", "**:*", "*:**"] {
            assert!(
                matches!(check("all", entry(&[everything], &[])), EntryError::Everything(_)),
                "{everything}"
            );
            assert!(matches!(check(everything, entry(&[], &[])), EntryError::Everything(_)), "{everything}");
        }
        assert!(matches!(check("refunds", entry(&["support"], &[])), EntryError::Circle(_)));
        assert!(matches!(check("a", entry(&["a"], &[])), EntryError::Circle(_)));
        assert!(matches!(check("a.*", entry(&["b"], &[])), EntryError::Pattern(_)));
        assert!(matches!(check("a b", entry(&[], &[])), EntryError::Name(_)));
        assert!(matches!(check(&"a".repeat(300), entry(&[], &[])), EntryError::Name(_)));
        for description in ["", "\u{7}", &"x".repeat(501)] {
            let described = Entry { description: description.to_owned(), ..entry(&[], &[]) };
            assert_eq!(check("a", described), EntryError::Description);
        }
        assert_eq!(check("a", entry(&[], &[""])), EntryError::Items);
    }

    #[test]
    fn a_role_is_needed_however_the_scope_is_written() {
        let registry = registry();
        let beyond = |roles: &[&str], list: &[&str]| -> Vec<String> {
            let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            registry.beyond(&roles, &scopes(list)).iter().map(ToString::to_string).collect()
        };
        for asked in ["refunds", "refunds.create", "refunds.*", "*", "refunds.create:order://1"] {
            assert!(beyond(&[], &[asked]).contains(&"refunds".to_owned()), "{asked}");
            assert!(!beyond(&["lead"], &[asked]).contains(&"refunds".to_owned()), "{asked}");
        }
        assert!(beyond(&[], &["orders.read", "refunds.delete"]).is_empty());
        assert_eq!(beyond(&["lead"], &["mail.*"]), ["mail.send"]);
    }

    proptest! {
        /// Whatever is registered, if each was checked when it came: writing out ends, and is done after once.
        #[test]
        fn writing_out_ends(
            made in prop::collection::vec((0u8..8, prop::collection::vec(0u8..8, 0..4)), 0..20),
            asked in 0u8..8,
        ) {
            let mut registry = Registry::default();
            for (name, includes) in made {
                let includes: Vec<String> = includes.iter().map(|one| format!("s{one}")).collect();
                let includes: Vec<&str> = includes.iter().map(String::as_str).collect();
                let entry = entry(&includes, &[]);
                if registry.check(&format!("s{name}"), &entry).is_ok() {
                    registry.0.insert(format!("s{name}"), entry);
                }
            }
            let once = registry.expand(&scopes(&[&format!("s{asked}")]));
            prop_assert!(!once.is_empty());
            prop_assert_eq!(registry.expand(&once), once);
        }
    }
}
