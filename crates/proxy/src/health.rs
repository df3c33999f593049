//! [`Health`]: how upstreams answered when sessions were opened to them.
//!
//! Passive: nothing is asked for its own sake, so that an upstream nobody uses hears nothing and a broken one is not hammered. What is
//! kept is one outcome per connection of the policy in force; a connection that changes begins anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use portcullis_core::{ConnectionName, Timestamp};
use portcullis_policy::{Connection, Policy};

use crate::metrics;

/// What kind of failure: all that is told of it. No address, no user, no words of the upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failing {
    /// Its name does not resolve.
    Name,
    /// It refuses transports.
    Refused,
    /// There is no way to it.
    Unreachable,
    /// It does not answer in time.
    Timeout,
    /// TLS is not what the connection demands.
    Tls,
    /// The gateway's own credential cannot be had.
    Credential,
    /// It refuses the credential.
    Login,
    /// It takes no more sessions.
    Full,
    /// It is starting or shutting down.
    Unavailable,
    /// It broke off, or spoke another protocol.
    Broken,
}

impl Failing {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "its name does not resolve",
            Self::Refused => "it refuses the connection",
            Self::Unreachable => "there is no way to it",
            Self::Timeout => "it does not answer in time",
            Self::Tls => "its TLS is not what the connection demands",
            Self::Credential => "the gateway cannot read the connection's credential",
            Self::Login => "it refuses the gateway's login",
            Self::Full => "it takes no more sessions",
            Self::Unavailable => "it is starting or shutting down",
            Self::Broken => "it broke the connection off, or speaks another protocol",
        }
    }
}

/// What was seen of a connection's upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Why no session could be opened last time; none: one could.
    pub failing: Option<Failing>,
    /// Since when sessions could be opened, or could not.
    pub since: Timestamp,
    /// When that was seen last.
    pub at: Timestamp,
}

impl Seen {
    /// Whether it answers.
    pub const fn is_up(&self) -> bool {
        self.failing.is_none()
    }
}

/// The last outcome of each connection.
#[derive(Debug, Default)]
pub struct Health(Mutex<HashMap<ConnectionName, (Arc<Connection>, Seen)>>);

impl Health {
    /// A session to `connection` was opened, or could not be. `in_force` is asked for the policy: of a connection that is not in it
    /// any more nothing is kept.
    pub fn note(
        &self,
        connection: &Connection,
        failing: Option<Failing>,
        at: Timestamp,
        in_force: impl FnOnce() -> Arc<Policy>,
    ) {
        let mut seen = self.lock();
        // Asked under the lock: what `keep` took away for a new policy is not brought back by who still has the old one.
        let policy = in_force();
        let Some(current) = policy.connection(&connection.name).filter(|current| ***current == *connection)
        else {
            return;
        };
        let since = match seen.get(&connection.name) {
            Some((of, before)) if **of == *connection && before.is_up() == failing.is_none() => before.since,
            _ => at,
        };
        metrics::upstream(connection.name.as_str(), Some(failing.is_none()));
        seen.insert(connection.name.clone(), (Arc::clone(current), Seen { failing, since, at }));
    }

    /// What was seen last of a connection as it is now.
    pub fn of(&self, connection: &Connection) -> Option<Seen> {
        let seen = self.lock();
        seen.get(&connection.name).filter(|(of, _)| **of == *connection).map(|(_, seen)| *seen)
    }

    /// Another policy is in force: what was seen of connections that are not in it, or not as they were, is forgotten.
    pub fn keep(&self, policy: &Policy) {
        self.lock().retain(|name, (of, _)| {
            let stays = policy.connection(name).is_some_and(|current| **current == **of);
            if !stays {
                metrics::upstream(name.as_str(), None);
            }
            stays
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionName, (Arc<Connection>, Seen)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policy::{SourceFile, check};

    use super::*;

    fn policy(connections: &str) -> Arc<Policy> {
        let text = format!("connections: {{ {connections} }}\n");
        check(&[SourceFile { path: "p.yaml".into(), text }]).0.unwrap()
    }

    fn one(name: &str, port: u16) -> String {
        format!("{name}: {{ protocol: postgres, address: 'db:{port}', database: db }}")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn connection(policy: &Arc<Policy>, name: &str) -> Arc<Connection> {
        Arc::clone(policy.connection(&name.parse().unwrap()).unwrap())
    }

    #[test]
    fn the_last_outcome_counts_and_since_when() {
        let (health, policy) = (Health::default(), policy(&one("db", 1)));
        let db = connection(&policy, "db");
        let note = |failing, seconds| health.note(&db, failing, at(seconds), || Arc::clone(&policy));
        assert_eq!(health.of(&db), None);
        note(None, 1);
        note(None, 2);
        assert_eq!(health.of(&db), Some(Seen { failing: None, since: at(1), at: at(2) }));
        note(Some(Failing::Refused), 3);
        note(Some(Failing::Timeout), 4);
        assert_eq!(health.of(&db), Some(Seen { failing: Some(Failing::Timeout), since: at(3), at: at(4) }));
        note(None, 5);
        assert_eq!(health.of(&db), Some(Seen { failing: None, since: at(5), at: at(5) }));
    }

    #[test]
    fn a_connection_that_changed_or_went_is_not_known() {
        let health = Health::default();
        let before = policy(&format!("{}, {}, {}", one("a", 1), one("b", 1), one("c", 1)));
        for name in ["a", "b", "c"] {
            health.note(&connection(&before, name), None, at(1), || Arc::clone(&before));
        }
        let after = policy(&format!("{}, {}", one("a", 1), one("b", 2)));
        assert_eq!(health.of(&connection(&after, "b")), None, "even before it is told");
        health.keep(&after);
        assert_eq!(health.lock().len(), 1);
        assert!(health.of(&connection(&after, "a")).is_some());
        // Sessions that began under the old policy say nothing of the new one's connections.
        for name in ["b", "c"] {
            let old = connection(&before, name);
            health.note(&old, Some(Failing::Login), at(2), || Arc::clone(&after));
            assert_eq!(health.of(&old), None);
        }
        assert_eq!(health.lock().len(), 1, "never more than the policy has connections");
    }
}
