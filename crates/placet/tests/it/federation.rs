//! Assertions of trusted issuers (RFC 7523 §2.1): about people, in place of their consent, and about workloads.

mod forged;
mod issuers;
mod people;
mod workloads;

use crate::{
    clients::signer::{Signer, now},
    parties::stage,
};
use placet_testkit::{Agent, Answer, Client, fresh};
use serde_json::{Value, json};

/// The grant type.
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// An issuer that is trusted here, and its key.
pub(crate) struct Idp {
    /// Its `iss`.
    pub(crate) iss: String,
    /// Its id here.
    pub(crate) id: String,
    pub(crate) signer: Signer,
}

/// Our issuer.
pub(crate) fn here() -> String {
    stage().story.server.base().to_owned()
}

impl Idp {
    /// Makes a key and has it trusted under a fresh `iss`, with these members.
    pub(crate) fn trusted(members: &Value) -> Self {
        Self::signing(Signer::ed25519(), members)
    }

    pub(crate) fn signing(signer: Signer, members: &Value) -> Self {
        let iss = format!("https://{}.example", fresh("idp-"));
        let made = add(&iss, &signer, members).expect(201);
        Self { id: made.text("/id"), iss, signer }
    }

    /// One about `pat`, by the subject `00u-pat`.
    pub(crate) fn of_pat() -> Self {
        Self::trusted(&json!({"id_jag": {"users": {"00u-pat": "pat"}}}))
    }

    /// One whose jobs `job:*` act as this agent.
    pub(crate) fn of_jobs(agent: &Agent) -> Self {
        Self::trusted(&json!({"workload": {"agents": [{"subject": "job:*", "agent": agent.handle}]}}))
    }

    /// An ID-JAG about `00u-pat` for a client, good and new, but for the change.
    pub(crate) fn jag(&self, agent: &Agent, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"alg": self.signer.alg(), "typ": "oauth-id-jag+jwt"});
        let mut claims = json!({"iss": self.iss, "sub": "00u-pat", "aud": here(), "client_id": agent.id,
            "jti": fresh("jti-"), "iat": now(), "exp": now() + 300, "resource": here(), "scope": "orders.read"});
        change(&mut header, &mut claims);
        self.signer.sign(&header.to_string(), &claims.to_string())
    }

    /// A token of the job `job:nightly`, but for the change.
    pub(crate) fn job(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"alg": self.signer.alg(), "typ": "JWT"});
        let mut claims = json!({"iss": self.iss, "sub": "job:nightly", "aud": here(), "iat": now(),
            "exp": now() + 600, "jti": fresh("jti-")});
        change(&mut header, &mut claims);
        self.signer.sign(&header.to_string(), &claims.to_string())
    }
}

/// Has an issuer trusted.
pub(crate) fn add(iss: &str, signer: &Signer, members: &Value) -> Answer {
    let mut document = json!({"issuer": iss, "jwks": signer.jwks(None)});
    document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    stage().admin().post("/v1/trusted-issuers").json(&document).send()
}

/// What an agent is given for an assertion with its own credentials.
pub(crate) fn present(agent: &Agent, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let mut asking = agent.ask().with("grant_type", JWT_BEARER).with("assertion", assertion);
    for (name, value) in more {
        asking = asking.with(name, value);
    }
    asking.send(&stage().client())
}

/// What a workload is given for an assertion alone.
pub(crate) fn alone(client: &Client, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let form = [("grant_type", JWT_BEARER), ("assertion", assertion)];
    client.post("/oauth/token").form(&[form.as_slice(), more].concat()).send()
}
