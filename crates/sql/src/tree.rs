//! pg_query's tree as one plain shape, made by running its own `Serialize` through a serializer: a node cannot be forgotten,
//! because nothing here knows one by name. What a newer grammar adds is in the tree and is walked.

use std::fmt;

use serde::ser::{self, Serialize, Serializer};

/// Nesting past this is refused. PostgreSQL's own guard stops the parser at a few thousand levels, this is behind it.
const MAX_DEPTH: usize = 20_000;

/// A value in the tree. Defaults (null, zero, false, empty) are left out of [`Node::fields`].
#[derive(Debug)]
pub(crate) enum Value {
    Absent,
    Bool(bool),
    Int(i64),
    Text(Box<str>),
    List(Vec<Value>),
    Node(Box<Node>),
}

/// One node: PostgreSQL's name for it and its fields.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: &'static str,
    pub(crate) fields: Vec<(&'static str, Value)>,
}

impl Value {
    fn is_default(&self) -> bool {
        match self {
            Self::Absent | Self::Bool(false) | Self::Int(0) => true,
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            _ => false,
        }
    }

    pub(crate) fn node(&self) -> Option<&Node> {
        match self {
            Self::Node(node) => Some(node),
            _ => None,
        }
    }

    /// The text of a `String` node.
    pub(crate) fn string(&self) -> Option<&str> {
        match self {
            Self::Node(node) if node.kind == "String" => Some(node.text("sval")),
            _ => None,
        }
    }

    /// The items of a list or of a `List` node; nothing for everything else.
    pub(crate) fn items(&self) -> &[Value] {
        match self {
            Self::List(items) => items,
            Self::Node(node) if node.kind == "List" => node.list("items"),
            _ => &[],
        }
    }
}

impl Node {
    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.fields.iter().find(|(name, _)| *name == field).map(|(_, value)| value)
    }

    pub(crate) fn child(&self, field: &str) -> Option<&Node> {
        self.get(field)?.node()
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        match self.get(field) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    pub(crate) fn list(&self, field: &str) -> &[Value] {
        self.get(field).map_or(&[], Value::items)
    }

    pub(crate) fn int(&self, field: &str) -> i64 {
        match self.get(field) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        }
    }

    pub(crate) fn flag(&self, field: &str) -> bool {
        matches!(self.get(field), Some(Value::Bool(true)))
    }

    /// Whether `test` holds for this node or any below it.
    pub(crate) fn any(&self, test: &dyn Fn(&Node) -> bool) -> bool {
        test(self) || self.fields.iter().any(|(_, value)| value.any(test))
    }
}

impl Value {
    fn any(&self, test: &dyn Fn(&Node) -> bool) -> bool {
        match self {
            Self::List(items) => items.iter().any(|item| item.any(test)),
            Self::Node(node) => node.any(test),
            _ => false,
        }
    }
}

/// The tree of anything that serialises. Recursive: only on a thread with a big stack.
pub(crate) fn tree_of(of: &impl Serialize) -> Result<Value, TooDeep> {
    of.serialize(Builder { depth: 0 })
}

/// Nested past [`MAX_DEPTH`], or of a shape that pg_query's messages do not have.
#[derive(Debug)]
pub(crate) struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nested too deeply")
    }
}

impl std::error::Error for TooDeep {}

impl ser::Error for TooDeep {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

#[derive(Clone, Copy)]
struct Builder {
    depth: usize,
}

impl Builder {
    fn deeper(self) -> Result<Self, TooDeep> {
        if self.depth >= MAX_DEPTH { Err(TooDeep) } else { Ok(Self { depth: self.depth + 1 }) }
    }
}

struct ListBuilder {
    items: Vec<Value>,
    inner: Builder,
}

struct NodeBuilder {
    kind: &'static str,
    fields: Vec<(&'static str, Value)>,
    inner: Builder,
}

impl ser::SerializeStruct for NodeBuilder {
    type Ok = Value;
    type Error = TooDeep;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), TooDeep> {
        if matches!(key, "location" | "stmt_location" | "stmt_len" | "name_location") {
            return Ok(());
        }
        let value = value.serialize(self.inner)?;
        if !value.is_default() {
            self.fields.push((key, value));
        }
        Ok(())
    }

    /// The wrapper `Node` gives way to what it wraps.
    fn end(mut self) -> Result<Value, TooDeep> {
        if self.kind == "Node" {
            return Ok(self.fields.pop().map_or(Value::Absent, |(_, value)| value));
        }
        Ok(Value::Node(Box::new(Node { kind: self.kind, fields: self.fields })))
    }
}

impl ser::SerializeSeq for ListBuilder {
    type Ok = Value;
    type Error = TooDeep;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TooDeep> {
        self.items.push(value.serialize(self.inner)?);
        Ok(())
    }

    fn end(self) -> Result<Value, TooDeep> {
        Ok(Value::List(self.items))
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, number: $type) -> Result<Value, TooDeep> {
            Ok(Value::Int(number.into()))
        })*
    };
}

impl Serializer for Builder {
    type Ok = Value;
    type Error = TooDeep;
    type SerializeSeq = ListBuilder;
    type SerializeTuple = ser::Impossible<Value, TooDeep>;
    type SerializeTupleStruct = ser::Impossible<Value, TooDeep>;
    type SerializeTupleVariant = ser::Impossible<Value, TooDeep>;
    type SerializeMap = ser::Impossible<Value, TooDeep>;
    type SerializeStruct = NodeBuilder;
    type SerializeStructVariant = ser::Impossible<Value, TooDeep>;

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32);

    fn serialize_bool(self, flag: bool) -> Result<Value, TooDeep> {
        Ok(Value::Bool(flag))
    }

    fn serialize_u64(self, number: u64) -> Result<Value, TooDeep> {
        Ok(Value::Int(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    /// Costs and the like: nothing here looks at one.
    fn serialize_f32(self, _: f32) -> Result<Value, TooDeep> {
        Ok(Value::Absent)
    }

    fn serialize_f64(self, _: f64) -> Result<Value, TooDeep> {
        Ok(Value::Absent)
    }

    fn serialize_char(self, c: char) -> Result<Value, TooDeep> {
        Ok(Value::Text(c.to_string().into()))
    }

    fn serialize_str(self, text: &str) -> Result<Value, TooDeep> {
        Ok(Value::Text(text.into()))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Value, TooDeep> {
        Err(TooDeep)
    }

    fn serialize_none(self) -> Result<Value, TooDeep> {
        Ok(Value::Absent)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, TooDeep> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, TooDeep> {
        Ok(Value::Absent)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, TooDeep> {
        Ok(Value::Absent)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, TooDeep> {
        Ok(Value::Text(variant.into()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, TooDeep> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Value, TooDeep> {
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<ListBuilder, TooDeep> {
        Ok(ListBuilder { items: Vec::with_capacity(length.unwrap_or(0).min(1_024)), inner: self.deeper()? })
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, TooDeep> {
        Err(TooDeep)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, TooDeep> {
        Err(TooDeep)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, TooDeep> {
        Err(TooDeep)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, TooDeep> {
        Err(TooDeep)
    }

    fn serialize_struct(self, kind: &'static str, _: usize) -> Result<NodeBuilder, TooDeep> {
        Ok(NodeBuilder { kind, fields: Vec::new(), inner: self.deeper()? })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, TooDeep> {
        Err(TooDeep)
    }
}
