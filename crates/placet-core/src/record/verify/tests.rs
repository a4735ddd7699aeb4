use super::*;
use crate::{
    id::EventId,
    record::{leaf::EntryType, merkle::tests::Tiles, note::RecordSigner},
    time::Timestamp,
};
use proptest::{prelude::*, sample::Index};

/// One stored entry; `body` may be erased.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    node: NodeId,
    seq: u64,
    leaf: Vec<u8>,
    chain_hash: [u8; 32],
    body: Option<Body>,
}

/// A stored record: what is in a database, plus what its signer wrote over it.
#[derive(Debug, Clone)]
struct Stored {
    log: Vec<Row>,
    tail: Vec<Row>,
    heads: Vec<String>,
    checkpoint: Option<String>,
}

fn signer() -> RecordSigner {
    RecordSigner::from_seed("placet.example/record", &[1; 32]).unwrap()
}

fn node(number: u8) -> NodeId {
    NodeId::from_parts(Timestamp::default(), [number; 10])
}

/// Writes entries as the nodes named do, the first `logged` of them into the log.
fn write(nodes: &[u8], logged: usize) -> Stored {
    let mut heads = BTreeMap::<NodeId, Head>::new();
    let mut rows = vec![];
    for (index, number) in nodes.iter().enumerate() {
        let node = node(*number);
        let salt = [u8::try_from(index % 256).unwrap(); 16];
        let body = Body::new(salt, format!("{{\"n\":{index}}}"));
        let at = Timestamp::from_seconds(i64::try_from(index).unwrap());
        let id = EventId::from_parts(at, [*number; 10]);
        let leaf = Envelope {
            commitment: Some(body.commitment()),
            ..Envelope::new(id, EntryType::ActionIntent, at)
        }
        .encode();
        let head = heads.entry(node).or_insert_with(|| Head::genesis(node));
        *head = head.next(&merkle::leaf_hash(&leaf));
        rows.push(Row { node, seq: head.seq, leaf, chain_hash: head.hash, body: Some(body) });
    }
    let tail = rows.split_off(logged);
    let heads = heads.values().map(|head| chain::sign_head(head, &signer())).collect();
    let checkpoint = Some(checkpoint(&rows));
    Stored { log: rows, tail, heads, checkpoint }
}

fn checkpoint(log: &[Row]) -> String {
    let mut frontier = Frontier::new();
    frontier.append(log.iter().map(|row| merkle::leaf_hash(&row.leaf)));
    Checkpoint { size: frontier.size(), root: frontier.root() }.sign(&signer())
}

fn verify(stored: &Stored, outside: &[&str]) -> Result<Verified, Fault> {
    verify_with(stored, outside, &[], false)
}

fn verify_with(
    stored: &Stored,
    outside: &[&str],
    kept: &[Kept],
    may_be_older: bool,
) -> Result<Verified, Fault> {
    let verifier = Verifier::new(signer().public_key(), stored.checkpoint.as_deref(), outside)?;
    let mut verifier = verifier.with_kept(kept, may_be_older)?;
    let entry = |row: &Row, feed: &mut dyn FnMut(&Entry<'_>) -> Result<(), Fault>| {
        let Row { node, seq, leaf, chain_hash, body } = row;
        feed(&Entry { node: *node, seq: *seq, leaf, chain_hash: *chain_hash, body: body.as_ref() })
    };
    for row in &stored.log {
        entry(row, &mut |entry| verifier.entry(entry))?;
    }
    for row in &stored.tail {
        entry(row, &mut |entry| verifier.tail(entry))?;
    }
    verifier.finish(stored.heads.iter().map(String::as_str))
}

/// Rewrites numbers and chain hashes as somebody with the database but without the key would, to hide a change.
fn rechain(rows: &mut Stored) {
    let mut heads = BTreeMap::<NodeId, Head>::new();
    for row in rows.log.iter_mut().chain(&mut rows.tail) {
        let head = heads.entry(row.node).or_insert_with(|| Head::genesis(row.node));
        *head = head.next(&merkle::leaf_hash(&row.leaf));
        (row.seq, row.chain_hash) = (head.seq, head.hash);
    }
}

#[derive(Debug, Clone)]
enum Tampering {
    Leaf(Index, Index, u8),
    OtherLeaf(Index),
    ChainHash(Index, Index, u8),
    Seq(Index, u64),
    Body(Index),
    Swap(Index, Index),
    Neighbours(Index),
    Drop(Index),
    Double(Index, Index),
    Truncate(Index),
    Node(Index, u8),
    DropHead(Index),
    DoubleHead(Index),
    DropCheckpoint,
    IntoTail(Index),
}

