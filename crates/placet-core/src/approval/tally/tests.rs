use super::super::*;
use crate::approval::tests::{approval, at, person, requirement};
use proptest::prelude::*;

fn role(name: &str) -> Vec<Approver> {
    vec![Approver::Role(name.into())]
}

fn several(by: Vec<Approver>, count: u32) -> Requirement {
    Requirement { count, ..requirement(by) }
}

fn yes(held: Approval, person: &User) -> Result<Approval, DecideError> {
    held.decide(person, Verdict::Approve, None, at(1001))
}

#[test]
fn several_are_different_people() {
    let (ada, bob) = (person("ada", &["lead"]), person("bob", &["lead"]));
    let held = approval(vec![several(role("lead"), 2)], None);
    assert_eq!(held.missing_in_all(), 2);
    let half = yes(held, &ada).unwrap();
    assert_eq!((half.state, half.missing()), (ApprovalState::Pending, vec![1]));
    // Once more the same person is nobody new.
    assert_eq!(yes(half.clone(), &ada), Err(DecideError::NotYours));
    assert_eq!(half.clone().use_up(at(1002)), Err(Code::ApprovalRequired));
    let whole = yes(half.clone(), &bob).unwrap();
    assert_eq!((whole.state, whole.missing_in_all()), (ApprovalState::Approved, 0));
    // One no ends it, also of who said yes before.
    let denied = half.decide(&ada, Verdict::Deny, None, at(1002)).unwrap();
    assert_eq!(denied.state, ApprovalState::Denied);
}

#[test]
fn who_is_ruled_out_counts_for_nothing() {
    let ada = person("ada", &["lead"]);
    let mut held = approval(vec![several(role("lead"), 1)], Some(ada.id));
    for (not, out) in [
        (Except::OnBehalf, true),
        (Except::Owner, false),
        (Except::Role("lead".into()), true),
        (Except::Role("clerk".into()), false),
        (Except::User("ada".into()), true),
        (Except::User("bob".into()), false),
    ] {
        held.requirements[0].not = vec![not.clone()];
        assert_eq!(yes(held.clone(), &ada).is_err(), out, "{not}");
        assert_eq!(held.clone().decide(&ada, Verdict::Deny, None, at(1001)).is_err(), out, "{not}");
    }
    held.requirements[0].not = vec![Except::Owner];
    for owner in ["ada".to_owned(), ada.id.to_string()] {
        let owned = Approval { owners: vec!["team".into(), owner], ..held.clone() };
        assert_eq!(yes(owned, &ada), Err(DecideError::NotYours));
    }
}

#[test]
fn nobody_counts_for_two_that_are_distinct_and_places_are_cleared() {
    let distinct = |by| Requirement { distinct: true, ..requirement(by) };
    let held = approval(
        vec![
            distinct(vec![Approver::Role("lead".into()), Approver::Role("finance".into())]),
            distinct(role("lead")),
        ],
        None,
    );
    let (lead, other) = (person("lead", &["lead"]), person("finn", &["finance"]));
    let half = yes(held.clone(), &lead).unwrap();
    assert_eq!((half.state, half.missing_in_all()), (ApprovalState::Pending, 1));
    assert_eq!(yes(half.clone(), &lead), Err(DecideError::NotYours));
    // The lead took the first place; it is cleared for somebody who fits only there.
    assert_eq!(yes(half, &other).unwrap().state, ApprovalState::Approved);
    // Without the word one person may answer for both.
    let mut shared = held;
    shared.requirements[1].distinct = false;
    assert_eq!(yes(shared, &lead).unwrap().state, ApprovalState::Approved);
}

#[test]
fn a_role_that_was_lost_takes_the_yes_with_it() {
    let (ada, bob, eve) = (person("ada", &["lead"]), person("bob", &["lead"]), person("eve", &["lead"]));
    let held = approval(vec![several(role("lead"), 2)], None);
    let whole = yes(yes(held, &ada).unwrap(), &bob).unwrap();
    let left = User { roles: vec!["clerk".into()], ..ada.clone() };
    let short = whole.clone().without(&left).unwrap();
    assert_eq!((short.state, short.missing_in_all()), (ApprovalState::Pending, 1));
    assert_eq!(short.clone().use_up(at(1002)), Err(Code::ApprovalRequired));
    assert_eq!(short.expires, whole.expires);
    // Who has it back has to say so again; somebody else will do as well.
    assert_eq!(short.clone().without(&ada), None);
    for person in [&ada, &eve] {
        assert_eq!(yes(short.clone(), person).unwrap().state, ApprovalState::Approved);
    }
    assert_eq!(yes(short, &left), Err(DecideError::NotYours));
    assert_eq!(whole.clone().without(&eve), None);
    assert_eq!(whole.use_up(at(1002)).unwrap().without(&left), None);
}

fn terms(count: u64, expires: i64) -> Terms {
    Terms {
        scope: permit::Scope::Grant,
        actions: Vec::new(),
        resources: Vec::new(),
        params: Default::default(),
        count: Some(count),
        sum: None,
        expires: at(expires),
    }
}

