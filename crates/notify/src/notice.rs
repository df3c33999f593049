//! [`Notice`]: what people are told, the same for every channel.

use std::{fmt, str::FromStr};

use portcullis_core::{ConnectionName, RequestId, RuleRef, Timestamp};
use portcullis_policy::{NoticeKind, Url};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::text::one_line;

/// Longest name of a person or a rule, in characters.
const MAX_NAME: usize = 200;
/// Longest reason. A Slack section takes 3,000 characters, and `&` becomes five of them.
const MAX_REASON: usize = 1_000;
/// Longest summary of a statement.
const MAX_SUMMARY: usize = 300;
/// Longest note of whoever answered.
const MAX_NOTE: usize = 500;

/// One thing people are told of. It has no place for literals, bind values, results or tokens.
///
/// `requester`, `reason` and the answer's note are what others wrote and may be hostile: channels escape them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its identity: what is sent twice has it twice.
    pub id: NoticeId,
    /// What happened.
    pub kind: NoticeKind,
    /// The request it is about.
    pub request: RequestId,
    /// When it happened. What could not be delivered six hours later is given up.
    pub at: Timestamp,
    /// The connection it is about.
    pub connection: ConnectionName,
    /// Who asks, by name.
    pub requester: String,
    /// Who asks: provider, tenant, object.
    pub requester_key: String,
    /// The rule that asks for a person's answer.
    pub rule: Option<RuleRef>,
    /// The requester's reason; may be empty.
    pub reason: String,
    /// The held statement **without its literals**, which is the caller's to see to; empty for a window.
    pub summary: String,
    /// The request in the console.
    #[serde(with = "url_as_text")]
    pub link: Url,
    /// What it takes, in words: `1 of group:oncall`.
    pub needs: String,
    /// Until when it waits; none where nothing waits.
    pub answer_by: Option<Timestamp>,
    /// How it ended; none while it is open.
    pub answered: Option<Answered>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// How.
    pub outcome: Outcome,
    /// Who answered, by name; empty where nobody did.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What they noted; may be empty.
    pub note: String,
}

/// The ways a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Enough people said yes.
    Approved,
    /// A person said no.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// The requester took it back.
    Withdrawn,
    /// A person looked at what was opened by breaking glass.
    Reviewed,
}

impl Outcome {
    /// The word used in documents and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Reviewed => "reviewed",
        }
    }
}

impl Notice {
    /// The notice with every text on one line, without control characters, cut to its limit.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        for (text, longest) in [
            (&mut self.requester, MAX_NAME),
            (&mut self.requester_key, MAX_NAME),
            (&mut self.reason, MAX_REASON),
            (&mut self.summary, MAX_SUMMARY),
            (&mut self.needs, MAX_SUMMARY),
        ] {
            *text = one_line(text, longest);
        }
        if let Some(rule) = &mut self.rule {
            rule.kind = one_line(&rule.kind, MAX_NAME).into();
            rule.name = one_line(&rule.name, MAX_NAME);
            rule.location = rule.location.take().map(|location| one_line(&location, MAX_NAME));
        }
        if let Some(answered) = &mut self.answered {
            answered.by = one_line(&answered.by, MAX_NAME);
            answered.note = one_line(&answered.note, MAX_NOTE);
        }
        self
    }

    /// Whether somebody may still answer.
    pub(crate) fn is_open(&self) -> bool {
        self.answered.is_none() && matches!(self.kind, NoticeKind::Requested | NoticeKind::Held)
    }
}

/// Names one notice: `ntc_<32 hex digits>`, a UUID version 7 (RFC 9562 section 5.7). It has no `.`, which a webhook's
/// signature needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NoticeId(Uuid);

impl NoticeId {
    /// A new one made at `now`; the rest is random from the operating system.
    pub fn generate(now: Timestamp) -> Self {
        let micros = u64::try_from(now.as_micros()).unwrap_or(0);
        let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0).saturating_mul(1_000);
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, micros / 1_000_000, nanos)))
    }
}

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ntc_{}", self.0.simple())
    }
}

impl fmt::Debug for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NoticeId {
    type Err = InvalidNoticeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_prefix("ntc_").ok_or_else(|| InvalidNoticeId(text.to_owned()))?;
        Uuid::try_parse(bare).map(Self).map_err(|_| InvalidNoticeId(text.to_owned()))
    }
}

impl From<NoticeId> for String {
    fn from(id: NoticeId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for NoticeId {
    type Error = InvalidNoticeId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The text names no notice.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an identifier of the form `ntc_<32 hex digits>`")]
pub struct InvalidNoticeId(String);

/// A URL as text: the crate that has the type has no serialisation switched on.
mod url_as_text {
    use portcullis_policy::Url;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(url.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Notices for the tests of every channel.

    use super::*;

    /// A held operation, open.
    pub(crate) fn notice() -> Notice {
        Notice {
            id: "ntc_01998f6f0b7a7000a000000000000009".parse().unwrap(),
            kind: NoticeKind::Held,
            request: "req_01998f6f0b7a7000a000000000000001".parse().unwrap(),
            at: Timestamp::from_seconds(1_790_000_000),
            connection: "orders-db".parse().unwrap(),
            requester: "deploy-agent".to_owned(),
            requester_key: "entra/tid/oid".to_owned(),
            rule: Some(RuleRef {
                kind: "guardrail".into(),
                name: "unqualified writes need a person".to_owned(),
                location: Some("policy.yaml:12".to_owned()),
            }),
            reason: "close the stuck orders".to_owned(),
            summary: "update orders set state = ?".to_owned(),
            link: "https://gateway.example.com/requests/req_01998f6f0b7a7000a000000000000001"
                .parse()
                .unwrap(),
            needs: "1 of group:oncall".to_owned(),
            answer_by: Some(Timestamp::from_seconds(1_790_000_300)),
            answered: None,
        }
    }

    /// The same, denied.
    pub(crate) fn answered() -> Notice {
        let answered = Answered {
            outcome: Outcome::Denied,
            by: "sam".to_owned(),
            at: Timestamp::from_seconds(1_790_000_060),
            note: "qualify it".to_owned(),
        };
        Notice { kind: NoticeKind::Answered, answer_by: None, answered: Some(answered), ..notice() }
    }
}
