//! The Merkle tree of RFC 6962 over the journal's events. Pure: no files, no clock.
//!
//! A leaf is `SHA-256(0x00 || sequence, 8 bytes little-endian || payload)`: RFC 6962's leaf hash over what a frame holds. An
//! inner node is `SHA-256(0x01 || left || right)`. Leaves are numbered by the sequence.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// How many leaf hashes stand in one file; the subtree over them is a *block*. 256 tiles of 256, see C2SP tlog-tiles.
pub const BLOCK_LEAVES: u64 = 65_536;

/// A SHA-256 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; Hash::LEN]);

impl Hash {
    /// Bytes in a hash.
    pub const LEN: usize = 32;

    /// The hash of some bytes as they stand.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; Self::LEN];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }

    /// A leaf's hash, RFC 6962 section 2.1, over arbitrary bytes.
    pub fn of_leaf(bytes: &[u8]) -> Self {
        let mut input = Vec::with_capacity(bytes.len() + 1);
        input.push(0);
        input.extend_from_slice(bytes);
        Self::of(&input)
    }

    /// An event's leaf hash. `scratch` is reused between calls.
    pub fn of_event(sequence: u64, payload: &[u8], scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        scratch.push(0);
        scratch.extend_from_slice(&sequence.to_le_bytes());
        scratch.extend_from_slice(payload);
        Self::of(scratch)
    }

    /// An inner node's hash, RFC 6962 section 2.1.
    pub fn of_node(left: Self, right: Self) -> Self {
        let mut input = [0; 1 + 2 * Self::LEN];
        let (mark, hashes) = input.split_at_mut(1);
        mark.fill(1);
        let (a, b) = hashes.split_at_mut(Self::LEN);
        a.copy_from_slice(&left.0);
        b.copy_from_slice(&right.0);
        Self::of(&input)
    }

    /// From base64, as a checkpoint writes it.
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// The hashes that stand one after the other in `bytes`; a rest that is none is left out.
    pub fn list(bytes: &[u8]) -> Vec<Self> {
        bytes.as_chunks::<{ Self::LEN }>().0.iter().copied().map(Self).collect()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The right edge of a growing tree: the roots of its complete subtrees, the largest first. At most 64 of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// How many leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf, or the root of a subtree where every leaf stands for one.
    pub fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let mut node = leaf;
        for _ in 0..self.size.trailing_zeros() {
            if let Some(left) = self.peaks.pop() {
                node = Hash::of_node(left, node);
            }
        }
        self.peaks.push(node);
    }

    /// The root; of no leaves the hash of nothing.
    pub fn root(&self) -> Hash {
        fold(self.peaks.iter().rev())
    }
}

/// Peaks from the right to the left become one root.
fn fold<'a>(mut peaks: impl Iterator<Item = &'a Hash>) -> Hash {
    let Some(last) = peaks.next() else { return Hash::of(&[]) };
    peaks.fold(*last, |right, left| Hash::of_node(*left, right))
}

/// A growing tree that knows its blocks: a frontier over whole blocks, and one inside the block being filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    blocks: Frontier,
    open: Frontier,
}

impl Tree {
    /// How many leaves.
    pub const fn size(&self) -> u64 {
        self.blocks.size * BLOCK_LEAVES + self.open.size
    }

    /// Adds a leaf; the block's root where that completes one.
    pub fn push(&mut self, leaf: Hash) -> Option<Hash> {
        self.open.push(leaf);
        (self.open.size == BLOCK_LEAVES).then(|| {
            let root = std::mem::take(&mut self.open).root();
            self.blocks.push(root);
            root
        })
    }

    /// Adds a whole block by its root. Only where no block is being filled.
    pub fn push_block(&mut self, root: Hash) {
        debug_assert_eq!(self.open.size, 0);
        self.blocks.push(root);
    }

    /// The root.
    pub fn root(&self) -> Hash {
        fold(self.open.peaks.iter().rev().chain(self.blocks.peaks.iter().rev()))
    }
}

