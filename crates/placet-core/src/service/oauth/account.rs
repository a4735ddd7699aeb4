//! An account that its owner connects: where they are sent to agree (RFC 6749 §4.1.1, with PKCE), what they come back with,
//! and the code that they enter elsewhere (RFC 8628).
//!
//! Invariant: an answer counts only where nothing of it is there twice and it is not another server's (RFC 9207); what
//! people are sent to is https, or http at this machine.

use super::{Kept, Members, OAuth, Ungranted};
use crate::{client::Uri, secret::Secret};
use serde::Deserialize;
use std::time::Duration;

/// What an authorization request says by itself, and no definition.
pub const RESERVED: [&str; 12] = [
    "response_type",
    "response_mode",
    "client_id",
    "client_secret",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
    "resource",
];
/// How much is kept of what a server says about its error, in characters.
const SHOWN: usize = 200;
/// The longest code that a person enters.
const MAX_USER_CODE: usize = 64;
/// For how long a device's code is believed to be good, at most.
const LONGEST: u64 = 1800;
/// How often it is asked whether a person has answered, where nothing is said (RFC 8628 §3.2), and at most and at least.
const USUAL: u64 = 5;
const SLOWEST: u64 = 60;

/// Whether people can be sent to `url`: https, or http at this machine, without user and fragment.
pub(crate) fn is_page(url: &str) -> bool {
    let Ok(Uri { scheme, authority: Some(authority), .. }) = Uri::parse(url) else { return false };
    !url.contains(['#', '@']) && (scheme == "https" || (scheme == "http" && authority.is_loopback()))
}

/// What a request to agree says beside what the service does.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Who this server is there.
    pub client_id: &'a str,
    /// Where the person comes back to.
    pub redirect_uri: &'a str,
    /// By what the answer is known.
    pub state: &'a str,
    /// The challenge (`S256`).
    pub code_challenge: &'a str,
}

impl OAuth {
    /// Where a person is sent to agree; none where that can't be done.
    pub fn ask_at(&self, asking: &Asking<'_>) -> Option<String> {
        let at = self.authorization_url.as_ref()?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", asking.client_id)
            .append_pair("redirect_uri", asking.redirect_uri);
        if !self.scope.is_empty() {
            query.append_pair("scope", &self.scope.join(" "));
        }
        query
            .append_pair("state", asking.state)
            .append_pair("code_challenge", asking.code_challenge)
            .append_pair("code_challenge_method", "S256");
        for (name, whom) in [("resource", &self.resource), ("audience", &self.audience)] {
            if let Some(whom) = whom {
                query.append_pair(name, whom);
            }
        }
        query.extend_pairs(&self.authorization_params);
        let join = if at.contains('?') { '&' } else { '?' };
        Some(format!("{at}{join}{}", query.finish()))
    }
}

/// What a person came back with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// By what it is known.
    pub state: String,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    description: Option<String>,
}

/// Why there is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCode {
    /// It is another server's answer, or does not say whose.
    #[error("the answer is not of the server that was asked")]
    NotIts,
    /// It says whose it is, and the service does not say whose it should be.
    #[error("the answer says whose it is, and the service does not say who that should be (`issuer`)")]
    Unnamed,
    /// The server, or the person, has said no: its code, and what it says about that.
    #[error("the answer is `{0}`")]
    Refused(String, Option<String>),
    /// Neither a code nor an error.
    #[error("the answer has no code")]
    Nothing,
}

impl Answer {
    /// Reads the query of an answer, of which nothing is there twice.
    pub fn read(query: &str) -> Option<Self> {
        let mut answer = Self::default();
        let mut state = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match name.as_ref() {
                "state" => &mut state,
                "code" => &mut answer.code,
                "iss" => &mut answer.iss,
                "error" => &mut answer.error,
                "error_description" => &mut answer.description,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        answer.state = state?;
        Some(answer)
    }

    /// The code, where it is an answer of `server`.
    ///
    /// # Errors
    /// [`NoCode`].
    pub fn code(&self, server: &OAuth) -> Result<&str, NoCode> {
        match (&self.iss, &server.issuer) {
            (Some(iss), Some(issuer)) if iss == issuer => {}
            (Some(_), None) => return Err(NoCode::Unnamed),
            (None, _) if !server.iss_in_response => {}
            _ => return Err(NoCode::NotIts),
        }
        if let Some(error) = &self.error {
            let cut = |text: &String| text.chars().take(SHOWN).collect();
            return Err(NoCode::Refused(cut(error), self.description.as_ref().map(cut)));
        }
        self.code.as_deref().filter(|code| !code.is_empty()).ok_or(NoCode::Nothing)
    }
}

impl Kept {
    /// What is asked for the code of a device (RFC 8628 §3.1), as the members of a form.
    pub fn asks_for_device<'a>(&'a self, server: &'a OAuth) -> Members<'a> {
        let mut form: Members<'a> = Vec::new();
        server.put_scope(&mut form);
        for (name, whom) in [("resource", &server.resource), ("audience", &server.audience)] {
            form.extend(whom.as_ref().map(|whom| (name, whom.as_bytes().into())));
        }
        // The client is named in the form, however it proves who it is (RFC 8628 §3.1).
        self.names_itself(server, &mut form);
        if !form.iter().any(|(name, _)| *name == "client_id") {
            form.push(("client_id", self.client_id.as_bytes().into()));
        }
        form
    }
}

/// What is told to whoever connects an account from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// What the token is asked for with.
    pub device_code: Secret,
    /// What the person enters.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// For how long.
    pub lifetime: Duration,
    /// How often it may be asked whether they have.
    pub interval: Duration,
}

#[derive(Deserialize)]
struct Said {
    device_code: Option<String>,
    user_code: Option<String>,
    verification_uri: Option<String>,
    verification_uri_complete: Option<String>,
    expires_in: Option<u64>,
    interval: Option<u64>,
}

impl Device {
    /// Reads the answer of a device authorization endpoint: `ok` where its status was 200.
    ///
    /// # Errors
    /// [`Ungranted`].
    pub fn read(server: &OAuth, ok: bool, body: &Secret) -> Result<Self, Ungranted> {
        if !ok {
            // An error is written as at the token endpoint (RFC 8628 §3.2).
            return match super::read(server, false, body) {
                Err(error) => Err(error),
                Ok(_) => Err(Ungranted::Unusable("it is no answer for a device")),
            };
        }
        let wrong = Ungranted::Unusable;
        let said: Said = serde_json::from_slice(body.expose())
            .map_err(|_| wrong("it is no JSON object of RFC 8628 §3.2"))?;
        let device_code = said.device_code.map(Secret::new).filter(|code| super::is_token(code.expose()));
        let is_code = |code: &String| {
            (1..=MAX_USER_CODE).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let seconds = |asked: Option<u64>, usual: u64, most: u64| {
            Duration::from_secs(asked.filter(|it| *it > 0).unwrap_or(usual).min(most))
        };
        Ok(Self {
            device_code: device_code.ok_or(wrong("it has no device code"))?,
            user_code: said.user_code.filter(is_code).ok_or(wrong("it has no code that can be shown"))?,
            verification_uri: said
                .verification_uri
                .filter(|url| is_page(url))
                .ok_or(wrong("its `verification_uri` is no https URL"))?,
            verification_uri_complete: said.verification_uri_complete.filter(|url| is_page(url)),
            lifetime: seconds(said.expires_in, LONGEST, LONGEST),
            interval: seconds(said.interval, USUAL, SLOWEST),
        })
    }
}

#[cfg(test)]
mod tests;
