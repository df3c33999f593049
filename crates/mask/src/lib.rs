//! Masks over values: what looks like a secret, and what is shown in its place.
//!
//! **Promises.** Pure: values in, values out. A masked value is valid for its type and format, or it is null. A value in
//! which nothing is found costs one pass (one more for each regular expression of the documents) and no allocation. Time is
//! linear in the value, whatever it holds. What cannot be masked as asked is hidden more, never less.
//!
//! **Does not** know documents (`policy`), statements (`sql`) or wire formats (the protocol crates). Detectors find what
//! has a recognisable form; they do not stop a principal who can rewrite a value before it is sent. Masks by column do.
//!
//! **How to read it**: [`transform`] (what is shown), [`detector`] (what is looked for), [`scanner`] (one pass over a
//! value), [`value`] (a value of a type, masked), and one file for each detector under `find`.
//!
//! **References**: each file under `find` names its own.

pub mod detector;
pub mod error;
mod find;
pub mod fuzz;
pub mod key;
pub mod scanner;
pub mod transform;
pub mod value;

pub use detector::{Detector, Expression};
pub use error::Error;
pub use key::HashKey;
pub use scanner::{Hit, Scanner};
pub use transform::{Pattern, Transform};
pub use value::{HIDDEN, Outcome, ValueKind, apply_hits, apply_text, mask_value};
