//! Connections whose credential is an access token of somebody else's authorization server: what a service says about that
//! server, what is kept of a connection, what is asked of the server and what its answer means.
//!
//! A token is asked for with the client's own secret (RFC 6749 §4.4), with a refresh token (§6), with what a person has
//! brought back who agreed at the server ([`account`]), for another token (RFC 8693), or for an assertion that a key of the
//! connection signs ([`assertion`]), also at servers that answer in a form of their own ([`exchange`]). Where no new refresh
//! token comes with an answer, the one there is stays (§6).
//!
//! Invariant: pure. Secrets are held as such; no error, message or debug output has one, nor what the other server wrote
//! beyond the code of its error.

pub mod account;
pub mod assertion;
pub mod exchange;
pub(super) mod load;
pub mod published;

use crate::{
    client::Uri, provider::ClientAuth, secret::Secret, service::reference::Reference, time::Timestamp,
};
use assertion::Signing;
use exchange::Exchange;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, time::Duration};

/// The longest secret or token, in bytes.
pub const MAX_TOKEN: usize = 8192;
/// The longest client id, in bytes.
const MAX_CLIENT_ID: usize = 512;
/// The longest lifetime that is believed; a longer one counts as this.
const LONGEST: u64 = 30 * 86_400;
/// How long a token is taken to live where nothing, or nothing at all, is said of it.
const UNSAID: u64 = 3600;
/// How long before its end a token is renewed, at most. Of a short one, when a fifth is left.
const AHEAD: u64 = 300;
/// The longest code of an error that is passed on.
const MAX_CODE: usize = 64;

/// The authorization server of a service's accounts, as the service's definition says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    /// Its token endpoint.
    pub token_url: String,
    /// How this server shows a client's secret there.
    #[serde(default = "in_header")]
    pub client_auth: ClientAuth,
    /// The scopes that are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// Whom the token is for (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Whom the token is for, where the server calls that so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Where people agree that this server uses their account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_url: Option<String>,
    /// Where a code is asked for that a person enters elsewhere (RFC 8628).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_authorization_url: Option<String>,
    /// What it calls itself, letter by letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Whether its answers always say whose they are (RFC 9207 §3).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub iss_in_response: bool,
    /// What else it wants to be told where people are asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorization_params: BTreeMap<String, String>,
    /// What it calls a bearer token, where that is another word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// Of which kind the token is that a connection has got and that is exchanged (RFC 8693 §3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_token_type: Option<String>,
    /// Whom the assertions are for that a connection's key signs (RFC 7523 §3); none where it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion_audience: Option<String>,
    /// How it gives tokens for such assertions, where not as an authorization server does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
}

const fn in_header() -> ClientAuth {
    ClientAuth::ClientSecretBasic
}

/// Whether a token may be asked for at `url`: https, or http at this machine, without user, query or fragment.
pub fn is_token_url(url: &str) -> bool {
    let Ok(uri) = Uri::parse(url) else { return false };
    let plain = !url.contains(['?', '#', '@']);
    match (uri.scheme, uri.authority) {
        ("https", Some(_)) => plain,
        ("http", Some(authority)) => plain && authority.is_loopback(),
        _ => false,
    }
}

/// What is kept, sealed, of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Who this server is there.
    pub client_id: String,
    /// Its secret; none: a public client.
    pub client_secret: Option<Secret>,
    /// What gets a new access token for the account.
    pub refresh_token: Option<Secret>,
    /// What is exchanged for an access token (RFC 8693).
    pub subject_token: Option<Secret>,
    /// What signs an assertion for one (RFC 7523).
    pub signing: Option<Signing>,
    /// Where what of it is kept elsewhere is.
    pub places: Places,
    /// How it came to be.
    pub origin: Origin,
    /// What is used now.
    pub access: Option<Access>,
}

/// Where those parts are that are not kept here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The client's secret.
    pub client_secret: Option<Reference>,
    /// The key that signs.
    pub signing_key: Option<Reference>,
}

impl Places {
    /// Whether there are any.
    pub const fn is_empty(&self) -> bool {
        self.client_secret.is_none() && self.signing_key.is_none()
    }
}

/// How a connection came to what is kept of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Somebody gave it, with credentials of a client.
    #[default]
    Given,
    /// A person agreed at the server, through the client that is registered for the service: that one's secret is not kept
    /// here.
    Agreed,
}

