//! One request for a host, inside a tunnel or for a whole URL: its host says which service is meant, the connection is the
//! only one of that service that the agent's grant reaches, or the one that the proxy's user name names.
//!
//! Invariant: the host of the request is the one that was agreed on before; from here on it is an action like any other.

use super::{credential::Credential, route};
use crate::{
    app::App,
    bearer::{self, Bearer},
    caller::Source,
    connections,
    problem::{Answer, Problem},
    proxy,
    rules::{LiveService, Rules},
    way::{self, Answered, Arrived, ArrivedBody, Asked, Door, Wanted},
};
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::Response,
};
use placet_core::{call::Method, refusal::Code, refusal::Reason};
use placet_gateway::Route;
use placet_store::connections::Connection;
use std::sync::Arc;

/// Answers a request for the host of `agreed`.
pub(super) async fn ask(
    app: &Arc<App>,
    credential: &Credential,
    agreed: &Route,
    request: Request,
    source: Source,
) -> Response {
    let (parts, body) = request.into_parts();
    let answer = async {
        check(&parts, agreed)?;
        let bearer = bearer::live(app, &credential.held).await?;
        let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
        let picked = match pick(app, &bearer, credential, agreed, &parts).await {
            Ok(picked) => picked,
            Err(problem) => {
                return Err(refused(
                    app,
                    credential,
                    agreed.origin(),
                    parts.method.as_str(),
                    source,
                    problem,
                )
                .await);
            }
        };
        let below = target.strip_prefix(picked.live.service.base_path()).unwrap_or(target);
        let arrived = proxy::arrived(&parts, picked.connection, below.to_owned())?;
        proxy::take(app, &credential.held, arrived, (&parts, body), source, Door::Egress).await
    };
    let answered: Answer<Answered> = answer.await;
    let mut response = proxy::said(answered);
    // What follows such a body is not looked at (RFC 9112 §6.1): where it ends, another program could see elsewhere.
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Refuses what is for another host, and what would be no request any more.
fn check(parts: &Parts, agreed: &Route) -> Result<(), Problem> {
    let host = host(&parts.headers)?;
    if route(scheme(agreed), host)?.origin() != agreed.origin() {
        let detail =
            format!("`Host` names another host than the connection, which is for `{}`", agreed.host());
        return Err(Problem::of(Code::Misdirected, detail));
    }
    let upgrades = parts.headers.get_all(header::UPGRADE).iter();
    let known = [&b"h2c"[..], b"websocket"];
    if upgrades.into_iter().any(|it| !known.iter().any(|known| it.as_bytes().eq_ignore_ascii_case(known))) {
        let detail = "what goes on behind such an upgrade can't be judged: it is not passed on";
        return Err(Problem::of(Code::NotSupported, detail));
    }
    if parts.headers.contains_key(header::TRANSFER_ENCODING)
        && parts.headers.contains_key(header::CONTENT_LENGTH)
    {
        return Err(Problem::of(Code::RequestInvalid, "a body has one length: `Content-Length` or chunks"));
    }
    Ok(())
}

/// The one `Host`.
pub(super) fn host(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    host.filter(|_| second.is_none())
        .and_then(|host| host.to_str().ok())
        .ok_or_else(|| Problem::of(Code::RequestInvalid, "send one `Host`"))
}

fn scheme(route: &Route) -> &'static str {
    if route.origin().starts_with("https://") { "https" } else { "http" }
}

/// A service, and the connection of it that is meant.
#[derive(Debug)]
struct Picked {
    live: Arc<LiveService>,
    connection: String,
}

