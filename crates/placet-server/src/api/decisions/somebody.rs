//! About whom several things are asked at once: the agent itself, the one whose token a resource server was shown or
//! whom it names, or anybody whom an administrator names.
//!
//! Invariant: an agent asks about itself and nobody else; nothing here charges or holds.

use super::{Asked, Asking, Decision, Question, Told, Whose, admit, described, invalid, stated, whose};
use crate::{
    app::App,
    bearer::{self, Meant},
    caller::{Caller, Source},
    problem::{Answer, Problem},
    recording,
    rules::Rules,
    way,
};
use placet_core::{
    action::Action,
    chain::Chain,
    id::TokenId,
    judge::Verdict,
    pattern::ActionName,
    policy::BoundPolicies,
    record::{EntryType, Envelope},
    refusal::{Code, Reason},
};
use serde_json::Value;

/// A chain with its policies.
pub(crate) struct Somebody {
    pub(crate) chain: Chain,
    pub(crate) policies: BoundPolicies,
    /// The token that stands for it, where one was shown.
    token: Option<TokenId>,
    /// Whether the leaf was made up for this question.
    fresh: bool,
    /// Whether the caller can't shape what it answers.
    unshaped: bool,
}

/// Whether what the caller says of a resource is taken as given.
pub(crate) fn is_trusted(asking: &Asking) -> bool {
    !matches!(asking, Asking::Caller(Caller::Agent(_)))
}

impl Somebody {
    /// Whom a question is about, or the reason why that one has no authority at all.
    ///
    /// # Errors
    /// `not_permitted` where the caller may not ask about them; `request_invalid` where they name nobody.
    pub(crate) async fn of(
        app: &App,
        asking: &Asking,
        rules: &Rules,
        question: &mut Question,
    ) -> Answer<Result<Self, Reason>> {
        let names = question.agent.is_some() || question.task.is_some() || question.user.is_some();
        let (chain, token, fresh) = match asking {
            Asking::Caller(caller @ Caller::Agent(bearer)) => {
                admit(caller, question)?;
                if names {
                    let detail = "only an administrator asks for another `agent`, `task` or `user`";
                    return Err(Problem::of(Code::NotPermitted, detail));
                }
                (bearer.chain.clone(), Some(bearer.claims.jti), false)
            }
            Asking::Caller(caller) => {
                admit(caller, question)?;
                match whose::chain(app, Whose::of(question)).await? {
                    Ok(chain) => (chain, None, true),
                    Err(reason) => return Ok(Err(reason)),
                }
            }
            Asking::ResourceServer(server) => match question.token.as_deref() {
                Some(_) if names => {
                    let detail = "the agent's `token` says for whom: leave `agent`, `task` and `user` out";
                    return Err(invalid(detail));
                }
                Some(token) => match bearer::live_for(app, token, Meant::Audience(&server.audience)).await {
                    Ok(bearer) => (bearer.chain.clone(), Some(bearer.claims.jti), false),
                    Err(problem) if problem.code().status() == 401 => {
                        return Ok(Err(Reason::of(problem.code()).detail(problem.detail())));
                    }
                    Err(problem) => return Err(problem),
                },
                None if question.task.is_some() || question.user.is_some() => {
                    return Err(invalid("only a token says for which `task` or `user`"));
                }
                None if question.agent.is_none() => {
                    return Err(invalid("send the agent's access `token`, or name an `agent`"));
                }
                None => match whose::chain(app, Whose::of(question)).await? {
                    Ok(chain) => (chain, None, true),
                    Err(reason) => return Ok(Err(reason)),
                },
            },
        };
        let policies = rules.policies.bind(&chain);
        Ok(Ok(Self { chain, policies, token, fresh, unshaped: question.unshaped }))
    }

    /// The action as it would be described for this caller, or why it would be refused before any rule is asked.
    pub(super) async fn action(
        &self,
        app: &App,
        asking: &Asking,
        rules: &Rules,
        asked: &Asked,
    ) -> Answer<Result<Action, Reason>> {
        match asking {
            Asking::Caller(Caller::Agent(bearer)) => described(app, rules, bearer, asked).await,
            _ => stated(rules, asked),
        }
    }

    /// Whether the caller would be told yes. Of an agent that a resource server only names that is so where nothing would
    /// have to be charged.
    pub(crate) async fn may(
        &self,
        app: &App,
        asking: &Asking,
        rules: &Rules,
        asked: &Asked,
        context: Option<&Value>,
    ) -> Answer<bool> {
        let Ok(action) = self.action(app, asking, rules, asked).await? else { return Ok(false) };
        let context = context.filter(|_| is_trusted(asking));
        let told = Told::to(asking);
        let decision = Decision::of(app, (&self.chain, &self.policies), action, context, told).await?;
        let decision = if self.unshaped { decision.whole() } else { decision };
        let uncharged =
            || decision.judged.as_ref().is_some_and(|(judgement, _)| judgement.charges.is_empty());
        Ok(decision.verdict == Verdict::Allow && (!self.is_named_only(asking) || uncharged()))
    }

    /// Whether a resource server only names an agent, whose token would be charged.
    pub(super) fn is_named_only(&self, asking: &Asking) -> bool {
        self.fresh && matches!(asking, Asking::ResourceServer(_))
    }

    /// Records that an agent or a resource server has asked: one entry for all that it was answered. An administrator's
    /// dry runs leave none.
    pub(crate) async fn record(
        &self,
        app: &App,
        asking: &Asking,
        source: Source,
        action: Option<&ActionName>,
        body: &Value,
    ) -> Result<(), Problem> {
        let by = match asking {
            Asking::Caller(Caller::Agent(_)) => None,
            Asking::ResourceServer(server) => Some(server.id.to_string()),
            Asking::Caller(_) => return Ok(()),
        };
        let now = app.clock.now();
        let mut envelope = Envelope {
            action: action.map(|name| name.as_str().to_owned()),
            policies: way::labels(self.policies.labels()),
            source: recording::source(source.0),
            by,
            ..recording::attributed(EntryType::DecisionAdvice, now, &self.chain, self.token)
        };
        if self.fresh {
            envelope.grants = envelope.grants.into_iter().skip(1).collect();
        }
        let entry = app.prepare(envelope, Some(body))?.kept_until(self.policies.keep_until(now));
        Ok(app.store.append(vec![entry]).await?)
    }
}
