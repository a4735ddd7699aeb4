//! What a client is called, written in other ways: a name has one spelling, and whoever writes it otherwise is nobody.

use super::browser::{App, Browser, html};
use crate::{authorize::browser::VERIFIER, stage::PLACET};
use placet_testkit::{Publisher, Server, Story};
use serde_json::json;

/// The same text for somebody who looks, or for a reader that decodes, folds or trims.
fn spellings(name: &str) -> Vec<String> {
    let (head, tail) = name.split_at(name.len() - 1);
    let wide: String = name
        .chars()
        .map(|c| char::from_u32(u32::from(c) + 0xfee0).filter(|_| c.is_ascii_graphic()).unwrap_or(c))
        .collect();
    let mut all = vec![
        name.to_uppercase(),
        format!("{} ", name),
        format!(" {name}"),
        format!("{name}\t"),
        format!("{name}\n"),
        format!("{name}\0"),
        format!("{name}\0x"),
        format!("{name}."),
        format!("{name}/"),
        format!("{name}?"),
        format!("{name}#"),
        format!("{name}\u{200b}"),
        format!("\u{feff}{name}"),
        format!("{name}\u{202e}"),
        format!("{head}%{:02x}", tail.as_bytes()[0]),
        format!("{head}\u{200d}{tail}"),
        name.replacen('a', "а", 1),
        name.replacen('e', "é", 1),
        name.replacen('_', "%5F", 1),
        name.replacen('_', "＿", 1),
        name.replacen("https", "HTTPS", 1),
        name.replacen("http", "HTTP", 1),
        name.replacen("127.0.0.1", "127.1", 1),
        name.replacen("127.0.0.1", "2130706433", 1),
        name.replacen("127.0.0.1", "localhost", 1),
        name.replacen("//", "//x@", 1),
        name.replacen("/client", "//client", 1),
        name.replacen("/client", "/./client", 1),
        name.replacen("/client", "/x/../client", 1),
        name.replacen("/client", "/%63lient", 1),
        wide,
    ];
    all.retain(|other| other != name);
    all
}

#[test]
fn a_client_has_one_name_letter_by_letter() {
    let mut server = Server::start(PLACET);
    server.flags(&["--loopback-documents"]);
    server.restart();
    let story = Story::on(server);
    story.user("pat", &[]);
    let template = json!({"allowed_tools": ["orders.*"], "resource_access": ["order://**"]});
    story.admin().put("/v1/registration-template").json(&template).send().expect(200);
    let publisher = Publisher::start();
    let url = publisher.url("/client");
    let document = json!({"client_id": url, "client_name": "Helper", "redirect_uris": ["http://127.0.0.1/cb"],
        "token_endpoint_auth_method": "none"});
    publisher.json("/client", &document);
    let by_hand = App::on(
        &story,
        &json!({"redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none"}),
    );
    let by_document = App::of(&story, &url, None);
    let mut browser = Browser::at(&story.server.pages());
    browser.sign_in("pat");
    for app in [&by_hand, &by_document] {
        let code = browser.code(&app.asking());
        for other in spellings(&app.id) {
            let page = browser.get(&app.asking().with("client_id", &other).path());
            assert_eq!((page.status, page.header("location")), (400, None), "{other:?}: {}", html(&page));
            let form = [
                ("grant_type", "authorization_code"),
                ("code", code.as_str()),
                ("code_verifier", VERIFIER),
                ("client_id", other.as_str()),
            ];
            let answer = story.client().post("/oauth/token").form(&form).send();
            assert_eq!(answer.status, 401, "{other:?}: {}", answer.body);
            assert_eq!(answer.at("/error"), "invalid_client", "{other:?}");
        }
        // None of them used the code up: its own name does.
        app.exchange(&code).expect(200);
    }
}
