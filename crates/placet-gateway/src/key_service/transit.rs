//! The transit interface of HashiCorp Vault and OpenBao, over HTTP.
//!
//! Vault keys are encrypted by it with their id as associated data. Its `rewrap` takes none, so to move one to a newer
//! version of its key it is decrypted and encrypted again. Roles are logged in anew for each piece of work, and the token
//! is given back after it; a token from a file is renewed while a server runs.
//!
//! Invariant: the address is the operator's word, and nothing is sent elsewhere: redirects are not followed, and nothing
//! is sent again. What it says about an error is passed on bounded, without the token.

use super::{KeyService, KeyServiceError, SecretFrom};
use crate::{
    dial::{Connector, Dialer, Reach, SystemResolver},
    fetch::{FetchError, uncompressed, whole, wiped},
    gateway::{connect_failure, tls},
    role_login,
    scrub::Scrubber,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    Method, Request,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use placet_core::{
    key_service::{TransitAuth, TransitConfig},
    secret::Secret,
};
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use serde_json::json;
use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// For resolving, connecting and the TLS handshake together.
const CONNECT: Duration = Duration::from_secs(3);
/// For one request.
const WITHIN: Duration = Duration::from_secs(10);
/// The largest answer.
const LIMIT: usize = 64 << 10;
/// The most of what it says that is passed on.
const SAID: usize = 200;
/// How soon, and how late, a token is looked at again.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(3600);
/// How soon a token is renewed again that gets ever less time.
const CAPPED: Duration = Duration::from_secs(60);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(30);

/// A transit interface.
#[derive(Debug)]
pub struct Transit {
    config: TransitConfig,
    /// The token, the secret id, or the service account's token.
    credential: SecretFrom,
    roots: Vec<CertificateDer<'static>>,
    /// When the token is looked at again.
    due: Mutex<Option<Instant>>,
    /// Whether it was said that the token can't be kept for long any more.
    told: AtomicBool,
}

type Http = Client<Connector, Full<Bytes>>;

/// One piece of work: a client and a token, and whether that is given back.
struct Work<'a> {
    of: &'a Transit,
    client: Http,
    token: Secret,
    is_own: bool,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    data: Ciphertext<'a>,
}

#[derive(Deserialize)]
struct Ciphertext<'a> {
    #[serde(borrow)]
    ciphertext: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Opened<'a> {
    #[serde(borrow)]
    data: Plaintext<'a>,
}

#[derive(Deserialize)]
struct Plaintext<'a> {
    #[serde(borrow)]
    plaintext: Cow<'a, str>,
}

#[derive(Deserialize)]
struct LookedUp {
    data: Lifetime,
}

/// In seconds; `ttl` is 0 for a token that does not expire.
#[derive(Deserialize)]
struct Lifetime {
    ttl: u64,
    #[serde(default)]
    creation_ttl: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct Renewed {
    auth: Lease,
}

/// In seconds.
#[derive(Deserialize)]
struct Lease {
    lease_duration: u64,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

impl Transit {
    /// The one that `config` describes; `credential` is what its `auth` names, `roots` are believed besides the system's.
    pub fn new(config: TransitConfig, credential: SecretFrom, roots: Vec<CertificateDer<'static>>) -> Self {
        Self { config, credential, roots, due: Mutex::new(None), told: AtomicBool::new(false) }
    }

    /// Runs `work` on a thread and a runtime of its own.
    fn block<T: Send>(
        &self,
        work: impl AsyncFnOnce(&Work<'_>) -> Result<T, KeyServiceError> + Send,
    ) -> Result<T, KeyServiceError> {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| self.unreachable(error.to_string()))?;
            let done = runtime.block_on(async {
                let begun = self.begin().await?;
                let done = work(&begun).await;
                begun.end().await;
                done
            });
            // A name that is still being looked up is not waited for.
            runtime.shutdown_background();
            done
        };
        let done = std::thread::scope(|scope| scope.spawn(run).join());
        done.unwrap_or_else(|_| Err(self.unreachable("it was not asked".to_owned())))
    }

    async fn begin(&self) -> Result<Work<'_>, KeyServiceError> {
        let dialer = Dialer {
            resolver: Arc::new(SystemResolver),
            reach: Reach::Administered { allow_private: true },
            connect_timeout: CONNECT,
        };
        let tls = tls(&self.roots).map_err(|error| self.unreachable(error.to_string()))?;
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(dialer);
        let client = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .build(Connector { https, connect_timeout: CONNECT });
        let credential = self.credential.read()?;
        let (path, body) = match &self.config.auth {
            TransitAuth::Token { .. } => {
                return Ok(Work { of: self, client, token: credential, is_own: false });
            }
            TransitAuth::AppRole { mount, role_id, .. } => {
                (mount, ("role_id", role_id.as_str(), "secret_id"))
            }
            TransitAuth::Kubernetes { mount, role, .. } => (mount, ("role", role.as_str(), "jwt")),
        };
        let (name, role, member) = body;
        let body = role_login::body((name, role), (member, credential.expose_str().unwrap_or_default()));
        let work = Work { of: self, client, token: credential, is_own: true };
        let answer = work.post(&format!("auth/{path}/login"), body, "log in", false).await?;
        let token = role_login::read(&answer).ok_or_else(|| self.unread("log in"))?.client_token;
        Ok(Work { token, ..work })
    }

