//! From what an agent asked to the action that is judged and the call that will be sent: one description, so that
//! what is matched is what is forwarded.

use super::{Arrived, ArrivedBody, Asked, OpenSocket, Wanted};
use crate::{
    app::App,
    bearer::Bearer,
    connections::{self, Picked},
    problem::Problem,
    rules::{LiveService, Rules},
    sender::Held,
    share::Share,
};
use placet_core::{
    action::{Action, ServiceVersion},
    call::{Method, PROTOCOL_HEADER, UpstreamCall},
    chain::Chain,
    id::AgentId,
    judge::{self, Judgement, Request},
    pattern::ActionName,
    refusal::{Code, Reason},
    secret::sha256,
    service::{Facts, Placed, ServiceAction, check_target, normal_path, normal_query},
    time::Timestamp,
};
use placet_gateway::Slot;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A described request.
#[derive(Debug)]
pub(super) struct Described {
    /// What is judged.
    pub(super) action: Arc<Action>,
    /// What will be sent, but for the credential.
    pub(super) call: UpstreamCall,
    /// Where that asks for fewer rows than were asked for: the parameter, how many, and the digest of what was asked.
    pub(super) narrowed: Option<Narrowed>,
    /// The service that declares it.
    pub(super) live: Arc<LiveService>,
    /// Who acts.
    pub(super) by: AgentId,
    /// The connection it runs through.
    pub(super) connection: Picked,
    /// The rules that it was described by.
    pub(super) rules: Arc<Rules>,
    /// Its turn at the upstream, once it is admitted.
    pub(super) turn: Option<Slot>,
    /// Its place among what its agent has under way, once it is admitted.
    pub(super) place: Option<Share>,
}

/// How what is sent differs from what was asked.
#[derive(Debug)]
pub(super) struct Narrowed {
    param: String,
    to: Value,
    asked: [u8; 32],
}

/// Describes `asked` for the grant of `bearer`.
///
/// # Errors
/// `params_invalid` where the request is not the action's, `not_granted` where the grant reaches no connection or no
/// service declares the action.
pub(super) async fn describe(app: &App, bearer: &Bearer, asked: &Asked) -> Result<Described, Problem> {
    match &asked.wanted {
        Wanted::Action { service, action, params, connection } => {
            let rules = app.rules.load_full();
            let name = ActionName::parse(action).map_err(|error| invalid(format!("`action`: {error}")))?;
            let (live, declared) = rules
                .declaring(&name)
                .filter(|(live, _)| service.as_deref().is_none_or(|service| service == live.service.name()))
                // Told alike, before anything of the parameters is: probing tells nothing about what is installed.
                .filter(|_| names(&bearer.chain, &name))
                .ok_or_else(|| Problem::from(no_such_action(&name)))?;
            if declared.stream() {
                return Err(invalid(format!("the body of `{name}` is streamed: send it to the proxy door")));
            }
            if declared.websocket().is_some() {
                return Err(invalid(format!("`{name}` opens a WebSocket: open it at the proxy door")));
            }
            if let Some(carried) = declared.carried() {
                let detail = format!("`{name}` is a message on the WebSocket that `{}` opens", carried.of());
                return Err(invalid(detail));
            }
            described(app, bearer, &rules, live, declared, params, connection.as_deref()).await
        }
        Wanted::Message { socket, message } => said(app, bearer, socket, message).await,
        Wanted::Call(arrived) => arrival(app, bearer, arrived, asked.idempotency_key.is_some()).await,
    }
}

pub(crate) const NO_SUCH_ACTION: &str = "the grant covers no such action";

fn no_such_action(name: &ActionName) -> Reason {
    let mut reason = Reason::of(Code::NotGranted).detail(NO_SUCH_ACTION);
    reason.remedy.insert("scope".into(), name.as_str().into());
    reason
}

/// The reason for an action that the chain does not name at all: the same whether a service declares it or none, and
/// whatever its parameters are.
pub(crate) fn unnamed(chain: &Chain, name: &ActionName) -> Option<Reason> {
    (!names(chain, name)).then(|| no_such_action(name))
}

