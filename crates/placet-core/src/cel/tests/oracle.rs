//! Fast paths against the evaluator, our parser against the crate's, and arithmetic against brute force.

use super::*;
use proptest::prelude::*;

/// A value that a condition of the simple form may meet: what it is compared with, and everything else.
fn met() -> impl Strategy<Value = Json> {
    let number = prop_oneof![
        (-3_i64..3).prop_map(|whole| whole.to_string()),
        any::<i64>().prop_map(|whole| whole.to_string()),
        "-?(0|[1-9][0-9]{0,2})\\.[0-9]{1,3}",
        "-?[1-9](\\.[0-9]{1,2})?[eE][+-]?[0-9]{1,3}",
        "-?[1-9][0-9]{15,45}",
        "-?0\\.[0-9]{15,45}",
    ];
    prop_oneof![
        4 => number.prop_map(|text| serde_json::from_str(&text).unwrap()),
        4 => "[abë]{0,3}".prop_map(Json::from),
        1 => "[ab]{40}".prop_map(Json::from),
        1 => any::<bool>().prop_map(Json::from),
        1 => Just(Json::Null),
        1 => Just(json!([1, "a"])),
        1 => Just(json!({"b": 1})),
    ]
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        (-3_i64..3).prop_map(|whole| whole.to_string()),
        any::<i64>().prop_map(|whole| whole.to_string()),
        "-?(0|[1-9][0-9]{0,2})\\.[0-9]{1,3}",
        "-?[1-9][0-9]{17}\\.[0-9]{1,9}",
        "-?[1-9]e[0-9]{1,2}",
        "'[abë]{0,3}'",
        any::<bool>().prop_map(|yes| yes.to_string()),
        Just("null".to_owned()),
    ]
}

/// `path OP literal`, mirrored or not, or `path in [literals]`.
fn simple() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        4 => Just("params.a"),
        1 => Just("params.a.b"),
        1 => Just("params.none"),
        1 => Just("params"),
        1 => Just("now"),
        1 => Just("user.id"),
        1 => Just("resource.scheme"),
        1 => Just("resource.none"),
        1 => Just("action.name"),
    ];
    let sign = proptest::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    prop_oneof![
        (path.clone(), sign.clone(), literal())
            .prop_map(|(path, sign, literal)| format!("{path} {sign} {literal}")),
        (path.clone(), sign, literal()).prop_map(|(path, sign, literal)| format!("{literal} {sign} {path}")),
        (path.clone(), proptest::collection::vec(literal(), 0..4))
            .prop_map(|(path, members)| format!("{path} in [{}]", members.join(", "))),
        (path, proptest::collection::vec("'[abë]{0,3}'", 0..11))
            .prop_map(|(path, members)| format!("{path} in [{}]", members.join(", "))),
    ]
}

