//! An identity provider's administrator decides that an agent may act for a person.

use super::{Idp, JWT_BEARER, here, present};
use crate::{
    dpop::{Key, nonce},
    parties::{read, stage, why},
};
use placet_testkit::{Answer, fresh, together};
use serde_json::{Value, json};

#[test]
fn the_agent_acts_for_the_person_within_all_that_bounds_it() {
    let stage = stage();
    let (idp, agent) = (Idp::of_pat(), stage.agent());
    stage.story.rules(&agent.handle, "  - {name: read, allow: [orders.read]}\n").expect(201);
    let given = present(&agent, &idp.jag(&agent, |_, _| {}), &[("task_description", "tickets")]).expect(200);
    let token = given.text("/access_token");
    let (_, claims) = read(&token);
    assert_eq!(claims["sub"], stage.pat.id.as_str());
    assert_eq!(claims["client_id"], agent.id.as_str());
    assert_eq!(claims["aud"], json!([here()]));
    assert_eq!((given.text("/scope"), given.text("/token_type")), ("orders.read".into(), "Bearer".into()));
    assert!(given.body.get("refresh_token").is_none() && given.body.get("issued_token_type").is_none());
    let done = stage.story.act(&token, "orders.read", &json!({"customer_id": "7", "order_id": "1"}));
    assert_eq!(done.expect(200).at("/status"), "executed");
    // A root, for that person, for an hour; its task is the agent's own word.
    let grant = stage.admin().get(&format!("/v1/grants/{}", given.text("/grant_id"))).send().expect(200);
    assert_eq!((grant.at("/parent"), grant.at("/user")), (&Value::Null, &json!(stage.pat.id)));
    let task = stage.admin().get(&format!("/v1/tasks/{}", given.text("/task_id"))).send().expect(200);
    assert_eq!((task.text("/origin"), task.text("/description")), ("agent".into(), "tickets".into()));
    // The record says on whose word.
    let entries = stage.story.record();
    let of_it = |entry: &&Value| entry["type"] == "grant.issued" && entry["task"] == *grant.at("/task");
    let entry = entries.iter().find(of_it).unwrap();
    let index = entry["index"].as_u64().unwrap();
    assert_eq!(entry["user"], stage.pat.id.as_str());
    let told = stage.admin().get(&format!("/v1/record/{index}")).send().expect(200);
    assert_eq!(told.at("/body/on_word_of/issuer"), &json!(idp.iss));
    assert_eq!(told.at("/body/on_word_of/subject"), "00u-pat");
}

#[test]
fn nothing_is_given_beyond_the_assertion_the_registration_the_roles_and_the_issuers_bound() {
    let stage = stage();
    let agent = stage.agent_for(&["orders.*"]);
    let bounded =
        Idp::trusted(&json!({"id_jag": {"users": {"00u-pat": "pat"}, "scope": ["orders.read", "notes.*"]}}));
    let scope = |scope: &'static str| move |_: &mut Value, claims: &mut Value| claims["scope"] = json!(scope);
    let of = |answer: Answer| answer.expect(200).text("/scope");
    let idp = Idp::of_pat();
    // What the registration lacks is left out, and words of other servers are nothing.
    assert_eq!(
        of(present(&agent, &idp.jag(&agent, scope("orders.read notes.write openid")), &[])),
        "orders.read"
    );
    assert_eq!(of(present(&agent, &idp.jag(&agent, scope("**")), &[])), "orders.*");
    assert_eq!(of(present(&agent, &bounded.jag(&agent, scope("**")), &[])), "orders.read");
    let none = present(&agent, &idp.jag(&agent, scope("notes.write")), &[]).refused(400, "invalid_scope");
    assert!(why(&none).contains("scope"), "{}", why(&none));
    // Less may be asked for, more not.
    let wide = || idp.jag(&agent, scope("orders.read orders.list"));
    assert_eq!(of(present(&agent, &wide(), &[("scope", "orders.list")])), "orders.list");
    for (asked, from) in [
        ("orders.delete", wide()),
        ("notes.write", idp.jag(&agent, scope("**"))),
        ("orders.list", bounded.jag(&agent, scope("**"))),
        ("*", wide()),
    ] {
        present(&agent, &from, &[("scope", asked)]).refused(400, "invalid_scope");
    }
    // Without a scope in the assertion, the agent's defaults; there are none.
    let unsaid = || idp.jag(&agent, |_, claims| _ = claims.as_object_mut().unwrap().remove("scope"));
    present(&agent, &unsaid(), &[]).refused(400, "invalid_scope");
    assert_eq!(of(present(&agent, &unsaid(), &[("scope", "orders.read")])), "orders.read");
    // A scope that needs a role, which pat has not.
    let tool = fresh("ledger-word-");
    let (read, audit) = (format!("{tool}.read"), format!("{tool}.audit"));
    let agent = stage.agent_for(&[&format!("{tool}.*")]);
    let entry = json!({"description": "Look into the books", "includes": [], "roles": ["bookkeeper"]});
    stage.admin().put(&format!("/v1/scopes/{audit}")).json(&entry).send().expect(201);
    let guarded = || idp.jag(&agent, |_, claims| claims["scope"] = json!(format!("{read} {audit}")));
    assert_eq!(of(present(&agent, &guarded(), &[])), read);
    let refused = present(&agent, &guarded(), &[("scope", &audit)]).refused(400, "invalid_scope");
    assert!(why(&refused).contains(&audit), "{}", why(&refused));
}

