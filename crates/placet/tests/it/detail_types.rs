//! Declared types of authorization details (RFC 9396): judged at every door, given only where an administrator lets the
//! agent state them, narrowed only as declared, and kept as they were given.

use crate::authorize::browser::{App, BACK, Browser, encoded, html, parameter, sent_to};
use crate::parties::{ACCESS_TOKEN, TOKEN_EXCHANGE, exchange, introspect, read, stage, why};
use placet_testkit::{Agent, Answer, fresh};
use serde_json::{Value, json};

const TYPES: &str = "/v1/authorization-detail-types";

fn put(name: &str, body: &Value) -> Answer {
    stage().admin().put(&format!("{TYPES}/{}", encoded(name))).json(body).send()
}

fn payment() -> Value {
    json!({
        "description": "Pay invoices",
        "schema": {"properties": {
            "amount": {"type": "number", "maximum": 1000},
            "accounts": {"type": "array", "items": {"type": "string"}},
            "currency": {"enum": ["EUR", "USD"]},
        }, "required": ["amount"]},
        "narrows": {"amount": "max", "accounts": "subset"},
    })
}

/// A type that no other test has.
fn declared() -> String {
    let name = fresh("payment-");
    put(&name, &payment()).expect(201);
    name
}

/// An agent that may state these types.
fn agent(types: &[&str]) -> Agent {
    let stage = stage();
    stage.story.agent(&fresh("bot-")).with("authorization_details_types", json!(types)).register()
}

fn entry(kind: &str, amount: u64) -> Value {
    json!([{"type": kind, "amount": amount, "accounts": ["a", "b"], "currency": "EUR"}])
}

fn asked(agent: &Agent, details: &Value) -> Answer {
    let asked = agent.ask().with("scope", "orders.read");
    asked.with("authorization_details", &details.to_string()).send(&stage().client())
}

#[track_caller]
fn refused(answer: Answer, named: &str) {
    let answer = answer.refused(400, "invalid_authorization_details");
    assert!(why(&answer).contains(named), "{named}: {}", why(&answer));
}

#[test]
fn only_administrators_declare_types_and_everybody_may_know() {
    let stage = stage();
    let uri = format!("https://api.example/{}/pay?v=1", fresh("t"));
    let shown = put(&uri, &payment()).expect(201);
    assert_eq!(shown.at("/name"), &json!(uri));
    assert_eq!(put(&uri, &payment()).expect(200).at("/roles"), &json!([]));
    let path = format!("{TYPES}/{}", encoded(&uri));
    let token = stage.agent().token(&stage.client(), "orders.read");
    for token in [&token, &stage.pat.token, &stage.auditor.token] {
        let client = stage.client().with(token);
        client.put(&path).json(&payment()).send().refused(403, "not_permitted");
        client.delete(&path).send().refused(403, "not_permitted");
        assert_eq!(client.get(&path).send().expect(200).at("/narrows/amount"), "max");
        client.get(TYPES).send().expect(200);
    }
    stage.client().get(TYPES).send().expect(401);
    let supported = |place: &str| {
        let document = stage.client().get(&format!("/.well-known/{place}")).send().expect(200);
        document.at("/authorization_details_types_supported").as_array().unwrap().clone()
    };
    for place in ["oauth-authorization-server", "openid-configuration"] {
        let types = supported(place);
        assert!(types[0] == "placet_action" && types.contains(&json!(uri)), "{place}: {types:?}");
    }
    // Placet's own doors go by none but their own.
    assert_eq!(supported("oauth-protected-resource"), [json!("placet_action")]);
    stage.admin().delete(&path).send().expect(204);
    stage.admin().delete(&path).send().refused(404, "not_found");
    stage.admin().get(&path).send().refused(404, "not_found");
    assert!(!supported("oauth-authorization-server").contains(&json!(uri)));
    let kinds: Vec<Value> = stage.story.record().into_iter().map(|entry| entry["type"].clone()).collect();
    assert!(kinds.contains(&json!("detail_type.applied")) && kinds.contains(&json!("detail_type.removed")));
}

