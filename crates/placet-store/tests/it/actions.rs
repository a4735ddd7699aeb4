//! What is asked of the actions that there were.

use crate::world;
use placet_core::id::{ActionId, AgentId, ConnectionId, GrantId};
use placet_store::{Database, Store, actions};
use rusqlite::Connection;

/// Whose actions went through a connection and were carried out, by the agent of their root.
#[tokio::test]
async fn whom_a_connection_has_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("placet.db");
    let store = Store::open(world::options(Database::sqlite(&path))).unwrap();
    let (one, other): (AgentId, AgentId) = (world::fresh(), world::fresh());
    let (shared, alone): (ConnectionId, ConnectionId) = (world::fresh(), world::fresh());
    {
        let rows = Connection::open(&path).unwrap();
        rows.create_collation("C", |a: &str, b: &str| a.cmp(b)).unwrap();
        rows.pragma_update(None, "foreign_keys", false).unwrap();
        let root = |agent: AgentId| {
            let id: GrantId = world::fresh();
            let text = "INSERT INTO grants (id, root, depth, agent, origin, expires, document) VALUES (?1, ?1, 0, ?2, 'registration', 0, '')";
            rows.execute(text, [id.to_string(), agent.to_string()]).unwrap();
            id
        };
        let (ones, others) = (root(one), root(other));
        let action = |at: i64, agent: AgentId, root: GrantId, connection: ConnectionId, status: u16| {
            let id = ActionId::from_parts(world::at(at), [u8::try_from(status / 100).unwrap(); 10]);
            let text = "INSERT INTO actions (id, agent, root_id, grant_id, connection, state, status, admitted) VALUES (?1, ?2, ?3, ?3, ?4, 'done', ?5, 0)";
            rows.execute(
                text,
                rusqlite::params![
                    id.to_string(),
                    agent.to_string(),
                    root.to_string(),
                    connection.to_string(),
                    status
                ],
            )
            .unwrap();
        };
        action(100, one, ones, shared, 200);
        action(200, other, others, shared, 204);
        action(300, one, ones, alone, 200);
        // An agent below it is its doing, and a refusal is no service.
        action(400, other, ones, alone, 200);
        action(500, other, others, alone, 401);
    }
    let asked = async |connection, agent, since| {
        store.read(move |q| actions::served_another(q, connection, agent, world::at(since))).await.unwrap()
    };
    assert!(asked(shared, one, 0).await && asked(shared, other, 0).await);
    assert!(asked(shared, one, 200).await, "that moment counts");
    assert!(!asked(shared, one, 201).await && !asked(shared, other, 101).await, "it was longer ago");
    assert!(!asked(alone, one, 0).await, "nobody but the one");
    assert!(asked(alone, other, 0).await);
}
