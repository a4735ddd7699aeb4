//! Searches (AuthZEN §8): which subjects, resources or actions a question would be answered with `true` for.
//!
//! Placet keeps no list of resources: a resource search finds those that grants and rules name one by one, and
//! `/v1/decisions/filter` tells of any others. An action search looks at declared actions and those that rules name, a
//! subject search at the registered agents. Each one found was judged as an evaluation of it would be; nothing is charged.
//!
//! Invariant: an agent that searches finds itself and nothing of others.

use super::said::{Entity, Said, invalid, uri};
use crate::{
    api::decisions::{
        Asked, Question,
        asking::Asking,
        paced,
        somebody::{Somebody, is_trusted},
    },
    app::App,
    body::{JsonBody, read_as},
    caller::{Caller, Source},
    problem::{Answer, Problem},
    rules::Rules,
};
use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_core::{
    id::AgentId,
    pattern::{ActionName, ResourcePattern, ResourceUri},
    refusal::Code,
    seal::{Aad, SealEntropy, Sealed},
    secret::sha256,
};
use placet_store::agents;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// How many are looked at for one page.
const LOOKED_AT: usize = 50;

/// Which page (§8.2).
#[derive(Default, Deserialize)]
struct Page {
    #[serde(default)]
    token: String,
    limit: Option<u64>,
}

/// A search, as far as it was said.
struct Search {
    said: Said,
    /// What the page's token has to belong to.
    seal: String,
    /// Behind this one.
    after: String,
    limit: usize,
}

impl Search {
    fn read(kind: &str, mut body: Map<String, Value>) -> Answer<Self> {
        let page: Page = match body.remove("page") {
            None | Some(Value::Null) => Page::default(),
            Some(page) => read_as(page).map_err(|error| invalid(format!("`page`: {error}")))?,
        };
        let limit = usize::try_from(page.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let known = ["subject", "action", "resource", "context"];
        body.retain(|name, _| known.contains(&name.as_str()));
        let text = Value::Object(body.clone()).to_string();
        let digest = sha256(&[kind.as_bytes(), b"\0", text.as_bytes()]);
        let seal: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        // §8.2: a token belongs to the search that it came from.
        let after = match page.token.as_str() {
            "" => "",
            token => token
                .split_once('.')
                .filter(|(of, _)| *of == seal)
                .map(|(_, after)| after)
                .ok_or_else(|| invalid("`page.token` is not of this search"))?,
        };
        let (after, said) = (after.to_owned(), Said::read(Value::Object(body))?);
        Ok(Self { said, seal, after, limit: limit.clamp(1, LOOKED_AT) })
    }

    /// The part of `all` that this page looks at, and a mark of its last where there are more: whoever asks may not know
    /// of what was looked at and is not among the results.
    fn part<'c>(&self, app: &App, all: &'c [String]) -> Answer<(Vec<&'c str>, Option<String>)> {
        let mark = |one: &str| {
            let hash = app.secrets.hashing.hash("search_page", one.as_bytes());
            hash.as_bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let begin = match &*self.after {
            "" => 0,
            after => {
                let at = all.iter().position(|one| mark(one) == after);
                at.ok_or_else(|| invalid("`page.token` is of before a change: begin anew"))? + 1
            }
        };
        let behind = all.get(begin..).unwrap_or_default();
        let part: Vec<&str> = behind.iter().take(self.limit).map(String::as_str).collect();
        let last = part.last().filter(|_| behind.len() > part.len()).map(|last| mark(last));
        Ok((part, last))
    }

    /// A mark of the last agent that was looked at. It is not for whoever asks to know: it may not be among the results.
    fn sealed(&self, app: &App, agent: AgentId) -> Answer<String> {
        let failed = |_| Problem::of(Code::Internal, "the token of a page could not be made");
        let entropy = SealEntropy::new(crate::clock::entropy());
        let sealed = app.secrets.vault.seal(&self.aad(), entropy, agent.to_string().as_bytes());
        Ok(URL_SAFE_NO_PAD.encode(sealed.map_err(failed)?.to_bytes()))
    }

    /// The agent that a mark is of, where one came.
    fn opened(&self, app: &App) -> Answer<Option<AgentId>> {
        if self.after.is_empty() {
            return Ok(None);
        }
        let sealed = URL_SAFE_NO_PAD.decode(&self.after).ok().and_then(|it| Sealed::from_bytes(&it).ok());
        let opened = sealed.and_then(|sealed| app.secrets.vault.open(&self.aad(), &sealed).ok());
        let id = opened.and_then(|opened| std::str::from_utf8(opened.expose()).ok()?.parse().ok());
        id.map(Some).ok_or_else(|| invalid("`page.token` is not of this search"))
    }

    fn aad(&self) -> Aad<'_> {
        Aad { kind: "search_page", row: &self.seal, version: 1 }
    }