/// The one description: what is judged, and the call that says the same.
async fn described(
    app: &App,
    bearer: &Bearer,
    rules: &Arc<Rules>,
    live: &Arc<LiveService>,
    declared: &ServiceAction,
    params: &Map<String, Value>,
    connection: Option<&str>,
) -> Result<Described, Problem> {
    if live.quarantined.contains(declared.name()) {
        return Err(Problem::of(
            Code::ToolQuarantined,
            format!(
                "`{}` has to be looked at by an administrator: `placet service tools {}`",
                declared.name(),
                live.service.name()
            ),
        ));
    }
    let described = declared.describe(params).map_err(|error| invalid(error.to_string()))?;
    let call = live.service.render(declared, params).map_err(|error| invalid(error.to_string()))?;
    let service = live.service.name();
    let connection = connections::reach(app, &bearer.chain, service, live.service.auth(), connection).await?;
    let action = Action {
        name: declared.name().clone(),
        resource: described.resource,
        known: described.known,
        params: params.clone().into(),
        effect: declared.effect(),
        service: Some(ServiceVersion { name: service.to_owned(), version: live.version }),
        connection: Some(connection.connection.id),
        facts: Facts::default(),
    };
    Ok(Described {
        action: Arc::new(action),
        call,
        narrowed: None,
        live: Arc::clone(live),
        by: bearer.chain.root_agent(),
        connection,
        rules: Arc::clone(rules),
        turn: None,
        place: None,
    })
}

/// Describes a message on a WebSocket: which action it is, the service as it is now says, and the action has to be one
/// on the very WebSocket that is open.
async fn said(
    app: &App,
    bearer: &Bearer,
    socket: &OpenSocket,
    message: &Value,
) -> Result<Described, Problem> {
    let rules = app.rules.load_full();
    let live = rules.services.get(&socket.service).ok_or_else(absent)?;
    let opens = live.service.action(&socket.opening).is_some_and(|action| action.websocket().is_some());
    let declared = live.service.carried(&socket.opening, message);
    // Told alike, whether no message is like this or the grant has none such.
    let declared =
        declared.filter(|action| opens && names(&bearer.chain, action.name())).ok_or_else(absent)?;
    let params =
        declared.message_params(&socket.opened, message).map_err(|error| invalid(error.to_string()))?;
    let described = described(app, bearer, &rules, live, declared, &params, Some(&socket.connection)).await?;
    let same = described.connection.connection.generation == socket.generation;
    if !same || (&described.call.origin, &described.call.target) != (&socket.at.0, &socket.at.1) {
        let detail = "the service or its connection has changed since the WebSocket was opened: open it anew";
        return Err(Problem::of(Code::Unavailable, detail));
    }
    Ok(described)
}

/// Describes a request at the proxy door: its method and path say which action it is, path, query and body are the
/// parameters, and what is sent is rendered from these like any other action's.
async fn arrival(app: &App, bearer: &Bearer, arrived: &Arrived, keyed: bool) -> Result<Described, Problem> {
    let rules = app.rules.load_full();
    let (live, placed) = found(app, bearer, &rules, arrived).await?;
    let declared = placed.action();
    let query = arrived.target.split_once('?').map(|(_, query)| normal_query(query));
    let body = match (&arrived.body, declared.stream()) {
        (ArrivedBody::Whole(body), false) => {
            expect_type(arrived.content_type.as_deref(), declared.content_type())?;
            Some(&**body)
        }
        (ArrivedBody::Stream(_), true) | (ArrivedBody::None | ArrivedBody::Socket { .. }, _) => None,
        // Which of the two the action takes was asked before.
        _ => {
            return Err(Problem::of(
                Code::Unavailable,
                "the service has just changed; nothing was sent, try again",
            ));
        }
    };
    if declared.stream() && keyed {
        let detail = format!(
            "`{}` is streamed, so it can't be replayed: leave out `Idempotency-Key`",
            declared.name()
        );
        return Err(invalid(detail));
    }
    match (&arrived.body, declared.websocket()) {
        (ArrivedBody::Socket { .. }, Some(_)) if keyed => {
            let detail = format!("`{}` opens a WebSocket, which can't be replayed", declared.name());
            return Err(invalid(format!("{detail}: leave out `Idempotency-Key`")));
        }
        (ArrivedBody::Socket { .. }, None) => {
            let detail = format!("`{}` opens no WebSocket: nothing could be judged on it", declared.name());
            return Err(Problem::of(Code::NotSupported, detail));
        }
        (ArrivedBody::Socket { .. }, Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            let detail =
                format!("`{}` opens a WebSocket: ask for one (`Upgrade: websocket`)", declared.name());
            return Err(invalid(detail));
        }
    }
    let params = placed.params(query.as_deref(), body).map_err(|error| invalid(error.to_string()))?;
    let found = described(app, bearer, &rules, &live, declared, &params, Some(&arrived.connection)).await;
    let mut described = found.map_err(|problem| match problem.code() {
        // A connection out of reach is told like one that does not exist.
        Code::NotGranted => absent(),
        _ => problem,
    })?;
    described.call.headers.clone_from(&arrived.headers);
    if let (true, Some(kind)) = (declared.stream(), &arrived.content_type) {
        described.call.headers.push(("content-type".to_owned(), kind.clone()));
        described.call.headers.sort();
    }
    if let (ArrivedBody::Socket { offered, .. }, Some(socket)) = (&arrived.body, declared.websocket()) {
        let protocols: Vec<&str> = offered
            .iter()
            .map(String::as_str)
            .filter(|name| socket.protocols().iter().any(|known| known == name))
            .collect();
        if !protocols.is_empty() {
            described.call.headers.push((PROTOCOL_HEADER.to_owned(), protocols.join(", ")));
            described.call.headers.sort();
        }
    }
    Ok(described)
}

