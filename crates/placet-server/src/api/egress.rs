//! `/v1/egress`: where the egress door is, and whom its agents have to trust there.
//!
//! Invariant: certificates leave here, keys never.

use super::query::QueryParams;
use crate::{
    app::App,
    caller::{Caller, Source},
    egress::authority::pem,
    keys::rotation::By,
    problem::{Answer, Problem},
    recording,
};
use axum::{Json, extract::State};
use placet_core::refusal::Code;
use placet_store::egress_authorities::StoredAuthority;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /v1/egress`: for anybody, as it is what programs are set up with before they have a credential. Without a URL the
/// door is closed.
pub(crate) async fn show(State(app): State<Arc<App>>, query: QueryParams) -> Answer<Json<Value>> {
    query.only(&[])?;
    Ok(Json(match &app.egress.settings {
        Some(settings) => told(Some(&settings.url), &app.egress.authorities.both(&app).await?),
        None => told(None, &[]),
    }))
}

/// `POST /v1/egress/authority/rotate`
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let closed = || {
        let detail = "the egress door is not open here: start the server with `--egress-listen`";
        Problem::of(Code::NotSupported, detail)
    };
    let settings = app.egress.settings.as_ref().ok_or_else(closed)?;
    let by = By { by: caller.by(), source: recording::source(source.0) };
    Ok(Json(told(Some(&settings.url), &app.egress.authorities.rotate(&app, &by).await?)))
}

fn told(url: Option<&str>, both: &[StoredAuthority]) -> Value {
    let authorities: Vec<_> = both
        .iter()
        .map(|one| {
            json!({"id": one.id, "state": one.state.as_str(), "created": one.created, "expires": one.expires,
                "certificate": pem(&one.certificate)})
        })
        .collect();
    json!({"url": url, "authorities": authorities})
}
