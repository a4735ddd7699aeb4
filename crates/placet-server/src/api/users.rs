//! `/v1/users`: people of this installation, with names, roles and passwords.
//!
//! Invariant: the administrator token makes users only until one with role `administrator` exists; that is decided in
//! the transaction that makes the user (DESIGN §6); it gives nobody roles. Nobody takes from another what they sign in with but a person who is an
//! administrator and has just shown once more who they are.

use super::{
    account::{self, Fresh},
    approvals,
    query::QueryParams,
};
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    clock,
    people::{factors, passwords},
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
    record::{EntryType, Envelope},
    refusal::Code,
    user::{ADMINISTRATOR, User, is_name},
};
use placet_store::{Fault, users};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The most roles that one user has.
const MAX_ROLES: usize = 32;

/// A user to make.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    name: String,
    password: String,
    #[serde(default)]
    roles: Vec<String>,
}

/// `POST /v1/users`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(new): JsonBody<NewUser>,
) -> Answer<Response> {
    caller.must_configure()?;
    check(&new)?;
    let by_token = matches!(caller, Caller::AdminToken);
    if by_token {
        // Asked again in the transaction; here it only saves the hashing.
        app.store.read(|q| token_may_create(users::count_with_role(q, ADMINISTRATOR)?)).await?;
    }
    let password = passwords::hashed(new.password).await?;
    let now = app.clock.now();
    let user = User { id: clock::fresh(now), name: new.name, roles: new.roles, created: now, version: 1 };
    let by = caller.by();
    let body = json!({"id": user.id, "name": user.name, "roles": user.roles});
    let envelope = Envelope {
        source: recording::source(source.0),
        ..recording::by(EntryType::UserCreated, now, by.clone())
    };
    let (entry, made) = (app.prepare(envelope, Some(&body))?, user.clone());
    app.store
        .write(move |tx| {
            if by_token {
                token_may_create(users::count_with_role(tx, ADMINISTRATOR)?)?;
            }
            users::insert(tx, &made, &password, &by).map_err(|fault| taken(fault, &made.name))?;
            Ok::<_, Problem>(tx.record(entry.clone())?)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(shown(&user))).into_response())
}

/// `GET /v1/users`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&["after", "limit"])?;
    let (after, limit) = (query.parsed("after")?, query.limit()?);
    let found = app.store.read(move |q| users::list(q, after, limit)).await?;
    let next = found.last().filter(|_| found.len() == limit).map(|user| user.id);
    Ok(Json(json!({"users": found.iter().map(shown).collect::<Vec<_>>(), "next": next})))
}

/// `POST /v1/users/{id}/reset-factors`, by id or name: an administrator takes from somebody what they have lost.
pub(crate) async fn reset(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(whose): Path<String>,
    JsonBody(fresh): JsonBody<Fresh>,
) -> Answer<StatusCode> {
    caller.administrator()?;
    let proven = account::proven(&app, &caller, fresh, source).await?;
    let found = app.store.read(move |q| users::named(q, &whose)).await?;
    let user = found.ok_or_else(|| Problem::of(Code::NotFound, "there is no such user"))?;
    factors::reset(&app, proven, user.id, source).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Roles to have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Roles {
    roles: Vec<String>,
}

/// `PUT /v1/users/{id}/roles`, by id or name: an administrator says which roles somebody has from now on. What they
/// said yes to and may answer no more counts no longer.
pub(crate) async fn set_roles(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(whose): Path<String>,
    JsonBody(Roles { roles }): JsonBody<Roles>,
) -> Answer<Json<Value>> {
    caller.administrator()?;
    check_roles(&roles)?;
    let (by, now, shared) = (caller.by(), app.clock.now(), Arc::clone(&app));
    let user = app
        .store
        .write(move |tx| {
            let none = || Problem::of(Code::NotFound, "there is no such user");
            let user = users::named(tx, &whose)?.ok_or_else(none)?;
            let keeps = roles.iter().any(|role| role == ADMINISTRATOR);
            if user.has_role(ADMINISTRATOR) && !keeps && users::count_with_role(tx, ADMINISTRATOR)? <= 1 {
                let detail =
                    "this is the only user with role `administrator`: give it to somebody else first";
                return Err(Problem::of(Code::Conflict, detail));
            }
            if !users::set_roles(tx, user.id, user.version, &roles, now)? {
                return Err(Problem::of(Code::Conflict, "the user was changed at the same time: look again"));
            }
            let changed = users::find(tx, user.id)?.ok_or_else(none)?;
            let envelope = Envelope {
                source: recording::source(source.0),
                ..recording::by(EntryType::UserRoles, now, by.clone())
            };
            let body =
                json!({"id": user.id, "name": user.name, "roles": changed.roles, "before": user.roles});
            tx.record(shared.prepare(envelope, Some(&body))?)?;
            approvals::recount(tx, &shared, &changed, &by, now)?;
            Ok(changed)
        })
        .await?;
    Ok(Json(shown(&user)))
}

fn shown(user: &User) -> Value {
    json!({"id": user.id, "name": user.name, "roles": user.roles, "created": user.created})
}

fn check(new: &NewUser) -> Result<(), Problem> {
    let invalid = |detail: String| Err(Problem::of(Code::RequestInvalid, detail));
    if !is_name(&new.name) {
        return invalid("`name`: 1 to 64 letters, digits and `._@+-`".into());
    }
    check_roles(&new.roles)
}

fn check_roles(roles: &[String]) -> Result<(), Problem> {
    let invalid = |detail: String| Err(Problem::of(Code::RequestInvalid, detail));
    if roles.len() > MAX_ROLES {
        return invalid(format!("`roles`: at most {MAX_ROLES}"));
    }
    let is_role = |role: &str| role.len() <= 64 && is_name(role) && !role.contains(['@', '+']);
    match roles.iter().find(|role| !is_role(role)) {
        Some(_) => invalid("`roles`: each has 1 to 64 letters, digits and `._-`".into()),
        None => Ok(()),
    }
}

fn token_may_create(administrators: u64) -> Result<(), Problem> {
    if administrators == 0 {
        return Ok(());
    }
    let detail = "the administrator token makes users only until there is one with role `administrator`: sign in as one";
    Err(Problem::of(Code::NotPermitted, detail))
}

fn taken(fault: Fault, name: &str) -> Problem {
    match fault {
        Fault::Conflict("name") => Problem::of(Code::Conflict, format!("there is a user `{name}` already")),
        fault => fault.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, roles: &[&str]) -> NewUser {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        NewUser { name: name.into(), password: String::new(), roles }
    }

    #[test]
    fn names_and_roles_are_checked() {
        assert!(check(&new("ada@example.org", &["administrator", "support-lead"])).is_ok());
        for (name, roles) in
            [("", vec![]), ("a b", vec![]), ("ada", vec![""]), ("ada", vec!["a:b"]), ("ada", vec!["a@b"])]
        {
            assert_eq!(
                check(&new(name, &roles)).unwrap_err().code(),
                Code::RequestInvalid,
                "{name} {roles:?}"
            );
        }
        assert!(check(&new("ada", &["r"; 33])).is_err());
    }

    #[test]
    fn the_token_makes_users_until_there_is_an_administrator() {
        assert!(token_may_create(0).is_ok());
        assert_eq!(token_may_create(1).unwrap_err().code(), Code::NotPermitted);
    }
}
