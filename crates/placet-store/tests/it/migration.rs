//! From the schema before: what was stored is there, and what the new schema adds is filled in.

use crate::world::{Engine, World, admission, at, charge, entry, node, on_both_engines};
use placet_core::{
    id::{ActionId, AgentId, Id, kind},
    record::EntryType,
    secret::sha256,
    time::Timestamp,
};

on_both_engines! {
    data_of_the_schema_before_is_gone_on_with,
    clients_of_before_uses_were_noted_are_told_apart,
}

const BEFORE: [&str; 2] = [
    include_str!("../../migrations/0001_authority.sql"),
    include_str!("../../migrations/0002_ledger_and_record.sql"),
];

/// A database as the migrations before `number` left it.
fn before(world: &World, number: i64) {
    let lite = world.postgres.is_none();
    world.run(&placet_store::words_for(
        "CREATE TABLE schema_migrations (
        number BIGINT PRIMARY KEY, hash BYTEA NOT NULL, applied BIGINT NOT NULL);",
        lite,
    ));
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let numbered = |path: &std::path::PathBuf| -> i64 {
        path.file_name().unwrap().to_str().unwrap()[..4].parse().unwrap()
    };
    let mut files: Vec<_> = files.filter(|path| numbered(path) < number).collect();
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        world.run(&placet_store::words_for(&text, lite));
        let hash = world.literal(&sha256(&[text.as_bytes()]));
        world.run(&format!("INSERT INTO schema_migrations VALUES ({}, {hash}, 0)", numbered(&path)));
    }
}

/// Whoever made a client decides whether it may fall out of use; of those that were there, their ids tell.
async fn clients_of_before_uses_were_noted_are_told_apart(world: World) {
    before(&world, 29);
    let bytes = world.literal(&[7; 32]);
    let confirmed: AgentId = Id::from_parts(Timestamp::from_micros(0), [9; 10]);
    let rows = [
        (crate::world::from::<kind::Agent>(11), "administrator", None),
        (crate::world::from(12), "registration", None),
        (crate::world::from(13), "document", Some("https://a.example/by-hand")),
        (confirmed, "document", Some("https://a.example/confirmed")),
    ];
    for (id, origin, url) in rows {
        world.run(&format!(
            "INSERT INTO agents (id, handle, state, version, registration, secret, registration_token, document)
             VALUES ('{id}', '{id}', 'active', 1, 'of {id}', {bytes}, {bytes}, '{{}}')"
        ));
        let url = url.map_or("NULL".to_owned(), |url| format!("'{url}'"));
        world.run(&format!(
            "INSERT INTO clients (agent, origin, url, document) VALUES ('{id}', '{origin}', {url}, '{{}}')"
        ));
    }
    drop(world.open());
    let noted = |id: AgentId| {
        world.number(&format!("SELECT COUNT(*) FROM clients WHERE agent = '{id}' AND last_used = 0"))
    };
    assert_eq!(rows.map(|(id, _, _)| noted(id)), [0, 1, 0, 1]);
    assert_eq!(world.number("SELECT COUNT(*) FROM clients WHERE last_used IS NULL"), 2);
}

/// A database as the version before left it: actions in flight and done, a counter, a log of some size.
async fn data_of_the_schema_before_is_gone_on_with(world: World) {
    let engine = if world.postgres.is_some() { Engine::Postgres } else { Engine::Sqlite };
    world.run(&placet_store::words_for(
        "CREATE TABLE schema_migrations (
        number BIGINT PRIMARY KEY, hash BYTEA NOT NULL, applied BIGINT NOT NULL);",
        engine == Engine::Sqlite,
    ));
    for (number, text) in (1..).zip(BEFORE) {
        world.run(&placet_store::words_for(text, engine == Engine::Sqlite));
        let hash = world.literal(&sha256(&[text.as_bytes()]));
        world.run(&format!("INSERT INTO schema_migrations VALUES ({number}, {hash}, 0)"));
    }
    world.run(&format!("INSERT INTO batches (node, batch) VALUES ('{}', 7)", node()));
    for (number, state) in ["pending", "done", "pending"].into_iter().enumerate() {
        let id: ActionId = crate::world::from(number as u64 + 500);
        let (agent, grant) = (crate::world::agent(), crate::world::from::<placet_core::id::kind::Grant>(3));
        world.run(&format!(
            "INSERT INTO actions (id, agent, root_id, grant_id, state, admitted)
             VALUES ('{id}', '{agent}', '{grant}', '{grant}', '{state}', 1)"
        ));
    }
    let start = at(0).as_micros();
    world.run(&format!("INSERT INTO counters VALUES ('c', {start}, {}, 3)", at(60).as_micros()));
    world.run("INSERT INTO record_checkpoints (size, note, at) VALUES (4, 'x', 1)");

    let store = world.open();
    assert_eq!(world.number("SELECT size FROM record_size"), 4);
    assert_eq!(store.recover(at(5), |_| entry(EntryType::ActionOutcome)).await.unwrap(), 2);
    store.admit(admission(vec![charge("c", 0, 1, 10)])).await.unwrap();
    assert_eq!(world.number("SELECT used FROM counters"), 4);
    assert_eq!(world.number("SELECT COUNT(*) FROM actions WHERE state = 'unknown'"), 2);
    assert_eq!(world.verify_chain(), 3);
    drop(store);
    world.open();
}
