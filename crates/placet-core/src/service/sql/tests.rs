use crate::{
    pattern::ActionName,
    service::{Kind, Prepared, Service, check},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::time::Duration;

const WAREHOUSE: &str = r#"
service: warehouse
base_url: postgres://DB.example.com:5433/warehouse
auth: {type: basic}
tables:
  public.orders:
    id: bigint
    tenant: text
    customer: uuid
    amount: numeric(12,2)
    status: varchar(10)
    placed: timestamptz
    due: date?
    note: text?
    tags: text[]?
    paid: boolean
    extra: jsonb?
    ratio: double precision?
  odd."quoted" name:
    'a"b': integer
actions:
  orders.list:
    resource: order://{tenant}
    select:
      table: public.orders
      columns: [id, amount, note, ratio]
      where:
        tenant: $params.tenant
        status: {in: $params.statuses?}
        amount: {gte: $params.least?, lt: 1000.50}
        note: {prefix: $params.begins?}
        due: {is_null: false}
        placed: {between: [$params.from?, $params.to?]}
      order: [-placed, -id]
      after: [$params.after_placed, $params.after_id]
      limit: {param: limit, default: 20, max: 50}
  orders.one:
    resource: order://{tenant}/{id}
    select: {table: public.orders, columns: [id], where: {tenant: $params.tenant, id: $params.id}, expect_rows: 1}
  orders.add:
    resource: order://{tenant}/{id}
    effect: write
    insert:
      table: public.orders
      values:
        id: $params.id
        tenant: $params.tenant
        customer: $params.customer
        amount: $params.amount
        status: open
        placed: $params.placed?
        due: $params.due?
        note: $params.note?
        tags: $params.tags?
        paid: false
        extra: $params.extra?
      where: {amount: {gt: 0}}
      returning: [id, placed]
  orders.change:
    resource: order://{tenant}/{id}
    effect: write
    update:
      table: public.orders
      set: {status: $params.status?, note: $params.note?, paid: $params.paid?}
      where: {tenant: $params.tenant, id: $params.id}
      before: {status: open}
      returning: [id, status]
  orders.drop:
    resource: order://{tenant}/{id}
    effect: delete
    delete: {table: public.orders, where: {tenant: $params.tenant, id: $params.id, paid: false}}
  odd.all:
    resource: odd://all
    select: {table: 'odd."quoted" name', columns: ['a"b'], where: {'a"b': {in: [1, 2]}}, offset: $params.skip, limit: 3}
"#;

fn warehouse() -> Service {
    loaded(WAREHOUSE).unwrap()
}

fn loaded(text: &str) -> Result<Service, String> {
    Service::parse(text.as_bytes(), None)
        .map(|(service, _)| service)
        .map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn params(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

fn render(action: &str, given: Value) -> Result<Prepared, String> {
    let service = warehouse();
    let name = ActionName::parse(action).unwrap();
    let declared = service.action(&name).unwrap();
    let given = params(given);
    declared.describe(&given).map_err(|error| error.message)?;
    let call = service.render(declared, &given).map_err(|error| error.message)?;
    assert_eq!(
        (call.origin.as_str(), call.target.as_str()),
        ("postgres://db.example.com:5433", "/warehouse")
    );
    assert_eq!(service.describe_call(&call), Some((name, given)));
    Ok(Prepared::read(call.body.as_deref().unwrap()).unwrap())
}

#[test]
fn a_statement_is_written_from_the_definition_and_what_is_given() {
    let service = warehouse();
    assert_eq!(
        (service.kind(), service.origin(), service.base_path()),
        (Kind::Postgres, "postgres://db.example.com:5433", "/warehouse")
    );
    let all = render("orders.list", json!({"tenant": "acme"})).unwrap();
    assert_eq!(
        all.statement,
        "SELECT CAST(pg_catalog.to_json(\"r\".\"id\") AS pg_catalog.text), \
         CAST(pg_catalog.to_json(\"r\".\"amount\") AS pg_catalog.text), \
         CAST(pg_catalog.to_json(\"r\".\"note\") AS pg_catalog.text), \
         CAST(pg_catalog.to_json(\"r\".\"ratio\") AS pg_catalog.text) \
         FROM \"public\".\"orders\" AS \"r\" \
         WHERE (\"r\".\"tenant\" OPERATOR(pg_catalog.=) CAST($1 AS pg_catalog.text)) \
         AND (\"r\".\"amount\" OPERATOR(pg_catalog.<) CAST($2 AS pg_catalog.numeric)) \
         AND (\"r\".\"due\" IS NOT NULL) \
         ORDER BY \"r\".\"placed\" DESC, \"r\".\"id\" DESC LIMIT CAST($3 AS pg_catalog.int8)"
    );
    assert_eq!(all.values, [json!("acme"), json!("1000.50"), json!("20")]);
    assert!(all.reads && all.rows.min == 0 && all.rows.max == 50);
    let some = render(
        "orders.list",
        json!({
            "tenant": "acme", "statuses": ["a", "b"], "least": 1.10, "begins": "50%_", "limit": 7,
            "after_placed": "2026-11-23T08:00:00.5Z", "after_id": 9, "from": "2026-01-01T00:00:00Z"
        }),
    )
    .unwrap();
    assert!(some.statement.contains(
        "AND (\"r\".\"status\" OPERATOR(pg_catalog.=) CAST($2 AS pg_catalog.text) OR \"r\".\"status\" OPERATOR(pg_catalog.=) CAST($3 AS pg_catalog.text))"
    ));
    assert!(some.statement.contains("pg_catalog.starts_with(\"r\".\"note\", CAST($6 AS pg_catalog.text))"));
    assert!(some.statement.contains("(\"r\".\"placed\", \"r\".\"id\") OPERATOR(pg_catalog.<) (CAST("));
    let changed = render("orders.change", json!({"tenant": "acme", "id": 1, "note": null})).unwrap();
    assert_eq!(
        changed.statement,
        "UPDATE \"public\".\"orders\" AS \"r\" SET \"note\" = CAST($1 AS pg_catalog.text) \
         WHERE (\"r\".\"tenant\" OPERATOR(pg_catalog.=) CAST($2 AS pg_catalog.text)) \
         AND (\"r\".\"id\" OPERATOR(pg_catalog.=) CAST($3 AS pg_catalog.int8)) \
         AND (\"r\".\"status\" OPERATOR(pg_catalog.=) CAST($4 AS pg_catalog.text)) \
         RETURNING CAST(pg_catalog.to_json(\"r\".\"id\") AS pg_catalog.text), \
         CAST(pg_catalog.to_json(\"r\".\"status\") AS pg_catalog.text), \
         ((\"r\".\"tenant\" OPERATOR(pg_catalog.=) CAST($2 AS pg_catalog.text)) \
         AND (\"r\".\"id\" OPERATOR(pg_catalog.=) CAST($3 AS pg_catalog.int8))) IS TRUE"
    );
    assert_eq!(changed.values, [Value::Null, json!("acme"), json!("1"), json!("open")]);
    let odd = render("odd.all", json!({"skip": 5})).unwrap();
    assert!(
        odd.statement.contains("FROM \"odd\".\"\"\"quoted\"\" name\" AS \"r\" WHERE (\"r\".\"a\"\"b\" "),
        "{}",
        odd.statement
    );
    assert!(odd.statement.ends_with("LIMIT CAST($3 AS pg_catalog.int8) OFFSET CAST($4 AS pg_catalog.int8)"));
}

#[test]
fn what_a_statement_finds_its_row_by_is_known_and_nothing_else() {
    let service = warehouse();
    for (action, expected) in [("orders.one", 0), ("orders.add", 0), ("orders.change", 0), ("orders.drop", 0)]
    {
        let action = service.action(&ActionName::parse(action).unwrap()).unwrap();
        assert_eq!(action.claimed().len(), expected, "{}", action.name());
        assert!(action.binds.iter().any(|name| name == "id"), "{}", action.name());
    }
    let claimed = WAREHOUSE.replace(
        "select: {table: public.orders, columns: [id], where: {tenant: $params.tenant, id: $params.id}, expect_rows: 1}",
        "params: {properties: {tenant: {type: string}}}\n    select: {table: public.orders, columns: [id], where: {id: $params.id}, expect_rows: 1}",
    );
    let service = loaded(&claimed).unwrap();
    let one = service.action(&ActionName::parse("orders.one").unwrap()).unwrap();
    assert_eq!(one.claimed(), ["tenant"]);
}

#[test]
fn values_that_do_not_fit_are_refused_before_anything_is_decided() {
    let good = json!({
        "id": 1, "tenant": "a", "customer": "0b0e7a1e-0000-4000-8000-00000000000a", "amount": 5.25,
        "placed": "2026-11-23T08:00:00.123456+01:00", "due": "2024-02-29", "note": "'; DROP TABLE orders; --",
        "tags": ["a,b", "{}", "\"", "NULL"], "extra": {"a": [1.10, null, "\\"]}
    });
    let prepared = render("orders.add", good.clone()).unwrap();
    assert_eq!(prepared.values.last(), Some(&json!("0")));
    assert!(!prepared.statement.contains("DROP"));
    for (name, bad) in [
        ("id", json!(1.5)),
        ("id", json!("1")),
        ("id", json!(9_223_372_036_854_775_808_u64)),
        ("customer", json!("0B0E7A1E-0000-4000-8000-00000000000A")),
        ("customer", json!("0b0e7a1e00004000800000000000000a")),
        ("customer", json!("0b0e7a1e-0000-4000-8000-00000000000a'")),
        ("amount", json!(5.255)),
        ("amount", json!(12_345_678_901_i64)),
        ("amount", json!("5")),
        ("amount", json!(null)),
        ("placed", json!("2026-11-23 08:00:00")),
        ("placed", json!("2026-11-23T08:00:00.1234567Z")),
        ("placed", json!("2026-02-30T08:00:00Z")),
        ("placed", json!("now")),
        ("placed", json!("2026-11-23T08:00:00Z'::text")),
        ("due", json!("2026-02-29")),
        ("due", json!("infinity")),
        ("due", json!("20260228")),
        ("note", json!("a\u{0}b")),
        ("tags", json!("a")),
        ("tags", json!([1])),
        ("tags", json!([null])),
        ("tags", Value::Array(vec!["x".into(); 101])),
        ("extra", json!({"a\u{0}": 1})),
        ("unknown", json!(1)),
    ] {
        let mut given = params(good.clone());
        given.insert(name.to_owned(), bad.clone());
        assert!(render("orders.add", Value::Object(given)).is_err(), "{name}: {bad}");
    }
    for bad in [
        json!({"tenant": "a", "statuses": []}),
        json!({"tenant": "a", "statuses": "open"}),
        json!({"tenant": "a", "statuses": ["longer than ten"]}),
        json!({"tenant": "a", "limit": 51}),
        json!({"tenant": "a", "limit": -1}),
        json!({"tenant": "a", "after_id": 1}),
        json!({"tenant": null}),
        json!({}),
    ] {
        assert!(render("orders.list", bad.clone()).is_err(), "{bad}");
    }
    assert!(
        render("orders.change", json!({"tenant": "a", "id": 1})).unwrap_err().contains("nothing is given")
    );
}

#[test]
fn what_could_not_be_meant_is_refused_when_it_is_loaded() {
    for (from, to, says) in [
        ("auth: {type: basic}", "auth: {type: bearer}", "a user and a password"),
        ("5433/warehouse", "5433", "has the form"),
        ("5433/warehouse", "5433/warehouse?sslmode=require", "sslmode"),
        ("5433/warehouse", "5433/warehouse?sslmode=disable", "this machine"),
        ("DB.example.com", "ada:pw@db.example.com", "user name or password"),
        ("id: bigint", "id: serial", "no type of a column"),
        ("columns: [id, amount", "columns: [id, amuont", "did you mean"),
        ("table: public.orders", "table: public.order", "no table"),
        ("tenant: $params.tenant", "tenant: $param.tenant", "$params.NAME"),
        (
            "paid: $params.paid?}\n      where: {tenant",
            "paid: $params.paid?}\n      where: {extra: {eq: 1}, tenant",
            "can't be compared",
        ),
        (
            "paid: $params.paid?}\n      where: {tenant",
            "paid: $params.paid?}\n      where: {paid: {gt: false}, tenant",
            "has no order",
        ),
        ("lt: 1000.50", "lt: 1000.505", "more digits"),
        ("lt: 1000.50", "like: x", "unknown"),
        ("order: [-placed, -id]", "order: [-placed, id]", "one way"),
        (
            "after: [$params.after_placed, $params.after_id]",
            "after: [$params.after_id]",
            "one parameter for each",
        ),
        ("status: open", "ratio: 1", "answered only"),
        ("least?", "tenant", "two types"),
        ("in: $params.statuses?", "in: $params.tenant", "is a list"),
        ("least?", "limit?", "number of rows and something else"),
        (
            "delete: {table: public.orders, where: {tenant: $params.tenant, id: $params.id, paid: false}}",
            "delete: {table: public.orders, where: {note: $params.tenant, id: $params.id}}",
            "can't name one",
        ),
        (
            "where: {tenant: $params.tenant, id: $params.id, paid: false}}",
            "where: {tenant: $params.tenant?, id: $params.id}}",
            "always given",
        ),
        ("effect: delete", "effect: read", "no `read`"),
        ("expect_rows: 1", "expect_rows: 0", "at least one"),
        ("expect_rows: 1", "select: 0", "unknown"),
        (
            "effect: delete",
            "effect: delete\n    select: {table: public.orders, columns: [id]}",
            "one of `select`",
        ),
        ("effect: delete", "effect: delete\n    path: /x", "path"),
        (
            "effect: delete",
            "effect: delete\n    params: {properties: {id: {type: string}}}",
            "type of its column",
        ),
        ("effect: delete", "effect: delete\n    params: {properties: {other: {type: string}}}", "no place"),
        (
            "  orders.drop:",
            "  orders.again: {resource: 'order://x', select: {table: public.orders, columns: [id], where: {tenant: $params.tenant, id: $params.id}, expect_rows: 1}}\n  orders.drop:",
            "can be the same call",
        ),
    ] {
        assert!(WAREHOUSE.contains(from), "{from}");
        let text = WAREHOUSE.replacen(from, to, 1);
        let told = loaded(&text).expect_err(to);
        assert!(told.contains(says), "{to}: {told}");
    }
    let near = WAREHOUSE.replace("DB.example.com:5433/warehouse", "10.0.0.7/warehouse?sslmode=disable");
    assert_eq!(loaded(&near).unwrap().origin(), "postgres+plain://10.0.0.7");
}

#[test]
fn how_long_and_how_many_at_once_is_said_as_of_any_service() {
    let service = warehouse();
    assert_eq!((service.timeout(), service.concurrency()), (None, None));
    let said = WAREHOUSE.replace("auth:", "timeout: 7s\nconcurrency: 4\nauth:");
    let service = loaded(&said).unwrap();
    assert_eq!((service.timeout(), service.concurrency()), (Some(Duration::from_secs(7)), Some(4)));
    for bad in ["timeout: 301s", "timeout: 7", "concurrency: 0"] {
        let text = WAREHOUSE.replace("auth:", &format!("{bad}\nauth:"));
        assert!(loaded(&text).is_err(), "{bad}");
    }
}

#[test]
fn two_actions_may_send_the_same_and_each_is_itself() {
    let one = "select: {table: public.orders, columns: [id], where: {tenant: $params.tenant, id: $params.id}, expect_rows: 1}";
    let text = WAREHOUSE.replace(
        "  orders.one:",
        &format!(
            "  orders.before: {{resource: 'order://{{tenant}}/{{id}}', {}}}\n  orders.one:",
            one.replace("id: $params.id}", "id: $params.id, note: $params.note?}")
        ),
    );
    let service = loaded(&text).unwrap();
    let given = params(json!({"tenant": "a", "id": 1}));
    let call = |name: &str| {
        let action = service.action(&ActionName::parse(name).unwrap()).unwrap();
        service.render(action, &given).unwrap()
    };
    assert_eq!(call("orders.one"), call("orders.before"));
}

#[test]
fn it_is_checked_like_any_other_service() {
    let shipped = include_str!("../../../../../examples/services/orders-db.yaml");
    let (_, found) = check(shipped.as_bytes(), None, &[]).map_err(|all| format!("{all:?}")).unwrap();
    assert!(found.is_empty(), "{found:?}");
    let schema = jsonschema::options().offline().build(&crate::service::schema()).unwrap();
    for text in [shipped, WAREHOUSE] {
        let json = crate::yaml::to_json(&crate::yaml::parse(text.as_bytes(), None).unwrap().0);
        assert!(
            schema.is_valid(&json),
            "{:?}",
            schema.iter_errors(&json).map(|it| it.to_string()).collect::<Vec<_>>()
        );
    }
    let (_, found) = check(WAREHOUSE.as_bytes(), None, &[]).map_err(|all| format!("{all:?}")).unwrap();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_statement_that_says_anything_else_is_not_sent() {
    let service = warehouse();
    let one = service.action(&ActionName::parse("orders.one").unwrap()).unwrap();
    let statement = one.statement.as_ref().unwrap();
    let good = super::write::write(statement, &params(json!({"tenant": "a", "id": 1}))).unwrap();
    assert_eq!(super::prove::prove(statement, &good), Ok(()));
    for (from, to) in [
        ("SELECT", "SELECT pg_catalog.pg_sleep(9), "),
        ("\"orders\"", "\"users\""),
        ("\"public\".\"orders\"", "\"orders\""),
        ("\"public\".\"orders\"", "public.orders"),
        ("WHERE (", "WHERE TRUE OR ("),
        ("$1", "'a'"),
        ("$2", "$1"),
        (" LIMIT", "; DELETE FROM \"public\".\"orders\"; SELECT 1 LIMIT"),
        (" LIMIT", " -- LIMIT"),
        (" LIMIT", " UNION SELECT \"id\" FROM \"public\".\"orders\" LIMIT"),
        ("AS \"r\" WHERE", "AS \"r\", \"public\".\"orders\" WHERE"),
        ("SELECT", "EXPLAIN SELECT"),
    ] {
        assert!(good.statement.contains(from), "{from}");
        let bad = Prepared { statement: good.statement.replacen(from, to, 1), ..good.clone() };
        // What merely lets more through is for the reading back, which compares the whole text.
        if to != "WHERE TRUE OR (" {
            assert!(super::prove::prove(statement, &bad).is_err(), "{}", bad.statement);
        }
        let call = crate::call::UpstreamCall {
            body: Some(bad.body().unwrap()),
            ..service.render(one, &params(json!({"tenant": "a", "id": 1}))).unwrap()
        };
        assert_eq!(service.describe_call(&call), None);
    }
}

fn text() -> impl Strategy<Value = String> {
    let hostile = proptest::sample::select(vec![
        "'", "\"", "$1", "--", ";", "/*", "\\", "$$", "E'", "\u{2019}", "%", "null",
    ]);
    let piece = prop_oneof![hostile.prop_map(str::to_owned), any::<char>().prop_map(String::from)];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat().replace('\0', ""))
}

proptest! {
    #[test]
    fn no_value_changes_a_statement_and_every_value_comes_back(
        (note, tag, key) in (text(), text(), text()),
        (given, id, cents) in (0_u8..64, any::<i64>(), 0_i64..99_999_999),
        names in (text(), text(), text()),
    ) {
        let amount: serde_json::Number = format!("{}.{:02}", cents / 100, cents % 100).parse().unwrap();
        let values = |note: &str, tag: &str, key: &str, id: i64, amount: Value| {
            let mut all = params(json!({
                "id": id, "tenant": "a", "customer": "0b0e7a1e-0000-4000-8000-00000000000a", "amount": amount,
                "placed": "2026-11-23T08:00:00Z", "due": null, "note": note, "tags": [tag, note], "extra": {key: [tag, 1.50]},
            }));
            for (bit, name) in ["placed", "due", "note", "tags", "extra"].iter().enumerate() {
                if given & (1 << bit) == 0 {
                    all.remove(*name);
                }
            }
            Value::Object(all)
        };
        // `render` sees to it that the call is read back as what it was made of.
        let hostile = render("orders.add", values(&note, &tag, &key, id, amount.into()));
        let plain = render("orders.add", values("n", "t", "k", 1, json!(1)));
        prop_assert_eq!(hostile.unwrap().statement, plain.unwrap().statement);
        // Names of the definition are the operator's, and stay names.
        let (schema, table, column) = names;
        let fits = |name: &str| super::column::is_name(name) && !name.contains(['.', ':', '#', '&', '*', '!', '|', '>', '%', '@', '`', '{', '[', '\'']);
        if fits(&schema) && fits(&table) && fits(&column) {
            let name = json!(format!("{schema}.{table}")).to_string();
            let column = json!(column).to_string();
            let definition = format!(
                "service: x\nbase_url: postgres://x.example/x\nauth: {{type: basic}}\ntables: {{{name}: {{{column}: text}}}}\nactions:\n  a: {{resource: 'a://b', select: {{table: {name}, columns: [{column}], where: {{{column}: $params.p}}}}}}\n"
            );
            if let Ok(service) = loaded(&definition) {
                let action = service.action(&ActionName::parse("a").unwrap()).unwrap();
                service.render(action, &params(json!({"p": note}))).unwrap();
            }
        }
    }
}
