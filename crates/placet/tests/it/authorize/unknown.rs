//! Clients that nobody registered by hand: a person's consent is what makes agents of them.

use super::browser::{App, Browser, VERIFIER, encoded, html, parameter, sent_to};
use crate::{clients::signer::Signer, stage::PLACET};
use placet_core::client::assertion::ASSERTION_TYPE;
use placet_testkit::{Publisher, Server, Story};
use serde_json::{Value, json};

const BACK: &str = "http://127.0.0.1:49152/cb";

fn place() -> Story {
    let mut server = Server::start(PLACET);
    server.flags(&["--loopback-documents"]);
    server.restart();
    let story = Story::on(server);
    story.user("pat", &[]);
    let template = json!({"allowed_tools": ["orders.*"], "resource_access": ["order://**"], "default_scopes": ["orders.read"]});
    story.admin().put("/v1/registration-template").json(&template).send().expect(200);
    story
}

fn registered(story: &Story, agent: &str) -> usize {
    let record = story.record();
    let is = |entry: &&Value| entry["type"] == "agent.registered" && entry["agent"] == agent;
    record.iter().filter(is).count()
}

#[test]
fn a_client_that_registered_itself_becomes_an_agent_when_a_person_says_yes() {
    let story = place();
    let metadata = json!({"redirect_uris": ["http://127.0.0.1/cb"], "client_name": "IDE", "application_type": "native",
        "token_endpoint_auth_method": "none"});
    let made = story.client().post("/oauth/register").json(&metadata).send().expect(201);
    let app = App::of(&story, &made.text("/client_id"), None);
    let mut browser = Browser::at(&story.server.pages());
    browser.sign_in("pat");
    // An error leads nobody there by itself.
    let wrong = browser.get(&app.asking().with("scope", "refunds.create").path());
    assert_eq!((wrong.status, wrong.header("location")), (400, None));
    assert!(html(&wrong).contains("Go back to “127.0.0.1”"), "{}", html(&wrong));

    let page = browser.asked(&app.asking());
    assert!(html(&page).contains("registered itself") && html(&page).contains("It calls itself “IDE”"));
    let denied = sent_to(&browser.submit(&page, "/consent", &[("verdict", "deny")]));
    assert_eq!(parameter(&denied, "error").as_deref(), Some("access_denied"));
    story.admin().get(&format!("/v1/agents/{}", app.id)).send().refused(404, "not_found");

    let back = browser.allow(&page);
    assert!(back.starts_with(BACK), "{back}");
    let given = app.exchange(&parameter(&back, "code").unwrap()).expect(200);
    assert_eq!(given.at("/scope"), "orders.read");
    app.refresh(&given.text("/refresh_token")).expect(200);
    assert_eq!(registered(&story, &app.id), 1);
    // From now on it is an agent like any other.
    let page = browser.asked(&app.asking());
    assert!(!html(&page).contains("registered itself"));
    app.exchange(&parameter(&browser.allow(&page), "code").unwrap()).expect(200);
    assert_eq!(registered(&story, &app.id), 1);
    story.admin().delete(&format!("/v1/agents/{}", app.id)).send();
    assert_eq!(browser.get(&app.asking().path()).status, 400);
}

#[test]
fn a_client_is_what_its_document_says() {
    let story = place();
    let publisher = Publisher::start();
    let url = publisher.url("/client");
    let document = |redirect: &str| {
        json!({"client_id": url, "client_name": "Code Helper", "redirect_uris": [redirect],
            "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none"})
    };
    publisher.json("/client", &document("http://127.0.0.1/cb"));
    let app = App::of(&story, &url, None);
    let mut browser = Browser::at(&story.server.pages());
    browser.sign_in("pat");
    let page = browser.asked(&app.asking());
    assert!(html(&page).contains(&format!("It is described at “{url}”")), "{}", html(&page));
    assert_eq!(
        browser.get(&app.asking().with("redirect_uri", "http://127.0.0.1:49152/other").path()).status,
        400
    );
    let given = app.exchange(&parameter(&browser.allow(&page), "code").unwrap()).expect(200);
    let again = app.refresh(&given.text("/refresh_token")).expect(200);
    assert_eq!(again.at("/grant_id"), given.at("/grant_id"));
    // Asked again, it is the same agent.
    let page = browser.asked(&app.asking());
    let second = app.exchange(&parameter(&browser.allow(&page), "code").unwrap()).expect(200);
    let agent = |answer: &placet_testkit::Answer| {
        let path = format!("/v1/grants/{}", answer.text("/grant_id"));
        story.admin().get(&path).send().expect(200).text("/agent")
    };
    assert_eq!(agent(&given), agent(&second));
    assert_eq!(registered(&story, &agent(&given)), 1);
}

