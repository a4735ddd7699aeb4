//! The stage of these tests, and a person on it with what they sign in with.

use crate::{authorize::browser::Browser, stage::PLACET};
use placet_core::totp::{SECRET_LENGTH, STEP_SECONDS, TotpSecret};
use placet_server::clock::Clock;
use placet_testkit::{Answer, Client, Story, fresh, password};
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The server of these tests.
pub(crate) fn stage() -> &'static Story {
    static STAGE: LazyLock<Story> = LazyLock::new(|| begun(Story::new(PLACET)));
    &STAGE
}

/// The same with pages whose origin has a name, behind a proxy on this machine.
pub(crate) fn begun(mut story: Story) -> Story {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (listen, url) = (format!("127.0.0.1:{port}"), format!("http://localhost:{port}"));
    story.server.flags(&["--forwarded-by", "127.0.0.1", "--pages-listen", &listen, "--pages-url", &url]);
    story.server.restart();
    story
}

/// A person who has a password, and whatever they set up.
pub(crate) struct Person<'s> {
    pub(crate) story: &'s Story,
    pub(crate) name: String,
    pub(crate) id: String,
    /// A session.
    pub(crate) token: String,
    /// Where they come from.
    pub(crate) from: String,
}

impl Person<'static> {
    pub(crate) fn new() -> Self {
        Self::with(stage(), &[])
    }
}

impl<'s> Person<'s> {
    pub(crate) fn with(story: &'s Story, roles: &[&str]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (name, from) = (fresh("person-"), format!("10.{}.{}.1", number / 200, number % 200));
        let user = json!({"name": name, "password": password(&name), "roles": roles});
        let made = story.admin().post("/v1/users").json(&user).send().expect(201);
        let mut person = Self { story, name, id: made.text("/id"), token: String::new(), from };
        person.token = person.signs_in(None).expect(201).text("/token");
        person
    }

    /// With the session.
    pub(crate) fn client(&self) -> Client {
        self.story.client().with(&self.token)
    }

    /// Asks for a session.
    pub(crate) fn signs_in(&self, code: Option<&str>) -> Answer {
        self.signs_in_from(&self.from, &password(&self.name), code)
    }

    pub(crate) fn signs_in_from(&self, from: &str, password: &str, code: Option<&str>) -> Answer {
        let mut body = json!({"name": self.name, "password": password});
        if let Some(code) = code {
            body["totp"] = code.into();
        }
        self.story.client().post("/v1/sessions").header("x-forwarded-for", from).json(&body).send()
    }

    /// Asks for something of their account, with the password and a code.
    pub(crate) fn asks(&self, path: &str, code: Option<&str>, more: &Value) -> Answer {
        let mut body = json!({"password": password(&self.name)});
        if let Some(code) = code {
            body["totp"] = code.into();
        }
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.client().post(path).header("x-forwarded-for", &self.from).json(&body).send()
    }

    /// Sets an app up; answers it with the recovery codes.
    pub(crate) fn enrols(&self) -> (Phone, Vec<String>) {
        let made = self.asks("/v1/account/totp", None, &json!({})).expect(201);
        let mut phone = Phone::of(&made.text("/secret"));
        let confirmation = json!({"totp": phone.code()});
        let told = self.client().post("/v1/account/totp/confirm").json(&confirmation).send().expect(200);
        (phone, recovery_codes(&told))
    }

    /// Whether the session is alive.
    pub(crate) fn is_signed_in(&self) -> bool {
        self.client().get("/v1/account").send().status == 200
    }

    /// A browser that was never here.
    pub(crate) fn browser(&self) -> Browser {
        Browser::at(&self.story.server.pages())
    }

    /// A browser with their session.
    pub(crate) fn signed_in_browser(&self) -> Browser {
        let mut browser = self.browser();
        browser.cookies.insert("placet".into(), self.token.clone());
        browser
    }

    /// What the record has about them, once something is there that `is_it`.
    pub(crate) fn recorded(&self, entry_type: &str) -> Value {
        placet_testkit::until(entry_type, || {
            let entries = self.story.record();
            entries
                .into_iter()
                .rfind(|entry| entry["type"] == entry_type && entry["user"] == self.id.as_str())
        })
    }
}

/// The recovery codes of an answer.
pub(crate) fn recovery_codes(answer: &Answer) -> Vec<String> {
    let codes = answer.at("/recovery_codes").as_array().unwrap();
    codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

/// An authenticator app.
pub(crate) struct Phone {
    secret: TotpSecret,
    last: i64,
}

impl Phone {
    /// With a secret as it is typed.
    pub(crate) fn of(secret: &str) -> Self {
        let (mut bytes, mut kept, mut bits) = (Vec::new(), 0u32, 0);
        for letter in secret.bytes() {
            let value =
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|known| *known == letter).unwrap();
            kept = kept << 5 | u32::try_from(value).unwrap();
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes.push(u8::try_from(kept >> bits & 0xff).unwrap());
            }
        }
        let bytes: [u8; SECRET_LENGTH] = bytes.try_into().unwrap();
        Self { secret: TotpSecret::new(bytes), last: 0 }
    }

    /// A code that was not used. There are three at any time, so that tests need not wait.
    pub(crate) fn code(&mut self) -> String {
        self.last = (self.last + 1).max(Self::step() - 1);
        assert!(self.last <= Self::step() + 1, "no code is left for now: use a recovery code");
        self.secret.code(self.last)
    }

    /// The last code that was used.
    pub(crate) fn used(&self) -> String {
        self.secret.code(self.last)
    }

    /// The code of a step beside the present one.
    pub(crate) fn code_at(&self, beside: i64) -> String {
        self.secret.code(Self::step() + beside)
    }

    fn step() -> i64 {
        Clock::System.now().as_seconds() / STEP_SECONDS
    }
}
