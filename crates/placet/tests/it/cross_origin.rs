//! What a browser lets the page of another origin ask and read.

use crate::{authorize::browser::App, parties::stage};
use placet_testkit::{Answer, Client};

const ALLOWED: &str = "access-control-allow-origin";

/// What a browser asks before it sends such a request for a page of another origin.
fn preflight(client: &Client, method: &str, path: &str) -> Answer {
    let request = client.request("OPTIONS", path).header("origin", "https://tool.example");
    let request = request.header("access-control-request-method", method);
    request.header("access-control-request-headers", "authorization,content-type,dpop").send()
}

#[test]
fn a_client_in_a_browser_reads_what_clients_need() {
    let client = stage().client();
    for (path, method) in [
        ("/.well-known/oauth-authorization-server", "GET"),
        ("/.well-known/openid-configuration", "GET"),
        ("/.well-known/oauth-protected-resource", "GET"),
        ("/.well-known/oauth-protected-resource/v1/actions", "GET"),
        ("/.well-known/jwks.json", "GET"),
        ("/oauth/token", "POST"),
        ("/oauth/par", "POST"),
        ("/oauth/revoke", "POST"),
        ("/oauth/register", "POST"),
        ("/oauth/register/agt_1", "PUT"),
    ] {
        let asked = preflight(&client, method, path).expect(204);
        assert_eq!(asked.header(ALLOWED), Some("*"), "{path}");
        assert!(asked.header("access-control-allow-methods").unwrap().contains(method), "{path}");
        let headers = asked.header("access-control-allow-headers").unwrap();
        for name in ["authorization", "content-type", "dpop", "mcp-protocol-version"] {
            assert!(headers.contains(name), "{path}: {name}");
        }
        // Whatever it is answered, refusals too: a page can read why.
        let answer = client.request(method, path).header("origin", "https://tool.example").send();
        assert_eq!(answer.header(ALLOWED), Some("*"), "{path}: {}", answer.status);
        assert!(answer.header("access-control-expose-headers").unwrap().contains("dpop-nonce"), "{path}");
        for answer in [asked, answer] {
            assert_eq!(answer.header("access-control-allow-credentials"), None, "{path}");
            assert_eq!(answer.header("set-cookie"), None, "{path}");
        }
    }
    // A method that is not there is not promised, and `OPTIONS` alone is no question of a browser's.
    let methods = preflight(&client, "DELETE", "/oauth/token").expect(204);
    assert_eq!(methods.header("access-control-allow-methods"), Some("POST"));
    client.request("OPTIONS", "/oauth/token").send().refused(405, "method_not_allowed");
}

#[test]
fn no_page_of_another_origin_reaches_anything_else() {
    let stage = stage();
    let client = stage.client();
    for path in [
        "/v1/agents",
        "/v1/grants",
        "/v1/sessions",
        "/v1/actions",
        "/v1/record",
        "/oauth/introspect",
        "/metrics",
    ] {
        for answer in [preflight(&client, "POST", path), client.get(path).send(), client.post(path).send()] {
            assert_eq!(answer.header(ALLOWED), None, "{path}: {}", answer.status);
        }
    }
    // Least of all what a person is asked on.
    let pages = Client::new(&stage.story.server.pages());
    for path in [App::public().asking().path().as_str(), "/sign-in", "/consent", "/sign-out", "/"] {
        for answer in [preflight(&pages, "POST", path), pages.get(path).send(), pages.post(path).send()] {
            assert_eq!(answer.header(ALLOWED), None, "{path}: {}", answer.status);
            assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
        }
    }
}
