//! Policies change as a whole: several at once, from a directory, for some agents first.

use crate::stage::{PLACET, story};
use placet_testkit::{Agent, Server, Story, fresh, together, until};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// A policy of an agent that allows or denies it to write notes.
fn policy(agent: &Agent, kind: &str) -> String {
    let handle = &agent.handle;
    format!(
        "policy: {handle}\napplies_to: {{agents: [{handle}]}}\nrules:\n  - {{name: r, {kind}: [notes.write]}}\n"
    )
}

fn write(story: &Story, token: &str) -> u16 {
    story.act(token, "notes.write", &json!({"customer_id": fresh("c"), "text": "x"})).status
}

fn listed(story: &Story, name: &str) -> Vec<Value> {
    let answer = story.admin().get("/v1/policies").send().expect(200);
    let all = answer.at("/policies").as_array().into_iter().flatten();
    all.filter(|one| one["policy"] == name).cloned().collect()
}

#[test]
fn of_several_policies_all_are_put_in_force_or_none() {
    let story = story();
    let (a, b) = (story.agent(&fresh("a-")).register(), story.agent(&fresh("b-")).register());
    let tokens = [&a, &b].map(|agent| agent.token(&story.client(), "notes.*"));
    let put = |texts: &[(&str, String)], more: &Value| {
        let policies: Vec<_> =
            texts.iter().map(|(file, source)| json!({"file": file, "source": source})).collect();
        let mut asked = json!({"policies": policies});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        story.admin().put("/v1/policies").json(&asked).send()
    };
    let bad = "policy: bad\nrules:\n  - {name: r, allow: [notes.write], when: 'params.text ='}\n".to_owned();
    let refused = put(&[("a.yaml", policy(&a, "allow")), ("bad.yaml", bad)], &json!({}));
    let refused = refused.refused(422, "document_invalid");
    assert!(refused.text("/detail").contains("bad.yaml"), "{:#}", refused.body);
    assert!(listed(story, &a.handle).is_empty());
    // One name in two files is nobody's to choose between.
    let twice = put(&[("a.yaml", policy(&a, "allow")), ("b.yaml", policy(&a, "deny"))], &json!({}));
    let twice = twice.refused(422, "document_invalid").text("/detail");
    assert!(twice.contains("a.yaml") && twice.contains("b.yaml"), "{twice}");

    let both = [("a.yaml", policy(&a, "allow")), ("b.yaml", policy(&b, "allow"))];
    let dry = put(&both, &json!({"dry_run": true})).expect(200);
    assert_eq!(dry.at("/policies/1/changed"), true);
    assert!(listed(story, &b.handle).is_empty());
    let done = put(&both, &json!({})).expect(200);
    assert_eq!(done.at("/policies/0/version"), 1);
    assert_eq!(tokens.each_ref().map(|token| write(story, token)), [200, 200]);
    // The same again changes nothing, and those that are not named stay.
    let again = put(&both[..1], &json!({})).expect(200);
    assert_eq!(
        (again.at("/policies/0/changed"), again.at("/policies/0/version")),
        (&json!(false), &json!(1))
    );
    assert_eq!(again.at("/removed"), &json!([]));
    assert_eq!(tokens.each_ref().map(|token| write(story, token)), [200, 200]);
    let mistaken = json!({"policies": [], "other": "leave"});
    story.admin().put("/v1/policies").json(&mistaken).send().refused(400, "request_invalid");
    story
        .client()
        .put("/v1/policies")
        .bearer(&tokens[0])
        .json(&json!({"policies": []}))
        .send()
        .refused(403, "not_permitted");
}

#[test]
fn of_several_that_change_the_same_at_once_each_is_whole() {
    let story = story();
    let (a, b) = (story.agent(&fresh("a-")).register(), story.agent(&fresh("b-")).register());
    // Each attempt puts both to the same kind: whatever order they come in, the two are never mixed.
    let kinds = ["allow", "deny", "guard", "allow", "deny", "guard"];
    together(kinds.len(), |number| {
        let kind = kinds[number];
        let texts = [&a, &b].map(|agent| json!({"file": "f", "source": policy(agent, kind)}));
        let answer = story.admin().put("/v1/policies").json(&json!({"policies": texts})).send();
        assert!(matches!(answer.status, 200 | 503), "{:#}", answer.body);
    });
    let text = |agent: &Agent| {
        let path = format!("/v1/policies/{}", agent.handle);
        story.admin().get(&path).send().expect(200).text("/source").replace(&agent.handle, "X")
    };
    assert_eq!(text(&a), text(&b));
}

