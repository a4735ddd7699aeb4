//! Accounts that people connect at an upstream's authorization server: a server of the tests' own, which answers what a test
//! says, however wrong.

mod answers;
mod app;
mod asserted;
mod commands;
mod device;
mod exchanged;
mod mended;
mod registered;

use crate::{
    authorize::browser::{Browser, challenge, encoded, html, parameter},
    people::person::{Person, stage},
};
use placet_testkit::{Answer, Reply, Story, Upstream, fresh};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

const CLIENT: &str = "placet-at-upstream";
const SECRET: &str = "canary-client-secret-7d1f";

/// An upstream with its authorization server, and a service that agents use it by.
struct Site {
    story: &'static Story,
    service: String,
    /// The authorization server.
    server: Upstream,
    /// What is used with its tokens.
    api: Upstream,
    /// What the token endpoint answers next; the last again and again.
    replies: Arc<Mutex<VecDeque<Reply>>>,
}

/// Somebody who is at the authorization server.
struct Away {
    url: String,
    state: String,
}

impl Site {
    fn new() -> Self {
        Self::with("")
    }

    /// One whose definition says this besides, as members of a flow mapping.
    fn with(more: &str) -> Self {
        let site = Self::unregistered(more);
        site.register(&json!({"client_id": CLIENT, "client_secret": SECRET})).expect(201);
        site
    }

    fn unregistered(more: &str) -> Self {
        let (story, service) = (stage(), fresh("site"));
        // Whoever comes, with whatever: it is looked at what came.
        let agent = format!("placet/{}", env!("CARGO_PKG_VERSION"));
        let server = Upstream::with_header("user-agent", &agent);
        let api = Upstream::with_header("user-agent", &agent);
        let replies = Arc::new(Mutex::new(VecDeque::from([refused("invalid_grant")])));
        let shared = Arc::clone(&replies);
        server.answer("/token", move |_| {
            let mut replies = shared.lock().unwrap();
            if replies.len() > 1 { replies.pop_front().unwrap() } else { replies[0].clone() }
        });
        let site = Self { story, service, server, api, replies };
        site.apply(more);
        site
    }

    fn apply(&self, more: &str) -> Answer {
        self.apply_at(self.api.base(), more)
    }

    fn apply_at(&self, base: &str, more: &str) -> Answer {
        let (name, server) = (&self.service, self.server.base());
        let yaml = format!(
            "service: {name}\nbase_url: {}\nauth: {{type: oauth2, token_url: {server}/token, authorization_url: {server}/authorize, \
             device_authorization_url: {server}/device, scope: [read, write]{more}}}\nactions:\n  \
             {name}.get: {{method: GET, path: '/things/{{id}}', resource: '{name}://things/{{id}}', effect: read}}\n",
            base,
        );
        self.story.service(name, &yaml)
    }

    fn register(&self, client: &Value) -> Answer {
        self.story.admin().put(&format!("/v1/services/{}/client", self.service)).json(client).send()
    }

    /// From now on the token endpoint answers these.
    fn gives(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.replies.lock().unwrap() = replies.into_iter().collect();
    }

    fn path(&self) -> String {
        format!("/connect/{}", self.service)
    }

    /// Says on the page that they want what it says; answers where they are sent.
    fn leaves(&self, person: &Person<'_>, browser: &mut Browser, query: &str) -> Away {
        let page = browser.get(&format!("{}{query}", self.path())).expect(200);
        self.goes(person, browser, &page, &[])
    }

    fn goes(&self, person: &Person<'_>, browser: &mut Browser, page: &Answer, more: &[(&str, &str)]) -> Away {
        let page = self.posts(person, browser, page, more).expect(200);
        let html = html(&page);
        let url = html.split_once("<a href=\"").unwrap().1.split_once('"').unwrap().0;
        assert!(html.contains(&format!("http-equiv=\"refresh\" content=\"0; url={url}\"")), "{html}");
        let url = url.replace("&amp;", "&");
        let state = parameter(&url, "state").unwrap();
        Away { url, state }
    }

