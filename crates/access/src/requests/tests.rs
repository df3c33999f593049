//! The machine with a store and a journal that can fail, and a clock that stands still.

mod answering;
mod faults;
mod holding;
mod interleavings;
pub(crate) mod lab;
mod registry;
mod windows;
mod words;
