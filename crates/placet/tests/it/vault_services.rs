//! Vault keys that a key service wraps: OpenBao's transit interface, and SoftHSM behind PKCS#11. From the file to the
//! service and back while requests go on, on one node and on two; and what happens where the service is not there.

use crate::{
    stage::PLACET,
    vault::{RULES, keys, lines, rotate, state, write},
};
use placet_testkit::{Answer, OpenBao, Proxy, Server, SoftHsm, Story, fresh, until};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A file that describes a key service, in a directory of a test's own, with the secret in a file beside it.
fn described(server: &Server, name: &str, text: &str, secret: &str) -> PathBuf {
    let file = server.home().join(format!("{name}.yaml"));
    fs::write(server.home().join(format!("{name}.secret")), format!("{secret}\n")).unwrap();
    fs::write(&file, text.replace("SECRET", &format!("{name}.secret"))).unwrap();
    file
}

fn transit(port: u16) -> String {
    format!("transit: {{address: \"http://127.0.0.1:{port}\", key: placet, auth: {{token_file: SECRET}}}}\n")
}

fn with(server: &mut Server, file: &Path) {
    server.flags(&["--vault-service", file.to_str().unwrap()]);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn doctor(server: &Server, more: &[&str]) -> Value {
    let output = server.cli().args(["doctor", "--json"]).args(more).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let found = report["checks"].as_array().unwrap().iter().find(|one| one["check"] == "vault key");
    found.unwrap_or_else(|| panic!("{report:#}")).clone()
}

/// A start that is expected to be refused.
fn refused_start(server: &Server, more: &[&str]) -> Output {
    let output = server.cli().args(["serve", "--listen", "127.0.0.1:0"]).args(more).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    output
}

/// Rotates while an agent acts, until the old key is retired and gone from the file; answers the new one's id.
fn rotated_meanwhile(story: &Story, token: &str) -> String {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let acting = scope.spawn(|| {
            let mut done = 0;
            while !stop.load(Ordering::SeqCst) {
                write(story, token, &fresh("during-")).expect(200);
                done += 1;
            }
            done
        });
        let old = keys(story).into_iter().find(|(_, state)| state == "active").unwrap().0;
        let new = rotate(story).expect(200).text("/rotated/active");
        until("the end of the old key", || (state(story, &old) == "retired").then_some(()));
        until("the file without it", || (lines(story).len() == 1).then_some(()));
        stop.store(true, Ordering::SeqCst);
        assert!(acting.join().unwrap() > 3);
        new
    })
}

