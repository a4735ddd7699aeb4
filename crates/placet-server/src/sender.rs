//! Who sends a request: the credential of its `Authorization` header, and the proof that goes with it where it is bound to
//! a key (DPoP, RFC 9449 §7) or to a certificate (mutual TLS, RFC 8705 §3).
//!
//! A token is presented in one of three ways, and each fits one kind of token only ([`Held::fits`]): as a bearer token;
//! with a proof at a door; in a body at the token endpoint, beside a proof that is for the whole request. A proof is
//! verified once for a request, however often its token is looked up anew on the way.
//!
//! Invariant: a token that is bound to a key is of no use without a proof of that key, for this request and never used
//! before; and a proof never lends its key to a token that isn't bound to it. One that is bound to a certificate is of no
//! use on a connection that doesn't show it; one that is bound to both needs both.

pub mod proofs;

use crate::{app::App, bearer, mtls::ClientCertificate, problem::Problem};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use placet_core::{
    dpop::{self, Expected, Proof},
    jose::Thumbprint,
    refusal::Code,
    token::{AccessClaims, Confirmation},
};
use std::convert::Infallible;

/// The header that carries a proof.
pub const DPOP: HeaderName = HeaderName::from_static("dpop");

/// What of a request says who sends it.
#[derive(Debug, Clone)]
pub struct Sender {
    method: String,
    path: String,
    headers: HeaderMap,
    certificate: Option<Thumbprint>,
}

/// The scheme of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 6750.
    Bearer,
    /// RFC 9449 §7.1.
    Dpop,
}

/// The credential of an `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credential<'h> {
    /// Its scheme.
    pub scheme: Scheme,
    /// The token.
    pub token: &'h str,
}

impl<'h> Credential<'h> {
    /// From the value of a header; `None` where it is of another scheme.
    pub fn parse(value: &'h str) -> Option<Self> {
        let (scheme, token) = value.split_once(' ')?;
        let scheme = match scheme {
            it if it.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
            it if it.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
            _ => return None,
        };
        Some(Self { scheme, token: token.trim() })
    }

    /// The credential of a request, if it has exactly one.
    ///
    /// # Errors
    /// `request_invalid` for several, `token_invalid` for what is no text.
    pub fn of(headers: &'h HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Problem::of(Code::RequestInvalid, "send one Authorization header"));
        }
        let text = value
            .to_str()
            .map_err(|_| Problem::of(Code::TokenInvalid, "the Authorization header is not text"))?;
        Ok(Self::parse(text))
    }
}

/// A token, and what its sender has shown with it.
#[derive(Debug, Clone)]
pub struct Held {
    token: String,
    shown: Shown,
    /// The certificate that its sender has shown.
    certificate: Option<Thumbprint>,
}

/// How a token was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// By itself.
    Bearer,
    /// With a proof of this key.
    With(Thumbprint),
    /// In a body, beside a proof of this key if any: a token that isn't bound needs none.
    Beside(Option<Thumbprint>),
}

impl Held {
    /// A token that came by itself: one that is bound to anything is of no use so.
    pub fn bearer(token: &str) -> Self {
        Self { token: token.to_owned(), shown: Shown::Bearer, certificate: None }
    }

    /// A token in the body of a request whose sender has proved to hold what is in `shown`.
    pub fn beside(token: &str, shown: Confirmation) -> Self {
        Self { token: token.to_owned(), shown: Shown::Beside(shown.jkt), certificate: shown.certificate }
    }

    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether a token of these claims may be presented so.
    ///
    /// # Errors
    /// `certificate_required`, `proof_required` and `proof_invalid`.
    pub fn fits(&self, claims: &AccessClaims) -> Result<(), Problem> {
        let bound = claims.bound();
        if let Some(certificate) = bound.certificate
            && self.certificate != Some(certificate)
        {
            let detail = match self.certificate {
                None => "the token is bound to a certificate: send it with that, over mutual TLS",
                Some(_) => {
                    "the token is bound to another certificate than the one that came with the request"
                }
            };
            return Err(Problem::of(Code::CertificateRequired, detail));
        }
        let bound = bound.jkt;
        match (self.shown, bound) {
            (Shown::Bearer | Shown::Beside(_), None) => Ok(()),
            (Shown::With(key) | Shown::Beside(Some(key)), Some(bound)) if key == bound => Ok(()),
            (Shown::With(_) | Shown::Beside(Some(_)), Some(_)) => {
                let detail = "the DPoP proof is of another key than the one that the token is bound to";
                Err(Problem::of(Code::ProofInvalid, detail))
            }
            (Shown::Bearer, Some(_)) => {
                let detail =
                    "the token is bound to a key: send it as `Authorization: DPoP …` with a `DPoP` header";
                Err(Problem::of(Code::ProofRequired, detail))
            }
            (Shown::Beside(None), Some(_)) => {
                let detail = "the token is bound to a key: send a `DPoP` header with a proof of it";
                Err(Problem::of(Code::ProofRequired, detail))
            }
            (Shown::With(_), None) => Err(not_bound()),
        }
    }
}

