//! What an agent is as an OAuth client: how it authenticates, where people are sent back to, which grants it uses
//! (RFC 7591 §2).
//!
//! None of it is authority. A name, a logo, a software id are text that the client's author wrote; what the agent may
//! do is its registration grant, which an administrator made (DESIGN §3.9).
//!
//! Invariant: one registered method of authentication. A client that has no secret and no key, a *public* one, uses
//! only grants in which a person has just taken part.

pub mod assertion;
mod certificate;
pub mod document;
mod redirect;
mod template;
mod uri;

pub use certificate::{CertifiedName, DistinguishedName};
pub use redirect::{RedirectKind, RedirectUri};
pub use template::Template;
pub use uri::{Authority as UriAuthority, Uri};

use crate::jose::KeySet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The most redirect URIs of a client.
pub const MAX_REDIRECT_URIS: usize = 64;
/// The longest text that people are shown, in characters.
pub const MAX_NAME: usize = 200;
/// The largest key set, in bytes of JSON.
pub const MAX_JWKS: usize = 16 * 1024;

/// Every member that is read, as RFC 7591 §2, RFC 8705 §2.1.2 and §3.4, and RFC 9449 §5.2 name them.
pub const MEMBERS: &[&str] = &[
    "redirect_uris",
    "token_endpoint_auth_method",
    "grant_types",
    "response_types",
    "jwks",
    "jwks_uri",
    "client_name",
    "client_uri",
    "logo_uri",
    "tos_uri",
    "policy_uri",
    "contacts",
    "application_type",
    "dpop_bound_access_tokens",
    "tls_client_auth_subject_dn",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_uri",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_email",
    "tls_client_certificate_bound_access_tokens",
    "software_id",
    "software_version",
];

/// How a client authenticates at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A secret in the header (RFC 6749 §2.3.1); the same secret in the body will do.
    #[default]
    ClientSecretBasic,
    /// A secret in the body; the same secret in the header will do.
    ClientSecretPost,
    /// An assertion signed with a key of its own (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// A certificate of an authority that is trusted here, with a name that it registered (RFC 8705 §2.1).
    TlsClientAuth,
    /// A certificate with a key of its own (RFC 8705 §2.2).
    SelfSignedTlsClientAuth,
    /// Not at all: a public client (RFC 6749 §2.1).
    None,
}

impl AuthMethod {
    /// Whether the client shares a secret with this server.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }

    /// Whether the client shows a certificate (RFC 8705 §2).
    pub const fn is_mutual_tls(self) -> bool {
        matches!(self, Self::TlsClientAuth | Self::SelfSignedTlsClientAuth)
    }
}

/// A grant type that a client may use at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantType {
    /// RFC 6749 §4.1.
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    /// RFC 6749 §6.
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// RFC 6749 §4.4.
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// RFC 8693.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
    /// RFC 7523 §2.1.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
    /// RFC 8628.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
    /// OpenID Connect CIBA.
    #[serde(rename = "urn:openid:params:grant-type:ciba")]
    Ciba,
}

impl GrantType {
    /// All that there are.
    pub const ALL: [Self; 7] = [
        Self::AuthorizationCode,
        Self::RefreshToken,
        Self::ClientCredentials,
        Self::TokenExchange,
        Self::JwtBearer,
        Self::DeviceCode,
        Self::Ciba,
    ];

    /// As the wire names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::Ciba => "urn:openid:params:grant-type:ciba",
        }
    }

    /// From the wire's name; `None` for any other.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    /// Whether a client that can't prove who it is may use it: a person has just taken part.
    pub const fn is_for_public(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::RefreshToken | Self::DeviceCode)
    }
}

/// What a client gets from the authorization endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseType {
    /// A code (RFC 6749 §3.1.1).
    Code,
}

/// What kind of software it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationType {
    /// Installed at the person's machine.
    Native,
    /// On a server of its own.
    Web,
}

