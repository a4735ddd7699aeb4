//! `placet run`: programs that nobody here wrote, sent through the door by their environment.

use super::{
    entries,
    world::{ALL, World, world},
};
use placet_testkit::{Agent, Reply, fresh, until};
use serde_json::json;
use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, Output, Stdio},
};

/// `placet run` for an agent, for a task of its own.
fn run(world: &World, agent: &Agent, flags: &[&str], command: &[&str]) -> Command {
    let mut run = world.story.server.cli();
    run.args(["run", "--client-id", &agent.id, "--scope", "orders.* notes.*"]).args(flags);
    run.arg("--").args(command).env("PLACET_CLIENT_SECRET", &agent.secret).stdin(Stdio::null());
    run
}

fn ended(output: &Output) -> (i32, String) {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), text)
}

fn prepared() -> (&'static World, Agent, String) {
    let world = world();
    let (agent, _) = world.story.ready(ALL);
    let path = format!("/safe/{}/1", fresh("run-"));
    (world, agent, path)
}

/// A command that gets the URL that is its last argument, does so through the door and prints what came.
fn gets(command: &[&str]) {
    let (world, agent, path) = prepared();
    let url = format!("https://{}{path}", world.safe);
    let (code, text) = ended(&run(world, &agent, &[], &[command, &[&url]].concat()).output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("\"ok\":true"), "{text}");
    assert_eq!(world.story.shop.count(&path), 1);
    let intents = entries(world, &agent.id).into_iter().filter(|it| it["type"] == "action.intent").count();
    assert_eq!(intents, 1);
    // The same without the door's environment reaches nothing with a credential.
    let mut bare = Command::new(command[0]);
    bare.args(&command[1..]).arg(&url);
    let _ = bare.output().unwrap();
    assert_eq!(world.story.shop.count(&path), 1);
}

#[test]
fn curl_goes_through_the_door() {
    gets(&["curl", "-sS", "--fail-with-body"]);
}

#[test]
fn http2_is_spoken_in_a_tunnel_with_programs_that_offer_it() {
    let (world, agent, path) = prepared();
    let (one, other) = (format!("https://{}{path}", world.safe), format!("https://{}/elsewhere", world.safe));
    // Both over one connection, the second of which is no action.
    let command =
        ["curl", "-sS", "--http2", "-w", "\n%{http_version} %{http_code} %{num_connects}\n", &one, &other];
    let (code, text) = ended(&run(world, &agent, &[], &command).output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("\"ok\":true") && text.contains("\n2 200 1\n") && text.contains("\n2 403 0\n"),
        "{text}"
    );
    assert_eq!(world.story.shop.count(&path), 1);
    let old = ["curl", "-sS", "--http1.1", "-w", "\n%{http_version}\n", &one];
    let (_, text) = ended(&run(world, &agent, &[], &old).output().unwrap());
    assert!(text.contains("\n1.1\n"), "{text}");
}

#[test]
fn why_there_is_no_tunnel_is_told_once_for_each_host() {
    let (world, agent, path) = prepared();
    let (nobody, safe) = ("https://nobody.example/", format!("https://{}{path}", world.safe));
    let command = ["curl", "-sS", nobody, "--next", "-sS", nobody, "--next", "-sS", &safe];
    let done = run(world, &agent, &[], &command).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(told.matches("no tunnel to nobody.example:443: ").count(), 1, "{told}");
    assert!(
        !told.contains("the egress door answers 403")
            && !told.contains(&format!("no tunnel to {}", world.safe)),
        "{told}"
    );
    assert!(String::from_utf8_lossy(&done.stdout).contains("\"ok\":true"), "{told}");
    // What nothing will be allowed for is told, too.
    let mut bare = world.story.server.cli();
    bare.args(["run", "--client-id", &agent.id, "--", "curl", "-sS", &safe])
        .env("PLACET_CLIENT_SECRET", &agent.secret);
    let told = String::from_utf8_lossy(&bare.stdin(Stdio::null()).output().unwrap().stderr).into_owned();
    assert!(told.contains("has no scope") && told.contains("--scope"), "{told}");
}

