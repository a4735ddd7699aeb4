//! Accounts whose tokens are got for another token that the connection has (RFC 8693).

use super::*;
use placet_testkit::until;

const KIND: &str = ", subject_token_type: 'urn:ietf:params:oauth:token-type:jwt', audience: api";

#[test]
fn a_token_that_the_connection_has_is_exchanged_whenever_one_is_due() {
    let (site, person) = (Site::unregistered(KIND), Person::new());
    site.gives([token("t1", 1, Some("not-wanted")), token("t2", 3600, None)]);
    let auth = json!({"type": "oauth2", "client_id": CLIENT, "client_secret": SECRET, "subject_token": "canary-subject-1"});
    let body = json!({"name": site.service, "service": site.service, "auth": auth});
    let made = site.story.admin().post("/v1/connections").json(&body).send().expect(201);
    let agent = site.agent_of(&person);
    until("the next token to be used", || {
        site.get(&agent).expect(200);
        site.shown().last().is_some_and(|token| token == "Bearer t2").then_some(())
    });
    let asked = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=canary-subject-1&\
                 subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&\
                 requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&scope=read%20write&audience=api";
    assert_eq!(site.asked(), [asked; 2]);
    for told in [made.body.to_string(), json!(site.story.record()).to_string(), site.story.server.log()] {
        assert!(!told.contains("canary-subject"), "{told}");
    }
}

#[test]
fn what_is_exchanged_is_what_the_definition_asks_for() {
    let (exchanging, other) = (Site::unregistered(KIND), Site::unregistered(""));
    for (site, more) in [
        (&exchanging, json!({"refresh_token": "r"})),
        (&exchanging, json!({})),
        (&exchanging, json!({"refresh_token": "r", "subject_token": "s"})),
        (&other, json!({"subject_token": "s"})),
    ] {
        let mut auth = json!({"type": "oauth2", "client_id": CLIENT, "client_secret": SECRET});
        auth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = json!({"name": fresh("con-"), "service": site.service, "auth": auth});
        let answer = site.story.admin().post("/v1/connections").json(&body).send();
        assert!(answer.refused(400, "request_invalid").text("/detail").contains("subject_token"), "{more}");
        assert!(site.asked().is_empty());
    }
}
