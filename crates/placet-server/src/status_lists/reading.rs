//! What lists say: made from the grants as they are, when somebody asks, and kept for a moment.
//!
//! Issuing changes nothing in a list, since a place that nobody has reads as valid; only a change of authority does. So
//! what was made stays good as long as there was none, which is one row to read; and where there was one on this node,
//! that is known at once.
//!
//! Anybody may ask. However many do, one of them at a time reads and the others are given what that one has made.
//!
//! Invariant: what is handed out was what the store says, at most [`FRESH`] ago and after every change of authority that
//! this node has answered.

use super::filling::{self, LATE};
use crate::{app::App, problem::Problem};
use arc_swap::ArcSwapOption;
use placet_core::{
    chain::standing::{Standing, Standings},
    id::StatusListId,
    status_list::{Bits, PLACES, Status, Statuses},
    time::Timestamp,
    token::{self, sign_statement},
};
use placet_store::{
    Fault,
    status_lists::{self, Contents, StatusList},
    versions,
};
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// For how long what was read is not read again, unless authority has changed here.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// After how long whoever has a list should fetch it again (draft §5.1, `ttl`).
pub(crate) const TTL: Duration = Duration::from_secs(20);
/// For how long a statement is good (`exp`): who can't reach Placet for so long takes no token any more.
const LIFETIME: Duration = Duration::from_secs(120);
const _: () = assert!(LIFETIME.as_secs() <= token::LONGEST_LIFETIME.as_secs());
/// After how long one is signed anew although nothing has changed.
const RENEWED: Duration = Duration::from_secs(5);
/// How many lists are listed at most.
const MOST: usize = 10_000;

/// The lists that there are.
#[derive(Debug, Default)]
pub(super) struct Known {
    read: Timestamp,
    /// Which reading this came of.
    turn: u64,
    lists: HashMap<StatusListId, Arc<Listed>>,
}

#[derive(Debug)]
struct Listed {
    list: StatusList,
    said: ArcSwapOption<Said>,
}

/// A statement, and what it rests on.
#[derive(Debug)]
pub(crate) struct Said {
    /// The signed statement.
    pub(crate) statement: String,
    lst: String,
    made: Timestamp,
    /// When it was found to be true the last time.
    looked: Timestamp,
    generation: u64,
    changes: u64,
}

/// The statement of a list; `None` where there is none of this id in which a token may still stand.
///
/// # Errors
/// `unavailable` where the store doesn't answer.
pub(crate) async fn statement(app: &App, id: StatusListId) -> Result<Option<Arc<Said>>, Problem> {
    let (came, arrived) = (app.bearers.generation(), app.clock.now());
    let Some(listed) = find(app, id).await? else { return Ok(None) };
    if let Some(said) = fresh(app, &listed) {
        return Ok(Some(said));
    }
    let _making = app.status_lists.making.lock().await;
    // Whoever had the turn before has perhaps just made it: what was begun after this one came is true enough for it, however
    // fast authority changes.
    let made_since = |said: &Arc<Said>| said.generation >= came && said.looked >= arrived;
    if let Some(said) = listed.said.load_full().filter(made_since).or_else(|| fresh(app, &listed)) {
        return Ok(Some(said));
    }
    let (now, generation) = (app.clock.now(), app.bearers.generation());
    let before = listed.said.load_full();
    let known = before.as_ref().map(|said| said.changes);
    let since = now.minus(LATE);
    let read = app.store.read(move |q| {
        let changes = versions::changes(q)?;
        let contents = if known == Some(changes) { None } else { status_lists::contents(q, id, since)? };
        Ok::<_, Fault>((changes, contents))
    });
    let (changes, contents) = read.await?;
    let lst = match (contents, &before) {
        (Some(contents), _) => {
            // Thousands of places are no work for a thread that answers.
            let packed = tokio::task::spawn_blocking(move || packed(&contents)).await;
            packed.map_err(|_| Fault::Panicked)?
        }
        (None, Some(before)) if known == Some(changes) => before.lst.clone(),
        // It was purged meanwhile.
        (None, _) => return Ok(None),
    };
    let same = before.filter(|before| before.lst == lst && now < before.made.plus(RENEWED));
    let (statement, made) = match same {
        Some(same) => (same.statement.clone(), same.made),
        None => (signed(app, &listed.list, &lst, now)?, now),
    };
    let said = Arc::new(Said { statement, lst, made, looked: now, generation, changes });
    listed.said.store(Some(Arc::clone(&said)));
    Ok(Some(said))
}

