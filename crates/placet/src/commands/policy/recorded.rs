//! Decisions of the record as tests, to be decided again by another version of a policy.
//!
//! What the record doesn't keep is taken as it is now (the agents' labels, the users' roles); what a request was refused for
//! before any policy was asked can't be decided again, and such entries are told of as left out.
//!
//! Invariant: nothing is guessed silently: an entry is decided again or told of with the reason why not, and what was done
//! and can't be charged again is handed on as such.

use crate::{
    client::{Client, encoded},
    exit::Failure,
    output::rows,
};
use placet_core::{
    pattern::ActionName,
    policy::{
        Policy,
        case::{Case, Decided, History, Incomplete, Missed},
    },
    refusal::Code,
    service::Service,
    time::Timestamp,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// The codes of denials that are the policies' alone.
const DECIDED: &[&str] =
    &["no_rule", "forbidden", "condition_failed", "condition_unknown", "outside_hours", LIMITED];
/// That of a limit that was used up.
const LIMITED: &str = Code::LimitExceeded.as_str();
/// Whose outcome nobody knows counts as under way for so long: an action at the action or the MCP door; one that is
/// passed on as it comes, or of which it isn't known, and a charged decision.
const UNDER_WAY: [Duration; 2] = [Duration::from_secs(40), Duration::from_secs(15 * 60)];
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

/// What the record says, in its order, and what of it can't be decided again.
#[derive(Default)]
pub(super) struct Recorded {
    pub(super) steps: Vec<Step>,
    /// How many entries are decided again.
    pub(super) asked: usize,
    /// How many were left out, by why.
    pub(super) left_out: BTreeMap<String, u64>,
    /// What happened before it was not read; `None` where the record begins with what was read.
    pub(super) from: Option<Timestamp>,
}

/// What an entry is for the counters.
pub(super) enum Step {
    /// Something that is decided again.
    Asked(Box<Entry>),
    /// Something that was done and can't be decided again.
    Missed(Missed),
    /// What became of an action, where anybody knows.
    Ended { action: String, given_back: bool },
}

/// One that can be decided again.
pub(super) struct Entry {
    /// Its place in the log.
    pub(super) index: u64,
    /// What was decided: `allow`, `hold` or `deny`.
    pub(super) decided: String,
    /// Whether it was denied for a limit that was used up.
    pub(super) limited: bool,
    /// The same question as a test.
    pub(super) test: Value,
    pub(super) case: Case,
    /// What it was done as.
    pub(super) done: Option<Done>,
}

/// What was done.
pub(super) struct Done {
    /// The action's id.
    action: String,
    at: Timestamp,
    /// When it no longer counts as under way, whatever became of it.
    until: Timestamp,
}

impl Recorded {
    /// Reads the last so many entries of the record.
    ///
    /// # Errors
    /// Where the server refuses.
    pub(super) async fn read(client: &Client, last: u64, services: &[Service]) -> Result<Self, Failure> {
        let mut found = Self::default();
        let mut facts = Facts {
            client,
            services,
            agents: HashMap::new(),
            tasks: HashMap::new(),
            grants: HashMap::new(),
            users: users(client).await?,
        };
        let newest = client.read("/v1/record?limit=1").await?;
        let size = newest
            .get("checkpoint")
            .and_then(Value::as_str)
            .and_then(|note| note.lines().nth(1)?.parse::<u64>().ok());
        let mut after = size.and_then(|size| size.checked_sub(last)).and_then(|first| first.checked_sub(1));
        let mut unread = after.is_some();
        loop {
            let from = after.map(|after| format!("&after={after}")).unwrap_or_default();
            let page = client.read(&format!("/v1/record?limit={PAGE}{from}")).await?;
            let entries = rows(&page, "entries");
            let Some(index) = entries.last().and_then(|entry| entry.get("index")?.as_u64()) else {
                return Ok(found);
            };
            if std::mem::take(&mut unread) {
                found.from = entries.first().and_then(at);
            }
            for entry in entries {
                found.take(entry, &mut facts).await?;
            }
            after = Some(index);
        }
    }

    /// Counters for deciding it again by one set of policies.
    pub(super) fn history(&self) -> History {
        History::new(self.from)
    }

    async fn take(&mut self, entry: &Value, facts: &mut Facts<'_>) -> Result<(), Failure> {
        let text = |member: &str| entry.get(member).and_then(Value::as_str);
        if let Some("action.outcome" | "action.settled") = text("type") {
            self.steps.extend(ended(entry, facts.services));
            return Ok(());
        }
        if !matches!(text("type"), Some("action.intent" | "decision.deny" | "decision.hold")) {
            return Ok(());
        }
        let (test, case) = match facts.test(entry).await? {
            Ok(found) => found,
            Err(why) => {
                self.leave_out(why);
                self.steps.extend(missed(entry).map(Step::Missed));
                return Ok(());
            }
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
        let (decided, limited) = (decided.to_owned(), codes(entry).any(|code| code == LIMITED));
        let entry = Entry { index, decided, limited, test, case, done: done(entry) };
        self.steps.push(Step::Asked(Box::new(entry)));
        self.asked += 1;
        Ok(())
    }

    pub(super) fn leave_out(&mut self, why: impl Into<String>) {
        *self.left_out.entry(why.into()).or_default() += 1;
    }
}

/// What is said of a limit of which not all that was used is known.
pub(super) fn too_little(limit: &Incomplete) -> String {
    let Incomplete { policy, rule, limit } = limit;
    format!(
        "`{limit}` of `{rule}` in `{policy}` counts too little: it reaches back before these entries, or some of them are left out"
    )
}

fn at(entry: &Value) -> Option<Timestamp> {
    Timestamp::parse(entry.get("at")?.as_str()?).ok()
}

fn codes(entry: &Value) -> impl Iterator<Item = &str> {
    let codes = entry.get("codes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    codes.iter().filter_map(Value::as_str)
}

fn ids<'e>(entry: &'e Value, member: &str) -> Vec<&'e str> {
    let ids = entry.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    ids.iter().filter_map(Value::as_str).collect()
}

/// What an intent says was done.
fn done(entry: &Value) -> Option<Done> {
    let text = |member: &str| entry.get(member).and_then(Value::as_str);
    let action = text("action_id").filter(|_| text("type") == Some("action.intent"))?;
    let [by_us, elsewhere] = UNDER_WAY;
    let at = at(entry)?;
    let is_short = text("connection").is_some() && matches!(text("door"), Some("action" | "mcp"));
    let until = at.plus(if is_short { by_us } else { elsewhere });
    Some(Done { action: action.to_owned(), at, until })
}

/// What was done and is left out. What nobody's authority was used for is charged to nobody.
fn missed(entry: &Value) -> Option<Missed> {
    let Done { at, .. } = done(entry)?;
    let action = entry.get("action").and_then(Value::as_str).and_then(|name| ActionName::parse(name).ok());
    let grants: Vec<String> = ids(entry, "grants").into_iter().map(str::to_owned).collect();
    (!grants.is_empty()).then_some(Missed { at, action, grants })
}

/// What an entry says became of an action, by what its service says today has no effect. None where nobody knows.
fn ended(entry: &Value, services: &[Service]) -> Option<Step> {
    let text = |member: &str| entry.get(member).and_then(Value::as_str);
    let action = text("action_id")?.to_owned();
    let free = || {
        let name = ActionName::parse(text("action")?).ok()?;
        let status = u16::try_from(entry.get("status")?.as_u64()?).ok()?;
        let declared = services.iter().find_map(|service| service.action(&name))?;
        // What somebody else did, or found out, is given back only where it did not happen.
        (text("by").is_none() && declared.no_effect().contains(&status)).then_some(())
    };
    match text("outcome")? {
        "failed" => Some(Step::Ended { action, given_back: true }),
        "done" => Some(Step::Ended { given_back: free().is_some(), action }),
        // A stream that was cut after its answer had begun.
        "cut" if entry.get("status").is_some_and(Value::is_u64) => {
            Some(Step::Ended { given_back: free().is_some(), action })
        }
        _ => None,
    }
}

impl Entry {
    /// Charges what was decided, if it was done.
    pub(super) fn charge(&self, history: &mut History, decided: &Decided) {
        if let Some(Done { action, at, until }) = &self.done {
            history.done(action, decided, *at, *until);
        }
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
    services: &'a [Service],
    agents: HashMap<String, Option<Value>>,
    tasks: HashMap<String, Option<Value>>,
    grants: HashMap<String, Option<Value>>,
    users: HashMap<String, Value>,
}

impl Facts<'_> {
    /// An entry as a test, to be shown and to be decided, or why it can't be one.
    async fn test(&mut self, entry: &Value) -> Result<Result<(Value, Case), String>, Failure> {
        let text = |member: &str| entry.get(member).and_then(Value::as_str);
        let (Some(action), Some(at)) = (text("action"), text("at")) else {
            return Ok(Err("it names no action".to_owned()));
        };
        let mut codes = codes(entry);
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
        let mut given = match self.chain(entry).await? {
            Ok(given) => given,
            Err(why) => return Ok(Err(why)),
        };
        given.insert("now".into(), at.into());
        if let Some(facts) = entry.pointer("/facts/known") {
            given.insert("facts".into(), facts.clone());
        }
        let mut when = json!({"action": action, "resource": resource, "params": params});
        let shown = json!({"given": given, "when": when, "then": "allow"});
        if let Value::Object(when) = &mut when {
            // Through a door the service says what it is on, and which parts of that are merely claimed.
            if text("connection").is_some() && self.describes(action, resource, params) {
                when.remove("resource");
            }
            if let Some(context) = entry.pointer("/body/context").filter(|it| it.is_object()) {
                when.insert("context".into(), context.clone());
            }
        }
        let test = json!({"given": given, "when": when, "then": "allow"});
        Ok(match Case::from_json(&test, self.services) {
            Ok(case) => Ok((shown, case)),
            Err(_) => Err("its agent, user, task or facts can't be given again as they are now".to_owned()),
        })
    }

    /// Whether a service still says that this is what these parameters are on.
    fn describes(&self, action: &str, resource: &str, params: &Value) -> bool {
        let declared = ActionName::parse(action)
            .ok()
            .and_then(|name| self.services.iter().find_map(|service| service.action(&name)));
        let described = declared.zip(params.as_object()).and_then(|(it, params)| it.describe(params).ok());
        described.is_some_and(|described| described.resource.as_str() == resource)
    }

    /// Who acted, for whom, for what, under which grants: the acting agent with everybody above it.
    async fn chain(&mut self, entry: &Value) -> Result<Result<Map<String, Value>, String>, Failure> {
        let user = match entry.get("user").and_then(Value::as_str) {
            None => None,
            Some(id) => match self.users.get(id) {
                Some(user) => Some(user.clone()),
                None => return Ok(Err("its user is gone".to_owned())),
            },
        };
        let (agents, grants) = (ids(entry, "chain"), ids(entry, "grants"));
        if agents.is_empty() || agents.len() != grants.len() {
            return Ok(Err("it names no agent".to_owned()));
        }
        let mut given: Option<Map<String, Value>> = None;
        for (agent, id) in agents.iter().zip(&grants).rev() {
            let Some(grant) = self.grant(id).await? else {
                return Ok(Err("a grant of its chain is gone".to_owned()));
            };
            // What stands above all in a test is the agent's registration.
            let registration = grant.get("origin").is_some_and(|origin| origin == "registration");
            if registration && given.is_none() && grants.len() > 1 {
                continue;
            }
            let Some(agent) = self.agent(agent).await? else {
                return Ok(Err("an agent of its chain is gone".to_owned()));
            };
            let task = match grant.get("task").and_then(Value::as_str) {
                None => None,
                Some(id) => self.task(id).await?,
            };
            let mut link = Map::new();
            link.insert("agent".into(), agent);
            link.extend(user.clone().map(|user| ("user".to_owned(), user)));
            link.extend(task.map(|task| ("task".to_owned(), task)));
            link.insert("grant".into(), json!({"id": id, "limits": grant.get("limits")}));
            link.extend(given.map(|above| ("parent".to_owned(), Value::Object(above))));
            given = Some(link);
        }
        Ok(given.ok_or_else(|| "it names no agent".to_owned()))
    }

    async fn grant(&mut self, id: &str) -> Result<Option<Value>, Failure> {
        if let Some(known) = self.grants.get(id) {
            return Ok(known.clone());
        }
        let answer = self.client.read(&format!("/v1/grants/{}", encoded(id))).await;
        let shown = answer.ok().map(|grant| {
            let limits = grant.get("limits").filter(|it| it.is_array()).cloned().unwrap_or_else(|| json!([]));
            json!({"origin": grant.get("origin"), "task": grant.get("task"), "limits": limits})
        });
        self.grants.insert(id.to_owned(), shown.clone());
        Ok(shown)
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
                "details" | "plan" if !value.is_null() => {
                    _ = given.insert(member.clone(), value.clone());
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
