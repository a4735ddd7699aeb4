//! Identity providers that people sign in with (OpenID Connect Core 1.0): what an administrator declares about one, what it
//! publishes about itself, and where a person is sent to be asked.
//!
//! A person is known by what the provider calls them (`sub`) at this provider, and only where that is linked to a user here.
//! An address, a name or a group that it states makes nobody anybody.
//!
//! Invariant: what a provider publishes counts only for the issuer that was declared, letter by letter; its endpoints are
//! https, or http at this machine.

pub mod id_token;

use crate::{
    client::Uri,
    federation::{Glob, holds},
    jose::Algorithm,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The longest handle, in characters.
const MAX_HANDLE: usize = 32;
/// The longest display name, in characters.
const MAX_NAME: usize = 64;
/// The longest client id, in bytes.
const MAX_CLIENT_ID: usize = 512;
/// The most entries of each list.
const MAX_ENTRIES: usize = 16;
/// The longest subject, in bytes (OpenID Connect Core §2).
const MAX_SUBJECT: usize = 255;
/// Where a provider publishes what it is (OpenID Connect Discovery 1.0 §4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// What an administrator declares about a provider; without the client's secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// How it is called in commands and in the address that people come back to: 1–32 of `a-z0-9-`.
    pub handle: String,
    /// Its `issuer`, letter by letter.
    pub issuer: String,
    /// What people read on the button.
    pub name: String,
    /// Who this server is there.
    pub client_id: String,
    /// How this server authenticates at the token endpoint.
    pub auth: ClientAuth,
    /// The algorithms that it may sign with, as JOSE names them.
    #[serde(default = "all_algorithms")]
    pub algorithms: Vec<String>,
    /// What is asked for beside `openid`, where `claims` needs more than is stated anyway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// What else an ID token has to claim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Glob>,
    /// Whether, and when, its word counts for two factors. Without it a code is asked for here, where one is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_factor: Option<SecondFactor>,
}

/// How a client authenticates at the token endpoint (OpenID Connect Core §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Id and secret in the header (RFC 6749 §2.3.1).
    ClientSecretBasic,
    /// Id and secret in the form.
    ClientSecretPost,
}

/// When a provider's word counts for two factors. Both lists empty: always.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondFactor {
    /// Of these `acr` one is stated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acr: Vec<String>,
    /// Of these `amr` one is among those that are stated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
}

/// What is wrong with what is declared about a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// No handle.
    #[error("`handle` has 1 to {MAX_HANDLE} of a-z, 0-9 and `-`, and begins with a letter")]
    Handle,
    /// No issuer.
    #[error("`issuer` is an https URL (or http at this machine) without query and fragment")]
    Issuer,
    /// No name.
    #[error("`name` is what people read: 1 to {MAX_NAME} characters, no control characters")]
    Name,
    /// No client id.
    #[error("`client_id` has 1 to {MAX_CLIENT_ID} visible ASCII characters")]
    ClientId,
    /// No algorithm that is known.
    #[error("`algorithms` is a list of at least one of EdDSA, ES256, RS256, PS256")]
    Algorithms,
    /// No scope.
    #[error("`scope` is a list of at most {MAX_ENTRIES} words")]
    Scope,
    /// Too many claims.
    #[error("`claims` has at most {MAX_ENTRIES} entries")]
    Claims,
    /// Too much is said about second factors.
    #[error("`second_factor`: `acr` and `amr` are lists of at most {MAX_ENTRIES} words")]
    SecondFactor,
}

impl Document {
    /// Checks what somebody sent.
    ///
    /// # Errors
    /// [`DocumentError`], saying what would do.
    pub fn check(&self) -> Result<(), DocumentError> {
        let is_handle = |text: &str| {
            text.len() <= MAX_HANDLE
                && text.starts_with(|first: char| first.is_ascii_lowercase())
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if !is_handle(&self.handle) {
            return Err(DocumentError::Handle);
        }
        if !is_place(&self.issuer) || self.issuer.contains('?') {
            return Err(DocumentError::Issuer);
        }
        let length = self.name.chars().count();
        if !(1..=MAX_NAME).contains(&length)
            || self.name.trim().is_empty()
            || self.name.chars().any(char::is_control)
        {
            return Err(DocumentError::Name);
        }
        if !(1..=MAX_CLIENT_ID).contains(&self.client_id.len())
            || !self.client_id.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(DocumentError::ClientId);
        }
        let known = |name: &String| Algorithm::from_name(name).is_some_and(|known| known.as_str() == name);
        if self.algorithms.is_empty() || !self.algorithms.iter().all(known) {
            return Err(DocumentError::Algorithms);
        }
        let are_words = |list: &[String]| {
            list.len() <= MAX_ENTRIES
                && list.iter().all(|word| {
                    (1..=255).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic())
                })
        };
        if !are_words(&self.scope) {
            return Err(DocumentError::Scope);
        }
        if self.claims.len() > MAX_ENTRIES {
            return Err(DocumentError::Claims);
        }
        match &self.second_factor {
            Some(needs) if !are_words(&needs.acr) || !are_words(&needs.amr) => {
                Err(DocumentError::SecondFactor)
            }
            _ => Ok(()),
        }
    }

    /// Where it publishes what it is.
    pub fn configuration_url(&self) -> String {
        format!("{}{WELL_KNOWN}", self.issuer.trim_end_matches('/'))
    }

    /// Whether it may sign with this algorithm.
    pub fn signs_with(&self, algorithm: Algorithm) -> bool {
        self.algorithms.iter().any(|name| name == algorithm.as_str())
    }

    /// Whether an ID token claims everything else that it has to.
    pub fn is_satisfied_by(&self, claims: &Map<String, Value>) -> bool {
        holds(&self.claims, claims)
    }

    /// Whether its word counts for two factors, going by what the ID token says of how the person was asked.
    pub fn asked_for_two_factors(&self, claims: &Map<String, Value>) -> bool {
        let Some(needs) = &self.second_factor else { return false };
        let stated = |name: &str| claims.get(name).and_then(Value::as_str);
        let acr =
            needs.acr.is_empty() || stated("acr").is_some_and(|acr| needs.acr.iter().any(|one| one == acr));
        let methods = claims.get("amr").and_then(Value::as_array);
        let is_among = |wanted: &String| {
            methods.is_some_and(|methods| methods.iter().any(|method| method.as_str() == Some(wanted)))
        };
        acr && (needs.amr.is_empty() || needs.amr.iter().any(is_among))
    }
}