    fn posts(
        &self,
        person: &Person<'_>,
        browser: &mut Browser,
        page: &Answer,
        more: &[(&str, &str)],
    ) -> Answer {
        let mut form = crate::authorize::browser::hidden(page, &self.path());
        if let Some(name) = name_of(page) {
            form.push(("name".to_owned(), name));
        }
        for (name, value) in more {
            form.retain(|(other, _)| other != name);
            form.push(((*name).to_owned(), (*value).to_owned()));
        }
        let form: Vec<(&str, &str)> =
            form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        browser.posting(&self.path(), &form).header("x-forwarded-for", &person.from).send()
    }

    /// Comes back with these parameters.
    fn back(&self, person: &Person<'_>, browser: &Browser, parameters: &[(&str, &str)]) -> Answer {
        let pairs: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        self.back_with(person, browser, &pairs.join("&"))
    }

    fn back_with(&self, person: &Person<'_>, browser: &Browser, query: &str) -> Answer {
        let path = format!("/connect/callback/{}?{query}", self.service);
        browser.getting(&path).header("x-forwarded-for", &person.from).send()
    }

    /// Connects an account of a person; answers the connection's name.
    fn connected(&self, person: &Person<'_>, reply: Reply) -> String {
        let mut browser = person.signed_in_browser();
        let away = self.leaves(person, &mut browser, "");
        self.gives([reply]);
        let page = self.back(person, &browser, &[("code", "the-code"), ("state", &away.state)]);
        assert_eq!(page.status, 200, "{}", html(&page));
        format!("{}-{}", self.service, person.name)
    }

    /// The forms that came to the token endpoint.
    fn asked(&self) -> Vec<String> {
        let seen = self.server.seen_at("/token");
        seen.into_iter().map(|seen| String::from_utf8(seen.body.to_vec()).unwrap()).collect()
    }

    /// The tokens that came to the upstream.
    fn shown(&self) -> Vec<String> {
        let seen = self.api.seen();
        seen.iter().map(|seen| seen.header("authorization").unwrap().to_owned()).collect()
    }

    /// The token of an agent that acts on behalf of somebody.
    fn agent_of(&self, person: &Person<'_>) -> String {
        self.agent_where(person, "")
    }

    /// The same, whose rule says this besides.
    fn agent_where(&self, person: &Person<'_>, more: &str) -> String {
        let (story, tools) = (self.story, format!("{}.*", self.service));
        let agent = story
            .agent(&fresh("agent-"))
            .with("allowed_tools", json!(["*", "**"]))
            .with("resource_access", json!(["**"]))
            .register();
        story
            .rules(&agent.handle, &format!("  - {{name: all, allow: [{}.get]{more}}}\n", self.service))
            .expect(201);
        let task = fresh("task-");
        let body =
            json!({"task_id": task, "description": "reads things", "agent": agent.handle, "scope": [tools]});
        person.client().post("/v1/tasks").json(&body).send().expect(201);
        agent.ask().with("task_id", &task).send(&story.client()).expect(200).text("/access_token")
    }

    fn get(&self, token: &str) -> Answer {
        let action = format!("{}.get", self.service);
        let body = json!({"service": self.service, "action": action, "params": {"id": "1"}});
        self.story.client().post("/v1/actions").bearer(token).json(&body).send()
    }

    fn connections_of(&self, person: &Person<'_>) -> Vec<Value> {
        let listed = person.client().get("/v1/connections").send().expect(200);
        let all = listed.at("/connections").as_array().unwrap();
        all.iter().filter(|one| one["service"] == self.service.as_str()).cloned().collect()
    }

    fn state(&self, person: &Person<'_>, name: &str) -> Value {
        person.client().get(&format!("/v1/connections/{name}")).send().expect(200).body
    }
}

/// What the page calls the connection.
fn name_of(page: &Answer) -> Option<String> {
    let html = html(page);
    let input = html.split_once("id=\"name\"")?.1;
    Some(input.split_once("value=\"")?.1.split_once('"')?.0.to_owned())
}

fn token(token: &str, seconds: u32, refresh: Option<&str>) -> Reply {
    let mut body = json!({"access_token": token, "token_type": "Bearer", "expires_in": seconds});
    if let Some(refresh) = refresh {
        body["refresh_token"] = refresh.into();
    }
    Reply::json(200, &body)
}

fn refused(error: &str) -> Reply {
    Reply::json(400, &json!({"error": error, "error_description": "canary-description"}))
}

