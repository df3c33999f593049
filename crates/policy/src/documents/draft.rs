//! What the documents say before names are resolved: everything of all files, each with its place.

use std::{net::IpAddr, time::Duration};

use portcullis_core::{ConnectionName, Pattern, Timestamp};

use portcullis_mask::{Detector, Transform};

use crate::{
    AskWay, ColumnPattern, Condition, Connection, Expectation, Filter, FunctionPattern, GuardrailAction,
    HoldAt, NoticeKind, OnTimeout, Opaque, Preview, Protocol, ProviderConfig, Retention, Role, ScopeRule,
    SecretRef, Smtp, When, Who, documents::reader::Placed,
};

/// Everything read.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) providers: Vec<Placed<ProviderConfig>>,
    pub(crate) connections: Vec<Placed<Connection>>,
    /// Names of connections that were written but refused, so that a grant for one is not told twice that it is unknown.
    pub(crate) refused_connections: Vec<String>,
    /// Names of providers that were written but refused.
    pub(crate) refused_providers: usize,
    pub(crate) grants: Vec<GrantDraft>,
    pub(crate) guardrails: Vec<GuardrailDraft>,
    pub(crate) masks: Vec<MaskDraft>,
    pub(crate) roles: Vec<(Role, Vec<Placed<SubjectDraft>>)>,
    pub(crate) notifications: Vec<NotificationDraft>,
    pub(crate) tests: Vec<TestDraft>,
    pub(crate) retention: Option<Placed<Retention>>,
}

/// A subject as written.
#[derive(Clone, Debug)]
pub(crate) struct SubjectDraft {
    pub(crate) kind: SubjectKind,
    pub(crate) value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubjectKind {
    Group,
    Role,
    App,
    Id,
}

impl SubjectKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Role => "role",
            Self::App => "app",
            Self::Id => "id",
        }
    }
}

/// Whose yes is needed, as written.
#[derive(Debug)]
pub(crate) struct ApprovalDraft {
    pub(crate) approvers: Placed<Vec<Placed<SubjectDraft>>>,
    /// Absent: one.
    pub(crate) approvals: Option<Placed<u32>>,
}

#[derive(Debug)]
pub(crate) struct GrantDraft {
    pub(crate) name: Option<Placed<String>>,
    pub(crate) connection: Placed<String>,
    pub(crate) to: Vec<Placed<SubjectDraft>>,
    /// Absent: refused, and told.
    pub(crate) when: Option<When>,
    pub(crate) lifetime: Option<Placed<Duration>>,
    pub(crate) cooldown: Option<Duration>,
    pub(crate) max_per_day: Option<u32>,
    pub(crate) approval: Option<ApprovalDraft>,
    pub(crate) ask: AskWay,
    pub(crate) reason_required: bool,
    pub(crate) answer_within: Duration,
    pub(crate) break_glass: Option<Placed<Vec<Placed<SubjectDraft>>>>,
    pub(crate) recorded: bool,
    pub(crate) scope: Vec<Placed<ScopeRule>>,
    pub(crate) condition: Option<Condition>,
    /// The grant's first line.
    pub(crate) head: Placed<()>,
}

#[derive(Debug)]
pub(crate) struct GuardrailDraft {
    pub(crate) name: Placed<String>,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) connections: Vec<Placed<Pattern>>,
    pub(crate) statements: Vec<Placed<String>>,
    pub(crate) without: Option<String>,
    pub(crate) resources: Vec<Placed<Pattern>>,
    pub(crate) except: Vec<Placed<SubjectDraft>>,
    pub(crate) action: GuardrailAction,
    /// Absent: it does not hold, or its terms were refused and told.
    pub(crate) hold: Option<HoldDraft>,
    pub(crate) message: Option<String>,
    /// Something in it was refused, so that what it reaches is not known.
    pub(crate) incomplete: bool,
}

#[derive(Debug)]
pub(crate) struct HoldDraft {
    pub(crate) approval: ApprovalDraft,
    pub(crate) at: HoldAt,
    pub(crate) rows_over: u64,
    pub(crate) hold_limit: Duration,
    pub(crate) on_timeout: OnTimeout,
    pub(crate) answer_within: Duration,
    pub(crate) ticket_lifetime: Duration,
    pub(crate) preview: Preview,
}

#[derive(Debug)]
pub(crate) struct NotificationDraft {
    pub(crate) name: Placed<String>,
    pub(crate) channel: ChannelDraft,
    pub(crate) events: Vec<NoticeKind>,
    pub(crate) connections: Vec<Placed<Pattern>>,
}

#[derive(Debug)]
pub(crate) enum ChannelDraft {
    Slack {
        url: SecretRef,
        signing_secret: Option<SecretRef>,
        /// Slack's id of a user, and who that is.
        users: Vec<(String, Placed<SubjectDraft>)>,
        team: Option<String>,
    },
    Teams {
        url: SecretRef,
    },
    Webhook {
        url: SecretRef,
        secret: SecretRef,
    },
    Email {
        smtp: Smtp,
        from: String,
        to: Vec<String>,
    },
}

#[derive(Debug)]
pub(crate) struct MaskDraft {
    /// Empty: refused, and told.
    pub(crate) name: Placed<String>,
    pub(crate) connections: Vec<Placed<Pattern>>,
    pub(crate) columns: Vec<ColumnPattern>,
    pub(crate) detectors: Vec<Detector>,
    pub(crate) transform: Transform,
    pub(crate) filter: Filter,
    pub(crate) opaque: Opaque,
    pub(crate) trusted_functions: Vec<FunctionPattern>,
    pub(crate) to: Vec<Placed<SubjectDraft>>,
    pub(crate) except: Vec<Placed<SubjectDraft>>,
    /// Something in it was refused, so that what it reaches is not known.
    pub(crate) incomplete: bool,
}

#[derive(Debug)]
pub(crate) struct TestDraft {
    pub(crate) name: Placed<String>,
    pub(crate) who: Placed<Who>,
    pub(crate) groups: Vec<Placed<String>>,
    pub(crate) connection: Placed<ConnectionName>,
    pub(crate) statement: Option<String>,
    pub(crate) now: Timestamp,
    pub(crate) source: IpAddr,
    pub(crate) client: String,
    pub(crate) window: bool,
    pub(crate) approved: bool,
    pub(crate) expect: Expectation,
    pub(crate) rule: Option<Placed<String>>,
    /// The masks that should be in force.
    pub(crate) masks: Option<Vec<Placed<String>>>,
}
