//! People sign in with an identity provider: an OpenID provider of the tests' own, with a real key, which answers what a test
//! says, however wrong.

mod account;
mod answers;
mod configured;
mod ended;
mod sign_in;
mod tokens;

use crate::{
    authorize::browser::{Browser, challenge, encoded, html, parameter},
    clients::signer::{Signer, now},
    people::person::{self, Person},
    stage::PLACET,
};
use placet_testkit::{Answer, Publisher, Reply, Story, Upstream, fresh, password};
use serde_json::{Value, json};
use std::sync::{
    Arc, LazyLock, Mutex,
    atomic::{AtomicUsize, Ordering},
};

const CLIENT: &str = "placet-at-sso";
const SECRET: &str = "shown at the token endpoint ~ only";
const ACCESS: &str = "an-access-token-that-nobody-uses";

/// The server of these tests.
fn stage() -> &'static Story {
    static STAGE: LazyLock<Story> = LazyLock::new(|| begun(Story::new(PLACET)));
    &STAGE
}

fn begun(story: Story) -> Story {
    let mut story = person::begun(story);
    let pages = story.server.pages();
    let listen = pages.replace("http://localhost", "127.0.0.1");
    let flags = ["--forwarded-by", "127.0.0.1", "--pages-listen", &listen, "--pages-url", &pages];
    story.server.flags(&[&flags[..], &["--loopback-documents"]].concat());
    story.server.restart();
    story
}

/// A provider that people sign in with, until the test ends.
struct Sso {
    story: &'static Story,
    handle: String,
    id: String,
    site: Publisher,
    tokens: Upstream,
    signer: Signer,
    kid: String,
    reply: Arc<Mutex<Reply>>,
    /// Where they come from who sign in.
    from: String,
}

/// Somebody who is at a provider.
struct Away {
    /// Where they were sent.
    url: String,
    state: String,
    nonce: String,
}

/// An address that nobody else comes from.
fn place() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("10.200.{}.{}", number / 200, number % 200 + 1)
}

impl Sso {
    fn new() -> Self {
        Self::with(&json!({}))
    }

    /// One that is declared with these members besides.
    fn with(more: &Value) -> Self {
        let (mut sso, made) = Self::declared(Signer::ed25519(), more, |_| {});
        sso.id = made.expect(201).text("/id");
        sso
    }

    /// One that publishes something else; and the answer to its declaration.
    fn declared(signer: Signer, more: &Value, change: impl FnOnce(&mut Value)) -> (Self, Answer) {
        Self::declared_on(stage(), signer, more, change)
    }

    fn declared_on(
        story: &'static Story,
        signer: Signer,
        more: &Value,
        change: impl FnOnce(&mut Value),
    ) -> (Self, Answer) {
        let site = Publisher::start();
        let tokens = Upstream::with_header("authorization", &basic());
        let handle = fresh("sso-");
        let issuer = site.url("");
        let mut published = json!({"issuer": issuer, "authorization_endpoint": site.url("/authorize"),
            "token_endpoint": format!("{}/token", tokens.base()), "jwks_uri": site.url("/keys"),
            "response_types_supported": ["code"]});
        change(&mut published);
        site.json("/.well-known/openid-configuration", &published);
        let kid = fresh("key-");
        site.json("/keys", &signer.jwks(Some(&kid)));
        let reply = Arc::new(Mutex::new(Reply::json(400, &json!({"error": "invalid_grant"}))));
        let shared = Arc::clone(&reply);
        tokens.answer("/token", move |_| shared.lock().unwrap().clone());
        let mut body = json!({"handle": handle, "issuer": issuer, "name": format!("SSO {handle}"),
            "client_id": CLIENT, "client_secret": SECRET, "password": password("ada")});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let made = story.admin().post("/v1/identity-providers").json(&body).send();
        let from = place();
        (Self { story, handle, id: String::new(), site, tokens, signer, kid, reply, from }, made)
    }

    fn path(&self) -> String {
        format!("/v1/identity-providers/{}", self.handle)
    }

    fn issuer(&self) -> String {
        self.site.url("")
    }

    /// Links a subject to a person, as an administrator does.
    fn links(&self, subject: &str, person: &Person<'_>) -> Answer {
        let body = json!({"subject": subject, "user": person.name, "password": password("ada")});
        self.story.admin().post(&format!("{}/subjects", self.path())).json(&body).send()
    }