/// Conditions of the forms that have a fast path, one in the other.
fn composed() -> impl Strategy<Value = String> {
    // `x` is the element of a macro around it where there is one; elsewhere it is refused.
    let place = prop_oneof![
        3 => Just("params.a"),
        2 => Just("x"),
        1 => Just("x.b"),
        1 => Just("params.b"),
        1 => Just("params.a.b"),
        1 => Just("params"),
        1 => Just("resource.scheme"),
        1 => Just("user.id"),
        1 => Just("now"),
    ];
    let side = prop_oneof![
        3 => place.clone().prop_map(str::to_owned),
        1 => literal(),
        1 => place.clone().prop_map(|place| format!("size({place})")),
        1 => (place.clone(), proptest::sample::select(vec!["+", "-", "*", "/", "%"]), literal())
            .prop_map(|(place, sign, literal)| format!("({place} {sign} {literal})")),
    ]
    .boxed();
    let sign = proptest::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let method = proptest::sample::select(vec!["startsWith", "endsWith", "contains"]);
    let leaf = prop_oneof![
        2 => simple(),
        3 => (side.clone(), sign, side.clone()).prop_map(|(left, sign, right)| format!("{left} {sign} {right}")),
        2 => (place.clone(), method, prop_oneof![Just("''"), Just("'a'"), Just("'ab'"), Just("params.b"), Just("x")])
            .prop_map(|(place, method, part)| format!("{place}.{method}({part})")),
        1 => place.clone().prop_map(|place| format!("{place}.matches('^[ab]+$')")),
        1 => Just("has(params.a)".to_owned()),
        1 => Just("has(params.none)".to_owned()),
        1 => Just("has(x.b)".to_owned()),
        1 => place.clone().prop_map(str::to_owned),
        1 => proptest::collection::vec("'[abë]{0,2}'", 9..12)
            .prop_map(|members| format!("x in [{}]", members.join(", "))),
    ]
    .boxed();
    leaf.prop_recursive(3, 12, 2, move |inner| {
        let range =
            prop_oneof![3 => Just("params.list"), 1 => Just("params.a"), 1 => Just("x.b"), 1 => Just("x")];
        let each = proptest::sample::select(vec!["all", "exists"]);
        prop_oneof![
            inner.clone().prop_map(|one| format!("!({one})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("(({one}) && ({other}))")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) || ({other})")),
            (range, each, inner).prop_map(|(range, each, body)| format!("{range}.{each}(x, {body})")),
        ]
    })
}

/// `resource` and `action`, of which some are there without the whole.
struct Known(Json);

impl Facts for Known {
    fn text(&self, root: Root, field: &str) -> Option<&str> {
        match (root, field) {
            (Root::Resource, "scheme") => self.0["scheme"].as_str(),
            _ => None,
        }
    }

    fn whole(&self, root: Root) -> Option<&Json> {
        (root == Root::Resource || root == Root::Action).then_some(&self.0)
    }
}

/// A number of brute force: so many units of `10^-scale`.
#[derive(Clone, Copy, Debug)]
struct Exact(i128, u32);

impl Exact {
    fn both(self, other: Self) -> (i128, i128, u32) {
        let scale = self.1.max(other.1);
        (self.0 * 10_i128.pow(scale - self.1), other.0 * 10_i128.pow(scale - other.1), scale)
    }
}

/// An expression and what it comes to.
fn sums() -> impl Strategy<Value = (String, Exact)> {
    let leaf = (-999_i32..1000, 0_u32..4).prop_map(|(units, scale)| {
        let (sign, digits) = (if units < 0 { "-" } else { "" }, format!("{:04}", units.abs()));
        let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let point = if fraction.is_empty() { "" } else { "." };
        (format!("{sign}{whole}{point}{fraction}"), Exact(units.into(), scale))
    });
    leaf.prop_recursive(2, 4, 2, |inner| {
        (inner.clone(), 0..4_u8, inner).prop_map(|((left, a), sign, (right, b))| {
            let (x, y, scale) = a.both(b);
            match sign {
                0 => (format!("({left} + {right})"), Exact(x + y, scale)),
                1 => (format!("({left} - {right})"), Exact(x - y, scale)),
                2 => (format!("-({left})"), Exact(-a.0, a.1)),
                _ => (format!("({left} * {right})"), Exact(a.0 * b.0, a.1 + b.1)),
            }
        })
    })
}

/// Texts that are nearly CEL: its tokens in any order.
fn soup() -> impl Strategy<Value = String> {
    let token = proptest::sample::select(vec![
        "params",
        ".a",
        ".",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "!",
        "-",
        "+",
        "*",
        "==",
        "<",
        "in",
        "&&",
        "||",
        "1",
        "1.5",
        "'x'",
        "true",
        "null",
        "has",
        "has(params.a)",
        "[1].all(x, ",
        "x",
        ".map(x, ",
        "size(",
        "cel.bind(x, 1, ",
        "`a`",
        ".`a b`",
        "params.a",
        ".size()",
        "0x1",
        "r'a'",
        "in",
        " ",
    ]);
    proptest::collection::vec(token, 1..9).prop_map(|tokens| tokens.concat())
}

