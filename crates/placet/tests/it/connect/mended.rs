//! Connections whose tokens come to an end: renewed, or parked until their owner connects them anew.

use super::*;
use placet_testkit::until;

/// An API that takes these tokens and no other.
fn takes(site: &Site, tokens: &'static [&'static str]) {
    site.api.answer("/", move |seen| {
        let shown = seen.header("authorization").unwrap_or_default();
        let good = tokens.iter().any(|token| shown.strip_prefix("Bearer ") == Some(token));
        if good {
            Reply::json(200, &json!({"ok": true}))
        } else {
            Reply::json(401, &json!({"error": "who?"}))
        }
    });
}

fn status(answer: &Answer) -> Value {
    answer.clone().expect(200).at("/result/status").clone()
}

#[test]
fn a_refresh_token_is_shown_with_the_clients_secret_and_the_newest_is_kept() {
    let (site, person) = (Site::new(), Person::new());
    site.connected(&person, token("t1", 1, Some("r1")));
    let agent = site.agent_of(&person);
    site.gives([token("t2", 1, Some("r2")), token("t3", 1, None), token("t4", 3600, None)]);
    until("the last token to be used", || {
        site.get(&agent).expect(200);
        site.shown().last().is_some_and(|token| token == "Bearer t4").then_some(())
    });
    let asked = ["r1", "r2", "r2"].map(|token| format!("grant_type=refresh_token&refresh_token={token}"));
    assert_eq!(site.asked()[1..], asked);
    // The client proved who it is each time.
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")));
    let seen = site.server.seen_at("/token");
    assert!(seen.iter().all(|seen| seen.header("authorization") == Some(&*basic)));
}

#[test]
fn another_secret_of_the_client_counts_at_once_for_every_account() {
    let (site, person) = (Site::new(), Person::new());
    site.connected(&person, token("t1", 1, Some("r1")));
    site.register(&json!({"client_id": CLIENT, "client_secret": "another-secret"})).expect(200);
    let agent = site.agent_of(&person);
    site.gives([token("t2", 3600, None)]);
    until("the next token to be used", || {
        site.get(&agent).expect(200);
        site.shown().last().is_some_and(|token| token == "Bearer t2").then_some(())
    });
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:another-secret")));
    assert_eq!(site.server.seen_at("/token").last().unwrap().header("authorization"), Some(&*basic));
}

#[test]
fn a_token_that_the_upstream_refuses_is_renewed_once_and_the_action_is_not_sent_again() {
    let (site, person) = (Site::new(), Person::new());
    let name = site.connected(&person, token("t1", 3600, Some("r1")));
    let agent = site.agent_of(&person);
    takes(&site, &["t2"]);
    site.gives([token("t2", 3600, Some("r2")), refused("invalid_grant")]);
    assert_eq!(status(&site.get(&agent)), json!(401));
    assert_eq!((site.shown().len(), site.asked().len()), (1, 2), "sent once, renewed once");
    assert_eq!(status(&site.get(&agent)), json!(200));
    assert_eq!(site.shown().last().unwrap(), "Bearer t2");
    // Who is refused again and again makes nobody ask again and again.
    takes(&site, &[]);
    for _ in 0..3 {
        assert_eq!(status(&site.get(&agent)), json!(401));
    }
    assert_eq!((site.asked().len(), &site.state(&person, &name)["state"]), (2, &json!("active")));
}

#[test]
fn where_the_server_says_that_the_grant_is_gone_its_owner_is_asked_to_connect_anew() {
    let (site, person) = (Site::new(), Person::new());
    let name = site.connected(&person, token("t1", 3600, Some("r1")));
    let agent = site.agent_of(&person);
    takes(&site, &["t9"]);
    site.gives([refused("invalid_grant")]);
    assert_eq!(status(&site.get(&agent)), json!(401));
    let link = format!("{}{}?connection={name}", site.story.server.pages(), site.path());
    let told = site.get(&agent).refused(503, "unavailable");
    assert_eq!(told.text("/reasons/0/remedy/connect"), link, "{:#}", told.body);
    let parked = site.state(&person, &name);
    assert_eq!(
        (&parked["state"], &parked["attention"]),
        (&json!("needs_attention"), &json!({"reason": "token_refused", "connect": link}))
    );
    let asked = site.asked().len();
    // Nobody else's agent, and nobody else, is told.
    let other = Person::new();
    assert!(!site.get(&site.agent_of(&other)).body.to_string().contains("/connect/"));
    other.client().get(&format!("/v1/connections/{name}")).send().refused(404, "not_found");
    let anew =
        |client: placet_testkit::Client| client.post("/v1/connect").json(&json!({"connection": name})).send();
    // What isn't theirs is told like what isn't there, also where there would be something else to say of the service.
    let none = other.client().post("/v1/connect").json(&json!({"connection": fresh("none-")})).send();
    let none = none.refused(404, "not_found").text("/detail");
    assert_eq!(anew(other.client()).refused(404, "not_found").text("/detail"), none);
    assert_eq!(anew(site.story.admin()).refused(404, "not_found").text("/detail"), none);
    for asked in
        [json!({"connection": name}), json!({"connection": fresh("none-")}), json!({"service": site.service})]
    {
        let told = site.story.client().post("/v1/connect").bearer(&agent).json(&asked).send();
        told.refused(403, "not_permitted");
    }
    assert_eq!(anew(person.client()).expect(200).text("/url"), link);
    // They follow the link.
    let mut browser = person.signed_in_browser();
    let page = browser.get(&format!("{}?connection={name}", site.path())).expect(200);
    assert!(html(&page).contains("takes the place"), "{}", html(&page));
    let away = site.goes(&person, &mut browser, &page, &[]);
    site.gives([token("t9", 3600, Some("r9"))]);
    assert_eq!(site.back(&person, &browser, &[("code", "c"), ("state", &away.state)]).status, 200);
    assert_eq!(status(&site.get(&agent)), json!(200));
    let mended = site.state(&person, &name);
    assert_eq!(
        (&mended["state"], &mended["attention"], mended["id"] == parked["id"]),
        (&json!("active"), &Value::Null, true)
    );
    assert_eq!(site.asked().len(), asked + 1);
}

