//! One request as it is described and judged now, and its steps from there to the commit point and beyond.
//!
//! Invariant: each step either lets it go on or says why not ([`Stop`]); nothing is reserved before [`Case::admit`], and
//! [`Case::perform`] needs what that gives.

use super::{
    Answered, Asked, Kept, Stop, describe::Described, detected::Detecting, facts, hold, intent, observe,
    outcome, shaped::Shaping, turn,
};
use crate::{app::App, bearer::Bearer, clock, problem::Problem, recording};
use placet_core::{
    chain::Chain,
    id::{ActionId, PermitId},
    judge::{self, Judgement, Verdict, exceeded},
    ledger::{Charge, Standing},
    record::{EntryType, Envelope, leaf},
    refusal::{Code, Reason},
    secret::sha256,
    time::Timestamp,
};
use placet_store::{Admission, Admitted, Fault, Refused, Version, admit::Key};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long after its time limit an action may still be concluded: until then it counts as under way.
const CONCLUDING: Duration = Duration::from_secs(10);
/// How long an idempotent answer is kept.
const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3600);

/// A request, described and judged.
pub(super) struct Case<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) asked: &'a Asked,
    pub(super) bearer: Arc<Bearer>,
    pub(super) described: Described,
    pub(super) judgement: Judgement,
    pub(super) now: Timestamp,
}

impl<'a> Case<'a> {
    /// Judges what was described.
    ///
    /// # Errors
    /// What the rules let it ask for is not the action.
    pub(super) fn judge(
        app: &'a Arc<App>,
        asked: &'a Asked,
        bearer: Arc<Bearer>,
        mut described: Described,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let request = described.request(&bearer, now);
        let mut judgement = judge::informed(&bearer.policies, &request, described.declared());
        intent::prefer_people(&mut judgement, asked.approval);
        described.narrow(&judgement)?;
        Ok(Self { app, asked, bearer, described, judgement, now })
    }

    /// Denies what the judgement asks for and nobody can do: showing people a stream, shaping what comes over a WebSocket.
    pub(super) async fn deny_what_cannot_be_done(&self) -> Result<(), Stop> {
        let Self { described, judgement, .. } = self;
        if judgement.verdict == Verdict::Hold && described.call.streamed {
            return Err(self.deny(vec![unshowable()]).await);
        }
        let is_seen_through =
            || judge::is_shaped(judgement, described.declared()) || !judge::detects(judgement).is_empty();
        if described.is_of_socket() && is_seen_through() {
            let reason = Reason::of(Code::Forbidden).detail(
                "rules shape what comes back, or look through it, and what comes over a WebSocket can't be shaped",
            );
            return Err(self.deny(vec![reason]).await);
        }
        Ok(())
    }

    /// Answers what ran already and is sent again, before people are asked. `again`: it is judged on what it ran by.
    pub(super) async fn answer_what_ran(&self, again: bool, kept: &mut Kept) -> Result<(), Stop> {
        let verdict = self.judgement.verdict;
        let asks = verdict == Verdict::Hold && self.asked.approval.is_none();
        let may_have_run = asks || (again && verdict != Verdict::Deny);
        if !may_have_run {
            return Ok(());
        }
        self.first_use().await?;
        if again {
            // The key has just been forgotten.
            kept.is_first = true;
            return Err(Stop::Anew);
        }
        Ok(())
    }

    /// Goes on where its idempotency key was not used yet, or it has none; else it has the answer of the first use.
    pub(super) async fn first_use(&self) -> Result<(), Stop> {
        let Some(key) = self.idempotency() else { return Ok(()) };
        match self.app.store.first_use(key, self.versions(), self.now).await {
            Ok(()) => Ok(()),
            Err(refused) => Err(self.turned_away(refused).await),
        }
    }

    /// What lets it go on, by the verdict. `spent`: permits that others have used up.
    pub(super) async fn release(&self, spent: &BTreeSet<PermitId>) -> Result<hold::Release, Stop> {
        match self.judgement.verdict {
            Verdict::Deny => Err(self.deny(self.judgement.reasons.clone()).await),
            Verdict::Allow => Ok(hold::Release::default()),
            Verdict::Hold => self.approved(&self.judgement, spent).await,
        }
    }

    /// What people have said, as `judgement` asks them; they are asked, where they have said nothing.
    pub(super) async fn approved(
        &self,
        judgement: &Judgement,
        spent: &BTreeSet<PermitId>,
    ) -> Result<hold::Release, Stop> {
        match hold::approved(self, judgement, spent).await? {
            hold::Standing::Released(release) => Ok(release),
            hold::Standing::Held(answer) => {
                count(self.app, "hold", Code::ApprovalRequired.as_str());
                Err(Stop::Answered(Box::new(answer)))
            }
            hold::Standing::Refused(reason) => Err(self.deny(vec![reason]).await),
        }
    }

