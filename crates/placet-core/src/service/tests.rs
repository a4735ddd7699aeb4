use super::*;
use proptest::prelude::*;
use serde_json::json;

const SHOP: &str = r##"
service: shop
base_url: https://API.example.com:8443/v1/
auth: {type: header, name: X-Api-Key}
actions:
  orders.read:
    method: GET
    path: /customers/{customer}/orders/{order}
    resource: order://customer:{customer}/{order}
    effect: read
    params:
      type: object
      properties:
        customer: {type: integer}
        fields: {type: array, items: {type: string}}
        limit: {type: integer, minimum: 1}
        deep: {type: boolean}
        any: {}
  orders.search:
    method: GET
    path: /customers/{customer}/orders/search
    resource: order://customer:{customer}
    effect: read
  refunds.create:
    method: POST
    path: /orders/{order}/refunds
    resource: order://{tenant}:{customer}/{order}
    binds: [tenant]
    effect: money
    no_effect: [404, 422, 404]
    secret: [pin]
    params:
      type: object
      required: [amount, customer]
      properties:
        amount: {type: number, exclusiveMinimum: 0}
        customer: {type: string}
        tenant: {type: string}
        pin: {type: string}
        to:
          type: array
          items: {type: object, properties: {email: {type: string}}, additionalProperties: false}
        note: {$ref: "#/$defs/note"}
      $defs: {note: {type: string, pattern: "^[a-z ]*$"}}
  files.get:
    method: GET
    path: /files/{name}.{kind}/raw
    resource: file://shop/{name}/{kind}
    effect: read
  blobs.get:
    method: GET
    encoded_slash: true
    path: /blobs/{key}
    resource: blob://shop/{key}
    effect: read
"##;

fn shop() -> Service {
    load(SHOP).0
}

fn load(source: &str) -> (Service, String) {
    match Service::parse(source.as_bytes(), Some("s.yaml")) {
        Ok((service, warnings)) => (service, texts(&warnings)),
        Err(found) => panic!("{}", texts(&found)),
    }
}

