//! What this server is at the authorization servers of services.

use super::*;

#[test]
fn an_administrator_says_what_this_server_is_there_and_nobody_reads_the_secret() {
    let (site, person) = (Site::unregistered(""), Person::new());
    let path = format!("/v1/services/{}/client", site.service);
    // Whoever registers it there is told what for before there is an id.
    let untold = site.story.admin().get(&path).send().refused(404, "not_found").text("/detail");
    let back = format!("{}/connect/callback/{}", site.story.server.pages(), site.service);
    assert!(untold.contains(&back) && untold.contains("placet service client"), "{untold}");
    let page = person.signed_in_browser().get(&site.path());
    assert_eq!(page.status, 409, "{}", html(&page));
    let refused = person.client().post("/v1/connect").json(&json!({"service": site.service})).send();
    assert!(refused.refused(409, "conflict").text("/detail").contains("placet service client"));
    let client = json!({"client_id": CLIENT, "client_secret": SECRET});
    person.client().put(&path).json(&client).send().refused(403, "not_permitted");
    for wrong in [
        json!({"client_id": ""}),
        json!({"client_id": "a b"}),
        json!({"client_id": "a", "client_secret": "x\ny"}),
    ] {
        site.register(&wrong).refused(400, "request_invalid");
    }
    let made = site.register(&client).expect(201);
    assert_eq!(made.text("/redirect_uri"), back);
    let shown = site.story.admin().get(&path).send().expect(200);
    assert_eq!(
        (shown.at("/client_id"), shown.at("/has_secret"), shown.at("/counts")),
        (&json!(CLIENT), &json!(true), &json!(true))
    );
    assert!(
        !shown.body.to_string().contains(SECRET) && !json!(site.story.record()).to_string().contains(SECRET)
    );
    person.signed_in_browser().get(&site.path()).expect(200);
    // The secret was given for this server: another gets nothing.
    let other = Upstream::with_header("user-agent", "x");
    let yaml = format!(
        "service: {0}\nbase_url: {1}\nauth: {{type: oauth2, token_url: {2}/token, authorization_url: {2}/authorize}}\nactions:\n  \
         {0}.get: {{method: GET, path: '/things/{{id}}', resource: '{0}://things/{{id}}', effect: read}}\n",
        site.service,
        site.api.base(),
        other.base()
    );
    site.story.service(&site.service, &yaml).expect(200);
    assert_eq!(site.story.admin().get(&path).send().expect(200).at("/counts"), &json!(false));
    assert_eq!(person.signed_in_browser().get(&site.path()).status, 409);
    assert!(other.seen().is_empty());
    site.story.admin().delete(&path).send().expect(204);
    site.story.admin().delete(&path).send().refused(404, "not_found");
}

#[test]
fn a_client_without_a_secret_names_itself() {
    let (site, person) = (Site::unregistered(""), Person::new());
    site.register(&json!({"client_id": "public"})).expect(201);
    site.connected(&person, token("t1", 3600, None));
    assert!(site.asked()[0].ends_with("&client_id=public"), "{:?}", site.asked());
    assert_eq!(site.server.seen_at("/token")[0].header("authorization"), None);
}

#[test]
fn only_services_with_an_authorization_server_have_a_client() {
    let (story, person) = (stage(), Person::new());
    let client = json!({"client_id": CLIENT});
    story.admin().put("/v1/services/shop/client").json(&client).send().refused(400, "request_invalid");
    story.admin().put("/v1/services/nothing/client").json(&client).send().refused(404, "not_found");
    // Where people can't agree at all, no client would help: that is what is told.
    let nowhere = Site::unregistered("");
    let yaml = format!(
        "service: {0}\nbase_url: {1}\nauth: {{type: oauth2, token_url: {1}/token}}\nactions:\n  \
         {0}.get: {{method: GET, path: '/things/{{id}}', resource: '{0}://things/{{id}}', effect: read}}\n",
        nowhere.service,
        nowhere.api.base()
    );
    nowhere.story.service(&nowhere.service, &yaml).expect(200);
    let refused = person.client().post("/v1/connect").json(&json!({"service": nowhere.service})).send();
    assert!(refused.refused(400, "request_invalid").text("/detail").contains("authorization_url"));
    for (service, status) in [("shop", 400), ("nothing", 404)] {
        assert_eq!(story.admin().get(&format!("/v1/services/{service}/client")).send().status, status);
        let answer = person.client().post("/v1/connect").json(&json!({"service": service})).send();
        assert_eq!(answer.status, status, "{:#}", answer.body);
    }
}

