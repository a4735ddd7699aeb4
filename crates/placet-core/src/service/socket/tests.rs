use super::{Carried, Refusal};
use crate::{
    pattern::ActionName,
    service::{Service, ServiceAction},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const FEED: &str = "service: feed
base_url: https://feed.example.com/v1
auth: {type: bearer}
actions:
  feed.open:
    method: GET
    path: /rooms/{room}
    resource: feed://rooms/{room}
    effect: read
    websocket:
      protocols: [v2.feed]
      refused: {type: error, id: $message/id, code: $code, why: {text: $detail, ask: $approval}}
    params: {type: object, properties: {room: {type: integer}}, required: [room], additionalProperties: false}
  feed.subscribe:
    message: {of: feed.open, match: {/type: subscribe}}
    resource: feed://rooms/{room}/{topic}
    effect: read
    params:
      type: object
      properties: {room: {type: integer}, topic: {type: string}, depth: {type: integer}, id: {}}
      required: [room, topic]
      additionalProperties: false
  feed.post:
    message: {of: feed.open, match: {/type: send, /data/kind: text}}
    resource: feed://rooms/{room}
    effect: write
    body: {json: {data: {body: $params.text, to: $params.to}, id: $params.id}}
    params:
      type: object
      properties: {room: {type: integer}, text: {type: string}, to: {type: array, items: {type: string}}, id: {type: integer}}
      required: [room, text]
      additionalProperties: false
";

fn feed() -> Service {
    Service::parse(FEED.as_bytes(), None).unwrap().0
}

fn name(text: &str) -> ActionName {
    ActionName::parse(text).unwrap()
}

fn opened() -> Map<String, Value> {
    json!({"room": 7}).as_object().unwrap().clone()
}

/// The action that a message is and its parameters; `None` where it is none, an error where it is one and not as it has to be.
fn read(service: &Service, text: &str) -> Option<Result<(String, Value), String>> {
    let message = crate::json::parse(text.as_bytes()).unwrap();
    let action = service.carried(&name("feed.open"), &message)?;
    let params = action.message_params(&opened(), &message);
    let params = params.and_then(|params| action.describe(&params));
    Some(
        params
            .map(|it| (action.name().as_str().to_owned(), Value::Object(it.params)))
            .map_err(|error| error.to_string()),
    )
}

#[test]
fn a_message_is_the_action_whose_values_it_has_with_what_was_opened() {
    let feed = feed();
    let all = read(&feed, r#"{"topic": "a", "type": "subscribe", "depth": 3}"#).unwrap().unwrap();
    assert_eq!(all, ("feed.subscribe".to_owned(), json!({"room": 7, "topic": "a", "depth": 3})));
    let all = read(&feed, r#"{"type":"send","data":{"kind":"text","body":"hi","to":["x"]},"id":1}"#).unwrap();
    assert_eq!(
        all.unwrap(),
        ("feed.post".to_owned(), json!({"room": 7, "text": "hi", "to": ["x"], "id": 1}))
    );
    let action = feed.action(&name("feed.subscribe")).unwrap();
    // What was opened is what upstream acts on; what a message says is claimed.
    assert!(action.in_path("room"));
    assert_eq!(action.claimed(), ["topic"]);
}

#[test]
fn what_is_no_message_of_an_action_is_none_and_what_has_more_is_refused() {
    let feed = feed();
    for text in [
        "{}",
        r#"{"type": "unsubscribe"}"#,
        r#"{"type": ["subscribe"]}"#,
        r#"{"Type": "subscribe", "topic": "a"}"#,
        r#"{"type": "send", "data": {"kind": "image", "body": "hi"}}"#,
        r#"{"type": "send", "data": "text"}"#,
        r#"[{"type": "subscribe", "topic": "a"}]"#,
    ] {
        assert_eq!(read(&feed, text), None, "{text}");
    }
    for (text, says) in [
        (r#"{"type": "subscribe", "topic": "a", "room": 8}"#, "no parameter"),
        (r#"{"type": "subscribe", "topic": "a", "dept": 3}"#, "did you mean `depth`?"),
        (r#"{"type": "subscribe"}"#, "`topic` is missing"),
        (r#"{"type": "subscribe", "topic": "a/../b"}"#, "refused"),
        (r#"{"type": "subscribe", "topic": "a", "depth": "3"}"#, "depth"),
        (r#"{"type": "send", "data": {"kind": "text", "body": "hi", "as": "root"}}"#, "laid out"),
        (r#"{"type": "send", "data": {"kind": "text"}}"#, "laid out"),
    ] {
        let error = read(&feed, text).unwrap().unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn what_is_sent_is_written_anew() {
    let feed = feed();
    let action = feed.action(&name("feed.post")).unwrap();
    let params = json!({"room": 7, "text": "hi \"you\"", "id": 1});
    let call = feed.render(action, params.as_object().unwrap()).unwrap();
    assert_eq!(call.target, "/v1/rooms/7");
    let body = String::from_utf8(call.body.clone().unwrap()).unwrap();
    assert_eq!(body, r#"{"data":{"body":"hi \"you\"","kind":"text"},"id":1,"type":"send"}"#);
    assert_eq!(feed.describe_call(&call), Some((name("feed.post"), params.as_object().unwrap().clone())));
    // Neither another spelling of it, nor the same on another path, is this action.
    for (body, target) in [
        (body.replace(",\"type\"", ", \"type\""), "/v1/rooms/7"),
        (body.clone(), "/v1/room/7"),
        (body.clone(), "/v1/rooms/7?x=1"),
        (body.replace("send", "subscribe"), "/v1/rooms/7"),
    ] {
        let other =
            crate::call::UpstreamCall { body: Some(body.into()), target: target.into(), ..call.clone() };
        assert_eq!(feed.describe_call(&other), None, "{other:?}");
    }
    // A message is no request.
    let get = feed.place(crate::call::Method::Get, "/rooms/7").unwrap();
    assert_eq!(get.action().name().as_str(), "feed.open");
}

#[test]
fn a_refusal_is_the_declared_frame_or_the_problem() {
    let feed = feed();
    let socket = feed.action(&name("feed.open")).and_then(ServiceAction::websocket).unwrap();
    let problem = json!({"code": "no_rule", "title": "No rule", "detail": "nothing allows it"});
    let problem = problem.as_object().unwrap();
    let message = json!({"type": "x", "id": [4]});
    let told = socket.refusal(Refusal { problem, message: Some(&message) });
    let why = json!({"text": "nothing allows it", "ask": null});
    assert_eq!(told, json!({"type": "error", "id": [4], "code": "no_rule", "why": why}));
    let told = socket.refusal(Refusal { problem, message: None });
    assert_eq!(told["id"], Value::Null);
    let plain = FEED.replace("      refused: {type", "#");
    let plain = Service::parse(plain.as_bytes(), None).unwrap().0;
    let socket = plain.action(&name("feed.open")).and_then(ServiceAction::websocket).unwrap();
    assert_eq!(socket.refusal(Refusal { problem, message: None }), Value::Object(problem.clone()));
}

#[test]
fn what_is_ambiguous_out_of_reach_or_mute_does_not_load() {
    let changed = |from: &str, to: &str| {
        assert!(FEED.contains(from), "{from}");
        FEED.replacen(from, to, 1)
    };
    for (text, says) in [
        (changed("{/type: send, /data/kind: text}", "{/data/kind: text}"), "one message could be"),
        (
            changed("{/type: send, /data/kind: text}", "{/type: subscribe, /data/kind: text}"),
            "one message could be",
        ),
        (
            changed("of: feed.open, match: {/type: sub", "of: feed.opne, match: {/type: sub"),
            "did you mean `feed.open`",
        ),
        (
            changed("of: feed.open, match: {/type: sub", "of: feed.post, match: {/type: sub"),
            "opens a WebSocket",
        ),
        (FEED.split("  feed.subscribe").next().unwrap().to_owned(), "on which no message is an action"),
        (changed("effect: read\n    websocket", "effect: write\n    websocket"), "the effect `read`"),
        (changed("    websocket:", "    no_effect: [404]\n    websocket:"), "has no `no_effect`"),
        (changed("method: GET", "method: POST"), "by a GET"),
        (changed("match: {/type: subscribe}", "match: {}"), "at least one value"),
        (changed("match: {/type: subscribe}", "match: {type: subscribe}"), "no place of a message"),
        (
            changed("match: {/type: subscribe}", "match: {/type: [subscribe]}"),
            "a string, a number or a boolean",
        ),
        (changed("match: {/type: subscribe}", "match: {/topic: subscribe}"), "also a place"),
        (changed("/type: send, /data/kind: text", "/type: send, /data/body/kind: text"), "also a place"),
        (changed("required: [room, text]", "required: [room]"), "need not be given"),
        (changed("code: $code", "code: $cod"), "stands for nothing"),
        (changed("protocols: [v2.feed]", "protocols: [a b]"), "no name of a subprotocol"),
        (changed("protocols: [v2.feed]", "idle: 2h"), "idle"),
        (changed("body: {json: {data", "method: GET\n    body: {json: {data"), "method"),
        (changed("body: {json: {data", "body: {form: {data"), "JSON object"),
        (changed("feed://rooms/{room}/{topic}", "feed://rooms/{room}/{nothing}"), "nothing"),
    ] {
        let problems = Service::parse(text.as_bytes(), None).expect_err(&text);
        let said: String = problems.iter().map(|one| one.render()).collect();
        assert!(said.contains(says), "{says}: {said}");
    }
}

fn carried(matches: &[(Vec<&str>, &str)]) -> Carried {
    let matches = matches
        .iter()
        .map(|(path, value)| (path.iter().map(|step| (*step).to_owned()).collect(), json!(value)))
        .collect();
    Carried { of: name("feed.open"), matches }
}

/// Every message with members `a` and `b`, each a value or an object with a member `c`.
fn messages() -> Vec<Value> {
    let inner = [None, Some(json!("x")), Some(json!("y"))];
    let object = |c: &Option<Value>| {
        let mut members = Map::new();
        members.extend(c.clone().map(|c| ("c".to_owned(), c)));
        Some(Value::Object(members))
    };
    let each: Vec<Option<Value>> = inner.iter().cloned().chain(inner.iter().map(object)).collect();
    let mut all = Vec::new();
    for a in &each {
        for b in &each {
            let mut members = Map::new();
            members.extend(a.clone().map(|a| ("a".to_owned(), a)));
            members.extend(b.clone().map(|b| ("b".to_owned(), b)));
            all.push(Value::Object(members));
        }
    }
    all
}

fn any_match() -> impl Strategy<Value = Vec<(Vec<&'static str>, &'static str)>> {
    let path = prop::sample::select(vec![vec!["a"], vec!["b"], vec!["a", "c"], vec!["b", "c"]]);
    let entries = prop::collection::btree_map(path, prop::sample::select(vec!["x", "y"]), 1..4);
    entries.prop_map(|map| map.into_iter().collect::<Vec<_>>()).prop_filter("fits something", |matches| {
        let carried = carried(matches);
        messages().iter().any(|message| carried.fits(message))
    })
}

proptest! {
    #[test]
    fn two_overlap_where_some_message_fits_both(one in any_match(), other in any_match()) {
        let (one, other) = (carried(&one), carried(&other));
        let both = messages().into_iter().find(|message| one.fits(message) && other.fits(message));
        prop_assert_eq!(one.overlaps(&other), both.is_some(), "{:?}", both);
        prop_assert_eq!(one.overlaps(&other), other.overlaps(&one));
        prop_assert!(one.overlaps(&one));
    }

    #[test]
    fn what_is_described_is_rendered_back(
        topic in "[a-z/.%\"\\\\ é{}$]{0,8}",
        text in ".{0,12}",
        to in prop::option::of(prop::collection::vec("[a-z]{0,3}", 0..3)),
        id in prop::option::of(any::<i32>()),
        room in 0..1000_u32,
        posts in any::<bool>(),
    ) {
        let feed = feed();
        let mut params = Map::new();
        params.insert("room".into(), room.into());
        let action = if posts {
            params.insert("text".into(), text.into());
            params.extend(to.map(|to| ("to".to_owned(), json!(to))));
            "feed.post"
        } else {
            params.insert("topic".into(), topic.into());
            "feed.subscribe"
        };
        params.extend(id.map(|id| ("id".to_owned(), json!(id))));
        let action = feed.action(&name(action)).unwrap();
        // What isn't described isn't sent.
        let Ok(described) = action.describe(&params) else { return Ok(()) };
        let call = feed.render(action, &described.params).unwrap();
        prop_assert_eq!(feed.describe_call(&call), Some((action.name().clone(), params.clone())));
        // An agent that says the same, in whatever order, says this.
        let message = crate::json::parse(call.body.as_deref().unwrap()).unwrap();
        let opened = Map::from_iter([("room".to_owned(), room.into())]);
        let found = feed.carried(&name("feed.open"), &message).unwrap();
        prop_assert_eq!(found.name(), action.name());
        prop_assert_eq!(found.message_params(&opened, &message).unwrap(), params);
    }
}
