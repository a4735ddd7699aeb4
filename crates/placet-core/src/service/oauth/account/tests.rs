//! Answers of servers that are not to be believed, and what people are sent with.

use super::*;
use serde_json::{Value, json};

fn server(more: &Value) -> OAuth {
    let mut all = json!({"token_url": "https://sso.example/token", "authorization_url": "https://sso.example/authorize?tenant=1"});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

#[test]
fn a_person_is_sent_with_a_challenge_and_what_the_definition_adds() {
    let server = server(
        &json!({"scope": ["a", "b"], "authorization_params": {"access_type": "offline"}, "resource": "https://api.example"}),
    );
    let asking =
        Asking { client_id: "me&x", redirect_uri: "https://p.example/c", state: "s", code_challenge: "c" };
    assert_eq!(
        server.ask_at(&asking).unwrap(),
        "https://sso.example/authorize?tenant=1&response_type=code&client_id=me%26x&redirect_uri=https%3A%2F%2Fp.example%2Fc&scope=a+b&state=s&code_challenge=c&code_challenge_method=S256&resource=https%3A%2F%2Fapi.example&access_type=offline"
    );
}

#[test]
fn an_answer_says_everything_once() {
    assert_eq!(Answer::read("code=c&state=s").unwrap().state, "s");
    for query in [
        "",
        "code=c",
        "code=c&state=s&state=t",
        "code=c&code=d&state=s",
        "state=s&iss=a&iss=a",
        "state=s&error=a&error=b",
    ] {
        assert_eq!(Answer::read(query), None, "{query}");
    }
}

#[test]
fn an_answer_is_of_the_server_that_was_asked() {
    let silent = server(&json!({}));
    let named = server(&json!({"issuer": "https://sso.example"}));
    let saying = server(&json!({"issuer": "https://sso.example", "iss_in_response": true}));
    let own = "iss=https%3A%2F%2Fsso.example";
    let refused = |error: &str| NoCode::Refused(error.to_owned(), None);
    for (server, query, expected) in [
        (&silent, "code=c".to_owned(), Ok("c")),
        (&silent, format!("code=c&{own}"), Err(NoCode::Unnamed)),
        (&named, "code=c".to_owned(), Ok("c")),
        (&named, format!("code=c&{own}"), Ok("c")),
        (&named, format!("code=c&{own}%2F"), Err(NoCode::NotIts)),
        (&named, "code=c&iss=".to_owned(), Err(NoCode::NotIts)),
        (&saying, "code=c".to_owned(), Err(NoCode::NotIts)),
        (&saying, format!("code=c&{own}"), Ok("c")),
        (&saying, "code=c&iss=https%3A%2F%2Fother.example".to_owned(), Err(NoCode::NotIts)),
        // Whose an error is counts as well.
        (&saying, "error=access_denied".to_owned(), Err(NoCode::NotIts)),
        (&saying, format!("error=access_denied&{own}"), Err(refused("access_denied"))),
        (&named, "error=access_denied&code=c".to_owned(), Err(refused("access_denied"))),
        (&named, String::new(), Err(NoCode::Nothing)),
        (&named, "code=".to_owned(), Err(NoCode::Nothing)),
    ] {
        let answer = Answer::read(&format!("state=s&{query}")).unwrap();
        assert_eq!(answer.code(server), expected, "{query}");
    }
}

#[test]
fn people_are_sent_to_pages_and_nothing_else() {
    for (url, good) in [
        ("https://sso.example/device", true),
        ("https://sso.example/device?x=1", true),
        ("http://127.0.0.1:1/d", true),
        ("http://sso.example/d", false),
        ("javascript:alert(1)", false),
        ("https://sso.example@evil.example/", false),
        ("data:text/html,x", false),
        ("", false),
    ] {
        assert_eq!(is_page(url), good, "{url}");
    }
}

#[test]
fn the_code_of_a_device_is_shown_only_with_a_page_to_enter_it_at() {
    let read = |more: &Value| {
        let mut all =
            json!({"device_code": "d", "user_code": "ABCD", "verification_uri": "https://sso.example/d"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Device::read(&server(&json!({})), true, &Secret::new(all.to_string()))
    };
    let usual = read(&json!({})).unwrap();
    assert_eq!((usual.interval.as_secs(), usual.lifetime.as_secs()), (5, 1800));
    let other =
        read(&json!({"interval": 1, "expires_in": 90, "verification_uri_complete": "javascript:x"})).unwrap();
    assert_eq!((other.interval.as_secs(), other.lifetime.as_secs()), (1, 90));
    assert_eq!(other.verification_uri_complete, None);
    assert_eq!(read(&json!({"interval": 999_999})).unwrap().interval.as_secs(), 60);
    for wrong in [
        json!({"verification_uri": "javascript:alert(1)"}),
        json!({"verification_uri": null}),
        json!({"user_code": "\u{202e}AB"}),
        json!({"user_code": ""}),
        json!({"device_code": ""}),
        json!({"device_code": null}),
    ] {
        assert!(matches!(read(&wrong), Err(Ungranted::Unusable(_))), "{wrong}");
    }
    let refused = Secret::new(json!({"error": "unauthorized_client"}).to_string());
    assert_eq!(
        Device::read(&server(&json!({})), false, &refused),
        Err(Ungranted::Refused("unauthorized_client".to_owned()))
    );
}
