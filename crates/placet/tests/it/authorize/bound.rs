//! Codes and tokens that are bound to a key of the client's (RFC 9449 §10).

use super::browser::{App, Asking, Browser, VERIFIER, parameter, sent_to};
use crate::{
    dpop::{Key, nonce},
    parties::{read, stage},
};
use placet_testkit::Answer;
use serde_json::json;

fn used(app: &App, code: &str, key: Option<&Key>, fresh: &str) -> Answer {
    let client = stage().client();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("code_verifier", VERIFIER),
        ("client_id", &app.id),
    ];
    let request = client.post("/oauth/token").form(&form);
    let url = format!("{}/oauth/token", client.base());
    match key {
        Some(key) => request.header("dpop", key.proof("POST", &url, None, Some(fresh))).send(),
        None => request.send(),
    }
}

#[test]
fn a_code_that_is_bound_to_a_key_is_of_use_with_its_proof_only() {
    let stage = stage();
    let app = App::public();
    let (key, other) = (Key::ed25519(), Key::p256());
    let fresh = nonce(&stage.client(), &stage.agent());
    let mut browser = Browser::of("sam");
    let asking = app.asking().with("dpop_jkt", &key.thumbprint());
    let code = browser.code(&asking);
    used(&app, &code, None, &fresh).refused(400, "invalid_grant");
    used(&app, &code, Some(&other), &fresh).refused(400, "invalid_grant");
    let given = used(&app, &code, Some(&key), &fresh).expect(200);
    assert_eq!(given.at("/token_type"), "DPoP");
    assert_eq!(read(&given.text("/access_token")).1["cnf"], json!({"jkt": key.thumbprint()}));
    // A public client's refresh token is bound with it.
    app.refresh(&given.text("/refresh_token")).refused(400, "invalid_grant");
    let wrong = sent_to(&browser.get(&asking.with("dpop_jkt", "x").path()));
    assert_eq!(parameter(&wrong, "error").as_deref(), Some("invalid_request"));
}

#[test]
fn a_request_that_was_pushed_with_a_proof_gives_a_bound_code() {
    let stage = stage();
    let app = App::public();
    let (key, other) = (Key::ed25519(), Key::ed25519());
    let fresh = nonce(&stage.client(), &stage.agent());
    let push = |asking: &Asking| {
        let client = stage.client();
        let form: Vec<(&str, &str)> =
            asking.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let proof = key.proof("POST", &format!("{}/oauth/par", client.base()), None, Some(&fresh));
        client.post("/oauth/par").form(&form).header("dpop", proof).send()
    };
    push(&app.asking().with("dpop_jkt", &other.thumbprint())).refused(400, "invalid_request");
    let uri = push(&app.asking()).expect(201).text("/request_uri");
    let path = format!("/oauth/authorize?client_id={}&request_uri={}", app.id, super::browser::encoded(&uri));
    let mut browser = Browser::of("sam");
    let page = browser.get(&path).expect(200);
    let code = parameter(&browser.allow(&page), "code").unwrap();
    used(&app, &code, Some(&other), &fresh).refused(400, "invalid_grant");
    used(&app, &code, Some(&key), &fresh).expect(200);
}
