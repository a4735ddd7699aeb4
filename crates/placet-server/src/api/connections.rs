//! `/v1/connections`: accounts at upstreams, each with a secret that goes in and never comes out.
//!
//! Invariant: no answer, entry or message holds the secret.

pub mod check;
pub mod one;

use super::query::QueryParams;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    clock,
    connections::{checked, keep, read_elsewhere},
    problem::{Answer, Problem},
    rules::LiveService,
};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    agent::is_handle,
    call::Auth,
    id::{AgentId, ConnectionId, UserId},
    refusal::Code,
    secret::Secret,
    service::{
        oauth::{Kept, KeptError, Places, assertion::Signing},
        reference::Reference,
    },
    user::ADMINISTRATOR,
};
use placet_gateway::Credential;
use placet_store::{
    Fault, Query, Tx, agents,
    connections::{self, Connection, ConnectionState},
    users,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Secrets with fewer bytes are looked for in answers only as whole values.
const SHORT: usize = 8;
/// The most agents that a connection names.
const MAX_AGENTS: usize = 1000;
/// How many connections are read at a time where a person's own are picked from them.
const BATCH: usize = 500;

/// A connection to make.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConnection {
    name: String,
    service: String,
    auth: NewAuth,
    user: Option<String>,
    #[serde(default)]
    agents: Vec<String>,
    /// Whether it is made only if its credential works.
    #[serde(default)]
    check: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAuth {
    /// How the service takes it, where that is said: it is the service that says so.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// A text; an object, where a credential has several parts; or where it is kept, as a [`Reference`].
    secret: Option<Value>,
    name: Option<String>,
    username: Option<String>,
    client_id: Option<String>,
    /// A text, or where it is kept; so is the key.
    client_secret: Option<Value>,
    refresh_token: Option<String>,
    subject_token: Option<String>,
    signing_key: Option<Value>,
    key_id: Option<String>,
    subject: Option<String>,
}

/// `POST /v1/connections`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(new): JsonBody<NewConnection>,
) -> Answer<Response> {
    if !is_handle(&new.name) {
        return Err(invalid("`name`: 1 to 64 letters, digits and `._-`, the first a letter or digit"));
    }
    let (user, agents) = owner(&app, &caller, new.user, new.agents).await?;
    let rules = app.rules.load_full();
    let unknown = || invalid(format!("there is no service `{}`", new.service));
    let live = rules.services.get(&new.service).ok_or_else(unknown)?;
    // A token is asked for of somebody else, who may take their time: nobody else waits for that.
    let Taken { auth, kept, reference, warnings } = taken(&app, &caller, live, new.auth).await?;
    let checked = match new.check {
        true => Some(checked::first(&app, live, &auth, &kept, reference.as_ref()).await?),
        false => None,
    };
    // While it is held the service stays what the secret was checked against.
    let _changing = app.rules_change.lock().await;
    keep::unchanged(&app, live)?;
    let (now, made_by) = (app.clock.now(), caller.by());
    let connection = Connection {
        id: clock::fresh(now),
        name: new.name,
        service: new.service,
        user,
        agents,
        auth,
        generation: 1,
        state: ConnectionState::Active,
        attention: None,
        created: now,
        made_by,
        reference,
    };
    let entry = |checked| checked::entry(&app, (caller.by(), source), live, &connection, checked);
    let entry = checked.as_ref().map(entry).transpose()?;
    let also = move |tx: &mut Tx<'_>| entry.iter().try_for_each(|entry| Ok(tx.record(entry.clone())?));
    keep::added(&app, source, live, &connection, &kept, also).await?;
    app.connections.changed();
    let mut answer = shown(&connection);
    answer.insert("warnings".into(), warnings);
    if let Some(checked) = checked {
        answer.insert("check".into(), json!(checked));
    }
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// `GET /v1/connections`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    query.only(&["after", "limit"])?;
    let (after, limit) = (query.parsed("after")?, query.limit()?);
    let own = if caller.configures() { None } else { Some(caller.person()?.user.id) };
    let found = app.store.read(move |q| page(q, own, after, limit)).await?;
    let next = found.last().filter(|_| found.len() == limit).map(|connection| connection.id);
    Ok(Json(json!({"connections": found.iter().map(shown).collect::<Vec<_>>(), "next": next})))
}

/// A page of all connections, or of one person's.
fn page(
    q: &mut impl Query,
    own: Option<UserId>,
    mut after: Option<ConnectionId>,
    limit: usize,
) -> Result<Vec<Connection>, Fault> {
    let Some(own) = own else { return connections::list(q, after, limit) };
    let mut found = Vec::new();
    loop {
        let rows = connections::list(q, after, BATCH)?;
        let last = rows.len() < BATCH;
        after = rows.last().map(|connection| connection.id);
        found.extend(rows.into_iter().filter(|connection| connection.user == Some(own)));
        if last || found.len() >= limit {
            found.truncate(limit);
            return Ok(found);
        }
    }
}

