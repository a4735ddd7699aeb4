//! Clients that registered themselves: the page says that nobody knows them, and a person's consent makes agents of them.

use super::{DEVICE, answer, begin, enter, poll, waits};
use crate::{
    authorize::browser::{App, Browser, html},
    stage::PLACET,
};
use placet_testkit::Story;
use serde_json::{Value, json};

#[test]
fn a_device_that_nobody_knows_is_called_that_and_waits_like_any_other() {
    let story = Story::new(PLACET);
    story.user("pat", &[]);
    let template = json!({"allowed_tools": ["orders.*"], "resource_access": ["order://**"], "default_scopes": ["orders.read"]});
    story.admin().put("/v1/registration-template").json(&template).send().expect(200);
    let registered = |method: &str| {
        let metadata = json!({"client_name": "TV", "grant_types": [DEVICE, "refresh_token"],
            "token_endpoint_auth_method": method});
        let made = story.client().post("/oauth/register").json(&metadata).send().expect(201);
        let secret = made.body.get("client_secret").and_then(Value::as_str).map(str::to_owned);
        App::of(&story, &made.text("/client_id"), secret)
    };
    let mut browser = Browser::at(&story.server.pages());
    browser.sign_in("pat");

    for method in ["none", "client_secret_basic"] {
        let app = registered(method);
        begin(&app, &[("scope", "refunds.create")]).refused(400, "invalid_scope");
        let begun = begin(&app, &[]).expect(200);
        let secret = begun.text("/device_code");
        poll(&app, &secret).refused(400, "authorization_pending");
        poll(&app, &secret).refused(400, "slow_down");
        poll(&app, "plt_device_x").refused(400, "invalid_grant");
        // At the token endpoint it is nobody for anything else, and so is whoever says another name.
        app.token(&[("grant_type", "client_credentials")]).refused(401, "invalid_client");
        poll(&App::of(&story, "agt_00000000000000000000000000", app.secret.clone()), &secret)
            .refused(401, "invalid_client");
        poll(&registered(method), &secret).refused(400, "invalid_grant");
        let path = enter(&mut browser, &begun.text("/user_code"));
        assert!(html(&browser.get("/requests").expect(200)).contains("A program that nobody here knows"));
        let text = html(&browser.get(&path).expect(200));
        assert!(text.contains("registered itself") && text.contains("It calls itself “TV”"), "{text}");
        waits(&poll(&app, &secret));
        answer(&mut browser, &path, "approve").expect(200);
        let given = poll(&app, &secret).expect(200);
        assert_eq!(given.at("/scope"), "orders.read");
        app.refresh(&given.text("/refresh_token")).expect(200);
        // It acts for people only, and asks them only as they enter codes.
        story.admin().get(&format!("/v1/agents/{}", app.id)).send().expect(200);
    }

    let app = registered("none");
    let begun = begin(&app, &[]).expect(200);
    let path = enter(&mut browser, &begun.text("/user_code"));
    answer(&mut browser, &path, "deny").expect(200);
    poll(&app, &begun.text("/device_code")).refused(400, "access_denied");
    story.admin().get(&format!("/v1/agents/{}", app.id)).send().refused(404, "not_found");
}
