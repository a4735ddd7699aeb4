//! Permits as they are stored: never changed, taken back once.

use crate::world::{NOW, World, minutes, on_both_engines};
use placet_core::{
    approval::{
        Approval, ApprovalState, RequestDigest,
        permit::{Permit, Scope, Sum, Terms},
    },
    grant::{Grant, Origin},
    pattern::{ActionPattern, ResourcePattern},
};
use placet_store::{Fault, Version, approvals, permits, versions};
use serde_json::Value;

on_both_engines! {
    a_permit_comes_back_as_it_was_given_and_is_taken_back_once,
    permits_are_listed_in_pages_by_agent,
}

fn approval(world: &World, grant: &Grant) -> Approval {
    let approval = Approval {
        id: world.id(),
        action_id: world.id(),
        agent: grant.agent,
        user: grant.user,
        grant: grant.id,
        task: grant.task,
        shown: Value::Null,
        requirements: Vec::new(),
        owners: Vec::new(),
        ground: None,
        votes: Vec::new(),
        state: ApprovalState::Pending,
        created: NOW,
        expires: minutes(10),
    };
    let stored = approval.clone();
    world.write(move |tx| approvals::insert(tx, &stored, RequestDigest([7; 32]))).unwrap();
    approval
}

fn permit(world: &World, grant: &Grant) -> Permit {
    Permit {
        id: world.id(),
        approval: approval(world, grant).id,
        agent: grant.agent,
        user: grant.user,
        task: grant.task,
        anchor: grant.id,
        service: "shop@1".into(),
        connection: "con_x@1".into(),
        rules: vec![("p@1".into(), "held".into())],
        terms: Terms {
            scope: Scope::Grant,
            actions: vec![ActionPattern::parse("refunds.*").unwrap()],
            resources: vec![ResourcePattern::parse("order://**").unwrap()],
            params: Default::default(),
            count: Some(3),
            sum: Some(Sum { of: "amount".into(), max: serde_json::from_str("100.50").unwrap() }),
            expires: minutes(10),
        },
        first: 1_000_000,
        words: vec!["It may.".into()],
        given_by: world.id(),
        given_name: "lee".into(),
        given_with: Vec::new(),
        given: NOW,
    }
}

fn insert(world: &World, permit: &Permit) -> Result<(), Fault> {
    let permit = permit.clone();
    world.write(move |tx| permits::insert(tx, &permit))
}

fn a_permit_comes_back_as_it_was_given_and_is_taken_back_once(world: &World) {
    let grant = world.root(world.agent("a").id, Origin::Person);
    world.insert(&grant);
    let given = permit(world, &grant);
    insert(world, &given).unwrap();
    let (id, agent) = (given.id, given.agent);
    assert_eq!(world.read(move |q| permits::find(q, id)).unwrap().permit, given);
    let live = |now| world.read(move |q| permits::live(q, agent, now, 10));
    assert_eq!((live(NOW), live(minutes(10))), (vec![given.clone()], vec![]));
    let version = || world.read(move |q| versions::current(q, &Version::Permit(id)));
    assert_eq!(version(), 0);
    assert!(world.write(move |tx| permits::revoke(tx, id, NOW, "usr")).unwrap());
    assert!(!world.write(move |tx| permits::revoke(tx, id, minutes(1), "other")).unwrap());
    assert_eq!(version(), 1, "the commit point compares it");
    assert_eq!(live(NOW), vec![]);
    let stored = world.read(move |q| permits::find(q, id)).unwrap();
    assert_eq!(stored.revoked, Some((NOW, "usr".to_owned())));
    assert_eq!(world.read(move |q| permits::used(q, &stored.permit)), [0, 0]);
}

fn permits_are_listed_in_pages_by_agent(world: &World) {
    let grants: Vec<Grant> =
        ["a", "b"].map(|handle| world.root(world.agent(handle).id, Origin::Person)).into();
    let mut all = Vec::new();
    for grant in &grants {
        world.insert(grant);
        for _ in 0..3 {
            let given = permit(world, grant);
            insert(world, &given).unwrap();
            all.push(given.id);
        }
    }
    all.sort();
    let page = |after, limit| {
        let listed = world.read(move |q| permits::list(q, None, after, limit));
        listed.into_iter().map(|given| given.permit.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 4), all[..4]);
    assert_eq!(page(Some(all[3]), 4), all[4..]);
    let agent = grants[0].agent;
    let own = world.read(move |q| permits::list(q, Some(agent), None, 10));
    assert_eq!(own.len(), 3);
    assert!(own.iter().all(|given| given.permit.agent == agent));
    let nowhere = Permit { anchor: world.id(), ..permit(world, &grants[0]) };
    assert!(matches!(insert(world, &nowhere), Err(Fault::Conflict(_))));
}
