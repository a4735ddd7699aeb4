//! Whether what is open may go on by what holds now: its rules, what its grant has left, its connection.
//!
//! The commit point decided about its beginning. Limits are not counted again, nobody is asked again, and what a rule
//! reads of the action is what was read then. What would be denied today ends today; so does what would come back with
//! less in it, as nothing can be taken out any more.
//!
//! Invariant: only a denial that was made ends anything; a store that doesn't answer is told as such.

use super::{Described, detected::Detecting};
use crate::{app::App, connections, problem::Problem};
use placet_core::{
    action::Action,
    chain::{Chain, Stamp},
    detect::Detect,
    id::ConnectionId,
    judge::{self, Request, Verdict},
    refusal::Code,
    time::Timestamp,
};
use std::sync::{Arc, Mutex, PoisonError};

/// What an open answer or upload is.
#[derive(Debug)]
pub(crate) struct Ongoing {
    action: Arc<Action>,
    service: String,
    connection: ConnectionId,
    /// The number of the secret that it began with.
    generation: u64,
    /// Its answer is read whole and shaped before anything of it goes out.
    shaped: bool,
    /// What is looked for in it.
    detect: Detect,
    judged: Mutex<Option<JudgedBy>>,
}

/// What the last judgement rested on that can change while the action stays the same.
#[derive(Debug, PartialEq, Eq)]
struct JudgedBy {
    rules: u64,
    stamps: Vec<(Stamp, u64)>,
}

impl Ongoing {
    pub(super) fn of(described: &Described, shaped: bool, detecting: Option<&Detecting>) -> Self {
        Self {
            action: Arc::clone(&described.action),
            service: described.live.service.name().to_owned(),
            connection: described.connection.connection.id,
            generation: described.connection.connection.generation,
            shaped,
            detect: detecting.map(|it| it.detect().clone()).unwrap_or_default(),
            judged: Mutex::default(),
        }
    }

    /// Why it may not go on under `chain`, if so.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub(crate) async fn denied(
        &self,
        app: &App,
        chain: &Chain,
        now: Timestamp,
    ) -> Result<Option<Code>, Problem> {
        let rules = app.rules.load_full();
        let declared = rules.declaring(&self.action.name);
        let Some((live, declared)) = declared.filter(|(live, _)| live.service.name() == self.service) else {
            return Ok(Some(Code::NotGranted));
        };
        let auth = live.service.auth();
        let now_there = connections::by_id(app, &self.service, auth, self.connection).await?;
        // With another secret it may be another account, and the old one may be known to others.
        if now_there.is_none_or(|picked| picked.connection.generation != self.generation) {
            return Ok(Some(Code::Unavailable));
        }
        let reached = connections::reached(app, chain, &self.service, auth).await?;
        if !reached.iter().any(|connection| connection.id == self.connection) {
            return Ok(Some(Code::NotGranted));
        }
        let by = JudgedBy { rules: rules.generation, stamps: chain.stamps().to_vec() };
        if self.judged().as_ref() == Some(&by) {
            return Ok(None);
        }
        let policies = rules.policies.bind(chain);
        let request = Request { chain, action: &self.action, now, context: None };
        let judgement = judge::informed(&policies, &request, Some(declared));
        if judgement.verdict == Verdict::Deny {
            let code = judgement.reasons.first().map_or(Code::NoRule, |reason| reason.code);
            return Ok(Some(code));
        }
        if !self.shaped && judge::is_shaped(&judgement, Some(declared)) {
            return Ok(Some(Code::ResultWithheld));
        }
        if judge::detects(&judgement).beyond(&self.detect).is_some() {
            return Ok(Some(Code::ResultSensitive));
        }
        *self.judged() = Some(by);
        Ok(None)
    }

    fn judged(&self) -> std::sync::MutexGuard<'_, Option<JudgedBy>> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
