//! Lists of statuses: what a resource server that never asks learns of tokens, held against what introspection says.

use crate::{
    parties::{Stage, read, stage},
    process::typed,
    stage::PLACET,
};
use placet_core::{
    jose::KeySet,
    status_list::{self, Reference, Status},
};
use placet_server::clock::Clock;
use placet_testkit::{Agent, Answer, Client, Server, Story, fresh, together, until};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    process::Output,
    time::{Duration, Instant},
};

const JWT: &str = "application/statuslist+jwt";

/// Registers a resource server that checks tokens by itself; its audience.
fn checking(admin: &Client) -> String {
    let audience = format!("https://{}.example", fresh("offline-"));
    let body = json!({"name": fresh("offline-"), "audience": audience, "status_list": true});
    let made = admin.post("/v1/resource-servers").json(&body).send().expect(201);
    assert_eq!(made.at("/status_list"), &json!(true));
    audience
}

/// What an agent is given for a resource server and for Placet, so that it can be a parent too.
fn given(client: &Client, agent: &Agent, audience: &str, parent: Option<&str>) -> Answer {
    let both = format!("{audience} {}", client.base());
    let asked = agent.ask().with("resource", &both).with("scope", "orders.*");
    match parent {
        Some(parent) => asked.with("parent_token", parent),
        None => asked,
    }
    .send(client)
}

fn token(client: &Client, agent: &Agent, audience: &str) -> String {
    given(client, agent, audience, None).expect(200).text("/access_token")
}

/// Where a token says that it stands.
fn reference(token: &str) -> Reference {
    serde_json::from_value(read(token).1["status"]["status_list"].clone()).unwrap()
}

/// The path of a list: servers of tests move to other ports.
fn path(uri: &str) -> String {
    format!("/oauth/status/{}", uri.rsplit_once('/').unwrap().1)
}

fn statement(client: &Client, reference: &Reference) -> Answer {
    client.get(&path(&reference.uri)).header("accept", JWT).send()
}

/// What the resource server would find at this node, with nothing but what anybody is told.
fn status(client: &Client, token: &str) -> Status {
    let keys = KeySet::parse(&client.get("/.well-known/jwks.json").send().expect(200).body).unwrap();
    let reference = reference(token);
    let list = statement(client, &reference).expect(200);
    status_list::read(list.body.as_str().unwrap(), &keys, &reference, Clock::System.now()).unwrap().status
}

fn suspend(stage: &Stage, agent: &Agent) {
    stage.admin().post(&format!("/v1/agents/{}/suspend", agent.id)).send().expect(200);
}

fn resume(stage: &Stage, agent: &Agent) {
    stage.admin().post(&format!("/v1/agents/{}/activate", agent.id)).send().expect(200);
}

#[test]
fn a_token_says_where_it_stands_and_its_list_says_what_became_of_it() {
    let stage = stage();
    let audience = checking(&stage.admin());
    let client = stage.client();
    let (parent_agent, child_agent) = (stage.agent(), stage.agent());
    let parent = token(&client, &parent_agent, &audience);
    let child = given(&client, &child_agent, &audience, Some(&parent)).expect(200).text("/access_token");
    let other = token(&client, &child_agent, &audience);
    let all = [&parent, &child, &other].map(|token| reference(token));
    assert!(all.iter().all(|one| one.uri.starts_with(&format!("{}/oauth/status/tsl_", client.base()))));
    assert_eq!(all.iter().map(|one| (&one.uri, one.idx)).collect::<BTreeSet<_>>().len(), 3);
    let statuses = || [&parent, &child, &other].map(|token| status(&client, token));
    assert_eq!(statuses(), [Status::Valid; 3]);
    // Who is suspended stops what hangs below, and nothing else, and it all comes back.
    suspend(stage, &parent_agent);
    assert_eq!(statuses(), [Status::Suspended, Status::Suspended, Status::Valid]);
    resume(stage, &parent_agent);
    assert_eq!(statuses(), [Status::Valid; 3]);
    suspend(stage, &child_agent);
    assert_eq!(statuses(), [Status::Valid, Status::Suspended, Status::Suspended]);
    // What was revoked is over, whoever is suspended besides.
    stage.admin().post("/oauth/revoke").form(&[("token", &parent)]).send().expect(200);
    assert_eq!(statuses(), [Status::Invalid, Status::Invalid, Status::Suspended]);
    resume(stage, &child_agent);
    assert_eq!(statuses(), [Status::Invalid, Status::Invalid, Status::Valid]);
    // An agent that has ended never comes back.
    stage.admin().delete(&format!("/v1/agents/{}", child_agent.id)).send().expect(200);
    assert_eq!(statuses(), [Status::Invalid; 3]);
}

