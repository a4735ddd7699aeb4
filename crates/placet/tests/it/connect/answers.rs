//! What people come back with that does not count: of another session, of another server, again, or none at all.

use super::*;

#[test]
fn threat_24_what_somebody_comes_back_with_is_good_once_in_the_session_that_they_left_in() {
    let (site, person, other) = (Site::new(), Person::new(), Person::new());
    let mut browser = person.signed_in_browser();
    let away = site.leaves(&person, &mut browser, "");
    site.gives([token("t1", 3600, None)]);
    let good = [("code", "c"), ("state", away.state.as_str())];
    // Somebody else's browser, another session of the same person, nobody's browser.
    nothing(&site.back(&other, &other.signed_in_browser(), &good), 403, "another session");
    let mut second = person.browser();
    second.cookies.insert("placet".into(), person.signs_in(None).expect(201).text("/token"));
    nothing(&site.back(&person, &second, &good), 403, "another session");
    nothing(&site.back(&person, &person.browser(), &good), 403, "not signed in");
    // Another state, none, two; another service.
    nothing(&site.back(&person, &browser, &[("code", "c"), ("state", "x")]), 403, "another session");
    nothing(&site.back(&person, &browser, &[("code", "c")]), 400, "can’t be read");
    nothing(
        &site.back_with(&person, &browser, &format!("code=c&state=x&state={}", away.state)),
        400,
        "can’t be read",
    );
    let elsewhere = Site::new();
    nothing(&elsewhere.back(&person, &browser, &good), 403, "another session");
    assert!(site.asked().is_empty() && elsewhere.asked().is_empty(), "nothing was asked of any server");
    assert_eq!(site.back(&person, &browser, &good).status, 200);
    // Again: also where the first came to nothing.
    nothing(&site.back(&person, &browser, &good), 403, "done before");
    let away = site.leaves(&person, &mut browser, &format!("?name={}", fresh("again-")));
    let refusing = [("error", "access_denied"), ("state", away.state.as_str())];
    nothing(&site.back(&person, &browser, &refusing), 403, "access_denied");
    nothing(&site.back(&person, &browser, &[("code", "c"), ("state", &away.state)]), 403, "done before");
    assert_eq!((site.asked().len(), site.connections_of(&person).len()), (1, 1));
}

#[test]
fn who_has_signed_out_meanwhile_connects_nothing() {
    let (site, person) = (Site::new(), Person::new());
    let mut browser = person.signed_in_browser();
    let away = site.leaves(&person, &mut browser, "");
    site.gives([token("t1", 3600, None)]);
    let sessions = person.client().get("/v1/account").send().expect(200);
    let id = sessions.text("/session");
    person.client().delete(&format!("/v1/sessions/{id}")).send().expect(204);
    nothing(&site.back(&person, &browser, &[("code", "c"), ("state", &away.state)]), 403, "not signed in");
    assert!(site.asked().is_empty());
}

#[test]
fn threat_24_an_answer_says_whose_it_is_where_the_definition_does() {
    let own = "https://sso.example";
    for (more, iss, good) in [
        ("", None, true),
        ("", Some(own), false),
        (", issuer: 'https://sso.example'", None, true),
        (", issuer: 'https://sso.example'", Some(own), true),
        (", issuer: 'https://sso.example'", Some("https://evil.example"), false),
        (", issuer: 'https://sso.example', iss_in_response: true", None, false),
        (", issuer: 'https://sso.example', iss_in_response: true", Some("https://sso.example/"), false),
        (", issuer: 'https://sso.example', iss_in_response: true", Some(own), true),
    ] {
        let (site, person) = (Site::with(more), Person::new());
        let mut browser = person.signed_in_browser();
        let away = site.leaves(&person, &mut browser, "");
        site.gives([token("t1", 3600, None)]);
        let mut parameters = vec![("code", "c"), ("state", away.state.as_str())];
        parameters.extend(iss.map(|iss| ("iss", iss)));
        let page = site.back(&person, &browser, &parameters);
        if good {
            assert_eq!(page.status, 200, "{more} {iss:?}: {}", html(&page));
        } else {
            nothing(&page, 403, "does not count");
        }
        assert_eq!(
            (site.asked().len(), site.connections_of(&person).len()),
            (usize::from(good), usize::from(good)),
            "{more} {iss:?}"
        );
    }
}

