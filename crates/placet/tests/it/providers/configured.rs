//! What is declared, and what providers publish about themselves.

use super::{Sso, entered, refused, stage};
use crate::{authorize::browser::html, clients::signer::Signer};
use placet_testkit::password;
use serde_json::{Value, json};

fn published(change: impl FnOnce(&mut Value)) -> placet_testkit::Answer {
    Sso::declared(Signer::ed25519(), &json!({}), change).1
}

#[test]
fn a_provider_is_declared_by_what_it_publishes_itself() {
    published(|one| one["issuer"] = json!("https://other.example")).refused(400, "request_invalid");
    published(|one| one["issuer"] = json!(format!("{}/", one["issuer"].as_str().unwrap())))
        .refused(400, "request_invalid");
    published(|one| one["token_endpoint"] = json!("http://10.0.0.1/token")).refused(400, "request_invalid");
    published(|one| one["authorization_endpoint"] = json!("javascript:alert(1)"))
        .refused(400, "request_invalid");
    published(|one| _ = one.as_object_mut().unwrap().remove("jwks_uri")).refused(400, "request_invalid");
    published(|one| one["token_endpoint_auth_methods_supported"] = json!(["private_key_jwt"]))
        .refused(400, "request_invalid");
    let (sso, made) = Sso::declared(Signer::ed25519(), &json!({}), |one| {
        one["token_endpoint_auth_methods_supported"] = json!(["client_secret_post", "private_key_jwt"]);
    });
    let made = made.expect(201);
    assert_eq!(made.text("/auth"), "client_secret_post");
    assert_eq!(
        made.text("/redirect_uri"),
        format!("{}/sign-in/callback/{}", stage().server.pages(), sso.handle)
    );
    let again = json!({"handle": sso.handle, "issuer": sso.issuer(), "client_id": "a", "client_secret": "b",
        "password": password("ada")});
    stage().admin().post("/v1/identity-providers").json(&again).send().refused(409, "conflict");
}

#[test]
fn what_is_declared_wrongly_is_refused() {
    let declared = |more: Value| Sso::declared(Signer::ed25519(), &more, |_| {}).1;
    for more in [
        json!({"handle": "A B"}),
        json!({"issuer": "https://10.0.0.1"}),
        json!({"issuer": "http://sso.example"}),
        json!({"issuer": stage().server.base()}),
        json!({"algorithms": ["HS256"]}),
        json!({"algorithms": []}),
        json!({"client_secret": ""}),
        json!({"auth": "none"}),
        json!({"second_factor": {"acr": "high"}}),
        json!({"provision": true}),
    ] {
        let answer = declared(more.clone());
        assert!(matches!(answer.status, 400 | 422), "{more}: {} {}", answer.status, answer.body);
    }
}

#[test]
fn a_code_is_asked_for_here_unless_the_provider_is_declared_to_have_asked() {
    let sso = Sso::new();
    let person = sso.person();
    let subject = Sso::subject(&person);
    let (mut phone, codes) = person.enrols();
    let (mut browser, page) = sso.signs_in(&subject);
    let action = format!("/sign-in/with/{}/code", sso.handle);
    assert_eq!(page.status, 200);
    assert!(html(&page).contains(&action) && !super::has_session(&page));
    assert!(!browser.has_an_account());
    refused(&browser.submit(&page, &action, &[("code", "000000")]), 403, "The code is wrong");
    refused(&browser.submit(&page, &action, &[("code", "")]), 403, "The code is wrong");
    // The ticket is of this browser, this provider and this subject.
    let mut other = sso.browser();
    sso.left(&mut other);
    refused(&other.submit(&page, &action, &[("code", &codes[0])]), 403, "begun in another browser");
    let swapped = crate::authorize::browser::hidden(&page, &action);
    let stranger = sso.person();
    let form: Vec<(&str, &str)> = swapped
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| *name != "subject")
        .collect();
    let subject_of_other = Sso::subject(&stranger);
    let form = [&form[..], &[("subject", subject_of_other.as_str()), ("code", "1")]].concat();
    refused(&browser.post(&action, &form), 403, "begun in another browser");
    let second = Sso::new();
    second.links(&subject, &person).expect(200);
    let elsewhere = format!("/sign-in/with/{}/code", second.handle);
    let form = crate::authorize::browser::hidden(&page, &action);
    let mut form: Vec<(&str, &str)> =
        form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    form.push(("code", &codes[0]));
    refused(&browser.post(&elsewhere, &form), 403, "begun in another browser");
    entered(&browser.submit(&page, &action, &[("code", &phone.code())]));
    assert!(html(&browser.get("/account").expect(200)).contains("an identity provider and a code (here)"));
    // A recovery code does, once.
    let (mut browser, page) = sso.signs_in(&subject);
    entered(&browser.submit(&page, &action, &[("code", &codes[0])]));
    let (mut browser, page) = sso.signs_in(&subject);
    refused(&browser.submit(&page, &action, &[("code", &codes[0])]), 403, "The code is wrong");
}

#[test]
fn a_providers_second_factor_counts_where_it_is_declared_and_stated() {
    let always = Sso::with(&json!({"second_factor": {}}));
    let person = always.person();
    let subject = Sso::subject(&person);
    person.enrols();
    entered(&always.signs_in(&subject).1);
    let some = Sso::with(&json!({"second_factor": {"acr": ["phr"], "amr": ["hwk", "otp"]}}));
    some.links(&subject, &person).expect(200);
    let mut browser = some.browser();
    let away = some.left(&mut browser);
    assert_eq!(crate::authorize::browser::parameter(&away.url, "acr_values").as_deref(), Some("phr"));
    let comes = |acr: Value, amr: Value| {
        let mut browser = some.browser();
        some.comes_back_as(&mut browser, &subject, |_, claims| {
            claims["acr"] = acr;
            claims["amr"] = amr;
        })
    };
    for (acr, amr) in
        [(json!("phr"), json!(["pwd"])), (json!("low"), json!(["otp"])), (Value::Null, Value::Null)]
    {
        let page = comes(acr, amr);
        assert!(page.status == 200 && html(&page).contains("/code\""), "{}", html(&page));
    }
    entered(&comes(json!("phr"), json!(["pwd", "otp"])));
}
