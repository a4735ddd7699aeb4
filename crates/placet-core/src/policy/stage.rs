//! Stages: the agents that have a version of a policy before all others do.
//!
//! Invariant: who has it depends on the policy's name and the agent alone. A larger share has all that a smaller one
//! has, and the next version that is staged has the same agents first.

use crate::{agent::Agent, secret::sha256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most labels of a stage, and the most values of one.
const MOST: usize = 16;

/// A part of the agents: both must hold of what is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// So many of a hundred agents, from 1 to 100; left out, all that the labels leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<u8>,
    /// Labels, each with the values that will do.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, Values>,
}

/// One value or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

impl Values {
    fn all(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

/// A text that is no stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoStage(String);

impl Stage {
    /// A stage of a share, in percent, and of labels with the values that will do.
    ///
    /// # Errors
    /// A sentence: a share that is none, nothing said, or more labels than 16.
    pub fn new(share: Option<u8>, labels: BTreeMap<String, Vec<String>>) -> Result<Self, NoStage> {
        let labels = labels.into_iter().map(|(name, values)| (name, Values::Several(values))).collect();
        Self { share, labels }.checked()
    }

    /// As it is stored and sent: `{"share": 10, "labels": {"team": ["canary"]}}`.
    ///
    /// # Errors
    /// As [`Stage::new`].
    pub fn parse(json: &str) -> Result<Self, NoStage> {
        let stage: Self = serde_json::from_str(json)
            .map_err(|error| NoStage(format!("this is no stage of a rollout: {error}")))?;
        stage.checked()
    }

    /// As [`Stage::parse`] reads it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Checks what serde does not.
    ///
    /// # Errors
    /// As [`Stage::new`].
    pub fn checked(self) -> Result<Self, NoStage> {
        if self.share.is_none() && self.labels.is_empty() {
            return Err(NoStage(
                "a stage says which agents are in it: a `share` of them, `labels`, or both".into(),
            ));
        }
        if self.share.is_some_and(|share| share == 0 || share > 100) {
            return Err(NoStage("`share` is a percentage, from 1 to 100".into()));
        }
        let sized = |values: &Values| (1..=MOST).contains(&values.all().len());
        if self.labels.len() > MOST || !self.labels.values().all(sized) {
            return Err(NoStage(format!("a stage has at most {MOST} labels, each with 1 to {MOST} values")));
        }
        Ok(self)
    }

    /// Whether the agent has the staged version of the policy `name`.
    pub fn has(&self, name: &str, agent: &Agent) -> bool {
        self.share.is_none_or(|share| bucket(name, agent) < share)
            && self.labels.iter().all(|(label, values)| {
                agent.labels.get(label).is_some_and(|own| values.all().iter().any(|value| value == own))
            })
    }
}

/// A number from 0 to 99 that an agent has for a policy, for ever.
fn bucket(name: &str, agent: &Agent) -> u8 {
    let hash = sha256(&[name.as_bytes(), b"\0", agent.id.to_string().as_bytes()]);
    let number = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    u8::try_from(number % 100).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixture;

    fn stage(json: &str) -> Stage {
        Stage::parse(json).unwrap()
    }

    fn agent(number: u8) -> Agent {
        Agent { id: fixture::id(number), ..fixture::spec(0, "a").agent }
    }

    #[test]
    fn a_larger_share_has_all_that_a_smaller_one_has() {
        let agents: Vec<Agent> = (0..250).map(agent).collect();
        let of = |share: u8| {
            let stage = stage(&format!(r#"{{"share": {share}}}"#));
            agents.iter().filter(|agent| stage.has("desk", agent)).map(|agent| agent.id).collect::<Vec<_>>()
        };
        let (few, many, all) = (of(10), of(50), of(100));
        assert!(few.iter().all(|agent| many.contains(agent)));
        assert_eq!(all.len(), agents.len());
        // Of 250 a tenth and a half, within five deviations; the ids are the same at each run.
        assert!((2..=48).contains(&few.len()), "{}", few.len());
        assert!((86..=164).contains(&many.len()), "{}", many.len());
        // Another policy has others.
        let other = stage(r#"{"share": 10}"#);
        let others: Vec<_> =
            agents.iter().filter(|agent| other.has("mail", agent)).map(|agent| agent.id).collect();
        assert_ne!(few, others);
    }

    #[test]
    fn a_stage_says_who_is_in_it() {
        for wrong in [
            "{}",
            r#"{"share": 0}"#,
            r#"{"share": 101}"#,
            r#"{"share": 256}"#,
            r#"{"share": -1}"#,
            r#"{"labels": {}}"#,
            r#"{"labels": {"a": []}}"#,
            r#"{"share": 5, "agents": []}"#,
            "[]",
            "",
        ] {
            assert!(Stage::parse(wrong).is_err(), "{wrong}");
        }
        let both = stage(r#"{"share":100,"labels":{"team":["canary","eu"]}}"#);
        assert_eq!(stage(&both.to_json()), both);
        let mut agent = agent(1);
        assert!(!both.has("desk", &agent));
        agent.labels.insert("team".to_owned(), "eu".to_owned());
        assert!(both.has("desk", &agent));
        agent.labels.insert("team".to_owned(), "us".to_owned());
        assert!(!both.has("desk", &agent));
        assert!(stage(r#"{"labels":{"team":"us"}}"#).has("desk", &agent));
    }
}
