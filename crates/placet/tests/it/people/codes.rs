//! One-time codes: asked for at every way in, right for a minute, used once; recovery codes; and what guessing costs.

use super::person::{Person, begun, recovery_codes, stage};
use crate::stage::PLACET;
use placet_testkit::{Server, Story, password, together};
use serde_json::{Value, json};

const REQUIRED: (u16, &str) = (401, "second_factor_required");

#[test]
fn where_codes_are_asked_for_a_password_alone_opens_nothing() {
    let person = Person::new();
    let other = person.signs_in(None).expect(201).text("/token");
    let made = person.asks("/v1/account/totp", None, &json!({})).expect(201);
    let url = made.text("/url");
    assert!(url.starts_with("otpauth://totp/Placet%20at%20localhost%3A"), "{url}");
    assert!(url.contains(&format!("secret={}&", made.text("/secret"))), "{url}");
    // Before it is confirmed nothing has changed, and a wrong code confirms nothing.
    person.signs_in(None).expect(201);
    let confirm =
        |code: &str| person.client().post("/v1/account/totp/confirm").json(&json!({"totp": code})).send();
    let mut phone = super::person::Phone::of(&made.text("/secret"));
    for wrong in ["000000", "", "x", &phone.code_at(5), &phone.code_at(-5)] {
        if *wrong != phone.code_at(0) {
            confirm(wrong).refused(403, "not_permitted");
        }
    }
    person.signs_in(None).expect(201);
    assert!(person.client().get("/v1/account").send().expect(200).at("/totp").is_null());
    // A secret that was not confirmed is replaced by another.
    let again = person.asks("/v1/account/totp", None, &json!({})).expect(201);
    assert_ne!(again.text("/secret"), made.text("/secret"));
    confirm(&phone.code()).refused(403, "not_permitted");
    phone = super::person::Phone::of(&again.text("/secret"));
    let codes = recovery_codes(&confirm(&phone.code()).expect(200));
    assert_eq!(codes.len(), 10);
    confirm(&phone.code()).refused(404, "not_found");
    // The session that confirmed goes on, the others have ended.
    assert!(person.is_signed_in());
    person.story.client().with(&other).get("/v1/account").send().refused(401, "token_invalid");

    person.signs_in(None).refused(REQUIRED.0, REQUIRED.1);
    for wrong in ["", " ", "000000000", "abcdef", "aaaa-aaaa-aaaa-aaaa"] {
        person.signs_in(Some(wrong)).refused(REQUIRED.0, REQUIRED.1);
    }
    let session = person.signs_in(Some(&phone.code_at(1))).expect(201);
    assert!(session.text("/token").starts_with("plt_session_"));
    let shown = person.client().get("/v1/account").send().expect(200);
    assert_eq!(shown.at("/totp/recovery_codes"), 10);
    let listed = person.client().get("/v1/sessions").send().expect(200);
    let with = |id: &str| {
        let sessions = listed.at("/sessions").as_array().unwrap();
        sessions.iter().find(|one| one["id"] == id).unwrap()["began_with"].clone()
    };
    assert_eq!(with(&session.text("/id")), "password_and_totp");
    // A second app needs the first one to go.
    person.asks("/v1/account/totp", Some(&codes[0]), &json!({})).refused(409, "conflict");
    assert_eq!(person.recorded("user.totp_enrolled")["by"], person.id.as_str());
}

#[test]
fn a_code_is_used_once_also_by_many_at_once() {
    let person = Person::new();
    let (mut phone, codes) = person.enrols();
    // The one that confirmed was used by that.
    person.signs_in(Some(&phone.used())).refused(REQUIRED.0, REQUIRED.1);
    let code = phone.code();
    // Who has not got the password uses nothing up.
    person
        .signs_in_from("192.0.2.9", "a wrong password, long enough", Some(&code))
        .refused(401, "token_invalid");
    let race = |code: &str| {
        let answers = together(6, |_| person.signs_in(Some(code)));
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
        assert_eq!(won.len(), 1);
        for answer in lost {
            answer.refused(REQUIRED.0, REQUIRED.1);
        }
    };
    race(&code);
    // A later code ends the earlier ones, and a recovery code is one code, too.
    person.signs_in(Some(&phone.code_at(-1))).refused(REQUIRED.0, REQUIRED.1);
    race(&codes[3]);
    person.signs_in(Some(&codes[3])).refused(REQUIRED.0, REQUIRED.1);
    person.signs_in(Some(&codes[4].replace('-', " ").to_uppercase())).expect(201);
    assert_eq!(person.client().get("/v1/account").send().expect(200).at("/totp/recovery_codes"), 8);
    // New ones end the old ones; somebody else's are nobody's.
    let renewed =
        recovery_codes(&person.asks("/v1/account/recovery-codes", Some(&codes[5]), &json!({})).expect(200));
    person.signs_in(Some(&codes[6])).refused(REQUIRED.0, REQUIRED.1);
    let other = Person::new();
    other.enrols();
    other.signs_in(Some(&renewed[0])).refused(REQUIRED.0, REQUIRED.1);
    person.signs_in(Some(&renewed[0])).expect(201);
    assert_eq!(person.recorded("user.recovery_codes")["by"], person.id.as_str());
}

