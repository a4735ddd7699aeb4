//! Policies: versioned documents that say what agents may do (DESIGN §4).
//!
//! [`Policy::load`] reads and checks one document; [`PolicySet`] holds all that are in force;
//! [`PolicySet::bind`] picks those that apply to the agents of one chain and fills their templates, so that
//! [`crate::judge`] has nothing left to look up but the action.
//!
//! Invariant: what a document says and this version doesn't know is an error when loading. Nothing is ignored.

mod approvers;
mod bind;
pub mod case;
mod check;
mod compact;
mod compare;
mod document;
mod duration;
#[cfg(test)]
pub(crate) mod fixture;
mod full;
mod hours;
mod intent;
mod key;
mod lists;
mod rule;
mod schema;
mod selector;
mod set;
mod shadow;
mod shape;
mod stage;
mod template;
#[cfg(test)]
mod tests;
mod types;

pub use bind::BoundPolicies;
pub(crate) use bind::{BoundLink, BoundPolicy, bounded, encoded};
pub use compare::{Comparison, Wider, Witness, compare, compare_with};
pub(crate) use hours::Hours;
pub(crate) use intent::IntentOf;
pub(crate) use rule::{Approve, Condition, Kind, LimitOf, Reads, Rule};
pub use schema::schema;
pub use set::{PolicySet, Staged};
pub(crate) use shape::ShapeOf;
pub use stage::{NoStage, Stage};

use crate::{diagnostic::Diagnostic, pattern::ActionName, service::Service};
use rule::Index;
use selector::Selector;
use std::{fmt, sync::Arc, time::Duration};
use template::Template;

/// Whether a policy has a say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It has.
    Enforce,
    /// It grants, forbids, charges and chooses nothing; what it would have said is noted.
    Observe,
}

impl Mode {
    /// The word of the policy language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// What whoever loads a document adds to it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Named<'a> {
    /// What messages call the source.
    pub file: Option<&'a str>,
    /// The name of a document in the compact form that has no `agent`. Absent: the file's, without folder and ending.
    pub name: Option<&'a str>,
    /// The handles of the agents that a document in the compact form without `agent` is for.
    pub agents: &'a [String],
}

/// A policy at one version, checked and compiled.
pub struct Policy {
    name: Arc<str>,
    version: u64,
    label: Arc<str>,
    mode: Mode,
    /// Whether it was written in the compact form.
    compact: bool,
    /// In seconds.
    keep: Option<u64>,
    selector: Selector,
    /// As they were stated; conditions have them filled in.
    lists: Box<[lists::Stated]>,
    rules: Box<[Rule]>,
    /// The templates of all rules; each entry of `on` knows its index.
    templates: Box<[Template]>,
    index: Index,
}

impl Policy {
    /// Reads the YAML (or JSON) of one policy and checks it, also against the services that are in force: names and
    /// types of parameters, and that nothing rests on what an agent merely claims (DESIGN §4, "Provenance").
    /// `file` is what messages call the source. Answers the policy with its warnings.
    ///
    /// # Errors
    /// Everything that is wrong with it, and the warnings, in the order of the source.
    pub fn load(
        source: &[u8],
        file: Option<&str>,
        version: u64,
        services: &[&Service],
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        Self::load_as(source, &Named { file, ..Named::default() }, version, services)
    }

    /// As [`Policy::load`], for a document that was put in force before: what is an error is one still, but nobody is warned
    /// again, which saves more than half of the time.
    ///
    /// # Errors
    /// As there.
    pub fn load_again(
        source: &[u8],
        name: &str,
        version: u64,
        services: &[&Service],
    ) -> Result<Self, Vec<Diagnostic>> {
        let named = Named { file: Some(name), ..Named::default() };
        Self::read(source, &named, version, services, false).map(|(policy, _)| policy)
    }

    /// As [`Policy::load`], for a document that may leave open what it is called and whom it is about: the compact
    /// form without `agent`.
    ///
    /// # Errors
    /// As there.
    pub fn load_as(
        source: &[u8],
        named: &Named<'_>,
        version: u64,
        services: &[&Service],
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        Self::read(source, named, version, services, true)
    }