fn all_algorithms() -> Vec<String> {
    Algorithm::ALL.map(|algorithm| algorithm.as_str().to_owned()).to_vec()
}

/// What a provider publishes about itself (OpenID Connect Discovery 1.0 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Where people are asked.
    pub authorization_endpoint: String,
    /// Where codes are exchanged.
    pub token_endpoint: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Whether its answers say whose they are (RFC 9207 §3).
    pub answers_say_iss: bool,
    /// How clients may authenticate at the token endpoint.
    pub auth_methods: Vec<String>,
}

/// Why what was published is not what a provider of this issuer publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// It is somebody else's.
    #[error("its `issuer` is not the one that was declared, letter by letter")]
    Issuer,
    /// A place is missing or none.
    #[error("its `{0}` is no https URL")]
    Place(&'static str),
    /// It knows no codes.
    #[error("it has no `response_type` `code`")]
    Code,
}

impl Configuration {
    /// Reads what the provider of `issuer` publishes.
    ///
    /// # Errors
    /// [`ConfigurationError`].
    pub fn read(issuer: &str, published: &Value) -> Result<Self, ConfigurationError> {
        let text = |name: &str| published.get(name).and_then(Value::as_str);
        if text("issuer") != Some(issuer) {
            return Err(ConfigurationError::Issuer);
        }
        let place = |name: &'static str| {
            let url = text(name).filter(|url| is_place(url)).ok_or(ConfigurationError::Place(name))?;
            Ok(url.to_owned())
        };
        let words = |name: &str| {
            let list = published.get(name).and_then(Value::as_array)?;
            Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
        };
        if words("response_types_supported").is_some_and(|types| !types.iter().any(|one| one == "code")) {
            return Err(ConfigurationError::Code);
        }
        let says_iss = published.get("authorization_response_iss_parameter_supported");
        Ok(Self {
            authorization_endpoint: place("authorization_endpoint")?,
            token_endpoint: place("token_endpoint")?,
            jwks_uri: place("jwks_uri")?,
            answers_say_iss: says_iss == Some(&Value::Bool(true)),
            auth_methods: words("token_endpoint_auth_methods_supported")
                .unwrap_or_else(|| vec!["client_secret_basic".to_owned()]),
        })
    }

    /// How this server authenticates there, where the administrator has not said.
    pub fn usual_auth(&self) -> Option<ClientAuth> {
        let takes = |method: &str| self.auth_methods.iter().any(|one| one == method);
        match () {
            () if takes("client_secret_basic") => Some(ClientAuth::ClientSecretBasic),
            () if takes("client_secret_post") => Some(ClientAuth::ClientSecretPost),
            () => None,
        }
    }

    /// Whether any of its places is at this machine.
    pub fn is_at_loopback(&self) -> bool {
        [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri]
            .into_iter()
            .any(|url| url.starts_with("http://"))
    }

    /// Where a person is sent to be asked (OpenID Connect Core §3.1.2.1), with PKCE (RFC 7636).
    pub fn ask_at(&self, document: &Document, asking: &Asking<'_>) -> String {
        let mut scope = vec!["openid"];
        scope.extend(document.scope.iter().map(String::as_str).filter(|word| *word != "openid"));
        let scope = scope.join(" ");
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &document.client_id)
            .append_pair("redirect_uri", asking.redirect_uri)
            .append_pair("scope", &scope)
            .append_pair("state", asking.state)
            .append_pair("nonce", asking.nonce)
            .append_pair("code_challenge", asking.code_challenge)
            .append_pair("code_challenge_method", "S256");
        if asking.anew {
            query.append_pair("prompt", "login");
        }
        if let Some(needs) = &document.second_factor
            && !needs.acr.is_empty()
        {
            query.append_pair("acr_values", &needs.acr.join(" "));
        }
        let join = if self.authorization_endpoint.contains('?') { '&' } else { '?' };
        format!("{}{join}{}", self.authorization_endpoint, query.finish())
    }
}

/// What a request to sign in says beside what is declared.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Where the person comes back to.
    pub redirect_uri: &'a str,
    /// By what the answer is known.
    pub state: &'a str,
    /// By what the ID token is known.
    pub nonce: &'a str,
    /// The challenge (`S256`).
    pub code_challenge: &'a str,
    /// Whether the person is to be asked who they are, whoever is signed in there (§3.1.2.1).
    pub anew: bool,
}

/// Whether it can be what a provider calls a person.
pub fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// https, or http at this machine.
fn is_place(url: &str) -> bool {
    let Ok(Uri { scheme, authority: Some(authority), .. }) = Uri::parse(url) else { return false };
    scheme == "https" || (scheme == "http" && authority.is_loopback())
}

#[cfg(test)]
mod tests;
