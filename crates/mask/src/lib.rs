//! Masks over values: what looks like a secret, and what is shown in its place.
//!
//! **Promises.** Pure: values in, values out. A masked value is valid for its type and format. A row in which nothing is found
//! costs one pass and no allocation.
//!
//! **Does not** know documents (`policy`), statements (`sql`) or wire formats (the protocol crates).
//!
//! **How to read it**: [`transform`] (what is shown), [`detector`] (what is looked for).

pub mod detector;
pub mod transform;

pub use detector::Detector;
pub use transform::{Pattern, Transform};
