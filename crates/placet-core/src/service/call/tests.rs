use crate::{
    call::{Auth, Method},
    diagnostic::Diagnostic,
    pattern::ActionName,
    service::{Service, ServiceAction, check_target, normal_query, value},
};
use proptest::{collection, prelude::*};
use serde_json::{Map, Value, json};

const DRIVE: &str = r#"
service: drive
base_url: https://drive.example/v2
auth: {type: basic, username: api}
actions:
  files.list:
    method: GET
    path: /files
    resource: file://drive
    effect: read
    no_effect: [404]
    params:
      type: object
      properties: {q: {type: string}, page: {type: integer}, deep: {type: boolean}, ids: {type: array, items: {type: string}}, any: {}}
  files.read:
    method: GET
    path: /files/{id}
    resource: file://drive/{id}
    effect: read
    encoded_slash: true
  files.recent:
    method: GET
    path: /files/recent
    resource: file://drive/recent
    effect: read
  files.write:
    method: PUT
    path: /files/{id}
    resource: file://drive/{id}
    effect: write
    stream: true
    params: {type: object, properties: {id: {type: string}, mode: {type: string}}}
  notes.write:
    method: POST
    path: /notes/{id}
    resource: note://drive/{id}
    effect: write
    params: {type: object, properties: {text: {type: string}, size: {type: number}, tags: {type: array}}}
  notes.touch:
    method: POST
    path: /notes/{id}:touch
    resource: note://drive/{id}
    effect: write
"#;

fn drive() -> Service {
    Service::parse(DRIVE.as_bytes(), None).unwrap().0
}

fn action<'s>(service: &'s Service, name: &str) -> &'s ServiceAction {
    service.action(&ActionName::parse(name).unwrap()).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// What a raw request is read as.
fn read(
    service: &Service,
    method: Method,
    target: &str,
    body: Option<&str>,
) -> Result<(String, Value), String> {
    check_target(target).map_err(str::to_owned)?;
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let placed = service.place(method, path).ok_or("nothing")?;
    let params = placed.params(query, body.map(str::as_bytes)).map_err(|error| error.message)?;
    Ok((placed.action().name().as_str().to_owned(), Value::Object(params)))
}

