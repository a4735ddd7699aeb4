use super::*;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let der = params.self_signed(&key).unwrap().der().clone();
    Authority { issuer: Issuer::new(params, key), der }
}

fn leaf(names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.not_before = rcgen::date_time_ymd(2023, 11, 1);
    params.not_after = rcgen::date_time_ymd(2023, 12, 1);
    params
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

impl Authority {
    fn issue(&self, params: CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Certificate::parse(der, Vec::new()).unwrap()
    }
}

fn days(days: i64) -> Timestamp {
    Timestamp::from_seconds(NOW.as_seconds() + days * 24 * 3600)
}

#[test]
fn a_chain_leads_to_an_authority_that_is_trusted_for_a_client_and_for_now() {
    let (trusted, other) = (authority("one"), authority("one"));
    let authorities = Authorities::new(vec![trusted.der.clone()]).unwrap();
    let good = trusted.issue(leaf(vec![dns("a.example")]));
    authorities.certify(&good, NOW).unwrap();
    assert!(good.is_current(NOW) && good.is_for_clients().is_ok());
    for wrong in [days(-30), days(30), Timestamp::from_seconds(0), Timestamp::from_seconds(-1)] {
        assert_eq!(authorities.certify(&good, wrong), Err(Unfit::Chain));
        assert!(!good.is_current(wrong));
    }
    // One of the same name, and one that certifies itself.
    let stranger = other.issue(leaf(vec![dns("a.example")]));
    assert_eq!(authorities.certify(&stranger, NOW), Err(Unfit::Chain));
    let own = leaf(vec![dns("a.example")]).self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    assert_eq!(authorities.certify(&Certificate::parse(own, Vec::new()).unwrap(), NOW), Err(Unfit::Chain));
    // For servers only, and for both.
    let mut servers = leaf(vec![dns("a.example")]);
    servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let servers = trusted.issue(servers);
    assert_eq!(authorities.certify(&servers, NOW), Err(Unfit::Chain));
    assert_eq!(servers.is_for_clients(), Err(Unfit::Usage));
    let mut both = leaf(vec![dns("a.example")]);
    both.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let both = trusted.issue(both);
    authorities.certify(&both, NOW).unwrap();
    both.is_for_clients().unwrap();
    // What certifies others certifies no client, and no leaf certifies anybody.
    let mut intermediate = leaf(Vec::new());
    intermediate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    intermediate.distinguished_name.push(DnType::CommonName, "between");
    let key = KeyPair::generate().unwrap();
    let der = intermediate.signed_by(&key, &trusted.issuer).unwrap().der().clone();
    assert_eq!(
        authorities.certify(&Certificate::parse(der.clone(), Vec::new()).unwrap(), NOW),
        Err(Unfit::Chain)
    );
    let below = Authority { issuer: Issuer::new(intermediate, key), der: der.clone() };
    let deep = below.issue(leaf(vec![dns("a.example")]));
    assert_eq!(authorities.certify(&deep, NOW), Err(Unfit::Chain));
    let deep = Certificate::parse(deep.der.clone(), vec![der]).unwrap();
    authorities.certify(&deep, NOW).unwrap();
    let mut plain = leaf(Vec::new());
    plain.distinguished_name.push(DnType::CommonName, "no authority");
    let key = KeyPair::generate().unwrap();
    let der = plain.signed_by(&key, &trusted.issuer).unwrap().der().clone();
    let forged = Authority { issuer: Issuer::new(plain, key), der: der.clone() };
    let forged = forged.issue(leaf(vec![dns("a.example")]));
    let forged = Certificate::parse(forged.der.clone(), vec![der]).unwrap();
    assert_eq!(authorities.certify(&forged, NOW), Err(Unfit::Chain));
    assert!(Authorities::new(Vec::new()).is_err());
}

#[test]
fn a_name_is_had_whole_or_not_at_all() {
    let one = authority("one");
    let named = |names| one.issue(leaf(names));
    let has = |certificate: &Certificate, name: CertifiedName| certificate.must_have(&name);
    let host = |name: &str| CertifiedName::Dns(name.into());
    let certificate = named(vec![dns("a.example"), dns("*.b.example"), dns("UPPER.example")]);
    for good in ["a.example", "upper.example"] {
        assert_eq!(has(&certificate, host(good)), Ok(()), "{good}");
    }
    for wrong in ["example", "x.a.example", "a.example.com", "x.b.example", "b.example", "a.exampl", ""] {
        assert_eq!(has(&certificate, host(wrong)), Err(Unfit::Name), "{wrong}");
    }
    let url = |name: &str| CertifiedName::Uri(name.into());
    // No kind stands for another.
    let mut tricky = leaf(vec![
        uri("a.example"),
        SanType::Rfc822Name("me@a.example".try_into().unwrap()),
        SanType::IpAddress("192.0.2.1".parse().unwrap()),
    ]);
    tricky.distinguished_name = rcgen::DistinguishedName::new();
    tricky.distinguished_name.push(DnType::OrganizationName, "Example");
    tricky.distinguished_name.push(DnType::CommonName, "a.example");
    let tricky = one.issue(tricky);
    assert_eq!(has(&tricky, host("a.example")), Err(Unfit::Name));
    assert_eq!(has(&tricky, host("192.0.2.1")), Err(Unfit::Name));
    assert_eq!(has(&tricky, url("a.example")), Ok(()));
    assert_eq!(has(&tricky, CertifiedName::Email("me@a.example".into())), Ok(()));
    assert_eq!(has(&tricky, CertifiedName::Email("Me@a.example".into())), Err(Unfit::Name));
    assert_eq!(has(&tricky, CertifiedName::Ip("192.0.2.1".parse().unwrap())), Ok(()));
    assert_eq!(has(&tricky, CertifiedName::Ip("::ffff:192.0.2.1".parse().unwrap())), Err(Unfit::Name));
    let subject = |text| CertifiedName::Subject(DistinguishedName::parse(text).unwrap());
    assert_eq!(has(&tricky, subject("CN=a.example,O=Example")), Ok(()));
    for wrong in ["CN=a.example", "O=Example", "O=Example,CN=a.example", "CN=A.example,O=Example"] {
        assert_eq!(has(&tricky, subject(wrong)), Err(Unfit::Name), "{wrong}");
    }

    let id = "spiffe://example.com/agent";
    assert_eq!(has(&named(vec![uri(id)]), url(id)), Ok(()));
    assert_eq!(has(&named(vec![uri(id), dns("a.example")]), url(id)), Ok(()));
    for wrong in ["spiffe://example.com/agen", "spiffe://example.com/agent2", "spiffe://example.com/Agent"] {
        assert_eq!(has(&named(vec![uri(wrong)]), url(id)), Err(Unfit::Name), "{wrong}");
    }
    for two in [
        vec![uri(id), uri("spiffe://example.com/b")],
        vec![uri("https://x.example"), uri(id)],
        vec![uri(id), uri(id)],
    ] {
        assert_eq!(has(&named(two), url(id)), Err(Unfit::Workload));
    }
    // Nor by another of its names, where it is a workload's.
    let two = named(vec![uri("SPIFFE://example.com/a"), uri("urn:x"), dns("a.example")]);
    assert_eq!(has(&two, host("a.example")), Err(Unfit::Workload));
    let mut signs = leaf(vec![uri(id)]);
    signs.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    assert_eq!(has(&one.issue(signs), url(id)), Err(Unfit::Workload));
    assert_eq!(has(&named(Vec::new()), url(id)), Err(Unfit::Name));
}

#[test]
fn a_key_has_the_name_that_it_has_in_a_key_set() {
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
        let Ok(key) = KeyPair::generate_for(algorithm) else { panic!("{algorithm:?}") };
        let der = leaf(Vec::new()).self_signed(&key).unwrap().der().clone();
        let certificate = Certificate::parse(der, Vec::new()).unwrap();
        let raw = key.public_key_raw();
        if algorithm == &rcgen::PKCS_ED25519 {
            let jwk = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(raw)});
            let jwk = Jwk::from_jwk(jwk.as_object().unwrap()).unwrap();
            assert_eq!(certificate.key(), Some(jwk.thumbprint()));
        } else if algorithm == &rcgen::PKCS_ECDSA_P256_SHA256 {
            let jwk = serde_json::json!({"kty": "EC", "crv": "P-256", "x": encoded(&raw[1..33]),
                "y": encoded(&raw[33..])});
            let jwk = Jwk::from_jwk(jwk.as_object().unwrap()).unwrap();
            assert_eq!(certificate.key(), Some(jwk.thumbprint()));
        } else {
            assert!(certificate.key().is_some());
        }
    }
    let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let der = leaf(Vec::new()).self_signed(&other).unwrap().der().clone();
    assert_eq!(Certificate::parse(der, Vec::new()).unwrap().key(), None);
}

