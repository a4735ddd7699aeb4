//! Who is trusted is said by administrators, shown, recorded, and taken back with all that came of it.

use super::{Idp, add, alone, present};
use crate::{
    clients::signer::{Signer, now},
    parties::{introspect, stage, why},
};
use placet_testkit::{Answer, Story, fresh, is_about_a_file, together, until};
use serde_json::{Value, json};
use std::{ffi::OsStr, fs};

use crate::stage::PLACET;

#[test]
fn what_is_said_is_shown_and_only_administrators_say_it() {
    let stage = stage();
    let agent = stage.agent();
    let members = json!({"id_jag": {"users": {"00u-pat": "pat"}, "scope": ["orders.read"]},
        "workload": {"agents": [{"subject": "job:*", "agent": agent.handle, "claims": {"env": "prod"}}]}});
    let (iss, signer) = (format!("https://{}.example", fresh("idp-")), Signer::p256());
    let made = add(&iss, &signer, &members).expect(201);
    assert_eq!(made.at("/kinds"), &json!(["id_jag", "workload"]));
    assert_eq!(made.at("/id_jag/users/00u-pat"), &json!(stage.pat.id));
    assert_eq!(
        made.at("/workload/agents/0/agent"),
        &json!(agent.id),
        "the agent, whoever has its handle later"
    );
    let by = |name: &str| format!("/v1/trusted-issuers/{}", name.replace(':', "%3A").replace('/', "%2F"));
    for name in [made.text("/id"), iss.clone()] {
        assert_eq!(stage.admin().get(&by(&name)).send().expect(200).body, made.body);
    }
    let listed = stage.admin().get("/v1/trusted-issuers?limit=1000").send().expect(200);
    let listed = listed.at("/trusted_issuers").as_array().unwrap().clone();
    assert!(listed.iter().any(|one| one["issuer"] == iss.as_str() && one.get("jwks").is_none()));
    add(&iss, &signer, &members).refused(409, "conflict");
    let both = together(2, |_| add(&format!("{iss}/both"), &signer, &members).status);
    assert_eq!(
        {
            let mut both = both;
            both.sort_unstable();
            both
        },
        [201, 409]
    );
    // Nobody else, not even an agent or a person without the role.
    let own = stage.given(&agent, "orders.read").text("/access_token");
    for token in [stage.pat.token.as_str(), &stage.story.lee, &own] {
        let client = stage.client().with(token);
        client.get("/v1/trusted-issuers").send().refused(403, "not_permitted");
        client
            .post("/v1/trusted-issuers")
            .json(&json!({"issuer": "https://x.example"}))
            .send()
            .refused(403, "not_permitted");
        client.delete(&by(&iss)).send().refused(403, "not_permitted");
        let users = format!("{}/users", by(&iss));
        client
            .post(&users)
            .json(&json!({"subject": "x", "user": "pat"}))
            .send()
            .refused(403, "not_permitted");
    }
    // What can't be meant is told.
    for (members, told) in [
        (json!({"id_jag": {"users": {"a": "nobody-here"}}}), "nobody-here"),
        (json!({"workload": {"agents": [{"subject": "a", "agent": "nobody-here"}]}}), "nobody-here"),
        (json!({"workload": {"agents": [{"subject": "*", "agent": agent.id}]}}), "begin"),
        (json!({"id_jag": {"users": {"a": "pat"}, "lifetime": 5}}), "lifetime"),
        (json!({"workload": {"agents": [{"subject": "a", "agent": agent.id}]}, "trust": 1}), "trust"),
    ] {
        let refused = add(&format!("https://{}.example", fresh("idp-")), &signer, &members);
        let detail = refused.refused(400, "request_invalid").text("/detail");
        assert!(detail.contains(told), "{detail}");
    }
    let entries = stage.story.record();
    assert!(entries.iter().any(|entry| entry["type"] == "issuer.trusted"));
}

