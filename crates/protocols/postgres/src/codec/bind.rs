//! Bind (F) message: names, parameter formats, parameter values, result formats. Its values may be of any size.
//!
//! [`Bind`] borrows from a whole body; [`BindScanner`] walks a body that arrives in chunks, checks its structure as
//! strictly, and hands out value bytes as they pass, so that a relay can hash them without keeping them.

use bytes::{BufMut, BytesMut};

use super::{
    Error, frontend, limits,
    read::{Body, message, put_string, put_value},
};

const NAME: &str = "Bind";

/// Format codes as they stand in a message. An empty list means all text; one code counts for every value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats<'a> {
    codes: &'a [u8],
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As text.
    Text,
    /// In the type's binary form.
    Binary,
}

impl<'a> Formats<'a> {
    pub(super) const fn new(codes: &'a [u8]) -> Self {
        Self { codes }
    }

    /// How many codes are given.
    pub const fn len(&self) -> usize {
        self.codes.len() / 2
    }

    /// Whether none is given.
    pub const fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// The codes as given.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Format> + use<'a> {
        self.codes
            .chunks_exact(2)
            .map(|code| if matches!(code, [0, 1]) { Format::Binary } else { Format::Text })
    }

    /// The format of the value at `index`, by the rules for none and one.
    pub fn of(&self, index: usize) -> Format {
        let given = if self.len() == 1 { self.iter().next() } else { self.iter().nth(index) };
        given.unwrap_or(Format::Text)
    }

    /// The codes as they stand in the message: two bytes each, without their count.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.codes
    }
}

/// A list of values as it stands in a message, already checked to be whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    pub(super) fn read(body: &mut Body<'a>) -> Result<Self, Error> {
        let count = body.count()?;
        let start = body.rest();
        for _ in 0..count {
            body.value()?;
        }
        let length = start.len() - body.rest().len();
        Ok(Self { count, bytes: start.get(..length).unwrap_or_default() })
    }

    /// How many values there are.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values in order; `None` is null.
    pub fn iter(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut body = Body::new("values", self.bytes);
        (0..self.count).map_while(move |_| body.value().ok())
    }

    /// The values as they stand in the message, without their count.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A whole Bind message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal to make; empty is the unnamed one.
    pub portal: &'a [u8],
    /// The prepared statement it is made from; empty is the unnamed one.
    pub statement: &'a [u8],
    /// How the values are written.
    pub formats: Formats<'a>,
    /// The parameters.
    pub values: Values<'a>,
    /// How the result columns are wanted.
    pub result_formats: Formats<'a>,
}

impl<'a> Bind<'a> {
    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new(NAME, body);
        let portal = name(&mut body)?;
        let statement = name(&mut body)?;
        let formats = body.formats()?;
        let values = Values::read(&mut body)?;
        check_formats(formats.len(), values.len())?;
        let result_formats = body.formats()?;
        body.finish()?;
        Ok(Self { portal, statement, formats, values, result_formats })
    }

    /// Writes a message from its parts.
    pub fn encode(
        out: &mut BytesMut,
        portal: &[u8],
        statement: &[u8],
        formats: &[Format],
        values: &[Option<&[u8]>],
        result_formats: &[Format],
    ) {
        message(out, frontend::tag::BIND, |out| {
            put_string(out, portal);
            put_string(out, statement);
            put_formats(out, formats);
            out.put_u16(u16::try_from(values.len()).unwrap_or(u16::MAX));
            for value in values {
                put_value(out, *value);
            }
            put_formats(out, result_formats);
        });
    }
}

pub(super) fn put_formats(out: &mut BytesMut, formats: &[Format]) {
    out.put_u16(u16::try_from(formats.len()).unwrap_or(u16::MAX));
    for format in formats {
        out.put_i16(i16::from(*format == Format::Binary));
    }
}

fn name<'a>(body: &mut Body<'a>) -> Result<&'a [u8], Error> {
    let name = body.string()?;
    if name.len() > limits::NAME { Err(body.invalid("name")) } else { Ok(name) }
}