    fn read(
        source: &[u8],
        named: &Named<'_>,
        version: u64,
        services: &[&Service],
        advised: bool,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let (root, report) = crate::yaml::parse(source, named.file)?;
        let is_compact = compact::is(&root);
        let root = if is_compact {
            let name = named.name.or_else(|| named.file.map(compact::stem));
            let given = compact::Given { name, agents: named.agents };
            match compact::translate(&root, given, services, &report) {
                Some(full) => full,
                None => return report.finish(None),
            }
        } else {
            if !named.agents.is_empty() {
                report.error(
                    root.position,
                    "the document says itself whom it is about: `--agent` is for the compact form without `agent`",
                );
            }
            root
        };
        let policy = document::read(&root, &report, version);
        if let Some(policy) = &policy {
            if advised {
                shadow::check(policy, &report);
            }
            check::policy(policy, services, &report, advised);
            if advised {
                compare::check_possible(policy, services, &report);
            }
        }
        report.finish(policy.map(|policy| Self { compact: is_compact, ..policy }))
    }

    /// The name that a document would be applied under: the one it states or, in the compact form without `agent`, the
    /// file's. `None` where it can't be read, or states none.
    pub fn name_of(source: &[u8], file: Option<&str>) -> Option<String> {
        let (root, _) = crate::yaml::parse(source, None).ok()?;
        let stated = root.get(if compact::is(&root) { "agent" } else { "policy" });
        match stated.map(|node| &node.value) {
            Some(crate::yaml::Yaml::String(name)) => Some(name.clone()),
            None if compact::is(&root) => file.map(|file| compact::stem(file).to_owned()),
            _ => None,
        }
    }

    /// Warnings for a server that has no judge of intent: what these rules say is denied there, or asked of people.
    pub fn without_judge(&self) -> Vec<Diagnostic> {
        let asking = |rule: &Rule| {
            let of = rule.intent.as_ref().filter(|of| of.terms.judge)?;
            let message = format!("rule `{}` asks a judge of intent, and this server has none", rule.name);
            let help = "start it with `--intent-judge FILE`; without one nothing fits";
            Some(Diagnostic::warning(message).at(of.position()).help(help))
        };
        self.rules.iter().filter_map(asking).collect()
    }

    /// Whether the document is in the compact form. What that becomes depends on the services that are in force then,
    /// and on whom it is applied to: what is kept of it is [`Policy::kept`].
    pub fn is_compact(&self) -> bool {
        self.compact
    }

    /// The text that stands for this policy from now on: `source`, or of the compact form what it became, with
    /// `source` in its comments.
    pub fn kept(&self, source: &str) -> String {
        if !self.compact {
            return source.to_owned();
        }
        let mut kept = "# From the compact form:\n".to_owned();
        // All that one YAML reader or another takes for the end of a line.
        for line in source.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
            kept.push_str("#   ");
            kept.push_str(line);
            kept.push('\n');
        }
        let full = self.in_full();
        kept.push_str(&full);
        if kept.len() > crate::yaml::MAX_SOURCE { full } else { kept }
    }

    /// The name, unique in an installation: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version that it was loaded as.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// `name@version`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether it has a say or is only observed.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How long the bodies of entries about what it was asked are kept: `record: {keep: …}`.
    pub fn keep(&self) -> Option<Duration> {
        self.keep.map(Duration::from_secs)
    }

    /// The names of its rules, in order.
    pub fn rule_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.name)
    }

    /// A handle and labels of an agent that it applies to, for tests that state none.
    fn sample_agent(&self) -> (String, std::collections::BTreeMap<String, String>) {
        self.selector.sample()
    }

    pub(crate) fn label_arc(&self) -> &Arc<str> {
        &self.label
    }

    /// The rules that name an action, in order.
    pub(crate) fn candidates(&self, action: &ActionName) -> impl Iterator<Item = &Rule> {
        let (indexes, exact) = self.index.find(action);
        indexes
            .iter()
            .filter_map(|index| self.rules.get(*index))
            .filter(move |rule| exact || rule.names(action))
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("label", &self.label).field("rules", &self.rules.len()).finish()
    }
}

/// Checks a service against the policies in force: the errors say which policy and rule it would make unsound.
/// Warnings are left out: they belong to the policy's author.
pub fn check_service(policies: &PolicySet, service: &Service) -> Vec<Diagnostic> {
    check::service(policies, service)
}
