//! RowDescription (B) and DataRow (B): the shape and the values of a result.

use bytes::{BufMut, BytesMut};

use super::{
    Error,
    backend::tag,
    bind::{Format, Values},
    read::{Body, message, put_string, put_value},
};

/// One column of a RowDescription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its label in the result.
    pub name: &'a [u8],
    /// The table it comes from (`pg_class.oid`), or zero when it is not a plain column.
    pub table: u32,
    /// Its attribute number in that table, or zero.
    pub attribute: i16,
    /// Its type (`pg_type.oid`).
    pub type_oid: u32,
    /// The type's size; negative is variable.
    pub type_size: i16,
    /// The type's modifier.
    pub type_modifier: i32,
    /// How its values are written. Text also when a Describe of a statement does not know yet.
    pub format: Format,
}

impl<'a> Column<'a> {
    fn read(body: &mut Body<'a>) -> Result<Self, Error> {
        Ok(Self {
            name: body.string()?,
            table: body.u32()?,
            attribute: body.i16()?,
            type_oid: body.u32()?,
            type_size: body.i16()?,
            type_modifier: body.i32()?,
            format: match body.i16()? {
                0 => Format::Text,
                1 => Format::Binary,
                _ => return Err(body.invalid("format code")),
            },
        })
    }

    /// A text column of no table.
    pub const fn text(name: &'a [u8]) -> Self {
        Self {
            name,
            table: 0,
            attribute: 0,
            type_oid: 25,
            type_size: -1,
            type_modifier: -1,
            format: Format::Text,
        }
    }
}

/// The columns of a result, already checked to be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowDescription<'a> {
    count: u16,
    columns: &'a [u8],
}

impl<'a> RowDescription<'a> {
    const NAME: &'static str = "RowDescription";

    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new(Self::NAME, body);
        let count = body.count()?;
        let columns = body.rest();
        for _ in 0..count {
            Column::read(&mut body)?;
        }
        body.finish()?;
        Ok(Self { count, columns })
    }

    /// How many columns there are.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The columns in order.
    pub fn iter(&self) -> impl Iterator<Item = Column<'a>> + use<'a> {
        let mut body = Body::new(Self::NAME, self.columns);
        (0..self.count).map_while(move |_| Column::read(&mut body).ok())
    }

    /// Writes a message.
    pub fn encode(out: &mut BytesMut, columns: &[Column<'_>]) {
        message(out, tag::ROW_DESCRIPTION, |out| {
            out.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
            for column in columns {
                put_string(out, column.name);
                out.put_u32(column.table);
                out.put_i16(column.attribute);
                out.put_u32(column.type_oid);
                out.put_i16(column.type_size);
                out.put_i32(column.type_modifier);
                out.put_i16(i16::from(column.format == Format::Binary));
            }
        });
    }
}

/// The values of one row, already checked to be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRow<'a> {
    values: Values<'a>,
}

impl<'a> DataRow<'a> {
    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new("DataRow", body);
        let values = Values::read(&mut body)?;
        body.finish()?;
        Ok(Self { values })
    }

    /// The values; `None` is null.
    pub const fn values(&self) -> Values<'a> {
        self.values
    }

    /// Writes a message.
    pub fn encode<'v>(out: &mut BytesMut, values: impl ExactSizeIterator<Item = Option<&'v [u8]>>) {
        message(out, tag::DATA_ROW, |out| {
            out.put_u16(u16::try_from(values.len()).unwrap_or(u16::MAX));
            for value in values {
                put_value(out, value);
            }
        });
    }
}
