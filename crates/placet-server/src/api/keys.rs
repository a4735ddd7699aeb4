//! `/v1/keys`: which keys there are, never what they are, and their rotation.
//!
//! Invariant: no key leaves here, only names and times.

use super::query::QueryParams;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    keys::rotation::{self, By, PUBLISHED, Rotated},
    problem::{Answer, Problem},
    recording, vault,
};
use axum::{Json, extract::State};
use placet_core::{keys::KeyAlgorithm, refusal::Code};
use placet_store::keys::{self, StoredKey, VaultKey};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What to rotate.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotate {
    /// `token` (the default), `body` or `vault`.
    key: Option<String>,
    /// `EdDSA` or `ES256`, for token keys.
    algorithm: Option<String>,
    /// Give up the old token keys now: their tokens are refused from then on.
    at_once: Option<bool>,
}

/// `GET /v1/keys`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&[])?;
    Ok(Json(listed(&app).await?))
}

/// `POST /v1/keys/rotate`
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    asked: Option<JsonBody<Rotate>>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let asked = asked.map(|JsonBody(asked)| asked).unwrap_or_default();
    let by = By { by: caller.by(), source: recording::source(source.0) };
    let purpose = asked.key.as_deref().unwrap_or("token");
    if purpose != "token" && (asked.algorithm.is_some() || asked.at_once.is_some()) {
        return Err(invalid("`algorithm` and `at_once` go with the key `token`"));
    }
    let (rotated, notes) = match purpose {
        "token" => {
            let algorithm = asked.algorithm.as_deref().map(algorithm).transpose()?;
            told(rotation::tokens(&app, algorithm, asked.at_once.unwrap_or(false), by).await?)
        }
        "vault" => (json!({"key": "vault", "active": vault::rotation::begin(&app, by).await?}), Vec::new()),
        "body" => (json!({"key": "body", "active": rotation::bodies(&app, by).await?}), Vec::new()),
        other => return Err(invalid(format!("`key` is `token`, `body` or `vault`, not `{other}`"))),
    };
    let mut answer = listed(&app).await?;
    if let Some(members) = answer.as_object_mut() {
        members.insert("rotated".into(), rotated);
        members.insert("warnings".into(), notes.into());
    }
    Ok(Json(answer))
}

fn told(rotated: Rotated) -> (Value, Vec<String>) {
    let kept = PUBLISHED.as_secs();
    match rotated {
        Rotated::Signs { key, early } => {
            let warning = early.map(|early| {
                format!(
                    "the key was published {} s before it signs; whoever keeps the key set for {kept} s and does not look again for an unknown key may refuse tokens until then",
                    early.as_secs()
                )
            });
            (json!({"key": "token", "active": key}), warning.into_iter().collect())
        }
        Rotated::Published { key } => {
            let note = format!(
                "the key `{key}` is published and does not sign yet: rotate again in {kept} s or later, when those who keep the key set know it"
            );
            (json!({"key": "token", "next": key}), vec![note])
        }
    }
}

async fn listed(app: &App) -> Answer<Value> {
    let (keys, vault) =
        app.store.read(|q| Ok::<_, placet_store::Fault>((keys::all(q)?, keys::vault_keys(q)?))).await?;
    let at_hand = app.secrets.vault.load();
    let vault: Vec<_> =
        vault.iter().map(|key| vault_key(key, at_hand.key_ids().any(|id| id == key.id))).collect();
    Ok(json!({"keys": keys.iter().map(shown).collect::<Vec<_>>(), "vault": vault}))
}

fn shown(key: &StoredKey) -> Value {
    json!({
        "id": key.id, "purpose": key.purpose.as_str(), "state": key.state.as_str(), "algorithm": key.algorithm,
        "created": key.created, "since": key.since, "until": key.until,
    })
}

fn vault_key(key: &VaultKey, at_hand: bool) -> Value {
    json!({"id": key.id, "state": key.state.as_str(), "since": key.since, "at_hand": at_hand})
}

fn algorithm(name: &str) -> Answer<KeyAlgorithm> {
    KeyAlgorithm::from_name(name)
        .ok_or_else(|| invalid(format!("`algorithm` is `EdDSA` or `ES256`, not `{name}`")))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}
