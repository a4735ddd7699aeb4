use super::*;
use crate::{
    action::Action,
    grant::{Authority, Exceeds, Request},
    jose::Thumbprint,
    scope::Scope,
    time::Timestamp,
    token::Confirmation,
};
use proptest::prelude::*;
use serde_json::json;

fn details(value: Value) -> Vec<AuthorizationDetail> {
    AuthorizationDetail::parse_list(&value).unwrap()
}

fn detail(value: Value) -> AuthorizationDetail {
    details(json!([value])).remove(0)
}

fn bound(text: &str) -> Bound {
    Bound::new(serde_json::from_str(text).unwrap()).unwrap()
}

#[test]
fn an_entry_is_covered_by_one_entry_or_not_at_all() {
    let parse = |list: &[&str]| list.iter().map(|t| ResourcePattern::parse(t).unwrap()).collect::<Vec<_>>();
    let (parent, child) = (parse(&["a://x/*", "a://y/**"]), parse(&["a://x/1", "a://*/1", "a://y"]));
    let missing = uncovered(&child, &parent, ResourcePattern::covers);
    assert_eq!(missing.iter().map(|p| p.as_str()).collect::<Vec<_>>(), ["a://*/1"]);
    assert!(uncovered(&[], &parent, ResourcePattern::covers).is_empty());
    assert_eq!(uncovered(&child, &[], ResourcePattern::covers).len(), 3);
}

#[test]
fn cover_of_placet_actions() {
    let parent = detail(json!({"type": "placet_action", "actions": ["refunds.*", "orders.read"],
        "resources": ["order://customer:42/**"], "max": {"amount": 500}}));
    let with = |change: Value| {
        let mut value = json!({"type": "placet_action", "actions": ["refunds.create"],
            "resources": ["order://customer:42/7"], "max": {"amount": 500}});
        for (name, member) in change.as_object().unwrap() {
            if member.is_null() {
                value.as_object_mut().unwrap().remove(name);
            } else {
                value[name] = member.clone();
            }
        }
        detail(value)
    };
    for narrower in [
        json!({}),
        json!({"actions": ["orders.read", "refunds.*"]}),
        json!({"max": {"amount": 5e2}}),
        json!({"max": {"amount": 1, "other": 7}}),
        json!({"actions": []}),
        json!({"resources": []}),
    ] {
        assert!(parent.covers(&with(narrower.clone())), "{narrower}");
    }
    for wider in [
        json!({"actions": ["refunds.create", "orders.*"]}),
        json!({"resources": null}),
        json!({"resources": ["order://customer:42/7", "order://customer:4*/7"]}),
        json!({"max": null}),
        json!({"max": {"other": 1}}),
        json!({"max": {"amount": serde_json::from_str::<Value>("500.00000000000000000000001").unwrap()}}),
    ] {
        assert!(!parent.covers(&with(wider.clone())), "{wider}");
    }
    let free = detail(json!({"type": "placet_action", "actions": ["**"]}));
    assert!(free.covers(&parent) && !parent.covers(&free));
    let everything = detail(json!({"type": "placet_action", "actions": ["*"], "resources": ["*"]}));
    assert!(everything.covers(&free) && free.covers(&everything));
}

#[test]
fn other_types_are_covered_by_equality_and_permit_nothing() {
    let one = detail(json!({"type": "payment", "amount": 1}));
    let two = detail(json!({"type": "payment", "amount": 2}));
    let action = detail(json!({"type": "placet_action", "actions": ["*"]}));
    assert!(one.covers(&one) && !one.covers(&two) && !action.covers(&one) && !one.covers(&action));
    let name = ActionName::parse("a").unwrap();
    assert!(!one.permits(&name, &ResourcePattern::everything(), &Map::new()));
    assert!(action.permits(&name, &ResourcePattern::everything(), &Map::new()));
}

