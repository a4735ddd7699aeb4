//! Certificates of clients (X.509, RFC 5280), as far as anything here depends on them: the names, the key, the time, what
//! they may be used for. Chains are verified by rustls.
//!
//! Invariant: what can't be read in full is no certificate. A name is never a pattern, and one that stands in a field that
//! can't be read stands nowhere.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_core::{
    client::{CertifiedName, DistinguishedName},
    jose::{PublicKey as Jwk, Thumbprint},
    time::Timestamp,
};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use serde_json::{Map, Value};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{OID_EC_P256, OID_SIG_ED25519},
    prelude::FromDer as _,
    public_key::PublicKey,
    x509::{SubjectPublicKeyInfo, X509Name},
};

/// The largest certificate that is looked at, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// The longest chain behind it.
const MAX_CHAIN: usize = 8;
/// What every URI of a workload begins with.
const SPIFFE: &str = "spiffe:";

/// Why something is no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Longer than it may be, with what is behind it.
    #[error("the certificate or its chain is too long")]
    TooLong,
    /// No X.509 certificate, or one with more behind it or with an extension that can't be read.
    #[error("it is no X.509 certificate that can be read in full")]
    Form,
}

/// Why a certificate proves nothing of whom it would have to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is not certified by an authority that is trusted, its time is over or has not come, or it is for something else.
    #[error("it is not certified, for a client and for now, by an authority that is trusted here")]
    Chain,
    /// It has another name.
    #[error("it does not have the name that the client is registered with")]
    Name,
    /// It is a workload's, and not as those have to be (SPIFFE X509-SVID §2, §4).
    #[error("it has a SPIFFE ID beside other URIs, or may certify others")]
    Workload,
    /// It may not be used to authenticate a client (RFC 5280 §4.2.1.12).
    #[error("its extended key usage is not for clients")]
    Usage,
}

/// A client's certificate, with the others that came with it.
pub struct Certificate {
    der: CertificateDer<'static>,
    behind: Vec<CertificateDer<'static>>,
    thumbprint: Thumbprint,
    key: Option<Thumbprint>,
    not_before: i64,
    not_after: i64,
    subject: Option<DistinguishedName>,
    dns: Vec<String>,
    uris: Vec<String>,
    addresses: Vec<IpAddr>,
    mailboxes: Vec<String>,
    for_clients: bool,
    certifies: bool,
}

impl Certificate {
    /// Reads a certificate; `behind` are those that shall lead from it to an authority, in any order.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse(
        der: CertificateDer<'static>,
        behind: Vec<CertificateDer<'static>>,
    ) -> Result<Self, CertificateError> {
        let is_long = |one: &CertificateDer<'_>| one.len() > MAX_BYTES;
        if is_long(&der) || behind.len() > MAX_CHAIN || behind.iter().any(is_long) {
            return Err(CertificateError::TooLong);
        }
        let form = |_| CertificateError::Form;
        let (rest, read) = X509Certificate::from_der(&der).map_err(|_| CertificateError::Form)?;
        if !rest.is_empty() || read.extensions().iter().any(|it| it.parsed_extension().error().is_some()) {
            return Err(CertificateError::Form);
        }
        let usage = read.extended_key_usage().map_err(form)?;
        let is_authority = read.basic_constraints().map_err(form)?.is_some_and(|it| it.value.ca);
        let signs = read.key_usage().map_err(form)?;
        let mut names = Names::default();
        if let Some(alternative) = read.subject_alternative_name().map_err(form)? {
            for name in &alternative.value.general_names {
                names.add(name)?;
            }
        }
        let (thumbprint, key) = (Thumbprint::of_certificate(&der), key(read.public_key()));
        let (not_before, not_after) =
            (read.validity().not_before.timestamp(), read.validity().not_after.timestamp());
        let for_clients = usage.is_none_or(|usage| usage.value.any || usage.value.client_auth);
        let certifies =
            is_authority || signs.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
        let subject = subject(read.subject());
        let Names { dns, uris, addresses, mailboxes } = names;
        Ok(Self {
            thumbprint,
            key,
            not_before,
            not_after,
            subject,
            dns,
            uris,
            addresses,
            mailboxes,
            for_clients,
            certifies,
            der,
            behind,
        })
    }

    /// Its thumbprint (`x5t#S256`, RFC 8705 §3.1).
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// The thumbprint of its key as a JWK; `None` for a kind of key that is in no key set here.
    pub fn key(&self) -> Option<Thumbprint> {
        self.key
    }

    /// Whether its time has come and is not over.
    pub fn is_current(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now.as_seconds())
    }

    /// Whether it may be used by a client to say who it is.
    ///
    /// # Errors
    /// [`Unfit::Usage`].
    pub fn is_for_clients(&self) -> Result<(), Unfit> {
        if self.for_clients { Ok(()) } else { Err(Unfit::Usage) }
    }

    /// Whether it has this name.
    ///
    /// # Errors
    /// [`Unfit::Name`], [`Unfit::Workload`].
    pub fn must_have(&self, name: &CertifiedName) -> Result<(), Unfit> {
        let has = match name {
            CertifiedName::Subject(subject) => self.subject.as_ref() == Some(subject),
            CertifiedName::Dns(host) => self.dns.iter().any(|own| own.eq_ignore_ascii_case(host)),
            CertifiedName::Uri(uri) => self.uris.iter().any(|own| own == uri),
            CertifiedName::Ip(address) => self.addresses.contains(address),
            CertifiedName::Email(mailbox) => self.mailboxes.iter().any(|own| own == mailbox),
        };
        if !has {
            return Err(Unfit::Name);
        }
        let is_workload =
            |uri: &String| uri.get(..SPIFFE.len()).is_some_and(|it| it.eq_ignore_ascii_case(SPIFFE));
        if self.uris.iter().any(is_workload) && (self.uris.len() != 1 || self.certifies) {
            return Err(Unfit::Workload);
        }
        Ok(())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.thumbprint)
    }
}

