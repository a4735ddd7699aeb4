//! Two nodes on one PostgreSQL database: what one changes holds at the other's commit point at once, and shows in what
//! the other tells within a second. These run on a real PostgreSQL whatever the engine of the other tests.

use crate::{policies::service, process::Begun, stage::PLACET};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_testkit::{Agent, Answer, Client, Cluster, Proxy, Server, Story, fresh, together, until};
use serde_json::{Value, json};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// The first node with its stage, and the second.
struct Nodes {
    a: Story,
    b: Server,
}

impl Nodes {
    fn start() -> Self {
        let a = Story::on(Server::first_node(PLACET));
        let b = a.server.another_node();
        // Nodes know each other's issuers, keys, policies and services.
        let nodes = Self { a, b };
        nodes.settle();
        nodes
    }

    /// Until the first node takes tokens of the second, and so has seen it.
    fn settle(&self) {
        let agent = self.a.agent(&fresh("settling-")).register();
        let token = agent.token(&self.b.client(), "orders.read");
        until("the nodes to know each other", || {
            (self.a.client().with(&token).get("/v1/grants").send().status == 200).then_some(())
        });
    }

    fn on_b(&self, token: &str, action: &str, params: &Value) -> Answer {
        self.acting_on_b(token, action, params).send()
    }

    fn acting_on_b(&self, token: &str, action: &str, params: &Value) -> placet_testkit::Request {
        let body = json!({"service": "shop", "action": action, "params": params});
        self.b.client().post("/v1/actions").bearer(token).json(&body)
    }

    /// An agent that may write notes, its token, and the second node with all of it in memory.
    fn warm(&self) -> (Agent, String) {
        let (agent, token) = self.a.ready("  - {name: notes, allow: [notes.write]}\n");
        for _ in 0..3 {
            // The second node may take a moment to see a policy that was made just now; it judges anew until it does.
            until("the policy", || {
                (self.on_b(&token, "notes.write", &note("warm")).status == 200).then_some(())
            });
        }
        assert!(active(&self.b.admin(), &token));
        (agent, token)
    }
}

fn note(customer: &str) -> Value {
    json!({"customer_id": customer, "text": "x"})
}

fn active(client: &Client, token: &str) -> bool {
    client.post("/oauth/introspect").form(&[("token", token)]).send().expect(200).body["active"] == true
}

/// Within a second, and how long it took.
fn soon(what: &str, mut look: impl FnMut() -> bool) {
    let began = Instant::now();
    until(what, || look().then_some(()));
    assert!(began.elapsed() < Duration::from_secs(1), "{what} took {:?}", began.elapsed());
}

/// Nothing of this customer was sent.
fn nothing_sent(nodes: &Nodes, customer: &str) {
    assert_eq!(nodes.a.shop.count(&format!("/customers/{customer}/")), 0);
}

#[test]
fn what_ends_on_one_node_has_ended_on_the_other() {
    let nodes = Nodes::start();
    let admin = nodes.a.admin();
    let (_, token) = nodes.warm();
    admin.post("/oauth/revoke").form(&[("token", &token)]).send().expect(200);
    // At once: the next action, with no waiting.
    let refused = nodes.on_b(&token, "notes.write", &note("revoked"));
    assert_eq!(refused.status, 401, "{:#}", refused.body);
    soon("the introspection", || !active(&nodes.b.admin(), &token));
    soon("the listing", || nodes.b.client().with(&token).get("/v1/grants").send().status == 401);

    let (agent, token) = nodes.warm();
    admin.post(&format!("/v1/agents/{}/suspend", agent.id)).send().expect(200);
    let refused = nodes.on_b(&token, "notes.write", &note("suspended"));
    assert_eq!(refused.status, 401, "{:#}", refused.body);
    soon("the introspection", || !active(&nodes.b.admin(), &token));
    let asked = || agent.ask().with("scope", "notes.write").send(&nodes.b.client());
    soon("the refusal of tokens", || asked().status == 401);

    let (agent, _) = nodes.warm();
    let ask = agent.ask().with("scope", "notes.write").with("task_id", "one");
    let token = ask.send(&nodes.a.client()).expect(200).text("/access_token");
    nodes.on_b(&token, "notes.write", &note("warm")).expect(200);
    let told = nodes.a.client().with(&token).post("/oauth/introspect").form(&[("token", &token)]).send();
    assert_eq!(told.expect(200).at("/task/state"), "active");
    let tasks = admin.get(&format!("/v1/tasks?agent={}&limit=100", agent.id)).send().expect(200);
    let tasks = tasks.at("/tasks").as_array().unwrap().clone();
    let task = tasks.iter().find(|task| task["label"] == "one").unwrap()["id"].as_str().unwrap().to_owned();
    admin.post(&format!("/v1/tasks/{task}/revoke")).send().expect(200);
    let refused = nodes.on_b(&token, "notes.write", &note("ended"));
    assert_eq!(refused.status, 401, "{:#}", refused.body);
    for customer in ["revoked", "suspended", "ended"] {
        nothing_sent(&nodes, customer);
    }
}

