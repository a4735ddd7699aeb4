//! The pages: a code after the password, and a person's account, without a script.

use super::person::{Person, Phone};
use crate::authorize::browser::{html, sent_to};
use placet_testkit::{Answer, password};

/// The text between two marks of a page.
fn between(page: &Answer, before: &str, after: &str) -> String {
    let html = html(page);
    let rest = html.split_once(before).unwrap_or_else(|| panic!("no `{before}`: {html}")).1;
    rest.split_once(after).unwrap().0.to_owned()
}

/// The secret and the recovery codes of an app that is set up on the pages.
fn set_up(person: &Person<'_>) -> (Phone, Vec<String>) {
    let mut browser = person.signed_in_browser();
    let right = password(&person.name);
    let page = browser.get("/account").expect(200);
    let wrong = browser.submit(&page, "/account/totp", &[("password", "a wrong password, long enough")]);
    assert_eq!(wrong.status, 403);
    assert!(html(&wrong).contains("the password is wrong") && !html(&wrong).contains("otpauth"));
    let asked = browser.submit(&page, "/account/totp", &[("password", &right)]).expect(200);
    assert!(html(&asked).contains("<svg class=\"qr\"") && !html(&asked).contains("style="));
    assert_eq!(asked.header("cache-control"), Some("no-store"));
    let mut phone = Phone::of(&between(&asked, "Secret: <code>", "</code>"));
    let wrong = browser.submit(&asked, "/account/totp/confirm", &[("code", "x")]);
    assert_eq!(wrong.status, 403);
    assert!(!html(&wrong).contains("otpauth") && !html(&wrong).contains("Secret"), "shown once");
    let told = browser.submit(&wrong, "/account/totp/confirm", &[("code", &phone.code())]).expect(200);
    let codes = between(&told, "<ul class=\"codes\">", "</ul>");
    let codes = codes.split("<code>").skip(1).map(|rest| rest.split_once('<').unwrap().0.to_owned());
    (phone, codes.collect())
}

#[test]
fn after_the_password_comes_the_code() {
    let person = Person::new();
    let (mut phone, codes) = set_up(&person);
    assert_eq!(codes.len(), 10);
    let (name, right) = (person.name.as_str(), password(&person.name));
    let mut browser = person.browser();
    let page = browser.get("/sign-in").expect(200);
    let asked = browser.submit(&page, "/sign-in", &[("name", name), ("password", &right)]).expect(200);
    assert!(html(&asked).contains("One more step") && !browser.cookies.contains_key("placet"));
    assert!(!html(&asked).contains(&right));
    for wrong in ["", "x", "000000000"] {
        let answer = browser.submit(&asked, "/sign-in/code", &[("code", wrong)]);
        assert_eq!(answer.status, 403);
        assert!(html(&answer).contains("The code is wrong"), "{}", html(&answer));
        assert!(!browser.cookies.contains_key("placet"));
    }
    // The page is of no use in another browser, for another name, or made up.
    let code = phone.code();
    let mut other = person.browser();
    other.get("/sign-in").expect(200);
    let elsewhere = other.submit(&asked, "/sign-in/code", &[("code", &code)]);
    assert_eq!(elsewhere.status, 403);
    assert!(html(&elsewhere).contains("begun in another browser"), "{}", html(&elsewhere));
    let victim = Person::new();
    let hidden = crate::authorize::browser::hidden(&asked, "/sign-in/code");
    let member = |name: &str| hidden.iter().find(|(known, _)| known == name).unwrap().1.clone();
    let (token, since) = (member("token"), member("since"));
    let later = (since.parse::<i64>().unwrap() + 1).to_string();
    for form in [
        [
            ("token", token.as_str()),
            ("since", since.as_str()),
            ("name", victim.name.as_str()),
            ("code", code.as_str()),
        ],
        [("token", "AAAA"), ("since", &since), ("name", name), ("code", &code)],
        [("token", &token), ("since", &later), ("name", name), ("code", &code)],
        [("token", ""), ("since", ""), ("name", name), ("code", &code)],
    ] {
        let answer = browser.post("/sign-in/code", &form);
        assert_eq!(answer.status, 403, "{}", html(&answer));
        assert!(!browser.cookies.contains_key("placet"));
    }
    // None of it used the code up.
    let entered = browser.submit(&asked, "/sign-in/code", &[("code", &code)]);
    assert_eq!(sent_to(&entered), "/sign-in");
    assert!(html(&browser.get("/account").expect(200)).contains("the password and a code (here)"));
    let again = browser.submit(&asked, "/sign-in/code", &[("code", &code)]);
    assert_eq!(again.status, 403);
    let recovered = person.browser().submit(&asked, "/sign-in/code", &[("code", &codes[0])]);
    assert_eq!(recovered.status, 403, "in another browser");
    let mut third = person.browser();
    let page = third.get("/sign-in").expect(200);
    let asked = third.submit(&page, "/sign-in", &[("name", name), ("password", &right)]).expect(200);
    assert_eq!(sent_to(&third.submit(&asked, "/sign-in/code", &[("code", &codes[0])])), "/sign-in");
}

