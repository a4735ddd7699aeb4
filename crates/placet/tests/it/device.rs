//! Authority that a person gives elsewhere (RFC 8628, CIBA): a device or an agent without a screen, a browser by hand, real
//! HTTP. What attackers try is in `attacks`, what is good for a while in `times`, clients that nobody knows in `strangers`.

mod attacks;
mod backchannel;
mod bound;
mod nodes;
mod strangers;
mod times;

use crate::{
    authorize::browser::{App, Browser, html, sent_to},
    parties::{read, stage},
};
use placet_testkit::{Answer, fresh};
use serde_json::{Value, json};

pub(crate) const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

pub(crate) use backchannel::{CIBA, given_by_name};

/// A client that needs no redirect.
fn headless() -> App {
    App::registered(&json!({}))
}

fn public() -> App {
    App::registered(&json!({"token_endpoint_auth_method": "none"}))
}

/// A device asks.
fn begin(app: &App, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![("scope", "orders.read")];
    form.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    form.extend(more);
    app.posting("/oauth/device_authorization", &form).send()
}

/// A device polls.
fn poll(app: &App, device_code: &str) -> Answer {
    app.token(&[("grant_type", DEVICE), ("device_code", device_code)])
}

/// Nobody has answered, whatever the pace of who asks.
#[track_caller]
fn waits(answer: &Answer) {
    let error = answer.text("/error");
    assert!(["authorization_pending", "slow_down"].contains(&error.as_str()), "{}", answer.body);
}

/// Enters a code; answers the path of its request.
fn enter(browser: &mut Browser, code: &str) -> String {
    let page = browser.get("/device").expect(200);
    sent_to(&browser.submit(&page, "/device", &[("user_code", code)]))
}

/// Says yes or no on the page of a request.
fn answer(browser: &mut Browser, path: &str, verdict: &str) -> Answer {
    let page = browser.get(path).expect(200);
    browser.submit(&page, "/consent", &[("lasts", "1d"), ("verdict", verdict)])
}

/// A device's code is entered and allowed.
fn allowed(browser: &mut Browser, begun: &Answer) {
    let path = enter(browser, &begun.text("/user_code"));
    let said = answer(browser, &path, "approve").expect(200);
    assert!(html(&said).contains("You allowed it"), "{}", html(&said));
}

/// What a device is given that a person allows it.
pub(crate) fn given(app: &App, browser: &mut Browser) -> Answer {
    let begun = begin(app, &[]).expect(200);
    allowed(browser, &begun);
    poll(app, &begun.text("/device_code"))
}

#[test]
fn a_person_enters_the_code_says_yes_and_the_device_acts_for_them() {
    let stage = stage();
    for app in [headless(), public()] {
        stage.story.rules(&app.handle, "  - {name: reads, allow: [orders.read]}\n").expect(201);
        let begun =
            begin(&app, &[("task_id", "week-47"), ("task_description", "answer tickets")]).expect(200);
        assert_eq!(begun.header("cache-control"), Some("no-store"));
        let pages = stage.story.server.pages();
        let code = begun.text("/user_code");
        assert_eq!(begun.text("/verification_uri"), format!("{pages}/device"));
        assert_eq!(begun.text("/verification_uri_complete"), format!("{pages}/device?user_code={code}"));
        assert_eq!((begun.at("/expires_in"), begun.at("/interval")), (&json!(600), &json!(5)));
        assert_eq!(code.len(), 9);
        assert!(
            code.chars().all(|letter| letter == '-' || "BCDFGHJKLMNPQRSTVWXZ".contains(letter)),
            "{code}"
        );
        let secret = begun.text("/device_code");
        poll(&app, &secret).refused(400, "authorization_pending");
        poll(&app, &secret).refused(400, "slow_down");

        // Nobody is signed in: that comes first, and the code is asked for behind it.
        let mut browser = Browser::new();
        let page = browser.get("/device").expect(200);
        let password = placet_testkit::password("pat");
        let onward = browser.submit(&page, "/sign-in", &[("name", "pat"), ("password", &password)]);
        assert_eq!(sent_to(&onward), "/device");
        // However it is typed.
        let path = enter(&mut browser, &format!(" {} ", code.to_lowercase().replace('-', " ")));
        assert!(path.starts_with("/requests/req_"), "{path}");
        let listed = browser.get("/requests").expect(200);
        assert!(html(&listed).contains(&path) && html(&listed).contains(&app.handle), "{}", html(&listed));
        let page = browser.get(&path).expect(200);
        let text = html(&page);
        for said in [
            "Where it was asked",
            "Whoever began this is not at this page",
            "from the address “127.0.0.1”",
            "less than a minute ago",
            app.handle.as_str(),
            "on behalf of “pat”",
            "“answer tickets”",
            "“week-47”",
            "Read: “orders.read”.",
            "“shop-main” at “shop”",
            "1 hour",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!text.contains("Where you will be sent") && !text.contains(&secret), "{text}");
        waits(&poll(&app, &secret));
        let done = browser.submit(&page, "/consent", &[("lasts", "8h"), ("verdict", "approve")]).expect(200);
        assert!(html(&done).contains("You allowed it"), "{}", html(&done));

        // Whoever has waited for a person does not wait for a clock.
        let given = poll(&app, &secret).expect(200);
        let token = given.text("/access_token");
        let claims = read(&token).1;
        assert_eq!(
            (claims["sub"].as_str(), claims["client_id"].as_str()),
            (Some(&*stage.pat.id), Some(&*app.id))
        );
        assert_eq!((given.at("/task_id"), given.at("/scope")), (&json!("week-47"), &json!("orders.read")));
        let params = json!({"customer_id": fresh("c"), "order_id": "1"});
        stage.story.act(&token, "orders.read", &params).expect(200);
        app.refresh(&given.text("/refresh_token")).expect(200);
        // Once more there is nothing, and what was given stays.
        poll(&app, &secret).refused(400, "invalid_grant");
        assert!(stage.is_active(&token));
        let nothing = browser.get("/requests").expect(200);
        assert!(!html(&nothing).contains(&path));
        assert_eq!(browser.get(&path).status, 409);

        let grant = given.text("/grant_id");
        let record = stage.story.record();
        let of = |kind: &str| {
            let is = |entry: &&Value| {
                entry["type"] == kind
                    && entry["agent"] == app.id.as_str()
                    && entry["user"] == stage.pat.id.as_str()
            };
            record.iter().filter(is).count()
        };
        assert_eq!((of("grant.consented"), of("grant.issued")), (1, 1), "{grant}");
    }
}