#[test]
fn what_can_not_be_declared_is_refused() {
    let name = fresh("odd-");
    let with = |member: &str, value: Value| {
        let mut body = payment();
        body[member] = value;
        body
    };
    let mut bomb = serde_json::Map::new();
    for level in 0..30 {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        bomb.insert(format!("d{level}"), json!({"allOf": [next, next]}));
    }
    bomb.insert("d30".into(), json!({}));
    for body in [
        json!({}),
        with("description", json!("")),
        with("description", json!("a\u{7}")),
        with("schema", json!(true)),
        with("schema", json!({"$ref": "#"})),
        with("schema", json!({"$ref": "https://evil.example/schema.json"})),
        with("schema", json!({"$defs": bomb})),
        with("schema", json!({"properties": {"amount": {"pattern": "(a{1000}){1000}"}}})),
        with("schema", json!({"description": "x".repeat(20_000)})),
        with("narrows", json!({"amuont": "max"})),
        with("narrows", json!({"amount": "less"})),
        with("more", json!(1)),
    ] {
        put(&name, &body).refused(400, "request_invalid");
    }
    for name in ["placet_action", "placet-x", "a b", "\u{202e}x", "zahlüng", "\"", &"x".repeat(257)] {
        put(name, &payment()).refused(400, "request_invalid");
    }
    let twice = r#"{"description": "x", "schema": {"required": [], "required": ["a"]}}"#;
    let sent = stage().admin().put(&format!("{TYPES}/{name}")).body("application/json", twice).send();
    sent.refused(400, "request_invalid");
}

#[test]
fn an_entry_is_given_where_the_registration_lets_it_and_is_read_from_the_token() {
    let stage = stage();
    let kind = declared();
    refused(
        asked(&stage.agent(), &entry(&kind, 5)),
        &format!("may not state authorization details of the type `{kind}`"),
    );
    let agent = agent(&[&kind]);
    let details = entry(&kind, 500);
    let given = asked(&agent, &details).expect(200);
    assert_eq!(given.at("/authorization_details"), &details);
    let token = given.text("/access_token");
    assert_eq!(read(&token).1["authorization_details"], details);
    assert_eq!(stage.introspect(&token).at("/authorization_details"), &details);
    let grant = stage.admin().get(&format!("/v1/grants/{}", given.text("/grant_id"))).send().expect(200);
    assert_eq!(grant.at("/authorization_details"), &details);
    // It permits nothing of Placet's own.
    let order = json!({"customer_id": "1", "order_id": "2"});
    let (able, able_token) = stage.story.ready("  - {name: all, allow: [\"**\"]}\n");
    stage.story.act(&able_token, "orders.read", &order).expect(200);
    let path = format!("/v1/agents/{}", able.id);
    let may = json!({"authorization_details_types": [kind, "placet_action"]});
    let changed = stage.admin().patch(&path).json(&may).send().expect(200);
    assert_eq!(changed.at("/authorization_details_types"), &json!([kind]));
    let stating = asked(&able, &entry(&kind, 1)).expect(200).text("/access_token");
    stage.story.act(&stating, "orders.read", &order).refused(403, "not_granted");
    let both = json!([entry(&kind, 1)[0], {"type": "placet_action", "actions": ["orders.read"]}]);
    let both = asked(&able, &both).expect(200).text("/access_token");
    stage.story.act(&both, "orders.read", &order).expect(200);
    // Taken away, nothing new is given; what was given stays.
    stage.admin().patch(&path).json(&json!({"authorization_details_types": []})).send().expect(200);
    refused(asked(&able, &entry(&kind, 2)), "may not state");
    assert_eq!(introspect(&stage.admin(), &stating).at("/authorization_details"), &entry(&kind, 1));
}

