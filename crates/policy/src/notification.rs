//! Notifications: which channels are told of what, as the documents say it. `notify` sends them.

use std::collections::BTreeMap;

use portcullis_core::{ConnectionName, Pattern};
use serde::{Deserialize, Serialize};

use crate::{SecretRef, Subject, glob};

/// One notifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its name, unique in the policy.
    pub name: String,
    /// Where it sends, and what it needs for that.
    pub channel: Channel,
    /// What it tells of; never empty.
    pub events: Vec<NoticeKind>,
    /// Of which connections, by name pattern; empty: all.
    pub connections: Vec<Pattern>,
    /// `file:line`.
    pub location: String,
}

impl Notification {
    /// Whether it tells of what concerns this connection.
    pub fn covers(&self, connection: &ConnectionName) -> bool {
        self.connections.is_empty()
            || self.connections.iter().any(|pattern| glob::matches(pattern, connection.as_str()))
    }

    /// Whether it tells of this.
    pub fn tells(&self, kind: NoticeKind) -> bool {
        self.events.contains(&kind)
    }
}

/// Where a notifier sends. What the references name is `https`, or `http` on loopback: whoever resolves them sees to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A Slack incoming webhook.
    Slack {
        /// The webhook's URL, which is a secret.
        url: SecretRef,
        /// What Slack signs its calls with; with it messages have buttons.
        signing_secret: Option<SecretRef>,
        /// Slack's user id -> the identity it is, verified by hand: who may answer from chat.
        users: BTreeMap<String, Subject>,
        /// The workspace its users are of; absent: any that the app is in.
        team: Option<String>,
    },
    /// A Microsoft Teams workflow's webhook.
    Teams {
        /// The workflow's URL, which is a secret.
        url: SecretRef,
    },
    /// Any HTTP endpoint.
    Webhook {
        /// Its URL.
        url: SecretRef,
        /// The key of the HMAC every call carries.
        secret: SecretRef,
    },
    /// Mail.
    Email {
        /// The server that takes it.
        smtp: Smtp,
        /// The sender's address.
        from: String,
        /// The recipients' addresses; never empty.
        to: Vec<String>,
    },
}

impl Channel {
    /// The word used in documents.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Slack { .. } => "slack",
            Self::Teams { .. } => "teams",
            Self::Webhook { .. } => "webhook",
            Self::Email { .. } => "email",
        }
    }
}

/// A mail server that takes mail for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the transport is protected.
    pub tls: SmtpTls,
    /// Whom to log in as; absent: no login.
    pub username: Option<String>,
    /// The password; there where `username` is.
    pub password: Option<SecretRef>,
}

/// How the way to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SmtpTls {
    /// `STARTTLS`, required (RFC 3207).
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314 section 3.3).
    Implicit,
    /// Not at all; on loopback only.
    None,
}

impl SmtpTls {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starttls => "starttls",
            Self::Implicit => "implicit",
            Self::None => "none",
        }
    }
}

/// What may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// Somebody asks for a window.
    Requested,
    /// An operation or a commit waits for an answer.
    Held,
    /// Somebody opened a window by breaking glass.
    BreakGlass,
    /// A request was answered.
    Answered,
    /// A request's time was over before enough people answered.
    Expired,
    /// A window opened by breaking glass was reviewed.
    Review,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Requested, Self::Held, Self::BreakGlass, Self::Answered, Self::Expired, Self::Review];

    /// What a notifier tells of where its document does not say.
    pub const DEFAULT: [Self; 3] = [Self::Requested, Self::Held, Self::BreakGlass];

    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Held => "held",
            Self::BreakGlass => "break-glass",
            Self::Answered => "answered",
            Self::Expired => "expired",
            Self::Review => "review",
        }
    }
}
