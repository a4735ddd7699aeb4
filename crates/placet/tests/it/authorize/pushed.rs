//! Pushed authorization requests (RFC 9126).

use super::browser::{App, BACK, Browser, html, parameter, sent_to};
use crate::parties::stage;
use serde_json::json;

fn presented(app: &App, uri: &str) -> String {
    format!("/oauth/authorize?client_id={}&request_uri={}", app.id, super::browser::encoded(uri))
}

#[test]
fn what_is_pushed_is_asked_once_and_never_in_the_browser() {
    let stage = stage();
    for app in [App::confidential(), App::public()] {
        let asking = app.asking().with("task_description", "a secret purpose");
        let pushed = app.push(&asking).expect(201);
        assert_eq!(pushed.header("cache-control"), Some("no-store"));
        let uri = pushed.text("/request_uri");
        assert!(uri.starts_with("urn:ietf:params:oauth:request_uri:") && uri.len() > 70, "{uri}");
        assert!((5..=600).contains(&pushed.at("/expires_in").as_u64().unwrap()));
        let mut browser = Browser::of("pat");
        // Looking at it twice, as one who loads the page anew, is no use of it.
        browser.get(&presented(&app, &uri)).expect(200);
        // Whatever else stands there is no part of it.
        let widened =
            format!("{}&scope=orders.*&redirect_uri=https://evil.example&state=other", presented(&app, &uri));
        let page = browser.get(&widened).expect(200);
        assert!(html(&page).contains("“a secret purpose”") && html(&page).contains("asks for “orders.read”"));
        let back = browser.allow(&page);
        assert_eq!(parameter(&back, "state").as_deref(), Some("st"));
        let given = app.exchange(&parameter(&back, "code").unwrap()).expect(200);
        assert_eq!(given.at("/scope"), "orders.read");
        // It was answered: neither looked at nor answered again.
        let again = browser.get(&presented(&app, &uri));
        assert_eq!((again.status, again.header("location")), (400, None));
        let twice = browser.submit(&page, "/consent", &[("lasts", "1d"), ("verdict", "approve")]);
        assert_eq!((twice.status, twice.header("location")), (400, None));
        assert!(stage.is_active(&given.text("/access_token")));
    }
}

#[test]
fn a_denied_request_is_over() {
    let app = App::confidential();
    let mut browser = Browser::of("pat");
    let uri = app.push(&app.asking()).expect(201).text("/request_uri");
    let page = browser.get(&presented(&app, &uri)).expect(200);
    let denied = sent_to(&browser.submit(&page, "/consent", &[("verdict", "deny")]));
    assert_eq!(parameter(&denied, "error").as_deref(), Some("access_denied"));
    assert_eq!(browser.get(&presented(&app, &uri)).status, 400);
    assert_eq!(browser.submit(&page, "/consent", &[("lasts", "1d"), ("verdict", "approve")]).status, 400);
}

#[test]
fn a_pushed_request_is_its_clients_own() {
    let (app, other) = (App::confidential(), App::confidential());
    let mut browser = Browser::of("pat");
    let uri = app.push(&app.asking()).expect(201).text("/request_uri");
    for path in [
        presented(&other, &uri),
        presented(&app, &format!("{uri}x")),
        presented(&app, "urn:ietf:params:oauth:request_uri:"),
        presented(&app, "https://evil.example/request"),
        presented(&app, "urn:x"),
        format!("{}&request_uri=x", presented(&app, &uri)),
        format!("/oauth/authorize?request_uri={uri}"),
    ] {
        let page = browser.get(&path);
        assert_eq!((page.status, page.header("location")), (400, None), "{path}");
    }
    browser.get(&presented(&app, &uri)).expect(200);
}

#[test]
fn what_could_not_be_asked_is_refused_when_it_is_pushed() {
    let stage = stage();
    let app = App::confidential();
    for (name, value, error) in [
        ("redirect_uri", "https://evil.example/callback", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("scope", "files.read", "invalid_scope"),
        ("resource", "https://nowhere.example", "invalid_target"),
        ("request_uri", "urn:ietf:params:oauth:request_uri:x", "invalid_request"),
        ("authorization_details", "[{\"type\": \"payment\"}]", "invalid_authorization_details"),
    ] {
        app.push(&app.asking().with(name, value)).refused(400, error);
    }
    app.push(&app.asking().and("scope", "orders.list")).refused(400, "invalid_request");
    // Authenticated as at the token endpoint.
    let asking = app.asking();
    let form: Vec<(&str, &str)> =
        asking.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    stage.client().post("/oauth/par").form(&form).send().refused(401, "invalid_client");
    stage
        .client()
        .post("/oauth/par")
        .basic(&app.id, "wrong")
        .form(&form)
        .send()
        .refused(401, "invalid_client");
    let other = App::confidential();
    let mixed = stage.client().post("/oauth/par").basic(&other.id, &other.secret.unwrap()).form(&form).send();
    assert!([400, 401].contains(&mixed.status));
    // One that is not registered for codes.
    let bot = App::registered(&json!({"redirect_uris": [BACK], "grant_types": ["client_credentials"]}));
    bot.push(&bot.asking()).refused(400, "unauthorized_client");
}

#[test]
fn a_pushed_request_can_want_the_person_to_sign_in() {
    let app = App::confidential();
    let mut browser = Browser::of("pat");
    let uri = app.push(&app.asking().with("prompt", "login")).expect(201).text("/request_uri");
    let page = browser.get(&presented(&app, &uri)).expect(200);
    assert!(html(&page).contains("action=\"/sign-in\""));
    let password = placet_testkit::password("pat");
    let onward = sent_to(&browser.submit(&page, "/sign-in", &[("name", "pat"), ("password", &password)]));
    let page = browser.get(&onward).expect(200);
    let back = browser.allow(&page);
    app.exchange(&parameter(&back, "code").unwrap()).expect(200);
}