/// Whose the connection will be, and the agents that it names.
async fn owner(
    app: &App,
    caller: &Caller,
    user: Option<String>,
    named: Vec<String>,
) -> Result<(Option<UserId>, Vec<AgentId>), Problem> {
    let own = if caller.configures() { None } else { Some(caller.person()?.user.id) };
    let user = match user {
        None => own,
        Some(name) => {
            let user = app.store.read(move |q| users::named(q, &name)).await?;
            Some(user.ok_or_else(|| invalid("`user` names no user"))?.id)
        }
    };
    if own.is_some() && own != user {
        let detail = format!("a connection of somebody else needs the role `{ADMINISTRATOR}`");
        return Err(Problem::of(Code::NotPermitted, detail));
    }
    if user.is_some() && !named.is_empty() {
        return Err(invalid("`agents` is for connections of the organization: leave it or `user` out"));
    }
    let agents = agents_named(app, named).await?;
    Ok((user, agents))
}

/// The agents of these handles or ids.
async fn agents_named(app: &App, named: Vec<String>) -> Result<Vec<AgentId>, Problem> {
    if named.len() > MAX_AGENTS {
        return Err(invalid(format!("`agents` names at most {MAX_AGENTS}")));
    }
    app.store
        .read(move |q| {
            let mut agents = Vec::with_capacity(named.len());
            for name in &named {
                let none = || invalid(format!("`agents`: there is no agent `{name}`"));
                agents.push(agents::named(q, name)?.ok_or_else(none)?.id);
            }
            Ok::<_, Problem>(agents)
        })
        .await
}

/// What was taken of somebody who gave a credential.
struct Taken {
    auth: Auth,
    /// What is sealed.
    kept: Secret,
    /// Where the secret is, where that is not here.
    reference: Option<Reference>,
    warnings: Value,
}

/// How the connection authenticates, and what is kept of it. A token is asked for at once: what doesn't work is found by
/// who gives it, and not by an agent.
async fn taken(app: &App, caller: &Caller, live: &LiveService, mut new: NewAuth) -> Result<Taken, Problem> {
    let Auth::Oauth2(server) = live.service.auth() else {
        let Some(reference) = referred(&mut new)? else {
            let (auth, kept) = accepted(live.service.auth(), new)?;
            let warnings = warnings(&auth, &kept);
            return Ok(Taken { auth, kept, reference: None, warnings });
        };
        let auth = fitting(live.service.auth(), new)?;
        return elsewhere(app, caller, auth, reference).await;
    };
    let NewAuth {
        kind,
        secret: None,
        name: None,
        username: None,
        client_id,
        client_secret,
        refresh_token,
        subject_token,
        signing_key,
        key_id,
        subject,
    } = new
    else {
        let all = "the service takes `oauth2`: `auth` has `client_id`, `client_secret` and `refresh_token`, `subject_token` or \
                   `signing_key` with `key_id` and `subject` here";
        return Err(invalid(all));
    };
    of_kind(live.service.auth(), kind.as_deref())?;
    let client_id = client_id.ok_or_else(|| invalid("`auth.client_id` is missing"))?;
    let (client_secret, at_secret) = part(app, caller, "client_secret", client_secret).await?;
    let (signing_key, at_key) = part(app, caller, "signing_key", signing_key).await?;
    let places = Places { client_secret: at_secret, signing_key: at_key };
    let signing = signing_key.map(|key| Signing { key, key_id, subject });
    let kept = match (signing, subject_token, refresh_token) {
        (Some(signing), None, None) => Kept::signing(server, client_id, client_secret, signing),
        (Some(_), ..) => Err(KeptError::Signing),
        (None, ..) if server.takes_assertions() => Err(KeptError::Signing),
        (None, Some(token), None) => Kept::exchanging(server, client_id, client_secret, Secret::new(token)),
        (None, None, refresh_token) if server.subject_token_type.is_none() => {
            Kept::new(client_id, client_secret, refresh_token.map(Secret::new))
        }
        _ => Err(KeptError::Subject),
    };
    let kept = kept.map_err(|error| invalid(format!("`auth`: {error}")))?;
    let private = live.service.allow_private();
    let granted = crate::connections::ask(app, server, &kept, private).await;
    let granted = granted.map_err(|error| invalid(format!("`auth`: no token came of it: {error}")))?;
    let kept = kept.without(places).with(granted, app.clock.now()).to_secret();
    Ok(Taken { auth: live.service.auth().clone(), kept, reference: None, warnings: json!([]) })
}

