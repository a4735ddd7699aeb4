use super::*;
use proptest::prelude::*;

pub(super) fn person(name: &str, roles: &[&str]) -> User {
    let entropy = [name.as_bytes()[0]; 10];
    User {
        id: UserId::from_parts(
            Timestamp::from_micros(name.bytes().map(i64::from).sum::<i64>() * 1000),
            entropy,
        ),
        name: name.into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        created: Timestamp::default(),
        version: 1,
    }
}

pub(super) fn requirement(by: Vec<Approver>) -> Requirement {
    let (policy, rule) = ("p@1".into(), "r".into());
    Requirement { policy, rule, by, not: vec![], count: 1, distinct: false, within: 60, intent: false }
}

pub(super) fn approval(requirements: Vec<Requirement>, user: Option<UserId>) -> Approval {
    let at = Timestamp::from_seconds(1000);
    Approval {
        id: ApprovalId::from_parts(at, [1; 10]),
        action_id: ActionId::from_parts(at, [2; 10]),
        agent: AgentId::from_parts(at, [3; 10]),
        user,
        grant: GrantId::from_parts(at, [4; 10]),
        task: None,
        shown: Value::Null,
        requirements,
        owners: vec![],
        ground: None,
        votes: vec![],
        state: ApprovalState::Pending,
        created: at,
        expires: at.plus(Duration::from_secs(60)),
    }
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

#[test]
fn it_takes_everybody_who_was_asked_for() {
    let lead = person("lead", &["support-lead"]);
    let finance = person("finance", &["finance"]);
    let held = approval(
        vec![
            requirement(vec![Approver::Role("support-lead".into())]),
            requirement(vec![Approver::User("finance".into())]),
        ],
        None,
    );
    assert_eq!(
        held.clone().decide(&person("mallory", &["approver"]), Verdict::Approve, None, at(1001)),
        Err(DecideError::NotYours)
    );
    let half = held.decide(&lead, Verdict::Approve, None, at(1001)).unwrap();
    assert_eq!(half.state, ApprovalState::Pending);
    assert_eq!(half.clone().use_up(at(1002)), Err(Code::ApprovalRequired));
    assert_eq!(half.clone().decide(&lead, Verdict::Approve, None, at(1002)), Err(DecideError::NotYours));
    let whole = half.decide(&finance, Verdict::Approve, None, at(1030)).unwrap();
    assert_eq!(whole.state, ApprovalState::Approved);
    // The time to use starts with the last answer.
    assert_eq!(whole.clone().use_up(at(1089)).map(|a| a.state), Ok(ApprovalState::Used));
    assert_eq!(whole.clone().use_up(at(1090)), Err(Code::ApprovalExpired));
    assert_eq!(whole.use_up(at(1031)).unwrap().use_up(at(1032)), Err(Code::ApprovalUsed));
}

#[test]
fn one_no_is_enough_and_final() {
    let lead = person("lead", &["approver"]);
    let held = approval(vec![requirement(vec![Approver::Default])], None);
    let denied = held.clone().decide(&lead, Verdict::Deny, None, at(1001)).unwrap();
    assert_eq!(
        denied.clone().decide(&lead, Verdict::Approve, None, at(1002)),
        Err(DecideError::NotPending(ApprovalState::Denied))
    );
    assert_eq!(denied.use_up(at(1003)), Err(Code::ApprovalDenied));
    assert_eq!(
        held.decide(&lead, Verdict::Approve, None, at(1060)),
        Err(DecideError::NotPending(ApprovalState::Expired))
    );
}

#[test]
fn without_by_the_grants_user_decides_and_no_other_approver() {
    let ada = person("ada", &[]);
    let held = approval(vec![requirement(vec![Approver::Default])], Some(ada.id));
    assert!(held.clone().decide(&person("bob", &["approver"]), Verdict::Approve, None, at(1001)).is_err());
    assert!(held.clone().decide(&ada, Verdict::Approve, None, at(1001)).is_ok());
    // Nor an administrator: who configures is not therefore who is asked.
    let root = person("root", &["administrator"]);
    assert_eq!(held.clone().decide(&root, Verdict::Approve, None, at(1001)), Err(DecideError::NotYours));
    assert!(held.concerns(&root));
    let nobodys = approval(vec![requirement(vec![Approver::Default])], None);
    assert!(nobodys.decide(&person("bob", &["approver"]), Verdict::Approve, None, at(1001)).is_ok());
}

proptest! {
    /// Moving a byte from one member to the next is a different request.
    #[test]
    fn members_do_not_run_into_each_other(a in "[a-z]{0,4}", b in "[a-z]{0,4}", c in "[a-z]{0,4}", d in "[a-z]{0,4}") {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[5; 32]);
        let held = approval(vec![], None);
        let bind = |target: &str, body: &str| Binding {
            agent: held.agent, user: None, task: None, grant: held.grant, service: "s@1", connection: "c@1",
            method: "POST", target, headers: &[], content_type: "application/json", body: body.as_bytes(), params: b"{}",
            facts: &[],
            requirements: &[],
        }.digest(&key);
        prop_assert_eq!(bind(&a, &b) == bind(&c, &d), a == c && b == d);
    }
}
