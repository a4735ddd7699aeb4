//! How statements are run: none reads the whole of a table that grows.

use crate::world;
use placet_store::{Database, Store, actions::ActionState, all_statements};
use placet_testkit::{Cluster, until};
use rusqlite::{Connection, types::Value};

/// Scans that are meant: of a table that stays small, or of one row at its end.
const MEANT: &[&str] = &[
    "SCAN issuers",
    // A handful, looked through for those that have ended.
    "SCAN providers",
    "SCAN keys",
    // The two that there are.
    "SCAN egress_authorities USING INDEX egress_authorities_by_state",
    "SCAN vault_keys",
    "SCAN vault_holders",
    "SCAN vault_holders USING INDEX sqlite_autoindex_vault_holders_1",
    "SCAN policies USING INDEX policies_active",
    "SCAN services USING INDEX services_active",
    "SCAN policy_stages USING INDEX sqlite_autoindex_policy_stages_1",
    "SCAN scopes USING INDEX sqlite_autoindex_scopes_1",
    "SCAN detail_types USING INDEX sqlite_autoindex_detail_types_1",
    "SCAN detail_types USING COVERING INDEX sqlite_autoindex_detail_types_1",
    // Those that wait to be confirmed, counted up to their bound.
    "SCAN registrations USING COVERING INDEX sqlite_autoindex_registrations_1",
    // Those whose tokens stand in lists of statuses.
    "SCAN resource_servers USING INDEX resource_servers_with_status_list",
    // Those whose grants are still being revoked.
    "SCAN trusted_issuers USING INDEX trusted_issuers_ending",
    "SCAN waiting",
    "SCAN asked",
    "SCAN record_heads",
    "SCAN record_heads USING INDEX sqlite_autoindex_record_heads_1",
    "SCAN record_heads USING COVERING INDEX sqlite_autoindex_record_heads_1",
    // What was counted in the last minute.
    "SCAN denials",
    // Newest first, and only that one is read.
    "SCAN record_checkpoints",
    "SCAN record_runs",
    // Partial indexes that hold what is open, not what ever was.
    "SCAN actions USING INDEX actions_pending",
    "SCAN actions USING COVERING INDEX actions_pending",
    "SCAN a USING INDEX actions_pending",
    // So many of the newest, where one agent alone is refused a connection's token.
    "SCAN a",
    // What a statement has made itself: parts of a lineage, a page, the rows of an insert.
    "SCAN up",
    "SCAN down",
    "SCAN own",
    "SCAN u",
    "VALUES CLAUSE",
];

/// Tables whose rows belong to a grant or a task.
const CHILDREN: &[&str] = &["SCAN trusted_grants", "SCAN permits", "SCAN refresh_tokens", "SCAN approvals"];

#[test]
fn no_statement_reads_a_whole_table() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("placet.db");
    drop(Store::open(world::options(Database::sqlite(&path))).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.create_collation("C", |a: &str, b: &str| a.cmp(b)).unwrap();
    let mut whole = Vec::new();
    for (name, text) in all_statements() {
        // Run once, on a database that nobody serves.
        if name.starts_with("RESTORED_") {
            continue;
        }
        // For servers only.
        if ["SET ", "SHOW ", "BEGIN ", "SELECT set_config"].iter().any(|begin| text.starts_with(begin)) {
            continue;
        }
        let text = text.trim_end_matches(" FOR UPDATE").trim_end_matches(" FOR SHARE");
        let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
        let nothing = vec![Value::Null; explained.parameter_count()];
        let steps = explained.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3)).unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        // An insert of several parents has code that looks for children whose parent was missing so far, and runs it
        // only while there are any; of a single parent it has none.
        let orphans = name.starts_with("MANY×") && text.starts_with("INSERT INTO ");
        let scans = steps.iter().filter(|step| {
            (step.starts_with("SCAN") && !(orphans && CHILDREN.contains(&step.as_str())))
                || step.contains("AUTOMATIC")
        });
        whole.extend(
            scans
                .filter(|step| !MEANT.iter().any(|meant| *step == meant || step.ends_with("VALUES CLAUSE")))
                .map(|step| format!("{name}: {step}")),
        );
    }
    assert!(whole.is_empty(), "statements that read whole tables:\n{}", whole.join("\n"));
}

#[test]
fn a_server_that_knows_nothing_of_a_table_yet_reads_none_of_it_whole() {
    let database = Cluster::of_this_process().database();
    let store = Store::open(world::options(Database::postgres(&database.url()).unwrap())).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for _ in 0..20 {
        runtime.block_on(async {
            let admitting: Vec<_> = (0..24).map(|_| tokio::spawn(admitted(store.clone()))).collect();
            for one in admitting {
                one.await.unwrap();
            }
        });
    }
    drop(store);
    // The session says what it did when it ends.
    let mut client = postgres::Client::connect(&database.url(), postgres::NoTls).unwrap();
    let counted = "SELECT COALESCE(seq_tup_read, 0), COALESCE(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'actions'";
    let read = until("what was read", || {
        let row = client.query_one(counted, &[]).unwrap();
        (row.get::<_, i64>(1) > 400).then(|| row.get::<_, i64>(0))
    });
    assert!(read < 100, "{read} rows were read in passing");
}

/// Admits an action and concludes it.
async fn admitted(store: Store) {
    let admitted = store.admit(world::admission(vec![world::charge("c", 0, 1, 100_000)])).await.unwrap();
    store.conclude(world::conclusion(admitted.action(), ActionState::Done, false)).await.unwrap();
}