fn any_tampering() -> impl Strategy<Value = Tampering> {
    let at = any::<Index>;
    prop_oneof![
        (at(), at(), 1u8..).prop_map(|(a, b, c)| Tampering::Leaf(a, b, c)),
        at().prop_map(Tampering::OtherLeaf),
        (at(), at(), 1u8..).prop_map(|(a, b, c)| Tampering::ChainHash(a, b, c)),
        (at(), 0u64..40).prop_map(|(a, b)| Tampering::Seq(a, b)),
        at().prop_map(Tampering::Body),
        (at(), at()).prop_map(|(a, b)| Tampering::Swap(a, b)),
        at().prop_map(Tampering::Neighbours),
        at().prop_map(Tampering::Drop),
        (at(), at()).prop_map(|(a, b)| Tampering::Double(a, b)),
        at().prop_map(Tampering::Truncate),
        (at(), 0u8..4).prop_map(|(a, b)| Tampering::Node(a, b)),
        at().prop_map(Tampering::DropHead),
        at().prop_map(Tampering::DoubleHead),
        Just(Tampering::DropCheckpoint),
        at().prop_map(Tampering::IntoTail),
    ]
}

fn tamper(stored: &mut Stored, how: &Tampering) {
    let logged = stored.log.len();
    let mut rows: Vec<Row> = stored.log.drain(..).chain(stored.tail.drain(..)).collect();
    let count = rows.len();
    let mut keep = logged;
    match how {
        Tampering::Leaf(at, byte, flip) => {
            let leaf = &mut rows[at.index(count)].leaf;
            let byte = byte.index(leaf.len());
            leaf[byte] ^= flip;
        }
        Tampering::OtherLeaf(at) => {
            let row = &mut rows[at.index(count)];
            let changed = Envelope { rule: Some("x".into()), ..Envelope::decode(&row.leaf).unwrap() };
            row.leaf = changed.encode();
        }
        Tampering::ChainHash(at, byte, flip) => rows[at.index(count)].chain_hash[byte.index(32)] ^= flip,
        Tampering::Seq(at, seq) => rows[at.index(count)].seq = *seq,
        Tampering::Body(at) => rows[at.index(count)].body = Some(Body::new([0; 16], "{\"other\":1}")),
        Tampering::Swap(a, b) => rows.swap(a.index(count), b.index(count)),
        Tampering::Neighbours(at) => {
            let at = at.index(count);
            rows.swap(at, at.saturating_sub(1));
        }
        Tampering::Drop(at) => {
            let at = at.index(count);
            rows.remove(at);
            keep -= usize::from(at < logged);
        }
        Tampering::Double(from, to) => {
            let (row, to) = (rows[from.index(count)].clone(), to.index(count + 1));
            rows.insert(to, row);
            keep += usize::from(to < logged);
        }
        Tampering::Truncate(at) => {
            rows.truncate(at.index(count));
            keep = keep.min(rows.len());
        }
        Tampering::Node(at, number) => rows[at.index(count)].node = node(*number),
        Tampering::DropHead(at) => {
            let at = at.index(stored.heads.len());
            stored.heads.remove(at);
        }
        Tampering::DoubleHead(at) => stored.heads.push(stored.heads[at.index(stored.heads.len())].clone()),
        Tampering::DropCheckpoint => stored.checkpoint = None,
        Tampering::IntoTail(at) => keep = at.index(count + 1),
    }
    stored.tail = rows.split_off(keep);
    stored.log = rows;
}

fn any_record() -> impl Strategy<Value = Stored> {
    (prop::collection::vec(0u8..3, 1..24), any::<Index>())
        .prop_map(|(nodes, logged)| write(&nodes, logged.index(nodes.len() + 1)))
}

fn same(a: &Stored, b: &Stored) -> bool {
    // Entries of different nodes that are not in the log yet have no order among each other.
    let by_node = |rows: &[Row]| {
        let mut rows = rows.to_vec();
        rows.sort_by_key(|row| row.node);
        rows
    };
    a.log == b.log
        && by_node(&a.tail) == by_node(&b.tail)
        && a.heads == b.heads
        && (a.checkpoint == b.checkpoint || a.log.is_empty())
}

