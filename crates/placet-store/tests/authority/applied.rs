//! Policies, services, connections and issuers.

use crate::world::{NOW, World, minutes, on_both_engines};
use placet_core::{
    call::Auth,
    id::{AgentId, UserId},
};
use placet_store::{
    Fault, Version,
    connections::{self, Connection, ConnectionState},
    documents::{self, Kind},
    issuers, versions,
};

on_both_engines! {
    versions_of_a_policy_are_kept_and_counted_on_after_a_removal,
    everybody_who_applies_at_once_gets_a_version_and_the_last_is_in_force,
    a_grant_reaches_its_users_connections_and_the_organizations_open_ones,
    a_new_secret_is_a_new_generation_and_one_of_two_wins,
    a_parked_connection_gives_no_secret_until_its_owner_confirms,
    issuers_are_remembered_once,
}

fn version(world: &World, version: Version) -> u64 {
    world.read(move |q| versions::current(q, &version))
}

fn versions_of_a_policy_are_kept_and_counted_on_after_a_removal(world: &World) {
    let apply = |name: &'static str, source: &'static str| {
        world.write(move |tx| documents::apply(tx, Kind::Policy, name, source, "admin-token", NOW)).unwrap()
    };
    let sources = || {
        let current = world.read(|q| documents::current(q, Kind::Policy));
        current.into_iter().map(|one| (one.name, one.version, one.source)).collect::<Vec<_>>()
    };
    assert_eq!(sources(), []);
    assert_eq!([apply("b", "1"), apply("b", "2"), apply("a", "x")], [1, 2, 1]);
    let text = |name: &str, version, source: &str| (name.to_owned(), version, source.to_owned());
    assert_eq!(sources(), [text("a", 1, "x"), text("b", 2, "2")]);
    assert_eq!(version(world, Version::Policies), 3);
    assert_eq!(world.write(|tx| documents::remove(tx, Kind::Policy, "b")), Ok(true));
    assert_eq!(world.write(|tx| documents::remove(tx, Kind::Policy, "b")), Ok(false));
    assert_eq!(world.write(|tx| documents::remove(tx, Kind::Policy, "c")), Ok(false));
    assert_eq!(version(world, Version::Policies), 4);
    assert_eq!(world.read(|q| documents::find(q, Kind::Policy, "b")), None);
    assert_eq!(apply("b", "3"), 3);
    let versions = world.read(|q| documents::versions_of(q, Kind::Policy, "b"));
    let kept: Vec<_> = versions.iter().map(|one| (one.version, one.source.as_str(), one.active)).collect();
    assert_eq!(kept, [(1, "1", false), (2, "2", false), (3, "3", true)]);
    assert_eq!(world.read(|q| documents::find(q, Kind::Policy, "b")).as_ref(), versions.last());
    let second = world.read(|q| documents::version(q, Kind::Policy, "b", 2));
    assert_eq!(second.as_ref(), versions.get(1));
    assert_eq!(world.read(|q| documents::version(q, Kind::Policy, "b", 4)), None);
    assert_eq!(world.read(|q| documents::version(q, Kind::Service, "b", 2)), None);
}

fn everybody_who_applies_at_once_gets_a_version_and_the_last_is_in_force(world: &World) {
    let mut given: Vec<u64> = world
        .race(12, |racer, tx| {
            documents::apply(tx, Kind::Service, "crm", &racer.to_string(), "usr_x", minutes(1))
        })
        .into_iter()
        .map(Result::unwrap)
        .collect();
    given.sort_unstable();
    assert_eq!(given, (1..=12).collect::<Vec<_>>());
    let current = world.read(|q| documents::current(q, Kind::Service));
    assert_eq!(current.iter().map(|one| one.version).collect::<Vec<_>>(), [12]);
    assert_eq!(version(world, Version::Service("crm".into())), 12);
    assert_eq!(version(world, Version::Service("other".into())), 0);
    assert_eq!(version(world, Version::Policies), 0);
}

fn connection(world: &World, name: &str, user: Option<UserId>, agents: &[AgentId]) -> Connection {
    let connection = Connection {
        id: world.id(),
        name: name.to_owned(),
        service: "crm".to_owned(),
        user,
        agents: agents.to_vec(),
        auth: Auth::Header { name: "x-api-key".to_owned() },
        generation: 1,
        state: ConnectionState::Active,
        attention: None,
        created: NOW,
        made_by: "admin-token".to_owned(),
        reference: None,
    };
    let stored = connection.clone();
    world.write(move |tx| connections::insert(tx, &stored, b"sealed 1")).unwrap();
    connection
}

