//! Tree -> values, collecting every error: the few verbs all readers of sections are written in.

use std::{
    fmt::Display,
    ops::Range,
    path::{Component, Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use crate::{
    Confinement, InvalidSecretRef, SecretRef,
    documents::{
        keys::Keys,
        suggest,
        tree::{Entry, Node, Value},
    },
    report::{Place, Report, Severity, Source},
};

/// Reads one document into values; what is wrong goes to the report, and reading goes on.
pub(crate) struct Reader<'a> {
    pub(crate) source: Arc<Source>,
    pub(crate) report: &'a mut Report,
    /// What the document may name, where that is bounded.
    pub(crate) confined: Option<&'a Confinement>,
}

/// A value with the place it was written.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// The entries of a map whose keys are known.
pub(crate) struct Fields<'n> {
    entries: &'n [Entry],
    span: Range<usize>,
    keys: &'static Keys,
}

impl<'n> Fields<'n> {
    /// The value of an optional key.
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The whole entry of an optional key.
    pub(crate) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Whether an unknown key looks like this one: then that has been told already.
    pub(crate) fn is_misspelt(&self, key: &str) -> bool {
        let unknown = self.entries.iter().filter(|entry| !self.keys.keys.contains(&entry.key.as_str()));
        unknown
            .map(|entry| suggest::nearest(&entry.key, self.keys.keys.iter().copied()))
            .any(|near| near == Some(key))
    }

    /// Where the map starts: its first key, so that an error points at one line.
    pub(crate) fn head(&self) -> Range<usize> {
        self.entries.first().map_or(self.span.clone(), |entry| {
            entry.key_span.start..entry.value.span.end.max(entry.key_span.end)
        })
    }
}

