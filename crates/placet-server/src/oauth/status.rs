//! `GET /oauth/status/{list}` and `GET /oauth/status`: what became of tokens, for those who check them by themselves
//! (draft-ietf-oauth-status-list-21 §8 and §9, `docs/status-lists.md`).
//!
//! A statement is the same for everybody and tells of nobody: so it may be kept, passed on and read by any page.
//!
//! Invariant: who asks is not asked who they are, and what they can make this server do does not grow with how often they
//! ask ([`reading`]).

use crate::{
    api::query::QueryParams,
    app::App,
    caller::Source,
    problem::{OAuthError, Problem},
    rates,
    status_lists::reading,
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use placet_core::{id::StatusListId, refusal::Code, status_list::MEDIA_TYPE};
use serde_json::json;
use std::sync::Arc;

/// `GET /oauth/status/{list}`: the signed statement.
///
/// # Errors
/// `not_found`, `not_acceptable`, `not_supported`, `too_many_requests`, `unavailable`.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    query: QueryParams,
    Path(list): Path<String>,
) -> Result<Response, OAuthError> {
    if query.text("time").is_some() {
        // Draft §8.4: what was is for nobody to look at.
        return Err(Problem::of(Code::NotSupported, "`time`: a list says what is, not what was").into());
    }
    query.only(&[])?;
    if !accepts(&headers) {
        let detail = format!("a list of statuses is answered as `{MEDIA_TYPE}` only");
        return Err(Problem::of(Code::NotAcceptable, detail).into());
    }
    let id = list.parse::<StatusListId>().ok();
    // Whoever makes names up is a stranger, counted before each costs a look into the store.
    if !id.is_some_and(|id| reading::knows(&app, id)) {
        app.rates.stranger(source, app.clock.now()).map_err(rates::too_many)?;
    }
    let found = match id {
        Some(id) => reading::statement(&app, id).await?,
        None => None,
    };
    let Some(said) = found else {
        return Err(
            Problem::of(Code::NotFound, "there is no such list, or every token in it has expired").into()
        );
    };
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE.to_owned()), (header::CACHE_CONTROL, kept())];
    Ok((headers, said.statement.clone()).into_response())
}

/// `GET /oauth/status`: where the lists are found.
///
/// # Errors
/// `unavailable`.
pub(crate) async fn list(State(app): State<Arc<App>>, query: QueryParams) -> Result<Response, OAuthError> {
    query.only(&[])?;
    let uris = reading::uris(&app).await?;
    Ok(([(header::CACHE_CONTROL, kept())], Json(json!({"status_lists": uris}))).into_response())
}

/// As long as the statement says itself.
fn kept() -> String {
    format!("public, max-age={}", reading::TTL.as_secs())
}

/// Whether the only form that there is may be answered (RFC 9110 §12.5.1).
fn accepts(headers: &HeaderMap) -> bool {
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    if ranges.peek().is_none() {
        return true;
    }
    // The most specific range that fits decides.
    let mut best: Option<(usize, bool)> = None;
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let specific =
            ["*/*", "application/*", MEDIA_TYPE].iter().position(|one| kind.eq_ignore_ascii_case(one));
        let Some(specific) = specific else { continue };
        let quality =
            parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("q"));
        let wanted = quality.is_none_or(|(_, value)| value.trim().parse::<f32>().is_ok_and(|q| q > 0.0));
        if best.is_none_or(|(known, _)| known <= specific) {
            best = Some((specific, wanted));
        }
    }
    best.is_some_and(|(_, wanted)| wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_one_form_is_answered_to_whoever_takes_it() {
        let takes = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            accepts(&headers)
        };
        assert!(accepts(&HeaderMap::new()));
        for yes in [
            "application/statuslist+jwt",
            "Application/StatusList+JWT",
            "*/*",
            "",
            "application/*;q=0.1",
            "application/statuslist+cwt, application/statuslist+jwt;q=0.5",
            "*/*;q=0, application/statuslist+jwt",
        ] {
            assert!(takes(yes), "{yes}");
        }
        for no in [
            "application/statuslist+cwt",
            "application/json",
            "text/*",
            "application/statuslist+jwt;q=0",
            "application/statuslist+jwt;q=0, */*",
            "application/statuslist+jwt; Q=0.000",
        ] {
            assert!(!takes(no), "{no}");
        }
    }
}
