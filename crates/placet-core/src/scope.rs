//! Scopes: `action[:resource]` as OAuth carries them, for example `file_read:github/specific` (DESIGN §3).
//!
//! Behind the first colon stands a resource pattern, taken exactly (`order://customer:42/*`), or a short form without
//! `://`, which reaches below what it names: `github` is `github://**` and `github/x` is `github://x/**`. Without
//! that part a scope is for every resource.
//!
//! Invariant: a scope permits only what its action pattern and its resource pattern both reach. A part that can't be
//! read is an error, never everything.

pub mod registry;

use crate::pattern::{ActionName, ActionPattern, PatternError, ResourcePattern, as_text};

/// One scope. Two scopes are equal if they were written alike; to compare what they mean use [`Scope::covers`].
#[derive(Debug, Clone)]
pub struct Scope {
    text: Box<str>,
    action: ActionPattern,
    resource: ResourcePattern,
}

/// A text that is not a scope, or a list with an item that is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The part before the colon is refused.
    #[error("in the scope `{scope}`: {problem}")]
    Action {
        /// The scope, escaped and cut.
        scope: String,
        /// What is wrong.
        problem: PatternError,
    },
    /// The part behind the colon is refused.
    #[error("in the scope `{scope}`: {problem} (a resource is `scheme`, `scheme/part` or `scheme://part/…`)")]
    Resource {
        /// The scope, escaped and cut.
        scope: String,
        /// What is wrong.
        problem: PatternError,
    },
    /// A character that no scope in an OAuth request may have (RFC 6749 §3.3).
    #[error(
        "the scope `{0}` has a space, a quote, a backslash or a character beyond ASCII: percent-encode it"
    )]
    Character(String),
}

impl Scope {
    /// Reads one scope.
    ///
    /// # Errors
    /// If the action or resource part is refused, or a character is none of RFC 6749's `scope-token`.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if !text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            return Err(ScopeError::Character(shown(text)));
        }
        let (action, resource) = match text.split_once(':') {
            Some((action, resource)) => (action, Some(resource)),
            None => (text, None),
        };
        let action = ActionPattern::parse(action)
            .map_err(|problem| ScopeError::Action { scope: shown(text), problem })?;
        let resource = resource
            .map_or_else(|| Ok(ResourcePattern::everything()), read_resource)
            .map_err(|problem| ScopeError::Resource { scope: shown(text), problem })?;
        Ok(Self { text: text.into(), action, resource })
    }

    /// Reads a list as OAuth writes it, split at spaces (RFC 6749 §3.3). Repeated scopes are dropped, the order of
    /// first mention is kept.
    ///
    /// # Errors
    /// That of the first item that is not a scope; the message names it.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ScopeError> {
        let mut seen = std::collections::HashSet::new();
        text.split(' ').filter(|item| !item.is_empty() && seen.insert(*item)).map(Self::parse).collect()
    }

    /// Whether this scope permits the action on every resource that `resource` stands for. The resource of an
    /// action is a single one, or has a star in each place that only the agent vouches for.
    pub fn permits(&self, action: &ActionName, resource: &ResourcePattern) -> bool {
        self.action.matches(action) && self.resource.covers(resource)
    }

    /// Whether everything that `other` permits is permitted by this scope.
    pub fn covers(&self, other: &Self) -> bool {
        self.action.covers(&other.action) && self.resource.covers(&other.resource)
    }

    /// The actions.
    pub fn action(&self) -> &ActionPattern {
        &self.action
    }

    /// The resources; everything if the scope names none.
    pub fn resource(&self) -> &ResourcePattern {
        &self.resource
    }

    /// The scope as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