#[test]
fn a_permit_of_several_is_what_all_of_them_chose() {
    let (ada, bob) = (person("ada", &["lead"]), person("bob", &["lead"]));
    let held = approval(vec![several(role("lead"), 2)], None);
    let after = |first: Option<Terms>, second: Option<Terms>| {
        let half = held.clone().decide(&ada, Verdict::Approve, first, at(1001)).unwrap();
        let mut half_given = half.clone();
        assert_eq!(half_given.gifts(), []);
        half.decide(&bob, Verdict::Approve, second, at(1002)).unwrap()
    };
    for (first, second) in [
        (Some(terms(5, 9000)), None),
        (None, Some(terms(5, 9000))),
        (Some(terms(5, 9000)), Some(terms(6, 9000))),
    ] {
        assert_eq!(after(first, second).gifts(), []);
    }
    let mut whole = after(Some(terms(5, 9000)), Some(terms(5, 8000)));
    let gifts = whole.gifts();
    assert_eq!((gifts.len(), &gifts[0].terms, &gifts[0].met), (1, &terms(5, 8000), &vec![0]));
    assert_eq!((gifts[0].by.name.as_str(), gifts[0].with[0].name.as_str()), ("bob", "ada"));
    // It comes to be once, whatever happens later.
    let short = whole.without(&User { roles: Vec::new(), ..ada.clone() }).unwrap();
    let mut again = short.decide(&ada, Verdict::Approve, Some(terms(5, 9000)), at(1003)).unwrap();
    assert_eq!((again.state, again.gifts()), (ApprovalState::Approved, vec![]));
}

/// A requirement: which of four roles it names, how many it takes, whether it is distinct.
fn needed() -> impl Strategy<Value = (Vec<bool>, u32, bool)> {
    (prop::collection::vec(any::<bool>(), 4), 1..3u32, any::<bool>())
}

/// How many places can be filled at most, by trying every way to seat everybody.
fn most(seats: &[(Vec<usize>, u32)], people: &[Vec<usize>]) -> u32 {
    let Some((first, rest)) = people.split_first() else { return 0 };
    let mut best = most(seats, rest);
    for (index, (members, free)) in seats.iter().enumerate() {
        if *free > 0 && first.iter().any(|role| members.contains(role)) {
            let mut left = seats.to_vec();
            left[index].1 -= 1;
            best = best.max(1 + most(&left, rest));
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Whatever the order of answers, as many places are filled as anybody could fill; nobody is told that they are
    /// needed who isn't, or the other way round.
    #[test]
    fn as_many_places_as_possible_are_filled(
        needs in prop::collection::vec(needed(), 1..4),
        people in prop::collection::vec(prop::collection::vec(any::<bool>(), 4), 1..6),
    ) {
        let roles = |flags: &[bool]| (0..4).filter(|role| flags[*role]).collect::<Vec<usize>>();
        let requirements: Vec<Requirement> = needs.iter().map(|(named, count, distinct)| {
            let by = roles(named).iter().map(|role| Approver::Role(format!("r{role}"))).collect();
            Requirement { count: *count, distinct: *distinct, ..requirement(by) }
        }).collect();
        let mut held = approval(requirements.clone(), None);
        let mut said: Vec<Vec<usize>> = Vec::new();
        for (number, own) in people.iter().enumerate() {
            if held.state != ApprovalState::Pending { break }
            let own = roles(own);
            let names: Vec<String> = own.iter().map(|role| format!("r{role}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let who = person(["a", "b", "c", "d", "e"][number], &names);
            let missing = |said: &[Vec<usize>]| -> u32 {
                let shared: u32 = needs.iter().filter(|(_, _, distinct)| !distinct).map(|(named, count, _)| {
                    let may = said.iter().filter(|own| own.iter().any(|role| named[*role])).count();
                    count.saturating_sub(u32::try_from(may).unwrap())
                }).sum();
                let seats: Vec<(Vec<usize>, u32)> = needs.iter().filter(|(_, _, distinct)| *distinct)
                    .map(|(named, count, _)| (roles(named), *count)).collect();
                shared + seats.iter().map(|(_, count)| count).sum::<u32>() - most(&seats, said)
            };
            let before = missing(&said);
            said.push(own);
            let after = missing(&said);
            prop_assert_eq!(held.missing_in_all(), before);
            match held.clone().decide(&who, Verdict::Approve, None, at(1001)) {
                Ok(next) => {
                    prop_assert!(after < before);
                    held = next;
                }
                Err(error) => {
                    prop_assert_eq!(error, DecideError::NotYours);
                    prop_assert_eq!(after, before);
                    said.pop();
                }
            }
            prop_assert_eq!(held.state == ApprovalState::Approved, after == 0);
            prop_assert_eq!(held.open().is_empty(), after == 0);
            // Nobody stands twice in one requirement, nor in two that are distinct.
            let counted = held.counted();
            let seats: Vec<UserId> = counted.iter().zip(&requirements).filter(|(_, it)| it.distinct)
                .flat_map(|(counted, _)| counted.clone()).collect();
            prop_assert_eq!(seats.iter().collect::<BTreeSet<_>>().len(), seats.len());
        }
    }
}
