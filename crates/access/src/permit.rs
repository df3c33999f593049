//! [`Permit`]: the unforgeable value saying that one decision was allow, for this connection, now.

use std::sync::Arc;

use portcullis_core::{Decision, Principal, SessionFacts, Timestamp};
use portcullis_policy::{Connection, SessionRules};

use crate::LiveGrant;

/// One allow, for one session. Not `Clone`, no public constructor: the places that make one are the audit list.
///
/// ```compile_fail,E0451
/// fn forged(known: portcullis_access::Permit) -> portcullis_access::Permit {
///     let portcullis_access::Permit { facts, live, rules, decision } = known;
///     portcullis_access::Permit { facts, live, rules, decision }
/// }
/// ```
///
/// ```compile_fail,E0599
/// fn twice(permit: portcullis_access::Permit) { let _copy = permit.clone(); }
/// ```
// INVARIANT(permit-carries-connection): dialing uses `connection()`, it never looks a name up again.
#[must_use]
#[derive(Debug)]
pub struct Permit {
    pub(crate) facts: Arc<SessionFacts>,
    pub(crate) live: LiveGrant,
    pub(crate) rules: Arc<SessionRules>,
    pub(crate) decision: Decision,
}

impl Permit {
    /// The facts every record of the session refers to.
    pub fn facts(&self) -> &Arc<SessionFacts> {
        &self.facts
    }

    /// Who.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.live.principal
    }

    /// The connection the permit was given for.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.live.connection
    }

    /// The rules every operation of the session is judged by, at first.
    pub fn rules(&self) -> &Arc<SessionRules> {
        &self.rules
    }

    /// The allow itself.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// When the session ends at the latest.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.facts.ends_at
    }

    /// What must stay true for the session to go on; kept by whoever watches over live sessions.
    pub fn live(&self) -> &LiveGrant {
        &self.live
    }
}
