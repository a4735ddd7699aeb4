//! `envoy.service.auth.v3.Authorization/Check`: the decision for Envoy's `ext_authz` over gRPC, and for whatever else speaks
//! that (`docs/forward-auth.md`).
//!
//! Envoy says which resource server it stands for in the metadata of the call (`authorization: Basic …`), and which service
//! its upstream is in the route's `context_extensions` (`service`), or in the metadata `placet-service`. Where it sends the
//! body, whole and as bytes, the body is read as at the proxy door.
//!
//! Invariant: a body that may not be whole is not taken for one, nor one that isn't sent for none; where anything fails the
//! answer is an error, which Envoy takes for a no unless it is told otherwise.

pub mod listener;
pub mod message;

use super::{ALL_NAMES, Arrival, Named, ask, told::Refusal};
use crate::{api::decisions::asking, app::App, caller::Source};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue},
};
use message::{
    BoolValue, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest, HttpResponse,
    HttpStatus, OkHttpResponse,
};
use placet_core::{refusal::Code, service::SeenBody};
use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Request, Response, Status, server::Grpc};
use tonic_prost::ProstCodec;

/// The one method.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// The longest request that is read; a body is at most a part of it.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// Says whether the body was sent whole (Envoy, where `with_request_body` is set).
const PARTIAL: &str = "x-envoy-auth-partial-body";
/// `google.rpc.Code`: what a decision says that is no yes.
const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;
const UNAVAILABLE: i32 = 14;

/// Answers the calls of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    app: Arc<App>,
    peer: SocketAddr,
}

impl Calls {
    /// Answers one call.
    pub(crate) async fn answer(
        self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Infallible> {
        if request.uri().path() != CHECK {
            let unknown = Status::unimplemented("there is only Check");
            return Ok(unknown.into_http::<tonic::body::Body>().map(Body::new));
        }
        let codec = ProstCodec::<CheckResponse, CheckRequest>::default();
        let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE);
        Ok(grpc.unary(self, request).await.map(Body::new))
    }

    async fn check(self, call: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let (metadata, _, check) = call.into_parts();
        let metadata = metadata.into_headers();
        let one = |name: &str| {
            let mut values = metadata.get_all(name).iter();
            let first = values.next().and_then(|value| value.to_str().ok());
            first.filter(|_| values.next().is_none())
        };
        let unknown = || {
            Status::unauthenticated(
                "say which resource server it is for in the metadata: `authorization: Basic …`",
            )
        };
        let credentials = one("authorization").ok_or_else(unknown)?;
        let server = match asking::presented(&self.app, credentials).await {
            Ok(server) => server.ok_or_else(unknown)?,
            Err(problem) if problem.code() == Code::TokenInvalid => {
                self.app.operations.metrics.unauthenticated.add(&[("code", problem.code().as_str())]);
                return Err(Status::unauthenticated(problem.detail()));
            }
            Err(problem) => return Err(Status::unavailable(problem.detail())),
        };
        let attributes = check.attributes.unwrap_or_default();
        let extensions = attributes.context_extensions;
        let service = extensions.get("service").map(String::as_str).or_else(|| one("placet-service"));
        let service = service.ok_or_else(|| {
            Status::invalid_argument(
                "say which service it is: `context_extensions: {service: …}` of the route",
            )
        })?;
        let http = attributes.request.and_then(|request| request.http);
        let http = http.ok_or_else(|| Status::invalid_argument("it is about no HTTP request"))?;
        let headers = headers(&http).ok_or_else(|| Status::invalid_argument("a header can't be read"))?;
        let sends_bodies = extensions.get("with_request_body").is_some_and(|value| value == "true");
        let arrival = Arrival {
            service,
            method: &http.method,
            target: &http.path,
            body: body(&http, &headers, sends_bodies),
            headers: &headers,
            source: Source(Some(self.peer)),
            door: "ext-authz",
        };
        Ok(Response::new(match ask(&self.app, &server, &arrival).await {
            Ok(named) => allowed(named),
            Err(refusal) => denied(*refusal),
        }))
    }
}

impl tower_service::Service<Request<CheckRequest>> for Calls {
    type Response = Response<CheckResponse>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Request<CheckRequest>) -> Self::Future {
        Box::pin(self.clone().check(call))
    }
}

