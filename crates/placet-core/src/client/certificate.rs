//! The name by which a client's certificate is known: exactly one of the five that RFC 8705 §2.1.2 has.
//!
//! A name is compared whole: no wildcard, no prefix, no part of it. What is in the certificate is never a pattern either.
//!
//! Invariant: a name that can't be read is refused when it is registered, and equals none.

use super::{AuthMethod, Metadata, MetadataError, Uri, present, wrong};
use serde_json::{Map, Value};
use std::net::IpAddr;

/// The members, in the order in which [`members`] answers them.
pub(super) const MEMBERS: [&str; 5] = [
    "tls_client_auth_subject_dn",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_uri",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_email",
];
/// The longest name, in bytes.
const MAX: usize = 2048;

/// The name that a client's certificate has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertifiedName {
    /// Its subject.
    Subject(DistinguishedName),
    /// One of its DNS names, in lower case.
    Dns(String),
    /// Its URI.
    Uri(String),
    /// One of its IP addresses.
    Ip(IpAddr),
    /// One of its e-mail addresses.
    Email(String),
}

impl CertifiedName {
    /// What a client has registered; `None` where it has nothing that can be read.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        let stated = [
            &metadata.tls_client_auth_subject_dn,
            &metadata.tls_client_auth_san_dns,
            &metadata.tls_client_auth_san_uri,
            &metadata.tls_client_auth_san_ip,
            &metadata.tls_client_auth_san_email,
        ];
        let mut stated =
            MEMBERS.iter().zip(stated).filter_map(|(name, text)| Some((*name, text.as_deref()?)));
        match (stated.next(), stated.next()) {
            (Some((name, text)), None) => Self::read(name, text),
            _ => None,
        }
    }

    fn read(member: &str, text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > MAX {
            return None;
        }
        Some(match member {
            "tls_client_auth_subject_dn" => Self::Subject(DistinguishedName::parse(text)?),
            "tls_client_auth_san_dns" if is_host(text) => Self::Dns(text.to_ascii_lowercase()),
            "tls_client_auth_san_uri" if is_uri(text) => Self::Uri(text.to_owned()),
            "tls_client_auth_san_ip" => Self::Ip(text.parse().ok()?),
            "tls_client_auth_san_email" if is_mailbox(text) => Self::Email(text.to_owned()),
            _ => return None,
        })
    }
}

/// The five members as they were sent; exactly one of them where the client authenticates by its name.
pub(super) fn members(
    members: &Map<String, Value>,
    method: AuthMethod,
) -> Result<[Option<String>; 5], MetadataError> {
    let mut found = [const { None }; 5];
    let mut stated = Vec::new();
    for (name, slot) in MEMBERS.into_iter().zip(&mut found) {
        let Some(value) = present(members, name) else { continue };
        let text = value.as_str().filter(|text| CertifiedName::read(name, text).is_some());
        let text = text.ok_or_else(|| wrong(format!("`{name}` is {}", form(name))))?;
        *slot = Some(text.to_owned());
        stated.push(name);
    }
    let by_name = method == AuthMethod::TlsClientAuth;
    match (by_name, stated.len()) {
        (true, 1) | (false, 0) => Ok(found),
        (true, 0) => Err(wrong(format!(
            "`tls_client_auth` needs the name that the client's certificate has: send one of `{}`",
            MEMBERS.join("`, `")
        ))),
        (true, _) => {
            Err(wrong(format!("the certificate is known by one name: send one of `{}`", stated.join("`, `"))))
        }
        (false, _) => Err(wrong(format!(
            "`{}` comes with `token_endpoint_auth_method` `tls_client_auth`",
            stated.join("`, `")
        ))),
    }
}

fn form(member: &str) -> &'static str {
    match member {
        "tls_client_auth_subject_dn" => "a distinguished name as RFC 4514 writes it: `CN=agent,O=Example`",
        "tls_client_auth_san_dns" => "a DNS name without wildcards: `agent.example.com`",
        "tls_client_auth_san_uri" => {
            "a URI; that of a workload is a SPIFFE ID with a path: `spiffe://example.com/agent`"
        }
        "tls_client_auth_san_ip" => "an IPv4 or IPv6 address",
        _ => "an e-mail address",
    }
}

fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
}

fn is_uri(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_spiffe = scheme.eq_ignore_ascii_case("spiffe");
    is_scheme && text.bytes().all(|byte| byte.is_ascii_graphic()) && (!is_spiffe || is_workload(text))
}