#[test]
fn a_page_that_asks_for_a_code_is_worth_nothing_once_the_password_was_changed() {
    let person = Person::new();
    let (_, codes) = person.enrols();
    let mut browser = person.browser();
    let page = browser.get("/sign-in").expect(200);
    let right = password(&person.name);
    let asked =
        browser.submit(&page, "/sign-in", &[("name", &person.name), ("password", &right)]).expect(200);
    let mut owner = person.signed_in_browser();
    let page = owner.get("/account").expect(200);
    let new = "another one, kept in no file";
    let form = [("password", right.as_str()), ("code", &codes[0]), ("new", new), ("same", "a different one")];
    assert_eq!(owner.submit(&page, "/account/password", &form).status, 403);
    let form = [("password", right.as_str()), ("code", &codes[0]), ("new", new), ("same", new)];
    assert_eq!(sent_to(&owner.submit(&page, "/account/password", &form)), "/account");
    let late = browser.submit(&asked, "/sign-in/code", &[("code", &codes[1])]);
    assert_eq!(late.status, 403);
    assert!(!browser.cookies.contains_key("placet"));
    person.signs_in_from(&person.from, new, Some(&codes[1])).expect(201);
}

#[test]
fn a_person_sees_and_ends_their_own_sessions_and_nobody_elses() {
    let (person, other) = (Person::new(), Person::new());
    let second = person.signs_in(None).expect(201);
    let mut browser = person.signed_in_browser();
    let page = browser.get("/account").expect(200);
    let id = second.text("/id");
    assert!(html(&page).contains(&id) && html(&page).contains("the password (here)"));
    let token = between(&page, "name=\"token\" value=\"", "\"");
    let theirs = other.client().get("/v1/account").send().expect(200).text("/session");
    for session in [theirs.as_str(), "ses_00000000000000000000000000", "x", ""] {
        let answer = browser.post("/account/session", &[("token", &token), ("session", session)]);
        assert_eq!(answer.status, 403, "{session}");
    }
    assert!(other.is_signed_in());
    // A form of another session, of another purpose, or from elsewhere does nothing.
    let page = other.signed_in_browser().get("/account").expect(200);
    let foreign = between(&page, "name=\"token\" value=\"", "\"");
    assert_eq!(browser.post("/account/session", &[("token", &foreign), ("session", &id)]).status, 403);
    let out = browser.get("/sign-in").expect(200);
    let of_sign_out = between(&out, "name=\"token\" value=\"", "\"");
    assert_eq!(browser.post("/account/session", &[("token", &of_sign_out), ("session", &id)]).status, 403);
    let sent = browser.posting("/account/session", &[("token", &token), ("session", &id)]);
    assert_eq!(sent.header("sec-fetch-site", "cross-site").send().status, 403);
    let uses = || person.story.client().with(&second.text("/token")).get("/v1/account").send().status;
    assert_eq!(uses(), 200);
    let ended = browser.post("/account/session", &[("token", &token), ("session", &id)]);
    assert_eq!((sent_to(&ended).as_str(), uses()), ("/account", 401));
    // Nobody is let in without a session, and no page of it is kept.
    let nobody = html(&person.browser().get("/account").expect(200));
    assert!(nobody.contains("action=\"/sign-in\"") && !nobody.contains(&person.name), "{nobody}");
    assert_eq!(browser.get("/account").expect(200).header("cache-control"), Some("no-store"));
}