#[test]
fn removing_an_issuer_ends_what_was_given_on_its_word_at_once() {
    let stage = stage();
    let (agent, child) = (stage.agent(), stage.agent());
    stage.story.rules(&agent.handle, "  - {name: read, allow: [orders.read]}\n").expect(201);
    let members = json!({"id_jag": {"users": {"00u-pat": "pat"}},
        "workload": {"agents": [{"subject": "job:*", "agent": agent.handle}]}});
    let (idp, other) = (Idp::trusted(&members), Idp::trusted(&members));
    let used = idp.jag(&agent, |_, _| {});
    let of_people = present(&agent, &used, &[]).expect(200).text("/access_token");
    let below = stage.child(&child, &of_people).text("/access_token");
    let of_job = alone(&stage.client(), &idp.job(|_, _| {}), &[("scope", "orders.read")]).expect(200);
    let (job_grant, of_job) = (of_job.text("/grant_id"), of_job.text("/access_token"));
    let elsewhere = present(&agent, &other.jag(&agent, |_, _| {}), &[]).expect(200).text("/access_token");
    let own = stage.given(&agent, "orders.read").text("/access_token");
    let read =
        |token: &str| stage.story.act(token, "orders.read", &json!({"customer_id": "7", "order_id": "1"}));
    read(&of_people).expect(200);
    let (jag, job) = (idp.jag(&agent, |_, _| {}), idp.job(|_, _| {}));
    let path = format!("/v1/trusted-issuers/{}", idp.id);
    let removed = stage.admin().delete(&path).send().expect(200);
    let affected = removed.at("/affected_grants").as_array().unwrap().clone();
    assert!(affected.contains(&json!(job_grant)) && affected.len() >= 3, "{affected:?}");
    for token in [&of_people, &below, &of_job] {
        assert!(!stage.is_active(token));
        assert_eq!(read(token).status, 401);
    }
    for token in [&elsewhere, &own] {
        assert!(stage.is_active(token));
    }
    present(&agent, &jag, &[]).refused(400, "invalid_grant");
    alone(&stage.client(), &job, &[("scope", "orders.read")]).refused(400, "invalid_grant");
    stage.admin().delete(&path).send().refused(404, "not_found");
    stage.admin().get(&path).send().refused(404, "not_found");
    let entries = stage.story.record();
    assert!(entries.iter().any(|entry| entry["type"] == "issuer.removed"));
    // It can be trusted anew, and what has ended stays ended; an assertion that was used stays used.
    add(&idp.iss, &idp.signer, &members).expect(201);
    present(&agent, &jag, &[]).expect(200);
    present(&agent, &used, &[]).refused(400, "invalid_grant");
    assert!(!stage.is_active(&of_people));
}

#[test]
fn metadata_names_the_grant_and_its_profile() {
    let metadata = stage().client().get("/.well-known/oauth-authorization-server").send().expect(200);
    let names =
        |member: &str, name: &str| metadata.at(member).as_array().unwrap().iter().any(|one| one == name);
    assert!(names("/grant_types_supported", super::JWT_BEARER));
    assert!(names("/authorization_grant_profiles_supported", "urn:ietf:params:oauth:grant-profile:id-jag"));
}

#[test]
fn trust_that_is_withdrawn_while_tokens_are_asked_for_leaves_none() {
    let stage = stage();
    let agent = stage.agent();
    let idp = Idp::of_pat();
    let jags: Vec<String> = (0..8).map(|_| idp.jag(&agent, |_, _| {})).collect();
    let path = format!("/v1/trusted-issuers/{}", idp.id);
    let answers = together(9, |index| match jags.get(index) {
        Some(jag) => present(&agent, jag, &[]),
        None => stage.admin().delete(&path).send(),
    });
    for answer in &answers[..8] {
        if answer.status == 200 {
            assert!(!stage.is_active(&answer.text("/access_token")), "it was given before, and has ended");
        } else {
            assert_eq!(
                (answer.status, answer.at("/error")),
                (400, &json!("invalid_grant")),
                "{}",
                why(answer)
            );
        }
    }
    assert_eq!(answers[8].status, 200);
}

