//! What somebody would try who wants a token or a consent that is not theirs.

use super::{allowed, answer, begin, enter, headless, poll, public, waits};
use crate::{
    authorize::browser::{App, Browser, hidden, html},
    parties::stage,
};
use placet_testkit::{fresh, together};
use serde_json::json;

#[test]
fn what_a_device_polls_with_is_of_one_client() {
    let (app, other) = (headless(), public());
    let begun = begin(&app, &[]).expect(200);
    let secret = begun.text("/device_code");
    let unknown =
        poll(&other, "plt_device_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").refused(400, "invalid_grant");
    // In the same words as one that never was, before and after the answer.
    assert_eq!(poll(&other, &secret).refused(400, "invalid_grant").body, unknown.body);
    allowed(&mut Browser::of("pat"), &begun);
    assert_eq!(poll(&other, &secret).refused(400, "invalid_grant").body, unknown.body);
    assert_eq!(poll(&headless(), &secret).refused(400, "invalid_grant").body, unknown.body);
    // A code that people type, and one of another kind, are none.
    for wrong in [begun.text("/user_code"), secret.replace("plt_device_", "plt_authreq_"), "x".to_owned()] {
        poll(&app, &wrong).refused(400, "invalid_grant");
    }
    let form = [("grant_type", super::backchannel::CIBA), ("auth_req_id", secret.as_str())];
    app.token(&form).refused(400, "invalid_grant");
    poll(&app, &secret).expect(200);
}

#[test]
fn of_several_polls_at_once_exactly_one_is_given_tokens() {
    let stage = stage();
    let app = headless();
    let mut browser = Browser::of("pat");
    for _ in 0..3 {
        let begun = begin(&app, &[]).expect(200);
        allowed(&mut browser, &begun);
        let secret = begun.text("/device_code");
        let answers = together(6, |_| poll(&app, &secret));
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((won.len(), lost.len()), (1, 5));
        for answer in lost {
            answer.refused(400, "invalid_grant");
        }
        // Two polls of one client at once are nobody's theft.
        assert!(stage.is_active(&won[0].text("/access_token")));
    }
}

#[test]
fn of_a_yes_and_a_no_at_once_one_counts() {
    let app = headless();
    let mut browser = Browser::of("sam");
    for _ in 0..4 {
        let begun = begin(&app, &[]).expect(200);
        let path = enter(&mut browser, &begun.text("/user_code"));
        let page = browser.get(&path).expect(200);
        let form = hidden(&page, "/consent");
        let answers = together(4, |number| {
            let verdict = if number % 2 == 0 { "approve" } else { "deny" };
            let mut all: Vec<(&str, &str)> =
                form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            all.extend([("lasts", "1d"), ("verdict", verdict)]);
            browser.posting("/consent", &all).send()
        });
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((won.len(), lost.len()), (1, 3));
        assert!(lost.iter().all(|answer| answer.status == 409));
        let yes = html(&won[0]).contains("You allowed it");
        let polled = poll(&app, &begun.text("/device_code"));
        assert_eq!(polled.status == 200, yes, "{}", polled.body);
        if !yes {
            polled.refused(400, "access_denied");
        }
    }
}

#[test]
fn whoever_guesses_at_codes_is_told_to_wait() {
    let stage = stage();
    let app = headless();
    let name = fresh("guesser-");
    let (_, session) = stage.story.user(&name, &[]);
    let begun = begin(&app, &[]).expect(200);
    let mut browser = Browser::of(&name);
    let page = browser.get("/device").expect(200);
    let guess =
        |browser: &mut Browser, code: &str| browser.submit(&page, "/device", &[("user_code", code)]).status;
    let statuses: Vec<u16> = (0..12).map(|_| guess(&mut browser, "BBBB-BBBB")).collect();
    assert_eq!(statuses, [404, 404, 404, 404, 404, 404, 404, 404, 404, 404, 429, 429]);
    // Not even the right one then, wherever they enter it.
    assert_eq!(guess(&mut browser, &begun.text("/user_code")), 429);
    let entering = json!({"user_code": begun.text("/user_code")});
    let refused = stage.client().with(&session).post("/v1/requests").json(&entering).send();
    refused.refused(429, "too_many_requests");
    // Others are not held up by it, and right ones cost nothing.
    let mut pat = Browser::of("pat");
    for _ in 0..12 {
        enter(&mut pat, &begun.text("/user_code"));
    }
    allowed(&mut pat, &begun);
}