#[test]
fn a_policy_that_one_node_applies_binds_the_other_at_once() {
    let nodes = Nodes::start();
    let (agent, token) = nodes.warm();
    for round in 0..5 {
        nodes.a.rules(&agent.handle, "  - {name: no, deny: [notes.write]}\n").expect(200);
        let customer = format!("denied-{round}");
        let denied = nodes.on_b(&token, "notes.write", &note(&customer));
        assert_eq!(denied.status, 403, "{:#}", denied.body);
        nothing_sent(&nodes, &customer);
        let dry = json!({"action": "notes.write", "resource": "order://customer:1", "params": note("1"), "dry_run": true});
        soon("the dry run", || {
            let said = nodes.b.client().with(&token).post("/v1/decisions").json(&dry).send();
            said.expect(200).at("/decision") == "deny"
        });
        nodes.a.rules(&agent.handle, "  - {name: notes, allow: [notes.write]}\n").expect(200);
        soon("the permission", || nodes.on_b(&token, "notes.write", &note("allowed")).status == 200);
    }
    // A service that is there anew is known, too.
    let service = Story::service_at(nodes.a.shop.base()).replace("service: shop", "service: second");
    let service = ["orders.list", "orders.read", "orders.delete", "notes.write", "refunds.create"]
        .into_iter()
        .fold(service, |text, action| text.replace(&format!("  {action}:"), &format!("  second.{action}:")));
    nodes.a.service("second", &service).expect(201);
    soon("the service", || {
        let listed = nodes.b.admin().get("/v1/services").send().expect(200);
        listed.at("/services").as_array().unwrap().iter().any(|one| one["service"] == "second")
    });
}

/// Each is sound beside what was there before; both together would let an agent claim whose order it pays.
#[test]
fn a_policy_and_a_service_that_two_nodes_apply_at_once_are_never_both_in_force_unchecked() {
    let nodes = Nodes::start();
    let base = nodes.a.shop.base();
    let (mut policies, mut services) = (0, 0);
    for _ in 0..12 {
        let name = fresh("pair");
        nodes.a.service(&name, &service(&name, base, true)).expect(201);
        let policy = format!(
            "policy: {name}\nrules:\n  - {{name: own, allow: [{name}.pay], on: ['{name}://customer:42/*']}}\n"
        );
        let applied = together(2, |number| {
            let (client, path, text) = match number {
                0 => (nodes.a.admin(), format!("/v1/policies/{name}"), policy.clone()),
                _ => (nodes.b.admin(), format!("/v1/services/{name}"), service(&name, base, false)),
            };
            client.put(&path).yaml(&text).send()
        });
        let done: Vec<bool> = applied.iter().map(|answer| answer.status < 300).collect();
        assert_ne!(done, [true, true], "both were applied");
        for answer in applied.iter().filter(|answer| answer.status >= 300) {
            assert!(matches!(answer.status, 422 | 503), "{:#}", answer.body);
        }
        policies += u32::from(done[0]);
        services += u32::from(done[1]);
        // Whatever came of it loads, on both: an unsound pair would stop every change.
        for client in [nodes.a.admin(), nodes.b.admin()] {
            let other = fresh("other-");
            let text = format!("policy: {other}\nrules:\n  - {{name: none, deny: [{name}.pay]}}\n");
            client.put(&format!("/v1/policies/{other}")).yaml(&text).send().expect(201);
        }
    }
    assert!(policies + services > 0, "neither was ever applied");
}

