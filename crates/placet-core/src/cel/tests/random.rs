//! Properties over random texts and values, and a comparison with the interpreter of the `cel` crate.

use super::*;
use proptest::prelude::*;

fn any_json() -> impl Strategy<Value = Json> {
    let number = prop_oneof![
        any::<i64>().prop_map(|whole| whole.to_string()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?",
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        number.prop_map(|text| serde_json::from_str(&text).unwrap()),
        "\\PC{0,8}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            proptest::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// Texts that often parse: any expression of the language over a few names.
fn any_source() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "params(\\.[a-d]){0,3}",
        Just("now".to_owned()),
        Just("x".to_owned()),
        "-?[0-9]{1,19}",
        "[0-9]{1,9}\\.[0-9]{1,6}",
        "'[a-zë\\\\]{0,5}'",
        prop_oneof![Just("true"), Just("false"), Just("null"), Just("[]"), Just("{}")]
            .prop_map(str::to_owned),
        "(timestamp|duration)\\('[0-9:TZhms.-]{0,22}'\\)",
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let binary = proptest::sample::select(vec![
            "+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "&&", "||", "in",
        ]);
        let method = proptest::sample::select(vec![
            "size",
            "contains",
            "startsWith",
            "endsWith",
            "lowerAscii",
            "upperAscii",
            "trim",
            "split",
            "join",
            "replace",
            "substring",
            "indexOf",
            "lastIndexOf",
            "charAt",
            "getHours",
            "getDayOfYear",
            "getMilliseconds",
        ]);
        let plain = proptest::sample::select(vec![
            "timestamp",
            "duration",
            "int",
            "double",
            "string",
            "bool",
            "size",
        ]);
        let looped_by_two = proptest::sample::select(vec![
            "all",
            "exists",
            "existsOne",
            "transformList",
            "transformMap",
            "transformMapEntry",
        ]);
        let looped = proptest::sample::select(vec!["all", "exists", "exists_one", "map", "filter"]);
        prop_oneof![
            (inner.clone(), binary, inner.clone())
                .prop_map(|(left, sign, right)| format!("({left} {sign} {right})")),
            (inner.clone(), method, proptest::collection::vec(inner.clone(), 0..3))
                .prop_map(|(target, name, arguments)| format!("{target}.{name}({})", arguments.join(", "))),
            (plain, inner.clone()).prop_map(|(name, argument)| format!("{name}({argument})")),
            (inner.clone(), looped, inner.clone())
                .prop_map(|(range, name, body)| format!("{range}.{name}(x, {body})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(list, index)| format!("{list}[{index}]")),
            proptest::collection::vec(inner.clone(), 1..4)
                .prop_map(|elements| format!("[{}]", elements.join(", "))),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| format!("{{{key}: {value}}}")),
            inner.clone().prop_map(|operand| format!("!{operand}")),
            inner.clone().prop_map(|operand| format!("-({operand})")),
            (inner.clone(), looped_by_two, inner.clone())
                .prop_map(|(range, name, body)| format!("{range}.{name}(i, x, {body})")),
            (inner.clone(), inner.clone()).prop_map(|(value, body)| format!("cel.bind(x, {value}, {body})")),
            inner.clone().prop_map(|operand| format!("{operand}.`b-c`")),
            inner.prop_map(|operand| format!("has({operand}.a)")),
        ]
    })
}

struct Nothing;

impl Schema for Nothing {
    fn type_of(&self, _: &[&str]) -> FieldType {
        FieldType::Unknown
    }
}

/// Text of an int, string, bool or list over `params.i`, `params.s`, `params.b`, `params.l`, by depth.
fn typed(
    depth: u32,
) -> (BoxedStrategy<String>, BoxedStrategy<String>, BoxedStrategy<String>, BoxedStrategy<String>) {
    let int_leaf = prop_oneof![
        3 => Just("params.i".to_owned()),
        3 => (-20_i64..20).prop_map(|whole| whole.to_string()),
        1 => proptest::sample::select(vec!["params.d.a", "params.d['a']", "params.d.b.c", "params['d'].b['c']"])
            .prop_map(str::to_owned),
    ];
    let text_leaf = prop_oneof![
        3 => Just("params.s".to_owned()),
        3 => "'[abë]{0,3}'",
        1 => Just("params.d.b.t".to_owned()),
    ];
    let bool_leaf = prop_oneof![Just("params.b".to_owned()), any::<bool>().prop_map(|yes| yes.to_string())];
    let list_leaf = prop_oneof![
        Just("params.l".to_owned()),
        proptest::collection::vec(-3_i64..3, 0..4).prop_map(|numbers| format!("{numbers:?}")),
    ];
    if depth == 0 {
        return (int_leaf.boxed(), text_leaf.boxed(), bool_leaf.boxed(), list_leaf.boxed());
    }
    let (int, text, truth, list) = typed(depth - 1);
    let pair = |signs: Vec<&'static str>, operand: &BoxedStrategy<String>| {
        (operand.clone(), proptest::sample::select(signs), operand.clone())
            .prop_map(|(left, sign, right)| format!("({left} {sign} {right})"))
    };
    let choice = |of: &BoxedStrategy<String>| {
        (truth.clone(), of.clone(), of.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})"))
    };
    let comparisons = || vec!["<", "<=", ">", ">=", "==", "!="];
    let ints = prop_oneof![
        int_leaf,
        pair(vec!["+", "-", "*", "/", "%"], &int),
        text.clone().prop_map(|text| format!("size({text})")),
        list.clone().prop_map(|list| format!("size({list})")),
        (list.clone(), int.clone()).prop_map(|(list, index)| format!("{list}[{index}]")),
        choice(&int),
    ];
    let texts = prop_oneof![
        text_leaf,
        pair(vec!["+"], &text),
        int.clone().prop_map(|i| format!("string({i})")),
        choice(&text)
    ];
    let loops = proptest::sample::select(vec!["all", "exists", "exists_one"]);
    let calls = proptest::sample::select(vec!["contains", "startsWith", "endsWith"]);
    let loops_over_keys = loops.clone();
    let bools = prop_oneof![
        bool_leaf,
        pair(comparisons(), &int),
        pair(comparisons(), &text),
        pair(vec!["==", "!="], &list),
        pair(vec!["&&", "||", "==", "!="], &truth),
        truth.clone().prop_map(|operand| format!("!({operand})")),
        (int.clone(), list.clone()).prop_map(|(member, list)| format!("({member} in {list})")),
        (text.clone(), calls, text.clone())
            .prop_map(|(target, name, part)| format!("({target}).{name}({part})")),
        (list.clone(), loops, int.clone(), proptest::sample::select(comparisons()))
            .prop_map(|(list, name, bound, sign)| format!("({list}).{name}(x, 6 / x {sign} {bound})")),
        Just("has(params.i)".to_owned()),
        Just("has(params.none)".to_owned()),
        proptest::sample::select(vec![
            "has(params.d.a)",
            "has(params.d.b)",
            "has(params.d.b.c)",
            "'a' in params.d"
        ])
        .prop_map(str::to_owned),
        (text.clone(), loops_over_keys).prop_map(|(text, name)| format!("params.d.{name}(k, k == {text})")),
    ];
    let lists = prop_oneof![
        list_leaf,
        pair(vec!["+"], &list),
        (list.clone(), int.clone()).prop_map(|(list, bound)| format!("({list}).filter(x, x < {bound})")),
        (list.clone(), int.clone()).prop_map(|(list, by)| format!("({list}).map(x, x * {by})")),
    ];
    (ints.boxed(), texts.boxed(), bools.boxed(), lists.boxed())
}