#[test]
fn a_token_is_for_the_places_that_the_assertion_names() {
    let stage = stage();
    let (idp, agent) = (Idp::of_pat(), stage.agent());
    let audience = format!("https://{}.example", fresh("rs-"));
    let server = json!({"name": fresh("rs-"), "audience": audience});
    stage.admin().post("/v1/resource-servers").json(&server).send().expect(201);
    let at = |resource: Value| idp.jag(&agent, |_, claims| claims["resource"] = resource);
    let aud = |answer: Answer| read(&answer.expect(200).text("/access_token")).1["aud"].clone();
    assert_eq!(aud(present(&agent, &at(json!(audience)), &[])), json!([audience]));
    let both = || at(json!([audience, here()]));
    assert_eq!(aud(present(&agent, &both(), &[])), json!([audience, here()]));
    assert_eq!(aud(present(&agent, &both(), &[("resource", &audience)])), json!([audience]));
    present(&agent, &at(json!(audience)), &[("resource", &here())]).refused(400, "invalid_target");
    present(&agent, &at(json!("https://nobody.example")), &[]).refused(400, "invalid_target");
    // A token for somebody else opens nothing here.
    let elsewhere = present(&agent, &at(json!(audience)), &[]).expect(200).text("/access_token");
    let act = stage.story.act(&elsewhere, "orders.read", &json!({"customer_id": "7", "order_id": "1"}));
    act.refused(401, "token_invalid");
}

#[test]
fn details_of_the_assertion_bound_what_is_given() {
    let stage = stage();
    let (idp, agent) = (Idp::of_pat(), stage.agent());
    let detail = |actions: Value| json!([{"type": "placet_action", "actions": actions}]);
    let jag = || {
        idp.jag(&agent, |_, claims| {
            claims["scope"] = json!("orders.*");
            claims["authorization_details"] = detail(json!(["orders.read", "orders.list"]));
        })
    };
    let given = present(&agent, &jag(), &[]).expect(200);
    assert_eq!(given.at("/authorization_details/0/actions"), &json!(["orders.read", "orders.list"]));
    let less = detail(json!(["orders.read"])).to_string();
    let given = present(&agent, &jag(), &[("authorization_details", &less)]).expect(200);
    assert_eq!(given.at("/authorization_details/0/actions"), &json!(["orders.read"]));
    let more = detail(json!(["orders.delete"])).to_string();
    let more = present(&agent, &jag(), &[("authorization_details", &more)]);
    more.refused(400, "invalid_authorization_details");
}

