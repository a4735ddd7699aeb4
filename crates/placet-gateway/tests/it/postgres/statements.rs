//! What statements do and answer.

use super::{Desk, base};
use placet_testkit::{Cluster, Database};
use serde_json::{Value, json};

const TABLES: &str = "
CREATE TABLE orders (
  id bigint PRIMARY KEY, tenant text NOT NULL, amount numeric(12,2) NOT NULL, status varchar(10) NOT NULL,
  placed timestamptz, due date, paid boolean DEFAULT false, who uuid, tags text[], counts bigint[], extra jsonb, ratio float8,
  note text, CHECK (amount < 1000000)
);
INSERT INTO orders (id, tenant, amount, status, note) VALUES
  (1, 'acme', 10.50, 'open', 'first'), (2, 'acme', 20.00, 'open', NULL), (3, 'acme', 30.25, 'paid', '50%_off'),
  (4, 'bolt', 40.00, 'open', 'other'), (9007199254740993, 'acme', 0.01, 'paid', 'large');
CREATE TABLE audit (word text);
";

const DEFINITION: &str = "service: desk
base_url: BASE
auth: {type: basic}
tables:
  public.orders:
    id: bigint
    tenant: text
    amount: numeric(12,2)
    status: varchar(10)
    placed: timestamptz?
    due: date?
    paid: boolean?
    who: uuid?
    tags: text[]?
    counts: bigint[]?
    extra: jsonb?
    ratio: double precision?
    note: text?
actions:
  list:
    resource: order://{tenant}
    select:
      table: public.orders
      columns: [id, amount, status, note]
      where: {tenant: $params.tenant, status: {in: $params.statuses?}, note: {prefix: $params.begins?}, amount: {gte: $params.least?}}
      order: [id]
      after: [$params.after]
      limit: {param: limit, default: 10, max: 20}
  one:
    resource: order://{tenant}/{id}
    select:
      table: public.orders
      columns: [id, tenant, amount, status, placed, due, paid, who, tags, counts, extra, ratio, note]
      where: {tenant: $params.tenant, id: $params.id}
      expect_rows: 1
  named:
    resource: order://{tenant}
    select: {table: public.orders, columns: [id], where: {tenant: $params.tenant, note: $params.note}}
  only:
    resource: order://{tenant}
    select: {table: public.orders, columns: [id], where: {tenant: $params.tenant}, expect_rows: {min: 1, max: 3}}
  add:
    resource: order://{tenant}/{id}
    effect: write
    insert:
      table: public.orders
      values:
        id: $params.id
        tenant: $params.tenant
        amount: $params.amount
        status: open
        placed: $params.placed?
        due: $params.due?
        paid: $params.paid?
        who: $params.who?
        tags: $params.tags?
        counts: $params.counts?
        extra: $params.extra?
        note: $params.note?
      where: {amount: {gt: 0}}
      returning: [id, status, paid]
  change:
    resource: order://{tenant}/{id}
    effect: write
    update:
      table: public.orders
      set: {status: $params.status?, note: $params.note?, amount: $params.amount?, tenant: $params.to?}
      where: {tenant: $params.tenant, id: $params.id, amount: {lt: 100}}
      before: {status: open}
      returning: [id, status, note]
  close:
    resource: order://{tenant}
    effect: write
    update: {table: public.orders, set: {status: closed}, where: {tenant: $params.tenant}, expect_rows: {min: 0, max: 2}}
  drop:
    resource: order://{tenant}/{id}
    effect: delete
    delete: {table: public.orders, where: {tenant: $params.tenant, id: $params.id}, returning: [amount]}
  narrow:
    resource: order://{tenant}
    select: {table: public.orders, columns: [id, extra], where: {tenant: $params.tenant}}
";

fn desk() -> (Desk, Database) {
    let database = Cluster::of_this_process().database();
    database.run(TABLES);
    (Desk::new(DEFINITION, &base(&database, None)), database)
}

fn sum(database: &Database) -> String {
    database.column("SELECT md5(string_agg(o::text, ';' ORDER BY id)) FROM orders o").concat()
}

