//! What is tried against the door by who writes bytes by hand.

use super::entries;
use super::world::{ALL, Answer, Tunnel, credential, world};
use placet_testkit::{fresh, until};
use serde_json::json;
use std::io::Write as _;

/// Threat 6: metadata services, private addresses and this machine are reached by nobody, in whatever spelling.
#[test]
fn addresses_that_are_no_services_are_refused_and_recorded() {
    let world = world();
    let (agent, token) = world.story.ready(ALL);
    let refused = [
        "169.254.169.254:80",
        "169.254.169.254:443",
        "[fd00:ec2::254]:443",
        "127.0.0.1:443",
        "10.0.0.1:443",
        "[::1]:443",
        "[::ffff:127.0.0.1]:443",
        "localhost:443",
        "unknown.example:443",
    ];
    for authority in refused {
        let answer = world.connect("x", &token, authority);
        assert_eq!(answer.status, 403, "{authority}: {}", answer.text);
        assert!(answer.has("\"not_granted\"") && answer.has("placet-decision: deny"), "{}", answer.text);
    }
    for authority in [
        "2130706433:443",
        "0x7f.1:443",
        "127.1:443",
        "localhost.:443",
        "a b:443",
        "localhost",
        "x@localhost:443",
    ] {
        let answer = world.connect("x", &token, authority);
        assert_eq!(answer.status, 400, "{authority}: {}", answer.text);
    }
    let denied = until("the refusals", || {
        let denied: Vec<_> =
            entries(world, &agent.id).into_iter().filter(|entry| entry["type"] == "decision.deny").collect();
        (denied.len() >= refused.len() - 2).then_some(denied)
    });
    assert!(denied.iter().all(|entry| entry["codes"] == json!(["not_granted"])));
}

/// Threat 9: what the tunnel is for, what TLS is spoken for, and what is asked for are one host.
#[test]
fn a_tunnel_is_for_one_host() {
    let world = world();
    let (agent, token) = world.story.ready(ALL);
    let customer = fresh("c");
    let path = format!("/safe/{customer}/1");
    for name in ["evil.example", "127.0.0.1"] {
        let stream = world.opened("x", &token, &world.safe);
        assert!(Tunnel::over(stream, name, &world.trusted()).is_err(), "{name}");
    }
    until("the refusal", || {
        entries(world, &agent.id).into_iter().find(|entry| entry["type"] == "decision.deny")
    });
    let ask = |head: &str| world.tunnel(&token).ask(&format!("{head}connection: close\r\n\r\n"));
    let port = world.safe.split(':').nth(1).unwrap();
    for (host, status) in [
        ("evil.example", 421),
        ("localhost", 421),
        ("localhost:443", 421),
        (world.pass.as_str(), 421),
        (&format!("localhost.:{port}"), 400),
        (&format!("x@localhost:{port}"), 400),
    ] {
        let answer = ask(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n"));
        assert_eq!(answer.status, status, "{host}: {}", answer.text);
    }
    let safe = &world.safe;
    for head in [
        format!("GET {path} HTTP/1.1\r\nhost: {safe}\r\nhost: {safe}\r\n"),
        format!("GET {path} HTTP/1.1\r\nhost: {safe}\r\nhost: evil.example\r\n"),
        format!("GET https://{safe}{path} HTTP/1.1\r\nhost: {safe}\r\n"),
        format!("GET https://evil.example{path} HTTP/1.1\r\nhost: {safe}\r\n"),
        format!("CONNECT {safe} HTTP/1.1\r\nhost: {safe}\r\n"),
        format!("GET /safe/{customer}/../1 HTTP/1.1\r\nhost: {safe}\r\n"),
        format!("GET {path} HTTP/1.1\r\nhost: {safe}\r\nx-http-method-override: DELETE\r\n"),
    ] {
        let answer = ask(&head);
        assert_eq!(answer.status, 400, "{head}: {}", answer.text);
    }
    let whole =
        "connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (upgrade, more, status) in [
        ("tls/1.2", "", 501),
        ("websocket", "", 400),
        ("websocket", "sec-websocket-version: 8\r\n", 400),
        ("websocket", whole, 501),
    ] {
        let answer = ask(&format!("GET {path} HTTP/1.1\r\nhost: {safe}\r\nupgrade: {upgrade}\r\n{more}"));
        assert_eq!(answer.status, status, "{upgrade} {more}: {}", answer.text);
    }
    assert!(world.story.shop.seen_at(&format!("/safe/{customer}")).is_empty(), "nothing was sent");
}

