//! A PostgreSQL database that was dumped and put back by PostgreSQL's own tools, and closed by `placet restore`. These run
//! on a real PostgreSQL whatever the engine of the other tests.

use crate::stage::PLACET;
use placet_testkit::{Cluster, Database, Server, Story, fresh, together, until};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const RULES: &str = "  - {name: notes, allow: [notes.write]}\n  - {name: ask, allow: [refunds.create], approve: {by: [\"role:support-lead\"]}}\n";

/// A command that is told of this database alone.
fn told(server: &Server, database: &Database) -> Command {
    let mut command = server.command();
    command.env("PLACET_DATABASE", database.url()).arg("--json");
    command
}

fn restore(server: &Server, database: &Database, data: &Path) -> Output {
    told(server, database).args(["restore", "--database", "--data"]).arg(data).output().unwrap()
}

fn done(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A data directory with nothing but the vault key.
fn directory_of(server: &Server, name: &str) -> std::path::PathBuf {
    let data = server.home().join(name);
    fs::create_dir_all(&data).unwrap();
    fs::copy(server.data().join("vault.key"), data.join("vault.key")).unwrap();
    data
}

#[test]
fn a_dump_that_was_put_back_is_closed_and_leaves_the_record_that_goes_on_alone() {
    let story = Story::on(Server::first_node(PLACET));
    let second = story.server.another_node();
    let (agent, token) = story.ready(RULES);
    let customer = fresh("c");
    let note = json!({"customer_id": customer, "text": "x"});
    let refund = json!({"customer_id": customer, "order_id": "1", "amount": 1});
    let held = story.act(&token, "refunds.create", &refund).expect(202).text("/approval/id");
    let verdict = json!({"verdict": "approve"});
    story.approver().post(&format!("/v1/approvals/{held}")).json(&verdict).send().expect(200);
    story.act(&token, "notes.write", &note).expect(200);
    let dump = story.server.home().join("dump");
    story.server.database().unwrap().dump(&dump);
    // What happens after the dump.
    story.acting(&token, "refunds.create", &refund).header("placet-approval", &held).send().expect(200);
    until("the log", || {
        let used = |entry: &Value| entry["type"] == "action.outcome" && entry["action"] == "refunds.create";
        story.record().iter().any(used).then_some(())
    });
    let verify = || story.server.cli().args(["record", "verify", "--json"]).output().unwrap();
    done(&verify());
    let back = Cluster::of_this_process().database();
    back.put_back(&dump);
    let data = directory_of(&story.server, "restored");
    // The dump says of both nodes that they run, and so does the live database; only there they go on saying it.
    let live = story.server.database().unwrap();
    let tried = together(2, |n| {
        restore(
            &story.server,
            if n == 0 { live } else { &back },
            &directory_of(&story.server, ["live", "restored"][n]),
        )
    });
    assert_eq!(tried[0].status.code(), Some(1), "{:?}", tried[0]);
    assert!(stderr(&tried[0]).contains("uses the database: stop every node"), "{:?}", tried[0]);
    let said = done(&tried[1]);
    assert!(said["entries_lost"].as_u64().unwrap() >= 2, "{said:#}");
    assert_eq!((&said["ended"]["agents_suspended"], &said["ended"]["approvals"]), (&json!(1), &json!(1)));
    story.act(&token, "notes.write", &note).expect(200);
    // Both records verify, each against what was kept of it.
    let restored = |more: &[&str]| {
        let mut command = told(&story.server, &back);
        command.args(["record", "verify", "--data"]).arg(&data).args(more).output().unwrap()
    };
    assert_eq!(done(&verify())["restored"], Value::Null);
    let begins = done(&restored(&[]))["restored"].as_str().unwrap().to_owned();
    assert!(begins.starts_with("evt_"), "{begins}");
    assert_eq!(done(&verify())["compared_with"], 1);
    // Nothing of before works on a node of what was put back; an administrator signs in and lets the agent act again.
    let url = back.url();
    let node = Server::node_of(PLACET, back, &data.join("vault.key"));
    let client = node.client();
    // The nodes of then are forgotten: this one has nobody to agree with.
    assert!(!node.log().contains("another node of this installation"), "{}", node.log());
    let act = |token: &str| {
        let body = json!({"service": "shop", "action": "notes.write", "params": note});
        client.post("/v1/actions").bearer(token).json(&body).send()
    };
    act(&token).expect(401);
    client.get("/v1/agents").bearer(&story.ada).send().expect(401);
    agent.ask().with("scope", "notes.*").send(&client).refused(401, "invalid_client");
    let body = json!({"name": "ada", "password": placet_testkit::password("ada")});
    let ada = client.post("/v1/sessions").json(&body).send().expect(201).text("/token");
    let entries = client.get("/v1/record?limit=1000").bearer(&ada).send().expect(200).body;
    let entries = entries["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["type"] == "server.restored").unwrap();
    assert_eq!((&entry["id"], &entry["count"]), (&json!(begins), &said["entries_lost"]));
    client.post(&format!("/v1/agents/{}/activate", agent.id)).bearer(&ada).send().expect(200);
    let token = agent.token(&client, "notes.* refunds.*");
    act(&token).expect(200);
    let again = json!({"service": "shop", "action": "refunds.create", "params": refund});
    let again =
        client.post("/v1/actions").bearer(&token).header("placet-approval", &held).json(&again).send();
    assert_eq!(again.status, 403, "{:#}", again.body);
    // Its own checks, with what was kept of this lineage.
    let mut verify = told(&story.server, node.database().unwrap());
    let verified =
        done(&verify.args(["record", "verify", "--database", &url, "--data"]).arg(&data).output().unwrap());
    assert_eq!((&verified["restored"], &verified["compared_with"]), (&json!(begins), &json!(1)));
    drop(second);
}

#[test]
fn what_can_not_be_closed_is_said() {
    let mut story = Story::on(Server::first_node(PLACET));
    story.ready(RULES);
    let live = story.server.database().unwrap().url();
    let command = |more: &[&str]| {
        let mut command = story.server.command();
        command.env_remove("PLACET_DATABASE").arg("--json").arg("restore").args(more).output().unwrap()
    };
    let data = story.server.data();
    let data = data.to_str().unwrap();
    // A database is closed only where that is asked for: the environment of a server has its URL at all times.
    let from_environment = story.server.command().args(["restore", "--data", data]).output().unwrap();
    assert_eq!(from_environment.status.code(), Some(2), "{from_environment:?}");
    let nowhere = command(&["--data", data, "--database"]);
    assert!(nowhere.status.code() == Some(2) && stderr(&nowhere).contains("PLACET_DATABASE"), "{nowhere:?}");
    let both = command(&["/backup", "--data", data, "--database", &live]);
    assert_eq!(both.status.code(), Some(2), "{both:?}");
    let running = command(&["--data", data, "--database", &live]);
    assert!(running.status.code() == Some(2) && stderr(&running).contains("stop every node"), "{running:?}");
    assert_eq!(story.server.stop(), Some(0));
    let command = |more: &[&str]| {
        let mut command = story.server.command();
        command.env_remove("PLACET_DATABASE").arg("--json").arg("restore").args(more).output().unwrap()
    };
    let empty = Cluster::of_this_process().database();
    let nothing = command(&["--data", data, "--database", &empty.url()]);
    assert!(nothing.status.code() == Some(2) && stderr(&nothing).contains("nothing is in"), "{nothing:?}");
    let keyless = story.server.home().join("keyless");
    let no_key = command(&["--data", keyless.to_str().unwrap(), "--database", &live]);
    assert!(no_key.status.code() == Some(2) && stderr(&no_key).contains("vault key"), "{no_key:?}");
    let other = story.server.home().join("other.key");
    fs::write(&other, [7; 32]).unwrap();
    let wrong = command(&["--data", data, "--database", &live, "--vault-key-file", other.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    // One that was touched is not closed, and one that is whole is, also when nothing was lost, and twice.
    let database = story.server.database().unwrap();
    let closed =
        || database.column("select count(*) from record_entries where type = 'server.restored'")[0].clone();
    database.run("update record_entries set chain_hash = leaf_hash where seq = 3");
    let touched = command(&["--data", data, "--database", &live]);
    assert!(touched.status.code() == Some(1) && closed() == "0", "{touched:?}");
}
