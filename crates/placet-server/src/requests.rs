//! Requests for authority that wait for a person elsewhere, as the person who is asked sees them: found by the code that a
//! device shows, or because a client named them; looked at; answered. The pages and `/v1/requests` are two ways to it.
//!
//! Invariant: a request is seen and answered by the person who is asked, and by nobody else; each once.

use crate::{
    app::App,
    body::OAuthParams,
    caller::{SignedIn, Source},
    consent::{self, Draft, Failing, Sought, Yes},
    oauth::{authorize, client, waiting::USER_CODE},
    people::session::still_signed_in,
    problem::Problem,
    recording,
};
use placet_core::{
    authorize::Refusal,
    consent::{Part, Way},
    id::RequestId,
    record::{EntryType, Envelope},
    refusal::Code,
    time::Timestamp,
    waiting::{State, UserCode, Waiting},
};
use placet_store::{Fault, Tx, waiting};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The most requests that a person is shown at once.
const SHOWN: usize = 100;

/// A request that waits for a person, and what it seeks.
pub(crate) struct Standing {
    /// The request.
    pub(crate) waiting: Waiting,
    /// What it seeks, of whom.
    pub(crate) sought: Sought,
}

impl Standing {
    /// All that the person is told.
    pub(crate) fn parts(&self, app: &App, draft: &Draft, person: &SignedIn, now: Timestamp) -> Vec<Part> {
        let asked = &self.waiting.asked;
        let way = Way::Elsewhere {
            through: self.waiting.through,
            from: asked.from.as_deref(),
            asked: self.waiting.created,
            message: asked.message.as_deref(),
            now,
        };
        draft.parts(app, &self.sought, person, way, now)
    }

    /// What is recorded of how it was asked.
    fn how(&self) -> Value {
        json!({"request": self.waiting.id, "through": self.waiting.through, "asked_from": self.waiting.asked.from,
            "message": self.waiting.asked.message})
    }
}

/// The request of a code that this person read from a device: from now on they are the one who is asked. Whoever guesses
/// is told to wait.
///
/// # Errors
/// `not_found` for a code that no device shows, `too_many_requests`.
pub(crate) async fn entered(
    app: &App,
    person: &SignedIn,
    code: &str,
    source: Source,
) -> Result<RequestId, Problem> {
    let (now, user) = (app.clock.now(), person.user.id);
    let who = user.to_string();
    app.rates.code(&who, source, now)?;
    let none =
        || Problem::of(Code::NotFound, "no device shows this code now: compare it, or begin again there");
    let code = UserCode::parse(code).ok_or_else(none)?;
    let hash = app.secrets.hashing.hash(USER_CODE, code.as_bytes());
    let claimed = app.store.write(move |tx| {
        let found = waiting::by_user_code(tx, hash)?.filter(|found| found.state_at(now) == State::Pending);
        let Some(found) = found else { return Ok(None) };
        Ok::<_, Fault>(waiting::claim(tx, found.id, user)?.then_some(found.id))
    });
    let id = claimed.await?.ok_or_else(none)?;
    app.rates.code_was_right(&who, source);
    Ok(id)
}

/// The requests that wait for this person, oldest first; what can't be granted as things are is left out.
///
/// # Errors
/// What the store met.
pub(crate) async fn waiting_for(app: &App, person: &SignedIn) -> Result<Vec<Standing>, Problem> {
    let (now, user) = (app.clock.now(), person.user.id);
    let found = app.store.read(move |q| waiting::of_user(q, user, now, SHOWN)).await?;
    let mut standing = Vec::with_capacity(found.len());
    for waiting in found {
        if let Ok(sought) = sought(app, &waiting).await {
            standing.push(Standing { waiting, sought });
        }
    }
    Ok(standing)
}

/// The request of this id, where it waits for this person.
///
/// # Errors
/// `not_found` for one that is somebody else's or never was, `conflict` for one that is over.
pub(crate) async fn find(app: &App, person: &SignedIn, id: RequestId) -> Result<Standing, Failing> {
    let unknown = || Problem::of(Code::NotFound, "there is no such request, or it is not for you to answer");
    let now = app.clock.now();
    let found = app.store.read(move |q| waiting::find(q, id)).await?;
    let waiting = found.filter(|found| found.user == Some(person.user.id)).ok_or_else(unknown)?;
    match waiting.state_at(now) {
        State::Pending => {}
        State::Expired => {
            let text = "This request has expired. Nothing was done: begin again where it was asked.";
            return Err(Problem::of(Code::Conflict, text).into());
        }
        _ => return Err(consent::decided().into()),
    }
    let sought = sought(app, &waiting).await?;
    Ok(Standing { waiting, sought })
}

/// What a request seeks, as its client is now.
async fn sought(app: &App, waiting: &Waiting) -> Result<Sought, Failing> {
    let gone =
        || Problem::of(Code::Conflict, "The program that asked is not there, or not active, any more.");
    let client = match client::named(app, &waiting.asked.client_id).await {
        Ok(found) => found.ok_or_else(gone)?,
        // It may be there again in a moment.
        Err(error) if error.status.is_server_error() => {
            let text = "The program that asked can't be looked up just now: try again.";
            return Err(Problem::of(Code::Unavailable, text).into());
        }
        Err(_) => return Err(gone().into()),
    };
    let asked = OAuthParams::form(waiting.asked.query.as_bytes());
    let asked = asked.map_err(|error| Refusal::new(error.error, &error.description))?;
    Ok(authorize::sought(app, &client, &asked).await?)
}

/// Stores the person's answer, who was told what has the digest `seen`: yes, for how long, or no.
///
/// # Errors
/// `conflict` where it was answered before, has expired, or something else would be granted; what can't be granted.
pub(crate) async fn answered(
    app: &Arc<App>,
    standing: &Standing,
    person: &SignedIn,
    source: Source,
    approves: Option<(Duration, [u8; 32])>,
) -> Result<(), Failing> {
    let now = app.clock.now();
    let (id, user, session) = (standing.waiting.id, person.user.id, person.session);
    let (inner, how) = (Arc::clone(app), standing.how());
    let Some(terms) = approves else {
        let agent = standing.waiting.agent;
        let refused = move |tx: &mut Tx<'_>| {
            still_signed_in(tx, session, now)?;
            if !open(tx, id, now)? || !waiting::decide(tx, id, user, None, now)? {
                return Err(consent::decided());
            }
            let envelope = Envelope {
                agent: Some(agent),
                chain: vec![agent],
                user: Some(user),
                source: recording::source(source.0),
                ..recording::by(EntryType::GrantRefused, now, user.to_string())
            };
            Ok::<_, Problem>(tx.record(inner.prepare(envelope, Some(&how))?)?)
        };
        return Ok(app.store.write(refused).await?);
    };
    let yes = Yes::new(app, &standing.sought, person, terms, source, now);
    app.store
        .write(move |tx| {
            if !open(tx, id, now)? {
                return Err(Failing::from(consent::decided()));
            }
            let consented = yes.given(&inner, tx, &how)?;
            if !waiting::decide(tx, id, user, Some(&consented), now)? {
                return Err(consent::decided().into());
            }
            Ok(())
        })
        .await?;
    if standing.sought.client.unconfirmed.is_some() {
        app.bearers.authority_changed();
    }
    Ok(())
}

/// Whether a request still waits, as of this transaction.
fn open(tx: &mut Tx<'_>, id: RequestId, now: Timestamp) -> Result<bool, Fault> {
    Ok(waiting::find(tx, id)?.is_some_and(|found| found.state_at(now) == State::Pending))
}