#[test]
fn a_budget_is_one_on_both_nodes() {
    let nodes = Nodes::start();
    let rules = "  - {name: ten, allow: [notes.write], limits: [{count: 10, per: day}]}\n";
    let (_, token) = nodes.a.ready(rules);
    let answers = together(40, |number| {
        let customer = "budget";
        if number % 2 == 0 {
            nodes.a.act(&token, "notes.write", &note(customer))
        } else {
            nodes.on_b(&token, "notes.write", &note(customer))
        }
    });
    let done = answers.iter().filter(|answer| answer.status == 200).count();
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        // Judged on a policy that had not come yet, it is denied; never done.
        assert_eq!(answer.status, 403, "{:#}", answer.body);
    }
    assert_eq!(nodes.a.shop.count("/customers/budget/"), done);
    let mut all = done;
    while nodes.a.act(&token, "notes.write", &note("budget")).status == 200 {
        all += 1;
    }
    assert_eq!(all, 10);
    nodes.on_b(&token, "notes.write", &note("budget")).refused(403, "limit_exceeded");
}

#[test]
fn asked_on_one_node_decided_on_the_other_released_once() {
    let nodes = Nodes::start();
    let rules =
        "  - {name: held, allow: [notes.write], approve: {by: [\"role:support-lead\"], within: 30m}}\n";
    let (_, token) = nodes.a.ready(rules);
    let params = note("approved");
    let held = nodes.a.act(&token, "notes.write", &params).expect(202).text("/approval/id");
    let decide = nodes.b.client().post(&format!("/v1/approvals/{held}")).bearer(&nodes.a.lee);
    decide.json(&json!({"verdict": "approve"})).send().expect(200);
    let answers = together(12, |number| {
        let request = if number % 2 == 0 {
            nodes.a.acting(&token, "notes.write", &params)
        } else {
            nodes.acting_on_b(&token, "notes.write", &params)
        };
        request.header("placet-approval", &held).send()
    });
    let done = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((done, nodes.a.shop.count("/customers/approved/")), (1, 1), "{answers:#?}");
}

#[test]
fn keys_that_one_node_rotates_are_the_others_at_once() {
    let nodes = Nodes::start();
    let (agent, old) = nodes.warm();
    for rotation in 0..4 {
        nodes.a.server.admin().post("/v1/keys/rotate").json(&json!({})).send().expect(200);
        // Signed by a key that the other node has seen only as the next one, or never.
        let token = agent.token(&nodes.a.client(), "notes.write");
        nodes.on_b(&token, "notes.write", &note("rotated")).expect(200);
        assert!(active(&nodes.b.admin(), &token), "{rotation}");
    }
    nodes.on_b(&old, "notes.write", &note("rotated")).expect(200);
    let set = |server: &Server| server.client().get("/.well-known/jwks.json").send().expect(200).body;
    soon("the key set", || set(&nodes.b) == set(&nodes.a.server));
    nodes.a.server.admin().post("/v1/keys/rotate").json(&json!({"key": "body"})).send().expect(200);
    nodes.a.policy("a", "policy: a\nrules:\n  - {name: a, allow: [a.b]}\n").expect(201);
    until("the record as the other node reads it", || {
        let page = nodes.b.admin().get("/v1/record?limit=500").send();
        page.clone().expect(200);
        page.body.to_string().contains("policy: a").then_some(())
    });
    // Given up at once, on both.
    nodes.a.server.admin().post("/v1/keys/rotate").json(&json!({"at_once": true})).send().expect(200);
    assert_eq!(nodes.a.act(&old, "notes.write", &note("gone")).status, 401);
    soon("the end of the old keys", || nodes.on_b(&old, "notes.write", &note("gone")).status == 401);
}

