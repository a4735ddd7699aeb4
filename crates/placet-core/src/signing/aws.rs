//! AWS Signature Version 4 in the `Authorization` header, for requests that are sent whole.
//!
//! Not the vendor's crate: that brings some ten others and a second version of `http`, for a page of text whose two
//! primitives are here already. The cases of the published suite, and of the documentation of S3 and IAM, are tests.
//!
//! Invariant: every header of the vendor's, the host, the type and the digest of the body are signed; a body that
//! isn't known is left unsigned only for S3, which has a word for that.

use super::{
    KeyError, MAX_KEY, MIN_KEY, Moment, Signature, SigningError, Unsigned, digest_of, hex, mac, percent,
};
use crate::secret::Secret;
use aws_lc_rs::{digest::SHA256, hmac::HMAC_SHA256};
use serde::Deserialize;

/// What stands for the digest of a body that isn't signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// Headers that a signature makes, so that no definition can have them as constants.
pub const HEADERS: &[&str] = &["authorization", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];

/// Whether the service reads paths as S3 does, and takes bodies unsigned.
pub(crate) fn is_storage(service: &str) -> bool {
    matches!(service, "s3" | "s3-outposts" | "s3-object-lambda")
}

/// Whether a text can be a region or the name of a service in a signature.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// An access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsKey {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Option<Secret>,
}

/// As it is given and kept; or as the vendor's `credential_process` writes it.
#[derive(Deserialize)]
struct Form {
    #[serde(alias = "AccessKeyId")]
    access_key_id: String,
    #[serde(alias = "SecretAccessKey")]
    secret_access_key: Secret,
    #[serde(alias = "SessionToken")]
    session_token: Option<Secret>,
}

impl AwsKey {
    /// What is kept of a connection.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_secret(secret: &Secret) -> Result<Self, KeyError> {
        const FORM: KeyError = KeyError::Form(
            "`access_key_id`, `secret_access_key` and perhaps `session_token`, as members of one JSON object (`--auth aws-sigv4 --key-id` makes it)",
        );
        let form: Form = serde_json::from_slice(secret.expose()).map_err(|_| FORM)?;
        let word = |text: &[u8], longest: usize| {
            (MIN_KEY..=longest).contains(&text.len()) && text.iter().all(|byte| byte.is_ascii_graphic())
        };
        let id = form.access_key_id;
        if !word(id.as_bytes(), 128) || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(KeyError::KeyId);
        }
        if !word(form.secret_access_key.expose(), 512)
            || !form.session_token.iter().all(|token| word(token.expose(), MAX_KEY))
        {
            return Err(KeyError::Key);
        }
        Ok(Self {
            access_key_id: id,
            secret_access_key: form.secret_access_key,
            session_token: form.session_token,
        })
    }

    /// What must not come back.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        [&self.secret_access_key].into_iter().chain(&self.session_token)
    }

    /// Signs for a service in a region.
    ///
    /// # Errors
    /// [`SigningError`].
    pub fn sign(
        &self,
        request: &Unsigned<'_>,
        region: &str,
        service: &str,
        moment: Moment,
    ) -> Result<Signature, SigningError> {
        let storage = is_storage(service);
        let digest = match request.body {
            Some(body) => hex(&digest_of(&SHA256, body)),
            None if storage => UNSIGNED.to_owned(),
            None => return Err(SigningError::Streamed),
        };
        let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
        let mut added = vec![("x-amz-date".to_owned(), long_date(moment))];
        if storage {
            added.push(("x-amz-content-sha256".to_owned(), digest.clone()));
        }
        if let Some(token) = self.session_token.as_ref().and_then(Secret::expose_str) {
            added.push(("x-amz-security-token".to_owned(), token.to_owned()));
        }
        let signed = request
            .headers
            .iter()
            .copied()
            .filter(|(name, _)| name.starts_with("x-amz-") || *name == "content-type")
            .chain(added.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .chain([("host", request.host)]);
        let place = Place { path: canonical_path(path, storage)?, query: canonical_query(query)? };
        let scope = Scope { region, service, moment };
        let authorization = self.authorization(request.method, &place, signed.collect(), &digest, &scope);
        added.push(("authorization".to_owned(), authorization));
        Ok(Signature { target: request.target.to_owned(), headers: added })
    }

    /// The value of the header, for exactly these headers.
    fn authorization(
        &self,
        method: &str,
        place: &Place,
        mut headers: Vec<(&str, &str)>,
        digest: &str,
        scope: &Scope<'_>,
    ) -> String {
        headers.sort_unstable();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}:{}\n", in_one(value))).collect();
        let canonical = format!("{method}\n{}\n{}\n{lines}\n{names}\n{digest}", place.path, place.query);
        let (long, within) = (long_date(scope.moment), scope.words());
        let digest = hex(&digest_of(&SHA256, canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{long}\n{within}\n{digest}");
        let first = Secret::new([b"AWS4", self.secret_access_key.expose()].concat());
        let key = [&*short_date(scope.moment), scope.region, scope.service, "aws4_request"]
            .iter()
            .fold(first, |key, word| Secret::new(mac(HMAC_SHA256, key.expose(), word.as_bytes())));
        let signature = hex(&mac(HMAC_SHA256, key.expose(), text.as_bytes()));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{within}, SignedHeaders={names}, Signature={signature}",
            self.access_key_id
        )
    }
}

/// Path and query in the one form that both sides make of them.
struct Place {
    path: String,
    query: String,
}

/// What a derived key is good for.
struct Scope<'a> {
    region: &'a str,
    service: &'a str,
    moment: Moment,
}

impl Scope<'_> {
    fn words(&self) -> String {
        format!("{}/{}/{}/aws4_request", short_date(self.moment), self.region, self.service)
    }
}

fn long_date(moment: Moment) -> String {
    moment.now.to_jiff().strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn short_date(moment: Moment) -> String {
    moment.now.to_jiff().strftime("%Y%m%d").to_string()
}

/// S3 takes a path as what it means, encoded once; all others take it as it is written, encoded once more. Paths have
/// no dot segments here (a definition can't have them, and no parameter makes them).
fn canonical_path(path: &str, storage: bool) -> Result<String, SigningError> {
    let mut out = String::with_capacity(path.len());
    if storage {
        percent(&decoded(path)?, true, &mut out);
    } else {
        percent(path.as_bytes(), true, &mut out);
    }
    if out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// Names and values as what they mean, encoded once, in order.
fn canonical_query(query: &str) -> Result<String, SigningError> {
    // A plus is a space to some and itself to others.
    if query.contains('+') {
        return Err(SigningError::Target);
    }
    let mut members = Vec::new();
    for member in query.split('&').filter(|member| !member.is_empty()) {
        let (name, value) = member.split_once('=').unwrap_or((member, ""));
        let mut encoded = (String::new(), String::new());
        percent(&decoded(name)?, false, &mut encoded.0);
        percent(&decoded(value)?, false, &mut encoded.1);
        members.push(encoded);
    }
    members.sort_unstable();
    Ok(members.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
}

/// The bytes that a percent-encoded text means.
fn decoded(text: &str) -> Result<Vec<u8>, SigningError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or(SigningError::Target)?, digit().ok_or(SigningError::Target)?);
        out.push(u8::try_from(high * 16 + low).map_err(|_| SigningError::Target)?);
    }
    Ok(out)
}

/// A header's value without spaces around it, and one where there were several.
fn in_one(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