/// Where the lists are found in which a token may still stand (draft §9.3).
///
/// # Errors
/// `unavailable` where the store doesn't answer.
pub(crate) async fn uris(app: &App) -> Result<Vec<String>, Problem> {
    let now = app.clock.now();
    if now >= app.status_lists.known.load().read.plus(FRESH) {
        look(app).await?;
    }
    let known = app.status_lists.known.load();
    let mut live: Vec<&StatusList> = known.lists.values().map(|listed| &listed.list).collect();
    live.retain(|list| now < list.ends);
    // By their ids, which is by age.
    live.sort_by_key(|list| list.id);
    Ok(live.into_iter().map(filling::uri).collect())
}

/// Whether this is a list that was there when this process last looked; nothing is read.
pub(crate) fn knows(app: &App, id: StatusListId) -> bool {
    app.status_lists.known.load().lists.contains_key(&id)
}

/// What was made, where it still is what would be made now.
fn fresh(app: &App, listed: &Listed) -> Option<Arc<Said>> {
    let now = app.clock.now();
    listed.said.load_full().filter(|said| {
        // A clock that was set back makes nothing younger.
        said.generation == app.bearers.generation()
            && (said.looked..said.looked.plus(FRESH)).contains(&now)
            && now < said.made.plus(RENEWED)
    })
}

/// The list of this id, as long as a token may stand in it.
async fn find(app: &App, id: StatusListId) -> Result<Option<Arc<Listed>>, Problem> {
    let known = || {
        let found = app.status_lists.known.load().lists.get(&id).cloned();
        found.filter(|listed| app.clock.now() < listed.list.ends)
    };
    if let Some(listed) = known() {
        return Ok(Some(listed));
    }
    look(app).await?;
    Ok(known())
}

/// Reads which lists there are. Of many who want that at once one reads, for all who came before it began.
async fn look(app: &App) -> Result<(), Problem> {
    let lists = &app.status_lists;
    let came = lists.begun.load(Ordering::SeqCst);
    let _finding = lists.finding.lock().await;
    if lists.known.load().turn > came {
        return Ok(());
    }
    let turn = lists.begun.fetch_add(1, Ordering::SeqCst) + 1;
    let now = app.clock.now();
    let found = app.store.read(move |q| status_lists::live(q, now, MOST)).await?;
    let before = lists.known.load();
    let kept = |list: StatusList| {
        let known = before.lists.get(&list.id).cloned();
        let listed = known.unwrap_or_else(|| Arc::new(Listed { list, said: ArcSwapOption::empty() }));
        (listed.list.id, listed)
    };
    let read = Known { read: now, turn, lists: found.into_iter().map(kept).collect() };
    lists.known.store(Arc::new(read));
    Ok(())
}

/// The array of statuses, as a statement has it.
fn packed(contents: &Contents) -> String {
    if contents.condemned {
        return Statuses::all(Bits::Two, PLACES.into(), Status::Invalid).to_lst();
    }
    let mut statuses = Statuses::all(Bits::Two, PLACES.into(), Status::Valid);
    let standings: Standings = contents.vitals.iter().copied().collect();
    for (place, grant) in &contents.places {
        let status = match standings.of(*grant) {
            Standing::Alive => continue,
            Standing::Suspended => Status::Suspended,
            Standing::Ended => Status::Invalid,
        };
        let has = statuses.set((*place).into(), status);
        debug_assert!(has, "a list has every place that is given");
    }
    statuses.to_lst()
}

fn signed(app: &App, list: &StatusList, lst: &str, now: Timestamp) -> Result<String, Problem> {
    let claims = json!({
        "iss": list.issuer,
        "sub": filling::uri(list),
        "iat": now.as_seconds(),
        "exp": now.plus(LIFETIME).as_seconds(),
        "ttl": TTL.as_secs(),
        "status_list": {
            "bits": Bits::Two.number(),
            "lst": lst,
            "aggregation_uri": format!("{}/oauth/status", list.issuer),
        },
    });
    Ok(sign_statement(&app.secrets.tokens.load(), token::Statement::StatusList, &claims)?)
}
