//! CI jobs, pods and SPIFFE workloads act as agents without a secret of ours.

use super::{Idp, alone, here, present};
use crate::{
    clients::signer::Signer,
    dpop::{Key, nonce},
    parties::{read, stage, why},
};
use placet_testkit::{Publisher, Server, Story, fresh};
use serde_json::{Value, json};

use crate::stage::PLACET;

#[test]
fn a_job_obtains_what_its_agent_would_with_a_secret() {
    let stage = stage();
    let agent = stage.agent();
    stage.story.rules(&agent.handle, "  - {name: read, allow: [orders.read]}\n").expect(201);
    let idp = Idp::of_jobs(&agent);
    let ask = |more: &[(&str, &str)]| alone(&stage.client(), &idp.job(|_, _| {}), more);
    let task = fresh("run-");
    let given =
        ask(&[("scope", "orders.read"), ("task_id", &task), ("task_description", "nightly")]).expect(200);
    let token = given.text("/access_token");
    let (_, claims) = read(&token);
    assert_eq!((claims["sub"].as_str(), claims["client_id"].as_str()), (Some(&*agent.id), Some(&*agent.id)));
    let done = stage.story.act(&token, "orders.read", &json!({"customer_id": "7", "order_id": "1"}));
    assert_eq!(done.expect(200).at("/status"), "executed");
    // The same task gives the same grant, also with the agent's own secret: it is one agent.
    let again = ask(&[("scope", "orders.read"), ("task_id", &task)]).expect(200);
    assert_eq!(again.text("/grant_id"), given.text("/grant_id"));
    let own = agent.ask().with("scope", "orders.read").with("task_id", &task).send(&stage.client());
    assert_eq!(own.expect(200).text("/grant_id"), given.text("/grant_id"));
    // The same narrowing.
    ask(&[("scope", "admin.everything")]).refused(400, "invalid_scope");
    let less = ask(&[("scope", "orders.*"), ("required_tools", "orders.list")]).expect(200);
    assert_eq!(less.at("/granted_tools"), &json!(["orders.list"]));
    // A child of somebody, too.
    let parent = stage.agent();
    let parents = stage.given(&parent, "orders.read").text("/access_token");
    let child = ask(&[("parent_token", &parents)]).expect(200);
    assert_eq!(child.text("/scope_inheritance"), "restricted");
    // A token is good again, as jobs are handed the same one.
    let same = idp.job(|_, claims| _ = claims.as_object_mut().unwrap().remove("jti"));
    for _ in 0..2 {
        alone(&stage.client(), &same, &[("scope", "orders.read")]).expect(200);
    }
    // A cluster writes the audience as a list of one, and no type.
    let pod = idp.job(|header, claims| {
        claims["aud"] = json!([here()]);
        _ = header.as_object_mut().unwrap().remove("typ");
    });
    alone(&stage.client(), &pod, &[("scope", "orders.read")]).expect(200);
}

#[test]
fn each_is_good_once_where_that_is_said() {
    let stage = stage();
    let agent = stage.agent();
    let rules = json!([{"subject": "job:*", "agent": agent.id}]);
    let idp = Idp::trusted(&json!({"workload": {"agents": rules, "one_time": true}}));
    let job = idp.job(|_, _| {});
    alone(&stage.client(), &job, &[("scope", "admin.x")]).refused(400, "invalid_scope");
    alone(&stage.client(), &job, &[("scope", "orders.read")]).expect(200);
    let again = alone(&stage.client(), &job, &[("scope", "orders.read")]).refused(400, "invalid_grant");
    assert!(why(&again).contains("before"));
    let unnamed = idp.job(|_, claims| _ = claims.as_object_mut().unwrap().remove("jti"));
    alone(&stage.client(), &unnamed, &[("scope", "orders.read")]).refused(400, "invalid_grant");
}

