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

    /// The block on every connection.
    pub(crate) fn everywhere(&self, principal: &PrincipalKey, now: Timestamp) -> Option<Block> {
        let keeps_out =
            |block: &&Block| block.connection.is_none() && block.principal == *principal && now < block.until;
        self.lock().iter().find(keeps_out).cloned()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn block(connection: Option<&str>, until: Timestamp) -> Block {
        Block {
            principal: PrincipalKey { provider: "entra".into(), tenant: None, object_id: "77aa".into() },
            connection: connection.map(|name| name.parse().unwrap()),
            until,
            by: "admin".into(),
            reason: String::new(),
        }
    }

    #[test]
    fn a_shorter_block_does_not_replace_a_longer_one() {
        let (blocks, now) = (Blocks::default(), Timestamp::from_seconds(1_790_000_000));
        let (hour, minute) = (now.plus(Duration::from_secs(3600)), now.plus(Duration::from_secs(60)));
        assert_eq!(blocks.put(block(None, hour), now).until, hour);
        assert_eq!(
            blocks.put(block(None, minute), now).until,
            hour,
            "what is kept is what the store is given"
        );
        let logs = "logs".parse().unwrap();
        assert!(blocks.find(&block(None, hour).principal, &logs, minute).is_some());
        assert!(blocks.find(&block(None, hour).principal, &logs, hour).is_none(), "over at its end");
    }

    #[test]
    fn blocks_of_one_connection_and_of_all_stand_side_by_side_and_are_forgotten_when_over() {
        let (blocks, now) = (Blocks::default(), Timestamp::from_seconds(1_790_000_000));
        let minute = now.plus(Duration::from_secs(60));
        blocks.put(block(Some("logs"), minute), now);
        let (principal, logs, shop) =
            (block(None, now).principal, "logs".parse().unwrap(), "shop".parse().unwrap());
        assert!(
            blocks.find(&principal, &logs, now).is_some() && blocks.find(&principal, &shop, now).is_none()
        );
        blocks.put(block(None, minute.plus(Duration::from_secs(60))), minute);
        assert_eq!(blocks.lift(&principal), 1, "the one that is over is gone");
    }
}
