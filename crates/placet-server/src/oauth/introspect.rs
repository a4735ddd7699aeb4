//! `POST /oauth/introspect` (RFC 7662): what a token stands for, as it is now.
//!
//! A client asks about its own grants and those below them, a resource server about tokens of its audience; the
//! administrator token, administrators and auditors ask about any. To everybody else, and for everything that is not a
//! live access or refresh token, the answer is `{"active": false}` and nothing more.
//!
//! Who asks for it is given the answer under a signature, made for nobody else (RFC 9701).
//!
//! Invariant: active means that the token has not expired *and* that its whole chain is alive; what is told of its scope
//! is what the chain permits now.

use super::{client, history, issue::scope_text, refresh, resource_server};
use crate::{
    app::App,
    bearer::{self, Bearer, Meant},
    body::OAuthParams,
    caller::{self, Caller},
    problem::{OAuthError, Problem},
    sender::Sender,
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use placet_core::{
    chain::Chain,
    id::{AgentId, UserId},
    refusal::Code,
    token::{AccessClaims, Statement, sign_statement},
    user::{ADMINISTRATOR, AUDITOR},
};
use placet_store::resource_servers::ResourceServer;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The media type of an answer that is signed (RFC 9701 §5).
const STATEMENT: &str = "application/token-introspection+jwt";
const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];
const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// The endpoint.
///
/// # Errors
/// 401 without credentials that can be used; `invalid_request` without `token`.
pub async fn post(
    State(app): State<Arc<App>>,
    sender: Sender,
    headers: HeaderMap,
    params: OAuthParams,
) -> Result<Response, OAuthError> {
    let asker = asker(&app, &sender, &headers, &params, Public::Refused).await?;
    let token = params.required("token")?;
    params.text("token_type_hint")?;
    let with_history = params.flag("include_task_history")?;
    let signed = wants_statement(&headers);
    let answer = match live(&app, token).await? {
        Some(bearer) if asker.may_know(&bearer) => {
            if !with_history && !signed {
                return Ok((NO_STORE, JSON, told(&bearer)?).into_response());
            }
            let mut answer = described(&bearer.claims, &bearer.chain);
            if with_history {
                answer.insert("task_history".into(), history::of(&app, &bearer.chain).await?);
            }
            Value::Object(answer)
        }
        _ => match live_refresh(&app, token, &asker).await? {
            Some(answer) => answer,
            None => json!({"active": false}),
        },
    };
    if !signed {
        return Ok((NO_STORE, Json(answer)).into_response());
    }
    // RFC 9701 §5: for whoever asks, and no token by itself.
    let claims = json!({"iss": app.issuer, "aud": asker.by(), "iat": app.clock.now().as_seconds(),
        "token_introspection": answer});
    let statement = sign_statement(&app.secrets.tokens.load(), Statement::Introspection, &claims)?;
    Ok((NO_STORE, [(header::CONTENT_TYPE, STATEMENT)], statement).into_response())
}

/// What is told of a live access token, written once.
fn told(bearer: &Bearer) -> Result<Bytes, OAuthError> {
    if let Some(told) = bearer.told.get() {
        return Ok(told.clone());
    }
    let text = serde_json::to_vec(&described(&bearer.claims, &bearer.chain)).map_err(|_| {
        OAuthError::from(Problem::of(Code::Internal, "what is told of the token could not be written"))
    })?;
    Ok(bearer.told.get_or_init(|| text.into()).clone())
}

/// Whether the answer is to be a signed statement (RFC 9701 §4).
fn wants_statement(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .any(|kind| kind.eq_ignore_ascii_case(STATEMENT))
}

/// Who asks an OAuth endpoint that takes a client's authentication or a bearer.
#[derive(Debug, Clone)]
pub enum Asker {
    /// An agent, by client authentication or by a token of its own.
    Agent(AgentId),
    /// Somebody who signed in.
    Person {
        /// Who.
        id: UserId,
        /// Whether with role `administrator`.
        administrator: bool,
        /// Whether with role `auditor`.
        auditor: bool,
    },
    /// The administrator token.
    AdminToken,
    /// A resource server, by client authentication.
    ResourceServer(Arc<ResourceServer>),
}

impl Asker {
    /// As the record names it.
    pub fn by(&self) -> String {
        match self {
            Self::Agent(id) => id.to_string(),
            Self::Person { id, .. } => id.to_string(),
            Self::AdminToken => "admin-token".to_owned(),
            Self::ResourceServer(server) => server.id.to_string(),
        }
    }

    /// Whether it may be told about a token.
    pub(crate) fn may_know(&self, bearer: &Bearer) -> bool {
        match self {
            Self::Agent(id) => bearer.chain.links().iter().any(|link| link.agent.id == *id),
            Self::ResourceServer(server) => bearer.claims.aud.contains(&server.audience),
            Self::Person { administrator, auditor, .. } => *administrator || *auditor,
            Self::AdminToken => true,
        }
    }
}

/// Whether an endpoint takes a public client at its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Public {
    /// It tells things to whom may know them.
    Refused,
    /// What is presented beside it is proof enough (RFC 7009 §2.1).
    Enough,
}

/// Who asks, as `authenticated`; each may ask so often only.
///
/// # Errors
/// As there, and `slow_down` with status 429.
pub async fn asker(
    app: &App,
    sender: &Sender,
    headers: &HeaderMap,
    params: &OAuthParams,
    public: Public,
) -> Result<Asker, OAuthError> {
    let asker = authenticated(app, sender, headers, params, public).await?;
    app.rates.known(&asker.by(), app.clock.now())?;
    Ok(asker)
}