proptest! {
    #[test]
    fn an_untouched_record_has_no_fault(stored in any_record(), older in any::<Index>()) {
        let older = checkpoint(&stored.log[..older.index(stored.log.len() + 1)]);
        let verified = verify(&stored, &[&older, stored.checkpoint.as_deref().unwrap()]).unwrap();
        prop_assert_eq!(verified.size, stored.log.len() as u64);
        let entries: u64 = verified.heads.iter().map(|head| head.seq).sum();
        prop_assert_eq!(entries, (stored.log.len() + stored.tail.len()) as u64);
    }

    #[test]
    fn erased_bodies_are_no_fault(mut stored in any_record(), erased: [bool; 24]) {
        let before = verify(&stored, &[]).unwrap();
        for (row, erase) in stored.log.iter_mut().chain(&mut stored.tail).zip(erased) {
            row.body = row.body.take().filter(|_| !erase);
        }
        prop_assert_eq!(verify(&stored, &[]).unwrap(), before);
    }

    #[test]
    fn any_tampering_is_found(stored in any_record(), how in any_tampering(), hidden: bool) {
        let mut changed = stored.clone();
        tamper(&mut changed, &how);
        if hidden {
            rechain(&mut changed);
        }
        prop_assert_eq!(verify(&changed, &[]).is_ok(), same(&changed, &stored), "{:?}", how);
    }

    /// Whoever puts back an older copy of the whole directory has valid signatures throughout.
    #[test]
    fn rollback_is_found_against_a_checkpoint_from_outside(
        nodes in prop::collection::vec(0u8..3, 1..24), to in any::<Index>()
    ) {
        let newest = write(&nodes, nodes.len());
        let to = to.index(nodes.len());
        let older = write(&nodes[..to], to);
        prop_assert!(verify(&older, &[]).is_ok());
        let outside = newest.checkpoint.unwrap();
        let fault = Fault::RolledBack { found: to as u64, signed: nodes.len() as u64 };
        prop_assert_eq!(verify(&older, &[&outside]).unwrap_err(), fault);
        // Another history of the same or a greater length, signed by the same key.
        let mut other: Vec<u8> = nodes.iter().map(|number| number + 1).collect();
        prop_assert!(verify(&write(&other, other.len()), &[&outside]).is_err());
        other.push(0);
        let fault = Fault::Rewritten { size: nodes.len() as u64 };
        prop_assert_eq!(verify(&write(&other, other.len()), &[&outside]).unwrap_err(), fault);
    }

    /// A backup that was put back, and the record that went on: each is compared with what was kept of it and not with
    /// what was kept of the other; what is of neither is compared with the first.
    #[test]
    fn a_record_is_compared_with_what_was_kept_of_its_own_lineage(
        common in prop::collection::vec(0u8..3, 1..8),
        (lived, restored) in (prop::collection::vec(0u8..3, 1..8), prop::collection::vec(0u8..3, 1..8)),
        (a, b, to) in any::<(Index, Index, Index)>(),
    ) {
        let fork = common.len();
        let after = |rest: &[u8], by: u8| -> Vec<u8> {
            common.iter().copied().chain(rest.iter().map(|number| number + by)).collect()
        };
        let (lived, back, forged) = (after(&lived, 0), after(&restored, 100), after(&restored, 200));
        let whole = |nodes: &[u8]| write(nodes, nodes.len());
        let begins = Envelope::decode(&whole(&back).log[fork].leaf).unwrap().id;
        let a = 1 + a.index(lived.len());
        let b = fork + 1 + b.index(back.len() - fork);
        let kept = [
            Kept { lineage: None, note: whole(&lived[..a]).checkpoint.unwrap() },
            Kept { lineage: Some(begins), note: whole(&back[..b]).checkpoint.unwrap() },
        ];
        for nodes in [&lived, &back, &forged] {
            let to = to.index(nodes.len() + 1);
            let of_back = nodes == &back && to > fork;
            let expected = if of_back { to >= b } else { a <= to && (nodes == &lived || a <= fork) };
            let verified = verify_with(&whole(&nodes[..to]), &[], &kept, false);
            prop_assert_eq!(verified.is_ok(), expected, "{:?} of {:?}: {:?}", to, nodes, verified);
            if let Ok(verified) = verified {
                prop_assert_eq!((verified.lineage, verified.compared), (of_back.then_some(begins), 1));
            }
            // A backup may be older than what was kept, but not another record.
            let older = if of_back { true } else { to < a || nodes == &lived || a <= fork };
            let verified = verify_with(&whole(&nodes[..to]), &[], &kept, true);
            prop_assert_eq!(verified.is_ok(), older, "{:?} of {:?}", to, nodes);
        }
    }
}

#[test]
fn a_record_without_entries_is_whole() {
    let empty = Stored { log: vec![], tail: vec![], heads: vec![], checkpoint: None };
    let verified = verify(&empty, &[]).unwrap();
    assert_eq!((verified.size, verified.root), (0, merkle::empty_root()));
    let signed =
        Stored { heads: vec![chain::sign_head(&Head::genesis(node(1)), &signer())], ..write(&[], 0) };
    assert!(verify(&signed, &[]).is_ok());
}

