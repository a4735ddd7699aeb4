//! CIBA in poll mode: an agent asks a person by name, who finds that at the pages and in the terminal.

use super::{answer, headless, public, waits};
use crate::{
    authorize::browser::{App, Browser, html},
    parties::{Person, read, stage},
};
use placet_testkit::{Answer, Client, fresh, together};
use serde_json::{Value, json};

pub(crate) const CIBA: &str = "urn:openid:params:grant-type:ciba";

/// An agent asks a person.
pub(super) fn ask(app: &App, who: &str, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![("scope", "orders.read"), ("login_hint", who)];
    form.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    form.extend(more);
    app.posting("/oauth/backchannel_authentication", &form).send()
}

pub(super) fn poll(app: &App, id: &str) -> Answer {
    app.token(&[("grant_type", CIBA), ("auth_req_id", id)])
}

/// The requests of an agent that wait for a person.
fn waiting(person: &Client, app: &App) -> Vec<Value> {
    let listed = person.get("/v1/requests").send().expect(200);
    let all = listed.at("/requests").as_array().unwrap().clone();
    all.into_iter().filter(|request| request["client_id"] == app.id.as_str()).collect()
}

/// What an agent is given that a person allows it whom it has named.
pub(crate) fn given_by_name(app: &App, browser: &mut Browser, person: &Person) -> Answer {
    let begun = ask(app, person.name, &[]).expect(200);
    let request = waiting(&stage().client().with(&person.token), app).pop().unwrap();
    answer(browser, &format!("/requests/{}", request["id"].as_str().unwrap()), "approve").expect(200);
    poll(app, &begun.text("/auth_req_id"))
}

