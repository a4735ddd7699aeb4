//! Places of tokens in lists of statuses: given once, told with what their grants' life hangs on, gone when they are over.

use crate::world::{NOW, World, minutes, on_both_engines, revoked};
use placet_core::{
    agent::AgentState,
    chain::standing::{Standing, Standings},
    grant::{Grant, Origin},
    id::GrantId,
    task::TaskState,
};
use placet_store::{
    Fault, grants, restored,
    status_lists::{self, Place, StatusList},
    tasks,
};

on_both_engines! {
    a_place_is_given_once,
    what_a_list_is_made_of_is_all_that_its_grants_hang_on,
    a_list_goes_when_it_is_over_and_no_sooner,
    after_a_restore_all_in_a_list_is_over,
}

fn list(world: &World, ends: u64) -> StatusList {
    let list = StatusList { id: world.id(), issuer: "https://a".to_owned(), ends: minutes(ends) };
    let stored = list.clone();
    world.write(move |tx| status_lists::insert(tx, &stored)).unwrap();
    list
}

fn take(world: &World, list: &StatusList, place: u16, grant: GrantId, expires: u64) -> Result<(), Fault> {
    let place = Place { list: list.id, place, grant, expires: minutes(expires) };
    world.write(move |tx| status_lists::take(tx, place))
}

fn standing(world: &World, list: &StatusList, grant: GrantId) -> Standing {
    let id = list.id;
    let contents = world.read(move |q| status_lists::contents(q, id, NOW)).unwrap();
    contents.vitals.into_iter().collect::<Standings>().of(grant)
}

fn root(world: &World, handle: &str) -> Grant {
    let agent = world.agent(handle);
    let root = world.root(agent.id, Origin::Person);
    world.insert(&root);
    root
}

fn a_place_is_given_once(world: &World) {
    let (root, one, two) = (root(world, "bot"), list(world, 70), list(world, 70));
    assert_eq!(take(world, &one, 7, root.id, 10), Ok(()));
    assert_eq!(take(world, &two, 7, root.id, 10), Ok(()));
    assert_eq!(take(world, &one, 65535, root.id, 10), Ok(()));
    assert!(matches!(take(world, &one, 7, root.id, 10), Err(Fault::Conflict(_))));
    let id = one.id;
    let contents = world.read(move |q| status_lists::contents(q, id, NOW)).unwrap();
    let mut places = contents.places;
    places.sort_unstable();
    assert_eq!(places, [(7, root.id), (65535, root.id)]);
    let unknown = world.id();
    assert!(world.read(move |q| status_lists::contents(q, unknown, NOW)).is_none());
}

fn what_a_list_is_made_of_is_all_that_its_grants_hang_on(world: &World) {
    let (root, list) = (root(world, "bot"), list(world, 70));
    let below = world.agent("below");
    let task = world.new_task(below.id, None, None);
    let stored = task.clone();
    world.write(move |tx| tasks::insert(tx, &stored)).unwrap();
    let child = world.child(&root, below.id, Some(task.id));
    let leaf = world.child(&child, root.agent, None);
    for grant in [&child, &leaf] {
        world.insert(grant);
    }
    take(world, &list, 1, leaf.id, 10).unwrap();
    take(world, &list, 2, leaf.id, 10).unwrap();
    take(world, &list, 3, child.id, 10).unwrap();
    let id = list.id;
    let contents = world.read(move |q| status_lists::contents(q, id, NOW)).unwrap();
    // Each grant once, however many tokens stand for it.
    let mut found: Vec<GrantId> = contents.vitals.iter().map(|vital| vital.grant).collect();
    found.sort_unstable();
    let mut expected = vec![root.id, child.id, leaf.id];
    expected.sort_unstable();
    assert_eq!(found, expected);
    let vital = contents.vitals.iter().find(|vital| vital.grant == child.id).unwrap();
    assert_eq!(
        (vital.parent, vital.agent, vital.task),
        (Some(root.id), AgentState::Active, Some(TaskState::Active))
    );
    assert_eq!(standing(world, &list, leaf.id), Standing::Alive);
    // The registration of an agent in the middle.
    let registration = below.registration;
    world.write(move |tx| grants::revoke(tx, registration, &revoked("ada"))).unwrap();
    assert_eq!(standing(world, &list, leaf.id), Standing::Ended);
    assert_eq!(standing(world, &list, root.id), Standing::Alive);
    // Tokens that nobody takes any more are not looked at.
    let later = world.read(move |q| status_lists::contents(q, id, minutes(10))).unwrap();
    assert!(later.places.is_empty() && later.vitals.is_empty());
}

fn a_list_goes_when_it_is_over_and_no_sooner(world: &World) {
    let (root, over, open) = (root(world, "bot"), list(world, 70), list(world, 71));
    for place in 0..5 {
        take(world, &over, place, root.id, 10).unwrap();
        take(world, &open, place, root.id, 10).unwrap();
    }
    let live = |at: u64| world.read(move |q| status_lists::live(q, minutes(at), 10));
    assert_eq!(live(69), [over.clone(), open.clone()]);
    assert_eq!(live(70), std::slice::from_ref(&open));
    let purge = |at: u64, limit| world.write(move |tx| status_lists::purge(tx, minutes(at), limit)).unwrap();
    assert_eq!(purge(69, 100), 0);
    assert_eq!((purge(70, 3), purge(70, 3), purge(70, 3)), (3, 2, 0));
    let (gone, there) = (over.id, open.id);
    assert!(world.read(move |q| status_lists::contents(q, gone, NOW)).is_none());
    assert_eq!(world.read(move |q| status_lists::contents(q, there, NOW)).unwrap().places.len(), 5);
}

fn after_a_restore_all_in_a_list_is_over(world: &World) {
    let lists = [list(world, 70), list(world, 71)];
    while world.write(|tx| restored::end(tx, NOW, 1)).unwrap().status_lists > 0 {}
    for list in lists {
        assert!(world.read(move |q| status_lists::contents(q, list.id, NOW)).unwrap().condemned);
    }
}
