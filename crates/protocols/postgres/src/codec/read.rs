//! A reader over one body, and the writer of one message.

use bytes::{BufMut, BytesMut};

use super::Error;

/// What is left of a body. Every step names the message in its error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a> {
    message: &'static str,
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    pub const fn new(message: &'static str, rest: &'a [u8]) -> Self {
        Self { message, rest }
    }

    const fn truncated(&self) -> Error {
        Error::Truncated { message: self.message }
    }

    pub const fn invalid(&self, field: &'static str) -> Error {
        Error::Invalid { message: self.message, field }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(self.truncated())?;
        self.rest = rest;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        self.chunk().map(|[byte]| byte)
    }

    pub fn i16(&mut self) -> Result<i16, Error> {
        self.chunk().map(i16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        self.chunk().map(u32::from_be_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, Error> {
        self.chunk().map(i32::from_be_bytes)
    }

    /// A count of things. Unsigned: since PostgreSQL 14 there may be 65,535 of them.
    pub fn count(&mut self) -> Result<u16, Error> {
        self.chunk().map(u16::from_be_bytes)
    }

    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(self.truncated())?;
        self.rest = rest;
        Ok(head)
    }

    /// A string up to its terminating zero, which is not part of it.
    pub fn string(&mut self) -> Result<&'a [u8], Error> {
        let end = memchr(self.rest).ok_or(self.truncated())?;
        let text = self.bytes(end)?;
        self.u8()?;
        Ok(text)
    }

    /// A value with its length before it; -1 is null, anything else below zero is an error.
    pub fn value(&mut self) -> Result<Option<&'a [u8]>, Error> {
        match self.i32()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => self.bytes(length).map(Some),
                Err(_) => Err(self.invalid("value length")),
            },
        }
    }

    /// Format codes: 0 for text, 1 for binary.
    pub fn formats(&mut self) -> Result<super::bind::Formats<'a>, Error> {
        let count = self.count()?;
        let codes = self.bytes(usize::from(count) * 2)?;
        if codes.chunks_exact(2).any(|code| !matches!(code, [0, 0 | 1])) {
            return Err(self.invalid("format code"));
        }
        Ok(super::bind::Formats::new(codes))
    }

    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Everything that is left.
    pub const fn take_rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    pub const fn finish(self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(Error::Trailing { message: self.message, extra }),
        }
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0)
}

/// Writes one message: tag, length, then what `body` puts.
pub(super) fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    untagged(out, body);
}

/// Writes one message of the kind that has no tag.
pub(super) fn untagged(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Writes a string with its terminating zero. A zero inside would end it early and let its rest be read as other fields,
/// so that it is left out.
pub(super) fn put_string(out: &mut BytesMut, text: &[u8]) {
    if memchr(text).is_none() {
        out.put_slice(text);
    } else {
        out.extend(text.iter().copied().filter(|byte| *byte != 0));
    }
    out.put_u8(0);
}

/// Writes a value with its length before it.
pub(super) fn put_value(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        None => out.put_i32(-1),
        Some(value) => {
            out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
            out.put_slice(value);
        }
    }
}
