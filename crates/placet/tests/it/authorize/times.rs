//! What is good for a while, and then no more: codes, pushed requests, pages; under a clock that the test sets.

use super::browser::{App, BACK, Browser, encoded, html, parameter, sent_to};
use crate::faults::clock::Clock;
use serde_json::json;

#[test]
fn what_is_good_for_a_while_is_no_good_later() {
    let clock = Clock::at_noon();
    // An agent has no authority before the time at which it was registered.
    clock.set(-60);
    let story = clock.story();
    story.user("pat", &[]);
    let app = App::on(&story, &json!({"redirect_uris": [BACK]}));
    let pages = story.server.pages();
    clock.set(0);
    let mut browser = Browser::at(&pages);
    browser.sign_in("pat");

    // A code: a minute.
    let (in_time, late) = (browser.code(&app.asking()), browser.code(&app.asking()));
    clock.set(59);
    let given = app.exchange(&in_time).expect(200);
    clock.set(60);
    app.exchange(&late).refused(400, "invalid_grant");
    // It is not good again because the clock was set back, but for what has not been used; and a used one stays used.
    clock.set(30);
    app.exchange(&in_time).refused(400, "invalid_grant");
    app.refresh(&given.text("/refresh_token")).refused(400, "invalid_grant");

    // A pushed request: five minutes to be looked at, and ten more to be answered.
    clock.set(1000);
    let uri = app.push(&app.asking()).expect(201).text("/request_uri");
    let path = format!("/oauth/authorize?client_id={}&request_uri={}", app.id, encoded(&uri));
    clock.set(1299);
    let page = browser.get(&path).expect(200);
    clock.set(1300);
    assert_eq!(browser.get(&path).status, 400);
    clock.set(1898);
    let back = browser.allow(&page);
    app.exchange(&parameter(&back, "code").unwrap()).expect(200);

    // A page: ten minutes; then it is shown again.
    clock.set(3000);
    let page = browser.asked(&app.asking());
    clock.set(3600);
    let again = sent_to(&browser.submit(&page, "/consent", &[("lasts", "1d"), ("verdict", "approve")]));
    assert_eq!(again, app.asking().path());

    // A session: twelve hours.
    clock.set(13 * 3600);
    let page = browser.get(&again).expect(200);
    assert!(html(&page).contains("action=\"/sign-in\""));
}