#[test]
fn threat_24_a_code_of_one_server_does_not_reach_another() {
    // The person leaves for the honest server; the attacker, who has another service here, sends them back to its own place
    // with the code that the honest one gave (RFC 9700 §4.4).
    let (honest, evil, person) = (Site::new(), Site::new(), Person::new());
    let mut browser = person.signed_in_browser();
    let away = honest.leaves(&person, &mut browser, "");
    let wrong = evil.leaves(&person, &mut browser, "");
    // Each server sends people back to a place of its own.
    for (site, away) in [(&honest, &away), (&evil, &wrong)] {
        let back = parameter(&away.url, "redirect_uri").unwrap();
        assert!(back.ends_with(&format!("/connect/callback/{}", site.service)), "{back}");
    }
    nothing(
        &evil.back(&person, &browser, &[("code", "honest-code"), ("state", &away.state)]),
        403,
        "another session",
    );
    nothing(
        &honest.back(&person, &browser, &[("code", "evil-code"), ("state", &wrong.state)]),
        403,
        "another session",
    );
    assert!(honest.asked().is_empty() && evil.asked().is_empty());
}

#[test]
fn threat_24_an_injected_code_comes_with_another_proof() {
    let (site, person) = (Site::new(), Person::new());
    let mut browser = person.signed_in_browser();
    let first = site.leaves(&person, &mut browser, "");
    let second = site.leaves(&person, &mut browser, "");
    // What was stolen from the first attempt and comes back with the second is shown with the second's proof, which its server
    // refuses.
    assert_ne!(parameter(&first.url, "code_challenge"), parameter(&second.url, "code_challenge"));
    site.gives([refused("invalid_grant")]);
    nothing(
        &site.back(&person, &browser, &[("code", "of-the-first"), ("state", &second.state)]),
        403,
        "invalid_grant",
    );
    let form = format!("?{}", site.asked()[0]);
    let verifier = parameter(&form, "code_verifier").unwrap();
    assert_eq!(parameter(&second.url, "code_challenge"), Some(challenge(&verifier)));
    assert!(site.connections_of(&person).is_empty());
}

#[test]
fn what_a_token_endpoint_answers_is_a_token_or_nothing() {
    let huge = json!({"access_token": "t".repeat(200_000), "token_type": "Bearer"});
    let elsewhere = Upstream::with_header("user-agent", "x");
    for (reply, status, words) in [
        (Reply::status(302).header("location", elsewhere.base()), 502, "302"),
        (Reply::status(307).header("location", elsewhere.base()), 502, "307"),
        (Reply::json(200, &huge), 502, "larger"),
        (Reply::status(500), 502, "500"),
        (Reply::hang_up(), 502, "No token came of it"),
        (Reply::bytes(200, "text/html", "<html>"), 403, "JSON"),
        (Reply::json(200, &json!({"access_token": "t"})), 403, "bearer"),
        (Reply::json(200, &json!({"access_token": "a\nb", "token_type": "bearer"})), 403, "header"),
        (Reply::json(200, &json!({"error": "<script>alert(1)</script>"})), 403, "&lt;script&gt;"),
        (refused("invalid_client"), 403, "invalid_client"),
    ] {
        let (site, person) = (Site::new(), Person::new());
        let mut browser = person.signed_in_browser();
        let away = site.leaves(&person, &mut browser, "");
        site.gives([reply]);
        nothing(&site.back(&person, &browser, &[("code", "c"), ("state", &away.state)]), status, words);
        assert!(site.connections_of(&person).is_empty(), "{words}");
    }
    assert!(elsewhere.seen().is_empty(), "no redirect is followed");
}

#[test]
fn what_a_server_says_about_its_no_is_text() {
    let (site, person) = (Site::new(), Person::new());
    let mut browser = person.signed_in_browser();
    let away = site.leaves(&person, &mut browser, "");
    let said = "<a href='javascript:alert(1)'>click</a> \u{202e}txet";
    let page = site.back(
        &person,
        &browser,
        &[("error", "access_denied"), ("error_description", said), ("state", &away.state)],
    );
    nothing(&page, 403, "access_denied: &lt;a href=");
    assert!(!html(&page).contains('\u{202e}'));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
}