#[test]
fn without_a_refresh_token_an_account_is_connected_anew_when_its_token_ends() {
    let (site, person) = (Site::new(), Person::new());
    let name = site.connected(&person, token("t1", 1, None));
    let agent = site.agent_of(&person);
    until("the token to end", || (site.get(&agent).status == 503).then_some(()));
    let parked = site.state(&person, &name);
    assert_eq!(
        (&parked["state"], &parked["attention"]["reason"]),
        (&json!("needs_attention"), &json!("token_refused"))
    );
    assert_eq!(site.asked().len(), 1, "there was nothing to ask with");
}

#[test]
fn one_refusal_does_not_cost_an_account_without_a_refresh_token() {
    let (site, person) = (Site::new(), Person::new());
    let name = site.connected(&person, token("t1", 3600, None));
    let (agent, other) = (site.agent_of(&person), site.agent_of(&person));
    let state = || site.state(&person, &name)["state"].clone();
    // Four in a row, a success, and four more: it may be what was asked for.
    for _ in 0..2 {
        takes(&site, &[]);
        for _ in 0..4 {
            assert_eq!(status(&site.get(&agent)), json!(401));
        }
        takes(&site, &["t1"]);
        assert_eq!((status(&site.get(&agent)), state()), (json!(200), json!("active")));
    }
    // So it may with one agent alone, however often: it chooses what it asks for, and others use the account as well.
    takes(&site, &[]);
    for _ in 0..12 {
        assert_eq!(status(&site.get(&agent)), json!(401));
    }
    assert_eq!(state(), json!("active"));
    takes(&site, &["t1"]);
    assert_eq!(status(&site.get(&other)), json!(200));
    // What another one meets as well is about the token.
    takes(&site, &[]);
    for _ in 0..4 {
        assert_eq!(status(&site.get(&agent)), json!(401));
    }
    assert_eq!(state(), json!("active"));
    assert_eq!(status(&site.get(&other)), json!(401));
    assert_eq!(state(), json!("needs_attention"));
    site.get(&agent).refused(503, "unavailable");
    assert_eq!(site.asked().len(), 1, "there was nothing to ask with");
}

#[test]
fn an_upstream_that_says_that_the_token_is_not_valid_is_believed_at_once() {
    let (site, person) = (Site::new(), Person::new());
    let name = site.connected(&person, token("t1", 3600, None));
    let agent = site.agent_of(&person);
    let says = |error: &str| {
        let challenge = format!("Bearer realm=\"api\", error=\"{error}\"");
        let reply = Reply::json(401, &json!({})).header("www-authenticate", &challenge);
        site.api.answer("/", move |_| reply.clone());
        assert_eq!(status(&site.get(&agent)), json!(401));
        site.state(&person, &name)["state"].clone()
    };
    assert_eq!(says("insufficient_scope"), json!("active"));
    assert_eq!(says("invalid_token"), json!("needs_attention"));
}

/// An agent chooses what it asks for: a place at which every token is none is not the end of the account for the others.
#[test]
fn what_an_upstream_says_to_one_agent_alone_is_not_believed_for_those_who_use_the_account_too() {
    let (site, person) = (Site::new(), Person::new());
    let name = site.connected(&person, token("t1", 3600, None));
    let (agent, other) = (site.agent_of(&person), site.agent_of(&person));
    let state = || site.state(&person, &name)["state"].clone();
    takes(&site, &["t1"]);
    assert_eq!(status(&site.get(&other)), json!(200));
    site.api.answer("/", |_| {
        Reply::json(401, &json!({})).header("www-authenticate", "Bearer error=\"invalid_token\"")
    });
    for _ in 0..6 {
        assert_eq!(status(&site.get(&agent)), json!(401));
    }
    assert_eq!(state(), json!("active"));
    // The other one meets it as well.
    assert_eq!(status(&site.get(&other)), json!(401));
    assert_eq!(state(), json!("needs_attention"));
}

