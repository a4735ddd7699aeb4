//! What clients that nobody registered by hand may have, as an administrator says beforehand: those that register
//! themselves (RFC 7591) and those whose id is a document.
//!
//! Invariant: without an administrator's word it is nothing.

use super::Uri;
use crate::{
    agent::Level,
    pattern::{ActionPattern, ResourcePattern},
    scope::Scope,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The reach of agents that are made when a person confirms such a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Template {
    /// Whether such clients can come at all.
    pub open: bool,
    /// The actions that they may use.
    pub allowed_tools: Vec<ActionPattern>,
    /// The resources that they may act on; every one where it is left out.
    pub resource_access: Option<Vec<ResourcePattern>>,
    /// The highest level of effect.
    pub max_scope_level: Level,
    /// Scopes that a request without `scope` gets.
    pub default_scopes: Vec<Scope>,
    /// The declared types of authorization details that they may state.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorization_details_types: Vec<String>,
    /// Labels that policies select by.
    pub labels: BTreeMap<String, String>,
    /// The hosts whose documents are clients: a name, or `*.` and a name for all below it. Any where it is left out.
    pub document_hosts: Option<Vec<String>>,
}

impl Default for Template {
    fn default() -> Self {
        Self {
            open: true,
            allowed_tools: Vec::new(),
            resource_access: None,
            max_scope_level: Level::default(),
            default_scopes: Vec::new(),
            authorization_details_types: Vec::new(),
            labels: BTreeMap::new(),
            document_hosts: None,
        }
    }
}

impl Template {
    /// Whether a document at this URL can be a client.
    pub fn admits(&self, url: &str) -> bool {
        let Some(hosts) = &self.document_hosts else { return self.open };
        let Ok(Uri { authority: Some(authority), .. }) = Uri::parse(url) else { return false };
        let host = authority.host.to_ascii_lowercase();
        let named = |pattern: &String| match pattern.strip_prefix("*.") {
            Some(above) => host.strip_suffix(above).is_some_and(|below| below.ends_with('.')),
            None => host == *pattern,
        };
        self.open && hosts.iter().any(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_unasked() {
        let template: Template = serde_json::from_str("{}").unwrap();
        assert_eq!(template, Template::default());
        assert!(template.open && template.allowed_tools.is_empty());
        assert!(serde_json::from_str::<Template>(r#"{"allowed": []}"#).is_err());
    }

    #[test]
    fn hosts_are_named_whole() {
        let hosts = vec!["app.example".to_owned(), "*.trusted.example".to_owned()];
        let template = Template { document_hosts: Some(hosts), ..Template::default() };
        for good in ["https://app.example/c", "https://APP.example:8443/c", "https://a.b.trusted.example/c"] {
            assert!(template.admits(good), "{good}");
        }
        for wrong in [
            "https://trusted.example/c",
            "https://eviltrusted.example/c",
            "https://x.app.example/c",
            "https://app.example.evil.example/c",
            "https://evil.example/app.example",
        ] {
            assert!(!template.admits(wrong), "{wrong}");
        }
        assert!(!Template { open: false, ..Template::default() }.admits("https://app.example/c"));
    }
}