#[test]
fn where_grpc_and_others_look_for_authorities_the_doors_is() {
    let (world, agent, _) = prepared();
    let names =
        ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "HTTPLIB2_CA_CERTS", "NIX_SSL_CERT_FILE", "SSL_CERT_FILE"];
    let script = names.map(|name| format!("grep -c BEGIN \"${name}\"")).join("; ");
    let mut run = run(world, &agent, &[], &["sh", "-c", &script]);
    // What stands there already would not do.
    let done = run.env("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "/dev/null").output().unwrap();
    let counts = String::from_utf8_lossy(&done.stdout).into_owned();
    let counts: Vec<&str> = counts.lines().collect();
    assert!(
        counts.len() == names.len() && counts.iter().all(|it| *it == counts[3] && *it != "0"),
        "{counts:?}"
    );
}

#[test]
fn pythons_own_library_goes_through_the_door() {
    gets(&[
        "python3",
        "-c",
        "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())",
    ]);
}

#[test]
fn a_whole_url_goes_through_the_door() {
    let (world, agent, _) = prepared();
    let path = format!("/customers/{}/orders/1", fresh("run-"));
    let url = format!("{}{path}", world.story.shop.base());
    let (code, text) = ended(&run(world, &agent, &[], &["curl", "-sS", &url, &url]).output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert_eq!(world.story.shop.count(&path), 2, "each on a connection of its own: {text}");
}

#[test]
fn a_tunnel_to_a_host_that_is_http_is_answered_without_tls() {
    // Some clients (Node's `fetch`) ask for a tunnel whatever the scheme of the URL is.
    let (world, agent, _) = prepared();
    let path = format!("/customers/{}/orders/1", fresh("run-"));
    let url = format!("{}{path}", world.story.shop.base());
    let elsewhere = format!("{}/elsewhere", world.story.shop.base());
    let command =
        ["curl", "-sS", "--proxytunnel", "-w", " %{http_code}/%{num_connects}\n", &url, &url, &elsewhere];
    let (code, text) = ended(&run(world, &agent, &[], &command).output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert_eq!(world.story.shop.count(&path), 2, "{text}");
    assert!(text.contains(" 200/1\n") && text.contains(" 200/0\n") && text.contains(" 403/0\n"), "{text}");
    let intents = entries(world, &agent.id).into_iter().filter(|it| it["type"] == "action.intent").count();
    assert_eq!(intents, 2);
    // What it was opened for is what may be asked for inside.
    let other = ["curl", "-sS", "--proxytunnel", "-H", "Host: api.example", &url];
    let (_, text) = ended(&run(world, &agent, &[], &other).output().unwrap());
    assert!(text.contains("misdirected"), "{text}");
    assert_eq!(world.story.shop.count(&path), 2);
}

#[test]
fn git_goes_through_the_door() {
    let (world, agent, _) = prepared();
    let customer = fresh("run-");
    let id = "1f0e5c2ab7d8934c6e0a9d1b2c3d4e5f60718293";
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let refs = [
        line("# service=git-upload-pack\n"),
        "0000".to_owned(),
        line(&format!("{id} refs/heads/main\0agent=stand-in\n")),
        "0000".to_owned(),
    ];
    let kind = "application/x-git-upload-pack-advertisement";
    world.story.shop.reply(&format!("/git/{customer}"), Reply::bytes(200, kind, refs.concat()));
    let url = format!("https://{}/git/{customer}", world.safe);
    let (code, text) = ended(&run(world, &agent, &[], &["git", "ls-remote", &url]).output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("{id}\trefs/heads/main")), "{text}");
    let seen = world.story.shop.seen_at(&format!("/git/{customer}"));
    assert!(seen.iter().all(|seen| seen.authorized && seen.query == "service=git-upload-pack"), "{seen:?}");
}

#[test]
fn a_refusal_reaches_the_command_with_its_reason() {
    let (world, agent, _) = prepared();
    let unknown =
        run(world, &agent, &[], &["curl", "-sS", "-v", "https://unknown.example/"]).output().unwrap();
    let (code, text) = ended(&unknown);
    assert!(code != 0 && text.contains("403"), "{text}");
    let path = format!("/safe/{}/notes", fresh("run-"));
    let url = format!("https://{}{path}", world.safe);
    let more = ["curl", "-sS", "-d", "{\"text\": 1}", "-H", "Content-Type: application/json", &url];
    let (_, text) = ended(&run(world, &agent, &[], &more).output().unwrap());
    assert!(text.contains("params_invalid"), "{text}");
    assert!(world.story.shop.seen_at(&path).is_empty());
}

#[test]
fn what_the_command_finds_holds_no_credential_and_goes_with_it() {
    let (world, agent, path) = prepared();
    let url = format!("https://{}{path}", world.safe);
    let script = "env; cat \"$SSL_CERT_FILE\" | tail -1; curl -sS \"$0\"; exit 7";
    let mut command = run(world, &agent, &["--keep", "KEPT_TOKEN"], &["sh", "-c", script, &url]);
    command.env("AWS_SECRET_ACCESS_KEY", "canary-aws").env("SOME_TOKEN", "canary-token");
    command.env("KEPT_TOKEN", "kept").env("PLACET_TOKEN", "canary-placet").env("HARMLESS", "harmless");
    let (code, text) = ended(&command.output().unwrap());
    assert_eq!(code, 7, "{text}");
    assert!(text.contains("KEPT_TOKEN=kept") && text.contains("HARMLESS=harmless"), "{text}");
    for absent in ["canary-", agent.secret.as_str(), ".eyJ", "PLACET_CLIENT_SECRET="] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    assert!(
        text.contains("left out of the environment: ") && text.contains("AWS_SECRET_ACCESS_KEY"),
        "{text}"
    );
    assert_eq!(world.story.shop.count(&path), 1, "{text}");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).to_owned()
    };
    let file = value("SSL_CERT_FILE");
    assert!(!fs::exists(&file).unwrap(), "{file} is left");
    // Its password is worth nothing any more, and never was to the door itself.
    let proxy = value("HTTPS_PROXY");
    let after = Command::new("curl").args(["-sS", "-k", "-x", &proxy, &url]).output().unwrap();
    assert!(!after.status.success());
    let (_, password) = proxy.split_once("placet:").unwrap();
    let answer = world.connect("placet", password.split('@').next().unwrap(), &world.safe);
    assert_eq!(answer.status, 407, "{}", answer.text);
    assert_eq!(world.story.shop.count(&path), 1);
}