#[test]
fn an_issuer_that_a_backup_brings_back_is_trusted_no_more() {
    if is_about_a_file("federation::issuers::an_issuer_that_a_backup_brings_back_is_trusted_no_more") {
        return;
    }
    let mut story = Story::new(PLACET);
    let agent = story.agent(&fresh("bot-")).register();
    let document = json!({"issuer": "https://ci.example", "jwks": Signer::ed25519().jwks(None),
        "workload": {"agents": [{"subject": "job:*", "agent": agent.handle}]}});
    story.admin().post("/v1/trusted-issuers").json(&document).send().expect(201);
    let (data, home) = (story.server.data(), story.server.home().to_owned());
    let (backup, restored) = (home.join("backup"), home.join("restored"));
    let told = |arguments: &[&OsStr]| -> Value {
        let output = story.server.command().args(["--json", "--data"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    told(&[data.as_ref(), "backup".as_ref(), "--with-vault-key".as_ref(), backup.as_ref()]);
    let ended = told(&[restored.as_ref(), "restore".as_ref(), backup.as_ref()]);
    assert_eq!(ended["ended"]["trusted_issuers"], 1, "{ended:#}");
    assert_eq!(story.server.stop(), Some(0));
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&restored, &data).unwrap();
    story.server.restart();
    story.ada = story.sign_in("ada");
    let listed = story.admin().get("/v1/trusted-issuers").send().expect(200);
    assert_eq!(listed.at("/trusted_issuers"), &json!([]));
    // It can be trusted anew.
    story.admin().post("/v1/trusted-issuers").json(&document).send().expect(201);
}

/// A server with one agent, which jobs of one issuer act as.
struct Jobs {
    story: Story,
    signer: Signer,
    id: String,
}

impl Jobs {
    fn new() -> Self {
        let story = Story::new(PLACET);
        let agent = story.agent(&fresh("bot-")).register();
        let signer = Signer::ed25519();
        let document = json!({"issuer": "https://ci.example", "jwks": signer.jwks(None),
            "workload": {"agents": [{"subject": "job:*", "agent": agent.handle}]}});
        let id = story.admin().post("/v1/trusted-issuers").json(&document).send().expect(201).text("/id");
        Self { story, signer, id }
    }

    /// What a job is given, each with a grant of its own.
    fn given(&self) -> Answer {
        let now = now();
        let claims = json!({"iss": "https://ci.example", "sub": "job:nightly", "aud": self.story.server.base(),
            "iat": now, "exp": now + 600, "jti": fresh("jti-")});
        let header = json!({"alg": self.signer.alg(), "typ": "JWT"});
        let job = self.signer.sign(&header.to_string(), &claims.to_string());
        alone(&self.story.client(), &job, &[("scope", "orders.read")])
    }

    /// How many of these tokens are active.
    fn active(&self, tokens: &[String]) -> usize {
        let is = |token: &&String| introspect(&self.story.admin(), token).at("/active") == true;
        tokens.iter().filter(is).count()
    }
}

#[test]
fn however_many_were_given_on_a_word_end_with_it() {
    let jobs = Jobs::new();
    let answers: Vec<Answer> = together(8, |_| (0..32).map(|_| jobs.given().expect(200)).collect::<Vec<_>>())
        .into_iter()
        .flatten()
        .collect();
    let tokens: Vec<String> = answers.iter().map(|answer| answer.text("/access_token")).collect();
    assert_eq!(jobs.active(&tokens), 256);
    let removed = jobs.story.admin().delete(&format!("/v1/trusted-issuers/{}", jobs.id)).send().expect(200);
    let affected = removed.at("/affected_grants").as_array().unwrap();
    assert_eq!(affected.len(), 256);
    assert!(answers.iter().all(|answer| affected.contains(answer.at("/grant_id"))));
    assert_eq!(jobs.active(&tokens), 0);
    jobs.given().refused(400, "invalid_grant");
    // Each is in the record, and the end of the trust is there once, before all of them.
    let entries = jobs.story.record();
    let of = |kind: &'static str| entries.iter().filter(move |entry| entry["type"] == kind);
    assert_eq!((of("issuer.removed").count(), of("grant.revoked").count()), (1, 256));
    let first = of("issuer.removed").next().unwrap()["index"].as_u64();
    assert!(of("grant.revoked").all(|entry| entry["index"].as_u64() > first));
}

#[test]
fn what_is_cut_off_while_trust_ends_is_gone_on_with() {
    if is_about_a_file("federation::issuers::what_is_cut_off_while_trust_ends_is_gone_on_with") {
        return;
    }
    let mut jobs = Jobs::new();
    let tokens: Vec<String> = (0..3).map(|_| jobs.given().expect(200).text("/access_token")).collect();
    assert_eq!(jobs.story.server.stop(), Some(0));
    // As the first of several transactions leaves it.
    crate::record::tamper(
        &jobs.story.server.data(),
        "update trusted_issuers set ended = 1, ending_by = 'admin-token'",
    );
    jobs.story.server.restart();
    until("the end of what is left", || (jobs.active(&tokens) == 0).then_some(()));
    let entries = jobs.story.record();
    let revoked: Vec<_> = entries.iter().filter(|entry| entry["type"] == "grant.revoked").collect();
    assert!(revoked.len() == 3 && revoked.iter().all(|entry| entry["by"] == "admin-token"));
    jobs.given().refused(400, "invalid_grant");
}
