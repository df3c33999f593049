//! DataRow messages, rewritten. A row that needs no look is not touched; one in which nothing is found is not copied.

use bytes::{BufMut, BytesMut};
use portcullis_mask::{Outcome, Scanner};

use super::{
    NotMasked, Tools,
    layout::{ColumnPlan, Layout},
    values,
};
use crate::codec::{backend::tag, rows::DataRow};

/// Writes the row as it may be seen, a whole message. `scratch` is reused between rows.
///
/// # Errors
/// The row is not what its description said.
pub(crate) fn rewrite(
    tools: &Tools<'_>,
    layout: &Layout,
    body: &[u8],
    scratch: &mut Vec<u8>,
    out: &mut BytesMut,
) -> Result<(), NotMasked> {
    let row = DataRow::decode(body).map_err(|error| NotMasked::unexpected(error.to_string()))?;
    let values = row.values();
    if values.len() != layout.columns.len() {
        return Err(NotMasked::unexpected("a row with another number of columns"));
    }
    let start = out.len();
    out.reserve(body.len() + 64);
    out.put_u8(tag::DATA_ROW);
    out.put_u32(0);
    out.put_u16(u16::try_from(values.len()).unwrap_or(u16::MAX));
    for (value, column) in values.iter().zip(&layout.columns) {
        match value {
            None => out.put_i32(-1),
            Some(value) => put(tools, column, value, scratch, out),
        }
    }
    finish(out, start)
}

/// Whether something may be found in a row: only values that are looked at count. A row that does not read as one may hold anything.
pub(crate) fn may_hit(scanner: &Scanner, layout: &Layout, body: &[u8]) -> bool {
    let Some((_count, mut rest)) = body.split_first_chunk::<2>() else { return true };
    for column in &layout.columns {
        let Some((length, tail)) = rest.split_first_chunk() else { return true };
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            rest = tail;
            continue;
        };
        let Some((value, tail)) = tail.split_at_checked(length) else { return true };
        if column.shape.is_scanned() && scanner.may_hit(value) {
            return true;
        }
        rest = tail;
    }
    !rest.is_empty()
}

/// Fills in the length of the message that began at `start`.
pub(super) fn finish(out: &mut BytesMut, start: usize) -> Result<(), NotMasked> {
    let length = u32::try_from(out.len() - start - 1).map_err(|_| NotMasked::TooLong)?;
    if let Some(place) = out.get_mut(start + 1..start + 5) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// One value with its length before it.
pub(super) fn put(
    tools: &Tools<'_>,
    column: &ColumnPlan,
    value: &[u8],
    scratch: &mut Vec<u8>,
    out: &mut BytesMut,
) {
    match shown(tools, column, value, scratch) {
        Outcome::Unchanged => {
            out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
            out.extend_from_slice(value);
        }
        Outcome::Written => {
            out.put_i32(i32::try_from(scratch.len()).unwrap_or(i32::MAX));
            out.extend_from_slice(scratch);
        }
        Outcome::Null => out.put_i32(-1),
    }
}

/// What is shown of a value; what is written stands in `scratch`.
pub(super) fn shown(tools: &Tools<'_>, column: &ColumnPlan, value: &[u8], scratch: &mut Vec<u8>) -> Outcome {
    scratch.clear();
    match (&column.whole, tools.scanner) {
        (Some(transform), _) => {
            values::hide(column.shape, column.format, transform, tools.key, value, scratch)
        }
        (None, Some(scanner)) if column.shape.is_scanned() => {
            values::hide_found(column.shape, column.format, scanner, tools.found, value, scratch)
        }
        (None, _) => Outcome::Unchanged,
    }
}
