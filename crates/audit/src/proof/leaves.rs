//! Leaf hashes and the roots of full files of them.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use super::{Growing, blocks_path, leaves_folder, length, read_all};
use crate::{
    Error,
    tree::{BLOCK_LEAVES, Hash, Tree},
};

/// Bytes in a full file of leaves.
const BLOCK_BYTES: u64 = BLOCK_LEAVES * Hash::LEN as u64;

/// Where the leaves of a block are.
pub(crate) fn block_path(journal: &Path, block: u64) -> PathBuf {
    leaves_folder(journal).join(format!("{block:010}"))
}

/// How many leaf hashes are there, without a gap from the first on; a torn last one does not count.
pub(crate) fn count_leaves(journal: &Path) -> Result<u64, Error> {
    let mut full = 0;
    loop {
        let bytes = length(&block_path(journal, full))?;
        if bytes < BLOCK_BYTES {
            return Ok(full * BLOCK_LEAVES + bytes / Hash::LEN as u64);
        }
        full += 1;
    }
}

/// The leaves of one block that are there.
pub(crate) fn read_leaves(journal: &Path, block: u64) -> Result<Vec<Hash>, Error> {
    let mut leaves = Hash::list(&read_all(&block_path(journal, block))?);
    leaves.truncate(usize::try_from(BLOCK_LEAVES).unwrap_or(usize::MAX));
    Ok(leaves)
}

/// The roots of full blocks.
pub(crate) fn read_blocks(journal: &Path) -> Result<Vec<Hash>, Error> {
    Ok(Hash::list(&read_all(&blocks_path(journal))?))
}

/// The root over a range of leaves whose start is a multiple of a power of two that is not smaller than the range: what
/// inclusion proofs ask for. Whole blocks are taken from `blocks`.
pub(crate) fn root_of(journal: &Path, blocks: &[Hash], range: Range<u64>) -> Result<Option<Hash>, Error> {
    let mut tree = Tree::default();
    let mut at = range.start;
    while at < range.end {
        let block = at / BLOCK_LEAVES;
        let end = range.end.min((block + 1) * BLOCK_LEAVES);
        let known = blocks.get(usize::try_from(block).unwrap_or(usize::MAX));
        match known.filter(|_| end - at == BLOCK_LEAVES) {
            Some(root) => tree.push_block(*root),
            None => {
                let place = |at: u64| usize::try_from(at - block * BLOCK_LEAVES).unwrap_or(usize::MAX);
                let leaves = read_leaves(journal, block)?;
                let Some(leaves) = leaves.get(place(at)..place(end)) else { return Ok(None) };
                for leaf in leaves {
                    tree.push(*leaf);
                }
            }
        }
        at = end;
    }
    Ok(Some(tree.root()))
}

/// The files of leaves, open for more.
pub(crate) struct Leaves {
    journal: PathBuf,
    tree: Tree,
    open: Option<Growing>,
    blocks: Growing,
    /// Roots that `blocks` does not hold yet.
    fresh: Vec<Hash>,
    /// Full files that were not synced yet.
    unsynced: Vec<Growing>,
    /// Whether the open file was written to since it was synced.
    dirty: bool,
}

impl Leaves {
    /// Takes up what is on the disk; a torn last leaf is cut.
    pub(crate) fn open(journal: &Path) -> Result<Self, Error> {
        let count = count_leaves(journal)?;
        let full = count / BLOCK_LEAVES;
        let known = read_blocks(journal)?;
        let mut tree = Tree::default();
        let mut fresh = Vec::new();
        for block in 0..full {
            match known.get(usize::try_from(block).unwrap_or(usize::MAX)).filter(|_| fresh.is_empty()) {
                Some(root) => tree.push_block(*root),
                None => {
                    fresh.extend(read_leaves(journal, block)?.into_iter().filter_map(|leaf| tree.push(leaf)))
                }
            }
        }
        let last = read_leaves(journal, full)?;
        let rest = usize::try_from(count - full * BLOCK_LEAVES).unwrap_or(usize::MAX);
        for leaf in last.iter().take(rest) {
            tree.push(*leaf);
        }
        let whole = full - fresh.len() as u64;
        let blocks = Growing::open(blocks_path(journal), whole * Hash::LEN as u64)?;
        let mut this = Self {
            journal: journal.to_owned(),
            tree,
            open: None,
            blocks,
            fresh,
            unsynced: Vec::new(),
            dirty: true,
        };
        if length(&block_path(journal, full))? > 0 {
            this.file()?;
        }
        Ok(this)
    }

    /// The tree over all leaves.
    pub(crate) const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The leaves of one block that are on the disk.
    pub(crate) fn block(&self, block: u64) -> Result<Vec<Hash>, Error> {
        read_leaves(&self.journal, block)
    }

    fn file(&mut self) -> Result<&mut Growing, Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let (block, within) = (self.tree.size() / BLOCK_LEAVES, self.tree.size() % BLOCK_LEAVES);
                Growing::open(block_path(&self.journal, block), within * Hash::LEN as u64)?
            }
        };
        Ok(self.open.insert(open))
    }

    /// Writes leaves behind the last and takes them into the tree. `leaves` is emptied as far as it was written.
    pub(crate) fn append(&mut self, leaves: &mut Vec<Hash>) -> Result<(), Error> {
        while !leaves.is_empty() {
            let room = BLOCK_LEAVES - self.tree.size() % BLOCK_LEAVES;
            let some = leaves.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let bytes: Vec<u8> = leaves.iter().take(some).flat_map(|leaf| leaf.0).collect();
            self.dirty = true;
            self.file()?.append(&bytes)?;
            for leaf in leaves.drain(..some) {
                if let Some(root) = self.tree.push(leaf) {
                    self.fresh.push(root);
                    self.unsynced.extend(self.open.take());
                }
            }
        }
        Ok(())
    }

    /// Forces everything to the disk.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        if self.dirty {
            for file in self.unsynced.iter().chain(&self.open) {
                file.sync()?;
            }
            self.unsynced.clear();
            self.dirty = false;
        }
        if !self.fresh.is_empty() {
            let bytes: Vec<u8> = self.fresh.iter().flat_map(|root| root.0).collect();
            self.blocks.append(&bytes)?;
            self.fresh.clear();
            self.blocks.sync()?;
        }
        Ok(())
    }
}
