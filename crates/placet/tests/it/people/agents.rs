//! No agent gets a person's session, whatever it has: every door of people's is tried with every credential of others.

use super::person::{Person, stage};
use placet_testkit::password;
use serde_json::json;

/// Every operation by which a person changes how they sign in.
const DOORS: &[&str] = &[
    "/v1/account/password",
    "/v1/account/totp",
    "/v1/account/totp/confirm",
    "/v1/account/totp/remove",
    "/v1/account/recovery-codes",
];

#[test]
fn no_token_of_an_agent_and_no_administrator_token_is_a_person() {
    let (story, person) = (stage(), Person::new());
    let (_, codes) = person.enrols();
    let (_, agent) = story.ready("  - {name: notes, allow: [notes.write]}\n");
    let admin = story.server.admin_token().to_owned();
    for token in [&agent, &admin] {
        let client = story.client().with(token);
        client.get("/v1/account").send().refused(403, "not_permitted");
        for door in DOORS.iter().chain(&[&*format!("/v1/users/{}/reset-factors", person.id)]) {
            // Also with everything that the person knows.
            let mut body = json!({"password": password(&person.name), "totp": codes[0]});
            match *door {
                "/v1/account/password" => body["new_password"] = "another one, kept in no file".into(),
                "/v1/account/totp/confirm" => body = json!({"totp": codes[0]}),
                _ => {}
            }
            client.post(door).json(&body).send().refused(403, "not_permitted");
        }
        // In a browser's place it is nobody.
        let mut browser = person.browser();
        browser.cookies.insert("placet".into(), token.clone());
        assert!(!browser.has_an_account());
        let answer = browser.post("/account/totp", &[("password", &password(&person.name))]);
        assert_eq!((answer.status, answer.header("location")), (303, Some("/account")));
        // Nor does it help at the door itself.
        let body = json!({"name": person.name, "password": password(&person.name)});
        client.post("/v1/sessions").json(&body).send().refused(401, "second_factor_required");
        let body = json!({"name": person.name, "password": token, "totp": codes[0]});
        client.post("/v1/sessions").json(&body).send().refused(401, "token_invalid");
    }
    // Nothing was used up by any of it.
    person.signs_in(Some(&codes[0])).expect(201);
}

#[test]
fn a_stolen_session_changes_nothing_about_how_its_person_signs_in() {
    let person = Person::new();
    for door in DOORS.iter().filter(|door| !door.ends_with("/confirm")) {
        let mut body = json!({"password": "a wrong password, long enough"});
        if door.ends_with("/password") {
            body["new_password"] = "another one, kept in no file".into();
        }
        let sent = person.client().post(door).header("x-forwarded-for", &person.from).json(&body).send();
        sent.refused(403, "not_permitted");
    }
    person.signs_in(None).expect(201);
}
