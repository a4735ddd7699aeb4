//! A person's sign-in at an identity provider (OpenID Connect Core 1.0 §3.1): what the provider publishes, the code that the
//! person came back with, and the ID token that it is exchanged for.
//!
//! Invariant: whom a provider speaks of is answered only for an ID token that its own keys have signed with an algorithm that
//! was declared, for this client, for the request that carries the nonce. Nothing else that it answers is looked at. A code
//! goes out once, to the declared issuer's token endpoint and nowhere else.

use crate::{
    AGAIN, Foreign, ForeignError,
    freshness::kept_until,
    kept::{Held, Kept},
    pace::Pace,
};
use placet_core::{
    jose::{Jws, JwsError, claims},
    json,
    provider::{
        ClientAuth, Configuration, ConfigurationError, Document,
        id_token::{self, Expected, IdTokenError},
    },
    secret::Secret,
    time::Timestamp,
};
use placet_gateway::{FetchConfig, FetchError, GatewayError};
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};
use tokio::sync::Semaphore;

/// The largest configuration that is read, in bytes.
const MAX_CONFIGURATION: usize = 64 * 1024;
/// The largest answer of a token endpoint, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// How many documents are read of one host in a minute: administrators name it, and what is read is kept for a while.
const A_MINUTE: u32 = 600;
/// How many codes are exchanged at once: a provider that is slow keeps no more of this server busy.
const AT_ONCE: usize = 64;

/// Why a provider's word is not known, or not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// What it publishes can't be read.
    #[error("its configuration can't be read: {0}")]
    Configuration(ForeignError),
    /// What it publishes is not usable.
    #[error("its configuration is not usable: {0}")]
    Published(ConfigurationError),
    /// It is at this machine.
    #[error("its endpoints are at this machine, and the server was not started with `--loopback-documents`")]
    Loopback,
    /// Too many codes are being exchanged.
    #[error("too many people are coming back at once; try again")]
    Busy,
    /// The token endpoint does not answer as one.
    #[error("its token endpoint: {0}")]
    Endpoint(FetchError),
    /// The token endpoint can't be reached. Why, the log has.
    #[error("its token endpoint can't be reached at a public address")]
    Unreachable,
    /// The token endpoint refuses.
    #[error("its token endpoint refuses the code: `{0}`")]
    Refused(String),
    /// The answer is none.
    #[error("the answer of its token endpoint {0}")]
    Answer(&'static str),
    /// The ID token is not signed by it.
    #[error("the ID token can't be believed: {0}")]
    Signature(JwsError),
    /// The ID token is signed in a way that was not declared.
    #[error("the ID token is signed with an algorithm that was not declared for it")]
    Algorithm,
    /// Its keys can't be read.
    #[error("its keys can't be read: {0}")]
    Keys(ForeignError),
    /// The ID token is not for this.
    #[error("the ID token is not good: {0}")]
    Token(IdTokenError),
    /// The ID token lacks what was declared to be needed.
    #[error("the ID token lacks a claim that is required of it here")]
    Claims,
}

impl ProviderError {
    /// Whether it may be otherwise in a moment, without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Configuration(error) | Self::Keys(error) => error.is_temporary(),
            Self::Busy | Self::Endpoint(_) | Self::Unreachable => true,
            _ => false,
        }
    }
}

/// What somebody came back with, and what it is known by.
#[derive(Debug, Clone, Copy)]
pub struct Redeeming<'a> {
    /// The code.
    pub code: &'a str,
    /// The proof key whose challenge the request had.
    pub verifier: &'a Secret,
    /// The nonce of the request.
    pub nonce: &'a str,
    /// Where the person came back to.
    pub redirect_uri: &'a str,
}

/// What a provider says of who signed in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who it is.
    pub subject: String,
    /// Whether that counts for two factors.
    pub two_factors: bool,
}

/// Asks identity providers.
pub struct Providers {
    /// On its own, so that what anybody has read of a provider's host holds up nobody's sign-in.
    foreign: Foreign,
    published: Kept<Configuration, ProviderError>,
    exchanging: Semaphore,
}

impl Providers {
    /// One that has asked nobody yet.
    ///
    /// # Errors
    /// [`GatewayError::Tls`] where the system's certificate store can't be used.
    pub fn new(config: FetchConfig) -> Result<Self, GatewayError> {
        Ok(Self {
            foreign: Foreign { pace: Pace::of(A_MINUTE), ..Foreign::new(config)? },
            published: Kept::new(),
            exchanging: Semaphore::new(AT_ONCE),
        })
    }

    /// What the provider publishes about itself now, or did a short time ago.
    ///
    /// # Errors
    /// [`ProviderError::Configuration`], [`ProviderError::Published`], [`ProviderError::Loopback`].
    pub async fn configuration(
        &self,
        document: &Document,
        now: Timestamp,
    ) -> Result<Arc<Configuration>, ProviderError> {
        if let Some(held) = self.published.get(&document.issuer, now) {
            return Ok(held.what);
        }
        let read = async {
            let url = document.configuration_url();
            let fetched = self.foreign.fetch(&url, "application/json", MAX_CONFIGURATION, now).await;
            let fetched = fetched.map_err(ProviderError::Configuration)?;
            let published = json::parse(&fetched.body)
                .map_err(|_| ProviderError::Configuration(ForeignError::Fetch(FetchError::Broken)))?;
            let found =
                Configuration::read(&document.issuer, &published).map_err(ProviderError::Published)?;
            if found.is_at_loopback() && !self.foreign.fetcher.reaches_loopback() {
                return Err(ProviderError::Loopback);
            }
            // What may not be kept is still not read anew for everybody who signs in.
            let until = kept_until(&fetched.headers, now).max(now.plus(AGAIN));
            Ok(Held { what: Arc::new(found), read: now, until })
        };
        self.published.renewed(&document.issuer, read).await
    }

