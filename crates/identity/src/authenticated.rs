//! The proof that a token was verified.

use std::sync::Arc;

use portcullis_core::{Principal, Timestamp};

/// A principal whose token was verified, at the time it says. Made by [`crate::Identity::authenticate`] only; it is used up by the
/// one decision it is for, so it cannot be cloned, and there is no other way to get one.
///
/// ```compile_fail
/// fn twice(proof: portcullis_identity::Authenticated) {
///     let copy = proof.clone();
/// }
/// ```
///
/// ```compile_fail
/// fn forged(principal: std::sync::Arc<portcullis_core::Principal>) -> portcullis_identity::Authenticated {
///     portcullis_identity::Authenticated { principal, at: portcullis_core::Timestamp::MAX }
/// }
/// ```
#[must_use = "a proof of authentication is for one decision"]
#[derive(Debug)]
pub struct Authenticated {
    principal: Arc<Principal>,
    at: Timestamp,
}

impl Authenticated {
    // INVARIANT(authenticated-made-by-verification): the one constructor, called by `Identity::authenticate` alone.
    pub(crate) const fn new(principal: Arc<Principal>, at: Timestamp) -> Self {
        Self { principal, at }
    }

    /// Who.
    pub const fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// When the token was verified and the directory, where one is configured, had nothing against it.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}