/// The audit path of a leaf in a tree of `size`, RFC 6962 section 2.1.1: from the lowest level up. `root_of` gives the root
/// of the leaves in a range. `None` where the leaf is not in the tree.
pub fn inclusion_path<E>(
    index: u64,
    size: u64,
    mut root_of: impl FnMut(std::ops::Range<u64>) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if index >= size {
        return Ok(None);
    }
    let (mut start, mut end, mut path) = (0, size, Vec::new());
    while end - start > 1 {
        // The largest power of two below the number of leaves.
        let middle = start + (1_u64 << (63 - (end - start - 1).leading_zeros()));
        if index < middle {
            path.push(root_of(middle..end)?);
            end = middle;
        } else {
            path.push(root_of(start..middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// The root that a leaf and its audit path lead to, RFC 9162 section 2.1.3.2; `None` where the path has the wrong length.
pub fn root_from_path(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut root) = (index, size - 1, leaf);
    for hash in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            root = Hash::of_node(*hash, root);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            root = Hash::of_node(root, *hash);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves and roots that implementations of Certificate Transparency test themselves with.
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\0",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn root_of(leaves: &[Hash]) -> Hash {
        let mut frontier = Frontier::default();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        frontier.root()
    }

    #[test]
    fn the_known_answers_of_rfc_6962_trees() {
        let mut tree = Tree::default();
        assert_eq!(format!("{:?}", tree.root()), ROOTS[0]);
        for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
            tree.push(Hash::of_leaf(leaf));
            assert_eq!(format!("{:?}", tree.root()), *root);
        }
        let leaves = LEAVES.map(Hash::of_leaf);
        assert_eq!(format!("{:?}", root_of(&leaves)), ROOTS[8]);
    }

    #[test]
    fn an_events_leaf_is_the_rfc_leaf_over_sequence_and_payload() {
        let bytes = [&7_u64.to_le_bytes()[..], b"{}"].concat();
        assert_eq!(Hash::of_event(7, b"{}", &mut Vec::new()), Hash::of_leaf(&bytes));
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_nothing_else_is() {
        let leaves: Vec<_> = (0_u8..40).map(|n| Hash::of_leaf(&[n])).collect();
        for size in 1..=leaves.len() {
            let root = root_of(&leaves[..size]);
            for index in 0..size {
                let range = |range: std::ops::Range<u64>| {
                    Ok::<_, ()>(root_of(&leaves[range.start as usize..range.end as usize]))
                };
                let path = inclusion_path(index as u64, size as u64, range).unwrap().unwrap();
                let proven = |leaf, index, size| root_from_path(leaf, index, size, &path) == Some(root);
                assert!(proven(leaves[index], index as u64, size as u64));
                assert!(!proven(Hash::of_leaf(b"x"), index as u64, size as u64));
                assert_eq!(root_from_path(leaves[index], size as u64, size as u64, &path), None);
                let longer = [&path[..], &[root]].concat();
                assert_eq!(root_from_path(leaves[index], index as u64, size as u64, &longer), None);
            }
        }
    }

    #[test]
    fn blocks_give_the_same_root_as_leaves() {
        let leaf = |n: u64| Hash::of_leaf(&n.to_le_bytes());
        let (mut tree, mut flat, mut by_block) = (Tree::default(), Frontier::default(), Tree::default());
        for n in 0..2 * BLOCK_LEAVES + 3 {
            flat.push(leaf(n));
            match tree.push(leaf(n)) {
                Some(root) => by_block.push_block(root),
                None if n >= 2 * BLOCK_LEAVES => assert_eq!(by_block.push(leaf(n)), None),
                None => {}
            }
        }
        assert_eq!((tree.root(), by_block.root()), (flat.root(), flat.root()));
        assert_eq!((tree.size(), by_block.size()), (flat.size(), flat.size()));
    }
}
