//! What can't happen twice, or at all.

use crate::world::{NOW, World, hash, minutes, on_both_engines, revoked};
use placet_core::{
    agent::AgentState,
    grant::Origin,
    id::AgentId,
    task::{Task, TaskState},
};
use placet_store::{Fault, Version, agents, clients, delegations, grants, tasks, versions};

on_both_engines! {
    an_agent_is_read_back_as_it_was_stored,
    an_agent_goes_only_where_its_life_allows_and_each_step_is_seen,
    the_handle_of_an_ended_agent_stays_taken,
    of_two_who_change_what_they_read_one_wins,
    a_label_is_unique_within_agent_and_user_for_ever,
    a_task_ends_once_and_its_lineages_see_it,
    an_expired_task_can_not_be_stored,
    revoking_twice_is_revoking_once,
    a_grant_hangs_where_it_says_or_not_at_all,
    the_grants_to_reuse_are_the_live_ones_newest_first,
    a_delegation_token_is_spent_once_until_it_is_forgotten,
}

fn version(world: &World, version: Version) -> u64 {
    world.read(move |q| versions::current(q, &version))
}

fn an_agent_is_read_back_as_it_was_stored(world: &World) {
    let agent = world.agent("support-1");
    let id = agent.id;
    assert_eq!(world.read(move |q| agents::find(q, id)), Some(agent.clone()));
    assert_eq!(world.read(|q| agents::by_handle(q, "support-1")), Some(agent.clone()));
    let unsaid = clients::StoredClient::default();
    assert_eq!(world.read(move |q| clients::credential(q, id)), Some((agent, hash("secret"), unsaid)));
    assert_eq!(world.read(move |q| agents::registration_token(q, id)), Some(hash("registration")));
    let other = world.id();
    assert_eq!(world.read(move |q| agents::find(q, other)), None);
    assert_eq!(world.read(|q| agents::by_handle(q, "Support-1")), None);
}

