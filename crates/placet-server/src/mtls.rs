//! Mutual TLS (RFC 8705): the certificate that a client shows, however it gets here, and what is published about it.
//!
//! It comes on the connection, at the listener that is for that ([`listener`]), or in a header from a proxy that has ended
//! the connection and that an administrator has named ([`header`]). From there on it is the same: an extension of the
//! request.
//!
//! Invariant: a request has a certificate only if its connection, or a known proxy's, has proved to hold the key; and none
//! whose time is over or has not come.

pub mod header;
pub mod listener;

use crate::app::App;
use arc_swap::ArcSwap;
use placet_core::{
    client::{AuthMethod, Metadata},
    jose::Thumbprint,
};
use placet_identity::{Authorities, Certificate};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The certificate that the sender of a request has proved to hold, within its time.
#[derive(Debug, Clone)]
pub struct ClientCertificate(Arc<Certificate>);

impl ClientCertificate {
    /// Its thumbprint (`x5t#S256`).
    pub fn thumbprint(&self) -> Thumbprint {
        self.0.thumbprint()
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.0
    }
}

/// What can be replaced while it is used: whoever looks at it sees the old or the new one, whole.
#[derive(Debug)]
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    /// The first.
    pub fn new(first: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// Counts from now on, for everybody who has this.
    pub fn replace(&self, next: T) {
        self.0.store(Arc::new(next));
    }

    /// What counts now.
    pub fn now(&self) -> Arc<T> {
        self.0.load_full()
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// How clients show certificates here.
#[derive(Debug, Default)]
pub struct MutualTls {
    /// Where they do, as a base URL without a slash at its end; `None` where only a proxy knows.
    pub url: Option<String>,
    /// Who certifies them for `tls_client_auth`.
    pub authorities: Option<Live<Authorities>>,
    /// Whether proxies that are known say it in a header.
    pub header: bool,
}

impl MutualTls {
    /// What a client can't be registered with here, as a sentence.
    pub(crate) fn refuses(here: Option<&Self>, metadata: &Metadata) -> Option<String> {
        let by_certificate = metadata.token_endpoint_auth_method.is_mutual_tls()
            || metadata.tls_client_certificate_bound_access_tokens;
        match here {
            _ if !by_certificate => None,
            None => Some(
                "no certificates of clients are taken here: an administrator starts the server with `--mtls-listen`"
                    .to_owned(),
            ),
            Some(here)
                if here.authorities.is_none()
                    && metadata.token_endpoint_auth_method == AuthMethod::TlsClientAuth =>
            {
                Some("no authority certifies clients here: an administrator names one with `--mtls-client-ca`".to_owned())
            }
            Some(_) => None,
        }
    }

    /// The methods of authentication with it.
    pub(crate) fn methods(&self) -> Vec<&'static str> {
        let by_name = self.authorities.as_ref().map(|_| "tls_client_auth");
        by_name.into_iter().chain(["self_signed_tls_client_auth"]).collect()
    }
}

/// Adds to the metadata of the server what RFC 8705 §3.3 and §5 have.
pub(crate) fn describe(app: &App, document: &mut Map<String, Value>) {
    let Some(here) = &app.mutual_tls else { return };
    for name in [
        "token_endpoint_auth_methods_supported",
        "introspection_endpoint_auth_methods_supported",
        "revocation_endpoint_auth_methods_supported",
    ] {
        if let Some(methods) = document.get_mut(name).and_then(Value::as_array_mut) {
            methods.extend(here.methods().into_iter().map(Value::from));
        }
    }
    document.insert("tls_client_certificate_bound_access_tokens".into(), true.into());
    let Some(url) = &here.url else { return };
    let aliases = json!({
        "token_endpoint": format!("{url}/oauth/token"),
        "introspection_endpoint": format!("{url}/oauth/introspect"),
        "revocation_endpoint": format!("{url}/oauth/revoke"),
        "pushed_authorization_request_endpoint": format!("{url}/oauth/par"),
        "device_authorization_endpoint": format!("{url}/oauth/device_authorization"),
        "backchannel_authentication_endpoint": format!("{url}/oauth/backchannel_authentication"),
    });
    document.insert("mtls_endpoint_aliases".into(), aliases);
}
