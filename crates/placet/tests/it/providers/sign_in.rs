//! The right way, from every page that asks who it is; and where a person goes on.

use super::{CLIENT, SECRET, Sso, entered, has_session, is_proof, refused, stage};
use crate::{
    authorize::browser::{App, html, parameter, sent_to},
    people::person::Person,
};
use placet_testkit::{Story, password};
use serde_json::{Value, json};

#[test]
fn who_is_linked_signs_in_and_the_session_says_with_what() {
    let sso = Sso::new();
    let person = sso.person();
    let mut browser = sso.browser();
    let page = browser.get("/sign-in").expect(200);
    assert!(html(&page).contains(&format!("Sign in with SSO {}", sso.handle)));
    let away = sso.leave(&mut browser, &page);
    assert!(away.url.starts_with(&sso.site.url("/authorize?")), "{}", away.url);
    let here = format!("{}/sign-in/callback/{}", stage().server.pages(), sso.handle);
    for (name, value) in
        [("client_id", CLIENT), ("response_type", "code"), ("scope", "openid"), ("redirect_uri", &here)]
    {
        assert_eq!(parameter(&away.url, name).as_deref(), Some(value));
    }
    sso.gives(&sso.id_token(&Sso::subject(&person), &away, |_, _| {}));
    entered(&sso.back(&mut browser, &[("code", "c & d"), ("state", &away.state)]));
    // The code went out once, with the proof key and the secret, and the secret in the header alone.
    let [sent] = &sso.tokens.seen_at("/token")[..] else { panic!("the code was not exchanged once") };
    let body = format!("?{}", String::from_utf8(sent.body.to_vec()).unwrap());
    assert!(sent.authorized && sent.method == "POST" && !body.contains("shown"), "{body} {SECRET}");
    for (name, value) in [("grant_type", "authorization_code"), ("code", "c & d"), ("redirect_uri", &here)] {
        assert_eq!(parameter(&body, name).as_deref(), Some(value));
    }
    assert!(is_proof(&parameter(&body, "code_verifier").unwrap(), &away.url));
    // It is a session like any other.
    let account = browser.get("/account").expect(200);
    assert!(html(&account).contains(&person.name) && html(&account).contains("an identity provider (here)"));
    let listed =
        stage().admin().get(&format!("/v1/sessions?user={}&limit=1000", person.id)).send().expect(200);
    let sessions = listed.at("/sessions").as_array().unwrap();
    let began: Vec<&Value> = sessions.iter().filter(|one| one["began_with"] == "provider").collect();
    assert!(began.len() == 1 && began[0]["provider"] == *sso.id && began[0]["alive"] == true, "{began:?}");
    placet_testkit::until("the record says with which provider", || {
        let entry = person.recorded("session.started");
        let path = format!("/v1/record/{}", entry["index"]);
        let whole = stage().server.admin().get(&path).send().expect(200);
        whole.body.to_string().contains(&sso.id).then_some(())
    });
}

#[test]
fn an_authorization_request_survives_the_way_to_the_provider_and_back() {
    let sso = Sso::new();
    let person = sso.person();
    let app = App::on(stage(), &json!({"redirect_uris": ["https://app.example/callback"]}));
    // As long as requests may be, and with what means something on the way.
    let state = format!("a&b=c#{}", "x".repeat(3000));
    let asking = app.asking().with("state", &state).with("prompt", "login");
    let mut browser = sso.browser();
    let page = browser.get(&asking.path()).expect(200);
    let away = sso.leave(&mut browser, &page);
    assert!(away.url.len() < 1000, "the provider is told of it: {}", away.url);
    assert_eq!(parameter(&away.url, "prompt").as_deref(), Some("login"));
    assert_eq!(parameter(&sso.left(&mut sso.browser()).url, "prompt"), None);
    sso.gives(&sso.id_token(&Sso::subject(&person), &away, |_, _| {}));
    let answer = sso.back(&mut browser, &[("code", "c"), ("state", &away.state)]);
    assert!(has_session(&answer));
    let onward = sent_to(&answer);
    assert!(onward.starts_with("/oauth/authorize?"), "{onward}");
    let page = browser.get(&onward).expect(200);
    let back = browser.allow(&page);
    assert_eq!(parameter(&back, "state"), Some(state));
    assert!(parameter(&back, "code").is_some());
}

#[test]
fn what_is_not_one_of_our_pages_is_no_place_to_go_on_to() {
    let sso = Sso::new();
    let person = sso.person();
    for (next, onward) in [
        ("https://evil.example/", "/oauth/authorize?"),
        ("//evil.example", "/oauth/authorize?"),
        ("/\\evil.example", "/oauth/authorize?"),
        ("/account", "/account"),
        ("/account?next=https://evil.example/", "/oauth/authorize?"),
        ("/account/../requests", "/oauth/authorize?"),
        ("/requests/../account", "/oauth/authorize?"),
        ("\r\nlocation: https://evil.example", "/oauth/authorize?"),
        ("/requests", "/requests"),
        ("/device?user_code=BCDF-GHJK", "/device?user_code=BCDF-GHJK"),
        ("", "/sign-in"),
    ] {
        let mut browser = sso.browser();
        let page = browser.get("/sign-in").expect(200);
        let action = format!("/sign-in/with/{}", sso.handle);
        let token = crate::authorize::browser::hidden(&page, &action)[0].1.clone();
        let sent = browser.posting(&action, &[("token", &token), ("next", next)]);
        let away = Sso::away(&sent.header("x-forwarded-for", &sso.from).send().expect(200));
        sso.gives(&sso.id_token(&Sso::subject(&person), &away, |_, _| {}));
        let back = [("code", "c"), ("state", &*away.state), ("next", "https://evil.example")];
        let answer = sso.back(&mut browser, &back);
        let to = sent_to(&answer);
        assert!(
            to.starts_with(onward) && !to.contains("evil.example/") && to.starts_with('/'),
            "{next}: {to}"
        );
        assert!(!to.starts_with("//") && answer.headers.get_all("location").iter().count() == 1);
    }
}

