//! What a refusal tells a client about how to do better: the scheme that would be taken, the metadata that says where
//! tokens come from (RFC 9728 §5.1), the scope that is missing (RFC 6750 §3.1), a nonce for proofs (RFC 9449 §8 and §9).
//!
//! Invariant: nothing is said that the refusal itself doesn't say, but where to look.

use crate::{app::App, oauth::protected_resource, problem::Problem, sender::proofs};
use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use placet_core::{dpop::ALGORITHMS, refusal::Code};

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The refusal that a problem document states, left on its answer.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The code of its first reason.
    pub code: Code,
    /// The scope that would do, where one is missing.
    pub scope: Option<String>,
}

/// The layer: challenges where they belong, and refuses tokens in the query (RFC 9700 §4.3.2).
pub(crate) async fn challenged<F: Future<Output = Response>>(
    app: &App,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let asked = request.uri().clone();
    // What an upstream is sent in its query is its own business.
    let has_token = !asked.path().starts_with("/proxy/")
        && request.uri().query().is_some_and(|query| {
            form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
        });
    let with_dpop = request.headers().get(header::AUTHORIZATION).is_some_and(|value| {
        value.as_bytes().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"dpop "))
    });
    let mut response = if has_token {
        let detail = "a token in the query is never taken: send it in the Authorization header";
        Problem::of(Code::RequestInvalid, detail).into_response()
    } else {
        next(request).await
    };
    let Some(refused) = response.extensions_mut().remove::<Refused>() else { return response };
    let metadata = protected_resource::url_for(app, asked.path());
    let mut challenges = Vec::new();
    match (response.status(), refused.code) {
        (StatusCode::UNAUTHORIZED, Code::ProofRequired | Code::ProofInvalid | Code::NonceRequired) => {
            challenges.push(dpop(refused.code, &metadata));
        }
        // Bound to a certificate alone it is presented as any other (RFC 8705 §3).
        (StatusCode::UNAUTHORIZED, code @ Code::CertificateRequired) => {
            challenges.push(if with_dpop { dpop(code, &metadata) } else { bearer(code, &metadata) });
        }
        (StatusCode::UNAUTHORIZED, code) => {
            let (bearer, dpop) = (bearer(code, &metadata), dpop(code, &metadata));
            challenges = if with_dpop { vec![dpop] } else { vec![bearer, dpop] };
        }
        (StatusCode::FORBIDDEN, code) => {
            if let Some(scope) = &refused.scope {
                let (name, algorithms) =
                    if with_dpop { ("DPoP", algorithms()) } else { ("Bearer", String::new()) };
                challenges.push(format!(
                    "{name} realm=\"placet\", error=\"{}\", error_description=\"{}\", scope=\"{scope}\"{algorithms}, \
                     resource_metadata=\"{metadata}\"",
                    code.oauth(),
                    code.as_str(),
                ));
            }
        }
        _ => {}
    }
    for challenge in challenges {
        if let Ok(value) = HeaderValue::from_str(&challenge) {
            response.headers_mut().append(header::WWW_AUTHENTICATE, value);
        }
    }
    if refused.code == Code::NonceRequired {
        with_nonce(app, &mut response);
    }
    response
}

/// Gives a nonce with an answer.
pub(crate) fn with_nonce(app: &App, response: &mut Response) {
    if let Ok(value) = HeaderValue::from_str(&proofs::nonce(app)) {
        response.headers_mut().insert(DPOP_NONCE, value);
    }
}

fn bearer(code: Code, metadata: &str) -> String {
    format!(
        "Bearer realm=\"placet\", error=\"{}\", error_description=\"{}\", resource_metadata=\"{metadata}\"",
        code.oauth(),
        code.as_str()
    )
}

fn dpop(code: Code, metadata: &str) -> String {
    format!(
        "DPoP realm=\"placet\", error=\"{}\", error_description=\"{}\"{}, resource_metadata=\"{metadata}\"",
        code.oauth(),
        code.as_str(),
        algorithms()
    )
}

fn algorithms() -> String {
    format!(", algs=\"{}\"", ALGORITHMS.join(" "))
}
