//! `/v1/resource-servers`: who may ask about tokens of its audience, charge decisions, and add trusted `context`.
//!
//! Invariant: only administrators make, see and end them; a secret is answered once, when it is made.

use super::query::QueryParams;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    clock,
    oauth::resource_server::SECRET,
    problem::{Answer, Problem},
    recording,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    agent::is_handle,
    id::ResourceServerId,
    record::{EntryType, Envelope},
    refusal::Code,
    secret::Secret,
    time::Timestamp,
};
use placet_store::{
    Fault, Tx, Version,
    resource_servers::{self, ResourceServer},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The longest audience, in bytes.
const MAX_AUDIENCE: usize = 2048;

/// A new one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    name: String,
    audience: String,
    #[serde(default)]
    auth: Auth,
    /// Whether it checks tokens by itself, and they have to say in which list of statuses they stand.
    #[serde(default)]
    status_list: bool,
}

/// How it authenticates.
#[derive(Debug, Default, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Auth {
    /// With its id and a secret that is made here, in the header or, where there is a form, in the body.
    #[default]
    ClientSecret,
}

/// `POST /v1/resource-servers {name, audience, auth?, status_list?}`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(new): JsonBody<New>,
) -> Answer<Response> {
    caller.must_configure()?;
    if !is_handle(&new.name) || new.name.starts_with("rsv_") {
        return Err(invalid(
            "`name` is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit, not with `rsv_`",
        ));
    }
    if !is_audience(&new.audience) {
        return Err(invalid(format!(
            "`audience` is an absolute URI without fragment (RFC 8707), of visible ASCII, at most {MAX_AUDIENCE} bytes"
        )));
    }
    if app.issuers.load().contains(&new.audience) {
        return Err(Problem::of(Code::Conflict, "`audience` is Placet's own issuer"));
    }
    let Auth::ClientSecret = new.auth;
    let now = app.clock.now();
    let secret = Secret::generated("prs_", clock::entropy());
    let hash = app.secrets.hashing.hash(SECRET, secret.expose());
    let server = ResourceServer {
        id: clock::fresh(now),
        name: new.name,
        audience: new.audience,
        made_by: caller.by(),
        created: now,
        ended: None,
        status_list: new.status_list,
    };
    let wants_status = server.status_list;
    let mut answer = shown(&server);
    answer.insert("client_secret".into(), told(&secret)?.into());
    let inner = Arc::clone(&app);
    app.store
        .write(move |tx| {
            if !resource_servers::insert(tx, &server, hash)? {
                return Err(Problem::of(
                    Code::Conflict,
                    format!("the name `{}` or the audience is taken", server.name),
                ));
            }
            record(&inner, tx, EntryType::ResourceServerAdded, &server, &server.made_by, (source, now))
        })
        .await?;
    if wants_status {
        // Its first token is to stand in a list already.
        app.bearers.authority_changed();
    }
    Ok((StatusCode::CREATED, Json(Value::Object(answer))).into_response())
}

/// `GET /v1/resource-servers?after=&limit=`, oldest first
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&["after", "limit"])?;
    let (after, limit): (Option<ResourceServerId>, usize) = (query.parsed("after")?, query.limit()?);
    let found = app.store.read(move |q| resource_servers::list(q, after, limit)).await?;
    let next = if found.len() == limit { found.last().map(|server| server.id) } else { None };
    let servers: Vec<Value> = found.iter().map(|server| Value::Object(shown(server))).collect();
    Ok(Json(json!({"resource_servers": servers, "next": next})))
}

/// `GET /v1/resource-servers/{id}`, by id, name or audience
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    Ok(Json(Value::Object(shown(&find(&app, &id).await?))))
}