#[test]
fn a_bounded_parameter_must_be_a_number_within_its_bound() {
    let entry = detail(json!({"type": "placet_action", "actions": ["refunds.create"],
        "resources": ["order://customer:42/*"], "max": {"amount": 500}}));
    let permits = |action: &str, resource: &str, params: &str| {
        let (action, resource) = (ActionName::parse(action), ResourcePattern::parse(resource));
        entry.permits(&action.unwrap(), &resource.unwrap(), &serde_json::from_str(params).unwrap())
    };
    let (create, order) = ("refunds.create", "order://customer:42/7");
    for params in [r#"{"amount": 500}"#, r#"{"amount": 500.000}"#, r#"{"amount": 5E+2, "x": 1}"#] {
        assert!(permits(create, order, params), "{params}");
    }
    for params in [
        "{}",
        r#"{"amount": 500.0000000000000000000000000001}"#,
        r#"{"amount": 1e400}"#,
        r#"{"amount": 1e99999999999999999999}"#,
        r#"{"amount": "5"}"#,
        r#"{"amount": null}"#,
        r#"{"amount": [5]}"#,
        r#"{"Amount": 5}"#,
    ] {
        assert!(!permits(create, order, params), "{params}");
    }
    assert!(!permits("refunds.list", order, r#"{"amount": 5}"#));
    assert!(!permits(create, "order://*/7", r#"{"amount": 5}"#));
}

#[test]
fn errors_name_index_and_member() {
    for (value, place) in [
        (json!({}), "`authorization_details`"),
        (json!([1]), "`authorization_details[0]`"),
        (json!([{"type": "x"}, {"actions": []}]), "`authorization_details[1].type`"),
        (json!([{"type": ""}]), "[0].type`"),
        (json!([{"type": 3}]), "[0].type`"),
        (json!([{"type": "placet_action"}]), "[0].actions`"),
        (json!([{"type": "placet_action", "actions": "a"}]), "[0].actions`"),
        (json!([{"type": "placet_action", "actions": ["a", "b..c"]}]), "[0].actions[1]`"),
        (json!([{"type": "placet_action", "actions": [], "resources": null}]), "[0].resources`"),
        (json!([{"type": "placet_action", "actions": [], "resources": ["a://b//c"]}]), "[0].resources[0]`"),
        (json!([{"type": "placet_action", "actions": [], "max": 3}]), "[0].max`"),
        (json!([{"type": "placet_action", "actions": [], "max": {"amount": "3"}}]), "[0].max.amount`"),
        (json!([{"type": "placet_action", "actions": [], "locations": []}]), "[0].locations`"),
    ] {
        let error = AuthorizationDetail::parse_list(&value).unwrap_err().to_string();
        assert!(error.contains(place), "{error} should name {place}");
    }
}

#[test]
fn json_is_written_back() {
    for text in [
        r#"{"type":"placet_action","actions":["a.*"],"resources":["a://b/**"],"max":{"amount":500.10}}"#,
        r#"{"type":"placet_action","actions":["a"],"resources":[]}"#,
        r#"{"type":"placet_action","actions":["a"]}"#,
        r#"{"type":"other","n":1.50,"deep":{"x":[1e5]}}"#,
    ] {
        let read: AuthorizationDetail = serde_json::from_str(text).unwrap();
        let written = serde_json::to_string(&read).unwrap();
        let [one, two] = [text, &written].map(|t| serde_json::from_str::<Value>(t).unwrap());
        assert_eq!(one, two);
    }
}

#[test]
fn numbers_compare_by_value() {
    let rising = [
        "-1e9999",
        "-10",
        "-9.5",
        "-1",
        "-0.5",
        "-1e-9999",
        "0",
        "1e-9999",
        "0.00099",
        "0.001",
        "0.5",
        "0.51",
        "1",
        "1.0000000000000000000000001",
        "9",
        "9.99",
        "10",
        "10.5",
        "99",
        "100",
        "12345678901234567890123",
        "1e9999",
    ];
    for (i, one) in rising.iter().enumerate() {
        for (j, another) in rising.iter().enumerate() {
            assert_eq!(bound(one).cmp(&bound(another)), i.cmp(&j), "{one} {another}");
        }
    }
    for group in [["1", "1.0", "1e0", "0.1E+1", "10e-1"], ["0", "-0", "0.0", "0e5", "-0.00e-7"]] {
        assert!(group.iter().all(|text| bound(text) == bound(group[0])), "{group:?}");
    }
}

fn small_detail() -> impl Strategy<Value = AuthorizationDetail> {
    let actions = prop::collection::vec(prop::sample::select(vec!["a.x", "a.*", "**", "b", "*.x"]), 0..3);
    let resources = prop::collection::vec(
        prop::sample::select(vec!["s://m", "s://*", "s://m/**", "*", "s://m/1", "s://*/1", "s://**"]),
        0..3,
    );
    let max = prop::collection::btree_map("[pq]", 0..3i32, 0..3);
    (actions, prop::option::of(resources), max).prop_map(|(actions, resources, max)| {
        let mut value = json!({"type": "placet_action", "actions": actions, "max": max});
        if let Some(resources) = resources {
            value["resources"] = resources.into();
        }
        detail(value)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn what_a_covered_detail_permits_its_parent_permits(
        parent in small_detail(),
        child in small_detail(),
        action in prop::sample::select(vec!["a.x", "a.y", "b", "c.x", "c.x.y"]),
        resource in prop::sample::select(vec!["s://m", "s://n", "s://m/1", "s://n/1", "s://m/1/2", "t://m", "s://*/1"]),
        params in prop::collection::btree_map("[pq]", 0..3i32, 0..3),
    ) {
        let action = ActionName::parse(action).unwrap();
        let resource = ResourcePattern::parse(resource).unwrap();
        let params = params.into_iter().map(|(name, value)| (name, value.into())).collect();
        let (wide, narrow) = (parent.permits(&action, &resource, &params), child.permits(&action, &resource, &params));
        prop_assert!(!parent.covers(&child) || !narrow || wide, "{parent:?} covers {child:?}");
        prop_assert!(child.covers(&child));
    }
}

proptest! {
    #[test]
    fn small_numbers_compare_as_integers_do(a in -2000i64..2000, b in -2000i64..2000, shift in 0usize..4) {
        let zeros = "0".repeat(shift);
        // A number has no zeros before it.
        let scaled = if b == 0 { "0".to_owned() } else { format!("{b}{zeros}") };
        let (one, another) = (bound(&format!("{a}.{zeros}0e-2")), bound(&format!("{scaled}e-{}", shift + 2)));
        prop_assert_eq!(one.cmp(&another), a.cmp(&b));
    }
}

/// Entries over a small world, so that everything in it can be listed.
fn resources() -> impl Strategy<Value = Vec<ResourcePattern>> {
    let one = prop_oneof![
        Just("a://x/1"),
        Just("a://x/*"),
        Just("a://x/**"),
        Just("a://*/1"),
        Just("a://*/**"),
        Just("a://y"),
        Just("b://**"),
        Just("*"),
    ];
    prop::collection::vec(one.prop_map(|text| ResourcePattern::parse(text).unwrap()), 0..4)
}

fn tools() -> impl Strategy<Value = Vec<ActionPattern>> {
    let one = prop_oneof![Just("m.r"), Just("m.w"), Just("m.*"), Just("*.r"), Just("n.**"), Just("*")];
    prop::collection::vec(one.prop_map(|text| ActionPattern::parse(text).unwrap()), 0..4)
}

fn scopes() -> impl Strategy<Value = Vec<Scope>> {
    let one =
        prop_oneof![Just("m.r"), Just("m.*"), Just("*"), Just("m.r:a"), Just("*.r:a/x"), Just("m.*:a://x/*")];
    prop::collection::vec(one.prop_map(|text| Scope::parse(text).unwrap()), 0..4)
}

fn authority() -> impl Strategy<Value = Authority> {
    (scopes(), tools(), resources()).prop_map(|(scope, tools, resources)| Authority {
        scope,
        tools,
        resources,
        connections: None,
        authorization_details: Vec::new(),
        detail_types: Vec::new(),
        audience: vec!["p".to_owned()],
        not_before: Timestamp::from_seconds(0),
        expires: Timestamp::MAX,
        max_depth: 8,
        key: None,
        certificate: None,
    })
}

#[test]
fn a_bound_authority_is_narrowed_and_handed_on_only_with_what_it_is_bound_to() {
    let [one, another] = ["one", "another"].map(Thumbprint::of);
    let unbound = crate::policy::fixture::everything();
    let asking = |bound| Request { bound, ..Request::default() };
    let nothing = Confirmation::default();
    let key = |key| Confirmation { jkt: Some(key), certificate: None };
    let certificate = |certificate| Confirmation { jkt: None, certificate: Some(certificate) };
    let kinds: [(fn(&_) -> _, Exceeds); 2] = [
        (|key: &Thumbprint| Confirmation { jkt: Some(*key), certificate: None }, Exceeds::Key),
        (|it: &Thumbprint| Confirmation { jkt: None, certificate: Some(*it) }, Exceeds::Certificate),
    ];
    for (kind, refused) in kinds {
        let bound = unbound.narrow(&asking(kind(&one))).unwrap();
        assert_eq!(bound.bound(), kind(&one));
        assert_eq!(bound.narrow(&asking(nothing)).unwrap().bound(), kind(&one));
        assert_eq!(bound.narrow(&asking(kind(&one))).unwrap(), bound);
        assert_eq!(bound.narrow(&asking(kind(&another))).unwrap_err(), refused);
        assert!(unbound.covers(&bound) && bound.covers(&bound));
        assert!(!bound.covers(&unbound));
        assert!(!bound.covers(&unbound.narrow(&asking(kind(&another))).unwrap()));
        assert_eq!(bound.handed_on(nothing).unwrap_err(), refused);
        // To whatever the new holder has.
        assert_eq!(bound.handed_on(key(another)).unwrap().bound(), key(another));
        assert_eq!(bound.handed_on(certificate(another)).unwrap().bound(), certificate(another));
        // What was never bound is handed on as it is: its tokens are bound by whoever asks for them so.
        assert_eq!(unbound.handed_on(kind(&one)).unwrap(), unbound);
        assert_eq!(bound.clone().within(&unbound), bound);
        // The one does not stand for the other.
        let both = Confirmation { jkt: Some(one), certificate: Some(one) };
        bound.must_be_shown(kind(&one)).unwrap();
        bound.must_be_shown(both).unwrap();
        for other in
            [nothing, kind(&another), Confirmation { jkt: Some(another), certificate: Some(another) }]
        {
            assert_eq!(bound.must_be_shown(other).unwrap_err(), refused);
        }
        unbound.must_be_shown(nothing).unwrap();
        let twice = bound.narrow(&asking(both)).unwrap();
        assert_eq!(twice.bound(), both);
        assert!(bound.covers(&twice) && !twice.covers(&bound));
        assert!(twice.must_be_shown(kind(&one)).is_err());
    }
}

/// Everything that an authority permits, of all there is in the small world.
fn permitted(authority: &Authority) -> Vec<(&'static str, &'static str)> {
    let names = ["m.r", "m.w", "n.r", "n.w"];
    let uris = ["a://x/1", "a://x/2", "a://x/1/2", "a://x", "a://y", "a://y/1", "b://x/1"];
    let all = names.iter().flat_map(|name| uris.iter().map(move |uri| (*name, *uri)));
    all.filter(|(name, uri)| {
        let action = Action::stated(
            ActionName::parse(name).unwrap(),
            crate::pattern::ResourceUri::parse(uri).unwrap(),
            Map::new(),
        );
        authority.missing(&action).is_none()
    })
    .collect()
}

proptest! {
    /// Narrowing is what was asked for and never more than there was.
    #[test]
    fn narrowing_never_widens(
        wide in authority(),
        scope in prop::option::of(scopes()),
        tools in prop::option::of(tools()),
        resources in prop::option::of(resources()),
    ) {
        let request = Request { scope, tools, resources, ..Request::default() };
        let before = permitted(&wide);
        // What is asked for alone, with everything in the dimensions that stay.
        let asked = Authority {
            scope: request.scope.clone().unwrap_or_else(|| wide.scope.clone()),
            tools: request.tools.clone().unwrap_or_else(|| wide.tools.clone()),
            resources: request.resources.clone().unwrap_or_else(|| wide.resources.clone()),
            ..wide.clone()
        };
        match wide.narrow(&request) {
            Ok(narrow) => {
                let after = permitted(&narrow);
                prop_assert!(after.iter().all(|one| before.contains(one)), "{:?} {:?}", before, after);
                prop_assert_eq!(after, permitted(&asked));
                prop_assert!(wide.covers(&narrow));
            }
            // What is refused is refused for an entry that no single one covers.
            Err(_) => prop_assert!(!wide.covers(&asked)),
        }
    }

    /// What is left below a narrowed grant is never more than either, and all of it where it was covered.
    #[test]
    fn what_is_left_is_within_both(below in authority(), above in authority()) {
        let left = below.clone().within(&above);
        let (of_below, of_above) = (permitted(&below), permitted(&above));
        for one in permitted(&left) {
            prop_assert!(of_below.contains(&one) && of_above.contains(&one), "{:?}", one);
        }
        prop_assert!(below.covers(&left) && above.covers(&left));
        if above.covers(&below) {
            prop_assert_eq!(&left, &below);
        }
    }
}