#[test]
fn a_stage_gives_a_version_to_some_agents_and_promoting_to_all() {
    let story = story();
    let name = fresh("staged-");
    let team = fresh("team-");
    let agents: Vec<Agent> = (0..8)
        .map(|number| {
            let label = if number < 4 { "canary" } else { "rest" };
            story.agent(&fresh("agent-")).with("labels", json!({ "group": team, "ring": label })).register()
        })
        .collect();
    let tokens: Vec<String> = agents.iter().map(|agent| agent.token(&story.client(), "notes.*")).collect();
    let text = |kind: &str| {
        format!(
            "policy: {name}\napplies_to: {{labels: {{group: {team}}}}}\nrules:\n  - {{name: r, {kind}: [notes.write]}}\n"
        )
    };
    let all = || tokens.iter().map(|token| write(story, token)).collect::<Vec<_>>();
    story.policy(&name, &text("allow")).expect(201);
    assert_eq!(all(), [200; 8]);
    let stage = |asked: &Value| story.admin().post(&format!("/v1/policies/{name}/stage")).json(asked).send();
    stage(&json!({"share": 10})).refused(404, "not_found");
    stage(&json!({"source": text("deny")})).refused(400, "request_invalid");
    stage(&json!({"source": text("allow"), "share": 10})).refused(409, "conflict");
    stage(&json!({"source": "policy: x\nrules: []\n", "share": 10})).refused(422, "document_invalid");
    let staged = stage(&json!({"source": text("deny"), "labels": {"ring": ["canary"]}})).expect(200);
    assert_eq!(staged.at("/version"), 2);
    assert_eq!(all(), [403, 403, 403, 403, 200, 200, 200, 200]);
    let shown: Vec<_> = listed(story, &name).iter().map(|one| one["stage"].clone()).collect();
    assert_eq!(shown, [Value::Null, json!({"labels": {"ring": ["canary"]}})]);
    // Another part of the agents, of the same version: all of them, here.
    assert_eq!(stage(&json!({"share": 100})).expect(200).at("/version"), 2);
    assert_eq!(all(), [403; 8]);
    let path = format!("/v1/policies/{name}/stage");
    story.admin().delete(&path).send().expect(204);
    assert_eq!(all(), [200; 8]);
    story.admin().delete(&path).send().refused(404, "not_found");
    // What is put in force for all ends a stage.
    stage(&json!({"version": 2, "labels": {"ring": ["canary"]}})).expect(200);
    story.policy(&name, &text("guard")).expect(200);
    assert_eq!(listed(story, &name).len(), 1);
    assert_eq!(all(), [403; 8]);
    stage(&json!({"version": 1, "labels": {"ring": ["canary"]}})).expect(200);
    assert_eq!(all(), [200, 200, 200, 200, 403, 403, 403, 403]);
    // Also what is in force for all others already.
    story.policy(&name, &text("guard")).expect(200);
    assert_eq!(all(), [403; 8]);
    stage(&json!({"version": 1, "labels": {"ring": ["canary"]}})).expect(200);
    assert_eq!(all(), [200, 200, 200, 200, 403, 403, 403, 403]);
    let promoted = story.admin().post(&format!("/v1/policies/{name}/promote")).send().expect(200);
    assert_eq!(promoted.at("/version"), 1);
    assert_eq!(all(), [200; 8]);
    story.admin().post(&format!("/v1/policies/{name}/promote")).send().refused(404, "not_found");
    let types = |version: u64| {
        let label = json!([format!("{name}@{version}")]);
        let of =
            story.record().into_iter().filter(|entry| entry["policies"] == label && entry["by"].is_string());
        of.map(|entry| entry["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("the entries", || {
        (types(1).last().is_some_and(|last| last == "policy.applied") && types(1).len() == 5).then_some(())
    });
    assert_eq!(types(2), ["policy.staged", "policy.staged", "policy.unstaged", "policy.staged"]);
}

/// A server that follows a directory, and an agent of it.
fn following(directory: &Path) -> Story {
    let mut server = Server::start(PLACET);
    server.flags(&["--policies", &directory.display().to_string()]);
    server.restart();
    Story::on(server)
}

#[test]
fn a_directory_is_followed_and_a_bad_file_replaces_nothing() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("policies");
    fs::create_dir(&directory).unwrap();
    let mut story = following(&directory);
    let agent = story.agent(&fresh("agent-")).register();
    let token = agent.token(&story.client(), "notes.*");
    assert_eq!(write(&story, &token), 403);
    let file = directory.join("agent.yaml");
    fs::write(&file, policy(&agent, "allow")).unwrap();
    fs::write(directory.join("agent.test.yaml"), "policies: [agent.yaml]\ntests: []\n").unwrap();
    until("it is in force", || (write(&story, &token) == 200).then_some(()));
    let of = &listed(&story, &agent.handle)[0];
    assert_eq!((&of["version"], &of["applied_by"]), (&json!(1), &json!("directory")));

    // A bad file beside it: nothing changes, and it is said.
    fs::write(&file, policy(&agent, "deny")).unwrap();
    let bad = directory.join("bad.yml");
    fs::write(&bad, "policy: bad\nrules: [{name: r, allow: [notes.write], wen: 'true'}]\n").unwrap();
    let standing = || story.admin().get("/v1/policies").send().expect(200).at("/directory").clone();
    let wrong = until("it is refused", || Some(standing()).filter(|standing| standing["in_force"] == false));
    assert!(wrong["detail"].as_str().unwrap().contains("bad.yml"), "{wrong}");
    assert_eq!(write(&story, &token), 200);
    assert_eq!(story.gauges(["placet_policy_directory_ok"]), [0]);
    // It comes back as it was with the next start too.
    story.server.restart();
    assert_eq!(write(&story, &token), 200);
    fs::remove_file(&bad).unwrap();
    until("the rest is in force", || (write(&story, &token) == 403).then_some(()));
    assert_eq!(story.gauges(["placet_policy_directory_ok"]), [1]);

    // What comes from there is changed there.
    let refused = story.policy(&agent.handle, &policy(&agent, "allow")).refused(409, "conflict");
    assert!(refused.text("/detail").contains("directory"), "{:#}", refused.body);
    let path = format!("/v1/policies/{}", agent.handle);
    story.admin().delete(&path).send().refused(409, "conflict");
    let stage = json!({"version": 1, "share": 50});
    story.admin().post(&format!("{path}/stage")).json(&stage).send().refused(409, "conflict");
    let back = json!({"to": 1});
    story.admin().post(&format!("{path}/rollback")).json(&back).send().refused(409, "conflict");
    // What does not, is not touched by it.
    let other = story.agent(&fresh("other-")).register();
    story.policy(&other.handle, &policy(&other, "allow")).expect(201);
    fs::remove_file(&file).unwrap();
    until("it is out of force", || listed(&story, &agent.handle).is_empty().then_some(()));
    assert_eq!(listed(&story, &other.handle).len(), 1);
    // Unless a file has the same name.
    fs::write(&file, policy(&other, "deny")).unwrap();
    until("it is taken over", || (listed(&story, &other.handle)[0]["version"] == 2).then_some(()));
    story.policy(&other.handle, &policy(&other, "allow")).refused(409, "conflict");
    // A server that follows none leaves it to administrators.
    story.server.flags(&[]);
    story.server.restart();
    story.policy(&other.handle, &policy(&other, "allow")).expect(200);
    assert_eq!(standing_of(&story), Value::Null);
}