/// What the action of an arrived request makes of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// It is read whole before anything is decided.
    Whole,
    /// It is passed on as it comes.
    Stream,
    /// There is no such action, so that it isn't read.
    Nothing,
}

/// What is to be done with the body of a request at the proxy door, before it is read.
///
/// # Errors
/// As [`act`](super::act), where it would fail whatever the body is; but `not_granted` is left to it.
pub async fn takes(app: &App, held: &Held, arrived: &Arrived) -> Result<Takes, Problem> {
    let bearer = crate::bearer::live(app, held).await?;
    match found(app, &bearer, &app.rules.load_full(), arrived).await {
        Ok((_, placed)) if placed.action().stream() => Ok(Takes::Stream),
        Ok(_) => Ok(Takes::Whole),
        Err(problem) if problem.code() == Code::NotGranted => Ok(Takes::Nothing),
        Err(problem) => Err(problem),
    }
}

/// The action that an arrived request names, if the grant names it at all. All that is missing is told alike.
async fn found<'r>(
    app: &App,
    bearer: &Bearer,
    rules: &'r Rules,
    arrived: &Arrived,
) -> Result<(Arc<LiveService>, Placed<'r>), Problem> {
    check_target(&arrived.target).map_err(|problem| invalid(format!("the target is refused: {problem}")))?;
    let service = connections::service_of(app, &arrived.connection).await?;
    let live = service.and_then(|service| rules.services.get(&*service)).ok_or_else(absent)?;
    let method = Method::from_name(&arrived.method).ok_or_else(absent)?;
    let path = arrived.target.split('?').next().unwrap_or_default();
    // Of actions that only their bodies tell apart, which one it is can't be said before the body is there.
    let body = match &arrived.body {
        ArrivedBody::Whole(body) => Some(&**body),
        _ => None,
    };
    let place = |path: &str| {
        let candidates = live.service.place_all(method, path);
        candidates.keep(|action| names(&bearer.chain, action.name())).pick(body)
    };
    let (service, auth) = (live.service.name(), live.service.auth());
    let reach = connections::reach(app, &bearer.chain, service, auth, Some(&arrived.connection));
    if let Some(placed) = place(path) {
        // Before its body and parameters are looked at: what is out of reach is told like what is not there.
        reach.await.map_err(|problem| if problem.code() == Code::NotGranted { absent() } else { problem })?;
        return Ok((Arc::clone(live), placed));
    }
    let normal = normal_path(path);
    if place(&normal).is_some() && reach.await.is_ok() {
        return Err(invalid(
            "the path is refused: percent-encode everything in its values but letters, digits, `-`, `.`, `_` and `~`",
        ));
    }
    Err(absent())
}

fn absent() -> Problem {
    Reason::of(Code::NotGranted).detail(NO_SUCH_ACTION).into()
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::ParamsInvalid, detail)
}

/// Lets the type of the action's bodies through, in UTF-8, which is all that JSON is in (RFC 8259 §8.1).
pub(crate) fn expect_type(content_type: Option<&str>, declared: Option<&str>) -> Result<(), Problem> {
    let declared = declared.unwrap_or("application/json");
    let mut parts = content_type.unwrap_or_default().split(';').map(|part| part.trim().to_ascii_lowercase());
    let fits = parts.next().as_deref() == Some(declared);
    if fits && parts.all(|part| part == "charset=utf-8" || part == "charset=\"utf-8\"") {
        return Ok(());
    }
    let what = if declared == "application/json" { "JSON" } else { "a form" };
    Err(invalid(format!("the body is {what}: send `Content-Type: {declared}`")))
}

