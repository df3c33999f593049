//! Why a statement is refused, in words for the client: which column, which rule, why, and what to write instead.

use super::{
    map::{MaskMap, MaskedColumn},
    scope::Tag,
};
use crate::names::{Name, resource_name};

/// A statement that could give a masked value away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskRefusal {
    /// Which of the text's statements.
    pub statement: usize,
    /// Index of the rule.
    pub rule: u16,
    /// The column, as `schema.table.column`.
    pub column: String,
    /// For the client: the column, the rule, why, and what to write instead.
    pub reason: String,
}

impl std::fmt::Display for MaskRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for MaskRefusal {}

/// Why a query is not followed to its end.
#[derive(Clone, Debug)]
pub(super) enum Stop<'a> {
    Refused(Tag<'a>, Why),
    /// A form that is not known; what "it" is.
    NotUnderstood(&'static str),
    /// No column has that name.
    NotFound(String),
    /// The name can mean a masked relation and another one.
    Several(&'a Name, &'a MaskedColumn),
    /// The catalog does not know the relation.
    Unknown(&'a Name),
    /// A recursive CTE is met before anything is known of it.
    NotYet,
}

/// What is wrong with the use of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Computed,
    Row,
    Written,
    Compared,
    /// The rule allows comparisons, but not of what is computed.
    ComparedWhole,
    /// By operators or functions of users.
    ComparedByUsers,
    Merged,
    Ambiguous,
    /// It is not known which place the column has.
    Places,
}

impl Why {
    fn sentence(self) -> &'static str {
        match self {
            Self::Computed => {
                "nothing may be computed from it here (functions, operators, casts, aggregates but `count`): select the column by itself, or leave it out"
            }
            Self::Row => "it cannot be masked inside a whole row: name the columns instead",
            Self::Written => "its values must not be written anywhere else: leave the column out",
            Self::Compared => {
                "the rule does not allow it in conditions, joins, grouping or ordering: filter, join and order by other columns"
            }
            Self::ComparedWhole => {
                "it is computed by a view or the table, or masked by several rules, and cannot be compared: use the column it comes from"
            }
            Self::ComparedByUsers => {
                "it is compared with a function or operator that somebody defined in this database: use one of the server's own, as in `column OPERATOR(pg_catalog.=) value`"
            }
            Self::Merged => {
                "a column merged by USING or NATURAL is not followed: name it with its table, as in `t.column`"
            }
            Self::Ambiguous => {
                "the name can mean this column or another one: write it with its table, as in `t.column`"
            }
            Self::Places => "it is not known which output column it becomes: name the columns instead of `*`",
        }
    }
}

/// A refusal about a column.
pub(super) fn of_column(
    masks: &MaskMap,
    statement: usize,
    column: &MaskedColumn,
    sentence: &str,
) -> Box<MaskRefusal> {
    let named =
        format!("{}.{}", resource_name(&column.schema, &column.table), crate::names::part(&column.column));
    let rule = masks.rules.get(usize::from(column.rule)).map_or("?", |rule| &rule.name);
    let reason = format!("the column `{named}` is masked by the rule `{rule}`: {sentence}");
    Box::new(MaskRefusal { statement, rule: column.rule, column: named, reason })
}

impl Stop<'_> {
    /// In words. `touched` is the masked column that made the statement be looked at.
    pub(super) fn refusal(
        &self,
        masks: &MaskMap,
        statement: usize,
        touched: &MaskedColumn,
    ) -> Box<MaskRefusal> {
        let about = |sentence: String| of_column(masks, statement, touched, &sentence);
        match self {
            Self::Refused(tag, why) => of_column(masks, statement, tag.column, why.sentence()),
            Self::Several(name, column) => {
                let with_schema = resource_name(&column.schema, &column.table);
                let sentence = format!(
                    "`{name}` can mean its table or another relation here: write it with its schema, as in `{with_schema}`"
                );
                of_column(masks, statement, column, &sentence)
            }
            Self::NotUnderstood(what) => about(format!(
                "the statement cannot be followed, because {what}: write it in simpler parts, or without the masked table"
            )),
            Self::NotFound(name) => about(format!(
                "`{name}` was not found among the columns of the statement: name columns with their table, as in `t.column`"
            )),
            Self::Unknown(name) => about(format!(
                "the statement also names `{name}`, which the gateway does not know (yet): write it with its schema, or use two statements"
            )),
            Self::NotYet => {
                about("a recursive query of it was not understood: write it in simpler parts".to_owned())
            }
        }
    }
}
