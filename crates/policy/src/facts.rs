//! [`Facts`]: what a condition may ask about.

use std::net::IpAddr;

use portcullis_core::{ConnectionName, Principal, Timestamp};

/// What holds when a session is about to open, or is looked at again.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The time.
    pub now: Timestamp,
    /// The client's address.
    pub source: IpAddr,
    /// What the client calls itself; may be empty.
    pub client: &'a str,
    /// Who.
    pub principal: &'a Principal,
    /// The connection asked for.
    pub connection: &'a ConnectionName,
}
