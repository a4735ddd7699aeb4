//! The agent's token, as it is at any time of a run.
//!
//! Invariant: tokens of one run are of one grant; what was asked for this run alone is given back at its end.

use super::super::{
    Members,
    token::asker::{Asking, Wish},
};
use crate::{exit::Failure, output};
use placet_core::secret::Secret;
use placet_server::clock;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long before its end a token is replaced.
const AHEAD: Duration = Duration::from_secs(120);

/// Where tokens come from.
pub(super) enum Tokens {
    /// One, whatever becomes of it.
    Given(Secret),
    /// From the server.
    Asked {
        /// Who asks.
        asking: Box<Asking>,
        /// For what.
        members: Members,
        /// Whether the task is of this run alone.
        own_task: bool,
        /// The last, and when it is to be replaced.
        last: Mutex<Option<(Secret, Instant)>>,
    },
}

impl Tokens {
    /// Always this one.
    pub(super) fn given(token: Secret) -> Self {
        Self::Given(token)
    }

    /// Asked for whenever one is needed; for a task of its own where none is named.
    pub(super) fn asked(asking: Asking, wish: Wish, grant: Option<String>) -> Self {
        let named = wish.names_a_task() || grant.is_some();
        let mut members = wish.members().set("grant_type", "client_credentials").maybe("grant_id", grant);
        if !named {
            // The same with each request, so that the tokens are of one grant.
            let label = Secret::generated("run-", clock::entropy());
            members = members.maybe("task_id", label.expose_str());
        }
        Self::Asked { asking: Box::new(asking), members, own_task: !named, last: Mutex::new(None) }
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// The server's refusal, or that it can't be reached.
    pub(super) async fn now(&self) -> Result<Secret, Failure> {
        let (asking, members, last) = match self {
            Self::Given(token) => return Ok(token.clone()),
            Self::Asked { asking, members, last, .. } => (asking, members, last),
        };
        let mut last = last.lock().await;
        if let Some((token, until)) = &*last
            && *until > Instant::now()
        {
            return Ok(token.clone());
        }
        let answer = asking.ask("/oauth/token", members).await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        if text("token_type") != Some("Bearer") {
            return Err(Failure::unreadable(
                "the token is bound to a key, which a proxy's client can't prove: ask without --dpop-key",
            ));
        }
        if last.is_none() && text("scope") == Some("") {
            output::note(
                "warning: the agent's token has no scope, so whatever is asked for is refused: name some with --scope",
            );
        }
        let token = text("access_token").map(Secret::new);
        let token = token.ok_or_else(|| Failure::unreadable("the server's answer has no token"))?;
        let lasts = Duration::from_secs(answer.get("expires_in").and_then(Value::as_u64).unwrap_or(0));
        *last = Some((token.clone(), Instant::now() + lasts.saturating_sub(AHEAD).max(lasts / 2)));
        Ok(token)
    }

    /// Ends the task that was made for this run.
    ///
    /// # Errors
    /// As [`Tokens::now`].
    pub(super) async fn end(&self) -> Result<(), Failure> {
        let Self::Asked { asking, own_task: true, last, .. } = self else { return Ok(()) };
        let Some((token, _)) = last.lock().await.take() else { return Ok(()) };
        let members =
            Members::default().maybe("token", token.expose_str()).set("reason", "the run has ended");
        asking.ask("/oauth/revoke", &members).await.map(|_| ())
    }
}