    fn context(&self) -> String {
        self.config.context.as_ref().map(|text| format!(",\"context\":\"{text}\"")).unwrap_or_default()
    }

    fn unreachable(&self, why: String) -> KeyServiceError {
        KeyServiceError::Unreachable { service: self.name(), why }
    }

    fn unread(&self, what: &'static str) -> KeyServiceError {
        let why = "its answer has a form that is not known".to_owned();
        KeyServiceError::Refused { service: self.name(), what, why }
    }

    /// Looks at the token, and renews it where half of its time is over; answers when to look again.
    async fn renew(work: &Work<'_>) -> Result<Duration, KeyServiceError> {
        const WHAT: &str = "say how long the token lives";
        const RENEW: &str = "renew the token";
        let answer = work.request(Method::GET, "auth/token/lookup-self", None, WHAT, true).await?;
        let read: Result<LookedUp, _> = serde_json::from_slice(answer.expose());
        let life = read.map_err(|_| work.of.unread(WHAT))?.data;
        if life.ttl == 0 {
            return Ok(LATEST);
        }
        if !life.renewable {
            tracing::warn!(
                service = work.of.name(),
                seconds = life.ttl,
                "the token of the key service can't be renewed: put another into its file in time"
            );
            return Ok(Duration::from_secs(life.ttl / 2).clamp(SOONEST, LATEST));
        }
        let half = life.creation_ttl / 2;
        if life.ttl > half {
            return Ok(Duration::from_secs(life.ttl - half).clamp(SOONEST, LATEST));
        }
        let answer = work.post("auth/token/renew-self", Secret::new("{}"), RENEW, true).await?;
        let read: Result<Renewed, _> = serde_json::from_slice(answer.expose());
        let lease = read.map_err(|_| work.of.unread(RENEW))?.auth.lease_duration;
        tracing::debug!(service = work.of.name(), lease, "the token of the key service was renewed");
        if lease > half {
            work.of.told.store(false, Ordering::Relaxed);
        } else if !work.of.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                service = work.of.name(),
                seconds = lease,
                "the token of the key service can't be renewed for much longer: put another into its file in time"
            );
        }
        Ok(after_renewal(lease, half))
    }
}

/// When a token is looked at again that was renewed for so many seconds, where half of its first time is so many.
fn after_renewal(lease: u64, half: u64) -> Duration {
    match lease.checked_sub(half) {
        Some(left) if left > 0 => Duration::from_secs(left).clamp(SOONEST, LATEST),
        // Its longest time comes to an end (`max_ttl`): looked at as before it would be renewed every second.
        _ => Duration::from_secs(lease / 2).clamp(CAPPED, LATEST),
    }
}

impl KeyService for Transit {
    fn name(&self) -> String {
        format!("`{}` at {}", self.under(), self.config.address)
    }

    fn under(&self) -> String {
        format!("{}/{}", self.config.mount, self.config.key)
    }

    fn wrap(&self, key: &Secret, aad: &[u8]) -> Result<String, KeyServiceError> {
        const WHAT: &str = "wrap a vault key";
        let path = format!("{}/encrypt/{}", self.config.mount, self.config.key);
        let body = Secret::new(
            [
                b"{\"plaintext\":\"",
                Secret::new(STANDARD.encode(key.expose())).expose(),
                b"\",\"associated_data\":\"",
                STANDARD.encode(aad).as_bytes(),
                b"\"",
                self.context().as_bytes(),
                b"}",
            ]
            .concat(),
        );
        self.block(async |work| {
            let answer = work.post(&path, body, WHAT, true).await?;
            let read: Result<Wrapped<'_>, _> = serde_json::from_slice(answer.expose());
            Ok(read.map_err(|_| self.unread(WHAT))?.data.ciphertext.into_owned())
        })
    }

    fn unwrap_key(&self, under: &str, wrapped: &str, aad: &[u8]) -> Result<Secret, KeyServiceError> {
        const WHAT: &str = "unwrap a vault key";
        let (mount, key) = under.rsplit_once('/').ok_or_else(|| self.unread(WHAT))?;
        let path = format!("{mount}/decrypt/{key}");
        let (wrapped, aad) = (json!(wrapped), STANDARD.encode(aad));
        let body = Secret::new(format!(
            "{{\"ciphertext\":{wrapped},\"associated_data\":\"{aad}\"{}}}",
            self.context()
        ));
        self.block(async |work| {
            let answer = work.post(&path, body, WHAT, true).await?;
            let read: Result<Opened<'_>, _> = serde_json::from_slice(answer.expose());
            let plaintext = read.map_err(|_| self.unread(WHAT))?.data.plaintext;
            // Where the answer escapes it, it is owned here, and wiped.
            let plaintext = match plaintext {
                Cow::Borrowed(text) => STANDARD.decode(text),
                Cow::Owned(text) => STANDARD.decode(Secret::new(text).expose()),
            };
            plaintext.map(Secret::new).map_err(|_| self.unread(WHAT))
        })
    }

