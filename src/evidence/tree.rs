//! The Merkle tree of RFC 6962: heads of a growing log, and proofs about them.
//!
//! [`Tree`] grows by leaves and keeps one hash for each one-bit of its size. Proofs need the hashes of all leaves; who
//! wants one keeps or reads them. Proofs are in the order in which they are used: the leaf's sibling first.

use crate::digest::{Digest, sha256, sha256_of};

/// The hash of a leaf.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    sha256_of(&[&[0], leaf])
}

/// The hash of a node above two others.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    sha256_of(&[&[1], &left.0, &right.0])
}

/// A growing tree: what is needed to add a leaf and to know the head, and no more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    /// One for each complete subtree, the largest first: as many as `size` has one-bits.
    subtrees: Vec<Digest>,
}

impl Tree {
    /// A tree as it was: its size and what [`Tree::subtrees`] gave. None if their numbers do not fit.
    pub fn resume(size: u64, subtrees: Vec<Digest>) -> Option<Tree> {
        (size.count_ones() as usize == subtrees.len()).then_some(Tree { size, subtrees })
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: &[u8]) {
        self.push_hash(leaf_hash(leaf));
    }

    /// Adds a leaf whose hash is known.
    pub fn push_hash(&mut self, mut hash: Digest) {
        for _ in 0..self.size.trailing_ones() {
            let left = self.subtrees.pop().expect("a subtree for each one-bit");
            hash = node_hash(&left, &hash);
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    /// Leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of its complete subtrees, the largest first.
    pub fn subtrees(&self) -> &[Digest] {
        &self.subtrees
    }

    /// The tree's hash; that of nothing if it is empty.
    pub fn root(&self) -> Digest {
        let mut above = self.subtrees.iter().rev().copied();
        let Some(last) = above.next() else {
            return sha256(b"");
        };
        above.fold(last, |right, left| node_hash(&left, &right))
    }
}

/// The hash of the tree of these leaf hashes.
pub fn root_of(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => sha256(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: usize) -> usize {
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

/// That leaf `index` is in the tree of all `leaves`. None if there is no such leaf.
pub fn prove_inclusion(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut leaves, mut index) = (leaves, index);
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if index < left.len() {
            proof.push(root_of(right));
            leaves = left;
        } else {
            proof.push(root_of(left));
            index -= left.len();
            leaves = right;
        }
    }
    proof.reverse();
    Some(proof)
}

/// The tree's hash over all `leaves`, and for each of `wanted` (ascending, each a leaf) that it is in the tree. One pass,
/// whatever the number of proofs.
pub fn prove_each(leaves: &[Digest], wanted: &[usize]) -> (Digest, Vec<Vec<Digest>>) {
    fn walk(leaves: &[Digest], first: usize, wanted: &[usize], proofs: &mut [Vec<Digest>]) -> Digest {
        if wanted.is_empty() || leaves.len() < 2 {
            return root_of(leaves);
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let middle = first + left.len();
        let at = wanted.partition_point(|index| *index < middle);
        let (to_left, to_right) = proofs.split_at_mut(at);
        let left = walk(left, first, &wanted[..at], to_left);
        let right = walk(right, middle, &wanted[at..], to_right);
        to_left.iter_mut().for_each(|proof| proof.push(right));
        to_right.iter_mut().for_each(|proof| proof.push(left));
        node_hash(&left, &right)
    }
    let mut proofs = vec![Vec::new(); wanted.len()];
    let root = walk(leaves, 0, wanted, &mut proofs);
    (root, proofs)
}

/// Whether `proof` shows that the leaf with hash `leaf` has `index` in the tree of `size` leaves with hash `root`.
pub fn check_inclusion(leaf: &Digest, index: u64, size: u64, proof: &[Digest], root: &Digest) -> bool {
    if index >= size {
        return false;
    }
    // RFC 9162, 2.1.3.2.
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// That the tree of the first `old` of these leaves is the beginning of the tree of all. None if `old` is 0 or too large.
pub fn prove_consistency(leaves: &[Digest], old: usize) -> Option<Vec<Digest>> {
    if old == 0 || old > leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut leaves, mut old, mut whole) = (leaves, old, true);
    while old < leaves.len() {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if old <= left.len() {
            proof.push(root_of(right));
            leaves = left;
        } else {
            proof.push(root_of(left));
            old -= left.len();
            leaves = right;
            whole = false;
        }
    }
    if !whole {
        proof.push(root_of(leaves));
    }
    proof.reverse();
    Some(proof)
}

/// Whether `proof` shows that the tree `(old, old_root)` is the beginning of `(new, new_root)`.
pub fn check_consistency(old: u64, old_root: &Digest, new: u64, new_root: &Digest, proof: &[Digest]) -> bool {
    if old == 0 || old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    // RFC 9162, 2.1.4.2.
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let mut proof = proof.iter();
    let mut old_hash = if old.is_power_of_two() {
        *old_root
    } else {
        let Some(first) = proof.next() else {
            return false;
        };
        *first
    };
    let mut new_hash = old_hash;
    for hash in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(hash, &old_hash);
            new_hash = node_hash(hash, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(n: usize) -> Vec<Digest> {
        (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn grows_to_the_hash_of_the_definition() {
        let leaves = leaves(130);
        let mut tree = Tree::default();
        for n in 0..=leaves.len() {
            assert_eq!(tree.root(), root_of(&leaves[..n]), "{n} leaves");
            let again = Tree::resume(n as u64, tree.subtrees().to_vec());
            assert_eq!(again.as_ref(), Some(&tree));
            if let Some(leaf) = leaves.get(n) {
                tree.push_hash(*leaf);
            }
        }
        assert_eq!(Tree::resume(3, vec![leaves[0]]), None);
    }

    #[test]
    fn every_proof_of_small_trees_holds_for_its_tree_alone() {
        let leaves = leaves(40);
        for size in 1..=leaves.len() {
            let root = root_of(&leaves[..size]);
            for index in 0..size {
                let proof = prove_inclusion(&leaves[..size], index).expect("a leaf of it");
                for other in 0..=size {
                    let holds = check_inclusion(&leaves[index], other as u64, size as u64, &proof, &root);
                    assert_eq!(holds, other == index, "{index} as {other} of {size}");
                }
                assert!(
                    !check_inclusion(&leaves[index], index as u64, size as u64, &proof, &leaves[0])
                        || size == 1
                );
            }
            let each: Vec<_> = (0..size)
                .map(|index| prove_inclusion(&leaves[..size], index).expect("a leaf of it"))
                .collect();
            let all: Vec<usize> = (0..size).collect();
            assert_eq!(prove_each(&leaves[..size], &all), (root, each.clone()));
            let some: Vec<usize> = (0..size).step_by(7).collect();
            let each = some.iter().map(|index| each[*index].clone()).collect();
            assert_eq!(prove_each(&leaves[..size], &some), (root, each));
            for old in 1..=size {
                let proof = prove_consistency(&leaves[..size], old).expect("a beginning of it");
                for other in 0..=size {
                    let old_root = root_of(&leaves[..other]);
                    let holds = check_consistency(other as u64, &old_root, size as u64, &root, &proof);
                    assert_eq!(holds, other == old, "{old} as {other} of {size}");
                }
            }
        }
        assert_eq!(prove_inclusion(&leaves, 40), None);
        assert_eq!(prove_each(&[], &[]), (root_of(&[]), Vec::new()));
        assert_eq!(prove_consistency(&leaves, 0), None);
        assert_eq!(prove_consistency(&leaves, 41), None);
    }

    proptest! {
        #[test]
        fn a_changed_proof_never_holds(size in 2usize..200, at: u64, byte in 0usize..32, bit in 0u8..8, longer: bool) {
            let leaves = leaves(size);
            let index = (at % size as u64) as usize;
            let root = root_of(&leaves);
            let mut proof = prove_inclusion(&leaves, index).expect("a leaf of it");
            let which = (at / 7) as usize % proof.len();
            if longer {
                proof.insert(which, leaves[0]);
            } else {
                proof[which].0[byte] ^= 1 << bit;
            }
            prop_assert!(!check_inclusion(&leaves[index], index as u64, size as u64, &proof, &root));
        }

        #[test]
        fn hostile_proofs_are_only_wrong(index: u64, size: u64, old: u64, n in 0usize..70) {
            let proof = leaves(n);
            let root = Digest([7; 32]);
            prop_assert!(!check_inclusion(&root, index, size, &proof, &root) || size == 1);
            prop_assert!(!check_consistency(old, &root, size, &root, &proof) || old == size);
        }
    }
}
