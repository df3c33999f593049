//! Grants: who may open which connection, when, for how long, with what scope.

use std::{fmt, time::Duration};

use portcullis_core::{ConnectionName, GrantId, Pattern, Principal, Verb};
use serde::{Deserialize, Serialize};

use crate::{Approval, AskWay, Condition, ConditionError, Facts};

/// A standing rule: these subjects may open this connection under these terms.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Its `name`, or made from what makes it this grant: stable over edits elsewhere.
    pub id: GrantId,
    /// For which connection.
    pub connection: ConnectionName,
    /// To whom: any of these.
    pub to: Vec<Subject>,
    /// Standing, on request, or on request with a person's yes.
    pub when: When,
    /// Whose yes opens it; there for [`When::Approved`] only, and always.
    pub approval: Option<Approval>,
    /// How a window is asked for.
    pub ask: AskWay,
    /// Whether asking needs a reason.
    pub reason_required: bool,
    /// How long a request waits for answers.
    pub answer_within: Duration,
    /// Who may open it at once with a reason, reviewed by the approvers afterwards; with [`When::Approved`] only. They may
    /// ask like everybody in `to`, too.
    pub break_glass: Vec<Subject>,
    /// How long a window lasts; always there but for [`When::Always`].
    pub lifetime: Option<Duration>,
    /// How long after a window's end the next may be opened.
    pub cooldown: Option<Duration>,
    /// How many windows a principal may open in 24 hours.
    pub max_per_day: Option<u32>,
    /// Whether sessions are recorded.
    pub recorded: bool,
    /// What may be done; never empty.
    pub scope: Vec<ScopeRule>,
    /// What must hold besides.
    pub condition: Option<Condition>,
    /// `file:line`.
    pub location: String,
}

impl Grant {
    /// Whether the grant's condition holds (true where it has none). An error is a no, and says why.
    pub fn applies(&self, facts: &Facts<'_>) -> Result<bool, ConditionError> {
        self.condition.as_ref().map_or(Ok(true), |condition| condition.holds(facts))
    }

    /// Whether `principal` is among `to`, or among those who may break glass.
    pub fn is_to(&self, principal: &Principal) -> bool {
        self.to.iter().any(|subject| subject.matches(principal)) || self.may_break_glass(principal)
    }

    /// Whether `principal` may open it at once, to be reviewed afterwards.
    pub fn may_break_glass(&self, principal: &Principal) -> bool {
        self.break_glass.iter().any(|subject| subject.matches(principal))
    }

    /// Whether a scope rule says `*:*`.
    pub fn is_everything(&self) -> bool {
        self.scope.iter().any(ScopeRule::is_everything)
    }
}

/// When a grant gives access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Whenever its subject connects.
    Always,
    /// Inside a window its subject asked for.
    Requested,
    /// Inside a window its subject asked for and a person agreed to.
    Approved,
}

impl When {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Requested => "requested",
            Self::Approved => "approved",
        }
    }
}

/// One of a grant's `to`. Resolved at check: a subject always says which provider's word counts, so that one provider
/// cannot state another's groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// `group:NAME`.
    Group(GroupSubject),
    /// `role:NAME`, as the token states it.
    Role(Claimed),
    /// `app:ID`: the application (client) id the token was given to.
    App(Claimed),
    /// `id:ID`: the principal's object id or subject.
    Id(Claimed),
}

/// A group, as written and as the providers know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupSubject {
    /// As written.
    pub name: String,
    /// (provider's name, the provider's id of the group); any of these.
    pub ids: Vec<(String, String)>,
}

/// A value one provider states.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claimed {
    /// The provider's name.
    pub provider: String,
    /// The value.
    pub value: String,
}

impl Subject {
    /// Whether the principal is meant.
    pub fn matches(&self, principal: &Principal) -> bool {
        match self {
            Self::Group(group) => group.ids.iter().any(|(provider, id)| {
                *provider == principal.provider && principal.groups.iter().any(|g| same_id(&g.id, id))
            }),
            Self::Role(role) => role.provider == principal.provider && principal.roles.contains(&role.value),
            Self::App(app) => {
                app.provider == principal.provider
                    && principal.application_id.as_deref().is_some_and(|id| same_id(id, &app.value))
            }
            Self::Id(id) => id.provider == principal.provider && same_id(&principal.object_id, &id.value),
        }
    }
}

/// GUIDs are compared without regard to case, everything else exactly.
pub(crate) fn same_id(a: &str, b: &str) -> bool {
    a == b || (is_guid(a) && a.eq_ignore_ascii_case(b))
}

/// Whether the text is a GUID in its usual form, 8-4-4-4-12 hex digits.
pub(crate) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, b)| if matches!(at, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}

/// As documents may write it: `group:NAME`, `role:PROVIDER/NAME`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(group) => write!(f, "group:{}", group.name),
            Self::Role(role) => write!(f, "role:{}/{}", role.provider, role.value),
            Self::App(app) => write!(f, "app:{}/{}", app.provider, app.value),
            Self::Id(id) => write!(f, "id:{}/{}", id.provider, id.value),
        }
    }
}

/// One `verb:pattern` of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScopeRule {
    /// The verb; `None` for `*`.
    pub verb: Option<Verb>,
    /// The resources.
    pub pattern: Pattern,
}

impl ScopeRule {
    /// Whether it covers doing `verb` to `resource`.
    pub fn covers(&self, verb: Verb, resource: &str) -> bool {
        self.verb.is_none_or(|own| own == verb) && crate::glob::matches(&self.pattern, resource)
    }

    /// Whether it is `*:*`.
    pub fn is_everything(&self) -> bool {
        self.verb.is_none() && self.pattern.is_everything()
    }
}

impl fmt::Display for ScopeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.verb.map_or("*", Verb::as_str), self.pattern)
    }
}

impl std::str::FromStr for ScopeRule {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (verb, pattern) = text.split_once(':').ok_or(InvalidScope::Shape)?;
        let verb = match verb {
            "*" => None,
            _ => Some(verb.parse().map_err(|_| InvalidScope::Verb(verb.to_owned()))?),
        };
        let pattern = pattern.parse().map_err(|_| InvalidScope::Pattern)?;
        Ok(Self { verb, pattern })
    }
}

/// The text is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    /// No colon.
    #[error("expected `verb:resource`, such as `read:*` or `write:public.orders`")]
    Shape,
    /// An unknown verb.
    #[error("`{0}` is not a verb: expected read, write, admin, execute, connect or `*`")]
    Verb(String),
    /// A bad pattern.
    #[error("the resource after `:` is 1 to 1024 characters without spaces; `*`, `**` and `?` match")]
    Pattern,
}