#[test]
fn a_type_that_is_not_declared_is_refused_where_agents_are_registered() {
    let stage = stage();
    let kind = fresh("nowhere-");
    let body = json!({"agent_name": fresh("bot-"), "authorization_details_types": [kind]});
    stage.admin().post("/v1/agents").json(&body).send().refused(400, "request_invalid");
    let change = json!({"authorization_details_types": [kind]});
    let path = format!("/v1/agents/{}", stage.agent().id);
    stage.admin().patch(&path).json(&change).send().refused(400, "request_invalid");
    let template = stage.admin().get("/v1/registration-template").send().expect(200);
    let mut body = template.body;
    body["authorization_details_types"] = json!([kind]);
    stage.admin().put("/v1/registration-template").json(&body).send().refused(400, "request_invalid");
}

#[test]
fn every_door_judges_entries_by_their_types() {
    let stage = stage();
    let kind = declared();
    let agent = agent(&[&kind]);
    let child = self::agent(&[&kind]);
    let given = asked(&agent, &entry(&kind, 500)).expect(200);
    let token = given.text("/access_token");
    let exchanging = || {
        let asked = agent.ask().with("grant_type", TOKEN_EXCHANGE).with("subject_token", &token);
        asked.with("subject_token_type", ACCESS_TOKEN)
    };
    let refresh_type = "urn:ietf:params:oauth:token-type:refresh_token";
    let refresh = exchanging().with("requested_token_type", refresh_type).send(&stage.client()).expect(200);
    let refresh = refresh.text("/access_token");
    let app = App::registered(&json!({"redirect_uris": [BACK], "authorization_details_types": [kind]}));
    let mut browser = Browser::of("pat");
    let unknown = fresh("unknown-");
    let doors = |details: &Value, place: &str, says: &str, browser: &mut Browser| {
        let text = details.to_string();
        for answer in [
            asked(&agent, details),
            exchanging().with("authorization_details", &text).send(&stage.client()),
            exchange(&agent, &token, &child.id).with("authorization_details", &text).send(&stage.client()),
            child
                .ask()
                .with("parent_token", &token)
                .with("authorization_details", &text)
                .send(&stage.client()),
            agent
                .ask()
                .with("grant_type", "refresh_token")
                .with("refresh_token", &refresh)
                .with("authorization_details", &text)
                .send(&stage.client()),
            app.push(&app.asking().with("authorization_details", &text)),
        ] {
            refused(answer, place);
        }
        let back = sent_to(&browser.get(&app.asking().with("authorization_details", &text).path()));
        assert_eq!(parameter(&back, "error").as_deref(), Some("invalid_authorization_details"));
        assert!(parameter(&back, "error_description").unwrap().contains(place), "{back}");
        for (path, more) in [("/v1/grants", None), ("/v1/tasks", Some(fresh("t-")))] {
            let mut body =
                json!({"agent": agent.handle, "scope": ["orders.read"], "authorization_details": details});
            if let Some(label) = more {
                body["task_id"] = label.into();
            }
            let answer = stage.admin().post(path).json(&body).send().refused(400, "request_invalid");
            let detail = answer.text("/detail");
            assert!(detail.contains(place) && detail.contains(says), "{path}: {detail}");
        }
    };
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    doors(&json!([{"type": unknown}]), "[0].type", "no type", &mut browser);
    doors(&json!([entry(&kind, 1)[0], {"type": kind, "amount": 1001}]), "[1].amount", "1000", &mut browser);
    doors(&json!([{"type": kind, "amount": 1, "to": "x"}]), "[0]", "'to'", &mut browser);
    doors(&json!([{"type": kind}]), "[0]", "required", &mut browser);
    let more = [
        (json!([{"type": kind, "amount": number("1e400")}]), "15 digits"),
        (json!([{"type": kind, "amount": number(&"9".repeat(400))}]), "15 digits"),
        (json!([{"type": kind, "amount": 1, "accounts": ["x".repeat(5000)]}]), "4096 bytes"),
        (json!([{"type": "\u{202e}\u{0}", "amount": 1}]), "\\u{202e}\\u{0}"),
        (json!(vec![entry(&kind, 1)[0].clone(); 33]), "32 entries"),
    ];
    for (details, says) in more {
        refused(asked(&agent, &details), says);
    }
    let deep =
        format!(r#"[{{"type": "{kind}", "amount": 1, "accounts": {}{}}}]"#, "[".repeat(40), "]".repeat(40));
    let sending = |text: &str| agent.ask().with("authorization_details", text).send(&stage.client());
    refused(sending(&deep), "12 levels");
    let deeper = format!("{}{}", "[".repeat(500), "]".repeat(500));
    sending(&deeper).refused(400, "invalid_request");
    sending(&format!(r#"[{{"type": "{kind}", "amount": 1, "amount": 2}}]"#)).refused(400, "invalid_request");
    sending(&format!(r#"[{{"type": "{kind}", "amount": 1, "\u0061mount": 2}}]"#))
        .refused(400, "invalid_request");
}

#[test]
fn below_a_grant_an_entry_is_equal_or_narrower_as_declared() {
    let stage = stage();
    let kind = declared();
    let (parent, child) = (agent(&[&kind]), agent(&[&kind]));
    let token = asked(&parent, &entry(&kind, 500)).expect(200).text("/access_token");
    let below = |details: &Value| {
        let asked = child.ask().with("parent_token", &token);
        asked.with("authorization_details", &details.to_string()).send(&stage.client())
    };
    let with = |member: &str, value: Value| {
        let mut details = entry(&kind, 500);
        details[0][member] = value;
        details
    };
    let without = |member: &str| {
        let mut details = entry(&kind, 500);
        details[0].as_object_mut().unwrap().remove(member);
        details
    };
    for narrower in [entry(&kind, 500), with("amount", json!(499.99)), with("accounts", json!(["b"]))] {
        assert_eq!(below(&narrower).expect(200).at("/authorization_details"), &narrower);
    }
    for wider in [
        with("amount", json!(500.01)),
        with("accounts", json!([])),
        with("accounts", json!(["a", "a"])),
        with("accounts", json!(["c"])),
        with("currency", json!("USD")),
        without("currency"),
        without("accounts"),
    ] {
        refused(below(&wider), "entry 0");
    }
    refused(below(&json!([entry(&kind, 5)[0], entry(&kind, 6)[0]])), "entry 1");
    refused(below(&json!([])), "");
    // Left out it is copied, where the child may have it.
    assert_eq!(stage.child(&child, &token).at("/authorization_details"), &entry(&kind, 500));
    let other = stage.agent();
    refused(other.ask().with("parent_token", &token).send(&stage.client()), "may not state");
    let both = json!([entry(&kind, 5)[0], {"type": "placet_action", "actions": ["orders.read"]}]);
    let both = asked(&parent, &both).expect(200).text("/access_token");
    let left = stage.child(&other, &both);
    assert_eq!(
        left.at("/authorization_details"),
        &json!([{"type": "placet_action", "actions": ["orders.read"]}])
    );
    // A grant without entries has none below it, whatever the registration may.
    let bare = stage.given(&parent, "orders.read").text("/access_token");
    let asked = child.ask().with("parent_token", &bare);
    refused(
        asked.with("authorization_details", &entry(&kind, 1).to_string()).send(&stage.client()),
        "may not state",
    );
    // A delegation token carries what was narrowed.
    let less = entry(&kind, 7);
    let handed = exchange(&parent, &token, &child.id).with("authorization_details", &less.to_string());
    let handed = handed.send(&stage.client()).expect(200).text("/access_token");
    assert_eq!(stage.child(&child, &handed).at("/authorization_details"), &less);
}

#[test]
fn what_was_given_stays_when_a_type_changes_or_goes() {
    let stage = stage();
    let kind = declared();
    let agent = agent(&[&kind]);
    let details = entry(&kind, 500);
    let asking = |amount: u64| {
        let asked = agent.ask().with("scope", "orders.read").with("task_id", "t");
        asked.with("authorization_details", &entry(&kind, amount).to_string()).send(&stage.client())
    };
    let given = asking(500).expect(200);
    let token = given.text("/access_token");
    let mut stricter = payment();
    stricter["schema"]["properties"]["amount"]["maximum"] = json!(100);
    stricter["narrows"] = json!({});
    put(&kind, &stricter).expect(200);
    let again = || agent.ask().with("task_id", "t").send(&stage.client()).expect(200);
    assert_eq!(stage.introspect(&token).at("/authorization_details"), &details);
    assert_eq!(again().at("/authorization_details"), &details);
    refused(asking(500), "[0].amount");
    // As narrow as the new schema wants, but no rule says any more that it is narrower.
    refused(asking(100), "entry 0");
    stage.admin().delete(&format!("{TYPES}/{kind}")).send().expect(204);
    assert_eq!(stage.introspect(&token).at("/authorization_details"), &details);
    let kept = again();
    assert_eq!((kept.at("/authorization_details"), kept.at("/grant_id")), (&details, given.at("/grant_id")));
    refused(asking(100), "[0].type");
}

#[test]
fn a_person_is_told_what_the_administrator_says_it_means() {
    let kind = declared();
    let app = App::registered(&json!({"redirect_uris": [BACK], "authorization_details_types": [kind]}));
    let details = entry(&kind, 500);
    let asking = app.asking().with("authorization_details", &details.to_string());
    let mut browser = Browser::of("pat");
    let page = browser.asked(&asking);
    let says = format!("“Pay invoices” (“{kind}”)");
    assert!(html(&page).contains(&says) && html(&page).contains("500"), "{}", html(&page));
    // Other words than those that were shown are not consented to.
    let mut other = payment();
    other["description"] = json!("Close accounts");
    put(&kind, &other).expect(200);
    let answer = browser.submit(&page, "/consent", &[("lasts", "1d"), ("verdict", "approve")]);
    assert_ne!(answer.status, 303, "{}", html(&answer));
    let page = browser.asked(&asking);
    assert!(html(&page).contains("“Close accounts”"), "{}", html(&page));
    let given = app.exchange(&parameter(&browser.allow(&page), "code").unwrap()).expect(200);
    assert_eq!(given.at("/authorization_details"), &details);
    let narrower = app.token(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", &given.text("/refresh_token")),
        ("authorization_details", &entry(&kind, 3).to_string()),
    ]);
    assert_eq!(narrower.expect(200).at("/authorization_details"), &entry(&kind, 3));
    // An application that may not state it can't ask people for it.
    let none = App::confidential();
    let asking = none.asking().with("authorization_details", &details.to_string());
    let back = sent_to(&browser.get(&asking.path()));
    assert_eq!(parameter(&back, "error").as_deref(), Some("invalid_authorization_details"));
}

#[test]
fn a_role_may_be_needed_to_delegate_an_entry() {
    let stage = stage();
    let kind = fresh("payment-");
    let mut body = payment();
    body["roles"] = json!(["payer"]);
    put(&kind, &body).expect(201);
    let agent = agent(&[&kind]);
    let (_, payer) = stage.story.user(&fresh("payer-"), &["payer"]);
    let granting = |session: &str| {
        let body = json!({"agent": agent.handle, "scope": ["orders.read"], "authorization_details": entry(&kind, 9)});
        stage.client().with(session).post("/v1/grants").json(&body).send()
    };
    let answer = granting(&stage.pat.token).refused(403, "not_permitted");
    assert!(answer.text("/detail").contains(&kind), "{}", answer.text("/detail"));
    let grant = granting(&payer).expect(201).text("/grant_id");
    let given = agent.ask().with("grant_id", &grant).send(&stage.client()).expect(200);
    assert_eq!(given.at("/authorization_details"), &entry(&kind, 9));
}
