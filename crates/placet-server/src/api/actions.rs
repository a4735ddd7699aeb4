//! `/v1/actions`: the action door. Everything that matters happens in [`crate::way`].
//!
//! Invariant: what is shown of an action is shown to its agent, to those above it, and to administrators only.

use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source, bearer_token},
    problem::{Answer, Problem},
    way::{self, Answered, Asked},
};
use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use placet_core::{
    id::{ActionId, ApprovalId},
    refusal::Code,
};
use placet_store::{Fault, actions, connections, grants};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The longest idempotency key.
const MAX_KEY: usize = 255;

/// What an agent asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAction {
    service: Option<String>,
    action: String,
    #[serde(default)]
    params: Map<String, Value>,
    connection: Option<String>,
}

/// `POST /v1/actions`
pub(crate) async fn act(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    JsonBody(new): JsonBody<NewAction>,
) -> Answer<Answered> {
    let token = bearer_token(&headers)?.ok_or_else(|| {
        Problem::of(Code::TokenInvalid, "send `Authorization: Bearer …` with an agent's access token")
    })?;
    let asked = Asked {
        service: new.service,
        action: new.action,
        params: new.params,
        connection: new.connection,
        idempotency_key: idempotency_key(&headers)?,
        approval: approval(&headers)?,
        source: source.0,
    };
    way::act(&app, token, &asked).await
}

/// `GET /v1/actions/{id}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let unknown = || Problem::of(Code::NotFound, "there is no such action, or it is not yours to see");
    let id: ActionId = id.parse().map_err(|_| unknown())?;
    let asking = match &caller {
        Caller::Agent(bearer) => Some(bearer.chain.agent().id),
        caller if caller.configures() => None,
        _ => return Err(unknown()),
    };
    let found = app
        .store
        .read(move |q| {
            let Some(action) = actions::find(q, id)? else { return Ok::<_, Fault>(None) };
            if let Some(agent) = asking
                && !grants::is_within(q, action.grant, agent)?
            {
                return Ok(None);
            }
            let connection = match action.connection {
                Some(connection) => connections::find(q, connection)?,
                None => None,
            };
            Ok(Some((action, connection)))
        })
        .await?;
    let (action, connection) = found.ok_or_else(unknown)?;
    Ok(Json(json!({
        "id": action.id, "status": action.state.as_str(), "agent": action.agent, "user": action.user,
        "grant": action.grant, "task": action.task, "connection": action.connection,
        "service": connection.map(|connection| connection.service), "at": action.admitted,
        "concluded": action.concluded, "upstream_status": action.status,
    })))
}

/// `Idempotency-Key`: visible ASCII, once.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = once(headers, "idempotency-key")? else { return Ok(None) };
    if (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Some(key.to_owned()))
    } else {
        Err(invalid(format!("`Idempotency-Key` has 1 to {MAX_KEY} visible ASCII characters")))
    }
}

/// `Placet-Approval`: the id of an approval, once.
fn approval(headers: &HeaderMap) -> Result<Option<ApprovalId>, Problem> {
    let id = once(headers, "placet-approval")?.map(str::parse).transpose();
    id.map_err(|_| invalid("`Placet-Approval` is the id of an approval (`apr_…`)"))
}

fn once<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(format!("the header `{name}` stands twice")));
    }
    value.to_str().map(Some).map_err(|_| invalid(format!("the header `{name}` is not ASCII")))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(name: &'static str, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii_and_stands_once() {
        let key = |values: &[&[u8]]| idempotency_key(&with("idempotency-key", values));
        assert_eq!(key(&[]).unwrap(), None);
        assert_eq!(key(&[b"a-1"]).unwrap().as_deref(), Some("a-1"));
        assert!(key(&[&[b'k'; 255]]).is_ok());
        for wrong in [&[b"" as &[u8]] as &[&[u8]], &[b"a b"], &[b"a", b"a"], &[&[b'k'; 256]], &[b"\xc3\xa4"]]
        {
            assert_eq!(key(wrong).unwrap_err().code(), Code::RequestInvalid, "{wrong:?}");
        }
    }

    #[test]
    fn an_approval_is_named_by_its_id() {
        let read = |values: &[&[u8]]| approval(&with("placet-approval", values));
        assert_eq!(read(&[]).unwrap(), None);
        assert!(read(&[b"apr_00000000000000000000000000"]).unwrap().is_some());
        assert_eq!(read(&[b"act_00000000000000000000000000"]).unwrap_err().code(), Code::RequestInvalid);
    }
}
