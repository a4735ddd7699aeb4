//! `/v1/connect`: accounts that people connect themselves, in a browser or by a code that they enter elsewhere.
//!
//! Invariant: what is answered holds no secret but the ticket, with which only who began it asks again.

use super::connections::shown;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    connections::connect::{
        self, Stopped, Wish,
        device::{self, Standing},
    },
    problem::{Answer, Problem},
};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use placet_core::{refusal::Code, secret::Secret};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What is to be connected.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    service: Option<String>,
    connection: Option<String>,
    name: Option<String>,
    #[serde(default)]
    organization: bool,
    #[serde(default)]
    agents: Vec<String>,
    #[serde(default)]
    device: bool,
}

/// With what it is asked again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ticket {
    ticket: String,
}

/// `POST /v1/connect`
pub(crate) async fn begin(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Answer<Response> {
    if matches!(caller, Caller::Agent(_)) {
        caller.person()?;
    }
    let service = match (wanted.service, &wanted.connection) {
        (Some(service), _) => service,
        (None, Some(connection)) => connect::theirs(&app, &caller, connection.clone()).await?.service,
        (None, None) => {
            let detail = "name the `service`, or the `connection` that is to be connected anew";
            return Err(Problem::of(Code::RequestInvalid, detail));
        }
    };
    let wish = Wish {
        service,
        name: wanted.name,
        mends: wanted.connection,
        organization: wanted.organization,
        agents: wanted.agents,
    };
    let plan = connect::planned(&app, &caller, &wish).await?;
    let about = json!({
        "service": wish.service,
        "name": plan.who.name,
        "base_url": format!("{}{}", plan.live.service.origin(), plan.live.service.base_path()),
        "scope": plan.who.server.scope,
    });
    let mut told = about.as_object().cloned().unwrap_or_default();
    if !wanted.device {
        if !plan.who.server.asks_people() {
            return Err(Problem::of(Code::RequestInvalid, connect::NOWHERE_TO_AGREE));
        }
        told.insert("url".into(), connect::page(&app, &wish).into());
        return Ok(Json(told).into_response());
    }
    let (ticket, device) = device::begin(&app, &plan, source).await?;
    let shown = json!({
        "ticket": ticket.expose_str(),
        "user_code": device.user_code,
        "verification_uri": device.verification_uri,
        "verification_uri_complete": device.verification_uri_complete,
        "expires_in": device.lifetime.as_secs(),
        "interval": device.interval.as_secs(),
    });
    told.extend(shown.as_object().cloned().unwrap_or_default());
    Ok((StatusCode::CREATED, Json(told)).into_response())
}

/// `POST /v1/connect/device`
pub(crate) async fn ask(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(sent): JsonBody<Ticket>,
) -> Answer<Json<Value>> {
    match device::ask(&app, &caller, &Secret::new(sent.ticket), source).await {
        Ok(Standing::Waiting(after)) => {
            // Rounded up: who comes exactly then is not too early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            Ok(Json(json!({"status": "waiting", "interval": seconds.max(1)})))
        }
        Ok(Standing::Connected(connection)) => {
            Ok(Json(json!({"status": "connected", "connection": shown(&connection)})))
        }
        Err(Stopped::Problem(problem)) => Err(problem),
        Err(Stopped::NoToken(error)) => {
            Err(Problem::of(Code::RequestInvalid, format!("nothing was connected: {error}")))
        }
        Err(Stopped::NoCode(error)) => {
            Err(Problem::of(Code::RequestInvalid, format!("nothing was connected: {error}")))
        }
    }
}
