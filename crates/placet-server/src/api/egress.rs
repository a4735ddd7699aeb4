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

/// `GET /v1/egress`: for anybody, as it is what programs are set up with before they have a credential.
pub(crate) async fn show(State(app): State<Arc<App>>, query: QueryParams) -> Answer<Json<Value>> {
    query.only(&[])?;
    let url = url(&app)?.to_owned();
    Ok(Json(told(&url, &app.egress.authorities.both(&app).await?)))
}

/// `POST /v1/egress/authority/rotate`
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let url = url(&app)?.to_owned();
    let by = By { by: caller.by(), source: recording::source(source.0) };
    Ok(Json(told(&url, &app.egress.authorities.rotate(&app, &by).await?)))
}

fn url(app: &App) -> Answer<&str> {
    let closed = || {
        let detail = "the egress door is not open here: start the server with `--egress-listen`";
        Problem::of(Code::NotSupported, detail)
    };
    app.egress.settings.as_ref().map(|settings| settings.url.as_str()).ok_or_else(closed)
}

fn told(url: &str, both: &[StoredAuthority]) -> Value {
    let authorities: Vec<_> = both
        .iter()
        .map(|one| {
            json!({"id": one.id, "state": one.state.as_str(), "created": one.created, "expires": one.expires,
                "certificate": pem(&one.certificate)})
        })
        .collect();
    json!({"url": url, "authorities": authorities})
}