#[test]
fn only_tokens_for_those_who_want_it_stand_in_a_list() {
    let stage = stage();
    let client = stage.client();
    let audience = format!("https://{}.example", fresh("asking-"));
    let body = json!({"name": fresh("asking-"), "audience": audience});
    let asking = stage.admin().post("/v1/resource-servers").json(&body).send().expect(201);
    assert_eq!(asking.at("/status_list"), &json!(false));
    let agent = stage.agent();
    let plain = agent.token(&client, "orders.read");
    for token in [&plain, &token(&client, &agent, &audience)] {
        assert!(read(token).1.get("status").is_none());
    }
    let wanting = checking(&stage.admin());
    // One that wants it is enough, and what is derived from there stands there too; what is for Placet alone, nowhere.
    let first = token(&client, &agent, &format!("{audience} {wanting}"));
    assert_eq!(status(&client, &first), Status::Valid);
    let again = agent.ask().with("parent_token", &first).send(&client).expect(200).text("/access_token");
    assert_ne!(reference(&again), reference(&first));
    let only = agent.ask().with("parent_token", &first).with("resource", client.base()).send(&client);
    assert!(read(&only.expect(200).text("/access_token")).1.get("status").is_none());
    // One that has ended wants nothing any more; what was given stays where it stands.
    stage
        .admin()
        .delete(&format!("/v1/resource-servers/{}", wanting.replace("https://", "https:%2F%2F")))
        .send()
        .expect(204);
    let late = given(&client, &agent, &wanting, Some(&first));
    let late = late.expect(400);
    assert_eq!(late.at("/error"), "invalid_target");
    let inherited = agent.ask().with("parent_token", &first).send(&client).expect(200).text("/access_token");
    assert!(read(&inherited).1.get("status").is_none());
    stage.admin().post("/oauth/revoke").form(&[("token", &first)]).send().expect(200);
    assert_eq!(status(&client, &first), Status::Invalid);
}

#[test]
fn a_list_is_for_everybody_and_says_how_long_it_is_good() {
    let stage = stage();
    let audience = checking(&stage.admin());
    let client = stage.client();
    let token = token(&client, &stage.agent(), &audience);
    let reference = reference(&token);
    let list = statement(&client, &reference).expect(200);
    assert_eq!(list.header("content-type"), Some(JWT));
    assert_eq!(list.header("cache-control"), Some("public, max-age=20"));
    assert_eq!(list.header("access-control-allow-origin"), Some("*"));
    let (header, claims) = read(list.body.as_str().unwrap());
    assert_eq!(header["typ"], "statuslist+jwt");
    assert_eq!((&claims["sub"], &claims["iss"]), (&json!(reference.uri), &json!(client.base())));
    assert_eq!((&claims["ttl"], &claims["status_list"]["bits"]), (&json!(20), &json!(2)));
    let lives = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(lives, 120);
    // Nobody who is good can be told from a place that nobody has.
    assert!(claims["status_list"]["lst"].as_str().unwrap().len() < 3000);
    let path = path(&reference.uri);
    let refused = |accept: &str| client.get(&path).header("accept", accept).send();
    refused("application/statuslist+cwt").refused(406, "invalid_request");
    refused("application/statuslist+cwt, */*;q=0.1").expect(200);
    client.get(&path).send().expect(200);
    client.get(&format!("{path}?time=1700000000")).send().refused(501, "invalid_request");
    client.get(&format!("{path}?x=1")).send().refused(400, "invalid_request");
    client.get("/oauth/status/tsl_00000000000000000000000000").send().refused(404, "invalid_request");
    client.get("/oauth/status/gnt_00000000000000000000000000").send().refused(404, "invalid_request");
    // It is found without a token, too.
    let metadata = client.get("/.well-known/oauth-authorization-server").send().expect(200);
    let endpoint = metadata.text("/status_list_aggregation_endpoint");
    let lists = client.get(&endpoint).send().expect(200);
    assert_eq!(lists.header("content-type"), Some("application/json"));
    assert!(lists.at("/status_lists").as_array().unwrap().contains(&json!(reference.uri)), "{}", lists.body);
    // Of another list, or of no place of it, nothing is believed.
    let keys = KeySet::parse(&client.get("/.well-known/jwks.json").send().expect(200).body).unwrap();
    let now = Clock::System.now();
    let text = list.body.as_str().unwrap();
    let elsewhere = Reference { uri: format!("{}x", reference.uri), ..reference.clone() };
    let beyond = Reference { idx: 1 << 13, ..reference };
    assert_eq!(
        status_list::read(text, &keys, &elsewhere, now).unwrap_err(),
        status_list::Unreadable::Subject
    );
    assert_eq!(
        status_list::read(text, &keys, &beyond, now).unwrap_err(),
        status_list::Unreadable::OutOfRange
    );
}

