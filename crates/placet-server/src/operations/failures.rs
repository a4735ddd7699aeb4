//! Requests that were refused before anybody was known: counted by code as they happen, and summed up in one entry of
//! the record a minute (DESIGN §8). Nobody who has no credentials can make the record grow any faster.
//!
//! Invariant: an entry says how many and why, never what was presented. What a crash takes with it is at most a
//! minute's count; the entries that name an agent are written before the answer and elsewhere.

use crate::{app::App, clock, problem::Problem};
use axum::response::Response;
use placet_core::record::{EntryType, Envelope};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// The code of a refusal, left on its answer for whoever counts.
#[derive(Debug, Clone, Copy)]
pub struct RefusedWith(pub &'static str);

/// What was refused since the last entry.
#[derive(Debug, Default)]
pub struct Failures(Mutex<BTreeMap<&'static str, u64>>);

impl Failures {
    fn take(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, code: &'static str, count: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += count;
    }
}

/// Counts an answer, where it is a refusal of somebody unknown.
pub(crate) fn count(app: &App, response: &Response) {
    if response.status() == axum::http::StatusCode::UNAUTHORIZED {
        let code = response.extensions().get::<RefusedWith>().map_or("unauthorized", |refused| refused.0);
        app.operations.metrics.unauthenticated.add(&[("code", code)]);
        app.operations.failures.add(code, 1);
    }
}

/// Writes down what was counted since the last time, as one entry; nothing where nothing was.
///
/// # Errors
/// What the store met; the counts are kept for the next time.
pub(crate) async fn write_down(app: &App) -> Result<(), Problem> {
    let counted = app.operations.failures.take();
    let total: u64 = counted.values().sum();
    if total == 0 {
        return Ok(());
    }
    let now = app.clock.now();
    let by_code: Map<String, Value> =
        counted.iter().map(|(code, count)| ((*code).to_owned(), json!(count))).collect();
    let envelope = Envelope {
        count: Some(total),
        codes: counted.keys().map(|code| (*code).to_owned()).collect(),
        decision: Some(placet_core::record::leaf::Verdict::Deny),
        ..Envelope::new(clock::fresh(now), EntryType::ServerSummary, now)
    };
    let entry = app.prepare(envelope, Some(&json!({"by_code": by_code})));
    let written = match entry {
        Ok(entry) => app.store.append(vec![entry]).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    if written.is_err() {
        for (code, count) in counted {
            app.operations.failures.add(code, count);
        }
    }
    written
}