#[test]
fn what_can_t_be_read_in_full_is_no_certificate() {
    let one = authority("one");
    let good = one.issue(leaf(vec![dns("a.example")]));
    let mut more = good.der.to_vec();
    more.push(0);
    assert_eq!(Certificate::parse(more.into(), Vec::new()).unwrap_err(), CertificateError::Form);
    let many = vec![good.der.clone(); MAX_CHAIN + 1];
    assert_eq!(Certificate::parse(good.der.clone(), many).unwrap_err(), CertificateError::TooLong);
    let long = vec![CertificateDer::from(vec![0; MAX_BYTES + 1])];
    assert_eq!(Certificate::parse(good.der.clone(), long).unwrap_err(), CertificateError::TooLong);
    // Names in two places, and names that are none.
    let oid = [2, 5, 29, 17];
    let mut twice = leaf(vec![dns("a.example")]);
    let second = CustomExtension::from_oid_content(&oid, b"\x30\x0b\x82\x09b.example".to_vec());
    twice.custom_extensions = vec![second];
    let mut broken = leaf(Vec::new());
    broken.custom_extensions = vec![CustomExtension::from_oid_content(&oid, b"\x30\x0b\x82\x09b".to_vec())];
    let mut address = leaf(Vec::new());
    address.custom_extensions =
        vec![CustomExtension::from_oid_content(&oid, b"\x30\x03\x87\x01\x7f".to_vec())];
    for params in [twice, broken, address] {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &one.issuer).unwrap().der().clone();
        assert_eq!(Certificate::parse(der, Vec::new()).unwrap_err(), CertificateError::Form);
    }
}

fn whole() -> Vec<u8> {
    let mut params = leaf(vec![dns("a.example"), uri("spiffe://example.com/a")]);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name.push(DnType::CommonName, "a");
    authority("one").issue(params).der.to_vec()
}

proptest! {
    #[test]
    fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Certificate::parse(bytes.into(), Vec::new());
    }

    #[test]
    fn reading_what_was_changed_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        static WHOLE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(whole);
        let mut bytes = WHOLE.clone();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let authorities = Authorities::new(vec![authority("other").der]).unwrap();
        if let Ok(certificate) = Certificate::parse(bytes.into(), Vec::new()) {
            let _ = certificate.must_have(&CertifiedName::Uri("spiffe://example.com/a".into()));
            let _ = certificate.is_current(NOW);
            prop_assert!(authorities.certify(&certificate, NOW).is_err());
        }
    }
}
