//! Joins the rules, the store and the gateway into a running server: the way of an action, OAuth, the APIs, jobs.
//!
//! Read [`way`] first. Every route is in [`router`], on one screen.
//!
//! Invariant: no SQL and no upstream traffic in this crate.

// Fuzz targets name it as those do who use it (`fuzzing`).
#[cfg(test)]
extern crate self as placet_server;

pub mod advice;
pub mod api;
pub mod app;
pub mod bearer;
pub mod body;
pub mod caller;
pub mod challenge;
pub mod clock;
pub mod connections;
mod consent;
mod cross_origin;
mod denials;
pub mod doors;
pub mod egress;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gcra;
mod handshake;
pub mod intent;
pub mod jobs;
pub mod keys;
pub mod liveness;
mod mcp;
pub mod mtls;
pub mod oauth;
pub mod openapi;
pub mod operations;
pub mod pages;
mod people;
pub mod problem;
pub mod proxy;
mod question;
pub mod rates;
pub mod reconcile;
pub mod recording;
mod requests;
pub mod revocation;
pub mod routes;
pub mod rules;
pub mod sender;
mod serving;
mod share;
pub mod status_lists;
pub mod streams;
pub mod tools;
pub mod vault;
pub mod way;

use app::App;
use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use placet_core::refusal::Code;
use problem::Problem;
use routes::{Routes, any, delete, get, post, put};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// How long open streams may go on when the server stops.
const STREAMS_GO_ON: Duration = Duration::from_secs(3);

