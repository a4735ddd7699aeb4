//! The authorization code grant with people's pages: a browser by hand, real HTTP, from the request to the refreshed
//! token. What attackers try is in `attacks`, the pages as such in `pages`.

mod attacks;
mod bound;
pub(crate) mod browser;
mod names;
mod nodes;
mod pages;
mod pushed;
mod times;
mod unknown;

use crate::parties::{introspect, read, stage};
use browser::{App, BACK, Browser, html, parameter, sent_to};
use placet_testkit::{fresh, until};
use serde_json::{Value, json};

#[test]
fn a_person_signs_in_says_yes_and_the_client_acts_for_them() {
    let stage = stage();
    let app = App::registered(&json!({"redirect_uris": [BACK], "client_name": "The Desk", "owner": "ada"}));
    stage
        .story
        .rules(&app.handle, "  - {name: reads, allow: [orders.read], limits: [{count: 5, per: day}]}\n")
        .expect(201);
    let asking = app
        .asking()
        .with("state", "a b&c=d/é+%20")
        .with("task_id", "week-47")
        .with("task_description", "answer tickets");
    let mut browser = Browser::new();
    // Nobody is signed in: the question comes behind that.
    let page = browser.get(&asking.path()).expect(200);
    assert!(html(&page).contains("action=\"/sign-in\"") && !html(&page).contains("week-47</"));
    let password = placet_testkit::password("pat");
    let onward = sent_to(&browser.submit(&page, "/sign-in", &[("name", "pat"), ("password", &password)]));
    assert!(onward.starts_with("/oauth/authorize?"), "{onward}");
    let page = browser.get(&onward).expect(200);
    let text = html(&page);
    for said in [
        app.handle.as_str(),
        "“ada”",
        "It calls itself “The Desk”",
        "on behalf of “pat”",
        "“answer tickets”",
        "“week-47”",
        "Read: “orders.read”.",
        "“order://**”",
        "“shop-main” at “shop”",
        "count: 5, per: day",
        "“app.example”",
        "1 hour",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let back = browser.allow(&page);
    assert!(back.starts_with(&format!("{BACK}?code=plt_code_")), "{back}");
    assert_eq!(parameter(&back, "state").as_deref(), Some("a b&c=d/é+%20"));
    assert_eq!(parameter(&back, "iss").as_deref(), Some(stage.story.server.base()));
    let code = parameter(&back, "code").unwrap();
    let given = app.exchange(&code).expect(200);
    assert_eq!(given.header("cache-control"), Some("no-store"));
    assert_eq!(given.at("/token_type"), "Bearer");
    assert_eq!(given.at("/scope"), "orders.read");
    assert_eq!(given.at("/task_id"), "week-47");
    let (header, claims) = read(&given.text("/access_token"));
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(claims["sub"], stage.pat.id.as_str());
    assert_eq!(claims["client_id"], app.id.as_str());
    assert_eq!(claims["aud"], json!([stage.story.server.base()]));
    assert_eq!(claims["iss"], stage.story.server.base());
    // The grant is the person's, for the task that they saw.
    let own = stage.client().with(&stage.pat.token);
    let grant = own.get(&format!("/v1/grants/{}", given.text("/grant_id"))).send().expect(200);
    assert_eq!(grant.at("/user"), stage.pat.id.as_str());
    assert_eq!((grant.at("/origin"), grant.at("/depth")), (&json!("person"), &json!(0)));
    let task = own.get(&format!("/v1/tasks/{}", grant.text("/task"))).send().expect(200);
    assert_eq!((task.at("/description"), task.at("/origin")), (&json!("answer tickets"), &json!("person")));
    // It acts.
    let order = json!({"customer_id": "1", "order_id": "1"});
    stage.story.act(&given.text("/access_token"), "orders.read", &order).expect(200);
    stage
        .story
        .act(&given.text("/access_token"), "orders.list", &json!({"customer_id": "1"}))
        .refused(403, "not_granted");
    // A refresh right behind it, and once more with the successor.
    let again = app.refresh(&given.text("/refresh_token")).expect(200);
    assert_eq!(again.at("/grant_id"), given.at("/grant_id"));
    let third = app.refresh(&again.text("/refresh_token")).expect(200);
    assert!(stage.is_active(&third.text("/access_token")));
    // The person takes it back.
    own.post(&format!("/v1/grants/{}/revoke", given.text("/grant_id"))).json(&json!({})).send().expect(200);
    assert!(!stage.is_active(&third.text("/access_token")));
    app.refresh(&third.text("/refresh_token")).refused(400, "invalid_grant");
    // Both steps are in the record: who said yes, and what came of it.
    let entries = until("the entries", || {
        let mut all = stage.story.record();
        all.retain(|entry| entry["task"] == grant.text("/task").as_str());
        Some(all).filter(|all| all.iter().any(|entry| entry["type"] == "grant.issued"))
    });
    let consented: Vec<&Value> = entries.iter().filter(|entry| entry["type"] == "grant.consented").collect();
    assert_eq!(consented.len(), 1);
    assert_eq!(consented[0]["user"], stage.pat.id.as_str());
}

#[test]
fn a_public_client_at_any_port_of_its_own_machine() {
    let stage = stage();
    let app = App::public();
    let mut browser = Browser::of("sam");
    let page = browser.asked(&app.asking());
    assert!(html(&page).contains("To a program on this computer"), "{}", html(&page));
    let back = browser.allow(&page);
    assert!(back.starts_with("http://127.0.0.1:49152/cb?code="), "{back}");
    let given = app.exchange(&parameter(&back, "code").unwrap()).expect(200);
    assert!(stage.is_active(&given.text("/access_token")));
    // Its refresh tokens are rotated; an old one ends the family.
    let first = given.text("/refresh_token");
    let next = app.refresh(&first).expect(200).text("/refresh_token");
    assert_ne!(first, next);
    let last = app.refresh(&next).expect(200);
    app.refresh(&first).refused(400, "invalid_grant");
    app.refresh(&last.text("/refresh_token")).refused(400, "invalid_grant");
    assert!(!stage.is_active(&last.text("/access_token")));
}

#[test]
fn a_person_says_for_how_long_or_says_no() {
    let app = App::confidential();
    let mut browser = Browser::of("pat");
    let page = browser.asked(&app.asking());
    let denied = sent_to(&browser.submit(&page, "/consent", &[("lasts", "1d"), ("verdict", "deny")]));
    assert_eq!(parameter(&denied, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&denied, "state").as_deref(), Some("st"));
    assert_eq!(parameter(&denied, "iss").as_deref(), Some(stage().story.server.base()));
    assert!(parameter(&denied, "code").is_none());
    let page = browser.asked(&app.asking());
    let allowed = sent_to(&browser.submit(&page, "/consent", &[("lasts", "1h"), ("verdict", "approve")]));
    let given = app.exchange(&parameter(&allowed, "code").unwrap()).expect(200);
    let grant = stage().admin().get(&format!("/v1/grants/{}", given.text("/grant_id"))).send().expect(200);
    let at = |member: &str| placet_core::time::Timestamp::parse(&grant.text(member)).unwrap();
    assert_eq!(at("/not_before").until(at("/expires")).as_secs(), 3600);
    // A time that nobody offered is no answer.
    for (lasts, verdict) in [("100y", "approve"), ("", "approve"), ("1h", "yes"), ("1h", "")] {
        let page = browser.asked(&app.asking());
        assert_eq!(browser.submit(&page, "/consent", &[("lasts", lasts), ("verdict", verdict)]).status, 400);
    }
    // No consent is remembered.
    browser.asked(&app.asking());
}

#[test]
fn nothing_is_granted_by_a_code_that_nobody_uses() {
    let stage = stage();
    let app = App::confidential();
    let label = fresh("unused-");
    let mut browser = Browser::of("pat");
    browser.code(&app.asking().with("task_id", &label));
    let tasks = stage.admin().get(&format!("/v1/tasks?agent={}", app.id)).send().expect(200);
    assert_eq!(tasks.at("/tasks"), &json!([]));
    // The label was not used; another consent may name it, and of two codes for it one is good.
    let (one, two) = (
        browser.code(&app.asking().with("task_id", &label)),
        browser.code(&app.asking().with("task_id", &label)),
    );
    app.exchange(&one).expect(200);
    app.exchange(&two).refused(400, "invalid_grant");
    let page = browser.get(&app.asking().with("task_id", &label).path());
    assert_eq!(parameter(&sent_to(&page), "error").as_deref(), Some("invalid_request"));
}

#[test]
fn who_the_token_is_for_is_what_the_client_named() {
    let stage = stage();
    let audience = format!("https://{}.example", fresh("rs"));
    let server = json!({"name": fresh("rs-"), "audience": audience});
    stage.admin().post("/v1/resource-servers").json(&server).send().expect(201);
    let app = App::confidential();
    let mut browser = Browser::of("pat");
    let own = stage.story.server.base().to_owned();
    let asking = app.asking().and("resource", &audience).and("resource", &own);
    let given = app.exchange(&browser.code(&asking)).expect(200);
    assert_eq!(read(&given.text("/access_token")).1["aud"], json!([audience, own]));
    // For fewer at the token endpoint, and never for others.
    let code = browser.code(&asking);
    let form = |resource: &str| {
        let code = code.clone();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("code_verifier", browser::VERIFIER),
            ("resource", resource),
        ];
        app.token(&form)
    };
    form("https://elsewhere.example").refused(400, "invalid_target");
    let given = form(&audience).expect(200);
    assert_eq!(read(&given.text("/access_token")).1["aud"], json!([audience]));
    assert_eq!(introspect(&stage.admin(), &given.text("/access_token")).at("/active"), true);
    // The refresh token stands for all of it.
    let all = app.refresh(&given.text("/refresh_token")).expect(200);
    assert_eq!(read(&all.text("/access_token")).1["aud"], json!([audience, own]));
    let wrong = browser.get(&app.asking().with("resource", "https://elsewhere.example").path());
    assert_eq!(parameter(&sent_to(&wrong), "error").as_deref(), Some("invalid_target"));
}