/// The command is of the same user as the run that knows the agent's secret. Where tests run as root, who may look into
/// everything, the run is `nobody`'s.
#[test]
fn the_command_can_not_look_into_the_run() {
    let (world, agent, _) = prepared();
    let (home, user) = crate::confined::home();
    // The shell between them is one that can be looked into: the same way finds the secret in it.
    let script = "./placet run --client-id \"$AGENT\" --scope 'orders.* notes.*' -- sh -c 'echo ran; tr \"\\0\" \"\\n\" < /proc/$PPID/environ; \
        head -c 1 /proc/$PPID/maps && echo maps; exec 3< /proc/$PPID/mem && echo memory'; \
        echo below; sh -c 'tr \"\\0\" \"\\n\" < /proc/$PPID/environ'; true";
    let mut run = Command::new("sh");
    run.args(["-c", script]).current_dir(home.path()).env("AGENT", &agent.id).stdin(Stdio::null());
    run.env("PLACET_URL", world.story.server.base()).env("PLACET_CLIENT_SECRET", &agent.secret);
    run.env("HOME", home.path());
    if let Some(user) = user {
        run.uid(user).gid(user);
    }
    let (code, text) = ended(&run.output().unwrap());
    assert_eq!(code, 0, "{text}");
    let output = text.split("below\n").collect::<Vec<_>>();
    let [inside, below] = output.as_slice() else { panic!("{text}") };
    assert!(below.contains(&agent.secret), "the test can't see what there is: {text}");
    assert!(
        !inside.contains(&agent.secret) && !inside.contains("maps\n") && !inside.contains("memory\n"),
        "{text}"
    );
    assert!(inside.contains("ran\n"), "{text}");
}

#[test]
fn a_run_ends_the_task_that_it_made_and_no_other() {
    let (world, agent, path) = prepared();
    let url = format!("https://{}{path}", world.safe);
    let own = run(world, &agent, &[], &["curl", "-sS", &url]).output().unwrap();
    assert!(own.status.success(), "{}", ended(&own).1);
    let label = fresh("errand-");
    let named = run(world, &agent, &["--task", &label], &["curl", "-sS", &url]).output().unwrap();
    assert!(named.status.success(), "{}", ended(&named).1);
    let revoked =
        |entry: &serde_json::Value| entry["type"] == "grant.revoked" && entry["grants"].to_string().len() > 2;
    let ended: Vec<_> = world
        .story
        .record()
        .into_iter()
        .filter(|it| it["agent"] == agent.id.as_str() && revoked(it))
        .collect();
    assert_eq!(ended.len(), 1, "{ended:?}");
    agent
        .ask()
        .with("scope", "orders.* notes.*")
        .with("task_id", &label)
        .send(&world.story.client())
        .expect(200);
}

