//! `GET /v1/forward-auth/{service}`: the decision for nginx's `auth_request`, Traefik's `forwardAuth` and Caddy's
//! `forward_auth` (`docs/forward-auth.md`).
//!
//! The proxy says which resource server it stands for in `Placet-Resource-Server`, since the agent's token is in
//! `Authorization`, and which request it asks about in `X-Original-Method` and `X-Original-URI` (nginx) or
//! `X-Forwarded-Method` and `X-Forwarded-Uri` (Traefik, Caddy).
//!
//! Invariant: where both pairs are there, one of them is the agent's word, and neither is taken.

use super::{
    Arrival, ask,
    told::{self, Refusal},
};
use crate::{
    api::{actions::once, decisions::asking},
    app::App,
    caller::Source,
    operations::failures::RefusedWith,
    problem::{Answer, Problem},
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use placet_core::{refusal::Code, service::SeenBody};
use std::sync::Arc;

/// The credentials of a proxy, as `Basic …`.
const RESOURCE_SERVER: &str = "placet-resource-server";

/// `GET /v1/forward-auth/{service}`
pub(crate) async fn check(
    State(app): State<Arc<App>>,
    Path(service): Path<String>,
    source: Source,
    headers: HeaderMap,
) -> Response {
    match answer(&app, &service, source, &headers).await {
        Ok(response) => response,
        Err(problem) => {
            // Of the proxy's own making: no word about the agent's token.
            let unknown = problem.code().status() == 401;
            // Who sets a proxy up that drops bodies has to see what is wrong, too.
            let told = told::in_words(&problem);
            let mut response = problem.into_response();
            response.headers_mut().extend(told);
            if unknown {
                let scheme = HeaderValue::from_static("Basic realm=\"placet\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
                response.extensions_mut().remove::<crate::challenge::Refused>();
            }
            response
        }
    }
}

async fn answer(app: &App, service: &str, source: Source, headers: &HeaderMap) -> Answer<Response> {
    let missing = || {
        let detail =
            "the proxy says which resource server it stands for in `Placet-Resource-Server: Basic …`";
        Problem::of(Code::TokenInvalid, detail)
    };
    let credentials = once(headers, RESOURCE_SERVER)?.ok_or_else(missing)?;
    let server = asking::presented(app, credentials).await?.ok_or_else(missing)?;
    let Original { method, target, reads_bodies } = match original(headers) {
        Ok(original) => original,
        Err(problem) => return Ok(refused(Refusal::of(app, problem), true)),
    };
    let arrival =
        Arrival { service, method, target, body: body(headers), headers, source, door: "forward-auth" };
    Ok(match ask(app, &server, &arrival).await {
        Ok(named) => {
            let mut response = Response::new(Body::empty());
            response.headers_mut().extend(named);
            response
        }
        Err(refusal) => refused(*refusal, reads_bodies),
    })
}

/// A refusal. nginx reads no body of it, and gives up the connection on which there is one.
fn refused(refusal: Refusal, reads_bodies: bool) -> Response {
    let body = if reads_bodies { refusal.body } else { Vec::new() };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    response.headers_mut().extend(refusal.headers);
    response.extensions_mut().insert(RefusedWith(refusal.code.as_str()));
    response
}

/// What the proxy asks about.
struct Original<'h> {
    method: &'h str,
    target: &'h str,
    /// Whether the proxy hands the body of a refusal on.
    reads_bodies: bool,
}

fn original(headers: &HeaderMap) -> Result<Original<'_>, Problem> {
    let pair = |method, target| Ok::<_, Problem>((once(headers, method)?, once(headers, target)?));
    let nginx = pair("x-original-method", "x-original-uri")?;
    let others = pair("x-forwarded-method", "x-forwarded-uri")?;
    let invalid = |detail| Problem::of(Code::RequestInvalid, detail);
    match (nginx, others) {
        ((Some(method), Some(target)), (None, None)) => Ok(Original { method, target, reads_bodies: false }),
        ((None, None), (Some(method), Some(target))) => Ok(Original { method, target, reads_bodies: true }),
        ((None, None), (None, None)) => Err(invalid(
            "the proxy says neither `X-Original-Method` and `X-Original-URI` nor `X-Forwarded-Method` and `X-Forwarded-Uri`",
        )),
        _ => Err(invalid(
            "the request comes with `X-Original-…` and `X-Forwarded-…`, of which one is not the proxy's: both or half of one are not taken",
        )),
    }
}

/// What is known of the body: none of it is sent along, but a proxy may say that there is one.
fn body(headers: &HeaderMap) -> SeenBody<'static> {
    let lengths = headers.get_all(HeaderName::from_static("x-original-content-length")).iter();
    let chunked = headers.contains_key("x-original-transfer-encoding");
    if chunked || lengths.into_iter().any(|length| length != "0") {
        SeenBody::Unread
    } else {
        SeenBody::Unseen
    }
}