as_text!(Scope, ScopeError);

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Scope {}
impl std::hash::Hash for Scope {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

fn read_resource(text: &str) -> Result<ResourcePattern, PatternError> {
    if text.contains("://") || text == "*" || text == "**" {
        return ResourcePattern::parse(text);
    }
    match text.split_once('/') {
        None => ResourcePattern::everything_of(text),
        Some((scheme, parts)) if parts == "**" || parts.ends_with("/**") => {
            ResourcePattern::parse(&format!("{scheme}://{parts}"))
        }
        Some((scheme, parts)) => ResourcePattern::parse(&format!("{scheme}://{parts}/**")),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    #[test]
    fn short_forms_reach_below_what_they_name() {
        for (short, long) in [
            ("read:github", "read:github://**"),
            ("read:github/x", "read:github://x/**"),
            ("read:github/x/**", "read:github://x/**"),
            ("read:github/**", "read:github://**"),
            ("read:github/*", "read:github://**"),
            ("read:github/x/*", "read:github://x/*/**"),
            ("read", "read:*"),
            ("read:**", "read:*"),
            ("read:github/a:b/%2A", "read:github://a:b/%2A/**"),
        ] {
            assert_eq!(scope(short).resource(), scope(long).resource(), "{short}");
            assert!(scope(short).covers(&scope(long)) && scope(long).covers(&scope(short)), "{short}");
        }
    }

    #[test]
    fn cover_table() {
        for (wide, narrow) in [
            ("file_read:github", "file_read:github/specific"),
            ("file_read:github/x", "file_read:github/x/y"),
            ("file_read:github/x", "file_read:github://x"),
            ("file_read", "file_read:github"),
            ("*", "file_read:github"),
            ("*:*", "*"),
            ("mail.*:box/a", "mail.read:box://a/b/*"),
        ] {
            assert!(scope(wide).covers(&scope(narrow)), "{wide} ⊇ {narrow}");
        }
        for (narrow, wide) in [
            ("file_read:github/specific", "file_read:github"),
            ("file_read:github/x", "file_read:github/xy"),
            ("file_read:github://x", "file_read:github/x"),
            ("file_read:github", "file_read"),
            ("file_read:github", "file_read:gitlab"),
            ("file_read:github", "file_read:git"),
            ("file_read:github", "file_write:github"),
            ("mail.*", "mail.read.all"),
        ] {
            assert!(!scope(narrow).covers(&scope(wide)), "{narrow} ⊉ {wide}");
        }
    }

    #[test]
    fn permits_needs_the_whole_resource_and_the_action() {
        let name = |text| ActionName::parse(text).unwrap();
        let resource = |text| ResourcePattern::parse(text).unwrap();
        let own = scope("orders.read:order://customer:42/*");
        assert!(own.permits(&name("orders.read"), &resource("order://customer:42/7")));
        assert!(own.permits(&name("orders.read"), &resource("order://customer:42/*")));
        assert!(!own.permits(&name("orders.read"), &resource("order://*/7")));
        assert!(!own.permits(&name("orders.read"), &resource("order://customer:42/7/lines")));
        assert!(!own.permits(&name("orders.write"), &resource("order://customer:42/7")));
    }

    #[test]
    fn nasty_scopes_are_refused() {
        for text in [
            "",
            ":",
            ":github",
            "read:",
            "read:/x",
            "read:github/",
            "read:github//x",
            "read:github/../x",
            "read:github/%2e%2e",
            "read:://x",
            "read:*://x",
            "read:git*",
            "read:customer:42",
            "read:a://",
            "a b",
            "r\u{e9}ad",
            "read:git\\x",
            "read:a/\"",
            "read..all",
            "read:a/**/b",
            "read:a/x**",
            "read:a\n",
        ] {
            assert!(Scope::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_list_keeps_order_drops_repeats_and_names_the_bad_item() {
        let list = Scope::parse_list("  b:x a  b:x a:y ").unwrap();
        assert_eq!(list.iter().map(Scope::as_str).collect::<Vec<_>>(), ["b:x", "a", "a:y"]);
        assert!(Scope::parse_list("").unwrap().is_empty());
        let error = Scope::parse_list("a b:/oops c").unwrap_err();
        assert!(error.to_string().contains("`b:/oops`"), "{error}");
        assert!(Scope::parse_list("a\tb").is_err());
    }

    proptest! {
        #[test]
        fn text_is_kept(text in "[a-c*.]{1,4}(:[a-c*/:%2]{0,8})?") {
            if let Ok(scope) = Scope::parse(&text) {
                prop_assert_eq!(scope.to_string(), text.clone());
                let json = serde_json::to_string(&scope).unwrap();
                prop_assert_eq!(serde_json::from_str::<Scope>(&json).unwrap(), scope);
            }
        }
    }
}
