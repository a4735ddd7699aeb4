//! Which addresses are what, and which URLs make a route.

use placet_gateway::AddressClass::{
    self, CarrierNat, Embedded, LinkLocal, Loopback, Metadata, Multicast, Private, Public, Reserved,
    UniqueLocal, Unspecified,
};
use placet_gateway::{Route, RouteError, classify};

const TABLE: &[(&str, AddressClass)] = &[
    ("93.184.215.14", Public),
    ("1.1.1.1", Public),
    ("9.255.255.255", Public),
    ("11.0.0.0", Public),
    ("172.15.255.255", Public),
    ("172.32.0.0", Public),
    ("100.63.255.255", Public),
    ("100.128.0.0", Public),
    ("169.253.255.255", Public),
    ("169.255.0.0", Public),
    ("192.167.255.255", Public),
    ("192.169.0.0", Public),
    ("223.255.255.255", Public),
    ("2606:4700::1111", Public),
    ("2a00::1", Public),
    ("169.254.169.254", Metadata),
    ("169.254.170.2", Metadata),
    ("100.100.100.200", Metadata),
    ("168.63.129.16", Metadata),
    ("fd00:ec2::254", Metadata),
    ("::ffff:169.254.169.254", Metadata),
    ("::169.254.169.254", Metadata),
    ("64:ff9b::a9fe:a9fe", Metadata),
    ("64:ff9b:1::a9fe:a9fe", Metadata),
    ("2002:a9fe:a9fe::1", Metadata),
    ("2001:0:a9fe:a9fe::1", Metadata),
    ("2001:0:1:1:0:0:5601:5601", Metadata),
    ("127.0.0.1", Loopback),
    ("127.255.255.255", Loopback),
    ("::1", Loopback),
    ("10.0.0.0", Private),
    ("10.255.255.255", Private),
    ("172.16.0.0", Private),
    ("172.31.255.255", Private),
    ("192.168.0.1", Private),
    ("fec0::1", Private),
    ("169.254.0.1", LinkLocal),
    ("fe80::1", LinkLocal),
    ("febf::1", LinkLocal),
    ("100.64.0.0", CarrierNat),
    ("100.127.255.255", CarrierNat),
    ("fc00::1", UniqueLocal),
    ("fdff::1", UniqueLocal),
    ("0.0.0.0", Unspecified),
    ("0.1.2.3", Unspecified),
    ("::", Unspecified),
    ("224.0.0.1", Multicast),
    ("239.255.255.255", Multicast),
    ("255.255.255.255", Multicast),
    ("ff02::1", Multicast),
    ("192.0.2.1", Reserved),
    ("198.51.100.1", Reserved),
    ("203.0.113.1", Reserved),
    ("198.18.0.1", Reserved),
    ("198.19.255.255", Reserved),
    ("192.88.99.1", Reserved),
    ("240.0.0.1", Reserved),
    ("2001:db8::1", Reserved),
    ("3fff::1", Reserved),
    ("2001:2::1", Reserved),
    ("100::1", Reserved),
    ("4000::1", Reserved),
    ("::ffff:127.0.0.1", Embedded),
    ("::ffff:1.1.1.1", Embedded),
    ("::ffff:0:1.1.1.1", Embedded),
    ("::127.0.0.1", Embedded),
    ("64:ff9b::1.1.1.1", Embedded),
    ("64:ff9b:1::10.0.0.1", Embedded),
    ("2002:7f00:1::", Embedded),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Embedded),
    ("2a00::5efe:7f00:1", Embedded),
    ("2a00::200:5efe:7f00:1", Embedded),
];

#[test]
fn every_address_has_its_class() {
    for (text, class) in TABLE {
        assert_eq!(classify(text.parse().unwrap()), *class, "{text}");
    }
}