/// Whether every authority of the chain names the action at all, whatever resource it is on.
pub(crate) fn names(chain: &Chain, name: &ActionName) -> bool {
    chain.authorities().all(|authority| {
        authority.tools.iter().any(|tool| tool.matches(name))
            && authority.scope.iter().any(|scope| scope.action().matches(name))
    })
}

impl Described {
    /// What the judge is asked.
    pub(super) fn request<'a>(&'a self, bearer: &'a Bearer, now: Timestamp) -> Request<'a> {
        Request { chain: &bearer.chain, action: &self.action, now, context: None }
    }

    /// Sees to it that the connection's credential is good now; answers whether that took time
    /// ([`connections::freshen`]).
    ///
    /// # Errors
    /// `unavailable` where there is none to be had.
    pub(super) async fn freshen(&mut self, app: &App) -> Result<bool, Problem> {
        let service = &self.live.service;
        connections::freshen(app, &mut self.connection, service.auth(), service.allow_private()).await
    }

    /// Looks after the connection's token, which its upstream has just refused.
    pub(super) async fn doubt(&self, app: &App, invalid_token: bool) {
        let service = &self.live.service;
        let (auth, private) = (service.auth(), service.allow_private());
        connections::doubted(app, &self.connection, auth, private, invalid_token).await;
    }

    /// Whether it opens a WebSocket, or is a message on one.
    pub(super) fn is_of_socket(&self) -> bool {
        self.declared().is_some_and(ServiceAction::is_of_socket)
    }

    /// The action's declaration.
    pub(super) fn declared(&self) -> Option<&ServiceAction> {
        self.live.service.action(&self.action.name)
    }

    /// Parameters that the service marks `secret`.
    pub(super) fn secret(&self) -> &[String] {
        self.declared().map(ServiceAction::secret).unwrap_or_default()
    }

    /// Has no more rows asked for than the rules of `judgement` let come back. What was asked stays what is judged and
    /// recorded.
    ///
    /// # Errors
    /// What would be sent is not the action.
    pub(super) fn narrow(&mut self, judgement: &Judgement) -> Result<(), Problem> {
        let live = Arc::clone(&self.live);
        let Some(declared) = live.service.action(&self.action.name) else { return Ok(()) };
        let Some(params) = judge::narrowed(judgement, declared, &self.action.params) else { return Ok(()) };
        let call = live.service.render(declared, &params).map_err(|error| invalid(error.to_string()))?;
        let param = declared.row_limit().map(|limit| limit.param().to_owned()).unwrap_or_default();
        let to = params.get(&param).cloned().unwrap_or_default();
        self.narrowed = Some(Narrowed { param, to, asked: self.digest() });
        self.call = UpstreamCall { headers: std::mem::take(&mut self.call.headers), ..call };
        Ok(())
    }

    /// With what is sent in the place of what was asked.
    pub(super) fn beside(&self, mut body: Value) -> Value {
        if let (Some(Narrowed { param, to, .. }), Value::Object(members)) = (&self.narrowed, &mut body) {
            members.insert("narrowed".into(), Map::from_iter([(param.clone(), to.clone())]).into());
        }
        body
    }

    /// A digest of what is asked for, for idempotency: the same request has the same, whatever the versions are.
    pub(super) fn digest(&self) -> [u8; 32] {
        if let Some(narrowed) = &self.narrowed {
            return narrowed.asked;
        }
        let length = |bytes: &[u8]| (bytes.len() as u64).to_be_bytes();
        let (name, target) = (self.action.name.as_str().as_bytes(), self.call.target.as_bytes());
        let body = self.call.body.as_deref().unwrap_or_default();
        let mut parts: Vec<&[u8]> = Vec::new();
        let lengths = (length(name), length(target), length(body));
        parts.extend([&lengths.0[..], name, &lengths.1[..], target]);
        parts.extend([self.call.method.as_str().as_bytes(), &[0], body]);
        if !self.call.headers.is_empty() {
            // Without any it is the digest of the same action at the action door.
            parts.push(&lengths.2);
            for (name, value) in &self.call.headers {
                parts.extend([name.as_bytes(), b":", value.as_bytes(), b"\n"]);
            }
        }
        sha256(&parts)
    }
}
