//! Lineage against a model that is nothing but the words of the design: random forests of grants are grown and cut
//! over HTTP, and after each cut everybody who should be alive is, and nobody else; and each reaches what is left of what
//! was narrowed above it.

use crate::parties::{Stage, exchange, stage};
use placet_testkit::{Agent, Answer, fresh};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How many agents stand in a forest.
const AGENTS: usize = 4;
/// The deepest grant.
const DEEPEST: usize = 8;

/// One thing that happens. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    /// An agent obtains a grant for itself.
    Own(usize),
    /// An agent obtains a grant below another's, with its access token.
    Child(usize, usize),
    /// The holder of a grant narrows it for an agent, which takes it.
    Delegate(usize, usize),
    /// The holder of a grant of its own asks for less.
    Less(usize),
    /// Part of a grant is taken back.
    Narrow(usize),
    /// A grant is revoked: by its token as an administrator, as its holder, or by its id.
    Revoke(usize, usize),
    /// The task of a grant is revoked.
    RevokeTask(usize),
    Suspend(usize),
    Resume(usize),
    /// An agent ends for good.
    End(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0usize..64;
    prop_oneof![
        3 => n.clone().prop_map(Step::Own),
        6 => (n.clone(), n.clone()).prop_map(|(agent, grant)| Step::Child(agent, grant)),
        3 => (n.clone(), n.clone()).prop_map(|(agent, grant)| Step::Delegate(agent, grant)),
        2 => n.clone().prop_map(Step::Less),
        2 => n.clone().prop_map(Step::Narrow),
        4 => (n.clone(), n.clone()).prop_map(|(grant, how)| Step::Revoke(grant, how)),
        1 => n.clone().prop_map(Step::RevokeTask),
        1 => n.clone().prop_map(Step::Suspend),
        2 => n.clone().prop_map(Step::Resume),
        1 => n.prop_map(Step::End),
    ]
}

/// A grant as the model knows it.
#[derive(Debug)]
struct Grant {
    id: String,
    /// What it hangs from; none for what hangs from a registration.
    parent: Option<usize>,
    agent: usize,
    /// The agent that has the registration at the root.
    root: usize,
    /// What the agent calls the task.
    task: String,
    /// None for what waits in a delegation token.
    token: Option<String>,
    revoked: bool,
    /// Whether it was made for `orders.*`, and not for `orders.read` alone.
    wide: bool,
    /// Whether it was narrowed to `orders.read`.
    narrowed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Active,
    Suspended,
    Ended,
}

/// The forest as it should be, beside the one that is.
struct Forest<'a> {
    stage: &'a Stage,
    agents: Vec<Agent>,
    states: [State; AGENTS],
    grants: Vec<Grant>,
    ended_tasks: BTreeSet<String>,
}

impl<'a> Forest<'a> {
    fn new(stage: &'a Stage) -> Self {
        let agents = (0..AGENTS).map(|_| stage.agent()).collect();
        Self {
            stage,
            agents,
            states: [State::Active; AGENTS],
            grants: Vec::new(),
            ended_tasks: BTreeSet::new(),
        }
    }

    /// The grant and everything above it.
    fn above(&self, grant: usize) -> Vec<usize> {
        std::iter::successors(Some(grant), |at| self.grants[*at].parent).collect()
    }

    /// Whether a grant can never be used again.
    fn is_over(&self, grant: usize) -> bool {
        let own = |at: &usize| {
            let grant = &self.grants[*at];
            grant.revoked
                || self.ended_tasks.contains(&grant.task)
                || self.states[grant.agent] == State::Ended
                || self.states[grant.root] == State::Ended
        };
        self.above(grant).iter().any(own)
    }

    fn is_alive(&self, grant: usize) -> bool {
        let works = |agent: usize| self.states[agent] == State::Active;
        !self.is_over(grant)
            && works(self.grants[grant].root)
            && self.above(grant).iter().all(|at| works(self.grants[*at].agent))
    }

    /// Whether a grant reaches `orders.*` still.
    fn is_wide(&self, grant: usize) -> bool {
        self.grants[grant].wide && self.above(grant).iter().all(|at| !self.grants[*at].narrowed)
    }

    /// The depth of a grant; what an agent obtains for itself has depth 1.
    fn depth(&self, grant: usize) -> usize {
        self.above(grant).len()
    }

    /// The grants with a token.
    fn held(&self) -> Vec<usize> {
        (0..self.grants.len()).filter(|at| self.grants[*at].token.is_some()).collect()
    }

    fn pick(&self, number: usize) -> Option<usize> {
        let held = self.held();
        (!held.is_empty()).then(|| held[number % held.len()])
    }

    fn token(&self, grant: usize) -> &str {
        self.grants[grant].token.as_deref().unwrap()
    }