fn no_proof() -> Problem {
    Problem::of(Code::ProofRequired, "send a `DPoP` header with `Authorization: DPoP …`")
}

/// Scheme, host and port of an audience that is an http or https URL.
fn origin(audience: &str) -> Option<String> {
    let (scheme, rest) =
        audience.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    rest.split('/').next().map(|authority| format!("{scheme}://{authority}"))
}

fn not_bound() -> Problem {
    Problem::of(Code::ProofRequired, "the token is not bound to a key: send it as `Authorization: Bearer …`")
}

impl Sender {
    /// Of a request, whose path is as it came.
    pub fn of(parts: &Parts) -> Self {
        let mut headers = HeaderMap::new();
        for name in [header::AUTHORIZATION, DPOP] {
            for value in parts.headers.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        Self {
            method: parts.method.as_str().to_owned(),
            path: parts.uri.path().to_owned(),
            headers,
            certificate: parts.extensions.get().map(ClientCertificate::thumbprint),
        }
    }

    /// Of a request that came to somebody else, as they tell it: nobody's certificate is known.
    pub fn told(method: &str, path: &str, headers: &HeaderMap) -> Self {
        let proofs = headers.get_all(&DPOP).iter().map(|value| (DPOP, value.clone()));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: proofs.collect(),
            certificate: None,
        }
    }

    /// The credential of its `Authorization` header.
    ///
    /// # Errors
    /// As [`Credential::of`].
    pub fn credential(&self) -> Result<Option<Credential<'_>>, Problem> {
        Credential::of(&self.headers)
    }

    /// An agent's token, with what its sender has shown for it: alive, and presented as it has to be.
    ///
    /// # Errors
    /// A 401 of the table.
    pub async fn agent(&self, app: &App, credential: Credential<'_>) -> Result<Held, Problem> {
        let held = |shown| Held { token: credential.token.to_owned(), shown, certificate: self.certificate };
        if credential.scheme == Scheme::Bearer {
            return Ok(held(Shown::Bearer));
        }
        let proof = self.proof(app, Some(credential.token))?.ok_or_else(no_proof)?;
        let held = held(Shown::With(proof.key));
        // Before the proof is remembered: only who holds a live token and its key takes up room.
        bearer::live(app, &held).await?;
        proofs::take(app, &proof).await?;
        Ok(held)
    }

    /// As [`agent`](Self::agent), at the resource server of this audience, by whose origin its URLs begin.
    ///
    /// # Errors
    /// As [`agent`](Self::agent).
    pub async fn agent_at(
        &self,
        app: &App,
        credential: Credential<'_>,
        audience: &str,
    ) -> Result<Held, Problem> {
        let held = |shown| Held { token: credential.token.to_owned(), shown, certificate: None };
        let (held, proof) = match credential.scheme {
            Scheme::Bearer => (held(Shown::Bearer), None),
            Scheme::Dpop => {
                let bases: Vec<String> = origin(audience).into_iter().collect();
                let proof = self.proof_for(app, &bases, Some(credential.token))?.ok_or_else(no_proof)?;
                (held(Shown::With(proof.key)), Some(proof))
            }
        };
        let bearer = bearer::live_for(app, held.token(), bearer::Meant::Audience(audience)).await?;
        held.fits(&bearer.claims)?;
        if let Some(proof) = proof {
            proofs::take(app, &proof).await?;
        }
        Ok(held)
    }

    /// A credential that is no agent's token, and so is bound to no key.
    ///
    /// # Errors
    /// `proof_required` where it was sent as if it were.
    pub fn unbound(credential: Credential<'_>) -> Result<&str, Problem> {
        if credential.scheme == Scheme::Dpop { Err(not_bound()) } else { Ok(credential.token) }
    }

    /// The proof that came with the request, which has to hold for it and for `token`; whether it was used before is not
    /// looked at.
    ///
    /// # Errors
    /// `proof_invalid`.
    pub fn proof(&self, app: &App, token: Option<&str>) -> Result<Option<Proof>, Problem> {
        self.proof_for(app, &app.bases, token)
    }

    /// The same for somebody who has these base URLs.
    fn proof_for(&self, app: &App, bases: &[String], token: Option<&str>) -> Result<Option<Proof>, Problem> {
        let mut values = self.headers.get_all(&DPOP).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let invalid = |detail: String| Problem::of(Code::ProofInvalid, detail);
        if values.next().is_some() {
            return Err(invalid("send one DPoP header".into()));
        }
        let text = value.to_str().map_err(|_| invalid("the DPoP header is not text".into()))?;
        let now = app.clock.now();
        let expected = Expected { method: &self.method, bases, path: &self.path, token, now };
        dpop::verify(text, &expected).map(Some).map_err(|error| invalid(error.to_string()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_told_apart_whatever_their_case() {
        let parse = |value| Credential::parse(value).map(|it| (it.scheme, it.token));
        assert_eq!(parse("Bearer a"), Some((Scheme::Bearer, "a")));
        assert_eq!(parse("dPOP  a "), Some((Scheme::Dpop, "a")));
        for other in ["", "Bearer", "Basic a", "DPoP2 a"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
