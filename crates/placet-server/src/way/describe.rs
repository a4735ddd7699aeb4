//! From what an agent asked to the action that is judged and the call that will be sent: one description, so that
//! what is matched is what is forwarded.

use super::Asked;
use crate::{
    app::App,
    bearer::Bearer,
    connections::{self, Picked},
    problem::Problem,
    rules::{LiveService, Rules},
};
use placet_core::{
    action::{Action, ServiceVersion},
    call::UpstreamCall,
    chain::Chain,
    judge::Request,
    pattern::ActionName,
    refusal::{Code, Reason},
    secret::sha256,
    service::ServiceAction,
    time::Timestamp,
};
use std::sync::Arc;

/// A described request.
#[derive(Debug)]
pub(super) struct Described {
    /// What is judged.
    pub(super) action: Action,
    /// What will be sent, but for the credential.
    pub(super) call: UpstreamCall,
    /// The service that declares it.
    pub(super) live: Arc<LiveService>,
    /// The connection it runs through.
    pub(super) connection: Picked,
    /// The rules that it was described by.
    pub(super) rules: Arc<Rules>,
}

/// Describes `asked` for the grant of `bearer`.
///
/// # Errors
/// `params_invalid` where the parameters are not the action's, `not_granted` where the grant reaches no connection
/// or no service declares the action.
pub(super) async fn describe(app: &App, bearer: &Bearer, asked: &Asked) -> Result<Described, Problem> {
    let rules = app.rules.load_full();
    let name = ActionName::parse(&asked.action)
        .map_err(|error| Problem::of(Code::ParamsInvalid, format!("`action`: {error}")))?;
    let (live, declared) = rules
        .declaring(&name)
        .filter(|(live, _)| asked.service.as_deref().is_none_or(|service| service == live.service.name()))
        // Told alike, before anything of the parameters is: probing tells nothing about what is installed.
        .filter(|_| names(&bearer.chain, &name))
        .ok_or_else(|| {
            let mut reason = Reason::of(Code::NotGranted).detail("the grant covers no such action");
            reason.remedy.insert("scope".into(), name.as_str().into());
            Problem::from(reason)
        })?;
    let described = declared
        .describe(&asked.params)
        .map_err(|error| Problem::of(Code::ParamsInvalid, error.to_string()))?;
    let call = live
        .service
        .render(declared, &asked.params)
        .map_err(|error| Problem::of(Code::ParamsInvalid, error.to_string()))?;
    let connection = connections::reach(
        app,
        &bearer.chain,
        live.service.name(),
        live.service.auth(),
        asked.connection.as_deref(),
    )
    .await?;
    let action = Action {
        name,
        resource: described.resource,
        known: described.known,
        params: asked.params.clone().into(),
        effect: declared.effect(),
        service: Some(ServiceVersion { name: live.service.name().to_owned(), version: live.version }),
        connection: Some(connection.connection.id),
    };
    let live = Arc::clone(live);
    Ok(Described { action, call, live, connection, rules })
}

/// Whether every authority of the chain names the action at all, whatever resource it is on.
fn names(chain: &Chain, name: &ActionName) -> bool {
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

    /// The action's declaration.
    pub(super) fn declared(&self) -> Option<&ServiceAction> {
        self.live.service.action(&self.action.name)
    }

    /// Parameters that the service marks `secret`.
    pub(super) fn secret(&self) -> &[String] {
        self.declared().map(ServiceAction::secret).unwrap_or_default()
    }

    /// A digest of what is asked for, for idempotency: the same request has the same, whatever the versions are.
    pub(super) fn digest(&self) -> [u8; 32] {
        let length = |bytes: &[u8]| (bytes.len() as u64).to_be_bytes();
        let (name, target) = (self.action.name.as_str().as_bytes(), self.call.target.as_bytes());
        let body = self.call.body.as_deref().unwrap_or_default();
        sha256(&[
            &length(name),
            name,
            &length(target),
            target,
            self.call.method.as_str().as_bytes(),
            &[0],
            body,
        ])
    }
}
