//! Decisions of the record as tests, to be decided again by another version of a policy.
//!
//! What the record doesn't keep is taken as it is now (the agents' labels, the users' roles); limits and what a request
//! was refused for before any policy was asked can't be decided again, and such entries are told of as left out.
//!
//! Invariant: nothing is guessed silently: an entry is decided again or told of with the reason why not.

use crate::{
    client::{Client, encoded},
    exit::Failure,
    output::rows,
};
use placet_core::{
    policy::{Policy, case::Case},
    service::Service,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The codes of denials that are the policies' alone.
const DECIDED: &[&str] = &["no_rule", "forbidden", "condition_failed", "condition_unknown", "outside_hours"];
/// How many entries are asked for at once.
const PAGE: u64 = 500;

/// What is in force at the server.
pub(super) struct InForce {
    pub(super) policies: Vec<Arc<Policy>>,
    pub(super) services: Vec<Service>,
}

impl InForce {
    /// Reads it.
    ///
    /// # Errors
    /// Where the server refuses, or one of its documents is no longer read.
    pub(super) async fn read(client: &Client) -> Result<Self, Failure> {
        let mut services = Vec::new();
        for (name, source) in sources(client, "services", "service").await? {
            let (service, _) =
                Service::parse(source.as_bytes(), Some(&name)).map_err(|_| unread("service", &name))?;
            services.push(service);
        }
        let known: Vec<&Service> = services.iter().collect();
        let mut policies = Vec::new();
        for (name, source) in sources(client, "policies", "policy").await? {
            let loaded = Policy::load(source.as_bytes(), Some(&name), 1, &known);
            policies.push(Arc::new(loaded.map_err(|_| unread("policy", &name))?.0));
        }
        Ok(Self { policies, services })
    }

    /// The policies with these in the place of those of their names.
    pub(super) fn with(&self, new: &[Arc<Policy>]) -> Vec<Arc<Policy>> {
        let kept = self.policies.iter().filter(|old| new.iter().all(|new| new.name() != old.name()));
        kept.chain(new).cloned().collect()
    }
}

fn unread(what: &str, name: &str) -> Failure {
    Failure::unreadable(format!("the {what} `{name}` of the server can't be read by this version"))
}

async fn sources(client: &Client, list: &str, key: &str) -> Result<Vec<(String, String)>, Failure> {
    let listed = client.read(&format!("/v1/{list}")).await?;
    let mut found = Vec::new();
    for row in rows(&listed, list) {
        let Some(name) = row.get(key).and_then(Value::as_str) else { continue };
        // What only some agents have is a row of the same name.
        if found.iter().any(|(known, _): &(String, String)| known == name) {
            continue;
        }
        let shown = client.read(&format!("/v1/{list}/{}", encoded(name))).await?;
        let source = shown.get("source").and_then(Value::as_str).unwrap_or_default();
        found.push((name.to_owned(), source.to_owned()));
    }
    Ok(found)
}

/// Entries that can be decided again, and those that can't.
#[derive(Default)]
pub(super) struct Recorded {
    pub(super) entries: Vec<Entry>,
    /// How many were left out, by why.
    pub(super) left_out: BTreeMap<String, u64>,
}

/// One that can.
pub(super) struct Entry {
    /// Its place in the log.
    pub(super) index: u64,
    /// What was decided: `allow`, `hold` or `deny`.
    pub(super) decided: String,
    /// The same question as a test.
    pub(super) test: Value,
    pub(super) case: Case,
}

impl Recorded {
    /// Reads the last so many entries of the record.
    ///
    /// # Errors
    /// Where the server refuses.
    pub(super) async fn read(client: &Client, last: u64) -> Result<Self, Failure> {
        let mut found = Self::default();
        let mut facts =
            Facts { client, agents: HashMap::new(), tasks: HashMap::new(), users: users(client).await? };
        let newest = client.read("/v1/record?limit=1").await?;
        let size = newest
            .get("checkpoint")
            .and_then(Value::as_str)
            .and_then(|note| note.lines().nth(1)?.parse::<u64>().ok());
        let mut after = size.and_then(|size| size.checked_sub(last)).and_then(|first| first.checked_sub(1));
        loop {
            let from = after.map(|after| format!("&after={after}")).unwrap_or_default();
            let page = client.read(&format!("/v1/record?limit={PAGE}{from}")).await?;
            let entries = rows(&page, "entries");
            let Some(index) = entries.last().and_then(|entry| entry.get("index")?.as_u64()) else {
                return Ok(found);
            };
            for entry in entries {
                found.take(entry, &mut facts).await?;
            }
            after = Some(index);
        }
    }

    async fn take(&mut self, entry: &Value, facts: &mut Facts<'_>) -> Result<(), Failure> {
        let text = |member: &str| entry.get(member).and_then(Value::as_str);
        if !matches!(text("type"), Some("action.intent" | "decision.deny" | "decision.hold")) {
            return Ok(());
        }
        let test = match facts.test(entry).await? {
            Ok(test) => test,
            Err(why) => {
                self.leave_out(why);
                return Ok(());
            }
        };
        let Ok(case) = Case::from_json(&test) else {
            self.leave_out("its agent, user or task can't be given again as it is now");
            return Ok(());
        };
        // People had said yes: the policies hold it, as they did.
        let permitted =
            entry.get("permits").and_then(Value::as_array).is_some_and(|permits| !permits.is_empty());
        let held = text("approval").is_some() || permitted;
        let decided = match text("type") {
            Some("action.intent") if held => "hold",
            Some("action.intent") => "allow",
            Some("decision.hold") => "hold",
            _ => "deny",
        };
        let index = entry.get("index").and_then(Value::as_u64).unwrap_or_default();
        self.entries.push(Entry { index, decided: decided.to_owned(), test, case });
        Ok(())
    }

    fn leave_out(&mut self, why: impl Into<String>) {
        *self.left_out.entry(why.into()).or_default() += 1;
    }
}

async fn users(client: &Client) -> Result<HashMap<String, Value>, Failure> {
    let mut found = HashMap::new();
    let mut after: Option<String> = None;
    loop {
        let from = after.map(|after| format!("?after={}", encoded(&after))).unwrap_or_default();
        let page = client.read(&format!("/v1/users{from}")).await?;
        for user in rows(&page, "users") {
            if let Some(id) = user.get("id").and_then(Value::as_str) {
                let given = json!({"id": id, "name": user.get("name"), "roles": user.get("roles")});
                found.insert(id.to_owned(), given);
            }
        }
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// What entries name by its id, as it is now.
struct Facts<'a> {
    client: &'a Client,
    agents: HashMap<String, Option<Value>>,
    tasks: HashMap<String, Option<Value>>,
    users: HashMap<String, Value>,
}

impl Facts<'_> {
    /// An entry as a test, or why it can't be one.
    async fn test(&mut self, entry: &Value) -> Result<Result<Value, String>, Failure> {
        let text = |member: &str| entry.get(member).and_then(Value::as_str);
        let (Some(action), Some(at)) = (text("action"), text("at")) else {
            return Ok(Err("it names no action".to_owned()));
        };
        let codes = entry.get("codes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut codes = codes.iter().filter_map(Value::as_str);
        if let (Some("decision.deny"), Some(code)) =
            (text("type"), codes.find(|code| !DECIDED.contains(code)))
        {
            return Ok(Err(format!("it was denied for `{code}`, which is not for policies alone to say")));
        }
        let (Some(resource), Some(params)) =
            (text("resource"), entry.get("params").filter(|it| it.is_object()))
        else {
            return Ok(Err("its resource and parameters were erased".to_owned()));
        };
        if params.to_string().contains("\"$commitment\"") {
            return Ok(Err("some of its parameters are secret, and recorded only as commitments".to_owned()));
        }
        let chain = entry.get("chain").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut ids: Vec<&str> = chain.iter().filter_map(Value::as_str).collect();
        // For policies adjacent links of one agent are one.
        ids.dedup();
        let user = match text("user") {
            None => None,
            Some(id) => match self.users.get(id) {
                Some(user) => Some(user.clone()),
                None => return Ok(Err("its user is gone".to_owned())),
            },
        };
        let task = match text("task") {
            None => None,
            Some(id) => self.task(id).await?,
        };
        let mut given: Option<Map<String, Value>> = None;
        for id in ids.into_iter().rev() {
            let Some(agent) = self.agent(id).await? else {
                return Ok(Err("an agent of its chain is gone".to_owned()));
            };
            let mut link = Map::new();
            link.insert("agent".into(), agent);
            link.extend(user.clone().map(|user| ("user".to_owned(), user)));
            link.extend(given.map(|above| ("parent".to_owned(), Value::Object(above))));
            given = Some(link);
        }
        let Some(mut given) = given else { return Ok(Err("it names no agent".to_owned())) };
        given.extend(task.map(|task| ("task".to_owned(), task)));
        given.insert("now".into(), at.into());
        if let Some(facts) = entry.pointer("/facts/known") {
            given.insert("facts".into(), facts.clone());
        }
        let when = json!({"action": action, "resource": resource, "params": params});
        Ok(Ok(json!({"given": given, "when": when, "then": "allow"})))
    }

    async fn agent(&mut self, id: &str) -> Result<Option<Value>, Failure> {
        if let Some(known) = self.agents.get(id) {
            return Ok(known.clone());
        }
        let answer = self.client.read(&format!("/v1/agents/{}", encoded(id))).await;
        let shown = answer.ok().map(|agent| {
            let mut given =
                json!({"id": id, "handle": agent.get("agent_name"), "labels": agent.get("labels")});
            if let (Value::Object(given), Some(owner)) =
                (&mut given, agent.get("owner").filter(|it| it.is_string()))
            {
                given.insert("owner".into(), owner.clone());
            }
            given
        });
        self.agents.insert(id.to_owned(), shown.clone());
        Ok(shown)
    }

    async fn task(&mut self, id: &str) -> Result<Option<Value>, Failure> {
        if let Some(known) = self.tasks.get(id) {
            return Ok(known.clone());
        }
        let answer = self.client.read(&format!("/v1/tasks/{}", encoded(id))).await;
        let mut given = Map::new();
        given.insert("id".into(), id.into());
        given.insert("stated_by".into(), "agent".into());
        for (member, value) in answer.ok().as_ref().and_then(Value::as_object).into_iter().flatten() {
            match member.as_str() {
                "label" | "description" if value.is_string() => {
                    _ = given.insert(member.clone(), value.clone())
                }
                "origin" => _ = given.insert("stated_by".into(), value.clone()),
                _ => {}
            }
        }
        let shown = Some(Value::Object(given));
        self.tasks.insert(id.to_owned(), shown.clone());
        Ok(shown)
    }
}