/// The headers of the agent's request; none where they can't be read.
pub(crate) fn headers(http: &HttpRequest) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &[u8]| {
        // `:path` and its like are told by themselves.
        if !name.starts_with(':') {
            let value = HeaderValue::from_bytes(value).ok()?;
            headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
        }
        Some(())
    };
    for (name, value) in &http.headers {
        add(name, value.as_bytes())?;
    }
    for header in http.header_map.iter().flat_map(|map| &map.headers) {
        let value =
            if header.raw_value.is_empty() { header.value.as_bytes() } else { header.raw_value.as_slice() };
        add(&header.key, value)?;
    }
    Some(headers)
}

/// What is known of the body. An empty one is none only where the route says that bodies are sent: that header could come
/// from an agent else.
pub(crate) fn body<'h>(http: &'h HttpRequest, headers: &HeaderMap, sends_bodies: bool) -> SeenBody<'h> {
    let mut partial = headers.get_all(PARTIAL).iter();
    let is_whole = partial.next().is_some_and(|value| value == "false") && partial.next().is_none();
    // As text it has been mended where it was none.
    if !http.body.is_empty() || (!http.raw_body.is_empty() && !is_whole) {
        return SeenBody::Unread;
    }
    if is_whole && (sends_bodies || !http.raw_body.is_empty()) {
        return SeenBody::Whole(&http.raw_body);
    }
    SeenBody::Unseen
}

/// It goes on as what it was decided to be, without the agent's credential.
fn allowed(named: Vec<Named>) -> CheckResponse {
    let credentials = ["authorization", "placet-authorization", "placet-approval", "dpop"];
    let forged = ALL_NAMES.into_iter().filter(|name| named.iter().all(|(set, _)| set.as_str() != *name));
    let headers_to_remove = credentials.into_iter().chain(forged).map(str::to_owned).collect();
    let ok = OkHttpResponse { headers: options(named), headers_to_remove };
    CheckResponse { status: Some(status(0, "")), http_response: Some(HttpResponse::Ok(ok)) }
}

fn denied(refusal: Refusal) -> CheckResponse {
    let code = match refusal.status {
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        _ => UNAVAILABLE,
    };
    let body = String::from_utf8(refusal.body).unwrap_or_default();
    let http = Some(HttpStatus { code: i32::from(refusal.status) });
    let denied = DeniedHttpResponse { status: http, headers: options(refusal.headers), body };
    let status = Some(status(code, refusal.code.as_str()));
    CheckResponse { status, http_response: Some(HttpResponse::Denied(denied)) }
}

fn status(code: i32, message: &str) -> message::Status {
    message::Status { code, message: message.to_owned() }
}

fn options(named: Vec<Named>) -> Vec<HeaderValueOption> {
    let option = |(name, value): Named| {
        let value = value.to_str().ok()?.to_owned();
        let header = message::HeaderValue { key: name.as_str().to_owned(), value, raw_value: Vec::new() };
        Some(HeaderValueOption { header: Some(header), append: Some(BoolValue { value: false }) })
    };
    named.into_iter().filter_map(option).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_was_sent_whole_is_one() {
        let with = |partial: &[&str], raw: &[u8], text: &str, said| {
            let http =
                HttpRequest { raw_body: raw.to_vec(), body: text.to_owned(), ..HttpRequest::default() };
            let mut headers = HeaderMap::new();
            for value in partial {
                headers.append(PARTIAL, HeaderValue::from_str(value).unwrap());
            }
            match body(&http, &headers, said) {
                SeenBody::Unseen => "unseen",
                SeenBody::Unread => "unread",
                SeenBody::Whole(_) => "whole",
            }
        };
        for said in [true, false] {
            assert_eq!(with(&["false"], b"{}", "", said), "whole");
            assert_eq!(with(&["true"], b"{}", "", said), "unread");
            assert_eq!(with(&[], b"{}", "", said), "unread");
            assert_eq!(with(&["false", "true"], b"{}", "", said), "unread");
            assert_eq!(with(&["false"], b"", "{}", said), "unread", "mended text");
            assert_eq!(with(&[], b"", "", said), "unseen");
            assert_eq!(with(&["true"], b"", "", said), "unseen");
        }
        assert_eq!(with(&["false"], b"", "", true), "whole");
        assert_eq!(with(&["false"], b"", "", false), "unseen", "the agent may have said that");
    }
}