/// An access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The token.
    pub token: Secret,
    /// When it is to be renewed.
    pub due: Option<Timestamp>,
    /// When it is worth nothing any more.
    pub expires: Option<Timestamp>,
}

impl Access {
    /// Whether it can be used at `now`.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Whether a new one should be asked for by `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

/// Why what somebody gave can't be a client's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// No client id.
    #[error("`client_id` has 1 to {MAX_CLIENT_ID} visible ASCII characters")]
    ClientId,
    /// A secret that can't be one.
    #[error(
        "`client_secret`, `refresh_token` and `subject_token` have 1 to {MAX_TOKEN} visible ASCII characters or spaces"
    )]
    Secret,
    /// Nothing to ask with.
    #[error("`client_secret` or `refresh_token` is missing: without both no token can be asked for")]
    Nothing,
    /// A token where the service exchanges none, or none where it does.
    #[error(
        "`subject_token` is for services with a `subject_token_type`, and takes the place of `refresh_token` there"
    )]
    Subject,
    /// A key where the service takes no assertions, or none where it does.
    #[error(
        "`signing_key` is a private key in PEM (RSA, or EC on the curve P-256), for services with an `assertion_audience` or \
         an `exchange`, and takes the place of other tokens there; `key_id` and `subject` have 1 to 512 visible ASCII characters"
    )]
    Signing,
    /// No subject, or one that can't stand in an address.
    #[error(
        "the address of the service's server names whom the token is for: `subject` has 1 to 128 letters, digits, `-`, `.`, \
         `_` and `~`"
    )]
    Address,
    /// A secret that nobody would see.
    #[error("`client_secret` is not shown to this server, which takes an assertion alone")]
    Unshown,
}

/// The form that it is sealed in.
#[derive(Serialize)]
struct Form<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_from: Option<&'a Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_key_from: Option<&'a Reference>,
    #[serde(skip_serializing_if = "is_given")]
    origin: Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

/// The same as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Formed {
    client_id: String,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
    subject_token: Option<Secret>,
    signing_key: Option<Secret>,
    key_id: Option<String>,
    subject: Option<String>,
    client_secret_from: Option<Reference>,
    signing_key_from: Option<Reference>,
    #[serde(default)]
    origin: Origin,
    access_token: Option<Secret>,
    due: Option<Timestamp>,
    expires: Option<Timestamp>,
}

const fn is_given(origin: &Origin) -> bool {
    matches!(origin, Origin::Given)
}

/// Whether these can be what an authorization server knows a client by.
///
/// # Errors
/// [`KeptError`].
pub fn check_client(client_id: &str, secret: Option<&Secret>) -> Result<(), KeptError> {
    if !(1..=MAX_CLIENT_ID).contains(&client_id.len())
        || !client_id.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(KeptError::ClientId);
    }
    if secret.is_some_and(|secret| !is_token(secret.expose())) {
        return Err(KeptError::Secret);
    }
    Ok(())
}

impl Kept {
    /// What somebody gave, without a token yet.
    ///
    /// # Errors
    /// [`KeptError`].
    pub fn new(
        client_id: String,
        client_secret: Option<Secret>,
        refresh_token: Option<Secret>,
    ) -> Result<Self, KeptError> {
        check_client(&client_id, client_secret.as_ref())?;
        if client_secret.is_none() && refresh_token.is_none() {
            return Err(KeptError::Nothing);
        }
        if refresh_token.as_ref().is_some_and(|token| !is_token(token.expose())) {
            return Err(KeptError::Secret);
        }
        Ok(Self { refresh_token, ..Self::of(client_id, client_secret) })
    }

    /// What somebody gave to be exchanged at `server`, where it exchanges tokens.
    ///
    /// # Errors
    /// [`KeptError`].
    pub fn exchanging(
        server: &OAuth,
        client_id: String,
        client_secret: Option<Secret>,
        subject_token: Secret,
    ) -> Result<Self, KeptError> {
        if server.subject_token_type.is_none() {
            return Err(KeptError::Subject);
        }
        check_client(&client_id, client_secret.as_ref())?;
        if !is_token(subject_token.expose()) {
            return Err(KeptError::Secret);
        }
        Ok(Self { subject_token: Some(subject_token), ..Self::of(client_id, client_secret) })
    }

