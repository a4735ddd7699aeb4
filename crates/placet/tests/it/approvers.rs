//! Several people, a second person, and whose yes counts: the sentences of `docs/approvals.md`, "Several people".

use crate::{
    process::typed,
    stage::{PLACET, story},
};
use placet_testkit::{Answer, Story, fresh, password, together};
use serde_json::{Value, json};

/// Somebody who is signed in.
struct Person {
    id: String,
    name: String,
    session: String,
}

/// Making one is slow, so each test makes as few as it needs.
fn person(story: &Story, roles: &[&str]) -> Person {
    let name = fresh("person-");
    let (id, session) = story.user(&name, roles);
    Person { id, name, session }
}

fn rules(approve: &str) -> String {
    format!("  - name: held\n    allow: [notes.write, refunds.create]\n    approve: {approve}\n")
}

fn note(customer: &str) -> Value {
    json!({"customer_id": customer, "text": fresh("text-")})
}

fn hold(story: &Story, token: &str, params: &Value) -> (String, u64) {
    let held = story.act(token, "notes.write", params).expect(202);
    (held.text("/approval/id"), held.at("/approval/missing").as_u64().unwrap())
}

fn say(story: &Story, session: &str, approval: &str, body: &Value) -> Answer {
    story.client().post(&format!("/v1/approvals/{approval}")).bearer(session).json(body).send()
}

fn yes(story: &Story, session: &str, approval: &str) -> Answer {
    say(story, session, approval, &json!({"verdict": "approve"}))
}

fn no(story: &Story, session: &str, approval: &str) -> Answer {
    say(story, session, approval, &json!({"verdict": "deny"}))
}

fn resend(story: &Story, token: &str, params: &Value, approval: &str) -> Answer {
    story.acting(token, "notes.write", params).header("placet-approval", approval).send()
}

fn shown(story: &Story, approval: &str) -> Value {
    story.admin().get(&format!("/v1/approvals/{approval}")).send().expect(200).body
}

fn set_roles(story: &Story, whom: &str, roles: &[&str]) -> Answer {
    story.admin().put(&format!("/v1/users/{whom}/roles")).json(&json!({"roles": roles})).send()
}

#[test]
fn two_different_people_have_to_say_yes() {
    let story = story();
    let role = fresh("role-");
    let (one, two) = (person(story, &[&role]), person(story, &[&role]));
    let (_, token) = story.ready(&rules(&format!("{{by: ['role:{role}'], count: 2}}")));
    let customer = fresh("c");
    let params = note(&customer);
    let (id, missing) = hold(story, &token, &params);
    assert_eq!(missing, 2);
    for _ in 0..2 {
        let half = yes(story, &one.session, &id).expect(200);
        assert_eq!((half.at("/state"), half.at("/missing")), (&json!("pending"), &json!(1)));
        assert_eq!(half.at("/votes").as_array().unwrap().len(), 1);
    }
    // Half an approval releases nothing, and the question is the same.
    let held = resend(story, &token, &params, &id).expect(202);
    assert_eq!((held.text("/approval/id"), held.at("/approval/missing")), (id.clone(), &json!(1)));
    assert_eq!(hold(story, &token, &params), (id.clone(), 1));
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
    assert_eq!(yes(story, &two.session, &id).expect(200).at("/state"), "approved");
    resend(story, &token, &params, &id).expect(200);
    resend(story, &token, &params, &id).refused(403, "approval_used");
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}

