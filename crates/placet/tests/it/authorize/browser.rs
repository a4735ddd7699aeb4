//! A browser by hand: it keeps cookies as it is told, follows nothing, and fills in forms; and the requests that an
//! OAuth client would send it with.

use crate::parties::stage;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_core::secret::sha256;
use placet_testkit::{Answer, Client, Request, Story, fresh};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const BACK: &str = "https://app.example/callback";

/// A browser with its cookies.
pub(crate) struct Browser {
    pub(crate) pages: Client,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Browser {
    /// One that has never been here.
    pub(crate) fn new() -> Self {
        Self::at(&stage().story.server.pages())
    }

    pub(crate) fn at(pages: &str) -> Self {
        Self { pages: Client::new(pages), cookies: BTreeMap::new() }
    }

    /// One in which a person of the stage is signed in.
    pub(crate) fn of(name: &str) -> Self {
        let mut browser = Self::new();
        browser.sign_in(name);
        browser
    }

    pub(crate) fn sign_in(&mut self, name: &str) {
        let page = self.get("/sign-in").expect(200);
        let answer =
            self.submit(&page, "/sign-in", &[("name", name), ("password", &placet_testkit::password(name))]);
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some("/sign-in")),
            "{}",
            answer.text("")
        );
    }

    fn with_cookies(&self, request: Request) -> Request {
        if self.cookies.is_empty() {
            return request;
        }
        let all: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        request.header("cookie", all.join("; "))
    }

    fn keep(&mut self, answer: Answer) -> Answer {
        for cookie in answer.headers.get_all("set-cookie") {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        let answer = self.with_cookies(self.pages.get(path)).send();
        self.keep(answer)
    }

    pub(crate) fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Answer {
        let answer = self.with_cookies(self.pages.post(path).form(form)).send();
        self.keep(answer)
    }

    /// A page that is not asked for yet, with the cookies.
    pub(crate) fn getting(&self, path: &str) -> Request {
        self.with_cookies(self.pages.get(path))
    }

    /// Whether somebody is signed in here: the account page is theirs, and not the one that asks who they are.
    pub(crate) fn has_an_account(&mut self) -> bool {
        let page = html(&self.get("/account").expect(200));
        assert_ne!(page.contains("Where you are signed in"), page.contains("action=\"/sign-in\""), "{page}");
        page.contains("Where you are signed in")
    }

    /// A form that is not sent yet, with the cookies.
    pub(crate) fn posting(&self, path: &str, form: &[(&str, &str)]) -> Request {
        self.with_cookies(self.pages.post(path).form(form))
    }

    /// Sends the form of a page that goes to `action`, with these members besides the hidden ones.
    pub(crate) fn submit(&mut self, page: &Answer, action: &str, more: &[(&str, &str)]) -> Answer {
        let hidden = hidden(page, action);
        let mut all: Vec<(&str, &str)> =
            hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.extend(more);
        self.post(action, &all)
    }

    /// The page that asks for consent.
    pub(crate) fn asked(&mut self, request: &Asking) -> Answer {
        let page = self.get(&request.path()).expect(200);
        assert!(html(&page).contains("action=\"/consent\""), "{}", html(&page));
        page
    }

    /// Says yes; answers where the browser is sent.
    pub(crate) fn allow(&mut self, page: &Answer) -> String {
        let answer = self.submit(page, "/consent", &[("lasts", "1d"), ("verdict", "approve")]);
        sent_to(&answer)
    }

    /// Asks and says yes; answers the code.
    pub(crate) fn code(&mut self, request: &Asking) -> String {
        let page = self.asked(request);
        parameter(&self.allow(&page), "code").expect("a code")
    }
}

/// The ids of a person's sessions.
pub(crate) fn sessions_of(user: &str) -> Vec<String> {
    let listed = stage().admin().get(&format!("/v1/sessions?limit=1000&user={user}")).send().expect(200);
    let id = |session: &Value| session["id"].as_str().unwrap().to_owned();
    listed.at("/sessions").as_array().unwrap().iter().map(id).collect()
}

/// The text of a page.
pub(crate) fn html(page: &Answer) -> String {
    String::from_utf8(page.bytes.clone()).unwrap()
}

/// Where an answer sends the browser.
pub(crate) fn sent_to(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", html(answer));
    answer.header("location").unwrap().to_owned()
}

/// A parameter of a URL's query, decoded.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?')?.1;
    let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let mut bytes = Vec::new();
    let mut rest = found.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
        } else {
            byte
        });
    }
    Some(String::from_utf8(bytes).unwrap())
}

