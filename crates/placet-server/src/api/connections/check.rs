//! `POST /v1/connections/{connection}/check`: whether its credential works, and the state that follows.
//!
//! Invariant: who may see a connection may have it checked; the answer has nothing of what upstream said but its status.

use super::one::{absent, mending, service_of, told, visible};
use crate::{
    app::App,
    caller::{Caller, Source},
    connections::checked,
    problem::Answer,
};
use axum::{
    Json,
    extract::{Path, State},
};
use placet_store::connections;
use serde_json::{Value, json};
use std::sync::Arc;

/// `POST /v1/connections/{connection}/check`
pub(crate) async fn check(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(asked): Path<String>,
) -> Answer<Json<Value>> {
    // Before the connection: it waits for its owner where its service has moved since.
    let rules = app.rules.load_full();
    let found = visible(&app, &caller, asked).await?;
    let live = service_of(&rules, &found)?;
    let checked = checked::check(&app, (caller.by(), source), live, &found).await?;
    let id = found.id;
    let now = app.store.read(move |q| connections::find(q, id)).await?.ok_or_else(absent)?;
    let mending = mending(&app, &now).await?;
    let mut answer = told(&rules, &now, mending);
    answer.insert("check".into(), json!(checked));
    Ok(Json(answer.into()))
}