#[test]
fn the_secret_is_moved_when_the_vault_key_is_rotated() {
    let story = Story::new(crate::stage::PLACET);
    let yaml = "service: site\nbase_url: http://127.0.0.1:1\nauth: {type: oauth2, token_url: 'http://127.0.0.1:1/token', \
                authorization_url: 'http://127.0.0.1:1/authorize', device_authorization_url: 'http://127.0.0.1:1/device'}\nactions:\n  \
                site.get: {method: GET, path: '/things/{id}', resource: 'site://things/{id}', effect: read}\n";
    story.service("site", yaml).expect(201);
    let client = json!({"client_id": CLIENT, "client_secret": SECRET});
    story.admin().put("/v1/services/site/client").json(&client).send().expect(201);
    story.admin().post("/v1/keys/rotate").json(&json!({"key": "vault"})).send().expect(200);
    // Once nothing is left under the old key, it is gone; what was not moved could not be opened any more.
    placet_testkit::until("the old key to be given up", || {
        let keys = story.admin().get("/v1/keys").send().expect(200).body.to_string();
        story.record().iter().any(|entry| entry["type"] == "key.removed").then_some(keys)
    });
    let (_, session) = story.user(&fresh("user-"), &[]);
    let asked = story.client().with(&session).post("/v1/connect").json(&json!({"service": "site"})).send();
    assert!(asked.expect(200).text("/url").contains("/connect/site"));
    // By a code, which needs the secret itself.
    let begun = story
        .server
        .admin()
        .post("/v1/connect")
        .json(&json!({"service": "site", "organization": true, "device": true}))
        .send();
    assert!(
        begun.refused(400, "request_invalid").text("/detail").contains("reached"),
        "it was opened, and nobody listens there"
    );
}

#[test]
fn what_a_server_publishes_is_told_to_who_writes_a_definition() {
    let (story, site, person) = (stage(), Site::unregistered(""), Person::new());
    let issuer = site.server.base().to_owned();
    let asked = |client: placet_testkit::Client| {
        client.get(&format!("/v1/authorization-server?issuer={}", encoded(&issuer))).send()
    };
    asked(person.client()).refused(403, "not_permitted");
    let document = json!({"issuer": issuer, "token_endpoint": format!("{issuer}/token"),
        "authorization_endpoint": format!("{issuer}/authorize"), "authorization_response_iss_parameter_supported": true});
    site.server.reply("/.well-known/", Reply::status(404));
    assert!(asked(story.admin()).refused(400, "request_invalid").text("/detail").contains("404"));
    site.server.reply("/.well-known/openid-configuration", Reply::json(200, &document));
    let found = asked(story.admin()).expect(200);
    assert_eq!(
        found.at("/auth"),
        &json!({"type": "oauth2", "token_url": format!("{issuer}/token"), "client_auth": "client_secret_basic",
            "authorization_url": format!("{issuer}/authorize"), "issuer": issuer, "iss_in_response": true})
    );
    // What it answers is what a definition takes.
    let yaml = format!(
        "service: {0}\nbase_url: {1}\nauth: {2}\nactions:\n  {0}.get: {{method: GET, path: '/things/{{id}}', resource: '{0}://things/{{id}}', effect: read}}\n",
        site.service,
        site.api.base(),
        found.at("/auth")
    );
    story.service(&site.service, &yaml).expect(200);
    let other = json!({"issuer": "https://evil.example", "token_endpoint": "https://evil.example/token"});
    site.server.reply("/.well-known/oauth-authorization-server", Reply::json(200, &other));
    assert!(asked(story.admin()).refused(400, "request_invalid").text("/detail").contains("issuer"));
    let elsewhere = Upstream::with_header("user-agent", "x");
    site.server.reply("/.well-known/", Reply::status(302).header("location", elsewhere.base()));
    assert!(asked(story.admin()).refused(400, "request_invalid").text("/detail").contains("302"));
    assert!(elsewhere.seen().is_empty());
}
