//! What a chain is assembled from, and that every change that matters is seen in it.

use crate::world::{NOW, World, minutes, on_both_engines, revoked};
use placet_core::{
    agent::Agent,
    chain::{Chain, Stamp},
    grant::{Grant, Origin},
    id::GrantId,
    refusal::Code,
    task::{Task, TaskState},
    user::User,
};
use placet_store::{agents, grants, lineage, tasks, users};
use std::sync::Arc;

on_both_engines! {
    a_lineage_of_depth_eight_is_a_chain_with_all_that_it_hangs_on,
    a_revocation_anywhere_in_the_tree_is_seen_and_anywhere_else_is_not,
    the_end_of_a_registration_is_seen_below_it,
    the_end_of_a_task_is_seen_below_it,
    the_end_of_an_agent_is_seen_below_it,
    a_change_of_a_users_roles_is_seen_in_the_lineages_that_have_their_grants,
    an_agent_without_its_registration_grant_is_a_fault_not_a_shorter_chain,
}

struct Deep<'w> {
    world: &'w World,
    agents: [Agent; 3],
    user: User,
    tasks: Vec<Task>,
    /// Root first.
    grants: Vec<Grant>,
}

/// Nine links (depth 8) of three agents, on behalf of a user from the third on, each but the root for a task.
fn deep(world: &World) -> Deep<'_> {
    let agents = ["a", "b", "c"].map(|handle| world.agent(handle));
    let user = world.user("ada", &["support-lead", "approver"]);
    let tasks: Vec<_> = (0..3).map(|n| world.task(agents[n].id, None, Some("label"))).collect();
    let mut grants = vec![world.root(agents[0].id, Origin::Person)];
    for depth in 1..=8usize {
        let mut child = world.child(&grants[depth - 1], agents[depth / 2 % 3].id, Some(tasks[depth / 3].id));
        child.user = (depth >= 2).then_some(user.id);
        grants.push(child);
    }
    grants.iter().for_each(|grant| world.insert(grant));
    Deep { world, agents, user, tasks, grants }
}

impl Deep<'_> {
    fn load(&self, id: GrantId) -> lineage::LineageRows {
        self.world.read(move |q| lineage::load(q, id)).unwrap()
    }

    fn leaf(&self) -> lineage::LineageRows {
        self.load(self.grants[8].id)
    }

    fn refused(&self) -> Code {
        let rows = self.leaf();
        Chain::assemble(rows.links, rows.stamps, minutes(2)).unwrap_err().code
    }
}

fn version(rows: &lineage::LineageRows, stamp: Stamp) -> u64 {
    rows.stamps.iter().find(|(known, _)| *known == stamp).unwrap().1
}

fn a_lineage_of_depth_eight_is_a_chain_with_all_that_it_hangs_on(world: &World) {
    let deep = deep(world);
    let rows = deep.leaf();
    assert_eq!(rows.links.len(), 9);
    for (link, grant) in rows.links.iter().zip(deep.grants.iter().rev()) {
        assert_eq!(*link.grant, *grant);
        let agent = deep.agents.iter().find(|agent| agent.id == grant.agent).unwrap();
        assert_eq!(*link.agent, *agent);
        assert_eq!(link.registration.id, agent.registration);
        assert_eq!(link.registration.origin, Origin::Registration);
        assert_eq!(link.task.as_deref(), deep.tasks.iter().find(|task| Some(task.id) == grant.task));
        assert_eq!(link.user.as_deref(), grant.user.map(|_| &deep.user));
    }
    assert!(Arc::ptr_eq(&rows.links[0].agent, &rows.links[6].agent), "links share what they have in common");
    let mut expected: Vec<_> = deep
        .agents
        .iter()
        .flat_map(|agent| [(Stamp::Agent(agent.id), 0), (Stamp::Lineage(agent.registration), 0)])
        .chain([(Stamp::Lineage(deep.grants[0].id), 0)])
        .map(|stamp| format!("{stamp:?}"))
        .collect();
    let mut found: Vec<_> = rows.stamps.iter().map(|stamp| format!("{stamp:?}")).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let chain = Chain::assemble(rows.links, rows.stamps, minutes(2)).unwrap();
    assert_eq!(chain.user(), Some(&deep.user));
    let nobody = deep.world.id();
    assert_eq!(deep.world.read(move |q| lineage::load(q, nobody)), None);
}