#[test]
fn metadata_names_the_lists_only_where_tokens_stand_in_one() {
    let server = Server::start(PLACET);
    let metadata = || server.client().get("/.well-known/oauth-authorization-server").send().expect(200).body;
    assert!(metadata().get("status_list_aggregation_endpoint").is_none());
    let lists = server.client().get("/oauth/status").send().expect(200);
    assert_eq!(lists.body, json!({"status_lists": []}));
    checking(&server.admin());
    assert!(metadata().get("status_list_aggregation_endpoint").is_some());
}

#[test]
fn no_place_is_given_twice_and_the_next_says_nothing_of_the_one_before() {
    let stage = stage();
    let audience = checking(&stage.admin());
    let client = stage.client();
    let agents: Vec<Agent> = (0..4).map(|_| stage.agent()).collect();
    let given: Vec<Reference> = together(8, |n| {
        let own = |_| reference(&token(&client, &agents[n % 4], &audience));
        (0..12).map(own).collect::<Vec<_>>()
    })
    .concat();
    let distinct: BTreeSet<_> = given.iter().map(|one| (&one.uri, one.idx)).collect();
    assert_eq!(distinct.len(), 96);
    let places: Vec<u64> = given.iter().map(|one| one.idx).collect();
    assert!(places.iter().all(|place| *place < 1 << 13));
    // By chance as good as never: given in order, they would lie together.
    assert!(places.iter().any(|place| *place < 4096) && places.iter().any(|place| *place >= 4096));
    let follow = places.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
    assert!(follow < 4, "{places:?}");
}

/// One thing that happens. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    Own(usize),
    Child(usize, usize),
    /// Another token of a grant that there is.
    Again(usize),
    Revoke(usize),
    Task(usize, bool),
    Suspend(usize),
    Resume(usize),
    End(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0usize..64;
    prop_oneof![
        3 => n.clone().prop_map(Step::Own),
        6 => (n.clone(), n.clone()).prop_map(|(agent, parent)| Step::Child(agent, parent)),
        1 => n.clone().prop_map(Step::Again),
        3 => n.clone().prop_map(Step::Revoke),
        1 => (n.clone(), any::<bool>()).prop_map(|(token, done)| Step::Task(token, done)),
        2 => n.clone().prop_map(Step::Suspend),
        1 => n.clone().prop_map(Step::Resume),
        1 => n.prop_map(Step::End),
    ]
}

/// A token, its agent and its task.
struct Held {
    token: String,
    agent: usize,
    task: String,
}