#[tokio::test]
async fn rows_come_with_exact_numbers_and_by_pages() {
    let (desk, _database) = desk();
    let (status, body) = desk.act("list", json!({"tenant": "acme"})).await.unwrap();
    let rows = r#"{"rows":[{"amount":10.50,"id":1,"note":"first","status":"open"},{"amount":20.00,"id":2,"note":null,"status":"open"},{"amount":30.25,"id":3,"note":"50%_off","status":"paid"},{"amount":0.01,"id":9007199254740993,"note":"large","status":"paid"}]}"#;
    assert_eq!((status, body.to_string().as_str()), (200, rows));
    let ids = |body: &Value| {
        body["rows"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect::<Vec<_>>()
    };
    for (params, expected) in [
        (json!({"tenant": "acme", "limit": 2}), vec![json!(1), json!(2)]),
        (json!({"tenant": "acme", "limit": 2, "after": 2}), vec![json!(3), json!(9_007_199_254_740_993_i64)]),
        (json!({"tenant": "acme", "statuses": ["open", "x"]}), vec![json!(1), json!(2)]),
        (json!({"tenant": "acme", "begins": "50%_"}), vec![json!(3)]),
        (json!({"tenant": "acme", "begins": "%"}), vec![]),
        (json!({"tenant": "acme", "least": 20.01}), vec![json!(3)]),
        (json!({"tenant": "none"}), vec![]),
    ] {
        let (status, body) = desk.act("list", params.clone()).await.unwrap();
        assert_eq!((status, ids(&body)), (200, expected), "{params}");
    }
    assert_eq!(desk.act("one", json!({"tenant": "bolt", "id": 1})).await.unwrap().0, 404);
    assert_eq!(desk.act("only", json!({"tenant": "acme"})).await.unwrap().0, 409);
    assert_eq!(desk.act("only", json!({"tenant": "bolt"})).await.unwrap().0, 200);
}

#[tokio::test]
async fn every_type_comes_back_as_it_went() {
    let (desk, _database) = desk();
    let full = json!({
        "tenant": "acme", "id": 7, "amount": 1234567.89 , "placed": "2026-11-23T09:30:00.123456+01:00", "due": "2024-02-29",
        "paid": true, "who": "0b0e7a1e-0000-4000-8000-00000000000a", "tags": ["a,b", "{x}", "\"q\"", "NULL", "", "\\"],
        "counts": [i64::MIN, 0, i64::MAX], "extra": {"deep": [1.10, null, {"é": "\u{1F600}"}]}, "note": "Zeile\n'\"\\ ; --"
    });
    // The table allows less.
    assert_eq!(
        desk.act("add", full.clone()).await.unwrap(),
        (422, json!({"error": {"sqlstate": "23514", "message": "the table does not allow such a row"}}))
    );
    let mut full = full;
    full["amount"] = "999999.99".parse::<serde_json::Number>().unwrap().into();
    let (status, body) = desk.act("add", full.clone()).await.unwrap();
    assert_eq!(
        (status, body),
        (200, json!({"rows": [{"id": 7, "status": "open", "paid": true}], "row_count": 1}))
    );
    let (_, body) = desk.act("one", json!({"tenant": "acme", "id": 7})).await.unwrap();
    let mut expected = full.clone();
    expected["placed"] = json!("2026-11-23T08:30:00.123456+00:00");
    expected["status"] = json!("open");
    expected["ratio"] = Value::Null;
    assert_eq!(body["rows"][0].to_string(), expected.to_string());
    // What isn't given has the table's own default.
    let (_, body) = desk.act("add", json!({"tenant": "acme", "id": 8, "amount": 1})).await.unwrap();
    assert_eq!(body["rows"], json!([{"id": 8, "status": "open", "paid": false}]));
    let (status, body) = desk.act("add", json!({"tenant": "acme", "id": 8, "amount": 1})).await.unwrap();
    assert_eq!((status, body["error"]["sqlstate"].as_str()), (409, Some("23505")));
    // What the row has to be is seen in the row.
    assert_eq!(desk.act("add", json!({"tenant": "acme", "id": 10, "amount": -1})).await.unwrap().0, 409);
    assert_eq!(desk.act("one", json!({"tenant": "acme", "id": 10})).await.unwrap().0, 404);
}

#[tokio::test]
async fn no_value_is_ever_part_of_a_statement() {
    let (desk, database) = desk();
    let before = sum(&database);
    for hostile in [
        "'; DROP TABLE orders; --",
        "' OR '1'='1",
        "\" OR TRUE --",
        "$1",
        "$2); DELETE FROM orders; --",
        "acme'/**/UNION/**/SELECT",
        "\\'; DELETE FROM orders; --",
        "E'\\x41'",
        "$$; DELETE FROM orders; $$",
        "{acme,bolt}",
        "%",
        "acme\u{2019} or 1=1",
        "acme'||pg_sleep(60)||'",
        "null",
        "now",
    ] {
        let nothing = json!({"rows": []});
        // What names a resource stays one segment of it.
        let tenant = if hostile.contains(['/', '\\']) { "' OR TRUE --" } else { hostile };
        assert_eq!(
            desk.act("list", json!({"tenant": tenant})).await.unwrap(),
            (200, nothing.clone()),
            "{hostile}"
        );
        let begins = json!({"tenant": "acme", "begins": hostile});
        assert_eq!(desk.act("list", begins).await.unwrap(), (200, nothing.clone()), "{hostile}");
        assert_eq!(
            desk.act("named", json!({"tenant": "acme", "note": hostile})).await.unwrap(),
            (200, nothing.clone())
        );
        if hostile.chars().count() <= 10 {
            let statuses = json!({"tenant": "acme", "statuses": [hostile]});
            assert_eq!(desk.act("list", statuses).await.unwrap(), (200, nothing), "{hostile}");
        }
        for action in ["change", "drop"] {
            let mut params = json!({"tenant": tenant, "id": 1});
            if action == "change" {
                params["note"] = hostile.into();
            }
            assert_eq!(desk.act(action, params).await.unwrap().0, 404, "{hostile}");
        }
        assert_eq!(
            desk.act("close", json!({"tenant": tenant})).await.unwrap(),
            (200, json!({"rows": [], "row_count": 0}))
        );
    }
    assert_eq!(sum(&database), before);
    // Written, they are values.
    let note = "'); DELETE FROM orders; --";
    let (status, body) = desk.act("change", json!({"tenant": "acme", "id": 1, "note": note})).await.unwrap();
    assert_eq!((status, &body["rows"][0]["note"]), (200, &json!(note)));
    assert_eq!(database.column("SELECT count(*) FROM orders"), ["5"]);
}

#[tokio::test]
async fn a_row_is_as_it_has_to_be_before_and_after() {
    let (desk, database) = desk();
    let before = sum(&database);
    for (params, why) in [
        (json!({"tenant": "acme", "id": 1, "to": "bolt"}), "it would leave the tenant"),
        (json!({"tenant": "acme", "id": 1, "amount": 100}), "it would be too much"),
    ] {
        let (status, body) = desk.act("change", params).await.unwrap();
        assert_eq!((status, sum(&database)), (409, before.clone()), "{why}: {body}");
    }
    for (params, why) in [
        (json!({"tenant": "bolt", "id": 1, "note": "x"}), "another tenant's"),
        (json!({"tenant": "acme", "id": 3, "note": "x"}), "not open any more"),
        (json!({"tenant": "acme", "id": 5, "note": "x"}), "not there"),
    ] {
        let (status, body) = desk.act("change", params).await.unwrap();
        assert_eq!((status, sum(&database)), (404, before.clone()), "{why}: {body}");
    }
    // Whatever else writes the row.
    database.run(
        "CREATE FUNCTION moved() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF NEW.note = 'move' THEN NEW.tenant := 'bolt'; END IF; INSERT INTO public.audit VALUES ('seen'); RETURN NEW; END $$;
         CREATE TRIGGER moved BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION moved()",
    );
    assert_eq!(desk.act("change", json!({"tenant": "acme", "id": 1, "note": "move"})).await.unwrap().0, 409);
    assert_eq!(
        desk.act("add", json!({"tenant": "acme", "id": 20, "amount": 1, "note": "move"})).await.unwrap().0,
        409
    );
    assert_eq!((sum(&database), database.column("SELECT word FROM audit")), (before, vec![]));
    let (status, body) =
        desk.act("change", json!({"tenant": "acme", "id": 1, "status": "sent", "note": null})).await.unwrap();
    assert_eq!(
        (status, body),
        (200, json!({"rows": [{"id": 1, "status": "sent", "note": null}], "row_count": 1}))
    );
}

#[tokio::test]
async fn more_rows_than_there_may_be_are_none() {
    let (desk, database) = desk();
    let before = sum(&database);
    assert_eq!(desk.act("close", json!({"tenant": "acme"})).await.unwrap().0, 409);
    assert_eq!(sum(&database), before);
    assert_eq!(
        desk.act("close", json!({"tenant": "bolt"})).await.unwrap(),
        (200, json!({"rows": [], "row_count": 1}))
    );
    assert_eq!(desk.act("drop", json!({"tenant": "acme", "id": 4})).await.unwrap().0, 404);
    let (status, body) = desk.act("drop", json!({"tenant": "bolt", "id": 4})).await.unwrap();
    assert_eq!((status, body.to_string().as_str()), (200, r#"{"row_count":1,"rows":[{"amount":40.00}]}"#));
    assert_eq!(desk.act("drop", json!({"tenant": "bolt", "id": 4})).await.unwrap().0, 404);
}

#[tokio::test]
async fn what_is_too_long_or_has_two_readings_is_not_passed_on() {
    let (desk, database) = desk();
    database.run("UPDATE orders SET note = repeat('x', 3000000) WHERE id = 1");
    let (status, body) = desk.act("one", json!({"tenant": "acme", "id": 1})).await.unwrap();
    assert_eq!((status, body["rows"].is_null()), (413, true), "{body}");
    assert_eq!(desk.act("one", json!({"tenant": "acme", "id": 2})).await.unwrap().0, 200);
    let before = sum(&database);
    assert_eq!(desk.act("change", json!({"tenant": "acme", "id": 1, "status": "x"})).await.unwrap().0, 413);
    assert_eq!(sum(&database), before);
    database.run("ALTER TABLE orders ALTER extra TYPE json; UPDATE orders SET extra = '{\"a\": 1, \"a\": 2}' WHERE id = 4");
    assert_eq!(desk.act("narrow", json!({"tenant": "bolt"})).await.unwrap().0, 500);
}

#[tokio::test]
async fn a_reading_statement_writes_nothing_and_errors_tell_no_rows() {
    let (desk, database) = desk();
    database.run(
        "CREATE FUNCTION sneaky(text) RETURNS boolean LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO public.audit VALUES ($1); RETURN true; END $$;
         ALTER TABLE orders RENAME TO kept;
         CREATE VIEW orders AS SELECT * FROM kept WHERE sneaky(note)",
    );
    let (status, body) = desk.act("one", json!({"tenant": "acme", "id": 1})).await.unwrap();
    assert_eq!((status, body["error"]["sqlstate"].as_str()), (403, Some("25006")));
    database.run("CREATE OR REPLACE FUNCTION sneaky(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'canary %', $1; END $$");
    let (status, body) = desk.act("one", json!({"tenant": "acme", "id": 1})).await.unwrap();
    assert_eq!((status, body["error"]["sqlstate"].as_str()), (422, Some("P0001")));
    assert!(!body.to_string().contains("canary") && !body.to_string().contains("first"), "{body}");
    database.run("DROP VIEW orders");
    assert_eq!(desk.act("one", json!({"tenant": "acme", "id": 1})).await.unwrap().0, 500);
}