#[test]
fn a_service_that_names_another_server_meanwhile_connects_nothing() {
    let (site, person) = (Site::new(), Person::new());
    let mut browser = person.signed_in_browser();
    let away = site.leaves(&person, &mut browser, "");
    site.gives([token("t1", 3600, None)]);
    site.apply(", audience: other").expect(200);
    let page = site.back(&person, &browser, &[("code", "c"), ("state", &away.state)]);
    assert_eq!(page.status, 409, "{}", html(&page));
    assert!(html(&page).contains("nothing was connected"));
    assert!(site.asked().is_empty() && site.connections_of(&person).is_empty());
}

#[test]
fn nobody_agrees_to_a_place_that_they_were_not_told_of() {
    let (site, person) = (Site::new(), Person::new());
    let elsewhere = Upstream::with_header("user-agent", "nobody");
    let mut browser = person.signed_in_browser();
    let away = site.leaves(&person, &mut browser, "");
    let page = browser.get(&site.path()).expect(200);
    site.server.reply(
        "/device",
        Reply::json(
            200,
            &json!({"device_code": "d", "user_code": "WDJB-MJHT", "verification_uri": "https://upstream.example/device",
                "expires_in": 300, "interval": 1}),
        ),
    );
    let body = json!({"service": site.service, "device": true});
    let begun =
        person.client().post("/v1/connect").header("x-forwarded-for", &person.from).json(&body).send();
    let ticket = begun.expect(201).text("/ticket");
    site.gives([token("t1", 3600, None)]);
    // The same authorization server, and another place to which its tokens go.
    site.apply_at(elsewhere.base(), "").expect(200);
    let back = site.back(&person, &browser, &[("code", "c"), ("state", &away.state)]);
    assert_eq!(back.status, 409, "{}", html(&back));
    let said_yes = site.posts(&person, &mut browser, &page, &[]);
    assert_eq!(said_yes.status, 409, "{}", html(&said_yes));
    placet_testkit::until("the device to be asked about", || {
        let answer = person.client().post("/v1/connect/device").json(&json!({"ticket": ticket})).send();
        (answer.status != 200).then(|| answer.refused(409, "conflict"))
    });
    assert!(site.asked().is_empty() && site.connections_of(&person).is_empty());
    // Who looks at it anew may.
    let page = browser.get(&site.path()).expect(200);
    assert!(html(&page).contains(elsewhere.base()), "{}", html(&page));
    site.goes(&person, &mut browser, &page, &[]);
}

#[test]
fn a_link_does_nothing_and_a_form_counts_only_in_its_session() {
    let (site, person, other) = (Site::new(), Person::new(), Person::new());
    let mut browser = person.signed_in_browser();
    let page = browser.get(&site.path()).expect(200);
    let mut others = other.signed_in_browser();
    let stolen = site.posts(&other, &mut others, &page, &[]);
    nothing(&stolen, 403, "not given to this session");
    nothing(&site.posts(&person, &mut person.browser(), &page, &[]), 403, "signed out");
    let form = crate::authorize::browser::hidden(&page, &site.path());
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let foreign = browser.posting(&site.path(), &form).header("origin", "https://evil.example").send();
    assert_eq!(foreign.status, 403, "{}", html(&foreign));
    for (path, status) in [
        (format!("{}?next=https://evil.example", site.path()), 404),
        (format!("{}?name=%3Cscript%3E", site.path()), 404),
        ("/connect/nowhere-at-all".to_owned(), 404),
        ("/connect/callback/nowhere-at-all?state=x&code=y".to_owned(), 403),
    ] {
        let answer = browser.getting(&path).header("x-forwarded-for", &person.from).send();
        assert_eq!(answer.status, status, "{path}: {}", html(&answer));
    }
    // The host that the browser was told is not asked: where people come back to is configured.
    let page = browser.getting(&site.path()).header("host", "evil.example").send();
    if page.status == 200 {
        let away = site.goes(&person, &mut browser, &page, &[]);
        assert!(!away.url.contains("evil.example"), "{}", away.url);
    }
}
