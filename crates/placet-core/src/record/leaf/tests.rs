use super::*;
use proptest::prelude::*;

fn id<K: Kind>() -> impl Strategy<Value = Id<K>> {
    (0i64..1 << 50, any::<[u8; 10]>()).prop_map(|(at, bits)| Id::from_parts(Timestamp::from_micros(at), bits))
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop::option::of("\\PC{0,8}|[a-z.@0-9]{1,12}|[\"\\\\\u{0}-\u{1f}]{1,3}")
}

fn any_envelope() -> impl Strategy<Value = Envelope> {
    let ids = (
        id(),
        prop::option::of(id()),
        (prop::collection::vec(id(), 0..3), prop::collection::vec(id(), 0..3)),
        prop::collection::vec(id(), 0..3),
        prop::option::of(id()),
        prop::option::of(id()),
        prop::option::of(id()),
        prop::option::of(id()),
        prop::option::of(id()),
        prop::option::of(id()),
    );
    let texts = (text(), text(), text(), text(), text(), text(), (text(), text()));
    let rest = (
        prop::sample::select(EntryType::ALL),
        -(1i64 << 50)..1 << 52,
        prop::option::of(0u64..=1 << 53),
        any::<Option<u16>>(),
        any::<Option<[u8; 32]>>(),
        prop::collection::vec("\\PC{0,5}", 0..3),
        prop::option::of(prop::sample::select(vec![Verdict::Allow, Verdict::Deny, Verdict::Hold])),
    );
    (ids, texts, rest).prop_map(|(ids, texts, rest)| {
        let (service, action, rule, outcome, source, by, (key, door)) = texts;
        let (id, agent, (chain, permits), grants, task, user, token, connection, action_id, approval) = ids;
        let (entry_type, at, count, status, commitment, codes, decision) = rest;
        Envelope {
            agent,
            chain,
            grants,
            task,
            user,
            token,
            connection,
            action_id,
            approval,
            permits,
            service,
            action,
            rule,
            outcome,
            source,
            by,
            key,
            door,
            count,
            status,
            commitment,
            policies: codes.iter().rev().cloned().collect(),
            codes,
            decision,
            ..Envelope::new(id, entry_type, Timestamp::from_micros(at))
        }
    })
}

#[test]
fn the_form_is_what_the_standard_says() {
    let id = "evt_01k0000000000000000000000a".parse().unwrap();
    let mut envelope = Envelope::new(id, EntryType::DecisionDeny, Timestamp::from_micros(1_500_000));
    envelope.codes = vec!["no_grant".into()];
    envelope.decision = Some(Verdict::Deny);
    assert_eq!(
        String::from_utf8(envelope.encode()).unwrap(),
        r#"{"at":"1970-01-01T00:00:01.5Z","codes":["no_grant"],"decision":"deny","id":"evt_01k0000000000000000000000a","type":"decision.deny","v":1}"#
    );
}

#[test]
fn names_of_types_are_one_to_one() {
    for entry_type in EntryType::ALL {
        assert_eq!(EntryType::from_name(entry_type.as_str()), Some(*entry_type));
        assert_eq!(serde_json::to_string(entry_type).unwrap(), format!("{:?}", entry_type.as_str()));
    }
    assert_eq!(EntryType::from_name("agent"), None);
}

#[test]
fn what_encode_does_not_write_is_refused() {
    let id = "evt_01k0000000000000000000000a".parse().unwrap();
    let good =
        String::from_utf8(Envelope::new(id, EntryType::KeyCreated, Timestamp::default()).encode()).unwrap();
    assert!(Envelope::decode(good.as_bytes()).is_ok());
    for (from, to) in [
        ("{", "{ "),
        ("\"v\":1", "\"v\":2"),
        ("\"v\":1", "\"v\":300"),
        ("\"v\":1", "\"v\":1,\"x\":1"),
        ("\"v\":1", "\"v\":1,\"v\":1"),
        ("\"v\":1", "\"v\":1.0"),
        ("{", "{\"agent\":null,"),
        ("\"at\"", "\"\\u0061t\""),
        (":00Z", ":00+00:00"),
        (":00Z", ":00.0000001Z"),
        ("key.created", "key.made"),
        ("evt_", "agt_"),
        ("{", "{\"chain\":[],"),
        (",\"v\":1", ""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert!(Envelope::decode(bad.as_bytes()).is_err(), "{bad}");
    }
    assert_eq!(
        Envelope::decode(good.replace("\"v\":1", "\"v\":2").as_bytes()).unwrap_err(),
        LeafError::Version(2)
    );
}

proptest! {
    #[test]
    fn encode_is_canonical_and_decodes(envelope in any_envelope()) {
        let bytes = envelope.encode();
        let value = json::parse(&bytes).unwrap();
        prop_assert_eq!(json::canonical(&value).unwrap(), &bytes[..]);
        prop_assert_eq!(Envelope::decode(&bytes).unwrap(), envelope);
    }
}

/// What an entry of each action looks like at the longest, so that nobody makes the leaf large by accident.
#[test]
fn an_ordinary_leaf_is_under_a_kilobyte() {
    let at = Timestamp::from_micros(1_790_000_000_123_456);
    fn id<K: Kind>(at: Timestamp) -> Id<K> {
        Id::from_parts(at, [9; 10])
    }
    let envelope = Envelope {
        agent: Some(id(at)),
        chain: vec![id(at), id(at), id(at)],
        grants: vec![id(at), id(at), id(at)],
        task: Some(id(at)),
        user: Some(id(at)),
        token: Some(id(at)),
        policies: vec!["payments@12".into(), "baseline@3".into()],
        service: Some("stripe@4".into()),
        connection: Some(id(at)),
        action: Some("stripe.refund.create".into()),
        action_id: Some(id(at)),
        decision: Some(Verdict::Allow),
        rule: Some("payments/small-refunds".into()),
        source: Some("2001:db8::1".into()),
        commitment: Some([7; 32]),
        ..Envelope::new(id(at), EntryType::ActionIntent, at)
    };
    assert!(envelope.encode().len() < 1024, "{}", envelope.encode().len());
}