fn standing_of(story: &Story) -> Value {
    story.admin().get("/v1/policies").send().expect(200).at("/directory").clone()
}

#[test]
fn a_directory_that_is_swapped_by_a_link_is_followed() {
    use std::os::unix::fs::symlink;
    // As orchestrators mount it: files are links into a directory that is a link, which is exchanged.
    let place = tempfile::tempdir().unwrap();
    let mounted = place.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    symlink("..first", mounted.join("..data")).unwrap();
    fs::create_dir(mounted.join("..first")).unwrap();
    let text = |name: &str| format!("policy: {name}\nrules: [{{name: r, deny: [admin.x]}}]\n");
    let (one, two) = (fresh("one-"), fresh("two-"));
    fs::write(mounted.join("..first/p.yaml"), text(&one)).unwrap();
    symlink("..data/p.yaml", mounted.join("p.yaml")).unwrap();
    let story = following(&mounted);
    assert_eq!(listed(&story, &one).len(), 1, "before it says that it is ready");
    fs::create_dir(mounted.join("..second")).unwrap();
    fs::write(mounted.join("..second/p.yaml"), text(&two)).unwrap();
    symlink("..second", mounted.join("..next")).unwrap();
    fs::rename(mounted.join("..next"), mounted.join("..data")).unwrap();
    until("the other is in force", || (listed(&story, &two).len() == 1).then_some(()));
    assert!(listed(&story, &one).is_empty());
    // A directory that has gone changes nothing.
    fs::rename(&mounted, place.path().join("away")).unwrap();
    until("it is said", || (standing_of(&story)["in_force"] == false).then_some(()));
    assert_eq!(listed(&story, &two).len(), 1);
}

#[test]
fn the_command_line_syncs_and_stages() {
    let story = story();
    let directory = tempfile::tempdir().unwrap();
    let agent = story.agent(&fresh("cli-")).register();
    let file = directory.path().join("a.yaml");
    fs::write(&file, policy(&agent, "allow")).unwrap();
    // Tests stand beside policies, and are none.
    fs::write(directory.path().join("a.test.yaml"), "policies: [a.yaml]\ntests: []\n").unwrap();
    let run = |arguments: &[&str]| {
        let output = story.server.cli().args(["policy"]).args(arguments).output().unwrap();
        (
            output.status.code(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    let path = directory.path().to_str().unwrap();
    let (code, said) = run(&["sync", path, "--dry-run"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(listed(story, &agent.handle).is_empty());
    let (code, said) = run(&["sync", path]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(listed(story, &agent.handle).len(), 1);
    fs::write(&file, policy(&agent, "deny")).unwrap();
    let (code, said) = run(&["stage", file.to_str().unwrap(), "--share", "25"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["stage", &agent.handle, "--share", "50", "--label", "a=b", "--label", "a=c"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(listed(story, &agent.handle)[1]["stage"], json!({"share": 50, "labels": {"a": ["b", "c"]}}));
    let (code, said) = run(&["promote", &agent.handle]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(listed(story, &agent.handle)[0]["version"], 2);
    let (code, said) = run(&["unstage", &agent.handle]);
    assert!(code != Some(0) && said.contains("staged"), "{said}");
    let (code, said) = run(&["sync", "/nowhere"]);
    assert!(code != Some(0) && said.contains("/nowhere"), "{said}");
}
