//! The pages as such: what their headers say, their cookies, that nobody's text is markup, and sessions.

use super::browser::{App, Browser, hidden, html, parameter, sent_to, sessions_of};
use crate::parties::stage;
use placet_testkit::{Client, fresh};
use serde_json::{Value, json};

#[test]
fn no_page_can_be_framed_or_run_anything() {
    let app = App::public();
    let mut browser = Browser::of("sam");
    let mut pages = vec![
        browser.asked(&app.asking()),
        browser.get("/sign-in"),
        Browser::new().get("/sign-in"),
        Browser::new().get(&app.asking().path()),
        browser.get("/oauth/authorize"),
        browser.get("/nowhere"),
        browser.get("/consent"),
        browser.post("/sign-out", &[("token", "x")]),
    ];
    assert!(pages.iter().all(|page| html(page).contains("<!DOCTYPE html>")));
    pages.push(browser.get("/style.css"));
    pages.push(browser.get(&app.asking().with("scope", "").path()));
    for page in &pages {
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(
            policy.contains("form-action ") && !policy.contains("script") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(page.header("x-frame-options"), Some("DENY"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert!(page.headers.get("access-control-allow-origin").is_none());
        let text = html(page);
        assert!(!text.contains("<script") && !text.contains("style=") && !text.contains("onload"), "{text}");
        assert!(!text.contains("onclick") && !text.contains("javascript:"), "{text}");
        if page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            assert_eq!(page.header("cache-control"), Some("no-store"));
        }
    }
    // A form may lead to this origin, and to where the client is answered: browsers hold redirects to it, too.
    let policy = pages[0].header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self' http://127.0.0.1:49152;"), "{policy}");
}

#[test]
fn cookies_are_for_pages_only_and_for_no_script() {
    let stage = stage();
    let mut browser = Browser::new();
    let page = browser.get("/sign-in").expect(200);
    let set = |answer: &placet_testkit::Answer| -> Vec<String> {
        answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    let form = set(&page);
    assert_eq!(form.len(), 1);
    let password = placet_testkit::password("sam");
    let signed_in = browser.submit(&page, "/sign-in", &[("name", "sam"), ("password", &password)]);
    let session = set(&signed_in);
    assert_eq!(session.len(), 1);
    for cookie in form.iter().chain(&session) {
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
    }
    assert!(session[0].starts_with("placet=plt_session_"), "{session:?}");
    // The doors read none: a cookie is no credential there.
    let cookie = format!("placet={}", browser.cookies.get("placet").unwrap());
    for path in ["/v1/tasks", "/v1/sessions", "/v1/grants"] {
        let answer = stage.client().get(path).header("cookie", &cookie).send().refused(401, "token_invalid");
        assert!(answer.headers.get("set-cookie").is_none());
    }
    // Two that differ are none: one of them was put there by somebody else.
    let two = format!("{cookie}; placet=plt_session_x");
    let page = browser.pages.get("/sign-in").header("cookie", &two).send().expect(200);
    assert!(html(&page).contains("action=\"/sign-in\""));
}

#[test]
fn a_browser_session_is_a_session_like_any_other() {
    let stage = stage();
    let mut browser = Browser::of("sam");
    let token = browser.cookies.get("placet").unwrap().clone();
    let own = stage.client().with(&token);
    let listed = own.get("/v1/sessions?limit=1000").send().expect(200);
    let sessions = listed.at("/sessions").as_array().unwrap();
    assert!(sessions.iter().all(|session| session["user"] == stage.sam.id.as_str()));
    assert!(sessions.iter().all(|session| session.get("token").is_none()));
    // An administrator sees everybody's, or those of one; nobody else does.
    let all = stage.admin().get("/v1/sessions?limit=1000").send().expect(200);
    let users: std::collections::BTreeSet<String> = all
        .at("/sessions")
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|session| session["user"].as_str().map(str::to_owned))
        .collect();
    assert!(users.len() > 1);
    let of_sam =
        stage.admin().get(&format!("/v1/sessions?limit=1000&user={}", stage.sam.id)).send().expect(200);
    assert!(
        of_sam
            .at("/sessions")
            .as_array()
            .unwrap()
            .iter()
            .all(|session| session["user"] == stage.sam.id.as_str())
    );
    let other = stage.client().with(&stage.pat.token);
    other.get(&format!("/v1/sessions?user={}", stage.sam.id)).send().refused(403, "not_permitted");
    let agent = stage.given(&stage.agent(), "orders.read").text("/access_token");
    stage.client().with(&agent).get("/v1/sessions").send().refused(403, "not_permitted");
    // Ended from elsewhere, the browser is asked again; ended in the browser, the token is no good elsewhere.
    assert!(html(&browser.get("/sign-in")).contains("signed in as"));
    let page = browser.get("/sign-in").expect(200);
    let out = browser.submit(&page, "/sign-out", &[]);
    assert_eq!(sent_to(&out), "/sign-in");
    assert!(!browser.cookies.contains_key("placet"));
    own.get("/v1/tasks").send().refused(401, "token_invalid");
    let name = fresh("sam");
    let (id, _) = stage.story.user(&name, &[]);
    let mut browser = Browser::of(&name);
    assert!(html(&browser.get("/sign-in")).contains("signed in as"));
    for session in sessions_of(&id) {
        assert_eq!(stage.admin().delete(&format!("/v1/sessions/{session}")).send().status, 204);
    }
    assert!(html(&browser.get("/sign-in")).contains("action=\"/sign-in\""));
}

#[test]
fn signing_in_says_no_more_than_no() {
    let mut browser = Browser::new();
    let page = browser.get("/sign-in").expect(200);
    let wrong = browser.submit(&page, "/sign-in", &[("name", "pat"), ("password", "wrong, but long enough")]);
    let unknown =
        browser.submit(&page, "/sign-in", &[("name", "pax"), ("password", "wrong, but long enough")]);
    assert_eq!((wrong.status, unknown.status), (403, 403));
    assert_eq!(html(&wrong).replace("pat", "pax"), html(&unknown));
    assert!(html(&wrong).contains("Name or password is wrong.") && !html(&wrong).contains("long enough"));
    assert!(wrong.headers.get("set-cookie").is_none());
    // A form that another browser was given, or none, signs nobody in.
    let password = placet_testkit::password("pat");
    let good = [("name", "pat"), ("password", password.as_str())];
    let mut other = Browser::new();
    for answer in [other.submit(&page, "/sign-in", &good), browser.post("/sign-in", &good)] {
        assert_eq!(answer.status, 403);
        assert!(
            !answer
                .headers
                .get_all("set-cookie")
                .iter()
                .any(|cookie| cookie.to_str().unwrap().contains("session"))
        );
    }
    // An agent's name and secret are nobody's.
    let app = App::confidential();
    let secret = app.secret.clone().unwrap();
    for name in [&app.id, &app.handle] {
        let page = browser.get("/sign-in").expect(200);
        assert_eq!(browser.submit(&page, "/sign-in", &[("name", name), ("password", &secret)]).status, 403);
    }
}

#[test]
fn a_client_can_want_the_person_to_sign_in_for_it() {
    let app = App::confidential();
    let mut browser = Browser::of("pat");
    for asking in
        [app.asking().with("prompt", "login"), app.asking().with("prompt", "select_account consent")]
    {
        let page = browser.get(&asking.with("login_hint", "pat").path()).expect(200);
        assert!(html(&page).contains("action=\"/sign-in\"") && html(&page).contains("value=\"pat\""));
        let password = placet_testkit::password("pat");
        let onward = sent_to(&browser.submit(&page, "/sign-in", &[("name", "pat"), ("password", &password)]));
        let page = browser.get(&onward).expect(200);
        let back = browser.allow(&page);
        app.exchange(&parameter(&back, "code").unwrap()).expect(200);
    }
    // Somebody else can sign in instead, and is asked in their own name.
    let page = browser.asked(&app.asking());
    let onward = sent_to(&browser.submit(&page, "/sign-out", &[]));
    let page = browser.get(&onward).expect(200);
    let password = placet_testkit::password("sam");
    let onward = sent_to(&browser.submit(&page, "/sign-in", &[("name", "sam"), ("password", &password)]));
    let page = browser.get(&onward).expect(200);
    assert!(html(&page).contains("on behalf of “sam”"));
}

#[test]
fn nobodys_text_is_markup_or_hides_anything() {
    let nasty = "</li><script>alert(1)</script>\"'&\u{202e}\u{0}\u{200b}“x”";
    let app = App::registered(&json!({"redirect_uris": [super::BACK], "description": nasty, "owner": nasty}));
    let mut browser = Browser::of("pat");
    let asking = app.asking().with("task_description", nasty).with("state", nasty).with("login_hint", nasty);
    let page = browser.asked(&asking);
    let text = html(&page);
    for hidden in ["<script", "\u{202e}", "\u{0}", "\u{200b}"] {
        // The request itself stands in the form, percent-encoded.
        assert!(!text.contains(hidden), "{hidden:?}");
    }
    assert!(text.contains("&lt;/li&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;"), "{text}");
    assert!(text.contains("\\u{202e}\\u{0}\\u{200b}\\u{201c}x\\u{201d}"), "{text}");
    // What stands in the form is what came, and the state goes back as it came.
    let request = hidden(&page, "/consent").into_iter().find(|(name, _)| name == "request").unwrap().1;
    assert_eq!(format!("/oauth/authorize?{request}"), asking.path());
    let back = browser.allow(&page);
    assert_eq!(parameter(&back, "state").as_deref(), Some(nasty));
    let page = Browser::new().get(&asking.path());
    assert!(!html(&page).contains("<script"));
    let page = browser.get(&format!("/oauth/authorize?client_id={}", super::browser::encoded(nasty)));
    assert!(page.status == 400 && !html(&page).contains("<script"));
    // Where even a person's page can't be found, there is one.
    assert!(html(&browser.get("/%3Cscript%3E")).contains("There is no such page."));
}

#[test]
fn pages_are_announced_and_ready() {
    let stage = stage();
    let ready = stage.admin_token().get("/readyz").send().expect(200);
    assert_eq!(ready.at("/checks/pages"), &Value::from("ok"));
    let pages = Client::new(&stage.story.server.pages());
    pages.get("/healthz").send().expect(200);
    assert_eq!(sent_to(&pages.get("/").send()), "/sign-in");
}