/// The metadata of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Where people may be sent back to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<RedirectUri>,
    /// How it authenticates.
    pub token_endpoint_auth_method: AuthMethod,
    /// What it may use at the token endpoint.
    pub grant_types: Vec<GrantType>,
    /// What it may use at the authorization endpoint: `code` iff it has that grant type.
    pub response_types: Vec<ResponseType>,
    /// Its public keys (RFC 7517 §5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// Where its public keys are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// What people are told that it is called. Its author's word, and nobody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// A page about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// Its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    /// Its terms of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    /// Its privacy policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// What kind of software it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_type: Option<ApplicationType>,
    /// Whether every token of it is bound to a key of its own (RFC 9449 §5.2).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dpop_bound_access_tokens: bool,
    /// The name that its certificate has, where it authenticates by that (RFC 8705 §2.1.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_subject_dn: Option<String>,
    /// The same, a DNS name among the certificate's alternative ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_dns: Option<String>,
    /// The same, a URI; that of a workload (SPIFFE) is the only one of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_uri: Option<String>,
    /// The same, an IP address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_ip: Option<String>,
    /// The same, an e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_email: Option<String>,
    /// Whether every token of it is bound to its certificate (RFC 8705 §3.4).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_client_certificate_bound_access_tokens: bool,
    /// Which software it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// Which version of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
}

/// A client that was registered with nothing said: it has a secret, and may use whatever needs one.
impl Default for Metadata {
    fn default() -> Self {
        Self {
            redirect_uris: Vec::new(),
            token_endpoint_auth_method: AuthMethod::default(),
            grant_types: usual(AuthMethod::default(), false),
            response_types: Vec::new(),
            jwks: None,
            jwks_uri: None,
            client_name: None,
            client_uri: None,
            logo_uri: None,
            tos_uri: None,
            policy_uri: None,
            contacts: Vec::new(),
            application_type: None,
            dpop_bound_access_tokens: false,
            tls_client_auth_subject_dn: None,
            tls_client_auth_san_dns: None,
            tls_client_auth_san_uri: None,
            tls_client_auth_san_ip: None,
            tls_client_auth_san_email: None,
            tls_client_certificate_bound_access_tokens: false,
            software_id: None,
            software_version: None,
        }
    }
}

/// Who wrote the metadata that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// An administrator: what is not understood is an error. Without `grant_types` the client may use all that its
    /// method of authentication and its redirect URIs allow.
    Administrator,
    /// The client, in a dynamic registration (RFC 7591 §2): what is not understood is left out. Without `grant_types`
    /// it may use codes, and refresh.
    Client,
    /// The client, in a document at its own URL: as [`Author::Client`], and it shares no secret with this server.
    Document,
}

/// Why metadata is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A redirect URI (`invalid_redirect_uri`, RFC 7591 §3.2.2).
    #[error("{0}")]
    RedirectUri(String),
    /// Anything else (`invalid_client_metadata`).
    #[error("{0}")]
    Metadata(String),
}

impl MetadataError {
    /// The error of RFC 7591 §3.2.2.
    pub const fn oauth(&self) -> &'static str {
        match self {
            Self::RedirectUri(_) => "invalid_redirect_uri",
            Self::Metadata(_) => "invalid_client_metadata",
        }
    }
}