#[test]
fn a_person_who_is_asked_by_name_answers_at_the_pages() {
    let stage = stage();
    let app = headless();
    let begun = ask(&app, "pat", &[("binding_message", "W4-SCT"), ("task_description", "nightly report")]);
    let begun = begun.expect(200);
    assert_eq!((begun.at("/expires_in"), begun.at("/interval")), (&json!(600), &json!(5)));
    assert_eq!(begun.header("cache-control"), Some("no-store"));
    let secret = begun.text("/auth_req_id");
    poll(&app, &secret).refused(400, "authorization_pending");
    poll(&app, &secret).refused(400, "slow_down");
    let mut browser = Browser::new();
    let page = browser.get("/requests").expect(200);
    let password = placet_testkit::password("pat");
    browser.submit(&page, "/sign-in", &[("name", "pat"), ("password", &password)]);
    let listed = html(&browser.get("/requests").expect(200));
    let pat = stage.client().with(&stage.pat.token);
    let request = waiting(&pat, &app).pop().unwrap();
    let path = format!("/requests/{}", request["id"].as_str().unwrap());
    assert!(listed.contains(&path) && listed.contains(&app.handle), "{listed}");
    let text = html(&browser.get(&path).expect(200));
    for said in ["asked for you by name", "recognise it by: “W4-SCT”", "“nightly report”", "“127.0.0.1”"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    answer(&mut browser, &path, "approve").expect(200);
    let given = poll(&app, &secret).expect(200);
    assert_eq!(read(&given.text("/access_token")).1["sub"], stage.pat.id.as_str());
    app.refresh(&given.text("/refresh_token")).expect(200);
    poll(&app, &secret).refused(400, "invalid_grant");
    assert!(waiting(&pat, &app).is_empty());
    let record = stage.story.record();
    let of =
        |kind: &str| record.iter().filter(|it| it["type"] == kind && it["agent"] == app.id.as_str()).count();
    assert_eq!((of("grant.requested"), of("grant.consented"), of("grant.issued")), (1, 1, 1));
}

#[test]
fn a_yes_is_to_what_the_person_was_told() {
    let stage = stage();
    let app = headless();
    let begun = ask(&app, &stage.pat.id, &[]).expect(200);
    let pat = stage.client().with(&stage.pat.token);
    let id = waiting(&pat, &app)[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/requests/{id}");
    let told = pat.get(&path).send().expect(200);
    assert!(told.body.to_string().contains("Read: “orders.read”."), "{}", told.body);
    let yes = |more: Value| {
        let mut body = json!({"verdict": "approve"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pat.post(&path).json(&body).send()
    };
    yes(json!({})).refused(400, "request_invalid");
    yes(json!({"seen": "AAAA"})).refused(400, "request_invalid");
    yes(json!({"seen": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})).refused(409, "conflict");
    yes(json!({"seen": told.text("/seen"), "lasts": "1y"})).refused(400, "request_invalid");
    // What the agent could reach has changed since.
    stage.story.connection(&fresh("shop-"), "shop", &json!({"agents": [app.id]})).expect(201);
    yes(json!({"seen": told.text("/seen")})).refused(409, "conflict");
    waits(&poll(&app, &begun.text("/auth_req_id")));
    let told = pat.get(&path).send().expect(200);
    yes(json!({"seen": told.text("/seen"), "lasts": "1h"})).expect(200);
    yes(json!({"seen": told.text("/seen")})).refused(409, "conflict");
    pat.post(&path).json(&json!({"verdict": "deny"})).send().refused(409, "conflict");
    poll(&app, &begun.text("/auth_req_id")).expect(200);

    let begun = ask(&app, "pat", &[]).expect(200);
    let id = waiting(&pat, &app)[0]["id"].as_str().unwrap().to_owned();
    pat.post(&format!("/v1/requests/{id}")).json(&json!({"verdict": "deny"})).send().expect(200);
    poll(&app, &begun.text("/auth_req_id")).refused(400, "access_denied");
}

#[test]
fn how_a_person_can_be_asked() {
    let stage = stage();
    let app = headless();
    let long = "x".repeat(129);
    for (name, value, error) in [
        ("login_hint", "", "invalid_request"),
        ("id_token_hint", "x", "invalid_request"),
        ("login_hint_token", "x", "invalid_request"),
        ("binding_message", long.as_str(), "invalid_binding_message"),
        ("binding_message", "a\u{202e}b", "invalid_binding_message"),
        ("binding_message", "a\nb", "invalid_binding_message"),
        ("binding_message", "it says: ”", "invalid_binding_message"),
        ("requested_expiry", "0", "invalid_request"),
        ("requested_expiry", "-1", "invalid_request"),
        ("requested_expiry", "soon", "invalid_request"),
        ("scope", "admin.all", "invalid_scope"),
        ("request", "eyJ", "invalid_request"),
    ] {
        let refused = ask(&app, "pat", &[(name, value)]);
        assert_eq!((refused.status, refused.text("/error").as_str()), (400, error), "{name}={value}");
    }
    let other = ask(&app, "", &[("login_hint_token", "x")]).refused(400, "invalid_request");
    assert!(other.text("/error_description").contains("login_hint_token"), "{}", other.body);
    assert_eq!(ask(&app, "pat", &[("requested_expiry", "99999")]).expect(200).at("/expires_in"), 3600);
    assert_eq!(ask(&app, "pat", &[("requested_expiry", "90")]).expect(200).at("/expires_in"), 90);
    assert_eq!(ask(&app, "pat", &[("requested_expiry", "1")]).expect(200).at("/expires_in"), 60);
    ask(&public(), "pat", &[]).refused(400, "unauthorized_client");
    ask(&App::registered(&json!({"grant_types": ["client_credentials"]})), "pat", &[])
        .refused(400, "unauthorized_client");
    let nobody = App::of(stage.story, &app.id, Some("pcs_wrong".to_owned()));
    ask(&nobody, "pat", &[]).refused(401, "invalid_client");
}

#[test]
fn who_is_here_is_told_to_clients_that_an_administrator_vouches_for_and_not_often() {
    let stage = stage();
    let app = headless();
    for _ in 0..10 {
        ask(&app, &fresh("nobody-"), &[]).refused(400, "unknown_user_id");
    }
    let refused = ask(&app, &fresh("nobody-"), &[]);
    assert_eq!(refused.status, 429, "{}", refused.body);
    // Whoever is there can still be asked.
    ask(&app, "sam", &[]).expect(200);

    // One that only a person has confirmed learns nothing: not by the answer, and not by what it is refused later.
    let client = headless();
    let vouched = json!({"acts_alone": false});
    stage.admin().patch(&format!("/v1/agents/{}", client.id)).json(&vouched).send().expect(200);
    let nobody = fresh("nobody-");
    let answers = |who: &str| -> Vec<(u16, Vec<String>)> {
        let members = |answer: Answer| {
            let keys = answer.body.as_object().unwrap().keys().cloned().collect();
            if answer.status == 200 {
                poll(&client, &answer.text("/auth_req_id")).refused(400, "authorization_pending");
            }
            (answer.status, keys)
        };
        (0..11).map(|_| members(ask(&client, who, &[]))).collect()
    };
    let (there, not_there) = (answers("sam"), answers(&nobody));
    assert_eq!(there, not_there);
    assert_eq!((there[9].0, there[10].0), (200, 429));
    let sam = stage.client().with(&stage.sam.token);
    assert_eq!(waiting(&sam, &client).len(), 10);
    for request in waiting(&sam, &client) {
        let path = format!("/v1/requests/{}", request["id"].as_str().unwrap());
        sam.post(&path).json(&json!({"verdict": "deny"})).send().expect(200);
    }
    // That they are gone is no room for more: it has asked ten times in vain.
    assert_eq!(ask(&client, "sam", &[]).status, 429);
}

#[test]
fn nobody_is_flooded() {
    let stage = stage();
    let name = fresh("flooded-");
    let (id, session) = stage.story.user(&name, &[]);
    let person = stage.client().with(&session);
    let (one, two, three) = (headless(), headless(), headless());
    // Of one client ten, also where they come at once.
    let answers = together(14, |_| ask(&one, &name, &[]).status);
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 10, "{answers:?}");
    assert_eq!(waiting(&person, &one).len(), 10);
    // Of all clients twenty.
    for _ in 0..10 {
        ask(&two, &name, &[]).expect(200);
    }
    assert_eq!(ask(&three, &name, &[]).status, 429);
    assert_eq!(ask(&three, &id, &[]).status, 429);
    // A client that may not know so is not told, and nobody is shown its request.
    let client = headless();
    stage
        .admin()
        .patch(&format!("/v1/agents/{}", client.id))
        .json(&json!({"acts_alone": false}))
        .send()
        .expect(200);
    let begun = ask(&client, &name, &[]).expect(200);
    poll(&client, &begun.text("/auth_req_id")).refused(400, "authorization_pending");
    assert!(waiting(&person, &client).is_empty());
    // Others are asked as ever; and what somebody has said yes to was not in vain.
    ask(&one, "pat", &[]).expect(200);
    let granted = waiting(&person, &one).pop().unwrap();
    let path = format!("/v1/requests/{}", granted["id"].as_str().unwrap());
    let seen = person.get(&path).send().expect(200).text("/seen");
    person.post(&path).json(&json!({"verdict": "approve", "seen": seen})).send().expect(200);
    ask(&one, &name, &[]).expect(200);
    assert_eq!(ask(&one, &name, &[]).status, 429);
}