#[test]
fn who_has_to_sign_in_first_comes_back_to_the_account() {
    let person = Person::new();
    let (name, right) = (person.name.as_str(), password(&person.name));
    let mut browser = person.browser();
    let page = browser.get("/account").expect(200);
    assert_eq!(page.header("cache-control"), Some("no-store"));
    // Also where the first try was wrong.
    let wrong = browser.submit(&page, "/sign-in", &[("name", name), ("password", "a wrong password, long")]);
    assert_eq!(wrong.status, 403);
    let entered = browser.submit(&wrong, "/sign-in", &[("name", name), ("password", &right)]);
    assert_eq!(sent_to(&entered), "/account");
    assert!(html(&browser.get("/account").expect(200)).contains("the password (here)"));
    // And where a code is asked for.
    let (mut phone, _) = person.enrols();
    let mut browser = person.browser();
    let page = browser.get("/account").expect(200);
    let asked = browser.submit(&page, "/sign-in", &[("name", name), ("password", &right)]).expect(200);
    let code = phone.code();
    assert_eq!(sent_to(&browser.submit(&asked, "/sign-in/code", &[("code", &code)])), "/account");
    // A form of somebody whose session has ended does nothing, and leads to where it is filled in again.
    let mut stranger = person.browser();
    let form =
        [("password", right.as_str()), ("new", "another long password"), ("same", "another long password")];
    assert_eq!(sent_to(&stranger.post("/account/password", &form)), "/account");
    assert!(html(&stranger.get("/account").expect(200)).contains("action=\"/sign-in\""));
    // Nowhere else does a form lead, whatever it says.
    let other = Person::new();
    let (name, right) = (other.name.as_str(), password(&other.name));
    for next in
        ["//evil.example/account", "https://evil.example/account", "/account/../x", "/account@evil.example"]
    {
        let mut browser = other.browser();
        let page = browser.get("/account").expect(200);
        let hidden = crate::authorize::browser::hidden(&page, "/sign-in");
        assert!(hidden.contains(&("next".to_owned(), "/account".to_owned())), "{hidden:?}");
        let token = &hidden.iter().find(|(name, _)| name == "token").unwrap().1;
        let form = [("token", token.as_str()), ("next", next), ("name", name), ("password", &right)];
        let to = sent_to(&browser.post("/sign-in", &form));
        assert!(to.starts_with("/oauth/authorize?"), "{next}: {to}");
    }
}

#[test]
fn the_app_is_removed_and_recovery_codes_are_renewed_on_the_page() {
    let person = Person::new();
    let (mut phone, codes) = person.enrols();
    let (right, mut browser) = (password(&person.name), person.signed_in_browser());
    let page = browser.get("/account").expect(200);
    assert!(html(&page).contains("<strong>10</strong>"));
    let form = [("password", right.as_str()), ("code", codes[0].as_str())];
    let told = browser.submit(&page, "/account/recovery-codes", &form).expect(200);
    assert!(html(&told).contains("<ul class=\"codes\">") && !html(&told).contains(&codes[1]));
    let form = [("password", right.as_str()), ("code", codes[1].as_str())];
    assert_eq!(browser.submit(&page, "/account/totp/remove", &form).status, 403);
    let form = [("password", right.as_str()), ("code", "")];
    assert_eq!(browser.submit(&page, "/account/totp/remove", &form).status, 403);
    let code = phone.code();
    let form = [("password", right.as_str()), ("code", code.as_str())];
    assert_eq!(sent_to(&browser.submit(&page, "/account/totp/remove", &form)), "/account");
    person.signs_in(None).expect(201);
}
