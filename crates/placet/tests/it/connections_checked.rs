//! Whether the credential of a connection works: tried on the action that its service names, and the state that follows.

use crate::{authorize::browser::html, people::person::Person, stage::story};
use placet_testkit::{Answer, Client, Reply, SECRET, Story, Upstream, fresh};
use serde_json::{Value, json};

const OTHER: &str = "canary-another-secret-51d0";

/// A service with an action that tells whose credential it is, which connections are checked with.
struct Site {
    story: &'static Story,
    name: String,
    upstream: Upstream,
}

impl Site {
    fn new() -> Self {
        let site = Self { story: story(), name: fresh("checked"), upstream: Upstream::start(SECRET) };
        site.at(site.upstream.base(), "check: {action: NAME.me}\n").expect(201);
        site
    }

    /// Its definition, at an address.
    fn at(&self, base: &str, check: &str) -> Answer {
        let (name, check) = (&self.name, check.replace("NAME", &self.name));
        let yaml = format!(
            "service: {name}\nbase_url: {base}\nauth: {{type: bearer}}\n{check}actions:\n  {name}.me: \
             {{method: GET, path: /me, resource: '{name}://me', effect: read}}\n  {name}.get: \
             {{method: GET, path: '/things/{{id}}', resource: '{name}://things/{{id}}', effect: read}}\n"
        );
        self.story.service(name, &yaml)
    }

    fn connection(&self, more: &Value) -> Answer {
        self.story.connection(&self.name, &self.name, more)
    }

    fn check(&self, client: &Client) -> Answer {
        client.post(&format!("/v1/connections/{}/check", self.name)).send()
    }

    fn show(&self) -> Answer {
        self.story.admin().get(&format!("/v1/connections/{}", self.name)).send()
    }

    /// Checks it; answers what came of it, the state, and what it waits for.
    fn checked(&self) -> (String, String, Value) {
        let told = self.check(&self.story.admin()).expect(200);
        let shown = self.show().expect(200);
        assert_eq!((told.at("/state"), told.at("/attention")), (shown.at("/state"), shown.at("/attention")));
        (told.text("/check/result"), told.text("/state"), told.at("/attention").clone())
    }

    /// Entries about it: type, outcome, status.
    fn entries(&self) -> Vec<(String, String, Value)> {
        let id = self.show().expect(200).text("/id");
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let all = self.story.record();
        let own = all.iter().filter(|entry| entry["connection"] == id.as_str());
        let own = own.filter(|entry| text(entry, "type").starts_with("connection."));
        own.map(|entry| (text(entry, "type"), text(entry, "outcome"), entry["status"].clone())).collect()
    }
}

fn waits(reason: &str) -> Value {
    json!({"reason": reason})
}