/// Nothing was connected, and the page says why.
#[track_caller]
fn nothing(answer: &Answer, status: u16, words: &str) {
    let html = html(answer);
    assert_eq!(answer.status, status, "{html}");
    assert!(html.contains(words) && html.contains("othing was connected"), "{words}: {html}");
    assert!(!html.contains("canary"), "{html}");
}

#[test]
fn a_person_agrees_at_the_server_and_agents_that_act_for_them_use_the_account() {
    let (site, person) = (
        Site::with(", authorization_params: {access_type: offline}, resource: 'https://api.example'"),
        Person::new(),
    );
    let mut browser = person.signed_in_browser();
    let page = browser.get(&site.path()).expect(200);
    let shown = html(&page);
    for words in [site.api.base(), "read write", "It is yours", &person.name] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let away = site.goes(&person, &mut browser, &page, &[]);
    let pages = site.story.server.pages();
    assert!(
        away.url.starts_with(&format!("{}/authorize?response_type=code&", site.server.base())),
        "{}",
        away.url
    );
    for (name, value) in [
        ("client_id", CLIENT),
        ("redirect_uri", &format!("{pages}/connect/callback/{}", site.service)),
        ("code_challenge_method", "S256"),
        ("access_type", "offline"),
        ("resource", "https://api.example"),
    ] {
        assert_eq!(parameter(&away.url, name).as_deref(), Some(value), "{}", away.url);
    }
    assert!(site.asked().is_empty());
    site.gives([token("canary-access-1", 3600, Some("canary-refresh-1"))]);
    let done = site.back(&person, &browser, &[("code", "a code/1"), ("state", &away.state)]);
    assert_eq!(done.status, 200, "{}", html(&done));
    let asked = site.asked();
    let form = &asked[0];
    let verifier = parameter(&format!("?{form}"), "code_verifier").unwrap();
    assert_eq!(parameter(&away.url, "code_challenge"), Some(challenge(&verifier)));
    assert_eq!(
        *form,
        format!(
            "grant_type=authorization_code&code=a%20code%2F1&redirect_uri={}&code_verifier={verifier}&resource=https%3A%2F%2Fapi.example",
            encoded(&format!("{pages}/connect/callback/{}", site.service))
        )
    );
    // It is theirs: nobody else sees it, and only who acts for them uses it.
    let name = format!("{}-{}", site.service, person.name);
    let own = site.connections_of(&person);
    assert_eq!(
        (own.len(), own[0]["name"].as_str(), own[0]["user"].as_str()),
        (1, Some(&*name), Some(&*person.id))
    );
    let other = Person::new();
    assert!(site.connections_of(&other).is_empty());
    site.get(&site.agent_of(&other)).refused(403, "not_granted");
    site.get(&site.agent_of(&person)).expect(200);
    assert_eq!(site.shown(), ["Bearer canary-access-1"]);
    let told = [
        html(&done),
        site.state(&person, &name).to_string(),
        json!(site.story.record()).to_string(),
        site.story.server.log(),
    ];
    for told in told {
        assert!(
            !told.contains("canary-access") && !told.contains("canary-refresh") && !told.contains(SECRET),
            "{told}"
        );
    }
    let added = person.recorded("connection.added");
    assert_eq!(added["connection"], own[0]["id"]);
}

