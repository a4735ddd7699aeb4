//! `applies_to`: which agents a policy is about.

use crate::{
    agent::Agent,
    pattern::{Component, Piece},
};
use std::collections::BTreeMap;

/// All keys must hold, any item of a list.
#[derive(Debug, Default)]
pub(super) struct Selector {
    /// Absent: every handle.
    pub(super) agents: Option<Box<[Handle]>>,
    /// Names with the values that will do.
    pub(super) labels: Box<[(String, Box<[String]>)]>,
}

/// A pattern over handles; a star stands for any text, also in the middle.
#[derive(Debug)]
pub(super) struct Handle {
    component: Component,
    text: Box<str>,
}

impl Selector {
    /// A handle and labels of an agent that the policy is about.
    pub(super) fn sample(&self) -> (String, BTreeMap<String, String>) {
        let handle =
            self.agents.as_deref().and_then(<[Handle]>::first).map(|handle| handle.text.replace('*', "test"));
        let handle = handle.filter(|handle| crate::agent::is_handle(handle));
        let labels =
            self.labels.iter().filter_map(|(name, values)| Some((name.clone(), values.first()?.clone())));
        (handle.unwrap_or_else(|| "agent".to_owned()), labels.collect())
    }

    /// Whether the policy is about this agent.
    pub(super) fn selects(&self, agent: &Agent) -> bool {
        let named = |handles: &[Handle]| handles.iter().any(|handle| handle.component.matches(&agent.handle));
        self.agents.as_deref().is_none_or(named)
            && self.labels.iter().all(|(name, values)| {
                agent.labels.get(name).is_some_and(|own| values.iter().any(|value| value == own))
            })
    }
}

impl Handle {
    /// Reads `support-*`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "a handle has letters, digits, `.`, `_` and `-`, here also `*`";
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'*');
        if text.is_empty() || !text.bytes().all(allowed) {
            return Err(FORM);
        }
        if text.len() > 64 || text.bytes().filter(|byte| *byte == b'*').count() > crate::pattern::MAX_STARS {
            return Err("a handle has at most 64 characters, here 16 of them stars");
        }
        let mut pieces = Vec::new();
        for (index, literal) in text.split('*').enumerate() {
            if index > 0 {
                pieces.push(Piece::Star);
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
        }
        Ok(Self { component: Component::from_pieces(pieces), text: text.into() })
    }

    /// Whether it stands for the handle.
    pub(super) fn matches(&self, handle: &str) -> bool {
        self.component.matches(handle)
    }

    /// What it is made of.
    pub(super) fn component(&self) -> &Component {
        &self.component
    }

    /// The handle, where it is one.
    pub(super) fn single(&self) -> Option<&str> {
        self.component.as_literal()
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What every handle that it stands for begins with.
    pub(super) fn prefix(&self) -> &str {
        self.text.split('*').next().unwrap_or_default()
    }
}
