//! Two nodes on one database: a person answers at one, the client goes to the other. On a real PostgreSQL whatever the
//! engine of the other tests.

use super::browser::{App, BACK, Browser, hidden, parameter, sent_to};
use crate::stage::PLACET;
use placet_testkit::{Server, Story, together, until};
use serde_json::json;

#[test]
fn a_code_is_good_once_wherever_it_is_used() {
    let story = Story::on(Server::first_node(PLACET));
    let other = story.server.another_node();
    story.user("pat", &[]);
    let app = App::on(&story, &json!({"redirect_uris": [BACK]}));
    let elsewhere = app.at(&other.client());
    let mut browser = Browser::at(&story.server.pages());
    browser.sign_in("pat");

    let given = elsewhere.exchange(&browser.code(&app.asking())).expect(200);
    // Nodes know each other's issuers, and a grant of one, within moments.
    until("the first node to know it", || {
        let told =
            story.server.admin().post("/oauth/introspect").form(&[("token", &given.text("/access_token"))]);
        (told.send().at("/active") == true).then_some(())
    });
    app.refresh(&given.text("/refresh_token")).expect(200);

    // At both at once: one wins, and then nobody has it.
    for _ in 0..3 {
        let code = browser.code(&app.asking());
        let answers =
            together(
                6,
                |number| if number % 2 == 0 { app.exchange(&code) } else { elsewhere.exchange(&code) },
            );
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1);
        assert!(answers.iter().all(|answer| [200, 400].contains(&answer.status)));
        app.refresh(&won[0].text("/refresh_token")).refused(400, "invalid_grant");
    }

    // A refresh token likewise.
    for _ in 0..3 {
        let given = app.exchange(&browser.code(&app.asking())).expect(200);
        let first = given.text("/refresh_token");
        let answers =
            together(
                6,
                |number| if number % 2 == 0 { app.refresh(&first) } else { elsewhere.refresh(&first) },
            );
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!(won.len(), 1);
        assert!(lost.iter().all(|answer| answer.status == 400));
        elsewhere.refresh(&won[0].text("/refresh_token")).refused(400, "invalid_grant");
    }

    // A pushed request that is answered at both at once is answered once.
    let uri = elsewhere.push(&app.asking()).expect(201).text("/request_uri");
    let path = format!("/oauth/authorize?client_id={}&request_uri={}", app.id, super::browser::encoded(&uri));
    let mut there = Browser::at(&other.pages());
    there.sign_in("pat");
    let pages = [browser.get(&path).expect(200), there.get(&path).expect(200)];
    let forms: Vec<_> = pages.iter().map(|page| hidden(page, "/consent")).collect();
    let answers = together(4, |number| {
        let (browser, form) = if number % 2 == 0 { (&browser, &forms[0]) } else { (&there, &forms[1]) };
        let mut form: Vec<(&str, &str)> =
            form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        form.extend([("lasts", "1d"), ("verdict", "approve")]);
        browser.posting("/consent", &form).send()
    });
    let (yes, no): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 303);
    assert_eq!((yes.len(), no.len()), (1, 3));
    assert!(
        no.iter().all(|answer| [400, 409].contains(&answer.status) && answer.header("location").is_none())
    );
    app.exchange(&parameter(&sent_to(&yes[0]), "code").unwrap()).expect(200);
}
