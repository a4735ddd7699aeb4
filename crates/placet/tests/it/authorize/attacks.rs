//! What somebody would try who wants a code, a token or a consent that is not theirs.

use super::browser::{
    App, Asking, BACK, Browser, VERIFIER, challenge, hidden, html, parameter, sent_to, sessions_of,
};
use crate::parties::stage;
use placet_testkit::{fresh, together};
use serde_json::json;

#[test]
fn a_code_is_used_once_and_its_second_use_ends_the_grant() {
    let stage = stage();
    for app in [App::confidential(), App::public()] {
        let code = Browser::of("pat").code(&app.asking());
        let given = app.exchange(&code).expect(200);
        assert!(stage.is_active(&given.text("/access_token")));
        app.exchange(&code).refused(400, "invalid_grant");
        assert!(!stage.is_active(&given.text("/access_token")));
        app.refresh(&given.text("/refresh_token")).refused(400, "invalid_grant");
        // It does not come back.
        app.exchange(&code).refused(400, "invalid_grant");
    }
}

#[test]
fn of_several_exchanges_at_once_exactly_one_wins() {
    let stage = stage();
    let app = App::confidential();
    let mut browser = Browser::of("pat");
    for _ in 0..4 {
        let code = browser.code(&app.asking());
        let answers = together(6, |_| app.exchange(&code));
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((won.len(), lost.len()), (1, 5));
        for answer in lost {
            answer.refused(400, "invalid_grant");
        }
        // Two had it: what the one was given is over.
        assert!(!stage.is_active(&won[0].text("/access_token")));
        app.refresh(&won[0].text("/refresh_token")).refused(400, "invalid_grant");
    }
}

#[test]
fn the_proof_key_can_not_be_left_out_or_weakened() {
    let app = App::public();
    let mut browser = Browser::of("sam");
    let refused = |browser: &mut Browser, asking: Asking| {
        let back = sent_to(&browser.get(&asking.path()));
        assert_eq!(parameter(&back, "error").as_deref(), Some("invalid_request"), "{back}");
        assert!(parameter(&back, "code").is_none());
    };
    // No challenge; `plain`, said or left unsaid; a challenge that is none.
    refused(&mut browser, app.asking().without("code_challenge"));
    refused(&mut browser, app.asking().without("code_challenge").without("code_challenge_method"));
    refused(
        &mut browser,
        app.asking().with("code_challenge_method", "plain").with("code_challenge", VERIFIER),
    );
    refused(&mut browser, app.asking().without("code_challenge_method"));
    refused(&mut browser, app.asking().with("code_challenge_method", "s256"));
    refused(&mut browser, app.asking().with("code_challenge", "short"));
    refused(&mut browser, app.asking().and("code_challenge", &challenge("another")));
    refused(&mut browser, app.asking().and("code_challenge_method", "plain"));
    // At the token endpoint: no verifier, the challenge itself, another one.
    let code = browser.code(&app.asking());
    let with = |verifier: Option<&str>| {
        let mut form = vec![("grant_type", "authorization_code"), ("code", code.as_str())];
        form.extend(verifier.map(|verifier| ("code_verifier", verifier)));
        app.token(&form)
    };
    with(None).refused(400, "invalid_request");
    with(Some("")).refused(400, "invalid_request");
    for wrong in
        [&challenge(VERIFIER), &"a".repeat(43), &VERIFIER.repeat(4), &format!("{VERIFIER}="), &challenge("x")]
    {
        with(Some(wrong)).refused(400, "invalid_grant");
    }
    // None of it used the code up.
    with(Some(VERIFIER)).expect(200);
}