/// After everything that can happen to a forest of grants, each list says of each token what introspection says; and of
/// one that is not good now, whether it will be once nobody is suspended.
#[test]
fn a_list_says_what_introspection_says() {
    let stage = stage();
    let audience = checking(&stage.admin());
    let config = Config { cases: 8, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&proptest::collection::vec(step(), 8..24), |steps| {
        let agents: Vec<Agent> = (0..4).map(|_| stage.agent()).collect();
        let mut held: Vec<Held> = Vec::new();
        for step in &steps {
            happen(stage, &audience, &agents, &mut held, step);
            if !matches!(step, Step::Own(_) | Step::Child(..) | Step::Again(_)) {
                for one in &held {
                    let listed = status(&stage.client(), &one.token);
                    assert_eq!(listed == Status::Valid, stage.is_active(&one.token), "{listed}");
                }
            }
        }
        let before: Vec<Status> = held.iter().map(|one| status(&stage.client(), &one.token)).collect();
        for agent in &agents {
            stage.admin().post(&format!("/v1/agents/{}/activate", agent.id)).send();
        }
        for (one, before) in held.iter().zip(before) {
            let after = stage.is_active(&one.token);
            assert_eq!(after, before != Status::Invalid, "{before}");
            assert_eq!(status(&stage.client(), &one.token) == Status::Valid, after);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

fn take(held: &mut Vec<Held>, answer: &Answer, agent: usize) {
    if answer.status == 200 {
        held.push(Held { token: answer.text("/access_token"), agent, task: answer.text("/task_id") });
    }
}

fn happen(stage: &Stage, audience: &str, agents: &[Agent], held: &mut Vec<Held>, step: &Step) {
    let (client, admin) = (stage.client(), stage.admin());
    let pick = |n: usize| (!held.is_empty()).then(|| n % held.len());
    let agent = |n: usize| format!("/v1/agents/{}", agents[n % agents.len()].id);
    match *step {
        Step::Own(n) => {
            let n = n % agents.len();
            take(held, &given(&client, &agents[n], audience, None), n);
        }
        Step::Child(n, parent) => {
            let Some(parent) = pick(parent) else { return };
            let n = n % agents.len();
            let answer = given(&client, &agents[n], audience, Some(&held[parent].token));
            take(held, &answer, n);
        }
        Step::Again(n) => {
            let Some(at) = pick(n) else { return };
            let (n, task) = (held[at].agent, held[at].task.clone());
            let both = format!("{audience} {}", client.base());
            let asked = agents[n].ask().with("resource", &both).with("task_id", &task);
            let answer = asked.with("scope", "orders.*").send(&client);
            take(held, &answer, n);
        }
        Step::Revoke(n) => {
            let Some(at) = pick(n) else { return };
            admin.post("/oauth/revoke").form(&[("token", &held[at].token)]).send().expect(200);
        }
        Step::Task(n, done) => {
            let Some(at) = pick(n) else { return };
            let end = if done { "complete" } else { "revoke" };
            admin.post(&format!("/v1/tasks/{}/{end}", held[at].task)).send();
        }
        Step::Suspend(n) => _ = admin.post(&format!("{}/suspend", agent(n))).send(),
        Step::Resume(n) => _ = admin.post(&format!("{}/activate", agent(n))).send(),
        Step::End(n) => _ = admin.delete(&agent(n)).send(),
    }
}

#[test]
fn a_list_outlives_the_process_that_filled_it() {
    let mut story = Story::new(PLACET);
    let audience = checking(&story.server.admin());
    let agent = story.agent(&fresh("bot-")).register();
    let before = token(&story.client(), &agent, &audience);
    story.server.kill();
    story.server.restart();
    let client = story.client();
    assert_eq!(status(&client, &before), Status::Valid);
    // Nobody fills it any more.
    let after = token(&client, &agent, &audience);
    assert_ne!(reference(&after).uri.rsplit('/').next(), reference(&before).uri.rsplit('/').next());
    until("both lists", || {
        let known = client.get("/oauth/status").send().expect(200);
        (known.at("/status_lists").as_array().unwrap().len() == 2).then_some(())
    });
    story.server.admin().post("/oauth/revoke").form(&[("token", &before)]).send().expect(200);
    assert_eq!([&before, &after].map(|token| status(&client, token)), [Status::Invalid, Status::Valid]);
}

#[test]
fn a_restore_ends_every_place_of_every_list() {
    if placet_testkit::is_about_a_file("status::a_restore_ends_every_place_of_every_list") {
        return;
    }
    let mut story = Story::new(PLACET);
    let audience = checking(&story.server.admin());
    let agent = story.agent(&fresh("bot-")).register();
    let known = token(&story.client(), &agent, &audience);
    let home = story.server.home().to_owned();
    let (data, backup) = (story.server.data(), home.join("backup"));
    let restored = home.join("restored");
    let run = |arguments: &[&std::ffi::OsStr]| {
        let output = story.server.command().arg("--json").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    run(&["--data".as_ref(), data.as_os_str(), "backup".as_ref(), backup.as_os_str()]);
    // Of this one the backup knows nothing: its place would read as valid.
    let lost = token(&story.client(), &agent, &audience);
    assert_eq!(reference(&lost).uri, reference(&known).uri);
    let key = data.join("vault.key");
    let told = run(&[
        "--data".as_ref(),
        restored.as_os_str(),
        "restore".as_ref(),
        backup.as_os_str(),
        "--vault-key-file".as_ref(),
        key.as_os_str(),
    ]);
    assert_eq!(told["ended"]["status_lists"], 1, "{told:#}");
    assert_eq!(story.server.stop(), Some(0));
    std::fs::copy(&key, restored.join("vault.key")).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&restored, &data).unwrap();
    story.server.restart();
    let client = story.client();
    assert_eq!([&known, &lost].map(|token| status(&client, token)), [Status::Invalid; 2]);
}

#[test]
fn strangers_who_make_lists_up_are_slowed_down_and_readers_are_not() {
    let story = Story::new(PLACET);
    let audience = checking(&story.server.admin());
    let agent = story.agent(&fresh("bot-")).register();
    let client = story.client();
    let token = token(&client, &agent, &audience);
    // Of a list that a node has not heard of, the first who asks might make it up as well.
    assert_eq!(status(&client, &token), Status::Valid);
    let refused = together(4, |n| {
        let made_up = |at: usize| {
            let path = format!("/oauth/status/tsl_0000000000000000000000{n}{at:03}");
            client.get(&path).send().status
        };
        (0..400).map(made_up).collect::<Vec<_>>()
    })
    .concat();
    let slowed = refused.iter().filter(|status| **status == 429).count();
    assert!(refused.iter().all(|status| [404, 429].contains(status)));
    // What fits at once, and ten a second besides.
    assert!(slowed > 200, "{slowed} of {}", refused.len());
    assert_eq!(status(&client, &token), Status::Valid);
}

/// With ES256 no two signatures are the same: what many are given at once shows how often it was made.
#[test]
fn of_many_who_read_at_once_one_makes_the_statement() {
    let story = Story::new(PLACET);
    let admin = story.server.admin();
    admin.post("/v1/keys/rotate").json(&json!({"algorithm": "ES256", "at_once": true})).send().expect(200);
    let audience = checking(&admin);
    let agent = story.agent(&fresh("bot-")).register();
    let client = story.client();
    let tokens: Vec<String> = (0..4).map(|_| token(&client, &agent, &audience)).collect();
    let mut made = BTreeSet::new();
    for ended in &tokens {
        admin.post("/oauth/revoke").form(&[("token", ended)]).send().expect(200);
        let read = together(16, |_| statement(&client, &reference(ended)).expect(200).text(""));
        made.extend(read);
        assert_eq!(status(&client, ended), Status::Invalid);
    }
    // One for each change; another where one has become too old meanwhile.
    assert!((4..=6).contains(&made.len()), "{}", made.len());
}

#[test]
fn two_nodes_give_no_place_twice_and_each_knows_what_the_other_ended() {
    let a = Story::on(Server::first_node(PLACET));
    let b = a.server.another_node();
    let agent = a.agent(&fresh("bot-")).register();
    let settling = agent.token(&b.client(), "orders.read");
    until("the nodes to know each other", || {
        (a.client().with(&settling).get("/v1/grants").send().status == 200).then_some(())
    });
    let audience = checking(&a.server.admin());
    // The other node has not heard of it, and still its first token stands in a list.
    let first = token(&b.client(), &agent, &audience);
    let tokens: Vec<String> = together(4, |n| {
        let client = if n % 2 == 0 { a.client() } else { b.client() };
        (0..8).map(|_| token(&client, &agent, &audience)).collect::<Vec<_>>()
    })
    .concat();
    let given: BTreeSet<_> = tokens
        .iter()
        .chain([&first])
        .map(|token| {
            let reference = reference(token);
            (path(&reference.uri), reference.idx)
        })
        .collect();
    assert_eq!(given.len(), 33);
    let lists: BTreeSet<_> = given.iter().map(|(list, _)| list).collect();
    assert_eq!(lists.len(), 2, "each node fills one of its own");
    for (ended, nodes) in [(&tokens[0], [&a.server, &b]), (&first, [&b, &a.server])] {
        let [here, there] = nodes.map(Server::client);
        for client in [&here, &there] {
            assert_eq!(status(client, ended), Status::Valid);
        }
        let began = Instant::now();
        here.with(a.server.admin_token()).post("/oauth/revoke").form(&[("token", ended)]).send().expect(200);
        assert_eq!(status(&here, ended), Status::Invalid);
        until("the other node", || (status(&there, ended) == Status::Invalid).then_some(()));
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    }
    assert_eq!(status(&a.client(), &tokens[1]), Status::Valid);
}

fn cli(server: &Server, token: &str) -> (Output, Value) {
    let output = typed(server.cli().args(["--json", "token", "status"]), token);
    let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, said)
}

#[test]
fn the_command_line_checks_a_token_as_its_resource_server_would() {
    let stage = stage();
    let audience = checking(&stage.admin());
    let client = stage.client();
    let agent = stage.agent();
    let token = token(&client, &agent, &audience);
    let (output, said) = cli(&stage.story.server, &token);
    assert_eq!((output.status.code(), &said["status"]), (Some(0), &json!("valid")), "{output:?}");
    assert_eq!(said["place"], json!(reference(&token).idx));
    suspend(stage, &agent);
    let (output, said) = cli(&stage.story.server, &token);
    assert_eq!((output.status.code(), &said["status"]), (Some(1), &json!("suspended")), "{output:?}");
    // A forged one is no token, whatever a list says.
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let (output, said) = cli(&stage.story.server, &forged);
    assert_eq!((output.status.code(), &said["code"]), (Some(1), &json!("token_invalid")), "{output:?}");
    resume(stage, &agent);
    let plain = agent.token(&client, "orders.read");
    let (output, _) = cli(&stage.story.server, &plain);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--status-list"), "{output:?}");
}