/// A SPIFFE ID of a workload (SPIFFE-ID §2): a trust domain in lower case, and a path of plain segments.
fn is_workload(text: &str) -> bool {
    let Some((domain, path)) = text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let is_domain = (1..=255).contains(&domain.len())
        && domain
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte));
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    is_domain && path.split('/').all(is_segment) && Uri::parse(text).is_ok()
}

fn is_mailbox(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain && text.rsplit_once('@').is_some_and(|(local, host)| !local.is_empty() && is_host(host))
}

/// A distinguished name: attributes by their object identifiers, most specific last, as a certificate has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName(Vec<Vec<(String, String)>>);

/// The short names of RFC 4514 §3, and those that tools write besides.
const SHORT: [(&str, &str); 12] = [
    ("CN", "2.5.4.3"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("EMAILADDRESS", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
];

impl DistinguishedName {
    /// Of a certificate's attributes: object identifier and text, each list one relative name, in the certificate's order.
    pub fn new(relative: Vec<Vec<(String, String)>>) -> Self {
        let ordered = |mut one: Vec<(String, String)>| {
            one.sort();
            one
        };
        Self(relative.into_iter().map(ordered).collect())
    }

    /// As RFC 4514 writes it, most specific first. Values are compared as they are, with their case and spaces.
    pub fn parse(text: &str) -> Option<Self> {
        let mut relative = Vec::new();
        let mut attributes = Vec::new();
        let mut rest = text;
        loop {
            let (kind, behind) = rest.split_once('=')?;
            let kind = kind.trim_matches(' ');
            let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let kind = match SHORT.iter().find(|(short, _)| kind.eq_ignore_ascii_case(short)) {
                Some((_, oid)) => (*oid).to_owned(),
                None if kind.contains('.') && kind.split('.').all(is_number) => kind.to_owned(),
                None => return None,
            };
            let (value, end, behind) = value(behind)?;
            attributes.push((kind, value));
            match end {
                Some('+') => {}
                Some(_) => relative.push(std::mem::take(&mut attributes)),
                None => {
                    relative.push(attributes);
                    break;
                }
            }
            rest = behind;
        }
        relative.reverse();
        Some(Self::new(relative))
    }
}

/// A value, what ends it, and what is behind that.
fn value(text: &str) -> Option<(String, Option<char>, &str)> {
    let text = text.trim_start_matches(' ');
    // The form for what is no text.
    if text.starts_with('#') {
        return None;
    }
    let mut bytes = Vec::new();
    // How much of it is not to be taken for spaces at its end.
    let mut kept = 0;
    let mut chars = text.char_indices();
    let (end, behind) = loop {
        match chars.next() {
            None => break (None, ""),
            Some((at, end @ (',' | '+'))) => break (Some(end), text.get(at + 1..)?),
            Some((_, '\\')) => {
                let (_, next) = chars.next()?;
                if let Some(high) = next.to_digit(16) {
                    let low = chars.next()?.1.to_digit(16)?;
                    bytes.push(u8::try_from(high * 16 + low).ok()?);
                } else if " \"#+,;<=>\\".contains(next) {
                    bytes.push(u8::try_from(next).ok()?);
                } else {
                    return None;
                }
                kept = bytes.len();
            }
            Some((_, '"' | ';' | '<' | '>' | '\0')) => return None,
            Some((_, plain)) => {
                bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
                if plain != ' ' {
                    kept = bytes.len();
                }
            }
        }
    };
    bytes.truncate(kept);
    let value = String::from_utf8(bytes).ok().filter(|value| !value.is_empty())?;
    Some((value, end, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Author;
    use serde_json::json;

    fn dn(text: &str) -> Option<DistinguishedName> {
        DistinguishedName::parse(text)
    }

    #[test]
    fn distinguished_names_are_read_as_they_are_written() {
        let pair = |kind: &str, value: &str| (kind.to_owned(), value.to_owned());
        let of = |relative: Vec<Vec<(String, String)>>| Some(DistinguishedName::new(relative));
        let agent = of(vec![vec![pair("2.5.4.10", "Example")], vec![pair("2.5.4.3", "agent")]]);
        for same in [
            "CN=agent,O=Example",
            "cn=agent, o=Example",
            " CN = agent , 2.5.4.10=Example ",
            "CN=\\61gent,O=Example",
        ] {
            assert_eq!(dn(same), agent, "{same}");
        }
        for other in [
            "O=Example,CN=agent",
            "CN=Agent,O=Example",
            "CN=agent",
            "CN=agent+O=Example",
            "CN=agent,O=Example,O=Example",
            "CN=agent\\ ,O=Example",
            "CN=agent\\,O\\=Example",
        ] {
            assert!(dn(other).is_some() && dn(other) != agent, "{other}");
        }
        assert_eq!(dn("CN=a+OU=b"), dn("OU=b+CN=a"));
        assert_eq!(dn("CN=Lu\\C4\\8Di\\C4\\87\\, jr.\\ "), of(vec![vec![pair("2.5.4.3", "Lučić, jr. ")]]));
        for wrong in [
            "", "CN", "CN=", "CN=a,", "CN=a+", "X=a", "CN=#0401", "CN=a\\", "CN=a\\x", "CN=a\\6", "CN=a;b",
            "CN=\"a\"", "CN=a<b", "CN=\\ff", "2.5.=a", ".=a", "=a", ",", "CN=a\0",
        ] {
            assert_eq!(dn(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_certificate_is_known_by_one_name() {
        let read = |method: &str, extra: Value| {
            let mut members = json!({"token_endpoint_auth_method": method});
            members.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            Metadata::read(members.as_object().unwrap(), Author::Administrator)
        };
        let good = [
            (
                "tls_client_auth_subject_dn",
                "CN=agent,O=Example",
                CertifiedName::Subject(dn("CN=agent,O=Example").unwrap()),
            ),
            ("tls_client_auth_san_dns", "Agent.Example.com", CertifiedName::Dns("agent.example.com".into())),
            (
                "tls_client_auth_san_uri",
                "spiffe://example.com/ns/a",
                CertifiedName::Uri("spiffe://example.com/ns/a".into()),
            ),
            ("tls_client_auth_san_uri", "urn:example:a", CertifiedName::Uri("urn:example:a".into())),
            ("tls_client_auth_san_ip", "2001:db8:0::1", CertifiedName::Ip("2001:db8::1".parse().unwrap())),
            ("tls_client_auth_san_email", "a@example.com", CertifiedName::Email("a@example.com".into())),
        ];
        for (member, text, name) in good {
            let metadata = read("tls_client_auth", json!({member: text})).unwrap();
            assert_eq!(metadata.certified_as(), Some(name));
            assert_eq!(metadata.to_members()[member], json!(text));
            assert!(read("client_secret_basic", json!({member: text})).is_err());
            // The one name in the place of the other; and none with another method.
            let changed = json!({"tls_client_auth_san_dns": "b.example.com"});
            let changed = metadata.changed(changed.as_object().unwrap(), Author::Administrator).unwrap();
            assert_eq!(changed.certified_as(), Some(CertifiedName::Dns("b.example.com".into())));
            let changed = json!({"token_endpoint_auth_method": "client_secret_basic"});
            let changed = metadata.changed(changed.as_object().unwrap(), Author::Administrator).unwrap();
            assert_eq!(changed.certified_as(), None);
            let unchanged = json!({"client_name": "x"});
            let unchanged = metadata.changed(unchanged.as_object().unwrap(), Author::Administrator).unwrap();
            assert_eq!(unchanged.certified_as(), metadata.certified_as());
        }
        let wrong = [
            json!({}),
            json!({"tls_client_auth_san_dns": "a.example", "tls_client_auth_san_ip": "::1"}),
            json!({"tls_client_auth_san_dns": "*.example.com"}),
            json!({"tls_client_auth_san_dns": "example.com."}),
            json!({"tls_client_auth_san_dns": ""}),
            json!({"tls_client_auth_san_dns": 1}),
            json!({"tls_client_auth_san_uri": "agent"}),
            json!({"tls_client_auth_san_uri": "spiffe://example.com"}),
            json!({"tls_client_auth_san_uri": "spiffe://example.com/"}),
            json!({"tls_client_auth_san_uri": "spiffe://Example.com/a"}),
            json!({"tls_client_auth_san_uri": "SPIFFE://example.com/a"}),
            json!({"tls_client_auth_san_uri": "spiffe://example.com:1/a"}),
            json!({"tls_client_auth_san_uri": "spiffe://example.com/a/../b"}),
            json!({"tls_client_auth_san_uri": "spiffe://example.com/a?b"}),
            json!({"tls_client_auth_san_uri": "spiffe://example.com/*"}),
            json!({"tls_client_auth_san_ip": "127.0.0.1/8"}),
            json!({"tls_client_auth_san_email": "example.com"}),
            json!({"tls_client_auth_subject_dn": "agent"}),
        ];
        for wrong in wrong {
            assert!(read("tls_client_auth", wrong.clone()).is_err(), "{wrong}");
        }
        assert!(read("self_signed_tls_client_auth", json!({})).is_err());
    }
}