#[test]
fn a_person_who_is_not_signed_in_signs_in_first_and_goes_on_to_the_same_page() {
    let (site, person) = (Site::new(), Person::new());
    let mut browser = person.browser();
    let name = fresh("mine-");
    let page = browser.get(&format!("{}?name={name}", site.path())).expect(200);
    assert!(html(&page).contains("action=\"/sign-in\""));
    let more = [("name", person.name.as_str()), ("password", &placet_testkit::password(&person.name))];
    let answer = browser.submit(&page, "/sign-in", &more);
    assert_eq!(answer.header("location"), Some(&*format!("{}?name={name}", site.path())));
    let page = browser.get(answer.header("location").unwrap()).expect(200);
    assert_eq!(name_of(&page).as_deref(), Some(&*name));
    // What leads elsewhere leads nowhere.
    for next in
        ["/connect/../account", "/connect//evil.example", "/connect/x?next=https://evil.example", "/connect/"]
    {
        let mut browser = person.browser();
        let page = browser.get("/sign-in").expect(200);
        let mut form = crate::authorize::browser::hidden(&page, "/sign-in");
        form.retain(|(name, _)| name != "next");
        form.extend(
            [("name", &*person.name), ("next", next)]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        form.push(("password".to_owned(), placet_testkit::password(&person.name)));
        let form: Vec<(&str, &str)> =
            form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = browser.post("/sign-in", &form);
        let location = answer.header("location").unwrap().to_owned();
        assert!(location.starts_with("/oauth/authorize?") || location == "/sign-in", "{next}: {location}");
    }
}

#[test]
fn a_person_has_several_accounts_of_one_service() {
    let (site, person) = (Site::new(), Person::new());
    let first = site.connected(&person, token("t1", 3600, None));
    let mut browser = person.signed_in_browser();
    // The usual name is taken: another is proposed, and the person may choose.
    let page = browser.get(&site.path()).expect(200);
    assert_eq!(name_of(&page), Some(format!("{first}-2")));
    let taken = site.posts(&person, &mut browser, &page, &[("name", &first)]);
    assert_eq!(taken.status, 409, "{}", html(&taken));
    let away = site.goes(&person, &mut browser, &page, &[("name", &format!("{first}.work"))]);
    site.gives([token("t2", 3600, None)]);
    assert_eq!(site.back(&person, &browser, &[("code", "c"), ("state", &away.state)]).status, 200);
    let names: Vec<Value> = site.connections_of(&person).iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, [json!(first), json!(format!("{first}.work"))]);
    // Which one is for the agent to say.
    site.get(&site.agent_of(&person)).refused(400, "params_invalid");
    let account = html(&browser.get("/account").expect(200));
    assert!(
        account.contains(&first) && account.contains(&format!("href=\"{}?connection={first}\"", site.path())),
        "{account}"
    );
}

#[test]
fn only_an_administrator_connects_an_account_of_the_organization_and_says_for_whom() {
    let (site, person) = (Site::new(), Person::new());
    let admin = Person::with(site.story, &["administrator"]);
    let agent = site.story.agent(&fresh("agent-")).register();
    let query = format!("?organization=yes&agents={}&name={}", agent.handle, fresh("shared-"));
    let refused = person.signed_in_browser().get(&format!("{}{query}", site.path()));
    assert_eq!(refused.status, 403, "{}", html(&refused));
    let asked = |client: placet_testkit::Client, more: Value| {
        let mut body = json!({"service": site.service});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.post("/v1/connect").json(&body).send()
    };
    asked(person.client(), json!({"organization": true})).refused(403, "not_permitted");
    asked(person.client(), json!({"agents": [agent.handle]})).refused(400, "request_invalid");
    asked(site.story.server.admin(), json!({})).refused(400, "request_invalid");
    asked(site.story.client().with("nothing"), json!({})).refused(401, "token_invalid");
    let linked = asked(admin.client(), json!({"organization": true, "agents": [agent.handle]})).expect(200);
    let url = linked.text("/url");
    assert_eq!(
        url,
        format!("{}{}?organization=yes&agents={}", site.story.server.pages(), site.path(), agent.handle)
    );
    let mut browser = admin.signed_in_browser();
    let away = site.leaves(&admin, &mut browser, &query);
    // Who is no administrator any more connects nothing for the organization.
    site.gives([token("t1", 3600, None)]);
    let roles = json!({"roles": ["approver"]});
    site.story.admin().put(&format!("/v1/users/{}/roles", admin.id)).json(&roles).send().expect(200);
    let page = site.back(&admin, &browser, &[("code", "c"), ("state", &away.state)]);
    assert_eq!(page.status, 403, "{}", html(&page));
    let admin = Person::with(site.story, &["administrator"]);
    let mut browser = admin.signed_in_browser();
    let away = site.leaves(&admin, &mut browser, &query);
    assert_eq!(site.back(&admin, &browser, &[("code", "c"), ("state", &away.state)]).status, 200);
    let made = site.connections_of(&admin);
    assert_eq!((&made[0]["user"], made[0]["agents"].as_array().unwrap().len()), (&Value::Null, 1));
}