    fn grow(&mut self, parent: Option<usize>, agent: usize, task: String, token: Option<String>, id: String) {
        let root = parent.map_or(agent, |parent| self.grants[parent].root);
        // What is left out is copied from the parent, as far as that reaches then.
        let wide = parent.is_none_or(|parent| self.is_wide(parent));
        let narrowed = false;
        self.grants.push(Grant { id, parent, agent, root, task, token, revoked: false, wide, narrowed });
    }

    /// Takes a token answer into the model, where one was due.
    fn take(&mut self, answer: &Answer, due: bool, parent: Option<usize>, agent: usize, task: String) {
        assert_eq!(answer.status == 200, due, "{}", answer.body);
        if due {
            self.grow(parent, agent, task, Some(answer.text("/access_token")), answer.text("/grant_id"));
        }
    }

    fn does(&mut self, step: &Step) {
        let client = self.stage.client();
        match *step {
            Step::Own(agent) => {
                let (agent, label) = (agent % AGENTS, fresh("own-"));
                let asked = self.agents[agent].ask().with("scope", "orders.*").with("task_id", &label);
                let due = self.states[agent] == State::Active;
                self.take(&asked.send(&client), due, None, agent, label);
            }
            Step::Child(agent, parent) => {
                let Some(parent) = self.pick(parent) else { return };
                let (agent, label) = (agent % AGENTS, fresh("child-"));
                let asked = self.agents[agent].ask().with("parent_token", self.token(parent));
                let answer = asked.with("task_id", &label).send(&client);
                let due = self.is_alive(parent)
                    && self.states[agent] == State::Active
                    && self.depth(parent) < DEEPEST;
                self.take(&answer, due, Some(parent), agent, label);
            }
            Step::Delegate(agent, parent) => {
                let Some(parent) = self.pick(parent) else { return };
                let (agent, giver) = (agent % AGENTS, self.grants[parent].agent);
                let asked = exchange(&self.agents[giver], self.token(parent), &self.agents[agent].id);
                let answer = asked.send(&client);
                let named = self.states[agent] == State::Active;
                let due = self.is_alive(parent) && named && self.depth(parent) < DEEPEST;
                assert_eq!(answer.status == 200, due, "{}", answer.body);
                if !due {
                    return;
                }
                let task = self.grants[parent].task.clone();
                self.grow(Some(parent), giver, task, None, answer.text("/grant_id"));
                let (narrowed, label) = (self.grants.len() - 1, fresh("taken-"));
                let asked = self.agents[agent].ask().with("parent_token", &answer.text("/access_token"));
                let answer = asked.with("task_id", &label).send(&client);
                let due = self.depth(narrowed) < DEEPEST;
                self.take(&answer, due, Some(narrowed), agent, label);
            }
            Step::Less(grant) => {
                let Some(grant) = self.pick(grant).filter(|grant| self.grants[*grant].parent.is_none())
                else {
                    return;
                };
                let (agent, task) = (self.grants[grant].agent, self.grants[grant].task.clone());
                let asked = self.agents[agent].ask().with("task_id", &task).with("scope", "orders.read");
                let due = self.is_alive(grant);
                let answer = asked.send(&client);
                // The same less again is the same grant, and so is all that is left of a narrowed one.
                let known = |id: &str| self.grants.iter().any(|known| known.id == id);
                if answer.status == 200 && known(&answer.text("/grant_id")) {
                    assert!(due);
                    return;
                }
                self.take(&answer, due, Some(grant), agent, task);
                if due {
                    self.grants.last_mut().unwrap().wide = false;
                }
            }
            Step::Narrow(grant) => {
                if self.grants.is_empty() {
                    return;
                }
                let grant = grant % self.grants.len();
                let path = format!("/v1/grants/{}/narrow", self.grants[grant].id);
                let answer = self.stage.admin().post(&path).json(&json!({"scope": ["orders.read"]})).send();
                let due = self.is_alive(grant);
                assert_eq!(answer.status, if due { 200 } else { 409 }, "{}", answer.body);
                self.grants[grant].narrowed |= due;
            }
            Step::Revoke(grant, how) => {
                let Some(grant) = self.pick(grant) else { return };
                let holder = self.grants[grant].agent;
                let form = [("token", self.token(grant))];
                let answer = match how % 3 {
                    0 => self.stage.admin_token().post("/oauth/revoke").form(&form).send(),
                    1 if self.states[holder] == State::Active => {
                        let holder = &self.agents[holder];
                        client.post("/oauth/revoke").basic(&holder.id, &holder.secret).form(&form).send()
                    }
                    _ => {
                        let path = format!("/v1/grants/{}/revoke", self.grants[grant].id);
                        self.stage.admin().post(&path).send()
                    }
                };
                self.ends(&answer, &[grant], None);
                self.grants[grant].revoked = true;
            }
            Step::RevokeTask(grant) => {
                let Some(grant) = self.pick(grant) else { return };
                let path = format!("/v1/grants/{}", self.grants[grant].id);
                let id = self.stage.admin().get(&path).send().expect(200).text("/task");
                let answer = self.stage.admin().post(&format!("/v1/tasks/{id}/revoke")).send();
                let task = self.grants[grant].task.clone();
                let tops: Vec<usize> =
                    (0..self.grants.len()).filter(|at| self.grants[*at].task == task).collect();
                self.ends(&answer, &tops, Some(task));
            }
            Step::Suspend(agent) => {
                let agent = agent % AGENTS;
                if self.states[agent] == State::Active {
                    let path = format!("/v1/agents/{}/suspend", self.agents[agent].id);
                    self.stage.admin().post(&path).send().expect(200);
                    self.states[agent] = State::Suspended;
                }
            }
            Step::Resume(agent) => {
                let agent = agent % AGENTS;
                if self.states[agent] == State::Suspended {
                    let path = format!("/v1/agents/{}/activate", self.agents[agent].id);
                    self.stage.admin().post(&path).send().expect(200);
                    self.states[agent] = State::Active;
                }
            }
            Step::End(agent) => {
                let agent = agent % AGENTS;
                let path = format!("/v1/agents/{}", self.agents[agent].id);
                let mut answer = self.stage.admin().delete(&path).send();
                let tops: Vec<usize> = (0..self.grants.len())
                    .filter(|at| self.grants[*at].agent == agent || self.grants[*at].root == agent)
                    .collect();
                if self.states[agent] != State::Ended {
                    // Its registration grant is told first; the model begins below it.
                    let told = answer.body["affected_grants"].as_array_mut().unwrap();
                    told.remove(0);
                }
                self.ends(&answer, &tops, None);
                self.states[agent] = State::Ended;
            }
        }
    }