    /// Exchanges a code, and answers whom the provider speaks of.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn redeemed(
        &self,
        document: &Document,
        secret: &Secret,
        redeeming: &Redeeming<'_>,
        now: Timestamp,
    ) -> Result<Said, ProviderError> {
        let published = self.configuration(document, now).await?;
        let answer = self.exchanged(document, secret, &published, redeeming).await?;
        let text =
            |name: &'static str, missing| claims::text(&answer, name).ok_or(ProviderError::Answer(missing));
        let access_token = text("access_token", "has no access token")?;
        let id_token = text("id_token", "has no ID token")?;
        let jws = Jws::parse(id_token).map_err(ProviderError::Signature)?;
        if !document.signs_with(jws.algorithm()) {
            return Err(ProviderError::Algorithm);
        }
        let verified = self.foreign.verify(&published.jwks_uri, &jws, now).await;
        verified.map_err(|error| match error {
            ForeignError::Signature(error) => ProviderError::Signature(error),
            error => ProviderError::Keys(error),
        })?;
        let (issuer, client_id, nonce) = (&document.issuer, &document.client_id, redeeming.nonce);
        let expected = Expected { issuer, client_id, nonce, access_token };
        let subject = id_token::check(&jws, &expected, now).map_err(ProviderError::Token)?;
        let said = jws.unverified();
        if !document.is_satisfied_by(said) {
            return Err(ProviderError::Claims);
        }
        Ok(Said { subject: subject.to_owned(), two_factors: document.asked_for_two_factors(said) })
    }

    /// The token endpoint's answer (RFC 6749 §4.1.3).
    async fn exchanged(
        &self,
        document: &Document,
        secret: &Secret,
        published: &Configuration,
        redeeming: &Redeeming<'_>,
    ) -> Result<Map<String, Value>, ProviderError> {
        let _turn = self.exchanging.try_acquire().map_err(|_| ProviderError::Busy)?;
        let (form, header) = asking(document, secret, redeeming);
        let url = &published.token_endpoint;
        let sent = self.foreign.fetcher.post(url, &form, header.as_ref(), MAX_ANSWER).await;
        let answered = sent.map_err(|error| {
            tracing::info!(url, %error, "a code could not be exchanged");
            match error {
                FetchError::NotSent(_) => ProviderError::Unreachable,
                error => ProviderError::Endpoint(error),
            }
        })?;
        let Ok(Value::Object(answer)) = json::parse(answered.body.expose()) else {
            return Err(ProviderError::Answer("is no JSON object with one reading"));
        };
        if answered.status != http::StatusCode::OK {
            let said = claims::text(&answer, "error").unwrap_or("no error is named");
            let shown = said.chars().filter(char::is_ascii_graphic).take(64).collect();
            return Err(ProviderError::Refused(shown));
        }
        Ok(answer)
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Providers({})", self.published.len())
    }
}

/// The form of a token request, and the header beside it where the client authenticates by one.
fn asking(document: &Document, secret: &Secret, redeeming: &Redeeming<'_>) -> (Secret, Option<Secret>) {
    let mut members: Vec<(&str, &[u8])> = vec![
        ("grant_type", b"authorization_code"),
        ("code", redeeming.code.as_bytes()),
        ("redirect_uri", redeeming.redirect_uri.as_bytes()),
        ("code_verifier", redeeming.verifier.expose()),
    ];
    let header = match document.auth {
        ClientAuth::ClientSecretPost => {
            members.push(("client_id", document.client_id.as_bytes()));
            members.push(("client_secret", secret.expose()));
            None
        }
        ClientAuth::ClientSecretBasic => Some(placet_gateway::basic(&document.client_id, secret)),
    };
    (placet_gateway::form(members), header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::json;

    fn written(auth: &str) -> (String, Option<String>) {
        let document: Document =
            serde_json::from_value(json!({"handle": "a", "issuer": "https://sso.example",
            "name": "A", "client_id": "a:b", "auth": auth}))
            .unwrap();
        let verifier = Secret::new("v");
        let redeeming =
            Redeeming { code: "c&d", verifier: &verifier, nonce: "n", redirect_uri: "https://here.example/" };
        let (form, header) = asking(&document, &Secret::new("s~%\u{e4}"), &redeeming);
        let text = |secret: &Secret| secret.expose_str().unwrap().to_owned();
        (text(&form), header.as_ref().map(text))
    }

    #[test]
    fn a_client_shows_its_secret_in_one_place() {
        let begin = "grant_type=authorization_code&code=c%26d&redirect_uri=https%3A%2F%2Fhere.example%2F&code_verifier=v";
        let (form, header) = written("client_secret_basic");
        // Each part is encoded before they are joined (RFC 6749 §2.3.1), so that the colon between them is the only one.
        let pair = STANDARD.encode("a%3Ab:s~%25%C3%A4");
        assert_eq!((form.as_str(), header), (begin, Some(format!("Basic {pair}"))));
        let (form, header) = written("client_secret_post");
        assert_eq!((form, header), (format!("{begin}&client_id=a%3Ab&client_secret=s~%25%C3%A4"), None));
    }
}