#[test]
fn what_upstream_says_of_a_credential_sets_the_state() {
    let site = Site::new();
    let (story, name) = (site.story, site.name.as_str());
    site.connection(&json!({})).expect(201);
    let agent = story.agent(&fresh("agent-")).with("allowed_tools", json!(["**"]));
    let agent = agent.with("resource_access", json!(["**"])).register();
    story.rules(&agent.handle, &format!("  - {{name: all, allow: [{name}.get]}}\n")).expect(201);
    let token = agent.token(&story.client(), &format!("{name}.*"));
    let get = || {
        let body = json!({"service": name, "action": format!("{name}.get"), "params": {"id": "1"}});
        story.client().post("/v1/actions").bearer(&token).json(&body).send()
    };
    let active = || "active".to_owned();
    assert_eq!(site.checked(), ("works".to_owned(), active(), Value::Null));
    // An upstream that is down, or that won't say, refuses nobody.
    for answer in [Reply::status(503), Reply::status(403), Reply::hang_up()] {
        site.upstream.reply("/me", answer);
        assert_eq!(site.checked(), ("unclear".to_owned(), active(), Value::Null));
    }
    get().expect(200);
    site.upstream.reply("/me", Reply::json(401, &json!({"message": "canary-of-upstream"})));
    let parked = || "needs_attention".to_owned();
    assert_eq!(site.checked(), ("refused".to_owned(), parked(), waits("credential_refused")));
    let before = site.upstream.seen().len();
    get().refused(503, "unavailable");
    assert_eq!(site.upstream.seen().len(), before, "nothing is sent with it");
    let confirm = json!({"confirm": format!("{name}@1")});
    let refused = story.admin().patch(&format!("/v1/connections/{name}")).json(&confirm).send();
    assert!(refused.refused(409, "conflict").text("/detail").contains("check it again"));
    // Still no: it stays.
    assert_eq!(site.checked(), ("refused".to_owned(), parked(), waits("credential_refused")));
    site.upstream.reply("/me", Reply::status(503));
    assert_eq!(site.checked(), ("unclear".to_owned(), parked(), waits("credential_refused")));
    // It is taken again.
    site.upstream.reply("/me", Reply::json(200, &json!({"id": 7})));
    assert_eq!(site.checked(), ("works".to_owned(), active(), Value::Null));
    get().expect(200);
    let told = site.entries();
    let checked =
        |outcome: &str, status: Value| ("connection.checked".to_owned(), outcome.to_owned(), status);
    assert_eq!(
        told[1..],
        [
            checked("active", json!(200)),
            checked("active", json!(503)),
            checked("active", json!(403)),
            checked("active", Value::Null),
            checked("needs_attention", json!(401)),
            checked("needs_attention", json!(401)),
            checked("needs_attention", json!(503)),
            checked("active", json!(200)),
        ]
    );
    let record = json!(story.record()).to_string();
    assert!(!record.contains("canary-of-upstream") && !record.contains(SECRET));
    // Only the secret that is there was sent, and only where it goes.
    assert_eq!(site.upstream.unauthorized(), 0);
}

#[test]
fn who_may_not_see_a_connection_checks_none() {
    let site = Site::new();
    site.connection(&json!({})).expect(201);
    let before = site.upstream.seen().len();
    site.check(&site.story.approver()).refused(404, "not_found");
    let agent = site.story.agent(&fresh("agent-")).register();
    let token = agent.token(&site.story.client(), "orders.read");
    assert!(site.check(&site.story.client().with(&token)).status >= 401);
    assert!(site.check(&site.story.client()).status >= 401);
    assert_eq!(site.upstream.seen().len(), before);
    // Where the service names no action, there is nothing to try.
    site.at(site.upstream.base(), "").expect(200);
    let refused = site.check(&site.story.admin()).refused(409, "conflict");
    assert!(refused.text("/detail").contains("check:"), "{:#}", refused.body);
    assert_eq!(site.upstream.seen().len(), before);
}

#[test]
fn a_connection_is_made_only_if_it_works_where_that_is_asked() {
    let site = Site::new();
    let (story, name) = (site.story, site.name.as_str());
    let wrong = json!({"auth": {"secret": OTHER}, "check": true});
    let refused = site.connection(&wrong).refused(400, "request_invalid");
    assert!(
        refused.text("/detail").contains("does not take the credential (status 401)"),
        "{:#}",
        refused.body
    );
    site.upstream.reply("/me", Reply::status(503));
    site.connection(&json!({"check": true})).refused(503, "unavailable");
    site.show().refused(404, "not_found");
    site.upstream.reply("/me", Reply::json(200, &json!({})));
    let made = site.connection(&json!({"check": true})).expect(201);
    assert_eq!((made.text("/check/result"), made.text("/state")), ("works".to_owned(), "active".to_owned()));
    let kinds: Vec<String> = site.entries().into_iter().map(|entry| entry.0).collect();
    assert_eq!(kinds, ["connection.checked", "connection.added"]);
    // Another secret is taken in the same way; what was there stays where it doesn't work.
    let change = |change: &Value| story.admin().patch(&format!("/v1/connections/{name}")).json(change).send();
    change(&wrong).refused(400, "request_invalid");
    assert_eq!(site.checked().0, "works");
    let told = change(&json!({"auth": {"secret": SECRET}, "check": true})).expect(200);
    assert_eq!(told.text("/check/result"), "works");
    change(&json!({"agents": [], "check": true})).refused(400, "request_invalid");
    // Without being asked it is made as it is given.
    let other = fresh("unchecked");
    story.connection(&other, name, &json!({"auth": {"secret": OTHER}})).expect(201);
    let refused = story.admin().post(&format!("/v1/connections/{other}/check")).send().expect(200);
    assert_eq!(refused.text("/check/result"), "refused");
    assert!(!json!(story.record()).to_string().contains(OTHER) && !story.server.log().contains(OTHER));
}

