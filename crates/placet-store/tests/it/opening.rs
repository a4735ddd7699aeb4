//! Opening: one process, the right schema, a place that can be written, an end of the record that was signed.

use crate::world::{Engine, World, entry, node, on_both_engines, options};
use placet_core::record::EntryType;
use placet_store::{Database, OpenError, Store};

on_both_engines! {
    a_newer_schema_and_another_build_are_refused,
    a_record_without_its_tail_is_not_gone_on_with,
}

#[tokio::test]
async fn a_second_opening_is_refused_until_the_first_is_over() {
    let world = World::new(Engine::Sqlite);
    let store = world.open();
    let refused = world.try_open().unwrap_err();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused:?}");
    assert!(refused.to_string().contains(world.path.to_str().unwrap()));
    drop(store);
    world.open();
}

async fn a_newer_schema_and_another_build_are_refused(world: World) {
    drop(world.open());
    let nothing = world.literal(&[0]);
    world.run(&format!("INSERT INTO schema_migrations (number, hash, applied) VALUES (9000, {nothing}, 0)"));
    assert!(matches!(world.try_open().unwrap_err(), OpenError::Newer { found: 9000, .. }));
    world.run("DELETE FROM schema_migrations WHERE number = 9000");
    world.open();
    world.run(&format!("UPDATE schema_migrations SET hash = {nothing} WHERE number = 1"));
    assert!(matches!(world.try_open().unwrap_err(), OpenError::Differs { number: 1, .. }));
}

#[test]
fn a_place_that_can_not_be_used_is_named() {
    let world = World::new(Engine::Sqlite);
    let missing = world.directory.path().join("no/such/placet.db");
    let refused = Store::open(options(Database::sqlite(missing))).unwrap_err();
    assert!(
        matches!(refused, OpenError::Unusable { .. }) && refused.to_string().contains("no/such"),
        "{refused}"
    );
    std::fs::write(&world.path, "this is no database, however long it may be; ".repeat(100)).unwrap();
    assert!(matches!(world.try_open().unwrap_err(), OpenError::Fault { .. }));
    std::fs::remove_file(&world.path).unwrap();
    std::fs::create_dir(&world.path).unwrap();
    assert!(matches!(world.try_open().unwrap_err(), OpenError::Unusable { .. }));
}

#[tokio::test]
async fn a_server_that_can_not_be_used_is_named() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let world = World::new(Engine::Postgres);
    let url = world.place();
    let missing = format!("{}_gone", url);
    for (url, said) in
        [(format!("postgres://me:hunter2@127.0.0.1:{nobody}/d"), "127.0.0.1"), (missing, "_gone")]
    {
        let refused = Store::open(options(Database::postgres(&url).unwrap())).unwrap_err();
        assert!(matches!(refused, OpenError::Unusable { .. }), "{refused:?}");
        let message = refused.to_string();
        assert!(message.contains(said) && !message.contains("hunter2"), "{message}");
    }
}

async fn a_record_without_its_tail_is_not_gone_on_with(world: World) {
    let store = world.open();
    store.append((0..5).map(|_| entry(EntryType::DecisionDeny)).collect()).await.unwrap();
    drop(store);
    world.run("DELETE FROM record_entries WHERE seq = 5");
    let refused = world.try_open().unwrap_err();
    assert!(
        matches!(refused, OpenError::Fault { .. }) && refused.to_string().contains(&node().to_string()),
        "{refused}"
    );
}
