//! Lists of the statuses of tokens (draft-ietf-oauth-status-list-21), for resource servers that check tokens by
//! themselves (`docs/status-lists.md`): `filling` gives new tokens their places, `reading` says what became of them.
//!
//! Only tokens for a resource server that wants it stand in a list; issuing all others asks and writes nothing more than
//! without.
//!
//! Invariant: a list says of a token whose time is not over whether introspection says that it is active, since at most
//! `reading::FRESH` ago.

pub(crate) mod filling;
pub(crate) mod reading;

use crate::{app::App, problem::Problem};
use arc_swap::{ArcSwap, ArcSwapOption};
use filling::Filling;
use placet_store::status_lists;
use reading::Known;
use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};
use tokio::sync::Mutex;

/// What this process knows of lists.
#[derive(Default)]
pub struct StatusLists {
    /// The one that it fills.
    filling: Mutex<Option<Filling>>,
    /// Whose tokens stand in one.
    wanted: ArcSwapOption<Wanted>,
    /// Those that there are, as last read.
    known: ArcSwap<Known>,
    /// How often that was begun.
    begun: AtomicU64,
    /// Held by the one who reads them.
    finding: Mutex<()>,
    /// Held by the one who makes a statement.
    making: Mutex<()>,
}

impl fmt::Debug for StatusLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusLists(…)")
    }
}

/// The audiences whose tokens stand in a list.
#[derive(Debug)]
struct Wanted {
    generation: u64,
    audiences: Arc<[String]>,
}

impl StatusLists {
    /// Says that this audience's tokens stand in a list, as the store has just told somebody: what is remembered without
    /// it is old.
    pub(crate) fn wanted_by(&self, audience: &str) {
        if let Some(wanted) = &*self.wanted.load()
            && !wanted.audiences.iter().any(|known| known == audience)
        {
            self.wanted.store(None);
        }
    }
}

/// The audiences whose tokens stand in a list, as last read under the present generation of authority.
///
/// # Errors
/// `unavailable` where the store doesn't answer.
pub(crate) async fn audiences(app: &App) -> Result<Arc<[String]>, Problem> {
    let generation = app.bearers.generation();
    if let Some(wanted) = &*app.status_lists.wanted.load()
        && wanted.generation == generation
    {
        return Ok(Arc::clone(&wanted.audiences));
    }
    let audiences: Arc<[String]> = app.store.read(|q| status_lists::audiences(q)).await?.into();
    let wanted = Wanted { generation, audiences: Arc::clone(&audiences) };
    app.status_lists.wanted.store(Some(Arc::new(wanted)));
    Ok(audiences)
}
