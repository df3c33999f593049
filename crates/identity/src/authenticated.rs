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
///     portcullis_identity::Authenticated {
///         principal,
///         groups: portcullis_identity::GroupSource::Token,
///         at: portcullis_core::Timestamp::MAX,
///     }
/// }
/// ```
#[must_use = "a proof of authentication is for one decision"]
#[derive(Debug)]
pub struct Authenticated {
    principal: Arc<Principal>,
    groups: GroupSource,
    at: Timestamp,
}

/// Where a principal's groups are from. "In no group" and "nobody said" are denied alike, but not for the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSource {
    /// The token stated them, possibly none.
    Token,
    /// The directory was asked.
    Directory,
    /// The token states none and no directory is asked: the principal counts as being in no group.
    NotStated,
}

impl Authenticated {
    // INVARIANT(authenticated-made-by-verification): the one constructor, called by `Identity::authenticate` alone.
    pub(crate) const fn new(principal: Arc<Principal>, groups: GroupSource, at: Timestamp) -> Self {
        Self { principal, groups, at }
    }

    /// The same, with the application that was seen to get the token, where the token names none.
    pub(crate) fn given_to(mut self, client_id: &str) -> Self {
        if self.principal.application_id.is_none() {
            Arc::make_mut(&mut self.principal).application_id = Some(client_id.to_owned());
        }
        self
    }

    /// Who.
    pub const fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Where its groups are from.
    pub const fn group_source(&self) -> GroupSource {
        self.groups
    }

    /// When the token was verified and the directory, where one is configured, had nothing against it.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}
