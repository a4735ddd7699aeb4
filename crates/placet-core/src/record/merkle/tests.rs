use super::*;
use ct_merkle::{ConsistencyProof, InclusionProof, mem_backed_tree::MemoryBackedTree};
use proptest::prelude::*;
use sha2::Sha256;
use std::convert::Infallible;

#[derive(Default)]
pub(in crate::record) struct Tiles(pub(in crate::record) HashMap<(u8, u64), Vec<u8>>);

impl TileReader for Tiles {
    type Error = Infallible;

    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(&(level, index)).cloned())
    }
}

impl Tiles {
    pub(in crate::record) fn write(&mut self, tiles: Vec<(TileId, Vec<u8>)>) {
        for (id, bytes) in tiles {
            self.0.insert((id.level, id.index), bytes);
        }
    }
}

fn leaf(index: u64) -> Vec<u8> {
    index.to_be_bytes().to_vec()
}

/// RFC 6962 §2.1, word for word.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}

fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() < 2 {
        return vec![];
    }
    let mut k = 1;
    while k * 2 < leaves.len() {
        k *= 2;
    }
    let (mut path, other) = if index < k {
        (naive_path(index, &leaves[..k]), naive_root(&leaves[k..]))
    } else {
        (naive_path(index - k, &leaves[k..]), naive_root(&leaves[..k]))
    };
    path.push(other);
    path
}

