//! Generated definitions with generated parameters, on a small table, against the same said in Rust.

use super::{Desk, base};
use placet_testkit::{Cluster, Database};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: i64,
    number: Option<i64>,
    word: Option<String>,
}

/// An operator on a column, its values, and whether they come as parameters.
#[derive(Debug, Clone)]
struct Said {
    word: bool,
    operator: &'static str,
    numbers: Vec<i64>,
    words: Vec<String>,
    given: Given,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Given {
    Constant,
    Param,
    Optional,
    LeftOut,
}

const WORDS: [&str; 7] = ["", "a", "ab", "b", "%", "a'; --", "A"];

fn word() -> impl Strategy<Value = String> {
    proptest::sample::select(WORDS.to_vec()).prop_map(str::to_owned)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (proptest::option::of(-2_i64..3), proptest::option::of(word()));
    proptest::collection::vec(row, 0..8).prop_map(|rows| {
        let of = |(id, (number, word))| Row { id, number, word };
        (1_i64..).zip(rows).map(of).collect()
    })
}

fn said() -> impl Strategy<Value = Said> {
    let operator = proptest::sample::select(vec![
        "eq", "ne", "lt", "lte", "gt", "gte", "in", "prefix", "is_null", "between",
    ]);
    let given =
        proptest::sample::select(vec![Given::Constant, Given::Param, Given::Optional, Given::LeftOut]);
    let numbers = proptest::collection::vec(-2_i64..3, 2..4);
    (any::<bool>(), operator, numbers, proptest::collection::vec(word(), 2..4), given).prop_map(
        |(word, operator, numbers, words, given)| Said {
            word: word || operator == "prefix",
            operator,
            numbers,
            words,
            given,
        },
    )
}

impl Said {
    fn values(&self) -> Vec<Value> {
        if self.word {
            self.words.iter().map(|word| json!(word)).collect()
        } else {
            self.numbers.iter().map(|number| json!(number)).collect()
        }
    }

    /// As the definition says it, and what is given for it.
    fn written(&self, index: usize) -> (String, Map<String, Value>) {
        let column = if self.word { "word" } else { "number" };
        let values = self.values();
        let mut params = Map::new();
        let mut place = |name: String, value: Value| {
            let mark = if matches!(self.given, Given::Optional | Given::LeftOut) { "?" } else { "" };
            match self.given {
                Given::Constant => value.to_string(),
                Given::LeftOut => format!("$params.{name}{mark}"),
                Given::Param | Given::Optional => {
                    params.insert(name.clone(), value);
                    format!("$params.{name}{mark}")
                }
            }
        };
        let value = match self.operator {
            "in" => place(format!("p{index}"), Value::Array(values)),
            "between" => {
                let from = place(format!("p{index}a"), values[0].clone());
                let to = place(format!("p{index}b"), values[1].clone());
                format!("[{from}, {to}]")
            }
            "is_null" => (self.numbers[0] > 0).to_string(),
            _ => place(format!("p{index}"), values[0].clone()),
        };
        (format!("{column}: {{{}: {value}}}", self.operator), params)
    }

