//! Reads how a service takes signed requests and certificates of clients, and what its actions can't do then.
//!
//! Invariant: what is loaded can be signed: no action streams a body that the signature is of, and no certificate is
//! shown over plain HTTP.

use super::{ServiceAction, load};
use crate::{
    call::{Auth, Mtls},
    diagnostic::quoted,
    pattern::ActionName,
    signing::{
        aws,
        scheme::{Digest, Encoding, KeyEncoding, Scheme, Template, TimeFormat},
    },
    yaml::{MapReading, Reading},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::collections::BTreeMap;

/// The longest list of authorities, in bytes.
const MAX_CA: usize = 64 * 1024;

/// `hmac`
pub(super) fn scheme(map: &MapReading<'_>) -> Option<Auth> {
    map.finish(&["type", "digest", "key", "sign", "encoding", "timestamp", "headers", "query"]);
    let sign = template(&map.required("sign")?)?;
    let word = |key: &str, words: &[&'static str]| match map.optional(key) {
        Some(it) => it.one_of(words).map(Some),
        None => Some(None),
    };
    let digest = match word("digest", &["sha256", "sha512"])? {
        Some("sha512") => Digest::Sha512,
        _ => Digest::Sha256,
    };
    let key = match word("key", &["text", "base64", "hex"])? {
        Some("base64") => KeyEncoding::Base64,
        Some("hex") => KeyEncoding::Hex,
        _ => KeyEncoding::Text,
    };
    let encoding = match word("encoding", &["hex", "base64", "base64url"])? {
        Some("base64") => Encoding::Base64,
        Some("base64url") => Encoding::Base64url,
        _ => Encoding::Hex,
    };
    let timestamp = match word("timestamp", &["seconds", "milliseconds", "iso8601"])? {
        Some("milliseconds") => TimeFormat::Milliseconds,
        Some("iso8601") => TimeFormat::Iso8601,
        _ => TimeFormat::Seconds,
    };
    let headers = added(map, "headers", load::header_name)?;
    let query = added(map, "query", load::member_name)?;
    let scheme = Scheme { digest, key, sign, encoding, timestamp, headers, query };
    if let Err(problem) = scheme.check() {
        map.report().error(map.position(), format!("`auth` is refused: {problem}"));
        return None;
    }
    if scheme.is_timeless() {
        let message =
            "neither `{timestamp}` nor `{nonce}` is signed: a request that was overheard could be sent again";
        map.report().warning(map.position(), message);
    }
    Some(Auth::Hmac(Box::new(scheme)))
}

/// What is added to the request, in the order in which it is written.
fn added(
    map: &MapReading<'_>,
    key: &str,
    name: fn(&Reading<'_>, &str) -> Option<String>,
) -> Option<Vec<(String, Template)>> {
    let Some(it) = map.optional(key) else { return Some(Vec::new()) };
    let mut added: Vec<(String, Template)> = Vec::new();
    for (key, value) in it.map()?.entries() {
        let name = name(&value, &key.value)?;
        if added.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            value.error(format!("{} is there twice", quoted(&name)));
            return None;
        }
        added.push((name, template(&value)?));
    }
    Some(added)
}

fn template(it: &Reading<'_>) -> Option<Template> {
    Template::parse(it.string()?)
        .map_err(|problem| it.error(format!("`{}` is refused: {problem}", it.name())))
        .ok()
}

/// `aws_sigv4`
pub(super) fn aws(map: &MapReading<'_>) -> Option<Auth> {
    map.finish(&["type", "region", "service"]);
    let name = |key: &str| {
        let it = map.required(key)?;
        let text = it.string()?;
        if !aws::is_name(text) {
            it.error(format!(
                "{} has 1 to 64 lower-case letters, digits and `-`: as in `eu-central-1`",
                quoted(key)
            ));
            return None;
        }
        Some(text.to_owned())
    };
    let (region, service) = (name("region"), name("service"));
    Some(Auth::AwsSigv4 { region: region?, service: service? })
}

/// `mtls`
pub(super) fn mtls(map: &MapReading<'_>) -> Option<Auth> {
    map.finish(&["type", "ca", "beside"]);
    let ca = match map.optional("ca") {
        Some(it) => {
            let text = it.string()?;
            if text.len() > MAX_CA || !is_certificates(text) {
                it.error("`ca` has certificates of authorities in PEM, and nothing else");
                return None;
            }
            Some(text.to_owned())
        }
        None => None,
    };
    let beside = match map.optional("beside") {
        Some(it) => {
            match load::auth(&it)? {
                auth @ (Auth::Bearer
                | Auth::Header { .. }
                | Auth::Query { .. }
                | Auth::Basic { username: Some(_) }) => Some(auth),
                _ => {
                    it.error("`beside` a certificate go `bearer`, `header`, `query`, and `basic` with a `username`");
                    return None;
                }
            }
        }
        None => None,
    };
    Some(Auth::Mtls(Box::new(Mtls { ca, beside })))
}

/// Whether a text is certificates in PEM, by its frame; the gateway reads what is in them.
fn is_certificates(text: &str) -> bool {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut rest = text.trim();
    let mut found = false;
    while let Some((body, behind)) = rest.strip_prefix(BEGIN).and_then(|rest| rest.split_once(END)) {
        let body: String = body.split_ascii_whitespace().collect();
        if body.is_empty() || STANDARD.decode(body).is_err() {
            return false;
        }
        (found, rest) = (true, behind.trim_start());
    }
    found && rest.is_empty()
}

/// Reports what can't be sent with this `auth`.
pub(super) fn check(
    map: &MapReading<'_>,
    auth: &Auth,
    actions: &BTreeMap<ActionName, ServiceAction>,
    https: bool,
) {
    let Some(at) = map.key_position("auth") else { return };
    let unsigned = match auth {
        Auth::Hmac(scheme) => scheme.needs_body().then_some("the signature is of the body"),
        Auth::AwsSigv4 { service, .. } if !aws::is_storage(service) => Some("the signature is of the body"),
        Auth::AwsSigv4 { .. } if !https => Some("what is streamed is not signed, and needs https"),
        Auth::Mtls(_) if !https => {
            map.report().error(at, "certificates are shown over TLS: `base_url` begins with `https://`");
            return;
        }
        _ => None,
    };
    let streamed = actions.values().find(|action| action.stream);
    if let (Some(why), Some(action)) = (unsigned, streamed) {
        map.report().error(at, format!("`{}` can't `stream`: {why}", action.name));
    }
}