#[test]
fn a_vault_key_goes_to_a_transit_interface_and_back_while_requests_go_on() {
    let bao = OpenBao::start();
    let between = Proxy::before(bao.address());
    let mut story = Story::new(PLACET);
    let token = bao.token(&json!({"period": "24h"}));
    let file = described(&story.server, "service", &transit(between.port()), &token);
    with(&mut story.server, &file);
    let flag = ["--vault-service", file.to_str().unwrap()];
    story.server.restart();
    let (_, agent) = story.ready(RULES);
    write(&story, &agent, "before").expect(200);
    assert_eq!(doctor(&story.server, &flag)["status"], "warn", "the key lies in the clear");
    let new = rotated_meanwhile(&story, &agent);
    let line = lines(&story).pop().unwrap();
    assert!(line.starts_with(&format!("wrapped:{new}:transit:transit/placet:vault:v1:")), "{line}");
    let found = doctor(&story.server, &flag);
    assert_eq!(found["status"], "ok", "{found:#}");
    assert!(found["found"].as_str().unwrap().contains("transit `transit/placet`"), "{found:#}");
    // Nobody has the key without the service; not even a command of ours.
    let found = doctor(&story.server, &[]);
    assert!(found["status"] == "fail" && found.to_string().contains("--vault-service"), "{found:#}");

    // Out of reach: what is in memory goes on, and nothing is begun.
    between.refuse();
    between.cut();
    write(&story, &agent, "alone").expect(200);
    let refused = rotate(&story).refused(409, "conflict");
    assert!(refused.text("/detail").contains("can't be reached"), "{:#}", refused.body);
    assert_eq!(lines(&story), std::slice::from_ref(&line));
    assert_eq!(state(&story, &new), "active");
    story.server.kill();
    let output = refused_start(&story.server, &flag);
    assert!(text(&output.stderr).contains("can't be reached"), "{output:?}");
    between.forward();
    // Without the right to ask, neither; and the token is in no message.
    let wrong = described(&story.server, "wrong", &transit(between.port()), "s.canary-token-of-nobody");
    let output = refused_start(&story.server, &["--vault-service", wrong.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert!(said.contains("permission denied") && !said.contains("canary-token"), "{said}");
    let output = refused_start(&story.server, &[]);
    assert!(text(&output.stderr).contains("--vault-service"), "{output:?}");
    // A line that is another key's, or was spoilt.
    let other = described(&story.server, "other", &transit(between.port()), &token);
    let made =
        story.server.command().args(["vault", "new-key", "--vault-service"]).arg(&other).output().unwrap();
    let made = text(&made.stdout).trim().to_owned();
    let (of_another, sealed) = (line.splitn(4, ':').collect::<Vec<_>>(), made.splitn(4, ':').last().unwrap());
    let swapped = format!("{}:{}:{}:{sealed}\n", of_another[0], of_another[1], of_another[2]);
    let path = story.server.data().join("vault.key");
    fs::write(&path, swapped).unwrap();
    let output = refused_start(&story.server, &flag);
    assert!(text(&output.stderr).contains("message authentication failed"), "{output:?}");
    fs::write(&path, format!("{line}\n")).unwrap();

    // And back: new keys lie in the file.
    let back = format!("{}new_keys: file\n", transit(between.port()));
    let back = described(&story.server, "back", &back, &token);
    with(&mut story.server, &back);
    story.server.restart();
    let (_, agent) = story.ready(RULES);
    rotated_meanwhile(&story, &agent);
    assert!(!lines(&story)[0].starts_with("wrapped:"));
    story.server.flags(&[]);
    story.server.restart();
    let (_, agent) = story.ready(RULES);
    write(&story, &agent, "after").expect(200);
    assert_eq!(doctor(&story.server, &[])["status"], "ok");
}

#[test]
fn a_new_installation_has_its_first_key_wrapped_and_roles_are_logged_in_anew() {
    let bao = OpenBao::start();
    bao.ask("POST", "sys/auth/approle", &json!({"type": "approle"})).expect(204);
    let role = json!({"token_policies": ["placet"], "token_ttl": "1m"});
    bao.ask("POST", "auth/approle/role/placet", &role).expect(204);
    let id = bao.ask("GET", "auth/approle/role/placet/role-id", &json!({})).expect(200).text("/data/role_id");
    let secret = bao.ask("POST", "auth/approle/role/placet/secret-id", &json!({})).expect(200);
    let mut server = Server::start(PLACET);
    server.kill();
    let yaml = transit(bao.address().port())
        .replace("{token_file: SECRET}", &format!("{{approle: {{role_id: {id}, secret_id_file: SECRET}}}}"));
    let file = described(&server, "service", &yaml, &secret.text("/data/secret_id"));
    let fresh_home = server.home().join("fresh");
    let mut command = server.command();
    command.env_remove("PLACET_DATABASE").env("PLACET_VAULT_SERVICE", &file);
    // A directory without anything: the first start makes the key.
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&fresh_home);
    let mut child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    until("the server", || fresh_home.join("address").is_file().then_some(()));
    let line = fs::read_to_string(fresh_home.join("vault.key")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("wrapped:vault-") && line.lines().count() == 1, "{line}");
    // Tokens of the role were given back: none is left but the administrator's.
    let left = bao.ask("LIST", "auth/token/accessors", &json!({})).expect(200);
    assert_eq!(left.at("/data/keys").as_array().unwrap().len(), 1, "{:#}", left.body);

    // The service's key is rotated, what it wrapped is wrapped anew, and the old version is given up.
    bao.ask("POST", "transit/keys/placet/rotate", &json!({}));
    let rewrap = || {
        let mut command = server.command();
        command
            .args(["vault", "rewrap", "--json", "--vault-service"])
            .arg(&file)
            .arg("--data")
            .arg(&fresh_home);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let id = line.split(':').nth(1).unwrap();
    assert_eq!(rewrap(), json!({"rewrapped": [id]}));
    let after = fs::read_to_string(fresh_home.join("vault.key")).unwrap();
    assert!(after.starts_with(&format!("wrapped:{id}:transit:transit/placet:vault:v2:")), "{after}");
    bao.ask("POST", "transit/keys/placet/config", &json!({"min_decryption_version": 2}));
    let open = |text: &str| {
        fs::write(fresh_home.join("vault.key"), text).unwrap();
        let mut command = server.command();
        command.env_remove("PLACET_DATABASE").args(["doctor", "--json", "--vault-service"]).arg(&file);
        let output = command.arg("--data").arg(&fresh_home).output().unwrap();
        text_of_vault(&output)
    };
    assert_eq!(open(&line), "fail", "the old version is given up");
    assert_eq!(open(&after), "ok");
}

fn text_of_vault(output: &Output) -> String {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let found = report["checks"].as_array().unwrap().iter().find(|one| one["check"] == "vault key");
    found.unwrap()["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_from_a_file_is_renewed_while_the_server_runs() {
    let bao = OpenBao::start();
    let mut story = Story::new(PLACET);
    let token = bao.token(&json!({"period": "8s"}));
    let file = described(&story.server, "service", &transit(bao.address().port()), &token);
    with(&mut story.server, &file);
    story.server.restart();
    let look = || bao.ask("POST", "auth/token/lookup", &json!({"token": token}));
    let mut renewed = Vec::new();
    until("two renewals", || {
        let found = look().expect(200);
        // Not there before the first.
        let at = found.body.pointer("/data/last_renewal").cloned();
        if at.is_some() && renewed.last() != Some(&at) {
            renewed.push(at);
        }
        (renewed.len() == 2).then_some(())
    });
    let (_, agent) = story.ready(RULES);
    let new = rotated_meanwhile(&story, &agent);
    assert!(lines(&story)[0].contains(&new));
}

#[test]
fn a_device_wraps_the_vault_key_and_hands_it_over_to_another_service() {
    let (bao, device) = (OpenBao::start(), SoftHsm::new());
    let mut story = Story::new(PLACET);
    story.server.environment("SOFTHSM2_CONF", device.configuration());
    let yaml =
        format!("pkcs11: {{module: {}, token: placet, key: placet, pin_file: SECRET}}\n", SoftHsm::MODULE);
    let file = described(&story.server, "device", &yaml, SoftHsm::PIN);
    with(&mut story.server, &file);
    story.server.restart();
    let (_, agent) = story.ready(RULES);
    let new = rotated_meanwhile(&story, &agent);
    let line = lines(&story).pop().unwrap();
    assert!(line.starts_with(&format!("wrapped:{new}:pkcs11:placet:v1:")), "{line}");
    story.server.restart();
    let (_, agent) = story.ready(RULES);
    write(&story, &agent, "after").expect(200);

    // What it says where something is wrong, none of it the PIN.
    story.server.kill();
    for (yaml, secret, said) in [
        (yaml.clone(), "canary-pin", "does not take the PIN"),
        (yaml.replace("token: placet", "token: other"), SoftHsm::PIN, "no such token"),
        (yaml.replace(SoftHsm::MODULE, "/nowhere.so"), SoftHsm::PIN, "/nowhere.so"),
    ] {
        let wrong = described(&story.server, "wrong", &yaml, secret);
        let output = refused_start(&story.server, &["--vault-service", wrong.to_str().unwrap()]);
        let output = text(&output.stderr);
        assert!(output.contains(said) && !output.contains("canary-pin"), "{output}");
    }

    // Another key of the device, and then another service: the vault key itself stays.
    device.add_key("next", [8; 32]);
    let next = described(&story.server, "next", &yaml.replace("key: placet", "key: next"), SoftHsm::PIN);
    let rewrap = |file: &Path| -> Value {
        let mut command = story.server.cli();
        let output =
            command.args(["vault", "rewrap", "--json", "--vault-service"]).arg(file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(rewrap(&next), json!({"rewrapped": [new]}));
    assert!(lines(&story)[0].contains(":pkcs11:next:"));
    let secret = bao.token(&json!({"period": "24h"}));
    fs::write(story.server.home().join("token"), secret).unwrap();
    let both =
        format!("{}{yaml}new_keys: transit\n", transit(bao.address().port()).replace("SECRET", "token"));
    let both = described(&story.server, "both", &both, SoftHsm::PIN);
    assert_eq!(rewrap(&both), json!({"rewrapped": [new]}));
    assert!(lines(&story)[0].starts_with(&format!("wrapped:{new}:transit:")));
    with(&mut story.server, &both);
    story.server.restart();
    let (_, agent) = story.ready(RULES);
    write(&story, &agent, "moved").expect(200);
}

#[test]
fn two_nodes_go_to_a_key_service_and_one_that_is_killed_meanwhile_goes_on() {
    let bao = OpenBao::start();
    let token = bao.token(&json!({"period": "24h"}));
    let mut a = Story::on(Server::first_node(PLACET));
    let mut b = a.server.another_node();
    let yaml = transit(bao.address().port());
    let (file, other) =
        (described(&a.server, "service", &yaml, &token), described(&b, "service", &yaml, &token));
    for (server, file) in [(&mut a.server, &file), (&mut b, &other)] {
        with(server, file);
        server.restart();
    }
    let (_, agent) = a.ready(RULES);
    let old = keys(&a)[0].0.clone();
    let on_b = |b: &Server, text: &str| -> Answer {
        let params = json!({"customer_id": "42", "text": text});
        let body = json!({"service": "shop", "action": "notes.write", "params": params});
        b.client().post("/v1/actions").bearer(&agent).json(&body).send()
    };
    until("the second node", || (on_b(&b, "warm").status == 200).then_some(()));
    // One line for both, made once; it is no secret.
    let made = a.server.command().args(["vault", "new-key", "--vault-service"]).arg(&file).output().unwrap();
    let line = text(&made.stdout).trim().to_owned();
    assert!(line.starts_with("wrapped:"), "{made:?}");
    let mine = a.server.data().join("vault.key");
    let theirs = b.data().join("vault.key");
    fs::write(&mine, format!("{}\n{line}\n", lines(&a)[0])).unwrap();
    let refused = rotate(&a).refused(409, "conflict");
    assert!(refused.text("/detail").contains("have not got the key"), "{:#}", refused.body);
    fs::write(&theirs, fs::read_to_string(&mine).unwrap()).unwrap();
    let stop = AtomicBool::new(false);
    let new = thread::scope(|scope| {
        let acting = scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                write(&a, &agent, &fresh("during-")).expect(200);
            }
        });
        let new = until("the rotation", || {
            let answer = rotate(&a);
            (answer.status == 200).then(|| answer.text("/rotated/active"))
        });
        b.kill();
        b.restart();
        until("the second node again", || (on_b(&b, "again").status == 200).then_some(()));
        // With another node an old key stays for a minute at least.
        let ended = Instant::now() + Duration::from_secs(180);
        while state(&a, &old) != "retired" {
            assert!(Instant::now() < ended, "{:?}", keys(&a));
            thread::park_timeout(Duration::from_millis(100));
        }
        for file in [&mine, &theirs] {
            until("files with one key", || {
                (fs::read_to_string(file).unwrap() == format!("{line}\n")).then_some(())
            });
        }
        stop.store(true, Ordering::SeqCst);
        acting.join().unwrap();
        new
    });
    assert!(line.contains(&new));
    for server in [&mut a.server, &mut b] {
        server.restart();
    }
    let (_, agent) = a.ready(RULES);
    write(&a, &agent, "after").expect(200);
    let verified =
        a.server.cli().args(["record", "verify"]).env("PLACET_VAULT_SERVICE", &file).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
}
