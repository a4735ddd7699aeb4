//! Refresh tokens, resource servers, and what narrowing a grant changes.

use crate::world::{NOW, World, hash, minutes, on_both_engines};
use placet_core::grant::{Origin, Request};
use placet_core::jose::Thumbprint;
use placet_core::scope::Scope;
use placet_store::{
    Fault, Version, grants, lineage,
    refresh_tokens::{self, RefreshToken},
    resource_servers::{self, ResourceServer},
    versions,
};

on_both_engines! {
    of_many_that_use_a_refresh_token_at_once_one_does,
    a_used_token_is_known_until_it_expires,
    a_narrowed_grant_is_read_back_and_makes_its_lineage_stale,
    a_resource_server_has_its_name_and_audience_while_it_lives,
}

fn token(world: &World, handle: &str) -> RefreshToken {
    let agent = world.agent(handle);
    RefreshToken {
        agent: agent.id,
        grant: agent.registration,
        issued: NOW,
        expires: minutes(60),
        key: None,
        certificate: None,
        used: None,
    }
}

fn of_many_that_use_a_refresh_token_at_once_one_does(world: &World) {
    let token = token(world, "bot");
    world.write(move |tx| refresh_tokens::insert(tx, hash("first"), &token)).unwrap();
    let won = world.race(8, move |racer, tx| {
        let (salt, next) = ([u8::try_from(racer).unwrap(); 32], hash(&format!("next {racer}")));
        let spent = refresh_tokens::spend(tx, hash("first"), minutes(1), &salt, next)?;
        if spent {
            refresh_tokens::insert(tx, next, &token)?;
        }
        Ok(spent.then_some(racer))
    });
    let won: Vec<usize> = won.into_iter().filter_map(|won| won.unwrap()).collect();
    let [winner] = won[..] else { panic!("{won:?}") };
    let used = world.read(|q| refresh_tokens::find(q, hash("first"))).unwrap().used.unwrap();
    assert_eq!((used.at, used.salt, used.followed), (minutes(1), [u8::try_from(winner).unwrap(); 32], false));
    let next = hash(&format!("next {winner}"));
    world.write(move |tx| refresh_tokens::spend(tx, next, minutes(2), &[9; 32], hash("third"))).unwrap();
    assert!(world.read(|q| refresh_tokens::find(q, hash("first"))).unwrap().used.unwrap().followed);
}

fn a_used_token_is_known_until_it_expires(world: &World) {
    let token = token(world, "bot");
    let [key, certificate] = [[1; 4], [2; 4]].map(|der| Some(Thumbprint::of_certificate(&der)));
    let other = RefreshToken { expires: minutes(90), key, certificate, ..token };
    world
        .write(move |tx| {
            refresh_tokens::insert(tx, hash("a"), &token)?;
            refresh_tokens::insert(tx, hash("b"), &other)?;
            refresh_tokens::spend(tx, hash("a"), minutes(1), &[1; 32], hash("b"))
        })
        .unwrap();
    assert_eq!(world.write(|tx| refresh_tokens::purge(tx, minutes(59), 10)).unwrap(), 0);
    assert!(world.read(|q| refresh_tokens::find(q, hash("a"))).is_some());
    assert_eq!(world.write(|tx| refresh_tokens::purge(tx, minutes(60), 10)).unwrap(), 1);
    assert_eq!(world.read(|q| refresh_tokens::find(q, hash("a"))), None);
    assert_eq!(world.read(|q| refresh_tokens::find(q, hash("b"))), Some(other));
    // One hash is one token.
    let again = world.write(move |tx| refresh_tokens::insert(tx, hash("b"), &token));
    assert!(matches!(again, Err(Fault::Conflict(_))));
}

fn a_narrowed_grant_is_read_back_and_makes_its_lineage_stale(world: &World) {
    let agent = world.agent("bot");
    let root = world.root(agent.id, Origin::Person);
    world.insert(&root);
    let child = world.child(&root, agent.id, None);
    world.insert(&child);
    let id = child.id;
    let stamps = world.read(move |q| lineage::load(q, id)).unwrap().stamps;
    let request = Request {
        scope: Some(vec![Scope::parse("orders.read:order/customer:42").unwrap()]),
        ..Request::default()
    };
    let mut narrowed = root.clone();
    narrowed.authority = root.authority.narrow(&request).unwrap();
    let stored = narrowed.clone();
    assert!(world.write(move |tx| grants::narrow(tx, &stored)).unwrap());
    let id = root.id;
    assert_eq!(world.read(move |q| grants::find(q, id)), Some(narrowed.clone()));
    assert!(!world.write(move |tx| lineage::holds(tx, &stamps)).unwrap());
    let version = world.read(move |q| versions::current(q, &Version::Lineage(id)));
    // One that was revoked stays what it was.
    world.write(move |tx| grants::revoke(tx, id, &crate::world::revoked("ada"))).unwrap();
    let mut empty = narrowed.clone();
    empty.authority.scope.clear();
    assert!(!world.write(move |tx| grants::narrow(tx, &empty)).unwrap());
    let now = world.read(move |q| grants::find(q, id)).unwrap();
    assert_eq!(now.authority, narrowed.authority);
    assert!(
        now.revoked.is_some() && world.read(move |q| versions::current(q, &Version::Lineage(id))) > version
    );
}

fn a_resource_server_has_its_name_and_audience_while_it_lives(world: &World) {
    let server = |name: &str, audience: &str| ResourceServer {
        id: world.id(),
        name: name.to_owned(),
        audience: audience.to_owned(),
        made_by: "admin-token".to_owned(),
        created: NOW,
        ended: None,
        status_list: false,
    };
    let insert = |server: &ResourceServer| {
        let server = server.clone();
        world.write(move |tx| resource_servers::insert(tx, &server, hash("s"))).unwrap()
    };
    let one = server("one", "https://one.example");
    assert!(insert(&one));
    assert!(!insert(&server("one", "https://two.example")));
    assert!(!insert(&server("two", "https://one.example")));
    // A name that is another's audience: the audience is meant.
    assert!(insert(&server("https://one.example", "urn:other")));
    let found = world.read(|q| resource_servers::by_name_or_audience(q, "https://one.example"));
    assert_eq!(found.as_ref(), Some(&one));
    let id = one.id;
    assert!(world.write(move |tx| resource_servers::set_secret(tx, id, hash("t"))).unwrap());
    assert_eq!(world.read(move |q| resource_servers::credential(q, id)), Some((one.clone(), hash("t"))));
    let ended = world.race(4, move |_, tx| resource_servers::end(tx, id, minutes(1)));
    assert_eq!(ended.into_iter().filter(|ended| *ended == Ok(true)).count(), 1);
    assert!(!world.write(move |tx| resource_servers::set_secret(tx, id, hash("u"))).unwrap());
    let stored = world.read(move |q| resource_servers::credential(q, id)).unwrap().0;
    assert_eq!(stored.ended, Some(minutes(1)));
    assert!(insert(&server("one", "https://one.example")));
    assert_eq!(world.read(|q| resource_servers::list(q, None, 10)).len(), 2);
}
