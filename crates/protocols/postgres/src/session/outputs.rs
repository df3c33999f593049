//! What waits to be written to the two peers.

use bytes::BytesMut;
use portcullis_proxy::buffer::WriteQueue;

/// The most bytes that wait for one peer before the other is read on.
const LIMIT: usize = 256 * 1024;

/// Both directions.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// To the upstream.
    pub(crate) up: WriteQueue,
    /// To the client.
    pub(crate) down: WriteQueue,
    /// What the gateway itself says to the client, waiting for a message boundary.
    said: BytesMut,
}

impl Outputs {
    pub(crate) fn new() -> Self {
        Self { up: WriteQueue::new(LIMIT), down: WriteQueue::new(LIMIT), said: BytesMut::new() }
    }

    /// Says something to the client at the next message boundary.
    pub(crate) fn say(&mut self, write: impl FnOnce(&mut BytesMut)) {
        write(&mut self.said);
    }

    /// The client stands at a message boundary.
    pub(crate) fn speak(&mut self) {
        if !self.said.is_empty() {
            self.down.push_slice(&self.said);
            self.said = BytesMut::new();
        }
    }
}
