//! What an MCP server tells of what may be used: members that the agent may use itself, and no others.

use super::*;
use crate::{
    action::{Action, ServiceVersion},
    pattern::ActionName,
    service::{Part, Pins, Service},
    shape::Withheld,
};
use serde_json::Map;
use std::collections::BTreeSet;

fn notes() -> Service {
    let text =
        "service: notes\nmcp: {url: 'https://mcp.example.com/mcp'}\nauth: {type: bearer}\nresources: {}\n";
    let prompts = [
        json!({"name": "summary", "arguments": [{"name": "topic", "required": true}, {"name": "tone", "required": true}]}),
        json!({"name": "other", "arguments": [{"name": "topic"}]}),
    ];
    let pinned = Pins::of_listing(&[], &prompts).unwrap().written(text, None).unwrap();
    Service::parse(pinned.as_bytes(), None).unwrap().0
}

/// What is left of what a server tells, by these rules.
fn left(rules_text: &str, part: Part, params: Value, body: Value, away: &[&str]) -> Result<Value, Withheld> {
    let service = notes();
    let declared = service.action(&part.action("notes").unwrap()).unwrap();
    let version = ServiceVersion { name: "notes".to_owned(), version: 1 };
    let params: Map<String, Value> = params.as_object().unwrap().clone();
    let action = Action::declared(version, declared, None, &params).unwrap();
    let chain = desk();
    let loaded = vec![crate::policy::fixture::policy(&rules(rules_text))];
    let bound = PolicySet::new(loaded).bind(&chain);
    let request = Request { chain: &chain, action: &action, now: NOW, context: None };
    assert!(is_shaped(&judge(&bound, &request), Some(declared)));
    let quarantined: BTreeSet<ActionName> =
        away.iter().map(|name| ActionName::parse(name).unwrap()).collect();
    let server = McpServer { service: &service, quarantined: &quarantined };
    usable(&bound, &request, &server, part, body)
}

const LISTS: &str = "- {name: lists, allow: ['notes.resources.list', 'notes.*.complete']}\n";

fn rows(rules_text: &str, uris: &[&str]) -> Vec<String> {
    let all: Vec<Value> =
        uris.iter().map(|uri| json!({"uri": uri, "name": "n"})).chain([json!({}), json!(7)]).collect();
    let left = left(
        &format!("{LISTS}{rules_text}"),
        Part::Resources,
        json!({}),
        json!({"resources": all, "nextCursor": "2"}),
        &[],
    );
    let left = left.unwrap();
    assert_eq!(left["nextCursor"], "2");
    left["resources"].as_array().unwrap().iter().map(|one| one["uri"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_list_has_the_resources_that_may_be_read() {
    let uris = ["note:///a", "note:///b", "note:///../up", "NOTE:///a", "file:///a"];
    let all = "- {name: reads, allow: [notes.resources.read]}\n";
    assert_eq!(rows(all, &uris), ["note:///a", "note:///b", "file:///a"]);
    let some = "- {name: reads, allow: [notes.resources.read], on: ['mcp://notes/resources/note:*']}
- {name: not this, deny: [notes.resources.read], when: \"params.uri.endsWith('b')\"}\n";
    assert_eq!(rows(some, &uris), ["note:///a"]);
    assert_eq!(rows("", &uris), [""; 0]);
    // What people are asked about may be told of, as at the MCP door.
    assert_eq!(
        rows("- {name: r, allow: [notes.resources.read], approve: {by: ['role:x']}}\n", &["note:///a"]),
        ["note:///a"]
    );
    let none = left(LISTS, Part::Resources, json!({}), json!({"tools": []}), &[]);
    assert_eq!(none, Err(Withheld::Missing("$.resources".to_owned())));
    // Many rules about many resources cost too much: nothing is told, rather than something else.
    let many: Vec<Value> = (0..9_000).map(|at| json!({"uri": format!("note:///{at}")})).collect();
    let guards: String = (0..60)
        .map(|at| format!("- {{name: g{at}, guard: ['**'], on: ['mcp://notes/resources/x:{at}']}}\n"))
        .collect();
    let costly = left(&format!("{all}{guards}"), Part::Resources, json!({}), json!({"resources": many}), &[]);
    assert_eq!(costly, Err(Withheld::Cost));
}

fn values(rules_text: &str, part: Part, reference: Value, known: Value, away: &[&str]) -> Vec<String> {
    let params = json!({"ref": reference, "argument": {"name": "topic", "value": "x"}, "context": {"arguments": known}});
    let body = json!({"completion": {"values": ["a", "b", 7], "total": 200, "hasMore": true}});
    let left = left(&format!("{LISTS}{rules_text}"), part, params, body, away).unwrap();
    assert_eq!((left["completion"].get("total"), &left["completion"]["hasMore"]), (None, &json!(true)));
    left["completion"]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_value_is_told_where_what_it_completes_may_be_read() {
    let of = |rules_text: &str, template: &str, known: Value| {
        values(
            rules_text,
            Part::ResourceCompletion,
            json!({"type": "ref/resource", "uri": template}),
            known,
            &[],
        )
    };
    let all = "- {name: reads, allow: [notes.resources.read]}\n";
    let some =
        "- {name: reads, allow: [notes.resources.read], on: ['mcp://notes/resources/note:%2F%2F%2Fb*']}\n";
    for template in ["note:///{topic}", "note:///{+topic}", "note:///{topic}/{?tone}"] {
        assert_eq!(of(all, template, json!({"tone": "dry"})), ["a", "b"], "{template}");
        assert_eq!(of(some, template, json!({"tone": "dry"})), ["b"], "{template}");
    }
    assert_eq!(of("", "note:///{topic}", json!({})), [""; 0]);
    // Which resource it would be isn't known.
    for template in
        ["note:///{topic}/{tone}", "note:///{other}", "note:///a", "note:///{topic:1}", "note:///{"]
    {
        assert_eq!(of(all, template, json!({})), [""; 0], "{template}");
    }
    // What is known already is no other value.
    assert_eq!(of(some, "note:///{topic}", json!({"topic": "b"})), ["b"]);
}

#[test]
fn a_value_is_told_where_its_prompt_may_be_got_with_it() {
    let of = |rules_text: &str, name: &str, known: Value, away: &[&str]| {
        values(rules_text, Part::PromptCompletion, json!({"type": "ref/prompt", "name": name}), known, away)
    };
    let all = "- {name: gets, allow: ['notes.prompts.summary', 'notes.prompts.other']}\n";
    let some = "- {name: gets, allow: ['notes.prompts.summary'], when: \"params.topic != 'a'\"}\n";
    let tone = || json!({"tone": "dry"});
    assert_eq!(of(all, "summary", tone(), &[]), ["a", "b"]);
    assert_eq!(of(some, "summary", tone(), &[]), ["b"]);
    // An argument that is still to come; what rules ask of it can't be told.
    assert_eq!(of(some, "summary", json!({}), &[]), ["b"]);
    let dry = "- {name: gets, allow: ['notes.prompts.summary'], when: \"params.tone == 'dry'\"}\n";
    assert_eq!(of(dry, "summary", json!({}), &[]), [""; 0]);
    assert_eq!(of(dry, "summary", tone(), &[]), ["a", "b"]);
    assert_eq!(of(some, "other", json!({}), &[]), [""; 0]);
    assert_eq!(of(all, "nothing", json!({}), &[]), [""; 0]);
    assert_eq!(of(all, "summary", tone(), &["notes.prompts.summary"]), [""; 0]);
}