/// The hidden members of the form that goes to `action`.
pub(crate) fn hidden(page: &Answer, action: &str) -> Vec<(String, String)> {
    let html = html(page);
    let start = format!("<form method=\"post\" action=\"{action}\">");
    let form = html.split_once(&start).unwrap_or_else(|| panic!("no form for {action}: {html}")).1;
    let form = form.split_once("</form>").unwrap().0;
    let attribute = |input: &str, name: &str| {
        let value = input.split_once(&format!("{name}=\""))?.1.split_once('"')?.0;
        Some(value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&"))
    };
    form.split("<input ")
        .skip(1)
        .filter(|input| input.starts_with("type=\"hidden\""))
        .map(|input| (attribute(input, "name").unwrap(), attribute(input, "value").unwrap()))
        .collect()
}

/// A client that can be authorized.
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) handle: String,
    /// None: a public one.
    pub(crate) secret: Option<String>,
    /// The server.
    client: Client,
}

impl App {
    /// A confidential one that is answered at [`BACK`].
    pub(crate) fn confidential() -> Self {
        Self::registered(&json!({"redirect_uris": [BACK]}))
    }

    /// A public one that is answered at a loopback address.
    pub(crate) fn public() -> Self {
        Self::registered(
            &json!({"redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none"}),
        )
    }

    pub(crate) fn registered(more: &Value) -> Self {
        Self::on(stage().story, more)
    }

    pub(crate) fn on(story: &Story, more: &Value) -> Self {
        let handle = fresh("app-");
        let mut body = json!({"agent_name": handle, "description": "An app", "allowed_tools": ["orders.*", "notes.*"],
            "resource_access": ["order://**"], "max_scope_level": "elevated"});
        for (name, value) in more.as_object().unwrap() {
            body.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        let made = story.admin().post("/v1/agents").json(&body).send().expect(201);
        let id = made.text("/client_id");
        let confirm = json!({"registration_token": made.text("/registration_token")});
        story.client().post(&format!("/v1/agents/{id}/activate")).json(&confirm).send().expect(200);
        let secret = made.body.get("client_secret").and_then(Value::as_str).map(str::to_owned);
        Self { id, handle, secret, client: story.client() }
    }

    /// One that is known by its id.
    pub(crate) fn of(story: &Story, id: &str, secret: Option<String>) -> Self {
        Self { id: id.to_owned(), handle: String::new(), secret, client: story.client() }
    }

    /// The same at another node.
    pub(crate) fn at(&self, client: &Client) -> Self {
        Self {
            id: self.id.clone(),
            handle: self.handle.clone(),
            secret: self.secret.clone(),
            client: client.clone(),
        }
    }

    /// What it would ask for.
    pub(crate) fn asking(&self) -> Asking {
        let back = if self.secret.is_some() { BACK } else { "http://127.0.0.1:49152/cb" };
        let pairs = [
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", back),
            ("scope", "orders.read"),
            ("state", "st"),
            ("code_challenge", &challenge(VERIFIER)),
            ("code_challenge_method", "S256"),
        ];
        Asking {
            pairs: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    /// A request to the token endpoint.
    pub(crate) fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.posting("/oauth/token", form).send()
    }

    /// A request of this client to an endpoint, not sent yet.
    pub(crate) fn posting(&self, path: &str, form: &[(&str, &str)]) -> Request {
        let client = &self.client;
        match &self.secret {
            Some(secret) => client.post(path).basic(&self.id, secret).form(form),
            None => {
                let mut all = vec![("client_id", self.id.as_str())];
                all.extend(form);
                client.post(path).form(&all)
            }
        }
    }

    /// Uses a code with the right verifier.
    pub(crate) fn exchange(&self, code: &str) -> Answer {
        self.token(&[("grant_type", "authorization_code"), ("code", code), ("code_verifier", VERIFIER)])
    }

    pub(crate) fn refresh(&self, token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)])
    }

    /// Pushes a request.
    pub(crate) fn push(&self, asking: &Asking) -> Answer {
        let client = &self.client;
        let form: Vec<(&str, &str)> =
            asking.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match &self.secret {
            Some(secret) => client.post("/oauth/par").basic(&self.id, secret).form(&form).send(),
            None => client.post("/oauth/par").form(&form).send(),
        }
    }
}

pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(&[verifier.as_bytes()]))
}

/// An authorization request.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) pairs: Vec<(String, String)>,
}

impl Asking {
    /// With another value of a parameter.
    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        let mut asking = self.without(name);
        asking.pairs.push((name.to_owned(), value.to_owned()));
        asking
    }

    /// With one more of the same name.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        self.pairs.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.pairs.retain(|(other, _)| other != name);
        self
    }

    /// As a path of the pages.
    pub(crate) fn path(&self) -> String {
        let pairs: Vec<String> =
            self.pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        format!("/oauth/authorize?{}", pairs.join("&"))
    }
}

pub(crate) fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}
