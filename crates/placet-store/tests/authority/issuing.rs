//! Grants that are issued many at once: all of them or, where their chain has changed, none.

use crate::world::{NOW, World, on_both_engines, revoked};
use placet_core::{
    chain::{Chain, Link},
    grant::{Grant, Origin},
    record::{EntryType, Envelope},
    task::Task,
};
use placet_store::{Fault, Issue, PreparedEntry, grants, lineage, record, tasks};
use std::sync::Arc;

on_both_engines! {
    hundreds_at_once_are_all_there_and_a_closure_behind_them_sees_them,
    nothing_is_issued_below_what_was_revoked_since,
    a_leaf_that_does_not_hang_from_what_is_above_it_or_has_a_label_is_refused,
}

/// A chain of one root, as it is stored.
fn chain(world: &World, root: &Grant) -> Chain {
    let id = root.id;
    let rows = world.read(move |q| lineage::load(q, id)).unwrap();
    Chain::assemble(rows.links, rows.stamps, NOW).unwrap()
}

/// The chain of `grant`, which is not stored yet.
fn below(above: &Chain, grant: &Grant, task: &Task) -> Chain {
    let leaf = above.leaf();
    let link = Link {
        grant: Arc::new(grant.clone()),
        agent: Arc::clone(&leaf.agent),
        registration: Arc::clone(&leaf.registration),
        task: Some(Arc::new(task.clone())),
        user: None,
    };
    let links = std::iter::once(link).chain(above.links().iter().cloned()).collect();
    Chain::assemble(links, above.stamps().to_vec(), NOW).unwrap()
}

fn entry(world: &World) -> PreparedEntry {
    PreparedEntry::new(&Envelope::new(world.id(), EntryType::GrantIssued, NOW), None)
}

/// How many entries the record has.
fn recorded(world: &World) -> u64 {
    world.read(|q| record::heads(q)).iter().map(|head| head.seq).sum()
}

fn root(world: &World) -> Grant {
    let agent = world.agent("bot");
    let root = world.root(agent.id, Origin::Person);
    world.insert(&root);
    root
}

/// A grant for a task of its own below `root`, neither stored.
fn unstored(world: &World, root: &Grant) -> (Task, Grant) {
    let task = world.new_task(root.agent, None, None);
    let grant = world.child(root, root.agent, Some(task.id));
    (task, grant)
}

fn hundreds_at_once_are_all_there_and_a_closure_behind_them_sees_them(world: &World) {
    let root = root(world);
    let chain = chain(world, &root);
    let before = recorded(world);
    let all: Vec<_> = (0..300).map(|_| unstored(world, &root)).collect();
    let issues =
        all.iter().map(|(task, grant)| Issue::anew(&below(&chain, grant, task), task, entry(world)).unwrap());
    let last = all[299].1.id;
    let (issued, seen) = world.issue_then(issues.collect(), move |tx| grants::find(tx, last));
    assert!(issued.into_iter().all(|issued| issued == Ok(true)));
    assert_eq!(seen.unwrap().as_ref(), Some(&all[299].1));
    for (task, grant) in &all {
        let (task_id, grant_id) = (task.id, grant.id);
        assert_eq!(world.read(move |q| tasks::find(q, task_id)).as_ref(), Some(task));
        assert_eq!(world.read(move |q| grants::find(q, grant_id)).as_ref(), Some(grant));
    }
    // A token of one that is there adds an entry and nothing else.
    let again = Issue::again(&self::chain(world, &all[7].1), entry(world));
    assert_eq!(world.issue_then(vec![again], |_| Ok(())).0, [Ok(true)]);
    assert_eq!(recorded(world), before + 301);
}

fn nothing_is_issued_below_what_was_revoked_since(world: &World) {
    let root = root(world);
    let chain = chain(world, &root);
    let (task, grant) = unstored(world, &root);
    let id = root.id;
    world.write(move |tx| grants::revoke(tx, id, &revoked("ada"))).unwrap();
    let before = recorded(world);
    let anew = Issue::anew(&below(&chain, &grant, &task), &task, entry(world)).unwrap();
    let again = Issue::again(&chain, entry(world));
    assert_eq!(world.issue_then(vec![anew, again], |_| Ok(())).0, [Ok(false), Ok(false)]);
    let (task_id, grant_id) = (task.id, grant.id);
    assert_eq!(world.read(move |q| tasks::find(q, task_id)), None);
    assert_eq!(world.read(move |q| grants::find(q, grant_id)), None);
    assert_eq!(recorded(world), before);
}

fn a_leaf_that_does_not_hang_from_what_is_above_it_or_has_a_label_is_refused(world: &World) {
    let root = root(world);
    let chain = chain(world, &root);
    let refusal = |task: &Task, grant: &Grant| {
        Issue::anew(&below(&chain, grant, task), task, entry(world)).unwrap_err()
    };
    let (task, grant) = unstored(world, &root);
    let deeper = Grant { depth: grant.depth + 1, ..grant.clone() };
    let elsewhere = Grant { root: world.id(), ..grant.clone() };
    let of_another_task = Grant { task: Some(world.id()), ..grant.clone() };
    for broken in [deeper, elsewhere, of_another_task] {
        assert_eq!(refusal(&task, &broken), Fault::Conflict("lineage"));
    }
    let labelled = Task { label: Some("mail".to_owned()), ..task.clone() };
    assert_eq!(refusal(&labelled, &grant), Fault::Conflict("label"));
    assert_eq!(Issue::anew(&chain, &task, entry(world)).unwrap_err(), Fault::Conflict("lineage"));
}
