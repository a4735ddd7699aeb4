use super::*;
use crate::pattern::ActionName;
use proptest::prelude::*;
use serde_json::json;

const SHOP: &str = "
service: shop
base_url: https://shop.example/v1
auth: {type: bearer}
actions:
  orders.list:
    method: GET
    path: /orders
    resource: order://shop
    effect: read
    params: {type: object, properties: {q: {type: string}, page: {type: integer}, ids: {type: array, items: {type: string}}}}
  orders.read: {method: GET, path: '/orders/{id}', resource: 'order://shop/{id}', effect: read}
  orders.drop: {method: DELETE, path: '/orders/{id}', resource: 'order://shop/{id}', effect: delete}
  orders.close: {method: POST, path: '/orders/{id}/close', resource: 'order://shop/{id}', effect: write}
  orders.note:
    method: POST
    path: /orders/{id}/notes
    resource: order://shop/{id}
    effect: write
    params: {type: object, properties: {id: {type: string}, text: {type: string}}, required: [id, text]}
  orders.attach: {method: PUT, path: '/orders/{id}/file', resource: 'order://shop/{id}', effect: write, stream: true}
  blobs.read: {method: GET, path: '/blobs/{key}', resource: 'blob://shop/{key}', effect: read, encoded_slash: true}
";

fn shop() -> Service {
    Service::parse(SHOP.as_bytes(), None).unwrap().0
}

fn seen(method: Method, target: &str, body: SeenBody<'_>) -> Result<(String, Value), Unfit> {
    let shop = shop();
    let (action, params) = shop.seen(method, target, body, |_| true)?;
    Ok((action.name().as_str().to_owned(), Value::Object(params)))
}