#[test]
fn the_commands_proxy_is_for_the_command_alone() {
    let (world, agent, path) = prepared();
    let url = format!("https://{}{path}", world.safe);
    let script = "for user in '' 'placet:wrong@' 'placet@'; do curl -sS -k -o /dev/null -w '%{http_connect} ' -x \"http://$user${HTTPS_PROXY##*@}\" \"$0\"; done; true";
    let (_, text) = ended(&run(world, &agent, &[], &["sh", "-c", script, &url]).output().unwrap());
    assert_eq!(text.matches("407 ").count(), 3, "{text}");
    assert_eq!(world.story.shop.count(&path), 0);
}

#[test]
fn signals_and_ends_are_passed_on() {
    let (world, agent, _) = prepared();
    let ready = world.story.server.home().join(fresh("ready-"));
    let script = "trap 'echo heard; exit 9' TERM; : > \"$0\"; while :; do sleep 0.05; done";
    let running = run(world, &agent, &[], &["sh", "-c", script, ready.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the command", || ready.exists().then_some(()));
    let asked = Command::new("kill").args(["-TERM", &running.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let (code, text) = ended(&running.wait_with_output().unwrap());
    assert_eq!((code, text.contains("heard")), (9, true), "{text}");
    let killed = run(world, &agent, &[], &["sh", "-c", "kill -KILL $$"]).output().unwrap();
    assert_eq!(killed.status.code(), Some(128 + 9));
    let nothing = run(world, &agent, &[], &["/no/such/program"]).output().unwrap();
    assert_eq!(ended(&nothing).0, 2);
}

#[test]
fn a_token_in_a_file_will_do_and_is_left_as_it_is() {
    let (world, agent, path) = prepared();
    let token = agent.token(&world.story.client(), "orders.*");
    let file = world.story.server.home().join(fresh("token-"));
    fs::write(&file, &token).unwrap();
    let url = format!("https://{}{path}", world.safe);
    let mut command = world.story.server.cli();
    command.args(["run", "--token-file", file.to_str().unwrap(), "--", "curl", "-sS", &url]);
    let (code, text) = ended(&command.output().unwrap());
    assert!(code == 0 && world.story.shop.count(&path) == 1, "{text}");
    let again = world.story.act(&token, "orders.read", &json!({"customer_id": "1", "order_id": "1"}));
    assert_eq!(again.status, 200);
}

/// Threat 25: what does not care about proxies reaches nobody.
#[test]
fn an_isolated_command_has_no_way_but_the_door() {
    let (world, agent, path) = prepared();
    let url = format!("https://{}{path}", world.safe);
    let port = world.safe.split(':').nth(1).unwrap();
    // Past the proxy first, then through it; and it has none of the capabilities that its namespace was made with.
    let script = "curl -sS -k --noproxy '*' \"$0\" && echo escaped; (: < \"/dev/tcp/127.0.0.1/$1\") 2>/dev/null && echo escaped; \
        grep CapEff /proc/self/status; curl -sS \"$0\"; exit 5";
    let command = ["bash", "-c", script, &url, port];
    let (code, text) = ended(&run(world, &agent, &["--isolated"], &command).output().unwrap());
    assert_eq!(code, 5, "{text}");
    assert!(!text.contains("escaped") && text.contains("\"ok\":true"), "{text}");
    assert!(text.contains("CapEff:\t0000000000000000"), "{text}");
    assert_eq!(world.story.shop.count(&path), 1);
    // The same command outside finds the way: the test can fail.
    let (_, text) = ended(
        &Command::new("bash")
            .args(["-c", "(: < \"/dev/tcp/127.0.0.1/$0\") && echo escaped", port])
            .output()
            .unwrap(),
    );
    assert!(text.contains("escaped"), "{text}");
}