/// Applies one transition on the version that is stored.
fn step(
    world: &World,
    id: AgentId,
    f: fn(&mut placet_store::Tx<'_>, AgentId, u64) -> Result<bool, Fault>,
) -> bool {
    world
        .write(move |tx| {
            let version = agents::find(tx, id)?.unwrap().version;
            f(tx, id, version)
        })
        .unwrap()
}

fn an_agent_goes_only_where_its_life_allows_and_each_step_is_seen(world: &World) {
    let mut agent = world.new_agent("a");
    agent.state = AgentState::Inactive;
    let (stored, registration) = (agent.clone(), world.registration(&agent));
    world
        .write(move |tx| {
            agents::insert(tx, &stored, hash("secret"), hash("registration"))?;
            grants::insert(tx, &registration)
        })
        .unwrap();
    let id = agent.id;
    let state = || world.read(move |q| agents::find(q, id)).unwrap().state;

    assert!(!step(world, id, agents::suspend), "an inactive agent has nothing to suspend");
    assert!(!step(world, id, agents::resume));
    assert_eq!(version(world, Version::Agent(id)), 0);
    assert!(step(world, id, agents::activate));
    assert!(!step(world, id, agents::activate));
    assert_eq!((state(), version(world, Version::Agent(id))), (AgentState::Active, 1));
    assert!(step(world, id, agents::suspend));
    assert!(!step(world, id, agents::activate), "its owner can't undo what an administrator did");
    assert!(step(world, id, agents::resume));
    assert!(step(world, id, agents::end));
    assert_eq!((state(), version(world, Version::Agent(id))), (AgentState::Ended, 4));

    for never in [agents::activate, agents::resume, agents::suspend, agents::end] {
        assert!(!step(world, id, never));
    }
    let ended = world.read(move |q| agents::find(q, id)).unwrap();
    assert!(!world.write(move |tx| agents::update(tx, &ended)).unwrap());
    assert_eq!(version(world, Version::Agent(id)), 4);
}

fn the_handle_of_an_ended_agent_stays_taken(world: &World) {
    let agent = world.agent("a");
    assert!(step(world, agent.id, agents::end));
    let again = world.new_agent("a");
    let refused = world.write(move |tx| agents::insert(tx, &again, hash("x"), hash("y")));
    assert_eq!(refused, Err(Fault::Conflict("handle")));
}

fn of_two_who_change_what_they_read_one_wins(world: &World) {
    let agent = world.agent("a");
    let id = agent.id;
    let answers = world.race(8, move |racer, tx| {
        let mut mine = agent.clone();
        mine.description = format!("racer {racer}");
        mine.handle = "stolen".to_owned();
        mine.state = AgentState::Ended;
        agents::update(tx, &mine)
    });
    let winners: Vec<_> = answers.iter().enumerate().filter(|(_, won)| **won == Ok(true)).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    let stored = world.read(move |q| agents::find(q, id)).unwrap();
    assert_eq!(stored.description, format!("racer {}", winners[0].0));
    // Handle and state have ways of their own to change, or none.
    assert_eq!((stored.handle.as_str(), stored.state, stored.version), ("a", AgentState::Active, 1));
    assert_eq!(version(world, Version::Agent(id)), 1);
}

fn a_label_is_unique_within_agent_and_user_for_ever(world: &World) {
    let (one, two) = (world.agent("one").id, world.agent("two").id);
    let (ada, bob) = (world.user("ada", &[]).id, world.user("bob", &[]).id);
    let first = world.task(one, None, Some("invoices"));
    for (agent, user) in [(one, Some(ada)), (one, Some(bob)), (two, None), (two, Some(ada))] {
        world.task(agent, user, Some("invoices"));
    }
    for (agent, user) in [(one, None), (one, Some(ada)), (two, Some(ada))] {
        let again = world.new_task(agent, user, Some("invoices"));
        assert_eq!(world.write(move |tx| tasks::insert(tx, &again)), Err(Fault::Conflict("label")));
    }
    // Tasks without a label are as many as one likes.
    world.task(one, None, None);
    world.task(one, None, None);
    let id = first.id;
    assert!(world.write(move |tx| tasks::finish(tx, id, TaskState::Completed)).unwrap());
    let again = world.new_task(one, None, Some("invoices"));
    assert_eq!(world.write(move |tx| tasks::insert(tx, &again)), Err(Fault::Conflict("label")));
    let found = world.read(move |q| tasks::by_label(q, one, None, "invoices")).unwrap();
    assert_eq!(found, Task { state: TaskState::Completed, ..first });
    assert_eq!(world.read(move |q| tasks::by_label(q, one, Some(bob), "invoice")), None);
    assert_eq!(world.read(move |q| tasks::by_label(q, one, Some(bob), "invoices")).unwrap().user, Some(bob));
}

fn a_task_ends_once_and_its_lineages_see_it(world: &World) {
    let agent = world.agent("a");
    let task = world.task(agent.id, None, None);
    let root = world.root(agent.id, Origin::Person);
    world.insert(&root);
    for _ in 0..3 {
        let child = world.child(&root, agent.id, Some(task.id));
        world.insert(&child);
    }
    let (id, epoch) = (task.id, Version::Lineage(root.id));
    for state in [TaskState::Active, TaskState::Expired] {
        assert!(!world.write(move |tx| tasks::finish(tx, id, state)).unwrap());
    }
    assert_eq!(version(world, epoch.clone()), 0);
    let answers = world.race(6, move |racer, tx| {
        tasks::finish(tx, id, [TaskState::Completed, TaskState::Revoked][racer % 2])
    });
    assert_eq!(answers.iter().filter(|won| **won == Ok(true)).count(), 1, "{answers:?}");
    assert_eq!(version(world, epoch), 1);
    assert_eq!(version(world, Version::Lineage(agent.registration)), 0);
}

fn an_expired_task_can_not_be_stored(world: &World) {
    let agent = world.agent("a").id;
    let task = Task { state: TaskState::Expired, ..world.new_task(agent, None, None) };
    assert_eq!(world.write(move |tx| tasks::insert(tx, &task)), Err(Fault::Conflict("check")));
}

fn revoking_twice_is_revoking_once(world: &World) {
    let agent = world.agent("a").id;
    let root = world.root(agent, Origin::Person);
    world.insert(&root);
    let child = world.child(&root, agent, None);
    world.insert(&child);
    let id = child.id;
    let answers = world.race(10, move |racer, tx| grants::revoke(tx, id, &revoked(&format!("usr_{racer}"))));
    let winner = answers.iter().position(|won| *won == Ok(true)).unwrap();
    assert_eq!(answers.iter().filter(|won| **won == Ok(true)).count(), 1);
    let stored = world.read(move |q| grants::find(q, id)).unwrap();
    assert_eq!(stored.revoked, Some(revoked(&format!("usr_{winner}"))));
    assert_eq!(version(world, Version::Lineage(root.id)), 1);
    let nobody = world.id();
    assert_eq!(world.write(move |tx| grants::revoke(tx, nobody, &revoked("x"))), Ok(false));
}

fn a_grant_hangs_where_it_says_or_not_at_all(world: &World) {
    let agent = world.agent("a");
    let (root, other) = (world.root(agent.id, Origin::Person), world.root(agent.id, Origin::Person));
    world.insert(&root);
    world.insert(&other);
    let child = world.child(&root, agent.id, None);
    let lineage = Fault::Conflict("lineage");
    let check = Fault::Conflict("check");
    let unknown = world.id();
    for (wrong, fault) in [
        (placet_core::grant::Grant { root: other.id, ..child.clone() }, lineage.clone()),
        (placet_core::grant::Grant { depth: 2, ..child.clone() }, lineage.clone()),
        (placet_core::grant::Grant { depth: 0, ..child.clone() }, lineage.clone()),
        (placet_core::grant::Grant { parent: Some(unknown), ..child.clone() }, lineage.clone()),
        (placet_core::grant::Grant { parent: Some(child.id), ..child.clone() }, lineage.clone()),
        (placet_core::grant::Grant { parent: None, ..child.clone() }, check.clone()),
        (placet_core::grant::Grant { origin: Origin::Person, ..child.clone() }, check.clone()),
        (placet_core::grant::Grant { origin: Origin::Agent, ..world.root(agent.id, Origin::Agent) }, check),
        (world.root(agent.id, Origin::Registration), lineage),
        (
            placet_core::grant::Grant { task: Some(world.id()), ..child.clone() },
            Fault::Conflict("foreign key"),
        ),
        (placet_core::grant::Grant { agent: world.id(), ..child.clone() }, Fault::Conflict("foreign key")),
    ] {
        let tried = wrong.clone();
        assert_eq!(world.write(move |tx| grants::insert(tx, &tried)), Err(fault), "{wrong:?}");
    }
    world.insert(&child);
    let id = child.id;
    assert_eq!(world.read(move |q| grants::find(q, id)), Some(child));
}

fn the_grants_to_reuse_are_the_live_ones_newest_first(world: &World) {
    let (agent, other) = (world.agent("a").id, world.agent("b").id);
    let (task, second) = (world.task(agent, None, None).id, world.task(agent, None, None).id);
    let root = world.root(agent, Origin::Person);
    world.insert(&root);
    let mut made = Vec::new();
    for (holder, task) in [(agent, task), (agent, second), (other, task), (agent, task), (agent, task)] {
        let child = world.child(&root, holder, Some(task));
        world.insert(&child);
        made.push(child);
    }
    let mut short = world.child(&root, agent, Some(task));
    short.authority.expires = minutes(5);
    world.insert(&short);
    let gone = made[3].id;
    world.write(move |tx| grants::revoke(tx, gone, &revoked("x"))).unwrap();
    let ids = |now, limit| {
        let found = world.read(move |q| grants::of_task_for_reuse(q, agent, task, now, limit));
        found.iter().map(|grant| grant.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(NOW, 10), [short.id, made[4].id, made[0].id]);
    assert_eq!(ids(minutes(5), 10), [made[4].id, made[0].id]);
    assert_eq!(ids(minutes(5), 1), [made[4].id]);
    assert_eq!(ids(minutes(30), 10), []);
}

fn a_delegation_token_is_spent_once_until_it_is_forgotten(world: &World) {
    let jti = world.id();
    let spend = move |tx: &mut placet_store::Tx<'_>| delegations::spend(tx, jti, minutes(10));
    let answers = world.race(10, move |_, tx| spend(tx));
    assert_eq!(answers.iter().filter(|first| **first == Ok(true)).count(), 1);
    assert_eq!(world.write(|tx| delegations::purge(tx, minutes(9), 10)), Ok(0));
    assert_eq!(world.write(spend), Ok(false));
    for _ in 0..4 {
        let other = world.id();
        assert_eq!(world.write(move |tx| delegations::spend(tx, other, minutes(9))), Ok(true));
    }
    assert_eq!(world.write(|tx| delegations::purge(tx, minutes(10), 3)), Ok(3));
    assert_eq!(world.write(spend), Ok(false), "the oldest are forgotten first");
    assert_eq!(world.write(|tx| delegations::purge(tx, minutes(10), 3)), Ok(2));
    assert_eq!(world.write(spend), Ok(true));
}