#[test]
fn who_is_ruled_out_is_told_so() {
    let story = story();
    let client = story.client();
    let role = fresh("role-");
    let (user, owner, third) = (person(story, &[&role]), person(story, &[&role]), person(story, &[&role]));
    let agent = story.agent(&fresh("agent-")).with("owner", json!(owner.name)).register();
    story.rules(&agent.handle, &rules(&format!("{{by: ['role:{role}'], not: [user, owner]}}"))).expect(201);
    let label = fresh("task-");
    let task = json!({"task_id": label, "description": "notes", "agent": agent.id, "user": user.id,
        "scope": ["notes.write"], "resources": ["order://**"]});
    story.admin().post("/v1/tasks").json(&task).send().expect(201);
    let token = agent.ask().with("task_id", &label).send(&client).expect(200).text("/access_token");
    let params = note(&fresh("c"));
    let (id, _) = hold(story, &token, &params);
    for (person, status) in [(&user, 403), (&owner, 404)] {
        // Whom it acts for sees it; to the owner it is nobody's business by that rule.
        assert_eq!(yes(story, &person.session, &id).status, status, "{}", person.name);
        assert_eq!(no(story, &person.session, &id).status, status, "{}", person.name);
    }
    let seen = shown(story, &id);
    assert_eq!(seen["requirements"][0]["not"], json!(["user", "owner"]));
    assert_eq!(seen["shown"]["rules"][0]["not"], json!(["user", "owner"]));
    assert_eq!(yes(story, &third.session, &id).expect(200).at("/state"), "approved");
    resend(story, &token, &params, &id).expect(200);
    // The owner of an agent above it is ruled out as well.
    let parent = story.agent(&fresh("agent-")).with("owner", json!(third.name)).register();
    story.rules(&parent.handle, "  - {name: any, allow: [notes.write]}\n").expect(201);
    let above = parent.token(&client, "notes.write");
    let child = agent.ask().with("parent_token", &above).with("scope", "notes.write").send(&client);
    let (id, _) = hold(story, &child.expect(200).text("/access_token"), &params);
    for person in [&third, &owner] {
        yes(story, &person.session, &id).refused(404, "not_found");
    }
    assert_eq!(yes(story, &user.session, &id).expect(200).at("/state"), "approved");
}

#[test]
fn an_owner_who_is_no_user_could_be_anybody() {
    let story = story();
    let client = story.client();
    let role = fresh("role-");
    let lead = person(story, &[&role]);
    let asks = |not: &str| rules(&format!("{{by: ['role:{role}'], not: [{not}]}}"));
    for (owner, not, status) in [
        (json!(lead.id), "owner", 202),
        (json!("the platform team"), "owner", 403),
        (Value::Null, "owner", 403),
        // Whom a rule doesn't ask about may be anybody.
        (json!("the platform team"), "user", 202),
    ] {
        let agent = story.agent(&fresh("agent-")).with("owner", owner.clone()).register();
        story.rules(&agent.handle, &asks(not)).expect(201);
        let answer = story.act(&agent.token(&client, "notes.write"), "notes.write", &note(&fresh("c")));
        assert_eq!(answer.status, status, "{owner} {:#}", answer.body);
        if status == 403 {
            answer.refused(403, "forbidden");
        } else if not == "owner" {
            // Named by their id they are ruled out as well.
            yes(story, &lead.session, &answer.text("/approval/id")).refused(404, "not_found");
        }
    }
    // One above it in the chain is as unknown.
    let parent = story.agent(&fresh("agent-")).with("owner", json!("the platform team")).register();
    story.rules(&parent.handle, "  - {name: any, allow: [notes.write]}\n").expect(201);
    let agent = story.agent(&fresh("agent-")).with("owner", json!(person(story, &[]).name)).register();
    story.rules(&agent.handle, &asks("owner")).expect(201);
    let above = parent.token(&client, "notes.write");
    let child = agent.ask().with("parent_token", &above).with("scope", "notes.write").send(&client);
    let token = child.expect(200).text("/access_token");
    story.act(&token, "notes.write", &note(&fresh("c"))).refused(403, "forbidden");
}

#[test]
fn one_no_ends_it_also_of_who_said_yes() {
    let story = story();
    let role = fresh("role-");
    let (one, two) = (person(story, &[&role]), person(story, &[&role]));
    let (_, token) = story.ready(&rules(&format!("{{by: ['role:{role}'], count: 2}}")));
    let params = note(&fresh("c"));
    for first in [&one, &two] {
        let params = note(&fresh("c"));
        let (id, _) = hold(story, &token, &params);
        yes(story, &one.session, &id).expect(200);
        assert_eq!(no(story, &first.session, &id).expect(200).at("/state"), "denied");
        yes(story, &two.session, &id).refused(409, "conflict");
        resend(story, &token, &params, &id).refused(403, "approval_denied");
    }
    let (id, _) = hold(story, &token, &params);
    yes(story, &person(story, &["clerk"]).session, &id).refused(404, "not_found");
}

