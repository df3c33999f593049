//! COPY data on its way to the client, rewritten: text, CSV and binary.
//!
//! The server sends each row in a CopyData message of its own ("messages sent from the backend will always correspond to single data
//! rows", 55.7); the binary format's header comes with the first, its trailer as the last. A header line of text and CSV is a row.
//! What does not read as that ends the session.
//!
//! **References**: PostgreSQL documentation, `COPY`, "File Formats"; `copyto.c` in the server.

use bytes::{BufMut, BytesMut};
use portcullis_mask::Outcome;
use portcullis_sql::{CopyFormat, CopyOut};

use super::{
    NotMasked, Tools,
    layout::Layout,
    rows::{finish, put, shown},
};
use crate::codec::backend::tag;

/// `PGCOPY\n\377\r\n\0`, then flags and the length of an extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Delimiters that stand in nothing that is looked for.
const PLAIN_DELIMITERS: &[u8] = b"\t,;|";

/// One COPY on its way.
#[derive(Debug)]
pub(crate) struct CopyRows {
    options: CopyOut,
    /// The header line, or the binary header, is still to come.
    header: bool,
    field: Vec<u8>,
}

impl CopyRows {
    pub(crate) fn new(options: CopyOut) -> Self {
        let header = options.format == CopyFormat::Binary || options.header;
        Self { options, header, field: Vec::new() }
    }

    /// Whether what may be found in the values of a row can be told from its bytes as they are: nothing in them is escaped but by
    /// a backslash, which a scanner takes for a sign that something may be.
    pub(crate) fn is_plain(&self, data: &[u8]) -> bool {
        !self.header
            && match self.options.format {
                CopyFormat::Binary => true,
                CopyFormat::Text => PLAIN_DELIMITERS.contains(&self.options.delimiter),
                CopyFormat::Csv => {
                    PLAIN_DELIMITERS.contains(&self.options.delimiter) && !data.contains(&self.options.quote)
                }
            }
    }

    /// Writes the data of one message as it may be seen, a whole message.
    ///
    /// # Errors
    /// It is not a row of the format.
    pub(crate) fn rewrite(
        &mut self,
        tools: &Tools<'_>,
        layout: &Layout,
        data: &[u8],
        scratch: &mut Vec<u8>,
        out: &mut BytesMut,
    ) -> Result<(), NotMasked> {
        let start = out.len();
        out.reserve(data.len() + 64);
        out.put_u8(tag::COPY_DATA);
        out.put_u32(0);
        match self.options.format {
            CopyFormat::Binary => self.binary(tools, layout, data, scratch, out)?,
            CopyFormat::Text | CopyFormat::Csv if std::mem::take(&mut self.header) => {
                out.extend_from_slice(data)
            }
            CopyFormat::Text => self.text(tools, layout, data, scratch, out)?,
            CopyFormat::Csv => self.csv(tools, layout, data, scratch, out)?,
        }
        finish(out, start)
    }

