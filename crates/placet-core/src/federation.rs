//! Issuers whose assertions count here (RFC 7523 §2.1), in two kinds: of people, where an enterprise's identity
//! provider says that an agent acts for one of them (an *ID-JAG*, draft-ietf-oauth-identity-assertion-authz-grant), and
//! of *workloads*, where a CI system, a cluster or SPIFFE says which of its jobs a request comes from.
//!
//! An administrator says whom an issuer means: a subject of it is a user or an agent here because the document of the
//! issuer says so, and for no other reason.
//!
//! Invariant: nobody is made because somebody else's token names them, and what is not mapped is refused.

pub mod assertion;
mod glob;

pub use glob::{Glob, GlobError};

use crate::{
    client::Uri,
    jose::{Algorithm, JwkError, KeySet},
    scope::Scope,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// The most rules that say which workloads act as which agents.
pub const MAX_RULES: usize = 256;
/// The most users that are named when an issuer is added; more are added one by one.
pub const MAX_USERS: usize = 1000;
/// The longest subject, in bytes.
pub const MAX_SUBJECT: usize = 1024;
/// The most claims that are required at once.
const MAX_CLAIMS: usize = 16;
/// The longest URL, in bytes.
const MAX_URL: usize = 2048;
/// The largest key set, in bytes of JSON.
const MAX_JWKS: usize = 64 * 1024;
/// How long what is given on the word of an issuer of people may live.
const LIFETIMES: std::ops::RangeInclusive<u64> = 60..=24 * 3600;

/// What an administrator says about an issuer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The `iss` of its assertions, byte for byte.
    pub issuer: String,
    /// Its public keys (RFC 7517 §5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// Where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// The algorithms that it signs with, as JOSE names them.
    #[serde(default = "all_algorithms")]
    pub algorithms: Vec<String>,
    /// What it says about people, if that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_jag: Option<People>,
    /// What it says about workloads, if that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workloads>,
}

/// Whom an issuer of people means, and how far its word goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// The claim that names a person.
    #[serde(default = "subject")]
    pub claim: String,
    /// Users by what that claim says. Where it is stored, the store has them beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, String>,
    /// Whether the claim is the name of a user, where no user is named for it.
    #[serde(default)]
    pub by_name: bool,
    /// What else an assertion has to claim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Glob>,
    /// What may be given on its word at most; without it, all that the agent's registration has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Vec<Scope>>,
    /// For how long a grant is made, in seconds.
    #[serde(default = "an_hour")]
    pub lifetime: u64,
    /// The claim whose text is what a task is for, where the issuer is trusted to say that: policies then know it as they
    /// know what a person has written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

/// Which workloads of an issuer act as which agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workloads {
    /// The rules; each that holds names an agent.
    pub agents: Vec<Rule>,
    /// Whether each assertion is good once, by its `jti`. Many systems hand the same token to a job again and again.
    #[serde(default)]
    pub one_time: bool,
}

/// Some workloads that act as an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Their `sub`.
    pub subject: Glob,
    /// The agent: as it was sent a handle or an id, as it is stored an id.
    pub agent: String,
    /// What else they have to claim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Glob>,
}

fn all_algorithms() -> Vec<String> {
    Algorithm::ALL.map(|algorithm| algorithm.as_str().to_owned()).to_vec()
}

fn subject() -> String {
    "sub".to_owned()
}

const fn an_hour() -> u64 {
    3600
}

