//! Time, lost connections, and sessions that share nothing.

use super::{Desk, base};
use placet_gateway::{Happened, Undone, Unknown, UpstreamFailure};
use placet_testkit::{Cluster, Database, Proxy, until};
use serde_json::json;
use std::time::Duration;

const DEFINITION: &str = "service: notes
base_url: BASE
auth: {type: basic}
tables:
  public.notes: {id: bigint, word: text}
  public.state: {seen: text?, path: text?, role: text?, temporary: bigint}
actions:
  add:
    resource: note://all/{id}
    effect: write
    insert: {table: public.notes, values: {id: $params.id, word: $params.word}}
  change:
    resource: note://all/{id}
    effect: write
    update: {table: public.notes, set: {word: $params.word}, where: {id: $params.id}}
  one:
    resource: note://all/{id}
    select: {table: public.notes, columns: [word], where: {id: $params.id}}
  state:
    resource: note://state
    select: {table: public.state, columns: [seen, path, role, temporary]}
";

fn database() -> Database {
    let database = Cluster::of_this_process().database();
    database
        .run("CREATE TABLE notes (id bigint PRIMARY KEY, word text); INSERT INTO notes VALUES (1, 'one')");
    database
}

fn words(database: &Database) -> Vec<String> {
    database.column("SELECT word FROM notes ORDER BY id")
}

fn active(database: &Database) -> Vec<String> {
    database.column(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND application_name = 'placet'",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_ended_and_has_not_happened() {
    let database = database();
    let mut desk = Desk::new(DEFINITION, &base(&database, None));
    desk.within = Duration::from_secs(3);
    let (url, held) = (database.url(), std::sync::mpsc::channel::<()>());
    let (locked, is_locked) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let mut transaction = client.transaction().unwrap();
        transaction.execute("UPDATE notes SET word = 'held' WHERE id = 1", &[]).unwrap();
        locked.send(()).unwrap();
        held.1.recv().unwrap();
    });
    is_locked.recv().unwrap();
    match desk.act("change", json!({"id": 1, "word": "late"})).await {
        Ok((status, body)) => {
            assert!(matches!(status, 503 | 504) && body["error"]["sqlstate"].is_string(), "{body}");
        }
        Err(failure) => assert!(failure.timed_out() && failure.happened() == Happened::No, "{failure}"),
    }
    held.0.send(()).unwrap();
    holder.join().unwrap();
    until("the end of the statement", || active(&database).is_empty().then_some(()));
    assert_eq!(words(&database), ["one"]);
    assert_eq!(desk.act("change", json!({"id": 1, "word": "now"})).await.unwrap().0, 200);
    assert_eq!(words(&database), ["now"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_given_up_and_nothing_has_happened() {
    let database = database();
    let proxy = Proxy::before(Cluster::of_this_process().address());
    let mut desk = Desk::new(DEFINITION, &base(&database, Some(proxy.port())));
    assert_eq!(desk.act("one", json!({"id": 1})).await.unwrap().0, 200);
    desk.within = Duration::from_secs(2);
    proxy.stall();
    let failure = desk.act("change", json!({"id": 1, "word": "late"})).await.unwrap_err();
    assert!(failure.timed_out() && failure.happened() == Happened::No, "{failure}");
    proxy.forward();
    desk.within = Duration::from_secs(20);
    assert_eq!(desk.act("change", json!({"id": 1, "word": "now"})).await.unwrap().0, 200);
    assert_eq!(words(&database), ["now"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_commit_is_unknown_and_one_lost_before_is_not() {
    let database = database();
    let proxy = Proxy::before(Cluster::of_this_process().address());
    let desk = Desk::new(DEFINITION, &base(&database, Some(proxy.port())));
    proxy.cut_after(b"COMMIT\0", 1);
    let failure = desk.act("add", json!({"id": 2, "word": "two"})).await.unwrap_err();
    assert!(matches!(failure, UpstreamFailure::Unknown { reason: Unknown::Disconnected, .. }), "{failure}");
    assert_eq!(failure.happened(), Happened::Unknown);
    // It did happen, and once: nothing is sent again.
    until("the commit", || (words(&database) == ["one", "two"]).then_some(()));
    proxy.cut_after(b"INSERT", 1);
    let failure = desk.act("add", json!({"id": 3, "word": "three"})).await.unwrap_err();
    assert!(matches!(failure, UpstreamFailure::Undone { reason: Undone::Disconnected, .. }), "{failure}");
    assert_eq!(failure.happened(), Happened::No);
    proxy.forward();
    assert_eq!(desk.act("add", json!({"id": 4, "word": "four"})).await.unwrap().0, 200);
    assert_eq!(words(&database), ["one", "two", "four"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_that_was_lost_costs_nothing() {
    let database = database();
    let proxy = Proxy::before(Cluster::of_this_process().address());
    let desk = Desk::new(DEFINITION, &base(&database, Some(proxy.port())));
    for round in 0..5 {
        assert_eq!(desk.act("one", json!({"id": 1})).await.unwrap().0, 200, "{round}");
        proxy.cut();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_keep_nothing_of_an_action() {
    let database = database();
    database.run(
        "CREATE FUNCTION stays() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           PERFORM set_config('app.seen', NEW.word, false); PERFORM set_config('search_path', 'public, pg_temp', false);
           PERFORM set_config('role', 'pg_monitor', false);
           CREATE TEMP TABLE kept (word text); PERFORM pg_advisory_lock(NEW.id); RETURN NULL; END $$;
         CREATE TRIGGER stays AFTER INSERT ON notes FOR EACH ROW EXECUTE FUNCTION stays();
         CREATE VIEW state AS SELECT current_setting('app.seen', true) AS seen, current_setting('search_path') AS path,
           current_user::text AS role, (SELECT count(*) FROM pg_catalog.pg_class WHERE relname = 'kept') AS temporary",
    );
    let proxy = Proxy::before(Cluster::of_this_process().address());
    let desk = Desk::new(DEFINITION, &base(&database, Some(proxy.port())));
    let clean = |body: &serde_json::Value| {
        let row = &body["rows"][0];
        let unseen = row["seen"].is_null() || row["seen"] == "";
        unseen && row["path"] == "\"$user\", public" && row["role"] == "postgres" && row["temporary"] == 0
    };
    for id in 10..14 {
        assert_eq!(desk.act("add", json!({"id": id, "word": "mine"})).await.unwrap().0, 200);
        let (_, body) = desk.act("state", json!({})).await.unwrap();
        // A session that is still being cleaned is another one's: its table may be there yet.
        let body = if clean(&body) {
            body
        } else {
            until("the cleaning", || {
                database.column("SELECT 1 FROM pg_class WHERE relname = 'kept'").is_empty().then_some(())
            });
            desk.act("state", json!({})).await.unwrap().1
        };
        assert!(clean(&body), "{body}");
        until("the locks", || {
            database.column("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").is_empty().then_some(())
        });
    }
    // Sessions were used again.
    assert!(proxy.accepted() < 8, "{}", proxy.accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_take_turns() {
    let database = database();
    let desk = std::sync::Arc::new(Desk::new(DEFINITION, &base(&database, None)));
    let all: Vec<_> = (100..140)
        .map(|id| {
            let desk = std::sync::Arc::clone(&desk);
            tokio::spawn(async move { desk.act("add", json!({"id": id, "word": "w"})).await.unwrap().0 })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(words(&database).len(), 41);
}