#[test]
fn a_link_with_the_code_does_nothing_by_itself() {
    let stage = stage();
    let app = public();
    let begun = begin(&app, &[]).expect(200);
    let complete = begun.text("/verification_uri_complete");
    let path = complete.strip_prefix(&stage.story.server.pages()).unwrap();
    // Signed in on the way there, the code is still with it.
    let mut browser = Browser::new();
    let page = browser.get(path).expect(200);
    let password = placet_testkit::password("sam");
    let onward = sent_to(&browser.submit(&page, "/sign-in", &[("name", "sam"), ("password", &password)]));
    assert_eq!(onward, path);
    let page = browser.get(&onward).expect(200);
    let text = html(&page);
    assert!(text.contains(&format!("value=\"{}\"", begun.text("/user_code"))), "{text}");
    assert!(text.contains("A link has brought this code.") && !text.contains(&app.handle), "{text}");
    // Nobody has said that it is theirs: it waits for nobody.
    assert!(html(&browser.get("/requests").expect(200)).contains("Nothing waits for your answer."));
    let asked = sent_to(&browser.submit(&page, "/device", &[("user_code", &begun.text("/user_code"))]));
    answer(&mut browser, &asked, "approve").expect(200);
    poll(&app, &begun.text("/device_code")).expect(200);
}

#[test]
fn a_no_is_told_to_the_device_and_ends_the_code() {
    let app = headless();
    let begun = begin(&app, &[]).expect(200);
    let mut browser = Browser::of("pat");
    let path = enter(&mut browser, &begun.text("/user_code"));
    // The first button is no: it is what the enter key does.
    let said = answer(&mut browser, &path, "deny").expect(200);
    assert!(html(&said).contains("You did not allow it"));
    for _ in 0..2 {
        poll(&app, &begun.text("/device_code")).refused(400, "access_denied");
    }
    let page = browser.get("/device").expect(200);
    let again = browser.submit(&page, "/device", &[("user_code", &begun.text("/user_code"))]);
    assert_eq!(again.status, 404);
    assert_eq!(browser.get(&path).status, 409);
}

#[test]
fn what_can_not_be_granted_is_told_to_the_device_at_once() {
    let app = headless();
    for (name, value, error) in [
        ("scope", "admin.all", "invalid_scope"),
        ("scope", "", "invalid_scope"),
        ("task_id", "tsk_1", "invalid_request"),
        ("resource", "https://nobody.example", "invalid_target"),
        ("required_resources", "mail://**", "invalid_target"),
        ("authorization_details", r#"[{"type": "payment"}]"#, "invalid_authorization_details"),
        ("request", "eyJhbGciOiJub25lIn0", "invalid_request"),
        ("dpop_jkt", "short", "invalid_request"),
    ] {
        let refused = begin(&app, &[(name, value)]);
        assert_eq!((refused.status, refused.text("/error").as_str()), (400, error), "{name}={value}");
    }
    let detail =
        json!([{"type": "placet_action", "actions": ["orders.read"], "resources": ["order://customer:7/*"]}]);
    let begun = begin(&app, &[("authorization_details", &detail.to_string())]).expect(200);
    let mut browser = Browser::of("pat");
    let path = enter(&mut browser, &begun.text("/user_code"));
    let page = browser.get(&path).expect(200);
    assert!(html(&page).contains("But no more than “orders.read” on “order://customer:7/*”."));
    allowed(&mut browser, &begun);
    let given = poll(&app, &begun.text("/device_code")).expect(200);
    assert_eq!(given.at("/authorization_details"), &detail);
    // Registered for something else.
    let other = App::registered(&json!({"grant_types": ["client_credentials"]}));
    begin(&other, &[]).refused(400, "unauthorized_client");
    poll(&other, "plt_device_x").refused(400, "unauthorized_client");
    let wrong = App::of(stage().story, &app.id, Some("pcs_wrong".to_owned()));
    begin(&wrong, &[]).refused(401, "invalid_client");
}

#[test]
fn what_the_metadata_promises_is_there() {
    let stage = stage();
    let base = stage.story.server.base();
    let metadata = stage.client().get("/.well-known/oauth-authorization-server").send().expect(200);
    assert_eq!(metadata.text("/device_authorization_endpoint"), format!("{base}/oauth/device_authorization"));
    assert_eq!(
        metadata.text("/backchannel_authentication_endpoint"),
        format!("{base}/oauth/backchannel_authentication")
    );
    assert_eq!(metadata.at("/backchannel_token_delivery_modes_supported"), &json!(["poll"]));
    let grants = metadata.at("/grant_types_supported").as_array().unwrap();
    assert!(grants.contains(&json!(DEVICE)) && grants.contains(&json!(CIBA)));
}