    /// Has a judge of intent asked, where rules say so.
    pub(super) async fn fit(
        &mut self,
        release: hold::Release,
        kept: &mut Kept,
    ) -> Result<hold::Release, Stop> {
        let fits = intent::pass(self, release, &mut kept.heard).await;
        if matches!(fits, Err(Stop::Anew)) {
            // The judge took its time: what upstream held before is old.
            kept.looked_up = facts::LookedUp::default();
        }
        fits
    }

    /// Sees to a credential that is good now, before anything is reserved: a token that can't be had costs no limit.
    pub(super) async fn freshen(&mut self) -> Result<(), Stop> {
        if self.described.freshen(self.app).await? { Err(Stop::Anew) } else { Ok(()) }
    }

    /// Takes its turn at the upstream, before anything is reserved, too: what can't be sent costs nothing.
    pub(super) async fn take_turn(&self, kept: &mut Kept) -> Result<(), Stop> {
        match turn::take(self.app, &self.described, &mut kept.turn).await {
            Ok(turn::Taken::Here) => Ok(()),
            // With the authority that there is now.
            Ok(turn::Taken::Waited) => Err(Stop::Anew),
            Err(away) => {
                // What ran already is answered all the same.
                self.first_use().await?;
                Err(away.into())
            }
        }
    }

    /// Passes the commit point.
    pub(super) async fn admit(&self, release: hold::Release, kept: &mut Kept) -> Result<Admitted, Stop> {
        let permits = release.permitted.permits.clone();
        let admission = self.admission(release, kept.heard.as_ref())?;
        let began = Instant::now();
        let admitted = self.app.store.admit(admission).await;
        self.app.operations.metrics.admit.observe(began.elapsed());
        match admitted {
            Ok(admitted) => {
                count(self.app, "allow", "");
                Ok(admitted)
            }
            // Somebody else had the last of a permit: then people are asked.
            Err(Refused::Limit { index, .. }) if self.judgement.charges.len() <= index => {
                kept.spent.extend(permits);
                Err(Stop::Anew)
            }
            Err(refused) => {
                if matches!(refused, Refused::Fault(Fault::Full)) {
                    self.app.operations.space.met_the_end();
                }
                Err(self.turned_away(refused).await)
            }
        }
    }

    /// What the commit point is asked for.
    fn admission(&self, release: hold::Release, heard: Option<&intent::Heard>) -> Result<Admission, Problem> {
        let Self { app, asked, bearer, described, judgement, now } = self;
        let (now, leaf) = (*now, &bearer.chain.leaf().grant);
        let action_id = clock::fresh(now);
        let body = described.beside(recording::action_body(&described.action, described.secret(), &[])?);
        let body = observe::beside(intent::beside(body, judgement, heard), &judgement.observed);
        let envelope = Envelope {
            permits: release.permitted.permits,
            approval: release.approval.map(|(id, _)| id).or(asked.approval),
            ..self.intent(action_id)
        };
        Ok(Admission {
            action: action_id,
            agent: bearer.chain.agent().id,
            user: bearer.chain.user_id(),
            grant: leaf.id,
            root: leaf.root,
            task: leaf.task,
            connection: Some(described.connection.connection.id),
            at: now,
            until: now.plus(asked.wanted.longest(turn::time(&described.live))).plus(CONCLUDING),
            versions: [self.versions(), release.permitted.versions].concat(),
            charges: [judgement.charges.clone(), release.permitted.charges].concat(),
            observed: observe::noted(
                &judgement.observed,
                &bearer.chain,
                &described.action.name,
                leaf::Verdict::Allow,
            ),
            approval: release.approval,
            idempotency: self.idempotency(),
            intent: app.prepare(envelope, Some(&body))?.kept_until(bearer.policies.keep_until(now)),
        })
    }

    /// The entry of the intent, but for what releases it.
    fn intent(&self, action_id: ActionId) -> Envelope {
        let Self { asked, bearer, described, judgement, now, .. } = self;
        Envelope {
            action: Some(described.action.name.as_str().to_owned()),
            action_id: Some(action_id),
            service: described.action.service.as_ref().map(ToString::to_string),
            connection: described.action.connection,
            decision: Some(leaf::Verdict::Allow),
            policies: labels(&judgement.policies),
            source: recording::source(asked.source),
            door: Some(asked.door.as_str().to_owned()),
            ..recording::attributed(EntryType::ActionIntent, *now, &bearer.chain, Some(bearer.claims.jti))
        }
    }