/// Threat 9: the same where the host's services are http, and no TLS is spoken in the tunnel.
#[test]
fn a_tunnel_without_tls_is_for_one_host() {
    let world = world();
    let (_, token) = world.story.ready(ALL);
    let shop = world.story.shop.base().strip_prefix("http://").unwrap();
    let customer = format!("/customers/{}", fresh("c"));
    let path = format!("{customer}/orders/1");
    let ask = |head: &str| {
        let mut stream = world.opened("x", &token, shop);
        write!(stream, "{head}connection: close\r\n\r\n").unwrap();
        Answer::read(&mut stream)
    };
    for (head, status) in [
        (format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\n"), 421),
        (format!("GET {path} HTTP/1.1\r\nhost: {}\r\n", world.safe), 421),
        (format!("GET {path} HTTP/1.1\r\nhost: {}\r\n", world.pass), 421),
        (format!("GET {path} HTTP/1.1\r\nhost: {shop}\r\nhost: {shop}\r\n"), 400),
        (format!("GET http://evil.example{path} HTTP/1.1\r\nhost: {shop}\r\n"), 400),
        (format!("CONNECT {} HTTP/1.1\r\nhost: {shop}\r\n", world.pass), 400),
        (format!("GET {customer}/../orders/1 HTTP/1.1\r\nhost: {shop}\r\n"), 400),
    ] {
        let answer = ask(&head);
        assert_eq!(answer.status, status, "{head}: {}", answer.text);
    }
    // TLS is spoken by nobody there.
    assert!(Tunnel::over(world.opened("x", &token, shop), "127.0.0.1", &world.trusted()).is_err());
    assert!(world.story.shop.seen_at(&customer).is_empty(), "nothing was sent");
    let fine = ask(&format!("GET {path} HTTP/1.1\r\nhost: {shop}\r\n"));
    assert_eq!(fine.status, 200, "{}", fine.text);
    assert_eq!(world.story.shop.count(&path), 1);
}

/// Threat 9: the port of a proxy takes what is for a proxy.
#[test]
fn what_is_for_no_proxy_is_refused_at_its_port() {
    let world = world();
    let (_, token) = world.story.ready(ALL);
    let base = world.story.shop.base();
    let host = base.strip_prefix("http://").unwrap();
    let path = format!("/customers/{}/orders/1", fresh("c"));
    let credential = credential("x", &token);
    for (line, headers, status) in [
        (format!("GET {path}"), format!("host: {host}\r\n"), 400),
        ("GET /".to_owned(), format!("host: {}\r\n", world.door()), 400),
        ("OPTIONS *".to_owned(), format!("host: {host}\r\n"), 400),
        (format!("GET https://{}/safe/1/1", world.safe), format!("host: {}\r\n", world.safe), 400),
        (format!("GET ftp://{host}{path}"), format!("host: {host}\r\n"), 400),
        (format!("GET http://x:y@{host}{path}"), format!("host: {host}\r\n"), 400),
        (format!("GET {base}{path}"), "host: evil.example\r\n".to_owned(), 421),
        (format!("GET {base}{path}"), format!("host: {host}\r\nhost: {host}\r\n"), 400),
        (
            "GET http://169.254.169.254/latest/meta-data".to_owned(),
            "host: 169.254.169.254\r\n".to_owned(),
            403,
        ),
        (format!("GET http://localhost:1{path}"), "host: localhost:1\r\n".to_owned(), 403),
    ] {
        let answer = world.ask(&format!("{line} HTTP/1.1\r\n{headers}{credential}connection: close\r\n\r\n"));
        assert_eq!(answer.status, status, "{line}: {}", answer.text);
    }
    assert!(world.story.shop.seen_at(&path).is_empty(), "nothing was sent");
}

/// Threats 1, 2 and 12: only a live token of the agent's own, where a proxy's credential belongs.
#[test]
fn nobody_passes_without_a_credential_of_their_own() {
    let world = world();
    let (agent, token) = world.story.ready(ALL);
    let safe = &world.safe;
    let ask = |headers: &str| {
        world.ask(&format!("CONNECT {safe} HTTP/1.1\r\nhost: {safe}\r\n{headers}connection: close\r\n\r\n"))
    };
    let bearer = |name: &str| format!("{name}: Bearer {token}\r\n");
    let cases = [
        String::new(),
        // Headers that are for the host are none for the proxy.
        bearer("authorization"),
        bearer("placet-authorization"),
        bearer("proxy-authorization"),
        credential("x", "nonsense"),
        credential("x", ""),
        credential(&token, "x"),
        credential("x", world.story.server.admin_token()),
        credential("x", &world.story.ada),
        credential("x", &agent.secret),
    ];
    for headers in cases {
        let answer = ask(&headers);
        assert_eq!(answer.status, 407, "{headers}: {}", answer.text);
        assert!(answer.has("proxy-authenticate: Basic"), "{}", answer.text);
        assert!(!answer.has(&token), "{}", answer.text);
    }
    let twice = format!("{0}{0}", credential("x", &token));
    assert_eq!(ask(&twice).status, 400);
    // An agent that the connection isn't open to is told as if there were no such service.
    let hidden = fresh("hidden-");
    let narrow = world.story.agent(&fresh("agent-")).register();
    world.story.rules(&narrow.handle, ALL).expect(201);
    let made = world
        .story
        .admin()
        .post("/v1/grants")
        .json(&json!({"agent": narrow.handle, "scope": ["orders.*"], "connections": [], "expires": "2090-01-01T00:00:00Z"}))
        .send()
        .expect(201);
    let bound = narrow
        .ask()
        .with("grant_id", &made.text("/id"))
        .send(&world.story.client())
        .expect(200)
        .text("/access_token");
    let unknown = world.connect("x", &bound, &format!("{hidden}.example:443"));
    let unreached = world.connect("x", &bound, safe);
    assert_eq!((unknown.status, unreached.status), (403, 403), "{}", unreached.text);
    let detail =
        |text: &str| text.split("\"detail\"").nth(1).unwrap().split("\",").next().unwrap().to_owned();
    assert_eq!(detail(&unknown.text), detail(&unreached.text));
}

/// Nobody takes a place for long who has shown no credential.
#[test]
fn who_shows_nothing_is_not_kept() {
    use std::io::{Read as _, Write as _};
    let world = world();
    let (_, token) = world.story.ready(ALL);
    let safe = &world.safe;
    // An end, and not an end of patience.
    let ends = |mut stream: std::net::TcpStream| {
        stream.set_read_timeout(Some(std::time::Duration::from_secs(40))).unwrap();
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
            _ => String::from_utf8(bytes).unwrap(),
        }
    };
    let dialled = |said: &str| {
        let mut stream = std::net::TcpStream::connect(world.door()).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        stream
    };
    let known =
        format!("GET http://localhost:1/ HTTP/1.1\r\nhost: localhost:1\r\n{}\r\n", credential("x", &token));
    let mut kept = dialled(&known);
    let silent = [dialled(""), dialled(&format!("CONNECT {safe} HTTP/1.1\r\n"))];
    for (said, status) in [
        (format!("CONNECT {safe} HTTP/1.1\r\nhost: {safe}\r\n\r\n"), " 407 "),
        (format!("CONNECT {safe} HTTP/1.1\r\nhost: {safe}\r\n{}\r\n", credential("x", "bad")), " 407 "),
        ("GET /no/proxy HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), " 400 "),
    ] {
        let answer = ends(dialled(&said));
        assert!(answer.contains(status) && answer.to_lowercase().contains("connection: close"), "{answer}");
    }
    for stream in silent {
        assert!(!ends(stream).contains(" 200 "));
    }
    // Who has shown one can ask again on the same connection, after all that time.
    kept.write_all(known.replace("\r\nhost", "\r\nconnection: close\r\nhost").as_bytes()).unwrap();
    assert_eq!(ends(kept).matches("HTTP/1.1 403 ").count(), 2);
}

/// One agent leaves room for others, whatever it opens: tunnels, or connections that ask for whole URLs.
#[test]
fn no_agent_takes_the_places_of_all() {
    use std::io::{Read as _, Write as _};
    let world = world();
    let (_, token) = world.story.ready(ALL);
    let opened = |token: &str| {
        let mut stream = std::net::TcpStream::connect(world.door()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let shown = credential("x", token);
        write!(stream, "GET http://localhost:1/ HTTP/1.1\r\nhost: localhost:1\r\n{shown}\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (String::from_utf8_lossy(&head[9..]).into_owned(), stream)
    };
    let mut kept: Vec<_> = (0..512).map(|_| opened(&token)).collect();
    assert!(kept.iter().all(|(status, _)| status == "403"), "nothing is at that host");
    let (status, mut last) = opened(&token);
    assert_eq!(status, "429");
    // It is told so, and not kept.
    let mut rest = Vec::new();
    last.read_to_end(&mut rest).unwrap();
    let rest = String::from_utf8_lossy(&rest).to_lowercase();
    assert!(rest.contains("connection: close") && rest.contains("too_many_requests"), "{rest}");
    assert_eq!(world.connect("x", &token, &world.safe).status, 429, "nor has it room for a tunnel");
    let (_, other) = world.story.ready(ALL);
    assert_eq!(opened(&other).0, "403", "another agent has room of its own");
    // One that ends makes room for one.
    kept.pop();
    until("room", || (opened(&token).0 == "403").then_some(()));
}

/// Threat 9: what follows a body whose end two programs see differently is nobody's request.
#[test]
fn no_second_request_is_smuggled_behind_a_body() {
    let world = world();
    let (_, token) = world.story.ready(ALL);
    let (first, second) = (fresh("first-"), fresh("second-"));
    let safe = &world.safe;
    let smuggled = format!("GET /safe/{second}/1 HTTP/1.1\r\nhost: {safe}\r\n\r\n");
    let body = "0\r\n\r\n";
    for framing in [
        format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", body.len() + smuggled.len()),
        format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", body.len() + smuggled.len()),
        "transfer-encoding: chunked\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n".to_owned(),
        "transfer-encoding : chunked\r\n".to_owned(),
        "content-length: 5\r\ncontent-length: 6\r\n".to_owned(),
    ] {
        let answer = world.tunnel(&token).ask(&format!(
            "POST /safe/{first}/notes HTTP/1.1\r\nhost: {safe}\r\ncontent-type: application/json\r\n{framing}\r\n{body}{smuggled}"
        ));
        assert_eq!(answer.status, 400, "{framing}: {}", answer.text);
        assert_eq!(answer.text.matches("HTTP/1.1 ").count(), 1, "{framing}: {}", answer.text);
    }
    assert!(world.story.shop.seen_at(&format!("/safe/{first}")).is_empty());
    assert!(world.story.shop.seen_at(&format!("/safe/{second}")).is_empty());
}
