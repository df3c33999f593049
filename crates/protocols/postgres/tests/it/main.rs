//! The protocol end to end: real clients on one side, a real server on the other, every part of the pipeline between them.

mod lab;
mod relay;
mod wire;
