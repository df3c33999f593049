//! What requests need kept across restarts.

use portcullis_core::{ConnectionName, PrincipalKey, RequestId, SessionId, Timestamp};

use super::state::{Request, State};
use crate::{StoreError, Window};

/// Keeps requests. Synchronous: callers are off the reactor.
pub trait RequestStore: Send + Sync {
    /// Every request that is pending, is an approval not used yet and good after `now`, or waits for a review.
    fn open_requests(&self, now: Timestamp) -> Result<Vec<Request>, StoreError>;
    /// Keeps a request as it is now, durably, and in the same transaction the window it opened.
    fn put_request(&self, request: &Request, window: Option<&Window>) -> Result<(), StoreError>;
    /// One request, whatever its state.
    fn request(&self, id: RequestId) -> Result<Option<Request>, StoreError>;
    /// Requests, newest first.
    fn requests(&self, filter: &RequestFilter) -> Result<Listing, StoreError>;
}

/// Which requests are asked for; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// In this state.
    pub state: Option<State>,
    /// For this connection.
    pub connection: Option<ConnectionName>,
    /// By this principal.
    pub requester: Option<PrincipalKey>,
    /// Of this session.
    pub session: Option<SessionId>,
    /// That wait for a review.
    pub needs_review: bool,
    /// At most so many; 100 where absent.
    pub limit: Option<u32>,
    /// After the page whose `next` this was.
    pub cursor: Option<u64>,
}

/// One page of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Newest first.
    pub rows: Vec<Request>,
    /// Where the next page begins; absent on the last.
    pub next: Option<u64>,
}
