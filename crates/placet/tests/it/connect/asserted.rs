//! Accounts whose tokens are got for assertions that a key of the connection signs (RFC 7523).

use super::*;
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use placet_server::clock::Clock;
use placet_testkit::until;

const AUDIENCE: &str = ", assertion_audience: 'https://sso.example/token'";

/// A key, and its PEM.
pub(super) fn key() -> (KeyPair, String) {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    (key, pem)
}

fn auth(pem: &str, more: &Value) -> Value {
    let mut auth = json!({"type": "oauth2", "client_id": "robot@project.example", "signing_key": pem});
    auth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    auth
}

fn read(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_key_of_the_connection_signs_an_assertion_for_each_token() {
    let (site, person) = (Site::unregistered(AUDIENCE), Person::new());
    let (key, pem) = key();
    site.gives([token("t1", 1, None), token("t2", 3600, None)]);
    let auth = auth(&pem, &json!({"key_id": "key-7", "subject": "lee@example.com"}));
    let body = json!({"name": site.service, "service": site.service, "auth": auth});
    let made = site.story.admin().post("/v1/connections").json(&body).send().expect(201);
    let agent = site.agent_of(&person);
    until("the next token to be used", || {
        site.get(&agent).expect(200);
        site.shown().last().is_some_and(|token| token == "Bearer t2").then_some(())
    });
    let now = Clock::System.now().as_seconds();
    let mut ids = Vec::new();
    for asked in site.asked() {
        // The grant, the assertion, the scope; the client is who has signed.
        let rest =
            asked.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
        let assertion =
            rest.unwrap().strip_suffix("&scope=read%20write").unwrap_or_else(|| panic!("{asked}"));
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        assert_eq!(read(header), json!({"alg": "RS256", "typ": "JWT", "kid": "key-7"}));
        let claims = read(claims);
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"], &claims["scope"]),
            (
                &json!("robot@project.example"),
                &json!("lee@example.com"),
                &json!("https://sso.example/token"),
                &json!("read write")
            )
        );
        let (from, to) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert!((now - 120..=now + 5).contains(&from) && to - from == 300, "{claims:#}");
        ids.push(claims["jti"].as_str().unwrap().to_owned());
    }
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    assert!(site.server.seen_at("/token").iter().all(|seen| seen.header("authorization").is_none()));
    let inside = pem.get(60..120).unwrap();
    for told in [made.body.to_string(), json!(site.story.record()).to_string(), site.story.server.log()] {
        assert!(!told.contains(inside), "{told}");
    }
}

#[test]
fn what_signs_is_what_the_definition_asks_for() {
    let (asserting, other) = (Site::unregistered(AUDIENCE), Site::unregistered(""));
    let (_, pem) = key();
    let inside = "canary-of-no-key";
    let bad = format!("-----BEGIN PRIVATE KEY-----\n{inside}\n-----END PRIVATE KEY-----");
    for (site, auth, says) in [
        (&asserting, auth(&pem, &json!({"refresh_token": "r"})), "signing_key"),
        (&asserting, auth("no key", &json!({})), "signing_key"),
        (&asserting, auth(&pem, &json!({"subject": ""})), "signing_key"),
        (&asserting, auth(&bad, &json!({})), "private key in PEM"),
        (&asserting, json!({"type": "oauth2", "client_id": CLIENT, "client_secret": SECRET}), "signing_key"),
        (&other, auth(&pem, &json!({})), "signing_key"),
    ] {
        let body = json!({"name": fresh("con-"), "service": site.service, "auth": auth});
        let refused =
            site.story.admin().post("/v1/connections").json(&body).send().refused(400, "request_invalid");
        let detail = refused.text("/detail");
        assert!(detail.contains(says) && !detail.contains(inside), "{detail}");
        assert!(site.asked().is_empty());
    }
    // A server that says no parks it, as ever.
    asserting.gives([token("t1", 1, None), refused("invalid_grant")]);
    let name = fresh("con-");
    let body = json!({"name": name, "service": asserting.service, "auth": auth(&pem, &json!({}))});
    asserting.story.admin().post("/v1/connections").json(&body).send().expect(201);
    let (person, admin) = (Person::new(), asserting.story.admin());
    let agent = asserting.agent_of(&person);
    until("it to be parked", || {
        asserting.get(&agent);
        let shown = admin.get(&format!("/v1/connections/{name}")).send().expect(200);
        (shown.at("/state") == "needs_attention").then_some(())
    });
}
