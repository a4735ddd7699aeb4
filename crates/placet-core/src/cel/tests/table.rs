use super::*;

#[test]
fn comparisons_are_exact() {
    for source in [
        "params.amount <= 500 && params.currency == \"USD\"",
        "params.amount == 500.0",
        "params.whole == 3",
        "params.fine == 19.99",
        "params.fine < 20",
        "params.fine * 3 == 59.97",
        "0.1 + 0.2 == 0.3",
        "params.big < params.huge",
        "params.huge == params.huge",
        "params.tiny > 0",
        "params.amount != \"500\"",
        "params.nil == null",
        "params.nil != 0",
        "'a' < 'b'",
        "params.numbers == [1, 2.0, 3]",
        "params.nested == {'a': {'b': 1}}",
        "-5 < 5",
        "params.whole / 2 == 1",
        "7 % 4 == 3",
        "-7 / 2 == -3",
        "1.5 / 0.5 == 3",
        "-9223372036854775808 < 0",
        "0x10 == 16",
        "1e3 == 1000",
    ] {
        holds(source);
    }
    fails("params.amount > 500");
    fails("params.amount == '500'");
    fails("params.big == 9223372036854775806");
}

#[test]
fn numbers_that_cannot_be_held_are_unknown() {
    unknown("params.monster > 0", "exactly");
    unknown("params.big + 1 > 0", "out of range");
    unknown("params.big * params.huge * params.huge > 0", "exactly");
    unknown("1.0 / 3 > 0", "exactly");
    unknown("1 / 0 == 1", "zero");
    unknown("1.5 / 0 == 1", "zero");
    unknown("1.5 % 1 == 0", "whole");
    unknown("-(-9223372036854775807 - 1) > 0", "out of range");
}

#[test]
fn absence_and_wrong_types_are_unknown_with_words() {
    unknown("params.none == 1", "no such field `params.none`");
    unknown("params.nested.x.y == 1", "no such field `params.nested.x`");
    unknown("params.amount.x == 1", "`params.amount` is not a map");
    unknown("user.id == 'x'", "`user` is not known");
    unknown("context.ip == 'x'", "`context` is not known");
    unknown("params.amount < 'x'", "does not compare a number with a string");
    unknown("params.amount", "is a number, not a bool");
    unknown("!params.amount", "not a bool");
    unknown("params.amount + 'x' == 'y'", "does not apply");
    unknown("params.numbers[7] == 1", "out of range");
    unknown("params.numbers[-1] == 1", "out of range");
    unknown("params.numbers['a'] == 1", "`params.numbers` is not a map");
    unknown("params.numbers[params.currency] == 1", "whole number");
    unknown("params.nested[params.amount] == 1", "string");
    unknown("params.amount.startsWith('x')", "`startsWith` does not apply to a number");
    unknown("1 in params.amount", "`in` needs");
    unknown("now.year == 1", "no fields");
    unknown("params.nil.x == 1", "not a map");
    unknown("{'a': 1, 'a': 2}.a == 1", "twice");
    unknown("params.nil < 1", "compare null");
}

#[test]
fn and_or_absorb_errors_in_both_orders() {
    fails("(params.no && params.none) || false");
    fails("(params.none && params.no) || false");
    holds("params.yes || params.none");
    holds("params.none || params.yes");
    unknown("params.none || params.no", "no such field");
    unknown("params.no || params.none", "no such field");
    unknown("(params.yes && params.amount) || false", "not a bool");
    holds("params.yes ? true : params.none");
    unknown("params.none ? true : true", "no such field");
}

#[test]
fn presence() {
    holds("has(params.amount)");
    fails("has(params.none)");
    holds("has(params.nil)");
    holds("has(params.nested.a.b)");
    unknown("has(params.none.x)", "no such field");
    unknown("has(user.id)", "`user` is not known");
    unknown("has(params.amount.x)", "not a map");
}