#[test]
fn what_another_key_signed_counts_for_nothing() {
    let mut stored = write(&[0, 1, 0], 2);
    let stranger = RecordSigner::from_seed("placet.example/record", &[2; 32]).unwrap();
    let checkpoint =
        Checkpoint::parse_and_verify(stored.checkpoint.as_ref().unwrap(), &signer().public_key());
    let forged = checkpoint.unwrap().sign(&stranger);
    assert!(matches!(verify(&stored, &[&forged]), Err(Fault::Note { .. })));
    stored.checkpoint = Some(forged);
    assert!(matches!(verify(&stored, &[]), Err(Fault::Note { .. })));
    let mut stored = write(&[0, 1, 0], 2);
    let head = chain::verify_head(&stored.heads[0], &signer().public_key()).unwrap();
    stored.heads[0] = chain::sign_head(&head, &stranger);
    assert!(matches!(verify(&stored, &[]), Err(Fault::Note { .. })));
}

/// The order of entries of different nodes is held by the tree alone.
#[test]
fn entries_of_two_nodes_that_change_places_are_found() {
    let mut stored = write(&[0, 1, 0, 1], 4);
    stored.log.swap(1, 2);
    assert_eq!(verify(&stored, &[]).unwrap_err(), Fault::Root { size: 4 });
}

#[test]
fn the_log_does_not_go_on_after_the_tail() {
    let stored = write(&[0, 1], 1);
    let mut verifier = Verifier::new(signer().public_key(), stored.checkpoint.as_deref(), &[]).unwrap();
    let [first, second] = [&stored.log[0], &stored.tail[0]].map(|row| Entry {
        node: row.node,
        seq: row.seq,
        leaf: &row.leaf,
        chain_hash: row.chain_hash,
        body: None,
    });
    verifier.tail(&second).unwrap();
    assert_eq!(verifier.entry(&first).unwrap_err(), Fault::Order { node: node(0), seq: 1 });
}

#[test]
fn faults_say_where() {
    let stored = write(&[0, 0, 0, 0], 4);
    let with = |how: Tampering| {
        let mut changed = stored.clone();
        tamper(&mut changed, &how);
        verify(&changed, &[]).unwrap_err()
    };
    let mut dropped = stored.clone();
    dropped.log.remove(1);
    assert_eq!(verify(&dropped, &[]).unwrap_err(), Fault::Gap { node: node(0), expected: 2, found: 3 });
    let mut edited = stored.clone();
    edited.log[2].leaf = edited.log[1].leaf.clone();
    assert_eq!(verify(&edited, &[]).unwrap_err(), Fault::Chain { node: node(0), seq: 3 });
    let mut short = stored.clone();
    short.log.pop();
    assert_eq!(verify(&short, &[]).unwrap_err(), Fault::Size { found: 3, signed: 4 });
    short.checkpoint = Some(checkpoint(&short.log));
    assert_eq!(verify(&short, &[]).unwrap_err(), Fault::Tail { node: node(0), found: 3, signed: 4 });
    assert_eq!(with(Tampering::DropCheckpoint), Fault::NoCheckpoint { size: 4 });
}

#[test]
fn tiles_that_are_not_those_of_the_entries_are_found() {
    let nodes = vec![0; 600];
    let stored = write(&nodes, 600);
    let mut tiles = Tiles::default();
    tiles.write(Frontier::new().append(stored.log.iter().map(|row| merkle::leaf_hash(&row.leaf))));
    let mut verifier = Verifier::new(signer().public_key(), stored.checkpoint.as_deref(), &[]).unwrap();
    for Row { node, seq, leaf, chain_hash, .. } in &stored.log {
        verifier.entry(&Entry { node: *node, seq: *seq, leaf, chain_hash: *chain_hash, body: None }).unwrap();
    }
    assert_eq!(verifier.check_tiles(&tiles), Ok(()));
    for key in tiles.0.keys().copied().collect::<Vec<_>>() {
        let good = tiles.0[&key].clone();
        let id = TileId { level: key.0, index: key.1 };
        tiles.0.get_mut(&key).unwrap()[40] ^= 1;
        assert_eq!(verifier.check_tiles(&tiles), Err(Fault::Tile(id)));
        tiles.0.insert(key, good[..32].to_vec());
        assert_eq!(verifier.check_tiles(&tiles), Err(Fault::Tile(id)));
        tiles.0.remove(&key);
        assert_eq!(verifier.check_tiles(&tiles), Err(Fault::Tile(id)));
        tiles.0.insert(key, good);
    }
    assert_eq!(verifier.check_tiles(&tiles), Ok(()));
}
