//! [`MemoryStore`]: keeps what `access` needs for as long as the process lives. For tests and trials: a restart forgets all.

use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_core::{PrincipalKey, RequestId, Timestamp, WindowId};

use crate::{
    Block, StoreError, Window, WindowStore,
    requests::{Ending, Listing, Request, RequestFilter, RequestStore},
};

/// Windows, blocks and requests, in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    windows: Vec<Window>,
    blocks: Vec<Block>,
    requests: Vec<Request>,
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WindowStore for MemoryStore {
    fn windows_since(&self, since: Timestamp) -> Result<Vec<Window>, StoreError> {
        Ok(self.lock().windows.iter().filter(|window| window.ends_at > since).cloned().collect())
    }

    fn insert_window(&self, window: &Window) -> Result<(), StoreError> {
        self.lock().windows.push(window.clone());
        Ok(())
    }

    fn end_window(&self, id: WindowId, at: Timestamp) -> Result<(), StoreError> {
        for window in self.lock().windows.iter_mut().filter(|window| window.id == id) {
            window.ends_at = window.ends_at.min(at);
        }
        Ok(())
    }

    fn blocks_since(&self, now: Timestamp) -> Result<Vec<Block>, StoreError> {
        Ok(self.lock().blocks.iter().filter(|block| block.until > now).cloned().collect())
    }

    fn put_block(&self, block: &Block) -> Result<(), StoreError> {
        let mut kept = self.lock();
        kept.blocks
            .retain(|known| known.principal != block.principal || known.connection != block.connection);
        kept.blocks.push(block.clone());
        Ok(())
    }

    fn lift_blocks(&self, principal: &PrincipalKey) -> Result<u64, StoreError> {
        let mut kept = self.lock();
        let before = kept.blocks.len();
        kept.blocks.retain(|block| block.principal != *principal);
        Ok((before - kept.blocks.len()) as u64)
    }
}

impl RequestStore for MemoryStore {
    fn open_requests(&self, now: Timestamp) -> Result<Vec<Request>, StoreError> {
        let open = |request: &&Request| match request.settled() {
            None => true,
            Some(settled) => {
                let unused = matches!(
                    settled.ending(),
                    Ending::Approved { used_at: None, good_until: Some(until), .. } if now < *until
                );
                unused || settled.needs_review()
            }
        };
        Ok(self.lock().requests.iter().filter(open).cloned().collect())
    }

    fn put_request(&self, request: &Request, window: Option<&Window>) -> Result<(), StoreError> {
        let mut kept = self.lock();
        match kept.requests.iter_mut().find(|known| known.id() == request.id()) {
            // What has ended stays ended so.
            Some(known) if known.settled().is_some() && known.state() != request.state() => {
                return Err(StoreError(format!("request `{}` is over", request.id())));
            }
            Some(known) => *known = request.clone(),
            None => kept.requests.push(request.clone()),
        }
        kept.windows.extend(window.cloned());
        Ok(())
    }

    fn request(&self, id: RequestId) -> Result<Option<Request>, StoreError> {
        Ok(self.lock().requests.iter().find(|request| request.id() == id).cloned())
    }

    fn requests(&self, filter: &RequestFilter) -> Result<Listing, StoreError> {
        let wanted = |(number, request): &(usize, &Request)| {
            let asked = request.asked();
            let session = asked.what.operation().map(|operation| operation.session);
            filter.state.is_none_or(|state| request.state() == state)
                && filter.connection.as_ref().is_none_or(|name| asked.connection == *name)
                && filter.requester.as_ref().is_none_or(|key| asked.requester.key() == *key)
                && filter.session.is_none_or(|wanted| session == Some(wanted))
                && filter.cursor.is_none_or(|cursor| (*number as u64) < cursor)
                && (!filter.needs_review || request.settled().is_some_and(|settled| settled.needs_review()))
        };
        let limit = usize::try_from(filter.limit.unwrap_or(100)).unwrap_or(usize::MAX).max(1);
        let kept = self.lock();
        let mut found = kept.requests.iter().enumerate().rev().filter(wanted);
        let page: Vec<(usize, &Request)> = found.by_ref().take(limit).collect();
        let next = page.last().map(|(number, _)| *number as u64).filter(|_| found.next().is_some());
        Ok(Listing { rows: page.into_iter().map(|(_, request)| request.clone()).collect(), next })
    }
}