/// Names, kind by kind.
#[derive(Default)]
struct Names {
    dns: Vec<String>,
    uris: Vec<String>,
    addresses: Vec<IpAddr>,
    mailboxes: Vec<String>,
}

impl Names {
    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), CertificateError> {
        match name {
            GeneralName::DNSName(host) => self.dns.push((*host).to_owned()),
            GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
            GeneralName::RFC822Name(mailbox) => self.mailboxes.push((*mailbox).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
                let six = <[u8; 16]>::try_from(*bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
                self.addresses.push(four.or(six).map_err(|_| CertificateError::Form)?);
            }
            GeneralName::Invalid(..) => return Err(CertificateError::Form),
            _ => {}
        }
        Ok(())
    }
}

/// A subject whose attributes are all text.
fn subject(name: &X509Name<'_>) -> Option<DistinguishedName> {
    let relative = name.iter_rdn().map(|relative| {
        let attributes = relative.iter().map(|attribute| {
            Some((attribute.attr_type().to_id_string(), attribute.as_str().ok()?.to_owned()))
        });
        attributes.collect::<Option<Vec<_>>>()
    });
    let relative = relative.collect::<Option<Vec<_>>>()?;
    (!relative.is_empty()).then(|| DistinguishedName::new(relative))
}

/// The name that a certificate's key has in a key set.
fn key(info: &SubjectPublicKeyInfo<'_>) -> Option<Thumbprint> {
    let algorithm = &info.algorithm;
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let members: Vec<(&str, String)> = match info.parsed().ok()? {
        PublicKey::EC(point) if algorithm.parameters.as_ref()?.as_oid().ok()? == OID_EC_P256 => {
            let [4, rest @ ..] = point.data() else { return None };
            let (x, y) = rest.split_at_checked(32)?;
            vec![("kty", "EC".into()), ("crv", "P-256".into()), ("x", encoded(x)), ("y", encoded(y))]
        }
        PublicKey::RSA(rsa) => {
            // A number of ASN.1 may begin with a zero, one of JOSE doesn't.
            let unsigned = |bytes: &[u8]| encoded(bytes.strip_prefix(&[0]).unwrap_or(bytes));
            vec![("kty", "RSA".into()), ("n", unsigned(rsa.modulus)), ("e", unsigned(rsa.exponent))]
        }
        PublicKey::Unknown(bytes) if algorithm.algorithm == OID_SIG_ED25519 => {
            vec![("kty", "OKP".into()), ("crv", "Ed25519".into()), ("x", encoded(bytes))]
        }
        _ => return None,
    };
    let jwk: Map<String, Value> =
        members.into_iter().map(|(name, text)| (name.into(), text.into())).collect();
    Jwk::from_jwk(&jwk).ok().map(|key| key.thumbprint())
}

/// Authorities that may certify clients.
#[derive(Debug, Clone)]
pub struct Authorities(Arc<dyn ClientCertVerifier>);

impl Authorities {
    /// These, and no others: never those that the system trusts for servers.
    ///
    /// # Errors
    /// A sentence, where there is none or one is no certificate.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.map(Self).map_err(|error| error.to_string())
    }

    /// Checks that one of these has certified it for a client, through the certificates that came with it, and that it holds
    /// now (RFC 5280 §6).
    ///
    /// # Errors
    /// [`Unfit::Chain`].
    pub fn certify(&self, certificate: &Certificate, now: Timestamp) -> Result<(), Unfit> {
        let seconds = u64::try_from(now.as_seconds()).map_err(|_| Unfit::Chain)?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let verified = self.0.verify_client_cert(&certificate.der, &certificate.behind, now);
        verified.map(|_| ()).map_err(|_| Unfit::Chain)
    }
}

#[cfg(test)]
mod tests;
