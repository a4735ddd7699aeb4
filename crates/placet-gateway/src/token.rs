//! Asks the authorization server of a service for an access token (RFC 6749 §4.1.3, §4.4, §6; RFC 8628; RFC 8693), or a server
//! that gives one for a signed assertion in a form of its own.
//!
//! The address is an administrator's word, as the service's own is: it may be private where the service may.
//!
//! Invariant: a client's secret, codes and tokens go to the endpoints that the service's definition names and nowhere else.

use crate::{
    dial::{Reach, Resolve},
    fetch::{FetchConfig, FetchError, Fetcher},
    form,
    gateway::GatewayError,
};
use http::StatusCode;
use placet_core::{
    secret::Secret,
    service::oauth::{
        self, Granted, Kept, Members, OAuth, Showing, Ungranted,
        account::Device,
        exchange::{Answer, Exchange},
    },
    time::Timestamp,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// How long an answer may take, with connecting.
const WITHIN: Duration = Duration::from_secs(10);

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The place that was asked (for a token, a device's code, what is published) does not answer as one.
    #[error("its authorization server: {0}")]
    Endpoint(FetchError),
    /// It was not asked.
    #[error(
        "the connection's key signs nothing: it has to be a private key in PEM without a passphrase, RSA or EC on P-256"
    )]
    Key,
    /// It grants none.
    #[error(transparent)]
    Ungranted(Ungranted),
}

/// Token endpoints, as they are asked.
#[derive(Debug, Clone)]
pub(crate) struct TokenEndpoints {
    public_only: Fetcher,
    private_too: Fetcher,
}

impl TokenEndpoints {
    pub(crate) fn new(
        extra_roots: &[CertificateDer<'static>],
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, GatewayError> {
        let config = FetchConfig {
            total_timeout: WITHIN,
            loopback: true,
            resolver: Some(resolver),
            extra_roots: extra_roots.to_vec(),
            ..FetchConfig::default()
        };
        let at = |allow_private| Fetcher::within(config.clone(), Reach::Administered { allow_private });
        Ok(Self { public_only: at(false)?, private_too: at(true)? })
    }

    pub(crate) async fn ask(
        &self,
        server: &OAuth,
        kept: &Kept,
        showing: &Showing<'_>,
        allow_private: bool,
        now: Timestamp,
    ) -> Result<Granted, TokenError> {
        match (&server.exchange, showing) {
            (Some(exchange), Showing::Assertion(signed)) => {
                return self.exchanged(server, exchange, kept, signed, allow_private, now).await;
            }
            // What is kept was given for a server of another kind: nothing of it is shown to this one.
            (Some(_), _) => {
                return Err(TokenError::Ungranted(Ungranted::Refused("no_signing_key".to_owned())));
            }
            (None, _) => {}
        }
        let members = kept.asks(server, showing);
        let (ok, body) = self.post(&server.token_url, server, kept, &members, allow_private).await?;
        oauth::read(server, ok, &body).map_err(TokenError::Ungranted)
    }

    /// Shows an assertion where the answer is in a form of the server's own.
    async fn exchanged(
        &self,
        server: &OAuth,
        exchange: &Exchange,
        kept: &Kept,
        signed: &Secret,
        allow_private: bool,
        now: Timestamp,
    ) -> Result<Granted, TokenError> {
        let nobody = || TokenError::Ungranted(Ungranted::Refused("no_subject".to_owned()));
        let url = server.token_url_for(kept).ok_or_else(nobody)?;
        let header = Secret::new([b"Bearer ", signed.expose()].concat());
        let body = exchange.body.as_ref().map(|body| json!(body).to_string());
        let sent = self.at(allow_private).post_json(&url, body, &exchange.headers, &header, MAX_ANSWER).await;
        let answered = sent.map_err(TokenError::Endpoint)?;
        let says = |name: &str, value: Option<&str>| {
            answered.headers.get(name).is_some_and(|found| value.is_none_or(|value| found == value))
        };
        let limited = says("retry-after", None) || says("x-ratelimit-remaining", Some("0"));
        let answer = Answer { status: answered.status.as_u16(), limited, body: &answered.body };
        exchange.read(&answer, now).map_err(TokenError::Ungranted)
    }

    /// Asks for the code of a device (RFC 8628 §3.1).
    pub(crate) async fn device(
        &self,
        server: &OAuth,
        kept: &Kept,
        allow_private: bool,
    ) -> Result<Device, TokenError> {
        let none = || TokenError::Ungranted(Ungranted::Unusable("the service names no place for devices"));
        let url = server.device_authorization_url.as_deref().ok_or_else(none)?;
        let members = kept.asks_for_device(server);
        let (ok, body) = self.post(url, server, kept, &members, allow_private).await?;
        Device::read(server, ok, &body).map_err(TokenError::Ungranted)
    }

    /// Reads a document, at a public place or at this machine.
    pub(crate) async fn published(&self, url: &str) -> Result<Value, TokenError> {
        let read = self.public_only.get(url, "application/json", MAX_ANSWER).await;
        let body = read.map_err(TokenError::Endpoint)?.body;
        let no_json = || TokenError::Ungranted(Ungranted::Unusable("it is no JSON"));
        placet_core::json::parse(&body).map_err(|_| no_json())
    }

    fn at(&self, allow_private: bool) -> &Fetcher {
        if allow_private { &self.private_too } else { &self.public_only }
    }

    /// Sends a form, once; whether the answer was 200, and what it is.
    async fn post(
        &self,
        url: &str,
        server: &OAuth,
        kept: &Kept,
        members: &Members<'_>,
        allow_private: bool,
    ) -> Result<(bool, Secret), TokenError> {
        let form = form::form(members.iter().map(|(name, value)| (*name, &**value)));
        let header = kept.in_header(server).map(|secret| form::basic(&kept.client_id, secret));
        let sent = self.at(allow_private).post(url, &form, header.as_ref(), MAX_ANSWER).await;
        let answered = sent.map_err(TokenError::Endpoint)?;
        Ok((answered.status == StatusCode::OK, answered.body))
    }
}