#[test]
fn a_raw_request_is_read_in_one_way() {
    let service = drive();
    let get = |target: &str| read(&service, Method::Get, target, None);
    assert_eq!(
        get("/files?page=2&q=a%20b&deep=true&ids=1&ids=2&any=3"),
        Ok((
            "files.list".into(),
            json!({"page": 2, "q": "a b", "deep": true, "ids": ["1", "2"], "any": "3"})
        ))
    );
    assert_eq!(get("/files/recent"), Ok(("files.recent".into(), json!({}))), "the more literal one");
    assert_eq!(get("/files/a%2Fb"), Ok(("files.read".into(), json!({"id": "a/b"}))), "where it is declared");
    assert_eq!(get("/files/a%2F..%2Fb").unwrap_err(), "the path has a `.` or `..` segment");
    let post = |body: &str| read(&service, Method::Post, "/notes/7", Some(body));
    let same = Ok(("notes.write".into(), json!({"id": "7", "text": "x", "tags": [1]})));
    assert_eq!(post(r#"{"text":"x","tags":[1]}"#), same);
    assert_eq!(
        post(" { \"tags\" : [ 1 ],\n\t\"text\": \"\\u0078\" } "),
        same,
        "how it is spaced does not matter"
    );
    assert_eq!(post("{}"), Ok(("notes.write".into(), json!({"id": "7"}))));
    assert!(
        read(&service, Method::Post, "/notes/7:touch", None).is_ok_and(|(name, _)| name == "notes.touch")
    );

    for (method, target, body, why) in [
        (Method::Get, "/files?ids=1&q=2&q=3", None, "`q` stands twice"),
        (Method::Get, "/files?any=1&any=2", None, "`any` stands twice"),
        (Method::Get, "/files?id=1", None, "has no parameter `id`"),
        (Method::Get, "/files?q=a+b", None, "percent-encode"),
        (Method::Get, "/files?q=%2D", None, "not encoded"),
        (Method::Get, "/files?", None, "nothing else"),
        (Method::Get, "/files", Some("{}"), "takes no body"),
        (Method::Post, "/notes/7?text=x", Some("{}"), "no parameters in the query"),
        (Method::Post, "/notes/7", Some(r#"{"id":"8"}"#), "has no parameter `id`"),
        (Method::Post, "/notes/7", Some(r#"{"text":"a","text":"b"}"#), "not valid JSON"),
        (Method::Post, "/notes/7", Some(r#"{"text":"a"}}"#), "not valid JSON"),
        (Method::Post, "/notes/7", Some("[]"), "no JSON object"),
        (Method::Post, "/notes/7:touch", Some("{}"), "takes no body"),
        (Method::Put, "/files/7", Some("{}"), "takes no body"),
        (Method::Delete, "/files/7", None, "nothing"),
        (Method::Get, "/files/", None, "nothing"),
        (Method::Get, "/v2/files", None, "nothing"),
    ] {
        let refused = read(&service, method, target, body).unwrap_err();
        assert!(refused.contains(why), "{target} {body:?}: {refused}");
    }
}

proptest! {
    /// However a client writes what it need not encode, it is read as the value that is sent.
    #[test]
    fn a_query_that_clients_write_is_read_as_what_is_sent(
        values in collection::vec("[ -~\u{e9}]{0,12}", 1..4),
        raw in any::<u32>(),
    ) {
        let (mut written, mut normal) = (String::new(), String::new());
        let mut place = 0;
        for (index, value) in values.iter().enumerate() {
            let member = format!("{}m{index}=", if index > 0 { "&" } else { "" });
            written.push_str(&member);
            normal.push_str(&member);
            for character in value.chars() {
                let mut encoded = String::new();
                value::encode(character.encode_utf8(&mut [0; 4]), &mut encoded);
                normal.push_str(&encoded);
                place += 1;
                let as_it_is = raw >> (place % 32) & 1 == 1;
                match character {
                    ' ' if as_it_is => written.push('+'),
                    one if as_it_is && "!$'()*,:@/?".contains(one) => written.push(one),
                    _ => written.push_str(&encoded),
                }
            }
        }
        prop_assert_eq!(check_target(&format!("/x?{written}")), Ok(()));
        prop_assert_eq!(normal_query(&written), normal);
    }
}

#[test]
fn what_separates_members_for_some_stays_refused() {
    let service = drive();
    for query in ["q=1;page=2", "q=a=b", "q=%3b", "q", "q=1&&page=2"] {
        let target = format!("/files?{}", normal_query(query));
        assert!(read(&service, Method::Get, &target, None).is_err(), "{query}");
    }
    let target = format!("/files?{}", normal_query("q=a+b@c:d/*"));
    let read = read(&service, Method::Get, &target, None).unwrap();
    assert_eq!(read.1, json!({"q": "a b@c:d/*"}));
}

#[test]
fn targets_with_two_readings_are_refused() {
    for good in
        ["/", "/a", "/a/", "/a:b", "/a%20b", "/%C3%A9", "/a?b=c&d=%3D", "/...", "/a..b", "/%25", "/a%2Fb"]
    {
        assert_eq!(check_target(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "a",
        "*",
        "http://x/a",
        "//",
        "//a",
        "/a//b",
        "/.",
        "/..",
        "/a/../b",
        "/%2E",
        "/%2e",
        "/.%2E",
        "/%252E%252E",
        "/%252e.",
        "/a%2F..",
        "/a%2F%2E%2E",
        "/a%252F..%252Fb",
        "/\\",
        "/%5C",
        "/%255C",
        "/%00",
        "/%2500",
        "/%0A",
        "/%7F",
        "/a%",
        "/a%2",
        "/a%2g",
        "/a%2f",
        "/%41",
        "/%7E",
        "/%2D",
        "/a b",
        "/a\tb",
        "/\u{e9}",
        "/a#b",
        "/a?b#c",
        "/a?b=%61",
        "/a?b=\"",
        "/a?b=%0D",
        "/{a}",
        "/a|b",
        "/a^b",
        "/<a>",
        "/a?[b]=c",
    ] {
        assert!(check_target(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_streamed_body_is_no_part_of_the_description() {
    let service = drive();
    let write = action(&service, "files.write");
    assert!(write.stream() && !action(&service, "files.read").stream());
    let params = object(json!({"id": "7", "mode": "new"}));
    let call = service.render(write, &params).unwrap();
    assert_eq!(
        (call.target.as_str(), call.body.is_none(), call.streamed),
        ("/v2/files/7?mode=new", true, true)
    );
    assert_eq!(service.describe_call(&call).unwrap().1, params);
    let whole = crate::call::UpstreamCall { streamed: false, body: Some(b"{}".to_vec()), ..call };
    assert!(service.describe_call(&whole).is_none());
}

#[test]
fn a_list_is_sent_only_where_one_is_declared() {
    let service = drive();
    let list = action(&service, "files.list");
    assert!(service.render(list, &object(json!({"ids": ["a", "b"]}))).is_ok());
    let refused = service.render(list, &object(json!({"any": ["a", "b"]}))).unwrap_err();
    assert!(refused.message.contains("`type: array`"), "{refused}");
}

#[test]
fn how_a_secret_is_sent_is_checked_with_the_actions() {
    let with = |auth: &str, more: &str| {
        let text = format!(
            "service: s\nbase_url: https://x.example\nauth: {auth}\nactions:\n  a:\n    {{method: GET, path: '/a/{{key}}', resource: 'o://x', effect: read, params: {{properties: {{Api_Key: {{}}}}}}{more}}}\n"
        );
        Service::parse(text.as_bytes(), None).map(|(service, _)| service.auth().clone()).map_err(|found| {
            found
                .iter()
                .filter(|one| one.is_error())
                .map(|one: &Diagnostic| one.message.clone())
                .collect::<Vec<_>>()
                .join("\n")
        })
    };
    assert_eq!(with("{type: basic}", ""), Ok(Auth::Basic { username: None }));
    assert_eq!(with("{type: basic, username: ''}", ""), Ok(Auth::Basic { username: Some(String::new()) }));
    assert_eq!(
        with("{type: query, name: key}", ""),
        Ok(Auth::Query { name: "key".into() }),
        "in the path it can't clash"
    );
    for (auth, more, why) in [
        ("{type: query, name: api_key}", "", "carries the credential"),
        ("{type: query, name: 'a&b'}", "", "can't be the query member"),
        ("{type: query}", "", "name"),
        ("{type: basic, username: 'a:b'}", "", "no colon"),
        ("{type: basic, name: a}", "", "unknown key"),
        ("{type: bearer}", ", stream: true", "`stream` is for bodies"),
        ("{type: bearer}", ", no_effect: [199]", "no_effect"),
    ] {
        let refused = with(auth, more).unwrap_err();
        assert!(refused.contains(why), "{auth}{more}: {refused}");
    }
    let ada = Auth::Basic { username: Some("ada".into()) };
    assert_eq!(Auth::Basic { username: None }.for_connection(&ada), Some(ada.clone()));
    assert_eq!(Auth::Basic { username: None }.for_connection(&Auth::Bearer), None);
    assert_eq!(Auth::Bearer.for_connection(&ada), Some(Auth::Bearer));
}

#[test]
fn how_requests_are_signed_is_checked_with_the_actions() {
    let at = |base: &str, auth: &str, more: &str| {
        let text = format!(
            "service: s\nbase_url: {base}\nauth: {auth}\n{more}\nactions:\n  a:\n    {{method: PUT, path: '/a', resource: 'o://x', effect: write, stream: true}}\n"
        );
        Service::parse(text.as_bytes(), None).map(|(service, _)| service.auth().clone()).map_err(|found| {
            let errors = found.iter().filter(|one| one.is_error());
            errors.map(|one: &Diagnostic| one.message.clone()).collect::<Vec<_>>().join("\n")
        })
    };
    let https = |auth: &str| at("https://x.example", auth, "");
    let hmac =
        "{type: hmac, sign: '{timestamp}{path}', headers: {X-Time: '{timestamp}', X-Sig: 'v1={signature}'}}";
    let Ok(Auth::Hmac(scheme)) = https(hmac) else { panic!("{:?}", https(hmac)) };
    assert_eq!(scheme.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-time", "x-sig"]);
    let kept = Auth::Hmac(scheme);
    assert_eq!(serde_json::from_value::<Auth>(serde_json::to_value(&kept).unwrap()).unwrap(), kept);
    assert!(https("{type: aws_sigv4, region: eu-central-1, service: s3}").is_ok());
    assert_eq!(https("{type: mtls}"), Ok(Auth::Mtls(Box::default())));
    let ca = "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n";
    let full = format!("{{type: mtls, ca: \"{ca}\", beside: {{type: header, name: X-Key}}}}");
    let kept = https(&full).unwrap();
    assert_eq!(serde_json::from_value::<Auth>(serde_json::to_value(&kept).unwrap()).unwrap(), kept);
    assert_eq!(kept.headers(), ["x-key"]);
    let long = "x".repeat(1025);
    for (base, auth, more, why) in [
        (
            "https://x.example",
            "{type: hmac, sign: '{body}', headers: {X-Sig: '{signature}'}}",
            "",
            "can't `stream`",
        ),
        (
            "https://x.example",
            "{type: hmac, sign: '{path}', headers: {Host: '{signature}'}}",
            "",
            "can't carry a credential",
        ),
        (
            "https://x.example",
            "{type: hmac, sign: '{path}', headers: {X: '{signature}', x: a}}",
            "",
            "there twice",
        ),
        (
            "https://x.example",
            "{type: hmac, sign: '{path}', query: {'a b': '{signature}'}}",
            "",
            "can't be the query member",
        ),
        ("https://x.example", "{type: hmac, sign: '{path}'}", "", "stands in one"),
        ("https://x.example", "{type: hmac, headers: {X-Sig: '{signature}'}}", "", "sign"),
        (
            "https://x.example",
            &format!("{{type: hmac, sign: '{long}', headers: {{X-Sig: '{{signature}}'}}}}"),
            "",
            "1024",
        ),
        (
            "https://x.example",
            "{type: hmac, sign: '{path}', digest: md5, headers: {X-Sig: '{signature}'}}",
            "",
            "sha256",
        ),
        (
            "https://x.example",
            "{type: hmac, sign: '{path}', headers: {X-Sig: '{signature}'}}",
            "headers: {X-Sig: constant}",
            "constant `headers`",
        ),
        ("https://x.example", "{type: aws_sigv4, region: eu-central-1, service: sqs}", "", "can't `stream`"),
        ("http://localhost:9000", "{type: aws_sigv4, region: eu-central-1, service: s3}", "", "needs https"),
        ("https://x.example", "{type: aws_sigv4, region: EU, service: s3}", "", "region"),
        (
            "https://x.example",
            "{type: aws_sigv4, region: r, service: s3}",
            "headers: {X-Amz-Date: x}",
            "constant `headers`",
        ),
        ("http://localhost:9000", "{type: mtls}", "", "https://"),
        ("https://x.example", "{type: mtls, ca: text}", "", "PEM"),
        ("https://x.example", "{type: mtls, beside: {type: mtls}}", "", "beside"),
        ("https://x.example", "{type: mtls, beside: {type: basic}}", "", "beside"),
    ] {
        let refused = at(base, auth, more).unwrap_err();
        assert!(refused.contains(why), "{auth}{more}: {refused}");
    }
}

proptest! {
    /// What is rendered for any action is, read as a raw request, the same action with the same parameters, and is
    /// rendered as the same bytes again.
    #[test]
    fn a_rendered_call_read_as_a_raw_request_is_the_same_call(
        which in 0usize..6, id in "\\PC{1,6}|[a-z.%/2eEfF:;@+ -]{1,8}", text in "\\PC{0,6}", page in any::<i32>(),
        ids in prop::collection::vec("\\PC{0,3}", 1..3), size in "-?[0-9]{1,9}(\\.[0-9]{1,4})?",
    ) {
        let service = drive();
        let size: Value = serde_json::from_str(&size).unwrap_or(json!(1));
        let (name, params) = [
            ("files.list", json!({"q": text, "page": page, "deep": page > 0, "ids": ids, "any": text})),
            ("files.read", json!({"id": id})),
            ("files.write", json!({"id": id, "mode": text})),
            ("notes.write", json!({"id": id, "text": text, "size": size, "tags": [page, {"a": text}]})),
            ("notes.touch", json!({"id": id})),
            ("files.recent", json!({})),
        ][which].clone();
        let action = action(&service, name);
        let params = object(params);
        if action.describe(&params).is_err() { return Ok(()); }
        let Ok(call) = service.render(action, &params) else { return Ok(()) };
        let body = call.body.as_deref().map(|body| std::str::from_utf8(body).unwrap());
        let target = call.target.strip_prefix(service.base_path()).unwrap();
        let (back, again) = read(&service, call.method, target, body).map_err(TestCaseError::fail)?;
        prop_assert_eq!((back.as_str(), &again), (name, &Value::Object(params)));
        prop_assert_eq!(service.render(action, &object(again)).unwrap(), call);
    }

    /// Whatever a raw request is, if it is read then what is sent for it describes back to what was read, and its
    /// path is sent byte for byte.
    #[test]
    fn what_is_read_is_what_is_sent(
        method in prop::sample::select(vec![Method::Get, Method::Put, Method::Post]),
        path in "/(files|notes)(/[a-z.%2EFC3A9:@;-]{0,8}){0,2}", query in prop::option::of("((q|page|ids|any|mode|deep)=[a-z0-9%2C+]{0,5}&?){0,3}"),
        body in prop::option::of("\\{(\"(text|size|tags|id)\": ?(\"a\"|1\\.0|1e3|\\[\\]),?){0,2}\\} ?"),
    ) {
        let service = drive();
        let target = query.map_or(path.clone(), |query| format!("{path}?{query}"));
        let Ok((name, params)) = read(&service, method, &target, body.as_deref()) else { return Ok(()) };
        let action = action(&service, &name);
        let params = object(params);
        if action.describe(&params).is_err() { return Ok(()); }
        let call = service.render(action, &params).unwrap();
        prop_assert_eq!(call.target.split('?').next().unwrap(), format!("/v2{path}"));
        prop_assert_eq!(service.describe_call(&call).unwrap(), (action.name().clone(), params));
    }
}

#[test]
fn numbers_are_sent_as_they_were_written() {
    let service = drive();
    let notes = action(&service, "notes.write");
    for number in ["1e3", "1E3", "1e+3", "1.50", "-0", "1e400", "0.000001", "10000000000000000000000"] {
        let params = format!(r#"{{"id":"a","size":{number}}}"#);
        let Ok(Value::Object(params)) = crate::json::parse(params.as_bytes()) else { panic!("{number}") };
        let described = notes.describe(&params).unwrap();
        let call =
            service.render(notes, &described.params).unwrap_or_else(|refused| panic!("{number}: {refused}"));
        assert_eq!(String::from_utf8(call.body.unwrap()).unwrap(), format!(r#"{{"size":{number}}}"#));
    }
}