/// Every route of the doors' listener. `/openapi.json` describes exactly these.
pub fn routes() -> Routes {
    Routes::new()
        // OAuth
        .route("/.well-known/oauth-authorization-server", get(oauth::metadata::show))
        .route("/.well-known/oauth-authorization-server/{*path}", get(oauth::metadata::show_at))
        .route("/.well-known/openid-configuration", get(oauth::metadata::show))
        .route("/.well-known/openid-configuration/{*path}", get(oauth::metadata::show_at))
        .route("/.well-known/oauth-protected-resource", get(oauth::protected_resource::show))
        .route("/.well-known/oauth-protected-resource/{*path}", get(oauth::protected_resource::show_at))
        .route("/.well-known/jwks.json", get(oauth::metadata::keys))
        .route("/oauth/token", post(oauth::token::post))
        .route("/oauth/par", post(oauth::par::post))
        .route("/oauth/device_authorization", post(oauth::device::post))
        .route("/oauth/backchannel_authentication", post(oauth::backchannel::post))
        .route("/oauth/introspect", post(oauth::introspect::post))
        .route("/oauth/revoke", post(oauth::revoke::post))
        .route("/oauth/status", get(oauth::status::list))
        .route("/oauth/status/{list}", get(oauth::status::show))
        .route("/oauth/register", post(oauth::register::create))
        .route(
            "/oauth/register/{client_id}",
            get(oauth::register::show).put(oauth::register::replace).delete(oauth::register::remove),
        )
        // agents, grants, tasks
        .route("/v1/agents", post(api::agents::create).get(api::agents::list))
        .route("/v1/agents/{id}", get(api::agents::show).patch(api::agents::change).delete(api::agents::end))
        .route("/v1/agents/{id}/activate", post(api::agents::activate))
        .route("/v1/agents/{id}/suspend", post(api::agents::suspend))
        .route("/v1/registrations", get(api::registrations::list))
        .route("/v1/registrations/{id}", delete(api::registrations::refuse))
        .route("/v1/registrations/{id}/confirm", post(api::registrations::confirmed))
        .route(
            "/v1/registration-template",
            get(api::registrations::template).put(api::registrations::set_template),
        )
        .route("/v1/grants", post(api::grants::create).get(api::grants::list))
        .route("/v1/grants/{id}", get(api::grants::show))
        .route("/v1/grants/{id}/lineage", get(api::grants::lineage))
        .route("/v1/grants/{id}/narrow", post(api::grants::narrow))
        .route("/v1/grants/{id}/revoke", post(api::grants::revoke))
        .route("/v1/tasks", post(api::tasks::create).get(api::tasks::list))
        .route("/v1/tasks/{id}", get(api::tasks::show))
        .route("/v1/tasks/{id}/complete", post(api::tasks::complete))
        .route("/v1/tasks/{id}/revoke", post(api::tasks::revoke))
        // actions, decisions, approvals
        .route("/v1/actions", post(api::actions::act).get(api::actions::list))
        .route("/v1/actions/{id}", get(api::actions::show))
        .route("/v1/actions/{id}/settle", post(api::actions::settle))
        .route("/v1/decisions", post(api::decisions::decide))
        .route("/v1/decisions/filter", post(api::decisions::filter::filter))
        .route("/v1/decisions/{id}/outcome", post(api::decisions::outcome))
        .route("/v1/forward-auth/{service}", get(doors::forward_auth::check))
        .route("/v1/catalog", get(api::catalog::show))
        .route("/.well-known/authzen-configuration", get(api::access::configuration))
        .route("/.well-known/authzen-configuration/{*path}", get(api::access::configuration_at))
        .route("/access/v1/evaluation", post(api::access::evaluation))
        .route("/access/v1/evaluations", post(api::access::evaluations))
        .route("/access/v1/requests", post(api::access::request::submit))
        .route("/access/v1/requests/{id}", get(api::access::request::show))
        .route("/access/v1/search/subject", post(api::access::search::subject))
        .route("/access/v1/search/resource", post(api::access::search::resource))
        .route("/access/v1/search/action", post(api::access::search::action))
        .route("/v1/tokens/verify", post(api::tokens::verify))
        .route("/v1/approvals", get(api::approvals::list))
        .route("/v1/approvals/{id}", get(api::approvals::show).post(api::approvals::decide))
        .route("/v1/approvals/{id}/permit", post(api::approvals::preview))
        .route("/v1/requests", get(api::requests::list).post(api::requests::enter))
        .route("/v1/requests/{id}", get(api::requests::show).post(api::requests::decide))
        .route("/v1/permits", get(api::permits::list))
        .route("/v1/permits/{id}", get(api::permits::show))
        .route("/v1/permits/{id}/revoke", post(api::permits::revoke))
        // the proxy door
        .route("/proxy/{*request}", any(proxy::pass))
        // the MCP door
        .route("/mcp", post(mcp::post))
        // users, administration, the record
        .route("/v1/users", post(api::users::create).get(api::users::list))
        .route("/v1/users/{id}/reset-factors", post(api::users::reset))
        .route("/v1/users/{id}/roles", put(api::users::set_roles))
        .route("/v1/account", get(api::account::show))
        .route("/v1/account/password", post(api::account::password))
        .route("/v1/account/totp", post(api::account::enrol))
        .route("/v1/account/totp/confirm", post(api::account::confirm))
        .route("/v1/account/totp/remove", post(api::account::remove))
        .route("/v1/account/recovery-codes", post(api::account::recovery_codes))
        .route("/v1/account/passkeys/{id}/remove", post(api::account::remove_passkey))
        .route("/v1/sessions", post(api::sessions::create).get(api::sessions::list))
        .route("/v1/sessions/{id}", delete(api::sessions::end))
        .route("/v1/policies", get(api::policies::list).put(api::policies::put_together))
        .route(
            "/v1/policies/{name}",
            put(api::policies::put).get(api::policies::show).delete(api::policies::remove),
        )
        .route("/v1/policies/{name}/rules", get(api::policies::rules))
        .route("/v1/policies/{name}/versions", get(api::policies::history))
        .route("/v1/policies/{name}/rollback", post(api::policies::rollback))
        .route("/v1/policies/{name}/stage", post(api::policies::stage).delete(api::policies::unstage))
        .route("/v1/policies/{name}/promote", post(api::policies::promote))
        .route("/v1/policies/{name}/observations", get(api::policies::observations))
        .route("/v1/services", get(api::services::list))
        .route("/v1/services/{name}", put(api::services::put).get(api::services::show))
        .route(
            "/v1/services/{name}/client",
            put(api::services::client::put)
                .get(api::services::client::show)
                .delete(api::services::client::remove),
        )
        .route(
            "/v1/services/{name}/tools",
            get(api::services::tools::show).post(api::services::tools::change),
        )
        .route("/v1/resource-servers", post(api::resource_servers::create).get(api::resource_servers::list))
        .route(
            "/v1/resource-servers/{id}",
            get(api::resource_servers::show).delete(api::resource_servers::end),
        )
        .route("/v1/resource-servers/{id}/secret", post(api::resource_servers::renew))
        .route(
            "/v1/identity-providers",
            post(api::identity_providers::create).get(api::identity_providers::list),
        )
        .route(
            "/v1/identity-providers/{id}",
            get(api::identity_providers::show).delete(api::identity_providers::remove),
        )
        .route("/v1/identity-providers/{id}/secret", post(api::identity_providers::secret))
        .route(
            "/v1/identity-providers/{id}/subjects",
            post(api::identity_providers::link).get(api::identity_providers::subjects),
        )
        .route("/v1/trusted-issuers", post(api::trusted_issuers::create).get(api::trusted_issuers::list))
        .route(
            "/v1/trusted-issuers/{id}",
            get(api::trusted_issuers::show).delete(api::trusted_issuers::remove),
        )
        .route("/v1/trusted-issuers/{id}/users", post(api::trusted_issuers::mean))
        .route("/v1/scopes", get(api::scopes::list))
        .route("/v1/scopes/{name}", put(api::scopes::put).get(api::scopes::show).delete(api::scopes::remove))
        .route("/v1/authorization-detail-types", get(api::detail_types::list))
        .route(
            "/v1/authorization-detail-types/{name}",
            put(api::detail_types::put).get(api::detail_types::show).delete(api::detail_types::remove),
        )
        .route("/v1/connections", post(api::connections::create).get(api::connections::list))
        .route(
            "/v1/connections/{connection}",
            get(api::connections::one::show)
                .patch(api::connections::one::change)
                .delete(api::connections::one::remove),
        )
        .route("/v1/connections/{connection}/check", post(api::connections::check::check))
        .route("/v1/authorization-server", get(api::authorization_server::show))
        .route("/v1/connect", post(api::connect::begin))
        .route("/v1/connect/device", post(api::connect::ask))
        .route("/v1/egress", get(api::egress::show))
        .route("/v1/egress/authority/rotate", post(api::egress::rotate))
        .route("/v1/keys", get(api::keys::list))
        .route("/v1/keys/rotate", post(api::keys::rotate))
        .route("/v1/record", get(api::record::list))
        .route("/v1/record/key", get(api::record::key))
        .route("/v1/record/checkpoint", get(api::record::checkpoint))
        .route("/v1/record/heads", get(api::record::heads))
        .route("/v1/record/export", get(api::record::export))
        .route("/v1/record/{index}", get(api::record::show))
        .route("/v1/record/{index}/proof", get(api::record::prove))
        // operations
        .route("/healthz", get(api::operations::alive))
        .route("/readyz", get(api::operations::ready))
        .route("/metrics", get(api::operations::metrics))
        .route("/openapi.json", get(api::operations::openapi))
}