#[test]
fn a_node_that_is_killed_takes_nothing_with_it() {
    let mut nodes = Nodes::start();
    let (agent, token) = nodes.warm();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (answered, killed) = thread::scope(|scope| {
        let base = nodes.a.server.base().to_owned();
        let (stop, token) = (&stop, &token);
        let acting = scope.spawn(move || {
            let (client, mut done) = (Client::new(&base), 0);
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let body = json!({"service": "shop", "action": "notes.write", "params": note("killed")});
                match client.post("/v1/actions").bearer(token).json(&body).try_send() {
                    Ok(answer) if answer.status == 200 => done += 1,
                    _ => break,
                }
            }
            done
        });
        until("some load", || (nodes.a.shop.count("/customers/killed/") >= 20).then_some(()));
        let kill = std::process::Command::new("kill").args(["-9", &nodes.a.server.id().to_string()]).status();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        (acting.join().unwrap(), kill.unwrap().success())
    });
    assert!(killed && answered > 0);
    // The other goes on, with everything.
    nodes.on_b(&token, "notes.write", &note("after")).expect(200);
    nodes.on_b(&agent.token(&nodes.b.client(), "notes.write"), "notes.write", &note("after")).expect(200);
    let verify = || {
        let mut command = nodes.b.cli();
        command.env("PLACET_TOKEN", nodes.b.admin_token()).args(["record", "verify", "--json"]);
        command.output().unwrap()
    };
    let output = verify();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    nodes.a.server.restart();
    nodes.settle();
    let output = verify();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Everything that was sent has its intent, and everything that was answered is known.
    let intents = nodes.a.record().iter().filter(|entry| entry["type"] == "action.intent").count();
    assert!(intents >= nodes.a.shop.seen().len() && nodes.a.shop.count("/customers/killed/") >= answered);
}

#[test]
fn the_vault_key_is_brought_to_every_node_first() {
    let nodes = Nodes::start();
    let file = |server: &Server| server.data().join("vault.key");
    let rotate = || nodes.a.server.admin().post("/v1/keys/rotate").json(&json!({"key": "vault"})).send();
    let said = rotate().refused(409, "conflict");
    assert!(said.text("/detail").contains("vault key file of every node"), "{:#}", said.body);
    let add = |server: &Server| {
        let lines = fs::read_to_string(file(server)).unwrap();
        fs::write(file(server), format!("{lines}{}\n", STANDARD.encode([55; 32]))).unwrap();
    };
    add(&nodes.a.server);
    let said = rotate().refused(409, "conflict");
    assert!(said.text("/detail").contains("nod_"), "{:#}", said.body);
    add(&nodes.b);
    until("the other node to say so", || (rotate().status == 200).then_some(()));
    // Both seal by the new one, and open what either has sealed.
    let connection = |server: &Server, name: &str| {
        let body = json!({"name": name, "service": "shop", "auth": {"type": "bearer", "secret": placet_testkit::SECRET}});
        server.admin().post("/v1/connections").json(&body).send()
    };
    soon("the other node's first seal by it", || {
        let sealing = nodes.b.admin().get("/v1/keys").send().expect(200).body;
        sealing["vault"].as_array().unwrap().iter().any(|key| key["state"] == "retiring")
    });
    connection(&nodes.b, "by-b").expect(201);
    connection(&nodes.a.server, "by-a").expect(201);
    let (_, token) = nodes.a.ready("  - {name: notes, allow: [notes.write]}\n");
    for name in ["by-a", "by-b", "shop-main"] {
        let body =
            json!({"service": "shop", "action": "notes.write", "params": note(name), "connection": name});
        for server in [&nodes.a.server, &nodes.b] {
            let act = || server.client().post("/v1/actions").bearer(&token).json(&body).send();
            soon(name, || act().status == 200);
        }
    }
}

