use super::*;

struct Refund;

impl Schema for Refund {
    fn type_of(&self, path: &[&str]) -> FieldType {
        match path {
            ["params"] => FieldType::Map,
            ["params", "amount"] => FieldType::Number,
            ["params", "count"] => FieldType::Integer,
            ["params", "currency"] => FieldType::String,
            ["params", "urgent"] => FieldType::Bool,
            ["params", "to"] => FieldType::List(Box::new(FieldType::String)),
            ["params", "extra"] => FieldType::Map,
            ["params", "extra", ..] => FieldType::Unknown,
            ["params", name] => {
                FieldType::Absent { nearest: (*name == "amuont").then(|| "amount".to_owned()) }
            }
            _ => FieldType::Unknown,
        }
    }
}

fn issues(source: &str) -> Vec<TypeIssue> {
    Expression::parse(source).unwrap().check(&Refund)
}

#[test]
fn certain_errors_are_named_where_they_stand() {
    for (source, message, offset, conjunct) in [
        ("params.amuont <= 5", "did you mean `amount`", 6, 0),
        ("true && params.nope == 1", "no such field `params.nope`", 14, 1),
        ("has(params.nope)", "no such field `params.nope`", 3, 0),
        ("params.amount < '5'", "`<` does not compare a number with a string", 14, 0),
        ("params.amount == '5'", "never equal", 14, 0),
        ("params.amount.startsWith('x')", "`startsWith` does not apply to a number", 14, 0),
        ("params.currency.startsWith(5)", "needs a string", 27, 0),
        ("params.currency.substring('a') == ''", "needs a whole number", 26, 0),
        ("params.amount", "must be true or false", 6, 0),
        ("params.amount + 1", "must be true or false", 14, 0),
        ("!params.currency", "must be true or false", 7, 0),
        ("params.urgent || params.count", "must be true or false", 23, 0),
        ("params.amount + params.currency == 1", "`+` does not apply", 14, 0),
        ("params.to.all(t, t > 5)", "does not compare a string with a number", 19, 0),
        ("params.to.all(t, t)", "must be true or false", 17, 0),
        ("params.amount.all(t, true)", "macro runs over", 17, 0),
        ("params.amount in ['a', 'b']", "never in this list", 14, 0),
        ("params.amount in params.to", "never in a list of strings", 14, 0),
        ("'a' in params.amount", "`in` needs a list", 4, 0),
        ("params.to['x'] == 'y'", "`params.to` is a list, which has no fields", 9, 0),
        ("params.amount.cents > 5", "`params.amount` is a number, which has no fields", 13, 0),
        ("params.nope.deeper > 5", "no such field `params.nope`", 11, 0),
        ("params.to[params.currency] == 'y'", "whole number", 9, 0),
        ("now < 5", "a timestamp with a number", 4, 0),
        ("now.hour == 5", "no fields", 3, 0),
        ("now - now < 5", "a duration with a number", 10, 0),
        ("params.currency.getHours() == 1", "does not apply", 16, 0),
        ("params.currency.matches('x') < 'x'", "does not compare a bool", 29, 0),
        ("params.amount.matches('x')", "does not apply to a number", 14, 0),
    ] {
        let found = issues(source);
        let [issue] = &found[..] else { panic!("{source}: {found:?}") };
        assert!(issue.message.contains(message), "{source}: {issue:?}");
        assert_eq!((issue.offset, issue.conjunct), (offset, conjunct), "{source}: {issue:?}");
    }
}

#[test]
fn whatever_may_hold_passes() {
    for source in [
        "params.amount <= 500 && params.currency == 'USD' && params.urgent",
        "params.count < 2.5 && params.amount * params.count + 1 > 0.5",
        "params.amount == null || params.currency in ['USD', null]",
        "params.extra.anything.goes == 1 && params.extra['x'].startsWith('y')",
        "user.roles.exists(r, r == 'x' || r > 5)",
        "params.to.all(t, t.endsWith('.com')) && params.to.map(t, t.size()).exists(n, n > 3)",
        "now - duration('1h') < timestamp(resource.created) && now.getHours('Europe/Berlin') < 17",
        "params.urgent ? params.amount < 5 : params.currency == 'x'",
        "(params.urgent ? params.amount : params.currency) == 5",
        "int(params.currency) < 5 && string(params.amount).size() < 9",
        "{'USD': 500}[params.currency] >= params.amount",
        "params.currency.split(',').join('-') == 'x'",
        "params.amount in []",
    ] {
        assert_eq!(issues(source), [], "{source}");
    }
}

#[test]
fn an_amount_must_be_a_number() {
    let issues = |source: &str| Expression::parse(source).unwrap().check_number(&Refund).len();
    assert_eq!(issues("params.amount * 2"), 0);
    assert_eq!(issues("user.quota"), 0);
    assert_eq!(issues("params.currency"), 1);
    assert_eq!(issues("params.amount > 2"), 1);
    assert_eq!(issues("params.urgent && params.urgent"), 1);
}