#[test]
fn macros() {
    for source in [
        "params.to.all(r, r.endsWith('.com'))",
        "params.to.exists(r, r == 'b@y.com')",
        "params.to.exists_one(r, r.startsWith('a'))",
        "params.numbers.map(n, n * 2) == [2, 4, 6]",
        "params.numbers.map(n, n > 1, n * 2) == [4, 6]",
        "params.numbers.filter(n, n > 1) == [2, 3]",
        "params.empty.all(x, x.y)",
        "!params.empty.exists(x, x.y)",
        "params.mixed.exists(x, x > 0)",
        "params.nested.all(key, key == 'a')",
        "params.items.all(i, i.price < 10) && params.items.map(i, i.sku).join('') == 'xy'",
        // A macro's variable shadows a root, and an inner one an outer one.
        "params.numbers.all(params, params > 0)",
        "[1].all(x, [2].all(x, x == 2) && x == 1)",
        "[1, 2].all(x, [10].all(y, x < y))",
        "[[1], [2, 3]].all(l, l.exists(e, e > 0))",
    ] {
        holds(source);
    }
    fails("params.numbers.all(n, n > 1)");
    fails("!(params.mixed.all(x, x == 2) == false)");
    unknown("params.mixed.all(x, x > 0)", "compare");
    unknown("params.mixed.exists(x, x > 1)", "compare");
    unknown("params.mixed.exists_one(x, x > 0)", "compare");
    unknown("params.amount.all(x, true)", "a macro runs over");
}

#[test]
fn macros_of_two_variables() {
    for source in [
        "params.numbers.all(i, n, n == i + 1)",
        "params.nested.all(key, value, key == 'a' && value.b == 1)",
        "params.nested.exists(key, value, has(value.b))",
        "params.numbers.existsOne(i, n, i == 1 && n == 2) && params.numbers.exists_one(i, n, i == n - 1 && i == 2)",
        "params.numbers.transformList(i, n, n * i) == [0, 2, 6]",
        "params.numbers.transformList(i, n, i > 0, n) == [2, 3]",
        "{'x': 1, 'y': 2}.transformMap(k, v, v * 10) == {'x': 10, 'y': 20}",
        "{'x': 1, 'y': 2}.transformMap(k, v, k == 'y', v) == {'y': 2}",
        "params.items.transformMapEntry(i, item, {item.sku: item.price}) == {'x': 5, 'y': 7}",
        "[1].all(i, params.numbers.all(j, n, n > i - 1))",
        "params.mixed.exists(i, x, x > 0) && !params.mixed.all(i, x, i > 5)",
    ] {
        holds(source);
    }
    unknown("params.mixed.all(i, x, x > 0)", "compare");
    unknown("params.numbers.transformMap(i, n, n) == {}", "keys");
    unknown("params.numbers.transformMapEntry(i, n, {'a': n}) == {}", "twice");
    unknown("params.numbers.transformMapEntry(i, n, n) == {}", "an entry is a map");
}

#[test]
fn values_are_bound_to_names() {
    for source in [
        "cel.bind(limit, params.amount * 2, limit == 1000 && limit > params.amount)",
        "cel.bind(a, 1, cel.bind(b, a + 1, a + b == 3))",
        "cel.bind(known, ['a@x.com', 'b@y.com'], params.to.all(t, t in known))",
        "params.numbers.all(n, cel.bind(double, n * 2, double == n + n))",
        "cel.bind(params, 5, params == 5)",
    ] {
        holds(source);
    }
    unknown("cel.bind(x, params.none, true)", "no such field");
    let expression = Expression::parse("cel.bind(r, resource.authority, r == params.x)").unwrap();
    let reads: Vec<String> = expression.conjuncts()[0].reads().iter().map(ToString::to_string).collect();
    assert_eq!(reads, ["params.x", "resource.authority"]);
}

#[test]
fn names_in_back_quotes_are_fields() {
    let params: Json = json!({"content-type": "a/b", "x.y": {"a b": 1}, "in": 2});
    let vars = Activation::new().with(Root::Params, &params);
    for source in [
        "params.`content-type` == 'a/b'",
        "params.`x.y`.`a b` == 1 && has(params.`x.y`) && !has(params.`x/y`)",
        "params.`in` == 2 && params['in'] == 2",
        "{'a-b': 1}.`a-b` == 1",
        "[params].all(p, p.`in` == 2 && has(p.`x.y`.`a b`))",
    ] {
        for conjunct in Expression::parse(source).unwrap().conjuncts() {
            assert_eq!(conjunct.evaluate(&vars, &mut Fuel::default()), Outcome::True, "{source}");
        }
    }
}

#[test]
fn literals_are_exact() {
    for source in [
        r"'\u00eb\x41\101\U0001F600\a\b\f\v\?\`' == 'ëAA😀\x07\x08\x0c\x0b?`'",
        r"'a\nb' == '''a\nb''' && r'a\\' == 'a\\\\' && R'\n' == r'\n'",
        "0.123456789012345678 * 10 == 1.23456789012345678",
        "-0x10 == -16 && - 5 == -5 && 1 -1 == 0 && --1 == 1",
        "-9223372036854775808 < -9223372036854775807",
        "1.5e-3 == 0.0015 && 25e-1 == 2.5 && .5 == 0.5 && -.5 < 0 && [.5][0] == .50",
        "((((((((((((((((((((((((((((((((7)))))))))))))))))))))))))))))))) == 7 || false",
    ] {
        holds(source);
    }
}

