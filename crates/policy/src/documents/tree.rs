//! Text -> a tree of maps, lists and scalars that keeps where everything stands.
//!
//! A small, strict YAML: no anchors, aliases, tags, merge keys, several documents in one file, duplicate keys or invisible
//! characters. Bounded: size, depth and nodes are checked as events arrive, and the builder does not recurse.

use std::{collections::HashSet, ops::Range, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::report::{Place, Report, Severity, Source};

/// The largest document, in bytes. The largest policies we know of are a tenth of this.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting. The documents need six.
pub(crate) const MAX_DEPTH: usize = 24;
/// The most nodes (scalars, lists, maps) of one document.
pub(crate) const MAX_NODES: usize = 100_000;

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// `quoted` scalars are never null, numbers or booleans.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) value: Node,
}

impl Node {
    /// Nothing written, `null` or `~`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, quoted: false } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// What it is, for messages.
    pub(crate) fn what(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// A map or list being read.
struct Open {
    span: Range<usize>,
    inner: Inner,
}

enum Inner {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashSet<String>, key: Option<(String, Range<usize>)> },
}

/// Reads a document. `None` after an error that leaves nothing to look at; an empty document is `None` without an error.
pub(crate) fn parse(source: &Arc<Source>, report: &mut Report) -> Option<Node> {
    let mut builder = Builder {
        source,
        report,
        offsets: Offsets::new(&source.text),
        stack: Vec::new(),
        root: None,
        nodes: 0,
    };
    if source.text.len() > MAX_BYTES {
        let message =
            format!("the document is {} bytes long; at most {MAX_BYTES} are read", source.text.len());
        builder.error(0..0, message, &["split it: `policy:` takes several files"]);
        return None;
    }
    if builder.refuse_invisible() && builder.run() { builder.root } else { None }
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    report: &'a mut Report,
    offsets: Offsets,
    stack: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

/// Character index -> byte offset. The parser counts characters.
enum Offsets {
    Ascii,
    Table(Vec<usize>),
}

impl Offsets {
    fn new(text: &str) -> Self {
        if text.is_ascii() || text.len() > MAX_BYTES {
            return Self::Ascii;
        }
        Self::Table(text.char_indices().map(|(at, _)| at).chain([text.len()]).collect())
    }

    fn byte(&self, index: usize) -> usize {
        match self {
            Self::Ascii => index,
            Self::Table(table) => table.get(index).or(table.last()).copied().unwrap_or(0),
        }
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.byte(span.start.index())..self.byte(span.end.index())
    }
}

impl Builder<'_> {
    fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: &[&str]) {
        let place = Place { source: Arc::clone(self.source), span };
        self.report.push(
            Severity::Error,
            &place,
            message.into(),
            help.iter().map(|help| (*help).to_owned()).collect(),
        );
    }

    /// Characters that make text look like other text: bidirectional controls, zero-width characters, C0 and C1 controls.
    fn refuse_invisible(&mut self) -> bool {
        let text = &self.source.text;
        let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let found = text.get(start..).unwrap_or_default().char_indices().find(|(_, c)| is_invisible(*c));
        let Some((at, c)) = found.map(|(at, c)| (at + start, c)) else { return true };
        let message = format!(
            "the invisible character U+{:04X} makes the text look like something it is not",
            u32::from(c)
        );
        self.error(at..at + c.len_utf8(), message, &["remove it; in a quoted string, write it as an escape"]);
        false
    }