    /// A person who is `00u` and their name there.
    fn person(&self) -> Person<'static> {
        let person = Person::with(self.story, &[]);
        self.links(&Self::subject(&person), &person).expect(200);
        person
    }

    fn subject(person: &Person<'_>) -> String {
        format!("00u-{}", person.name)
    }

    /// A browser that was never here.
    fn browser(&self) -> Browser {
        Browser::at(&self.story.server.pages())
    }

    /// Leaves for the provider from a page that asks who it is.
    fn leave(&self, browser: &mut Browser, page: &Answer) -> Away {
        Self::away(&self.leaving(browser, page).expect(200))
    }

    fn leaving(&self, browser: &mut Browser, page: &Answer) -> Answer {
        let action = format!("/sign-in/with/{}", self.handle);
        let form = crate::authorize::browser::hidden(page, &action);
        let form: Vec<(&str, &str)> =
            form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        browser.posting(&action, &form).header("x-forwarded-for", &self.from).send()
    }

    /// Where a page sends the browser.
    fn away(page: &Answer) -> Away {
        let html = html(page);
        let url = html.split_once("<a href=\"").unwrap().1.split_once('"').unwrap().0;
        assert!(html.contains(&format!("http-equiv=\"refresh\" content=\"0; url={url}\"")), "{html}");
        let url = url.replace("&amp;", "&");
        let (state, nonce) = (parameter(&url, "state").unwrap(), parameter(&url, "nonce").unwrap());
        Away { url, state, nonce }
    }

    /// Leaves from the sign-in page.
    fn left(&self, browser: &mut Browser) -> Away {
        let page = browser.get("/sign-in").expect(200);
        self.leave(browser, &page)
    }

    /// Comes back with these parameters.
    fn back(&self, browser: &mut Browser, parameters: &[(&str, &str)]) -> Answer {
        let pairs: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        browser.get(&format!("/sign-in/callback/{}?{}", self.handle, pairs.join("&")))
    }

    /// An ID token for somebody who is away, but for the change.
    fn id_token(&self, subject: &str, away: &Away, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"alg": self.signer.alg(), "kid": self.kid, "typ": "JWT"});
        let mut claims = json!({"iss": self.issuer(), "sub": subject, "aud": CLIENT, "nonce": away.nonce,
            "iat": now(), "exp": now() + 300, "email": "ada@example.org", "email_verified": true});
        change(&mut header, &mut claims);
        self.signer.sign(&header.to_string(), &claims.to_string())
    }

    /// From now on the token endpoint answers this.
    fn answers(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    fn gives(&self, id_token: &str) {
        self.answers(Reply::json(
            200,
            &json!({"access_token": ACCESS, "token_type": "Bearer", "id_token": id_token}),
        ));
    }

    /// Comes back with a code, for which there is an ID token about `subject`, but for the change.
    fn comes_back_as(
        &self,
        browser: &mut Browser,
        subject: &str,
        change: impl FnOnce(&mut Value, &mut Value),
    ) -> Answer {
        let away = self.left(browser);
        self.gives(&self.id_token(subject, &away, change));
        self.back(browser, &[("code", "the-code"), ("state", &away.state)])
    }

    fn signs_in(&self, subject: &str) -> (Browser, Answer) {
        let mut browser = self.browser();
        let answer = self.comes_back_as(&mut browser, subject, |_, _| {});
        (browser, answer)
    }
}

impl Drop for Sso {
    fn drop(&mut self) {
        // There are only so many at once.
        let _ = self.story.server.admin().delete(&self.path()).try_send();
    }
}

fn basic() -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{}", encoded(SECRET))))
}

/// Whether the answer gives a session.
fn has_session(answer: &Answer) -> bool {
    let cookies = answer.headers.get_all("set-cookie").iter();
    cookies.filter_map(|cookie| cookie.to_str().ok()).any(|cookie| cookie.starts_with("placet="))
}

/// Nobody was signed in, and the page says so.
#[track_caller]
fn refused(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{}", html(answer));
    assert!(!has_session(answer));
    assert!(html(answer).contains(words), "{words}: {}", html(answer));
}

#[track_caller]
fn entered(answer: &Answer) {
    assert_eq!((answer.status, answer.header("location")), (303, Some("/sign-in")), "{}", html(answer));
    assert!(has_session(answer));
}

/// Whether a proof key is the one of a challenge.
fn is_proof(verifier: &str, url: &str) -> bool {
    parameter(url, "code_challenge_method").as_deref() == Some("S256")
        && parameter(url, "code_challenge") == Some(challenge(verifier))
}
