//! Two nodes on one database: asked at one, answered at the other, polled at both. On a real PostgreSQL whatever the engine
//! of the other tests.

use super::{allowed, backchannel, begin, poll, waits};
use crate::{
    authorize::browser::{App, Browser},
    stage::PLACET,
};
use placet_testkit::{Server, Story, together};
use serde_json::json;

#[test]
fn a_request_is_one_wherever_it_is_asked_answered_and_polled() {
    let story = Story::on(Server::first_node(PLACET));
    let other = story.server.another_node();
    story.user("pat", &[]);
    let app = App::on(&story, &json!({}));
    let elsewhere = app.at(&other.client());
    let mut browser = Browser::at(&other.pages());
    browser.sign_in("pat");
    for _ in 0..3 {
        let begun = begin(&app, &[]).expect(200);
        let secret = begun.text("/device_code");
        waits(&poll(&elsewhere, &secret));
        poll(&app, &secret).refused(400, "slow_down");
        allowed(&mut browser, &begun);
        let both = |number: usize| if number.is_multiple_of(2) { &app } else { &elsewhere };
        let answers = together(6, |number| poll(both(number), &secret));
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        assert!(answers.iter().all(|answer| [200, 400].contains(&answer.status)));
    }
    // Ten in an hour of one client to one person, however many nodes it asks at.
    let both = |number: usize| if number.is_multiple_of(2) { &app } else { &elsewhere };
    let asked = together(14, |number| backchannel::ask(both(number), "pat", &[]).status);
    assert_eq!(asked.iter().filter(|status| **status == 200).count(), 10, "{asked:?}");
}