#[test]
fn a_code_is_of_one_client_and_one_redirect() {
    let stage = stage();
    let (app, other, public) = (App::confidential(), App::confidential(), App::public());
    let mut browser = Browser::of("pat");
    let code = browser.code(&app.asking());
    let unknown =
        app.exchange("plt_code_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").refused(400, "invalid_grant");
    for thief in [&other, &public] {
        // In the same words as one that never was.
        assert_eq!(thief.exchange(&code).refused(400, "invalid_grant").body, unknown.body);
    }
    // Without the secret, it is nobody.
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("code_verifier", VERIFIER),
        ("client_id", &app.id),
    ];
    stage.client().post("/oauth/token").form(&form).send().refused(401, "invalid_client");
    let at = |redirect: &str| {
        app.token(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", redirect),
        ])
    };
    at("https://evil.example/callback").refused(400, "invalid_grant");
    at(&format!("{BACK}/")).refused(400, "invalid_grant");
    let given = at(BACK).expect(200);
    // A thief's use of a code that was used says nothing of the client, and ends nothing.
    other.exchange(&code).refused(400, "invalid_grant");
    assert!(stage.is_active(&given.text("/access_token")));
    // A code is no other token, and the other way round.
    for (name, kind) in [("refresh_token", "refresh_token"), ("code", "authorization_code")] {
        for token in [given.text("/refresh_token"), given.text("/access_token"), code.clone()] {
            if (kind == "refresh_token") != token.starts_with("plt_refresh_")
                && !token.starts_with("plt_code_")
            {
                app.token(&[("grant_type", kind), (name, &token), ("code_verifier", VERIFIER)])
                    .refused(400, "invalid_grant");
            }
        }
    }
    stage.client().with(&browser.code(&app.asking())).get("/v1/tasks").send().refused(401, "token_invalid");
}

#[test]
fn who_can_not_act_any_more_gets_nothing_for_a_code() {
    let stage = stage();
    let mut browser = Browser::of("pat");
    let suspended = App::confidential();
    let code = browser.code(&suspended.asking());
    stage.admin().post(&format!("/v1/agents/{}/suspend", suspended.id)).send().expect(200);
    suspended.exchange(&code).refused(401, "invalid_client");
    let page = browser.get(&suspended.asking().path());
    assert_eq!((page.status, page.header("location")), (400, None));
    // Back in service, it is as before: nothing was granted meanwhile.
    stage.admin().post(&format!("/v1/agents/{}/activate", suspended.id)).json(&json!({})).send().expect(200);
    suspended.exchange(&code).expect(200);

    let ended = App::confidential();
    let code = browser.code(&ended.asking());
    stage.admin().delete(&format!("/v1/agents/{}", ended.id)).send();
    ended.exchange(&code).refused(401, "invalid_client");
}

#[test]
fn nobody_is_sent_to_where_the_client_did_not_register() {
    let app = App::registered(&json!({"redirect_uris": [BACK, "http://127.0.0.1/cb"]}));
    let mut browser = Browser::of("pat");
    for wrong in [
        "https://evil.example/callback",
        "https://app.example/callback/",
        "https://app.example/callback?x",
        "https://app.example/callback#x",
        "https://app.example/Callback",
        "https://app.example/%63allback",
        "https://app.example/./callback",
        "https://app.example/x/../callback",
        "https://app.example//callback",
        "https://app.example:443/callback",
        "https://APP.EXAMPLE/callback",
        "HTTPS://app.example/callback",
        "http://app.example/callback",
        "//app.example/callback",
        "/callback",
        "https://app.example@evil.example/callback",
        "https://app.example:x@evil.example/callback",
        "https://app.example\\@evil.example/callback",
        "https://app.example.evil.example/callback",
        "https://app。example/callback",
        "https://аpp.example/callback",
        "https://app.example/callback\u{0}",
        "https://app.example/callback\u{200b}",
        "https://app.example/callback\u{202e}",
        " https://app.example/callback",
        "https://app.example/callback\r\nset-cookie: a=b",
        "http://127.0.0.1:80@evil.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "http://127.0.0.1:99999/cb",
        "http://127.0.0.1:80/cb/",
        "http://localhost/cb",
        "http://[::1]/cb",
        "javascript:alert(1)//https://app.example/callback",
        "data:text/html,x",
        "",
    ] {
        let page = browser.get(&app.asking().with("redirect_uri", wrong).path());
        assert_eq!((page.status, page.header("location")), (400, None), "{wrong:?}");
        assert!(!html(&page).contains("evil"), "{wrong:?}");
        // Nor with anything else wrong, which would be told to the client.
        let page = browser.get(&app.asking().with("redirect_uri", wrong).with("response_type", "x").path());
        assert_eq!((page.status, page.header("location")), (400, None), "{wrong:?}");
    }
    // Two of them, or two clients: nobody guesses.
    for asking in [
        app.asking().and("redirect_uri", BACK),
        app.asking().and("redirect_uri", "https://evil.example/"),
        app.asking().and("client_id", &app.id),
        app.asking().without("client_id"),
        app.asking().with("client_id", &app.handle),
        app.asking().with("client_id", "agt_00000000000000000000000000"),
        app.asking().without("redirect_uri"),
    ] {
        let page = browser.get(&asking.path());
        assert_eq!((page.status, page.header("location")), (400, None));
    }
    // The registered one is one that is left out.
    let one = App::confidential();
    let back = browser.code(&one.asking().without("redirect_uri"));
    one.exchange(&back).expect(200);
}