    fn page(&self, results: Vec<Value>, last: Option<&str>) -> Json<Value> {
        let next = last.map(|last| format!("{}.{last}", self.seal)).unwrap_or_default();
        Json(json!({"page": {"next_token": next, "count": results.len()}, "results": results}))
    }
}

/// What is asked of whom.
struct Asks<'a> {
    app: &'a App,
    asking: &'a Asking,
    source: Source,
    rules: Arc<Rules>,
    question: Question,
}

impl<'a> Asks<'a> {
    /// With the context, and the subject where it is not what is sought.
    async fn new(
        app: &'a App,
        asking: &'a Asking,
        source: Source,
        said: &Said,
        subject: Option<&Entity>,
    ) -> Answer<Self> {
        let mut question = Question::default();
        said.context_of(asking, &mut question)?;
        if let Some(subject) = subject {
            subject.named(app, asking, &mut question).await?;
        }
        Ok(Self { app, asking, source, rules: app.rules.load_full(), question })
    }

    /// Whom it is about; none where they have no authority, or are nobody.
    async fn somebody(&mut self) -> Answer<Option<Somebody>> {
        match Somebody::of(self.app, self.asking, &self.rules, &mut self.question).await {
            Ok(found) => Ok(found.ok()),
            Err(problem) if problem.code().status() == 400 => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    async fn may(
        &self,
        somebody: &Somebody,
        name: &ActionName,
        resource: &ResourceUri,
        params: Map<String, Value>,
    ) -> Answer<bool> {
        let asked = Asked { name: name.clone(), resource: Some(resource.clone()), params: params.into() };
        match somebody.may(self.app, self.asking, &self.rules, &asked, self.question.context.as_ref()).await {
            Err(problem) if problem.code().status() == 400 => Ok(false),
            may => may,
        }
    }

    async fn record(
        &self,
        somebody: &Somebody,
        action: Option<&ActionName>,
        body: Value,
    ) -> Result<(), Problem> {
        somebody.record(self.app, self.asking, self.source, action, &body).await
    }

    fn paced(&self, looked_at: usize) -> Result<(), Problem> {
        match self.asking {
            Asking::Caller(Caller::Agent(bearer)) => paced(self.app, bearer, looked_at),
            _ => Ok(()),
        }
    }
}

/// Nothing, where what is asked about can't be: an unknown type or id is no error (§8).
fn nothing() -> Json<Value> {
    Json(json!({"page": {"next_token": "", "count": 0}, "results": []}))
}

fn read_name(said: &Said) -> Answer<Option<ActionName>> {
    Ok(ActionName::parse(&said.action()?.name).ok())
}

fn read_resource(said: &Said) -> Answer<Option<ResourceUri>> {
    let resource = said.resource()?;
    if resource.id.is_none() {
        return Err(invalid("`resource.id` is missing"));
    }
    Ok(uri(resource).ok().and_then(|text| ResourceUri::parse(&text).ok()))
}

/// Nobody of that kind or name is an empty answer; what may not be asked is refused.
fn found(asks: Answer<Asks<'_>>) -> Answer<Option<Asks<'_>>> {
    match asks {
        Ok(asks) => Ok(Some(asks)),
        Err(problem) if problem.code().status() == 404 => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// `POST /access/v1/search/action` (§8.6)
pub(crate) async fn action(
    State(app): State<Arc<App>>,
    asking: Asking,
    source: Source,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let search = Search::read("action", body)?;
    let resource = read_resource(&search.said)?;
    let subject = search.said.subject()?;
    let Some(mut asks) = found(Asks::new(&app, &asking, source, &search.said, Some(subject)).await)? else {
        return Ok(nothing());
    };
    let (Some(resource), Some(somebody)) = (resource, asks.somebody().await?) else { return Ok(nothing()) };
    let declared = asks.rules.services.values().flat_map(|live| live.service.actions());
    let names: BTreeSet<String> = declared
        .map(|declared| declared.name().as_str().to_owned())
        .chain(somebody.policies.allowed_actions().map(|name| name.as_str().to_owned()))
        .collect();
    let names: Vec<String> = names.into_iter().collect();
    let (part, last) = search.part(&app, &names)?;
    asks.paced(part.len())?;
    let mut results = Vec::new();
    for text in part {
        let Ok(name) = ActionName::parse(text) else { continue };
        if asks.may(&somebody, &name, &resource, Map::new()).await? {
            results.push(json!({"name": text}));
        }
    }
    asks.record(
        &somebody,
        None,
        json!({"resource": resource.as_str(), "search": "action", "answer": results}),
    )
    .await?;
    Ok(search.page(results, last.as_deref()))
}

/// `POST /access/v1/search/resource` (§8.5)
pub(crate) async fn resource(
    State(app): State<Arc<App>>,
    asking: Asking,
    source: Source,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let search = Search::read("resource", body)?;
    let (name, subject) = (read_name(&search.said)?, search.said.subject()?);
    let scheme = &search.said.resource()?.kind;
    let Some(mut asks) = found(Asks::new(&app, &asking, source, &search.said, Some(subject)).await)? else {
        return Ok(nothing());
    };
    let (Some(name), Some(somebody)) = (name, asks.somebody().await?) else { return Ok(nothing()) };
    let granted = somebody.chain.authorities().flat_map(|authority| &authority.resources);
    let patterns = granted.chain(somebody.policies.allowed_resources(&name));
    let single = patterns.filter_map(ResourcePattern::single).filter(|uri| uri.scheme() == scheme);
    let all: BTreeSet<String> = single.map(|uri| uri.as_str().to_owned()).collect();
    let all: Vec<String> = all.into_iter().collect();
    let (part, last) = search.part(&app, &all)?;
    asks.paced(part.len())?;
    let params = search.said.action()?.properties.clone().unwrap_or_default();
    let mut results = Vec::new();
    for text in part {
        let Ok(uri) = ResourceUri::parse(text) else { continue };
        if asks.may(&somebody, &name, &uri, params.clone()).await? {
            let id = text.split_once("://").map_or(text, |(_, id)| id);
            results.push(json!({"type": scheme, "id": id}));
        }
    }
    asks.record(&somebody, Some(&name), json!({"resource": null, "search": "resource", "answer": results}))
        .await?;
    Ok(search.page(results, last.as_deref()))
}

/// `POST /access/v1/search/subject` (§8.4)
pub(crate) async fn subject(
    State(app): State<Arc<App>>,
    asking: Asking,
    source: Source,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let search = Search::read("subject", body)?;
    let (name, resource) = (read_name(&search.said)?, read_resource(&search.said)?);
    let is_agent = search.said.subject()?.kind == "agent";
    let (Some(name), Some(resource)) = (name, resource) else { return Ok(nothing()) };
    if !is_agent {
        // People do nothing here but by agents.
        return Ok(nothing());
    }
    let params = search.said.action()?.properties.clone().unwrap_or_default();
    let mut asks = Asks::new(&app, &asking, source, &search.said, None).await?;
    let (candidates, last) = match &asking {
        Asking::Caller(Caller::Agent(bearer)) => (vec![bearer.chain.agent().clone()], None),
        _ => {
            let after = search.opened(&app)?;
            let limit = search.limit;
            let mut found = app.store.read(move |q| agents::list(q, after, limit + 1)).await?;
            let more = found.len() > limit;
            found.truncate(limit);
            let last =
                found.last().filter(|_| more).map(|agent| search.sealed(&app, agent.id)).transpose()?;
            (found, last)
        }
    };
    asks.paced(1)?;
    let mut results = Vec::new();
    for agent in candidates {
        if !matches!(asking, Asking::Caller(Caller::Agent(_))) {
            asks.question.agent = Some(agent.id.to_string());
        }
        let Some(somebody) = asks.somebody().await? else { continue };
        let may = asks.may(&somebody, &name, &resource, params.clone()).await?;
        if may {
            results.push(json!({"type": "agent", "id": agent.id, "properties": {"handle": agent.handle}}));
        }
        // What an agent asks about itself is recorded whatever the answer; of others, whoever was found.
        if may || !is_trusted(asks.asking) {
            let body = json!({"resource": resource.as_str(), "search": "subject", "answer": may});
            asks.record(&somebody, Some(&name), body).await?;
        }
    }
    Ok(search.page(results, last.as_deref()))
}
