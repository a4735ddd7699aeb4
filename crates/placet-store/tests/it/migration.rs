//! From the schema before: what was stored is there, and what the new schema adds is filled in.

use crate::world::{Engine, World, admission, at, charge, entry, node, on_both_engines};
use placet_core::{id::ActionId, record::EntryType, secret::sha256};

on_both_engines! {
    data_of_the_schema_before_is_gone_on_with,
}

const BEFORE: [&str; 2] = [
    include_str!("../../migrations/0001_authority.sql"),
    include_str!("../../migrations/0002_ledger_and_record.sql"),
];

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
