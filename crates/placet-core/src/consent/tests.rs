//! What a person is asked, and what nobody can make it look like.

use super::*;
use crate::{detail_type::DetailTypes, grant::cover::AuthorizationDetail, id::AgentId, time::Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

struct Asked {
    agent: Agent,
    user: User,
    redirect: RedirectUri,
    authority: Authority,
    task: Task,
    name: Option<String>,
    unknown: Option<Unknown<'static>>,
    actions: Vec<Declared>,
    connections: Vec<(String, String)>,
    limits: Vec<String>,
}

fn asked(members: &Value) -> Asked {
    let at = Timestamp::from_seconds(0);
    let agent = AgentId::from_parts(at, [1; 10]);
    let text = |name: &str, or: &str| members.get(name).and_then(Value::as_str).unwrap_or(or).to_owned();
    let said = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
    Asked {
        agent: serde_json::from_value(json!({"id": agent, "handle": "bot", "description": text("description", "A bot"),
            "owner": said("owner"), "labels": {}, "level": "elevated", "default_scopes": [],
            "registration": crate::id::GrantId::from_parts(at, [2; 10]), "state": "active", "created": at, "version": 1}))
        .unwrap(),
        user: serde_json::from_value(json!({"id": crate::id::UserId::from_parts(at, [3; 10]), "name": "pat", "roles": [],
            "created": at, "version": 1}))
        .unwrap(),
        redirect: RedirectUri::parse(&text("redirect", "https://app.example/cb")).unwrap(),
        authority: serde_json::from_value(json!({"scope": members.get("scope").unwrap_or(&json!(["orders.*"])),
            "tools": members.get("tools").unwrap_or(&json!(["orders.*"])),
            "resources": members.get("resources").unwrap_or(&json!(["order://customer:42/**"])),
            "connections": null, "authorization_details": [], "audience": ["https://placet.example"],
            "not_before": at, "expires": at, "max_depth": 8}))
        .unwrap(),
        task: serde_json::from_value(json!({"id": crate::id::TaskId::from_parts(at, [4; 10]), "label": said("label"),
            "description": said("purpose"), "agent": agent, "user": null, "parent": null, "origin": "person",
            "state": "active", "created": at, "expires": null}))
        .unwrap(),
        name: said("name"),
        unknown: None,
        actions: Vec::new(),
        connections: Vec::new(),
        limits: Vec::new(),
    }
}

impl Asked {
    fn parts(&self) -> Vec<Part> {
        self.consent().parts()
    }

    fn consent(&self) -> Consent<'_> {
        Consent {
            agent: &self.agent,
            client_name: self.name.as_deref(),
            unknown: self.unknown,
            user: &self.user,
            way: Way::Browser(&self.redirect),
            authority: &self.authority,
            task: &self.task,
            actions: &self.actions,
            connections: &self.connections,
            limits: &self.limits,
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for part in self.parts() {
            let _ = writeln!(out, "{}", part.title);
            for line in part.lines {
                let _ = match line {
                    Line::Plain(text) => writeln!(out, "  {text}"),
                    Line::Warning(text) => writeln!(out, "! {text}"),
                    Line::Claimed(text) => writeln!(out, "> {text}"),
                };
            }
        }
        out
    }
}

#[test]
fn the_question_in_full() {
    let mut asked =
        asked(&json!({"owner": "ada", "purpose": "answer tickets", "label": "week-47", "name": "Desk"}));
    let declared = |name: &str, effect| Declared { name: name.to_owned(), effect };
    asked.actions = vec![
        declared("orders.read", Some(Effect::Read)),
        declared("orders.list", Some(Effect::Read)),
        declared("orders.delete", Some(Effect::Delete)),
        declared("orders.odd", None),
    ];
    asked.connections = vec![("shop-main".to_owned(), "shop".to_owned())];
    asked.limits = vec!["desk@1, small refunds: count: 5, per: day".to_owned()];
    let detail = json!([{"type": "placet_action", "actions": ["orders.*"], "resources": ["order://customer:42/*"],
        "max": {"amount": 50}}]);
    asked.authority.authorization_details = AuthorizationDetail::parse_list(&detail).unwrap();
    insta::assert_snapshot!(asked.text(), @r#"
    Who asks
      The agent “bot”, which answers to “ada”.
      It was registered as: “A bot”
    > It calls itself “Desk”.
      It would act on behalf of “pat”.
    What for
    > It says: “answer tickets”
    > It calls the task “week-47”.
      Whatever it does is done for this task, and ends with it.
    What it could do
      Read: “orders.read”, “orders.list”.
    ! Delete: “orders.delete”.
    ! Do what nobody has described, and what counts as moving money: “orders.odd”.
      It asks for “orders.*”, with the tools “orders.*”.
      But no more than “orders.*” on “order://customer:42/*”, “amount” at most 50.
    On what
      “order://customer:42/**”.
    Through which accounts
      “shop-main” at “shop”.
      Accounts that you or your organization connect later can be used, too.
      Its tokens are for “https://placet.example”.
    Within which limits
      “desk@1, small refunds: count: 5, per: day”.
    Where you will be sent
      To “app.example”, which is told your answer.
    "#);
}

#[test]
fn what_others_read_from_the_token_is_said_in_the_administrators_words() {
    let mut asked = asked(&json!({}));
    let details = json!([{"type": "payment", "amount": 10, "to": "\u{202e}”x"}]);
    let definition = json!({"description": "Pay invoices", "schema": {"additionalProperties": true}});
    let definition = serde_json::from_value(definition).unwrap();
    let types = DetailTypes::load(&DetailTypes::default(), [("payment".to_owned(), definition)]);
    let mut details = AuthorizationDetail::parse_list(&details).unwrap();
    types.judge(&mut details).unwrap();
    asked.authority.authorization_details = details;
    let text = asked.text();
    let line = "Where its tokens are for: “Pay invoices” (“payment”), as stated here: \
                “{\"amount\":10,\"to\":\"\\u{202e}\\u{201d}x\",\"type\":\"payment\"}”.";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("could do none of the actions above"), "{text}");
    let action = json!([{"type": "placet_action", "actions": ["orders.read"]}]);
    asked.authority.authorization_details.extend(AuthorizationDetail::parse_list(&action).unwrap());
    assert!(!asked.text().contains("could do none"), "{}", asked.text());
}

#[test]
fn what_a_person_should_stop_at_is_a_warning() {
    let open = asked(
        &json!({"scope": ["**"], "tools": ["**"], "resources": ["**"], "redirect": "http://localhost/cb"}),
    );
    let text = open.text();
    for warning in [
        "! Every action that is added later",
        "! Everything that its rules",
        "! To a program on this computer",
    ] {
        assert!(text.contains(warning), "{text}");
    }
    let app = asked(&json!({"redirect": "com.example.app:/cb"}));
    assert!(app.text().contains("! To whichever application on this device answers to “com.example.app”"));
}

#[test]
fn a_program_that_nobody_knows_is_called_that() {
    let mut itself = asked(&json!({"name": "Desk"}));
    itself.unknown = Some(Unknown::Itself);
    let text = itself.text();
    assert!(
        text.contains("! A program that has registered itself") && text.contains("> It calls itself “Desk”"),
        "{text}"
    );
    assert!(!text.contains("“bot”") && !text.contains("“A bot”"), "nobody chose that name: {text}");
    itself.unknown = Some(Unknown::At("https://desk.example/client"));
    assert!(itself.text().contains("It is described at “https://desk.example/client”"));
}

#[test]
fn what_was_asked_elsewhere_says_so_first_and_sends_nobody_anywhere() {
    let asked = asked(&json!({}));
    let told = |through, message| {
        let way = Way::Elsewhere {
            through,
            from: Some("192.0.2.7"),
            asked: Timestamp::from_micros(1_000_500_000),
            message,
            now: Timestamp::from_seconds(1190),
        };
        Consent { way, ..asked.consent() }.parts()
    };
    let parts = told(Through::Device, None);
    assert_eq!(parts[1].title, "Where it was asked");
    assert!(parts.iter().all(|part| part.title != "Where you will be sent"));
    let [Line::Warning(warning), Line::Plain(when)] = parts[1].lines.as_slice() else { panic!("{parts:?}") };
    assert!(warning.contains("Whoever sent you a code or a link asks for themselves."));
    assert_eq!(when, "It was asked at 1970-01-01T00:16:40Z, 3 minutes ago, from the address “192.0.2.7”.");
    let parts = told(Through::Backchannel, Some("W4”\u{202e}"));
    assert!(
        parts[1]
            .lines
            .contains(&Line::Claimed("It says that you recognise it by: “W4\\u{201d}\\u{202e}”".to_owned()))
    );
    assert!(matches!(&parts[1].lines[0], Line::Warning(text) if text.contains("asked for you by name")));
}

proptest! {
    /// Whatever a client says stands in quotation marks and on one line, as itself or as numbers.
    #[test]
    fn nobody_writes_another_statement(said in any::<String>()) {
        let text = asked(&json!({"purpose": said, "name": said, "owner": said, "description": said})).text();
        let plain = asked(&json!({"purpose": "x", "name": "x", "owner": "x", "description": "x"})).text();
        if !said.is_empty() && said != "bot" {
            prop_assert_eq!(text.lines().count(), plain.lines().count());
            prop_assert_eq!(text.matches('“').count(), plain.matches('“').count());
            prop_assert_eq!(text.matches('”').count(), plain.matches('”').count());
        }
        prop_assert!(!visible(&said).contains(|letter: char| letter.is_control()));
    }
}
