//! What is good for a while, and then no more; under a clock that the test sets.

use super::{answer, backchannel, begin, enter, poll};
use crate::{
    authorize::browser::{App, Browser, html},
    faults::clock::Clock,
};
use serde_json::json;

#[test]
fn what_is_good_for_a_while_is_no_good_later() {
    let clock = Clock::at_noon();
    clock.set(-60);
    let story = clock.story();
    let (_, pat) = story.user("pat", &[]);
    let pat = story.client().with(&pat);
    let app = App::on(&story, &json!({}));
    let pages = story.server.pages();
    clock.set(0);
    let mut browser = Browser::at(&pages);
    browser.sign_in("pat");

    // The pace: five seconds between two polls, ten after one that came too soon.
    let begun = begin(&app, &[]).expect(200);
    let secret = begun.text("/device_code");
    for (at, error) in [
        (0, "authorization_pending"),
        (5, "authorization_pending"),
        (6, "slow_down"),
        (11, "slow_down"),
        (26, "authorization_pending"),
        (41, "authorization_pending"),
    ] {
        clock.set(at);
        poll(&app, &secret).refused(400, error);
    }

    // A request: ten minutes. Its page can't be answered later, and its code is of nobody.
    let (late, later) = (begin(&app, &[]).expect(200), begin(&app, &[]).expect(200));
    let path = enter(&mut browser, &late.text("/user_code"));
    let page = browser.get(&path).expect(200);
    let just = enter(&mut browser, &later.text("/user_code"));
    clock.set(599);
    poll(&app, &secret).refused(400, "authorization_pending");
    clock.set(640);
    answer(&mut browser, &just, "approve").expect(200);
    clock.set(641);
    let said = browser.submit(&page, "/consent", &[("lasts", "1d"), ("verdict", "approve")]);
    assert_eq!(said.status, 409);
    assert!(html(&said).contains("has expired"), "{}", html(&said));
    assert_eq!(browser.get(&path).status, 409);
    poll(&app, &late.text("/device_code")).refused(400, "expired_token");
    poll(&app, &secret).refused(400, "expired_token");
    let entry = browser.get("/device").expect(200);
    assert_eq!(browser.submit(&entry, "/device", &[("user_code", &late.text("/user_code"))]).status, 404);
    // Who was told yes just before the end has two minutes to come for it.
    clock.set(759);
    poll(&app, &later.text("/device_code")).expect(200);
    poll(&app, &later.text("/device_code")).refused(400, "invalid_grant");

    // What nobody comes for is nothing, and leaves nothing.
    clock.set(1000);
    let begun = backchannel::ask(&app, "pat", &[("requested_expiry", "60")]).expect(200);
    let listed = pat.get("/v1/requests").send().expect(200);
    let path = format!("/requests/{}", listed.text("/requests/0/id"));
    clock.set(1059);
    answer(&mut browser, &path, "approve").expect(200);
    clock.set(1179);
    backchannel::poll(&app, &begun.text("/auth_req_id")).refused(400, "expired_token");
    let begun = backchannel::ask(&app, "pat", &[("requested_expiry", "60")]).expect(200);
    clock.set(1239);
    assert_eq!(pat.get("/v1/requests").send().expect(200).at("/requests"), &json!([]));
    backchannel::poll(&app, &begun.text("/auth_req_id")).refused(400, "expired_token");
}
