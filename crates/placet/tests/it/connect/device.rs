//! Accounts that are connected by a code that is entered elsewhere.

use super::*;
use placet_testkit::until;

fn code(more: &Value) -> Reply {
    let mut body = json!({"device_code": "canary-device-code", "user_code": "WDJB-MJHT",
        "verification_uri": "https://upstream.example/device", "expires_in": 300, "interval": 1});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Reply::json(200, &body)
}

fn begin(site: &Site, person: &Person<'_>) -> Answer {
    let body = json!({"service": site.service, "device": true});
    person.client().post("/v1/connect").header("x-forwarded-for", &person.from).json(&body).send()
}

fn ask(person: &Person<'_>, ticket: &str) -> Answer {
    person.client().post("/v1/connect/device").json(&json!({"ticket": ticket})).send()
}

#[test]
fn a_code_is_shown_and_asked_about_until_it_was_entered() {
    let (site, person, other) = (Site::new(), Person::new(), Person::new());
    site.server.reply("/device", code(&json!({})));
    site.gives([
        Reply::json(400, &json!({"error": "authorization_pending"})),
        Reply::status(503),
        token("t1", 3600, Some("r1")),
    ]);
    let begun = begin(&site, &person).expect(201);
    assert_eq!(
        (begun.text("/user_code"), begun.text("/verification_uri")),
        ("WDJB-MJHT".to_owned(), "https://upstream.example/device".to_owned())
    );
    assert!(!begun.body.to_string().contains("canary"), "{:#}", begun.body);
    let form = String::from_utf8(site.server.seen_at("/device")[0].body.to_vec()).unwrap();
    assert_eq!(form, format!("scope=read%20write&client_id={CLIENT}"));
    let ticket = begun.text("/ticket");
    // Nobody else asks with it, and nobody asks sooner than the server wants to be asked.
    ask(&other, &ticket).refused(404, "not_found");
    ask(&person, "plt_connect_x").refused(404, "not_found");
    let connected = until("the code to be entered", || {
        let answer = ask(&person, &ticket).expect(200);
        match answer.text("/status").as_str() {
            "connected" => Some(answer),
            _ => None,
        }
    });
    assert_eq!(connected.at("/connection/user"), &json!(person.id));
    let asked =
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=canary-device-code";
    assert_eq!(site.asked(), [asked; 3]);
    ask(&person, &ticket).refused(404, "not_found");
    site.get(&site.agent_of(&person)).expect(200);
    assert_eq!(site.shown(), ["Bearer t1"]);
    assert!(!site.story.server.log().contains("canary-device"));
}

#[test]
fn it_is_asked_in_the_pace_of_the_server_whoever_asks() {
    let (site, person) = (Site::new(), Person::new());
    site.server.reply("/device", code(&json!({"interval": 30})));
    site.gives([Reply::json(400, &json!({"error": "authorization_pending"}))]);
    let ticket = begin(&site, &person).expect(201).text("/ticket");
    for _ in 0..20 {
        let answer = ask(&person, &ticket).expect(200);
        assert_eq!(answer.text("/status"), "waiting");
        assert!(answer.at("/interval").as_u64().is_some_and(|seconds| (1..=30).contains(&seconds)));
    }
    assert!(site.asked().is_empty());
}

#[test]
fn a_no_ends_it_and_what_is_no_page_is_not_shown() {
    for error in ["access_denied", "expired_token"] {
        let (site, person) = (Site::new(), Person::new());
        site.server.reply("/device", code(&json!({})));
        site.gives([refused(error)]);
        let ticket = begin(&site, &person).expect(201).text("/ticket");
        let refused = until("the server to be asked", || {
            let answer = ask(&person, &ticket);
            (answer.status != 200).then_some(answer)
        });
        assert!(refused.refused(400, "request_invalid").text("/detail").contains(error));
        ask(&person, &ticket).refused(404, "not_found");
        assert!(site.connections_of(&person).is_empty());
    }
    for (reply, words) in [
        (code(&json!({"verification_uri": "javascript:alert(1)"})), "verification_uri"),
        (code(&json!({"user_code": "A\u{202e}B"})), "code"),
        (refused("unauthorized_client"), "unauthorized_client"),
        (Reply::status(404), "404"),
    ] {
        let (site, person) = (Site::new(), Person::new());
        site.server.reply("/device", reply);
        let answer = begin(&site, &person).refused(400, "request_invalid");
        assert!(answer.text("/detail").contains(words), "{:#}", answer.body);
        assert!(!answer.body.to_string().contains("canary"));
    }
}

#[test]
fn a_session_that_ends_connects_nothing() {
    let (site, person) = (Site::new(), Person::new());
    site.server.reply("/device", code(&json!({})));
    site.gives([token("t1", 3600, None)]);
    let ticket = begin(&site, &person).expect(201).text("/ticket");
    let later = person.signs_in(None).expect(201).text("/token");
    let id = person.client().get("/v1/account").send().expect(200).text("/session");
    person.client().delete(&format!("/v1/sessions/{id}")).send().expect(204);
    let client = site.story.client().with(&later);
    let refused = until("the server to be asked", || {
        let answer = client.post("/v1/connect/device").json(&json!({"ticket": ticket})).send();
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 401, "{:#}", refused.body);
    let listed = client.get("/v1/connections").send().expect(200);
    assert_eq!(listed.at("/connections"), &json!([]));
}