/// Whether a service of this host is within the agent's reach at all.
///
/// # Errors
/// Faults.
pub(super) async fn is_reached(app: &App, bearer: &Bearer, agreed: &Route) -> Result<bool, Problem> {
    let rules = app.rules.load_full();
    for live in at(&rules, agreed) {
        if !reached(app, bearer, live).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a service of this installation is at this host, whoever reaches it.
pub(super) fn is_a_services(app: &App, agreed: &Route) -> bool {
    at(&app.rules.load(), agreed).next().is_some()
}

fn at<'r>(rules: &'r Rules, agreed: &'r Route) -> impl Iterator<Item = &'r Arc<LiveService>> {
    rules.services.values().filter(|live| live.route.origin() == agreed.origin())
}

async fn reached(app: &App, bearer: &Bearer, live: &LiveService) -> Result<Vec<Connection>, Problem> {
    connections::reached(app, &bearer.chain, live.service.name(), live.service.auth()).await
}

async fn pick(
    app: &App,
    bearer: &Bearer,
    credential: &Credential,
    agreed: &Route,
    parts: &Parts,
) -> Result<Picked, Problem> {
    let rules = app.rules.load_full();
    let path = parts.uri.path();
    let mut found: Vec<(&Arc<LiveService>, Vec<Connection>)> = Vec::new();
    for live in at(&rules, agreed).filter(|live| is_below(path, live.service.base_path())) {
        let reached = reached(app, bearer, live).await?;
        if !reached.is_empty() {
            found.push((live, reached));
        }
    }
    let method = Method::from_name(parts.method.as_str());
    let named = |connection: &&Connection| {
        connection.name == credential.hint || connection.id.to_string() == credential.hint
    };
    // Of several at one host: the one whose connection is named, that has such an action, that is the more precise one.
    let best = found.into_iter().max_by_key(|(live, reached)| {
        let below = path.strip_prefix(live.service.base_path()).unwrap_or_default();
        let placed = method.is_some_and(|method| live.service.place(method, below).is_some());
        let precise = live.service.base_path().len();
        (reached.iter().any(|it| named(&it)), placed, precise, std::cmp::Reverse(live.service.name()))
    });
    let (live, reached) = best.ok_or_else(absent)?;
    let one = match reached.as_slice() {
        [only] => Some(only),
        several => several.iter().find(named),
    };
    let detail =
        "the grant reaches several connections of this host: name one as the user name for the proxy";
    let one = one.ok_or_else(|| Problem::of(Code::ParamsInvalid, detail))?;
    Ok(Picked { live: Arc::clone(live), connection: one.id.to_string() })
}

/// Whether a path is below that of a base URL.
fn is_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Nothing of this host is within reach, whether or not there is something.
pub(super) fn absent() -> Problem {
    let detail = "no service that the grant reaches is at this host: an administrator adds one (`placet service`, \
                  `placet connection`), or names the host in --egress-pass";
    Reason::of(Code::NotGranted).detail(detail).into()
}

/// Records a refusal of what no action could be made of.
pub(super) async fn refused(
    app: &App,
    credential: &Credential,
    origin: &str,
    method: &str,
    source: Source,
    problem: Problem,
) -> Problem {
    let arrived = Arrived {
        connection: origin.to_owned(),
        method: method.to_owned(),
        target: String::new(),
        headers: Vec::new(),
        content_type: None,
        body: ArrivedBody::Unread,
    };
    let wanted = Wanted::Call(arrived);
    let asked = Asked {
        wanted,
        idempotency_key: None,
        approval: None,
        source: source.0,
        door: Door::Egress,
        following: None,
    };
    way::refuse(app, &credential.held, &asked, problem).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_ends_where_a_segment_does() {
        assert!(is_below("/v1/charges", "/v1") && is_below("/v1", "/v1") && is_below("/x", ""));
        assert!(!is_below("/v12/charges", "/v1") && !is_below("/", "/v1"));
    }

    #[test]
    fn a_request_is_for_the_host_that_was_agreed_on() {
        let agreed = route("https", "api.example.com:443").unwrap();
        let asked = |headers: &[(&str, &str)]| {
            let mut request = Request::builder().uri("/x");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            check(&parts, &agreed).map_err(|problem| problem.code().status())
        };
        assert_eq!(asked(&[("host", "api.example.com")]), Ok(()));
        assert_eq!(asked(&[("host", "API.example.com:443")]), Ok(()));
        assert_eq!(asked(&[("host", "api.example.com"), ("upgrade", "h2c")]), Ok(()));
        assert_eq!(asked(&[("host", "api.example.com"), ("upgrade", "websocket")]), Ok(()));
        assert_eq!(asked(&[("host", "api.example.com"), ("upgrade", "tls/1.2")]), Err(501));
        assert_eq!(asked(&[("host", "api.example.com:8443")]), Err(421));
        assert_eq!(asked(&[("host", "evil.example.com")]), Err(421));
        assert_eq!(asked(&[("host", "api.example.com."), ("x", "y")]), Err(400));
        assert_eq!(asked(&[("host", "169.254.169.254")]), Err(403));
        assert_eq!(asked(&[]), Err(400));
        assert_eq!(asked(&[("host", "api.example.com"), ("host", "api.example.com")]), Err(400));
        let both = [("host", "api.example.com"), ("transfer-encoding", "chunked"), ("content-length", "1")];
        assert_eq!(asked(&both), Err(400));
    }
}
