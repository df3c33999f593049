//! Tokens against the public face of the crate: real signatures, real HTTP on loopback, a clock that is moved by hand.

mod dev_idp;
mod entra;
mod fuzz;
mod graph;
mod interop;
mod keys;
mod mint;
mod oidc;
mod server;
mod world;
