//! `/v1/authorization-server`: what an authorization server publishes about itself, for whoever writes a definition.
//!
//! Invariant: it puts nothing in force.

use super::query::QueryParams;
use crate::{
    app::App,
    caller::Caller,
    problem::{Answer, Problem},
};
use axum::{Json, extract::State};
use placet_core::{call::Auth, refusal::Code, service::oauth::published};
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /v1/authorization-server?issuer=…`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&["issuer"])?;
    let invalid = |detail: String| Problem::of(Code::RequestInvalid, detail);
    let issuer: String = query.parsed("issuer")?.ok_or_else(|| invalid("`issuer` is missing".to_owned()))?;
    let places = published::places(&issuer);
    let mut why = "`issuer` is an https URL (or http at this machine) without query and fragment".to_owned();
    for place in places {
        match app.gateway.published(&place).await {
            Ok(document) => {
                let server = published::read(&issuer, &document).map_err(|error| {
                    invalid(format!("what is published at {place} can't be used: {error}"))
                })?;
                return Ok(Json(json!({"published_at": place, "auth": Auth::Oauth2(Box::new(server))})));
            }
            Err(error) => why = format!("nothing can be read at {place}: {error}"),
        }
    }
    Err(invalid(why))
}
