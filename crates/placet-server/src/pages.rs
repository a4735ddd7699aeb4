//! Pages for people: sign-in, their account, and the question whether an agent may act on their behalf. They have a listener and an
//! origin of their own (DESIGN §7), which is the only one that sets and reads cookies.
//!
//! Everything is rendered here and works without a script, but passkeys, which only a script can ask a browser for: one
//! small file of this origin, on the pages that ask for one. What a form does is bound to the browser session by a token
//! that only this server can make.
//!
//! Invariant: nothing of anybody's is markup; no page can be framed, and none leads elsewhere but to where a client was
//! registered to be answered.

pub(crate) mod account;
pub(crate) mod authorize;
mod code;
pub(crate) mod connect;
pub(crate) mod consent;
mod cookies;
mod form;
mod html;
pub(crate) mod provider;
mod qr;
pub(crate) mod requests;
pub(crate) mod sign_in;

use crate::{
    api::operations,
    app::App,
    counted, rates,
    routes::{Routes, get, post},
    serving::{self, Part},
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use html::Page;
use std::{future::Future, sync::Arc};
use tokio::net::TcpListener;

/// Every route of the listener for people's pages.
pub fn routes() -> Routes {
    Routes::new()
        .route("/", get(sign_in::home))
        .route("/oauth/authorize", get(authorize::show))
        .route("/sign-in", get(sign_in::show).post(sign_in::submit))
        .route("/sign-in/code", post(sign_in::submit_code))
        .route("/account", get(account::show))
        .route("/account/session", post(account::end_session))
        .route("/account/password", post(account::password))
        .route("/account/connections/check", post(connect::check))
        .route("/account/totp", post(account::totp::enrol))
        .route("/account/totp/confirm", post(account::totp::confirm))
        .route("/account/totp/remove", post(account::totp::remove))
        .route("/sign-in/passkey", post(sign_in::submit_passkey))
        .route("/account/passkeys", post(account::passkeys::ask))
        .route("/account/passkeys/add", post(account::passkeys::add))
        .route("/account/passkeys/remove", post(account::passkeys::remove))
        .route("/account/recovery-codes", post(account::totp::recovery_codes))
        .route("/sign-in/with/{provider}", post(provider::leave))
        .route("/sign-in/with/{provider}/code", post(provider::submit_code))
        .route("/sign-in/callback/{provider}", get(provider::callback))
        .route("/account/providers", post(provider::leave_to_link))
        .route("/account/providers/remove", post(provider::unlink))
        .route("/connect/{service}", get(connect::show).post(connect::leave))
        .route("/connect/callback/{service}", get(connect::callback))
        .route("/sign-out", post(sign_in::out))
        .route("/consent", post(consent::decide))
        .route("/device", get(requests::device).post(requests::entered))
        .route("/requests", get(requests::list))
        .route("/requests/{id}", get(requests::show))
        .route("/style.css", get(html::style))
        .route("/passkey.js", get(html::script))
        .route("/healthz", get(operations::alive))
}

/// The listener for people's pages: its routes, and what every answer has in common.
pub fn router(app: Arc<App>) -> Router {
    routes()
        .into_router()
        .fallback(async || Page::problem(StatusCode::NOT_FOUND, "There is no such page.").into_response())
        .method_not_allowed_fallback(async || {
            Page::problem(StatusCode::METHOD_NOT_ALLOWED, "This page can't be asked for in this way.")
                .into_response()
        })
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), around))
        .with_state(app)
}

/// What is around every request.
async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limited = |request| rates::limited(&app, request, |request| next.run(request));
    guarded(counted(&app, request, limited).await)
}

/// Headers that every answer carries. A page states its own policy, which is as narrow.
fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'; form-action 'none'",
    ));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Serves the pages on `listener` until `shutdown` is done; requests that are under way are answered first.
///
/// # Errors
/// What the listener met.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let readiness = Arc::clone(&app);
    readiness.operations.readiness.pages(true);
    // Like the doors' own: whoever asks nothing is cut off.
    let served = serving::listen(listener, router(app), shutdown, Part::Beside).await;
    readiness.operations.readiness.pages(false);
    served
}