#[test]
fn at_once_each_counts_once_and_there_is_one_outcome() {
    let story = story();
    let role = fresh("role-");
    let people: Vec<Person> = (0..3).map(|_| person(story, &[&role])).collect();
    let (_, token) = story.ready(&rules(&format!("{{by: ['role:{role}'], count: 3}}")));
    for round in 0..6 {
        let params = note(&fresh("c"));
        let (id, _) = hold(story, &token, &params);
        // Everybody three times at once, and in every second round one of them says no.
        let answers = together(9, |number| {
            let person = &people[number % 3];
            let denies = round % 2 == 1 && number == 4;
            (denies, if denies { no(story, &person.session, &id) } else { yes(story, &person.session, &id) })
        });
        let seen = shown(story, &id);
        let counted = seen["requirements"][0]["yes"].as_array().unwrap().len();
        let denied = answers.iter().any(|(denies, answer)| *denies && answer.status == 200);
        match seen["state"].as_str().unwrap() {
            "approved" => {
                assert!(!denied && counted == 3, "{seen:#}");
                let votes = seen["votes"].as_array().unwrap();
                assert_eq!(votes.len(), 3, "{seen:#}");
                resend(story, &token, &params, &id).expect(200);
            }
            "denied" => {
                assert!(denied && counted < 3, "{seen:#}");
                resend(story, &token, &params, &id).refused(403, "approval_denied");
            }
            other => panic!("{other}: {seen:#}"),
        }
        for (_, answer) in answers {
            assert!(matches!(answer.status, 200 | 409), "{:#}", answer.body);
        }
    }
}

#[test]
fn nobody_counts_for_two_that_are_distinct() {
    let story = story();
    let (lead, finance) = (fresh("lead-"), fresh("finance-"));
    let (both, only) = (person(story, &[&lead, &finance]), person(story, &[&lead]));
    let text = |distinct: &str| {
        rules(&format!("{{by: ['role:{lead}', 'role:{finance}']{distinct}}}"))
            + &format!(
                "  - name: guarded\n    guard: [notes.write]\n    approve: {{by: ['role:{finance}', 'role:{lead}']{distinct}}}\n"
            )
    };
    let (_, token) = story.ready(&text(", distinct: true"));
    let params = note(&fresh("c"));
    let (id, missing) = hold(story, &token, &params);
    assert_eq!(missing, 2);
    assert_eq!(yes(story, &both.session, &id).expect(200).at("/missing"), 1);
    assert_eq!(yes(story, &both.session, &id).expect(200).at("/missing"), 1);
    assert_eq!(yes(story, &only.session, &id).expect(200).at("/state"), "approved");
    // Without the word one yes is enough for both.
    let (_, token) = story.ready(&text(""));
    let (id, _) = hold(story, &token, &params);
    assert_eq!(yes(story, &both.session, &id).expect(200).at("/state"), "approved");
}

