//! What scopes and types of authorization details have in common: an administrator declares them under a name, without
//! versions, and what is asked for from then on is judged by them.
//!
//! Invariant: only who may configure changes them, each change is recorded with it, and this node knows it at once.

use crate::{
    app::App,
    caller::{Caller, Source},
    problem::{Answer, Problem},
    recording,
};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use placet_core::record::{EntryType, Envelope};
use placet_store::{Fault, PreparedEntry, Tx};
use serde_json::{Value, json};

/// Who changes one, from where.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) app: &'a App,
    pub(super) caller: &'a Caller,
    pub(super) source: Source,
}

impl Change<'_> {
    /// Declares what is `shown`: `put` stores it and says whether it replaced another.
    ///
    /// # Errors
    /// `not_permitted`; those of `put`.
    pub(super) async fn applied(
        self,
        entry_type: EntryType,
        shown: Value,
        mut put: impl FnMut(&mut Tx<'_>) -> Result<bool, Problem> + Send + 'static,
    ) -> Answer<Response> {
        let entry = self.entry(entry_type, &shown)?;
        let write = move |tx: &mut Tx<'_>| {
            let replaced = put(tx)?;
            tx.record(entry.clone())?;
            Ok::<_, Problem>(replaced)
        };
        let replaced = self.app.store.write(write).await?;
        self.app.bearers.authority_changed();
        let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
        Ok((status, Json(shown)).into_response())
    }

    /// Takes away the one of this name: `remove` says whether there was one.
    ///
    /// # Errors
    /// `not_permitted`; `unknown` where there was none.
    pub(super) async fn removed(
        self,
        entry_type: EntryType,
        name: String,
        mut remove: impl FnMut(&mut Tx<'_>, &str) -> Result<bool, Fault> + Send + 'static,
        unknown: Problem,
    ) -> Answer<StatusCode> {
        let entry = self.entry(entry_type, &json!({"name": name}))?;
        let write = move |tx: &mut Tx<'_>| {
            let removed = remove(tx, &name)?;
            if removed {
                tx.record(entry.clone())?;
            }
            Ok::<_, Fault>(removed)
        };
        let removed = self.app.store.write(write).await?;
        self.app.bearers.authority_changed();
        if removed { Ok(StatusCode::NO_CONTENT) } else { Err(unknown) }
    }

    fn entry(&self, entry_type: EntryType, body: &Value) -> Answer<PreparedEntry> {
        self.caller.must_configure()?;
        let envelope = Envelope {
            source: recording::source(self.source.0),
            ..recording::by(entry_type, self.app.clock.now(), self.caller.by())
        };
        self.app.prepare(envelope, Some(body))
    }
}
