//! Subject, action, resource and context (AuthZEN §5) as what Placet's questions are about.
//!
//! | theirs | ours |
//! |---|---|
//! | `subject {type: agent, id}` | the agent with this handle or id |
//! | `subject {type: user, id, properties: {agent}}` | that agent on behalf of the user |
//! | `subject.properties.token`, of a resource server | the agent's access token |
//! | `subject.properties.task`, of an administrator | the task |
//! | `action {name, properties}` | the action and its parameters |
//! | `resource {type, id}` | `type://id` |
//! | `context.supported_obligations` | whether the caller shapes what it answers |
//! | `context`, of a resource server or an administrator | `context`, with what else there is of `properties` as `context.subject` and `context.resource` |
//!
//! Invariant: an agent is nobody but itself, and what it says of itself or the context is not taken.

use crate::{
    api::decisions::{Question, StatedUser, asking::Asking, somebody::is_trusted},
    app::App,
    bearer::{self, Bearer, Meant},
    body::read_as,
    caller::Caller,
    problem::{Answer, Problem},
};
use placet_core::{refusal::Code, secret::sha256};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What is asked, each part as far as it was said.
#[derive(Deserialize)]
pub(super) struct Said {
    pub(super) subject: Option<Entity>,
    pub(super) action: Option<Named>,
    pub(super) resource: Option<Entity>,
    pub(super) context: Option<Map<String, Value>>,
}

/// A subject or a resource.
#[derive(Clone, Deserialize)]
pub(super) struct Entity {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: Option<String>,
    pub(super) properties: Option<Map<String, Value>>,
}

/// An action.
#[derive(Clone, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) properties: Option<Map<String, Value>>,
}

impl Said {
    /// # Errors
    /// `request_invalid` where it is none.
    pub(super) fn read(body: Value) -> Answer<Self> {
        read_as(body).map_err(|error| invalid(format!("this is no evaluation: {error}")))
    }

    /// The same, if nothing is missing that has to be there (§6.1).
    ///
    /// # Errors
    /// `request_invalid`, naming what is missing.
    pub(super) fn complete(self) -> Answer<Self> {
        self.subject()?.id("subject")?;
        self.action()?;
        self.resource()?.id("resource")?;
        Ok(self)
    }

    /// A digest of what an access request is bound to: whom, what, and on what; no token of theirs.
    ///
    /// # Errors
    /// What is missing of it.
    pub(super) fn bound(&self) -> Answer<[u8; 32]> {
        let (subject, action, resource) = (self.subject()?, self.action()?, self.resource()?);
        let text = json!([
            [subject.kind, subject.id],
            [action.name, action.properties],
            [resource.kind, resource.id, resource.properties],
        ]);
        Ok(sha256(&[text.to_string().as_bytes()]))
    }

    pub(super) fn subject(&self) -> Answer<&Entity> {
        self.subject.as_ref().ok_or_else(|| missing("subject"))
    }

    pub(super) fn action(&self) -> Answer<&Named> {
        self.action.as_ref().ok_or_else(|| missing("action"))
    }

    pub(super) fn resource(&self) -> Answer<&Entity> {
        self.resource.as_ref().ok_or_else(|| missing("resource"))
    }

    /// The question.
    ///
    /// # Errors
    /// What is missing of it, what can't be read, and what the caller may not ask.
    pub(super) async fn question(self, app: &App, asking: &Asking) -> Answer<Question> {
        let (subject, action, resource) = (self.subject()?, self.action()?, self.resource()?);
        let mut question = Question {
            action: Some(action.name.clone()),
            resource: Some(uri(resource)?),
            params: action.properties.clone().unwrap_or_default(),
            ..Question::default()
        };
        self.context_of(asking, &mut question)?;
        subject.named(app, asking, &mut question).await?;
        // What names somebody only is what would be.
        question.dry_run = is_trusted(asking) && question.token.is_none();
        Ok(question)
    }

    /// Takes the context over, and the approval that stands in it.
    pub(super) fn context_of(&self, asking: &Asking, question: &mut Question) -> Answer<()> {
        if !is_trusted(asking) {
            return Ok(());
        }
        let mut context = self.context.clone().unwrap_or_default();
        if matches!(asking, Asking::ResourceServer(_))
            && let Some(approval) = context.remove("approval")
        {
            let id = approval.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
            question.approval =
                Some(id.ok_or_else(|| invalid("`context.approval.id` is the id of an approval"))?);
        }
        // Obligations (draft of 2026-07-03, §Negotiation): what isn't named can't be done.
        if let Some(known) = context.remove("supported_obligations") {
            let known =
                known.as_array().ok_or_else(|| invalid("`context.supported_obligations` is a list"))?;
            question.unshaped = !known.iter().any(|kind| kind == "custom");
        }
        let subject = self.subject.as_ref().and_then(|subject| subject.properties.clone());
        let subject = subject.map(|mut properties| {
            properties.retain(|name, _| !matches!(name.as_str(), "token" | "agent" | "task"));
            properties
        });
        let resource = self.resource.as_ref().and_then(|resource| resource.properties.clone());
        for (name, properties) in [("subject", subject), ("resource", resource)] {
            let Some(properties) = properties.filter(|properties| !properties.is_empty()) else { continue };
            if context.insert(name.to_owned(), Value::Object(properties)).is_some() {
                let detail = format!("`context.{name}` is for the {name}'s `properties`: send one of them");
                return Err(invalid(detail));
            }
        }
        question.context = (!context.is_empty()).then_some(Value::Object(context));
        Ok(())
    }
}