#[test]
fn whom_it_is_about_is_mapped_and_nobody_is_made() {
    let stage = stage();
    let agent = stage.agent();
    let idp = Idp::trusted(
        &json!({"id_jag": {"claim": "email", "by_name": true, "users": {"old@x.example": "sam"},
        "claims": {"tenant": "t1"}}}),
    );
    let about = |email: Value, verified: Value, tenant: &str| {
        let jag = idp.jag(&agent, |_, claims| {
            claims["email"] = email;
            claims["email_verified"] = verified;
            claims["tenant"] = json!(tenant);
        });
        present(&agent, &jag, &[])
    };
    let sub = |answer: Answer| read(&answer.expect(200).text("/access_token")).1["sub"].clone();
    assert_eq!(sub(about(json!("pat"), json!(true), "t1")), stage.pat.id.as_str());
    assert_eq!(sub(about(json!("old@x.example"), json!(true), "t1")), stage.sam.id.as_str());
    for (email, verified, tenant) in [
        (json!("nobody@x.example"), json!(true), "t1"),
        (json!("PAT"), json!(true), "t1"),
        (json!(["pat"]), json!(true), "t1"),
        (Value::Null, json!(true), "t1"),
        (json!("pat"), json!(false), "t1"),
        (json!("pat"), json!(true), "t2"),
    ] {
        about(email, verified, tenant).refused(400, "invalid_grant");
    }
    let people = stage.admin().get("/v1/users?limit=1000").send().expect(200);
    assert!(!people.body.to_string().contains("nobody@x.example"));
    // Whom it means can be changed, and counts from then on.
    let users = format!("/v1/trusted-issuers/{}/users", idp.id);
    let mean = |user: Value| stage.admin().post(&users).json(&json!({"subject": "pat", "user": user})).send();
    mean(json!("sam")).expect(200);
    assert_eq!(sub(about(json!("pat"), json!(true), "t1")), stage.sam.id.as_str());
    // Nobody can't be meant where the name would be found all the same.
    let refused = mean(Value::Null).refused(409, "conflict").text("/detail");
    assert!(refused.contains("by name"), "{refused}");
    assert_eq!(sub(about(json!("pat"), json!(true), "t1")), stage.sam.id.as_str());
    mean(json!("pat")).expect(200);
    assert_eq!(sub(about(json!("pat"), json!(true), "t1")), stage.pat.id.as_str());
    let unknown = stage.admin().post(&users).json(&json!({"subject": "x", "user": "nobody"})).send();
    unknown.refused(400, "request_invalid");
}

#[test]
fn an_entry_that_is_taken_away_means_nobody() {
    let stage = stage();
    let (idp, agent) = (Idp::of_pat(), stage.agent());
    present(&agent, &idp.jag(&agent, |_, _| {}), &[]).expect(200);
    let users = format!("/v1/trusted-issuers/{}/users", idp.id);
    stage.admin().post(&users).json(&json!({"subject": "00u-pat", "user": null})).send().expect(200);
    present(&agent, &idp.jag(&agent, |_, _| {}), &[]).refused(400, "invalid_grant");
}

#[test]
fn an_assertion_is_good_once_also_where_many_come_at_once() {
    let stage = stage();
    let (idp, agent) = (Idp::of_pat(), stage.agent());
    let jag = idp.jag(&agent, |_, _| {});
    // What is refused for another reason does not use it up.
    present(&agent, &jag, &[("scope", "refunds.create")]).refused(400, "invalid_scope");
    let answers = together(6, |_| present(&agent, &jag, &[]));
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, refused.at("/error")), (400, &json!("invalid_grant")));
        assert!(why(refused).contains("before"), "{}", why(refused));
    }
    // The id is its issuer's: another one's is another.
    let other = Idp::of_pat();
    let same = |idp: &Idp| idp.jag(&agent, |_, claims| claims["jti"] = json!("one"));
    present(&agent, &same(&idp), &[]).expect(200);
    present(&agent, &same(&other), &[]).expect(200);
    present(&agent, &same(&idp), &[]).refused(400, "invalid_grant");
}

#[test]
fn a_bound_assertion_needs_its_key_and_so_does_what_it_gives() {
    let stage = stage();
    let (idp, agent) = (Idp::of_pat(), stage.agent());
    let (key, other) = (Key::ed25519(), Key::p256());
    let nonce = nonce(&stage.client(), &agent);
    let url = format!("{}/oauth/token", here());
    let with = |key: &Key, jag: &str| {
        let proof = key.proof("POST", &url, None, Some(&nonce));
        let asking = agent.ask().with("grant_type", JWT_BEARER).with("assertion", jag);
        asking.request(&stage.client()).header("dpop", proof).send()
    };
    let bound = || idp.jag(&agent, |_, claims| claims["cnf"] = json!({"jkt": key.thumbprint()}));
    let refused = present(&agent, &bound(), &[]).refused(400, "invalid_grant");
    assert!(why(&refused).contains("DPoP"), "{}", why(&refused));
    with(&other, &bound()).refused(400, "invalid_grant");
    let given = with(&key, &bound()).expect(200);
    assert_eq!(given.text("/token_type"), "DPoP");
    let grant = stage.admin().get(&format!("/v1/grants/{}", given.text("/grant_id"))).send().expect(200);
    assert_eq!(grant.text("/key"), key.thumbprint());
    // Bound otherwise is not understood, and so is no.
    let otherwise = idp.jag(&agent, |_, claims| claims["cnf"] = json!({"x5t#S256": "x"}));
    with(&key, &otherwise).refused(400, "invalid_grant");
    // A proof of one's own binds the token, as ever.
    assert_eq!(with(&other, &idp.jag(&agent, |_, _| {})).expect(200).text("/token_type"), "DPoP");
}