fn a_revocation_anywhere_in_the_tree_is_seen_and_anywhere_else_is_not(world: &World) {
    let deep = deep(world);
    let root = deep.grants[0].id;
    let before = deep.leaf();
    let aside = deep.world.child(&deep.grants[1], deep.agents[1].id, None);
    let elsewhere = deep.world.root(deep.agents[0].id, Origin::Person);
    deep.world.insert(&aside);
    deep.world.insert(&elsewhere);
    let holds = |rows: &lineage::LineageRows| {
        let stamps = rows.stamps.clone();
        deep.world.write(move |q| lineage::holds(q, &stamps)).unwrap()
    };
    let revoke = |id| deep.world.write(move |tx| grants::revoke(tx, id, &revoked("x"))).unwrap();

    assert!(revoke(elsewhere.id));
    assert!(holds(&before));
    // A sibling's end raises the epoch but ends nothing here: the chain is read again, and lives.
    assert!(revoke(aside.id));
    assert!(!holds(&before));
    let after = deep.leaf();
    assert_eq!(version(&after, Stamp::Lineage(root)), 1);
    assert_eq!(before.links, after.links);
    assert!(Chain::assemble(after.links, after.stamps, minutes(2)).is_ok());

    assert!(revoke(deep.grants[3].id));
    assert_eq!(version(&deep.leaf(), Stamp::Lineage(root)), 2);
    assert_eq!(deep.refused(), Code::LineageRevoked);
    // A dead ancestor stops no revocation below it.
    assert!(revoke(deep.grants[8].id));
    assert_eq!(deep.refused(), Code::TokenRevoked);
    assert_eq!(version(&deep.leaf(), Stamp::Lineage(root)), 3);
}

fn the_end_of_a_registration_is_seen_below_it(world: &World) {
    let registration = deep(world);
    let id = registration.agents[2].registration;
    let before = registration.leaf();
    registration.world.write(move |tx| grants::revoke(tx, id, &revoked("x"))).unwrap();
    assert_eq!(registration.refused(), Code::LineageRevoked);
    let after = registration.leaf();
    assert_eq!(version(&after, Stamp::Lineage(id)), 1);
    assert_eq!(version(&after, Stamp::Lineage(registration.grants[0].id)), 0);
    assert!(registration.world.write(move |q| lineage::holds(q, &after.stamps)).unwrap());
    assert!(!registration.world.write(move |q| lineage::holds(q, &before.stamps)).unwrap());
    // Links above the first that the agent holds don't hang on it.
    let above = registration.load(registration.grants[3].id);
    assert!(Chain::assemble(above.links, above.stamps, minutes(2)).is_ok());
}

fn the_end_of_a_task_is_seen_below_it(world: &World) {
    let task = deep(world);
    let (id, before) = (task.tasks[1].id, task.leaf());
    task.world.write(move |tx| tasks::finish(tx, id, TaskState::Revoked)).unwrap();
    assert_eq!(task.refused(), Code::TaskEnded);
    assert!(!task.world.write(move |q| lineage::holds(q, &before.stamps)).unwrap());
}

fn the_end_of_an_agent_is_seen_below_it(world: &World) {
    let agent = deep(world);
    let (id, before) = (agent.agents[1].id, agent.leaf());
    assert!(agent.world.write(move |tx| agents::suspend(tx, id, 0)).unwrap());
    assert_eq!(agent.refused(), Code::AgentInactive);
    assert_eq!(version(&agent.leaf(), Stamp::Agent(id)), 1);
    assert!(!agent.world.write(move |q| lineage::holds(q, &before.stamps)).unwrap());
}

fn a_change_of_a_users_roles_is_seen_in_the_lineages_that_have_their_grants(world: &World) {
    let deep = deep(world);
    let before = deep.leaf();
    let (id, other) = (deep.user.id, deep.world.user("bob", &[]).id);
    let set = |id, now| {
        deep.world
            .write(move |tx| {
                let version = users::find(tx, id)?.unwrap().version;
                users::set_roles(tx, id, version, &[], now)
            })
            .unwrap()
    };
    assert!(set(other, NOW));
    let stamps = before.stamps.clone();
    assert!(deep.world.write(move |q| lineage::holds(q, &stamps)).unwrap());
    assert!(set(id, NOW));
    let after = deep.leaf();
    assert_eq!(version(&after, Stamp::Lineage(deep.grants[0].id)), 1);
    assert_eq!(after.links[0].user.as_ref().unwrap().roles, [""; 0]);
    // All grants have expired by then.
    assert!(set(id, minutes(30)));
    assert_eq!(version(&deep.leaf(), Stamp::Lineage(deep.grants[0].id)), 1);
}

fn an_agent_without_its_registration_grant_is_a_fault_not_a_shorter_chain(world: &World) {
    let (agent, above) = (world.new_agent("a"), world.agent("b"));
    let stored = agent.clone();
    world
        .write(move |tx| agents::insert(tx, &stored, crate::world::hash("x"), crate::world::hash("y")))
        .unwrap();
    let root = world.root(above.id, Origin::Person);
    world.insert(&root);
    let child = world.child(&root, agent.id, None);
    world.insert(&child);
    let refused = world.write(move |tx| lineage::load(tx, child.id));
    assert_eq!(refused, Err(placet_store::Fault::Unreadable("an agent's registration grant")));
}