#[test]
fn rules_say_as_which_agent_and_nothing_else_does() {
    let stage = stage();
    let (deploy, test, other) = (stage.agent(), stage.agent(), stage.agent());
    let idp = Idp::trusted(&json!({"workload": {"agents": [
        {"subject": "repo:acme/shop:ref:refs/heads/main", "agent": deploy.handle, "claims": {"environment": "prod"}},
        {"subject": "repo:acme/*:ref:refs/heads/main", "agent": test.handle},
    ]}}));
    let ask = |sub: &str, environment: Value, more: &[(&str, &str)]| {
        let job = idp.job(|_, claims| {
            claims["sub"] = json!(sub);
            claims["environment"] = environment;
            // What the token itself says of a client means nothing.
            claims["client_id"] = json!(other.id);
            claims["azp"] = json!(other.id);
        });
        alone(&stage.client(), &job, &[[("scope", "orders.read")].as_slice(), more].concat())
    };
    let main = "repo:acme/shop:ref:refs/heads/main";
    let agent_of = |answer: placet_testkit::Answer| {
        read(&answer.expect(200).text("/access_token")).1["client_id"].as_str().unwrap().to_owned()
    };
    assert_eq!(agent_of(ask(main, Value::Null, &[])), test.id);
    // Two would do: the job says which.
    let both = ask(main, json!("prod"), &[]).refused(400, "invalid_grant");
    assert!(why(&both).contains("client_id"));
    assert_eq!(agent_of(ask(main, json!("prod"), &[("client_id", &deploy.id)])), deploy.id);
    assert_eq!(agent_of(ask(main, json!("prod"), &[("client_id", &test.id)])), test.id);
    for (sub, environment, named) in [
        (main, json!("prod"), other.id.as_str()),
        (main, json!("staging"), &deploy.id),
        (main, json!(["staging"]), &deploy.id),
        ("repo:acme/shop:pull_request", json!("prod"), &deploy.id),
        ("repo:evil/shop:ref:refs/heads/main", json!("prod"), &test.id),
        ("repo:acme/a/b:ref:refs/heads/main", json!("prod"), &test.id),
        ("repo:acme/shop:ref:refs/heads/main-2", json!("prod"), &test.id),
    ] {
        ask(sub, environment, &[("client_id", named)]).refused(400, "unauthorized_client");
    }
    // Who authenticates besides has to be that agent.
    let job = || idp.job(|_, claims| claims["sub"] = json!("repo:acme/x:ref:refs/heads/main"));
    present(&test, &job(), &[("scope", "orders.read")]).expect(200);
    present(&other, &job(), &[("scope", "orders.read")]).refused(400, "unauthorized_client");
    let wrong = placet_testkit::Agent { secret: "wrong".into(), ..test.clone() };
    present(&wrong, &job(), &[("scope", "orders.read")]).refused(401, "invalid_client");
}

#[test]
fn an_agent_that_may_not_gets_nothing() {
    let stage = stage();
    let agent = stage.agent();
    let idp = Idp::of_jobs(&agent);
    let ask = || alone(&stage.client(), &idp.job(|_, _| {}), &[("scope", "orders.read")]);
    ask().expect(200);
    let path = format!("/v1/agents/{}", agent.id);
    stage.admin().post(&format!("{path}/suspend")).json(&json!({})).send().expect(200);
    ask().refused(400, "unauthorized_client");
    stage.admin().post(&format!("{path}/activate")).json(&json!({})).send().expect(200);
    ask().expect(200);
    let only =
        |types: Value| stage.admin().patch(&path).json(&json!({"grant_types": types})).send().expect(200);
    only(json!(["client_credentials"]));
    let refused = ask().refused(400, "unauthorized_client");
    assert!(why(&refused).contains("jwt-bearer"), "{}", why(&refused));
    only(json!(["urn:ietf:params:oauth:grant-type:jwt-bearer"]));
    ask().expect(200);
    stage.admin().delete(&path).send().expect(200);
    ask().refused(400, "unauthorized_client");
}