#[test]
fn a_second_node_needs_the_vault_key_and_is_told_so() {
    let first = Server::first_node(PLACET);
    let home = tempfile::tempdir().unwrap();
    let start = |key: Option<&[u8]>| {
        let data = home.path().join("data");
        fs::create_dir_all(&data).unwrap();
        match key {
            Some(key) => fs::write(data.join("vault.key"), key).unwrap(),
            None => _ = fs::remove_file(data.join("vault.key")),
        }
        let mut command = crate::process::placet(home.path());
        command.env("PLACET_DATABASE", first.database().unwrap().url());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data", "data"]).output().unwrap()
    };
    for key in [None, Some(STANDARD.encode([9; 32]))] {
        let output = start(key.as_deref().map(str::as_bytes));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(
            said.contains("vault.key") && said.contains("copy") && said.contains("--vault-key-file"),
            "{said}"
        );
        assert!(!home.path().join("data/admin.token").exists());
        assert_eq!(home.path().join("data/vault.key").exists(), key.is_some(), "it made one");
    }
}

#[test]
fn a_password_is_in_no_message_and_a_database_without_a_scheme_is_told_what_it_should_be() {
    let home = tempfile::tempdir().unwrap();
    for url in [
        "postgres://placet:hunter2@127.0.0.1:1/placet?sslmode=disable",
        "placet:hunter2@127.0.0.1/placet",
        "mysql://placet:hunter2@127.0.0.1/placet",
        "postgres://placet:hunter2@127.0.0.1:99999999/placet",
    ] {
        let mut by_flag = crate::process::placet(home.path());
        by_flag.args(["serve", "--listen", "127.0.0.1:0", "--database", url, "--log", "trace"]);
        let mut by_environment = crate::process::placet(home.path());
        by_environment.env("PLACET_DATABASE", url);
        by_environment.args(["serve", "--listen", "127.0.0.1:0", "--log", "trace"]);
        for mut command in [by_flag, by_environment] {
            let output = command.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && !said.contains("hunter2"), "{said}");
            assert!(said.contains("postgres://"), "{said}");
        }
    }
}