#[test]
fn a_parameter_that_stands_twice_is_refused() {
    let app = App::confidential();
    let mut browser = Browser::of("pat");
    for name in ["response_type", "scope", "state", "code_challenge", "task_id", "task_description", "prompt"]
    {
        let asking = app.asking().with(name, "a").and(name, "a");
        let back = sent_to(&browser.get(&asking.path()));
        assert!(back.starts_with(&format!("{BACK}?error=invalid_request")), "{name}: {back}");
    }
    // What is not UTF-8 is no state.
    let back =
        sent_to(&browser.get(&app.asking().without("state").path().replace("scope=", "state=%ff&scope=")));
    assert!(back.starts_with(&format!("{BACK}?error=invalid_request")), "{back}");
}

#[test]
fn consent_can_not_be_given_by_another_page() {
    let stage = stage();
    let app = App::confidential();
    let (mut browser, mut other) = (Browser::of("pat"), Browser::of("pat"));
    let page = browser.asked(&app.asking());
    let good = hidden(&page, "/consent");
    let answer = [("lasts", "1d"), ("verdict", "approve")];
    let sent = |browser: &mut Browser, changed: &str, value: &str| {
        let mut form: Vec<(&str, &str)> = good
            .iter()
            .map(|(name, old)| (name.as_str(), if name == changed { value } else { old.as_str() }))
            .collect();
        form.extend(answer);
        browser.post("/consent", &form)
    };
    let evil = App::registered(&json!({"redirect_uris": ["https://evil.example/cb"]}));
    let evil_query = evil.asking().with("redirect_uri", "https://evil.example/cb").path();
    let evil_query = evil_query.split_once('?').unwrap().1;
    let wider = app.asking().with("scope", "orders.*").path();
    let wider = wider.split_once('?').unwrap().1;
    for (changed, value) in [
        ("token", ""),
        ("token", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        // For another request than the one that was shown: another client, more.
        ("request", evil_query),
        ("request", wider),
        ("shown", "0"),
        ("shown", "9223372036854775807"),
    ] {
        let refused = sent(&mut browser, changed, value);
        assert_eq!((refused.status, refused.header("location")), (403, None), "{changed}={value}");
    }
    // In another session of the same person, which was shown nothing.
    let refused = sent(&mut other, "", "");
    assert_eq!((refused.status, refused.header("location")), (403, None));
    // Without a session, the question comes behind signing in.
    let mut nobody = Browser::new();
    assert!(sent_to(&sent(&mut nobody, "", "")).starts_with("/oauth/authorize?"));
    // From another site, as browsers say it.
    let form: Vec<(&str, &str)> =
        good.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(answer).collect();
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", stage.story.server.base()),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let refused = browser.posting("/consent", &form).header(name, value).send();
        assert_eq!((refused.status, refused.header("location")), (403, None), "{name}: {value}");
    }
    // Not by a link, nor by another kind of body.
    assert_eq!(browser.get("/consent").status, 405);
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let plain = browser.posting("/consent", &[]).header("content-type", "text/plain");
    assert_eq!(plain.body("text/plain", body.join("&")).send().status, 400);
    // A bearer token is no browser session.
    let with_bearer = browser.pages.with(&stage.pat.token).post("/consent").form(&form).send();
    assert!(sent_to(&with_bearer).starts_with("/oauth/authorize?"));
    // After all that, the person's own answer is as good as before.
    let back = sent_to(&sent(&mut browser, "", ""));
    app.exchange(&parameter(&back, "code").unwrap()).expect(200);
    // A session that has ended answers nothing. It is of somebody whose sessions no other test needs.
    let name = fresh("pat");
    let (id, _) = stage.story.user(&name, &["approver"]);
    let mut browser = Browser::of(&name);
    let page = browser.asked(&app.asking());
    for session in sessions_of(&id) {
        assert_eq!(stage.admin().delete(&format!("/v1/sessions/{session}")).send().status, 204);
    }
    let gone = browser.submit(&page, "/consent", &answer);
    assert!(sent_to(&gone).starts_with("/oauth/authorize?"), "{}", html(&gone));
}