/// A part of what a token is asked for with, and where it is kept, where that is said instead.
async fn part(
    app: &App,
    caller: &Caller,
    name: &str,
    said: Option<Value>,
) -> Result<(Option<Secret>, Option<Reference>), Problem> {
    let said = match said {
        None => return Ok((None, None)),
        Some(Value::String(text)) => return Ok((Some(Secret::new(text)), None)),
        Some(said) => said,
    };
    let reference = reference(name, said)?;
    may_refer(caller)?;
    let read = read_elsewhere(app, Some(&reference)).await;
    let read = read.map_err(|why| invalid(format!("`auth.{name}`: {why}")))?;
    Ok((read, Some(reference)))
}

/// Where the secret is kept, where something else is said than the secret.
fn referred(new: &mut NewAuth) -> Result<Option<Reference>, Problem> {
    let Some(said) = new.secret.take_if(|secret| secret.get("from").is_some()) else { return Ok(None) };
    reference("secret", said).map(Some)
}

fn reference(name: &str, said: Value) -> Result<Reference, Problem> {
    let reference: Reference = serde_json::from_value(said).map_err(|_| {
        invalid(format!("`auth.{name}.from` is `env` or `command` with `name`, `file` with `path`, or `vault_kv` with `path` and `key`"))
    })?;
    reference.check().map_err(|error| invalid(format!("`auth.{name}`: {error}")))?;
    Ok(reference)
}

/// Only who configures the server says what is read there.
fn may_refer(caller: &Caller) -> Result<(), Problem> {
    if caller.configures() {
        return Ok(());
    }
    let detail =
        format!("a secret that is kept elsewhere is named by somebody with the role `{ADMINISTRATOR}`");
    Err(Problem::of(Code::NotPermitted, detail))
}

/// A connection whose secret is kept elsewhere. Only who configures the server says what is read there.
async fn elsewhere(app: &App, caller: &Caller, auth: Auth, reference: Reference) -> Result<Taken, Problem> {
    may_refer(caller)?;
    let found = crate::connections::check(app, &auth, &reference).await;
    found.map_err(|why| invalid(format!("`auth.secret`: {reference} can't be used: {why}")))?;
    Ok(Taken { auth, kept: reference.to_secret(), reference: Some(reference), warnings: json!([]) })
}

fn of_kind(auth: &Auth, kind: Option<&str>) -> Result<(), Problem> {
    if kind.is_none_or(|kind| kind == auth.kind()) {
        return Ok(());
    }
    Err(invalid(format!("`auth.type`: the service takes `{}`", auth.kind())))
}

/// How the connection authenticates, and the secret, where they are what the service can take.
fn accepted(auth: &Auth, mut new: NewAuth) -> Result<(Auth, Secret), Problem> {
    let secret = new.secret.take();
    let auth = fitting(auth, new)?;
    let secret = match secret.ok_or_else(|| invalid("`auth.secret` is missing"))? {
        Value::String(text) => Secret::new(text),
        // The parts of one credential.
        Value::Object(parts) => Secret::new(Value::Object(parts).to_string()),
        _ => return Err(invalid("`auth.secret` is a text, or an object with the parts of the credential")),
    };
    Credential::new(&auth, &secret).map_err(|error| invalid(format!("`auth.secret`: {error}")))?;
    Ok((auth, secret))
}

/// How the connection authenticates, where that is what the service can take.
fn fitting(auth: &Auth, new: NewAuth) -> Result<Auth, Problem> {
    of_kind(auth, new.kind.as_deref())?;
    let of_server = [&new.client_id, &new.refresh_token, &new.subject_token, &new.key_id, &new.subject];
    let parts = [&new.client_secret, &new.signing_key];
    if of_server.iter().any(|it| it.is_some()) || parts.iter().any(|it| it.is_some()) {
        return Err(invalid("`auth`: the service takes a `secret`, and no token of an authorization server"));
    }
    let named = match auth {
        Auth::Header { name } => Some(("header", name)),
        Auth::Query { name } => Some(("query member", name)),
        _ => None,
    };
    // Names of headers are compared without case, names of query members with it.
    let is_name = |known: &str, sent: &str| match auth {
        Auth::Header { .. } => known.eq_ignore_ascii_case(sent),
        _ => known == sent,
    };
    if let Some(sent) = &new.name
        && named.is_none_or(|(_, known)| !is_name(known, sent))
    {
        let known = named.map_or_else(
            || "takes no `name`".to_owned(),
            |(what, name)| format!("takes the {what} `{name}`"),
        );
        return Err(invalid(format!("`auth.name`: the service {known}")));
    }
    with_username(auth, new.username)
}

