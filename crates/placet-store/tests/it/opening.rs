//! Opening: one process, the right schema, a place that can be written, an end of the record that was signed.

use crate::world::{World, entry, node, options};
use placet_core::record::EntryType;
use placet_store::{OpenError, Store};

#[tokio::test]
async fn a_second_opening_is_refused_until_the_first_is_over() {
    let world = World::new();
    let store = world.open();
    let refused = world.try_open().unwrap_err();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused:?}");
    assert!(refused.to_string().contains(world.path.to_str().unwrap()));
    drop(store);
    world.open();
}

#[tokio::test]
async fn a_newer_schema_and_another_build_are_refused() {
    let world = World::new();
    drop(world.open());
    let raw = world.raw();
    raw.execute("INSERT INTO schema_migrations (number, hash, applied) VALUES (9000, x'00', 0)", []).unwrap();
    assert!(matches!(world.try_open().unwrap_err(), OpenError::Newer { found: 9000, .. }));
    raw.execute("DELETE FROM schema_migrations WHERE number = 9000", []).unwrap();
    world.open();
    raw.execute("UPDATE schema_migrations SET hash = x'00' WHERE number = 1", []).unwrap();
    assert!(matches!(world.try_open().unwrap_err(), OpenError::Differs { number: 1, .. }));
}

#[test]
fn a_place_that_can_not_be_used_is_named() {
    let world = World::new();
    let missing = world.directory.path().join("no/such/placet.db");
    let refused = Store::open(options(&missing)).unwrap_err();
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
async fn a_record_without_its_tail_is_not_gone_on_with() {
    let world = World::new();
    let store = world.open();
    store.append((0..5).map(|_| entry(EntryType::DecisionDeny)).collect()).await.unwrap();
    drop(store);
    let raw = world.raw();
    raw.execute("DELETE FROM record_entries WHERE seq = 5", []).unwrap();
    let refused = world.try_open().unwrap_err();
    assert!(
        matches!(refused, OpenError::Fault { .. }) && refused.to_string().contains(&node().to_string()),
        "{refused}"
    );
}