#[test]
fn a_client_that_nobody_knows_yet_pushes_what_a_person_is_asked() {
    let story = place();
    let publisher = Publisher::start();
    let url = publisher.url("/pushing");
    let signer = Signer::ed25519();
    let document = json!({"client_id": url, "client_name": "Pusher", "redirect_uris": [BACK], "jwks": signer.jwks(None)});
    publisher.json("/pushing", &document);
    let register = |more: serde_json::Value| {
        let mut metadata = json!({"redirect_uris": [BACK], "client_name": "IDE"});
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        story.client().post("/oauth/register").json(&metadata).send().expect(201)
    };
    let public = register(json!({"token_endpoint_auth_method": "none"})).text("/client_id");
    let made = register(json!({}));
    let (secretive, secret) = (made.text("/client_id"), made.text("/client_secret"));
    let mut browser = Browser::at(&story.server.pages());
    browser.sign_in("pat");
    for (id, proof) in [
        (&public, vec![]),
        (&secretive, vec![("client_secret", secret.clone())]),
        (
            &url,
            vec![("client_assertion_type", ASSERTION_TYPE.to_owned()), ("client_assertion", String::new())],
        ),
    ] {
        let asking = App::of(&story, id, None).asking().with("redirect_uri", BACK);
        let proved = |request: &[(String, String)]| {
            let assertion = signer.assertion(&url, story.server.base());
            let own =
                proof.iter().map(|(name, value)| (*name, if value.is_empty() { &assertion } else { value }));
            let mut form: Vec<(&str, &str)> =
                request.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            form.extend(own.clone().map(|(name, value)| (name, value.as_str())));
            let at = |path: &str| story.client().post(path).form(&form).send();
            if form.iter().any(|(name, _)| *name == "code") { at("/oauth/token") } else { at("/oauth/par") }
        };
        let name = proved(&asking.pairs).expect(201).text("/request_uri");
        // Nothing else is to be had before somebody says yes.
        story.admin().get(&format!("/v1/agents/{id}")).send().refused(404, "not_found");
        let path = format!("/oauth/authorize?client_id={}&request_uri={}", encoded(id), encoded(&name));
        let page = browser.get(&path).expect(200);
        let code = parameter(&browser.allow(&page), "code").expect("a code");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let exchange = [
            pair("grant_type", "authorization_code"),
            pair("client_id", id),
            pair("code", &code),
            pair("code_verifier", VERIFIER),
        ];
        proved(&exchange).expect(200);
    }
    // Not without its proof, and nobody that is not there.
    let made = register(json!({}));
    let ask = |id: &str, more: &[(&str, &str)]| {
        let asking = App::of(&story, id, None).asking().with("redirect_uri", BACK);
        let mut form: Vec<(&str, &str)> =
            asking.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        form.extend(more);
        story.client().post("/oauth/par").form(&form).send().refused(401, "invalid_client");
    };
    let id = made.text("/client_id");
    ask(&id, &[]);
    ask(&id, &[("client_secret", "wrong")]);
    ask(&id, &[("client_secret", &secret)]);
    ask("agt_00000000000000000000000000", &[]);
    publisher.json(
        "/other",
        &json!({"client_id": publisher.url("/other"), "client_name": "O", "redirect_uris": [BACK],
        "jwks": Signer::ed25519().jwks(None)}),
    );
    let other = publisher.url("/other");
    ask(&other, &[]);
    let forged = signer.assertion(&other, story.server.base());
    ask(&other, &[("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &forged)]);
}