/// The service's `auth` with the connection's user name, where it takes one and states none.
fn with_username(auth: &Auth, username: Option<String>) -> Result<Auth, Problem> {
    match (auth, username) {
        (Auth::Basic { username: None }, None) => {
            Err(invalid("`auth.username` is missing: the service takes `basic`"))
        }
        (Auth::Basic { username: None }, Some(name)) if Auth::is_username(&name) => {
            Ok(Auth::Basic { username: Some(name) })
        }
        (Auth::Basic { username: None }, Some(_)) => {
            Err(invalid("`auth.username` has at most 255 visible ASCII characters or spaces, and no colon"))
        }
        (Auth::Basic { username: Some(known) }, Some(sent)) if *known == sent => Ok(auth.clone()),
        (_, Some(_)) => Err(invalid("`auth.username`: the service takes none, or states another")),
        (_, None) => Ok(auth.clone()),
    }
}

fn warnings(auth: &Auth, secret: &Secret) -> Value {
    let is_whole = !matches!(auth, Auth::Hmac(_) | Auth::AwsSigv4 { .. } | Auth::Mtls(_));
    if is_whole && secret.expose().len() < SHORT {
        json!([
            "the secret has fewer than 8 bytes: in what comes back it is taken out only where it is a whole value"
        ])
    } else {
        json!([])
    }
}

pub(super) fn shown(connection: &Connection) -> Map<String, Value> {
    let members = [
        ("id", json!(connection.id)),
        ("name", json!(connection.name)),
        ("service", json!(connection.service)),
        ("user", json!(connection.user)),
        ("agents", json!(connection.agents)),
        ("state", json!(connection.state)),
        ("created", json!(connection.created)),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(kind: &str, secret: &str, name: Option<&str>) -> NewAuth {
        NewAuth {
            kind: Some(kind.into()),
            secret: Some(secret.into()),
            name: name.map(Into::into),
            username: None,
            client_id: None,
            client_secret: None,
            refresh_token: None,
            subject_token: None,
            signing_key: None,
            key_id: None,
            subject: None,
        }
    }

    #[test]
    fn a_secret_fits_what_the_service_takes() {
        let header = Auth::Header { name: "x-api-key".into() };
        assert!(accepted(&Auth::Bearer, new("bearer", "s3cret-value", None)).is_ok());
        let unsaid = NewAuth { kind: None, ..new("", "s3cret-value", None) };
        assert_eq!(accepted(&header, unsaid).unwrap().0, header);
        assert!(accepted(&header, new("header", "s3cret-value", None)).is_ok());
        assert!(accepted(&header, new("header", "s3cret-value", Some("X-Api-Key"))).is_ok());
        for (auth, sent) in [
            (&Auth::Bearer, new("header", "s3cret-value", None)),
            (&Auth::Bearer, new("bearer", "s3cret-value", Some("x"))),
            (&header, new("header", "s3cret-value", Some("authorization"))),
            (&Auth::Bearer, new("bearer", "", None)),
            (&Auth::Bearer, new("bearer", "two\r\nlines", None)),
        ] {
            let problem = accepted(auth, sent).unwrap_err();
            assert_eq!(problem.code(), Code::RequestInvalid);
            assert!(
                !problem.detail().contains("s3cret") && !problem.detail().contains("lines"),
                "{}",
                problem.detail()
            );
        }
    }

    #[test]
    fn a_user_name_comes_from_the_service_or_the_connection() {
        let sent = |username: Option<&str>| NewAuth {
            username: username.map(Into::into),
            ..new("basic", "s3cret-value", None)
        };
        let open = Auth::Basic { username: None };
        let fixed = Auth::Basic { username: Some("api".into()) };
        let ada = Auth::Basic { username: Some("ada".into()) };
        assert_eq!(accepted(&open, sent(Some("ada"))).unwrap().0, ada);
        assert_eq!(accepted(&fixed, sent(None)).unwrap().0, fixed);
        assert_eq!(accepted(&fixed, sent(Some("api"))).unwrap().0, fixed);
        for (auth, wrong) in
            [(&open, None), (&open, Some("a:b")), (&open, Some("a\n")), (&fixed, Some("ada"))]
        {
            assert_eq!(accepted(auth, sent(wrong)).unwrap_err().code(), Code::RequestInvalid, "{wrong:?}");
        }
        let query = Auth::Query { name: "key".into() };
        assert!(accepted(&query, new("query", "s3cret value", Some("key"))).is_ok());
        assert!(accepted(&query, new("query", "s3cret-value", Some("Key"))).is_err());
    }

    #[test]
    fn short_secrets_are_warned_of() {
        assert_eq!(warnings(&Auth::Bearer, &Secret::new("1234567")).as_array().map(Vec::len), Some(1));
        assert_eq!(warnings(&Auth::Bearer, &Secret::new("12345678")), json!([]));
    }
}