fn built(sizes: impl IntoIterator<Item = u64>) -> (Frontier, Tiles) {
    let (mut frontier, mut tiles) = (Frontier::new(), Tiles::default());
    for size in sizes {
        let from = frontier.size();
        tiles.write(frontier.append((from..size).map(|index| leaf_hash(&leaf(index)))));
    }
    (frontier, tiles)
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The inputs and roots that implementations of RFC 6962 are tested with.
#[test]
fn the_known_vectors() {
    let leaves: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::new();
    assert_eq!(hex(&frontier.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (leaf, root) in leaves.iter().zip(roots) {
        frontier.append([leaf_hash(leaf)]);
        assert_eq!(hex(&frontier.root()), root);
    }
}

#[test]
fn every_size_up_to_600_has_the_root_of_two_other_implementations() {
    let mut oracle = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let (mut frontier, mut tiles) = (Frontier::new(), Tiles::default());
    let mut hashes = vec![];
    for index in 0..600 {
        oracle.push(leaf(index));
        hashes.push(leaf_hash(&leaf(index)));
        tiles.write(frontier.append([leaf_hash(&leaf(index))]));
        let expected = frontier.root();
        assert_eq!(expected[..], oracle.root().as_bytes()[..]);
        assert_eq!(expected, naive_root(&hashes));
        assert_eq!(Frontier::load(index + 1, &tiles).unwrap(), frontier);
    }
    // Older sizes are still there after the tiles have grown.
    for size in 0..=600 {
        assert_eq!(root(size, &tiles).unwrap(), naive_root(&hashes[..usize::try_from(size).unwrap()]));
    }
}

#[test]
fn every_proof_of_small_sizes_is_that_of_the_oracle() {
    let (_, tiles) = built([40]);
    let hashes: Vec<_> = (0..40).map(|index| leaf_hash(&leaf(index))).collect();
    let mut oracle = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for size in 1..=40u64 {
        oracle.push(leaf(size - 1));
        let root = root(size, &tiles).unwrap();
        for index in 0..size {
            let (at, leaves) = (usize::try_from(index).unwrap(), &hashes[..usize::try_from(size).unwrap()]);
            let proof = inclusion_proof(index, size, &tiles).unwrap();
            assert_eq!(proof, naive_path(at, leaves));
            assert_eq!(proof.concat(), oracle.prove_inclusion(at).as_bytes());
            for claimed in 0..=size {
                let verdict = verify_inclusion(&hashes[at], claimed, size, &proof, &root);
                assert_eq!(verdict.is_ok(), claimed == index);
            }
        }
        for old in 1..size {
            let proof = consistency_proof(old, size, &tiles).unwrap();
            let expected = oracle.prove_consistency(usize::try_from(size - old).unwrap());
            assert_eq!(proof.concat(), expected.as_bytes(), "{old} {size}");
        }
        for old in 0..=size {
            let old_root = super::root(old, &tiles).unwrap();
            let proof = consistency_proof(old, size, &tiles).unwrap();
            assert_eq!(verify_consistency(old, &old_root, size, &root, &proof), Ok(()), "{old} {size}");
            assert!(verify_consistency(old, &[9; 32], size, &root, &proof).is_err());
            if old > 0 {
                assert!(verify_consistency(old, &old_root, size, &[9; 32], &proof).is_err());
            }
            for cut in 0..proof.len() {
                assert!(verify_consistency(old, &old_root, size, &root, &proof[..cut]).is_err());
                let mut changed = proof.clone();
                changed[cut][31] ^= 1;
                assert!(verify_consistency(old, &old_root, size, &root, &changed).is_err());
            }
            let longer = [proof, vec![root]].concat();
            assert!(verify_consistency(old, &old_root, size, &root, &longer).is_err());
        }
    }
}

#[test]
fn what_is_outside_or_missing_is_an_error() {
    let (_, mut tiles) = built([300]);
    assert_eq!(inclusion_proof(300, 300, &tiles), Err(TreeError::Outside { asked: 300, size: 300 }));
    assert_eq!(consistency_proof(301, 300, &tiles), Err(TreeError::Outside { asked: 301, size: 300 }));
    let missing = TileId { level: 0, index: 1 };
    assert_eq!(root(301, &tiles), Err(TreeError::Missing(missing)));
    assert_eq!(inclusion_proof(0, 301, &tiles), Err(TreeError::Missing(missing)));
    tiles.0.get_mut(&(0, 1)).unwrap().pop();
    assert_eq!(root(299, &tiles), Err(TreeError::Missing(missing)));
    let (_, mut tiles) = built([300]);
    tiles.0.remove(&(1, 0));
    assert_eq!(root(300, &tiles), Err(TreeError::Missing(TileId { level: 1, index: 0 })));
}

/// More than 65 536 leaves, so that there are three levels.
#[test]
fn a_log_of_three_levels() {
    let size = 65_536 + 700;
    let (frontier, tiles) = built([1, 256, 65_536, 65_537, size]);
    assert_eq!(frontier, Frontier::load(size, &tiles).unwrap());
    assert_eq!(tiles.0.keys().filter(|(level, _)| *level == 2).count(), 1);
    let root = frontier.root();
    for index in [0, 255, 256, 65_535, 65_536, 65_791, 65_792, size - 1] {
        let proof = inclusion_proof(index, size, &tiles).unwrap();
        assert_eq!(verify_inclusion(&leaf_hash(&leaf(index)), index, size, &proof, &root), Ok(()));
        let old_root = super::root(index, &tiles).unwrap();
        let proof = consistency_proof(index, size, &tiles).unwrap();
        assert_eq!(verify_consistency(index, &old_root, size, &root, &proof), Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_do_not_matter(mut cuts in prop::collection::vec(0u64..1500, 1..6)) {
        cuts.sort_unstable();
        let size = *cuts.last().unwrap();
        let (by_batch, tiles) = built(cuts.clone());
        let (at_once, other) = built([size]);
        prop_assert_eq!(&by_batch, &at_once);
        prop_assert_eq!(&tiles.0, &other.0);
        // Continuing from the store is continuing from memory.
        let mut loaded = Frontier::load(size, &tiles).unwrap();
        let mut kept = by_batch;
        prop_assert_eq!(loaded.append([[1; 32]; 3]), kept.append([[1; 32]; 3]));
        prop_assert_eq!(loaded.root(), kept.root());
    }

    #[test]
    fn proofs_of_any_size_verify_here_and_elsewhere(size in 1u64..1200, at in any::<prop::sample::Index>()) {
        let (frontier, tiles) = built([1200]);
        let index = at.index(usize::try_from(size).unwrap()) as u64;
        let root = root(size, &tiles).unwrap();
        let hash = leaf_hash(&leaf(index));
        let proof = inclusion_proof(index, size, &tiles).unwrap();
        prop_assert_eq!(verify_inclusion(&hash, index, size, &proof, &root), Ok(()));
        for claimed in [index.wrapping_sub(1), index + 1] {
            prop_assert!(verify_inclusion(&hash, claimed, size, &proof, &root).is_err());
        }
        let theirs = ct_merkle::RootHash::<Sha256>::new(root.into(), size);
        let read = InclusionProof::<Sha256>::try_from_bytes(proof.concat()).unwrap();
        prop_assert!(theirs.verify_inclusion(&leaf(index), index, &read).is_ok());
        let newer = ct_merkle::RootHash::<Sha256>::new(frontier.root().into(), 1200);
        let proof = consistency_proof(size, 1200, &tiles).unwrap();
        let read = ConsistencyProof::<Sha256>::try_from_bytes(proof.concat()).unwrap();
        prop_assert!(newer.verify_consistency(&theirs, &read).is_ok());
    }

    #[test]
    fn arbitrary_proofs_are_refused_without_a_panic(
        index: u64, size: u64, proof in prop::collection::vec(any::<[u8; 32]>(), 0..70)
    ) {
        prop_assert!(verify_inclusion(&[1; 32], index, size, &proof, &[2; 32]).is_err());
        prop_assert!(verify_consistency(index, &[1; 32], size, &[2; 32], &proof).is_err());
    }
}