#[test]
fn an_answer_goes_where_the_page_said_or_nowhere() {
    let app = App::confidential();
    let mut browser = Browser::of("pat");
    let page = browser.asked(&app.asking().without("redirect_uri"));
    let elsewhere = json!({"redirect_uris": ["https://elsewhere.example/cb"]});
    stage().admin().patch(&format!("/v1/agents/{}", app.id)).json(&elsewhere).send().expect(200);
    let said = browser.submit(&page, "/consent", &[("lasts", "1d"), ("verdict", "approve")]);
    assert_eq!((said.status, said.header("location")), (403, None), "{}", html(&said));
}

#[test]
fn answers_say_whose_they_are() {
    let stage = stage();
    let issuer = stage.story.server.base().to_owned();
    let metadata = stage.client().get("/.well-known/oauth-authorization-server").send().expect(200);
    assert_eq!(metadata.at("/issuer"), issuer.as_str());
    assert_eq!(metadata.at("/authorization_response_iss_parameter_supported"), true);
    let endpoint = metadata.text("/authorization_endpoint");
    assert_eq!(endpoint, format!("{}/oauth/authorize", stage.story.server.pages()));
    assert!(!endpoint.starts_with(&format!("{issuer}/")), "an origin of their own");
    let app = App::confidential();
    let mut browser = Browser::of("pat");
    let page = browser.asked(&app.asking());
    let answers = [
        browser.allow(&page),
        sent_to(&browser.submit(&page, "/consent", &[("verdict", "deny")])),
        sent_to(&browser.get(&app.asking().with("scope", "no.such").path())),
    ];
    for answer in answers {
        assert_eq!(parameter(&answer, "iss"), Some(issuer.clone()), "{answer}");
        assert_eq!(answer.matches("iss=").count(), 1);
    }
}

#[test]
fn a_query_is_no_way_out() {
    let stage = stage();
    let mut browser = Browser::new();
    let password = placet_testkit::password("pat");
    for next in [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\r\nlocation: https://evil.example",
        "@evil.example",
        "x#https://evil.example",
        "../../x",
    ] {
        let page = browser.get("/sign-in").expect(200);
        let mut form = hidden(&page, "/sign-in");
        for (name, value) in &mut form {
            if name == "next" {
                next.clone_into(value);
            }
        }
        let mut form: Vec<(&str, &str)> =
            form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        form.extend([("name", "pat"), ("password", password.as_str())]);
        let onward = sent_to(&browser.post("/sign-in", &form));
        assert!(onward.starts_with("/oauth/authorize?"), "{next:?}: {onward}");
        let page = browser.get(&onward);
        assert_eq!((page.status, page.header("location")), (400, None), "{next:?}");
        let page = browser.get("/sign-in").expect(200);
        let token = hidden(&page, "/sign-out").into_iter().find(|(name, _)| name == "token").unwrap().1;
        let onward = sent_to(&browser.post("/sign-out", &[("token", &token), ("next", next)]));
        assert!(onward.starts_with("/oauth/authorize?"), "{next:?}: {onward}");
    }
    // An error sends nobody on who has not signed in: a link is not enough to be sent to a client of somebody's own.
    let app = App::confidential();
    let wrong = app.asking().with("scope", "no.such");
    let page = Browser::new().get(&wrong.path());
    assert_eq!((page.status, page.header("location")), (200, None));
    assert!(html(&page).contains("action=\"/sign-in\""));
    let page = browser.get(&wrong.path());
    let onward = sent_to(&browser.submit(&page, "/sign-in", &[("name", "pat"), ("password", &password)]));
    assert!(sent_to(&browser.get(&onward)).starts_with(&format!("{BACK}?error=invalid_scope")));
    // Nor does the doors' listener answer any of it.
    for path in ["/sign-in", "/consent", "/oauth/authorize?client_id=x", "/style.css"] {
        stage.client().get(path).send().refused(404, "not_found");
    }
}