    /// Pulls events until the end or the first error the tree cannot be built after.
    fn run(&mut self) -> bool {
        let source = Arc::clone(self.source);
        let mut parser = Parser::new_from_str(&source.text);
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok((event, span)) => (event, self.offsets.range(span)),
                Err(error) => {
                    let at = self.offsets.byte(error.marker().index()).min(source.text.len());
                    self.error(at..at, format!("this is not YAML: {}", error.info()), &[]);
                    return false;
                }
            };
            if !self.event(event, span) {
                return false;
            }
        }
        true
    }

    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> bool {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => true,
            Event::DocumentStart(_) if self.root.is_some() => {
                self.error(span, "a file holds one document", &["put the second one into a file of its own"]);
                false
            }
            Event::DocumentStart(_) => true,
            Event::Alias(_) => {
                self.error(span, "aliases (`*name`) are not read", &["write the value out"]);
                false
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(anchor, tag.is_some(), &span)
                    && self.count(&span)
                    && self.add(Node {
                        span,
                        value: Value::Scalar { text: text.into_owned(), quoted: style != ScalarStyle::Plain },
                    })
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain(anchor, tag.is_some(), &span)
                    && self.open(Open { span, inner: Inner::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                let inner = Inner::Map { entries: Vec::new(), seen: HashSet::new(), key: None };
                self.plain(anchor, tag.is_some(), &span) && self.open(Open { span, inner })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
        }
    }

    fn plain(&mut self, anchor: usize, tagged: bool, span: &Range<usize>) -> bool {
        if anchor != 0 {
            self.error(
                span.clone(),
                "anchors (`&name`) are not read",
                &["write the value where it is needed"],
            );
        } else if tagged {
            self.error(span.clone(), "tags (`!name`) are not read", &["write the plain value"]);
        }
        anchor == 0 && !tagged
    }

    fn count(&mut self, span: &Range<usize>) -> bool {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.error(span.clone(), format!("the document has more than {MAX_NODES} values"), &["split it"]);
        }
        self.nodes <= MAX_NODES
    }

    fn open(&mut self, open: Open) -> bool {
        if !self.count(&open.span) {
            return false;
        }
        if let Some(Open { inner: Inner::Map { key: None, .. }, .. }) = self.stack.last() {
            self.error(open.span, "a key is a word, not a list or a map", &[]);
            return false;
        }
        if self.stack.len() >= MAX_DEPTH {
            self.error(open.span, format!("the document nests deeper than {MAX_DEPTH}"), &[]);
            return false;
        }
        self.stack.push(open);
        true
    }

    fn close(&mut self, end: Range<usize>) -> bool {
        let Some(open) = self.stack.pop() else { return false };
        let (value, last) = match open.inner {
            Inner::List(items) => {
                let last = items.last().map(|item| item.span.end);
                (Value::List(items), last)
            }
            Inner::Map { entries, .. } => {
                let last = entries.last().map(|entry| entry.value.span.end.max(entry.key_span.end));
                (Value::Map(entries), last)
            }
        };
        // a block ends where its last value does; `}` and `]` are part of the value
        let end = if self.source.text.get(end.clone()).is_some_and(|text| matches!(text, "}" | "]")) {
            end.end
        } else {
            last.unwrap_or(end.start)
        };
        self.add(Node { span: open.span.start..end.max(open.span.start), value })
    }

    fn add(&mut self, node: Node) -> bool {
        let duplicate = match self.stack.last_mut().map(|open| &mut open.inner) {
            None => {
                self.root = Some(node);
                return true;
            }
            Some(Inner::List(items)) => {
                items.push(node);
                return true;
            }
            Some(Inner::Map { entries, seen, key }) => match (key.take(), node) {
                (None, Node { span, value: Value::Scalar { text, .. } }) => {
                    let duplicate = (!seen.insert(text.clone())).then(|| (text.clone(), span.clone()));
                    *key = Some((text, span));
                    duplicate
                }
                (None, _) => return false,
                (Some((key, key_span)), value) => {
                    entries.push(Entry { key, key_span, value });
                    None
                }
            },
        };
        if let Some((text, span)) = duplicate {
            self.error(span, format!("`{text}` is written twice in the same map"), &["keep one of them"]);
        }
        true
    }
}

/// Controls but line ends and tabs, and the characters that turn, join or hide what stands beside them.
pub(crate) fn is_invisible(c: char) -> bool {
    let control = c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    control
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}