#[test]
fn what_an_assertion_gives_is_a_task_of_its_own() {
    let stage = stage();
    let (idp, agent) = (Idp::of_pat(), stage.agent());
    let label = fresh("ticket-");
    let ask = |more: &[(&str, &str)]| present(&agent, &idp.jag(&agent, |_, _| {}), more);
    assert_eq!(ask(&[("task_id", &label)]).expect(200).text("/task_id"), label);
    let again = ask(&[("task_id", &label)]).refused(400, "invalid_request");
    assert!(why(&again).contains("task_id"), "{}", why(&again));
    ask(&[("task_id", "tsk_00000000000000000000000000")]).refused(400, "invalid_request");
    ask(&[("task_id", "a b")]).refused(400, "invalid_request");
    let own = stage.given(&agent, "orders.read").text("/access_token");
    ask(&[("parent_token", &own)]).refused(400, "invalid_request");
    ask(&[("grant_id", "gnt_00000000000000000000000000")]).refused(400, "invalid_request");
    // The grant lives as long as the issuer's document says, and nothing below it longer.
    let brief = Idp::trusted(&json!({"id_jag": {"users": {"00u-pat": "pat"}, "lifetime": 60}}));
    let given = present(&agent, &brief.jag(&agent, |_, _| {}), &[]).expect(200);
    assert!(given.at("/expires_in").as_i64().unwrap() <= 60);
}

#[test]
fn an_issuer_says_what_a_task_is_for_where_it_is_trusted_to() {
    let stage = stage();
    let agent = stage.agent();
    let rules = "  - {name: named, allow: [orders.read], intent: {entities: [customer_id]}}\n";
    stage.story.rules(&agent.handle, rules).expect(201);
    let users = json!({"00u-pat": "pat"});
    let trusted = Idp::trusted(&json!({"id_jag": {"users": users, "purpose": "/task/purpose"}}));
    let plain = Idp::trusted(&json!({"id_jag": {"users": users}}));
    let said = |idp: &Idp| {
        idp.jag(&agent, |_, claims| claims["task"] = json!({"purpose": "Look into the orders of 4711"}))
    };
    let act = |given: &Answer, customer: &str| {
        let params = json!({"customer_id": customer, "order_id": "1"});
        stage.story.act(&given.text("/access_token"), "orders.read", &params)
    };
    let task = |given: &Answer| {
        stage.admin().get(&format!("/v1/tasks/{}", given.text("/task_id"))).send().expect(200)
    };
    let given = present(&agent, &said(&trusted), &[]).expect(200);
    let shown = task(&given);
    assert_eq!(
        (shown.text("/origin"), shown.text("/description")),
        ("issuer".into(), "Look into the orders of 4711".into())
    );
    act(&given, "4711").expect(200);
    act(&given, "4712").refused(403, "intent_mismatch");
    // The agent can't say otherwise, and nobody who isn't trusted to can say it at all.
    let other = [("task_description", "Look into the orders of 4712")];
    let refused = present(&agent, &said(&trusted), &other).refused(400, "invalid_request");
    assert!(why(&refused).contains("task_description"), "{}", why(&refused));
    for (jag, asked) in [
        (said(&plain), &other[..]),
        (trusted.jag(&agent, |_, _| {}), &other[..]),
        (trusted.jag(&agent, |_, claims| claims["task"] = json!({"purpose": " "})), &other[..]),
        (trusted.jag(&agent, |_, claims| claims["task"] = json!({"purpose": ["4712"]})), &other[..]),
    ] {
        let given = present(&agent, &jag, asked).expect(200);
        assert_eq!(task(&given).text("/origin"), "agent");
        assert_eq!(act(&given, "4712").expect(202).at("/status"), "held");
    }
    let long = trusted.jag(&agent, |_, claims| claims["task"] = json!({"purpose": "x".repeat(2001)}));
    present(&agent, &long, &[]).refused(400, "invalid_grant");
}