/// `POST /v1/resource-servers/{id}/secret`: a new secret; the one before is good no more
pub(crate) async fn renew(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let server = find(&app, &id).await?;
    let secret = Secret::generated("prs_", clock::entropy());
    let hash = app.secrets.hashing.hash(SECRET, secret.expose());
    let mut answer = shown(&server);
    answer.insert("client_secret".into(), told(&secret)?.into());
    let (inner, by, now) = (Arc::clone(&app), caller.by(), app.clock.now());
    app.store
        .write(move |tx| {
            if !resource_servers::set_secret(tx, server.id, hash)? {
                return Err(unknown(&server.name));
            }
            record(&inner, tx, EntryType::ResourceServerChanged, &server, &by, (source, now))
        })
        .await?;
    app.bearers.authority_changed();
    Ok(Json(Value::Object(answer)))
}

/// `DELETE /v1/resource-servers/{id}`: it ends at once; tokens for its audience stay what they are, and nobody can use
/// them
pub(crate) async fn end(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    caller.must_configure()?;
    let server = find(&app, &id).await?;
    let (inner, by, now) = (Arc::clone(&app), caller.by(), app.clock.now());
    app.store
        .write(move |tx| {
            if !resource_servers::end(tx, server.id, now)? {
                return Err(unknown(&server.name));
            }
            record(&inner, tx, EntryType::ResourceServerEnded, &server, &by, (source, now))
        })
        .await?;
    app.bearers.authority_changed();
    Ok(StatusCode::NO_CONTENT)
}

fn record(
    app: &App,
    tx: &mut Tx<'_>,
    entry_type: EntryType,
    server: &ResourceServer,
    by: &str,
    (source, now): (Source, Timestamp),
) -> Result<(), Problem> {
    let envelope =
        Envelope { source: recording::source(source.0), ..recording::by(entry_type, now, by.to_owned()) };
    let body = json!({"id": server.id, "name": server.name, "audience": server.audience,
        "status_list": server.status_list});
    // Every node looks at it anew.
    tx.bump(Version::ResourceServers)?;
    Ok(tx.record(app.prepare(envelope, Some(&body))?)?)
}

/// The live one of this id, name or audience.
async fn find(app: &App, name: &str) -> Result<ResourceServer, Problem> {
    let sought = name.to_owned();
    let found = app
        .store
        .read(move |q| match sought.parse::<ResourceServerId>() {
            Ok(id) => Ok::<_, Fault>(resource_servers::credential(q, id)?.map(|(server, _)| server)),
            Err(_) => resource_servers::by_name_or_audience(q, &sought),
        })
        .await?;
    found.filter(|server| server.ended.is_none()).ok_or_else(|| unknown(name))
}

fn shown(server: &ResourceServer) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("id".into(), json!(server.id));
    shown.insert("client_id".into(), json!(server.id));
    shown.insert("name".into(), server.name.clone().into());
    shown.insert("audience".into(), server.audience.clone().into());
    shown.insert("auth".into(), json!({"type": "client_secret"}));
    shown.insert("status_list".into(), server.status_list.into());
    shown.insert("created".into(), json!(server.created));
    shown
}

/// RFC 8707 §2: an absolute URI without fragment. Compared byte by byte, so nothing is normalised.
fn is_audience(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let starts = scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    starts
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && text.len() > scheme.len() + 1
        && text.len() <= MAX_AUDIENCE
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"\\<>^`{|}".contains(&byte))
}

fn told(secret: &Secret) -> Result<&str, Problem> {
    secret.expose_str().ok_or_else(|| Problem::of(Code::Internal, "a secret is not text"))
}

fn unknown(name: &str) -> Problem {
    Problem::of(Code::NotFound, format!("there is no resource server `{}`", name.escape_debug()))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_is_an_absolute_uri_without_fragment() {
        for good in ["https://api.example", "https://api.example/v1?x=1", "urn:example:orders", "a:b"] {
            assert!(is_audience(good), "{good}");
        }
        for wrong in [
            "",
            "api",
            "api.example/x",
            ":x",
            "1a:b",
            "https:",
            "https://a#b",
            "https://a b",
            "https://ä",
            "a:\\b",
        ] {
            assert!(!is_audience(wrong), "{wrong}");
        }
    }
}
