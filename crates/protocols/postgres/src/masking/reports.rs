//! ErrorResponse, NoticeResponse and NotificationResponse, rewritten: the server's texts quote values.
//!
//! In a transaction that touched a relation with masked columns the details of errors ("Failing row contains (…)", "Key (card)=(…)
//! already exists"), their context, and what code of the table's owner says (`RAISE`) are left out. Detectors look at every text.

use bytes::{BufMut, BytesMut};
use portcullis_mask::{Outcome, ValueKind, mask_value};

use super::{NotMasked, Tools, rows::finish};
use crate::codec::{
    ErrorFields,
    backend::{Notification, ParameterStatus, tag},
};

/// What the text of code of the table's owner is replaced by.
const HUSHED: &str = "the text of this message may hold values of masked columns and is not shown";

/// Whether the statement, or its transaction, touched a relation with masked columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Not at all.
    No,
    /// Yes: details are left out.
    Protected,
}

/// The message as it may be seen; nothing where it may be seen as it is.
///
/// # Errors
/// It would be too long.
pub(crate) fn report(
    tools: &Tools<'_>,
    message: u8,
    fields: &ErrorFields<'_>,
    touched: Touched,
) -> Result<Option<BytesMut>, NotMasked> {
    let of_owner = is_of_users_code(fields);
    let mut changed = false;
    let mut out = BytesMut::new();
    out.put_u8(message);
    out.put_u32(0);
    let mut scratch = Vec::new();
    for (field, text) in fields.iter() {
        if touched == Touched::Protected {
            match field {
                // Detail, hint of the same code, context, internal query and its position.
                b'D' | b'W' | b'q' | b'p' => {
                    changed = true;
                    continue;
                }
                b'H' if of_owner => {
                    changed = true;
                    continue;
                }
                b'M' if of_owner => {
                    changed = true;
                    put_field(&mut out, field, HUSHED.as_bytes());
                    continue;
                }
                _ => {}
            }
        }
        scratch.clear();
        let shown = match (field, tools.scanner) {
            (b'M' | b'D' | b'H' | b'W' | b'q', Some(scanner)) => {
                mask_value(ValueKind::Text, None, Some(scanner), tools.found, text, &mut scratch)
            }
            _ => Outcome::Unchanged,
        };
        match shown {
            Outcome::Unchanged => put_field(&mut out, field, text),
            Outcome::Written => {
                changed = true;
                put_field(&mut out, field, &scratch);
            }
            Outcome::Null => {
                changed = true;
                put_field(&mut out, field, b"****");
            }
        }
    }
    out.put_u8(0);
    finish(&mut out, 0)?;
    Ok(changed.then_some(out))
}

fn put_field(out: &mut BytesMut, field: u8, text: &[u8]) {
    out.put_u8(field);
    // A transform writes no zero byte; if one did, it would end the field.
    out.extend(text.iter().copied().filter(|byte| *byte != 0));
    out.put_u8(0);
}

/// Whether the text is made by code of users: `RAISE` in PL/pgSQL and its kin, whatever SQLSTATE it chose. The server's own
/// texts name the routine of its source that made them, and that routine is not one that raises for users.
fn is_of_users_code(fields: &ErrorFields<'_>) -> bool {
    let code = fields.code();
    let routine = fields.field(b'R').unwrap_or_default();
    let raised = matches!(
        routine,
        b"exec_stmt_raise" | b"exec_stmt_assert" | b"plperl_util_elog" | b"PLy_output" | b"pltcl_elog" | b""
    );
    raised || code.starts_with("P0") || matches!(code, "38000" | "39000")
}

/// The reported setting as it may be seen; nothing where it may be seen as it is.
pub(crate) fn parameter(tools: &Tools<'_>, status: ParameterStatus<'_>) -> Option<BytesMut> {
    let scanner = tools.scanner?;
    let mut scratch = Vec::new();
    let value: &[u8] =
        match mask_value(ValueKind::Text, None, Some(scanner), tools.found, status.value, &mut scratch) {
            Outcome::Unchanged => return None,
            Outcome::Written => &scratch,
            Outcome::Null => b"****",
        };
    let mut out = BytesMut::new();
    ParameterStatus { value, ..status }.encode(&mut out);
    Some(out)
}

/// The notification as it may be seen; nothing where it may be seen as it is.
pub(crate) fn notification(tools: &Tools<'_>, body: &[u8]) -> Option<BytesMut> {
    let scanner = tools.scanner?;
    let said = Notification::decode(body).ok()?;
    let mut scratch = Vec::new();
    let payload: &[u8] =
        match mask_value(ValueKind::Text, None, Some(scanner), tools.found, said.payload, &mut scratch) {
            Outcome::Unchanged => return None,
            Outcome::Written => &scratch,
            Outcome::Null => b"****",
        };
    let mut out = BytesMut::new();
    Notification { payload, ..said }.encode(&mut out);
    Some(out)
}

/// The result of a FunctionCall as it may be seen; nothing where it may be seen as it is. Its type is not known: what is found in it
/// makes it null.
pub(crate) fn function_result(tools: &Tools<'_>, value: Option<&[u8]>) -> Option<BytesMut> {
    let (scanner, value) = (tools.scanner?, value?);
    let mut scratch = Vec::new();
    match mask_value(ValueKind::Bytes, None, Some(scanner), tools.found, value, &mut scratch) {
        Outcome::Unchanged => None,
        Outcome::Written | Outcome::Null => {
            let mut out = BytesMut::new();
            out.put_u8(tag::FUNCTION_CALL_RESPONSE);
            out.put_u32(8);
            out.put_i32(-1);
            Some(out)
        }
    }
}
