//! Who is calling: an agent with an access token, a person with a session, or the administrator token.
//!
//! The kinds are told apart by their form, and each endpoint says which it takes. The administrator token is no
//! user: it configures, introspects, revokes, asks dry runs and reads the record, and decides nothing that a person
//! has to decide (DESIGN §6).
//!
//! Invariant: a request without usable credentials is nobody, never somebody with less.

use crate::{app::App, bearer::Bearer, problem::Problem, sender::Sender};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};
use placet_core::{
    id::SessionId,
    refusal::Code,
    user::{ADMINISTRATOR, User},
};
use std::{net::SocketAddr, sync::Arc};

/// What the administrator token begins with.
pub const ADMIN_PREFIX: &str = "plt_admin_";
/// What a session token begins with.
pub const SESSION_PREFIX: &str = "plt_session_";
/// The purpose under which session tokens are hashed.
pub const SESSION: &str = "session";

/// A person who signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The session.
    pub session: SessionId,
    /// The person.
    pub user: User,
}

/// Who is calling.
#[derive(Debug, Clone)]
pub enum Caller {
    /// An agent with a live token that has Placet in its audience.
    Agent(Arc<Bearer>),
    /// A person.
    User(SignedIn),
    /// Whoever holds the administrator token.
    AdminToken,
}

impl Caller {
    /// As the record names it: an id, or `admin-token`.
    pub fn by(&self) -> String {
        match self {
            Self::Agent(bearer) => bearer.chain.agent().id.to_string(),
            Self::User(signed_in) => signed_in.user.id.to_string(),
            Self::AdminToken => "admin-token".to_owned(),
        }
    }

    /// Whether it may configure: the administrator token, or a user with role `administrator`.
    pub fn configures(&self) -> bool {
        match self {
            Self::AdminToken => true,
            Self::User(signed_in) => signed_in.user.has_role(ADMINISTRATOR),
            Self::Agent(_) => false,
        }
    }

    /// Lets administrators through.
    ///
    /// # Errors
    /// `not_permitted` for everybody else.
    pub(crate) fn must_configure(&self) -> Result<(), Problem> {
        if self.configures() {
            Ok(())
        } else {
            Err(Problem::of(
                Code::NotPermitted,
                "this needs the administrator token or a user with role `administrator`",
            ))
        }
    }

    /// The person, where it is one.
    ///
    /// # Errors
    /// `not_permitted` for agents and the administrator token.
    pub fn person(&self) -> Result<&SignedIn, Problem> {
        match self {
            Self::User(signed_in) => Ok(signed_in),
            _ => Err(Problem::of(
                Code::NotPermitted,
                "this needs a person's session: sign in with `placet login`",
            )),
        }
    }

    /// The administrator who calls in person.
    ///
    /// # Errors
    /// `not_permitted` for everybody else, the administrator token too.
    pub fn administrator(&self) -> Result<&SignedIn, Problem> {
        let person = self.person()?;
        if person.user.has_role(ADMINISTRATOR) {
            return Ok(person);
        }
        Err(Problem::of(Code::NotPermitted, "this needs a user with role `administrator`"))
    }
}

/// Finds out who sent a request.
///
/// # Errors
/// A 401 of the table: `token_invalid`, `token_expired`, `token_revoked`, `lineage_revoked`, `task_ended`,
/// `agent_inactive`, `proof_required`, `proof_invalid`, `nonce_required`.
pub(crate) async fn identify(app: &App, sender: &Sender) -> Result<Caller, Problem> {
    let credential = sender
        .credential()?
        .ok_or_else(|| Problem::of(Code::TokenInvalid, "send `Authorization: Bearer …` with a token"))?;
    if credential.token.starts_with(ADMIN_PREFIX) {
        let token = Sender::unbound(credential)?;
        return if app.secrets.hashing.hash(crate::app::ADMIN_TOKEN, token.as_bytes())
            == app.secrets.admin_token
        {
            Ok(Caller::AdminToken)
        } else {
            Err(Problem::of(Code::TokenInvalid, "the administrator token is wrong"))
        };
    }
    if credential.token.starts_with(SESSION_PREFIX) {
        let token = Sender::unbound(credential)?;
        let hash = app.secrets.hashing.hash(SESSION, token.as_bytes());
        let now = app.clock.now();
        let found = app.store.read(move |q| placet_store::sessions::by_token(q, hash, now)).await?;
        let ended = || Problem::of(Code::TokenInvalid, "the session is unknown or has ended: sign in again");
        let (session, user) = found.ok_or_else(ended)?;
        return Ok(Caller::User(SignedIn { session: session.id, user }));
    }
    let held = sender.agent(app, credential).await?;
    Ok(Caller::Agent(crate::bearer::live(app, &held).await?))
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        identify(app, &Sender::of(parts)).await
    }
}

/// The address that a request came from, as the socket says.
#[derive(Debug, Clone, Copy)]
pub struct Source(pub Option<SocketAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Source {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)))
    }
}
