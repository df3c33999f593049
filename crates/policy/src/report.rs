//! What `check` finds, and how it is shown: every error and warning with file, line, column and the offending text.

use std::{fmt::Write as _, ops::Range, path::PathBuf, sync::Arc};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use crate::documents::is_invisible;

/// One document, read by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// As shown in reports and rule locations; relative paths in the document are relative to its folder.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// A document with an index of its lines, so that thousands of places cost no thousand readings of the text.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// The byte offset of each line's start.
    lines: Vec<usize>,
}

impl Source {
    pub(crate) fn new(file: &SourceFile) -> Arc<Self> {
        let starts = file.text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Arc::new(Self { path: file.path.clone(), text: file.text.clone(), lines })
    }

    /// (line from 1, byte offset of its start) of what stands at `at`.
    fn line(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        (line, self.lines.get(line - 1).copied().unwrap_or(0))
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The documents are not used.
    Error,
    /// The documents are used, and a person should look.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The document.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub help: Vec<String>,
    /// The offending text, at most one line of it.
    pub text: String,
    #[serde(skip)]
    shown: Shown,
    #[serde(skip)]
    place: Place,
}

/// Findings shown at most; the rest are counted.
const MAX_SHOWN: usize = 200;
/// The longest line shown whole, in bytes.
const MAX_LINE: usize = 400;

/// Everything `check` found, in order of the documents.
#[derive(Clone, Debug, Default)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
    errors: usize,
    /// What may be a secret: never shown, whichever finding's line it stands in.
    hidden: Vec<Place>,
}

impl Report {
    /// How many errors.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// How many warnings.
    pub fn warnings(&self) -> usize {
        self.diagnostics.len() - self.errors
    }

    /// The findings.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The findings as text, each with the line of the document it is about, underlined. Empty when there are none.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for diagnostic in self.diagnostics.iter().take(MAX_SHOWN) {
            out.push_str(&diagnostic.render(&renderer));
            out.push_str("\n\n");
        }
        if self.diagnostics.len() > MAX_SHOWN {
            let _ = writeln!(out, "and {} more\n", self.diagnostics.len() - MAX_SHOWN);
        }
        out
    }

    pub(crate) fn push(&mut self, severity: Severity, place: &Place, message: String, help: Vec<String>) {
        let (line, column) = place.line_and_column();
        let plain = |text: String| {
            if text.chars().any(|c| visible(c) != c) { text.chars().map(visible).collect() } else { text }
        };
        let (message, help) = (plain(message), help.into_iter().map(plain).collect());
        self.errors += usize::from(severity == Severity::Error);
        self.diagnostics.push(Diagnostic {
            severity,
            file: place.source.path.clone(),
            line,
            column,
            message,
            help,
            text: String::new(),
            shown: Shown::default(),
            place: place.clone(),
        });
    }

    /// Keeps a stretch of a document out of everything shown.
    pub(crate) fn hide(&mut self, place: &Place) {
        self.hidden.push(place.clone());
    }

    /// Puts the findings in the order of `files`, then of lines, and cuts out what they show.
    pub(crate) fn finish(&mut self, files: &[Arc<Source>]) {
        let rank = |source: &Arc<Source>| {
            files.iter().position(|file| Arc::ptr_eq(file, source)).unwrap_or(usize::MAX)
        };
        self.diagnostics
            .sort_by_key(|found| (rank(&found.place.source), found.place.span.start, found.place.span.end));
        self.diagnostics.dedup_by(|a, b| a.message == b.message && a.place == b.place);
        self.errors = self.diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
        for diagnostic in &mut self.diagnostics {
            diagnostic.shown = Shown::cut(&diagnostic.place, &self.hidden);
            let shown = &diagnostic.shown;
            diagnostic.text = shown.line.get(shown.marked.clone()).unwrap_or_default().trim_end().to_owned();
        }
    }
}

/// The line a finding is about, and what of it is marked.
#[derive(Clone, Debug, Default)]
struct Shown {
    line: String,
    marked: Range<usize>,
}

impl Shown {
    /// Only the first line a place touches is shown, whatever the document's size. Hidden bytes become `*`.
    fn cut(place: &Place, hidden: &[Place]) -> Self {
        let text = &place.source.text;
        let span = place.clamped();
        let start = place.source.line(span.start).1;
        let line_end =
            text.get(span.start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| span.start + at);
        // of a very long line, what stands around the place
        let from =
            if span.start - start > MAX_LINE / 2 { boundary(text, span.start - MAX_LINE / 2) } else { start };
        let to = boundary(text, line_end.min(from + MAX_LINE)).max(span.start);
        let mut line: String = text.get(from..to).unwrap_or_default().chars().map(visible).collect();
        for other in hidden.iter().filter(|other| Arc::ptr_eq(&other.source, &place.source)) {
            let other = other.clamped();
            let (start, end) = (other.start.clamp(from, to) - from, other.end.clamp(from, to) - from);
            if start < end {
                line.replace_range(start..end, &"*".repeat(end - start));
            }
        }
        Self { line, marked: span.start - from..span.end.clamp(span.start, to) - from }
    }
}

/// What a terminal would obey, or not show, as a visible character of the same length, so that offsets stay.
fn visible(c: char) -> char {
    match c.len_utf8() {
        _ if c == '\t' || !(c.is_control() || is_invisible(c)) => c,
        1 => '?',
        2 => '\u{bf}',
        _ => '\u{fffd}',
    }
}

/// The greatest character boundary of `text` not after `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

impl Diagnostic {
    fn render(&self, renderer: &Renderer) -> String {
        let path = self.file.display().to_string();
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let snippet = Snippet::source(self.shown.line.as_str())
            .line_start(self.line)
            .path(path)
            .annotation(AnnotationKind::Primary.span(self.shown.marked.clone()));
        let mut group = level.primary_title(self.message.as_str()).element(snippet);
        for help in &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

/// A stretch of a document.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) source: Arc<Source>,
    pub(crate) span: Range<usize>,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && self.span == other.span
    }
}

impl Place {
    /// `file:line`.
    pub(crate) fn location(&self) -> String {
        format!("{}:{}", self.source.path.display(), self.line_and_column().0)
    }

    fn clamped(&self) -> Range<usize> {
        let start = boundary(&self.source.text, self.span.start);
        start..boundary(&self.source.text, self.span.end).max(start)
    }

    fn line_and_column(&self) -> (usize, usize) {
        let at = self.clamped().start;
        let (line, start) = self.source.line(at);
        (line, self.source.text.get(start..at).unwrap_or_default().chars().count() + 1)
    }
}
