//! Reads secrets from a key-value store, version 2, of HashiCorp Vault or what speaks like it (OpenBao).
//!
//! The address is the operator's word: it may be private. What is read is named below the operator's mount.
//!
//! Invariant: the token goes to that address and nowhere else; what was answered is in no message.

use crate::ask::client;
use crate::dial::Connector;
use crate::fetch::{uncompressed, whole, wiped};
use crate::gateway::{GatewayError, connect_failure};
use crate::role_login;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use placet_core::secret::Secret;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// For one question.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// Gives what this server shows the store, as it is now.
pub type Given = Arc<dyn Fn() -> Result<Secret, String> + Send + Sync>;

/// How this server is known to the store.
pub enum Login {
    /// By a token.
    Token(Given),
    /// By AppRole: for the id of a role and a secret there is a token.
    AppRole {
        /// Who it is.
        role_id: String,
        /// The secret.
        secret_id: Given,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Login::Token",
            Self::AppRole { .. } => "Login::AppRole",
        })
    }
}

/// The store. Lives within a tokio runtime.
pub struct KeyValue {
    client: Client<Connector, Full<Bytes>>,
    base: String,
    mount: String,
    namespace: Option<String>,
    login: Login,
    /// What AppRole got, and until when it is used.
    held: Mutex<Option<(Secret, Instant)>>,
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyValue({}/{})", self.base, self.mount)
    }
}

#[derive(Deserialize)]
struct Found {
    data: Option<FoundData>,
}

#[derive(Deserialize)]
struct FoundData {
    data: Option<Map<String, Value>>,
}

impl KeyValue {
    /// The store at `base` (`https://vault.example:8200`), of which `mount` is read.
    ///
    /// # Errors
    /// [`GatewayError::Tls`] where the system's certificate store can't be used.
    pub fn new(
        base: &str,
        mount: &str,
        namespace: Option<String>,
        login: Login,
        extra_roots: &[CertificateDer<'static>],
    ) -> Result<Self, GatewayError> {
        let base = base.trim_end_matches('/').to_owned();
        let client = client(extra_roots)?;
        Ok(Self { client, base, mount: mount.to_owned(), namespace, login, held: Mutex::new(None) })
    }

    /// The latest version of what is at `path`: the member `key` of it, which is a text, or all of it as an object.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn read(&self, path: &str, key: Option<&str>) -> Result<Secret, String> {
        let url = format!("{}/v1/{}/data/{path}", self.base, self.mount);
        let (mut token, kept) = self.token().await?;
        let mut answer = self.ask(self.request("GET", &url, Some(&token), None)?).await?;
        // What was good for long may have been ended there.
        if answer.0 == StatusCode::FORBIDDEN && kept {
            *self.held.lock().await = None;
            token = self.token().await?.0;
            answer = self.ask(self.request("GET", &url, Some(&token), None)?).await?;
        }
        match answer.0 {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err("the key-value store has nothing there, or its latest version is deleted".into());
            }
            StatusCode::FORBIDDEN => {
                return Err(
                    "the key-value store does not let this server read it: look at the policy of its token"
                        .into(),
                );
            }
            status => return Err(format!("the key-value store answers with status {}", status.as_u16())),
        }
        let found: Found = serde_json::from_slice(answer.1.expose())
            .map_err(|_| "the key-value store's answer is not that of version 2 of the API".to_owned())?;
        let data = found.data.and_then(|data| data.data);
        let mut data =
            data.ok_or("the key-value store's answer has no `data.data`: is the mount one of version 2?")?;
        let Some(key) = key else { return Ok(Secret::new(Value::Object(data).to_string())) };
        match data.remove(key) {
            Some(Value::String(text)) => Ok(Secret::new(text)),
            Some(_) => Err(format!("`{key}` is no text there")),
            None => Err(format!("there is no `{key}` there")),
        }
    }

    /// A token, and whether it was had before.
    async fn token(&self) -> Result<(Secret, bool), String> {
        let (role_id, secret_id) = match &self.login {
            Login::Token(given) => return Ok((given()?, false)),
            Login::AppRole { role_id, secret_id } => (role_id, secret_id),
        };
        let mut held = self.held.lock().await;
        if let Some((token, until)) = held.as_ref()
            && Instant::now() < *until
        {
            return Ok((token.clone(), true));
        }
        let secret_id = secret_id()?;
        let secret_id = secret_id.expose_str().ok_or("the secret id is no text")?;
        let body = Some(role_login::body(("role_id", role_id), ("secret_id", secret_id)));
        let url = format!("{}/v1/auth/approle/login", self.base);
        let (status, answer) = self.ask(self.request("POST", &url, None, body)?).await?;
        if status != StatusCode::OK {
            return Err(format!("the key-value store refuses the role: status {}", status.as_u16()));
        }
        let granted =
            role_login::read(&answer).ok_or("the key-value store's answer to the role has no token")?;
        let token = granted.client_token;
        // A fifth ahead of its end.
        let until = Instant::now() + Duration::from_secs(granted.lease_duration.min(86_400) / 5 * 4);
        *held = Some((token.clone(), until));
        Ok((token, false))
    }

    fn request(
        &self,
        method: &str,
        url: &str,
        token: Option<&Secret>,
        body: Option<Secret>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let unfit =
            |_| "the address, the token or the namespace of the key-value store can't be sent".to_owned();
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(HeaderName::from_static("x-vault-request"), HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            request = request.header(HeaderName::from_static("x-vault-namespace"), namespace);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_bytes(token.expose()).map_err(|error| unfit(error.into()))?;
            value.set_sensitive(true);
            request = request.header(HeaderName::from_static("x-vault-token"), value);
        }
        request.body(Full::new(body.map_or_else(Bytes::new, wiped))).map_err(unfit)
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Secret), String> {
        let asked = async {
            let response = self.client.request(request).await.map_err(|error| {
                if error.is_connect() {
                    format!("the key-value store can't be reached: {}", connect_failure(&error))
                } else {
                    "the key-value store's answer broke off".to_owned()
                }
            })?;
            let status = response.status();
            let (_, body) = uncompressed(response).map_err(|error| error.to_string())?;
            let body =
                whole(body, MAX_ANSWER).await.map_err(|error| format!("the key-value store: {error}"))?;
            Ok((status, Secret::new(body)))
        };
        timeout(WITHIN, asked).await.map_err(|_| "the key-value store does not answer in time".to_owned())?
    }
}
