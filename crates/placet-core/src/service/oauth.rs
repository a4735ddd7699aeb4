//! Connections whose credential is an access token of somebody else's authorization server: what a service says about that
//! server, what is kept of a connection, what is asked of the server and what its answer means.
//!
//! A token is asked for with the client's own secret (RFC 6749 §4.4) or with a refresh token (§6). Where no new refresh
//! token comes with an answer, the one there is stays (§6).
//!
//! Invariant: pure. Secrets are held as such; no error, message or debug output has one, nor what the other server wrote
//! beyond the code of its error.

use crate::{client::Uri, provider::ClientAuth, secret::Secret, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

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
    /// What is used now.
    pub access: Option<Access>,
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
    #[error("`client_secret` and `refresh_token` have 1 to {MAX_TOKEN} visible ASCII characters or spaces")]
    Secret,
    /// Nothing to ask with.
    #[error("`client_secret` or `refresh_token` is missing: without both no token can be asked for")]
    Nothing,
}

/// The form that it is sealed in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form<'a> {
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    client_secret: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    access_token: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
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
        if !(1..=MAX_CLIENT_ID).contains(&client_id.len())
            || !client_id.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(KeptError::ClientId);
        }
        if client_secret.is_none() && refresh_token.is_none() {
            return Err(KeptError::Nothing);
        }
        let good = |secret: &Secret| is_token(secret.expose());
        if ![&client_secret, &refresh_token].into_iter().flatten().all(good) {
            return Err(KeptError::Secret);
        }
        Ok(Self { client_id, client_secret, refresh_token, access: None })
    }

    /// As it is sealed.
    pub fn to_secret(&self) -> Secret {
        let form = Form {
            client_id: Cow::Borrowed(&self.client_id),
            client_secret: self.client_secret.as_ref().and_then(Secret::expose_str).map(Cow::Borrowed),
            refresh_token: self.refresh_token.as_ref().and_then(Secret::expose_str).map(Cow::Borrowed),
            access_token: self
                .access
                .as_ref()
                .and_then(|access| access.token.expose_str())
                .map(Cow::Borrowed),
            due: self.access.as_ref().and_then(|access| access.due),
            expires: self.access.as_ref().and_then(|access| access.expires),
        };
        // Written once into room that is large enough: nothing is left behind where it would have grown.
        let mut bytes = Vec::with_capacity(4 * MAX_TOKEN);
        _ = serde_json::to_writer(&mut bytes, &form);
        Secret::new(bytes)
    }

    /// As it was sealed; none where that is not what this is.
    pub fn from_secret(secret: &Secret) -> Option<Self> {
        let form: Form<'_> = serde_json::from_slice(secret.expose()).ok()?;
        let held = |text: Option<Cow<'_, str>>| text.map(|text| Secret::new(text.as_bytes()));
        let access = form.access_token.map(|token| Access {
            token: Secret::new(token.as_bytes()),
            due: form.due,
            expires: form.expires,
        });
        Some(Self {
            client_id: form.client_id.into_owned(),
            client_secret: held(form.client_secret),
            refresh_token: held(form.refresh_token),
            access,
        })
    }

    /// What is asked at the token endpoint, as the members of a form. The client's secret is among them only where the
    /// service says that it is shown there; a client without one names itself.
    pub fn asks<'a>(&'a self, server: &'a OAuth) -> Vec<(&'static str, Cow<'a, [u8]>)> {
        let mut form: Vec<(&'static str, Cow<'a, [u8]>)> = Vec::new();
        match &self.refresh_token {
            Some(token) => {
                form.push(("grant_type", b"refresh_token".into()));
                form.push(("refresh_token", token.expose().into()));
            }
            None => {
                form.push(("grant_type", b"client_credentials".into()));
                // With a refresh token the scope stays what the account's owner granted (RFC 6749 §6).
                if !server.scope.is_empty() {
                    form.push(("scope", Cow::Owned(server.scope.join(" ").into_bytes())));
                }
            }
        }
        let whom = [("resource", &server.resource), ("audience", &server.audience)];
        form.extend(
            whom.into_iter().filter_map(|(name, whom)| Some((name, whom.as_ref()?.as_bytes().into()))),
        );
        match (&self.client_secret, server.client_auth) {
            (Some(secret), ClientAuth::ClientSecretPost) => {
                form.push(("client_id", self.client_id.as_bytes().into()));
                form.push(("client_secret", secret.expose().into()));
            }
            (None, _) => form.push(("client_id", self.client_id.as_bytes().into())),
            (Some(_), ClientAuth::ClientSecretBasic) => {}
        }
        form
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
        let access = Access {
            token: granted.access_token,
            due: Some(at(all - AHEAD.min(all / 5))),
            // What was not said to end may be used for as long as no other is to be had.
            expires: lifetime.map(|_| at(all)),
        };
        Self { refresh_token: granted.refresh_token.or(self.refresh_token), access: Some(access), ..self }
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
}

