//! The one log: what the sequencer makes of the nodes' chains, against the tree's own definition.

use crate::world::{World, agent, at, entry, fresh, node, on_both_engines, signer};
use placet_core::record::{
    Checkpoint, EntryType, Envelope,
    merkle::{self, node_hash, verify_consistency, verify_inclusion},
};
use placet_store::{Fault, PreparedEntry, Store, record};

on_both_engines! {
    every_entry_is_in_the_log_once_in_order_and_can_be_proven,
    sequencers_at_once_add_each_entry_once,
    a_missing_entry_stops_the_sequencer,
}

/// RFC 6962 §2.1, word for word.
fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => merkle::empty_root(),
        [one] => *one,
        more => {
            let middle = more.len().next_power_of_two() / 2;
            node_hash(&root(&more[..middle]), &root(&more[middle..]))
        }
    }
}

async fn all(store: &Store) -> Vec<record::StoredEntry> {
    let mut entries = vec![];
    loop {
        let from = entries.len() as u64;
        let more = store.read::<_, Fault, _>(move |reader| record::entries(reader, from, 700)).await.unwrap();
        if more.is_empty() {
            return entries;
        }
        entries.extend(more);
    }
}

async fn checkpoint(store: &Store) -> Checkpoint {
    let (size, note) = store.read::<_, Fault, _>(|reader| record::checkpoint(reader)).await.unwrap().unwrap();
    let checkpoint = Checkpoint::parse_and_verify(&note, &signer().public_key()).unwrap();
    assert_eq!(checkpoint.size, size);
    checkpoint
}

async fn every_entry_is_in_the_log_once_in_order_and_can_be_proven(world: World) {
    let mut store = world.open();
    assert_eq!(store.sequence(at(0)).await.unwrap(), 0);
    let mut ids = vec![];
    let mut checkpoints = vec![];
    for (round, count) in [1usize, 1, 300, 1500, 7].into_iter().enumerate() {
        let entries: Vec<_> = (0..count)
            .map(|_| {
                let envelope =
                    Envelope::new(fresh::<placet_core::id::kind::Event>(), EntryType::DecisionDeny, at(0));
                PreparedEntry::new(&Envelope { agent: Some(agent()), ..envelope }, Some(vec![1, 2, 3]))
            })
            .collect();
        ids.extend(entries.iter().map(PreparedEntry::id));
        store.append(entries).await.unwrap();
        let mut added = 0;
        loop {
            let step = store.sequence(at(1)).await.unwrap();
            assert!(step <= 1024);
            added += step;
            if step == 0 {
                break;
            }
        }
        assert_eq!(added, count);
        checkpoints.push(checkpoint(&store).await);
        if round == 2 {
            drop(store);
            store = world.open();
        }
    }
    let entries = all(&store).await;
    assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids);
    assert!(entries.iter().enumerate().all(|(at, entry)| entry.index == Some(at as u64)));
    assert!(entries.iter().all(|entry| entry.sealed.as_deref() == Some(&[1, 2, 3])));
    let hashes: Vec<_> = entries.iter().map(|entry| entry.leaf_hash).collect();
    let last = *checkpoints.last().unwrap();
    for checkpoint in checkpoints {
        assert_eq!(checkpoint.root, root(&hashes[..checkpoint.size as usize]));
        let old = checkpoint.size;
        let (path, _) =
            store.read::<_, Fault, _>(move |reader| record::consistency(reader, old)).await.unwrap().unwrap();
        verify_consistency(old, &checkpoint.root, last.size, &last.root, &path).unwrap();
    }
    for index in [0u64, 1, 2, 255, 256, 1023, 1808] {
        let proof =
            store.read::<_, Fault, _>(move |reader| record::prove(reader, index)).await.unwrap().unwrap();
        verify_inclusion(&hashes[index as usize], index, last.size, &proof.path, &last.root).unwrap();
        let id = ids[index as usize];
        let found = store.read::<_, Fault, _>(move |reader| record::find(reader, id)).await.unwrap();
        assert_eq!(found, Some(index));
    }
    assert_eq!(store.read::<_, Fault, _>(|reader| record::prove(reader, 1809)).await.unwrap(), None);
    // One node alone has one run.
    let runs = store.read::<_, Fault, _>(|reader| record::runs(reader, 0, 10)).await.unwrap();
    assert_eq!(runs, [record::StoredRun { first: 0, node: node(), first_seq: 1, count: 1809 }]);
    // Erasing a body changes no hash.
    let erased = ids[5];
    assert!(store.write::<_, Fault, _>(move |tx| record::erase(tx, erased)).await.unwrap());
    assert!(!store.write::<_, Fault, _>(move |tx| record::erase(tx, erased)).await.unwrap());
    assert_eq!(all(&store).await[5].sealed, None);
    store.append(vec![entry(EntryType::AgentEnded)]).await.unwrap();
    let waiting = store.read::<_, Fault, _>(|reader| record::chain(reader, node(), 1810, 5)).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(world.verify_chain(), 1810);
}

async fn sequencers_at_once_add_each_entry_once(world: World) {
    let store = world.open();
    store.append((0..2000).map(|_| entry(EntryType::DecisionDeny)).collect()).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.sequence(at(1)).await.unwrap() })
        })
        .collect();
    let mut added = 0;
    for task in tasks {
        added += task.await.unwrap();
    }
    while added < 2000 {
        added += store.sequence(at(1)).await.unwrap();
    }
    assert_eq!((added, checkpoint(&store).await.size), (2000, 2000));
    let hashes: Vec<_> = all(&store).await.iter().map(|entry| entry.leaf_hash).collect();
    assert_eq!(checkpoint(&store).await.root, root(&hashes));
}

async fn a_missing_entry_stops_the_sequencer(world: World) {
    let store = world.open();
    store.append((0..5).map(|_| entry(EntryType::DecisionDeny)).collect()).await.unwrap();
    world.run("DELETE FROM record_entries WHERE seq = 3");
    assert!(matches!(store.sequence(at(1)).await, Err(Fault::Corrupt(_))));
}
