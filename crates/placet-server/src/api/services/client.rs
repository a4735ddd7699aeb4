//! `/v1/services/{name}/client`: what this server is at the authorization server of a service.
//!
//! Invariant: the secret goes in and never comes out; it counts for the server that the service named then, and for no other.

use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    connections::{client, connect},
    problem::{Answer, Problem},
    recording,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use placet_core::{
    call::Auth,
    record::{EntryType, Envelope},
    refusal::Code,
    secret::Secret,
    service::oauth::{self, OAuth},
    time::Timestamp,
};
use placet_store::accounts::{self, Registered, ServiceClient};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What this server is there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    client_id: String,
    client_secret: Option<String>,
}

/// `PUT /v1/services/{name}/client`
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
    JsonBody(new): JsonBody<New>,
) -> Answer<Response> {
    caller.must_configure()?;
    let _changing = app.rules_change.lock().await;
    let server = server_of(&app, &name)?;
    let secret = new.client_secret.map(Secret::new);
    oauth::check_client(&new.client_id, secret.as_ref())
        .map_err(|error| Problem::of(Code::RequestInvalid, error.to_string()))?;
    let now = app.clock.now();
    let about = Registered { client_id: new.client_id, server, made_by: caller.by(), created: now };
    let answer = told(&app, &name, &about, secret.is_some());
    let body = json!({"client_id": about.client_id, "token_url": about.server.token_url});
    let entry = app.prepare(envelope(&app, &caller, source, &name), Some(&body))?;
    let shared = Arc::clone(&app);
    let before = app
        .store
        .write(move |tx| {
            let before = accounts::client(tx, &name)?;
            let generation = next(before.as_ref().map(|before| before.generation), now);
            let sealed = secret.as_ref().map(|secret| client::seal(&shared, &name, generation, secret));
            let (service, sealed) = (name.clone(), sealed.transpose()?);
            let client = ServiceClient { service, generation, about: about.clone(), sealed };
            if !accounts::put_client(tx, &client)? {
                let detail = "somebody else has just said so: look at it and try again";
                return Err(Problem::of(Code::Conflict, detail));
            }
            tx.record(entry.clone())?;
            Ok(before.is_some())
        })
        .await?;
    let status = if before { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(answer)).into_response())
}

/// `GET /v1/services/{name}/client`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let asked = name.clone();
    let Some(found) = app.store.read(move |q| accounts::client(q, &asked)).await? else {
        server_of(&app, &name)?;
        // Who registers it is asked for this before there is an id to tell.
        let detail = format!(
            "nobody has said which client this server is there: register one with the redirect URI `{}`, and say which it is \
             with `placet service client {name} --client-id ID`",
            connect::redirect_uri(&app, &name)
        );
        return Err(Problem::of(Code::NotFound, detail));
    };
    Ok(Json(told(&app, &name, &found.about, found.sealed.is_some())))
}

/// `DELETE /v1/services/{name}/client`
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    caller.must_configure()?;
    let entry = app.prepare(envelope(&app, &caller, source, &name), Some(&json!({"client_id": null})))?;
    app.store
        .write(move |tx| {
            if !accounts::drop_client(tx, &name)? {
                return Err(none());
            }
            Ok(tx.record(entry.clone())?)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Higher than that of the one before, whatever the clock says; and than that of one that is gone, as far as the clock went on.
fn next(before: Option<u64>, now: Timestamp) -> u64 {
    let clock = u64::try_from(now.as_micros()).unwrap_or(1).max(1);
    before.map_or(clock, |before| clock.max(before.saturating_add(1)))
}

fn server_of(app: &App, name: &str) -> Result<OAuth, Problem> {
    let rules = app.rules.load();
    let live = rules.services.get(name);
    let live = live.ok_or_else(|| Problem::of(Code::NotFound, format!("there is no service `{name}`")))?;
    match live.service.auth() {
        Auth::Oauth2(server) => Ok((**server).clone()),
        _ => Err(Problem::of(
            Code::RequestInvalid,
            "the service has no authorization server (`auth: {type: oauth2, …}`)",
        )),
    }
}

/// As it is shown; `counts`: whether the service still names the server that it was said for.
fn told(app: &App, name: &str, about: &Registered, has_secret: bool) -> Value {
    let counts = server_of(app, name).is_ok_and(|server| server.is_same_server(&about.server));
    json!({
        "service": name,
        "client_id": about.client_id,
        "has_secret": has_secret,
        "redirect_uri": connect::redirect_uri(app, name),
        "authorization_url": about.server.authorization_url,
        "token_url": about.server.token_url,
        "counts": counts,
        "made_by": about.made_by,
        "created": about.created,
    })
}

fn envelope(app: &App, caller: &Caller, source: Source, name: &str) -> Envelope {
    Envelope {
        service: Some(name.to_owned()),
        source: recording::source(source.0),
        ..recording::by(EntryType::ServiceClient, app.clock.now(), caller.by())
    }
}

fn none() -> Problem {
    Problem::of(Code::NotFound, "nobody has said which client this server is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_client_has_a_higher_number_also_where_the_clock_was_set_back() {
        let at = Timestamp::from_micros;
        assert_eq!(next(None, at(5)), 5);
        assert_eq!(next(Some(3), at(5)), 5);
        assert_eq!(next(Some(5), at(5)), 6);
        assert_eq!(next(Some(9), at(5)), 10);
        assert_eq!(next(None, at(-5)), 1);
    }
}