/// The members of an answer that are read (RFC 6749 §5.1, §5.2).
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    access_token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    refresh_token: Option<Cow<'a, str>>,
    expires_in: Option<u64>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
}

/// Reads the answer of a token endpoint: `ok` where its status was 200, else it was 400, 401 or 403.
///
/// # Errors
/// [`Ungranted`].
pub fn read(ok: bool, body: &Secret) -> Result<Granted, Ungranted> {
    let said: Said<'_> = serde_json::from_slice(body.expose())
        .map_err(|_| Ungranted::Unusable("it is no JSON object of RFC 6749 §5"))?;
    if !ok || said.error.is_some() {
        let error = said.error.ok_or(Ungranted::Unusable("it names no error"))?;
        let code: String = error.chars().filter(char::is_ascii_graphic).take(MAX_CODE).collect();
        // What is said of the moment passes; anything else is about the client, its secret or its grant.
        return Err(match code.as_str() {
            "temporarily_unavailable" | "server_error" | "slow_down" => {
                Ungranted::Unusable("it is not available")
            }
            _ => Ungranted::Refused(code),
        });
    }
    let token = said.access_token.ok_or(Ungranted::Unusable("it has no access token"))?;
    if !said.token_type.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(Ungranted::Unusable("its token is no bearer token"));
    }
    let secret = |text: Cow<'_, str>| is_token(text.as_bytes()).then(|| Secret::new(text.as_bytes()));
    let unfit = Ungranted::Unusable("its token can't be sent in a header");
    Ok(Granted {
        access_token: secret(token).filter(|token| !token.expose().contains(&b' ')).ok_or(unfit.clone())?,
        refresh_token: said.refresh_token.map(|token| secret(token).ok_or(unfit)).transpose()?,
        lifetime: said.expires_in,
    })
}