#[test]
fn a_proof_binds_what_a_job_is_given() {
    let stage = stage();
    let agent = stage.agent();
    let (idp, key) = (Idp::of_jobs(&agent), Key::ed25519());
    let proof =
        key.proof("POST", &format!("{}/oauth/token", here()), None, Some(&nonce(&stage.client(), &agent)));
    let form =
        [("grant_type", super::JWT_BEARER), ("assertion", &idp.job(|_, _| {})), ("scope", "orders.read")];
    let given = stage.client().post("/oauth/token").form(&form).header("dpop", proof).send().expect(200);
    assert_eq!(given.text("/token_type"), "DPoP");
    assert_eq!(read(&given.text("/access_token")).1["cnf"]["jkt"], key.thumbprint());
}

#[test]
fn a_bound_token_of_a_job_needs_its_key() {
    let stage = stage();
    let agent = stage.agent();
    let (idp, key, other) = (Idp::of_jobs(&agent), Key::ed25519(), Key::p256());
    let nonce = nonce(&stage.client(), &agent);
    let bound = |cnf: Value| idp.job(|_, claims| claims["cnf"] = cnf);
    let with = |key: &Key, job: &str| {
        let proof = key.proof("POST", &format!("{}/oauth/token", here()), None, Some(&nonce));
        let form = [("grant_type", super::JWT_BEARER), ("assertion", job), ("scope", "orders.read")];
        stage.client().post("/oauth/token").form(&form).header("dpop", proof).send()
    };
    let job = bound(json!({"jkt": key.thumbprint()}));
    let refused = alone(&stage.client(), &job, &[("scope", "orders.read")]).refused(400, "invalid_grant");
    assert!(why(&refused).contains("DPoP"), "{}", why(&refused));
    with(&other, &job).refused(400, "invalid_grant");
    let given = with(&key, &job).expect(200);
    assert_eq!(read(&given.text("/access_token")).1["cnf"]["jkt"], key.thumbprint());
    // Bound otherwise is not understood, and so is no.
    with(&key, &bound(json!({"x5t#S256": "x"}))).refused(400, "invalid_grant");
}

#[test]
fn keys_at_a_url_are_read_there() {
    let mut server = Server::start(PLACET);
    server.flags(&["--loopback-documents"]);
    server.restart();
    let (story, publisher) = (Story::on(server), Publisher::start());
    let agent = story.agent(&fresh("bot-")).register();
    let (old, new) = (Signer::rsa(false), Signer::p256());
    let keys = publisher.json("/keys", &old.jwks(Some("old")));
    let document = json!({"issuer": "https://ci.example", "jwks_uri": keys, "algorithms": ["RS256", "ES256"],
        "workload": {"agents": [{"subject": "job:*", "agent": agent.handle}]}});
    story.admin().post("/v1/trusted-issuers").json(&document).send().expect(201);
    let base = story.server.base().to_owned();
    let idp = |signer: Signer| Idp { iss: "https://ci.example".into(), id: String::new(), signer };
    let (old, new, strange) = (idp(old), idp(new), idp(Signer::ed25519()));
    let ask = |idp: &Idp, kid: &str| {
        let job = idp.job(|header, claims| {
            header["kid"] = json!(kid);
            claims["aud"] = json!(base);
        });
        alone(&story.client(), &job, &[("scope", "orders.read")])
    };
    ask(&old, "old").expect(200);
    let asked = publisher.asked("/keys");
    ask(&old, "old").expect(200);
    // Whoever comes with a wrong key does not make this server read again and again.
    for _ in 0..3 {
        ask(&new, "new").refused(400, "invalid_grant");
    }
    // An algorithm that was not said is none, whatever keys there are.
    ask(&strange, "strange").refused(400, "invalid_grant");
    assert_eq!(publisher.asked("/keys"), asked);
    // What can't be read is no answer.
    let gone = json!({"issuer": "https://gone.example", "jwks_uri": publisher.url("/nothing"),
        "workload": {"agents": [{"subject": "job:*", "agent": agent.handle}]}});
    story.admin().post("/v1/trusted-issuers").json(&gone).send().expect(201);
    let gone = Idp { iss: "https://gone.example".into(), ..old };
    ask(&gone, "old").refused(503, "temporarily_unavailable");
}
