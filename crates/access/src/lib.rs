//! Authenticated principal + connection + now -> [`Permit`]: the only way to an upstream.
//!
//! **Promises.** A [`Permit`] is made by [`Access::authorize`] alone and carries the connection it was given for
//! (`INVARIANT(permit-carries-connection)`). Default deny. "No such connection" and "no grant" are one answer. A window's
//! end is fixed when it opens and nothing in the data path moves it. A window is journalled before it is effective.
//!
//! **Does not** verify tokens (`identity`), judge operations (`policy::SessionRules`) or dial (`proxy`).
//!
//! **How to read it**: [`permit`], [`authorize`](Access::authorize) in `access.rs`, `request.rs`, [`windows`], [`requests`] (what
//! people answer), [`blocks`].
//!
//! **References**: the design's "Just-in-time".

mod access;
pub mod blocks;
mod memory;
pub mod permit;
mod refusal;
mod request;
pub mod requests;
mod secrets;
pub mod windows;

pub use access::{Access, Ask, LiveGrant, Settings};
pub use blocks::Block;
pub use memory::MemoryStore;
pub use permit::Permit;
pub use refusal::{Answer, Refusal};
pub use request::Granted;
pub use secrets::SystemSecrets;
pub use windows::{RequestRefused, StoreError, Window, WindowRequest, WindowStore};

/// Everything `access` keeps across restarts.
pub trait AccessStore: WindowStore + requests::RequestStore {}

impl<T: WindowStore + requests::RequestStore> AccessStore for T {}
