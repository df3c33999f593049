//! Where empty buffers wait for the next session on the same thread.
//!
//! A relay that finds nothing to read must have had memory to read into. Kept here, it costs an idle session nothing
//! and a busy one no allocation.

use std::cell::RefCell;

use bytes::BytesMut;

/// The size of a pooled buffer: a point query and its answer fit many times over.
pub(super) const CHUNK: usize = 8 * 1024;

/// Buffers kept per thread: both directions of the relay being polled, and some to spare.
const KEPT: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer of at least [`CHUNK`] bytes.
pub(super) fn take() -> BytesMut {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(CHUNK))
}

/// Keeps an empty buffer, unless it is of another size or enough are kept.
///
/// What it held stays in memory until overwritten, as with any allocator; no reader can see past a buffer's length.
pub(super) fn give_back(buffer: BytesMut) {
    if buffer.is_empty() && (CHUNK..2 * CHUNK).contains(&buffer.capacity()) {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEPT {
                spare.push(buffer);
            }
        });
    }
}
