//! Requests whose parameters travel elsewhere than under their own names.

use crate::{
    call::{FORM, Method, UpstreamCall},
    pattern::ActionName,
    service::{Service, ServiceAction, check_target},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const DESK: &str = r#"
service: desk
base_url: https://desk.example/api
auth: {type: header, name: X-Key}
headers: {X-Version: "2024-06-01", Accept: application/vnd.desk+json}
actions:
  desk.search:
    method: POST
    path: /search
    resource: desk://all
    effect: read
    query: {"$top": $params.top, "labels[]": $params.labels, fields: all}
    params: {properties: {top: {type: integer}, labels: {type: array, items: {type: string}}, text: {type: string}}}
  desk.page:
    method: GET
    path: /items
    resource: desk://all
    effect: read
    query: {after: $params.cursor, deep: true}
    headers: {accept: text/plain}
    params: {properties: {cursor: {type: string}, size: {type: integer}}}
    paging: {cursor: cursor, next: /next, size: size}
  desk.pay:
    method: POST
    path: /charges/{id}
    resource: desk://all/{id}
    effect: money
    body: form
    params:
      properties:
        amount: {type: integer}
        final: {type: boolean}
        note: {type: string}
        tags: {type: array, items: {type: string}}
        lines: {type: array, items: {type: object, properties: {price: {type: integer}}}}
        meta: {type: object}
  desk.plain:
    method: DELETE
    path: /charges/{id}
    resource: desk://all/{id}
    effect: delete
    body: {form: {confirm: {by: $params.by}, mode: hard}}
    params: {properties: {by: {type: string}}}
  desk.mail:
    method: POST
    path: /mails
    resource: desk://mail
    effect: write
    query: [draft]
    body:
      json:
        message:
          subject: $params.subject
          body: {contentType: Text, content: $params.text}
          toRecipients: {$each: $params.to, item: {emailAddress: {address: $item}}}
          ccRecipients: {$each: $params.cc, item: {emailAddress: {address: $item}}}
        blocks: [{type: rich, text: $params.rich}]
        save: true
    params: {properties: {draft: {type: boolean}, subject: {type: string}, text: {type: string}, rich: {}, to: {type: array}, cc: {type: array}}}
  desk.raw:
    method: POST
    path: /raw
    resource: desk://mail
    effect: write
    body: {json: {message: {raw: {$message: {to: $params.to, cc: $params.cc, subject: $params.subject, text: $params.text, in_reply_to: $params.reply}}, thread: $params.thread}}}
    params: {properties: {to: {type: array, items: {type: string}}, cc: {type: array}, subject: {type: string}, text: {type: string}, reply: {type: string}, thread: {type: string}}}
  desk.put:
    method: PUT
    path: /docs/{id}
    resource: desk://doc/{id}
    effect: write
    body: {json: $params.document}
    params: {properties: {document: {}}}
  desk.issue.create:
    method: POST
    path: /graphql
    resource: desk://graph
    effect: write
    body: {json: {query: "mutation M($t: String!) { create(title: $t) { id } }", variables: {t: $params.title}}}
    params: {properties: {title: {type: string}}}
  desk.note.add:
    method: POST
    path: /notes
    resource: desk://all
    effect: write
    body: {json: {parent: {kind: page, id: $params.page}, note: $params.text}}
    params: {properties: {page: {type: string}, text: {type: string}}, required: [page]}
  desk.row.add:
    method: POST
    path: /notes
    resource: desk://all
    effect: write
    body: {json: {parent: {kind: row, id: $params.row}}}
    params: {properties: {row: {type: string}}, required: [row]}
  desk.issue.all:
    method: POST
    path: /graphql
    resource: desk://graph
    effect: read
    body: {json: {query: "query Q { all { id } }"}}
"#;

fn desk() -> Service {
    let (service, warnings) = Service::parse(DESK.as_bytes(), None).unwrap_or_else(|found| {
        panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    assert!(warnings.is_empty(), "{warnings:?}");
    service
}

fn action<'s>(service: &'s Service, name: &str) -> &'s ServiceAction {
    service.action(&ActionName::parse(name).unwrap()).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn send(service: &Service, name: &str, params: Value) -> Result<UpstreamCall, String> {
    let params = object(params);
    action(service, name).describe(&params).map_err(|error| error.message)?;
    service.render(action(service, name), &params).map_err(|error| error.message)
}

/// What a raw request is read as.
fn read(
    service: &Service,
    method: Method,
    target: &str,
    body: Option<&[u8]>,
) -> Result<(String, Value), String> {
    check_target(target).map_err(str::to_owned)?;
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let placed = service.place_all(method, path).pick(body).ok_or("nothing")?;
    let params = placed.params(query, body).map_err(|error| error.message)?;
    Ok((placed.action().name().as_str().to_owned(), Value::Object(params)))
}

fn text(call: &UpstreamCall) -> &str {
    std::str::from_utf8(call.body.as_deref().unwrap_or_default()).unwrap()
}

#[test]
fn each_parameter_stands_in_its_place() {
    let service = desk();
    let call = send(&service, "desk.search", json!({"top": 5, "labels": ["a b", "c"], "text": "x"})).unwrap();
    assert_eq!(call.target, "/api/search?%24top=5&fields=all&labels%5B%5D=a%20b&labels%5B%5D=c");
    assert_eq!(text(&call), r#"{"text":"x"}"#);
    let sent = |name: &str, params| send(&service, name, params).unwrap();
    assert_eq!(
        call.fixed,
        [("accept".into(), "application/vnd.desk+json".into()), ("x-version".into(), "2024-06-01".into())]
    );
    let page = sent("desk.page", json!({"cursor": "c=", "size": 2}));
    assert_eq!(page.target, "/api/items?after=c%3D&deep=true&size=2");
    assert_eq!(page.fixed.first().unwrap().1, "text/plain", "an action's header comes before its service's");
    let pay = sent(
        "desk.pay",
        json!({"id": "7", "amount": 5, "final": true, "note": "ü &", "tags": ["a"], "lines": [{"price": 1}, {"price": 2}], "meta": {"k": "v"}}),
    );
    assert_eq!(
        text(&pay),
        "amount=5&final=true&lines%5B0%5D%5Bprice%5D=1&lines%5B1%5D%5Bprice%5D=2&meta%5Bk%5D=v&note=%C3%BC%20%26&tags%5B0%5D=a"
    );
    assert!(pay.fixed.contains(&("content-type".into(), FORM.into())));
    assert_eq!(text(&sent("desk.plain", json!({"id": "7", "by": "me"}))), "confirm%5Bby%5D=me&mode=hard");
    assert_eq!(text(&sent("desk.plain", json!({"id": "7"}))), "mode=hard");
    let mail =
        sent("desk.mail", json!({"draft": true, "subject": "s", "text": "t", "to": ["a@b.c", "d@e.f"]}));
    assert_eq!(mail.target, "/api/mails?draft=true");
    assert_eq!(
        serde_json::from_str::<Value>(text(&mail)).unwrap(),
        json!({"message": {"subject": "s", "body": {"contentType": "Text", "content": "t"},
            "toRecipients": [{"emailAddress": {"address": "a@b.c"}}, {"emailAddress": {"address": "d@e.f"}}]}, "save": true})
    );
    assert_eq!(
        text(&sent("desk.mail", json!({}))),
        r#"{"save":true}"#,
        "what has nothing to say is left out"
    );
    assert_eq!(
        text(&sent("desk.put", json!({"id": "1", "document": [1, {"a": null}]}))),
        r#"[1,{"a":null}]"#
    );
    assert_eq!(text(&sent("desk.issue.all", json!({}))), r#"{"query":"query Q { all { id } }"}"#);
}

#[test]
fn a_mail_has_its_parts_and_no_others() {
    let service = desk();
    let good = json!({"to": ["ada@example.com", "bo@example.com"], "subject": "Grüße ".repeat(12), "text": "a\nb", "reply": "<1@x>"});
    let call = send(&service, "desk.raw", good.clone()).unwrap();
    let body: Value = serde_json::from_str(text(&call)).unwrap();
    let mail = URL_SAFE.decode(body["message"]["raw"].as_str().unwrap()).unwrap();
    let mail = String::from_utf8(mail).unwrap();
    assert!(mail.starts_with("To: ada@example.com,\r\n bo@example.com\r\nSubject: =?utf-8?B?"), "{mail}");
    assert!(mail.contains("\r\nIn-Reply-To: <1@x>\r\nMIME-Version: 1.0\r\n"), "{mail}");
    assert!(mail.ends_with("\r\n\r\nYQpi"), "{mail}");
    assert!(mail.lines().all(|line| line.len() <= 78), "{mail}");
    assert_eq!(service.describe_call(&call).unwrap().1, object(good.clone()));
    for (part, bad) in [
        ("to", json!([])),
        ("to", json!(["a@b.c\r\nBcc: x@y.z"])),
        ("to", json!(["a@b.c, x@y.z"])),
        ("to", json!(["Ada <a@b.c>"])),
        ("to", json!(["a@b@c"])),
        ("cc", json!("a@b.c")),
        ("subject", json!("a\r\nBcc: x@y.z")),
        ("reply", json!("<a>\r\nBcc: x@y.z")),
        ("reply", json!("a")),
    ] {
        let mut params = good.clone();
        params[part] = bad.clone();
        assert!(send(&service, "desk.raw", params).is_err(), "{part}: {bad}");
    }
    let raw = |mail: &str| {
        let body = json!({"message": {"raw": URL_SAFE.encode(mail)}}).to_string();
        read(&service, Method::Post, "/raw", Some(body.as_bytes()))
    };
    assert!(raw(&mail.replace("To: ada", "To:  ada")).is_err());
    assert!(raw(&mail.replace("MIME-Version", "Bcc: x@y.z\r\nMIME-Version")).is_err(), "no place for it");
    assert!(raw(&mail).is_ok());
}

#[test]
fn raw_requests_are_read_by_their_places() {
    let service = desk();
    let post = |target: &str, body: &str| read(&service, Method::Post, target, Some(body.as_bytes()));
    assert_eq!(
        post("/charges/7", "note=a+b&amount=5&lines[0][price]=1&meta%5bk%5d=1"),
        Ok((
            "desk.pay".into(),
            json!({"id": "7", "note": "a b", "amount": 5, "lines": [{"price": 1}], "meta": {"k": "1"}})
        ))
    );
    assert_eq!(
        post("/graphql", r#"{"query": "query Q { all { id } }"}"#),
        Ok(("desk.issue.all".into(), json!({})))
    );
    assert_eq!(
        post(
            "/graphql",
            r#"{"variables": {"t": "x"}, "query": "mutation M($t: String!) { create(title: $t) { id } }"}"#
        ),
        Ok(("desk.issue.create".into(), json!({"title": "x"})))
    );
    assert_eq!(
        read(&service, Method::Get, "/items?after=x", None),
        Ok(("desk.page".into(), json!({"cursor": "x"}))),
        "what is sent anyway need not be said"
    );
    for (target, body, why) in [
        ("/graphql", r#"{"query": "mutation { drop }"}"#, "nothing"),
        ("/graphql", r#"{"query": "query Q { all { id } }", "variables": {"t": "x"}}"#, "laid out"),
        ("/graphql", r#"{"query": "query Q { all { id } }", "operationName": "x"}"#, "laid out"),
        ("/search?fields=some", "{}", "has one value"),
        ("/search?top=5", "{}", "no parameter `top`"),
        ("/search", r#"{"top": 5}"#, "no parameter `top`"),
        ("/charges/7", "amount=5&amount=6", "twice"),
        ("/charges/7", "lines[1][price]=5", ""),
        ("/charges/7", "lines[00][price]=5", ""),
        ("/charges/7", "meta[a]=1&meta=2", "is a value and has"),
        ("/charges/7", "meta[a=1", "names in the body"),
        ("/charges/7", "id=8", "no parameter `id`"),
        ("/charges/7", "amount", "name=value"),
        ("/charges/7", "note=%2", "two digits"),
        ("/mails", r#"{"save": false}"#, "laid out"),
        ("/mails", r#"{"save": true, "message": {}}"#, "laid out"),
        ("/mails", r#"{"save": true, "message": {"body": {"contentType": "Text"}}}"#, "laid out"),
        (
            "/mails",
            r#"{"save": true, "message": {"toRecipients": [{"emailAddress": {"address": "a", "name": "b"}}]}}"#,
            "laid out",
        ),
    ] {
        let found = post(target, body);
        // A list that is none is an object, which the schema refuses.
        let refused = match found {
            Ok((name, params)) => action(&service, &name).describe(&object(params)).unwrap_err().message,
            Err(refused) => refused,
        };
        assert!(refused.contains(why), "{target} {body}: {refused}");
    }
    assert_eq!(read(&service, Method::Post, "/graphql", None).unwrap_err(), "`desk.issue.all` takes a body");
}

#[test]
fn a_definition_says_where_everything_travels() {
    let with = |more: &str| {
        let text = format!(
            "service: s\nbase_url: https://x.example\nauth: {{type: header, name: X-Key}}\nactions:\n  a.b:\n    method: POST\n    path: /a/{{id}}\n    resource: 'o://x/{{id}}'\n    effect: write\n    params: {{properties: {{one: {{type: string}}, two: {{type: integer}}}}}}\n{more}"
        );
        Service::parse(text.as_bytes(), None).map(drop).map_err(|found| {
            found
                .iter()
                .filter(|one| one.is_error())
                .map(|one| one.message.clone())
                .collect::<Vec<_>>()
                .join("\n")
        })
    };
    for good in [
        "    body: {json: {a: $params.one, b: $params.two}}\n",
        "    query: [one]\n    body: {json: {b: {c: $params.two}, d: [1, 2], e: {}}}\n",
        "    body: {form: {a: {b: $params.one}, c: $params.two}}\n",
        "    paging: {page: two}\n",
        "    headers: {X-Version: v1}\n",
    ] {
        assert_eq!(with(good), Ok(()), "{good}");
    }
    for (bad, why) in [
        ("    body: {json: {a: $params.one}}\n", "`two` has no place"),
        ("    body: {json: {a: $params.one, b: $params.two, c: $params.two}}\n", "twice"),
        ("    body: {json: {a: $params.one, b: $params.two, c: $params.id}}\n", "and in `path`"),
        ("    body: {json: {a: $params.one, b: $params.too}}\n", "`too` in `body` is no parameter"),
        ("    body: {json: {a: $one}}\n", "stands for nothing"),
        ("    body: {json: {a: [$params.one, $params.two]}}\n", "has one item"),
        (
            "    body: {json: {a: {$each: $params.one, item: {b: 1}}, c: $params.two}}\n",
            "`$item` has to stand once",
        ),
        ("    body: {json: {a: {$each: $params.one, item: {b: $params.two}}}}\n", "only `$item`"),
        ("    body: {json: {a: $item}}\n", "stands for nothing"),
        ("    body: {json: {a: {$message: {subject: $params.one}}, b: $params.two}}\n", "has `to`"),
        ("    body: {form: {a: [$params.one], b: $params.two}}\n", "a form has names"),
        ("    body: {xml: {}}\n", "unknown key `xml`"),
        ("    body: xml\n", "must be one of"),
        ("    query: [id]\n", "no parameter that could travel in the query"),
        ("    query: [three]\n", "no parameter that could travel in the query"),
        ("    query: {a: $params.one, b: $params.one}\n", "in two members"),
        ("    query: {a: \"x\\ny\"}\n", "no control characters"),
        ("    query: {a: [1]}\n", "must be `$params.NAME`"),
        ("    headers: {Authorization: x}\n", "not for a definition to send"),
        ("    headers: {X-Key: x}\n", "carries the credential"),
        ("    headers: {X-A: \"a\\nb\"}\n", "visible ASCII"),
        ("    headers: {\"a b\": x}\n", "no name of a header"),
        ("    paging: {page: one}\n", "declared no integer"),
        ("    paging: {page: three}\n", "no parameter"),
        ("    paging: {cursor: one}\n", "found by `next`"),
        ("    paging: {cursor: one, page: two, next: /a}\n", "one of `cursor`, `page` and `offset`"),
        ("    stream: true\n    body: json\n", "what is streamed has no `body`"),
        (
            "  a.c: {method: POST, path: '/a/{id}', resource: 'o://x/{id}', effect: write}\n",
            "can be the same call",
        ),
    ] {
        let refused = with(bad).expect_err(bad);
        assert!(refused.contains(why), "{bad}: {refused}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z0-9\\[\\]]{0,3}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Parameters of an action: what its places take, or anything.
fn params() -> impl Strategy<Value = (&'static str, Map<String, Value>)> {
    let names: [(&str, &[&str]); 11] = [
        ("desk.search", &["top", "labels", "text"]),
        ("desk.page", &["cursor", "size"]),
        ("desk.pay", &["id", "amount", "final", "note", "tags", "lines", "meta"]),
        ("desk.plain", &["id", "by"]),
        ("desk.mail", &["draft", "subject", "text", "rich", "to", "cc"]),
        ("desk.raw", &["to", "cc", "subject", "text", "reply", "thread"]),
        ("desk.put", &["id", "document"]),
        ("desk.issue.create", &["title"]),
        ("desk.note.add", &["page", "text"]),
        ("desk.row.add", &["row"]),
        ("desk.issue.all", &[]),
    ];
    prop::sample::select(names.to_vec()).prop_flat_map(|(name, all)| {
        let value = |param: &'static str| {
            let fitting = match param {
                "id" | "cursor" => "[a-z %&=+\\[\\]ü]{0,20}".prop_map(Value::from).boxed(),
                "text" | "note" | "by" | "subject" | "title" | "thread" => {
                    "[a-z %&=+\\[\\]ü\\n]{0,60}".prop_map(Value::from).boxed()
                }
                "amount" | "top" | "size" => any::<i32>().prop_map(Value::from).boxed(),
                "final" | "draft" => any::<bool>().prop_map(Value::from).boxed(),
                "to" | "cc" => {
                    prop::collection::vec("[a-z.]{1,8}@[a-z.]{1,8}", 0..3).prop_map(Value::from).boxed()
                }
                "tags" | "labels" => {
                    prop::collection::vec("[a-z,\\[\\] ]{0,4}", 0..12).prop_map(Value::from).boxed()
                }
                "lines" => prop::collection::vec(any::<u8>(), 0..12)
                    .prop_map(|all| all.into_iter().map(|price| json!({"price": price})).collect())
                    .boxed(),
                "reply" => "<[a-z@.]{1,9}>( <a@b>)?".prop_map(Value::from).boxed(),
                _ => json_value().boxed(),
            };
            let value = prop_oneof![6 => fitting, 1 => json_value()];
            prop::option::weighted(0.75, value).prop_map(move |value| Some((param.to_owned(), value?)))
        };
        let all: Vec<_> = all.iter().map(|param| value(param)).collect();
        all.prop_map(move |found| (name, found.into_iter().flatten().collect()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, ..ProptestConfig::default() })]

    /// Whatever is rendered describes back, at both doors, and is rendered as the same bytes again.
    #[test]
    fn what_is_rendered_describes_back((name, params) in params()) {
        let service = desk();
        let action = action(&service, name);
        if action.describe(&params).is_err() { return Ok(()); }
        let Ok(call) = service.render(action, &params) else { return Ok(()) };
        prop_assert_eq!(service.describe_call(&call).map(|(name, _)| name.as_str().to_owned()), Some(name.to_owned()));
        let target = call.target.strip_prefix(service.base_path()).unwrap();
        let (back, again) = read(&service, call.method, target, call.body.as_deref()).map_err(TestCaseError::fail)?;
        prop_assert_eq!(back.as_str(), name);
        let again = object(again);
        // What travels as text and has no declared type is a text again: in a form, and in a path.
        let is_text = params.get("id").is_none_or(Value::is_string);
        if is_text && !["desk.page", "desk.search", "desk.pay"].contains(&name) {
            prop_assert_eq!(&again, &params);
        }
        prop_assert_eq!(service.render(action, &again).unwrap(), call);
    }

    /// Whatever body comes raw: what is read of it is what is sent.
    #[test]
    fn what_is_read_is_what_is_sent(
        path in prop::sample::select(vec!["/charges/7", "/mails", "/docs/1", "/graphql", "/raw"]),
        method in prop::sample::select(vec![Method::Post, Method::Put, Method::Delete]), form in any::<bool>(),
        pairs in "((amount|note|meta\\[[a-c]\\]|lines\\[[01]\\]\\[price\\]|tags\\[[01]\\]|mode|confirm\\[by\\])=(1|hard|true|a\\+b|%41)&?){0,4}",
        value in json_value(),
    ) {
        let service = desk();
        let body = if form { pairs } else { value.to_string() };
        let Ok((name, params)) = read(&service, method, path, Some(body.as_bytes())) else { return Ok(()) };
        let action = action(&service, &name);
        let params = object(params);
        if action.describe(&params).is_err() { return Ok(()); }
        let call = service.render(action, &params).map_err(|error| TestCaseError::fail(error.message))?;
        prop_assert_eq!(service.describe_call(&call), Some((action.name().clone(), params)));
    }
}
