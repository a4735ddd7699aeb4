//! An account is connected where no browser comes back (RFC 8628): whoever connects it is shown a code, enters it at the
//! upstream's server, and asks here until that has happened.
//!
//! Nothing runs by itself meanwhile: each question from outside asks the server at most once, in its own pace.
//!
//! Invariant: of all that ask with one ticket, on whatever node, one asks the server at a time and not before it may; who began
//! it and nobody else is answered; the device's code is sealed where it lies.

use super::{Connecting, Kept, Plan, Showing, Stopped, TokenError, Ungranted, as_it_was, keep};
use crate::{
    app::App,
    caller::{Caller, Source},
    clock,
    people::session::still_signed_in,
    problem::Problem,
};
use placet_core::{
    refusal::Code,
    seal::{Aad, SealEntropy, Sealed},
    secret::{KeyedHash, Secret},
    service::oauth::account::Device,
};
use placet_store::{accounts, connections::Connection};
use std::time::Duration;

/// What the ticket of somebody who connects a device begins with.
const PREFIX: &str = "plt_connect_";
/// The purpose under which tickets are hashed.
const TICKET: &str = "connect_device";
/// The kind of row that a device's code is sealed to.
const DEVICE_KIND: &str = "connecting_device";
/// How long a question may take: nobody else asks before.
const ASKING: Duration = Duration::from_secs(15);
/// How much longer is waited where the server says so (RFC 8628 §3.5).
const SLOWER: u64 = 5;
/// The longest time between two questions, in seconds.
const SLOWEST: u64 = 120;

/// Where somebody stands.
#[derive(Debug)]
pub(crate) enum Standing {
    /// They have not entered it yet. Ask again after so long.
    Waiting(Duration),
    /// It is connected.
    Connected(Box<Connection>),
}

/// Asks for a code; answers what is asked again with, and what to show.
///
/// # Errors
/// `too_many_requests`; a sentence where the server gives none.
pub(crate) async fn begin(app: &App, plan: &Plan, source: Source) -> Result<(Secret, Device), Problem> {
    let now = app.clock.now();
    app.rates.left(source, now)?;
    let mut who = plan.who.clone();
    let kept = Kept::agreed(who.client_id.clone());
    let private = plan.live.service.allow_private();
    let device = app.gateway.device(&who.server, &plan.client.asking(&kept), private).await;
    let device = device.map_err(|error| {
        let detail = format!("no code came of it: {error}");
        Problem::of(Code::RequestInvalid, detail)
    })?;
    who.interval = device.interval.as_secs();
    let ticket = Secret::generated(PREFIX, clock::entropy());
    let hash = app.secrets.hashing.hash(TICKET, ticket.expose());
    let row = hex(hash);
    let aad = Aad { kind: DEVICE_KIND, row: &row, version: 1 };
    let sealed =
        app.secrets.vault.seal(&aad, SealEntropy::new(clock::entropy()), device.device_code.expose());
    let unsealed = |_| Problem::of(Code::Internal, "the code could not be sealed");
    let sealed = sealed.map_err(unsealed)?.to_bytes();
    let times = (now.plus(device.lifetime), now.plus(device.interval));
    app.store
        .write(move |tx| {
            if let Some(session) = who.session {
                still_signed_in(tx, session, now)?;
            }
            Ok::<_, Problem>(accounts::leave(tx, hash, &who, times, Some(&sealed))?)
        })
        .await?;
    Ok((ticket, device))
}

/// Asks whether the code was entered, where it is time to.
///
/// # Errors
/// `not_found` where nobody connects with this ticket, or it took too long; [`Stopped::NoToken`] where the server, or the
/// person, has said no.
pub(crate) async fn ask(
    app: &App,
    caller: &Caller,
    ticket: &Secret,
    source: Source,
) -> Result<Standing, Stopped> {
    let now = app.clock.now();
    let hash = app.secrets.hashing.hash(TICKET, ticket.expose());
    let found = app.store.read(move |q| accounts::away(q, hash, now)).await.map_err(Problem::from)?;
    let found = found.filter(|found| found.who.by == caller.by() && found.sealed.is_some());
    let found = found.ok_or_else(gone)?;
    if now < found.next_poll {
        return Ok(Standing::Waiting(now.until(found.next_poll)));
    }
    let mine = app
        .store
        .write(move |tx| accounts::poll(tx, hash, now, now.plus(ASKING)))
        .await
        .map_err(Problem::from)?;
    let pace = Duration::from_secs(found.who.interval);
    if !mine {
        return Ok(Standing::Waiting(pace));
    }
    let sealed = found.sealed.unwrap_or_default();
    let code = opened(app, hash, &sealed)?;
    let (live, client) = as_it_was(app, &found.who).await?;
    let kept = Kept::agreed(found.who.client_id.clone());
    let private = live.service.allow_private();
    let asked = app
        .gateway
        .token(&found.who.server, &client.asking(&kept), &Showing::Device(&code), private, app.clock.now())
        .await;
    match asked {
        Ok(granted) => {
            let who = app.store.write(move |tx| accounts::come_back(tx, hash, now)).await;
            let who = who.map_err(Problem::from)?.ok_or_else(gone)?;
            let connection = keep(app, &live, who, kept, granted, source).await?;
            app.rates.came_back(source);
            Ok(Standing::Connected(Box::new(connection)))
        }
        Err(error @ TokenError::Ungranted(Ungranted::Refused(_))) => {
            let ended = app.store.write(move |tx| accounts::come_back(tx, hash, now)).await;
            ended.map_err(Problem::from)?;
            Err(Stopped::NoToken(error))
        }
        Err(error) => {
            let slower = matches!(error, TokenError::Ungranted(Ungranted::Waiting { slower: true }));
            if !matches!(error, TokenError::Ungranted(Ungranted::Waiting { .. })) {
                tracing::warn!(service = found.who.service, %error, "an authorization server does not say whether a code was entered");
            }
            let interval = found.who.interval + if slower { SLOWER } else { 0 };
            let who = Connecting { interval: interval.min(SLOWEST), ..found.who };
            let pace = Duration::from_secs(who.interval);
            let next = app.clock.now().plus(pace);
            let paced = app.store.write(move |tx| accounts::pace(tx, hash, next, &who)).await;
            paced.map_err(Problem::from)?;
            Ok(Standing::Waiting(pace))
        }
    }
}

fn opened(app: &App, hash: KeyedHash, sealed: &[u8]) -> Result<Secret, Problem> {
    let row = hex(hash);
    let aad = Aad { kind: DEVICE_KIND, row: &row, version: 1 };
    let opened = Sealed::from_bytes(sealed).and_then(|sealed| app.secrets.vault.open(&aad, &sealed));
    // The key that sealed it has been given up meanwhile.
    opened.map_err(|_| gone())
}

/// A hash as the name of its row.
fn hex(hash: KeyedHash) -> String {
    hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gone() -> Problem {
    Problem::of(
        Code::NotFound,
        "nobody connects an account with this ticket, or it took too long: begin again",
    )
}
