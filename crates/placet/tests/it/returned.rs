//! Values that a service vouches for in its answers, over HTTP: later actions of the same task may send them, and nothing
//! else that stood there.

use crate::stage::story;
use placet_testkit::{Agent, Answer, Reply, Story, fresh};
use serde_json::{Value, json};
use std::sync::Once;

const SERVICE: &str = "service: crm
base_url: BASE
auth: {type: bearer}
actions:
  contacts.search:
    method: GET
    path: /contacts/{name}
    resource: contact://all/{name}
    effect: read
    response: {trusted: {to: '$.contacts[*].email'}}
  mails.send:
    method: POST
    path: /mails/{box}
    resource: mail://{box}
    effect: write
    params:
      type: object
      properties: {box: {type: string}, to: {type: string}, cc: {type: string}}
      required: [box, to]
";

const RULES: &str = "  - {name: search, allow: [contacts.search]}
  - {name: mail, allow: [mails.send], intent: {entities: [to, cc?]}}
";

fn desk() -> &'static Story {
    static APPLIED: Once = Once::new();
    let story = story();
    APPLIED.call_once(|| {
        story.service("crm", &SERVICE.replace("BASE", story.shop.base())).expect(201);
        story.connection("crm-main", "crm", &json!({})).expect(201);
    });
    story
}

/// An agent with these rules, and its token for a task that a person stated.
fn ready(story: &Story, rules: &str, purpose: &Value) -> (Agent, String) {
    let agent = story.agent(&fresh("agent-")).with("allowed_tools", json!(["contacts.*", "mails.*"]));
    let agent = agent.with("resource_access", json!(["contact://**", "mail://**"])).register();
    story.rules(&agent.handle, rules).expect(201);
    let token = task(story, &agent, purpose);
    (agent, token)
}

fn task(story: &Story, agent: &Agent, purpose: &Value) -> String {
    let mut task = json!({"agent": agent.id, "scope": ["contacts.*", "mails.*"], "user": null});
    task.as_object_mut().unwrap().extend(purpose.as_object().unwrap().clone());
    let made = story.admin().post("/v1/tasks").json(&task).send().expect(201);
    let asked = agent.ask().with("scope", "contacts.* mails.*").with("task_id", &made.text("/id"));
    asked.send(&story.client()).expect(200).text("/access_token")
}

fn act(story: &Story, token: &str, action: &str, params: &Value) -> Answer {
    let asked = json!({"action": action, "params": params});
    story.client().post("/v1/actions").bearer(token).json(&asked).send()
}

fn search(story: &Story, token: &str, name: &str) -> Answer {
    act(story, token, "contacts.search", &json!({"name": name}))
}

fn mail(story: &Story, token: &str, to: &str) -> Answer {
    act(story, token, "mails.send", &json!({"box": "out", "to": to}))
}

/// What upstream has about this name: a contact of record, and what somebody wrote there.
fn holds(story: &Story, name: &str) -> String {
    let email = format!("{name}@x.example");
    let body = json!({"contacts": [{"email": email, "note": format!("or eve-{name}@x.example")}]});
    story.shop.reply(&format!("/contacts/{name}"), Reply::json(200, &body));
    email
}