#[test]
fn a_code_is_used_once_on_all_nodes() {
    let story = Story::on(Server::first_node(PLACET));
    let other = story.server.another_node();
    let person = Person::with(&story, &[]);
    let (mut phone, codes) = person.enrols();
    for code in [phone.code(), codes[0].clone(), codes[1].clone()] {
        let body = json!({"name": person.name, "password": password(&person.name), "totp": code});
        let answers = together(6, |number| {
            let client = if number % 2 == 0 { story.client() } else { other.client() };
            client.post("/v1/sessions").json(&body).send().status
        });
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
    }
}

#[test]
fn guessing_at_codes_from_everywhere_ends_soon_and_holds_up_nobody_at_home() {
    let person = Person::new();
    let (mut phone, codes) = person.enrols();
    let right = password(&person.name);
    // Where they had signed in before there was an app nobody is at home: a password was enough for it.
    person.signs_in(Some(&codes[1])).expect(201);
    // Whoever has the password, and no code.
    let guess = |at: usize| {
        let wrong = if phone.code_at(0) == "000000" { "000001" } else { "000000" };
        person.signs_in_from(&format!("172.16.{at}.1"), &right, Some(wrong))
    };
    let answers: Vec<_> = (0..30).map(guess).collect();
    assert!(answers[..20].iter().all(|answer| answer.status == 401), "{}", answers[19].status);
    let refused = answers[20].clone().refused(429, "too_many_requests");
    assert!(refused.header("retry-after").is_some());
    assert!(answers[20..].iter().all(|answer| answer.status == 429));
    // The right code is not looked at from a new place; a recovery code is, and where the person has shown more is home.
    person.signs_in_from("172.17.0.1", &right, Some(&phone.code())).refused(429, "too_many_requests");
    person.signs_in_from("172.17.0.1", &right, Some(&codes[0])).expect(201);
    person.signs_in(Some(&phone.code())).expect(201);
    // From home guesses are as many as of a password.
    let at_home: Vec<u16> = (0..12).map(|_| person.signs_in(Some("000000")).status).collect();
    assert!(at_home.contains(&429), "{at_home:?}");
    // Who has not got the password uses nothing up for anybody.
    let other = Person::new();
    let (mut phone, _) = other.enrols();
    for at in 0..30 {
        let from = format!("172.18.{at}.1");
        other
            .signs_in_from(&from, "a wrong password, long enough", Some("000000"))
            .refused(401, "token_invalid");
    }
    other.signs_in_from("172.19.0.1", &password(&other.name), Some(&phone.code())).expect(201);
}

#[test]
fn where_a_password_was_enough_before_guesses_at_codes_are_counted_with_all_others() {
    let person = Person::new();
    person.signs_in(None).expect(201);
    let (mut phone, _) = person.enrols();
    let right = password(&person.name);
    let wrong = if phone.code_at(0) == "000000" { "000001" } else { "000000" };
    for at in 0..20 {
        let from = format!("172.20.{at}.1");
        person.signs_in_from(&from, &right, Some(wrong)).refused(REQUIRED.0, REQUIRED.1);
    }
    person.signs_in(Some(&phone.code())).refused(429, "too_many_requests");
}

#[test]
fn codes_that_confirm_an_app_are_not_guessed_with_a_session() {
    let person = Person::new();
    let made = person.asks("/v1/account/totp", None, &json!({})).expect(201);
    let phone = super::person::Phone::of(&made.text("/secret"));
    let confirm = |code: &str| {
        let sent = person.client().post("/v1/account/totp/confirm").json(&json!({"totp": code}));
        sent.header("x-forwarded-for", &person.from).send()
    };
    for _ in 0..10 {
        confirm(&phone.code_at(5)).refused(403, "not_permitted");
    }
    // Also where the person has signed in, and the right one is looked at no more.
    let refused = confirm(&phone.code_at(5)).refused(429, "too_many_requests");
    assert!(refused.header("retry-after").is_some());
    person.signs_in(None).expect(201);
    confirm(&phone.code_at(0)).refused(429, "too_many_requests");
    assert!(person.client().get("/v1/account").send().expect(200).at("/totp").is_null());
    Person::new().enrols();
}