fn missing(part: &str) -> Problem {
    invalid(format!("`{part}` is missing"))
}

impl Entity {
    fn id(&self, of: &str) -> Answer<&str> {
        self.id.as_deref().ok_or_else(|| missing(&format!("{of}.id")))
    }

    fn property(&self, name: &str) -> Answer<Option<String>> {
        match self.properties.as_ref().and_then(|properties| properties.get(name)) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(invalid(format!("`subject.properties.{name}` is text"))),
        }
    }

    /// As a subject: says in the question who it is.
    ///
    /// # Errors
    /// `not_permitted` where the caller may not ask about it, `not_found` where it is of no kind that there is.
    pub(super) async fn named(&self, app: &App, asking: &Asking, question: &mut Question) -> Answer<()> {
        let id = self.id("subject")?;
        if !matches!(self.kind.as_str(), "agent" | "user") {
            return Err(Problem::of(Code::NotFound, "a subject is an `agent` or a `user`"));
        }
        match asking {
            Asking::Caller(Caller::Agent(bearer)) => {
                let detail =
                    "an agent asks about itself: as `agent` with its own handle or id, or as its `user`";
                if self.is(id, bearer)? { Ok(()) } else { Err(Problem::of(Code::NotPermitted, detail)) }
            }
            Asking::ResourceServer(server) => {
                let Some(token) = self.property("token")? else {
                    if self.kind != "agent" {
                        let detail =
                            "for whom an agent acts is said by its token: send `subject.properties.token`";
                        return Err(Problem::of(Code::NotFound, detail));
                    }
                    question.agent = Some(id.to_owned());
                    return Ok(());
                };
                let found = bearer::live_for(app, &token, Meant::Audience(&server.audience)).await;
                if let Some(bearer) = good(found)?
                    && !self.is(id, &bearer)?
                {
                    return Err(Problem::of(Code::NotFound, "the token is not of this subject"));
                }
                question.token = Some(token);
                Ok(())
            }
            Asking::Caller(_) => {
                question.task = self.property("task")?;
                if self.kind == "agent" {
                    question.agent = Some(id.to_owned());
                } else {
                    question.agent = self.property("agent")?;
                    question.user = Some(StatedUser { id: id.to_owned(), ..StatedUser::default() });
                }
                Ok(())
            }
        }
    }

    /// Whether this is whom the token stands for.
    fn is(&self, id: &str, bearer: &Bearer) -> Answer<bool> {
        let agent = bearer.chain.agent();
        let is_agent = |name: &str| name == agent.handle || name == agent.id.to_string();
        if self.kind == "agent" {
            return Ok(is_agent(id));
        }
        let with = self.property("agent")?;
        let user = bearer.chain.user();
        let is_user = user.is_some_and(|user| id == user.id.to_string() || id == user.name);
        Ok(is_user && with.is_none_or(|with| is_agent(&with)))
    }
}

/// The resource as a URI: `type://id`, or the id where that is one of this type.
pub(super) fn uri(resource: &Entity) -> Answer<String> {
    let id = resource.id("resource")?;
    match id.split_once("://") {
        Some((scheme, _)) if scheme == resource.kind => Ok(id.to_owned()),
        Some(_) => Err(invalid("`resource.id` is a URI of another type")),
        None => Ok(format!("{}://{id}", resource.kind)),
    }
}

/// What a token stands for. One that is no good is the answer to the question, and who it is of matters only where it is
/// good; one that can't be looked up is neither.
fn good<T>(found: Answer<T>) -> Answer<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(problem) if problem.code().status() == 401 => Ok(None),
        Err(problem) => Err(problem),
    }
}

pub(super) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_can_not_be_looked_up_is_not_taken_for_a_bad_one() {
        assert_eq!(good(Ok(7)).ok(), Some(Some(7)));
        for code in [Code::TokenInvalid, Code::TokenExpired, Code::TokenRevoked, Code::LineageRevoked] {
            assert_eq!(good::<u8>(Err(Problem::of(code, "no good"))).ok(), Some(None));
        }
        for code in [Code::Unavailable, Code::Internal] {
            assert_eq!(
                good::<u8>(Err(Problem::of(code, "gone"))).map_err(|problem| problem.code()),
                Err(code)
            );
        }
    }
}