/// Whether the `cel` crate's parser takes it.
fn crate_takes(source: &str) -> bool {
    ::cel::parser::Parser::new().parse(source).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_native_answer_is_the_evaluators(source in simple(), a in met(), units in prop_oneof![0_u64..20, Just(1000)]) {
        let params = json!({"a": a});
        let known = Known(json!({"scheme": "ab", "name": "a"}));
        let vars = Activation::new().with(Root::Params, &params).facts(&known).at(crate::time::Timestamp::from_seconds(5));
        if let Ok(expression) = Expression::parse(&source) {
            let conjunct = &expression.conjuncts()[0];
            let (mut one, mut other) = (Fuel::new(units), Fuel::new(units));
            let fast = conjunct.evaluate(&vars, &mut one);
            let slow = conjunct.evaluate_in_general(&vars, &mut other);
            prop_assert_eq!(fast, slow, "{} of {}", source, params);
            prop_assert_eq!(one.left(), other.left(), "{} of {}", source, params);
        }
    }

    #[test]
    fn a_native_answer_is_the_evaluators_also_in_depth(
        source in composed(),
        a in met(),
        b in met(),
        list in proptest::collection::vec(prop_oneof![2 => met(), 1 => Just(json!({"b": ["ab", "a"]})), 1 => Just(json!({"b": 2}))], 0..4),
        units in prop_oneof![0_u64..40, Just(1000)],
    ) {
        let params = json!({"a": a, "b": b, "list": list});
        let known = Known(json!({"scheme": "ab", "name": "a"}));
        let vars = Activation::new().with(Root::Params, &params).facts(&known).at(crate::time::Timestamp::from_seconds(5));
        if let Ok(expression) = Expression::parse(&source) {
            for conjunct in expression.conjuncts() {
                let (mut one, mut other) = (Fuel::new(units), Fuel::new(units));
                let fast = conjunct.evaluate(&vars, &mut one);
                let slow = conjunct.evaluate_in_general(&vars, &mut other);
                prop_assert_eq!(fast, slow, "{} of {}", source, params);
                prop_assert_eq!(one.left(), other.left(), "{} of {}", source, params);
            }
        }
    }

    #[test]
    fn arithmetic_is_that_of_brute_force((left, a) in sums(), (right, b) in sums(), third in -3_i32..3) {
        let (x, y, _) = a.both(b);
        for (sign, expected) in [("<", x < y), ("<=", x <= y), (">", x > y), (">=", x >= y), ("==", x == y), ("!=", x != y)] {
            let source = format!("{left} {sign} {right}");
            prop_assert_eq!(judge(&source), if expected { Outcome::True } else { Outcome::False }, "{}", source);
        }
        let total = a.0 * 1000 + i128::from(third) * 10_i128.pow(a.1);
        let source = format!("{left} + {third} * 0.001");
        let number = Expression::parse(&source).unwrap().evaluate_number(&Activation::new(), &mut Fuel::default()).unwrap();
        let expected = Decimal::parse(&format!("{total}e-{}", a.1 + 3)).unwrap();
        prop_assert_eq!(number, expected, "{}", source);
    }

    /// What differs: names and the arguments of functions are checked by us when loading, `has` takes no index, and a
    /// dot may not stand before a name that isn't known. A text of another form is one for neither.
    #[test]
    fn our_grammar_is_the_crates(source in soup()) {
        match Expression::parse(&source) {
            // Of names in back quotes the crate's parser knows nothing.
            Ok(_) => prop_assert!(source.contains('`') || crate_takes(&source), "{}", source),
            Err(error) => {
                let of_form = ["can't stand here", "ends too early", "needs a `:`", "never closed", "closes nothing"];
                let ours_alone = source.contains("{") && error.message.contains("can't stand");
                if of_form.iter().any(|form| error.message.contains(form)) && !ours_alone {
                    prop_assert!(!crate_takes(&source), "{}: {}", source, error.message);
                }
            }
        }
    }
}