impl Metadata {
    /// Reads and checks metadata as somebody sent it.
    ///
    /// # Errors
    /// [`MetadataError`] with the member that is wrong and what would do.
    pub fn read(members: &Map<String, Value>, author: Author) -> Result<Self, MetadataError> {
        let strict = author == Author::Administrator;
        if strict && let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            return Err(wrong(format!("there is no member `{}`", unknown.escape_debug())));
        }
        let redirect_uris = redirect_uris(members)?;
        if !strict && let Some(not) = redirect_uris.iter().find(|uri| uri.needs_administrator()) {
            return Err(MetadataError::RedirectUri(format!(
                "`{not}` has a scheme without a dot, which any application can choose (RFC 8252 §7.1): an \
                 administrator can register a client with it"
            )));
        }
        let jwks = present(members, "jwks").cloned();
        let jwks_uri = url(members, "jwks_uri")?;
        if let Some(set) = &jwks {
            check_keys(set)?;
        }
        if jwks.is_some() && jwks_uri.is_some() {
            return Err(wrong("`jwks` and `jwks_uri` say the same: send one"));
        }
        let has_keys = jwks.is_some() || jwks_uri.is_some();
        let method = auth_method(members, author, has_keys)?;
        if method == AuthMethod::PrivateKeyJwt && !has_keys {
            return Err(wrong("`private_key_jwt` needs the client's public keys: send `jwks` or `jwks_uri`"));
        }
        if method == AuthMethod::SelfSignedTlsClientAuth && !has_keys {
            return Err(wrong(
                "`self_signed_tls_client_auth` needs the public keys of the client's certificates: send `jwks` or `jwks_uri`",
            ));
        }
        let [subject_dn, san_dns, san_uri, san_ip, san_email] = certificate::members(members, method)?;
        let grant_types = grant_types(members, author, method, !redirect_uris.is_empty())?;
        let code = grant_types.contains(&GrantType::AuthorizationCode);
        if code && redirect_uris.is_empty() {
            return Err(MetadataError::RedirectUri(
                "`authorization_code` needs `redirect_uris`: where people are sent back to".to_owned(),
            ));
        }
        check_response_types(members, code, strict)?;
        let application_type = word(members, "application_type")?;
        if application_type == Some(ApplicationType::Web)
            && let Some(not) = redirect_uris.iter().find(|uri| uri.kind() != RedirectKind::Https)
        {
            return Err(MetadataError::RedirectUri(format!(
                "`{not}` is for an application that is installed: a `web` application has https only"
            )));
        }
        Ok(Self {
            redirect_uris,
            token_endpoint_auth_method: method,
            grant_types,
            response_types: if code { vec![ResponseType::Code] } else { Vec::new() },
            jwks,
            jwks_uri,
            client_name: text(members, "client_name")?,
            client_uri: url(members, "client_uri")?,
            logo_uri: url(members, "logo_uri")?,
            tos_uri: url(members, "tos_uri")?,
            policy_uri: url(members, "policy_uri")?,
            contacts: contacts(members)?,
            application_type,
            dpop_bound_access_tokens: flag(members, "dpop_bound_access_tokens")?,
            tls_client_auth_subject_dn: subject_dn,
            tls_client_auth_san_dns: san_dns,
            tls_client_auth_san_uri: san_uri,
            tls_client_auth_san_ip: san_ip,
            tls_client_auth_san_email: san_email,
            tls_client_certificate_bound_access_tokens: flag(
                members,
                "tls_client_certificate_bound_access_tokens",
            )?,
            software_id: text(members, "software_id")?,
            software_version: text(members, "software_version")?,
        })
    }

    /// This with some members replaced; one that is `null` goes. Grant types that were never stated follow the method
    /// of authentication and the redirect URIs; those that were stated stay as they are.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn changed(&self, members: &Map<String, Value>, author: Author) -> Result<Self, MetadataError> {
        let mut all = self.to_members();
        let unstated = usual(self.token_endpoint_auth_method, !self.redirect_uris.is_empty());
        if self.grant_types == unstated {
            all.remove("grant_types");
        }
        all.remove("response_types");
        // A name in the place of another, or of none.
        if members.contains_key("token_endpoint_auth_method")
            || certificate::MEMBERS.iter().any(|name| members.contains_key(*name))
        {
            all.retain(|name, _| !certificate::MEMBERS.contains(&name.as_str()));
        }
        all.extend(members.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self::read(&all, author)
    }

    /// As the wire shows it.
    pub fn to_members(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        }
    }

    /// Whether it can't prove who it is.
    pub fn is_public(&self) -> bool {
        self.token_endpoint_auth_method == AuthMethod::None
    }

    /// The name that its certificate has to have (RFC 8705 §2.1.2).
    pub fn certified_as(&self) -> Option<CertifiedName> {
        certificate::CertifiedName::of(self)
    }

    /// Whether it registered this grant type.
    pub fn may_use(&self, grant_type: GrantType) -> bool {
        self.grant_types.contains(&grant_type)
    }

    /// The registered redirect URI that a request means; `None` where it means none of them.
    pub fn redirect(&self, named: &str) -> Option<&RedirectUri> {
        let exact = self.redirect_uris.iter().find(|uri| uri.as_str() == named);
        exact.or_else(|| self.redirect_uris.iter().find(|uri| uri.permits(named)))
    }
}

