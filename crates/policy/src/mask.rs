//! Masks: rules that change values in responses before anyone, the recorder included, sees them.

mod name;
mod session;

use std::{borrow::Cow, fmt};

use portcullis_core::{ConnectionName, Pattern, Principal, RuleRef};
use portcullis_mask::{Detector, Transform};
use serde::{Deserialize, Serialize};

pub use name::{ColumnPattern, FunctionPattern, InvalidName};
pub(crate) use session::Masks;
pub use session::{ColumnRules, SessionMasks};

use crate::{Connection, Subject, capability::Control, glob};

/// One mask. It has `columns`, or `detectors`, or both.
///
/// Whom it binds is said by the mask alone: no grant frees anyone from it.
#[derive(Clone, Debug)]
pub struct Mask {
    /// Its name, unique in the policy.
    pub name: String,
    /// `file:line`.
    pub location: String,
    /// The connections, by name pattern; empty: all.
    pub connections: Vec<Pattern>,
    /// The columns whose values are changed as a whole.
    pub columns: Vec<ColumnPattern>,
    /// What is looked for in every other text value.
    pub detectors: Vec<Detector>,
    /// What is shown in place of a value.
    pub transform: Transform,
    /// Whether statements may filter, join, sort or group by the columns.
    pub filter: Filter,
    /// What happens to code nobody sees into, in a database that has such a column.
    pub opaque: Opaque,
    /// Functions known not to give values of the columns away.
    pub trusted_functions: Vec<FunctionPattern>,
    /// Who is bound; empty: everybody.
    pub to: Vec<Subject>,
    /// Who is not bound, even if among `to`.
    pub except: Vec<Subject>,
}

/// Whether statements may compare with a masked column: what is not shown can be found out by asking often enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// They may.
    Allow,
    /// They may not.
    #[default]
    Deny,
}

impl Filter {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// What happens to code nobody sees into (DO, CALL, functions of users, statements that cannot be classified).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Opaque {
    /// It is refused.
    #[default]
    Refuse,
    /// It runs, and may give masked values away.
    Allow,
}

impl Opaque {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Allow => "allow",
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Mask {
    /// Whether it looks at a connection's responses at all.
    pub fn covers(&self, connection: &Connection) -> bool {
        self.names(&connection.name)
    }

    fn names(&self, connection: &ConnectionName) -> bool {
        self.connections.is_empty()
            || self.connections.iter().any(|pattern| glob::matches(pattern, connection.as_str()))
    }

    /// Whether it binds the principal: `to` names it, or nobody, and `except` does not.
    pub fn binds(&self, principal: &Principal) -> bool {
        let named = |subjects: &[Subject]| subjects.iter().any(|subject| subject.matches(principal));
        (self.to.is_empty() || named(&self.to)) && !named(&self.except)
    }

    /// Whether one of its column patterns means the column. Names as the catalog has them, without quotes.
    pub fn matches_column(&self, schema: &str, table: &str, column: &str) -> bool {
        self.columns.iter().any(|pattern| pattern.matches(schema, table, column))
    }

    /// Whether `trusted_functions` means the function. Names as the catalog has them, without quotes.
    pub fn trusts(&self, schema: &str, function: &str) -> bool {
        self.trusted_functions.iter().any(|pattern| pattern.matches(schema, function))
    }

    /// How much it hides: of several masks on one column the greatest wins, of equals the first.
    pub fn strength(&self) -> u8 {
        self.transform.strength()
    }

    /// The reference decisions carry.
    pub fn rule_ref(&self) -> RuleRef {
        RuleRef {
            kind: Cow::Borrowed("mask"),
            name: self.name.clone(),
            location: Some(self.location.clone()),
        }
    }

    /// What of the capability matrix it asks for.
    pub(crate) fn controls(&self) -> impl Iterator<Item = Control> {
        let columns = (!self.columns.is_empty()).then_some(Control::MaskColumns);
        let detect = (!self.detectors.is_empty()).then_some(Control::MaskDetect);
        columns.into_iter().chain(detect)
    }
}