#[test]
fn details_bound_what_is_granted() {
    let app = App::confidential();
    let mut browser = Browser::of("pat");
    let detail =
        json!([{"type": "placet_action", "actions": ["orders.read"], "resources": ["order://customer:7/*"]}]);
    let asking = app.asking().with("authorization_details", &detail.to_string());
    let page = browser.asked(&asking);
    assert!(
        html(&page).contains("But no more than “orders.read” on “order://customer:7/*”."),
        "{}",
        html(&page)
    );
    let given = app.exchange(&parameter(&browser.allow(&page), "code").unwrap()).expect(200);
    assert_eq!(given.at("/authorization_details"), &detail);
    for wrong in [r#"[{"type": "payment"}]"#, "[{}]", "{}", "nothing", r#"[{"type": "placet_action"}]"#] {
        let answer = browser.get(&app.asking().with("authorization_details", wrong).path());
        let error = parameter(&sent_to(&answer), "error").unwrap();
        assert!(
            ["invalid_authorization_details", "invalid_request"].contains(&error.as_str()),
            "{wrong}: {error}"
        );
    }
}

#[test]
fn what_can_not_be_granted_is_told_to_the_client() {
    let app = App::confidential();
    let mut browser = Browser::of("pat");
    for (name, value, error) in [
        ("scope", "admin.all", "invalid_scope"),
        ("scope", "orders.read files.read", "invalid_scope"),
        ("scope", "", "invalid_scope"),
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "invalid_request"),
        ("response_mode", "fragment", "invalid_request"),
        ("request", "eyJhbGciOiJub25lIn0", "request_not_supported"),
        ("prompt", "none", "interaction_required"),
        ("task_id", "tsk_1", "invalid_request"),
        ("task_id", "a b", "invalid_request"),
        ("required_resources", "mail://**", "invalid_target"),
        ("required_tools", "files.read", "invalid_scope"),
    ] {
        let back = sent_to(&browser.get(&app.asking().with(name, value).path()));
        assert!(back.starts_with(&format!("{BACK}?error={error}&")), "{name}={value}: {back}");
        assert_eq!(parameter(&back, "state").as_deref(), Some("st"), "{name}={value}");
        assert_eq!(parameter(&back, "iss").as_deref(), Some(stage().story.server.base()));
    }
    // Without a scope the agent's defaults, where it has some.
    let with = App::registered(&json!({"redirect_uris": [BACK], "default_scopes": ["orders.list"]}));
    let given = with.exchange(&browser.code(&with.asking().without("scope"))).expect(200);
    assert_eq!(given.at("/scope"), "orders.list");
    // One that is registered for something else.
    let other = App::registered(&json!({"redirect_uris": [BACK], "grant_types": ["client_credentials"]}));
    let back = sent_to(&browser.get(&other.asking().path()));
    assert_eq!(parameter(&back, "error").as_deref(), Some("unauthorized_client"));
}

#[test]
fn a_person_consents_to_what_their_roles_may_delegate_only() {
    let stage = stage();
    let tool = fresh("duty.t");
    let body = json!({"description": "Only leads hand this on", "roles": ["support-lead"]});
    stage.admin().put(&format!("/v1/scopes/{tool}")).json(&body).send();
    let app = App::registered(&json!({"redirect_uris": [BACK], "allowed_tools": [tool]}));
    let asking = app.asking().with("scope", &tool);
    // Pat has no role, lee leads.
    let refused = Browser::of("pat").get(&asking.path());
    assert_eq!((refused.status, refused.header("location")), (403, None), "{}", html(&refused));
    assert!(html(&refused).contains("no role to delegate"));
    let mut lee = Browser::of("lee");
    app.exchange(&lee.code(&asking)).expect(200);
}