#[test]
fn whatever_carries_an_ipv4_address_is_never_public() {
    for (text, _) in TABLE {
        if let Ok(v4) = text.parse::<std::net::Ipv4Addr>() {
            assert_ne!(classify(v4.to_ipv6_mapped().into()), Public, "{text}");
            let [a, b, c, d] = v4.octets();
            let nat64: std::net::Ipv6Addr = format!("64:ff9b::{a}.{b}.{c}.{d}").parse().unwrap();
            assert_ne!(classify(nat64.into()), Public, "{text}");
        }
    }
}

#[test]
fn a_route_has_one_spelling() {
    for (url, origin) in [
        ("https://API.Example.com", "https://api.example.com"),
        ("HTTPS://api.example.com:443/v1/", "https://api.example.com"),
        ("http://api.example.com:80", "http://api.example.com"),
        ("https://api.example.com:80", "https://api.example.com:80"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://10.0.0.5/x", "http://10.0.0.5"),
        ("http://[0:0::1]:9", "http://[::1]:9"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://svc_a.internal", "https://svc_a.internal"),
        ("https://1.example", "https://1.example"),
    ] {
        assert_eq!(Route::new(url, false).unwrap().origin(), origin, "{url}");
    }
}

#[test]
fn odd_forms_of_addresses_make_no_route() {
    for host in [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "010.0.0.1",
        "127.0.0.0x1",
        "0",
        "1.2.3.4.5",
        "256.1.1.1",
        "example.0x10",
        "example.1",
        "0X7F.0.0.1",
        "0x",
        "1.1.1.01",
    ] {
        let refused = Route::new(&format!("http://{host}"), true).unwrap_err();
        assert_eq!(refused, RouteError::OddAddress(host.to_ascii_lowercase()), "{host}");
    }
}

#[test]
fn bad_urls_make_no_route() {
    use RouteError::{Host, Metadata, Port, QueryOrFragment, Scheme, Userinfo};
    type Expected = fn(&RouteError) -> bool;
    let cases: [(&str, Expected); 32] = [
        ("", |e| *e == Scheme),
        ("ftp://a", |e| *e == Scheme),
        ("//a", |e| *e == Scheme),
        (" https://a", |e| *e == Scheme),
        ("https:/a", |e| *e == Scheme),
        ("https://u@a", |e| *e == Userinfo),
        ("https://u:p@a", |e| *e == Userinfo),
        ("https://a?b", |e| *e == QueryOrFragment),
        ("https://a/#b", |e| *e == QueryOrFragment),
        ("https://", |e| matches!(e, Host(_))),
        ("https:///a", |e| matches!(e, Host(_))),
        ("https://a..b", |e| matches!(e, Host(_))),
        ("https://localhost.", |e| matches!(e, Host(_))),
        ("https://a b", |e| matches!(e, Host(_))),
        ("https://a\\b", |e| matches!(e, Host(_))),
        ("https://a%2eb", |e| matches!(e, Host(_))),
        ("https://b\u{fc}cher.example", |e| matches!(e, Host(_))),
        ("https://-a", |e| matches!(e, Host(_))),
        ("https://[::1", |e| matches!(e, Host(_))),
        ("https://[::1]x", |e| matches!(e, Host(_))),
        ("https://[fe80::1%25eth0]", |e| matches!(e, Host(_))),
        ("https://[1.2.3.4]", |e| matches!(e, Host(_))),
        ("https://::1", |e| matches!(e, Host(_) | Port(_))),
        ("https://a:", |e| matches!(e, Port(_))),
        ("https://a:0", |e| matches!(e, Port(_))),
        ("https://a:65536", |e| matches!(e, Port(_))),
        ("https://a:+80", |e| matches!(e, Port(_))),
        ("https://a:80:80", |e| matches!(e, Port(_))),
        ("http://169.254.169.254/latest", |e| matches!(e, Metadata(_))),
        ("http://[::ffff:a9fe:a9fe]", |e| matches!(e, Metadata(_))),
        ("http://[fd00:ec2::254]", |e| matches!(e, Metadata(_))),
        ("http://100.100.100.200", |e| matches!(e, Metadata(_))),
    ];
    for (url, expected) in cases {
        let refused = Route::new(url, true).unwrap_err();
        assert!(expected(&refused), "{url}: {refused:?}");
    }
}