    /// Carries out what was admitted, concludes it, and answers.
    pub(super) async fn perform(self, admitted: Admitted, kept: &mut Kept) -> Result<Answered, Stop> {
        let (shaping, detecting) = self.seen_through();
        let Self { app, asked, bearer, mut described, .. } = self;
        described.turn = kept.turn.take().map(|(_, slot)| slot);
        described.place = kept.place.take();
        Ok(outcome::perform(app, admitted, &bearer, (described, shaping, detecting), asked).await?)
    }

    /// What rules do to what comes back.
    fn seen_through(&self) -> (Option<Shaping>, Option<Detecting>) {
        let Self { bearer, described, judgement, now, .. } = self;
        let shaping = Shaping::of(bearer, described, judgement, *now);
        (shaping, Detecting::of(bearer, described, judgement))
    }

    /// What follows from a refusal of the commit point: the first answer again, nothing (it is judged anew), or a recorded
    /// denial.
    async fn turned_away(&self, refused: Refused) -> Stop {
        let Self { app, asked, bearer, described, judgement, .. } = self;
        match refused {
            Refused::Stale => app.refresh().await.map_or_else(Stop::from, |()| Stop::Anew),
            Refused::Replay(replay) => {
                let answer = outcome::replay(app, &replay, (bearer, described, asked), self.seen_through());
                answer.await.map_or_else(Stop::from, |answer| Stop::Answered(Box::new(answer)))
            }
            Refused::Fault(fault) => Problem::from(fault).into(),
            refused => self.deny(vec![reason(&refused, judgement, &bearer.chain)]).await,
        }
    }

    /// Everything whose change makes the judgement stale.
    fn versions(&self) -> Vec<(Version, u64)> {
        let Self { bearer, described, .. } = self;
        let stamps = bearer.chain.stamps();
        let mut versions: Vec<(Version, u64)> =
            stamps.iter().map(|(stamp, version)| (Version::from(*stamp), *version)).collect();
        versions.push((Version::Policies, described.rules.policies_version));
        versions.push((Version::Service(described.live.service.name().to_owned()), described.live.stamp));
        let picked = &described.connection;
        versions.push((Version::Connection(picked.connection.id), picked.version));
        versions
    }

    fn idempotency(&self) -> Option<Key> {
        idempotency(&self.bearer, &self.described, self.asked, self.now)
    }
}

/// The reason for what needs people, and can't be shown to them.
pub(super) fn unshowable() -> Reason {
    Reason::of(Code::Forbidden)
        .detail("it needs an approval, and what is streamed can't be shown to a person")
}

/// The reason for what the commit point refused.
fn reason(refused: &Refused, judgement: &Judgement, chain: &Chain) -> Reason {
    match refused {
        Refused::Limit { index, standing } => exceeded(judgement, chain, *index, *standing),
        Refused::Approval(code) => Reason::of(*code),
        Refused::IdempotencyInFlight => Reason::of(Code::IdempotencyInFlight),
        Refused::IdempotencyMismatch => Reason::of(Code::IdempotencyMismatch),
        Refused::Stale | Refused::Replay(_) | Refused::Fault(_) => Reason::of(Code::Unavailable),
    }
}

/// What an idempotency key is scoped to and bound to.
pub(super) fn idempotency(
    bearer: &Bearer,
    described: &Described,
    asked: &Asked,
    now: Timestamp,
) -> Option<Key> {
    let key = asked.idempotency_key.as_deref()?;
    let scope = sha256(&[
        bearer.chain.agent().id.to_string().as_bytes(),
        b"\0",
        bearer.chain.user_id().map(|user| user.to_string()).unwrap_or_default().as_bytes(),
        b"\0",
        described.connection.connection.id.to_string().as_bytes(),
        b"\0",
        key.as_bytes(),
    ]);
    Some(Key { scope, digest: described.digest(), expires: now.plus(IDEMPOTENCY_KEPT) })
}

/// How each counter that the judgement would charge stands, in its order.
pub async fn standings(app: &App, judgement: &Judgement, now: Timestamp) -> Result<Vec<Standing>, Problem> {
    standings_of(app, judgement.charges.clone(), now).await
}

/// How the counters of these charges stand, in their order.
pub(crate) async fn standings_of(
    app: &App,
    charges: Vec<Charge>,
    now: Timestamp,
) -> Result<Vec<Standing>, Problem> {
    if charges.is_empty() {
        return Ok(Vec::new());
    }
    let read = move |q: &mut placet_store::Reader| -> Result<Vec<Standing>, Fault> {
        charges.iter().map(|charge| placet_store::counters::standing(q, charge, now)).collect()
    };
    Ok(app.store.read(read).await?)
}

/// Counts a decision that was made.
pub(crate) fn count(app: &App, verdict: &str, code: &str) {
    app.operations.metrics.decisions.add(&[("verdict", verdict), ("code", code)]);
}

pub(crate) fn labels(labels: &[Arc<str>]) -> Vec<String> {
    labels.iter().map(|label| label.to_string()).collect()
}