#[test]
fn what_is_no_name_and_no_macro_is_refused() {
    refused("`a` == 1", "can't stand here", 0);
    refused("params.`` == 1", "quoted name", 7);
    refused("params.`é` == 1", "quoted name", 7);
    refused("params.`a", "quoted name", 7);
    refused("[1].all(for, true)", "can't name a variable", 8);
    refused("[1].transformList(x, x)", "is written", 17);
    refused("[1].all(x, x, true)", "one name", 7);
    refused("cel.bind(x, 1) == 1", "is written", 0);
    refused("cel.bind(x, x, x) == 1", "unknown name `x`", 12);
    refused("cel.bind(x, 1, x) == x", "unknown name `x`", 21);
    refused("has(params)", "is written", 3);
    refused("has(params['a'])", "is written", 3);
    refused("has((params.a))", "is written", 3);
    refused("has(!params.a)", "is written", 3);
    refused(r"'\ud800' == ''", "no escape", 0);
    refused("params.true", "can't stand here", 7);
}

#[test]
fn functions_on_text() {
    for source in [
        "size(params.name) == 11 && params.name.size() == 11 && size(params.to) == 2 && size(params.nested) == 1",
        "params.name.contains('Ünï')",
        "params.name.lowerAscii() == 'zoë Ünïcode'",
        "params.name.upperAscii() == 'ZOë ÜNïCODE'",
        "params.padded.trim() == 'a b'",
        "'a,b,c'.split(',') == ['a', 'b', 'c']",
        "'a,b,c'.split(',', 2) == ['a', 'b,c']",
        "'a,b,c'.split(',', 0) == []",
        "'zoë'.split('') == ['z', 'o', 'ë']",
        "['a', 'b'].join('-') == 'a-b' && ['a', 'b'].join() == 'ab' && [].join('-') == ''",
        "'aXbX'.replace('X', '-') == 'a-b-' && 'aXbX'.replace('X', '-', 1) == 'a-bX'",
        "params.name.substring(4) == 'Ünïcode' && params.name.substring(0, 3) == 'Zoë' && 'a'.substring(1) == ''",
        "params.name.indexOf('Ü') == 4 && 'abcabc'.indexOf('a', 1) == 3 && 'a'.indexOf('z') == -1 && 'a'.indexOf('') == 0",
        "'ta©o©αT'.lastIndexOf('©', 3) == 2 && 'ta©o©αT'.lastIndexOf('©', 4) == 4",
        "'ëbcëbc'.lastIndexOf('ë') == 3 && 'abcabc'.lastIndexOf('abc', 2) == 0 && 'abc'.lastIndexOf('') == 3",
        "params.name.charAt(2) == 'ë' && 'a'.charAt(1) == ''",
        "params.currency.matches('^[A-Z]{3}$') && matches(params.currency, 'US')",
        "'a' + 'b' == 'ab' && [1] + [2] == [1, 2]",
        "params.currency in ['EUR', 'USD'] && params.amount in [1, 500.0] && 'a' in params.nested && 2 in params.numbers",
        "!('x' in params.nested) && !(params.nil in ['a']) && params.nil in [null]",
        "params.currency in params.to + ['USD']",
        "r'a\\b' == 'a\\\\b' && '''x''' == \"x\"",
        "{'USD': 500, 'EUR': 400}[params.currency] >= params.amount",
    ] {
        holds(source);
    }
    holds(r"params.to.all(t, t.matches('^\\w+@\\w+\\.com$')) && params.name.matches('^\\p{L}{1,9} ')");
    fails("params.currency.matches('^x')");
    unknown("'abc'.substring(2, 1) == ''", "substring");
    unknown("'abc'.substring(4) == ''", "out of range");
    unknown("'abc'.charAt(-1) == ''", "out of range");
    unknown("params.numbers.join(',') == ''", "list of strings");
    unknown("'a'.contains(1)", "needs a string");
    unknown("size(params.amount) == 1", "does not apply");
}

