//! PostgreSQL's values as text: what is text already, and the binary forms of the common types. Anything else is `\x` and hex
//! digits; nothing is guessed.
//!
//! **References**: the `*_send` functions of the server, `src/backend/utils/adt`; PostgreSQL documentation, 55.7, DataRow.

use crate::{Format, event::OwnedColumn};

mod binary;

/// The values of a DataRow's body; what does not fit together is told as one value of hex digits.
pub(crate) fn row(columns: &[OwnedColumn], body: &[u8]) -> Vec<Option<String>> {
    split(body).map_or_else(
        || vec![Some(hex(body))],
        |values| {
            let shape =
                |place: usize| columns.get(place).map_or((0, Format::Text), |c| (c.type_oid, c.format));
            let told = values.into_iter().enumerate().map(|(place, value)| {
                let (oid, format) = shape(place);
                value.map(|value| text(oid, format, value))
            });
            told.collect()
        },
    )
}

fn split(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let count = usize::try_from(i16::from_be_bytes(*count)).ok()?;
    let mut values = Vec::with_capacity(count.min(rest.len() / 4 + 1));
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        if length == -1 {
            values.push(None);
            rest = after;
            continue;
        }
        let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
        values.push(Some(value));
        rest = after;
    }
    rest.is_empty().then_some(values)
}

/// One value as text.
pub fn text(oid: u32, format: Format, value: &[u8]) -> String {
    let told = match format {
        Format::Text => std::str::from_utf8(value).ok().map(str::to_owned),
        Format::Binary => binary::text(oid, value, 0),
    };
    told.unwrap_or_else(|| hex(value))
}

/// Bytes as the server writes a `bytea`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('?'));
        }
    }
    text
}

/// A type's name, of those that every server has; the number of any other.
pub fn type_name(oid: u32) -> String {
    let name = TYPES.iter().find(|(known, _, _)| *known == oid).map(|(_, _, name)| (*name).to_owned());
    let array = || {
        TYPES.iter().find(|(_, array, _)| *array == oid && oid != 0).map(|(_, _, name)| format!("{name}[]"))
    };
    name.or_else(array).unwrap_or_else(|| oid.to_string())
}

/// A type, the type of its arrays (0: none), and its name: from `pg_type`.
const TYPES: &[(u32, u32, &str)] = &[
    (16, 1000, "bool"),
    (17, 1001, "bytea"),
    (18, 1002, "char"),
    (19, 1003, "name"),
    (20, 1016, "int8"),
    (21, 1005, "int2"),
    (23, 1007, "int4"),
    (25, 1009, "text"),
    (26, 1028, "oid"),
    (28, 1011, "xid"),
    (114, 199, "json"),
    (142, 143, "xml"),
    (650, 651, "cidr"),
    (700, 1021, "float4"),
    (701, 1022, "float8"),
    (705, 0, "unknown"),
    (790, 791, "money"),
    (829, 1040, "macaddr"),
    (869, 1041, "inet"),
    (1042, 1014, "bpchar"),
    (1043, 1015, "varchar"),
    (1082, 1182, "date"),
    (1083, 1183, "time"),
    (1114, 1115, "timestamp"),
    (1184, 1185, "timestamptz"),
    (1186, 1187, "interval"),
    (1266, 1270, "timetz"),
    (1700, 1231, "numeric"),
    (2249, 2287, "record"),
    (2278, 0, "void"),
    (2950, 2951, "uuid"),
    (3802, 3807, "jsonb"),
];

/// Whether `oid` is one of the arrays above.
fn is_array(oid: u32) -> bool {
    oid != 0 && TYPES.iter().any(|(_, array, _)| *array == oid)
}

#[cfg(test)]
mod tests;
