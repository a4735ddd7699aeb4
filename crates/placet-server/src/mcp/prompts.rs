//! `prompts/get`, and `completion/complete` of arguments of prompts and of variables of templates.
//!
//! Invariant: only a prompt that was accepted, as it was accepted, is there to be got. Of what the agent can't use there
//! are no values to complete, and it is not told whether it is there.

use super::{Answered, Door, Refused, tools::arguments};
use placet_core::{
    mcp::{
        Request, RpcError,
        offered::{self, Place},
        tool::CONNECTION,
    },
    pattern::ActionName,
    service::Part,
};
use serde_json::{Map, Value, json};

impl Door {
    /// `prompts/get`
    pub(super) async fn get(&self, request: &Request) -> Result<Answered, Refused> {
        let Some(name) = request.params.get("name").and_then(Value::as_str) else {
            return Err(RpcError::params("`name` is the name of a prompt").into());
        };
        let absent =
            || RpcError::params(format!("Unknown prompt: {}", name.chars().take(128).collect::<String>()));
        let mut arguments = arguments(request)?;
        let (known, _) = self.prompt(name).ok_or_else(absent)?;
        let connection = self.chosen(&known, &mut arguments)?;
        let taken = self.take(request, &known, arguments, connection.clone()).await;
        match self.result_of(&known, taken, absent).await? {
            Err(question) => Ok(Answered::InputRequired(question)),
            Ok(result) => {
                let mut result = Value::Object(result);
                if let Some((service, _)) = known.as_str().split_once('.') {
                    offered::outward(&mut result, service, connection.as_deref());
                }
                Ok(Answered::Other(result))
            }
        }
    }

    /// The action whose prompt has this name, and what its server calls it.
    fn prompt(&self, name: &str) -> Option<(ActionName, String)> {
        let rules = self.app.rules.load();
        let mut all = rules.services.values().flat_map(|live| live.service.actions());
        let found = all.find(|one| offered::prompt_name(one).as_deref() == Some(name))?;
        Some((found.name().clone(), found.tool()?.name().to_owned()))
    }

    /// `completion/complete`
    pub(super) async fn complete(&self, request: &Request) -> Result<Answered, Refused> {
        let values = match self.completed(request).await? {
            Some(Value::Object(completion)) => Value::Object(completion),
            _ => json!({"values": [], "hasMore": false}),
        };
        Ok(Answered::Other(json!({"completion": values})))
    }

    /// What the server has for an argument; `None` where it is not asked, or has nothing.
    async fn completed(&self, request: &Request) -> Result<Option<Value>, Refused> {
        let named = |member: &str| request.params.get("ref").and_then(|it| it.get(member)?.as_str());
        let mut context = Map::new();
        if let Some(Value::Object(known)) = request.params.get("context").and_then(|it| it.get("arguments")) {
            context.clone_from(known);
        }
        let mut connection = context.remove(CONNECTION).and_then(|it| it.as_str().map(str::to_owned));
        let (needed, completes, reference) = match named("type") {
            Some("ref/prompt") => {
                let Some((known, own)) = named("name").and_then(|name| self.prompt(name)) else {
                    return Ok(None);
                };
                let service = known.as_str().split('.').next().unwrap_or_default();
                let completes = Part::PromptCompletion.action(service);
                (Some(known), completes, json!({"type": "ref/prompt", "name": own}))
            }
            Some("ref/resource") => {
                let Some(place) = named("uri").and_then(Place::read) else { return Ok(None) };
                connection = place.connection.map(str::to_owned).or(connection);
                let (needed, completes) = (Part::Resource, Part::ResourceCompletion);
                let reference = json!({"type": "ref/resource", "uri": place.uri});
                (needed.action(place.service), completes.action(place.service), reference)
            }
            _ => return Ok(None),
        };
        let (Some(needed), Some(completes)) = (needed, completes) else { return Ok(None) };
        let usable = self.outlook(&needed).await?.is_some_and(|outlook| outlook.lacking.is_none());
        let quarantined = |name: &ActionName| {
            let rules = self.app.rules.load();
            rules.declaring(name).is_none_or(|(live, _)| live.quarantined.contains(name))
        };
        if !usable || quarantined(&needed) {
            return Ok(None);
        }
        let mut params = Map::new();
        params.insert("ref".into(), reference);
        params.insert("argument".into(), request.params.get("argument").cloned().unwrap_or_default());
        if !context.is_empty() {
            params.insert("context".into(), json!({"arguments": context}));
        }
        let taken = self.take(request, &completes, params, connection).await;
        match self.result_of(&completes, taken, || RpcError::params("nothing to complete")).await {
            Ok(Ok(mut result)) => Ok(result.remove("completion")),
            // What it may not ask, and what its server has no values for, is no error of what is typed.
            Ok(Err(_)) | Err(Refused::Rpc(_)) => Ok(None),
            Err(refused) => Err(refused),
        }
    }
}