/// What the server itself asks about an action of an agent below another one is that other one's doing, as the action was.
#[test]
fn what_is_asked_about_an_action_of_a_child_is_no_word_of_another_agent() {
    let (site, person) = (Site::new(), Person::new());
    let connection = site.connected(&person, token("t1", 3600, None));
    let (name, server, story) = (&site.service, site.server.base(), site.story);
    let yaml = format!(
        "service: {name}\nbase_url: {}\nauth: {{type: oauth2, token_url: {server}/token, authorization_url: {server}/authorize, \
         device_authorization_url: {server}/device, scope: [read, write]}}\nactions:\n  {name}.get: {{method: GET, path: '/things/{{id}}', \
         resource: '{name}://things/{{id}}', effect: read}}\n  {name}.find: {{method: GET, path: '/found/{{id}}', resource: \
         '{name}://found/{{id}}', effect: read}}\n  {name}.put: {{method: PUT, path: '/put/{{id}}', resource: '{name}://put/{{id}}', \
         effect: write, status: {{action: {name}.find, params: {{id: $params.id}}, happened: {{status: 200}}, not_happened: \
         {{status: 404}}, after: 0s}}}}\n",
        site.api.base(),
    );
    story.service(name, &yaml).expect(200);
    takes(&site, &["t1"]);
    assert_eq!(status(&site.get(&site.agent_of(&person))), json!(200));
    let [parent, child] = ["parent-", "child-"].map(|handle| {
        let agent = story.agent(&fresh(handle)).with("allowed_tools", json!(["*", "**"]));
        let agent = agent.with("resource_access", json!(["**"])).register();
        let rule = format!("  - {{name: all, allow: [{name}.get, {name}.put]}}\n");
        story.rules(&agent.handle, &rule).expect(201);
        agent
    });
    let (task, scope) = (fresh("task-"), format!("{name}.*"));
    let body =
        json!({"task_id": task, "description": "puts things", "agent": parent.handle, "scope": [scope]});
    person.client().post("/v1/tasks").json(&body).send().expect(201);
    let client = story.client();
    let token = parent.ask().with("task_id", &task).send(&client).expect(200).text("/access_token");
    let below = child.ask().with("scope", &scope).with("parent_token", &token).send(&client).expect(200);
    let no = || Reply::json(401, &json!({})).header("www-authenticate", "Bearer error=\"invalid_token\"");
    site.api.answer("/", move |_| no());
    site.api.reply("/put/", Reply::hang_up());
    let body = json!({"service": name, "action": format!("{name}.put"), "params": {"id": "1"}});
    client.post("/v1/actions").bearer(&below.text("/access_token")).json(&body).send().expect(502);
    // By the second time what came of the first one has been noted.
    until("it to be asked what became of it", || (site.api.count("/found/") > 1).then_some(()));
    assert_eq!(status(&site.get(&token)), json!(401));
    assert_eq!(site.state(&person, &connection)["state"], "active");
}

#[test]
fn a_token_that_is_refused_to_a_lookup_is_renewed() {
    let (site, person) = (Site::new(), Person::new());
    site.connected(&person, token("t1", 3600, Some("r1")));
    let (name, server) = (&site.service, site.server.base());
    let yaml = format!(
        "service: {name}\nbase_url: {}\nauth: {{type: oauth2, token_url: {server}/token, authorization_url: {server}/authorize, \
         device_authorization_url: {server}/device, scope: [read, write]}}\nactions:\n  {name}.get: {{method: GET, path: '/things/{{id}}', \
         resource: '{name}://things/{{id}}', effect: read, params: {{type: object, properties: {{id: {{type: string}}}}, \
         required: [id]}}, resolve: {{state: {{path: '/states/{{id}}', facts: {{open: {{at: /open, type: boolean}}}}}}}}}}\n",
        site.api.base(),
    );
    site.story.service(name, &yaml).expect(200);
    let agent = site.agent_where(&person, ", when: 'resource.open == true'");
    takes(&site, &["t2"]);
    site.gives([token("t2", 3600, Some("r2"))]);
    let refused = site.get(&agent);
    assert_eq!(refused.status, 403, "{:#}", refused.body);
    assert_eq!(
        (site.shown(), site.asked().len()),
        (vec!["Bearer t1".to_owned()], 2),
        "looked up once, renewed once"
    );
}

#[test]
fn who_connects_anew_does_not_overtake_another_secret() {
    let (site, person) = (Site::new(), Person::new());
    let name = site.connected(&person, token("t1", 3600, Some("r1")));
    let mut browser = person.signed_in_browser();
    let query = format!("?connection={name}");
    let (first, second) =
        (site.leaves(&person, &mut browser, &query), site.leaves(&person, &mut browser, &query));
    site.gives([token("t2", 3600, None), token("t3", 3600, None)]);
    assert_eq!(site.back(&person, &browser, &[("code", "c"), ("state", &second.state)]).status, 200);
    let page = site.back(&person, &browser, &[("code", "c"), ("state", &first.state)]);
    assert_eq!(page.status, 409, "{}", html(&page));
    site.get(&site.agent_of(&person)).expect(200);
    assert_eq!(site.shown(), ["Bearer t2"]);
}