    fn tend(&self) -> Result<(), KeyServiceError> {
        if !matches!(self.config.auth, TransitAuth::Token { .. }) {
            return Ok(());
        }
        let due = *self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.is_some_and(|due| due > Instant::now()) {
            return Ok(());
        }
        let done = self.block(async |work| Self::renew(work).await);
        let next = done.as_ref().map_or(AGAIN, |next| *next);
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + next);
        done.map(|_| ())
    }
}

impl Work<'_> {
    async fn post(
        &self,
        path: &str,
        body: Secret,
        what: &'static str,
        with_token: bool,
    ) -> Result<Secret, KeyServiceError> {
        self.request(Method::POST, path, Some(body), what, with_token).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Secret>,
        what: &'static str,
        with_token: bool,
    ) -> Result<Secret, KeyServiceError> {
        let unreachable = |why: String| self.of.unreachable(why);
        let body = body.map_or_else(Bytes::new, wiped);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.of.config.address))
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, HeaderValue::from_static(concat!("placet/", env!("CARGO_PKG_VERSION"))))
            // What stands before such a service may demand it: no browser can be made to send it.
            .header("x-vault-request", HeaderValue::from_static("true"))
            .body(Full::new(body))
            .map_err(|_| unreachable("its address is no URL".to_owned()))?;
        if let Some(namespace) = &self.of.config.namespace
            && let Ok(namespace) = HeaderValue::from_str(namespace)
        {
            request.headers_mut().insert("x-vault-namespace", namespace);
        }
        if with_token {
            let token = HeaderValue::from_bytes(self.token.expose().trim_ascii());
            let mut token = token.map_err(|_| {
                KeyServiceError::Credential("the token of the key service is none".to_owned())
            })?;
            token.set_sensitive(true);
            request.headers_mut().insert("x-vault-token", token);
        }
        let answered = timeout(WITHIN, async {
            let response = self.client.request(request).await.map_err(|error| {
                if error.is_connect() {
                    FetchError::NotSent(connect_failure(&error))
                } else {
                    FetchError::Broken
                }
            })?;
            let (parts, body) = uncompressed(response)?;
            Ok::<_, FetchError>((parts.status, Secret::new(whole(body, LIMIT).await?)))
        });
        let answered = answered.await.unwrap_or(Err(FetchError::TimedOut));
        let (status, body) = answered.map_err(|error| match error {
            FetchError::NotSent(why) => unreachable(why.to_string()),
            other => unreachable(other.to_string()),
        })?;
        if status.is_success() {
            return Ok(body);
        }
        // Sealed, in standby without forwarding, or something else stands there.
        if status.is_server_error() || status.is_redirection() {
            return Err(unreachable(format!("it answers {}{}", status.as_u16(), self.said(&body))));
        }
        let why = format!("it answers {}{}", status.as_u16(), self.said(&body));
        Err(KeyServiceError::Refused { service: self.of.name(), what, why })
    }

    /// What it says, for a message: bounded, printable, and without the token.
    fn said(&self, body: &Secret) -> String {
        let read: Result<Errors, _> = serde_json::from_slice(body.expose());
        let said = read.map(|read| read.errors.join("; ")).unwrap_or_default();
        let said = Scrubber::new(&self.token).scrub_text(&said).unwrap_or(said);
        let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID).collect();
        if said.is_empty() { said } else { format!(" ({said})") }
    }

    /// Gives the token back where it was made for this work.
    async fn end(&self) {
        if self.is_own {
            let given =
                self.post("auth/token/revoke-self", Secret::new("{}"), "take a token back", true).await;
            if let Err(error) = given {
                tracing::debug!(%error, "a token of the key service runs out by itself");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_gets_less_time_each_time_is_not_renewed_every_second() {
        let seconds = |lease, half| after_renewal(lease, half).as_secs();
        // As much as at first, a little less, and so much that it is looked at once in a while all the same.
        assert_eq!([seconds(3600, 1800), seconds(1801, 1800), seconds(90_000, 1800)], [1800, 1, 3600]);
        // Its longest time is nearly over: there is no more to be had.
        assert_eq!(
            [seconds(1800, 1800), seconds(299, 1800), seconds(1, 1800), seconds(0, 0)],
            [900, 149, 60, 60]
        );
        assert!((0..1800).all(|lease| after_renewal(lease, 1800) >= CAPPED));
    }
}