#[test]
fn only_a_link_makes_somebody_somebody() {
    let sso = Sso::new();
    let person = sso.person();
    // Neither the same address, nor the name of a user, nor almost the subject.
    let subject = Sso::subject(&person);
    for other in
        [person.name.clone(), person.id.clone(), subject.to_uppercase(), format!("{subject} "), "ada".into()]
    {
        let mut browser = sso.browser();
        let answer = sso.comes_back_as(&mut browser, &other, |_, claims| {
            claims["preferred_username"] = json!(person.name);
            claims["email"] = json!(format!("{}@example.org", person.name));
        });
        refused(&answer, 403, "not linked to anybody here");
    }
    // Nor the same subject at another provider.
    let other = Sso::new();
    refused(&other.signs_in(&subject).1, 403, "not linked");
    entered(&sso.signs_in(&subject).1);
}

#[test]
fn only_an_administrator_in_person_declares_and_links() {
    let sso = Sso::new();
    let (person, story) = (sso.person(), stage());
    let subjects = format!("{}/subjects", sso.path());
    let (_, agent) = story.ready("  - {name: notes, allow: [notes.write]}\n");
    let token = story.server.admin_token().to_owned();
    let link = |of: &str| json!({"subject": "mine", "user": "ada", "password": of});
    let declare = |of: &str| json!({"handle": "evil", "issuer": sso.issuer(), "client_id": "a", "client_secret": "b", "password": of});
    let secret = |of: &str| json!({"client_secret": "b", "password": of});
    for who in [&token, &agent, &person.token] {
        let client = story.client().with(who);
        // Also where they know the password of one.
        for name in ["ada", &person.name] {
            client.post(&subjects).json(&link(&password(name))).send().refused(403, "not_permitted");
            client
                .post("/v1/identity-providers")
                .json(&declare(&password(name)))
                .send()
                .refused(403, "not_permitted");
            let path = format!("{}/secret", sso.path());
            client.post(&path).json(&secret(&password(name))).send().refused(403, "not_permitted");
        }
        if *who != token {
            client.delete(&sso.path()).send().refused(403, "not_permitted");
            client.get("/v1/identity-providers").send().refused(403, "not_permitted");
        }
    }
    // A stolen session is not enough.
    let admin = || story.admin();
    let wrong = "a wrong password, long enough";
    admin().post(&subjects).json(&link(wrong)).send().refused(403, "not_permitted");
    admin()
        .post(&subjects)
        .json(&json!({"subject": "mine", "user": "ada"}))
        .send()
        .refused(400, "request_invalid");
    admin().post("/v1/identity-providers").json(&declare(wrong)).send().refused(403, "not_permitted");
    admin().post(&format!("{}/secret", sso.path())).json(&secret(wrong)).send().refused(403, "not_permitted");
    refused(&sso.signs_in("mine").1, 403, "not linked");
    // A subject is one person.
    let other = Person::with(story, &[]);
    sso.links(&Sso::subject(&person), &other).refused(409, "conflict");
    // Nobody is signed in by an agent's token at the pages.
    let mut browser = sso.browser();
    browser.cookies.insert("placet".into(), agent);
    let sent = browser.post("/account/providers", &[("provider", &sso.handle)]);
    assert_eq!((sent.status, sent.header("location")), (303, Some("/account")));
}

#[test]
fn a_secret_is_sealed_and_changed_without_ending_anything() {
    let sso = Sso::new();
    let (person, story) = (sso.person(), stage());
    let shown = story.admin().get(&sso.path()).send().expect(200);
    assert!(!shown.body.to_string().contains(SECRET) && shown.text("/auth") == "client_secret_basic");
    let change = |secret: &str| {
        let body = json!({"client_secret": secret, "password": password("ada")});
        story.admin().post(&format!("{}/secret", sso.path())).json(&body).send().expect(204);
    };
    change("another secret");
    refused(&sso.signs_in(&Sso::subject(&person)).1, 403, "can’t be believed");
    assert!(sso.tokens.unauthorized() > 0);
    change(SECRET);
    entered(&sso.signs_in(&Sso::subject(&person)).1);
    rotated(story);
    entered(&sso.signs_in(&Sso::subject(&person)).1);
    assert!(!story.server.log().contains(SECRET));
}

/// The vault has another key, and the old one is gone.
fn rotated(story: &Story) {
    let admin = story.server.admin();
    let old = admin.post("/v1/keys/rotate").json(&json!({"key": "vault"})).send().expect(200);
    let gone = || {
        let keys = admin.get("/v1/keys").send().expect(200).body;
        (!keys.to_string().contains("retiring")).then_some(())
    };
    placet_testkit::until("the old vault key is given up", gone);
    assert!(old.status == 200);
}
