//! Reads what a service's definition says about the authorization server of its accounts.
//!
//! Invariant: a definition holds no secret; every place that it names is https, or http at this machine.

use super::{OAuth, account, exchange, is_token_url};
use crate::{
    call::Auth,
    client::Uri,
    diagnostic::quoted,
    provider::ClientAuth,
    yaml::{MapReading, Reading},
};
use std::collections::BTreeMap;

const KEYS: &[&str] = &[
    "type",
    "token_url",
    "client_auth",
    "scope",
    "resource",
    "audience",
    "authorization_url",
    "device_authorization_url",
    "issuer",
    "iss_in_response",
    "authorization_params",
    "token_type",
    "subject_token_type",
    "assertion_audience",
    "exchange",
];
/// The most additional members of an authorization request.
const MAX_PARAMS: usize = 16;
/// The longest value of one, and of a type.
const MAX_TEXT: usize = 255;

/// Reads it.
pub(crate) fn read(map: &MapReading<'_>) -> Option<Auth> {
    map.finish(KEYS);
    let token = map.required("token_url")?;
    let exchange = exchange::load(map)?;
    let token_url = match &exchange {
        Some(_) if exchange::is_url(token.string()?) => token.string()?.to_owned(),
        _ => token_url(&token, "token endpoint")?,
    };
    let device = match map.optional("device_authorization_url") {
        Some(it) => Some(self::token_url(&it, "device authorization endpoint")?),
        None => None,
    };
    let authorization_url = match map.optional("authorization_url") {
        Some(it) => Some(page(&it)?),
        None => None,
    };
    let client_auth = match map.optional("client_auth") {
        Some(it) => match it.one_of(&["client_secret_basic", "client_secret_post"])? {
            "client_secret_post" => ClientAuth::ClientSecretPost,
            _ => ClientAuth::ClientSecretBasic,
        },
        None => ClientAuth::ClientSecretBasic,
    };
    let whom = |key: &str| Some(map.optional(key)?.string()?.to_owned());
    let issuer = match map.optional("issuer") {
        Some(it) => Some(issuer(&it)?),
        None => None,
    };
    let iss_in_response = match map.optional("iss_in_response") {
        Some(it) => {
            let says = it.bool()?;
            if says && issuer.is_none() {
                it.error("where answers say whose they are, `issuer` says who that is");
                return None;
            }
            says
        }
        None => false,
    };
    Some(Auth::Oauth2(Box::new(OAuth {
        token_url,
        client_auth,
        scope: scope(map)?,
        resource: whom("resource"),
        audience: whom("audience"),
        authorization_params: params(map, authorization_url.is_some())?,
        authorization_url,
        device_authorization_url: device,
        issuer,
        iss_in_response,
        token_type: word(map, "token_type")?,
        subject_token_type: word(map, "subject_token_type")?,
        assertion_audience: word(map, "assertion_audience")?,
        exchange,
    })))
}

fn token_url(it: &Reading<'_>, what: &str) -> Option<String> {
    let url = it.string()?;
    if is_token_url(url) {
        return Some(url.to_owned());
    }
    it.error(format!(
        "{} is no {what}: an https URL (or http at this machine) without user, query and fragment",
        quoted(url)
    ));
    None
}

fn page(it: &Reading<'_>) -> Option<String> {
    let url = it.string()?;
    if !account::is_page(url) {
        it.error(format!(
            "people can't be sent to {}: an https URL (or http at this machine) without user and fragment",
            quoted(url)
        ));
        return None;
    }
    let query = Uri::parse(url).ok().and_then(|uri| uri.query).unwrap_or_default();
    let taken = form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| account::RESERVED.contains(&name.as_ref()))
        .map(|(name, _)| name.into_owned());
    if let Some(name) = taken {
        it.error(format!("`{name}` is not for the definition to say: it is part of every request"));
        return None;
    }
    Some(url.to_owned())
}

fn issuer(it: &Reading<'_>) -> Option<String> {
    let url = it.string()?;
    if account::is_page(url) && !url.contains('?') {
        return Some(url.to_owned());
    }
    it.error(format!("{} is no issuer: an https URL without user, query and fragment", quoted(url)));
    None
}

fn scope(map: &MapReading<'_>) -> Option<Vec<String>> {
    let mut scope = Vec::new();
    if let Some(it) = map.optional("scope") {
        for one in it.list()? {
            let text = one.string()?;
            // RFC 6749 §3.3.
            let is_scope = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
            if text.is_empty() || !text.bytes().all(is_scope) {
                one.error(format!("{} is no scope: visible ASCII characters without spaces", quoted(text)));
                return None;
            }
            scope.push(text.to_owned());
        }
    }
    Some(scope)
}

fn params(map: &MapReading<'_>, asks_people: bool) -> Option<BTreeMap<String, String>> {
    let mut params = BTreeMap::new();
    let Some(it) = map.optional("authorization_params") else { return Some(params) };
    if !asks_people {
        it.error("`authorization_params` is for an `authorization_url`");
        return None;
    }
    let members = it.map()?;
    for (name, value) in members.entries() {
        let text = value.string()?;
        if account::RESERVED.contains(&name.value.as_str()) {
            value.error(format!(
                "`{}` is not for the definition to say: it is part of every request",
                name.value
            ));
            return None;
        }
        if params.len() >= MAX_PARAMS || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            value.error(format!(
                "`authorization_params` has at most {MAX_PARAMS} members of {MAX_TEXT} bytes, without control characters"
            ));
            return None;
        }
        params.insert(name.value.clone(), text.to_owned());
    }
    Some(params)
}

/// A word that may be left out: none where it is; nothing where it is wrong.
fn word(map: &MapReading<'_>, key: &str) -> Option<Option<String>> {
    let Some(it) = map.optional(key) else { return Some(None) };
    let text = it.string()?;
    if text.is_empty() || text.len() > MAX_TEXT || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        it.error(format!("{} is no `{key}`: visible ASCII characters", quoted(text)));
        return None;
    }
    Some(Some(text.to_owned()))
}
