//! A real PostgreSQL: every statement prepared, as one text for both engines stays one; and how the server is known.

use crate::world::{entry, options};
use placet_core::record::EntryType;
use placet_store::{Database, OpenError, Store, all_statements, schema, sql::numbered_for_postgres};
use placet_testkit::{Certified, Cluster};
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

/// Opens a store on a server that is reached so.
fn open(url: &str) -> Result<Store, OpenError> {
    Store::open(options(Database::postgres(url)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_known_by_its_certificate_and_is_told_nothing_before() {
    const PASSWORD: &str = "canary-store-4";
    let server = Certified::start();
    let database = server.cluster.database();
    let (port, name) = (server.cluster.address().port(), database.url());
    let name = name.rsplit('/').next().unwrap();
    database.run(&format!(
        "CREATE ROLE keeper LOGIN PASSWORD '{PASSWORD}'; ALTER DATABASE {name} OWNER TO keeper;
         ALTER SCHEMA public OWNER TO keeper"
    ));
    let url = |host: &str, more: &str| format!("postgres://keeper:{PASSWORD}@{host}:{port}/{name}?{more}");
    let (ours, other) = (server.authority_file(), server.other_authority_file());
    let (ours, other) = (ours.display(), other.display());
    let refused = |url: String| {
        let error = open(&url).expect_err(&url).to_string();
        assert!(!error.contains(PASSWORD), "{error}");
        error
    };
    // Its name is another one, or who certified it is: both are said to be about the certificate.
    for wrong in [
        url("127.0.0.1", &format!("sslmode=verify-full&sslrootcert={ours}")),
        url("localhost", &format!("sslmode=verify-full&sslrootcert={other}")),
        url("localhost", "sslmode=verify-full"),
    ] {
        let error = refused(wrong);
        assert!(error.contains("certificate"), "{error}");
    }
    // Without TLS this server lets nobody in.
    refused(url("localhost", "sslmode=disable"));
    let store = open(&url("localhost", &format!("sslmode=verify-full&sslrootcert={ours}"))).unwrap();
    store.append(vec![entry(EntryType::ServerSummary)]).await.unwrap();
    let encrypted = database.column(
        "SELECT DISTINCT ssl::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'keeper'",
    );
    assert_eq!(encrypted, ["true"]);
    drop(store);
    server.cluster.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_given_no_password_where_it_is_to_have_one() {
    let server = Cluster::start(&["fsync=off", "ssl=off"]);
    let port = server.address().port();
    let url = format!("postgres://postgres:canary-store-5@localhost:{port}/postgres?sslmode=verify-full");
    let error = open(&url).unwrap_err().to_string();
    assert!(error.contains("TLS") && !error.contains("canary"), "{error}");
    server.stop();
}
