//! What ends when a provider or a link is taken away.

use super::{Sso, entered, refused, stage};
use crate::{authorize::browser::html, people::person::Person};
use placet_testkit::password;
use serde_json::{Value, json};

#[test]
fn removing_a_provider_ends_what_began_with_it_and_nothing_else() {
    let sso = Sso::new();
    let (person, story) = (sso.person(), stage());
    let subject = Sso::subject(&person);
    let (mut browser, answer) = sso.signs_in(&subject);
    entered(&answer);
    let mut away_browser = sso.browser();
    let away = sso.left(&mut away_browser);
    sso.gives(&sso.id_token(&subject, &away, |_, _| {}));
    // The administrator token may take away.
    let told = story.server.admin().delete(&sso.path()).send().expect(200);
    assert_eq!((told.text("/id"), told.at("/ended_sessions")), (sso.id.clone(), &json!(1)));
    assert!(!browser.has_an_account());
    assert!(person.is_signed_in(), "a session with a password goes on");
    // Who is there now comes back to nothing.
    refused(&sso.back(&mut away_browser, &[("code", "c"), ("state", &away.state)]), 404, "any more");
    assert!(!html(&away_browser.get("/sign-in").expect(200)).contains(&sso.handle));
    story.admin().get(&sso.path()).send().refused(404, "not_found");
    story.admin().delete(&sso.path()).send().refused(404, "not_found");
    let removed = placet_testkit::until("provider.removed", || {
        let record = story.server.admin().get("/v1/record?limit=1000").send().expect(200);
        let entries = record.at("/entries").as_array().unwrap();
        let is_it =
            |entry: &&Value| entry["type"] == "provider.removed" && entry.to_string().contains(&sso.id);
        entries.iter().find(is_it).cloned()
    });
    assert_eq!(removed["by"], "admin-token");
    // Declared anew it means nobody.
    let body = json!({"handle": sso.handle, "issuer": sso.issuer(), "client_id": super::CLIENT,
        "client_secret": super::SECRET, "password": placet_testkit::password("ada")});
    story.admin().post("/v1/identity-providers").json(&body).send().expect(201);
    refused(&sso.back(&mut away_browser, &[("code", "c"), ("state", &away.state)]), 403, "another browser");
    refused(&sso.signs_in(&subject).1, 403, "not linked");
}

#[test]
fn a_provider_that_is_removed_while_it_answers_signs_nobody_in() {
    let sso = Sso::new();
    let subject = Sso::subject(&sso.person());
    let mut browser = sso.browser();
    let away = sso.left(&mut browser);
    let gate = placet_testkit::Gate::shut();
    let token = sso.id_token(&subject, &away, |_, _| {});
    let reply = json!({"access_token": "a", "token_type": "Bearer", "id_token": token});
    sso.answers(placet_testkit::Reply::json(200, &reply).after(&gate));
    let answer = std::thread::scope(|scope| {
        let coming = scope.spawn(|| sso.back(&mut browser, &[("code", "c"), ("state", &away.state)]));
        placet_testkit::until("the code is exchanged", || (!sso.tokens.seen().is_empty()).then_some(()));
        stage().server.admin().delete(&sso.path()).send().expect(200);
        gate.open();
        coming.join().unwrap()
    });
    refused(&answer, 403, "any more");
}

#[test]
fn a_reset_takes_the_links_as_well() {
    let sso = Sso::new();
    let person = sso.person();
    let subject = Sso::subject(&person);
    let (mut browser, answer) = sso.signs_in(&subject);
    entered(&answer);
    let path = format!("/v1/users/{}/reset-factors", person.name);
    stage().admin().post(&path).json(&json!({"password": password("ada")})).send().expect(204);
    assert!(!browser.has_an_account());
    // Else what was asked for beside the provider's word would be gone, and the word enough.
    refused(&sso.signs_in(&subject).1, 403, "not linked");
}

#[test]
fn a_link_that_is_taken_away_ends_its_persons_sessions() {
    let sso = Sso::new();
    let (person, other) = (sso.person(), Person::with(stage(), &[]));
    let subject = Sso::subject(&person);
    let (mut browser, answer) = sso.signs_in(&subject);
    entered(&answer);
    let untouched = sso.person();
    let (mut stays, answer) = sso.signs_in(&Sso::subject(&untouched));
    entered(&answer);
    let unlink = || {
        let body = json!({"subject": subject, "user": null});
        stage().server.admin().post(&format!("{}/subjects", sso.path())).json(&body).send()
    };
    // Nobody is meant only by who says so.
    let path = format!("{}/subjects", sso.path());
    let forgotten = stage().server.admin().post(&path).json(&json!({"subject": subject})).send();
    forgotten.refused(400, "request_invalid");
    assert!(browser.has_an_account());
    unlink().expect(200);
    assert!(!browser.has_an_account());
    assert!(stays.has_an_account());
    assert!(person.is_signed_in());
    refused(&sso.signs_in(&subject).1, 403, "not linked");
    unlink().refused(404, "not_found");
    // It may then be somebody else.
    sso.links(&subject, &other).expect(200);
    let (mut browser, answer) = sso.signs_in(&subject);
    entered(&answer);
    assert!(html(&browser.get("/account").expect(200)).contains(&other.name));
    let listed = stage().admin().get(&format!("{}/subjects?limit=1", sso.path())).send().expect(200);
    assert_eq!(listed.at("/subjects").as_array().unwrap().len(), 1);
    let next = listed.text("/next");
    let rest = stage().admin().get(&format!("{}/subjects?after={next}", sso.path())).send().expect(200);
    assert_eq!(rest.at("/subjects").as_array().unwrap().len(), 1);
    assert_eq!(other.recorded("provider.linked")["user"], *other.id);
}