    fn holds(&self, row: &Row) -> bool {
        let value = if self.word {
            row.word.as_ref().map(|word| json!(word))
        } else {
            row.number.map(|number| json!(number))
        };
        if self.operator == "is_null" {
            return value.is_none() == (self.numbers[0] > 0);
        }
        if self.given == Given::LeftOut {
            return true;
        }
        let Some(value) = value else { return false };
        let values = self.values();
        let compare = |other: &Value| match (value.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => value.as_str().unwrap().as_bytes().cmp(other.as_str().unwrap().as_bytes()),
        };
        match self.operator {
            "eq" => compare(&values[0]) == Ordering::Equal,
            "ne" => compare(&values[0]) != Ordering::Equal,
            "lt" => compare(&values[0]) == Ordering::Less,
            "lte" => compare(&values[0]) != Ordering::Greater,
            "gt" => compare(&values[0]) == Ordering::Greater,
            "gte" => compare(&values[0]) != Ordering::Less,
            "between" => compare(&values[0]) != Ordering::Less && compare(&values[1]) != Ordering::Greater,
            "in" => values.contains(&value),
            _ => value.as_str().unwrap().starts_with(values[0].as_str().unwrap()),
        }
    }
}

fn put(database: &Database, rows: &[Row]) {
    let quote = |word: &String| format!("'{}'", word.replace('\'', "''"));
    let mut sql = "TRUNCATE things;".to_owned();
    for row in rows {
        let number = row.number.map_or("NULL".to_owned(), |number| number.to_string());
        let word = row.word.as_ref().map_or("NULL".to_owned(), quote);
        sql += &format!("INSERT INTO things VALUES ({}, {number}, {word});", row.id);
    }
    database.run(&sql);
}

fn ids(body: &Value) -> Vec<i64> {
    body["rows"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

const HEAD: &str = "service: things
base_url: BASE
auth: {type: basic}
tables: {public.things: {id: bigint, number: bigint?, word: text?}}
actions:
";

#[test]
fn predicates_mean_what_they_say_for_reading_changing_and_taking_away() {
    let database = Cluster::of_this_process().database();
    database.run("CREATE TABLE things (id bigint, number bigint, word text)");
    let base = base(&database, None);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let cases = (
        rows(),
        proptest::collection::vec(said(), 1..4),
        proptest::option::of(-2_i64..3),
        0_u64..5,
        any::<bool>(),
    );
    let outcome = TestRunner::new(config).run(&cases, |(rows, said, written, most, deletes)| {
        // Each column once: that is how a definition says it.
        let mut said = said;
        let mut seen = Vec::new();
        said.retain(|one| !seen.contains(&one.word) && { seen.push(one.word); true });
        put(&database, &rows);
        let (mut holds, mut params) = (Vec::new(), Map::new());
        for (index, one) in said.iter().enumerate() {
            let (text, more) = one.written(index);
            holds.push(text);
            params.extend(more);
        }
        let holds = holds.join(", ");
        let max = most + 1;
        let changes = if deletes {
            format!("{{resource: 'thing://all', effect: delete, delete: {{table: public.things, where: {{id: {{gt: 0}}, {holds}}}, returning: [id], expect_rows: {{min: 0, max: {max}}}}}}}")
        } else {
            let number = written.map_or("null".to_owned(), |number| number.to_string());
            format!("{{resource: 'thing://all', effect: write, update: {{table: public.things, set: {{number: {number}}}, where: {{id: {{gt: 0}}, {holds}}}, returning: [id], expect_rows: {{min: 0, max: {max}}}}}}}")
        };
        let text = format!(
            "{HEAD}  read: {{resource: 'thing://all', select: {{table: public.things, columns: [id], where: {{{holds}}}, order: [id]}}}}\n  act: {changes}\n"
        );
        let desk = Desk::new(&text, &base);
        let expected: Vec<i64> = rows.iter().filter(|row| said.iter().all(|one| one.holds(row))).map(|row| row.id).collect();
        let (status, body) = runtime.block_on(desk.act("read", Value::Object(params.clone()))).unwrap();
        prop_assert_eq!((status, ids(&body)), (200, expected.clone()), "{}", text);
        let (status, body) = runtime.block_on(desk.act("act", Value::Object(params))).unwrap();
        let after = |row: &Row| Row { number: written, ..row.clone() };
        let fits = |row: &Row| said.iter().all(|one| one.holds(row));
        let changed: Vec<&Row> = rows.iter().filter(|row| expected.contains(&row.id)).collect();
        let few = u64::try_from(changed.len()).unwrap() <= max;
        let good = few && (deletes || changed.iter().all(|row| fits(&after(row))));
        prop_assert_eq!(status, if good { 200 } else { 409 }, "{} {}", text, body);
        let left: Vec<String> = rows
            .iter()
            .filter(|row| !(good && deletes && expected.contains(&row.id)))
            .map(|row| {
                let row = if good && expected.contains(&row.id) { after(row) } else { row.clone() };
                format!("{}|{}|{}", row.id, row.number.map_or(String::new(), |it| it.to_string()), row.word.unwrap_or_default())
            })
            .collect();
        let found = database.column("SELECT concat_ws('|', id, coalesce(number::text, ''), coalesce(word, '')) FROM things ORDER BY id");
        prop_assert_eq!(found, left, "{}", text);
        Ok(())
    });
    outcome.unwrap();
}
