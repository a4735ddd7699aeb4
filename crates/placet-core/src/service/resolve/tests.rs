use super::*;
use crate::{pattern::ActionName, service::Service};
use proptest::prelude::*;

fn parse(resolve: &str) -> Result<Service, String> {
    let text = format!(
        "service: shop\nbase_url: http://127.0.0.1:1/v1\nauth: {{type: query, name: key}}\nactions:\n  \
         refund: {{method: POST, path: '/orders/{{order}}/refunds', resource: 'order://{{customer}}/{{order}}', effect: money, \
         secret: [pin], params: {{type: object, properties: {{customer: {{type: string}}, pin: {{type: string}}, n: {{}}}}}}, \
         resolve: {resolve}}}\n  \
         find: {{method: GET, path: /orders/search, resource: 'order://all', effect: read}}\n"
    );
    let (service, _) = Service::parse(text.as_bytes(), None)
        .map_err(|all| all.iter().map(|one| one.render()).collect::<Vec<_>>().join("\n"))?;
    Ok(service)
}

const GOOD: &str = "{order: {path: '/orders/{order}', query: {expand: customer, of: $params.n}, binds: [n], max_bytes: 100, within: 2s, \
                    facts: {owner: {at: /customer/id, type: string}, total: {at: /total, type: number}}}, \
                    more: {method: GET, path: /more, facts: {tags: {at: /a~1b/0, type: strings}}}}";

fn refund(service: &Service) -> &ServiceAction {
    service.action(&ActionName::parse("refund").unwrap()).unwrap()
}

