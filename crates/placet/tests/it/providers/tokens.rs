//! ID tokens and token endpoints that are not what they have to be.

use super::{ACCESS, CLIENT, Sso, entered, refused};
use crate::{
    authorize::browser::Browser,
    clients::signer::{Signer, b64, now},
};
use aws_lc_rs::{digest, hmac};
use placet_testkit::{Answer, Gate, Reply, until};
use serde_json::{Value, json};

const NOT_BELIEVED: &str = "can’t be believed";

type Change = fn(&mut Value, &mut Value);

#[test]
fn an_id_token_that_is_not_exactly_right_signs_nobody_in() {
    let sso = Sso::new();
    let subject = Sso::subject(&sso.person());
    let changes: &[Change] = &[
        |_, claims| claims["nonce"] = json!("another"),
        |_, claims| _ = claims.as_object_mut().unwrap().remove("nonce"),
        |_, claims| claims["iss"] = json!("https://other.example"),
        |_, claims| claims["aud"] = json!("another"),
        |_, claims| claims["aud"] = json!([CLIENT, "another"]),
        |_, claims| claims["azp"] = json!("another"),
        |_, claims| claims["exp"] = json!(now() - 120),
        |_, claims| claims["iat"] = json!(now() - 1200),
        |_, claims| claims["iat"] = json!(now() + 600),
        |_, claims| claims["nbf"] = json!(now() + 600),
        |_, claims| claims["at_hash"] = json!("AAAAAAAAAAAAAAAAAAAAAA"),
        |_, claims| claims["sub"] = json!(["a"]),
        |header, _| header["typ"] = json!("at+jwt"),
        |header, _| header["kid"] = json!("another"),
        |header, _| header["alg"] = json!("ES256"),
        |header, _| header["alg"] = json!("none"),
        |header, _| header["crit"] = json!(["exp"]),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut browser = sso.browser();
        let answer = sso.comes_back_as(&mut browser, &subject, change);
        assert_eq!(answer.status, 403, "change {number} was taken");
        refused(&answer, 403, NOT_BELIEVED);
    }
    // With everything that may be there it is good.
    let mut browser = sso.browser();
    entered(&sso.comes_back_as(&mut browser, &subject, |_, claims| {
        let hash = digest::digest(&digest::SHA512, ACCESS.as_bytes());
        claims["at_hash"] = json!(b64(&hash.as_ref()[..32]));
        claims["azp"] = json!(CLIENT);
        claims["aud"] = json!([CLIENT]);
    }));
}

#[test]
fn nothing_but_a_signature_of_the_providers_key_counts() {
    let (mut sso, made) = Sso::declared(Signer::rsa(false), &json!({"algorithms": ["RS256"]}), |_| {});
    sso.id = made.expect(201).text("/id");
    let subject = Sso::subject(&sso.person());
    let mut browser = sso.browser();
    let mut brings = |forge: &dyn Fn(&str, &str) -> String, alg: &str| -> Answer {
        let away = sso.left(&mut browser);
        let right = sso.id_token(&subject, &away, |header, _| header["alg"] = json!(alg));
        let (signed, signature) = right.rsplit_once('.').unwrap();
        sso.gives(&forge(signed, signature));
        sso.back(&mut browser, &[("code", "c"), ("state", &away.state)])
    };
    // No signature; that of a secret that everybody knows; none for what it says.
    refused(&brings(&|signed, _| format!("{signed}."), "none"), 403, NOT_BELIEVED);
    refused(&brings(&|signed, _| format!("{signed}."), "RS256"), 403, NOT_BELIEVED);
    let jwk = sso.signer.jwk();
    for known in [jwk["n"].as_str().unwrap().to_owned(), jwk.to_string(), super::SECRET.to_owned()] {
        let mac = |signed: &str, _: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, known.as_bytes());
            format!("{signed}.{}", b64(hmac::sign(&key, signed.as_bytes()).as_ref()))
        };
        refused(&brings(&mac, "HS256"), 403, NOT_BELIEVED);
    }
    let changed = |signed: &str, signature: &str| {
        let (header, claims) = signed.split_once('.').unwrap();
        format!("{header}.{}.{signature}", claims.replacen('A', "B", 1))
    };
    refused(&brings(&changed, "RS256"), 403, NOT_BELIEVED);
    // The right key with an algorithm that was not declared.
    let Signer::Rsa(_, pss) = &mut sso.signer else { unreachable!() };
    *pss = true;
    let mut browser = sso.browser();
    refused(&sso.comes_back_as(&mut browser, &subject, |_, _| {}), 403, NOT_BELIEVED);
    let Signer::Rsa(_, pss) = &mut sso.signer else { unreachable!() };
    *pss = false;
    entered(&sso.comes_back_as(&mut browser, &subject, |_, _| {}));
}

