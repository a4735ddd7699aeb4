//! The two cookies of the pages: who is signed in, and to which browser a sign-in form was given.
//!
//! Invariant: neither is readable by a script or sent across sites but by following a link, and over https their names
//! make the browser hold that no other host and no plain connection has set them (`__Host-`).

use crate::{
    app::App,
    caller::{SESSION, SESSION_PREFIX, SignedIn},
    problem::Problem,
};
use axum::http::{HeaderMap, HeaderValue, header};
use placet_core::secret::Secret;
use placet_store::sessions::{self, Session};

/// A cookie of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// The session token of who is signed in.
    Session,
    /// What sign-in forms are bound to.
    Form,
}

impl Cookie {
    fn name(self, app: &App) -> &'static str {
        match (self, is_secure(app)) {
            (Self::Session, true) => "__Host-placet",
            (Self::Session, false) => "placet",
            (Self::Form, true) => "__Host-placet-form",
            (Self::Form, false) => "placet-form",
        }
    }

    /// Its value, where the browser sent exactly one.
    pub(super) fn read(self, app: &App, headers: &HeaderMap) -> Option<Secret> {
        let name = self.name(app);
        let mut values = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(other, _)| *other == name)
            .map(|(_, value)| value);
        let first = values.next()?;
        // Of two that differ one was put there by somebody else.
        values.all(|other| other == first).then(|| Secret::new(first))
    }

    /// Sets it, until the browser is closed.
    pub(super) fn set(self, app: &App, value: &Secret) -> Option<HeaderValue> {
        self.written(app, value.expose_str()?, "")
    }

    /// Takes it away.
    pub(super) fn forget(self, app: &App) -> Option<HeaderValue> {
        self.written(app, "", "; Max-Age=0")
    }

    fn written(self, app: &App, value: &str, age: &str) -> Option<HeaderValue> {
        let secure = if is_secure(app) { "; Secure" } else { "" };
        let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}", self.name(app));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

fn is_secure(app: &App) -> bool {
    app.pages.starts_with("https://")
}

/// Who is signed in with this browser, if anybody.
///
/// # Errors
/// What the store met.
pub(super) async fn signed_in(
    app: &App,
    headers: &HeaderMap,
) -> Result<Option<(SignedIn, Session)>, Problem> {
    let Some(token) = Cookie::Session.read(app, headers) else { return Ok(None) };
    if !token.expose().starts_with(SESSION_PREFIX.as_bytes()) {
        return Ok(None);
    }
    let (hash, now) = (app.secrets.hashing.hash(SESSION, token.expose()), app.clock.now());
    let found = app.store.read(move |q| sessions::by_token(q, hash, now)).await?;
    Ok(found.map(|(session, user)| (SignedIn { session: session.id, user }, session)))
}
