//! `COPY … TO STDOUT`: how its data is written.

use crate::{
    tree::{Node, Value},
    walk::constant,
};

/// How `COPY … TO STDOUT` writes its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOut {
    /// The format.
    pub format: CopyFormat,
    /// Between values; text and CSV.
    pub delimiter: u8,
    /// What stands for null; text and CSV.
    pub null: Box<[u8]>,
    /// What quotes a value; CSV.
    pub quote: u8,
    /// What stands before a quote inside quotes; CSV.
    pub escape: u8,
    /// The first line names the columns.
    pub header: bool,
    /// `FORCE_QUOTE`: the columns, or `*`.
    pub force_quote: Vec<Box<str>>,
    /// `ENCODING`, where given.
    pub encoding: Option<Box<str>>,
    /// An option that is not known, or one with a value that is not understood: the data cannot be read.
    pub odd: Option<Box<str>>,
}

/// `FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// Lines of values with backslash escapes.
    Text,
    /// Quoted values.
    Csv,
    /// The binary format.
    Binary,
}

impl CopyOut {
    /// Of a COPY that writes to the client.
    pub(crate) fn of(node: &Node) -> Option<Self> {
        let to_client = node.kind == "CopyStmt"
            && !node.flag("is_from")
            && !node.flag("is_program")
            && node.text("filename").is_empty();
        to_client.then(|| Self::from_options(node.list("options")))
    }

    /// As `ProcessCopyOptions` (copy.c).
    fn from_options(options: &[Value]) -> Self {
        let mut copy = Self {
            format: CopyFormat::Text,
            delimiter: 0,
            null: Box::default(),
            quote: 0,
            escape: 0,
            header: false,
            force_quote: Vec::new(),
            encoding: None,
            odd: None,
        };
        let (mut delimiter, mut null, mut quote, mut escape) = (None, None, None, None);
        for option in options {
            let Some(option) = option.node().filter(|node| node.kind == "DefElem") else {
                copy.odd.get_or_insert_with(|| "?".into());
                continue;
            };
            let name = option.text("defname");
            let text = option.get("arg").and_then(text_of);
            let understood = match (name, text.as_deref()) {
                ("format", Some(format)) => copy.take_format(format),
                ("delimiter", Some(text)) => one_byte(text).map(|byte| delimiter = Some(byte)).is_some(),
                ("null", Some(text)) => {
                    null = Some(text.as_bytes().into());
                    true
                }
                ("quote", Some(text)) => one_byte(text).map(|byte| quote = Some(byte)).is_some(),
                ("escape", Some(text)) => one_byte(text).map(|byte| escape = Some(byte)).is_some(),
                ("encoding", Some(text)) => {
                    copy.encoding = Some(text.into());
                    true
                }
                ("header", value) => copy.take_header(option.get("arg").is_some(), value),
                ("force_quote", _) => {
                    copy.force_quote = option.get("arg").map(columns_of).unwrap_or_default();
                    !copy.force_quote.is_empty()
                }
                ("freeze", _) => true,
                _ => false,
            };
            if !understood {
                copy.odd.get_or_insert_with(|| name.into());
            }
        }
        let csv = copy.format == CopyFormat::Csv;
        copy.delimiter = delimiter.unwrap_or(if csv { b',' } else { b'\t' });
        copy.null = null.unwrap_or_else(|| if csv { Box::default() } else { (*b"\\N").into() });
        copy.quote = quote.unwrap_or(b'"');
        copy.escape = escape.unwrap_or(copy.quote);
        copy
    }

    fn take_format(&mut self, format: &str) -> bool {
        self.format = match format {
            "text" => CopyFormat::Text,
            "csv" => CopyFormat::Csv,
            "binary" => CopyFormat::Binary,
            _ => return false,
        };
        true
    }

    /// `defGetCopyHeaderChoice`: `MATCH` is for reading.
    fn take_header(&mut self, given: bool, value: Option<&str>) -> bool {
        self.header = match value.map(str::to_ascii_lowercase).as_deref() {
            None if !given => true,
            Some("true" | "on" | "1") => true,
            Some("false" | "off" | "0") => false,
            _ => return false,
        };
        true
    }
}

/// An option's value as text.
fn text_of(value: &Value) -> Option<String> {
    let node = value.node()?;
    match node.kind {
        "String" => Some(node.text("sval").to_owned()),
        "Integer" => Some(node.int("ival").to_string()),
        "Boolean" => Some(if node.flag("boolval") { "true" } else { "false" }.to_owned()),
        "TypeName" => node.list("names").last().and_then(Value::string).map(str::to_owned),
        _ => constant(node).map(String::from),
    }
}

fn one_byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [only] => Some(*only),
        _ => None,
    }
}

fn columns_of(value: &Value) -> Vec<Box<str>> {
    match value.node() {
        Some(node) if node.kind == "AStar" => vec!["*".into()],
        _ => value.items().iter().filter_map(Value::string).map(Into::into).collect(),
    }
}
