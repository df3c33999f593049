//! The one integration binary of `portcullis-sql`.

mod caching;
mod database;
mod deep;
mod measure;
mod sessions;
mod statements;