#[test]
fn a_code_of_somebody_else_brings_an_id_token_for_their_request() {
    let sso = Sso::new();
    let victim = sso.person();
    let (mut theirs, mut own) = (sso.browser(), sso.browser());
    let (at, mine) = (sso.left(&mut theirs), sso.left(&mut own));
    // A code that was made for the victim's request, at the attacker's callback: the nonce is the victim's.
    sso.gives(&sso.id_token(&Sso::subject(&victim), &at, |_, _| {}));
    refused(&sso.back(&mut own, &[("code", "stolen"), ("state", &mine.state)]), 403, NOT_BELIEVED);
    // And the proof key that went out with it is not that of the victim's request.
    let sent = String::from_utf8(sso.tokens.seen_at("/token")[0].body.to_vec()).unwrap();
    let verifier = crate::authorize::browser::parameter(&format!("?{sent}"), "code_verifier").unwrap();
    assert!(super::is_proof(&verifier, &mine.url) && !super::is_proof(&verifier, &at.url));
}

#[test]
fn a_new_key_of_the_provider_is_found_and_an_old_one_no_more() {
    let mut sso = Sso::new();
    let subject = Sso::subject(&sso.person());
    entered(&sso.signs_in(&subject).1);
    // Signed by a key that is not published.
    let old = std::mem::replace(&mut sso.signer, Signer::p256());
    sso.kid = "next".into();
    refused(&sso.signs_in(&subject).1, 403, NOT_BELIEVED);
    sso.site.json("/keys", &sso.signer.jwks(Some("next")));
    // A set that was read a moment ago is not read for everybody who comes with a wrong key.
    until("the new key is found", || {
        std::thread::park_timeout(std::time::Duration::from_millis(500));
        (sso.signs_in(&subject).1.status == 303).then_some(())
    });
    (sso.signer, sso.kid) = (old, "next".into());
    refused(&sso.signs_in(&subject).1, 403, NOT_BELIEVED);
}

#[test]
fn claims_that_are_required_have_to_be_there() {
    let sso = Sso::with(&json!({"claims": {"tenant": "acme", "groups": "eng-*"}, "scope": ["groups"]}));
    let subject = Sso::subject(&sso.person());
    let comes = |change: Change| sso.comes_back_as(&mut sso.browser(), &subject, change);
    for change in [
        (|_, _| {}) as Change,
        |_, claims| claims["tenant"] = json!("acme"),
        |_, claims| (claims["tenant"], claims["groups"]) = (json!("other"), json!(["eng-a"])),
        |_, claims| (claims["tenant"], claims["groups"]) = (json!("acme"), json!(["sales"])),
    ] {
        refused(&comes(change), 403, NOT_BELIEVED);
    }
    entered(&comes(|_, claims| {
        (claims["tenant"], claims["groups"]) = (json!("acme"), json!(["sales", "eng-a"]))
    }));
    let mut browser = sso.browser();
    let away = sso.left(&mut browser);
    assert_eq!(
        crate::authorize::browser::parameter(&away.url, "scope").unwrap().replace('+', " "),
        "openid groups"
    );
}

fn comes(sso: &Sso, browser: &mut Browser, reply: Reply) -> Answer {
    let away = sso.left(browser);
    sso.answers(reply);
    sso.back(browser, &[("code", "c"), ("state", &away.state)])
}

#[test]
fn a_token_endpoint_that_is_none_signs_nobody_in() {
    let sso = Sso::new();
    let mut browser = sso.browser();
    let mut comes = |reply| comes(&sso, &mut browser, reply);
    let token = json!({"access_token": "a", "token_type": "Bearer"});
    for reply in [
        Reply::json(400, &json!({"error": "invalid_grant"})),
        Reply::json(401, &json!({"error": "invalid_client\u{1b}[31m", "error_description": "x"})),
        Reply::json(200, &token),
        Reply::json(200, &json!({"id_token": "a.b.c"})),
        Reply::json(200, &json!({"access_token": "a", "id_token": "a.b.c"})),
        Reply::json(200, &json!(["a"])),
        Reply::bytes(200, "application/json", r#"{"access_token":"a","access_token":"b","id_token":"c"}"#),
        Reply::bytes(200, "text/html", "<h1>hello</h1>"),
    ] {
        refused(&comes(reply), 403, NOT_BELIEVED);
    }
    let elsewhere = Sso::new();
    let reached = format!("{}/token", elsewhere.tokens.base());
    for reply in [
        Reply::status(307).header("location", &reached),
        Reply::status(302).header("location", &reached),
        Reply::json(500, &token),
        Reply::bytes(200, "application/json", format!("{{\"a\":\"{}\"}}", "x".repeat(100_000))),
        Reply::json(200, &token).header("content-encoding", "gzip"),
        Reply::hang_up(),
    ] {
        refused(&comes(reply), 503, "can’t be reached right now");
    }
    assert!(elsewhere.tokens.seen().is_empty(), "a redirect was followed");
    // One that never answers is given up.
    let gate = Gate::shut();
    refused(&comes(Reply::json(200, &token).after(&gate)), 503, "can’t be reached right now");
    gate.open();
}

#[test]
fn a_token_endpoint_inside_is_not_asked() {
    for inside in ["https://10.0.0.1/token", "https://169.254.169.254/token", "https://[fd00::1]/token"] {
        let (mut sso, made) = Sso::declared(Signer::ed25519(), &json!({}), |published| {
            published["token_endpoint"] = json!(inside);
        });
        sso.id = made.expect(201).text("/id");
        refused(&comes(&sso, &mut sso.browser(), Reply::status(200)), 503, "can’t be reached right now");
    }
}
