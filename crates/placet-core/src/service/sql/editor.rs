//! What editors are told of the tables and actions of a PostgreSQL service.
//!
//! Invariant: it has every key that the reader knows and no other.

use crate::service::editor::{key, object};
use serde_json::{Value, json};

/// A type of a column, as the reader takes it.
const TYPE: &str = r"^(smallint|integer|bigint|numeric(\([0-9]+, *[0-9]+\))?|text|varchar\([0-9]+\)|boolean|uuid|timestamptz|date|jsonb?|double precision)(\[\])?\??$";

/// `tables` of a service.
pub(in crate::service) fn tables() -> Value {
    key(
        "The tables of a database, with the columns that actions may name and their types; `?` behind one that may be NULL.",
        json!({"public.orders": {"id": "bigint", "amount": "numeric(12,2)", "note": "text?"}}),
        json!({"type": "object", "propertyNames": {"pattern": "^[^.]+\\.[^.]+$"},
            "additionalProperties": {"type": "object", "additionalProperties": {"type": "string", "pattern": TYPE}}}),
    )
}

/// The statements that an action may be.
pub(in crate::service) fn statements() -> [(&'static str, Value); 4] {
    let names = || json!({"type": "array", "items": {"type": "string"}});
    let table = || key("The table, one of `tables`.", json!("public.orders"), json!({"type": "string"}));
    let holds = |about: &str| {
        key(
            about,
            json!({"tenant": "$params.tenant", "placed": {"gte": "$params.from?"}}),
            json!({"type": "object", "additionalProperties": {
            "oneOf": [{"not": {"type": ["object", "array"]}}, object(&[], operators())]}}),
        )
    };
    let written = |about: &str| {
        key(about, json!({"note": "$params.note?", "status": "open"}), json!({"type": "object"}))
    };
    let returning =
        || key("The columns that are answered of the rows as they are left.", json!(["id"]), names());
    let expected = || {
        let count = json!({"type": "integer", "minimum": 0, "maximum": 100_000});
        key(
            "How many rows there have to be; with fewer or more nothing is done.",
            json!(1),
            json!({"oneOf": [count, object(&["max"], json!({
                "min": key("At least.", json!(1), count.clone()),
                "max": key("At most.", json!(10), count.clone()),
            }))]}),
        )
    };
    let found = "What holds of the rows; `$params.NAME` is always given, `$params.NAME?` need not be.";
    let kept = "What holds of the rows before and after; `$params.NAME` is always given, `$params.NAME?` need not be.";
    [
        (
            "select",
            key(
                "Reads rows.",
                json!({"table": "public.orders", "columns": ["id"], "where": {"tenant": "$params.tenant"}}),
                object(
                    &["table", "columns"],
                    json!({
                        "table": table(),
                        "columns": key("The columns that are answered.", json!(["id", "amount"]), names()),
                        "where": holds(found),
                        "order": key("The order of the rows; `-` before a column for the greatest first.", json!(["-placed", "id"]), names()),
                        "after": key("Parameters for the columns of `order`: a page begins behind the row that has these.", json!(["$params.after_id"]), names()),
                        "offset": key("The parameter that says how many rows are left out.", json!("$params.offset"), json!({"type": "string"})),
                        "limit": key("The most rows, or the parameter that says how many.", json!({"param": "limit", "default": 50, "max": 200}), json!({"oneOf": [
                            {"type": "integer", "minimum": 1, "maximum": 100_000}, object(&["param"], json!({
                                "param": key("The parameter.", json!("limit"), json!({"type": "string"})),
                                "default": key("How many where it is not given.", json!(50), json!({"type": "integer", "minimum": 1})),
                                "max": key("The most that can be asked for.", json!(200), json!({"type": "integer", "minimum": 1, "maximum": 100_000})),
                            }))]})),
                        "expect_rows": expected(),
                    }),
                ),
            ),
        ),
        (
            "insert",
            key(
                "Adds a row.",
                json!({"table": "public.orders", "values": {"tenant": "$params.tenant"}}),
                object(
                    &["table", "values"],
                    json!({
                        "table": table(),
                        "values": written("The columns that are written, each with a parameter or a constant."),
                        "where": holds("What holds of the new row."),
                        "returning": returning(),
                    }),
                ),
            ),
        ),
        (
            "update",
            key(
                "Changes rows.",
                json!({"table": "public.orders", "set": {"status": "closed"}, "where": {"id": "$params.id"}}),
                object(
                    &["table", "set", "where"],
                    json!({
                        "table": table(),
                        "set": written("The columns that are changed, each with a parameter or a constant."),
                        "where": holds(kept),
                        "before": holds("What holds of the rows before, and need not after."),
                        "returning": returning(),
                        "expect_rows": expected(),
                    }),
                ),
            ),
        ),
        (
            "delete",
            key(
                "Takes rows away.",
                json!({"table": "public.orders", "where": {"id": "$params.id"}}),
                object(
                    &["table", "where"],
                    json!({
                        "table": table(),
                        "where": holds(found),
                        "returning": key("The columns that are answered of the rows as they were.", json!(["id"]), names()),
                        "expect_rows": expected(),
                    }),
                ),
            ),
        ),
    ]
}

fn operators() -> Value {
    let value = |about: &str, example: Value| key(about, example, json!({}));
    json!({
        "eq": value("Equal.", json!("$params.status")),
        "ne": value("Another one, and not NULL.", json!("closed")),
        "lt": value("Less.", json!("$params.before")),
        "lte": value("Less or equal.", json!(100)),
        "gt": value("Greater.", json!(0)),
        "gte": value("Greater or equal.", json!("$params.from")),
        "between": key("From the first to the second, both included.", json!(["$params.from", "$params.to"]),
            json!({"type": "array", "minItems": 2, "maxItems": 2})),
        "in": key("One of these.", json!(["open", "paid"]), json!({"type": ["array", "string"]})),
        "prefix": key("Begins with it.", json!("$params.begins"), json!({"type": "string"})),
        "is_null": key("Whether it is NULL.", json!(true), json!({"type": "boolean"})),
    })
}