    /// Compares what an answer says has ended with what should have, and notes the tasks that ended with it.
    fn ends(&mut self, answer: &Answer, tops: &[usize], named: Option<String>) {
        assert_eq!(answer.status, 200, "{}", answer.body);
        let cut: Vec<usize> = (0..self.grants.len())
            .filter(|at| self.above(*at).iter().any(|above| tops.contains(above)))
            .collect();
        let ending: BTreeSet<&str> =
            cut.iter().filter(|at| !self.is_over(**at)).map(|at| self.grants[*at].id.as_str()).collect();
        assert_eq!(list(answer.at("/affected_grants")), ending);
        let lives_elsewhere = |task: &str| {
            (0..self.grants.len())
                .any(|at| self.grants[at].task == task && !cut.contains(&at) && !self.is_over(at))
        };
        let mut tasks: BTreeSet<&str> = cut
            .iter()
            .filter(|at| !self.is_over(**at))
            .map(|at| self.grants[*at].task.as_str())
            .filter(|task| !lives_elsewhere(task))
            .collect();
        if let Some(named) = &named
            && !self.ended_tasks.contains(named)
        {
            tasks.insert(named);
        }
        assert_eq!(list(answer.at("/affected_tasks")), tasks);
        assert_eq!(answer.at("/affected_tasks_terminated"), &json!(tasks.len()));
        let tasks: Vec<String> = tasks.into_iter().map(str::to_owned).collect();
        self.ended_tasks.extend(tasks);
    }

    /// Everybody who should be alive is, at a door, in introspection and in listings; and nobody else.
    fn check(&self) {
        for (at, grant) in self.grants.iter().enumerate() {
            let alive = self.is_alive(at);
            match &grant.token {
                Some(token) => {
                    let door = self.stage.client().with(token).get("/v1/tasks?limit=1").send();
                    assert_eq!(door.status, if alive { 200 } else { 401 }, "{grant:?}: {}", door.body);
                    let known = self.stage.introspect(token);
                    assert_eq!(known.at("/active"), &json!(alive), "{grant:?}");
                    if alive {
                        let scope = if self.is_wide(at) { "orders.*" } else { "orders.read" };
                        assert_eq!(known.at("/scope"), scope, "{grant:?}");
                    }
                }
                None => {
                    let shown =
                        self.stage.admin().get(&format!("/v1/grants/{}", grant.id)).send().expect(200);
                    assert_eq!(shown.at("/alive"), &json!(alive), "{grant:?} is shown as {}", shown.body);
                }
            }
        }
    }
}

fn list(value: &Value) -> BTreeSet<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn who_is_alive_is_as_in_the_model() {
    let stage = stage();
    let config = Config { cases: 8, max_shrink_iters: 150, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&proptest::collection::vec(step(), 10..32), |steps| {
        let mut forest = Forest::new(stage);
        for step in &steps {
            forest.does(step);
            if !matches!(step, Step::Own(_) | Step::Child(..) | Step::Delegate(..) | Step::Less(_)) {
                forest.check();
            }
        }
        forest.check();
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
