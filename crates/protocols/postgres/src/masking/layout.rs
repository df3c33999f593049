//! [`Layout`]: what becomes of each column of a result, from the statement's lineage and the server's own description together.
//!
//! INVARIANT(lineage-and-metadata-agree): a result is passed on only where both say the same. The server names the table and
//! attribute of every plain column; what the analysis says of the column must match it, and a masked column that the analysis did
//! not expect ends the session.

use portcullis_mask::Transform;
use portcullis_sql::{MaskMap, MaskedOutput, OutputColumn};

use super::{Masks, NotMasked, values::Shape};
use crate::{
    codec::{bind::Format, rows::RowDescription},
    session::expected::Plan,
};

/// One column of a result.
#[derive(Clone, Debug)]
pub(crate) struct ColumnPlan {
    pub(crate) shape: Shape,
    pub(crate) format: Format,
    /// What is shown in place of every value.
    pub(crate) whole: Option<Transform>,
}

/// What becomes of a result's columns.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) columns: Vec<ColumnPlan>,
    /// Some column is masked as a whole: every row is written anew.
    pub(crate) rewrites: bool,
    /// Some column may hold what detectors look for.
    pub(crate) scans: bool,
    /// Some of it cannot be told from the bytes of the row: numbers in binary.
    pub(crate) scans_all: bool,
}

impl Layout {
    /// From a RowDescription and what the analysis expects.
    ///
    /// # Errors
    /// They do not agree.
    pub(crate) fn of_rows(
        masks: &Masks,
        plan: &Plan,
        described: &RowDescription<'_>,
    ) -> Result<Self, NotMasked> {
        let expected: Option<&[OutputColumn]> = match &plan.output {
            MaskedOutput::Clear => None,
            MaskedOutput::Rows(columns) => Some(columns),
            MaskedOutput::Copy(_) => return Err(NotMasked::unexpected("rows where COPY data was expected")),
        };
        if let Some(expected) = expected
            && expected.len() != described.len()
        {
            return Err(NotMasked::unexpected("another number of columns"));
        }
        let mut columns = Vec::with_capacity(described.len());
        for (at, column) in described.iter().enumerate() {
            if !plan.strangers && !masks.knows(column.table) {
                return Err(NotMasked::unexpected("a relation that the gateway does not know yet"));
            }
            let expected = expected.and_then(|columns| columns.get(at));
            let whole = agreed(&masks.map, expected, column.table, column.attribute)?
                .map(|mask| masks.transform(mask, is_column(expected)))
                .transpose()?;
            let shape = masks.shape(column.type_oid);
            columns.push(ColumnPlan { shape, format: column.format, whole });
        }
        Ok(Self::new(masks, columns))
    }

    /// Of COPY data, which the server does not describe: the types are the catalog's.
    ///
    /// # Errors
    /// The analysis expects rows.
    pub(crate) fn of_copy(
        masks: &Masks,
        output: &MaskedOutput,
        format: Format,
        columns: usize,
    ) -> Result<Self, NotMasked> {
        let expected: Option<&[OutputColumn]> = match output {
            MaskedOutput::Clear => None,
            MaskedOutput::Copy(columns) => Some(columns),
            MaskedOutput::Rows(_) => return Err(NotMasked::unexpected("COPY data where rows were expected")),
        };
        if let Some(expected) = expected
            && expected.len() != columns
        {
            return Err(NotMasked::unexpected("another number of columns"));
        }
        let plan = |at: usize| {
            let column = expected.and_then(|columns| columns.get(at));
            let mask = column.and_then(|column| column.mask.as_ref());
            let whole = mask.map(|mask| masks.transform(mask, is_column(column))).transpose()?;
            let of_type = column.and_then(|column| column.type_oid);
            let shape = match (of_type, format) {
                (Some(of_type), _) => masks.shape(of_type),
                // In text, every value of a type that is not known reads as text.
                (None, Format::Text) => Shape::Text,
                (None, Format::Binary) => Shape::Unknown,
            };
            Ok(ColumnPlan { shape, format, whole })
        };
        Ok(Self::new(masks, (0..columns).map(plan).collect::<Result<_, NotMasked>>()?))
    }

    fn new(masks: &Masks, columns: Vec<ColumnPlan>) -> Self {
        let rewrites = columns.iter().any(|column| column.whole.is_some());
        let open = |column: &ColumnPlan| column.whole.is_none() && column.shape.is_scanned();
        let scans = masks.rules.scanner().is_some() && columns.iter().any(open);
        let number = |column: &ColumnPlan| {
            column.format == Format::Binary && matches!(column.shape, Shape::Int8 | Shape::Numeric)
        };
        let scans_all = scans && columns.iter().any(|column| open(column) && number(column));
        Self { columns, rewrites, scans, scans_all }
    }

    /// Whether rows have to be looked at.
    pub(crate) fn looks(&self) -> bool {
        self.rewrites || self.scans
    }
}

/// Whether every value of an output column is one of a table's column: rows of several queries can hold the client's own.
fn is_column(expected: Option<&OutputColumn>) -> bool {
    expected.is_some_and(|column| column.origin.is_some())
}

/// The mask that both sides agree on.
fn agreed<'a>(
    map: &MaskMap,
    expected: Option<&'a OutputColumn>,
    table: u32,
    attribute: i16,
) -> Result<Option<&'a portcullis_sql::OutputMask>, NotMasked> {
    let described = map.column(table, attribute);
    let mask = expected.and_then(|column| column.mask.as_ref());
    if let Some(described) = described {
        let same = mask.is_some_and(|mask| mask.rule == described.rule && mask.whole >= described.whole);
        if !same {
            return Err(NotMasked::unexpected(format!(
                "`{}.{}.{}` where another column was expected",
                described.schema, described.table, described.column
            )));
        }
    }
    match expected.and_then(|column| column.origin) {
        Some(origin) if origin != (table, attribute) => {
            Err(NotMasked::unexpected("a column of another table than expected"))
        }
        _ => Ok(mask),
    }
}