fn a_grant_reaches_its_users_connections_and_the_organizations_open_ones(world: &World) {
    let (one, two) = (world.agent("one").id, world.agent("two").id);
    let (ada, bob) = (world.user("ada", &[]).id, world.user("bob", &[]).id);
    let all = [
        connection(world, "open", None, &[]),
        connection(world, "for one", None, &[one]),
        connection(world, "for both", None, &[one, two]),
        connection(world, "ada's", Some(ada), &[]),
        connection(world, "bob's", Some(bob), &[one]),
    ];
    let mut elsewhere = connection(world, "template", None, &[]);
    (elsewhere.id, elsewhere.name, elsewhere.service) = (world.id(), "erp".to_owned(), "erp".to_owned());
    let stored = elsewhere.clone();
    world.write(move |tx| connections::insert(tx, &stored, b"x")).unwrap();
    let reach = |user, agent| {
        let found = world.read(move |q| connections::reachable(q, "crm", user, agent));
        found.into_iter().map(|found| found.name).filter(|name| name != "template").collect::<Vec<_>>()
    };
    assert_eq!(reach(None, one), ["open", "for one", "for both"]);
    assert_eq!(reach(None, two), ["open", "for both"]);
    assert_eq!(reach(Some(ada), two), ["open", "for both", "ada's"]);
    assert_eq!(reach(Some(bob), one), ["open", "for one", "for both", "bob's"]);
    assert_eq!(world.read(|q| connections::of_service(q, "crm")).len(), 6);
    assert_eq!(world.read(|q| connections::of_service(q, "erp")), [elsewhere]);
    let whole = |user, agent, most| {
        let found = world.read(move |q| connections::all_reachable(q, user, agent, most));
        found.map(|found| found.into_iter().map(|found| found.name).collect::<Vec<_>>())
    };
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(whole(None, two, 5), names(&["open", "for both", "template", "erp"]));
    assert_eq!(whole(Some(ada), two, 5), names(&["open", "for both", "ada's", "template", "erp"]));
    assert_eq!(whole(Some(bob), one, 5), names(&["open", "for one", "for both", "bob's", "template", "erp"]));
    // What can't be listed whole is not listed in part.
    assert_eq!(whole(None, two, 4), None);
    let id = all[4].id;
    assert_eq!(world.read(move |q| connections::find(q, id)).as_ref(), Some(&all[4]));
    assert_eq!(world.read(|q| connections::by_name(q, "bob's")).as_ref(), Some(&all[4]));
    let page = world.read(move |q| connections::list(q, Some(id), 10));
    assert_eq!(page.len(), 2);
    let again = Connection { id: world.id(), ..all[0].clone() };
    let refused = world.write(move |tx| connections::insert(tx, &again, b"x"));
    assert_eq!(refused, Err(Fault::Conflict("name")));
}

fn a_new_secret_is_a_new_generation_and_one_of_two_wins(world: &World) {
    let first = connection(world, "c", None, &[]);
    let id = first.id;
    let read = first.clone();
    let answers = world.race(5, move |racer, tx| {
        connections::set_secret(tx, &read, format!("sealed by {racer}").as_bytes())
    });
    let winner = answers.iter().position(|won| *won == Ok(true)).unwrap();
    assert_eq!(answers.iter().filter(|won| **won == Ok(true)).count(), 1);
    assert_eq!(
        world.read(move |q| connections::sealed(q, id)),
        Some((2, format!("sealed by {winner}").into_bytes()))
    );
    assert_eq!(version(world, Version::Connection(id)), 1);
    assert_eq!(world.read(move |q| connections::find(q, id)), Some(Connection { generation: 2, ..first }));
}

fn a_parked_connection_gives_no_secret_until_its_owner_confirms(world: &World) {
    let made = connection(world, "c", None, &[]);
    let id = made.id;
    assert_eq!(world.write(|tx| connections::park(tx, "erp")), Ok(vec![]));
    assert_eq!(world.write(|tx| connections::park(tx, "crm")), Ok(vec![id]));
    assert_eq!(world.write(|tx| connections::park(tx, "crm")), Ok(vec![]));
    assert_eq!(version(world, Version::Connection(id)), 1);
    assert_eq!(world.read(move |q| connections::sealed(q, id)), None);
    let parked = world.read(move |q| connections::find(q, id)).unwrap();
    assert_eq!(parked.state, ConnectionState::NeedsAttention);
    let confirmed = Connection { auth: Auth::Bearer, ..parked };
    assert_eq!(world.write(move |tx| connections::confirm(tx, &confirmed)), Ok(true));
    assert_eq!(version(world, Version::Connection(id)), 2);
    assert_eq!(world.read(move |q| connections::sealed(q, id)), Some((1, b"sealed 1".to_vec())));
    let active = world.read(move |q| connections::find(q, id)).unwrap();
    assert_eq!((active.state, active.auth.clone()), (ConnectionState::Active, Auth::Bearer));
    assert_eq!(world.write(move |tx| connections::confirm(tx, &active)), Ok(false));
}

fn issuers_are_remembered_once(world: &World) {
    for (issuer, at) in [("http://127.0.0.1:2", 1), ("http://127.0.0.1:1", 2), ("http://127.0.0.1:2", 3)] {
        world.write(move |tx| issuers::remember(tx, issuer, minutes(at))).unwrap();
    }
    assert_eq!(world.read(|q| issuers::all(q)), ["http://127.0.0.1:2", "http://127.0.0.1:1"]);
}