#[test]
fn a_lookup_is_rendered_as_actions_are() {
    let service = parse(GOOD).unwrap();
    let action = refund(&service);
    let [order, more] = action.lookups() else { panic!("two lookups") };
    assert_eq!((order.name(), order.max_bytes(), order.within()), ("order", 100, Duration::from_secs(2)));
    assert_eq!((more.max_bytes(), more.within()), (BYTES, WITHIN));
    let call = |params: Value| service.render_lookup(action, order, params.as_object().unwrap());
    let rendered = call(json!({"order": "a b/c".replace('/', "-"), "n": "x&y", "customer": "1"})).unwrap();
    assert_eq!(rendered.target, "/v1/orders/a%20b-c?expand=customer&of=x%26y");
    assert_eq!((rendered.method, rendered.origin.as_str()), (Method::Get, "http://127.0.0.1:1"));
    assert!(rendered.body.is_none() && rendered.headers.is_empty());
    for wrong in [
        json!({"order": "7"}),
        json!({"n": 1}),
        json!({"order": "..", "n": 1}),
        json!({"order": "a/b", "n": 1}),
        json!({"order": "%2e%2e", "n": 1}),
        json!({"order": "", "n": 1}),
        json!({"order": "7", "n": []}),
        json!({"order": "7", "n": null}),
        json!({"order": "7", "n": "x".repeat(MAX_TARGET)}),
        // There it would be another thing than an order.
        json!({"order": "search", "n": 1}),
    ] {
        assert!(call(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn what_an_agent_merely_says_chooses_no_object() {
    let reads =
        |lookup: &str| parse(&format!("{{of: {{{lookup}, facts: {{tier: {{at: /tier, type: string}}}}}}}}"));
    for free in
        ["path: '/customers/{customer}'", "path: /c, query: {id: $params.n}", "path: '/c/{n}', binds: []"]
    {
        let problem = reads(free).unwrap_err();
        assert!(problem.contains("merely claims"), "{free}: {problem}");
    }
    // The action's own path names it, or upstream is declared to refuse another one.
    for settled in
        ["path: '/o/{order}'", "path: '/c/{n}', binds: [n]", "path: /c, query: {id: $params.n}, binds: [n]"]
    {
        assert!(reads(settled).is_ok(), "{settled}");
    }
    assert!(reads("path: '/o/{order}', binds: [n]").unwrap_err().contains("does not fill"));
}

#[test]
fn an_answer_gives_values_of_the_declared_types_or_nothing() {
    let service = parse(GOOD).unwrap();
    let lookup = refund(&service).lookups().first().unwrap();
    let read = |status, body: &Value| {
        lookup.read(status, body).map(|(name, read)| (name.to_owned(), read)).collect::<BTreeMap<_, _>>()
    };
    let found = read(200, &json!({"customer": {"id": "42"}, "total": 9.50}));
    assert_eq!(found["owner"], Ok(json!("42")));
    assert!(found["total"].is_ok());
    let found = read(200, &json!({"customer": {"id": 42}, "total": null}));
    assert_eq!((&found["owner"], &found["total"]), (&Err(Unread::WrongType), &Err(Unread::WrongType)));
    let found = read(200, &json!(["customer"]));
    assert!(found.values().all(|read| *read == Err(Unread::Missing)));
    for status in [201, 204, 301, 404, 500] {
        let found = read(status, &json!({"customer": {"id": "42"}, "total": 1}));
        assert!(found.values().all(|read| *read == Err(Unread::Status(status))), "{status}");
    }
    let long = json!({"customer": {"id": "x".repeat(LONGEST_FACT)}, "total": 1});
    assert_eq!(read(200, &long)["owner"], Err(Unread::WrongType));
    for (kind, good, bad) in [
        (FactType::String, json!(""), json!(null)),
        (FactType::Number, json!(-1.5), json!("1")),
        (FactType::Integer, json!(7), json!(7.5)),
        (FactType::Boolean, json!(false), json!(0)),
        (FactType::Strings, json!([]), json!(["a", 1])),
        (FactType::Timestamp, json!("2026-11-02T12:00:00Z"), json!("yesterday")),
    ] {
        assert!(kind.admits(&good) && !kind.admits(&bad), "{kind:?}");
        assert!(FactType::WORDS.contains(&kind.as_str()));
    }
}

#[test]
fn what_could_not_be_sound_is_refused_with_its_place() {
    for (wrong, problem) in [
        (GOOD.replace("method: GET", "method: POST"), "a lookup is a GET"),
        (GOOD.replace("method: GET", "method: HEAD"), "a lookup is a GET"),
        (GOOD.replace("/orders/{order}'", "/orders/{ordr}'"), "no parameter"),
        (GOOD.replace("$params.n", "$params.m"), "no parameter"),
        (GOOD.replace("$params.n", "$params.pin"), "secret"),
        (GOOD.replace("binds: [n], ", ""), "claims"),
        (GOOD.replace("$params.n", "x"), "does not fill"),
        (GOOD.replace("/orders/{order}'", "/customers/{customer}'"), "binds: [customer]"),
        (GOOD.replace("$params.n", "$n"), "$params.NAME"),
        (GOOD.replace("tags:", "owner:"), "given by `order` and by `more`"),
        (GOOD.replace("owner:", "uri:"), "URI"),
        (GOOD.replace("owner:", "Owner:"), "no name"),
        (GOOD.replace("/customer/id", "customer.id"), "pointer"),
        (GOOD.replace("/a~1b/0", "/a~2"), "pointer"),
        (GOOD.replace("type: strings", "type: list"), "strings"),
        (GOOD.replace("within: 2s", "within: 0s"), "1s"),
        (GOOD.replace("within: 2s", "within: 11s"), "10s"),
        (GOOD.replace("max_bytes: 100", "max_bytes: 0"), "whole number"),
        (GOOD.replace("facts: {tags: {at: /a~1b/0, type: strings}}", "facts: {}"), "1 to 16"),
        (GOOD.replace("expand: customer", "Key: customer"), "credential"),
        (GOOD.replace("path: /more, ", ""), "path"),
        (GOOD.replace("path: /more", "pfad: /more"), "path"),
        ("{a: {path: /a, facts: {a: {at: /a, type: string}}}, b: {path: /a, facts: {b: {at: /a, type: string}}}, \
          c: {path: /a, facts: {c: {at: /a, type: string}}}, d: {path: /a, facts: {d: {at: /a, type: string}}}, \
          e: {path: /a, facts: {e: {at: /a, type: string}}}}".to_owned(), "at most 4"),
    ] {
        let told = parse(&wrong).expect_err(&wrong);
        assert!(told.contains(problem), "{wrong}: {told}");
    }
}

#[test]
fn what_is_bound_tells_values_apart() {
    let mut bound = std::collections::BTreeSet::new();
    let facts = |known: Value, unread: &[&str]| {
        let mut facts = Facts::given(known.as_object().unwrap().clone());
        for name in unread {
            facts.note(name, Err(Unread::Missing));
        }
        facts
    };
    for one in [
        facts(json!({}), &[]),
        facts(json!({"a": "1"}), &[]),
        facts(json!({"a": 1}), &[]),
        facts(json!({"b": 1}), &[]),
        facts(json!({"a": null}), &[]),
        facts(json!({}), &["a"]),
        facts(json!({}), &["a", "b"]),
        facts(json!({"b": 1}), &["a"]),
    ] {
        assert!(bound.insert(one.bound()), "{one:?}");
    }
    // Why something could not be read makes no other request.
    let mut other = facts(json!({}), &[]);
    other.note("a", Err(Unread::Status(500)));
    assert_eq!(other.bound(), facts(json!({}), &["a"]).bound());
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9~/]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("(customer|id|total|a/b|[a-z]{1,2})", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Answers are strangers' text: whatever they are, what is read is of its type and short, or unknown.
    #[test]
    fn any_answer_is_read(status in 100u16..600, body in json_value()) {
        let service = parse(GOOD).unwrap();
        let action = refund(&service);
        for lookup in action.lookups() {
            for (name, read) in lookup.read(status, &body) {
                let kind = action.fact(name).unwrap().kind();
                match read {
                    Ok(value) => prop_assert!(status == 200 && kind.admits(&value) && value.to_string().len() <= LONGEST_FACT),
                    Err(Unread::Status(told)) => prop_assert!(told == status && status != 200),
                    Err(_) => prop_assert_eq!(status, 200),
                }
            }
        }
    }

    /// Whatever an agent sends, a lookup stays one path and query below the service's base.
    #[test]
    fn any_parameters_stay_in_their_place(order in ".{0,12}", n in ".{0,12}") {
        let service = parse(GOOD).unwrap();
        let action = refund(&service);
        let params = json!({"order": order, "n": n});
        let lookup = action.lookups().first().unwrap();
        if let Ok(call) = service.render_lookup(action, lookup, params.as_object().unwrap()) {
            prop_assert!(crate::service::check_target(&call.target).is_ok(), "{}", call.target);
            let (path, query) = call.target.split_once('?').unwrap();
            prop_assert_eq!(path.matches('/').count(), 3);
            prop_assert!(path.starts_with("/v1/orders/"));
            prop_assert_eq!((query.matches('&').count(), query.matches('=').count()), (1, 2));
        }
    }
}