#[test]
fn an_empty_database_is_served_in_a_moment_and_two_nodes_that_come_at_once_make_one_installation() {
    let began = Instant::now();
    let first = Server::first_node(PLACET);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(first);
    let database = Cluster::of_this_process().database();
    let key = STANDARD.encode([3; 32]);
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut running: Vec<_> = homes
        .iter()
        .map(|home| {
            let mut command = crate::process::placet(home.path());
            command.env("PLACET_DATABASE", database.url()).env("PLACET_VAULT_KEY", &key);
            Begun::serve(command, home.path())
        })
        .collect();
    let data = |home: &tempfile::TempDir| home.path().join("data");
    until("both to serve", || running.iter_mut().all(Begun::serves).then_some(()));
    let tokens: Vec<_> = homes.iter().filter(|home| data(home).join("admin.token").exists()).collect();
    assert_eq!(tokens.len(), 1, "one of them made it");
    let token = fs::read_to_string(data(tokens[0]).join("admin.token")).unwrap();
    for home in &homes {
        let base = fs::read_to_string(data(home).join("address")).unwrap();
        Client::new(base.trim()).with(token.trim()).get("/v1/keys").send().expect(200);
    }
    let keys: Vec<_> = homes.iter().map(|home| fs::read(data(home).join("record.pub")).unwrap()).collect();
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn without_the_database_nothing_kept_in_memory_is_believed_for_long() {
    let cluster = Cluster::of_this_process();
    let database = cluster.database();
    let proxy = Proxy::before(cluster.address());
    let home = tempfile::tempdir().unwrap();
    let mut command = crate::process::placet(home.path());
    command.env("PLACET_DATABASE", database.url_through(proxy.port()));
    let mut server = Begun::serve(command, home.path());
    let data = home.path().join("data");
    until("it serves", || server.serves().then_some(()));
    let base = fs::read_to_string(data.join("address")).unwrap();
    let token = fs::read_to_string(data.join("admin.token")).unwrap();
    let admin = Client::new(base.trim()).with(token.trim());
    let agent = json!({"agent_name": "one", "allowed_tools": ["notes.write"], "resource_access": ["**"]});
    let made = admin.post("/v1/agents").json(&agent).send().expect(201);
    let confirm = json!({"registration_token": made.text("/registration_token")});
    let path = format!("/v1/agents/{}/activate", made.text("/client_id"));
    admin.post(&path).json(&confirm).send().expect(200);
    let form = [("grant_type", "client_credentials"), ("scope", "notes.write")];
    let asked = Client::new(base.trim()).post("/oauth/token");
    let asked = asked.basic(&made.text("/client_id"), &made.text("/client_secret")).form(&form).send();
    let token = asked.expect(200).text("/access_token");
    let agent = Client::new(base.trim()).with(&token);
    let dry = json!({"action": "notes.write", "resource": "order://a/b", "params": {}, "dry_run": true});
    agent.post("/v1/decisions").json(&dry).send().expect(200);
    proxy.stall();
    let began = Instant::now();
    // The token and its chain are in memory; they are believed for five seconds, not for longer.
    until("the end of belief", || {
        let said = agent.post("/v1/decisions").json(&dry).send();
        assert!(matches!(said.status, 200 | 503), "{:#}", said.body);
        (said.status == 503).then_some(())
    });
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let told = admin.post("/oauth/introspect").form(&[("token", &token)]).send();
    assert_eq!(told.status, 503, "{:#}", told.body);
    proxy.forward();
    until("the way back", || {
        let told = admin.post("/oauth/introspect").form(&[("token", &token)]).send();
        (told.status == 200 && told.body["active"] == true).then_some(())
    });
}

/// A key is for one effect, on whichever node it comes, while the first is under way and after its node was killed.
#[test]
fn a_key_is_for_one_effect_on_whichever_node_it_comes() {
    let mut nodes = Nodes::start();
    let (_, token) = nodes.warm();
    let path = |customer: &str| format!("/customers/{customer}/");
    let on_a = |nodes: &Nodes, customer: &str| {
        nodes.a.acting(&token, "notes.write", &note(customer)).header("idempotency-key", customer)
    };
    let on_b = |nodes: &Nodes, customer: &str| {
        nodes.acting_on_b(&token, "notes.write", &note(customer)).header("idempotency-key", customer).send()
    };
    // At both at once: one is carried out, and the other has the same answer, or is told to come again.
    let answers = together(8, |number| match number % 2 {
        0 => on_a(&nodes, "both").send(),
        _ => on_b(&nodes, "both"),
    });
    assert!(answers.iter().any(|answer| answer.status == 200));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        _ = answer.clone().refused(409, "idempotency_in_flight");
    }
    assert_eq!(nodes.a.shop.count(&path("both")), 1);
    let first = on_a(&nodes, "both").send().expect(200);
    assert_eq!(on_b(&nodes, "both").expect(200).body, first.body);
    // Killed between sending and answering.
    let gate = placet_testkit::Gate::shut();
    nodes.a.shop.reply(&path("killed"), placet_testkit::Reply::status(200).after(&gate));
    let request = on_a(&nodes, "killed");
    thread::scope(|scope| {
        let waiting = scope.spawn(move || request.try_send().is_err());
        until("the effect", || (nodes.a.shop.count(&path("killed")) == 1).then_some(()));
        _ = on_b(&nodes, "killed").refused(409, "idempotency_in_flight");
        nodes.a.server.kill();
        assert!(waiting.join().unwrap(), "it was answered");
    });
    gate.open();
    // Nobody knows that the node is gone yet, and nobody does it again.
    _ = on_b(&nodes, "killed").refused(409, "idempotency_in_flight");
    nodes.a.server.restart();
    let again = until("what became of it", || {
        let again = on_b(&nodes, "killed");
        (again.status != 409).then_some(again)
    });
    assert_eq!((again.status, again.at("/happened")), (504, &json!("unknown")), "{:#}", again.body);
    assert_eq!(nodes.a.shop.count(&path("killed")), 1);
}