/// All that a method of authentication allows; codes only with somewhere to go back to.
fn usual(method: AuthMethod, redirects: bool) -> Vec<GrantType> {
    GrantType::ALL
        .into_iter()
        .filter(|grant| method != AuthMethod::None || grant.is_for_public())
        .filter(|grant| redirects || *grant != GrantType::AuthorizationCode)
        .collect()
}

fn redirect_uris(members: &Map<String, Value>) -> Result<Vec<RedirectUri>, MetadataError> {
    let refused = |what: String| MetadataError::RedirectUri(what);
    let list = match present(members, "redirect_uris") {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(refused("`redirect_uris` is a list of texts".to_owned())),
    };
    if list.len() > MAX_REDIRECT_URIS {
        return Err(refused(format!("`redirect_uris` has at most {MAX_REDIRECT_URIS} entries")));
    }
    let mut uris: Vec<RedirectUri> = Vec::with_capacity(list.len());
    for item in list {
        let text = item.as_str().ok_or_else(|| refused("`redirect_uris` is a list of texts".to_owned()))?;
        let uri = RedirectUri::parse(text).map_err(refused)?;
        if !uris.contains(&uri) {
            uris.push(uri);
        }
    }
    Ok(uris)
}

fn auth_method(
    members: &Map<String, Value>,
    author: Author,
    has_keys: bool,
) -> Result<AuthMethod, MetadataError> {
    let method: Option<AuthMethod> = word(members, "token_endpoint_auth_method")?;
    match author {
        Author::Document if members.contains_key("client_secret") => {
            Err(wrong("a document that anybody can read has no `client_secret`"))
        }
        Author::Document => match method {
            Some(method) if method.is_secret() => {
                Err(wrong("a client that is a document shares no secret: use `private_key_jwt` or `none`"))
            }
            Some(method) => Ok(method),
            None if has_keys => Ok(AuthMethod::PrivateKeyJwt),
            None => Ok(AuthMethod::None),
        },
        Author::Administrator | Author::Client => Ok(method.unwrap_or_default()),
    }
}

fn grant_types(
    members: &Map<String, Value>,
    author: Author,
    method: AuthMethod,
    redirects: bool,
) -> Result<Vec<GrantType>, MetadataError> {
    let strict = author == Author::Administrator;
    let Some(stated) = present(members, "grant_types") else {
        return Ok(match author {
            Author::Administrator => usual(method, redirects),
            Author::Client | Author::Document => vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        });
    };
    let list = stated.as_array().ok_or_else(|| wrong("`grant_types` is a list of texts"))?;
    let mut grants = Vec::new();
    for item in list {
        let name = item.as_str().ok_or_else(|| wrong("`grant_types` is a list of texts"))?;
        let grant = match GrantType::from_name(name) {
            Some(grant) if method == AuthMethod::None && !grant.is_for_public() => {
                if strict {
                    let what =
                        format!("`{name}` needs a client that authenticates, and its method is `none`");
                    return Err(wrong(what));
                }
                continue;
            }
            Some(grant) => grant,
            None if strict => {
                return Err(wrong(format!("the grant type `{}` is not known", name.escape_debug())));
            }
            None => continue,
        };
        if !grants.contains(&grant) {
            grants.push(grant);
        }
    }
    if grants.is_empty() {
        return Err(wrong("`grant_types` names none that this client could use"));
    }
    Ok(grants)
}

