//! Blocks: what a kill leaves behind, so that the next connect fails too.

use std::sync::Mutex;

use portcullis_core::{ConnectionName, PrincipalKey, Timestamp};
use serde::{Deserialize, Serialize};

/// A principal kept out, everywhere or on one connection, until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Who.
    pub principal: PrincipalKey,
    /// Where; everywhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionName>,
    /// Until when.
    pub until: Timestamp,
    /// By whom.
    pub by: String,
    /// Why, as told.
    pub reason: String,
}

impl Block {
    fn covers(&self, principal: &PrincipalKey, connection: &ConnectionName, now: Timestamp) -> bool {
        self.principal == *principal
            && now < self.until
            && self.connection.as_ref().is_none_or(|c| c == connection)
    }
}

#[derive(Default)]
pub(crate) struct Blocks(Mutex<Vec<Block>>);

impl Blocks {
    pub(crate) fn load(&self, blocks: Vec<Block>) {
        *self.lock() = blocks;
    }

    pub(crate) fn find(
        &self,
        principal: &PrincipalKey,
        connection: &ConnectionName,
        now: Timestamp,
    ) -> Option<Block> {
        self.lock().iter().find(|block| block.covers(principal, connection, now)).cloned()
    }

    /// Keeps a block, or the longer one that is there already; says which. Those that are over are forgotten.
    pub(crate) fn put(&self, block: Block, now: Timestamp) -> Block {
        let mut blocks = self.lock();
        blocks.retain(|known| now < known.until);
        let same =
            |known: &&mut Block| known.principal == block.principal && known.connection == block.connection;
        if let Some(known) = blocks.iter_mut().find(same) {
            if known.until < block.until {
                *known = block;
            }
            return known.clone();
        }
        blocks.push(block.clone());
        block
    }

    pub(crate) fn lift(&self, principal: &PrincipalKey) -> usize {
        let mut blocks = self.lock();
        let before = blocks.len();
        blocks.retain(|block| block.principal != *principal);
        before - blocks.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Block>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