/// What the `cel` crate's interpreter says; `None` for an error.
fn interpreted(source: &str, params: &Json) -> Option<bool> {
    let program = ::cel::Program::compile(source).unwrap();
    let mut context = ::cel::Context::default();
    context.add_variable_from_value("params", crates(params));
    match program.execute(&context) {
        Ok(::cel::Value::Bool(yes)) => Some(yes),
        Ok(other) => panic!("{source} is {other:?}"),
        Err(_) => None,
    }
}

/// A value as the crate's own. Not through serde: `arbitrary_precision` makes numbers maps to other serializers.
fn crates(json: &Json) -> ::cel::Value {
    match json {
        Json::Null => ::cel::Value::Null,
        Json::Bool(yes) => (*yes).into(),
        Json::Number(number) => number.as_i64().unwrap().into(),
        Json::String(text) => text.clone().into(),
        Json::Array(items) => items.iter().map(crates).collect::<Vec<_>>().into(),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), crates(value)));
            fields.collect::<std::collections::HashMap<String, ::cel::Value>>().into()
        }
    }
}

/// `params.d`: each of its fields may be absent.
fn document() -> impl Strategy<Value = Json> {
    let inner = (proptest::option::of(-3_i64..3), proptest::option::of("[abë]{0,3}"));
    (proptest::option::of(-3_i64..3), proptest::option::of(inner)).prop_map(|(a, b)| {
        let mut fields = serde_json::Map::new();
        fields.extend(a.map(|a| ("a".to_owned(), json!(a))));
        if let Some((c, t)) = b {
            let mut inner = serde_json::Map::new();
            inner.extend(c.map(|c| ("c".to_owned(), json!(c))));
            inner.extend(t.map(|t| ("t".to_owned(), json!(t))));
            fields.insert("b".to_owned(), inner.into());
        }
        fields.into()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(source in any_source(), params in any_json()) {
        if let Ok(expression) = Expression::parse(&source) {
            let vars = Activation::new().with(Root::Params, &params).at(crate::time::Timestamp::from_seconds(1_700_000_000));
            for conjunct in expression.conjuncts() {
                let mut fuel = Fuel::new(2_000);
                conjunct.evaluate(&vars, &mut fuel);
                // What is certainly wrong may not hold, unless a short circuit never got there.
                expression.check(&Nothing);
            }
            let _ = expression.evaluate_number(&vars, &mut Fuel::default());
        }
    }

    #[test]
    fn no_text_panics(source in "[a-z0-9.()\\[\\]{}!&|?:,'\"\\\\<>=+*/% \\n_é-]{0,60}") {
        let _ = Expression::parse(&source);
    }

    #[test]
    fn conjuncts_judge_as_the_whole(parts in proptest::collection::vec(typed(1).2, 1..4), i in -5_i64..5) {
        let params = json!({"i": i, "s": "ab", "b": i > 0, "l": [i, 2]});
        let vars = Activation::new().with(Root::Params, &params);
        let source = parts.join(" && ");
        let expression = Expression::parse(&source).unwrap();
        let whole = Expression::parse(&format!("({source}) || false")).unwrap();
        let outcomes: Vec<Outcome> = expression.conjuncts().iter().map(|one| one.evaluate(&vars, &mut Fuel::default())).collect();
        let together = whole.conjuncts()[0].evaluate(&vars, &mut Fuel::default());
        let expected = if outcomes.contains(&Outcome::False) { Some(false) }
            else if outcomes.iter().all(|one| *one == Outcome::True) { Some(true) } else { None };
        prop_assert_eq!(decided(&together), expected, "{}", source);
    }

    #[test]
    fn agrees_with_the_interpreter(source in typed(3).2, i in -9_i64..9, s in "[abë]{0,4}", b: bool, l in proptest::collection::vec(-3_i64..3, 0..4), d in document()) {
        let params = json!({"i": i, "s": s, "b": b, "l": l, "d": d});
        let source = format!("({source}) || false");
        if let Ok(expression) = Expression::parse(&source) {
            let vars = Activation::new().with(Root::Params, &params);
            let ours = expression.conjuncts()[0].evaluate(&vars, &mut Fuel::default());
            prop_assert_eq!(decided(&ours), interpreted(&source, &params), "{} {:?}", source, ours);
        }
    }
}

fn decided(outcome: &Outcome) -> Option<bool> {
    match outcome {
        Outcome::True => Some(true),
        Outcome::False => Some(false),
        Outcome::Unknown(_) => None,
    }
}