#[test]
fn conversions() {
    for source in [
        "int('42') == 42 && int(1.9) == 1 && int(-1.9) == -1 && int(params.amount) == 500",
        "double('1.50') == 1.5 && double(3) / 2 == 1.5",
        "string(params.fine) == '19.99' && string(500) == '500' && string(true) == 'true' && string(1.50) == '1.5'",
        "string(duration('90s')) == '90s' && string(timestamp(0)) == '1970-01-01T00:00:00Z'",
        "bool('true') && !bool('0')",
        "int(timestamp('1970-01-01T00:01:00Z')) == 60",
    ] {
        holds(source);
    }
    unknown("int('x') == 1", "not a whole number");
    unknown("int(params.huge) == 1", "out of range");
    unknown("double('0x1') == 1", "not a number");
    unknown("bool('maybe')", "neither");
    unknown("timestamp('yesterday') < now", "RFC 3339");
    unknown("duration('1 day') > duration('1s')", "not a duration");
    unknown("string(params.to) == ''", "does not apply");
}

#[test]
fn time() {
    for source in [
        "now > timestamp('2026-03-28T00:00:00Z')",
        "now - timestamp('2026-03-29T00:00:00Z') == duration('30m15.25s')",
        "timestamp('2026-03-29T00:00:00Z') + duration('30m15s250ms') == now",
        "now - duration('1h') < now",
        "duration('1h') + duration('30m') == duration('90m') && duration('1h') - duration('90m') == duration('-30m')",
        "now.getFullYear() == 2026 && now.getMonth() == 2 && now.getDayOfMonth() == 28 && now.getDate() == 29",
        "now.getDayOfWeek() == 0 && now.getDayOfYear() == 87",
        "now.getHours() == 0 && now.getMinutes() == 30 && now.getSeconds() == 15 && now.getMilliseconds() == 250",
        // Half an hour before the clocks go forward, and just after.
        "now.getHours('Europe/Berlin') == 1",
        "(now + duration('30m')).getHours('Europe/Berlin') == 3",
        "now.getHours('America/New_York') == 20 && now.getDayOfWeek('America/New_York') == 6",
        "now.getHours('+05:30') == 6 && now.getHours('05:30') == 6 && now.getMinutes('-00:30') == 0",
        "duration('90m').getHours() == 1 && duration('90m').getMinutes() == 90",
        "now.getHours(['Europe/Berlin'][0]) == 1",
    ] {
        holds(source);
    }
    unknown("params.currency.getHours() == 1", "does not apply");
    unknown("now.getHours(params.currency + 'X') == 1", "unknown time zone");
    unknown("now + 1 > now", "does not apply");
    unknown("now == now - 1", "does not apply");
    unknown("timestamp('9999-12-30T00:00:00Z') + duration('100h') > now", "out of range");
}

#[test]
fn what_is_refused_when_loading() {
    refused("param.amount < 5", "did you mean `params`", 0);
    refused("true && usr.id == 'x'", "did you mean `user`", 8);
    refused("params.a.startWith('x')", "did you mean `startsWith`", 9);
    refused("foo(1)", "unknown function `foo`", 0);
    refused("params.a.matches(params.b)", "must be a literal", 9);
    refused("params.a.matches('(')", "can't be used", 17);
    refused(r"params.a.matches('(\\w{90}){90}')", "too large", 17);
    refused("now.getHours('Mars/Olympus') == 1", "unknown time zone", 13);
    refused("params.a = 5", "compare with `==`", 9);
    refused("params.a == 0.123456789012345678901234567890123456789", "not a number", 12);
    refused("params.a == 5u", "not a number", 12);
    refused("params.a == b'x'", "byte strings", 12);
    refused("params.a == 'x", "never closed", 12);
    refused("(params.a", "never closed", 0);
    refused("params.a)", "closes nothing", 8);
    refused("", "empty", 0);
    refused("// nothing", "empty", 0);
    refused("true && ", "empty", 4);
    refused(&format!("'{}' == ''", "x".repeat(2048)), "2048", 0);
    refused("x.all(y)", "unknown name `x`", 0);
    refused("params.x.all(y, z)", "unknown name `z`", 16);
    refused("timestamp(1, 2) == now", "2 arguments", 0);
    refused("startsWith('a')", "called on a value", 0);
    refused("Foo{a: 1}", "messages", 3);
    assert!(Expression::parse("params.a ==").is_err());
    assert!(Expression::parse("1 2").is_err());
    assert!(Expression::parse("params.?a").is_err());
    assert!(Expression::parse("'é' == params.a && 'é' == nope").unwrap_err().message.contains("nope"));
    refused("'é' == nope", "unknown name `nope`", 8);
}
