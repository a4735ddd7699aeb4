//! Trees of grants, against an oracle that walks parents by hand.

use crate::world::{World, on_both_engines, revoked};
use placet_core::{
    agent::Agent,
    chain::Stamp,
    grant::{Grant, Origin},
    id::{GrantId, TaskId},
};
use placet_store::{grants, lineage};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use std::collections::BTreeSet;

on_both_engines! {
    subtrees_ancestors_and_holders_are_what_the_parents_say,
    listings_page_through_exactly_what_the_filter_says,
}

/// One grant to make: what it hangs from (modulo those before it; sometimes nothing), its agent, its task, whether it
/// is revoked in the end.
type Plan = Vec<(Option<usize>, usize, Option<usize>, bool)>;

fn plans() -> impl Strategy<Value = Plan> {
    let parent = prop_oneof![1 => Just(None), 5 => any::<usize>().prop_map(Some)];
    let task = proptest::option::of(0usize..2);
    prop::collection::vec((parent, 0usize..3, task, prop::bool::weighted(0.3)), 1..24)
}

struct Forest {
    grants: Vec<Grant>,
    parents: Vec<Option<usize>>,
    gone: Vec<bool>,
}

impl Forest {
    fn plant(world: &World, agents: &[Agent], tasks: &[TaskId], plan: &Plan) -> Self {
        let mut forest = Self { grants: Vec::new(), parents: Vec::new(), gone: Vec::new() };
        for (index, (parent, agent, task, gone)) in plan.iter().enumerate() {
            let agent = agents[*agent].id;
            let parent = parent.and_then(|parent| parent.checked_rem(index));
            let grant = match parent {
                Some(parent) => world.child(&forest.grants[parent], agent, task.map(|task| tasks[task])),
                None => Grant { task: task.map(|task| tasks[task]), ..world.root(agent, Origin::Person) },
            };
            forest.grants.push(grant);
            forest.parents.push(parent);
            forest.gone.push(*gone);
        }
        let (all, gone) = (forest.grants.clone(), forest.gone.clone());
        world
            .write(move |tx| {
                all.iter().try_for_each(|grant| grants::insert(tx, grant))?;
                for (grant, _) in all.iter().zip(&gone).filter(|(_, gone)| **gone) {
                    assert!(grants::revoke(tx, grant.id, &revoked("x"))?);
                }
                Ok(())
            })
            .unwrap();
        for (grant, gone) in forest.grants.iter_mut().zip(&forest.gone) {
            grant.revoked = gone.then(|| revoked("x"));
        }
        forest
    }

    /// The grant and what is above it, leaf first.
    fn path(&self, index: usize) -> Vec<usize> {
        std::iter::successors(Some(index), |index| self.parents[*index]).collect()
    }

    fn below(&self, index: usize) -> BTreeSet<GrantId> {
        let below = |other: &usize| self.path(*other).contains(&index);
        (0..self.grants.len()).filter(below).map(|other| self.grants[other].id).collect()
    }
}

