//! People link who they are at a provider themselves, with a fresh proof.

use super::{Sso, entered, refused, stage};
use crate::{
    authorize::browser::{Browser, html, parameter, sent_to},
    people::person::Person,
};
use placet_testkit::{Answer, password};

const LINK: &str = "/account/providers";
const UNLINK: &str = "/account/providers/remove";

/// Leaves from the account page.
fn leaves(sso: &Sso, browser: &mut Browser, password: &str) -> Answer {
    let page = browser.get("/account").expect(200);
    browser.submit(&page, LINK, &[("provider", &sso.handle), ("password", password)])
}

#[test]
fn a_person_links_and_unlinks_with_their_password_once_more() {
    let sso = Sso::new();
    let person = Person::with(stage(), &[]);
    let mut browser = person.signed_in_browser();
    let wrong = leaves(&sso, &mut browser, "a wrong password, long enough");
    assert!(wrong.status == 403 && html(&wrong).contains("the password is wrong"));
    let right = password(&person.name);
    let away = Sso::away(&leaves(&sso, &mut browser, &right).expect(200));
    // Whoever is signed in there may have sat here before.
    assert_eq!(parameter(&away.url, "prompt").as_deref(), Some("login"));
    sso.gives(&sso.id_token("00u-own", &away, |_, _| {}));
    let answer = sso.back(&mut browser, &[("code", "c"), ("state", &away.state)]);
    assert_eq!(sent_to(&answer), "/account");
    assert!(html(&browser.get("/account").expect(200)).contains("“00u-own”"));
    assert_eq!(person.recorded("provider.linked")["by"], *person.id);
    let (mut other, answer) = sso.signs_in("00u-own");
    entered(&answer);
    // Taken away, with the password as well.
    let page = browser.get("/account").expect(200);
    let link = format!("{} 00u-own", sso.id);
    let answer = browser.submit(&page, UNLINK, &[("link", &link), ("password", "a wrong password, long")]);
    assert_eq!(answer.status, 403);
    let answer = browser.submit(&page, UNLINK, &[("link", &link), ("password", &right)]);
    assert_eq!(sent_to(&answer), "/account");
    assert!(!other.has_an_account());
    refused(&sso.signs_in("00u-own").1, 403, "not linked");
}

#[test]
fn what_is_somebodys_is_nobody_elses_and_a_link_is_made_in_the_session_that_asked() {
    let sso = Sso::new();
    let (owner, person) = (sso.person(), Person::with(stage(), &[]));
    let right = password(&person.name);
    let mut browser = person.signed_in_browser();
    // Somebody else's.
    let away = Sso::away(&leaves(&sso, &mut browser, &right).expect(200));
    sso.gives(&sso.id_token(&Sso::subject(&owner), &away, |_, _| {}));
    let answer = sso.back(&mut browser, &[("code", "c"), ("state", &away.state)]);
    assert!(answer.status == 403 && html(&answer).contains("signs in here already"), "{}", html(&answer));
    // The answer brings no session, and links nothing to whoever is signed in by then.
    let away = Sso::away(&leaves(&sso, &mut browser, &right).expect(200));
    sso.gives(&sso.id_token("00u-new", &away, |_, _| {}));
    let other = Person::with(stage(), &[]);
    browser.cookies.insert("placet".into(), other.token.clone());
    let answer = sso.back(&mut browser, &[("code", "c"), ("state", &away.state)]);
    refused(&answer, 403, "Nothing was linked");
    refused(&sso.signs_in("00u-new").1, 403, "not linked");
    // Nor does one that was begun to sign in link anything.
    browser.cookies.insert("placet".into(), person.token.clone());
    let mut stranger = sso.browser();
    let away = sso.left(&mut stranger);
    sso.gives(&sso.id_token("00u-new", &away, |_, _| {}));
    browser.cookies.insert("placet-form".into(), stranger.cookies["placet-form"].clone());
    refused(&sso.back(&mut browser, &[("code", "c"), ("state", &away.state)]), 403, "not linked");
    refused(&sso.signs_in("00u-new").1, 403, "not linked");
    // A refusal of the provider is told on the account page.
    let away = Sso::away(&leaves(&sso, &mut browser, &right).expect(200));
    let answer = sso.back(&mut browser, &[("error", "access_denied"), ("state", &away.state)]);
    assert!(
        answer.status == 403
            && html(&answer).contains("access_denied")
            && html(&answer).contains("Your account")
    );
}