/// What is wrong with what is said about an issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// No name of an issuer.
    #[error(
        "`issuer` is the `iss` of its assertions: an absolute URI of visible ASCII, at most {MAX_URL} bytes"
    )]
    Issuer,
    /// No keys, or two places of keys.
    #[error("send one of `jwks` and `jwks_uri`: the issuer's public keys, or where they are")]
    Keys,
    /// Keys that are none.
    #[error("`jwks`: {0}")]
    Jwks(JwkError),
    /// No key that could verify anything.
    #[error("`jwks` has no key that signs with EdDSA, ES256, RS256 or PS256")]
    NoKey,
    /// A set that is too large.
    #[error("`jwks` has fewer than {MAX_JWKS} bytes")]
    TooLarge,
    /// No place of keys.
    #[error("`jwks_uri` is an https URL (or http at this machine) without fragment")]
    JwksUri,
    /// An algorithm that is not known.
    #[error("`algorithms` is a list of at least one of EdDSA, ES256, RS256, PS256")]
    Algorithms,
    /// It would count for nothing.
    #[error(
        "send `id_jag` (it speaks about people), `workload` (it speaks about workloads), or both: its word counts for nothing otherwise"
    )]
    NoKind,
    /// Nobody could be meant.
    #[error(
        "`id_jag` names nobody: list `users`, or say `by_name` where the claim is the name of a user here"
    )]
    Nobody,
    /// Something about people.
    #[error("`id_jag`: {0}")]
    People(&'static str),
    /// Something about workloads.
    #[error("`workload`: {0}")]
    Workloads(&'static str),
}

impl Document {
    /// Checks what somebody sent, but for the users and agents that it names.
    ///
    /// # Errors
    /// [`DocumentError`], saying what would do.
    pub fn check(&self) -> Result<(), DocumentError> {
        if !is_issuer(&self.issuer) {
            return Err(DocumentError::Issuer);
        }
        match (&self.jwks, &self.jwks_uri) {
            (Some(set), None) => {
                if set.to_string().len() >= MAX_JWKS {
                    return Err(DocumentError::TooLarge);
                }
                if KeySet::parse(set).map_err(DocumentError::Jwks)?.is_empty() {
                    return Err(DocumentError::NoKey);
                }
            }
            (None, Some(url)) if is_place_of_keys(url) => {}
            (None, Some(_)) => return Err(DocumentError::JwksUri),
            (Some(_), Some(_)) | (None, None) => return Err(DocumentError::Keys),
        }
        let known = |name: &String| Algorithm::from_name(name).is_some_and(|known| known.as_str() == name);
        if self.algorithms.is_empty() || !self.algorithms.iter().all(known) {
            return Err(DocumentError::Algorithms);
        }
        if self.id_jag.is_none() && self.workload.is_none() {
            return Err(DocumentError::NoKind);
        }
        self.id_jag.as_ref().map_or(Ok(()), People::check)?;
        self.workload.as_ref().map_or(Ok(()), Workloads::check)
    }

    /// Whether it signs with this algorithm.
    pub fn signs_with(&self, algorithm: Algorithm) -> bool {
        self.algorithms.iter().any(|name| name == algorithm.as_str())
    }
}

impl People {
    fn check(&self) -> Result<(), DocumentError> {
        let wrong = |what| Err(DocumentError::People(what));
        if self.claim.is_empty() || self.claim.len() > 256 {
            return wrong("`claim` is the name of the claim that names a person, such as `sub` or `email`");
        }
        if self.purpose.as_ref().is_some_and(|claim| claim.is_empty() || claim.len() > 256) {
            return wrong("`purpose` is the name of the claim that says what a task is for");
        }
        if self.users.len() > MAX_USERS {
            return wrong("`users` has at most 1000 entries; add others one by one");
        }
        if self.users.keys().any(|subject| !is_subject(subject)) {
            return wrong("each of `users` has 1 to 1024 bytes without control characters");
        }
        if self.claims.len() > MAX_CLAIMS {
            return wrong("`claims` has at most 16 entries");
        }
        if !LIFETIMES.contains(&self.lifetime) {
            return wrong("`lifetime` is 60 to 86400 seconds");
        }
        if self.users.is_empty() && !self.by_name { Err(DocumentError::Nobody) } else { Ok(()) }
    }

    /// What the claim says that names a person; `None` where it is not there, is no text, or is an email address that the
    /// issuer itself does not vouch for.
    pub fn named<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c str> {
        // The same claim, however it is spelt.
        let unverified = matches!(self.claim.as_str(), "email" | "/email")
            && claims.get("email_verified").is_some_and(|verified| *verified != Value::Bool(true));
        if unverified {
            return None;
        }
        found(claims, &self.claim)?.as_str().filter(|subject| is_subject(subject))
    }

    /// What the task is for, where the issuer is trusted to say so and does.
    pub fn purpose<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c str> {
        found(claims, self.purpose.as_ref()?)?.as_str().filter(|text| !text.trim().is_empty())
    }

    /// For how long a grant is made.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs(self.lifetime)
    }
}

impl Workloads {
    fn check(&self) -> Result<(), DocumentError> {
        let wrong = |what| Err(DocumentError::Workloads(what));
        if self.agents.is_empty() || self.agents.len() > MAX_RULES {
            return wrong("`agents` has 1 to 256 rules, each with `subject` and `agent`");
        }
        if self.agents.iter().any(|rule| rule.subject.as_str().starts_with('*')) {
            return wrong("a `subject` says how it begins: it does not begin with `*`");
        }
        if self.agents.iter().any(|rule| rule.claims.len() > MAX_CLAIMS) {
            return wrong("`claims` has at most 16 entries");
        }
        Ok(())
    }

    /// The agents that the rules name for these claims, as they are stored, each once.
    pub fn agents_of<'r>(&'r self, claims: &Map<String, Value>) -> Vec<&'r str> {
        let mut agents: Vec<&str> = Vec::new();
        let Some(subject) = claims.get("sub").and_then(Value::as_str) else { return agents };
        for rule in &self.agents {
            if rule.subject.matches(subject)
                && holds(&rule.claims, claims)
                && !agents.contains(&rule.agent.as_str())
            {
                agents.push(&rule.agent);
            }
        }
        agents
    }
}

/// Whether everything that is required is claimed. A claim that is a list has it where one of its items has.
pub fn holds(required: &BTreeMap<String, Glob>, claims: &Map<String, Value>) -> bool {
    required.iter().all(|(name, glob)| match found(claims, name) {
        Some(Value::Array(items)) => items.iter().any(|item| is(glob, item)),
        Some(value) => is(glob, value),
        None => false,
    })
}

fn is(glob: &Glob, value: &Value) -> bool {
    match value {
        Value::String(text) => glob.matches(text),
        Value::Bool(_) | Value::Number(_) => glob.matches(&value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A claim by its name, or by a JSON pointer (RFC 6901) where the name begins with a slash.
fn found<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let Some(path) = name.strip_prefix('/') else { return claims.get(name) };
    let unescaped = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = claims.get(&unescaped(first))?;
    rest.map_or(Some(value), |rest| value.pointer(&format!("/{rest}")))
}

/// Whether it can be whom an issuer means.
pub fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_issuer(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    text.len() <= MAX_URL
        && text.len() > scheme.len() + 1
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_place_of_keys(url: &str) -> bool {
    url.len() <= MAX_URL && Uri::parse(url).is_ok_and(|uri| uri.is_https_or_local())
}

#[cfg(test)]
mod tests;
