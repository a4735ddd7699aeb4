//! Requests that are bound to a key of the client's (RFC 9449 §10).

use super::{DEVICE, allowed, begin, public};
use crate::{
    authorize::browser::{App, Browser},
    dpop::{Key, nonce},
    parties::{read, stage},
};
use placet_testkit::Answer;
use serde_json::json;

fn poll(app: &App, device_code: &str, key: Option<&Key>, fresh: &str) -> Answer {
    let request = app.posting("/oauth/token", &[("grant_type", DEVICE), ("device_code", device_code)]);
    let url = format!("{}/oauth/token", stage().client().base());
    match key {
        Some(key) => request.header("dpop", key.proof("POST", &url, None, Some(fresh))).send(),
        None => request.send(),
    }
}

#[test]
fn tokens_of_a_bound_request_are_given_to_the_holder_of_its_key() {
    let stage = stage();
    let app = public();
    let (key, other) = (Key::ed25519(), Key::p256());
    let fresh = nonce(&stage.client(), &stage.agent());
    let proved = {
        let form = [("scope", "orders.read")];
        let url = format!("{}/oauth/device_authorization", stage.client().base());
        let proof = key.proof("POST", &url, None, Some(&fresh));
        app.posting("/oauth/device_authorization", &form).header("dpop", proof).send().expect(200)
    };
    let named = begin(&app, &[("dpop_jkt", &key.thumbprint())]).expect(200);
    let mut browser = Browser::of("sam");
    for begun in [proved, named] {
        allowed(&mut browser, &begun);
        let secret = begun.text("/device_code");
        poll(&app, &secret, None, &fresh).refused(400, "invalid_grant");
        poll(&app, &secret, Some(&other), &fresh).refused(400, "invalid_grant");
        let given = poll(&app, &secret, Some(&key), &fresh).expect(200);
        assert_eq!(given.at("/token_type"), "DPoP");
        assert_eq!(read(&given.text("/access_token")).1["cnf"], json!({"jkt": key.thumbprint()}));
        // A public client's refresh token is bound with it.
        app.refresh(&given.text("/refresh_token")).refused(400, "invalid_grant");
    }
}