/// The doors' listener: its routes, and what every answer has in common.
pub fn router(app: Arc<App>) -> Router {
    finished(routes(), app)
}

/// What a listener of its own for monitoring answers, without authentication: it is for an address that only those
/// can reach who may see it.
pub fn monitoring(app: Arc<App>) -> Router {
    let routes = Routes::new()
        .route("/healthz", get(api::operations::alive))
        .route("/readyz", get(api::operations::ready))
        .route("/metrics", get(api::operations::metrics_for_anybody));
    finished(routes, app)
}

fn finished(routes: Routes, app: Arc<App>) -> Router {
    let router = routes.into_router();
    // An issuer may have a path: then it is found below that too, whether or not a proxy in front takes it away.
    let router = match oauth::metadata::split(&app.issuer).1 {
        "" => router,
        path => Router::new().nest(path, router.clone()).merge(router),
    };
    router
        .fallback(async || Problem::of(Code::NotFound, "there is no such path; `/openapi.json` lists them"))
        .method_not_allowed_fallback(async || {
            Problem::of(Code::MethodNotAllowed, "the path has no such method")
        })
        // Bodies are bounded where they are read, so that the refusal is a problem document.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), around))
        .with_state(app)
}

/// What is around every request, from the outside in. One layer of the router, as every layer copies all within it for
/// every request.
async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let challenged = |request| challenge::challenged(&app, request, |request| next.run(request));
    let limited = |request| rates::limited(&app, request, challenged);
    // Around what refuses, so that a page can read why.
    let allowed = |request| cross_origin::allowed(&app, request, limited);
    let counted = |request| counted(&app, request, allowed);
    guarded(request, |request| api::access::identified(&app, request, counted)).await
}

/// Counts every answer by its route and status class.
pub(crate) async fn counted<F: Future<Output = Response>>(
    app: &App,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
        _ => "other",
    }
    .to_owned();
    let response = next(request).await;
    let class = match response.status().as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    app.operations.metrics.requests.add(&[("method", &method), ("route", route), ("status", class)]);
    operations::failures::count(app, &response);
    response
}

/// Headers that every answer of the doors' listener carries, so that a browser that ends up here runs nothing.
async fn guarded<F: Future<Output = Response>>(
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    // Nothing has a name that is not UTF-8; asked further in, it would be told in another form. The proxy door reads
    // the path as it came.
    let readable = request.uri().path().starts_with("/proxy/")
        || form_urlencoded::parse(request.uri().path().as_bytes())
            .all(|(name, value)| !name.contains('\u{fffd}') && !value.contains('\u{fffd}'));
    let mut response = if readable {
        next(request).await
    } else {
        Problem::of(Code::NotFound, "the path is not UTF-8").into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Serves [`monitoring`] on a listener of its own until `shutdown` is done.
///
/// # Errors
/// What the listener met.
pub async fn serve_monitoring(
    listener: TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    serving::listen(listener, monitoring(app), shutdown, serving::Part::Beside).await
}

/// Serves `app` on `listener`, in HTTP/1.1 and HTTP/2, until `shutdown` is done; requests that are under way are answered
/// first.
///
/// # Errors
/// What the listener met.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let ending = Arc::clone(&app);
    let shutdown = async move {
        shutdown.await;
        ending.waiters.close();
        // What streams could go on for ever; what is cut has time to be concluded.
        tokio::spawn(async move {
            tokio::time::sleep(STREAMS_GO_ON).await;
            ending.streams.cut_all();
        });
    };
    let routed = router(Arc::clone(&app));
    let routed = if app.mutual_tls.as_ref().is_some_and(|here| here.header) {
        routed.layer(middleware::from_fn_with_state(app, mtls::header::named))
    } else {
        routed
    };
    serving::listen(listener, routed, shutdown, serving::Part::Doors).await
}