    /// What somebody gave to sign assertions for `server` with, where it takes them.
    ///
    /// # Errors
    /// [`KeptError`].
    pub fn signing(
        server: &OAuth,
        client_id: String,
        client_secret: Option<Secret>,
        signing: Signing,
    ) -> Result<Self, KeptError> {
        check_client(&client_id, client_secret.as_ref())?;
        if !server.takes_assertions() || !signing.is_plausible() {
            return Err(KeptError::Signing);
        }
        if server.exchange.is_some() && client_secret.is_some() {
            return Err(KeptError::Unshown);
        }
        let kept = Self { signing: Some(signing), ..Self::of(client_id, client_secret) };
        if server.token_url_for(&kept).is_none() {
            return Err(KeptError::Address);
        }
        Ok(kept)
    }

    /// What a person brings back who has agreed; the client is the one that is registered for the service.
    pub fn agreed(client_id: String) -> Self {
        Self { origin: Origin::Agreed, ..Self::of(client_id, None) }
    }

    /// What a client is known by, as somebody gave it, and nothing else.
    fn of(client_id: String, client_secret: Option<Secret>) -> Self {
        Self {
            client_id,
            client_secret,
            refresh_token: None,
            subject_token: None,
            signing: None,
            places: Places::default(),
            origin: Origin::Given,
            access: None,
        }
    }

    /// As it is kept: without what is at these places.
    #[must_use]
    pub fn without(mut self, places: Places) -> Self {
        if places.client_secret.is_some() {
            self.client_secret = None;
        }
        if let (Some(_), Some(signing)) = (&places.signing_key, &mut self.signing) {
            signing.key = Secret::new(Vec::new());
        }
        Self { places, ..self }
    }

    /// With what was read at its places.
    #[must_use]
    pub fn with_read(mut self, client_secret: Option<Secret>, signing_key: Option<Secret>) -> Self {
        self.client_secret = client_secret.or(self.client_secret);
        if let (Some(key), Some(signing)) = (signing_key, &mut self.signing) {
            signing.key = key;
        }
        self
    }

    /// Whether another token can be asked for: where a person agreed, only with a refresh token.
    pub const fn is_renewable(&self) -> bool {
        !matches!(self.origin, Origin::Agreed) || self.refresh_token.is_some()
    }

    /// As it is sealed.
    pub fn to_secret(&self) -> Secret {
        let form = Form {
            client_id: &self.client_id,
            client_secret: self.client_secret.as_ref().and_then(Secret::expose_str),
            refresh_token: self.refresh_token.as_ref().and_then(Secret::expose_str),
            subject_token: self.subject_token.as_ref().and_then(Secret::expose_str),
            signing_key: self.signing.as_ref().and_then(|signing| signing.key.expose_str()),
            key_id: self.signing.as_ref().and_then(|signing| signing.key_id.as_deref()),
            subject: self.signing.as_ref().and_then(|signing| signing.subject.as_deref()),
            client_secret_from: self.places.client_secret.as_ref(),
            signing_key_from: self.places.signing_key.as_ref(),
            origin: self.origin,
            access_token: self.access.as_ref().and_then(|access| access.token.expose_str()),
            due: self.access.as_ref().and_then(|access| access.due),
            expires: self.access.as_ref().and_then(|access| access.expires),
        };
        // Written once into room that is large enough: nothing is left behind where it would have grown.
        let mut bytes = Vec::with_capacity(8 * MAX_TOKEN);
        _ = serde_json::to_writer(&mut bytes, &form);
        Secret::new(bytes)
    }

    /// As it was sealed; none where that is not what this is.
    pub fn from_secret(secret: &Secret) -> Option<Self> {
        let form: Formed = serde_json::from_slice(secret.expose()).ok()?;
        let (due, expires) = (form.due, form.expires);
        let access = form.access_token.map(|token| Access { token, due, expires });
        Some(Self {
            client_id: form.client_id,
            client_secret: form.client_secret,
            refresh_token: form.refresh_token,
            subject_token: form.subject_token,
            signing: form.signing_key.map(|key| Signing { key, key_id: form.key_id, subject: form.subject }),
            places: Places { client_secret: form.client_secret_from, signing_key: form.signing_key_from },
            origin: form.origin,
            access,
        })
    }