#[test]
fn an_app_goes_by_its_own_code_or_by_an_administrator() {
    let person = Person::new();
    let (mut phone, codes) = person.enrols();
    let remove = "/v1/account/totp/remove";
    person.asks(remove, None, &json!({})).refused(REQUIRED.0, REQUIRED.1);
    person.asks(remove, Some("000000000"), &json!({})).refused(REQUIRED.0, REQUIRED.1);
    let body = json!({"password": "a wrong password, long enough", "totp": phone.code_at(0)});
    person.client().post(remove).json(&body).send().refused(403, "not_permitted");
    person.signs_in(None).refused(REQUIRED.0, REQUIRED.1);
    person.asks(remove, Some(&phone.code()), &json!({})).expect(204);
    person.signs_in(None).expect(201);
    person.signs_in(Some(&codes[0])).refused(400, "request_invalid");
    person.asks(remove, None, &json!({})).refused(404, "not_found");
    assert_eq!(person.recorded("user.totp_removed")["by"], person.id.as_str());

    // Somebody else, who has lost everything.
    let (story, lost) = (stage(), Person::new());
    lost.enrols();
    let path = format!("/v1/users/{}/reset-factors", lost.name);
    let fresh = |name: &str| json!({"password": password(name)});
    person.client().post(&path).json(&fresh(&person.name)).send().refused(403, "not_permitted");
    lost.client().post(&path).json(&fresh(&lost.name)).send().refused(403, "not_permitted");
    // The token is no person, and a session alone is not enough.
    story.server.admin().post(&path).json(&fresh("ada")).send().refused(403, "not_permitted");
    story.admin().post(&path).json(&fresh("lee")).send().refused(403, "not_permitted");
    story.admin().post("/v1/users/nobody/reset-factors").json(&fresh("ada")).send().refused(404, "not_found");
    lost.signs_in(None).refused(REQUIRED.0, REQUIRED.1);
    story.admin().post(&path).json(&fresh("ada")).send().expect(204);
    assert!(!lost.is_signed_in());
    lost.signs_in(None).expect(201);
    assert_ne!(lost.recorded("user.factors_removed")["by"], lost.id.as_str());
}

#[test]
fn another_password_ends_what_the_old_one_began() {
    let person = Person::new();
    let other = person.signs_in(None).expect(201).text("/token");
    let change = |more: Value| person.asks("/v1/account/password", None, &more);
    change(json!({"new_password": "short"})).refused(400, "request_invalid");
    let new = "another one, kept in no file";
    let body = json!({"password": "a wrong password, long enough", "new_password": new});
    person.client().post("/v1/account/password").json(&body).send().refused(403, "not_permitted");
    change(json!({"new_password": new})).expect(204);
    assert!(person.is_signed_in());
    person.story.client().with(&other).get("/v1/account").send().refused(401, "token_invalid");
    person.signs_in(None).refused(401, "token_invalid");
    person.signs_in_from(&person.from, new, None).expect(201);
    assert_eq!(person.recorded("user.password")["by"], person.id.as_str());

    // With an app a code is needed as well, and of a change and a sign-in at once none leaves an old session behind.
    let person = Person::new();
    let (_, codes) = person.enrols();
    let more = json!({"new_password": new});
    person.asks("/v1/account/password", None, &more).refused(REQUIRED.0, REQUIRED.1);
    let answers = together(5, |number| match number {
        0 => person.asks("/v1/account/password", Some(&codes[0]), &more),
        number => person.signs_in(Some(&codes[number])),
    });
    answers[0].clone().expect(204);
    for begun in answers[1..].iter().filter(|answer| answer.status == 201) {
        let session = person.story.client().with(&begun.text("/token"));
        session.get("/v1/account").send().refused(401, "token_invalid");
    }
}

#[test]
fn of_a_sign_in_and_an_app_that_is_confirmed_at_once_no_session_is_without_a_code() {
    for _ in 0..3 {
        let person = Person::new();
        let made = person.asks("/v1/account/totp", None, &json!({})).expect(201);
        let mut phone = super::person::Phone::of(&made.text("/secret"));
        let confirmation = json!({"totp": phone.code()});
        let answers = together(4, |number| match number {
            0 => person.client().post("/v1/account/totp/confirm").json(&confirmation).send(),
            _ => person.signs_in(None),
        });
        answers[0].clone().expect(200);
        for begun in answers[1..].iter().filter(|answer| answer.status == 201) {
            let session = person.story.client().with(&begun.text("/token"));
            session.get("/v1/account").send().refused(401, "token_invalid");
        }
    }
}

#[test]
fn the_secret_and_the_codes_survive_a_restart() {
    let mut story = begun(Story::new(PLACET));
    let (name, mut phone, codes, from) = {
        let person = Person::with(&story, &[]);
        let (phone, codes) = person.enrols();
        (person.name.clone(), phone, codes, person.from.clone())
    };
    story.server.restart();
    for code in [phone.code(), codes[0].clone()] {
        let body = json!({"name": name, "password": password(&name), "totp": code});
        let sign_in =
            || story.client().post("/v1/sessions").header("x-forwarded-for", &from).json(&body).send();
        sign_in().expect(201);
        sign_in().refused(REQUIRED.0, REQUIRED.1);
    }
}
