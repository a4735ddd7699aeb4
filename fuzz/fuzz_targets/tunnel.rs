//! Heads of requests at the egress door: `CONNECT` and what it shows, and what is asked inside of a tunnel. The host is the one
//! that browsers read, in its one spelling, and is said in one place.
#![cfg_attr(fuzzing, no_main)]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, Version};
use placet_server::fuzzing;
use url::{Host, Url};

fn connect(head: &http::request::Parts) {
    let Some((origin, host)) = fuzzing::tunnel(head) else { return };
    let asked = head.uri.authority().expect("it names a host").as_str();
    let theirs = match Url::parse(&format!("https://{asked}/")) {
        Ok(theirs) => theirs,
        // A label may be one of RFC 5891, which is no name where it decodes to none; that is the resolver's to say here.
        Err(_) if asked.to_ascii_lowercase().contains("xn--") => return,
        Err(error) => panic!("`{asked}`: {error}"),
    };
    // A browser reads the same host and port, and no more than these.
    assert!(theirs.username().is_empty() && theirs.password().is_none() && theirs.path() == "/");
    let port = theirs.port_or_known_default().expect("a port");
    match theirs.host().expect("a host") {
        Host::Domain(name) => assert_eq!(name, host, "`{asked}`"),
        Host::Ipv4(address) => assert_eq!(address.to_string(), host, "`{asked}`"),
        // Of one that stands for an older one there are two spellings.
        Host::Ipv6(address) => assert_eq!(Ok(address), host.parse(), "`{asked}`"),
    }
    let named = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let ending = if port == 443 { String::new() } else { format!(":{port}") };
    assert_eq!(origin, format!("https://{named}{ending}"));
    // It has one spelling, which leads to the same.
    let again = format!("CONNECT {named}:{port} HTTP/1.1");
    let again = fuzzing::head(&again).unwrap_or_else(|| panic!("{again}"));
    assert_eq!(fuzzing::tunnel(&again), Some((origin, host)));
}

/// The user name and the token that a request shows.
fn read(headers: &HeaderMap) -> Option<(String, String)> {
    let (hint, token) = fuzzing::shown(headers)?;
    Some((hint, token.expose_str().expect("it was a part of a text").to_owned()))
}

fn shown(headers: &HeaderMap) {
    let Some((hint, token)) = read(headers) else { return };
    assert!(!hint.contains(':'));
    let mut once = HeaderMap::new();
    let written = format!("Basic {}", STANDARD.encode(format!("{hint}:{token}")));
    once.append("proxy-authorization", written.parse().expect("it fits into a header"));
    assert_eq!(read(&once), Some((hint, token)), "written again");
    assert_eq!(headers.get_all("proxy-authorization").iter().count(), 1);
    once.append("proxy-authorization", written.parse().expect("it fits into a header"));
    assert_eq!(read(&once), None, "two of them");
}

fn inside(head: &http::request::Parts) {
    let before: Vec<_> = head.headers.get_all("host").iter().collect();
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let Some(headers) = fuzzing::host_in_tunnel(head) else {
        assert!(authority.is_some(), "a path alone is what is asked for");
        return;
    };
    let hosts: Vec<_> = headers.get_all("host").iter().collect();
    match authority {
        None => assert_eq!(hosts, before),
        Some(authority) => {
            assert_eq!((head.version, head.method != Method::CONNECT), (Version::HTTP_2, true));
            assert_eq!(hosts, [authority]);
            assert!(before.iter().all(|host| *host == authority), "two places say different hosts");
        }
    }
}

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(head) = fuzzing::head(text) else { return };
    if head.method == Method::CONNECT {
        connect(&head);
    }
    shown(&head.headers);
    inside(&head);
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
