//! The one integration binary of `portcullis-sql`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

mod caching;
mod database;
mod deep;
mod masks;
mod measure;
mod sessions;
mod statements;
