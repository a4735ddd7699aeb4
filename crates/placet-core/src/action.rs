//! What an agent wants to do, in the one form that everything is judged on.
//!
//! Every door describes its request as an [`Action`]. Its resource comes in two readings: as it was addressed
//! (`resource`, for people, the record and approvals) and as far as it is *known* (`known`): each part that is
//! merely claimed is widened to a star there, so that an entry permits only if it covers whatever the claimed part
//! might really be, and a deny matches if it could.
//!
//! Invariant: nothing here decides; nothing here is filled from an agent's word about itself.

use crate::{
    id::ConnectionId,
    pattern::{ActionName, ResourcePattern, ResourceUri},
    refusal::{Code, Reason},
    service::{Effect, Facts, ServiceAction},
};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::{
    ops::Deref,
    sync::{Arc, LazyLock},
};

/// A service definition at one version, `name@version` on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceVersion {
    /// The service's name.
    pub name: String,
    /// Its version.
    pub version: u64,
}

impl std::fmt::Display for ServiceVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// The arguments of an action: a JSON object, held so that conditions read it in place, and once however many actions
/// have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Params(Arc<Value>);

impl Params {
    /// The object as a value.
    pub fn as_value(&self) -> &Value {
        &self.0
    }
}

impl From<Map<String, Value>> for Params {
    fn from(members: Map<String, Value>) -> Self {
        Self(Arc::new(Value::Object(members)))
    }
}

impl Serialize for Params {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl Deref for Params {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Map<String, Value> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        // It is made from an object alone.
        self.0.as_object().unwrap_or(&NONE)
    }
}

/// An action as it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// What is done, for example `refunds.create`.
    pub name: ActionName,
    /// What it is done to, as addressed.
    pub resource: ResourceUri,
    /// What it is done to, as far as that is known: claimed parts are stars.
    pub known: ResourcePattern,
    /// The arguments, all of them. Claimed, but they are the effect itself.
    pub params: Params,
    /// The kind of effect, where an administrator's service definition states it.
    pub effect: Option<Effect>,
    /// The service that declares the action, where one does.
    pub service: Option<ServiceVersion>,
    /// The connection it would run through, where it is known already.
    pub connection: Option<ConnectionId>,
    /// What upstream holds about the resource, as far as it was read; conditions see it as `resource.NAME`.
    pub facts: Facts,
}

impl Action {
    /// An action as its service declares it: the service says what is acted on. A `resource` that is stated as well
    /// has to be that one.
    ///
    /// # Errors
    /// `params_invalid`.
    pub fn declared(
        service: ServiceVersion,
        declared: &ServiceAction,
        resource: Option<&ResourceUri>,
        params: &Map<String, Value>,
    ) -> Result<Self, Reason> {
        let invalid = |detail: String| Reason::of(Code::ParamsInvalid).detail(detail);
        let described = declared.describe(params).map_err(|error| invalid(error.to_string()))?;
        if resource.is_some_and(|resource| *resource != described.resource) {
            let detail = format!("`resource`: with these `params` the action is on `{}`", described.resource);
            return Err(invalid(detail));
        }
        Ok(Self {
            name: declared.name().clone(),
            resource: described.resource,
            known: described.known,
            params: described.params.into(),
            effect: declared.effect(),
            service: Some(service),
            connection: None,
            facts: Facts::default(),
        })
    }

    /// An action that a service declares, on a resource that is taken as given: an administrator's dry run.
    pub fn stated_of(
        service: ServiceVersion,
        declared: &ServiceAction,
        resource: ResourceUri,
        params: impl Into<Params>,
    ) -> Self {
        let action = Self::stated(declared.name().clone(), resource, params);
        Self { effect: declared.effect(), service: Some(service), ..action }
    }

    /// An action that no service declares, as an agent's own door sees it: nothing of its resource is known.
    pub fn undeclared(name: ActionName, resource: ResourceUri, params: impl Into<Params>) -> Self {
        Self {
            name,
            resource,
            known: ResourcePattern::everything(),
            params: params.into(),
            effect: None,
            service: None,
            connection: None,
            facts: Facts::default(),
        }
    }

    /// An action whose resource is taken as given: addressed through a service, or stated by an administrator.
    pub fn stated(name: ActionName, resource: ResourceUri, params: impl Into<Params>) -> Self {
        let known = ResourcePattern::from_uri(&resource);
        Self {
            name,
            resource,
            known,
            params: params.into(),
            effect: None,
            service: None,
            connection: None,
            facts: Facts::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_many_actions_are_asked_with_is_held_once() {
        let params = Params::from(Map::from_iter([("text".to_owned(), json!("x"))]));
        let name = ActionName::parse("notes.write").unwrap();
        let uri = |id: u32| ResourceUri::parse(&format!("note://{id}")).unwrap();
        let actions: Vec<Action> = (0..3)
            .flat_map(|id| {
                let stated = Action::stated(name.clone(), uri(id), params.clone());
                [Action::undeclared(name.clone(), uri(id), params.clone()), stated]
            })
            .collect();
        assert!(actions.iter().all(|action| std::ptr::eq(action.params.as_value(), params.as_value())));
        assert_eq!(serde_json::to_value(&params).unwrap(), json!({"text": "x"}));
    }
}