    fn binary(
        &mut self,
        tools: &Tools<'_>,
        layout: &Layout,
        mut data: &[u8],
        scratch: &mut Vec<u8>,
        out: &mut BytesMut,
    ) -> Result<(), NotMasked> {
        let odd = || NotMasked::unexpected("COPY data that is not of the binary format");
        if std::mem::take(&mut self.header) {
            let after = data.strip_prefix(SIGNATURE).ok_or_else(odd)?;
            let extension =
                after.get(4..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_be_bytes);
            let length = SIGNATURE.len() + 8 + extension.ok_or_else(odd)? as usize;
            let (header, rows) = data.split_at_checked(length).ok_or_else(odd)?;
            out.extend_from_slice(header);
            data = rows;
        }
        while let Some((count, mut rest)) = data.split_first_chunk() {
            let count = i16::from_be_bytes(*count);
            out.put_i16(count);
            if count >= 0 {
                if usize::try_from(count) != Ok(layout.columns.len()) {
                    return Err(NotMasked::unexpected("a row of COPY with another number of columns"));
                }
                for column in &layout.columns {
                    let (length, tail) = rest.split_first_chunk().ok_or_else(odd)?;
                    let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                        out.put_i32(-1);
                        rest = tail;
                        continue;
                    };
                    let (value, tail) = tail.split_at_checked(length).ok_or_else(odd)?;
                    put(tools, column, value, scratch, out);
                    rest = tail;
                }
            }
            data = rest;
        }
        if data.is_empty() { Ok(()) } else { Err(odd()) }
    }

    /// Fields between delimiters; a backslash takes the next byte with it.
    fn text(
        &mut self,
        tools: &Tools<'_>,
        layout: &Layout,
        data: &[u8],
        scratch: &mut Vec<u8>,
        out: &mut BytesMut,
    ) -> Result<(), NotMasked> {
        let (row, end) = line(data);
        let mut rest = Some(row);
        for (at, column) in layout.columns.iter().enumerate() {
            let raw = rest.ok_or_else(|| NotMasked::unexpected("a row of COPY with fewer columns"))?;
            let length = text_field(raw, self.options.delimiter);
            let (raw, after) = raw.split_at_checked(length).unwrap_or((raw, &[]));
            rest = after.split_first().map(|(_, next)| next);
            if at > 0 {
                out.put_u8(self.options.delimiter);
            }
            if raw == &*self.options.null && null_is_certain(raw) {
                out.extend_from_slice(raw);
                continue;
            }
            self.field.clear();
            unescape(raw, &mut self.field);
            match shown(tools, column, &self.field, scratch) {
                Outcome::Unchanged => out.extend_from_slice(raw),
                Outcome::Written => escape(scratch, self.options.delimiter, out),
                Outcome::Null => out.extend_from_slice(&self.options.null),
            }
        }
        // A table without columns has rows without fields.
        if rest.is_some_and(|rest| !(layout.columns.is_empty() && rest.is_empty())) {
            return Err(NotMasked::unexpected("a row of COPY with more columns"));
        }
        out.extend_from_slice(end);
        Ok(())
    }

    /// Fields between delimiters, quoted or not.
    fn csv(
        &mut self,
        tools: &Tools<'_>,
        layout: &Layout,
        data: &[u8],
        scratch: &mut Vec<u8>,
        out: &mut BytesMut,
    ) -> Result<(), NotMasked> {
        let (row, end) = line(data);
        let mut rest = Some(row);
        for (at, column) in layout.columns.iter().enumerate() {
            let all = rest.ok_or_else(|| NotMasked::unexpected("a row of COPY with fewer columns"))?;
            self.field.clear();
            let (length, quoted) = csv_field(all, &self.options, &mut self.field);
            let (raw, after) = all.split_at_checked(length).unwrap_or((all, &[]));
            rest = match after.split_first() {
                None => None,
                Some((byte, next)) if *byte == self.options.delimiter => Some(next),
                Some(_) => return Err(NotMasked::unexpected("COPY data that is not CSV")),
            };
            if at > 0 {
                out.put_u8(self.options.delimiter);
            }
            // Null is never quoted; a value that looks like it always is.
            if !quoted && raw == &*self.options.null {
                out.extend_from_slice(raw);
                continue;
            }
            match shown(tools, column, &self.field, scratch) {
                Outcome::Unchanged => out.extend_from_slice(raw),
                Outcome::Written => quote(scratch, &self.options, out),
                Outcome::Null => out.extend_from_slice(&self.options.null),
            }
        }
        if rest.is_some_and(|rest| !(layout.columns.is_empty() && rest.is_empty())) {
            return Err(NotMasked::unexpected("a row of COPY with more columns"));
        }
        out.extend_from_slice(end);
        Ok(())
    }
}

/// Whether no value is written like this null: a backslash in a value is doubled, anything else is as it is, so that the null
/// would be a question about values. Of the empty one it tells no more than that.
fn null_is_certain(null: &[u8]) -> bool {
    null.is_empty() || null.starts_with(b"\\")
}

/// The row and its line end.
fn line(data: &[u8]) -> (&[u8], &[u8]) {
    let without = data.strip_suffix(b"\n").unwrap_or(data);
    let without = without.strip_suffix(b"\r").unwrap_or(without);
    data.split_at_checked(without.len()).unwrap_or((data, &[]))
}

/// Bytes up to the next delimiter that no backslash precedes.
fn text_field(row: &[u8], delimiter: u8) -> usize {
    let mut bytes = row.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if *byte == b'\\' {
            bytes.next();
        } else if *byte == delimiter {
            return at;
        }
    }
    row.len()
}

fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        match bytes.next() {
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'v') => out.push(11),
            Some(other) => out.push(*other),
            None => out.push(b'\\'),
        }
    }
}

/// As `CopyAttributeOutText`.
fn escape(value: &[u8], delimiter: u8, out: &mut BytesMut) {
    for byte in value {
        let letter = match byte {
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            11 => b'v',
            other if *other == b'\\' || *other == delimiter => *other,
            other => {
                out.put_u8(*other);
                continue;
            }
        };
        out.put_u8(b'\\');
        out.put_u8(letter);
    }
}

/// The field at the start of `row`, its content in `field`: its length, and whether it is quoted.
fn csv_field(row: &[u8], options: &CopyOut, field: &mut Vec<u8>) -> (usize, bool) {
    if row.first() != Some(&options.quote) {
        let length = row.iter().position(|byte| *byte == options.delimiter).unwrap_or(row.len());
        field.extend_from_slice(row.get(..length).unwrap_or_default());
        return (length, false);
    }
    let mut at = 1;
    while let Some(byte) = row.get(at) {
        let next = row.get(at + 1);
        if *byte == options.escape
            && next.is_some_and(|next| *next == options.quote || *next == options.escape)
        {
            field.extend(next);
            at += 2;
        } else if *byte == options.quote {
            at += 1;
            break;
        } else {
            field.push(*byte);
            at += 1;
        }
    }
    (at, true)
}

/// As `CopyAttributeOutCSV`, always quoted: a masked value is never taken for null or for the end of data.
fn quote(value: &[u8], options: &CopyOut, out: &mut BytesMut) {
    out.put_u8(options.quote);
    for byte in value {
        if *byte == options.quote || *byte == options.escape {
            out.put_u8(options.escape);
        }
        out.put_u8(*byte);
    }
    out.put_u8(options.quote);
}

#[cfg(test)]
mod tests;