#[test]
fn a_secret_is_not_tried_where_nobody_has_agreed_that_it_goes() {
    let site = Site::new();
    site.connection(&json!({})).expect(201);
    site.upstream.reply("/me", Reply::status(401));
    assert_eq!(site.checked().0, "refused");
    // It moves while it waits: what it waits for now is its owner.
    let there = Upstream::start(SECRET);
    site.at(there.base(), "check: {action: NAME.me}\n").expect(200);
    assert_eq!(site.show().expect(200).at("/attention/reason"), &json!("service_changed"));
    site.check(&site.story.admin()).refused(409, "conflict");
    assert!(there.seen().is_empty());
    let confirm = json!({"confirm": format!("{}@2", site.name)});
    site.story.admin().patch(&format!("/v1/connections/{}", site.name)).json(&confirm).send().expect(200);
    assert_eq!(site.checked().0, "works");
    assert_eq!(there.count("/me"), 1);
}

#[test]
fn the_command_ends_with_what_came_of_it() {
    let site = Site::new();
    let cli = |args: &[&str]| {
        let done = site.story.server.cli().args(args).output().unwrap();
        let told =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        (done.status.code().unwrap(), told)
    };
    site.connection(&json!({})).expect(201);
    let (code, told) = cli(&["connection", "check", &site.name]);
    assert!(code == 0 && told.contains("\"result\":\"works\""), "{code}: {told}");
    site.upstream.reply("/me", Reply::status(503));
    assert_eq!(cli(&["connection", "check", &site.name]).0, 2);
    site.upstream.reply("/me", Reply::status(401));
    let (code, told) = cli(&["connection", "check", &site.name]);
    assert!(code == 1 && told.contains("credential_refused"), "{code}: {told}");
    assert_eq!(cli(&["connection", "check", "no-such"]).0, 1);
}

#[test]
fn people_try_their_own_on_their_account_page() {
    let (person, other) = (Person::new(), Person::new());
    let site = Site { story: person.story, name: fresh("checked"), upstream: Upstream::start(SECRET) };
    site.at(site.upstream.base(), "check: {action: NAME.me}\n").expect(201);
    site.connection(&json!({"user": person.name})).expect(201);
    let path = "/account/connections/check";
    let mut browser = person.signed_in_browser();
    let page = browser.get("/account").expect(200);
    let told = html(&browser.submit(&page, path, &[]).expect(200));
    assert!(told.contains("upstream takes the credential"), "{told}");
    site.upstream.reply("/me", Reply::status(401));
    let told = html(&browser.submit(&page, path, &[]).expect(200));
    assert!(told.contains("does not take the credential"), "{told}");
    assert_eq!(site.show().expect(200).at("/attention/reason"), &json!("credential_refused"));
    // Nobody else's, and not with another session's form.
    let before = site.upstream.seen().len();
    let mut stranger = other.signed_in_browser();
    let theirs = stranger.get("/account").expect(200);
    assert!(!html(&theirs).contains(&site.name));
    let hidden = crate::authorize::browser::hidden(&theirs, "/account/password");
    let token = &hidden.iter().find(|(name, _)| name == "token").unwrap().1;
    let form = [("token", token.as_str()), ("connection", &site.name)];
    assert_eq!(stranger.post(path, &form).status, 404);
    assert_eq!(browser.post(path, &form).status, 403);
    assert_eq!(person.browser().post(path, &form).status, 303);
    assert_eq!(site.upstream.seen().len(), before);
}