    /// What is asked at the token endpoint, as the members of a form. The client's secret is among them only where the
    /// service says that it is shown there; a client without one names itself.
    pub fn asks<'a>(&'a self, server: &'a OAuth, with: &Showing<'a>) -> Members<'a> {
        let mut form: Members<'a> = Vec::new();
        match (with, &self.subject_token, &self.refresh_token) {
            (Showing::Code { code, verifier, redirect_uri }, ..) => {
                form.push(("grant_type", b"authorization_code".into()));
                form.push(("code", code.as_bytes().into()));
                form.push(("redirect_uri", redirect_uri.as_bytes().into()));
                form.push(("code_verifier", verifier.expose().into()));
            }
            (Showing::Assertion(signed), ..) => {
                form.push(("grant_type", assertion::GRANT.into()));
                form.push(("assertion", signed.expose().into()));
                server.put_scope(&mut form);
            }
            (Showing::Device(code), ..) => {
                form.push(("grant_type", b"urn:ietf:params:oauth:grant-type:device_code".into()));
                form.push(("device_code", code.expose().into()));
            }
            (Showing::Kept, Some(token), _) => {
                form.push(("grant_type", b"urn:ietf:params:oauth:grant-type:token-exchange".into()));
                form.push(("subject_token", token.expose().into()));
                let kind = server.subject_token_type.as_deref().unwrap_or_default();
                form.push(("subject_token_type", kind.as_bytes().into()));
                form.push(("requested_token_type", ACCESS_TOKEN.as_bytes().into()));
                server.put_scope(&mut form);
            }
            (Showing::Kept, None, Some(token)) => {
                form.push(("grant_type", b"refresh_token".into()));
                form.push(("refresh_token", token.expose().into()));
            }
            (Showing::Kept, None, None) => {
                form.push(("grant_type", b"client_credentials".into()));
                // With a refresh token the scope stays what the account's owner granted (RFC 6749 §6).
                server.put_scope(&mut form);
            }
        }
        let whom = [("resource", &server.resource), ("audience", &server.audience)];
        form.extend(
            whom.into_iter().filter_map(|(name, whom)| Some((name, whom.as_ref()?.as_bytes().into()))),
        );
        // An assertion says whose it is.
        if !matches!(with, Showing::Assertion(_)) || self.client_secret.is_some() {
            self.names_itself(server, &mut form);
        }
        form
    }

    /// Who the client is, where that stands in the form.
    fn names_itself<'a>(&'a self, server: &OAuth, form: &mut Members<'a>) {
        match (&self.client_secret, server.client_auth) {
            (Some(secret), ClientAuth::ClientSecretPost) => {
                form.push(("client_id", self.client_id.as_bytes().into()));
                form.push(("client_secret", secret.expose().into()));
            }
            (None, _) => form.push(("client_id", self.client_id.as_bytes().into())),
            (Some(_), ClientAuth::ClientSecretBasic) => {}
        }
    }

    /// Whether its secret is shown in the header (RFC 6749 §2.3.1).
    pub fn in_header(&self, server: &OAuth) -> Option<&Secret> {
        self.client_secret.as_ref().filter(|_| server.client_auth == ClientAuth::ClientSecretBasic)
    }

    /// The same with what was granted at `now`.
    #[must_use]
    pub fn with(self, granted: Granted, now: Timestamp) -> Self {
        let lifetime = granted.lifetime.filter(|seconds| *seconds > 0);
        let at = |seconds: u64| now.plus(Duration::from_secs(seconds));
        let all = lifetime.unwrap_or(UNSAID).min(LONGEST);
        let refresh_token = granted.refresh_token.or(self.refresh_token);
        let renewable = !matches!(self.origin, Origin::Agreed) || refresh_token.is_some();
        let access = Access {
            token: granted.access_token,
            due: renewable.then(|| at(all - AHEAD.min(all / 5))),
            // What was not said to end may be used for as long as no other is to be had.
            expires: lifetime.map(|_| at(all)),
        };
        Self { refresh_token, access: Some(access), ..self }
    }
}

/// The members of a form.
pub type Members<'a> = Vec<(&'static str, Cow<'a, [u8]>)>;