/// Who asks: the bearer where there is one, else the client that authenticates.
///
/// # Errors
/// 401 `invalid_client` or `invalid_token`.
async fn authenticated(
    app: &App,
    sender: &Sender,
    headers: &HeaderMap,
    params: &OAuthParams,
    public: Public,
) -> Result<Asker, OAuthError> {
    if sender.credential()?.is_none() {
        let presented = client::presented(headers, params)?;
        if let Some(server) = resource_server::authenticate(app, &presented).await? {
            return Ok(Asker::ResourceServer(server));
        }
        let client = client::verify(app, &presented).await?;
        if client.metadata.is_public() && public == Public::Refused {
            return Err(OAuthError::invalid_client());
        }
        return Ok(Asker::Agent(client.agent.id));
    }
    if params.text("client_secret")?.is_some() {
        return Err(OAuthError::new(
            "invalid_request",
            "authenticate in the header or in the body, not in both",
        ));
    }
    match caller::identify(app, sender).await.map_err(refused)? {
        Caller::Agent(bearer) => Ok(Asker::Agent(bearer.chain.agent().id)),
        Caller::User(signed_in) => Ok(Asker::Person {
            id: signed_in.user.id,
            administrator: signed_in.user.has_role(ADMINISTRATOR),
            auditor: signed_in.user.has_role(AUDITOR),
        }),
        Caller::AdminToken => Ok(Asker::AdminToken),
    }
}

/// A bearer that can't be used is a failed authentication (RFC 7662 §2.3), not a bad request.
fn refused(problem: Problem) -> OAuthError {
    let code = problem.code();
    if code.status() != 401 {
        return problem.into();
    }
    if matches!(code, Code::ProofInvalid | Code::NonceRequired) {
        return OAuthError { status: StatusCode::UNAUTHORIZED, ..problem.into() };
    }
    let description = format!("{}: {}", code.as_str(), problem.detail());
    OAuthError { status: StatusCode::UNAUTHORIZED, ..OAuthError::new("invalid_token", description) }
}

/// What is told about a refresh token that can still be used: to its client, administrators and auditors.
async fn live_refresh(app: &App, token: &str, asker: &Asker) -> Result<Option<Value>, OAuthError> {
    let now = app.clock.now();
    let Some(found) = refresh::find(app, token).await? else { return Ok(None) };
    let may_know = match asker {
        Asker::Agent(id) => found.agent == *id,
        Asker::Person { administrator, auditor, .. } => *administrator || *auditor,
        Asker::AdminToken => true,
        Asker::ResourceServer(_) => false,
    };
    if !may_know || found.used.is_some() || found.expires <= now {
        return Ok(None);
    }
    let chain = match bearer::chain(app, found.grant, now).await {
        Ok(chain) => chain,
        Err(problem) if problem.code().status() == 401 => return Ok(None),
        Err(problem) => return Err(problem.into()),
    };
    let leaf = &chain.leaf().grant;
    Ok(Some(json!({
        "active": true, "client_id": found.agent, "scope": scope_text(&chain.effective()), "iss": app.issuer,
        "exp": found.expires.as_seconds(), "iat": found.issued.as_seconds(),
        "sub": chain.user_id().map_or_else(|| found.agent.to_string(), |user| user.to_string()),
        "grant": {"id": leaf.id, "root": leaf.root, "depth": leaf.depth},
    })))
}

/// A live access token, whoever it is for. As every node knows it within a second of a change anywhere.
pub(crate) async fn live(app: &App, token: &str) -> Result<Option<Arc<Bearer>>, OAuthError> {
    match bearer::live_now(app, token, Meant::Anybody).await {
        Ok(bearer) => Ok(Some(bearer)),
        Err(problem) if problem.code().status() == 401 => Ok(None),
        Err(problem) => Err(problem.into()),
    }
}

/// The members of RFC 7662 §2.2, RFC 8693 §4.1 and RFC 9396 §9.2, and what Placet adds.
fn described(claims: &AccessClaims, chain: &Chain) -> Map<String, Value> {
    let (leaf, effective) = (chain.leaf(), chain.effective());
    let mut answer = Map::new();
    answer.insert("active".into(), true.into());
    answer.insert("scope".into(), scope_text(&effective).into());
    answer.insert("client_id".into(), json!(claims.client_id));
    answer.insert("token_type".into(), claims.token_type().into());
    answer.insert("exp".into(), claims.exp.into());
    answer.insert("iat".into(), claims.iat.into());
    answer.insert("sub".into(), claims.sub.clone().into());
    answer.insert("aud".into(), json!(claims.aud));
    answer.insert("iss".into(), claims.iss.clone().into());
    answer.insert("jti".into(), json!(claims.jti));
    answer.insert("act".into(), json!(claims.act));
    let mut task = Map::new();
    task.insert("id".into(), claims.task.id.clone().into());
    if let Some(parent) = &claims.task.parent {
        task.insert("parent".into(), parent.clone().into());
    }
    if let Some(known) = &leaf.task {
        // A chain exists only while its task is active.
        task.insert("state".into(), known.state.as_str().into());
        task.insert("description".into(), json!(known.description));
    }
    answer.insert("task".into(), task.into());
    answer.insert("grant".into(), json!(claims.grant));
    if let Some(cnf) = &claims.cnf {
        answer.insert("cnf".into(), json!(cnf));
    }
    if !claims.authorization_details.is_empty() {
        answer.insert("authorization_details".into(), json!(claims.authorization_details));
    }
    answer.insert("granted_tools".into(), json!(effective.tools));
    answer.insert("granted_resources".into(), json!(effective.resources));
    answer.insert("agent_name".into(), chain.agent().handle.clone().into());
    if let Some(user) = chain.user() {
        answer.insert("username".into(), user.name.clone().into());
    }
    answer
}