impl Reader<'_> {
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        Place { source: Arc::clone(&self.source), span: span.clone() }
    }

    pub(crate) fn placed<T>(&self, node: &Node, value: T) -> Placed<T> {
        Placed { value, place: self.place(&node.span) }
    }

    pub(crate) fn error(&mut self, span: &Range<usize>, message: impl Into<String>) {
        self.report.push(Severity::Error, &self.place(span), message.into(), Vec::new());
    }

    pub(crate) fn error_help(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.report.push(Severity::Error, &self.place(span), message.into(), vec![help.into()]);
    }

    /// An error at a place that was kept, with what to do.
    pub(crate) fn error_at(&mut self, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.report.push(Severity::Error, place, message.into(), vec![help.into()]);
    }

    pub(crate) fn warn(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.report.push(Severity::Warning, &self.place(span), message.into(), vec![help.into()]);
    }

    /// A key or value whose feature is designed but not built. Nothing is silently inert.
    pub(crate) fn not_yet(&mut self, span: &Range<usize>, what: impl Display, instead: &str) {
        self.error_help(
            span,
            format!("{what} not enforced yet, and what is not enforced is refused"),
            instead,
        );
    }

    /// A map with known keys. Unknown ones are reported with the nearest known.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, keys: &'static Keys) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            self.error(&node.span, format!("{} is a map of keys, this is {}", keys.what, node.what()));
            return None;
        };
        for entry in entries {
            if keys.keys.contains(&entry.key.as_str()) {
                continue;
            }
            let message = format!("unknown key `{}` in {}", shown(&entry.key), keys.what);
            let help = match suggest::nearest(&entry.key, keys.keys.iter().copied()) {
                _ if entry.key == "<<" => "merge keys are not read; write the values out".to_owned(),
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys are {}", suggest::list(keys.keys.iter().copied())),
            };
            self.error_help(&entry.key_span, message, help);
        }
        Some(Fields { entries, span: node.span.clone(), keys })
    }

    /// A key that must be there.
    pub(crate) fn required<'n>(&mut self, fields: &Fields<'n>, key: &str) -> Option<&'n Node> {
        let found = fields.get(key);
        // a misspelt key has been told, with this one as suggestion
        if found.is_none() && !fields.is_misspelt(key) {
            self.error(&fields.head(), format!("`{key}` is missing in {}", fields.keys.what));
        }
        found
    }

    /// The entries of a map whose keys are names people chose.
    pub(crate) fn named<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            _ => {
                self.error(&node.span, format!("{what} is a map from names, this is {}", node.what()));
                &[]
            }
        }
    }

    /// A list.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            _ => {
                self.error_help(
                    &node.span,
                    format!("{what} is a list, this is {}", node.what()),
                    "write one entry per line, each after `- `",
                );
                &[]
            }
        }
    }

    /// A list, or one value standing for a list of one. Not empty.
    pub(crate) fn one_or_many<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                self.error(&node.span, format!("{what} is empty"));
                &[]
            }
            Value::List(items) => items,
            _ => std::slice::from_ref(node),
        }
    }

    /// Text that is not empty.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() && !text.trim().is_empty() => {
                // a block scalar ends with a line end that nobody means
                let text = text.trim_end_matches('\n');
                if text.trim() != text || text.contains('\0') {
                    self.error(
                        &node.span,
                        format!("{what} starts or ends with a space, or has a zero byte in it"),
                    );
                    return None;
                }
                Some(text)
            }
            Value::Scalar { .. } => {
                self.error(&node.span, format!("{what} is empty"));
                None
            }
            _ => {
                self.error(&node.span, format!("{what} is text, this is {}", node.what()));
                None
            }
        }
    }

    /// Texts: one or many, each read by `read`.
    pub(crate) fn many<T>(
        &mut self,
        node: &Node,
        what: &str,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Vec<T> {
        self.one_or_many(node, what).iter().filter_map(|item| read(self, item)).collect()
    }

    /// Something read by its `FromStr`, whose error says what was expected.
    pub(crate) fn parse<T: FromStr<Err: Display>>(&mut self, node: &Node, what: &str) -> Option<T> {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(&node.span, format!("{what}: {error}"));
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known = || words.iter().map(|(word, _)| *word);
        let help = match suggest::nearest(text, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected {}", suggest::either(known())),
        };
        self.error_help(&node.span, format!("`{}` is not known for {what}", shown(text)), help);
        None
    }

    /// `yes`, `no`, `true`, `false`.
    pub(crate) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        self.word(node, what, &[("yes", true), ("no", false), ("true", true), ("false", false)])
    }

    /// `10s`, `15m`, `8h`, `90d`.
    pub(crate) fn duration(&mut self, node: &Node, what: &str, range: Range<Duration>) -> Option<Duration> {
        let text = self.text(node, what)?;
        let Some(duration) = parse_duration(text) else {
            let message = format!("`{}` is no duration for {what}", shown(text));
            self.error_help(
                &node.span,
                message,
                "write a whole number and s, m, h or d: `10s`, `15m`, `8h`, `90d`",
            );
            return None;
        };
        if duration < range.start || duration > range.end {
            let (from, to) = (print_duration(range.start), print_duration(range.end));
            self.error(&node.span, format!("{what} is between {from} and {to}, this is {text}"));
            return None;
        }
        Some(duration)
    }

    /// A whole number in a range, both ends included.
    pub(crate) fn integer(&mut self, node: &Node, what: &str, from: u64, to: u64) -> Option<u64> {
        let text = self.text(node, what)?;
        let number = text.parse::<u64>().ok().filter(|number| (from..=to).contains(number));
        if number.is_none() {
            self.error(
                &node.span,
                format!("{what} is a whole number from {from} to {to}, this is `{}`", shown(text)),
            );
        }
        number
    }

    /// Bytes: `65536`, `64KiB`, `16MiB`.
    pub(crate) fn size(&mut self, node: &Node, what: &str, from: usize, to: usize) -> Option<usize> {
        let text = self.text(node, what)?;
        let (digits, unit) = match text {
            _ if text.ends_with("KiB") => (text.trim_end_matches("KiB"), 1_usize << 10),
            _ if text.ends_with("MiB") => (text.trim_end_matches("MiB"), 1 << 20),
            _ => (text, 1),
        };
        let size = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
        let size = size.filter(|size| (from..=to).contains(size));
        if size.is_none() {
            let message = format!("{what} is a size from {from} to {to} bytes, this is `{}`", shown(text));
            self.error_help(&node.span, message, "write bytes, or a number with KiB or MiB: `64KiB`");
        }
        size
    }

    /// A path, joined to the document's folder.
    pub(crate) fn path(&mut self, node: &Node, what: &str) -> Option<PathBuf> {
        let text = self.text(node, what)?;
        self.joined(node, text, what)
    }

    /// `path`, which stands in `node`: joined to the document's folder, or where the document is confined, below the folder that is
    /// open to it. What is compared are the paths as written: links below that folder are the business of who made them.
    pub(crate) fn joined(&mut self, node: &Node, path: &str, what: &str) -> Option<PathBuf> {
        let Some(confined) = self.confined else {
            return Some(match self.source.path.parent() {
                Some(folder) => folder.join(path),
                None => PathBuf::from(path),
            });
        };
        let Some(folder) = &confined.secrets else {
            self.error_help(
                &node.span,
                format!("{what}: documents that the API manages can name no file of this gateway"),
                "name a folder for such files in the process file: `secrets: DIR`",
            );
            return None;
        };
        let joined = folder.join(path);
        let leaves = Path::new(path).components().any(|part| part == Component::ParentDir);
        if leaves || !joined.starts_with(folder) || joined == *folder {
            self.error_help(
                &node.span,
                format!("{what}: documents that the API manages name only files in the folder `secrets` of the process file"),
                "write the path from that folder on, without `..`: `file:orders-password`",
            );
            return None;
        }
        Some(joined)
    }

    /// A reference to a secret. What is no reference may be the secret itself: it is never shown.
    pub(crate) fn secret(&mut self, node: &Node, what: &str) -> Option<SecretRef> {
        let text = match &node.value {
            Value::Scalar { text, .. } if !node.is_null() => text,
            _ => return self.text(node, what).and(None),
        };
        match text.parse() {
            Ok(SecretRef::File(path)) => {
                self.joined(node, &path.to_string_lossy(), what).map(SecretRef::File)
            }
            Ok(SecretRef::Env(name)) if self.confined.is_some() && !is_open(&name) => {
                self.error_help(
                    &node.span,
                    format!(
                        "{what}: documents that the API manages name only variables that begin with `{}`",
                        Confinement::VARIABLES
                    ),
                    format!("give the gateway the secret as `{}…`, or as a file", Confinement::VARIABLES),
                );
                None
            }
            Ok(reference) => Some(reference),
            Err(error) => {
                if matches!(error, InvalidSecretRef::Literal) {
                    let place = self.place(&node.span);
                    self.report.hide(&place);
                }
                self.error(&node.span, format!("{what}: {error}"));
                None
            }
        }
    }
}

fn is_open(variable: &str) -> bool {
    variable.strip_prefix(Confinement::VARIABLES).is_some_and(|rest| !rest.is_empty())
}

/// Text from a document as shown inside a message: one line, not long.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// `10s`, `15m`, `8h`, `90d`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

/// The largest unit that divides it.
pub(crate) fn print_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds >= length && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}