// As `exec_bind_message`: "bind message has %d parameter formats but %d parameters".
const fn check_formats(formats: usize, values: usize) -> Result<(), Error> {
    if formats > 1 && formats != values {
        return Err(Error::Invalid { message: NAME, field: "number of parameter formats" });
    }
    Ok(())
}

/// What a [`BindScanner`] sees of the values, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A value begins: its place, and its length or `None` for null.
    Value {
        /// Counted from zero.
        index: u16,
        /// Bytes that follow in [`Piece::Bytes`].
        length: Option<u32>,
    },
    /// Some bytes of the value that began last.
    Bytes(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
enum At {
    Portal,
    Statement,
    FormatCount,
    Formats { left: u16 },
    ValueCount,
    ValueLength { index: u16 },
    Value { index: u16, left: u32 },
    ResultCount,
    ResultFormats { left: u16 },
    End,
}

/// Walks a Bind body that arrives in chunks of any size. Keeps the two names (bounded by [`limits::NAME`]) and nothing else.
#[derive(Debug)]
pub struct BindScanner {
    at: At,
    left: usize,
    field: [u8; 4],
    filled: usize,
    portal: Vec<u8>,
    statement: Vec<u8>,
    formats: u16,
    values: u16,
}

impl BindScanner {
    /// A scanner for a body of `length` bytes, as its header said.
    pub const fn new(length: usize) -> Self {
        Self {
            at: At::Portal,
            left: length,
            field: [0; 4],
            filled: 0,
            portal: Vec::new(),
            statement: Vec::new(),
            formats: 0,
            values: 0,
        }
    }

    /// Bytes of the body that have not been fed.
    pub const fn left(&self) -> usize {
        self.left
    }

    /// The portal's name, once the walk is past both names.
    pub fn portal(&self) -> Option<&[u8]> {
        self.named().then_some(self.portal.as_slice())
    }

    /// The statement's name, once the walk is past both names.
    pub fn statement(&self) -> Option<&[u8]> {
        self.named().then_some(self.statement.as_slice())
    }

    const fn named(&self) -> bool {
        !matches!(self.at, At::Portal | At::Statement)
    }

    /// How many parameters the message has, once the walk is past their count.
    pub const fn values(&self) -> Option<u16> {
        match self.at {
            At::Portal | At::Statement | At::FormatCount | At::Formats { .. } | At::ValueCount => None,
            _ => Some(self.values),
        }
    }

    /// Walks over the next bytes of the body. After an error the scanner must not be used again.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Piece<'_>)) -> Result<(), Error> {
        if chunk.len() > self.left {
            return Err(Error::Trailing { message: NAME, extra: chunk.len() - self.left });
        }
        self.left -= chunk.len();
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = self.step(rest, &mut each)?;
        }
        Ok(())
    }

    /// Ends the walk: every byte was fed and the message ended with its last one.
    pub fn finish(self) -> Result<(), Error> {
        if self.left == 0 && matches!(self.at, At::End) {
            Ok(())
        } else {
            Err(Error::Truncated { message: NAME })
        }
    }

    /// One step: takes some bytes, at least one, and returns the rest.
    fn step<'a>(&mut self, rest: &'a [u8], each: &mut impl FnMut(Piece<'_>)) -> Result<&'a [u8], Error> {
        match self.at {
            At::Portal => {
                let (done, rest) = take_name(&mut self.portal, rest)?;
                if done {
                    self.at = At::Statement;
                }
                Ok(rest)
            }
            At::Statement => {
                let (done, rest) = take_name(&mut self.statement, rest)?;
                if done {
                    self.at = At::FormatCount;
                }
                Ok(rest)
            }
            At::Value { index, left } => {
                let take = rest.len().min(left as usize);
                let (bytes, rest) = rest.split_at_checked(take).unwrap_or((rest, &[]));
                each(Piece::Bytes(bytes));
                // `take` is at most `left`, so that it fits.
                let left = left - u32::try_from(take).unwrap_or(left);
                self.at = if left == 0 { self.after_value(index) } else { At::Value { index, left } };
                Ok(rest)
            }
            At::ValueLength { index } => {
                let (field, rest) = self.take_field::<4>(rest);
                if let Some(field) = field {
                    let length = match i32::from_be_bytes(field) {
                        -1 => None,
                        length => Some(u32::try_from(length).map_err(|_| invalid("value length"))?),
                    };
                    // Refused here, not when the bytes run out: nothing of a value that cannot be whole is handed out.
                    if length.is_some_and(|length| length as usize > self.left + rest.len()) {
                        return Err(Error::Truncated { message: NAME });
                    }
                    each(Piece::Value { index, length });
                    self.at = match length {
                        Some(left @ 1..) => At::Value { index, left },
                        Some(0) | None => self.after_value(index),
                    };
                }
                Ok(rest)
            }
            At::End => Err(Error::Trailing { message: NAME, extra: rest.len() + self.left }),
            At::FormatCount
            | At::Formats { .. }
            | At::ValueCount
            | At::ResultCount
            | At::ResultFormats { .. } => {
                let (field, rest) = self.take_field::<2>(rest);
                if let Some(field) = field {
                    self.at = self.after_number(field)?;
                }
                Ok(rest)
            }
        }
    }

    fn after_number(&mut self, field: [u8; 2]) -> Result<At, Error> {
        let number = u16::from_be_bytes(field);
        Ok(match self.at {
            At::FormatCount => {
                self.formats = number;
                if number == 0 { At::ValueCount } else { At::Formats { left: number } }
            }
            At::Formats { left } => {
                check_code(number)?;
                if left <= 1 { At::ValueCount } else { At::Formats { left: left - 1 } }
            }
            At::ValueCount => {
                self.values = number;
                check_formats(usize::from(self.formats), usize::from(number))?;
                if number == 0 { At::ResultCount } else { At::ValueLength { index: 0 } }
            }
            At::ResultCount if number == 0 => At::End,
            At::ResultCount => At::ResultFormats { left: number },
            At::ResultFormats { left } => {
                check_code(number)?;
                if left <= 1 { At::End } else { At::ResultFormats { left: left - 1 } }
            }
            other => other,
        })
    }

    const fn after_value(&self, index: u16) -> At {
        if index + 1 < self.values { At::ValueLength { index: index + 1 } } else { At::ResultCount }
    }

    /// Gathers a number of `N` bytes, which may stand across chunks; `None` until it is whole.
    fn take_field<'a, const N: usize>(&mut self, mut rest: &'a [u8]) -> (Option<[u8; N]>, &'a [u8]) {
        while let Some(slot) = self.field.get_mut(self.filled).filter(|_| self.filled < N) {
            let Some((byte, after)) = rest.split_first() else { return (None, rest) };
            *slot = *byte;
            self.filled += 1;
            rest = after;
        }
        self.filled = 0;
        (self.field.first_chunk().copied(), rest)
    }
}

const fn invalid(field: &'static str) -> Error {
    Error::Invalid { message: NAME, field }
}

const fn check_code(code: u16) -> Result<(), Error> {
    if code > 1 { Err(invalid("format code")) } else { Ok(()) }
}

/// Adds to `name` up to the terminating zero; whether it was there, and what follows.
fn take_name<'a>(name: &mut Vec<u8>, chunk: &'a [u8]) -> Result<(bool, &'a [u8]), Error> {
    let end = chunk.iter().position(|byte| *byte == 0);
    let (text, rest) = chunk.split_at_checked(end.unwrap_or(chunk.len())).unwrap_or((chunk, &[]));
    if name.len() + text.len() > limits::NAME {
        return Err(invalid("name"));
    }
    name.extend_from_slice(text);
    Ok((end.is_some(), rest.get(1..).unwrap_or_default()))
}
