//! The shared stage with the people that the tests of agents, tokens and lineage need: signing in is slow on purpose,
//! so it is done once. Tests stay apart by agents of their own.

use crate::stage::story;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_testkit::{Agent, Answer, Asking, Client, Story, fresh};
use serde_json::{Value, json};
use std::sync::LazyLock;

pub(crate) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(crate) const DELEGATION: &str = "urn:placet:params:oauth:token-type:delegation";

/// A person who signed in.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) id: String,
    pub(crate) token: String,
}

/// The server with the people that the tests need.
pub(crate) struct Stage {
    pub(crate) story: &'static Story,
    /// With role `auditor`.
    pub(crate) auditor: Person,
    /// Without a role.
    pub(crate) pat: Person,
    /// Another one.
    pub(crate) sam: Person,
}

/// The one server.
pub(crate) fn stage() -> &'static Stage {
    static STAGE: LazyLock<Stage> = LazyLock::new(|| {
        let story = story();
        let person = |name: &'static str, roles: &[&str]| {
            let (id, token) = story.user(name, roles);
            Person { name, id, token }
        };
        let (auditor, pat, sam) = (person("audrey", &["auditor"]), person("pat", &[]), person("sam", &[]));
        Stage { story, auditor, pat, sam }
    });
    &STAGE
}

impl Stage {
    pub(crate) fn client(&self) -> Client {
        self.story.client()
    }

    pub(crate) fn admin(&self) -> Client {
        self.story.admin()
    }

    pub(crate) fn admin_token(&self) -> Client {
        self.story.server.admin()
    }

    /// The session of an administrator.
    pub(crate) fn ada(&self) -> String {
        self.story.ada.clone()
    }

    /// A fresh agent for everything of the shop.
    pub(crate) fn agent(&self) -> Agent {
        self.story.agent(&fresh("bot-")).register()
    }

    /// A fresh agent for these tools.
    pub(crate) fn agent_for(&self, tools: &[&str]) -> Agent {
        self.story.agent(&fresh("bot-")).with("allowed_tools", json!(tools)).register()
    }

    /// What an agent is given for a scope.
    pub(crate) fn given(&self, agent: &Agent, scope: &str) -> Answer {
        agent.ask().with("scope", scope).send(&self.client()).expect(200)
    }

    /// A delegation token of `agent` for `child`.
    pub(crate) fn delegated(&self, agent: &Agent, token: &str, child: &Agent, scope: &str) -> String {
        let asked = exchange(agent, token, &child.id).with("scope", scope);
        asked.send(&self.client()).expect(200).text("/access_token")
    }

    /// A child's answer for a parent's token, with all that is left.
    pub(crate) fn child(&self, child: &Agent, parent_token: &str) -> Answer {
        child.ask().with("parent_token", parent_token).send(&self.client()).expect(200)
    }

    /// What an administrator is told about a token.
    pub(crate) fn introspect(&self, token: &str) -> Answer {
        introspect(&self.admin(), token)
    }

    pub(crate) fn is_active(&self, token: &str) -> bool {
        self.introspect(token).at("/active") == &json!(true)
    }

    /// Makes a task as somebody.
    pub(crate) fn task(&self, session: &str, body: &Value) -> Answer {
        self.client().with(session).post("/v1/tasks").json(body).send()
    }
}

/// A token exchange for a delegation token.
pub(crate) fn exchange<'a>(agent: &'a Agent, token: &str, child: &str) -> Asking<'a> {
    agent
        .ask()
        .with("grant_type", TOKEN_EXCHANGE)
        .with("subject_token", token)
        .with("subject_token_type", ACCESS_TOKEN)
        .with("requested_token_type", DELEGATION)
        .with("audience", child)
}

/// What a caller is told about a token.
pub(crate) fn introspect(caller: &Client, token: &str) -> Answer {
    caller.post("/oauth/introspect").form(&[("token", token)]).send().expect(200)
}

/// The header and the claims of a JWT, unverified.
pub(crate) fn read(token: &str) -> (Value, Value) {
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "no JWT: {token}");
    let part = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    (part(parts[0]), part(parts[1]))
}

/// The text of OAuth's `error_description`.
#[track_caller]
pub(crate) fn why(answer: &Answer) -> String {
    answer.text("/error_description")
}
