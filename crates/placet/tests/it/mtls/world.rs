//! A server with a listener for mutual TLS, an authority that it trusts for clients, and one that it doesn't.

use crate::stage::PLACET;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use placet_testkit::{Agent, Client, Publisher, Server, Story, fresh};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SanType,
};
use serde_json::Value;
use std::{fs, sync::LazyLock};

/// Years within which certificates hold unless a test says otherwise.
const HOLDS: (i32, i32) = (2020, 2100);

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key.
pub(crate) struct Certified {
    /// Both, in PEM.
    pub(crate) pem: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
    raw_key: Vec<u8>,
}

impl Certified {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        let der = certificate.der().to_vec();
        let (raw_key, key) = (key.public_key_raw().to_vec(), pem("PRIVATE KEY", &key.serialize_der()));
        let certificate = pem("CERTIFICATE", &der);
        Self { pem: format!("{certificate}{key}"), certificate, key, der, raw_key }
    }

    /// As RFC 8705 §3.1 has it.
    pub(crate) fn thumbprint(&self) -> String {
        encoded(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.der).as_ref())
    }

    /// Its public key.
    pub(crate) fn jwk(&self) -> Value {
        serde_json::json!({"kty": "EC", "crv": "P-256", "x": encoded(&self.raw_key[1..33]),
            "y": encoded(&self.raw_key[33..])})
    }
}

fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub(crate) fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

/// What a certificate says.
pub(crate) fn params(names: Vec<SanType>, (from, to): (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, "agent");
    params.subject_alt_names = names;
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(Vec::new(), HOLDS);
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn certify(&self, params: &CertificateParams) -> Certified {
        let key = KeyPair::generate().unwrap();
        Certified::new(&params.signed_by(&key, &self.issuer).unwrap(), &key)
    }

    pub(crate) fn client(&self, names: Vec<SanType>) -> Certified {
        self.certify(&params(names, HOLDS))
    }

    pub(crate) fn client_of(&self, names: Vec<SanType>, years: (i32, i32)) -> Certified {
        self.certify(&params(names, years))
    }

    pub(crate) fn for_servers(&self, names: Vec<SanType>) -> Certified {
        let mut params = params(names, HOLDS);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.certify(&params)
    }
}

/// One that nobody else certified.
pub(crate) fn self_signed(years: (i32, i32)) -> Certified {
    let key = KeyPair::generate().unwrap();
    Certified::new(&params(Vec::new(), years).self_signed(&key).unwrap(), &key)
}

/// A self-signed one that holds now.
pub(crate) fn own() -> Certified {
    self_signed(HOLDS)
}

/// A proxy for what is no TLS, which passes TLS on as it comes.
pub(crate) const PASSES_ON: &str = "127.0.0.10";

pub(crate) struct World {
    pub(crate) story: Story,
    /// Certifies clients.
    pub(crate) trusted: Authority,
    /// Certifies nobody here, and has the same name.
    pub(crate) stranger: Authority,
    /// Has certified the server.
    pub(crate) servers: Authority,
    pub(crate) publisher: Publisher,
    pub(crate) url: String,
}

/// The one server.
pub(crate) fn world() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(World::new);
    &WORLD
}

impl World {
    pub(crate) fn new() -> Self {
        let (trusted, stranger, servers) = (Authority::new(), Authority::new(), Authority::new());
        let own = servers.for_servers(vec![SanType::IpAddress("127.0.0.1".parse().unwrap())]);
        let mut server = Server::start(PLACET);
        let file = |name: &str, text: &str| {
            let path = server.home().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (certificate, key) = (file("server.crt", &own.certificate), file("server.key", &own.key));
        let authority = file("clients.crt", &trusted.pem);
        file("servers.crt", &servers.pem);
        server.flags(&[
            "--mtls-listen",
            "127.0.0.1:0",
            "--mtls-certificate",
            &certificate,
            "--mtls-key",
            &key,
            "--mtls-client-ca",
            &authority,
            "--loopback-documents",
            "--forwarded-by",
            "127.0.0.9",
            "--forwarded-by",
            PASSES_ON,
            "--client-cert-header",
        ]);
        server.restart();
        let url = fs::read_to_string(server.data().join("mtls-address")).unwrap().trim().to_owned();
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        let story = Story::on(server);
        Self { story, trusted, stranger, servers, publisher: Publisher::start(), url }
    }

    /// Over TLS, with this certificate.
    pub(crate) fn showing(&self, certificate: &Certified) -> Client {
        Client::over_tls(&self.url, Some(&certificate.pem), &self.servers.pem)
    }

    /// With a certificate, in HTTP/2.
    pub(crate) fn showing_in_http2(&self, certificate: &Certified) -> Client {
        Client::over_tls_in_http2(&self.url, &certificate.pem, &self.servers.pem)
    }

    /// Over TLS, without any.
    pub(crate) fn bare(&self) -> Client {
        Client::over_tls(&self.url, None, &self.servers.pem)
    }

    /// Without TLS.
    pub(crate) fn plain(&self) -> Client {
        self.story.client()
    }

    /// An active agent with these members.
    pub(crate) fn agent(&self, members: Value) -> Agent {
        let mut registering = self.story.agent(&fresh("tls-"));
        for (name, value) in members.as_object().unwrap() {
            registering = registering.with(name, value.clone());
        }
        registering.register()
    }
}