#[test]
fn a_plain_request_is_its_action() {
    let unseen = |method, target| seen(method, target, SeenBody::Unseen).unwrap();
    assert_eq!(unseen(Method::Get, "/v1/orders/7"), ("orders.read".to_owned(), json!({"id": "7"})));
    let listed = json!({"ids": ["a", "b"], "page": 2, "q": "a b"});
    assert_eq!(unseen(Method::Get, "/v1/orders?q=a%20b&page=2&ids=a&ids=b").1, listed, "in whatever order");
    assert_eq!(unseen(Method::Get, "/v1/orders").1, json!({}));
    assert_eq!(unseen(Method::Delete, "/v1/orders/7").0, "orders.drop");
    assert_eq!(unseen(Method::Put, "/v1/orders/7/file").0, "orders.attach");
    let body = SeenBody::Whole(br#"{ "text" : "hello" }"#);
    let noted = seen(Method::Post, "/v1/orders/7/notes", body).unwrap();
    assert_eq!(noted, ("orders.note".to_owned(), json!({"id": "7", "text": "hello"})));
    assert_eq!(seen(Method::Post, "/v1/orders/7/close", SeenBody::Whole(b"")).unwrap().0, "orders.close");
}

#[test]
fn what_two_programs_could_read_differently_is_refused() {
    for target in [
        "/v1/orders/%2e%2e",
        "/v1/orders/..",
        "/v1/./orders/7",
        "/v1//orders/7",
        "//v1/orders/7",
        "/v1/orders//7",
        "/v1/orders/7;a=b",
        "/v1/orders;a/7",
        "/v1/orders/7%3Ba",
        "/v1/orders/a\\b",
        "/v1/orders/a%5Cb",
        "/v1/orders/%252e%252e",
        "/v1/orders/%252F",
        "/v1/orders/a%2Fb",
        "/v1/blobs/a%2Fb",
        "/v1/orders/a%2fb",
        "/v1/orders/%37",
        "/v1/orders/a%c3%a9",
        "/v1/orders/a%00",
        "/v1/orders/a b",
        "/v1/orders/é",
        "/v1/orders/a%3Fb",
        "/v1/orders/a%23b",
        "/v1/orders/a:b",
        "/v1/orders/a+b",
        "/v1/%6frders/7",
        "/v1/orders?q=a+b",
        "/v1/orders?q=a&q=b",
        "/v1/orders?q",
        "/v1/orders?",
        "v1/orders/7",
        "https://shop.example/v1/orders/7",
        "/v1/orders?q=a&",
        "/v1/orders?x=1",
    ] {
        for body in [SeenBody::Unseen, SeenBody::Whole(b"")] {
            let refused = seen(Method::Get, target, body);
            assert!(matches!(refused, Err(Unfit::Invalid(_))), "{target}: {refused:?}");
        }
    }
    for target in [
        "/orders/7",
        "/V1/orders/7",
        "/v1/Orders/7",
        "/v1/orders/7/",
        "/v1orders/7",
        "/",
        "/v1",
        "/v2/orders/7",
    ] {
        assert_eq!(seen(Method::Get, target, SeenBody::Unseen), Err(Unfit::Absent), "{target}");
    }
}

#[test]
fn a_body_that_is_not_seen_is_not_taken_for_none() {
    let post = |target, body| seen(Method::Post, target, body);
    for body in [SeenBody::Unseen, SeenBody::Unread] {
        for target in ["/v1/orders/7/notes", "/v1/orders/7/close"] {
            assert!(matches!(post(target, body), Err(Unfit::Invalid(_))), "{target} {body:?}");
        }
    }
    assert!(seen(Method::Get, "/v1/orders/7", SeenBody::Unread).is_err());
    assert!(seen(Method::Delete, "/v1/orders/7", SeenBody::Whole(b"{}")).is_err());
    assert!(post("/v1/orders/7/close", SeenBody::Whole(b"{}")).is_err(), "it takes none");
    assert!(
        post("/v1/orders/7/notes", SeenBody::Whole(b"")).is_err() || {
            // Without its text the schema refuses it, when it is described.
            let shop = shop();
            let (action, params) =
                shop.seen(Method::Post, "/v1/orders/7/notes", SeenBody::Whole(b""), |_| true).unwrap();
            action.describe(&params).is_err()
        }
    );
    for body in
        [&b"{\"text\":\"a\",\"text\":\"b\"}"[..], b"{\"text\":\"a\"} x", b"{\"other\":1}", b"[]", b"\xff"]
    {
        assert!(post("/v1/orders/7/notes", SeenBody::Whole(body)).is_err());
    }
    for body in [SeenBody::Unseen, SeenBody::Unread, SeenBody::Whole(b"\x00\xff")] {
        assert_eq!(
            seen(Method::Put, "/v1/orders/7/file", body).unwrap().1,
            json!({"id": "7"}),
            "declared unread"
        );
    }
}

#[test]
fn what_is_not_kept_is_not_there() {
    let shop = shop();
    let not_drop = |action: &ServiceAction| action.name().as_str() != "orders.drop";
    let refused = shop.seen(Method::Delete, "/v1/orders/7", SeenBody::Unseen, not_drop).map(|_| ());
    assert_eq!(refused, Err(Unfit::Absent));
    let unclear = shop.seen(Method::Delete, "/v1/orders/a:b", SeenBody::Unseen, not_drop).map(|_| ());
    assert_eq!(unclear, Err(Unfit::Absent), "nor told by its form");
}

proptest! {
    /// Whatever is taken is rendered as the same path, is plain, and says the parameters that it was taken for.
    #[test]
    fn what_is_taken_has_one_reading(
        path in "(/v1)?/(orders|blobs|Orders)?(/[a-z.%2EeF53BC;:+\\\\-]{0,7}){0,2}",
        query in prop::option::of("((q|page|ids|x)=[a-z0-9%2C+;]{0,5}&?){0,3}"),
    ) {
        let shop = shop();
        let target = query.map_or(path.clone(), |query| format!("{path}?{query}"));
        let Ok((action, params)) = shop.seen(Method::Get, &target, SeenBody::Unseen, |_| true) else { return Ok(()) };
        let call = shop.render(action, &params).unwrap();
        prop_assert_eq!(call.target.split('?').next().unwrap(), path.as_str());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
        prop_assert!(path.bytes().all(plain));
        let decoded = String::from_utf8(super::super::value::decode(&path)).unwrap();
        prop_assert_eq!(decoded.matches('/').count(), path.matches('/').count());
        prop_assert!(!decoded.contains(['%', ';', '\\', '?', '#']) && !decoded.split('/').any(|it| it == "." || it == ".."));
        let (name, again) = shop.describe_call(&call).unwrap();
        prop_assert_eq!((&name, &again), (action.name(), &params));
    }

    /// What is rendered is taken again, but where a value would have to be encoded in a way that is rewritten by some.
    #[test]
    fn what_is_rendered_is_taken(id in "[a-zA-Z0-9._~é ü@-]{1,8}", q in "\\PC{0,5}", page in any::<i32>()) {
        let shop = shop();
        for (name, params) in [("orders.read", json!({"id": id})), ("orders.list", json!({"q": q, "page": page}))] {
            let action = shop.action(&ActionName::parse(name).unwrap()).unwrap();
            let params = params.as_object().unwrap().clone();
            let Ok(call) = shop.render(action, &params) else { continue };
            let (taken, again) = shop.seen(call.method, &call.target, SeenBody::Unseen, |_| true)
                .map_err(|unfit| TestCaseError::fail(format!("{}: {unfit:?}", call.target)))?;
            prop_assert_eq!((taken.name(), &again), (action.name(), &params));
        }
    }
}
