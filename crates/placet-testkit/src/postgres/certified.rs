//! A PostgreSQL server with a certificate, which lets nobody but the tests' own administrator in without TLS.

use super::Cluster;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// Everybody but `postgres` logs in with a password, over TLS.
const ACCESS: &str =
    "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

/// A running server whose certificate is for `localhost`.
#[derive(Debug)]
pub struct Certified {
    /// The server.
    pub cluster: Cluster,
    /// The certificate of the authority that certified it, in DER.
    pub authority: Vec<u8>,
    directory: TempDir,
}

impl Certified {
    /// Starts one.
    ///
    /// # Panics
    /// Where PostgreSQL is not installed, or does not start.
    pub fn start() -> Self {
        let authority = authority();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let directory = tempfile::Builder::new().prefix("placet-tls").tempdir_in("/tmp").unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            // The server runs as `postgres` where the tests run as root.
            _ = Command::new("chown").arg("postgres").arg(&path).stderr(Stdio::null()).status();
            path.display().to_string()
        };
        let settings = [
            "fsync=off".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", write("server.crt", &pem("CERTIFICATE", certificate.der()), 0o644)),
            format!("ssl_key_file={}", write("server.key", &pem("PRIVATE KEY", &key.serialize_der()), 0o600)),
            format!("hba_file={}", write("hba.conf", ACCESS, 0o644)),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        Self { cluster: Cluster::start(&settings), authority: authority.der().to_vec(), directory }
    }

    /// A file with the certificate of its authority.
    pub fn authority_file(&self) -> PathBuf {
        self.file("authority.crt", &self.authority)
    }

    /// A file with the certificate of an authority that certified nothing.
    pub fn other_authority_file(&self) -> PathBuf {
        self.file("other.crt", authority().der())
    }

    fn file(&self, name: &str, der: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, pem("CERTIFICATE", der)).unwrap();
        path
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "test authority");
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