#[test]
fn a_request_is_seen_and_answered_by_who_is_asked_only() {
    let stage = stage();
    let app = headless();
    let begun = begin(&app, &[]).expect(200);
    let (mut pat, mut sam) = (Browser::of("pat"), Browser::of("sam"));
    let path = enter(&mut pat, &begun.text("/user_code"));
    let page = pat.get(&path).expect(200);
    assert_eq!(sam.get(&path).status, 404);
    assert!(!html(&sam.get("/requests").expect(200)).contains(&path));
    // The form is of pat's session, and of this request.
    let form = hidden(&page, "/consent");
    let mut all: Vec<(&str, &str)> =
        form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.extend([("lasts", "1d"), ("verdict", "approve")]);
    assert_eq!(sam.post("/consent", &all).status, 404);
    let again = begin(&app, &[]).expect(200);
    let other = enter(&mut pat, &again.text("/user_code"));
    let id = other.strip_prefix("/requests/").unwrap();
    let swapped: Vec<(&str, &str)> = all
        .iter()
        .map(|(name, value)| if *name == "request" { (*name, id) } else { (*name, *value) })
        .collect();
    assert_eq!(pat.post("/consent", &swapped).status, 403);
    // A form that no page gave, one of another session, and one that another site sends.
    assert_eq!(pat.post("/device", &[("user_code", &again.text("/user_code"))]).status, 403);
    let own = hidden(&pat.get("/device").expect(200), "/device");
    let code = again.text("/user_code");
    assert_eq!(sam.post("/device", &[("token", &own[0].1), ("user_code", &code)]).status, 403);
    let foreign = pat.posting("/device", &[("token", &own[0].1), ("user_code", &code)]);
    assert_eq!(foreign.header("origin", "https://evil.example").send().status, 403);
    // Neither agents nor the administrator token answer, nor does an administrator for others.
    let agent = stage.agent().token(&stage.client(), "orders.read");
    let api = format!("/v1{path}");
    let deny = json!({"verdict": "deny"});
    stage.client().with(&agent).post(&api).json(&deny).send().refused(403, "not_permitted");
    stage.admin_token().post(&api).json(&deny).send().refused(403, "not_permitted");
    stage.admin().post(&api).json(&deny).send().refused(404, "not_found");
    stage.admin_token().get("/v1/requests").send().refused(403, "not_permitted");
    waits(&poll(&app, &begun.text("/device_code")));
    // Whoever has the code in hand may be another person than the first who entered it; then the first has nothing.
    let theirs = enter(&mut sam, &begun.text("/user_code"));
    assert_eq!(theirs, path);
    assert_eq!(pat.post("/consent", &all).status, 404);
    answer(&mut sam, &path, "approve").expect(200);
    let given = poll(&app, &begun.text("/device_code")).expect(200);
    assert_eq!(crate::parties::read(&given.text("/access_token")).1["sub"], stage.sam.id.as_str());
}

#[test]
fn a_person_gives_what_their_roles_may_delegate_only() {
    let stage = stage();
    let tool = fresh("device.t");
    let body = json!({"description": "Only leads hand this on", "roles": ["support-lead"]});
    stage.admin().put(&format!("/v1/scopes/{tool}")).json(&body).send();
    let app = App::registered(&json!({"allowed_tools": [tool]}));
    let begun = begin(&app, &[("scope", &tool)]).expect(200);
    let mut pat = Browser::of("pat");
    let path = enter(&mut pat, &begun.text("/user_code"));
    let page = pat.get(&path);
    assert_eq!(page.status, 403);
    assert!(html(&page).contains("no role to delegate"), "{}", html(&page));
    let pat = stage.client().with(&stage.pat.token);
    let yes = json!({"verdict": "approve", "seen": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"});
    pat.post(&format!("/v1{path}")).json(&yes).send().refused(403, "not_permitted");
    allowed(&mut Browser::of("lee"), &begun);
    poll(&app, &begun.text("/device_code")).expect(200);
}

#[test]
fn who_can_not_act_any_more_waits_for_nothing() {
    let stage = stage();
    let app = headless();
    let mut browser = Browser::of("pat");
    let (asked, agreed) = (begin(&app, &[]).expect(200), begin(&app, &[]).expect(200));
    let path = enter(&mut browser, &asked.text("/user_code"));
    allowed(&mut browser, &agreed);
    stage.admin().post(&format!("/v1/agents/{}/suspend", app.id)).send().expect(200);
    poll(&app, &agreed.text("/device_code")).refused(401, "invalid_client");
    assert_eq!(browser.get(&path).status, 409);
    assert!(!html(&browser.get("/requests").expect(200)).contains(&path));
    // Back in service, it begins anew.
    stage.admin().post(&format!("/v1/agents/{}/activate", app.id)).json(&json!({})).send().expect(200);
    for begun in [&asked, &agreed] {
        poll(&app, &begun.text("/device_code")).refused(400, "access_denied");
    }
    let page = browser.get("/device").expect(200);
    assert_eq!(browser.submit(&page, "/device", &[("user_code", &asked.text("/user_code"))]).status, 404);

    // One whose registration is taken back between yes and token.
    let app = headless();
    let begun = begin(&app, &[]).expect(200);
    allowed(&mut browser, &begun);
    stage.admin().delete(&format!("/v1/agents/{}", app.id)).send();
    poll(&app, &begun.text("/device_code")).refused(401, "invalid_client");
}