/// They follow from the grant types (RFC 7591 §2.1), and may say so.
fn check_response_types(members: &Map<String, Value>, code: bool, strict: bool) -> Result<(), MetadataError> {
    let Some(stated) = present(members, "response_types") else { return Ok(()) };
    let list = stated.as_array().ok_or_else(|| wrong("`response_types` is a list of texts"))?;
    if list.iter().any(|item| item.as_str() != Some("code")) {
        return Err(wrong("the only response type is `code`"));
    }
    if strict && list.is_empty() == code {
        return Err(wrong("`response_types` is [\"code\"] iff `grant_types` has `authorization_code`"));
    }
    Ok(())
}

fn check_keys(set: &Value) -> Result<(), MetadataError> {
    if serde_json::to_vec(set).map_or(MAX_JWKS, |text| text.len()) >= MAX_JWKS {
        return Err(wrong(format!("`jwks` has fewer than {MAX_JWKS} bytes")));
    }
    let keys = KeySet::parse(set).map_err(|error| wrong(format!("`jwks`: {error}")))?;
    if keys.is_empty() {
        return Err(wrong("`jwks` has no key that signs with EdDSA, ES256, RS256 or PS256"));
    }
    Ok(())
}

fn contacts(members: &Map<String, Value>) -> Result<Vec<String>, MetadataError> {
    let Some(stated) = present(members, "contacts") else { return Ok(Vec::new()) };
    let list = stated.as_array().filter(|list| list.len() <= 16);
    let list = list.ok_or_else(|| wrong("`contacts` is a list of at most 16 texts"))?;
    list.iter()
        .map(|item| item.as_str().filter(|text| is_shown(text)).map(str::to_owned))
        .collect::<Option<_>>()
        .ok_or_else(|| wrong("`contacts` is a list of short texts"))
}

fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, MetadataError> {
    match present(members, name) {
        None => Ok(None),
        Some(Value::String(text)) if is_shown(text) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(format!(
            "`{name}` is text of 1 to {MAX_NAME} characters, without control characters and marks of direction"
        ))),
    }
}

/// A text that reads as what it is.
fn is_shown(text: &str) -> bool {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    !text.trim().is_empty() && text.chars().count() <= MAX_NAME && !text.chars().any(hidden)
}

fn url(members: &Map<String, Value>, name: &str) -> Result<Option<String>, MetadataError> {
    let refused = || wrong(format!("`{name}` is an https URL (or http at this machine) without fragment"));
    match present(members, name) {
        None => Ok(None),
        Some(Value::String(text)) => {
            let uri = Uri::parse(text).map_err(|_| refused())?;
            if uri.is_https_or_local() { Ok(Some(text.clone())) } else { Err(refused()) }
        }
        Some(_) => Err(refused()),
    }
}

fn flag(members: &Map<String, Value>, name: &str) -> Result<bool, MetadataError> {
    match present(members, name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(wrong(format!("`{name}` is true or false"))),
    }
}

fn word<T: serde::de::DeserializeOwned>(
    members: &Map<String, Value>,
    name: &str,
) -> Result<Option<T>, MetadataError> {
    let Some(stated) = present(members, name) else { return Ok(None) };
    T::deserialize(stated).map(Some).map_err(|error| wrong(format!("`{name}`: {error}")))
}

fn present<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn wrong(what: impl Into<String>) -> MetadataError {
    MetadataError::Metadata(what.into())
}

#[cfg(test)]
mod tests;