#[test]
fn a_role_that_is_lost_takes_the_yes_with_it() {
    let story = story();
    let role = fresh("role-");
    let (one, two) = (person(story, &[&role]), person(story, &[&role]));
    let (_, token) = story.ready(&rules(&format!("{{by: ['role:{role}'], count: 2}}")));
    let params = note(&fresh("c"));
    let (id, _) = hold(story, &token, &params);
    yes(story, &one.session, &id).expect(200);
    assert_eq!(yes(story, &two.session, &id).expect(200).at("/state"), "approved");
    assert_eq!(set_roles(story, &one.name, &["clerk"]).expect(200).at("/roles"), &json!(["clerk"]));
    // What was approved is not any more; people see it as waiting.
    assert_eq!(resend(story, &token, &params, &id).expect(202).at("/approval/missing"), 1);
    let seen = shown(story, &id);
    assert_eq!((&seen["state"], &seen["requirements"][0]["missing"]), (&json!("pending"), &json!(1)));
    assert_eq!(seen["requirements"][0]["yes"][0]["name"], two.name);
    let waiting = story.client().get("/v1/approvals?state=pending&limit=1000").bearer(&two.session).send();
    let listed = waiting.expect(200).at("/approvals").as_array().unwrap().clone();
    assert!(listed.iter().any(|one| one["id"] == id.as_str()));
    yes(story, &one.session, &id).refused(404, "not_found");
    // With the role back it takes saying so again.
    set_roles(story, &one.id, &[&role]).expect(200);
    assert_eq!(resend(story, &token, &params, &id).status, 202);
    assert_eq!(yes(story, &one.session, &id).expect(200).at("/state"), "approved");
    resend(story, &token, &params, &id).expect(200);
    // What was used is used.
    set_roles(story, &one.id, &[]).expect(200);
    assert_eq!(shown(story, &id)["state"], "used");
    let record = story.record();
    let types: Vec<&str> = record
        .iter()
        .filter(|entry| entry["approval"] == id.as_str() || entry["type"] == "user.roles")
        .filter_map(|entry| entry["type"].as_str())
        .collect();
    assert_eq!(types.iter().filter(|it| **it == "approval.vote_lost").count(), 1, "{types:?}");
    assert!(types.iter().filter(|it| **it == "user.roles").count() >= 3);
}

#[test]
fn a_role_that_goes_while_it_is_used_leaves_one_outcome() {
    let story = story();
    let role = fresh("role-");
    let one = person(story, &[&role]);
    let (_, token) = story.ready(&rules(&format!("{{by: ['role:{role}']}}")));
    for _ in 0..10 {
        set_roles(story, &one.id, &[&role]).expect(200);
        let customer = fresh("c");
        let params = note(&customer);
        let (id, _) = hold(story, &token, &params);
        yes(story, &one.session, &id).expect(200);
        let answers = together(5, |number| match number {
            0 => set_roles(story, &one.id, &[]),
            _ => resend(story, &token, &params, &id),
        });
        answers[0].clone().expect(200);
        let ran = answers[1..].iter().filter(|answer| answer.status == 200).count();
        for answer in &answers[1..] {
            assert!(matches!(answer.status, 200 | 202 | 403), "{:#}", answer.body);
        }
        assert!(ran <= 1);
        let state = shown(story, &id)["state"].clone();
        assert_eq!(state, if ran == 1 { "used" } else { "pending" });
        assert_eq!(story.shop.count(&format!("/customers/{customer}/")), ran);
    }
}

#[test]
fn people_see_who_and_agents_how_many() {
    let story = story();
    let role = fresh("role-");
    let (one, two) = (person(story, &[&role]), person(story, &[&role]));
    let (_, token) =
        story.ready(&rules(&format!("{{by: ['role:{role}', 'user:lee'], count: 2, not: [user]}}")));
    let (id, _) = hold(story, &token, &note(&fresh("c")));
    yes(story, &one.session, &id).expect(200);
    let path = format!("/v1/approvals/{id}");
    let seen = story.client().get(&path).bearer(&two.session).send().expect(200);
    let asked = seen.at("/requirements/0");
    assert_eq!((&asked["count"], &asked["missing"], &asked["met"]), (&json!(2), &json!(1), &json!(false)));
    assert_eq!(asked["yes"], json!([{"id": one.id, "name": one.name}]));
    assert_eq!(asked["by"], json!([format!("role:{role}"), "user:lee"]));
    let told = story.client().get(&path).bearer(&token).send().expect(200);
    let members: Vec<&String> = told.body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["expires", "id", "missing", "state"]);
    assert!(!told.body.to_string().contains(&one.name));
    assert_eq!(told.at("/missing"), 1);
}

