//! Answers that are not what was asked for: of another browser or provider, or before.

use super::{Sso, begun, entered, has_session, refused};
use crate::{
    authorize::browser::{Browser, html},
    clients::signer::Signer,
    stage::PLACET,
};
use placet_testkit::{Server, Story, together};
use serde_json::json;
use std::sync::LazyLock;

const TOO_LATE: &str = "begun in another browser";

#[test]
fn an_answer_is_good_once_and_in_the_browser_that_left() {
    let sso = Sso::new();
    let subject = Sso::subject(&sso.person());
    let mut browser = sso.browser();
    let away = sso.left(&mut browser);
    sso.gives(&sso.id_token(&subject, &away, |_, _| {}));
    let right = [("code", "c"), ("state", away.state.as_str())];
    // Another state, none, or twice.
    for wrong in [
        &[("code", "c")][..],
        &[("code", "c"), ("state", "")],
        &[("code", "c"), ("state", "AAAA")],
        &[("code", "c"), ("state", &format!("{}A", away.state))],
        &[("code", "c"), ("state", &away.state), ("state", &away.state)],
        &[("code", "c"), ("code", "d"), ("state", &away.state)],
    ] {
        refused(&sso.back(&mut browser, wrong), 403, TOO_LATE);
    }
    // Another browser, also with a cookie of its own: nobody is signed in as somebody else by a link.
    refused(&sso.back(&mut sso.browser(), &right), 403, TOO_LATE);
    let mut other = sso.browser();
    sso.left(&mut other);
    refused(&sso.back(&mut other, &right), 403, TOO_LATE);
    // Two cookies of the name are none.
    let mut two = sso.browser();
    let form = browser.cookies["placet-form"].clone();
    two.cookies.insert("placet-form".into(), format!("made-up; placet-form={form}"));
    refused(&sso.back(&mut two, &right), 403, TOO_LATE);
    assert!(sso.tokens.seen().is_empty(), "nothing was asked of the provider");
    entered(&sso.back(&mut browser, &right));
    refused(&sso.back(&mut browser, &right), 403, TOO_LATE);
    assert_eq!(sso.tokens.seen().len(), 1);
}

#[test]
fn of_many_that_come_back_at_once_with_the_same_one_does() {
    let sso = Sso::new();
    let subject = Sso::subject(&sso.person());
    let mut browser = sso.browser();
    let away = sso.left(&mut browser);
    sso.gives(&sso.id_token(&subject, &away, |_, _| {}));
    let cookies = &browser.cookies;
    let answers = together(8, |_| {
        let mut browser = sso.browser();
        browser.cookies.clone_from(cookies);
        sso.back(&mut browser, &[("code", "c"), ("state", &away.state)]).status
    });
    assert_eq!(answers.iter().filter(|status| **status == 303).count(), 1, "{answers:?}");
    assert_eq!(sso.tokens.seen().len(), 1);
}

#[test]
fn an_answer_of_one_provider_is_none_of_another() {
    let (one, other) = (Sso::new(), Sso::new());
    let subject = Sso::subject(&one.person());
    let mut browser = one.browser();
    let (at_one, at_other) = (one.left(&mut browser), other.left(&mut browser));
    // The mix-up: what one was asked comes back where the other answers, so that the code would go to the other.
    refused(&other.back(&mut browser, &[("code", "c"), ("state", &at_one.state)]), 403, TOO_LATE);
    refused(&one.back(&mut browser, &[("code", "c"), ("state", &at_other.state)]), 403, TOO_LATE);
    assert!(one.tokens.seen().is_empty() && other.tokens.seen().is_empty());
    // And what says that it is of the other goes nowhere, with a state that is right.
    let answer = [("code", "c"), ("state", at_one.state.as_str()), ("iss", &other.issuer())];
    refused(&one.back(&mut browser, &answer), 403, "no answer of SSO");
    assert!(one.tokens.seen().is_empty());
    // Nor does an ID token of the other count.
    let away = one.left(&mut browser);
    one.gives(&other.id_token(&subject, &away, |_, _| {}));
    refused(&one.back(&mut browser, &[("code", "c"), ("state", &away.state)]), 403, "can’t be believed");
}

#[test]
fn a_provider_that_says_whose_its_answers_are_always_does() {
    let says = json!({"authorization_response_iss_parameter_supported": true});
    let (mut sso, made) = Sso::declared(Signer::p256(), &json!({}), |published| {
        published.as_object_mut().unwrap().extend(says.as_object().unwrap().clone());
    });
    sso.id = made.expect(201).text("/id");
    let subject = Sso::subject(&sso.person());
    let mut browser = sso.browser();
    for iss in [None, Some(format!("{}/", sso.issuer())), Some(String::new())] {
        let away = sso.left(&mut browser);
        sso.gives(&sso.id_token(&subject, &away, |_, _| {}));
        let mut answer = vec![("code", "c"), ("state", away.state.as_str())];
        answer.extend(iss.as_deref().map(|iss| ("iss", iss)));
        refused(&sso.back(&mut browser, &answer), 403, "no answer of SSO");
    }
    assert!(sso.tokens.seen().is_empty());
    let away = sso.left(&mut browser);
    sso.gives(&sso.id_token(&subject, &away, |_, _| {}));
    entered(&sso.back(&mut browser, &[("code", "c"), ("state", &away.state), ("iss", &sso.issuer())]));
}

