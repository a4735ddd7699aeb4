//! An authenticator in software: real keys that make what a browser would pass on from a security key or a phone (Web
//! Authentication Level 3). It writes its CBOR by itself, so that nothing that is tested tests itself.
//!
//! Invariant: every part can be made wrongly before it is signed, so that each check can be tried alone.

use aws_lc_rs::{
    rand::{self, SystemRandom},
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// With what it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signs {
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA of 2048 bits.
    Rs256,
}

/// An authenticator with one credential.
#[derive(Debug)]
pub struct Authenticator {
    key: Key,
    /// The credential's id.
    pub credential: Vec<u8>,
    /// Whose it is; set when it is made.
    pub user_handle: Vec<u8>,
    /// For whom it says that it is.
    pub rp_id: String,
    /// On which origin its browser says that it is.
    pub origin: String,
    /// Present and verified, unless a test wants something else.
    pub flags: u8,
    /// How often it has signed; 0 for ever where it doesn't count.
    pub count: u32,
}

/// What is passed on of a credential that was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `attestationObject`.
    pub attestation: Vec<u8>,
}

/// What is passed on of an assertion.
#[derive(Debug, Clone)]
pub struct Asserted {
    /// The credential's id.
    pub credential: Vec<u8>,
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `authenticatorData`.
    pub authenticator_data: Vec<u8>,
    /// `signature`.
    pub signature: Vec<u8>,
    /// `userHandle`.
    pub user_handle: Vec<u8>,
}

#[derive(Debug)]
enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// Somebody was there.
pub const PRESENT: u8 = 1;
/// It was its person.
pub const VERIFIED: u8 = 1 << 2;
/// It may be copied.
pub const ELIGIBLE: u8 = 1 << 3;
/// It is copied.
pub const BACKED_UP: u8 = 1 << 4;
const ATTESTED: u8 = 1 << 6;

impl Authenticator {
    /// A new one, in a browser on this origin.
    ///
    /// # Panics
    /// Where no key can be made.
    pub fn new(signs: Signs, origin: &str) -> Self {
        let key = match signs {
            Signs::Es256 => Key::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
            Signs::EdDsa => Key::Ed25519(Ed25519KeyPair::generate().unwrap()),
            Signs::Rs256 => Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        };
        let mut credential = vec![0; 32];
        rand::fill(&mut credential).unwrap();
        let host = origin.split_once("://").unwrap().1;
        let rp_id = host.rsplit_once(':').map_or(host, |(host, _)| host).to_owned();
        Self {
            key,
            credential,
            user_handle: Vec::new(),
            rp_id,
            origin: origin.to_owned(),
            flags: PRESENT | VERIFIED,
            count: 1,
        }
    }

    /// What the browser states.
    pub fn client_data(&self, operation: &str, challenge: &str) -> Vec<u8> {
        let origin = &self.origin;
        format!(
            r#"{{"type":"{operation}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#
        )
        .into_bytes()
    }

    /// What it states, without a credential.
    pub fn data(&self) -> Vec<u8> {
        let mut out =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.rp_id.as_bytes()).as_ref().to_vec();
        out.push(self.flags);
        out.extend(self.count.to_be_bytes());
        out
    }

    /// What it states of a credential with this public key.
    pub fn data_with(&self, key: &[u8]) -> Vec<u8> {
        let mut out = self.data();
        out[32] |= ATTESTED;
        out.extend([0; 16]);
        out.extend(u16::try_from(self.credential.len()).unwrap().to_be_bytes());
        out.extend(&self.credential);
        out.extend(key);
        out
    }

    /// Its public key (COSE).
    ///
    /// # Panics
    /// Never.
    pub fn public_key(&self) -> Vec<u8> {
        match &self.key {
            Key::P256(key) => {
                let point = key.public_key().as_ref();
                cose(&[(1, 2), (3, -7), (-1, 1)], &[(-2, &point[1..33]), (-3, &point[33..])])
            }
            Key::Ed25519(key) => cose(&[(1, 1), (3, -8), (-1, 6)], &[(-2, key.public_key().as_ref())]),
            Key::Rsa(key) => {
                let public = key.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                cose(&[(1, 3), (3, -257)], &[(-1, n), (-2, e)])
            }
        }
    }

    /// Signs.
    ///
    /// # Panics
    /// Never.
    pub fn sign(&self, data: &[u8], client_data: &[u8]) -> Vec<u8> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, client_data);
        let message = [data, digest.as_ref()].concat();
        match &self.key {
            Key::P256(key) => key.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec(),
            Key::Ed25519(key) => key.sign(&message).as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// Makes its credential for somebody.
    pub fn create(&mut self, challenge: &str, user_handle: &[u8]) -> Created {
        self.user_handle = user_handle.to_vec();
        let data = self.data_with(&self.public_key());
        Created {
            client_data: self.client_data("webauthn.create", challenge),
            attestation: attestation(&data),
        }
    }

    /// Answers a challenge.
    pub fn assert(&mut self, challenge: &str) -> Asserted {
        if self.count > 0 {
            self.count += 1;
        }
        let (data, client_data) = (self.data(), self.client_data("webauthn.get", challenge));
        Asserted {
            credential: self.credential.clone(),
            signature: self.sign(&data, &client_data),
            client_data,
            authenticator_data: data,
            user_handle: self.user_handle.clone(),
        }
    }
}

impl Created {
    /// As members of a form.
    pub fn form(&self) -> Vec<(&'static str, String)> {
        vec![("client_data", encoded(&self.client_data)), ("attestation", encoded(&self.attestation))]
    }
}

impl Asserted {
    /// As members of a form.
    pub fn form(&self) -> Vec<(&'static str, String)> {
        vec![
            ("credential", encoded(&self.credential)),
            ("client_data", encoded(&self.client_data)),
            ("authenticator_data", encoded(&self.authenticator_data)),
            ("signature", encoded(&self.signature)),
            ("user_handle", encoded(&self.user_handle)),
        ]
    }
}

/// An attestation object without a statement.
pub fn attestation(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0xa3];
    text(&mut out, "fmt");
    text(&mut out, "none");
    text(&mut out, "attStmt");
    out.push(0xa0);
    text(&mut out, "authData");
    bytes(&mut out, data);
    out
}

/// A COSE key of these integers and byte strings.
pub fn cose(integers: &[(i64, i64)], strings: &[(i64, &[u8])]) -> Vec<u8> {
    let mut out = vec![0xa0 | u8::try_from(integers.len() + strings.len()).unwrap()];
    for (label, value) in integers {
        integer(&mut out, *label);
        integer(&mut out, *value);
    }
    for (label, value) in strings {
        integer(&mut out, *label);
        bytes(&mut out, value);
    }
    out
}

fn integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        head(out, 0x20, usize::try_from(-1 - value).unwrap())
    } else {
        head(out, 0, usize::try_from(value).unwrap())
    }
}

fn text(out: &mut Vec<u8>, value: &str) {
    head(out, 0x60, value.len());
    out.extend(value.as_bytes());
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    head(out, 0x40, value.len());
    out.extend(value);
}

fn head(out: &mut Vec<u8>, major: u8, number: usize) {
    let wide = u16::try_from(number).unwrap().to_be_bytes();
    match number {
        0..24 => out.push(major | wide[1]),
        24..256 => out.extend([major | 24, wide[1]]),
        _ => out.extend([major | 25, wide[0], wide[1]]),
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