#[test]
fn a_permit_of_several_is_what_all_of_them_chose() {
    let story = story();
    let role = fresh("role-");
    let (one, two) = (person(story, &[&role]), person(story, &[&role]));
    let (_, token) = story.ready(&rules(&format!("{{by: ['role:{role}'], count: 2}}")));
    let given = |approval: &str| -> Vec<Value> {
        let listed = story.client().get("/v1/permits?limit=1000").bearer(&two.session).send().expect(200);
        let all = listed.at("/permits").as_array().unwrap().clone();
        all.into_iter().filter(|one| one["approval"] == approval).collect()
    };
    let customer = fresh("c");
    let asked = |count: u64, lasts: u64| json!({"verdict": "approve", "permit": {"resources": [format!("order://customer:{customer}")], "count": count, "lasts": lasts}});
    // One who means this once, or other terms, makes it this once.
    for second in [json!({"verdict": "approve"}), asked(9, 600)] {
        let params = note(&customer);
        let (id, _) = hold(story, &token, &params);
        say(story, &one.session, &id, &asked(3, 600)).expect(200);
        assert_eq!(say(story, &two.session, &id, &second).expect(200).at("/state"), "approved");
        assert_eq!(given(&id), Vec::<Value>::new());
        resend(story, &token, &params, &id).expect(200);
    }
    let params = note(&customer);
    let (id, _) = hold(story, &token, &params);
    let preview = story.client().post(&format!("/v1/approvals/{id}/permit")).bearer(&two.session);
    let preview = preview.json(&asked(3, 600)["permit"]).send().expect(200);
    let words = preview.at("/words").as_array().unwrap().clone();
    assert!(words.last().unwrap().as_str().unwrap().contains("everybody who has to say yes"), "{words:?}");
    say(story, &one.session, &id, &asked(3, 3600)).expect(200);
    assert_eq!(given(&id), Vec::<Value>::new());
    // What the second was shown, to its very end.
    let body = json!({"verdict": "approve", "permit": preview.at("/permit"), "words": words});
    say(story, &two.session, &id, &body).expect(200);
    let permits = given(&id);
    assert_eq!(permits.len(), 1);
    assert_eq!(permits[0]["words"], json!(words));
    assert_eq!(
        (&permits[0]["given_by"]["id"], &permits[0]["given_with"][0]["id"]),
        (&json!(two.id), &json!(one.id))
    );
    // The request that it was given with is the first of three.
    for _ in 0..2 {
        story.act(&token, "notes.write", &note(&customer)).expect(200);
    }
    story.act(&token, "notes.write", &note(&customer)).expect(202);
    // Whoever gave it with another takes it back too.
    let path = format!("/v1/permits/{}/revoke", permits[0]["id"].as_str().unwrap());
    let taken = story.client().post(&path).bearer(&one.session).json(&json!({})).send();
    assert_eq!(taken.expect(200).at("/state"), "revoked");
}

#[test]
fn roles_are_changed_by_administrators_in_person_and_one_stays() {
    let story = Story::new(PLACET);
    let body = json!({"roles": ["approver"]});
    let path = "/v1/users/lee/roles";
    story.server.admin().put(path).json(&body).send().refused(403, "not_permitted");
    story.approver().put(path).json(&body).send().refused(403, "not_permitted");
    set_roles(&story, "nobody-here", &[]).refused(404, "not_found");
    set_roles(&story, "lee", &["a b"]).refused(400, "request_invalid");
    set_roles(&story, "ada", &["approver"]).refused(409, "conflict");
    set_roles(&story, "lee", &["administrator", "approver"]).expect(200);
    set_roles(&story, "ada", &["approver"]).expect(200);
    set_roles(&story, "lee", &[]).refused(403, "not_permitted");
    // The command line, signed in as the one who is left.
    let cli = |args: &[&str], input: &str| typed(story.server.cli().args(args), input);
    assert!(cli(&["login", "--name", "lee"], &password("lee")).status.success());
    let changed = cli(&["user", "roles", "ada", "--role", "auditor", "--json"], "");
    assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    let changed: Value = serde_json::from_slice(&changed.stdout).unwrap();
    assert_eq!(changed["roles"], json!(["auditor"]));
    assert_eq!(cli(&["user", "roles", "ada", "--none", "--json"], "").status.code(), Some(0));
    assert!(!cli(&["user", "roles", "ada"], "").status.success());
}