fn is_token(bytes: &[u8]) -> bool {
    (1..=MAX_TOKEN).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000_000_000);

    fn secret(text: &str) -> Option<Secret> {
        Some(Secret::new(text))
    }

    fn kept(client_secret: Option<Secret>, refresh_token: Option<Secret>) -> Kept {
        Kept::new("me".to_owned(), client_secret, refresh_token).unwrap()
    }

    fn server(more: serde_json::Value) -> OAuth {
        let mut all = json!({"token_url": "https://sso.example/token"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn asked(kept: &Kept, server: &OAuth) -> Vec<String> {
        kept.asks(server)
            .into_iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(&value)))
            .collect()
    }

    fn granted(body: serde_json::Value) -> Result<Granted, Ungranted> {
        read(true, &Secret::new(body.to_string()))
    }

    #[test]
    fn a_client_asks_with_what_it_has_and_shows_its_secret_in_one_place() {
        let basic = server(json!({"scope": ["a", "b"], "audience": "api"}));
        let post = server(json!({"client_auth": "client_secret_post", "resource": "https://api.example"}));
        let own = kept(secret("s"), None);
        assert_eq!(asked(&own, &basic), ["grant_type=client_credentials", "scope=a b", "audience=api"]);
        assert!(own.in_header(&basic).is_some());
        let posted = asked(&own, &post);
        assert_eq!(posted[1..], ["resource=https://api.example", "client_id=me", "client_secret=s"]);
        assert!(own.in_header(&post).is_none());
        let public = kept(None, secret("r"));
        assert_eq!(
            asked(&public, &basic),
            ["grant_type=refresh_token", "refresh_token=r", "audience=api", "client_id=me"]
        );
        assert!(public.in_header(&basic).is_none());
    }

    #[test]
    fn what_is_kept_is_read_back_as_it_was() {
        let with = |body| kept(secret("s \"x\\"), secret("r")).with(granted(body).unwrap(), NOW);
        for kept in [
            kept(secret("s"), None),
            kept(None, secret("r\"")),
            with(json!({"access_token": "t", "token_type": "Bearer", "expires_in": 60})),
            with(json!({"access_token": "t", "token_type": "bearer", "refresh_token": "r2"})),
        ] {
            assert_eq!(Kept::from_secret(&kept.to_secret()), Some(kept));
        }
        assert_eq!(Kept::from_secret(&Secret::new("{}")), None);
        assert_eq!(Kept::from_secret(&Secret::new("a-plain-secret")), None);
    }

    #[test]
    fn a_refresh_token_stays_where_no_other_comes_and_goes_where_one_does() {
        let answer = |refresh: Option<&str>| {
            let mut body = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 3600});
            if let Some(refresh) = refresh {
                body["refresh_token"] = refresh.into();
            }
            granted(body).unwrap()
        };
        let old = kept(secret("s"), secret("old"));
        assert_eq!(old.clone().with(answer(None), NOW).refresh_token, secret("old"));
        assert_eq!(old.with(answer(Some("new")), NOW).refresh_token, secret("new"));
    }

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let access = |seconds: u64| {
            let body = json!({"access_token": "t", "token_type": "Bearer", "expires_in": seconds});
            kept(secret("s"), None).with(granted(body).unwrap(), NOW).access.unwrap()
        };
        let at = |seconds| NOW.plus(Duration::from_secs(seconds));
        for (lifetime, due, end) in
            [(3600, 3300, 3600), (50, 40, 50), (1, 1, 1), (u64::MAX, LONGEST - 300, LONGEST)]
        {
            let access = access(lifetime);
            assert_eq!((access.due, access.expires), (Some(at(due)), Some(at(end))), "{lifetime}");
        }
        let access = access(50);
        assert!(!access.is_due(at(39)) && access.is_due(at(40)));
        assert!(access.is_good(at(49)) && !access.is_good(at(50)));
        for unsaid in [json!({}), json!({"expires_in": 0})] {
            let mut body = json!({"access_token": "t", "token_type": "Bearer"});
            body.as_object_mut().unwrap().extend(unsaid.as_object().unwrap().clone());
            let unsaid = kept(secret("s"), None).with(granted(body).unwrap(), NOW).access.unwrap();
            assert!(!unsaid.is_due(at(3299)) && unsaid.is_due(at(3300)) && unsaid.is_good(at(1 << 30)));
        }
    }

    #[test]
    fn answers_that_are_none() {
        for (ok, body, refused) in [
            (false, json!({"error": "invalid_grant", "error_description": "canary"}), Some("invalid_grant")),
            (true, json!({"error": "invalid_\u{202e}x\nclient"}), Some("invalid_xclient")),
            (false, json!({"error": "temporarily_unavailable"}), None),
            (false, json!({"access_token": "t", "token_type": "Bearer"}), None),
            (true, json!({"token_type": "Bearer"}), None),
            (true, json!({"access_token": "t"}), None),
            (true, json!({"access_token": "t", "token_type": "DPoP"}), None),
            (true, json!({"access_token": "two words", "token_type": "Bearer"}), None),
            (true, json!({"access_token": "line\nend", "token_type": "Bearer"}), None),
            (true, json!({"access_token": "", "token_type": "Bearer"}), None),
            (true, json!({"access_token": "t", "token_type": "Bearer", "expires_in": -1}), None),
            (true, json!(["access_token"]), None),
        ] {
            let error = read(ok, &Secret::new(body.to_string())).unwrap_err();
            assert!(!error.to_string().contains("canary"));
            match (error, refused) {
                (Ungranted::Refused(code), Some(expected)) => assert_eq!(code, expected),
                (Ungranted::Unusable(_), None) => {}
                (error, _) => panic!("{body}: {error}"),
            }
        }
    }

    #[test]
    fn a_token_is_asked_for_where_nobody_else_reads() {
        for (url, good) in [
            ("https://sso.example/token", true),
            ("http://127.0.0.1:8080/token", true),
            ("http://sso.example/token", false),
            ("https://sso.example/token?x=1", false),
            ("https://user@sso.example/token", false),
            ("ftp://sso.example", false),
            ("", false),
        ] {
            assert_eq!(is_token_url(url), good, "{url}");
        }
    }

    #[test]
    fn what_can_not_ask_is_refused() {
        let new = |id: &str, secret: Option<&str>, refresh: Option<&str>| {
            Kept::new(id.to_owned(), secret.map(Secret::new), refresh.map(Secret::new)).unwrap_err()
        };
        assert_eq!(new("", Some("s"), None), KeptError::ClientId);
        assert_eq!(new("a b", Some("s"), None), KeptError::ClientId);
        assert_eq!(new("a", None, None), KeptError::Nothing);
        assert_eq!(new("a", Some("s\n"), None), KeptError::Secret);
        assert_eq!(new("a", Some("s"), Some("")), KeptError::Secret);
    }
}
