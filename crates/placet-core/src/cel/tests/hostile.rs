use super::*;
use std::time::{Duration, Instant};

/// Texts of at most 2 kB made to exhaust a parser's or an evaluator's stack.
fn sources() -> Vec<String> {
    let mut sources = vec![];
    for count in [10, 24, 30, 31, 32, 33, 40, 46, 47, 48, 49, 64, 100, 200, 255, 256, 257, 500, 1000, 2000] {
        let repeat = |text: &str| text.repeat(count);
        sources.extend([
            format!("1{} > 0", repeat("+1")),
            format!("1{} > 0", repeat("-1")),
            format!("1{} > 0", repeat("*1")),
            format!("params{}", repeat(".a")),
            format!("params{}", repeat("[0]")),
            format!("params{}", repeat(".a()")),
            format!("{}true{}", repeat("("), repeat(")")),
            format!("{}1{}", repeat("["), repeat("]")),
            format!("{}1{}", repeat("{\"a\":"), repeat("}")),
            repeat("("),
            repeat("["),
            repeat("{"),
            repeat("(["),
            repeat("size("),
            repeat("!"),
            repeat("-"),
            format!("{}true", repeat("!")),
            format!("{}1 < 0", repeat("-")),
            format!("{}1 < 0", repeat("- ")),
            format!("{}true", repeat("true?true:")),
            format!("{}true{}", repeat("true?"), repeat(":true")),
            format!("{}true", repeat("true||")),
            format!("{}true", repeat("true&&")),
            format!("{}true", repeat("true==")),
            format!("[{}1]", repeat("1,")),
            format!("{}1{}", repeat("size("), repeat(")")),
            format!("{}true{}", repeat("[1].all(x,"), repeat(")")),
            format!("{}1{} == 1", repeat("[1].map(x,"), repeat(")")),
            format!("[1]{}", repeat(".map(x,x)")),
            format!("[1]{}", repeat(".filter(x,x==x)")),
            format!("({}1{}) > 0", repeat("1+("), repeat(")")),
            format!("\"{}\" == ''", repeat("\\u0041")),
            format!("params.a.matches('{}')", repeat("(")),
            format!("params.a.matches('{}{}')", repeat("("), repeat(")")),
            format!("params.a.matches('{}')", repeat("a{9}")),
            format!("params.a.matches('a{}')", repeat("{9}")),
            format!("1{} in [1]", repeat(" in [1]")),
            format!("1e{}1 > 0", repeat("1")),
            format!("0.{}1 > 0", repeat("0")),
            format!("{}1{}", repeat("cel.bind(x,"), repeat(",x)")),
            format!("{}1{}", repeat("cel.bind(x,1,"), repeat(")")),
            format!("{}true{}", repeat("[1].all(i,x,"), repeat(")")),
            format!("[1]{}", repeat(".transformList(i,x,x)")),
            format!("params{}", repeat(".`a b`")),
            format!("{{{}'a': 1}} == {{}}", repeat("'a': 1,")),
            format!("{}true", repeat("!(")),
            format!("{}true{}", repeat("!("), repeat(")")),
            format!("{}1 > 0{}", repeat("-("), repeat(")")),
            repeat("has(params."),
            format!("has(params{})", repeat(".a")),
            format!("{}1 > 0", repeat("1")),
        ]);
    }
    sources.retain(|source| source.len() <= 2048);
    sources
}

#[test]
fn no_text_exhausts_a_small_stack() {
    let thread = std::thread::Builder::new().stack_size(512 * 1024).spawn(|| {
        let params = json!({"a": "aaaa"});
        let vars = Activation::new().with(Root::Params, &params);
        let (mut parsed, mut refused) = (0, 0);
        for source in sources() {
            match Expression::parse(&source) {
                Ok(expression) => {
                    parsed += 1;
                    for conjunct in expression.conjuncts() {
                        conjunct.evaluate(&vars, &mut Fuel::default());
                    }
                }
                Err(_) => refused += 1,
            }
        }
        (parsed, refused)
    });
    let (parsed, refused) = thread.unwrap().join().unwrap();
    // Both sides of the bounds were visited.
    assert!(parsed > 50 && refused > 50, "{parsed} {refused}");
}

#[test]
fn nested_loops_end_with_the_fuel() {
    let list: Vec<i64> = (0..200).collect();
    let params = json!({"l": list, "s": "x".repeat(1000)});
    let vars = Activation::new().with(Root::Params, &params);
    for source in [
        "params.l.all(a, params.l.all(b, params.l.all(c, a + b + c >= 0)))",
        "params.l.map(a, params.l.map(b, params.l.map(c, params.l))).size() > 0",
        "params.l.exists(a, params.l.exists(b, params.l.exists(c, c.d)))",
        "params.l.all(i, a, params.l.all(j, b, params.l.all(k, c, i + j + k >= 0)))",
        "params.l.transformMapEntry(i, a, {string(i): params.l.transformList(j, b, params.l)}).size() < 0",
        "params.l.all(a, cel.bind(m, params.l.map(b, params.l), m == params.l.map(b, params.l)))",
        "params.l.all(a, params.l.all(b, params.s.contains('y' + params.s) || params.s.matches('(x*)*y') || true))",
    ] {
        let expression = Expression::parse(source).unwrap();
        let started = Instant::now();
        let mut fuel = Fuel::default();
        assert_eq!(
            expression.conjuncts()[0].evaluate(&vars, &mut fuel),
            Outcome::Unknown(Why::Fuel),
            "{source}"
        );
        assert!(started.elapsed() < Duration::from_secs(2), "{source}: {:?}", started.elapsed());
        assert_eq!(fuel.left(), 0);
        assert_eq!(expression.conjuncts()[0].evaluate(&vars, &mut fuel), Outcome::Unknown(Why::Fuel));
    }
}

#[test]
fn a_doubling_text_ends_with_the_fuel() {
    let mut source = "[params.s]".to_owned();
    for _ in 0..20 {
        source.push_str(".map(x, x + x)");
    }
    source.push_str("[0] == ''");
    let params = json!({"s": "x".repeat(100)});
    let vars = Activation::new().with(Root::Params, &params);
    let expression = Expression::parse(&source).unwrap();
    assert_eq!(expression.conjuncts()[0].evaluate(&vars, &mut Fuel::default()), Outcome::Unknown(Why::Fuel));
}

#[test]
fn a_heavy_pattern_ends_with_the_fuel() {
    let params = json!({"s": "aab ".repeat(100_000)});
    let vars = Activation::new().with(Root::Params, &params);
    for pattern in ["(?:[a-z]{1,30}x?){1,40}y", "(a?){100}a{100}y", "[^x]*y[^x]*z.{0,400}q", "(a*)*(a*)*y"] {
        let source =
            format!("params.s.size() > 5 && [1, 2, 3, 4, 5].exists(i, params.s.matches('{pattern}'))");
        let expression = Expression::parse(&source).unwrap();
        let started = Instant::now();
        let mut fuel = Fuel::default();
        let judged = expression.conjuncts()[1].evaluate(&vars, &mut fuel);
        assert_eq!(judged, Outcome::Unknown(Why::Fuel), "{pattern}");
        assert!(started.elapsed() < Duration::from_secs(2), "{pattern}: {:?}", started.elapsed());
    }
}
