//! Clients that nobody registered by hand: a person's consent is what makes agents of them.

use super::browser::{App, Browser, html, parameter, sent_to};
use crate::stage::PLACET;
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