fn texts(found: &[Diagnostic]) -> String {
    let line = |one: &Diagnostic| {
        let at = one.position.map(|at| at.to_string()).unwrap_or_default();
        let help = one.help.as_deref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{:?} {at} {}{help}", one.severity, one.message)
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn refused(source: &str) -> String {
    texts(&Service::parse(source.as_bytes(), None).expect_err("must be refused"))
}

fn action<'a>(service: &'a Service, name: &str) -> &'a ServiceAction {
    service.action(&ActionName::parse(name).unwrap()).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Describes and renders, as a door does.
fn send(name: &str, params: Value) -> Result<(Described, String, Option<String>), ParamsInvalid> {
    let service = shop();
    let action = action(&service, name);
    let described = action.describe(&object(params))?;
    let call = service.render(action, &described.params)?;
    assert_eq!(call.origin, "https://api.example.com:8443");
    Ok((described, call.target, call.body.map(|body| String::from_utf8(body).unwrap())))
}

#[test]
fn a_described_action_is_rendered_where_it_belongs() {
    let (described, target, body) = send(
        "orders.read",
        json!({"customer": 42, "order": "a b/".trim_end_matches('/'), "fields": ["x&y", "ü"], "limit": 5, "deep": true}),
    )
    .unwrap();
    assert_eq!(target, "/v1/customers/42/orders/a%20b?deep=true&fields=x%26y&fields=%C3%BC&limit=5");
    assert_eq!(body, None);
    assert_eq!(described.resource.as_str(), "order://customer:42/a%20b");
    assert_eq!(described.known, ResourcePattern::from_uri(&described.resource));

    let (described, target, body) = send(
        "refunds.create",
        json!({"order": "7", "customer": "*", "tenant": "t1", "amount": 12.50, "to": [{"email": "a"}]}),
    )
    .unwrap();
    assert_eq!(target, "/v1/orders/7/refunds");
    assert_eq!(body.unwrap(), r#"{"amount":12.5,"customer":"*","tenant":"t1","to":[{"email":"a"}]}"#);
    assert_eq!(described.resource.as_str(), "order://t1:%2A/7");
    assert_eq!(described.known.as_str(), "order://t1:*/7", "what is claimed is a star");
}

#[test]
fn values_that_would_leave_their_segment_are_refused() {
    let nasty = [
        "", ".", "..", "../x", "x/..", "a/b", "/", "%2e", "%2e%2e", "%2E.", ".%2e", "%2f", "a%2Fb", "a%5cb",
        "\\", "a\\b", "\0", "a\nb", "%00", "%0a", "\u{7f}", "\u{85}", "%c2%85", "%c0%ae", "%ff", "a%2f..",
    ];
    for value in nasty {
        let error = send("orders.read", json!({"customer": 1, "order": value})).expect_err(value);
        assert_eq!(error.pointer.as_deref(), Some("/order"), "{value:?}");
        let error =
            send("refunds.create", json!({"order": "1", "customer": value, "tenant": "t", "amount": 1}));
        assert_eq!(error.expect_err(value).pointer.as_deref(), Some("/customer"), "also where it is claimed");
    }
    for value in [json!(null), json!(true), json!(1.5), json!(1e2), json!(["a"]), json!({"a": 1})] {
        assert!(send("orders.read", json!({"customer": 1, "order": value})).is_err(), "{value}");
    }
    let fine = [
        "...",
        "a..b",
        ".a",
        "50%",
        "%zz",
        "%252e%252e",
        "é",
        "{x}",
        "?a=b",
        "#",
        "a;b",
        "*",
        "**",
        " ",
        "\u{ff0e}",
    ];
    for value in fine {
        let (described, target, _) = send("orders.read", json!({"customer": 1, "order": value})).unwrap();
        assert_eq!(described.resource.segments().collect::<Vec<_>>(), [value]);
        assert_eq!(target.matches('/').count(), 5, "{target}");
        assert!(!target.contains(['?', '#', ';', '*', ' ']), "{target}");
    }
    assert!(send("orders.read", json!({"customer": 1, "order": "x".repeat(10_000)})).is_err());
    let (_, target, _) = send("orders.read", json!({"customer": -7, "order": 12})).unwrap();
    assert_eq!(target, "/v1/customers/-7/orders/12");
}

#[test]
fn a_document_of_another_kind_is_told_as_that_alone() {
    for (source, told) in [
        ("openapi: 3.1.0\ninfo: {title: x}\npaths: {}\n", "placet service import"),
        ("{\"swagger\": \"2.0\", \"paths\": {}}", "OpenAPI 3"),
        ("policy: desk\nrules: []\n", "placet policy check"),
    ] {
        let found = Service::parse(source.as_bytes(), None).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().contains(told), "{}", found[0]);
    }
    // A service that has such a key has one that is not known.
    let found = Service::parse(b"service: x\npolicy: y\n", None).unwrap_err();
    assert!(found.iter().any(|it| it.message.contains("unknown key `policy`")), "{found:?}");
}

#[test]
fn an_encoded_slash_stays_one_segment_where_it_is_declared() {
    let (described, target, _) = send("blobs.get", json!({"key": "a/b"})).unwrap();
    assert_eq!((target.as_str(), described.resource.segments().len()), ("/v1/blobs/a%2Fb", 1));
    for value in ["../x", "a/..", "a/./b", "..%2fx", "a\\b"] {
        assert!(send("blobs.get", json!({"key": value})).is_err(), "{value}");
    }
}

#[test]
fn a_call_that_is_another_action_is_refused() {
    let error = send("orders.read", json!({"customer": 1, "order": "search"})).unwrap_err();
    assert_eq!(error.message, "with these values the call would be `orders.search`");
    // `{name}.{kind}` with a dot in the name reads back as another name.
    assert!(send("files.get", json!({"name": "a.b", "kind": "c"})).is_err());
    assert!(send("files.get", json!({"name": "a", "kind": "c"})).is_ok());
}

#[test]
fn parameters_that_the_action_does_not_name_are_refused() {
    let error = send("orders.search", json!({"customer": 1, "limit": 1})).unwrap_err();
    assert_eq!(error.message, "`orders.search` has no parameter `limit`");
    let error = send("refunds.create", json!({"order": "1", "customer": "c", "tenant": "t", "amout": 1}))
        .unwrap_err();
    assert_eq!(error.message, "`refunds.create` has no parameter `amout`; did you mean `amount`?");
    let error = send("refunds.create", json!({"order": "1", "customer": "c", "tenant": "t"})).unwrap_err();
    assert_eq!(error.message, "params: \"amount\" is a required property");
    let base = json!({"order": "1", "customer": "c", "tenant": "t", "amount": 1});
    for (name, value) in
        [("amount", json!(0)), ("pin", json!(7)), ("note", json!("SECRET")), ("to", json!([{"x": 1}]))]
    {
        let mut params = base.clone();
        params[name] = value;
        let error = send("refunds.create", params).unwrap_err();
        assert!(error.pointer.as_deref().is_some_and(|it| it.starts_with(&format!("/{name}"))), "{error:?}");
        assert!(!error.message.contains("SECRET"), "{error}");
    }
    let mut params = json!({"customer": 1, "order": "1"});
    for value in [json!(null), json!([]), json!({}), json!([[1]]), json!([{}])] {
        params["any"] = value;
        assert!(send("orders.read", params.clone()).is_err(), "{params}");
    }
}

#[test]
fn only_what_render_writes_is_described_back() {
    let service = shop();
    let call = |method, target: &str, body: Option<&str>| {
        let (origin, body) = (service.origin().to_owned(), body.map(|it| it.as_bytes().to_vec()));
        service.describe_call(&UpstreamCall {
            method,
            origin,
            target: target.to_owned(),
            headers: Vec::new(),
            fixed: Vec::new(),
            body,
            streamed: false,
        })
    };
    use crate::call::UpstreamCall;
    let (name, params) = call(Method::Get, "/v1/customers/4/orders/5?limit=3&fields=a", None).unwrap();
    assert_eq!(
        (name.as_str(), Value::Object(params)),
        ("orders.read", json!({"customer": 4, "order": "5", "limit": 3, "fields": ["a"]}))
    );
    for target in [
        "/customers/4/orders/5",
        "/v1/customers/4/orders/",
        "/v1/customers/4/orders/5/",
        "/v1//customers/4/orders/5",
        "/v1/customers/4/orders/..",
        "/v1/customers/4/orders/%2e%2e",
        "/v1/customers/4/orders/%41",
        "/v1/customers/4/orders/a%2fb",
        "/v1/customers/4/orders/5?other=1",
        "/v1/customers/4/orders/5?limit",
        "/v1/customers/4/orders/5?",
        "/v1/customers/4/orders/5?customer=9",
        "/v1/customers/4/orders/5#x",
    ] {
        assert_eq!(call(Method::Get, target, None), None, "{target}");
    }
    assert_eq!(call(Method::Delete, "/v1/customers/4/orders/5", None), None);
    assert_eq!(call(Method::Get, "/v1/customers/4/orders/5", Some("{}")), None);
    assert!(call(Method::Post, "/v1/orders/1/refunds", Some(r#"{"amount":1}"#)).is_some());
    for body in [r#"{"amount":1,"amount":2}"#, r#"{"amount": 1}"#, r#"{"order":"2"}"#, "[]", "", r#"{"x":1}"#]
    {
        assert_eq!(call(Method::Post, "/v1/orders/1/refunds", Some(body)), None, "{body}");
    }
}

#[test]
fn what_is_claimed_is_known_and_entries_that_read_it_are_found() {
    let service = shop();
    let refund = action(&service, "refunds.create");
    assert_eq!(refund.claimed(), ["customer"]);
    assert!(refund.binds.iter().any(|name| name == "tenant"));
    assert!(refund.in_path("order"));
    assert_eq!((refund.no_effect(), refund.secret()), (&[404, 422][..], &["pin".to_owned()][..]));
    let reads = |pattern: &str| refund.reads_claimed(&ResourcePattern::parse(pattern).unwrap());
    for free in [
        "*",
        "**",
        "order://**",
        "order://*/7",
        "order://*/**",
        "invoice://t:42/7",
        "order://t:42/7/x",
        "order://t:42",
    ] {
        assert_eq!(reads(free), None, "{free}");
    }
    // `{tenant}:{customer}`: a prefix could end inside the customer.
    for reading in ["order://t:42/7", "order://t:4*/**", "order://t:*/**", "order://*:42/**", "order://*4*/7"]
    {
        assert_eq!(reads(reading).as_deref(), Some("customer"), "{reading}");
    }
    let source = "
service: s
base_url: https://x.example
auth: {type: bearer}
actions:
  a:
    {method: POST, path: /a, effect: write, resource: 'o://customer:{c}:x/{d}', params: {properties: {c: {}, d: {}}}}
";
    let (service, _) = load(source);
    let reads =
        |pattern: &str| action(&service, "a").reads_claimed(&ResourcePattern::parse(pattern).unwrap());
    for free in ["o://customer:*/*", "o://cust*x/**", "o://customer:*:x/*", "o://team:4*/*", "o://*"] {
        assert_eq!(reads(free), None, "{free}");
    }
    for reading in ["o://customer:4*/*", "o://customer:*4:x/**", "o://*4*/*", "o://customer:4:x/**"] {
        assert_eq!(reads(reading).as_deref(), Some("c"), "{reading}");
    }
    assert_eq!(reads("o://customer:*/7").as_deref(), Some("d"));
}

#[test]
fn types_of_parameters_are_stated_only_where_they_are_certain() {
    let service = shop();
    let refund = action(&service, "refunds.create");
    assert_eq!(refund.params_type(&["amount"]), ParamType::Number);
    assert_eq!(refund.params_type(&["note"]), ParamType::String);
    assert_eq!(refund.params_type(&["order"]), ParamType::Unknown);
    assert_eq!(refund.params_type(&["to"]), ParamType::List);
    assert_eq!(refund.params_type(&["to", "[]", "email"]), ParamType::String);
    assert_eq!(
        refund.params_type(&["to", "[]", "mail"]),
        ParamType::Absent { nearest: Some("email".to_owned()) }
    );
    assert_eq!(refund.params_type(&["amount", "x"]), ParamType::Absent { nearest: None });
    assert_eq!(refund.params_type(&["amout"]), ParamType::Absent { nearest: Some("amount".to_owned()) });
    assert_eq!(action(&service, "orders.read").params_type(&["limit"]), ParamType::Integer);
    assert_eq!(action(&service, "orders.read").params_type(&["any", "x"]), ParamType::Unknown);
}

#[test]
fn a_definition_says_everything_that_is_wrong_with_it() {
    insta::assert_snapshot!(refused("
service: Shop
base_url: https://user@x.example
auth: {type: digest}
allow_privat: true
stream: true
actions:
  orders.read:
    method: get
    path: /orders/{order}/../x
    resource: order://{customer}/{ordr}
    efect: read
  orders..list:
    method: GET
    path: orders?x=1
    resource: orders
    effect: reed
    response: {}
  refunds.create:
    method: POST
    path: /refunds
    resource: order://{customer}
    binds: [custommer]
    secret: [pin, customer]
    effect: money
    no_effect: [99, x]
    params: {type: object, properties: {customer: {type: string}}}
  b: {method: GET, path: /b, resource: 'b://b', effect: read, params: {properties: {x: {type: strin}}}}
  a:
    {method: POST, path: '/a/{x}{y}', resource: 'a://{x', params: {$ref: 'https://x.example/s'}, effect: write}
"), @r#"
    Error 2:10 `Shop` is no service name: a letter `a-z`, then `a-z`, `0-9`, `_` and `-`, at most 64
    Error 3:11 `base_url` is refused: it holds no user name or password; the credential belongs to a connection
    Error 4:14 `type` must be one of `bearer`, `basic`, `query`, `header`, `oauth2`, `hmac`, `aws_sigv4`, `mtls`, not `digest`
    Error 5:1 unknown key `allow_privat` (did you mean `allow_private`?)
    Error 6:1 unknown key `stream`
    Warning 8:3 `orders.read` has no `effect`; it counts as `money` (state `read`, `write`, `delete` or `money`)
    Error 9:13 `method` must be one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`, not `get` (did you mean `GET`?)
    Error 10:27 `path` is refused: a path has no `.` or `..` segments
    Error 12:5 unknown key `efect` (did you mean `effect`?)
    Error 13:3 `orders..list` is not an action name: a segment is empty
    Error 15:11 `path` is refused: a path begins with `/`
    Error 16:15 `resource` is refused: a resource has the form `scheme://authority/segments`
    Error 17:13 `effect` must be one of `read`, `write`, `delete`, `money`, not `reed` (did you mean `read`?)
    Error 18:15 `items` is missing
    Error 18:15 `resource` is missing
    Error 23:13 `binds` names `custommer`, which is no variable of `resource` (did you mean `customer`?)
    Error 24:14 `secret` names `pin`, which is no parameter
    Error 24:19 `customer` stands in `path` or `resource` and so can't be secret
    Error 26:17 `no_effect[0]` must be a whole number from 200 to 599, not the number `99`
    Error 26:21 `no_effect[1]` must be a whole number from 200 to 599, not the string `x`
    Error 28:95 not a JSON Schema: "strin" is not valid under any of the schemas listed in the 'anyOf' keyword
    Error 30:33 `path` is refused: two variables need something between them
    Error 30:54 `resource` is refused: `{` has no `}` in the same segment
    Error 30:67 not a JSON Schema: Resource 'https://x.example/s' is not present in a registry and retrieving it failed: Retrieval is disabled, cannot fetch https://x.example/s
    "#);
}

#[test]
fn names_that_no_request_can_have_and_servers_that_give_no_tokens() {
    let action = |params: &str| {
        format!(
            "{{method: GET, path: /a, resource: 'a://b', effect: read, params: {{properties: {{{params}: {{}}}}}}}}"
        )
    };
    let source = |auth: &str, params: &str| {
        format!("service: s\nbase_url: https://x.example\nauth: {auth}\nactions:\n  a: {}\n", action(params))
    };
    for name in ["\"ow\\u0016er\"", "\"a\\nb\"", "''"] {
        let refused = refused(&source("{type: bearer}", name));
        assert!(refused.contains("can't be a parameter's name"), "{name}: {refused}");
    }
    let oauth = |more: &str| source(&format!("{{type: oauth2, {more}}}"), "x");
    insta::assert_snapshot!(refused(&oauth("scope: [a]")), @"Error 3:7 `token_url` is missing");
    insta::assert_snapshot!(refused(&oauth("token_url: http://sso.example/t")), @"Error 3:33 `http://sso.example/t` is no token endpoint: an https URL (or http at this machine) without user, query and fragment");
    insta::assert_snapshot!(refused(&oauth("token_url: https://sso.example/t, client_auth: none")), @"Error 3:69 `client_auth` must be one of `client_secret_basic`, `client_secret_post`, not `none`");
    insta::assert_snapshot!(refused(&oauth("token_url: https://sso.example/t, scope: ['a b']")), @"Error 3:64 `a b` is no scope: visible ASCII characters without spaces");
    for (more, part) in [
        ("authorization_url: 'javascript:alert(1)'", "people can't be sent to"),
        ("authorization_url: http://sso.example/a", "people can't be sent to"),
        ("authorization_url: 'https://sso.example/a?state=1'", "`state` is not for the definition"),
        ("device_authorization_url: http://sso.example/d", "no device authorization endpoint"),
        ("issuer: 'https://sso.example?x'", "no issuer"),
        ("iss_in_response: true", "`issuer` says who"),
        ("authorization_params: {a: b}", "is for an `authorization_url`"),
        (
            "authorization_url: https://sso.example/a, authorization_params: {redirect_uri: b}",
            "`redirect_uri` is not for the definition",
        ),
        ("token_type: ''", "no `token_type`"),
    ] {
        let told = refused(&oauth(&format!("token_url: https://sso.example/t, {more}")));
        assert!(told.contains(part), "{more}: {told}");
    }
    insta::assert_snapshot!(refused(&oauth("token_url: https://sso.example/t, secret: x")), @"Error 3:56 unknown key `secret`");
}

#[test]
fn a_definition_in_json_has_places_too() {
    let source = r#"{"service":"s","base_url":"https://x.example","auth":{"type":"bearer"},"actions":{
 "a":{"method":"GET","path":"/a/\u007Bx","resource":"a://b"},"a":{}}}"#;
    insta::assert_snapshot!(refused(source), @r"
    Error 2:62 duplicate key `a`, first at 2:2
    ");
    let source = source.replace(r#","a":{}"#, "");
    insta::assert_snapshot!(refused(&source), @r"
    Warning 2:2 `a` has no `effect`; it counts as `money` (state `read`, `write`, `delete` or `money`)
    Error 2:33 `path` is refused: `{` has no `}` in the same segment
    ");
}

#[test]
fn overlapping_paths_are_refused_and_doubts_are_warnings() {
    let with = |actions: &str| {
        format!("service: s\nbase_url: http://x.example\nauth: {{type: bearer}}\nactions:\n{actions}")
    };
    let one = |name: &str, method: &str, path: &str| {
        format!("  {name}: {{method: {method}, path: '{path}', resource: 'a://b', effect: read}}\n")
    };
    for (a, b) in [("/x/{a}", "/x/{b}"), ("/{a}.json", "/r{b}"), ("/x", "/x"), ("/a%2Db", "/a-b")] {
        let source = with(&(one("p", "GET", a) + &one("q", "GET", b)));
        assert!(refused(&source).contains("`q` and `p` (at 5:3) can be the same call"), "{a} {b}");
        load(&with(&(one("p", "GET", a) + &one("q", "PUT", b))));
    }
    for (a, b) in [
        ("/x/{a}", "/x/y"),
        ("/{a}.json", "/{b}.xml"),
        ("/x", "/x/"),
        ("/a/{x}", "/{y}/b"),
        ("/{a}", "/{a}.j"),
    ] {
        load(&with(&(one("p", "GET", a) + &one("q", "GET", b))));
    }
    let (_, warnings) = load(&with("  p: {method: GET, path: /, resource: 'a://b'}\n"));
    insta::assert_snapshot!(warnings, @r"
    Warning 2:11 `base_url` is not https: credential and data can be read on the way
    Warning 5:3 `p` has no `effect`; it counts as `money` (state `read`, `write`, `delete` or `money`)
    ");
}

#[test]
fn schemas_that_refer_to_themselves_end() {
    for schema in [
        r##"{$ref: "#"}"##,
        r##"{allOf: [{$ref: "#"}]}"##,
        r##"{properties: {a: {$ref: "#/properties/a"}}}"##,
        r##"{properties: {a: {anyOf: [{$ref: "#/$defs/x"}]}}, $defs: {x: {not: {$ref: "#/properties/a"}}}}"##,
        r##"{properties: {a: {$dynamicRef: "#m"}}, $dynamicAnchor: m, allOf: [{$dynamicRef: "#m"}]}"##,
        r##"{properties: {a: {items: {$ref: "#/properties/a"}}}}"##,
        r##"{properties: {a: {dependentSchemas: {b: {$ref: "#/properties/a"}}, if: {$ref: "#/$defs/y"}}}, $defs: {y: {then: {}, if: {$ref: "#/$defs/y"}}}}"##,
    ] {
        let source = format!(
            "service: s\nbase_url: https://x.example\nauth: {{type: bearer}}\nactions:\n  p: {{method: POST, path: /, resource: 'a://b', effect: read, params: {schema}}}\n"
        );
        let (service, _) = load(&source);
        let action = action(&service, "p");
        // Whatever the answer is, it comes: a stack overflow would end the process.
        let _ = action.describe(&object(json!({"a": [[1]]})));
        assert!(action.describe(&object(json!({"b": 1}))).is_err());
        assert_ne!(action.params_type(&["a", "[]", "x"]), ParamType::Map);
    }
}

proptest! {
    #[test]
    fn what_is_rendered_is_described_back(
        customer in "\\PC{1,8}", order in "[a-z.%/2eEfF5cC\\\\é*?&=+ -]{1,8}", amount in 1u32..1000,
        tenant in "[a-c:%*]{1,3}", note in prop::option::of("[a-z ]{0,5}"), fields in prop::collection::vec("\\PC{0,4}", 1..3),
    ) {
        let service = shop();
        let mut refund = json!({"order": order, "customer": customer, "tenant": tenant, "amount": amount});
        if let Some(note) = note {
            refund["note"] = json!(note);
        }
        let read = json!({"order": order, "customer": amount, "fields": fields, "deep": false});
        for (name, params, slashes) in [("refunds.create", refund, 4), ("orders.read", read, 5)] {
            let action = action(&service, name);
            let params = object(params);
            let Ok(described) = action.describe(&params) else { continue };
            prop_assert_eq!(&described.params, &params);
            prop_assert!(described.known.matches(&described.resource));
            let Ok(call) = service.render(action, &described.params) else { continue };
            let path = call.target.split('?').next().unwrap();
            prop_assert_eq!(path.matches('/').count(), slashes);
            prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()) && !path.contains(['\\', '#']));
            let decoded = String::from_utf8(value::decode(path)).unwrap();
            let twice = String::from_utf8_lossy(&value::decode(&decoded)).into_owned();
            prop_assert_eq!(twice.matches('/').count(), slashes, "{}", path);
            prop_assert!(!value::is_dotted(&decoded) && !value::is_dotted(&twice), "{}", path);
            let (back, again) = service.describe_call(&call).unwrap();
            prop_assert_eq!((back.as_str(), again), (name, params));
        }
    }

    #[test]
    fn a_free_entry_does_not_depend_on_the_claimed_value(
        pattern in "o://[ab*:]{1,4}(/[ab*]{1,3})?", c in "[ab:]{1,3}", other in "[ab:]{1,3}",
    ) {
        let source = "
service: s
base_url: https://x.example
auth: {type: bearer}
actions:
  a: {method: POST, path: /a, effect: write, resource: 'o://a{c}:b/{c}', params: {properties: {c: {}}}}
";
        let (service, _) = load(source);
        let action = action(&service, "a");
        if let Ok(pattern) = ResourcePattern::parse(&pattern) && action.reads_claimed(&pattern).is_none() {
            let matches = |c: &str| pattern.matches(&action.describe(&object(json!({"c": c}))).unwrap().resource);
            prop_assert_eq!(matches(&c), matches(&other));
            let known = action.describe(&object(json!({"c": c}))).unwrap().known;
            prop_assert_eq!(pattern.covers(&known), matches(&c));
        }
    }

    #[test]
    fn no_definition_panics(edit in any::<prop::sample::Index>(), with in "[-{}\\[\\]:,/*&!a.%\\\\ \n\"']{0,3}", cut in 0usize..6) {
        let mut bytes = SHOP.as_bytes().to_vec();
        let at = edit.index(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, with.bytes());
        match Service::parse(&bytes, None) {
            Ok(_) => {}
            Err(found) => prop_assert!(found.iter().any(Diagnostic::is_error)),
        }
    }
}