/// What an exchanged token is to be (RFC 8693 §3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What a token is asked for with.
#[derive(Debug)]
pub enum Showing<'a> {
    /// What is kept.
    Kept,
    /// A code that a person came back with (RFC 6749 §4.1.3), and what proves that they left from here (RFC 7636).
    Code {
        /// The code.
        code: &'a str,
        /// The verifier.
        verifier: &'a Secret,
        /// Where they came back to.
        redirect_uri: &'a str,
    },
    /// The code of a device (RFC 8628 §3.4).
    Device(&'a Secret),
    /// An assertion that the key that is kept has signed (RFC 7523 §2.1).
    Assertion(&'a Secret),
}

impl OAuth {
    /// Whether people agree at it, in a browser that it sends back.
    pub const fn asks_people(&self) -> bool {
        self.authorization_url.is_some()
    }

    /// Whether it is the server that `other` is: what is a client of the one is so of the other.
    pub fn is_same_server(&self, other: &Self) -> bool {
        let of = |it: &Self| {
            let pages = (it.authorization_url.clone(), it.device_authorization_url.clone());
            (it.token_url.clone(), pages, it.issuer.clone())
        };
        of(self) == of(other)
    }

    fn put_scope(&self, form: &mut Members<'_>) {
        if !self.scope.is_empty() {
            form.push(("scope", Cow::Owned(self.scope.join(" ").into_bytes())));
        }
    }
}

/// What a token endpoint granted.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    access_token: Secret,
    refresh_token: Option<Secret>,
    lifetime: Option<u64>,
}

/// What a token endpoint answered instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ungranted {
    /// It says no, and will say so again: its owner has to do something.
    #[error("the authorization server refuses: {0}")]
    Refused(String),
    /// It has not answered the question. It may be asked again.
    #[error("the authorization server's answer can't be used: {0}")]
    Unusable(&'static str),
    /// The person has not answered yet (RFC 8628 §3.5).
    #[error("the person has not answered yet")]
    Waiting {
        /// Whether it wants to be asked less often.
        slower: bool,
    },
}

/// The members of an answer that are read (RFC 6749 §5.1, §5.2).
#[derive(Deserialize)]
struct Said {
    access_token: Option<Secret>,
    token_type: Option<String>,
    refresh_token: Option<Secret>,
    expires_in: Option<u64>,
    error: Option<String>,
}

/// Reads the answer of a token endpoint: `ok` where its status was 200, else it was 400, 401 or 403.
///
/// # Errors
/// [`Ungranted`].
pub fn read(server: &OAuth, ok: bool, body: &Secret) -> Result<Granted, Ungranted> {
    let said: Said = serde_json::from_slice(body.expose())
        .map_err(|_| Ungranted::Unusable("it is no JSON object of RFC 6749 §5"))?;
    if !ok || said.error.is_some() {
        let error = said.error.ok_or(Ungranted::Unusable("it names no error"))?;
        let code: String = error.chars().filter(char::is_ascii_graphic).take(MAX_CODE).collect();
        // What is said of the moment passes; anything else is about the client, its secret or its grant.
        return Err(match code.as_str() {
            "temporarily_unavailable" | "server_error" => Ungranted::Unusable("it is not available"),
            "authorization_pending" => Ungranted::Waiting { slower: false },
            "slow_down" => Ungranted::Waiting { slower: true },
            _ => Ungranted::Refused(code),
        });
    }
    let token = said.access_token.ok_or(Ungranted::Unusable("it has no access token"))?;
    let is_bearer = |kind: String| {
        kind.eq_ignore_ascii_case("bearer")
            || server.token_type.as_ref().is_some_and(|own| kind.eq_ignore_ascii_case(own))
    };
    if !said.token_type.is_some_and(is_bearer) {
        return Err(Ungranted::Unusable("its token is no bearer token"));
    }
    let fit = |token: Secret| is_token(token.expose()).then_some(token);
    let unfit = Ungranted::Unusable("its token can't be sent in a header");
    Ok(Granted {
        access_token: fit(token).filter(|token| !token.expose().contains(&b' ')).ok_or(unfit.clone())?,
        refresh_token: said.refresh_token.map(|token| fit(token).ok_or(unfit)).transpose()?,
        lifetime: said.expires_in,
    })
}

fn is_token(bytes: &[u8]) -> bool {
    (1..=MAX_TOKEN).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

#[cfg(test)]
mod tests;
