//! Held requests and the answers to them.

use crate::world::{NOW, World, hash, minutes, on_both_engines};
use placet_core::{
    approval::{Approval, ApprovalState, Approver, RequestDigest, Requirement, Verdict},
    grant::{Grant, Origin},
    user::User,
};
use placet_store::{Fault, approvals};
use serde_json::json;

on_both_engines! {
    an_end_without_use_is_written_once_and_nothing_comes_after_it,
    the_same_request_finds_the_approval_while_it_waits,
    of_two_who_decide_at_once_exactly_one_wins_and_no_vote_is_lost,
    impossible_approvals_are_not_stored,
    listings_go_by_the_state_at_the_time_and_by_whom_they_concern,
}

fn digest(text: &str) -> RequestDigest {
    RequestDigest(*hash(text).as_bytes())
}

fn held(world: &World, grant: &Grant, by: &[&str]) -> Approval {
    let requirement = |role: &&str| Requirement {
        policy: "support-desk@7".to_owned(),
        rule: format!("needs {role}"),
        by: vec![Approver::Role((*role).to_owned())],
        not: Vec::new(),
        count: 1,
        distinct: false,
        within: 600,
        intent: false,
    };
    Approval {
        id: world.id(),
        action_id: world.id(),
        agent: grant.agent,
        user: grant.user,
        grant: grant.id,
        task: grant.task,
        shown: serde_json::from_str(r#"{"params": {"amount": 100.10, "big": 12345678901234567890.5}}"#)
            .unwrap(),
        requirements: by.iter().map(requirement).collect(),
        owners: Vec::new(),
        ground: None,
        votes: Vec::new(),
        state: ApprovalState::Pending,
        created: NOW,
        expires: minutes(10),
    }
}

fn grant(world: &World, handle: &str) -> Grant {
    let grant = world.root(world.agent(handle).id, Origin::Person);
    world.insert(&grant);
    grant
}

fn insert(world: &World, approval: &Approval, request: &str) {
    let (approval, digest) = (approval.clone(), digest(request));
    world.write(move |tx| approvals::insert(tx, &approval, digest)).unwrap();
}

fn the_same_request_finds_the_approval_while_it_waits(world: &World) {
    let (grant, other) = (grant(world, "a"), grant(world, "b"));
    let approval = held(world, &grant, &["lead"]);
    insert(world, &approval, "request");
    let (agent, id) = (grant.agent, approval.id);
    let found = |agent, request: &str, now| {
        let digest = digest(request);
        world.read(move |q| approvals::pending_by_digest(q, agent, digest, now))
    };
    let stored = found(agent, "request", NOW).unwrap();
    assert_eq!(stored.approval, approval);
    assert_eq!(stored.approval.shown.to_string(), approval.shown.to_string(), "numbers keep their text");
    assert_eq!(found(agent, "request", minutes(10)), None);
    assert_eq!(found(agent, "another", NOW), None);
    assert_eq!(found(other.agent, "request", NOW), None);
    assert_eq!(world.read(move |q| approvals::count_pending(q, agent, NOW)), 1);
    assert_eq!(world.read(move |q| approvals::count_pending(q, agent, minutes(10))), 0);

    let lead = world.user("lead", &["lead"]);
    let denied = approval.decide(&lead, Verdict::Deny, None, minutes(1)).unwrap();
    let saved = denied.clone();
    assert!(world.write(move |tx| approvals::save_decision(tx, 1, &saved)).unwrap());
    assert_eq!(found(agent, "request", NOW), None);
    assert_eq!(world.read(move |q| approvals::count_pending(q, agent, NOW)), 0);
    let after = world.read(move |q| approvals::find(q, id)).unwrap();
    assert_eq!((after.approval, after.version), (denied, 2));
}

fn of_two_who_decide_at_once_exactly_one_wins_and_no_vote_is_lost(world: &World) {
    let grant = grant(world, "a");
    let people: Vec<User> = (0..6).map(|n| world.user(&format!("p{n}"), &[&format!("role-{n}")])).collect();
    let roles: Vec<String> = (0..6).map(|n| format!("role-{n}")).collect();
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    let approval = held(world, &grant, &roles);
    insert(world, &approval, "request");
    let id = approval.id;

    // All read the same version, then all answer.
    let (read, voters) = (approval.clone(), people.clone());
    let answers = world.race(6, move |racer, tx| {
        let decided = read.clone().decide(&voters[racer], Verdict::Approve, None, minutes(1)).unwrap();
        approvals::save_decision(tx, 1, &decided)
    });
    let winner = answers.iter().position(|won| *won == Ok(true)).unwrap();
    assert_eq!(answers.iter().filter(|won| **won == Ok(true)).count(), 1, "{answers:?}");
    let stored = world.read(move |q| approvals::find(q, id)).unwrap();
    assert_eq!((stored.approval.votes.len(), stored.version), (1, 2));
    assert_eq!(stored.approval.votes[0].by, people[winner].id);

    // The others look again, and then everybody's answer is there.
    let voters = people.clone();
    let again = world.race(6, move |racer, tx| {
        if racer == winner {
            return Ok(true);
        }
        let now = approvals::find(tx, id)?.unwrap();
        let decided = now.approval.decide(&voters[racer], Verdict::Approve, None, minutes(1)).unwrap();
        approvals::save_decision(tx, now.version, &decided)
    });
    assert!(again.iter().all(|won| *won == Ok(true)), "{again:?}");
    let stored = world.read(move |q| approvals::find(q, id)).unwrap();
    assert_eq!((stored.approval.votes.len(), stored.approval.state), (6, ApprovalState::Approved));
    assert_eq!(stored.approval.expires, minutes(11));

    // What is decided stays decided, whatever version is named.
    let mut turned = stored.approval.clone();
    turned.state = ApprovalState::Denied;
    let version = stored.version;
    assert!(!world.write(move |tx| approvals::save_decision(tx, version, &turned)).unwrap());
}

fn impossible_approvals_are_not_stored(world: &World) {
    let grant = grant(world, "a");
    let expired = Approval { state: ApprovalState::Expired, ..held(world, &grant, &["x"]) };
    let nowhere = Approval { grant: world.id(), ..held(world, &grant, &["x"]) };
    for (approval, kind) in [(expired, "check"), (nowhere, "foreign key")] {
        let refused = world.write(move |tx| approvals::insert(tx, &approval, digest("x")));
        assert_eq!(refused, Err(Fault::Conflict(kind)));
    }
}

fn listings_go_by_the_state_at_the_time_and_by_whom_they_concern(world: &World) {
    let ada = world.user("ada", &["lead"]);
    let bob = world.user("bob", &[]);
    let plain = grant(world, "a");
    let of_bob = Grant { user: Some(bob.id), ..world.root(plain.agent, Origin::Person) };
    world.insert(&of_bob);
    let mut all = Vec::new();
    // More than one batch, of which few concern anybody.
    for n in 0..420usize {
        let mut approval = held(world, if n % 50 == 7 { &of_bob } else { &plain }, &["nobody"]);
        if n % 60 == 3 {
            approval.requirements = held(world, &plain, &["lead"]).requirements;
        }
        approval.state =
            [ApprovalState::Pending, ApprovalState::Approved, ApprovalState::Used, ApprovalState::Denied]
                [n % 4];
        approval.expires = minutes(if n % 3 == 0 { 5 } else { 10 });
        approval.shown = json!({"n": n});
        all.push(approval);
    }
    let stored = all.clone();
    world
        .write(move |tx| stored.iter().try_for_each(|approval| approvals::insert(tx, approval, digest("x"))))
        .unwrap();
    let now = minutes(6);
    let states = [
        ApprovalState::Pending,
        ApprovalState::Approved,
        ApprovalState::Denied,
        ApprovalState::Used,
        ApprovalState::Expired,
    ];
    for state in states.map(Some).into_iter().chain([None]) {
        for person in [None, Some(ada.clone()), Some(bob.clone())] {
            for user in [None, Some(bob.id)] {
                let expected: Vec<_> = all
                    .iter()
                    .filter(|approval| state.is_none_or(|state| approval.state_at(now) == state))
                    .filter(|approval| user.is_none() || approval.user == user)
                    .filter(|approval| person.as_ref().is_none_or(|person| approval.concerns(person)))
                    .map(|approval| approval.id)
                    .collect();
                let mut seen = Vec::new();
                loop {
                    let (after, person) = (seen.last().copied(), person.clone());
                    let page = world.read(move |q| {
                        let filter =
                            approvals::Filter { state, agent: None, user, concerning: person.as_ref() };
                        approvals::list(q, filter, now, after, 70)
                    });
                    seen.extend(page.iter().map(|held| held.approval.id));
                    if page.len() < 70 {
                        break;
                    }
                }
                assert_eq!(seen, expected, "{state:?} {user:?}");
            }
        }
    }
}

fn an_end_without_use_is_written_once_and_nothing_comes_after_it(world: &World) {
    let grant = grant(world, "a");
    let close = |id, version, how| world.write(move |tx| approvals::close(tx, id, version, how)).unwrap();
    let (waiting, decided) = (held(world, &grant, &["lead"]), held(world, &grant, &["lead"]));
    insert(world, &waiting, "waiting");
    insert(world, &decided, "decided");
    let lead = world.user("lee", &["lead"]);
    let answer = decided.clone().decide(&lead, Verdict::Approve, None, NOW).unwrap();
    let saved = answer.clone();
    assert!(world.write(move |tx| approvals::save_decision(tx, 1, &saved)).unwrap());
    // Whoever read it before the answer closes nothing.
    assert!(!close(decided.id, 1, ApprovalState::Expired));
    assert!(close(decided.id, 2, ApprovalState::Ended));
    assert!(!close(decided.id, 3, ApprovalState::Expired), "closed twice");
    assert!(close(waiting.id, 1, ApprovalState::Expired));
    let late = waiting.clone().decide(&lead, Verdict::Approve, None, NOW).unwrap();
    assert!(
        !world.write(move |tx| approvals::save_decision(tx, 2, &late)).unwrap(),
        "answered when it was over"
    );
    let state = |id| world.read(move |q| approvals::find(q, id)).unwrap().approval.state_at(NOW);
    assert_eq!(state(waiting.id), ApprovalState::Expired);
    assert_eq!(state(decided.id), ApprovalState::Ended);
    let agent = grant.agent;
    assert_eq!(world.read(move |q| approvals::count_pending(q, agent, NOW)), 0);
    assert!(world.read(|q| approvals::open(q, None, 10)).is_empty());
    for (word, id) in [(ApprovalState::Expired, waiting.id), (ApprovalState::Ended, decided.id)] {
        let filter = approvals::Filter { state: Some(word), ..approvals::Filter::default() };
        let found = world.read(move |q| approvals::list(q, filter, NOW, None, 10));
        assert_eq!(found.iter().map(|held| held.approval.id).collect::<Vec<_>>(), [id]);
    }
}
