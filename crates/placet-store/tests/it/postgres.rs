//! Every statement, prepared on a real PostgreSQL: one text for both engines stays one.

use placet_store::{all_statements, schema, sql::numbered_for_postgres};
use placet_testkit::Cluster;
use postgres::{Client, NoTls};

#[test]
fn every_statement_is_understood() {
    let database = Cluster::of_this_process().database();
    let mut client = Client::connect(&database.url(), NoTls).unwrap();
    client.batch_execute(&schema()).unwrap_or_else(|error| panic!("the migrations: {}", reason(&error)));
    let statements = all_statements();
    assert!(statements.len() > 40);
    for (name, text) in statements {
        let prepared = client.prepare(&numbered_for_postgres(&text));
        prepared.unwrap_or_else(|error| panic!("{name}: {}\n{text}", reason(&error)));
    }
}

fn reason(error: &postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}