fn subtrees_ancestors_and_holders_are_what_the_parents_say(world: &World) {
    let agents = ["a", "b", "c"].map(|handle| world.agent(handle));
    let tasks = [0, 1].map(|agent: usize| world.task(agents[agent].id, None, None).id);
    let mut runner = TestRunner::new(ProptestConfig { cases: 40, ..ProptestConfig::default() });
    runner
        .run(&plans(), |plan| {
            let forest = Forest::plant(world, &agents, &tasks, &plan);
            for (index, grant) in forest.grants.iter().enumerate() {
                let id = grant.id;
                let subtree = world.read(move |q| grants::subtree(q, id, 1000));
                let ids: BTreeSet<_> = subtree.iter().map(|node| node.id).collect();
                prop_assert_eq!(&ids, &forest.below(index));
                prop_assert_eq!(ids.len(), subtree.len());
                prop_assert!(subtree.is_sorted_by_key(|node| (node.depth, node.id)));
                for node in &subtree {
                    let of = forest.grants.iter().find(|grant| grant.id == node.id).unwrap();
                    prop_assert_eq!(node.parent, of.parent);
                    prop_assert_eq!((node.agent, node.task, node.depth), (of.agent, of.task, of.depth));
                    prop_assert_eq!(node.revoked, of.revoked.as_ref().map(|revoked| revoked.at));
                }
                let first = world.read(move |q| grants::subtree(q, id, 2));
                prop_assert_eq!(&first[..], &subtree[..subtree.len().min(2)]);

                let path = forest.path(index);
                let expected: Vec<_> = path.iter().map(|above| forest.grants[*above].clone()).collect();
                prop_assert_eq!(&world.read(move |q| grants::ancestors(q, id)), &expected);

                for agent in agents.iter().map(|agent| agent.id) {
                    let holds = expected.iter().any(|above| above.agent == agent);
                    prop_assert_eq!(world.read(move |q| grants::is_within(q, id, agent)), holds);
                }

                // The lineage read for a chain is that path, with the epoch that its revocations have brought.
                let rows = world.read(move |q| lineage::load(q, id)).unwrap();
                let links: Vec<_> = rows.links.iter().map(|link| Grant::clone(&link.grant)).collect();
                prop_assert_eq!(links, expected);
                for link in &rows.links {
                    prop_assert_eq!(link.agent.id, link.grant.agent);
                    prop_assert_eq!(link.registration.id, link.agent.registration);
                    prop_assert_eq!(link.task.as_ref().map(|task| task.id), link.grant.task);
                }
                let of_tree = |other: &usize| forest.grants[*other].root == grant.root && forest.gone[*other];
                let epoch = (0..forest.grants.len()).filter(of_tree).count() as u64;
                prop_assert!(rows.stamps.contains(&(Stamp::Lineage(grant.root), epoch)));
                let distinct: BTreeSet<_> =
                    rows.stamps.iter().map(|(stamp, _)| format!("{stamp:?}")).collect();
                let holders: BTreeSet<_> = rows.links.iter().map(|link| link.agent.id).collect();
                prop_assert_eq!(distinct.len(), rows.stamps.len());
                prop_assert_eq!(distinct.len(), 1 + 2 * holders.len());
            }
            Ok(())
        })
        .unwrap();
}

fn listings_page_through_exactly_what_the_filter_says(world: &World) {
    let agents = ["a", "b", "c"].map(|handle| world.agent(handle));
    let tasks = [0, 1].map(|agent: usize| world.task(agents[agent].id, None, None).id);
    let mut runner = TestRunner::deterministic();
    let mut stored: Vec<Grant> =
        agents.iter().map(|agent| Grant { id: agent.registration, ..world.registration(agent) }).collect();
    let mut within = [Vec::new(), Vec::new(), Vec::new()];
    for (held, agent) in within.iter_mut().zip(&agents) {
        held.push(agent.registration);
    }
    for _ in 0..3 {
        let plan = plans().new_tree(&mut runner).unwrap().current();
        let forest = Forest::plant(world, &agents, &tasks, &plan);
        for index in 0..forest.grants.len() {
            for (held, agent) in within.iter_mut().zip(&agents) {
                if forest.path(index).iter().any(|above| forest.grants[*above].agent == agent.id) {
                    held.push(forest.grants[index].id);
                }
            }
        }
        stored.extend(forest.grants);
    }
    let root = stored.iter().max_by_key(|grant| grant.depth).unwrap().root;
    for bits in 0..64 {
        let [agent, within_agent] = [bits % 4, bits / 4 % 4].map(|choice: usize| choice.checked_sub(1));
        let filter = grants::Filter {
            agent: agent.map(|agent| agents[agent].id),
            root: (bits & 16 != 0).then_some(root),
            task: (bits & 32 != 0).then_some(tasks[1]),
            within: within_agent.map(|agent| agents[agent].id),
        };
        let expected: Vec<GrantId> = stored
            .iter()
            .filter(|grant| filter.agent.is_none_or(|agent| grant.agent == agent))
            .filter(|grant| filter.root.is_none_or(|root| grant.root == root))
            .filter(|grant| filter.task.is_none_or(|task| grant.task == Some(task)))
            .filter(|grant| within_agent.is_none_or(|agent| within[agent].contains(&grant.id)))
            .map(|grant| grant.id)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let limit = if bits % 2 == 0 { 5 } else { 2 };
        let mut seen: Vec<GrantId> = Vec::new();
        loop {
            let after = seen.last().copied();
            let page = world.read(move |q| grants::list(q, filter, after, limit));
            assert!(page.len() <= limit);
            seen.extend(page.iter().map(|grant| grant.id));
            if page.len() < limit {
                break;
            }
        }
        assert_eq!(seen, expected, "{filter:?}");
    }
    let task = tasks[0];
    let all = world.read(move |q| grants::by_task(q, task, 1000));
    assert_eq!(all.len(), stored.iter().filter(|grant| grant.task == Some(task)).count());
}