#[test]
fn what_a_provider_says_went_wrong_is_said_in_plain_words_and_is_no_markup() {
    let sso = Sso::new();
    let mut browser = sso.browser();
    let away = sso.left(&mut browser);
    let nasty = "<script>alert(1)</script>\u{202e}\" onload=x";
    let answer = [("error", "access_denied"), ("error_description", nasty), ("state", away.state.as_str())];
    let page = sso.back(&mut browser, &answer);
    refused(&page, 403, "did not sign you in");
    assert!(html(&page).contains("access_denied: &lt;script&gt;") && !html(&page).contains("<script>alert"));
    assert!(!html(&page).contains('\u{202e}') && html(&page).contains("action=\"/sign-in\""));
    let away = sso.left(&mut browser);
    let long = "x".repeat(5000);
    let page = sso.back(&mut browser, &[("error", &long), ("state", &away.state)]);
    assert!(html(&page).matches('x').count() < 1000);
    // Without a state that is right nothing of it is shown.
    let page = sso.back(&mut browser, &[("error", "access_denied"), ("state", "made-up")]);
    assert!(!html(&page).contains("access_denied"));
    // No code and no error.
    let away = sso.left(&mut browser);
    refused(&sso.back(&mut browser, &[("state", &away.state)]), 403, "no answer of SSO");
}

#[test]
fn who_makes_answers_up_is_slowed_down_and_who_left_is_not() {
    let sso = Sso::new();
    let mut browser = sso.browser();
    let away = sso.left(&mut browser);
    let path = format!("/sign-in/callback/{}?code=c&state=", sso.handle);
    let made_up = |_| {
        let request = browser.getting(&format!("{path}made-up"));
        request.header("x-forwarded-for", &sso.from).send().status
    };
    let answers: Vec<u16> = (0..1500).map(made_up).collect();
    assert!(answers.iter().all(|status| [403, 429].contains(status)));
    assert_eq!((answers.first(), answers.last()), (Some(&403), Some(&429)));
    let person = sso.person();
    sso.gives(&sso.id_token(&Sso::subject(&person), &away, |_, _| {}));
    let right = browser.getting(&format!("{path}{}", away.state));
    assert!(has_session(&right.header("x-forwarded-for", &sso.from).send()));
}

#[test]
fn a_form_of_another_page_or_browser_sends_nobody_anywhere() {
    let sso = Sso::new();
    let (mut one, mut other) = (sso.browser(), sso.browser());
    let page = one.get("/sign-in").expect(200);
    // The form in another browser.
    refused(&sso.leaving(&mut other, &page), 403, "not given to this browser");
    let action = format!("/sign-in/with/{}", sso.handle);
    refused(&one.post(&action, &[("token", "made-up")]), 403, "not given to this browser");
    let form = crate::authorize::browser::hidden(&page, &action);
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let foreign = one.posting(&action, &form).header("sec-fetch-site", "cross-site").send();
    assert_eq!(foreign.status, 403);
    assert_eq!(one.get(&action).status, 405);
    assert_eq!(one.post("/sign-in/with/nobody", &form).status, 404);
    assert_eq!(one.get("/sign-in/callback/nobody?code=c&state=s").status, 404);
}

#[test]
fn an_answer_is_good_once_on_all_nodes() {
    static NODE: LazyLock<Story> = LazyLock::new(|| begun(Story::on(Server::first_node(PLACET))));
    let mut other = NODE.server.another_node();
    other.flags(&["--loopback-documents"]);
    other.restart();
    let (mut sso, made) = Sso::declared_on(&NODE, Signer::ed25519(), &json!({}), |_| {});
    sso.id = made.expect(201).text("/id");
    let subject = Sso::subject(&sso.person());
    for _ in 0..3 {
        let mut browser = sso.browser();
        let away = sso.left(&mut browser);
        sso.gives(&sso.id_token(&subject, &away, |_, _| {}));
        let asked = sso.tokens.seen().len();
        let cookies = &browser.cookies;
        let answers = together(6, |number| {
            let pages = if number % 2 == 0 { NODE.server.pages() } else { other.pages() };
            let mut browser = Browser::at(&pages);
            browser.cookies.clone_from(cookies);
            sso.back(&mut browser, &[("code", "c"), ("state", &away.state)]).status
        });
        assert_eq!(answers.iter().filter(|status| **status == 303).count(), 1, "{answers:?}");
        assert_eq!(sso.tokens.seen().len(), asked + 1);
    }
}