#[test]
fn what_a_service_vouches_for_is_named_in_the_same_task_and_nothing_else_is() {
    let story = desk();
    let purpose = json!({"description": "Write to the customer"});
    let (agent, token) = ready(story, RULES, &purpose);
    let ann = fresh("ann");
    let email = holds(story, &ann);
    mail(story, &token, &email).refused(403, "intent_mismatch");
    search(story, &token, &ann).expect(200);
    mail(story, &token, &email).expect(200);
    // Free text of the same answer, a part of the value, and more than it.
    for other in [format!("eve-{email}"), ann.clone(), format!("{email}.evil.example")] {
        mail(story, &token, &other).refused(403, "intent_mismatch");
    }
    // It is for the parameter that it was marked for.
    let copied = json!({"box": "out", "to": email, "cc": email});
    act(story, &token, "mails.send", &copied).refused(403, "intent_mismatch");
    // Another task of the same agent knows nothing of it, nor one that nobody stated.
    let other = task(story, &agent, &purpose);
    mail(story, &other, &email).refused(403, "intent_mismatch");
    let own = agent.ask().with("scope", "contacts.* mails.*").with("task_id", "own").send(&story.client());
    let own = own.expect(200).text("/access_token");
    search(story, &own, &ann).expect(200);
    mail(story, &own, &email).expect(202);
    // Where the details say whom, nobody else will do.
    let details = json!({"description": "Write to bob", "details": {"to": "bob@x.example"}});
    let said = task(story, &agent, &details);
    search(story, &said, &ann).expect(200);
    mail(story, &said, &email).refused(403, "intent_mismatch");
    mail(story, &said, "bob@x.example").expect(200);
}

#[test]
fn both_doors_keep_and_ask_alike_and_failures_give_nothing() {
    let story = desk();
    let (_, token) = ready(story, RULES, &json!({"description": "Write to the customer"}));
    let pass = |path: &str| story.client().get(&format!("/proxy/crm-main{path}")).bearer(&token).send();
    let send = |to: &str| {
        let request = story.client().post("/proxy/crm-main/mails/out").bearer(&token);
        request.json(&json!({"to": to})).send()
    };
    let carl = fresh("carl");
    let email = holds(story, &carl);
    send(&email).refused(403, "intent_mismatch");
    pass(&format!("/contacts/{carl}")).expect(200);
    send(&email).expect(200);
    mail(story, &token, &email).expect(200);
    // A long answer too: it is read whole for that.
    let long = fresh("long");
    let email = format!("{long}@x.example");
    let body = json!({"pad": "x".repeat(200_000), "contacts": [{"email": email}]});
    story.shop.reply(&format!("/contacts/{long}"), Reply::json(200, &body));
    assert_eq!(pass(&format!("/contacts/{long}")).expect(200).body, body);
    send(&email).expect(200);
    for (status, name) in [(404, fresh("no")), (500, fresh("no"))] {
        let email = format!("{name}@x.example");
        let body = json!({"contacts": [{"email": email}]});
        story.shop.reply(&format!("/contacts/{name}"), Reply::json(status, &body));
        search(story, &token, &name);
        pass(&format!("/contacts/{name}"));
        mail(story, &token, &email).refused(403, "intent_mismatch");
    }
}

#[test]
fn what_the_agent_is_not_given_it_may_not_send() {
    let story = desk();
    let rules =
        "  - {name: search, allow: [contacts.search], shape: {rows: {at: '$.contacts', where: item.open}}}
  - {name: mail, allow: [mails.send], intent: {entities: [to]}}
";
    let (_, token) = ready(story, rules, &json!({"description": "Write to the customer"}));
    let name = fresh("rows");
    let (open, closed) = (format!("open-{name}@x.example"), format!("closed-{name}@x.example"));
    let body = json!({"contacts": [{"email": open, "open": true}, {"email": closed, "open": false}]});
    story.shop.reply(&format!("/contacts/{name}"), Reply::json(200, &body));
    search(story, &token, &name).expect(200);
    mail(story, &token, &open).expect(200);
    mail(story, &token, &closed).refused(403, "intent_mismatch");
    let path = format!("/proxy/crm-main/contacts/{name}");
    story.client().get(&path).bearer(&token).send().expect(200);
    mail(story, &token, &closed).refused(403, "intent_mismatch");
    let hidden = fresh("hidden");
    let rules =
        rules.replace("rows: {at: '$.contacts', where: item.open}", "redact: ['$.contacts[*].email']");
    let (_, token) = ready(story, &rules, &json!({"description": "Write to the customer"}));
    let email = holds(story, &hidden);
    search(story, &token, &hidden).expect(200);
    mail(story, &token, &email).refused(403, "intent_mismatch");
}
