//! [`Refusal`]: a connect that was not allowed, with what the peer may be told.

use std::sync::Arc;

use portcullis_core::{Decision, SessionFacts};

/// A refused connect. `facts` and `decision` go to the journal, `answer` to the peer.
#[derive(Debug)]
pub struct Refusal {
    /// Who asked, from where, for what.
    pub facts: Arc<SessionFacts>,
    /// The deny.
    pub decision: Decision,
    /// What the peer is told.
    pub answer: Answer,
}

/// What a refused peer is told. Protocols turn it into their wire form; the text is safe for the principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The token was not accepted.
    NotAuthenticated {
        /// Safe text of the identity error.
        message: String,
    },
    /// No such connection, or no grant: one answer.
    NoAccess,
    /// A grant exists that must be asked for.
    WindowNeeded {
        /// The connection, as the peer wrote it.
        connection: String,
        /// Whether people have to answer.
        people: bool,
        /// Whether connecting is asking.
        on_connect: bool,
        /// Where to ask in the console.
        link: Option<String>,
    },
    /// Connecting asked for access, and that came to nothing.
    NotGiven {
        /// Why.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// A grant exists whose condition does not hold now.
    NotNow,
    /// An administrator blocked the principal.
    Blocked {
        /// Why, as told.
        reason: String,
    },
    /// The connection does not allow this database.
    Database {
        /// The database asked for.
        asked: String,
    },
    /// Something the gateway depends on failed.
    Unavailable,
}

impl Answer {
    /// What happened, in one line: lower case, no full stop.
    pub fn message(&self) -> String {
        match self {
            Self::NotAuthenticated { message } => message.clone(),
            Self::NoAccess => "no access to this connection".to_owned(),
            Self::WindowNeeded { connection, people: false, .. } => {
                format!("access to `{connection}` must be requested first")
            }
            Self::WindowNeeded { connection, people: true, .. } => {
                format!("access to `{connection}` must be requested first, and approved by a person")
            }
            Self::NotGiven { message, .. } => message.clone(),
            Self::NotNow => {
                "access to this connection is not allowed under the present conditions".to_owned()
            }
            Self::Blocked { reason } if reason.is_empty() => {
                "an administrator has blocked this identity".to_owned()
            }
            Self::Blocked { reason } => format!("an administrator has blocked this identity: {reason}"),
            Self::Database { asked } => format!("database `{asked}` is not allowed on this connection"),
            Self::Unavailable => "the gateway cannot decide now; try again shortly".to_owned(),
        }
    }

    /// What to do next, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::WindowNeeded { connection, link, .. } => {
                let ask = format!("ask for it with: portcullis request {connection} --reason \"why you need it\"");
                Some(match link {
                    Some(link) => format!("{ask}, or at {link}"),
                    None => ask,
                })
            }
            Self::NotGiven { hint, .. } => hint.clone(),
            Self::NoAccess => Some(
                "the user name must be a connection's name; see what you can reach with: portcullis connections".to_owned(),
            ),
            Self::Database { .. } => Some("leave the database out to use the connection's default".to_owned()),
            Self::NotAuthenticated { .. } | Self::NotNow | Self::Blocked { .. } | Self::Unavailable => None,
        }
    }
}
